"""Blocks of lines → batches of heads and texts, and an error for each line that is no record.

A block goes through the fast way until a line fails there; that line is judged alone, by the slow
way, and the fast way goes on behind it.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import compress
from operator import methodcaller
from typing import Any

from attrs import define

from kmexport.errors import MalformedRecordError
from kmexport.format.hashes import (
    DECODE_ERRORS,
    UNSET,
    Head,
    NotAnObject,
    NotARecord,
    check_joined,
    decode_head,
    decode_object,
    judge_object,
)
from kmexport.format.octal import has_doubled_octal, repair_doubled_octal, repair_octal
from kmexport.reading.blocks import Block, BrokenOff, Oversized
from kmexport.reading.pushdown import LineFilter

__all__ = ["Batch", "Demand", "LineCounts", "WholeBatch", "judge_again", "parse_blocks"]

_SPACE = b" \t\r"
_CLOSERS = re.compile(rb"[\]}]+,?[ \t\r]*")
_BETWEEN_ITEMS = re.compile(rb"[\[\], \t\r]*")
# A string that ends on its line, a bracket, or the quote of a string that does not end.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]"]', re.DOTALL)
_LINE_COST = 64  # bytes that Python holds for a line beside its text: a hash of many short lines counts them too
_begins = methodcaller("startswith", b"{")
_DEEPEST = 1_000  # Python's own limit of recursion: what is deeper can't be read anyway


@define
class Batch:
    """Records: their heads and, one for each, the JSON text that the properties are read from."""

    line_number: int  # of the first; the others follow line by line, where nothing was passed over
    heads: list[Head]
    texts: list[bytes]
    is_sifted: bool = False  # all of them are wanted


@define
class WholeBatch:
    """Consecutive hashes that were parsed whole, and their texts. Whether they are records is not judged yet."""

    line_number: int
    objects: list[dict[str, Any]]
    texts: list[bytes]


@define
class Demand:
    """What the reader's user asks for: so many of the next blocks are parsed whole, to give their properties."""

    whole_blocks: int = 0


@define
class LineCounts:
    """How the lines of one file were counted. `records`, `rejected` and `blank` lines are all of its lines.

    A hash over several lines is one record; `joined` counts its further lines. The lone brackets and commas
    of a file that is one array count as `blank`, and several records on one of its lines in `shared`. `passed` lines
    were not looked at, since no wanted record can stand there:
    `lines == records + rejected + blank + joined - shared + passed`.
    """

    lines: int = 0
    records: int = 0
    rejected: int = 0
    blank: int = 0
    joined: int = 0
    shared: int = 0
    repaired: int = 0
    passed: int = 0


Outcome = Batch | WholeBatch | MalformedRecordError


def parse_blocks(
    blocks: Iterable[Block],
    source: str,
    counts: LineCounts,
    max_line_bytes: int,
    demand: Demand,
    *,
    line_filter: LineFilter | None = None,
) -> Iterator[Outcome]:
    """Batches and errors in the order of the lines. `counts` is kept up to date as they come out.

    With a line_filter, lines that can't be wanted are passed over; not all that comes out need be wanted.
    """
    judge = _SlowWay(source, counts, max_line_bytes)
    for block in blocks:
        number = counts.lines + 1
        if not isinstance(block, bytes):
            counts.lines += 1
            yield from judge.unreadable(number, block)
            continue
        if line_filter is not None and (sifted := judge.sift(block, line_filter)) is not None:
            if sifted.texts:
                yield sifted
            continue
        lines = (block.removeprefix(codecs.BOM_UTF8) if number == 1 else block).split(b"\n")
        counts.lines += len(lines)
        is_whole = False
        decode: Callable[[bytes], Any] = _decode_carefully
        if _is_plain(block):
            is_whole = demand.whole_blocks > 0
            decode = decode_object if is_whole else decode_head
            demand.whole_blocks -= is_whole
        todo = iter(lines)
        at = 0
        while at < len(lines):
            if not judge.is_busy:
                found: list[Any] = []
                # When a line fails, extend() keeps what it has, and `todo` stands behind the bad line.
                with suppress(*DECODE_ERRORS):
                    found.extend(map(decode, todo))
                if found:
                    start, at = at, at + len(found)
                    counts.records += len(found)
                    judge.is_first = False
                    yield (WholeBatch if is_whole else Batch)(number + start, found, lines[start:at])
                    if at == len(lines):
                        break
                line = lines[at]
            else:
                line = next(todo)
            yield from judge.line(number + at, line)
            at += 1
    yield from judge.give_up()


def judge_again(batch: Batch | WholeBatch, source: str, counts: LineCounts) -> Iterator[Batch | MalformedRecordError]:
    """Line by line, a batch in which something is JSON and no record."""
    counts.records -= len(batch.texts)
    for number, text in enumerate(batch.texts, batch.line_number):
        try:
            head = judge_object(text)
        except NotARecord as why:
            counts.rejected += 1
            yield MalformedRecordError(source, number, str(why), text)
        else:
            counts.records += 1
            yield Batch(number, [head], [text])


def _newlines(block: bytes) -> int:
    # Twice as fast as block.count(b"\n"), which looks at each byte alone.
    return len(block) - len(block.replace(b"\n", b""))


def _is_plain(block: bytes) -> bool:
    if has_doubled_octal(block):
        return False
    if block.isascii():
        return True
    try:
        block.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _decode_carefully(line: bytes) -> Head:
    if has_doubled_octal(line):
        msg = "for the slow way to repair"
        raise ValueError(msg)
    line.decode("utf-8")  # a UnicodeDecodeError is a ValueError
    return decode_head(line)


class _SlowWay:
    """The slow way, line after line: repair, hashes over several lines, and a file that is one array.

    Time is linear: a line belongs to one attempt to join lines, and when that fails each of its lines
    is judged once more, alone.
    """

    def __init__(self, source: str, counts: LineCounts, max_line_bytes: int) -> None:
        self.source = source
        self.counts = counts
        self.max_line_bytes = max_line_bytes
        self.is_first = True  # nothing but blank lines so far
        self.in_array = False
        self.begun: list[bytes] = []  # the lines of a hash that is not closed yet
        self.begun_at = 0  # the number of its first line
        self.begun_bytes = 0
        self.depth = 0
        self.indent = 0

    @property
    def is_busy(self) -> bool:
        return self.in_array or bool(self.begun)

    def line(self, number: int, line: bytes) -> Iterator[Outcome]:
        if self.begun:
            if self._continues(line):
                yield from self._add(number, line)
                return
            yield from self.give_up()
        text = line.strip(_SPACE)
        if not text:
            self.counts.blank += 1
            return
        if self.is_first:
            self.is_first = False
            self.in_array = text.startswith(b"[")
        if self.in_array:
            yield from self._items(number, line)
        else:
            yield from self._alone(number, line, may_begin=True)

    def sift(self, block: bytes, line_filter: LineFilter) -> Batch | None:
        """The wanted records of a block; None where the lines that were passed over could change what they are.

        That is so when a hash over several lines, or an array, goes on in the block or into the next one. A line that
        begins with a bracket in its first column goes on with nothing; so if such a line ends the block and is whole,
        nothing is open behind it.
        """
        last = block[block.rfind(b"\n") + 1 :]
        if self.is_busy or not last.startswith(b"{") or (self.is_first and not block.startswith(b"{")):
            return None
        lines = line_filter.lines(block)
        if lines is None:
            return None
        records, repaired = self.counts.records, self.counts.repaired
        try:
            decode_head(last)
            heads, texts = self._heads_of_whole(lines)
        except DECODE_ERRORS:  # NotARecord is one of them
            self.counts.records, self.counts.repaired = records, repaired
            return None
        number = self.counts.lines + 1
        here = _newlines(block) + 1
        self.counts.lines += here
        self.counts.passed += here - len(lines)
        self.is_first = False
        wanted = list(map(line_filter.is_wanted, heads))
        return Batch(number, list(compress(heads, wanted)), list(compress(texts, wanted)), is_sifted=True)

    def _heads_of_whole(self, lines: list[bytes]) -> tuple[list[Head], list[bytes]]:
        """Heads and texts of lines that are one record each; NotARecord if one is not, or may lie inside a hash."""
        together = b"\n".join(lines)
        if _newlines(together) >= len(lines) > 0 or not all(map(_begins, lines)):
            raise NotARecord
        decode = decode_head if _is_plain(together) else _decode_carefully
        heads: list[Head] = []
        texts = list(lines)
        todo = iter(lines)
        while len(heads) < len(lines):
            before = len(heads)
            with suppress(*DECODE_ERRORS):
                heads.extend(map(decode, todo))
            self.counts.records += len(heads) - before
            if len(heads) < len(lines):
                at = len(heads)
                repaired = self._record(0, lines[at])
                heads += repaired.heads
                texts[at : at + 1] = repaired.texts
        if [None for head in heads if head.alias is not UNSET and head.name is not UNSET]:
            raise NotARecord
        return heads, texts

    def unreadable(self, number: int, line: Oversized | BrokenOff) -> Iterator[Outcome]:
        yield from self.give_up()
        self.is_first = False
        if isinstance(line, BrokenOff):
            yield self._error(number, line.reason, b"")
            return
        reason = f"a line of {line.length:,} bytes is above the limit, max_line_bytes={self.max_line_bytes:,}"
        yield self._error(number, reason, line.beginning)

    def give_up(self) -> Iterator[Outcome]:
        """Judge each line of a hash that was never closed alone."""
        lines, self.begun = self.begun, []
        for number, line in enumerate(lines, self.begun_at):
            if self.in_array and number > self.begun_at:
                yield from self._items(number, line, may_begin=False)
            else:
                yield from self._alone(number, line, may_begin=False)

    # One text that stands alone: a line, or an item of an array.

    def _alone(self, number: int, text: bytes, *, may_begin: bool) -> Iterator[Outcome]:
        try:
            yield self._record(number, text)
        except NotARecord as why:
            if may_begin:
                start = len(text) - len(text.lstrip(_SPACE))
                end, depth = _close(text, 0, start) if text.startswith(b"{", start) else (0, 0)
                if end < 0 < depth:
                    self._begin(number, text, depth, indent=start)
                    return
            yield self._error(number, str(why), text)

    def _record(self, number: int, text: bytes) -> Batch:
        """Judge a text, repair it where that makes it a record, and count it."""
        if text.startswith(codecs.BOM_UTF8):
            return self._repaired(number, text.removeprefix(codecs.BOM_UTF8))
        # Before the judge, who is slow to find words for what is wrong: JSON has no such escapes.
        repaired = repair_octal(text) if b"\\" in text else None
        if repaired is not None:
            return self._repaired(number, repaired)
        head = judge_object(text)
        if has_doubled_octal(text):
            repaired = repair_doubled_octal(text)
            if repaired != text:
                return self._repaired(number, repaired)
        return self._counted(number, head, text)

    def _repaired(self, number: int, text: bytes) -> Batch:
        try:
            head = _decode_carefully(text)
        except DECODE_ERRORS:
            head = judge_object(text)
        self.counts.repaired += 1
        return self._counted(number, head, text)

    def _counted(self, number: int, head: Head, text: bytes) -> Batch:
        self.counts.records += 1
        return Batch(number, [head], [text])

    def _error(self, number: int, reason: str, raw: bytes) -> MalformedRecordError:
        self.counts.rejected += 1
        return MalformedRecordError(self.source, number, reason, raw)

    # A hash over several lines.

    def _begin(self, number: int, text: bytes, depth: int, indent: int) -> None:
        self.begun, self.begun_at, self.begun_bytes = [text], number, len(text)
        self.depth, self.indent = depth, indent

    def _continues(self, line: bytes) -> bool:
        """Whether the line is as the vendor prints further lines: indented, or closing brackets alone.

        Half a record at the start of a line is no further line, nor is a new hash that stands no deeper.
        """
        text = line.lstrip(_SPACE)
        if not text or self.begun_bytes + len(line) + _LINE_COST > self.max_line_bytes:
            return False
        indent = len(line) - len(text)
        if text.startswith(b"{"):
            return indent > self.indent
        # In an array the commas and brackets say where an item ends.
        return self.in_array or indent > 0 or _CLOSERS.fullmatch(text) is not None

    def _add(self, number: int, line: bytes) -> Iterator[Outcome]:
        end, self.depth = _close(line, self.depth)
        self.begun.append(line)
        self.begun_bytes += len(line) + _LINE_COST
        if end < 0:
            if self.depth <= 0:
                yield from self.give_up()
            return
        text = b"\n".join([*self.begun[:-1], line[:end]])
        if not self.in_array and line[end:].strip(_SPACE):
            yield from self.give_up()  # more text follows the object
            return
        try:
            check_joined(text)
            outcome: Outcome = self._record(self.begun_at, text)
        except NotAnObject:
            self.begun[-1] = line[:end]
            yield from self.give_up()
        except NotARecord as why:
            yield from self._end(self._error(self.begun_at, str(why), text))
        else:
            yield from self._end(outcome)
        if self.in_array:
            yield from self._items(number, line, start=end, is_counted=True)

    def _end(self, outcome: Outcome) -> Iterator[Outcome]:
        self.counts.joined += len(self.begun) - 1
        self.begun = []
        yield outcome

    # A file that is one array.

    def _items(
        self, number: int, line: bytes, *, start: int = 0, is_counted: bool = False, may_begin: bool = True
    ) -> Iterator[Outcome]:
        """Find the items of an array on one line; the last may go on in the next line."""
        while True:
            start = _BETWEEN_ITEMS.match(line, start).end()  # type: ignore[union-attr]  # it matches nothing too
            if start == len(line):
                break
            if is_counted:
                self.counts.shared += 1
            is_counted = True
            end, depth = _close(line, 0, start) if line.startswith(b"{", start) else (len(line), 0)
            if end < 0 < depth and may_begin:
                self._begin(number, line[start:], depth, indent=len(line) - len(line.lstrip(_SPACE)))
                return
            end = end if end >= 0 else len(line)
            yield from self._alone(number, line[start:end], may_begin=False)
            start = end
        if not is_counted:
            self.counts.blank += 1


def _close(text: bytes, depth: int, start: int = 0) -> tuple[int, int]:
    """Where the object is closed, and the depth there; the end is -1 where it is not closed in this text.

    A depth of 0 with an end of -1: it can't be closed any more, for a string does not end on its line.
    """
    for token in _TOKEN.finditer(text, start):
        byte = text[token.start()]
        if byte in b"{[":
            depth += 1
            if depth > _DEEPEST:
                return -1, 0
        elif byte in b"}]":
            depth -= 1
            if depth == 0:
                return token.end(), 0
        elif token.end() - token.start() == 1:
            return -1, 0
    return -1, depth
