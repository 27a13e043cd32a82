"""A report's question, and its answer in parts: by the periods of a zone, by the values of a property, or whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import tzinfo
from itertools import product
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from attrs import define, field, frozen

from kmexport.errors import UnknownNameError
from kmexport.format.names import fold_name
from kmexport.reports.conditions import Binder, Condition, NameCollector, check_condition
from kmexport.reports.periods import Every, PeriodLookup, Periods, find_periods
from kmexport.reports.query import FactsKeywords, ReportSource, bounds_of, facts_of, known_name, with_closest, zone_of
from kmexport.reports.results import ALL, Choice, PeopleQuery, Result, check_choice
from kmexport.reports.splits import CUSTOMER_ID, At, BoundSplit, By, Split, as_name, as_split
from kmexport.reports.sql import EVERYONE, in_periods
from kmexport.tables import Facts
from kmexport.windows import Window, Zone

TOUCHES: Final[tuple[At, ...]] = ("last_touch", "first_ever", "last_ever", "first_in_window", "last_in_window")


@define
class Question:
    """The facts and the parameters of a report's queries."""

    facts: Facts
    window: Window | None
    zone: tzinfo
    params: dict[str, object]
    splits: dict[str, BoundSplit] = field(factory=dict)
    among: str | None = None  # a condition on a person, as SQL
    where: str | None = None  # a condition on an event's person and time
    is_own: bool = False  # whether the report made the facts itself

    @classmethod
    def of(
        cls,
        source: ReportSource,
        window: Window | None,
        tz: Zone | None,
        *,
        events: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        splits: Mapping[str, By | None] | None = None,
        at: At = "last_touch",
        allowed: Sequence[At] = TOUCHES,
        among: Condition | None = None,
        where: Condition | None = None,
        everyone: bool = False,
        in_window: bool = False,
        also: Iterable[By] = (),
        reading: FactsKeywords,
    ) -> Question:
        """Read the facts that a report needs, and bind its names, splits and conditions.

        `splits` names the properties by which people are split, each under its parameter; None for no split. `where` is
        a condition on the second of an event, `among` one on people. Of a source other than Facts, only what these name
        is read (`also`: further properties), and every event where the report is about `everyone`. `margin=` is for
        reports that look only at what lies `in_window`. Raises UnknownNameError for a name that no record has,
        ValueError for a moment that is not `allowed`, and for a margin where records outside the window count too.
        """
        bound = {key: as_split(by) for key, by in (splits or {}).items() if by is not None}
        for split in bound.values():
            if split.at is not None and split.at not in allowed:
                msg = f"this report splits at {', '.join(map(repr, allowed))}, not at {split.at!r}"
                raise ValueError(msg)
        is_limited = "margin" in reading and not isinstance(source, Facts)
        if is_limited:
            _check_margin(window, bound.values(), at, is_inside=in_window and among is None)
        wanted = NameCollector()
        wanted.everyone = everyone
        for by in (*(properties or {}).values(), *bound.values(), *also):
            names, told = as_split(by).needed()
            wanted.events += names
            wanted.properties += told
        wanted.events += map(as_name, (events or {}).values())
        if among is not None:
            check_condition(among).sql("person", wanted)
        if where is not None:
            check_condition(where).sql("moment", wanted)
        params, zone = bounds_of(window), zone_of(tz, window)
        read = None if wanted.everyone else wanted.events
        facts = facts_of(source, reading, read, wanted.properties, window if is_limited else None)
        question = cls(facts, window, zone, params, is_own=facts is not source)
        try:
            # Properties come first: what they need is all that events need, and a bucket is read once.
            params |= {key: known_name(facts, "property", name) for key, name in (properties or {}).items()}
            question.splits = {key: split.bind(facts, key, params, at) for key, split in bound.items()}
            params |= {key: known_name(facts, "event", name) for key, name in (events or {}).items()}
            question.among = None if among is None else among.sql("person", Binder(facts, params))
            question.where = None if where is None else where.sql("moment", Binder(facts, params))
        except UnknownNameError as error:
            raise with_closest(error, source, reading) from None
        return question

    @property
    def by(self) -> BoundSplit | None:
        """The split of the report."""
        return self.splits.get("by")

    def narrowed(self, source: str) -> str:
        """Return the rows of a source (with a person) that are of the people whom the report is about."""
        return source if self.among is None else f"select * from ({source}) where {self.among}"

    def persons(self, query: str) -> PeopleQuery:
        """Return the query of a result, of the people whom the report is about: one row or more for each."""
        return PeopleQuery(self.facts, self.narrowed(query), self.params, self.is_own)


def _check_margin(window: Window | None, splits: Iterable[Split], at: At, *, is_inside: bool) -> None:
    if window is None:
        msg = "margin= says how far from a window files are read: give a window, or leave margin= out"
        raise ValueError(msg)
    moments = [split.at or at for split in splits if fold_name(split.property) != CUSTOMER_ID]
    if not is_inside or not set(moments) <= {"first_in_window", "last_in_window"}:
        msg = "margin= leaves out files, but this question looks at records outside its window too: leave it out"
        raise ValueError(msg)


@frozen
class SplitRow:
    """One part of a split: `label` is the period's (None without `every=`), `value` the property's (None for none)."""

    label: str | None
    value: str | None


P = TypeVar("P")


@define
class Breakdown:
    """The split of a report: its names and periods are in the params of the question."""

    question: Question
    periods: Periods

    @classmethod
    def of(cls, question: Question, source: str, every: Every | None) -> Breakdown:
        """Find the periods: those of the window, or those that cover the rows of the query `source`."""
        narrowed = question.narrowed(source)
        periods = find_periods(
            question.facts, narrowed, question.params, window=question.window, every=every, zone=question.zone
        )
        return cls(question, periods)

    @property
    def by(self) -> BoundSplit | None:
        return self.question.by

    @property
    def lookup(self) -> PeriodLookup | None:
        return self.periods.lookup

    @property
    def is_split(self) -> bool:
        return self.lookup is not None or self.by is not None

    @property
    def is_by_touch(self) -> bool:
        return self.by is not None and self.by.is_by_touch

    def measure(
        self,
        query: Callable[[QueryParts], str],
        make: Callable[..., P],
        numbers: str,
        zeros: tuple[object, ...],
        *,
        periods_add_up: bool,
        values_add_up: bool = True,
        key: str | None = None,
    ) -> Measured[P]:
        """Count the whole, and a row for each period and value.

        Where the parts add up to the whole (`periods_add_up`, `values_add_up`), one query gives both. `make` gets the
        label, the value, that of the column `key` if there is one, and the numbers.
        """
        whole, rows_of = QueryParts(lookup=None, split=None), QueryParts(lookup=self.lookup, split=self.by)
        of_whole, of_parts = (self.question.persons(query(parts)) for parts in (whole, rows_of))
        # A column that is the same in all rows is left out of the keys: it would only cost time.
        columns = {"period": self.lookup is not None, "value": self.by is not None, **({key: True} if key else {})}
        keys = [column for column, differs in columns.items() if differs]
        if not keys:
            return Measured(of_whole, of_parts, of_whole.total(numbers), (), ())
        values_add_up = values_add_up and (self.by is None or self.by.adds_up)
        if values_add_up and (self.lookup is None or (periods_add_up and self.periods.is_all)):
            groups, total = of_parts.groups_and_total(keys, numbers)
        else:
            groups, total = of_parts.groups(keys, numbers), of_whole.total(numbers)
        found = {}
        for group in groups:
            named = dict(zip(keys, group, strict=False))
            names = named.get("value"), *([named[key]] if key else [])
            found[named.get("period", 0), names] = group[len(keys) :]
        never_empty = self.by is None and key is None
        rows = self._rows(found, make, zeros, {(None,)} if never_empty else set())
        return Measured(of_whole, of_parts, total, rows, self.periods.notes)

    def _rows(
        self,
        found: dict[tuple[int, tuple[str | None, ...]], tuple[Any, ...]],
        make: Callable[..., P],
        zeros: tuple[object, ...],
        always: set[tuple[str | None, ...]],
    ) -> tuple[P, ...]:
        """Return a row for each period and value, those with most in them first; zeros where nothing happened."""
        size: dict[tuple[str | None, ...], float] = dict.fromkeys(always, 0)
        for (_, names), (first, *_) in found.items():
            for length in range(1, len(names) + 1):
                size[names[:length]] = size.get(names[:length], 0) + (first or 0)

        def place(names: tuple[str | None, ...]) -> list[tuple[float, bool, str]]:
            return [(-size[names[: at + 1]], name is None, name or "") for at, name in enumerate(names)]

        ordered = sorted(always | {names for _, names in found}, key=place)
        labels: list[str | None] = [*self.periods.labels] if self.lookup is not None else [None]
        return tuple(
            make(label, *names, *found.get((number, names), zeros))
            for (number, label), names in product(enumerate(labels), ordered)
        )


@frozen
class Measured(Generic[P]):
    """The queries of the whole and of the parts, and their numbers."""

    whole: PeopleQuery
    parts: PeopleQuery
    numbers: tuple[Any, ...]
    rows: tuple[P, ...]
    notes: tuple[str, ...]


@frozen
class QueryParts:
    """The parts of a query: in periods or not, with values or without."""

    lookup: PeriodLookup | None
    split: BoundSplit | None

    @property
    def is_whole(self) -> bool:
        return self.lookup is None and self.split is None

    def in_periods(self, source: str) -> str:
        return in_periods(source, self.lookup)

    def everyone(self) -> str:
        """Return a row for each person and period: person, period, since, until."""
        return f"select * from ({EVERYONE}), ({self.periods()})"

    def periods(self) -> str:
        """Return a row for each period: period, since, until."""
        whole = "select 0 as period, to_timestamp($start) as since, to_timestamp($end) as until"
        return self.lookup.periods() if self.lookup is not None else whole

    def with_split_value(self, source: str) -> str:
        """Return the source with the value that each row is filed under."""
        if self.split is None:
            return f"select *, null::varchar as value from ({source})"
        return self.split.with_split_value(source, self.lookup)

    @property
    def is_by_touch(self) -> bool:
        return self.split is not None and self.split.is_by_touch


@define(repr=False, kw_only=True)
class SplitResult(Result):
    """The base of results that may be split. `by` and `every` are what was asked for; `rows` has the parts."""

    _parts_query: PeopleQuery = field(repr=False, eq=False)
    by: str | None
    every: str | None
    if TYPE_CHECKING:  # each report has rows of its own
        rows: Sequence[Any]

    @property
    def is_split(self) -> bool:
        """True where the report was asked for in parts."""
        return self.by is not None or self.every is not None

    def _people(self, label: Choice, value: Choice, condition: str = "true", **params: object) -> list[str]:
        """Return the persons of one part, or of all."""
        if label is ALL and value is ALL:
            return self._people_query.where(condition, **params)
        labels = list(dict.fromkeys(part.label for part in self.rows))
        check_choice("period", label, labels)
        check_choice("value", value, list(dict.fromkeys(map(self._value_of, self.rows))))
        if label is not ALL:
            condition, params = f"({condition}) and period = $period", {**params, "period": labels.index(label)}
        if value is not ALL:
            condition, params = f"({condition}) and value is not distinct from $value", {**params, "value": value}
        return self._parts_query.where(condition, **params)

    @staticmethod
    def _value_of(part: Any) -> str | None:
        """Return the value of the split that a row stands under."""
        value: str | None = part.value
        return value

    def _series(self, number: Callable[[Any], float | None]) -> tuple[list[str | None], dict[str | None, list[Any]]]:
        """For a picture: the labels, and for each value the numbers of its rows."""
        series: dict[str | None, list[Any]] = {}
        for part in self.rows:
            series.setdefault(part.value, []).append(number(part))
        return list(dict.fromkeys(part.label for part in self.rows)), series

    def _split_columns(self, parts: Sequence[Any] | None = None) -> list[tuple[str, list[str | None]]]:
        """Return the columns that name the parts."""
        parts = self.rows if parts is None else parts
        columns: list[tuple[str, list[str | None]]] = []
        if self.every is not None:
            columns.append((self.every, [part.label for part in parts]))
        if self.by is not None:
            columns.append((self.by, [self._value_of(part) for part in parts]))
        return columns
