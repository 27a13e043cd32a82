"""People search: everyone who fulfils a condition, with what they did and have."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, Unpack

from attrs import define, field, frozen

from kmexport.errors import UnknownNameError
from kmexport.facts.sql import text_of
from kmexport.reports.breakdown import Question
from kmexport.reports.conditions import Binder, Condition
from kmexport.reports.query import ask, with_closest
from kmexport.reports.results import Result, ResultColumn, counted
from kmexport.reports.splits import Split, as_split
from kmexport.reports.sql import EVERYONE, first_or_last
from kmexport.windows import Window, check_window

if TYPE_CHECKING:
    from kmexport.reports.query import FactsKeywords, ReportSource


What: TypeAlias = Literal["first_time", "last_time", "times", "first_value", "last_value", "first_set", "last_set"]

_OF_EVENTS: Final[dict[str, str]] = {
    "first_time": "epoch_us(min(time)) // 1000000",
    "last_time": "epoch_us(max(time)) // 1000000",
    "times": "count(*)",
}
_OF_PROPERTIES: Final[dict[str, str]] = {
    "first_value": text_of("set_value"),
    "last_value": text_of("set_value"),
    "first_set": "epoch_us(time) // 1000000",
    "last_set": "epoch_us(time) // 1000000",
}


@frozen
class Show:
    """A column of `people`: of an event its "first_time", "last_time" or "times"; of a property its "first_value",
    "last_value", or when the first or last was set, "first_set" and "last_set". `window` limits it.

    >>> Show("times", "purchased")
    Show(what='times', name='purchased', window=None)
    """

    what: What
    name: str | Split
    window: Window | None = field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        known = [*_OF_EVENTS, *_OF_PROPERTIES]
        if self.what not in known:
            msg = f"what is one of {', '.join(map(repr, known))}, not {self.what!r}"
            raise ValueError(msg)
        if self.window is not None:
            check_window(self.window)

    @property
    def title(self) -> str:
        """The head of the column."""
        name = self.name.property if isinstance(self.name, Split) else self.name
        return f"{name}: {self.what.replace('_', ' ')}"

    def sql(self, binder: Binder) -> str:
        """Return the query of the column: person, shown."""
        if self.what in _OF_EVENTS:
            source = f"kmexport.numbered_events where name = {binder.event(str(self.name))}"
            when = binder.within(self.window)
            shown = f"{_OF_EVENTS[self.what]} as shown"
            return f"select person_id as person, {shown} from {source} and {when} group by person_id"
        assignments = binder.raw_assignments(as_split(self.name))
        if assignments is None:
            return f"select person, person as shown from ({EVERYONE})"
        which: Literal["first", "last"] = "first" if self.what.startswith("first") else "last"
        source = f"select * from ({assignments}) where {binder.within(self.window)}"
        return f"select person, {_OF_PROPERTIES[self.what]} as shown from ({first_or_last(source, which)})"


@define(repr=False, kw_only=True)
class People(Result):
    """The result of `people`: `people` (how many), `rows`: the person, then the columns that were asked for.

    Times are unix seconds in `rows`, and UTC where they are shown. None where there is nothing.
    """

    condition: str
    people: int
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    _shows: tuple[Show, ...] = field(repr=False)

    def people_of(self) -> list[str]:
        """Return the persons, in order."""
        return [row[0] for row in self.rows]

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the rows as the vendor's people search does: all columns, times in UTC as 2009-02-13 23:31:30."""
        table = self._columns()
        cells = [column.cells(None) if column.type == "time" else column.values for column in table]
        with Path(path).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(column.name for column in table)
            for row, shown in zip(self.rows, zip(*cells, strict=True), strict=True):
                writer.writerow("" if cell is None else text for cell, text in zip(row, shown, strict=True))

    def _title(self) -> str:
        return f"{counted(self.people, 'person', 'people')}{f' who {self.condition}' if self.condition else ''}"

    def _columns(self) -> list[ResultColumn]:
        types: dict[str, Literal["string", "int64", "time"]] = {"times": "int64"}
        types |= dict.fromkeys(("first_value", "last_value"), "string")
        return [
            ResultColumn("person", "string", [row[0] for row in self.rows]),
            *(
                ResultColumn(show.title, types.get(show.what, "time"), [row[place] for row in self.rows])
                for place, show in enumerate(self._shows, 1)
            ),
        ]


def people(
    facts: ReportSource,
    among: Condition | Iterable[str] | None = None,
    *,
    columns: Sequence[Show | str] = (),
    order_by: Show | str | None = None,
    largest_first: bool = False,
    **reading: Unpack[FactsKeywords],
) -> People:
    """List everyone who fulfils a condition, in the order of names; without one everyone who did or was given anything.

    `among` may be the persons themselves, as `people_of` of a result gives them. `columns` are `Show`s:
    `Show("first_time", "signed up")`, `Show("times", "purchased")`; a name alone is a property, with its last value.
    `order_by=`, one of the columns, puts the smallest or earliest first, or the largest and latest with
    `largest_first=True`; who has nothing there comes last.

    Source: https://oldsupport.kissmetrics.com/tools/people-search.html. Raises UnknownNameError for names that no
    record has. Costs one pass over the rows of each column; all rows are held.

    >>> from kmexport import Event, Facts
    >>> from kmexport.reports import did
    >>> facts = Facts([
    ...     Event("bob", 1234567890, "signed up", {"plan": "Pro"}),
    ...     Event("zoe", 5, "visited"),
    ... ])
    >>> people(facts, did("signed up"), columns=[Show("first_time", "signed up"), "plan"])
    1 person who did 'signed up'
      person  signed up: first time  plan: last value
      bob       2009-02-13 23:31:30  Pro
    >>> people(facts, ["zoe"], columns=["plan"]).rows
    (('zoe', None),)
    """
    shows = tuple(Show("last_value", show) if isinstance(show, str) else show for show in columns)
    shown = [show.name for show in shows if show.what in _OF_PROPERTIES]
    condition = among if among is None or isinstance(among, Condition) else None
    asked = Question.of(facts, None, None, among=condition, everyone=True, also=shown, reading=reading)
    source = EVERYONE
    if among is not None and condition is None:
        source = "select distinct unnest($persons) as person"
        asked.params["persons"] = _listed(among)
    binder = Binder(asked.facts, asked.params)
    query = asked.narrowed(source)
    try:
        for place, show in enumerate(shows):
            query = f"select q.*, s.shown as c{place} from ({query}) q left join ({show.sql(binder)}) s using (person)"
    except UnknownNameError as error:
        raise with_closest(error, facts, reading) from None
    found = ask(asked.facts, f"select * from ({query}) order by person", asked.params)
    rows = [tuple(_zero(show, cell) for show, cell in zip((None, *shows), row, strict=True)) for row in found]
    if order_by is not None:
        rows = _ordered(rows, 1 + _place_of(order_by, shows), largest_first=largest_first)
    return People(
        people_query=asked.persons(source),
        condition="" if condition is None else str(condition),
        people=len(rows),
        columns=tuple(show.title for show in shows),
        rows=tuple(rows),
        shows=shows,
    )


def _place_of(order_by: Show | str, shows: Sequence[Show]) -> int:
    show = Show("last_value", order_by) if isinstance(order_by, str) else order_by
    if show not in shows:
        msg = f"order_by is one of the columns, as columns= has it, not {order_by!r}"
        raise ValueError(msg)
    return shows.index(show)


def _ordered(rows: list[tuple[Any, ...]], place: int, *, largest_first: bool) -> list[tuple[Any, ...]]:
    having = [row for row in rows if row[place] is not None]
    rest = [row for row in rows if row[place] is None]
    return sorted(having, key=lambda row: row[place], reverse=largest_first) + rest


def _listed(persons: Any) -> list[str]:
    if isinstance(persons, str) or not isinstance(persons, Iterable):
        msg = f"among is a condition such as did('signed up'), or a list of persons, not {persons!r}"
        raise TypeError(msg)
    return list(persons)


def _zero(show: Show | None, cell: Any) -> Any:
    return 0 if cell is None and show is not None and show.what == "times" else cell
