"""How long people took from one event to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from attrs import define, frozen

from kmexport.reports.breakdown import Breakdown, QueryParts, Question, SplitResult, SplitRow
from kmexport.reports.distributions import Distribution, distribution_of
from kmexport.reports.results import ALL, Choice, ResultColumn, counted, write_duration
from kmexport.reports.splits import By, by_name
from kmexport.reports.sql import IN_WINDOW, events, firsts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kmexport.reports.conditions import Condition
    from kmexport.reports.periods import Every
    from kmexport.reports.query import FactsKeywords, ReportSource
    from kmexport.windows import Window, Zone


@frozen
class TimeBetweenRow(SplitRow):
    """One part of a `TimeBetween`; `mean` and `median` in seconds."""

    people: int
    mean: float | None
    median: float | None


@define(repr=False, kw_only=True)
class TimeBetween(SplitResult):
    """The result of `time_between`: `people`, `mean` and `median` (seconds, None for nobody), and `rows` of a split."""

    first: str
    second: str
    people: int
    mean: float | None
    median: float | None
    rows: tuple[TimeBetweenRow, ...]

    def people_of(
        self,
        *,
        label: Choice = ALL,
        value: Choice = ALL,
        at_least: float | None = None,
        less_than: float | None = None,
    ) -> list[str]:
        """Return the persons who did both; those of them who took at least, or less than, a number of seconds."""
        limits = {"at_least": at_least, "less_than": less_than}
        given = {name: limit for name, limit in limits.items() if limit is not None}
        conditions = {"at_least": "seconds >= $at_least", "less_than": "seconds < $less_than"}
        condition = " and ".join(conditions[name] for name in given) or "true"
        return self._people(label, value, condition, **given)

    def seconds(self) -> list[int]:
        """Return the seconds that each person took, the shortest first."""
        return self._people_query.numbers("seconds")

    def distribution(self) -> Distribution:
        """Count how many people took how long."""
        return distribution_of(self._people_query, "any_value(seconds)", f"{self.first} → {self.second}", "duration")

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw how many people took how long, with the median; with `every=`, the median in each period as a line."""
        from kmexport.reports.plots import distribution, lines  # noqa: PLC0415

        title = f"From “{self.first}” to “{self.second}”"
        if self.every is None:
            return distribution(self.seconds(), self.median, title, ax)
        labels, series = self._series(lambda row: None if row.median is None else row.median / 3_600)
        return lines(labels, series, title, "median, hours", ax)

    def _title(self) -> str:
        if self.mean is None or self.median is None:
            return f"{self.first} → {self.second}: 0 people"
        mean, median = map(write_duration, (self.mean, self.median))
        return f"{self.first} → {self.second}: {counted(self.people, 'person', 'people')}, mean {mean}, median {median}"

    def _columns(self) -> list[ResultColumn]:
        rows = self.rows if self.is_split else (TimeBetweenRow(None, None, self.people, self.mean, self.median),)
        return [
            *(ResultColumn(name, "string", values) for name, values in self._split_columns()),
            ResultColumn("people", "int64", [row.people for row in rows]),
            ResultColumn("mean", "float64", [row.mean for row in rows], form="duration"),
            ResultColumn("median", "float64", [row.median for row in rows], form="duration"),
        ]


def time_between(
    facts: ReportSource,
    first: str,
    second: str,
    window: Window | None = None,
    *,
    first_ever: bool = True,
    by: By | None = None,
    every: Every | None = None,
    tz: Zone | None = None,
    among: Condition | None = None,
    **reading: Unpack[FactsKeywords],
) -> TimeBetween:
    """Measure the average time from event 1 to the first event 2 after it, of the people who did both in this order.

    `first_ever=True`: event 1 is the person's first ever, in the window or before it; the first event 2 after it has
    to lie in the window, so each person counts in one window only. `first_ever=False`: only what lies in the window
    counts: the person's first event 1 in it, and the first event 2 after that, in it too. "After" is later by a
    second or more, so that event 2 may be event 1 again: the time to the second purchase.

    `by=` takes a name or a `Split`. By last touch (the default) only people count who have the same value at both
    events. `every=` gives a row for each period of the zone `tz`, as if the period were the window. `among=` counts
    only people who fulfil a condition.

    Source: https://oldsupport.kissmetrics.com/tools/metrics/metric-calculations.html; the median is ours. Raises
    UnknownNameError for names that no record has. Costs one pass over the rows of both events; `by=` sorts those of
    event 1 and the property's.

    >>> from kmexport import Event, Facts
    >>> facts = Facts([
    ...     Event("a", 10, "E1"), Event("a", 30, "E2"),
    ...     Event("b", 10, "E1"), Event("b", 50, "E2"),
    ... ])
    >>> between = time_between(facts, "E1", "E2")
    >>> between.people, between.mean, between.people_of(less_than=30)
    (2, 30.0, ['a'])
    """
    names = {"first": first, "second": second}
    asked = Question.of(
        facts, window, tz, events=names, splits={"by": by}, among=among, in_window=not first_ever, reading=reading
    )
    breakdown = Breakdown.of(asked, events("second" if first_ever else "first"), every)

    def query(parts: QueryParts) -> str:
        return _from_first_ever(parts) if first_ever else _inside(parts)

    numbers = "count(*), avg(seconds), median(seconds)"
    measured = breakdown.measure(
        query,
        TimeBetweenRow,
        numbers,
        (0, None, None),
        periods_add_up=first_ever,
        values_add_up=not breakdown.is_by_touch,
    )
    people, mean, median = measured.numbers
    return TimeBetween(
        people_query=measured.whole,
        parts_query=measured.parts,
        by=by_name(by),
        every=every,
        first=first,
        second=second,
        people=people,
        mean=mean,
        median=median,
        rows=measured.rows,
        notes=measured.notes,
    )


_SECONDS = "(epoch_us(min(e.time)) - epoch_us(any_value(s.time))) // 1000000 as seconds"


def _from_first_ever(parts: QueryParts) -> str:
    starts = firsts(events("first", in_window=False), "person")
    later = events("second", in_window=False)
    pairs = f"""
        select s.person, any_value(s.time) as started, min(e.time) as time, {_SECONDS}
        from ({starts}) s join ({later}) e on s.person = e.person and e.time > s.time group by s.person"""
    return _with_value(parts, parts.in_periods(f"select * from ({pairs}) where {IN_WINDOW}"))


def _inside(parts: QueryParts) -> str:
    starts = firsts(parts.in_periods(events("first")))
    pairs = f"""
        select s.person, s.period, any_value(s.time) as started, min(e.time) as time, {_SECONDS}
        from ({starts}) s join ({events("second")}) e on s.person = e.person and e.time > s.time and e.time < s.until
        group by s.person, s.period"""
    return _with_value(parts, pairs)


def _with_value(parts: QueryParts, pairs: str) -> str:
    """Return the pairs with the value of the split; by last touch those that have the same at both events."""
    if not parts.is_by_touch:
        return parts.with_split_value(pairs)
    at_second = parts.with_split_value(pairs)
    at_first = parts.with_split_value(f"""
        select * exclude (value, time, started), started as time, value as second_value from ({at_second})""")
    return f"select * from ({at_first}) where value is not distinct from second_value"
