"""One stream → records."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, TypeAlias

from kmexport.errors import MalformedRecordError
from kmexport.reading.blocks import iter_blocks
from kmexport.reading.lines import read_blocks
from kmexport.reading.outcomes import LineCounts
from kmexport.reading.pieces import Source, check_source
from kmexport.reading.selection import Selection, check_selection
from kmexport.records import Record

__all__ = [
    "MAX_LINE_BYTES",
    "ErrorPolicy",
    "LineCounts",
    "OnError",
    "Selection",
    "check_policy",
    "check_selection",
    "iter_records",
    "read_stream",
]

MAX_LINE_BYTES = 64 << 20

OnError: TypeAlias = Literal["raise", "skip"] | Callable[[MalformedRecordError], object]

logger = logging.getLogger("kmexport")


def iter_records(
    source: Source,
    *,
    kinds: type[Record] | Iterable[type[Record]] | None = None,
    names: str | Iterable[str] | None = None,
    on_error: OnError = "raise",
    max_line_bytes: int = MAX_LINE_BYTES,
) -> Iterator[Record]:
    r"""The records of one revision, in the order of its lines.

    `source` is an open binary file, or an iterable of lines (bytes or str). `kinds` are the record classes wanted,
    `names` the names of the events wanted (compared without case, with commas and colons as spaces; only such
    events come out). Where names are given, or kinds without Event, lines that can't hold one are passed over before
    they are parsed, malformed or not.

    What a line needs is done and counted: a byte-order mark, CRLF and blank lines are passed over, octal escapes
    become the text they stand for, `_t` in a string or as a whole float becomes an int, a hash over several
    lines and a file that is one array are read. A line that is no record all the same costs one
    `MalformedRecordError`: `on_error="raise"` raises it, `"skip"` goes on and logs one warning with the
    count, a callable gets each error and the reader goes on. A line of more than `max_line_bytes` bytes is malformed.

    Lazy: reads 64 KiB at a time (of lines: one, then more and more up to that). Holds what it has
    read ahead and nothing of what it gave: memory does not grow with the file, only with its longest line.

    >>> lines = [
    ...     rb'{"_n":"signed up","_p":"bob","_t":1349222400,"city":"Paran\303\241"}',
    ...     rb'{"_p":"bob","_p2":"qFq2LweZugFNE4o49hLhmRPBW34=","_t":1349222401}',
    ...     rb'{"_p":"bob","_t":13492',
    ... ]
    >>> for record in iter_records(lines, on_error="skip"):
    ...     print(record)
    Event(person='bob', timestamp=1349222400, name='signed up', properties={'city': 'Paraná'})
    Alias(person='bob', timestamp=1349222401, alias='qFq2LweZugFNE4o49hLhmRPBW34=')
    """
    check_source(source)
    check_policy(on_error, max_line_bytes)
    selection = check_selection(kinds, names)
    return read_stream(source, _source_name(source), on_error, max_line_bytes, LineCounts(), selection=selection)


def check_policy(on_error: OnError, max_line_bytes: int) -> None:
    """Raise ValueError for a policy that does not exist."""
    if not callable(on_error) and on_error not in ("raise", "skip"):
        msg = f'on_error is "raise", "skip" or a callable, not {on_error!r}'
        raise ValueError(msg)
    if max_line_bytes < 1:
        msg = f"max_line_bytes is at least 1, not {max_line_bytes}"
        raise ValueError(msg)


def read_stream(
    source: Source,
    source_name: str,
    on_error: OnError,
    max_line_bytes: int,
    counts: LineCounts,
    *,
    selection: Selection | None = None,
) -> Iterator[Record]:
    """Every record of a stream, or the wanted ones.

    Errors go the way of `on_error`, and the log says what was repaired and skipped.
    """
    errors = ErrorPolicy(on_error)
    blocks = iter_blocks(source, max_line_bytes)
    try:
        for found in read_blocks(blocks, source_name, counts, max_line_bytes, selection=selection):
            if isinstance(found, MalformedRecordError):
                errors.handle(found)
            else:
                yield from found
    finally:
        errors.log(source_name, counts)


class ErrorPolicy:
    """The one place where a malformed line is raised, skipped or handed over."""

    def __init__(self, on_error: OnError) -> None:
        self.on_error = on_error
        self.first: MalformedRecordError | None = None
        self.count = 0

    def handle(self, error: MalformedRecordError) -> None:
        if self.on_error == "raise":
            raise error
        self.count += 1
        self.first = self.first or error
        if callable(self.on_error):
            self.on_error(error)

    def log(self, source_name: str, counts: LineCounts) -> None:
        if counts.repaired:
            logger.info("%s: %d of %d lines were repaired", source_name, counts.repaired, counts.lines)
        if self.first is not None and self.on_error == "skip":
            logger.warning(
                "%s: %d of %d lines were skipped, the first is line %d: %s",
                source_name,
                self.count,
                counts.lines,
                self.first.line_number,
                self.first.reason,
            )


def _source_name(source: object) -> str:
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "<stream>"
