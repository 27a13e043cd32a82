"""The text of status.csv and index.csv → Status and Revisions."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from attrs import define, field, frozen

from kmexport.cells import Column, Fail, find_column, is_rounded, quoted, read_number, read_rows
from kmexport.errors import IndexFormatError, StatusFormatError
from kmexport.moments import spell_moment, time_at

__all__ = [
    "Index",
    "Revision",
    "Status",
    "is_revision_name",
    "parse_status",
    "read_index",
    "revision_number",
]

# What a file may be called: nothing here can lead out of the folder revisions/.
_FILE_NAME: Final = re.compile(r"[0-9]{1,18}\.json(?:\.gz)?")
# In the index it may have the folders of its whole key before it. They are dropped: a bucket looks into its own only.
_NAME_IN_INDEX: Final = re.compile(rf"(?:(?:(?!\.\.?/)[\w .=+@-]+/)*revisions/)?({_FILE_NAME.pattern})")

_TOTAL: Final = Column("total revisions", {"totalrevisions"}, lambda header: "total" in header)
_EXPORTED: Final = Column(
    "exported revisions", {"exportedrevisions"}, lambda header: "exported" in header and "max" not in header
)
_NEWEST: Final = Column(
    "max exported revision timestamp",
    {"maxexportedrevisiontimestamp", "maxexportedtimestamp"},
    lambda header: "max" in header and "utc" not in header,
)
_FILE: Final = Column("filename", {"filename", "file"}, lambda header: "file" in header and "size" not in header)
_FIRST: Final = Column(
    "minimum timestamp",
    {"minimumtimestamp", "mintimestamp", "minimum", "min"},
    lambda header: "min" in header and "utc" not in header,
)
_LAST: Final = Column(
    "maximum timestamp",
    {"maximumtimestamp", "maxtimestamp", "maximum", "max"},
    lambda header: "max" in header and "utc" not in header,
)


@frozen
class Status:
    r"""How far the export has come.

    >>> status = parse_status(b"12,10,1349222400,2012-10-03 00:00 GMT\n")
    >>> status.pending_revisions, status.max_exported_time.isoformat()
    (2, '2012-10-03T00:00:00+00:00')
    """

    total_revisions: int
    exported_revisions: int
    max_exported_timestamp: int | None  # unix seconds, None while nothing is exported

    @property
    def pending_revisions(self) -> int:
        """How many revisions are not exported yet."""
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
        """Whether the index says when its batches were received."""
        return self.min_timestamp is not None and self.max_timestamp is not None

    @property
    def has_records(self) -> bool:
        """Whether the index says that batches were received: of a revision without records, the range is 0 to 0."""
        return self.has_range and self.max_timestamp != 0

    def _repr_html_(self) -> str:
        first, last = spell_moment(self.min_timestamp), spell_moment(self.max_timestamp)
        size = "" if self.size is None else f", {self.size:,} bytes"
        return f"<p><code>{html.escape(self.path)}</code>: {first} to {last}{size}</p>"


def is_revision_name(name: str) -> bool:
    """Whether a file in the folder revisions/ is called like a revision.

    >>> names = "22770.json", "22770.json.gz", "notes.txt", "../1.json"
    >>> [is_revision_name(name) for name in names]
    [True, True, False, False]
    """
    return _FILE_NAME.fullmatch(name) is not None


def revision_number(path: str) -> int:
    """The number in a revision's file name.

    >>> revision_number("revisions/22770.json.gz")
    22770
    """
    return int(path.rpartition("/")[2].partition(".")[0])


@frozen
class Index:
    """The rows of an index.csv: those that name a revision, in the order of the numbers, and what is odd in any."""

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

    rows = list(read_rows(text, fail, is_strict=True))
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

    An odd row never hides a file: where the range is odd the revision has none, and a row without the name of a
    revision is passed over (its file, if there is one, is not named then). Holds all rows: about 200 bytes
    each. Raises IndexFormatError with the line and the column for content that is no index: no row names a revision,
    two columns have one name, or a quote is not closed, which could swallow rows.

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
    for at, (line_number, row) in enumerate(read_rows(text, fail, is_strict=False)):
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
        if start is not None and end is not None and start <= end:
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
    """The second of a time; None for what is none, or is rounded."""
    number = read_number(cell)
    return None if number is None or is_rounded(number) else math.floor(number)


def _why_no_range(first: str, last: str) -> tuple[str, str]:
    """The column that is odd, and the reason."""
    if _moment(first) is None:
        return _FIRST.name, _no_number(first)
    if _moment(last) is None:
        return _LAST.name, _no_number(last)
    return _FIRST.name, f"the minimum {first} is above the maximum {last}"


def _needed(header: Sequence[str], line_number: int, column: Column, fail: Fail) -> int:
    at = find_column(header, line_number, column, fail)
    if at is None:
        raise fail(line_number, column.name, _no_column(header))
    return at


def _cell(row: Sequence[str], at: int | None) -> str:
    return row[at] if at is not None and at < len(row) else ""


def _whole(cell: str, line_number: int, column: Column, fail: Fail) -> int:
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
