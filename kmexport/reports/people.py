"""People search: everyone who fulfils a condition; and the CSV files of the vendor's pages, to write and to compare."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeGuard, Unpack

from attrs import define, field, frozen

from kmexport.arguments import address_of, check_list, check_type
from kmexport.errors import UnknownNameError
from kmexport.facts.sql import text_of
from kmexport.reports.breakdown import Question
from kmexport.reports.conditions import Binder, Condition
from kmexport.reports.query import ask, check_one_of, with_closest
from kmexport.reports.results import Result, ResultColumn, Table, check_choice, counted, value_shown
from kmexport.reports.splits import Split, as_name, as_split
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
        check_one_of("what", [*_OF_EVENTS, *_OF_PROPERTIES], self.what)
        if self.what in _OF_EVENTS or not isinstance(self.name, Split):
            as_name(self.name)
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
        with Path(path).open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
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

    `among` may be the persons themselves, as `people_of` of a result gives them. `columns` are each a `Show`, such as
    `Show("first_time", "signed up")` or `Show("times", "purchased")`; a name alone is a property, with its last value.
    `order_by=` sorts by one of the columns, the smallest or earliest first, or with `largest_first=True` the largest
    or latest; people who have nothing there come last.

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
    check_list("columns", columns, "properties, or Show(…)")
    shows = tuple(Show("last_value", show) if isinstance(show, str) else show for show in columns)
    for show in shows:
        check_type("a column", show, Show, "the name of a property, or Show(…)")
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
            cell = "coalesce(s.shown, 0)" if show.what == "times" else "s.shown"
            query = f"select q.*, {cell} as c{place} from ({query}) q left join ({show.sql(binder)}) s using (person)"
    except UnknownNameError as error:
        raise with_closest(error, facts, reading) from None
    rows = ask(asked.facts, f"select * from ({query}) order by person", asked.params)
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
    among: list[Any] = list(persons) if isinstance(persons, Iterable) and not isinstance(persons, str) else [None]
    if not all(isinstance(one, str) for one in among):
        msg = f"among is a condition such as did('signed up'), or a list of persons, not {persons!r}"
        raise TypeError(msg)
    return among


@frozen
class CellDifference:
    """A cell that differs: its row, its column, our number or text, that of the file, and ours without theirs."""

    row: tuple[str | None, ...]
    column: str
    ours: float | str | None
    theirs: float | str | None
    difference: float | None


@define(repr=False, kw_only=True)
class Comparison(Table):
    """The result of `compare`: how many cells are the `same`, `rows` of those that differ, and rows of one side only.

    `only_here` are the rows that the file does not have, `only_there` those that only the file has.
    """

    same: int
    rows: tuple[CellDifference, ...]
    only_here: tuple[tuple[str | None, ...], ...]
    only_there: tuple[tuple[str | None, ...], ...]

    def _title(self) -> str:
        alone = f"{counted(len(self.only_here), 'row')} only here, {len(self.only_there):,} only in the file"
        differ = counted(len(self.rows), "differs", "differ")
        return f"{counted(self.same, 'cell is', 'cells are')} the same, {differ}; {alone}"

    def _columns(self) -> list[ResultColumn]:
        def shown(value: float | str | None) -> str:
            return "-" if value is None else value if isinstance(value, str) else f"{value:,.6g}"

        return [
            ResultColumn("row", "string", [_row_shown(one.row) for one in self.rows]),
            ResultColumn("column", "string", [one.column for one in self.rows]),
            ResultColumn("ours", "string", [shown(one.ours) for one in self.rows]),
            ResultColumn("theirs", "string", [shown(one.theirs) for one in self.rows]),
            ResultColumn("difference", "float64", [one.difference for one in self.rows], form="amount"),
        ]


def compare(
    result: Table,
    file: str | os.PathLike[str],
    *,
    columns: Mapping[str, str] | None = None,
    dates: str | None = None,
) -> Comparison:
    """Compare a result with a CSV file that a page of the vendor exported: which cells differ, and by how much.

    Columns are matched by their heads, in any case and with any signs between words; `columns={"Date": "day"}` gives
    the result's column for a head of the file that is called otherwise. What is in one of the two only is named in a
    note. Rows are matched by the columns of text that a result begins with (of people: by the person).

    A number of the file may have a currency sign, commas between thousands ("1,234.50") and a percent sign ("51.9%" is
    0.519); it is the same as ours if ours, rounded to as many digits, is that number. A day may be 2012-10-03,
    "Oct 3, 2012" or "week of Oct 3, 2012"; any other form needs `dates=`, as strptime has it: "%m/%d/%Y". Times are
    UTC, as 2009-02-13 23:31:30 or in unix seconds. Spaces around a text do not
    count. An empty cell or "-" is nothing, and "None" is who has no value.

    Source: https://oldsupport.kissmetrics.com/tools/reports-exportable.html names the pages with CSV files; no page
    tells their columns, so nothing about them is taken for granted. Raises ValueError, with the line, for a cell that
    can't be read in one way only, for two rows of one name, and where no column has both. Holds the file.

    >>> import pathlib, tempfile
    >>> from kmexport import Event
    >>> from kmexport.reports import event_counts
    >>> plans = {"bob": "Pro", "zoe": "Free"}
    >>> records = [Event(person, 1, "x", {"plan": plan}) for person, plan in plans.items()]
    >>> path = pathlib.Path(tempfile.mkdtemp(), "metric.csv")
    >>> _ = path.write_text("Plan,People,Times\\nPro,1,1\\nFree,3,1\\n")
    >>> compare(event_counts(records, "x", by="plan"), path)
    3 cells are the same, 1 differs; 0 rows only here, 0 only in the file
      row   column  ours  theirs  difference
      Free  people  1     3               -2
    Only here: the column average.
    """
    check_type("result", result, Table, "the result of a report")
    check_type("columns", {} if columns is None else columns, Mapping, "a dict of heads and our columns")
    ours = result._columns()  # its own package's
    heads, lines = _read_csv(file)
    places, notes = _matched([column.name for column in ours], heads, dict(columns or {}))
    keys = list(takewhile(lambda place: ours[place].type == "string", range(len(ours))))
    keys = keys[:1] if isinstance(result, People) else keys
    if missing := [ours[place].name for place in keys if place not in places]:
        way = f"columns={{…: {missing[0]!r}}} says which one it is"
        msg = f"the file has no column {missing[0]!r} to match rows by, but {', '.join(map(repr, heads))}: {way}"
        raise ValueError(msg)
    cells = [place for place in places if place not in keys]
    if not cells:
        msg = f"no column of numbers is in both: the result has {', '.join(one.name for one in ours)}, the file {heads}"
        raise ValueError(msg)
    are_days = [all(value is None or _DAY.match(value) for value in ours[place].values) for place in keys]
    here = {tuple(ours[place].values[at] for place in keys): at for at in range(len(ours[0].values))}
    named = {tuple(one and one.strip() for one in key): key for key in here} | {key: key for key in here}
    there: dict[tuple[str | None, ...], tuple[int, list[str]]] = {}
    for number, line in lines:
        key = tuple(
            _key(line[places[place]], number, dates, is_day=is_day and bool(ours[place].values))
            for place, is_day in zip(keys, are_days, strict=True)
        )
        stripped = tuple(one and one.strip() for one in key)
        key = named.get(key, named.get(stripped, stripped))
        if key in there:
            msg = f"line {number}: the row {_row_shown(key)} is in line {there[key][0]} already"
            raise ValueError(msg)
        there[key] = number, line
    same, rows = 0, []
    for key, at in here.items():
        for place in cells if key in there else []:
            number, line = there[key]
            value, text = ours[place].values[at], line[places[place]].strip()
            value = value.strip() or None if isinstance(value, str) else value  # as the cell is read
            theirs, tolerance = _cell(text, ours[place].type, number, dates)
            if value == theirs or (_is_number(value) and _is_number(theirs) and abs(value - theirs) <= tolerance):
                same += 1
                continue
            difference = value - theirs if _is_number(value) and _is_number(theirs) else None
            rows.append(CellDifference(key, ours[place].name, value, theirs, difference))
    only_here = tuple(key for key in here if key not in there)
    only_there = tuple(key for key in there if key not in here)
    for what, alone in (("Only here", only_here), ("Only in the file", only_there)):
        if alone:
            more = f" and {len(alone) - 3:,} more" if len(alone) > 3 else ""
            notes.append(f"{what}: {', '.join(map(_row_shown, alone[:3]))}{more}.")
    return Comparison(same=same, rows=tuple(rows), only_here=only_here, only_there=only_there, notes=tuple(notes))


_DAY: Final = re.compile(r"\d{4}-\d\d(-\d\d)?$")
_WEEK_OF: Final = re.compile(r"week of ", re.IGNORECASE)
_DAYS: Final = ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%b %d, %Y", "%B %d, %Y", "%d %b %Y", "%d %B %Y")
_MONTHS: Final = ("%Y-%m", "%b %Y", "%B %Y")
_NUMBER: Final = re.compile(r"([-+]?)[$€£]?([-+]?)(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?(%?)$")


def _read_csv(file: str | os.PathLike[str]) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the heads of a file, and its rows with their lines; ValueError for one that is not a table."""
    raw = Path(address_of(file)).read_bytes()
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        msg = f"{Path(file).name} is not UTF-8 (byte {error.start}): save it as UTF-8"
        raise ValueError(msg) from error
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        lines = [(reader.line_num, line) for line in reader if line]
    except csv.Error as error:
        msg = f"line {reader.line_num} of {Path(file).name} is not CSV: {error}; is a quote not closed before it?"
        raise ValueError(msg) from error
    if not lines:
        msg = f"{Path(file).name} is empty"
        raise ValueError(msg)
    heads = lines[0][1]
    for number, line in lines:
        if len(line) != len(heads):
            msg = f"line {number} of {Path(file).name} has {len(line)} cells, its head {len(heads)}"
            raise ValueError(msg)
    return heads, lines[1:]


def _matched(ours: list[str], heads: list[str], columns: dict[str, str]) -> tuple[dict[int, int], list[str]]:
    """Return the place in the file of each column of ours that it has, and notes on what only one of both has."""
    for head, name in columns.items():
        check_choice("column", name, ours)
        if head not in heads:
            msg = f"the file has no column {head!r}, but {', '.join(map(repr, heads))}"
            raise ValueError(msg)
    known = {_plain(name): place for place, name in enumerate(ours)}
    places: dict[int, int] = {}
    left = []
    for at, head in enumerate(heads):
        place = ours.index(columns[head]) if head in columns else known.get(_plain(head))
        if place is None:
            left.append(head)
        elif place in places:
            msg = f"the file has two columns for {ours[place]!r}, {heads[places[place]]!r} and {head!r}: rename one"
            raise ValueError(msg)
        else:
            places[place] = at
    alone = [name for place, name in enumerate(ours) if place not in places]
    told = [("Only here", alone), ("Only in the file", left)]
    return places, [
        f"{what}: the column{'s' if len(names) > 1 else ''} {', '.join(names)}." for what, names in told if names
    ]


def _plain(head: str) -> str:
    return " ".join(re.findall(r"\w+", head.replace("_", " ").casefold()))


def _key(text: str, line: int, dates: str | None, *, is_day: bool) -> str | None:
    if text.strip() == "None" or not is_day:
        return None if text.strip() == "None" else text
    text = _WEEK_OF.sub("", text.strip())
    for form in (dates,) if dates else (*_DAYS, *_MONTHS):
        try:
            moment = datetime.strptime(text, form)  # noqa: DTZ007  # a day has no zone
        except ValueError:
            continue
        return f"{moment:%Y-%m}" if form in _MONTHS else f"{moment:%Y-%m-%d}"
    way = 'dates="%m/%d/%Y" says how it is written'
    msg = f"line {line}: {text!r} is not a day that can be read in one way only: {way}"
    raise ValueError(msg)


def _cell(text: str, type_: str, line: int, dates: str | None) -> tuple[float | str | None, float]:
    """Return what a cell of the file says, and how far a number may be from it."""
    if type_ == "string":
        return (text or None), 0
    if text in ("", "-"):
        return None, 0
    if type_ == "time" and not text.isdecimal():
        for form in (dates,) if dates else ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"):
            with suppress(ValueError):
                return int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp()), 0
        msg = f'line {line}: {text!r} is not a time such as 2009-02-13 23:31:30: dates="…" says how it is written'
        raise ValueError(msg)
    found = _NUMBER.match(text)
    if found is None or (found[1] and found[2]):
        msg = f"line {line}: {text!r} is not a number such as 1,234.50 or 51.9%"
        raise ValueError(msg)
    sign, inner, whole, decimals, percent = found.groups(default="")
    unit = 100 if percent else 1
    number = float(f"{sign or inner}{whole.replace(',', '')}{decimals}") / unit
    return number, 0.5 * 10.0 ** -max(len(decimals) - 1, 0) * (1 + 1e-9) / unit


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float)


def _row_shown(key: tuple[str | None, ...]) -> str:
    return " · ".join(map(value_shown, key)) or "all"
