"""The slow way, one line at a time: repair, join, reject.

A hash over several lines is a line that begins with a bracket, and the lines behind it that are indented more, or hold
closing brackets alone, as the vendor prints them. They are tried as one text; where that is no hash, up to its first
lines that end with a bracket; and where none of that is one, each line is judged alone. So a line is judged a bounded
number of times, and all together takes linear time.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

from kmexport.errors import MalformedRecordError
from kmexport.format.hashes import NotAnObject, NotARecord
from kmexport.format.repair import Judge
from kmexport.reading.outcomes import LineCounts, Outcome, ParsedLines

__all__ = ["SlowWay"]

_SPACE: Final = b" \t\r"
_CLOSERS: Final = re.compile(rb"[\]}]+,?[ \t\r]*")
_LINE_COST: Final = 64  # bytes that Python holds for a line beside its text: a hash of many short lines counts them too
_MOST_ENDS: Final = 16  # where a joined hash may end that has other text behind it


class SlowWay:
    """What becomes of single lines, one after another."""

    def __init__(self, source: str, counts: LineCounts, max_line_bytes: int, judge: Judge) -> None:
        self._source = source
        self._judge = judge
        self._counts = counts
        self.max_line_bytes = max_line_bytes
        self._begun: list[bytes] = []  # the lines of a hash that may go on in the next one
        self._begun_at = 0  # the number of its first line
        self._begun_bytes = 0
        self._indent = 0

    @property
    def is_open(self) -> bool:
        """Whether the lines that come next may belong to a hash that has begun."""
        return bool(self._begun)

    def take(self, number: int, lines: list[bytes], at: int, /) -> tuple[int, list[Outcome]]:
        """What becomes of the line at `at`, which has this number, and of those that belong to it; and where they end.

        When the lines end before it is certain, nothing comes out: the next call goes on with it.
        """
        if not self._begun:
            line = lines[at]
            text = line.strip(_SPACE)
            at += 1
            if not text:
                self._counts.blank += 1
                return at, []
            if not text.removeprefix(codecs.BOM_UTF8).startswith(b"{"):
                return at, [self._alone(number, line)]
            why = None
            if text.endswith(b"}"):
                try:
                    return at, [self._record(number, line)]
                except NotARecord as error:
                    why = error
            if why is not None and at < len(lines) and not self._continues(lines[at]):
                return at, [self.error(number, str(why), line)]
            self._begin(number, line, indent=len(line) - len(line.lstrip(_SPACE)))
        at = self._gather(lines, at)
        return at, self.end() if at < len(lines) else []

    def end(self) -> list[Outcome]:
        """What becomes of the hash that has begun, now that no line goes on with it."""
        lines, self._begun = self._begun, []
        if len(lines) > 1:
            try:
                return [self._joined(lines)]
            except NotAnObject:
                pass
            ends = [at for at, line in enumerate(lines[:-1], 1) if line.rstrip(_SPACE).endswith(b"}")]
            for end in ends[:_MOST_ENDS]:
                try:
                    joined = self._joined(lines[:end])
                except NotAnObject:
                    continue
                return [joined, *self._each_alone(self._begun_at + end, lines[end:])]
        return self._each_alone(self._begun_at, lines)

    def take_item(self, number: int, texts: list[bytes], at: int, /) -> tuple[int, list[Outcome]]:
        """The same for a text that no other one belongs to, such as an item of an array."""
        return at + 1, [self._alone(number, texts[at])]

    def error(self, number: int, reason: str, raw: bytes) -> MalformedRecordError:
        """A line that is no record, counted."""
        self._counts.rejected += 1
        return MalformedRecordError(self._source, number, reason, raw)

    def _each_alone(self, number: int, lines: list[bytes]) -> list[Outcome]:
        return [self._alone(number, line) for number, line in enumerate(lines, number)]

    def _alone(self, number: int, text: bytes) -> Outcome:
        try:
            return self._record(number, text)
        except NotARecord as why:
            return self.error(number, str(why), text)

    def _record(self, number: int, text: bytes) -> ParsedLines:
        judged = self._judge(text, is_first=number == 1)
        self._counts.records += 1
        self._counts.repaired += judged.is_repaired
        return ParsedLines([judged.head], [judged.text], [number])

    # A hash over several lines.

    def _begin(self, number: int, line: bytes, indent: int) -> None:
        self._begun, self._begun_at, self._begun_bytes, self._indent = [line], number, len(line), indent

    def _gather(self, lines: list[bytes], at: int) -> int:
        while at < len(lines) and self._continues(lines[at]):
            self._begun.append(lines[at])
            self._begun_bytes += len(lines[at]) + _LINE_COST
            at += 1
        return at

    def _continues(self, line: bytes) -> bool:
        """Whether the line is as the vendor prints further lines: indented, or closing brackets alone.

        Half a record at the start of a line is no further line, nor is a new hash that stands no deeper.
        """
        text = line.lstrip(_SPACE)
        if not text or self._begun_bytes + len(line) + _LINE_COST > self.max_line_bytes:
            return False
        indent = len(line) - len(text)
        if text.startswith(b"{"):
            return indent > self._indent
        return indent > 0 or _CLOSERS.fullmatch(text) is not None

    def _joined(self, lines: list[bytes]) -> Outcome:
        """What several lines are together; NotAnObject where they are not one object."""
        raw = b"\n".join(lines)
        try:
            judged = self._judge(raw, is_first=self._begun_at == 1, is_joined=len(lines) > 1)
        except NotAnObject:
            raise
        except NotARecord as why:
            outcome: Outcome = self.error(self._begun_at, str(why), raw)
        else:
            self._counts.records += 1
            self._counts.repaired += judged.is_repaired
            outcome = ParsedLines([judged.head], [judged.text], [self._begun_at])
        self._counts.joined += len(lines) - 1
        return outcome
