"""Results in parts: by the periods of a zone, by the values of a property, by both, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from attrs import define, field, frozen

from kmexport.reports.cuts import Cut, Periods, cut_into_periods
from kmexport.reports.filing import Filing
from kmexport.reports.occurrences import EVERYONE, in_periods
from kmexport.reports.periods import Every
from kmexport.reports.query import Query
from kmexport.reports.results import ALL, Choice, Persons, Result, check_choice


@frozen
class Part:
    """One part of a split: `label` is the period's (None without `every=`), `value` the property's (None for none)."""

    label: str | None
    value: str | None


P = TypeVar("P")


@define
class Splitting:
    """What a report is split by; its names and periods are in the params of the query."""

    query: Query
    periods: Periods

    @classmethod
    def of(cls, query: Query, source: str, every: Every | None) -> Splitting:
        """`source` is the query whose rows the periods have to cover where there is no window."""
        periods = cut_into_periods(
            query.facts, query.narrowed(source), query.params, window=query.window, every=every, zone=query.zone
        )
        return cls(query, periods)

    @property
    def by(self) -> Filing | None:
        return self.query.by

    @property
    def cut(self) -> Cut | None:
        return self.periods.cut

    @property
    def is_split(self) -> bool:
        return self.cut is not None or self.by is not None

    @property
    def is_by_touch(self) -> bool:
        return self.by is not None and self.by.is_by_touch

    def measure(
        self,
        query: Callable[[Pieces], str],
        make: Callable[..., P],
        numbers: str,
        zeros: tuple[object, ...],
        *,
        periods_add_up: bool,
        values_add_up: bool = True,
        key: str | None = None,
    ) -> Measured[P]:
        """The numbers of the whole, and a row for each period and value.

        One query counts both where the rows of the parts are those of the whole, as the report says. `make` gets the
        label, the value, that of the column `key` if there is one, and the numbers.
        """
        whole, parts = Pieces(cut=None, filing=None), Pieces(cut=self.cut, filing=self.by)
        behind, behind_parts = (self.query.persons(query(pieces)) for pieces in (whole, parts))
        # What is the same in all rows is no key: it would only cost time.
        columns = {"period": self.cut is not None, "value": self.by is not None, **({key: True} if key else {})}
        keys = [column for column, differs in columns.items() if differs]
        if not keys:
            return Measured(behind, behind_parts, behind.total(numbers), (), ())
        if values_add_up and (self.cut is None or (periods_add_up and self.periods.is_all)):
            groups, total = behind_parts.groups_and_total(keys, numbers)
        else:
            groups, total = behind_parts.groups(keys, numbers), behind.total(numbers)
        found = {}
        for group in groups:
            named = dict(zip(keys, group, strict=False))
            names = named.get("value"), *([named[key]] if key else [])
            found[named.get("period", 0), names] = group[len(keys) :]
        never_empty = self.by is None and key is None
        rows = self._rows(found, make, zeros, {(None,)} if never_empty else set())
        return Measured(behind, behind_parts, total, rows, self.periods.notes)

    def _rows(
        self,
        found: dict[tuple[int, tuple[str | None, ...]], tuple[Any, ...]],
        make: Callable[..., P],
        zeros: tuple[object, ...],
        always: set[tuple[str | None, ...]],
    ) -> tuple[P, ...]:
        """The values with most in them first; zeros where nothing happened."""
        size: dict[tuple[str | None, ...], float] = dict.fromkeys(always, 0)
        for (_, names), (first, *_) in found.items():
            for length in range(1, len(names) + 1):
                size[names[:length]] = size.get(names[:length], 0) + (first or 0)

        def place(names: tuple[str | None, ...]) -> list[tuple[float, bool, str]]:
            return [(-size[names[: at + 1]], name is None, name or "") for at, name in enumerate(names)]

        ordered = sorted(always | {names for _, names in found}, key=place)
        labels: list[str | None] = [*self.periods.labels] if self.cut is not None else [None]
        return tuple(
            make(label, *names, *found.get((number, names), zeros))
            for (number, label), names in product(enumerate(labels), ordered)
        )


@frozen
class Measured(Generic[P]):
    """The queries of the whole and of the parts, and their numbers."""

    whole: Persons
    parts: Persons
    numbers: tuple[Any, ...]
    rows: tuple[P, ...]
    notes: tuple[str, ...]


@frozen
class Pieces:
    """Which pieces a query is built of: cut into periods or not, with values or without."""

    cut: Cut | None
    filing: Filing | None

    @property
    def is_whole(self) -> bool:
        return self.cut is None and self.filing is None

    def in_periods(self, source: str) -> str:
        return in_periods(source, self.cut)

    def everyone(self) -> str:
        """A row for each person and period: person, period, since, until."""
        return f"select * from ({EVERYONE}), ({self.periods()})"

    def periods(self) -> str:
        """A row for each period: period, since, until."""
        whole = "select 0 as period, to_timestamp($start) as since, to_timestamp($end) as until"
        return self.cut.periods() if self.cut is not None else whole

    def valued(self, source: str) -> str:
        """The source with the value that each row is filed under."""
        if self.filing is None:
            return f"select *, null::varchar as value from ({source})"
        return self.filing.valued(source, self.cut)

    @property
    def is_by_touch(self) -> bool:
        return self.filing is not None and self.filing.is_by_touch


@define(repr=False, kw_only=True)
class SplitResult(Result):
    """The base of results that may be split. `by` and `every` are what was asked for; `rows` has the parts."""

    _parts: Persons = field(repr=False, eq=False)
    by: str | None
    every: str | None
    if TYPE_CHECKING:  # each report has rows of its own
        rows: Sequence[Any]

    @property
    def is_split(self) -> bool:
        """Whether the report was asked for in parts."""
        return self.by is not None or self.every is not None

    def _people(self, label: Choice, value: Choice, condition: str = "true", **params: object) -> list[str]:
        """The persons of one part, or of all."""
        if label is ALL and value is ALL:
            return self._behind.where(condition, **params)
        labels = list(dict.fromkeys(part.label for part in self.rows))
        check_choice("period", label, labels)
        check_choice("value", value, list(dict.fromkeys(map(self._value_of, self.rows))))
        if label is not ALL:
            condition, params = f"({condition}) and period = $period", {**params, "period": labels.index(label)}
        if value is not ALL:
            condition, params = f"({condition}) and value is not distinct from $value", {**params, "value": value}
        return self._parts.where(condition, **params)

    @staticmethod
    def _value_of(part: Any) -> str | None:
        """The value of the split that a row stands under."""
        value: str | None = part.value
        return value

    def _series(self, number: Callable[[Any], float | None]) -> tuple[list[str | None], dict[str | None, list[Any]]]:
        """For a picture: the labels, and for each value the numbers of its rows."""
        series: dict[str | None, list[Any]] = {}
        for part in self.rows:
            series.setdefault(part.value, []).append(number(part))
        return list(dict.fromkeys(part.label for part in self.rows)), series

    def _split_columns(self, parts: Sequence[Any] | None = None) -> list[tuple[str, list[str | None]]]:
        """The columns that name the parts."""
        parts = self.rows if parts is None else parts
        columns: list[tuple[str, list[str | None]]] = []
        if self.every is not None:
            columns.append((self.every, [part.label for part in parts]))
        if self.by is not None:
            columns.append((self.by, [self._value_of(part) for part in parts]))
        return columns
