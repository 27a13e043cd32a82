"""One stream → records."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar, Unpack, overload

from attrs import evolve

from kmexport.arguments import check_whole
from kmexport.errors import MalformedRecordError
from kmexport.parsing.blocks import iter_blocks
from kmexport.parsing.counts import LineCounts
from kmexport.parsing.lines import read_blocks
from kmexport.parsing.selection import Identities, Kinds, Names, Selection, check_selection
from kmexport.parsing.stream import MAX_LINE_BYTES, LineSource, check_source
from kmexport.records import Event, Record

logger: logging.Logger = logging.getLogger("kmexport")

_R = TypeVar("_R", bound=Record)

OnError: TypeAlias = Literal["raise", "skip"] | Callable[[MalformedRecordError], object]


class _Options(TypedDict, total=False):
    people: Identities
    on_error: OnError
    counts: LineCounts | None
    max_line_bytes: int


@overload
def iter_records(
    source: LineSource, *, kinds: Kinds = None, names: str | Iterable[str], **options: Unpack[_Options]
) -> Iterator[Event]: ...
@overload
def iter_records(
    source: LineSource, *, kinds: type[_R] | Iterable[type[_R]], names: None = None, **options: Unpack[_Options]
) -> Iterator[_R]: ...
@overload
def iter_records(
    source: LineSource, *, kinds: Kinds = None, names: Names = None, **options: Unpack[_Options]
) -> Iterator[Record]: ...
def iter_records(
    source: LineSource,
    *,
    kinds: Any = None,
    names: Names = None,
    people: Identities = None,
    on_error: OnError = "raise",
    counts: LineCounts | None = None,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> Iterator[Record]:
    r"""Iterate over the records of one revision, in the order of its lines.

    `source` is an open binary file, or an iterable of lines (bytes or str). `kinds` are the record classes wanted,
    `names` the names of the events wanted (compared without case, with commas and colons as spaces; only such
    events come out), `people` the identities whose records are wanted: as the lines have them, as the person or the
    other identity of an alias, compared exactly (real exports have small letters only: `IdentityMap.identities_of`
    gives all of a person). Where names or people are given, or kinds without Event, lines that can't hold one are
    passed over before they are parsed, malformed or not.

    Lines are repaired, and repairs are counted: a byte-order mark, CRLF and blank lines are passed over, octal escapes
    become the text they stand for, a byte that is not UTF-8 is read as Windows-1252, `_t` in a string or as a float
    becomes the second it lies in, an object over several lines and a file that is one array are read. Each line that
    can't be repaired gives one `MalformedRecordError`: `on_error="raise"` raises it, `"skip"` goes on and logs one
    warning with the count, a callable gets each error and the reader goes on. A line (or an item of an array) of more
    than `max_line_bytes` bytes is malformed. `counts`, a `LineCounts`, is added to while lines are read.

    Lazy: reads 64 KiB at a time (of lines: one, then more and more up to that). Holds what it has read ahead, about
    half a megabyte, and nothing of what it gave: memory does not grow with the file or an array in it, only with the
    longest line or item, which is held twice while it is put together.

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
    selection = check_selection(kinds, names, people)
    check_counts(counts)
    return one_by_one(read_lists(source, _source_name(source), on_error, max_line_bytes, counts, selection=selection))


def check_counts(counts: object) -> None:
    """Raise TypeError for anything but None and a LineCounts."""
    if counts is not None and not isinstance(counts, LineCounts):
        msg = f"counts is a LineCounts, not {counts!r}"
        raise TypeError(msg)


def check_policy(on_error: OnError, max_line_bytes: int) -> None:
    """Raise ValueError for a policy that does not exist."""
    if not callable(on_error) and on_error not in ("raise", "skip"):
        msg = f'on_error is "raise", "skip" or a callable, not {on_error!r}'
        raise ValueError(msg)
    check_whole("max_line_bytes", max_line_bytes, 1, "bytes")


def read_lists(
    source: LineSource,
    source_name: str,
    on_error: OnError,
    max_line_bytes: int,
    total: LineCounts | None,
    *,
    selection: Selection | None = None,
) -> Generator[list[Record], None, LineCounts]:
    """Yield the records of a stream, or the wanted ones, in lists; return how its lines were counted.

    Errors go the way of `on_error`, and the log says what was repaired and skipped. `total` is added to.
    """
    errors = ErrorPolicy(on_error, total)
    is_sifted = selection is not None and selection.line_filter is not None
    blocks = iter_blocks(source, max_line_bytes, is_sifted=is_sifted)
    try:
        for found in read_blocks(blocks, source_name, errors.counts, max_line_bytes, selection=selection):
            errors.update_total()
            if isinstance(found, MalformedRecordError):
                errors.handle(found)
            else:
                yield found
        return errors.counts
    finally:
        errors.log(source_name)


def one_by_one(lists: Generator[list[Record], Any, Any]) -> Iterator[Record]:
    """Yield the records of the lists. Handing on lists takes a tenth less time."""
    with closing(lists):
        for records in lists:
            yield from records


class ErrorPolicy:
    """The one place where a malformed line of a file is raised, skipped or handed over."""

    def __init__(self, on_error: OnError, total: LineCounts | None) -> None:
        """`total` is added to; `counts` are those of this file alone, for by them its lines are numbered."""
        self.on_error = on_error
        self.first: MalformedRecordError | None = None
        self.count: int = 0
        self.counts: LineCounts = LineCounts()
        self._total = total
        self._added = LineCounts()

    def update_total(self) -> None:
        """Add what is new to the total."""
        if self._total is None:
            return
        self._total.add(self.counts.since(self._added))
        self._added = evolve(self.counts)

    def handle(self, error: MalformedRecordError) -> None:
        if self.on_error == "raise":
            raise error
        self.count += 1
        self.first = self.first or error
        if callable(self.on_error):
            self.on_error(error)

    def log(self, source_name: str) -> None:
        self.update_total()
        counts = self.counts
        lines = counts.lines + counts.shared  # the items of an array that stand on one line are lines too
        if counts.repaired:
            logger.info("%s: %d of %d lines were repaired", source_name, counts.repaired, lines)
        if self.first is not None and self.on_error == "skip":
            logger.warning(
                "%s: %d of %d lines were skipped, the first is line %d: %s",
                source_name,
                self.count,
                lines,
                self.first.line_number,
                self.first.reason,
            )


def _source_name(source: object) -> str:
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "<stream>"
