"""People by the value of a property: at a moment, or as segments of those who did an event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar

from attrs import define, frozen

from kmexport.reports.asking import given, parameters, zone_of
from kmexport.reports.occurrences import LAST_SECOND_OF_PERIOD, chosen, events, firsts, in_force, next_set
from kmexport.reports.results import ALL, Choice, Column, check_choice
from kmexport.reports.splits import Pieces, SplitResult, Splitting
from kmexport.reports.writing import counted
from kmexport.tables.rules import text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

    from kmexport.reports.periods import Every
    from kmexport.tables import Facts
    from kmexport.windows import Window, Zone

__all__ = ["PropertyValues", "Segments", "ValueRow", "property_values", "segments"]

At = Literal["first_ever", "last_ever", "first_in_window", "last_before_end", "at_step"]

# Which of the moments at which a property was set, and which of them can be it.
_MOMENTS: dict[At, tuple[Literal["first", "last"], str]] = {
    "first_ever": ("first", "true"),
    "last_ever": ("last", "true"),
    "first_in_window": ("first", "time >= to_timestamp($start)"),
    "last_before_end": ("last", "time < to_timestamp($end)"),
}
_EVER: tuple[At, At] = ("first_ever", "last_ever")

_R = TypeVar("_R", bound="_ByValue")


@frozen
class ValueRow:
    """How many people have one value (None: who have none); of a split, in the period `label`, with `by_value`."""

    value: str | None
    people: int
    label: str | None = None
    by_value: str | None = None


@define(repr=False, kw_only=True)
class _ByValue(SplitResult):
    """What both reports share: rows of values, the commonest first."""

    property: str
    people: int
    rows: tuple[ValueRow, ...]

    def people_of(self, value: Choice = ALL, *, label: Choice = ALL, by_value: Choice = ALL) -> list[str]:
        """The persons who have a value (None: who have none), or all; of a split, those of one part."""
        check_choice("value", value, list(dict.fromkeys(row.value for row in self.rows)))
        if value is ALL:
            return self._people(label, by_value)
        return self._people(label, by_value, "found is not distinct from $found", found=value)

    def plot(self, ax: Axes | None = None) -> Axes:
        """A bar for each value, the commonest first; with `every=` a line for each, of people in the periods."""
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
        return row.value if self.by is None else f"{row.by_value} · {row.value}"

    def _columns(self) -> list[Column]:
        return [
            *(Column(name, "string", values) for name, values in self._split_columns()),
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
        return f"{self.property}, {moment}: {counted(self.people, 'person', 'people')}"


@define(repr=False, kw_only=True)
class Segments(_ByValue):
    """What `segments` gives: `rows` of values and people, and `people` in all."""

    event: str
    relative: bool

    def _title(self) -> str:
        relative = ", since they have it" if self.relative else ""
        return f"{self.event} by {self.property}{relative}: {counted(self.people, 'person', 'people')}"


def property_values(
    facts: Facts,
    property: str,  # noqa: A002  # the contract's name
    window: Window | None = None,
    *,
    at: At = "last_ever",
    step: str | None = None,
    by: str | None = None,
    every: Every | None = None,
    tz: Zone | None = None,
) -> PropertyValues:
    """How many people have which value of a property, at one moment of each person.

    `at="first_ever"` or `"last_ever"`: the first or last of all time. `"first_in_window"`: the first at or after the
    window's start, however late. `"last_before_end"`: the last before the window's end, however early. `"at_step"`:
    the value in force (the latest set at or before it) at the person's first `step` in the window. Of two values in
    one second the one that arrived last is the later. People with none count under None: of everyone who did anything
    or had a property set at any time (an alias alone makes nobody), with `"at_step"` of those who did the step in the
    window.

    `by=` files a person under a second property too, whose value is chosen in the same way; with `"at_step"` it is the
    value at that step: the event's own, else the one in force. The rows have it as `.by_value`. `every=` gives rows
    for each period of the zone `tz`, as if the period were the window; `"first_ever"` and `"last_ever"` look at no
    window, so there it is a ValueError.

    Source: the vendor's choices of a property in reports. Raises UnknownNameError for names that no record has.
    Costs one pass over the property's rows, and one over all records for who there is; with `every=` and without a
    step, memory for a row a person and period.

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
    if every is not None and at in _EVER:
        msg = f'at="{at}" looks at no window, so every= would give the same in each period: give at="last_before_end"'
        raise ValueError(msg)
    params = parameters(facts, window, events=given(step=step), properties={"property": property, **given(by=by)})
    source = events("step") if step is not None else "select time from kmexport.numbered_records where kind <> 'alias'"
    splitting = Splitting.of(facts, source, params, window=window, by=by, every=every, zone=zone_of(tz, window))

    def query(pieces: Pieces) -> str:
        return _at_step(pieces) if at == "at_step" else _at_moment(pieces, at)

    return _measure(PropertyValues, splitting, query, by=by, every=every, property=property, at=at, step=step)


def segments(
    facts: Facts,
    event: str,
    property: str,  # noqa: A002  # the contract's name
    window: Window | None = None,
    *,
    relative: bool = False,
    by: str | None = None,
    every: Every | None = None,
    tz: Zone | None = None,
) -> Segments:
    """The people who did an event in the window, by the last value of a property; who has none stands under None.

    `relative=True` counts only people of whom an event in the window came at or after the moment at which their last
    value was set; people without a value are counted as ever. Setting the same value again is a new moment: the rule
    speaks of the last value's, and an export does not tell a value that was confirmed from one that was meant anew.

    `by=` splits by a property of the event: its own value, else the person's value in force then; the rows have it as
    `.by_value`. `every=` gives rows for each period of the zone `tz`. As with `event_counts`, a person who did the
    event more than once may stand in several; with `relative=True` only occurrences at or after that moment count.

    Source: the vendor's option "relative to a segment". Raises UnknownNameError for names that no record has. Costs
    one pass over the rows of the event and of the property.

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
    params = parameters(facts, window, events={"event": event}, properties={"property": property, **given(by=by)})
    zone = zone_of(tz, window)
    splitting = Splitting.of(facts, events("event"), params, window=window, by=by, every=every, zone=zone)
    since = "where p.time is null or e.time >= p.time" if relative else ""

    def query(pieces: Pieces) -> str:
        did = pieces.valued(pieces.in_periods(events("event")))
        keys = "person" if pieces.is_whole else "person, period, value"
        constants = ", 0 as period, null::varchar as value" if pieces.is_whole else ""
        return f"""
            select e.*, p.text as found
            from (select {keys}, max(time) as time {constants} from ({did}) group by {keys}) e
            left join ({chosen("property", "last")}) p on e.person = p.person
            {since}"""

    return _measure(Segments, splitting, query, by=by, every=every, property=property, event=event, relative=relative)


def _at_step(pieces: Pieces) -> str:
    steps = pieces.valued(firsts(pieces.in_periods(events("step")), numbered=pieces.by))
    return f"select person, period, value, {text_of('set_value')} as found from ({in_force(steps, 'property')})"


def _at_moment(pieces: Pieces, at: At) -> str:
    """A row for each person and period."""
    is_first, condition = _MOMENTS[at]
    names = {"found": "property", **({"value": "by"} if pieces.by else {})}
    query = f"select *, null::varchar as value from ({pieces.everyone()})" if not pieces.by else pieces.everyone()
    for column, parameter in names.items():
        if pieces.cut is None:
            query = f"""
                select e.*, p.text as {column} from ({query}) e
                left join ({chosen(parameter, is_first, condition)}) p on e.person = p.person"""
        else:
            look, moment = (next_set, "since") if at == "first_in_window" else (in_force, LAST_SECOND_OF_PERIOD)
            found = look(f"select *, {moment} as time from ({query})", parameter)
            text = text_of("set_value")
            query = f"select * exclude (time, set_value, set_at, set_by), {text} as {column} from ({found})"
    return query


def _measure(result: Callable[..., _R], splitting: Splitting, query: Callable[[Pieces], str], **asked: object) -> _R:
    """The result with what the query counts: a row for each value that `found` has."""

    def row(label: str | None, by_value: str | None, value: str | None, people: int) -> ValueRow:
        return ValueRow(value, people, label, by_value)

    numbers = "count(distinct person)" if splitting.is_split else "count(*)"
    measured = splitting.measure(query, row, numbers, (0,), periods_add_up=True, key="found")
    [people] = measured.numbers
    return result(behind=measured.whole, parts=measured.parts, people=people, rows=measured.rows, **asked)
