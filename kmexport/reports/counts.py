"""How many people did an event, and how often."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from attrs import define, frozen

from kmexport.reports.distributions import Distribution, distribution_of
from kmexport.reports.filing import By, by_name
from kmexport.reports.occurrences import events
from kmexport.reports.query import Query
from kmexport.reports.results import ALL, Choice, Column, ratio
from kmexport.reports.splits import Part, Pieces, SplitResult, Splitting
from kmexport.reports.writing import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kmexport.reports.conditions import Condition
    from kmexport.reports.periods import Every
    from kmexport.reports.sources import Reading, Source
    from kmexport.windows import Window, Zone

__all__ = ["CountRow", "EventCounts", "event_counts"]


@frozen
class CountRow(Part):
    """One part of `EventCounts`."""

    people: int
    times: int
    average: float | None


@define(repr=False, kw_only=True)
class EventCounts(SplitResult):
    """What `event_counts` gives: `people`, `times`, `average` (times a person; None for nobody), and `rows`."""

    event: str
    people: int
    times: int
    average: float | None
    rows: tuple[CountRow, ...]

    def people_of(self, *, label: Choice = ALL, value: Choice = ALL) -> list[str]:
        """The persons who did it: in one period, with one value (None: without one), or all."""
        return self._people(label, value)

    def distribution(self) -> Distribution:
        """How many people did it how many times."""
        return distribution_of(self._behind, "count(*)", f"times of {self.event}", "number")

    def plot(self, ax: Axes | None = None) -> Axes:
        """Lines of people in the periods of `every=`, one for each value of `by=`; bars without `every=`."""
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

    def _columns(self) -> list[Column]:
        rows = self.rows if self.is_split else (CountRow(None, None, self.people, self.times, self.average),)
        return [
            *(Column(name, "string", values) for name, values in self._split_columns()),
            Column("people", "int64", [row.people for row in rows]),
            Column("times", "int64", [row.times for row in rows]),
            Column("average", "float64", [row.average for row in rows], form="average"),
        ]


def event_counts(
    facts: Source,
    event: str,
    window: Window | None = None,
    *,
    by: By | None = None,
    every: Every | None = None,
    tz: Zone | None = None,
    among: Condition | None = None,
    **reading: Unpack[Reading],
) -> EventCounts:
    """People who did an event, and times: each person once, each occurrence.

    `every="day"` (or "hour", "week", "month") gives `.rows` for the periods of the zone `tz`, those without an
    occurrence too; without a window they go from the first occurrence to the last. `by=` gives a row for each value of
    a property: a name, or a `Split` with a moment (default: `"last_touch"`, the person's value in force at the event,
    of its second or the latest before; else None). A person may stand in several rows, so their people can add up to
    more than `.people`. `among=` counts only the people who fulfil a condition, such as `has("plan", equal_to="Pro")`.

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
    asked = Query.of(facts, window, tz, events={"event": event}, splits={"by": by}, among=among, reading=reading)
    source = events("event")
    splitting = Splitting.of(asked, source, every)

    def query(pieces: Pieces) -> str:
        return pieces.valued(pieces.in_periods(source))

    numbers = "count(distinct person), count(*)"
    measured = splitting.measure(query, _row, numbers, (0, 0), periods_add_up=True)
    people, times = measured.numbers
    return EventCounts(
        behind=measured.whole,
        parts=measured.parts,
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
