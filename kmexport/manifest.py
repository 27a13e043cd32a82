"""The text of status.csv and index.csv → Status and Revisions."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from attrs import define, field, frozen

from kmexport.errors import IndexFormatError, StatusFormatError
from kmexport.format.hashes import LAST_TIMESTAMP
from kmexport.moments import spell_moment

__all__ = ["Revision", "Status", "is_revision_name", "parse_index", "parse_status", "revision_number"]

# What a file may be called: nothing here can lead out of the folder revisions/.
_FILE_NAME: Final = re.compile(r"[0-9]{1,18}\.json(?:\.gz)?")
_NAME_IN_INDEX: Final = re.compile(rf"(?:revisions/)?({_FILE_NAME.pattern})")
_INTEGER: Final = re.compile(r"-?[0-9]{1,18}")
_CELL_LIMIT: Final = 120


@frozen
class Status:
    r"""How far the export has come.

    >>> text = b"Total Revisions,Exported Revisions,Max Exported Revision Timestamp\n12,10,1349222400\n"
    >>> status = parse_status(text)
    >>> status.pending_revisions, status.max_exported_time.isoformat()
    (2, '2012-10-03T00:00:00+00:00')
    """

    total_revisions: int
    exported_revisions: int
    max_exported_timestamp: int  # unix seconds

    @property
    def pending_revisions(self) -> int:
        """How many revisions are not exported yet."""
        return self.total_revisions - self.exported_revisions

    @property
    def max_exported_time(self) -> datetime:
        """The time of the newest record exported, as an aware datetime in UTC."""
        return datetime.fromtimestamp(self.max_exported_timestamp, UTC)


@define(frozen=True, order=True)
class Revision:
    """One file of the export.

    `path` is relative to the bucket. `min_timestamp` and `max_timestamp` are the unix seconds of its first and its
    last moment, both inclusive, or None while the index has no row for it, or one without a range. `size` is in bytes
    as it was listed, None where the storage does not tell it; it is no part of equality, order or hash.

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
        """Whether the index states the moments between which its records lie."""
        return self.min_timestamp is not None and self.max_timestamp is not None


def is_revision_name(name: str) -> bool:
    """Whether a file in the folder revisions/ is called like a revision.

    >>> [is_revision_name(name) for name in ("22770.json", "22770.json.gz", "notes.txt", "../1.json")]
    [True, True, False, False]
    """
    return _FILE_NAME.fullmatch(name) is not None


def revision_number(path: str) -> int:
    """The number in a revision's file name.

    >>> revision_number("revisions/22770.json.gz")
    22770
    """
    return int(path.rpartition("/")[2].partition(".")[0])


def parse_status(text: bytes, source: str = "status.csv") -> Status:
    r"""Read a status.csv: a header line and one line of values, or four values alone.

    The header's columns are matched by their words, whatever the case, spaces or underscores. Raises
    StatusFormatError with the line and the column.

    >>> parse_status(b"12,10,1349222400,2012-10-03 00:00 GMT")
    Status(total_revisions=12, exported_revisions=10, max_exported_timestamp=1349222400)
    """

    def fail(line_number: int, column: str | None, reason: str) -> StatusFormatError:
        return StatusFormatError(source, line_number, column, reason)

    rows = list(_rows(text, fail))
    if not rows:
        raise fail(1, None, "the file is empty, a header line and a line of values belong there")
    names = ("total revisions", "exported revisions", "max exported revision timestamp")
    line_number, header = rows[0]
    if len(header) == 4 and all(_INTEGER.fullmatch(value) for value in header[:3]):
        columns: Sequence[int] = (0, 1, 2)
    else:
        columns = _columns(rows.pop(0), dict(zip(names, _STATUS_COLUMNS, strict=True)), fail)
    if len(rows) != 1:
        reason = "there is no line of values" if not rows else "there is more than one line of values"
        raise fail(rows[1][0] if rows else line_number + 1, None, reason)
    line_number, row = rows[0]
    total, exported, newest = (
        _integer(row, at, line_number, name, fail) for at, name in zip(columns, names, strict=True)
    )
    if not 0 <= exported <= total:
        raise fail(line_number, names[1], f"{exported} revisions of {total} can't be exported")
    return Status(total, exported, newest)


def parse_index(text: bytes, source: str = "index.csv") -> list[Revision]:
    r"""Read an index.csv, sorted by the revisions' numbers; of repeated rows the last wins.

    Holds all rows: about 200 bytes each. Raises IndexFormatError with the line and the column, for a
    file name that leads out of `revisions/` too.

    >>> parse_index(b"filename,min_timestamp,max_timestamp\nrevisions/10.json,5,7\n9.json,1,5\n")[0]
    Revision(number=9, path='revisions/9.json', min_timestamp=1 (1970-01-01T00:00:01Z), max_timestamp=5 (1970-...)
    """

    def fail(line_number: int, column: str | None, reason: str) -> IndexFormatError:
        return IndexFormatError(source, line_number, column, reason)

    rows = _rows(text, fail)
    header = next(rows, None)
    if header is None:
        return []
    names = ("filename", "minimum timestamp", "maximum timestamp")
    columns = _columns(header, dict(zip(names, _INDEX_COLUMNS, strict=True)), fail)
    found: dict[int, Revision] = {}
    for line_number, row in rows:
        path = _path(row, columns[0], line_number, fail)
        first, last = (
            _integer(row, at, line_number, name, fail) for at, name in zip(columns[1:], names[1:], strict=True)
        )
        if first > last:
            raise fail(line_number, names[1], f"the minimum {first} is above the maximum {last}")
        number = revision_number(path)
        found[number] = Revision(number, path, first, last)
    return [found[number] for number in sorted(found)]


Fail = Callable[[int, str | None, str], ValueError]

# A header without its spaces, underscores and case → whether it is the column.
_STATUS_COLUMNS: Final[tuple[Callable[[str], bool], ...]] = (
    lambda header: "total" in header,
    lambda header: "exported" in header and "max" not in header,
    lambda header: "max" in header and "utc" not in header,
)
_INDEX_COLUMNS: Final[tuple[Callable[[str], bool], ...]] = (
    lambda header: "file" in header,
    lambda header: "min" in header and "utc" not in header,
    lambda header: "max" in header and "utc" not in header,
)


def _rows(text: bytes, fail: Fail) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the number of its line."""
    try:
        decoded = text.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        raise fail(text.count(b"\n", 0, error.start) + 1, None, "the line is not UTF-8") from error
    reader = csv.reader(io.StringIO(decoded, newline=""))
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise fail(reader.line_num, None, f"the line is not CSV ({error})") from error


def _columns(header: tuple[int, list[str]], wanted: dict[str, Callable[[str], bool]], fail: Fail) -> list[int]:
    line_number, cells = header
    plain = [re.sub("[^a-z]", "", cell.lower()) for cell in cells]
    columns = []
    for name, is_column in wanted.items():
        found = [at for at, cell in enumerate(plain) if is_column(cell)]
        if len(found) != 1:
            reason = "more than one column has this name" if found else "the header has no such column"
            raise fail(line_number, name, f"{reason} ({_quoted(','.join(cells))})")
        columns.append(found[0])
    return columns


def _integer(row: list[str], at: int, line_number: int, column: str, fail: Fail) -> int:
    cell = row[at] if at < len(row) else ""
    if not _INTEGER.fullmatch(cell):
        raise fail(line_number, column, f"a whole number belongs there, not {_quoted(cell)}")
    value = int(cell)
    if not 0 <= value <= LAST_TIMESTAMP:
        raise fail(line_number, column, f"{value} is out of range")
    return value


def _path(row: list[str], at: int, line_number: int, fail: Fail) -> str:
    cell = row[at] if at < len(row) else ""
    match = _NAME_IN_INDEX.fullmatch(cell)
    if match is None:
        raise fail(line_number, "filename", f"the name of a revision, such as revisions/1.json, is not {_quoted(cell)}")
    return f"revisions/{match[1]}"


def _quoted(cell: str) -> str:
    return repr(cell if len(cell) <= _CELL_LIMIT else f"{cell[:_CELL_LIMIT]}…")
