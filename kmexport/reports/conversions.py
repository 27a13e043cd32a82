"""From one event to another: how many people went on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Unpack

from attrs import define, frozen

from kmexport.format.names import fold_name
from kmexport.reports.breakdown import Breakdown, QueryParts, Question, SplitResult, SplitRow
from kmexport.reports.results import ALL, Choice, ResultColumn, ratio
from kmexport.reports.splits import By, by_name
from kmexport.reports.sql import events, firsts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kmexport.reports.conditions import Condition
    from kmexport.reports.periods import Every
    from kmexport.reports.query import FactsKeywords, ReportSource
    from kmexport.windows import Window, Zone


Side = Literal["numerator", "denominator", "dropped"]

_CONDITIONS: dict[Side, str] = {
    "numerator": "in_numerator",
    "denominator": "in_denominator",
    "dropped": "in_denominator",
}


@frozen
class ConversionRow(SplitRow):
    """One part of a `Conversion`."""

    numerator: int
    denominator: int
    rate: float | None


@define(repr=False, kw_only=True)
class Conversion(SplitResult):
    """The result of `conversion`: `numerator`, `denominator`, `rate` (None for nobody), and `rows` of a split."""

    first: str
    second: str
    repeating: bool
    numerator: int
    denominator: int
    rate: float | None
    rows: tuple[ConversionRow, ...]

    def people_of(self, side: Side = "numerator", *, label: Choice = ALL, value: Choice = ALL) -> list[str]:
        """Return the persons of the numerator, of the denominator, or those of the denominator who "dropped" out.

        With `repeating=True` these are the persons who did event 2, who did event 1, and who did only event 1.
        """
        if side not in _CONDITIONS:
            msg = f'side is "numerator", "denominator" or "dropped", not {side!r}'
            raise ValueError(msg)
        people = self._people(label, value, _CONDITIONS[side])
        if side != "dropped":
            return people
        converted = set(self._people(label, value, _CONDITIONS["numerator"]))
        return [person for person in people if person not in converted]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw a line of the rate in the periods of `every=`, one for each value of `by=`; bars without `every=`."""
        from kmexport.reports.plots import bars, lines  # noqa: PLC0415

        title = f"“{self.first}” to “{self.second}”"
        if self.every is None:
            rows = self.rows or (ConversionRow(None, "all", self.numerator, self.denominator, self.rate),)
            return bars([row.value for row in rows], [row.rate for row in rows], title, "rate", ax, form="share")
        labels, series = self._series(lambda row: row.rate)
        return lines(labels, series, title, "rate", ax, form="share")

    def _title(self) -> str:
        rate = "" if self.rate is None else f" ({self.rate:.1%})"
        return f"{self.first} → {self.second}: {self.numerator:,} of {self.denominator:,}{rate}"

    def _columns(self) -> list[ResultColumn]:
        rows = self.rows if self.is_split else (ConversionRow(None, None, self.numerator, self.denominator, self.rate),)
        return [
            *(ResultColumn(name, "string", values) for name, values in self._split_columns()),
            ResultColumn("numerator", "int64", [row.numerator for row in rows]),
            ResultColumn("denominator", "int64", [row.denominator for row in rows]),
            ResultColumn("rate", "float64", [row.rate for row in rows], form="share"),
        ]


def conversion(
    facts: ReportSource,
    first: str,
    second: str,
    window: Window | None = None,
    *,
    repeating: bool = False,
    by: By | None = None,
    every: Every | None = None,
    tz: Zone | None = None,
    among: Condition | None = None,
    **reading: Unpack[FactsKeywords],
) -> Conversion:
    """Count the conversion rate from event 1 to event 2: of people, once each, or of occurrences.

    Each person counts once. The denominator is the people with event 1 in the window. Those whose first-ever event 2
    came before their first event 1 in the window are left out. The numerator is the people of the denominator whose
    first-ever event 2 came after that event 1, up to the window's end. "After" is later by a second or more, for the
    rule says "at or after" only of funnels: a person who did both in the same second is in the denominator, and is not
    converted. `repeating=True` divides occurrences of event 2 by occurrences of event 1, both in the window.

    `by=` takes a name or a `Split`. By last touch (the default) a person stands under the value at event 1; people who
    had another value at event 2 are left out. With `repeating=True` each occurrence stands under its own value.
    `every=` gives a row for each period of the zone `tz`, as if the period were the window. `among=` counts only people
    who fulfil a condition.

    Source: https://oldsupport.kissmetrics.com/tools/metrics/metric-calculations.html. "First-ever" reaches as far back
    as the facts do: don't give Facts a window. Raises UnknownNameError for names that no record has. Costs one pass
    over the rows of both events; `by=` sorts those of event 1 and the property's.

    >>> from kmexport import Event, Facts, Window
    >>> facts = Facts([
    ...     Event("a", 10, "E1"), Event("a", 20, "E2"), Event("b", 10, "E1"),
    ...     Event("c", 5, "E2"), Event("c", 10, "E1"),
    ...     Event("c", 30, "E2"), Event("d", 10, "E1"), Event("d", 120, "E2"),
    ... ])
    >>> once = conversion(facts, "E1", "E2", Window(0, 100))
    >>> once.numerator, once.denominator, once.people_of("dropped")
    (1, 3, ['b', 'd'])
    """
    names = {"first": first, "second": second}
    asked = Question.of(
        facts, window, tz, events=names, splits={"by": by}, among=among, in_window=repeating, reading=reading
    )
    both = f"{events('first')} union all {events('second')}"
    breakdown = Breakdown.of(asked, both if repeating else events("first"), every)

    def query(parts: QueryParts) -> str:
        return _repeating(parts) if repeating else _once(parts)

    numbers = "count(*) filter (in_denominator), count(*) filter (in_numerator)"
    measured = breakdown.measure(
        query, _row, numbers, (0, 0), periods_add_up=repeating, values_add_up=repeating or not breakdown.is_by_touch
    )
    denominator, numerator = measured.numbers
    return Conversion(
        people_query=measured.whole,
        parts_query=measured.parts,
        by=by_name(by),
        every=every,
        first=first,
        second=second,
        repeating=repeating,
        numerator=numerator,
        denominator=denominator,
        rate=ratio(numerator, denominator),
        rows=measured.rows,
        notes=(*measured.notes, *_notes(first, second, repeating=repeating)),
    )


def _once(parts: QueryParts) -> str:
    starts = parts.with_split_value(firsts(parts.in_periods(events("first"))))
    seconds = firsts(events("second", in_window=False), "person")
    is_same = "true"
    if parts.is_by_touch:  # a value at both events
        seconds = parts.with_split_value(seconds)
        is_same = "(not in_numerator or value is not distinct from second_value)"
    return f"""
        select person, period, value, true as in_denominator, in_numerator
        from (
            select s.person, s.period, s.value, {"e.value" if parts.is_by_touch else "null"} as second_value,
                coalesce(e.time > s.time and e.time < s.until, false) as in_numerator
            from ({starts}) s left join ({seconds}) e on s.person = e.person
            where e.time is null or e.time >= s.time
        ) where {is_same}"""


def _repeating(parts: QueryParts) -> str:
    first, second = (parts.with_split_value(parts.in_periods(events(name))) for name in ("first", "second"))
    return f"""
        select person, period, value, true as in_denominator, false as in_numerator from ({first})
        union all select person, period, value, false, true from ({second})"""


def _notes(first: str, second: str, *, repeating: bool) -> tuple[str, ...]:
    if fold_name(first) != fold_name(second):
        return ()
    if repeating:
        return ("Event 1 and event 2 are the same event, so the rate is always 100%.",)
    again = "cohorts() and time_between() tell who did it again."
    return (
        f"Event 1 and event 2 are the same event, whose first time is not after itself: the rate is always 0%. {again}",
    )


def _row(label: str | None, value: str | None, denominator: int, numerator: int) -> ConversionRow:
    return ConversionRow(label, value, numerator, denominator, ratio(numerator, denominator))
