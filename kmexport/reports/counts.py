"""How many people did an event, how often, and how often before each conversion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from attrs import define, frozen

from kmexport.reports.breakdown import Breakdown, QueryParts, Question, SplitResult, SplitRow
from kmexport.reports.distributions import Distribution, distribution_of
from kmexport.reports.results import ALL, Choice, ResultColumn, counted, ratio
from kmexport.reports.splits import By, by_name
from kmexport.reports.sql import IN_WINDOW, events

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kmexport.reports.conditions import Condition
    from kmexport.reports.periods import Every
    from kmexport.reports.query import FactsKeywords, ReportSource
    from kmexport.windows import Window, Zone


@frozen
class CountRow(SplitRow):
    """One part of `EventCounts`."""

    people: int
    times: int
    average: float | None


@define(repr=False, kw_only=True)
class EventCounts(SplitResult):
    """The result of `event_counts`: `people`, `times`, `average` (times a person; None for nobody), and `rows`."""

    event: str
    people: int
    times: int
    average: float | None
    rows: tuple[CountRow, ...]

    def people_of(self, *, label: Choice = ALL, value: Choice = ALL) -> list[str]:
        """Return the persons who did it: in one period, with one value (None: without one), or all."""
        return self._people(label, value)

    def distribution(self) -> Distribution:
        """Count how many people did it how many times."""
        return distribution_of(self._people_query, "count(*)", f"times of {self.event}", "number")

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw lines of people in the periods of `every=`, one for each value of `by=`; bars without `every=`."""
        from kmexport.reports.plots import bars, lines  # noqa: PLC0415

        title = f"People who did “{self.event}”"
        if self.every is None:
            rows = self.rows or (CountRow(None, self.event, self.people, self.times, self.average),)
            return bars([row.value for row in rows], [row.people or None for row in rows], title, "people", ax)
        labels, series = self._series(lambda row: row.people if self.people else None)
        return lines(labels, series, title, "people", ax)

    def _title(self) -> str:
        average = "" if self.average is None else f", {self.average:,.2f} times a person"
        people = counted(self.people, "person", "people")
        return f"{self.event}: {people}, {counted(self.times, 'time')}{average}"

    def _columns(self) -> list[ResultColumn]:
        rows = self.rows if self.is_split else (CountRow(None, None, self.people, self.times, self.average),)
        return [
            *(ResultColumn(name, "string", values) for name, values in self._split_columns()),
            ResultColumn("people", "int64", [row.people for row in rows]),
            ResultColumn("times", "int64", [row.times for row in rows]),
            ResultColumn("average", "float64", [row.average for row in rows], form="average"),
        ]


def event_counts(
    facts: ReportSource,
    event: str,
    window: Window | None = None,
    *,
    by: By | None = None,
    every: Every | None = None,
    tz: Zone | None = None,
    among: Condition | None = None,
    **reading: Unpack[FactsKeywords],
) -> EventCounts:
    """Count the people who did an event, and the times: each person once, each occurrence.

    `every="day"` (or "hour", "week", "month") gives `.rows` for the periods of the zone `tz`, those without an
    occurrence too; without a window they go from the first occurrence to the last. `by=` gives a row for each value of
    a property: a name, or a `Split` with a moment. The default is `"last_touch"`: the person's value in the second of
    the event, else the latest before it, else None. A person may stand in several rows, so the people of the rows can
    add up to more than `.people`. `among=` counts only the people who fulfil a condition, such as
    `has("plan", equal_to="Pro")`.

    Source: https://oldsupport.kissmetrics.com/tools/metrics.html, people, times and average times a person. Raises
    UnknownNameError for names that no record has. Costs one pass over the event's rows; `by=` sorts them and the
    property's rows.

    >>> from kmexport import Event, Facts, Window
    >>> did = [("a", 1), ("a", 5), ("b", 7), ("c", 100)]
    >>> facts = Facts([Event(person, moment, "X") for person, moment in did])
    >>> counts = event_counts(facts, "x", Window(0, 100))
    >>> counts.people, counts.times, counts.average
    (2, 3, 1.5)
    >>> counts.people_of()
    ['a', 'b']
    """
    asked = Question.of(
        facts, window, tz, events={"event": event}, splits={"by": by}, among=among, in_window=True, reading=reading
    )
    source = events("event")
    breakdown = Breakdown.of(asked, source, every)

    def query(parts: QueryParts) -> str:
        return parts.with_split_value(parts.in_periods(source))

    numbers = "count(distinct person), count(*)"
    measured = breakdown.measure(query, _row, numbers, (0, 0), periods_add_up=True)
    people, times = measured.numbers
    return EventCounts(
        people_query=measured.whole,
        parts_query=measured.parts,
        by=by_name(by),
        every=every,
        event=event,
        people=people,
        times=times,
        average=ratio(times, people),
        rows=measured.rows,
        notes=measured.notes,
    )


def _row(label: str | None, value: str | None, people: int, times: int) -> CountRow:
    return CountRow(label, value, people, times, ratio(times, people))


@frozen
class BeforeRow(SplitRow):
    """One part of `OccurrencesBefore`."""

    people: int
    times: int
    conversions: int
    average: float | None


@define(repr=False, kw_only=True)
class OccurrencesBefore(SplitResult):
    """The result of `occurrences_before`: `times` of the event, `conversions`, `average` (None for none), `people`."""

    event: str
    conversion: str
    people: int
    times: int
    conversions: int
    average: float | None
    rows: tuple[BeforeRow, ...]

    def people_of(self, *, label: Choice = ALL, value: Choice = ALL) -> list[str]:
        """Return the persons who converted: in one period, with one value (None: without one), or all."""
        return self._people(label, value)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw a line of the average in the periods of `every=`, one for each value of `by=`; bars without `every=`."""
        from kmexport.reports.plots import bars, lines  # noqa: PLC0415

        title = f"“{self.event}” before each “{self.conversion}”"
        if self.every is None:
            rows = self.rows or (BeforeRow(None, "all", self.people, self.times, self.conversions, self.average),)
            return bars([row.value for row in rows], [row.average for row in rows], title, "times", ax, form="average")
        labels, series = self._series(lambda row: row.average)
        return lines(labels, series, title, "times", ax, form="average")

    def _title(self) -> str:
        average = "" if self.average is None else f"{self.average:,.2f} times on average; "
        people = counted(self.people, "person", "people")
        return f"{self.event} before {self.conversion}: {average}{counted(self.conversions, 'conversion')} of {people}"

    def _columns(self) -> list[ResultColumn]:
        whole = BeforeRow(None, None, self.people, self.times, self.conversions, self.average)
        rows = self.rows if self.is_split else (whole,)
        return [
            *(ResultColumn(name, "string", values) for name, values in self._split_columns()),
            ResultColumn("people", "int64", [row.people for row in rows]),
            ResultColumn("times", "int64", [row.times for row in rows]),
            ResultColumn("conversions", "int64", [row.conversions for row in rows]),
            ResultColumn("average", "float64", [row.average for row in rows], form="average"),
        ]


def occurrences_before(
    facts: ReportSource,
    event: str,
    conversion: str,
    window: Window | None = None,
    *,
    where: Condition | None = None,
    by: By | None = None,
    every: Every | None = None,
    tz: Zone | None = None,
    among: Condition | None = None,
    **reading: Unpack[FactsKeywords],
) -> OccurrencesBefore:
    """Count how often people do an event before each conversion in the window, on average.

    An occurrence of the event belongs to the person's next conversion, in the same second or later. It counts if that
    conversion lies in the window, even if the occurrence itself lies before it. What comes after the last conversion
    does not count. The average is the number of these occurrences divided by the number of conversions in the window:
    not the mean of people's own averages. `where=` counts only occurrences in whose second the person was given such a
    value: `where=has("product", equal_to="mug")`.

    `by=` takes a name or a `Split`: by last touch (the default) everything stands under the value at the conversion.
    `every=` gives a row for each period of the zone `tz`. `among=` counts only people who fulfil a condition.

    Source: https://oldsupport.kissmetrics.com/tools/metrics/average-occurrences-between-two-events.html; that the event
    in the conversion's own second belongs to it is ours. Raises UnknownNameError for names that no record has. Costs
    one pass over the rows of both events.

    >>> from kmexport import Event, Facts
    >>> did = [(1, "viewed"), (2, "viewed"), (3, "bought"), (4, "viewed"), (5, "bought")]
    >>> facts = Facts([Event("a", moment, name) for moment, name in did])
    >>> found = occurrences_before(facts, "viewed", "bought")
    >>> found.times, found.conversions, found.average
    (3, 2, 1.5)
    """
    names = {"event": event, "conversion": conversion}
    asked = Question.of(facts, window, tz, events=names, splits={"by": by}, among=among, where=where, reading=reading)
    breakdown = Breakdown.of(asked, events("conversion"), every)

    def query(parts: QueryParts) -> str:
        return parts.with_split_value(parts.in_periods(_before(asked.where)))

    numbers = "count(distinct person), count(*) filter (not is_conversion), count(*) filter (is_conversion)"
    measured = breakdown.measure(query, _before_row, numbers, (0, 0, 0), periods_add_up=True)
    whole = _before_row(None, None, *measured.numbers)
    return OccurrencesBefore(
        people_query=measured.whole,
        parts_query=measured.parts,
        by=by_name(by),
        every=every,
        event=event,
        conversion=conversion,
        people=whole.people,
        times=whole.times,
        conversions=whole.conversions,
        average=whole.average,
        rows=measured.rows,
        notes=measured.notes,
    )


def _before_row(label: str | None, value: str | None, people: int, times: int, conversions: int) -> BeforeRow:
    return BeforeRow(label, value, people, times, conversions, ratio(times, conversions))


def _before(where: str | None) -> str:
    """Return each conversion in the window, and each event that belongs to one, with the time of the conversion."""
    every_event, every_conversion = (events(name, in_window=False) for name in ("event", "conversion"))
    if where is not None:
        every_event = f"select * from ({every_event}) where {where}"
    belonging = f"""
        select e.person, c.time from ({every_event}) e
        asof join (select distinct person, time from ({every_conversion})) c
            on e.person = c.person and e.time <= c.time"""
    return f"""
        select person, time, true as is_conversion from ({events("conversion")})
        union all
        select person, time, false from ({belonging}) where {IN_WINDOW}"""
