"""The slow way, one line at a time: repair, join, reject.

A hash over several lines is a line that begins with a bracket, and the lines behind it that are indented more, or hold
closing brackets alone, as the vendor prints them. They are tried as one text; where that is no hash, up to its first
lines that end with a bracket; and where none of that is one, each line is judged alone. So a line is judged a bounded
number of times, and all together takes linear time.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from kmexport.errors import MalformedRecordError
from kmexport.format.decoding import NotAnObject, NotARecord
from kmexport.format.repair import RecordParser
from kmexport.parsing.counts import LineCounts, Outcome, ParsedLines

__all__ = ["LineRepairer"]

_SPACE: Final = b" \t\r"
_CLOSERS: Final = re.compile(rb"[\]}]+,?[ \t\r]*")
_further = re.compile(rb"[ \t]+[^ \t\r{]").match  # most further lines
_LINE_COST: Final = 64  # bytes that Python holds for a line beside its text: a hash of many short lines counts them too
_MOST_ENDS: Final = 16  # where a joined hash may end that has other text behind it


class LineRepairer:
    """What becomes of single lines, one after another."""

    def __init__(self, source: str, counts: LineCounts, max_line_bytes: int, judge: RecordParser) -> None:
        self._source = source
        self._judge = judge
        self._counts = counts
        self.max_line_bytes = max_line_bytes
        self._begun: list[bytes] = []  # the lines of a hash that may go on in the next one
        self._begun_at = 0  # the number of its first line
        self._begun_bytes = 0
        self._indent = 0
        self._outcomes: list[Outcome] = []

    @property
    def is_open(self) -> bool:
        """Whether the lines that come next may belong to a hash that has begun."""
        return bool(self._begun)

    def take(self, number: int, lines: list[bytes], at: int, /) -> tuple[int, list[Outcome]]:
        """What becomes of the line at `at`, which has this number, and of those that belong to it; and where they end.

        Hashes over several lines come in rows, so those that follow are taken too. When the lines end before it is
        certain, the next call goes on with it.
        """
        first, outcomes = number - at, self._outcomes
        while True:
            if not self._begun:
                at = self._one(first + at, lines, at)
            if self._begun:
                at = self._gather(lines, at)
                if at == len(lines):
                    break
                self._close()
            if at + 1 >= len(lines) or not _further(lines[at + 1]):
                break
        self._outcomes = []
        return at, outcomes

    def take_item(self, number: int, texts: list[bytes], at: int, /) -> tuple[int, list[Outcome]]:
        """The same for a text that no other one belongs to, such as an item of an array."""
        self._alone(number, texts[at])
        outcomes, self._outcomes = self._outcomes, []
        return at + 1, outcomes

    def end(self) -> list[Outcome]:
        """What becomes of the hash that has begun, now that no line goes on with it."""
        self._close()
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def broken_off(self, number: int, reason: str, line: bytes) -> list[Outcome]:
        """What becomes of the line that the stream broke off in, if any, and of the hash that goes on in it.

        It makes one error with the break, unless it is whole.
        """
        if self._begun and line.strip(_SPACE) and not self._continues(line):
            self._close()
        lines, self._begun = [*self._begun, *filter(None, [line])], []
        self._begun_at = number - len(lines) + bool(line)
        self._counts.lines += bool(line)
        try:
            if lines:
                self._joined(lines)
            self._counts.lines += 1
            lines, self._begun_at = [], number + bool(line)
        except NotAnObject:
            self._counts.joined += len(lines) - 1
        outcomes, self._outcomes = self._outcomes, []
        return [*outcomes, self.error(self._begun_at, reason, b"\n".join(lines))]

    def error(self, number: int, reason: str, raw: bytes) -> MalformedRecordError:
        """A line that is no record, counted."""
        self._counts.rejected += 1
        return MalformedRecordError(self._source, number, reason, raw)

    # A line.

    def _one(self, number: int, lines: list[bytes], at: int) -> int:
        """Judge a line, or begin a hash that may go on in the next one; where the next line is."""
        line = lines[at]
        text = line.strip(_SPACE)
        at += 1
        if not text:
            self._counts.blank += 1
            return at
        if not text.removeprefix(codecs.BOM_UTF8).startswith(b"{"):
            self._alone(number, line)
            return at
        if text.endswith(b"}"):
            try:
                self._record(number, line)
            except NotARecord as why:
                if at < len(lines) and not self._continues(lines[at]):
                    self._outcomes.append(self.error(number, str(why), line))
                    return at
            else:
                return at
        self._begun, self._begun_at, self._begun_bytes = [line], number, len(line)
        self._indent = len(line) - len(line.lstrip(_SPACE))
        return at

    def _alone(self, number: int, text: bytes) -> None:
        try:
            self._record(number, text)
        except NotARecord as why:
            self._outcomes.append(self.error(number, str(why), text))

    def _record(self, number: int, text: bytes, *, is_joined: bool = False) -> None:
        judged = self._judge(text, is_first=number == 1, is_joined=is_joined)
        self._counts.records += 1
        self._counts.repaired += judged.is_repaired
        last = self._outcomes[-1] if self._outcomes else None
        if isinstance(last, ParsedLines) and isinstance(last.numbers, list):
            last.heads.append(judged.head)
            last.texts.append(judged.text)
            last.numbers.append(number)
        else:
            self._outcomes.append(ParsedLines([judged.head], [judged.text], [number]))

    # A hash over several lines.

    def _close(self) -> None:
        lines, self._begun = self._begun, []
        if len(lines) > 1:
            for end in _ends(lines):
                try:
                    self._joined(lines[:end])
                except NotAnObject:
                    continue
                lines = lines[end:]
                self._begun_at += end
                break
        for number, line in enumerate(lines, self._begun_at):
            self._alone(number, line)

    def _joined(self, lines: list[bytes]) -> None:
        """What several lines are together; NotAnObject where they are not one object."""
        raw = b"\n".join(lines)
        try:
            self._record(self._begun_at, raw, is_joined=len(lines) > 1)
        except NotAnObject:
            raise
        except NotARecord as why:
            self._outcomes.append(self.error(self._begun_at, str(why), raw))
        self._counts.joined += len(lines) - 1

    def _gather(self, lines: list[bytes], at: int) -> int:
        while at < len(lines):
            line = lines[at]
            size = self._begun_bytes + len(line) + _LINE_COST
            if size > self.max_line_bytes or not (_further(line) or self._continues(line)):
                return at
            self._begun.append(line)
            self._begun_bytes = size
            at += 1
        return at

    def _continues(self, line: bytes) -> bool:
        """Whether the line is as the vendor prints further lines: indented, or closing brackets alone.

        Half a record at the start of a line is no further line, nor is a new hash that stands no deeper.
        """
        text = line.lstrip(_SPACE)
        if not text:
            return False
        indent = len(line) - len(text)
        if text.startswith(b"{"):
            return indent > self._indent
        return indent > 0 or _CLOSERS.fullmatch(text) is not None


def _ends(lines: list[bytes]) -> Iterator[int]:
    """Behind which of the lines a hash may end: the last one, or else one of the first that end with a bracket."""
    yield len(lines)
    ends = (at for at, line in enumerate(lines[:-1], 1) if line.rstrip(_SPACE).endswith(b"}"))
    yield from islice(ends, _MOST_ENDS)
