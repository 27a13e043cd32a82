"""The text of status.csv and index.csv, read and written."""

from __future__ import annotations

import codecs
import csv
import html
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

from attrs import define, field, frozen

from kmexport.errors import IndexFormatError, StatusFormatError
from kmexport.format.decoding import FIRST_TIMESTAMP, LAST_TIMESTAMP
from kmexport.windows import spell_moment, time_at

Fail = Callable[[int, str | None, str], ValueError]  # a line number, a column, a reason → the error to raise

_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,18}(?:\.[0-9]{0,18})?(?:[eE][+-]?[0-9]{1,2})?")
_CELL_LIMIT: Final = 120


@frozen
class CsvColumn:
    """A column of a manifest: its name in errors, the spellings of its header, and a test for other spellings."""

    name: str
    spellings: Collection[str]  # without spaces, underscores and case
    is_like: Callable[[str], bool]


def read_csv_rows(text: bytes, fail: Fail, *, is_strict: bool) -> Iterator[tuple[int, list[str]]]:
    r"""Yield the rows that are not blank, each with the number of its line; spaces around cells are cut off.

    No cell goes over several lines, so a quote that is not closed is an error. With `is_strict`, bytes that are not
    UTF-8 and huge cells are errors too; without, the row comes out as far as it can be read.

    >>> list(read_csv_rows(b'a,"b,c"\r\n\r\n 1 ,2\n', ValueError, is_strict=True))
    [(1, ['a', 'b,c']), (3, ['1', '2'])]
    """
    lines = re.split(rb"\r\n|\n|\r", text.removeprefix(codecs.BOM_UTF8))
    for number, line in enumerate(lines, 1):
        try:
            decoded = line.decode("utf-8", "strict" if is_strict else "replace")
        except UnicodeDecodeError as error:
            raise fail(number, None, "the line is not UTF-8") from error
        try:
            # After a quote that is not closed, the second line is a part of the first.
            row, *others = csv.reader([f"{decoded}\n", "\n"])
        except csv.Error as error:
            if is_strict:
                raise fail(number, None, f"the line is not CSV ({error})") from error
            row, others = [decoded], [[]]
        if not others:
            raise fail(number, None, f"a quote is opened and not closed ({quoted(decoded)})")
        cells = [cell.strip() for cell in row]
        if any(cells):
            yield number, cells


def find_column(header: Sequence[str], line_number: int, column: CsvColumn, fail: Fail) -> int | None:
    """Find a column: its exact name wins over words in others. None if it is not there; an error if it is there twice.

    >>> file = CsvColumn("filename", {"filename"}, lambda header: "file" in header)
    >>> headers = ["File Size", "File_Name"], ["x", "The file"], ["x"]
    >>> [find_column(header, 1, file, ValueError) for header in headers]
    [1, 1, None]
    """
    plain = [re.sub("[^a-z]", "", cell.lower()) for cell in header]
    found = [at for at, cell in enumerate(plain) if cell in column.spellings]
    found = found or [at for at, cell in enumerate(plain) if column.is_like(cell)]
    if len(found) > 1:
        raise fail(line_number, column.name, f"more than one column has this name ({quoted(','.join(header))})")
    return found[0] if found else None


def read_number(cell: str) -> Decimal | None:
    """Read a number between the first and the last unix second of the calendar, None for anything else.

    Counts of revisions are read by it too: none comes near those limits.

    >>> [read_number(cell) for cell in ("1349161501.0", "-5", "1349161501000", "")]
    [Decimal('1349161501.0'), Decimal('-5'), None, None]
    """
    if not _NUMBER.fullmatch(cell):
        return None
    number = Decimal(cell)
    return number if FIRST_TIMESTAMP <= number <= LAST_TIMESTAMP else None


def is_rounded(number: Decimal) -> bool:
    """Tell whether the last digits of a number are lost: only its exponent says how large it is.

    >>> [is_rounded(Decimal(cell)) for cell in ("1.34922E+09", "1349161501")]
    [True, False]
    """
    exponent = number.as_tuple().exponent
    return isinstance(exponent, int) and exponent > 0


def quoted(cell: str) -> str:
    """Quote a cell for an error text, cut where it is long."""
    return repr(cell if len(cell) <= _CELL_LIMIT else f"{cell[:_CELL_LIMIT]}…")


# The names that a file may have: nothing here can lead out of the folder revisions/.
_FILE_NAME: Final = re.compile(r"[0-9]{1,18}\.json(?:\.gz)?")
# The index may give the folders of its whole key too. They are dropped: a bucket looks into its own folder only.
_NAME_IN_INDEX: Final = re.compile(rf"(?:(?:(?!\.\.?/)[\w .=+@-]+/)*revisions/)?({_FILE_NAME.pattern})")

_TOTAL: Final = CsvColumn("total revisions", {"totalrevisions"}, lambda header: "total" in header)
_EXPORTED: Final = CsvColumn(
    "exported revisions", {"exportedrevisions"}, lambda header: "exported" in header and "max" not in header
)
_NEWEST: Final = CsvColumn(
    "max exported revision timestamp",
    {"maxexportedrevisiontimestamp", "maxexportedtimestamp"},
    lambda header: "max" in header and "utc" not in header,
)
_FILE: Final = CsvColumn("filename", {"filename", "file"}, lambda header: "file" in header and "size" not in header)
_FIRST: Final = CsvColumn(
    "minimum timestamp",
    {"minimumtimestamp", "mintimestamp", "minimum", "min"},
    lambda header: "min" in header and "utc" not in header,
)
_LAST: Final = CsvColumn(
    "maximum timestamp",
    {"maximumtimestamp", "maxtimestamp", "maximum", "max"},
    lambda header: "max" in header and "utc" not in header,
)


@frozen
class Status:
    r"""The state of an export, from status.csv: how far it has come.

    >>> status = parse_status(b"12,10,1349222400,2012-10-03 00:00 GMT\n")
    >>> status.pending_revisions, status.max_exported_time.isoformat()
    (2, '2012-10-03T00:00:00+00:00')
    """

    total_revisions: int
    exported_revisions: int
    max_exported_timestamp: int | None  # unix seconds, None while nothing is exported

    @property
    def pending_revisions(self) -> int:
        """The number of revisions that are not exported yet."""
        return self.total_revisions - self.exported_revisions

    @property
    def max_exported_time(self) -> datetime | None:
        """When the newest batch exported was received, as an aware datetime in UTC; None while nothing is exported."""
        if self.max_exported_timestamp is None:
            return None
        return time_at(self.max_exported_timestamp)


@define(frozen=True, order=True)
class Revision:
    """One file of the export.

    `path` is relative to the bucket. `min_timestamp` and `max_timestamp` are the unix seconds at which the vendor
    received its first and its last batch of five minutes, or None while the index has no row for it, or one without a
    range. Its records happened then or earlier: seconds, hours or years. `size` is in bytes
    as it was listed, None where the storage does not tell it; comparisons leave it out.

    >>> Revision(22770, "revisions/22770.json", 1349161501, 1349162102).path
    'revisions/22770.json'
    """

    number: int
    path: str
    # None and a number have no order between them, and the number and the path are order enough.
    min_timestamp: int | None = field(default=None, order=False, repr=spell_moment)
    max_timestamp: int | None = field(default=None, order=False, repr=spell_moment)
    size: int | None = field(default=None, eq=False, order=False)

    @property
    def has_range(self) -> bool:
        """True where the index says when its batches were received."""
        return self.min_timestamp is not None and self.max_timestamp is not None

    def _repr_html_(self) -> str:
        first, last = spell_moment(self.min_timestamp), spell_moment(self.max_timestamp)
        size = "" if self.size is None else f", {self.size:,} bytes"
        return f"<p><code>{html.escape(self.path)}</code>: {first} to {last}{size}</p>"


def is_revision_name(name: str) -> bool:
    """Tell whether a file in the folder revisions/ has the name of a revision.

    >>> names = "22770.json", "22770.json.gz", "notes.txt", "../1.json"
    >>> [is_revision_name(name) for name in names]
    [True, True, False, False]
    """
    return _FILE_NAME.fullmatch(name) is not None


def revision_number(path: str) -> int:
    """Read the number in a revision's file name.

    >>> revision_number("revisions/22770.json.gz")
    22770
    """
    return int(path.rpartition("/")[2].partition(".")[0])


@frozen
class Index:
    """The rows of an index.csv: those that name a revision, in the order of the numbers, and the odd ones."""

    revisions: list[Revision]
    odd_rows: list[IndexFormatError]


def parse_status(text: bytes, source: str = "status.csv") -> Status:
    r"""Read a status.csv: a header line and one line of values, or four values alone.

    The header's columns are matched by their words, whatever the case, spaces or underscores. While nothing is
    exported, the time may be empty. Raises StatusFormatError with the line and the column.

    >>> parse_status(b"12,10,1349222400,2012-10-03 00:00 GMT").exported_revisions
    10
    """

    def fail(line_number: int, column: str | None, reason: str) -> StatusFormatError:
        return StatusFormatError(source, line_number, column, reason)

    rows = list(read_csv_rows(text, fail, is_strict=True))
    if not rows:
        raise fail(1, None, "the file is empty, a header line and a line of values belong there")
    line_number, header = rows[0]
    columns = [0, 1, 2]
    if len(header) != 4 or None in [read_number(cell) for cell in header[:2]]:
        del rows[0]
        columns = [_needed(header, line_number, column, fail) for column in (_TOTAL, _EXPORTED, _NEWEST)]
    if len(rows) != 1:
        reason = "there is no line of values" if not rows else "there is more than one line of values"
        raise fail(rows[1][0] if rows else line_number + 1, None, reason)
    line_number, row = rows[0]
    total = _whole(_cell(row, columns[0]), line_number, _TOTAL, fail)
    exported = _whole(_cell(row, columns[1]), line_number, _EXPORTED, fail)
    if exported > total:
        raise fail(line_number, _EXPORTED.name, f"{exported} revisions of {total} can't be exported")
    time = _cell(row, columns[2])
    if not exported and read_number(time) is None:
        return Status(total, exported, None)
    return Status(total, exported, _whole(time, line_number, _NEWEST, fail))


def read_index(text: bytes, source: str = "index.csv") -> Index:
    r"""Read an index.csv, with its header or without; of repeated rows the last wins.

    An odd row never hides a file: where the range is odd (0 to 0, say) the revision has none, and a row without the
    name of a revision is passed over (its file, if there is one, is not named then). Holds all rows: about 200 bytes
    each. Raises IndexFormatError with the line and the column for other content: no row names a revision, two columns
    have one name, or a quote is not closed, which could swallow rows.

    >>> text = b"acme/revisions/7.json,1349161501.0,1349162102\n8.json,,\n../9.json,1,2\n"
    >>> index = read_index(text)
    >>> [(revision.path, revision.min_timestamp) for revision in index.revisions]
    [('revisions/7.json', 1349161501), ('revisions/8.json', None)]
    >>> [odd.line_number for odd in index.odd_rows]
    [2, 3]
    """

    def fail(line_number: int, column: str | None, reason: str) -> IndexFormatError:
        return IndexFormatError(source, line_number, column, reason)

    columns: list[int | None] = [0, 1, 2]
    odd: list[IndexFormatError] = []
    found: dict[int, Revision] = {}
    for at, (line_number, row) in enumerate(read_csv_rows(text, fail, is_strict=False)):
        if not at and _NAME_IN_INDEX.fullmatch(row[0]) is None:
            header = [find_column(row, line_number, column, fail) for column in (_FILE, _FIRST, _LAST)]
            odd += [
                fail(line_number, column.name, _no_column(row))
                for column, place in zip((_FILE, _FIRST, _LAST), header, strict=True)
                if place is None and (header[0] is not None or column is _FILE)
            ]
            if header[0] is not None:
                columns = header
            continue
        name, first, last = (_cell(row, place) for place in columns)
        match = _NAME_IN_INDEX.fullmatch(name)
        if match is None:
            reason = f"the name of a revision, such as revisions/1.json, is not {quoted(name)}"
            odd.append(fail(line_number, _FILE.name, reason))
            continue
        path = f"revisions/{match[1]}"
        number = revision_number(path)
        start, end = _moment(first), _moment(last)
        if start is not None and end is not None and 0 < start <= end:
            found[number] = Revision(number, path, start, end)
        else:
            found[number] = Revision(number, path)
            if None not in columns:
                odd.append(fail(line_number, *_why_no_range(first, last)))
    nameless = [error for error in odd if error.column == _FILE.name]
    if nameless and not found:
        raise nameless[0]
    return Index([found[number] for number in sorted(found)], odd)


def _moment(cell: str) -> int | None:
    """Read the second of a time; None for anything else, or a rounded number."""
    number = read_number(cell)
    return None if number is None or is_rounded(number) else math.floor(number)


def _why_no_range(first: str, last: str) -> tuple[str, str]:
    """Name the odd column, and the reason."""
    if _moment(first) is None:
        return _FIRST.name, _no_number(first)
    if _moment(last) is None:
        return _LAST.name, _no_number(last)
    if (_moment(first) or 0) <= 0:
        return _FIRST.name, f"{first} is no time at which a batch was received: it is not after the year 1969"
    return _FIRST.name, f"the minimum {first} is above the maximum {last}"


def _needed(header: Sequence[str], line_number: int, column: CsvColumn, fail: Fail) -> int:
    at = find_column(header, line_number, column, fail)
    if at is None:
        raise fail(line_number, column.name, _no_column(header))
    return at


def _cell(row: Sequence[str], at: int | None) -> str:
    return row[at] if at is not None and at < len(row) else ""


def _whole(cell: str, line_number: int, column: CsvColumn, fail: Fail) -> int:
    number = read_number(cell)
    if number is None or number != int(number) or number < 0 or is_rounded(number):
        raise fail(line_number, column.name, _no_number(cell))
    return int(number)


def _no_column(header: Sequence[str]) -> str:
    return f"the header has no such column ({quoted(','.join(header))})"


def _no_number(cell: str) -> str:
    if re.fullmatch("-?[0-9]{1,40}", cell):
        return f"{cell} is out of range"
    number = read_number(cell)
    if number is not None and is_rounded(number):
        return f"{cell} has lost its last digits, as numbers do that a spreadsheet saves"
    return f"a whole number belongs there, not {quoted(cell)}"


HEADER = "filename,min_timestamp,max_timestamp,min_utc_date,max_utc_date"


def spell_index(revisions: Iterable[Revision]) -> bytes:
    r"""Write the text of an index.csv. A revision without a range has empty cells.

    >>> revision = Revision(7, "revisions/7.json", 1349161501, 1349162102)
    >>> print(spell_index([revision]).decode(), end="")
    filename,min_timestamp,max_timestamp,min_utc_date,max_utc_date
    revisions/7.json,1349161501,1349162102,2012-10-02 07:05 GMT,2012-10-02 07:15 GMT
    """
    rows = (index_row(revision.path, revision.min_timestamp, revision.max_timestamp) for revision in revisions)
    return "".join(f"{row}\n" for row in (HEADER, *rows)).encode()


def index_row(path: str, first: int | None, last: int | None) -> str:
    """Write one row, without its newline."""
    times = ("" if second is None else spell_time(second) for second in (first, last))
    return ",".join([path, *("" if second is None else str(second) for second in (first, last)), *times])


def batch_time(number: int, second: float) -> int:
    """Compute when the vendor receives what is sent at a moment: some seconds past the next full five minutes.

    >>> batch_time(7, 1349161203), batch_time(7, 1349161202)
    (1349161502, 1349161202)
    """
    past = 1 + number % 3
    return min(math.ceil((second - past) / 300) * 300 + past, LAST_TIMESTAMP)


def spell_time(second: int) -> str:
    """Write a moment in the vendor's form."""
    return f"{time_at(second).isoformat(' ')[:16]} GMT"  # strftime's years below 1000 differ by system
