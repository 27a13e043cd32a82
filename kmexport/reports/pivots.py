"""The power report: numbers of people, events and amounts in columns, groups of people within one another in rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias, Unpack

from attrs import define, evolve, field, frozen

from kmexport.errors import UnknownNameError
from kmexport.reports.breakdown import SplitResult
from kmexport.reports.conditions import NameCollector, check_condition
from kmexport.reports.conversions import conversion
from kmexport.reports.counts import event_counts
from kmexport.reports.durations import time_between
from kmexport.reports.periods import Every, check_every, days_shown
from kmexport.reports.query import FactsKeywords, ReportSource, check_one_of, facts_of, with_closest, zone_of
from kmexport.reports.results import ALL, Choice, NumberForm, Result, ResultColumn, check_choice, texts_of, value_shown
from kmexport.reports.splits import (
    EVERY_VALUE,
    PERSONS_OWN,
    At,
    BoundGroup,
    BoundSplit,
    By,
    GroupBy,
    Split,
    as_name,
    as_split,
    within,
)  # fmt: skip
from kmexport.reports.totals import property_total
from kmexport.reports.values import PropertyValues, property_values
from kmexport.tables import Facts
from kmexport.windows import Window, Zone, check_window

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kmexport.reports.conditions import Condition
    from kmexport.reports.periods import PeriodLookup

MOST_ROWS: Final = 3  # groups within one another, as the vendor has it
What: TypeAlias = Literal[
    "everyone", "people", "times", "average_times", "conversions", "rate", "mean_time", "median_time", "total",
    "values", "average_per_incident", "average_per_person",
]  # fmt: skip


class _Kind(NamedTuple):
    """A kind of number: its report, the names that it takes, the attribute that has it, and how it is written."""

    report: Callable[..., SplitResult]
    names: tuple[str, ...]
    attribute: str
    form: NumberForm
    zero: int | float | None


def _everyone(facts: Facts, window: Window | None, *, by: Split, **options: Any) -> PropertyValues:
    return property_values(facts, by, window, **options)


_KINDS: Final[dict[str, _Kind]] = {
    "everyone": _Kind(_everyone, (), "people", "number", 0),
    "people": _Kind(event_counts, ("event",), "people", "number", 0),
    "times": _Kind(event_counts, ("event",), "times", "number", 0),
    "average_times": _Kind(event_counts, ("event",), "average", "average", None),
    "conversions": _Kind(conversion, ("event", "event"), "numerator", "number", 0),
    "rate": _Kind(conversion, ("event", "event"), "rate", "share", None),
    "mean_time": _Kind(time_between, ("event", "event"), "mean", "duration", None),
    "median_time": _Kind(time_between, ("event", "event"), "median", "duration", None),
    "total": _Kind(property_total, ("property",), "total", "amount", 0.0),
    "values": _Kind(property_total, ("property",), "values", "number", 0),
    "average_per_incident": _Kind(property_total, ("property",), "average_per_incident", "average", None),
    "average_per_person": _Kind(property_total, ("property",), "average_per_person", "average", None),
}


@frozen
class Metric:
    """A column of `pivot`, of a window and of people of its own where they are given.

    - "everyone": who did anything or had a property set, ever;
    - "people", "times", "average_times" of an event: as `event_counts`;
    - "conversions", "rate" of two events: as `conversion`;
    - "mean_time", "median_time" of two events: seconds, as `time_between`;
    - "total", "values", "average_per_incident", "average_per_person" of a property: as `property_total`.

    >>> Metric("rate", "signed up", "purchased").title
    'signed up → purchased: rate'
    """

    what: What
    name: str | None = None
    second: str | None = None
    window: Window | None = field(default=None, kw_only=True)
    among: Condition | None = field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_one_of("what", _KINDS, self.what)
        given = self._names
        takes = _KINDS[self.what].names
        if len(given) != len(takes):
            of = {0: "no name", 1: f"the name of one {takes[0] if takes else ''}", 2: "the names of two events"}
            msg = f"Metric({self.what!r}, …) takes {of[len(takes)]}, not {given!r}"
            raise ValueError(msg)
        for name in given:
            as_name(name)
        if self.window is not None:
            check_window(self.window)
        if self.among is not None:
            check_condition(self.among)

    @property
    def _names(self) -> list[str]:
        return [name for name in (self.name, self.second) if name is not None]

    @property
    def title(self) -> str:
        """The head of the column."""
        names = " → ".join(self._names)
        head = f"{names}: {self.what.replace('_', ' ')}" if names else self.what
        head += "" if self.window is None else f" {days_shown(self.window)}"
        return head if self.among is None else f"{head} who {self.among}"


@frozen
class _Nested(Split):
    """Groups within one another as one Split, whose value is a JSON array."""

    groups: tuple[Split | GroupBy, ...] = field(kw_only=True)
    window: Window | None = field(kw_only=True)
    zone: tzinfo = field(kw_only=True)

    def bind(self, facts: Facts, parameter: str, params: dict[str, object], at: At) -> BoundSplit:  # noqa: ARG002
        parts: list[BoundSplit | BoundGroup] = []
        for place, group in enumerate(self.groups):
            name = f"{parameter}{place}"
            if isinstance(group, GroupBy):
                parts.append(group.bind(facts, name, params, self.window, self.zone))
                continue
            in_window = within(name, self.window, params)
            parts.append(evolve(group.bind(facts, name, params, "last_in_window"), within=in_window))
        return _BoundNested(self.property, "", "last_ever", "as_sent", parts=tuple(parts))


@frozen
class _BoundNested(BoundSplit):
    parts: tuple[BoundSplit | BoundGroup, ...] = field(kw_only=True)

    @property
    def adds_up(self) -> bool:
        return all(part.adds_up for part in self.parts)

    def with_split_value(self, source: str, lookup: PeriodLookup | None, *, column: str = "value") -> str:
        names = ", ".join(f"part{place}" for place in range(len(self.parts)))
        for place, part in enumerate(self.parts):
            source = part.with_split_value(source, lookup, column=f"part{place}")
        return f"select * exclude ({names}), to_json([{names}])::varchar as {column} from ({source})"


@frozen
class PivotRow:
    """One row: the period (None without `every=`), the value of each group, and the number of each column."""

    label: str | None
    values: tuple[str | None, ...]
    cells: tuple[float | None, ...]


@define(repr=False, kw_only=True)
class Pivot(Result):
    """The result of `pivot`: `rows` of cells under the heads `by` and `columns`, and `totals`, each column's number
    without groups.
    """

    by: tuple[str, ...]
    every: str | None
    columns: tuple[str, ...]
    totals: tuple[float | None, ...]
    rows: tuple[PivotRow, ...]
    _metrics: tuple[Metric, ...] = field(repr=False)
    _results: tuple[SplitResult, ...] = field(repr=False, eq=False)

    def people_of(
        self, column: str | int = 0, values: tuple[str | None, ...] | None = None, *, label: Choice = ALL
    ) -> list[str]:
        """The persons of a cell: of a column (its head, or its place from 0) and the values of a row; None: of all.

        Of conversions and rates these are who converted, of times and averages who is in them, of a total who has a
        value.
        """
        place = self._place(column)
        result: Any = self._results[place]
        value: Choice = ALL
        if values is not None:
            if (label, values) not in {(label, row.values) for row in self.rows}:
                msg = f"the report has no row {values!r}"
                raise LookupError(msg)
            keys = [row.value for row in result.rows if _values(row.value) == values]
            if not keys:  # a row that only other columns have
                return []
            value = keys[0] if self.by else ALL
        if label is not ALL:
            check_choice("period", label, list(dict.fromkeys(row.label for row in self.rows)))
            if label not in [row.label for row in result.rows]:
                return []
        people: list[str] = result.people_of(label=label, value=value)
        return people

    def plot(self, ax: Axes | None = None, *, column: str | int = 0) -> Axes:
        """A bar of a column's number for each row; with `every=` a line for each of the groups, over the periods."""
        from kmexport.reports.plots import bars, lines  # noqa: PLC0415

        place = self._place(column)
        kind = _KINDS[self._metrics[place].what]
        is_duration = kind.form == "duration"
        form: NumberForm = "amount" if is_duration else kind.form
        unit = "hours" if is_duration else self.columns[place]
        names = [row.values[0] if len(self.by) == 1 else " · ".join(map(value_shown, row.values)) for row in self.rows]
        numbers = [row.cells[place] for row in self.rows]
        if is_duration:
            numbers = [None if number is None else number / 3_600 for number in numbers]
        if not any(numbers):
            numbers = [None] * len(numbers)
        title = f"{self.columns[place]}{' by ' if self.by else ''}{', '.join(self.by)}"
        if self.every is None:
            return bars(names, numbers, title, unit, ax, form=form)
        series: dict[str | None, list[float | None]] = {}
        for name, number in zip(names, numbers, strict=True):
            series.setdefault(name, []).append(number)
        return lines(list(dict.fromkeys(row.label for row in self.rows)), series, title, unit, ax, form=form)

    def _place(self, column: str | int) -> int:
        if isinstance(column, int):
            if not 0 <= column < len(self.columns):
                msg = f"the report has the columns 0 to {len(self.columns) - 1}, not {column}"
                raise LookupError(msg)
            return column
        check_choice("column", column, self.columns)
        return self.columns.index(column)

    def _title(self) -> str:
        columns = zip(self.columns, self.totals, self._metrics, strict=True)
        totals = [f"{name} {texts_of([total], _KINDS[one.what].form)[0]}" for name, total, one in columns]
        return f"{', '.join(totals)}; by {', '.join([*([self.every] if self.every else []), *self.by])}"

    def _columns(self) -> list[ResultColumn]:
        found = [ResultColumn(self.every, "string", [row.label for row in self.rows])] if self.every else []
        found += [
            ResultColumn(name, "string", [row.values[place] for row in self.rows]) for place, name in enumerate(self.by)
        ]
        for place, (name, metric) in enumerate(zip(self.columns, self._metrics, strict=True)):
            kind = _KINDS[metric.what]
            type_: Literal["int64", "float64"] = "int64" if kind.form == "number" else "float64"
            found.append(ResultColumn(name, type_, [row.cells[place] for row in self.rows], form=kind.form))
        return found


def pivot(
    facts: ReportSource,
    rows: Sequence[By | GroupBy],
    columns: Sequence[Metric] | Mapping[str, Metric],
    window: Window | None = None,
    *,
    every: Every | None = None,
    tz: Zone | None = None,
    among: Condition | None = None,
    **reading: Unpack[FactsKeywords],
) -> Pivot:
    """Put people into groups, and these into groups again, with any numbers of each: the vendor's power report.

    `rows` are one to three groups, the outer one first: names of properties, a `Split` or a `GroupBy`. A Split says
    which of a person's values counts: `"last_in_window"` (the default), `"first_in_window"`, `"first_ever"`,
    `"last_ever"`, or all of them, `"every_in_window"` and `"every_ever"`: then a person counts under each value, and
    the rows add up to more than the whole. `every="month"` (or "hour", "day", "week") makes periods of the zone `tz`
    the outermost rows, each as if it were the window; it is one of the three.

    `columns` are each a `Metric`, or a mapping of heads to them. A metric may have a window of its own (not with
    `every=`), and count only people who fulfil a condition of its own; the groups are still those of the pivot's
    window. `among=` holds for all columns. The group with the largest number in the first column comes first.

    Source: https://oldsupport.kissmetrics.com/tools/power-report/. The moment of a Split without one, and that each
    period counts as the window, are ours. Raises UnknownNameError for names that no record has. Costs what the report
    of each column costs, and a join for each of the groups.

    >>> from kmexport import Event, Facts
    >>> facts = Facts([
    ...     Event("ann", 1, "visited", {"plan": "Pro"}),
    ...     Event("ann", 2, "bought", {"price": 5}),
    ...     Event("bob", 1, "visited", {"plan": "Pro"}),
    ...     Event("bob", 3, "visited"),
    ...     Event("cy", 1, "visited", {"plan": "Free"}),
    ... ])
    >>> pivot(
    ...     facts,
    ...     ["plan", GroupBy("times", "visited")],
    ...     {"people": Metric("people", "visited"), "revenue": Metric("total", "price")},
    ... )
    people 3, revenue 5; by plan, visited: times
      plan  visited: times  people  revenue
      Pro   1                    1        5
      Pro   2                    1        0
      Free  1                    1        0
    """
    groups = _groups(rows, every)
    metrics = _heads(columns, every)
    if "margin" in reading and not isinstance(facts, Facts):
        msg = "margin= leaves out files, but a pivot looks at records outside its window too: leave it out"
        raise ValueError(msg)
    wanted = _wanted(groups, list(metrics.values()), among)
    found = facts_of(facts, reading, None if wanted.everyone else wanted.events, wanted.properties)
    heads = tuple(group.title if isinstance(group, GroupBy) else group.property for group in groups)
    nested = _Nested(", ".join(heads), groups=groups, window=window, zone=zone_of(tz, window)) if groups else None
    options = {"by": nested, "every": every, "tz": zone_of(tz, window)}
    try:
        results = _results(found, metrics.values(), window, among, options)
    except UnknownNameError as error:
        raise with_closest(error, facts, reading) from None
    kinds = [_KINDS[metric.what] for metric in metrics.values()]
    return Pivot(
        people_query=evolve(results[0]._people_query, is_own=found is not facts),
        by=heads,
        every=every,
        columns=tuple(metrics),
        totals=tuple(getattr(result, kind.attribute) for result, kind in zip(results, kinds, strict=True)),
        rows=_rows(results, kinds),
        metrics=tuple(metrics.values()),
        results=tuple(results),
        notes=tuple(dict.fromkeys(note for result in results for note in result.notes)),
    )


def _results(
    facts: Facts, metrics: Iterable[Metric], window: Window | None, among: Condition | None, options: Mapping[str, Any]
) -> list[SplitResult]:
    """Return the report that has the numbers of each metric. Numbers of one report share it."""
    found: list[tuple[object, SplitResult]] = []
    for metric in metrics:
        both = [condition for condition in (among, metric.among) if condition is not None]
        whom = both[0] & both[1] if len(both) == 2 else both[0] if both else None
        report, names, span = _KINDS[metric.what].report, metric._names, metric.window or window
        question = (report, names, span, whom)
        same = next((result for one, result in found if one == question), None)
        found.append((question, same or report(facts, *names, span, among=whom, **options)))
    return [result for _, result in found]


def _groups(rows: Sequence[By | GroupBy], every: Every | None) -> tuple[Split | GroupBy, ...]:
    groups = tuple(one if isinstance(one, GroupBy) else as_split(one) for one in _list_of(rows))
    if every is not None:
        check_every(every)
    count = len(groups) + (every is not None)
    if not 1 <= count <= MOST_ROWS:
        msg = f"rows are one to {MOST_ROWS} groups{', of which every= is one' if every else ''}: these are {count}"
        raise ValueError(msg)
    allowed = (*PERSONS_OWN, *EVERY_VALUE)
    for group in groups:
        if isinstance(group, Split) and group.at is not None and group.at not in allowed:
            msg = f"this report splits at {', '.join(map(repr, allowed))}, not at {group.at!r}"
            raise ValueError(msg)
    return groups


def _list_of(given: object) -> Sequence[Any]:
    if isinstance(given, str | Split | GroupBy | Metric) or not isinstance(given, Sequence):
        msg = f"rows and columns are lists, not {given!r}: put it into [ ]"
        raise TypeError(msg)
    return given


def _heads(columns: Sequence[Metric] | Mapping[str, Metric], every: Every | None) -> dict[str, Metric]:
    """Return the metrics under their heads."""
    given = columns.items() if isinstance(columns, Mapping) else [(None, one) for one in _list_of(columns)]
    found: dict[str, Metric] = {}
    for head, metric in given:
        if not isinstance(metric, Metric):
            msg = f'a column is a Metric, such as Metric("people", "signed up"), not {metric!r}'
            raise TypeError(msg)
        if every is not None and (metric.what == "everyone" or metric.window is not None):
            what = "everyone is the same in each period" if metric.what == "everyone" else "each period is the window"
            msg = f"{what}: leave every= out, or this Metric({metric.what!r}, …)"
            raise ValueError(msg)
        name = metric.title if head is None else head
        if name in found:
            msg = f"two columns would be called {name!r}: give heads of your own, {{'first': Metric(…), 'second': …}}"
            raise ValueError(msg)
        found[name] = metric
    if not found:
        msg = 'columns are one Metric or more: [Metric("people", "signed up")]'
        raise ValueError(msg)
    return found


def _wanted(groups: Sequence[Split | GroupBy], metrics: Sequence[Metric], among: Condition | None) -> NameCollector:
    """Return the names that all columns and rows have to read."""
    wanted = NameCollector()
    for group in groups:
        events, properties = group.needed()
        wanted.events += events
        wanted.properties += properties
    for metric in metrics:
        target = wanted.events if "event" in _KINDS[metric.what].names else wanted.properties
        target += metric._names
        wanted.everyone = wanted.everyone or metric.what == "everyone"
    for condition in (among, *(metric.among for metric in metrics)):
        if condition is not None:
            check_condition(condition).sql("person", wanted)
    return wanted


def _values(key: str | None) -> tuple[str | None, ...]:
    return () if key is None else tuple(json.loads(key))


def _rows(results: Sequence[SplitResult], kinds: Sequence[_Kind]) -> tuple[PivotRow, ...]:
    """Return every row that a column has, in the order of the periods, then with most in the first column first."""
    labels: set[str | None] = set()
    cells: dict[tuple[str | None, tuple[str | None, ...]], list[float | None]] = {}
    sizes: dict[tuple[str | None, ...], list[float]] = {}
    for place, (result, kind) in enumerate(zip(results, kinds, strict=True)):
        for row in result.rows:
            labels.add(row.label)
            values = _values(row.value)
            number = getattr(row, kind.attribute)
            cells.setdefault((row.label, values), [one.zero for one in kinds])[place] = number
            for length in range(1, len(values) + 1):
                sizes.setdefault(values[:length], [0.0] * len(kinds))[place] += number or 0
    # With periods each of them has every group, so that lines have no gaps but where there is no number.
    groups = {values for _, values in cells}

    def place_of(values: tuple[str | None, ...]) -> list[tuple[list[float], bool, str]]:
        parts = [(values[: at + 1], value) for at, value in enumerate(values)]
        return [([-size for size in sizes[part]], value is None, value or "") for part, value in parts]

    return tuple(
        PivotRow(label, values, tuple(cells.get((label, values), [one.zero for one in kinds])))
        for label in sorted(labels, key=_moment)
        for values in sorted(groups, key=place_of)
    )


def _moment(label: str | None) -> tuple[float, str]:
    """The place of a period's label in time. An hour has an offset: it decides where a clock was set back."""
    return datetime.fromisoformat(str(label)).timestamp() if ":" in str(label) else 0, str(label)
