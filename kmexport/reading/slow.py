"""The slow way, one line at a time: repair, hashes over several lines, and a file that is one array.

Time is linear: a line belongs to one attempt to join lines, and when that fails each of its lines
is judged once more, alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from kmexport.errors import MalformedRecordError
from kmexport.format.hashes import NotAnObject, NotARecord, check_joined
from kmexport.format.repair import judge
from kmexport.reading.blocks import BrokenOff, Oversized
from kmexport.reading.outcomes import LineCounts, Outcome, ParsedLines

__all__ = ["SlowWay"]

_SPACE = b" \t\r"
_CLOSERS = re.compile(rb"[\]}]+,?[ \t\r]*")
_BETWEEN_ITEMS = re.compile(rb"[\[\], \t\r]*")
# A string that ends on its line, a bracket, or the quote of a string that does not end.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]"]', re.DOTALL)
_LINE_COST = 64  # bytes that Python holds for a line beside its text: a hash of many short lines counts them too
_DEEPEST = 1_000  # Python's own limit of recursion: what is deeper can't be read anyway


class SlowWay:
    """What becomes of single lines, one after another."""

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

    def _record(self, number: int, text: bytes) -> ParsedLines:
        judged = judge(text)
        self.counts.records += 1
        self.counts.repaired += judged.is_repaired
        return ParsedLines([judged.head], [judged.text], [number])

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
