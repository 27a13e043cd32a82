"""People by the value of a property: at a moment, or as segments of those who did an event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from attrs import define, frozen

from kmexport.reports.asking import bounds, event_name, property_name
from kmexport.reports.occurrences import EVERYONE, events, firsts, settings
from kmexport.reports.results import ALL, Choice, Column, Persons, Result, check_choice

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kmexport.tables import Facts
    from kmexport.windows import Window

__all__ = ["PropertyValues", "Segments", "ValueRow", "property_values", "segments"]

At = Literal["first_ever", "last_ever", "first_in_window", "last_before_end", "at_step"]

# The moment that is looked for among those at which the property was set, and which of them can be it.
_MOMENTS: dict[At, tuple[str, str]] = {
    "first_ever": ("arg_min", "true"),
    "last_ever": ("arg_max", "true"),
    "first_in_window": ("arg_min", "time >= to_timestamp($start)"),
    "last_before_end": ("arg_max", "time < to_timestamp($end)"),
}


@frozen
class ValueRow:
    """How many people have one value (None: who have none)."""

    value: str | None
    people: int


@define(repr=False, kw_only=True)
class _ByValue(Result):
    """What both reports share: rows of values, the commonest first."""

    property: str
    people: int
    rows: tuple[ValueRow, ...]

    def people_of(self, value: Choice = ALL) -> list[str]:
        """The persons who have a value (None: who have none), or all."""
        check_choice("value", value, [row.value for row in self.rows])
        if value is ALL:
            return self._behind.where()
        return self._behind.where("value is not distinct from $value", value=value)

    def plot(self, ax: Axes | None = None) -> Axes:
        """A bar for each value, the commonest first."""
        from kmexport.reports.plots import bars  # noqa: PLC0415

        return bars([row.value for row in self.rows], [row.people for row in self.rows], self._title(), "people", ax)

    def _columns(self) -> list[Column]:
        return [
            Column(self.property, "string", [row.value for row in self.rows]),
            Column("people", "int64", [row.people for row in self.rows]),
        ]


@define(repr=False, kw_only=True)
class PropertyValues(_ByValue):
    """What `property_values` gives: `rows` of values and people, and `people` in all."""

    at: str
    step: str | None

    def _title(self) -> str:
        moment = self.at.replace("_", " ") if self.step is None else f"at the time of “{self.step}”"
        return f"{self.property}, {moment}: {self.people:,} people"


@define(repr=False, kw_only=True)
class Segments(_ByValue):
    """What `segments` gives: `rows` of values and people, and `people` in all."""

    event: str
    relative: bool

    def _title(self) -> str:
        relative = ", since they have it" if self.relative else ""
        return f"{self.event} by {self.property}{relative}: {self.people:,} people"


def property_values(
    facts: Facts,
    property: str,  # noqa: A002  # the contract's name
    window: Window | None = None,
    *,
    at: At = "last_ever",
    step: str | None = None,
) -> PropertyValues:
    """How many people have which value of a property, at one moment of each person.

    `at="first_ever"` or `"last_ever"`: the first or last of all time. `"first_in_window"`: the first at or after the
    window's start, however late. `"last_before_end"`: the last before the window's end, however early. `"at_step"`:
    the value in force (the latest set at or before it) at the person's first `step` in the window. Of two values in
    one second the one that arrived last is the later. People with none count under None: of everyone who did anything
    or had a property set at any time (an alias alone makes nobody), with `"at_step"` of those who did the step in the
    window.

    Source: the vendor's choices of a property in reports. Raises UnknownNameError for names that no record has.
    Costs one pass over the property's rows, and one over all records for who there is.

    >>> from kmexport import Facts, PropertySet, Window
    >>> facts = Facts([PropertySet("bob", moment, {"referrer": value}) for moment, value in
    ...     [(-50, "a"), (10, "b"), (40, "c"), (150, "d")]])
    >>> [property_values(facts, "referrer", Window(0, 100), at=at).rows[0].value
    ...     for at in ("first_ever", "last_ever", "first_in_window", "last_before_end")]
    ['a', 'd', 'b', 'c']
    """
    if at not in (*_MOMENTS, "at_step"):
        msg = f"at is one of {', '.join(map(repr, [*_MOMENTS, 'at_step']))}, not {at!r}"
        raise ValueError(msg)
    if (step is None) == (at == "at_step"):
        msg = 'at="at_step" needs step=, the name of an event' if step is None else 'step= needs at="at_step"'
        raise ValueError(msg)
    params = {**bounds(window), "by": property_name(facts, property)}
    if step is None:
        query = _at_moment(*_MOMENTS[at])
    else:
        params["step"] = event_name(facts, step)
        query = f"""
            select s.person, p.text as value from ({firsts(events("step"), "person", numbered=False)}) s
            asof left join ({settings()}) p on s.person = p.person and s.time >= p.time"""
    behind = Persons(facts, query, params)
    rows = _rows(behind)
    people = sum(row.people for row in rows)
    return PropertyValues(behind=behind, property=property, people=people, rows=rows, at=at, step=step)


def segments(
    facts: Facts,
    event: str,
    property: str,  # noqa: A002  # the contract's name
    window: Window | None = None,
    *,
    relative: bool = False,
) -> Segments:
    """The people who did an event in the window, by the last value of a property; who has none stands under None.

    `relative=True` counts only people of whom an event in the window came at or after the moment at which their last
    value was set; people without a value are counted as ever. Setting the same value again is a new moment: the rule
    speaks of the last value's, and an export does not tell a value that was confirmed from one that was meant anew.

    Source: the vendor's option "relative to a segment". Raises UnknownNameError for names that no record has. Costs
    one pass over the rows of the event and of the property.

    >>> from kmexport import Event, Facts, PropertySet
    >>> facts = Facts([
    ...     Event("A", 1, "foo"), PropertySet("A", 2, {"var": "A"}), Event("A", 3, "foo"), Event("B", 1, "foo"),
    ...     Event("C", 1, "foo"), PropertySet("C", 2, {"var": "A"}), Event("D", 2, "foo"),
    ...     PropertySet("D", 2, {"var": "A"}),
    ... ])
    >>> [(row.value, row.people) for row in segments(facts, "foo", "var").rows]
    [('A', 3), (None, 1)]
    >>> relative = segments(facts, "foo", "var", relative=True)
    >>> relative.people_of("A"), relative.people_of(None)
    (['A', 'D'], ['B'])
    """
    params = {**bounds(window), "event": event_name(facts, event), "by": property_name(facts, property)}
    since = "where p.time is null or e.time >= p.time" if relative else ""
    query = f"""
        select e.person, p.text as value
        from (select person, max(time) as time from ({events("event")}) group by person) e
        left join (
            select person_id as person, max(time) as time, arg_max(text, (time, seq, place)) as text from
            kmexport.numbered_properties where name = $by and text is not null group by person_id
        ) p on e.person = p.person
        {since}"""
    behind = Persons(facts, query, params)
    rows = _rows(behind)
    people = sum(row.people for row in rows)
    return Segments(behind=behind, property=property, people=people, rows=rows, event=event, relative=relative)


def _at_moment(choose: str, condition: str) -> str:
    return f"""
        select e.person, p.text as value from ({EVERYONE}) e
        left join (
            select person_id as person, {choose}(text, (time, seq, place)) as text from kmexport.numbered_properties
            where name = $by and text is not null and {condition} group by person_id
        ) p on e.person = p.person"""


def _rows(behind: Persons) -> tuple[ValueRow, ...]:
    rows = [ValueRow(value, people) for value, people in behind.groups("value", "count(*)")]
    return tuple(sorted(rows, key=lambda row: (-row.people, row.value is None, row.value or "")))
