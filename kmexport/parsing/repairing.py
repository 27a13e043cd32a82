"""Lines that the fast way can't read, one at a time: repair, join, reject.

An object over several lines is a line that begins with a bracket, and the lines after it that are indented more or
hold closing brackets alone, as the vendor prints them. They are tried as one text, then up to each of the first lines
that end with a bracket; where nothing of that is an object, each line is tried alone. So a line is parsed a bounded
number of times, and time is linear.
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

_SPACE: Final = b" \t\r"
_CLOSERS: Final = re.compile(rb"[\]}]+,?[ \t\r]*")
_further = re.compile(rb"[ \t]+[^ \t\r{]").match  # most further lines
_LINE_COST: Final = 64  # bytes that Python holds for a line beside its text; objects of many short lines count them
_MOST_ENDS: Final = 16  # places tried as the end of a joined object with other text after it


class LineRepairer:
    """A reader of single lines, one after another, which holds an object that is not closed yet."""

    def __init__(self, source: str, counts: LineCounts, max_line_bytes: int, parse_record: RecordParser) -> None:
        self._source = source
        self._parse_record = parse_record
        self._counts = counts
        self.max_line_bytes = max_line_bytes
        self._begun: list[bytes] = []  # the lines of an object that may go on in the next one
        self._begun_at = 0  # the number of its first line
        self._begun_bytes = 0
        self._indent = 0
        self._outcomes: list[Outcome] = []

    @property
    def is_open(self) -> bool:
        """True while the lines that come next may belong to an object that has begun."""
        return bool(self._begun)

    def read_line(self, number: int, lines: list[bytes], at: int, /) -> tuple[int, list[Outcome]]:
        """Read the line at `at`, which has this number, and those that belong to it; return where the next one is.

        Objects over several lines come in rows, so those that follow are read too. When the lines end inside an object,
        the next call goes on with it.
        """
        first, outcomes = number - at, self._outcomes
        while True:
            if not self._begun:
                at = self._read_or_begin(first + at, lines, at)
            if self._begun:
                at = self._gather(lines, at)
                if at == len(lines):
                    break
                self._close()
            if at + 1 >= len(lines) or not _further(lines[at + 1]):
                break
        self._outcomes = []
        return at, outcomes

    def read_item(self, number: int, texts: list[bytes], at: int, /) -> tuple[int, list[Outcome]]:
        """Read a text that no other one belongs to, such as an item of an array; return where the next one is."""
        self._read_alone(number, texts[at])
        outcomes, self._outcomes = self._outcomes, []
        return at + 1, outcomes

    def end(self) -> list[Outcome]:
        """Read the object that has begun, now that no line goes on with it."""
        self._close()
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def read_truncated(self, number: int, reason: str, line: bytes) -> list[Outcome]:
        """Read the line in which the stream broke off, if any, with the object that goes on in it.

        Both make one error with the break, unless the object is whole.
        """
        if self._begun and line.strip(_SPACE) and not self._continues(line):
            self._close()
        lines, self._begun = [*self._begun, *filter(None, [line])], []
        self._begun_at = number - len(lines) + bool(line)
        self._counts.lines += bool(line)
        try:
            if lines:
                self._read_joined(lines)
            self._counts.lines += 1
            lines, self._begun_at = [], number + bool(line)
        except NotAnObject:
            self._counts.joined += len(lines) - 1
        outcomes, self._outcomes = self._outcomes, []
        return [*outcomes, self.error(self._begun_at, reason, b"\n".join(lines))]

    def error(self, number: int, reason: str, raw: bytes) -> MalformedRecordError:
        """Make the error of a line that is not a record, and count it."""
        self._counts.rejected += 1
        return MalformedRecordError(self._source, number, reason, raw)

    # A line.

    def _read_or_begin(self, number: int, lines: list[bytes], at: int) -> int:
        """Read a line, or begin an object that may go on in the next one; return where the next line is."""
        line = lines[at]
        text = line.strip(_SPACE)
        at += 1
        # A file may hold a byte-order mark and nothing else.
        if not text or (number == 1 and not text.replace(codecs.BOM_UTF8, b"").strip(_SPACE)):
            self._counts.blank += 1
            return at
        if not text.removeprefix(codecs.BOM_UTF8).startswith(b"{"):
            self._read_alone(number, line)
            return at
        if text.endswith(b"}"):
            try:
                self._add_record(number, line)
            except NotARecord as why:
                if at < len(lines) and not self._continues(lines[at]):
                    self._outcomes.append(self.error(number, str(why), line))
                    return at
            else:
                return at
        self._begun, self._begun_at, self._begun_bytes = [line], number, len(line)
        self._indent = len(line) - len(line.lstrip(_SPACE))
        return at

    def _read_alone(self, number: int, text: bytes) -> None:
        try:
            self._add_record(number, text)
        except NotARecord as why:
            self._outcomes.append(self.error(number, str(why), text))

    def _add_record(self, number: int, text: bytes, *, is_joined: bool = False) -> None:
        parsed = self._parse_record(text, is_first=number == 1, is_joined=is_joined)
        self._counts.records += 1
        self._counts.repaired += parsed.is_repaired
        last = self._outcomes[-1] if self._outcomes else None
        if isinstance(last, ParsedLines) and isinstance(last.numbers, list):
            last.heads.append(parsed.head)
            last.texts.append(parsed.text)
            last.numbers.append(number)
        else:
            self._outcomes.append(ParsedLines([parsed.head], [parsed.text], [number]))

    # An object over several lines.

    def _close(self) -> None:
        lines, self._begun = self._begun, []
        if len(lines) > 1:
            for end in _ends(lines):
                try:
                    self._read_joined(lines[:end])
                except NotAnObject:
                    continue
                lines = lines[end:]
                self._begun_at += end
                break
        for number, line in enumerate(lines, self._begun_at):
            self._read_alone(number, line)

    def _read_joined(self, lines: list[bytes]) -> None:
        """Read several lines as one object. Raises NotAnObject where they are not one."""
        raw = b"\n".join(lines)
        try:
            self._add_record(self._begun_at, raw, is_joined=len(lines) > 1)
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
        """Tell whether the line is as the vendor prints further lines: indented, or closing brackets alone.

        Half a record at the start of a line does not continue the object, nor does a new object at the same depth.
        """
        text = line.lstrip(_SPACE)
        if not text:
            return False
        indent = len(line) - len(text)
        if text.startswith(b"{"):
            return indent > self._indent
        return indent > 0 or _CLOSERS.fullmatch(text) is not None


def _ends(lines: list[bytes]) -> Iterator[int]:
    """Yield how many lines the object may have: all of them, or up to one of the first that end with a bracket."""
    yield len(lines)
    ends = (at for at, line in enumerate(lines[:-1], 1) if line.rstrip(_SPACE).endswith(b"}"))
    yield from islice(ends, _MOST_ENDS)
