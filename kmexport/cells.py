"""The CSV files of the vendor: rows that are not blank, columns by their headers, cells that are numbers."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from decimal import Decimal
from typing import Final

from attrs import frozen

from kmexport.format.hashes import FIRST_TIMESTAMP, LAST_TIMESTAMP

__all__ = ["Column", "Fail", "find_column", "is_rounded", "quoted", "read_number", "read_rows"]

Fail = Callable[[int, str | None, str], ValueError]  # a line number, a column, a reason → the error to raise

_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,18}(?:\.[0-9]{0,18})?(?:[eE][+-]?[0-9]{1,2})?")
_CELL_LIMIT: Final = 120


@frozen
class Column:
    """What a column is called in errors, how its header is spelt, and what else its header may hold."""

    name: str
    spellings: Collection[str]  # without spaces, underscores and case
    is_like: Callable[[str], bool]


def read_rows(text: bytes, fail: Fail, *, is_strict: bool) -> Iterator[tuple[int, list[str]]]:
    r"""The rows that are not blank, each with the number of its line; spaces around cells are cut off.

    No cell goes over several lines, so a quote that is not closed is an error. With `is_strict`, bytes that are no
    UTF-8 and huge cells are too; without, the row comes out as far as it can be read.

    >>> list(read_rows(b'a,"b,c"\r\n\r\n 1 ,2\n', ValueError, is_strict=True))
    [(1, ['a', 'b,c']), (3, ['1', '2'])]
    """
    lines = re.split(rb"\r\n|\n|\r", text.removeprefix(codecs.BOM_UTF8))
    for number, line in enumerate(lines, 1):
        try:
            decoded = line.decode("utf-8", "strict" if is_strict else "replace")
        except UnicodeDecodeError as error:
            raise fail(number, None, "the line is not UTF-8") from error
        try:
            # Behind a quote that is open, the second line is a part of the first.
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


def find_column(header: Sequence[str], line_number: int, column: Column, fail: Fail) -> int | None:
    """Where a column stands: its exact name wins over words in others. None if nowhere; an error if in two places.

    >>> file = Column("filename", {"filename"}, lambda header: "file" in header)
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
    """A number between the first and the last unix second of the calendar, None for anything else.

    Counts of revisions are read by it too: none comes near those limits.

    >>> [read_number(cell) for cell in ("1349161501.0", "-5", "1349161501000", "")]
    [Decimal('1349161501.0'), Decimal('-5'), None, None]
    """
    if not _NUMBER.fullmatch(cell):
        return None
    number = Decimal(cell)
    return number if FIRST_TIMESTAMP <= number <= LAST_TIMESTAMP else None


def is_rounded(number: Decimal) -> bool:
    """Whether the exponent of a number is all that says how large it is: its last digits are lost.

    >>> [is_rounded(Decimal(cell)) for cell in ("1.34922E+09", "1349161501")]
    [True, False]
    """
    exponent = number.as_tuple().exponent
    return isinstance(exponent, int) and exponent > 0


def quoted(cell: str) -> str:
    """A cell for an error text, cut where it is long."""
    return repr(cell if len(cell) <= _CELL_LIMIT else f"{cell[:_CELL_LIMIT]}…")
