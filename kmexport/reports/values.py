"""People by the value of a property: at a moment, or as segments of those who did an event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar, Unpack

from attrs import define, evolve, frozen

from kmexport.reports.breakdown import Breakdown, QueryParts, Question, SplitResult
from kmexport.reports.query import check_one_of, given
from kmexport.reports.results import ALL, Choice, ResultColumn, check_choice, counted, value_shown
from kmexport.reports.splits import EVER, PERSONS_OWN, At, By, as_split, by_name, respell, shown_text
from kmexport.reports.sql import assignments, events, first_or_last, firsts

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

    from kmexport.reports.conditions import Condition
    from kmexport.reports.periods import Every
    from kmexport.reports.query import FactsKeywords, ReportSource
    from kmexport.windows import Window, Zone


_MOMENTS: Final[tuple[At, ...]] = (*PERSONS_OWN, "at_step")

_R = TypeVar("_R", bound="_ByValue")


@frozen
class ValueRow:
    """The people who have one value (None: who have none); of a split, in the period `label`, with `by_value`."""

    value: str | None
    people: int
    label: str | None = None
    by_value: str | None = None


@define(repr=False, kw_only=True)
class _ByValue(SplitResult):
    """The base of both reports: rows of values, the commonest first."""

    property: str
    people: int
    rows: tuple[ValueRow, ...]

    def people_of(self, value: Choice = ALL, *, label: Choice = ALL, by_value: Choice = ALL) -> list[str]:
        """Return the persons who have a value (None: who have none), or all; of a split, those of one part."""
        check_choice("value", value, list(dict.fromkeys(row.value for row in self.rows)))
        if value is ALL:
            return self._people(label, by_value)
        return self._people(label, by_value, "found is not distinct from $found", found=value)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw a bar for each value, the commonest first; with `every=` a line for each, of people in the periods."""
        from kmexport.reports.plots import bars, lines  # noqa: PLC0415

        if self.every is None:
            names, numbers = [self._name(row) for row in self.rows], [row.people or None for row in self.rows]
            return bars(names, numbers, self._title(), "people", ax)
        series: dict[str | None, list[float | None]] = {}
        for row in self.rows:
            series.setdefault(self._name(row), []).append(row.people if self.people else None)
        return lines(list(dict.fromkeys(row.label for row in self.rows)), series, self._title(), "people", ax)

    @staticmethod
    def _value_of(part: ValueRow) -> str | None:
        return part.by_value

    def _name(self, row: ValueRow) -> str | None:
        return row.value if self.by is None else f"{value_shown(row.by_value)} · {value_shown(row.value)}"

    def _columns(self) -> list[ResultColumn]:
        return [
            *(ResultColumn(name, "string", values) for name, values in self._split_columns()),
            ResultColumn(self.property, "string", [row.value for row in self.rows]),
            ResultColumn("people", "int64", [row.people for row in self.rows]),
        ]


@define(repr=False, kw_only=True)
class PropertyValues(_ByValue):
    """The result of `property_values`: `rows` of values and people, and `people` in all."""

    at: str
    step: str | None

    def _title(self) -> str:
        moment = self.at.replace("_", " ") if self.step is None else f"at the time of “{self.step}”"
        return f"{self.property}, {moment}: {counted(self.people, 'person', 'people')}"


@define(repr=False, kw_only=True)
class Segments(_ByValue):
    """The result of `segments`: `rows` of values and people, and `people` in all."""

    event: str
    relative: bool

    def _title(self) -> str:
        relative = ", since they have it" if self.relative else ""
        return f"{self.event} by {self.property}{relative}: {counted(self.people, 'person', 'people')}"


def property_values(
    facts: ReportSource,
    property: By,  # noqa: A002  # the contract's name
    window: Window | None = None,
    *,
    at: At | None = None,
    step: str | None = None,
    by: By | None = None,
    every: Every | None = None,
    tz: Zone | None = None,
    among: Condition | None = None,
    **reading: Unpack[FactsKeywords],
) -> PropertyValues:
    """Count how many people have which value of a property, at one moment of each person.

    `at="first_ever"` or `"last_ever"` (the default): the first or last of all time. `"first_in_window"`,
    `"last_in_window"`: the first or last that was received within the window. `"at_step"`: the value at the person's
    first `step` in the window: of its second, else the latest before. `property` may be a `Split`, which says the
    moment and the form itself.

    People without a value count under None. With `"at_step"` these are people who did the step in the window; else
    all who ever did anything or had a property set (an alias alone makes nobody).

    `by=` splits by a second property too, whose value is chosen at the same moment, or at that of its own `Split`; the
    rows have it as `.by_value`. `every=` gives rows for each period of the zone `tz`, as if the period
    were the window; `"first_ever"` and `"last_ever"` look at no window, so there it is a ValueError. `among=` counts
    only people who fulfil a condition.

    Source: https://oldsupport.kissmetrics.com/tools/advanced-properties.html. Raises UnknownNameError for names that no
    record has. Costs one pass over the property's rows, and one over all records for who there is; with `every=` and
    without a step, memory for a row a person and period.

    >>> from kmexport import Facts, PropertySet, Window
    >>> facts = Facts([PropertySet("bob", moment, {"referrer": value}) for moment, value in
    ...     [(-50, "a"), (10, "b"), (40, "c"), (150, "d")]])
    >>> [property_values(facts, "referrer", Window(0, 100), at=at).rows[0].value
    ...     for at in ("first_ever", "last_ever", "first_in_window", "last_in_window")]
    ['a', 'd', 'b', 'c']
    """
    split = as_split(property)
    moment: At = at or split.at or "last_ever"
    step = step if step is not None or split.step is None else str(split.step)
    check_one_of("at", _MOMENTS, moment)
    if (step is None) == (moment == "at_step"):
        msg = 'at="at_step" needs step=, the name of an event' if step is None else 'step= needs at="at_step"'
        raise ValueError(msg)
    if every is not None and moment in EVER:
        msg = f'at="{moment}" looks at no window, so every= would give the same in each period: at="last_in_window"'
        raise ValueError(msg)
    splits = {"property": split, "by": by}
    asked = Question.of(
        facts,
        window,
        tz,
        events=given(step=step),
        splits=splits,
        at=moment,
        allowed=_MOMENTS,
        among=among,
        everyone=step is None,
        reading=reading,
    )
    source = events("step") if step is not None else _ANYTHING
    breakdown = Breakdown.of(asked, source, every)
    found = evolve(asked.splits["property"], at=moment)
    if asked.by is not None and asked.by.at == "at_step" and step is None:
        msg = 'by= at="at_step" needs the report itself to be at="at_step", with step='
        raise ValueError(msg)

    def query(parts: QueryParts) -> str:
        people = firsts(parts.in_periods(events("step"))) if step is not None else parts.everyone()
        return found.with_split_value(parts.with_split_value(people), parts.lookup, column="found")

    return _measure(PropertyValues, breakdown, query, by=by, every=every, property=split.property, at=moment, step=step)


_ANYTHING: Final = "select person_id as person, time from kmexport.numbered_records where kind <> 'alias'"


def segments(
    facts: ReportSource,
    event: str,
    property: str,  # noqa: A002  # the contract's name
    window: Window | None = None,
    *,
    relative: bool = False,
    by: By | None = None,
    every: Every | None = None,
    tz: Zone | None = None,
    among: Condition | None = None,
    **reading: Unpack[FactsKeywords],
) -> Segments:
    """Count the people who did an event in the window, by the last value of a property; None is people without one.

    `relative=True` counts only occurrences at or after the moment at which the person's last value was set; people
    without a value count as they do without `relative=`. If the same value is set again, that is a new moment: the rule
    speaks of the moment of the last value.

    `by=` takes a name or a `Split`: by last touch (the default) the value in force at the event; the rows have it as
    `.by_value`. `among=` counts only people who fulfil a condition. `every=` gives rows for each period of the zone
    `tz`. As with `event_counts`, a person who did the event more than once may stand in several rows.

    Source: https://oldsupport.kissmetrics.com/tools/power-report/relative-to.html. Raises UnknownNameError for names
    that no record has. Costs one pass over the rows of the event and of the property.

    >>> from kmexport import Event, Facts, PropertySet
    >>> facts = Facts([
    ...     Event("A", 1, "foo"), PropertySet("A", 2, {"var": "A"}),
    ...     Event("A", 3, "foo"), Event("B", 1, "foo"),
    ...     Event("C", 1, "foo"), PropertySet("C", 2, {"var": "A"}), Event("D", 2, "foo"),
    ...     PropertySet("D", 2, {"var": "A"}),
    ... ])
    >>> [(row.value, row.people) for row in segments(facts, "foo", "var").rows]
    [('A', 3), (None, 1)]
    >>> relative = segments(facts, "foo", "var", relative=True)
    >>> relative.people_of("A"), relative.people_of(None)
    (['A', 'D'], ['B'])
    """
    asked = Question.of(
        facts,
        window,
        tz,
        events={"event": event},
        properties={"property": property},
        splits={"by": by},
        among=among,
        reading=reading,
    )
    respelled = respell(asked.facts, "property", asked.params)
    breakdown = Breakdown.of(asked, events("event"), every)
    since = "where p.time is null or e.time >= p.time" if relative else ""

    def query(parts: QueryParts) -> str:
        did = parts.with_split_value(parts.in_periods(events("event")))
        keys = "person" if parts.is_whole else "person, period, value"
        constants = ", 0 as period, null::varchar as value" if parts.is_whole else ""
        return f"""
            select e.*, {shown_text("p.set_value", respelled)} as found
            from (select {keys}, max(time) as time {constants} from ({did}) group by {keys}) e
            left join ({first_or_last(assignments("property"), "last")}) p on e.person = p.person
            {since}"""

    return _measure(Segments, breakdown, query, by=by, every=every, property=property, event=event, relative=relative)


def _measure(
    result: Callable[..., _R],
    breakdown: Breakdown,
    query: Callable[[QueryParts], str],
    *,
    by: By | None,
    **asked: object,
) -> _R:
    """Return the result with what the query counts: a row for each value that `found` has."""

    def row(label: str | None, by_value: str | None, value: str | None, people: int) -> ValueRow:
        return ValueRow(value, people, label, by_value)

    is_once = not breakdown.is_split and all(split.adds_up for split in breakdown.question.splits.values())
    numbers = "count(*)" if is_once else "count(distinct person)"
    measured = breakdown.measure(query, row, numbers, (0,), periods_add_up=True, key="found")
    [people] = measured.numbers
    return result(
        people_query=measured.whole,
        parts_query=measured.parts,
        people=people,
        rows=measured.rows,
        notes=measured.notes,
        by=by_name(by),
        **asked,
    )
