"""What every report gives back: numbers that print as a table, and a way to the people they count."""

from __future__ import annotations

import enum
import html
from collections.abc import Mapping, Sequence
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, Self, TypeAlias

import attrs
from attrs import define, field

from kmexport.columns.schema import without_halves
from kmexport.format.names import different_names
from kmexport.reports.query import ask, closest
from kmexport.windows import time_at

if TYPE_CHECKING:
    import pyarrow as pa

    from kmexport.tables import Facts

ROWS_SHOWN: Final = 200  # of a table on paper or in a notebook; `.to_arrow()` has all


class All(enum.Enum):
    """The one value of `ALL`, which stands for every part of a split; None stands for the people without a value."""

    ALL = "all"

    def __repr__(self) -> str:
        return "ALL"


ALL: Final = All.ALL
Choice: TypeAlias = str | Literal[All.ALL] | None


@define(frozen=True)
class ResultColumn:
    """One column of a result: how it is called, its Arrow type, how it is shown, its values."""

    name: str = field(converter=without_halves)
    type: Literal["string", "int64", "float64", "time"]
    values: Sequence[Any]
    form: NumberForm = "number"

    def cells(self, most: int | None = ROWS_SHOWN) -> list[str]:
        shown = self.values[:most]
        if self.type == "time":
            return ["-" if moment is None else time_at(moment).replace(tzinfo=None).isoformat(" ") for moment in shown]
        return [*map(value_shown, shown)] if self.type == "string" else texts_of(shown, self.form)


@define
class PeopleQuery:
    """The query behind a result: one row a person, and the columns that tell which numbers the person is in."""

    facts: Facts
    query: str
    params: Mapping[str, object]
    is_own: bool = False  # the report made these facts

    def where(self, condition: str = "true", **values: object) -> list[str]:
        """Return the persons of the rows that fulfil the condition, each once, in order."""
        query = f"select distinct person from ({self.query}) where {condition} order by person"
        return [person for (person,) in ask(self.facts, query, {**self.params, **values})]

    def total(self, numbers: str) -> tuple[Any, ...]:
        """Return the numbers of all rows."""
        [row] = ask(self.facts, f"select {numbers} from ({self.query})", self.params)
        return row

    def groups(self, keys: Sequence[str], numbers: str) -> list[tuple[Any, ...]]:
        """Return the numbers of each group, the keys before them."""
        names = ", ".join(keys)
        return ask(self.facts, f"select {names}, {numbers} from ({self.query}) group by {names}", self.params)

    def groups_and_total(self, keys: Sequence[str], numbers: str) -> tuple[list[tuple[Any, ...]], tuple[Any, ...]]:
        """Return the numbers of each group and those of all rows, in one pass."""
        names = ", ".join(keys)
        query = f"""
            select grouping({names}) > 0, {names}, {numbers} from ({self.query})
            group by grouping sets ((), ({names}))"""
        rows = ask(self.facts, query, self.params)
        [total] = [row[1 + len(keys) :] for row in rows if row[0]]
        return [row[1:] for row in rows if not row[0]], total

    def numbers(self, expression: str, condition: str = "true", **values: object) -> list[Any]:
        """Return one number of each row that fulfils the condition, in order."""
        query = f"select {expression} from ({self.query}) where {condition} order by all"
        return [number for (number,) in ask(self.facts, query, {**self.params, **values})]

    def __reduce__(self) -> tuple[Any, ...]:
        """Let a result be pickled: its numbers go, the facts stay behind."""
        return type(self), (_FactsElsewhere(), self.query, self.params)

    def __deepcopy__(self, _: object) -> Self:
        return self


class _FactsElsewhere:
    """The facts of a result that was pickled."""

    def _rows(self, *_: object) -> NoReturn:
        msg = "this result was pickled, and its facts were not: ask who is in it where the report was made"
        raise ValueError(msg)


@define(repr=False, kw_only=True)
class Table:
    """A result that prints as a table. Two are equal when their numbers are.

    `notes` are sentences about what a reader of the numbers should know, such as values that are not numbers. They
    stand below the table.
    """

    notes: tuple[str, ...] = ()

    def _title(self) -> str:
        raise NotImplementedError

    def _columns(self) -> list[ResultColumn]:
        raise NotImplementedError

    def __str__(self) -> str:
        columns = self._columns()
        texts = []
        for column in columns:
            cells = [_one_line(cell) for cell in column.cells()]
            width = max(map(len, [column.name, *cells]))
            align = str.ljust if column.type == "string" else str.rjust
            texts.append([align(cell, width) for cell in [column.name, *cells]])
        lines = [f"  {'  '.join(row)}".rstrip() for row in zip(*texts, strict=True)]
        below = [_one_line(note) for note in [*self._left_out(columns), *self.notes]]
        return "\n".join([_one_line(self._title()), *lines, *below])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        columns = self._columns()
        sides = [f'style="text-align:{_ALIGN[column.type]}"' for column in columns]
        # A long head may break after an underscore, so that a phone shows all columns.
        heads = (html.escape(column.name).replace("_", "_<wbr>") for column in columns)
        head = "".join(f"<th {side}>{text}</th>" for side, text in zip(sides, heads, strict=True))
        rows = []
        for row in zip(*(column.cells() for column in columns), strict=True):
            cells = (f"<td {side}>{html.escape(cell)}</td>" for side, cell in zip(sides, row, strict=True))
            rows.append(f"<tr>{''.join(cells)}</tr>")
        rest = "".join(f"<p>{html.escape(line)}</p>" for line in [*self._left_out(columns), *self.notes])
        head = f"<p>{html.escape(self._title())}</p><table><tr>{head}</tr>"
        return without_halves(f"{head}{''.join(rows)}</table>{rest}")

    @staticmethod
    def _left_out(columns: Sequence[ResultColumn]) -> list[str]:
        more = len(columns[0].values) - ROWS_SHOWN if columns else 0
        return [f"… and {more:,} rows more: .to_arrow() has all"] if more > 0 else []

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as dicts, lists, text and numbers: what JSON can hold."""
        return attrs.asdict(self, filter=_is_public, value_serializer=_as_list)

    def to_arrow(self) -> pa.Table:
        """Return the rows as an Arrow table."""
        import pyarrow as pa  # noqa: PLC0415  # only needed here

        columns = self._columns()
        types = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64(), "time": pa.timestamp("s", "UTC")}
        arrays = [pa.array(column.values, types[column.type]) for column in columns]
        names = different_names([column.name for column in reversed(columns)], " (by)")
        return pa.table(arrays, names=names[::-1])

    def df(self) -> Any:
        """Return the rows as a DataFrame of pandas (`pip install pandas`). Raises ImportError without it."""
        import_frames("pandas")
        return self.to_arrow().to_pandas()

    def pl(self) -> Any:
        """Return the rows as a DataFrame of Polars (`pip install polars`). Raises ImportError without it."""
        return import_frames("polars").from_arrow(self.to_arrow())


@define(repr=False, kw_only=True)
class Result(Table):
    """The base of the results that know the persons behind their numbers.

    A report over a bucket, a lake or records keeps what it read for `people_of`, until the result is dropped or closed:
    by `close()`, or at the end of a `with` statement. Facts that were given stay open. A result can be pickled: its
    numbers go, what was read stays behind.
    """

    _people_query: PeopleQuery = field(repr=False, eq=False)

    def close(self) -> None:
        """Give back what the report read for itself; `people_of` has no answer after it."""
        if self._people_query.is_own:
            self._people_query.facts.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_ALIGN: Final = {"string": "left", "int64": "right", "float64": "right", "time": "right"}


def import_frames(library: Literal["pandas", "polars"]) -> Any:
    """Import a library of DataFrames, which no extra installs."""
    try:
        return import_module(library)
    except ImportError as error:
        msg = f"a DataFrame of {library} needs {error.name}: pip install {library}"
        raise ImportError(msg, name=error.name) from error


def _is_public(attribute: attrs.Attribute[Any], _: object) -> bool:
    return not attribute.name.startswith("_")


def _as_list(_: object, __: object, value: Any) -> Any:
    """Return tuples as lists, those within them too."""
    return [_as_list(None, None, item) for item in value] if isinstance(value, tuple) else value


def value_shown(value: str | None) -> str:
    """Return a value of a property as tables show it: None is nobody's value, and the text "None" stands in quotes."""
    if value is None:
        return "None"
    return repr(value) if value in ("None", "") else value


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def check_choice(what: str, wanted: Choice, known: Sequence[str | None]) -> None:
    """Raise a LookupError, with the closest ones, for a part of a split that is not there."""
    if wanted is ALL or wanted in known:
        return
    msg = f"the report has no {what} {wanted!r}{closest(str(wanted), [one for one in known if one is not None])}"
    raise LookupError(msg)


def ratio(part: float, whole: float) -> float | None:
    """Divide, or return None where there is nothing to divide by."""
    return part / whole if whole else None


NumberForm: TypeAlias = Literal["number", "amount", "average", "share", "duration"]

_HUGE: Final = 1e15  # from here on a float does not hold cents
_UNITS: Final = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}


def texts_of(numbers: Sequence[float | None], form: NumberForm) -> list[str]:
    """Write the numbers of one column; "-" for None.

    Amounts have two digits after the point, or none where all of them are whole; averages always have two.

    >>> texts_of([26011.11, 5.5, None], "amount"), texts_of([26011.0, 5], "amount")
    (['26,011.11', '5.50', '-'], ['26,011', '5'])
    """
    is_whole = all(number is None or number == round(number) for number in numbers)
    return ["-" if number is None else _text_of(number, form, is_whole=is_whole) for number in numbers]


def _text_of(number: float, form: NumberForm, *, is_whole: bool) -> str:
    if form == "share":
        return f"{number:,.1%}" if abs(number) < _HUGE else f"{number:.6g}"
    if form == "duration":
        return write_duration(number)
    if isinstance(number, int):
        return f"{number:,}"
    if abs(number) >= _HUGE:
        return f"{number:.6g}"
    if form == "amount" and is_whole:
        return f"{number:,.0f}"
    return f"{number:.2g}" if 0 < abs(number) < 0.005 else f"{number:,.2f}"


def counted(number: int, one: str, many: str | None = None) -> str:
    """Write a number and what it counts.

    >>> counted(1, "person", "people"), counted(2_000, "value")
    ('1 person', '2,000 values')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def write_duration(seconds: float) -> str:
    """Write seconds in their two largest units.

    >>> [write_duration(seconds) for seconds in (2.5, 45, 802.2, 3_600, 54_465.7)]
    ['2.5 s', '45 s', '13 min 22 s', '1 h', '15 h 8 min']
    """
    if seconds < 10 and seconds != round(seconds):
        return f"{seconds:.1f} s"
    lengths = list(_UNITS.items())
    for (unit, length), (smaller, step) in pairwise(lengths):
        rounded = round(seconds / step) * step
        if rounded >= length:
            whole, rest = divmod(rounded, length)
            return f"{whole:,} {unit}" + (f" {rest // step} {smaller}" if rest else "")
    return f"{round(seconds)} s"
