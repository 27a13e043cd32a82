"""Blocks of lines → parsed lines or records: whole blocks in one call, and line by line where one needs a repair."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from operator import itemgetter
from typing import Any, Final, TypeAlias, cast

from attrs import frozen

from kmexport.errors import MalformedRecordError
from kmexport.format.decoding import DECODE_ERRORS, FLAT_BYTES, NotARecord, decode_head, is_too_deep
from kmexport.format.repair import RecordParser, decode_checked, is_plain, parse_record
from kmexport.parsing.arrays import ArrayItems, RejectedItem
from kmexport.parsing.blocks import Block
from kmexport.parsing.counts import LineCounts, Outcome, ParsedLines
from kmexport.parsing.repairing import LineRepairer
from kmexport.parsing.selection import LineFilter, Selection
from kmexport.parsing.stream import OversizedLine, TruncatedStream
from kmexport.records import Record, parse_full_records, unparsed_line, unparsed_records

_OCTAL: Final = re.compile(rb"\\[0-3]")  # whatever `parse_record` would take for an octal escape has this in it


def repair_octal_block(block: bytes, parse_record: RecordParser) -> tuple[bytes, int] | None:
    r"""Repair the octal escapes of a block, and count the repaired lines; None where such a line is not a whole record.

    >>> from kmexport.format.repair import parse_record
    >>> block = b'{"_p":"a","_t":1}\n{"_p":"\\303\\241","_t":1}'
    >>> text, repaired = repair_octal_block(block, parse_record)
    >>> print(text.decode(), repaired)
    {"_p":"a","_t":1}
    {"_p":"á","_t":1} 1
    """
    # A search for one byte costs a tenth of the pattern's; most blocks have none.
    if block.find(b"\\") < 0:
        return block, 0
    parts = []
    behind = repaired = 0
    while (found := _OCTAL.search(block, behind)) is not None:
        start = block.rfind(b"\n", 0, found.start()) + 1
        end = block.find(b"\n", found.end())
        end = end if end >= 0 else len(block)
        line = block[start:end]
        if not line.startswith(b"{") or not line.endswith(b"}"):
            return None
        try:
            parsed = parse_record(line)
        except NotARecord:
            return None
        parts += [block[behind:start], parsed.text]
        repaired += parsed.is_repaired
        behind = end
    return b"".join([*parts, block[behind:]]), repaired


def first_event_with_alias(heads: list[Any]) -> int | None:
    """Find the first head that is both an event and an alias."""
    if not [None for head in heads if head.alias is not None and head.name is not None]:
        return None
    return next(at for at, head in enumerate(heads) if head.alias is not None and head.name is not None)


def count(byte: bytes, block: bytes) -> int:
    """Count a byte in a block. At least twice as fast as block.count(byte)."""
    return len(block) - len(block.replace(byte, b""))


_WHOLE_BLOCKS = 31  # then one is read in two steps again, to see whether properties are still asked for
_first_byte = itemgetter(slice(1))
_BRACE: Final = {b"{"}


def parse_blocks(
    blocks: Iterable[Block],
    source: str,
    counts: LineCounts,
    max_line_bytes: int,
    *,
    selection: Selection | None = None,
    parse_record: RecordParser = parse_record,
    heads_of: HeadsOf | None = None,
    find_lines: FindLines | None = None,
    with_texts: bool = True,
) -> Iterator[Outcome]:
    """Yield the wanted lines and the errors of a file, in the order of the lines. Keeps `counts`, its own, up to date.

    Lines that can't be wanted may be passed over without an error, malformed or not. Another `parse_record` may
    refuse some of those records that msgspec does not read. `heads_of` reads the heads of a block in one call, one for
    each line, or returns None where a line needs a repair. Without texts those blocks are not kept. `find_lines` finds
    the lines that may be wanted, with their numbers; without it the filter of the selection does, and they have none.
    """
    slow = LineRepairer(source, counts, max_line_bytes, parse_record)
    parser = _Parser(
        slow, counts, selection, parse_record, find_lines=find_lines, heads_of=heads_of, with_texts=with_texts
    )
    for block in blocks:
        for outcome in parser.parse(block):
            yield _wanted(outcome, selection)
    for outcome in parser.end():
        yield _wanted(outcome, selection)


def read_blocks(
    blocks: Iterable[Block],
    source: str,
    counts: LineCounts,
    max_line_bytes: int,
    *,
    selection: Selection | None = None,
) -> Iterator[list[Record] | MalformedRecordError]:
    """Yield the wanted records and the errors of a file, as `parse_blocks` does.

    Where the properties of the last records were asked for, the next blocks are parsed whole: that costs half as much
    as two steps.
    """
    slow = LineRepairer(source, counts, max_line_bytes, parse_record)
    parser = _Parser(slow, counts, selection, parse_record)
    whole_blocks = 0
    for block in blocks:
        outcomes: Iterator[Outcome | list[Record]]
        if whole_blocks:
            whole_blocks -= 1
            outcomes = parser.parse_whole(block)
        else:
            outcomes = parser.parse(block)
        for outcome in outcomes:
            found = _records(outcome, selection)
            yield found
            if isinstance(outcome, ParsedLines) and isinstance(found, list) and found and not unparsed_line(found[-1]):
                whole_blocks = _WHOLE_BLOCKS
    for outcome in parser.end():
        yield _records(outcome, selection)


def _wanted(outcome: Outcome, selection: Selection | None) -> Outcome:
    if selection is None or isinstance(outcome, MalformedRecordError):
        return outcome
    return outcome.only(selection.are_wanted(outcome.heads))


def _records(outcome: Outcome | list[Record], selection: Selection | None) -> list[Record] | MalformedRecordError:
    if isinstance(outcome, list):
        return outcome if selection is None else selection.chosen(outcome)
    if isinstance(outcome, MalformedRecordError):
        return outcome
    if selection is None:
        return unparsed_records(outcome.heads, outcome.texts)
    if selection.line_filter is None:
        # Most are wanted, and to leave out records is faster than to leave out heads.
        return selection.chosen(unparsed_records(outcome.heads, outcome.texts))
    parsed = outcome.only(selection.are_wanted(outcome.heads))
    return unparsed_records(parsed.heads, parsed.texts)


HeadsOf: TypeAlias = Callable[[bytes], Any]  # a list of heads, or what has their number; None where it can't tell
FindLines: TypeAlias = Callable[[bytes], "FoundLines | None"]
_Decode: TypeAlias = Callable[[Iterator[bytes]], list[Any]]
_Take: TypeAlias = Callable[[int, list[bytes], int], tuple[int, list[Outcome]]]


@frozen
class FoundLines:
    """The lines of a block that may be wanted.

    `places` are theirs among its lines, from 0, or None where nobody asks for them; `count` is the number of all lines.
    """

    texts: list[bytes]
    places: Any
    count: int


def _find_lines(line_filter: LineFilter, block: bytes) -> FoundLines | None:
    spans = line_filter.spans(block)
    if spans is None:
        return None
    return FoundLines([block[begin:end] for begin, end in spans], None, count(b"\n", block) + 1)


class _Parser:
    """The blocks of one file, one after another."""

    def __init__(
        self,
        slow: LineRepairer,
        counts: LineCounts,
        selection: Selection | None,
        parse_record: RecordParser,
        *,
        find_lines: FindLines | None = None,
        heads_of: HeadsOf | None = None,
        with_texts: bool = True,
    ) -> None:
        self._slow = slow
        self._parse_record = parse_record
        self._counts = counts
        self._heads_of = heads_of
        self._with_texts = with_texts
        line_filter = selection.line_filter if selection is not None else None
        self._find_lines = None if line_filter is None else find_lines or partial(_find_lines, line_filter)

    def parse(self, block: Block) -> Iterator[Outcome]:
        """Read the lines of a block; those that can't be wanted may be passed over."""
        read = None
        if isinstance(block, bytes):
            read = self._read_all(block) if self._find_lines is None else self._sift(block, self._find_lines)
        if read is not None:
            yield read
        else:
            yield from cast("Iterator[Outcome]", self._stretches(block, whole=False))

    def _read_all(self, block: bytes) -> ParsedLines | None:
        """Read all lines of a block in one call; None where one of them may need a repair."""
        found = None if self._slow.is_open else self._heads_at_once(block)
        if found is None:
            return None
        heads, text, repaired = found
        first = self._next_line()
        self._counts.lines += len(heads)
        self._counts.records += len(heads)
        self._counts.repaired += repaired
        return ParsedLines(heads, [], range(first, first + len(heads)), text if self._with_texts else None, len(block))

    def _heads_at_once(self, block: bytes) -> tuple[list[Any], bytes, int] | None:
        """Read a head for each line of a block; give the repaired block too, and count its repaired lines."""
        repaired = None if self._heads_of is None else repair_octal_block(block, self._parse_record)
        if self._heads_of is None or repaired is None:
            return None
        heads = self._heads_of(repaired[0])
        return None if heads is None else (heads, *repaired)

    def parse_whole(self, block: Block) -> Iterator[Outcome | list[Record]]:
        """Read the lines of a block into records, properties included; lines that need a repair become heads."""
        return self._stretches(block, whole=True)

    def end(self) -> Iterator[Outcome]:
        """Read the object that was still open when the file ended."""
        yield from self._slow.end()

    def _stretches(self, block: Block, *, whole: bool) -> Iterator[list[Record] | Outcome]:
        """Read stretches of lines that need no repair in one call each, and the lines between them one by one."""
        slow, counts = self._slow, self._counts
        if isinstance(block, TruncatedStream):
            yield from slow.read_truncated(self._next_line(), block.reason, block.line)
            return
        if isinstance(block, OversizedLine | RejectedItem):
            yield from slow.end()
            yield self._unreadable(block)
            return
        if isinstance(block, ArrayItems):
            yield from slow.end()
        lines, numbers, take = self._lines(block)
        decode: _Decode = parse_full_records if whole else _decode_heads
        if not is_plain(block if isinstance(block, bytes) else b"\n".join(lines)) or _any_too_deep(lines):
            decode = _decode_checked
        at = 0
        while at < len(lines):
            if not slow.is_open:
                found = decode(_lines_from(lines, at))
                start, at = at, at + len(found)
                if decode is _decode_heads and (both := first_event_with_alias(found)) is not None:
                    del found[both:]
                    at = start + both
                    decode = _decode_checked  # it stops at such lines, so that none is decoded again and again
                if found:
                    counts.records += len(found)
                    is_whole = decode is parse_full_records
                    yield found if is_whole else ParsedLines(found, lines[start:at], numbers[start:at])
                if at == len(lines):
                    return
            at, outcomes = take(numbers[at], lines, at)
            yield from outcomes

    def _lines(self, block: bytes | ArrayItems) -> tuple[list[bytes], Sequence[int], _Take]:
        """Give the lines of a block, their numbers, and the slow way for one of them."""
        counts = self._counts
        if isinstance(block, bytes):
            lines = block.split(b"\n")
            first = self._next_line()
            counts.lines += len(lines)
            return lines, range(first, first + len(lines)), self._slow.read_line
        counts.lines += block.lines
        counts.blank += block.blank
        counts.joined += block.joined
        counts.shared += block.shared
        return block.texts, block.numbers, self._slow.read_item

    def _next_line(self) -> int:
        return self._counts.lines + 1

    def _unreadable(self, block: OversizedLine | RejectedItem) -> MalformedRecordError:
        if isinstance(block, RejectedItem):
            return self._slow.error(block.number, block.reason, block.raw)
        number = self._next_line()
        self._counts.lines += 1
        limit = f"max_line_bytes={self._slow.max_line_bytes:,}"
        reason = f"a line of {block.length:,} bytes is above the limit, {limit}"
        return self._slow.error(number, reason, block.beginning)

    def _sift(self, block: bytes, find_lines: FindLines) -> ParsedLines | None:
        """Read the lines of a block that may be wanted; None where those passed over could change what they are.

        That is so when an object over several lines goes on in the block or into the next one. A line that begins with
        a bracket in its first column continues nothing; so if such a line ends the block and is whole, nothing is open
        after the block.
        """
        last = block[block.rfind(b"\n") + 1 :]
        if self._slow.is_open or not last.startswith(b"{"):
            return None
        try:
            self._check_whole(last)
        except DECODE_ERRORS:  # NotARecord is one of them
            return None
        lines = find_lines(block)
        parsed = None if lines is None else self._read_found(lines)
        if lines is None or parsed is None:
            return None
        self._counts.lines += lines.count
        self._counts.records += len(parsed.heads)
        self._counts.passed += lines.count - len(parsed.heads)
        return parsed

    def _read_found(self, found: FoundLines) -> ParsedLines | None:
        """Read the lines of a block that were found in it; None where one of them alone is not a record."""
        lines = found.texts
        together = b"\n".join(lines)
        numbers = range(0) if found.places is None else found.places + self._next_line()
        at_once = self._heads_at_once(together)
        if at_once is not None and len(at_once[0]) == len(lines):
            heads, together, repaired = at_once
            self._counts.repaired += repaired
            texts = lines if repaired == 0 else []
            return ParsedLines(heads, texts, numbers, together if self._with_texts else None, len(together))
        if count(b"\n", together) >= len(lines) > 0 or not _BRACE.issuperset(map(_first_byte, lines)):
            return None
        repaired = 0
        heads = []
        texts = list(lines)
        decode = _decode_heads if is_plain(together) and not _any_too_deep(lines) else _decode_checked
        try:
            while True:
                heads += decode(_lines_from(lines, len(heads)))
                if len(heads) == len(lines):
                    break
                parsed = self._parse_record(lines[len(heads)])
                texts[len(heads)] = parsed.text
                heads.append(parsed.head)
                repaired += parsed.is_repaired
        except DECODE_ERRORS:
            return None
        if first_event_with_alias(heads) is not None:
            return None
        self._counts.repaired += repaired
        return ParsedLines(heads, texts, numbers)

    def _check_whole(self, line: bytes) -> None:
        """Raise one of DECODE_ERRORS for a line that is not a record, repaired or not."""
        try:
            decode_checked(line)
        except DECODE_ERRORS:
            self._parse_record(line)


def _decode_heads(lines: Iterator[bytes]) -> list[Any]:
    """Decode heads up to a line that needs a repair."""
    heads: list[Any] = []
    with suppress(*DECODE_ERRORS):  # when a line fails, extend() keeps what it has
        heads.extend(map(decode_head, lines))
    return heads


def _decode_checked(lines: Iterator[bytes]) -> list[Any]:
    """Decode heads up to a line that needs a repair, in a block where `decode_head` alone may not."""
    heads: list[Any] = []
    with suppress(*DECODE_ERRORS):
        heads.extend(map(decode_checked, lines))
    return heads


def _lines_from(lines: list[bytes], at: int) -> Iterator[bytes]:
    """Iterate from a place on, at no cost for the lines in front of it: a block may have thousands of broken ones."""
    iterator: Any = iter(lines)
    iterator.__setstate__(at)
    found: Iterator[bytes] = iterator
    return found


def _any_too_deep(lines: list[bytes]) -> bool:
    return max(map(len, lines), default=0) > FLAT_BYTES and any(map(is_too_deep, lines))
