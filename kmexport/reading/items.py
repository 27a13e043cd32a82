"""The items of an array as blocks: how the lines are counted that they stand on, and where broken ones end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from attrs import Factory, define

__all__ = ["LONGEST_STRAY", "FoundItems", "Items", "Rejected", "end_of_stray", "find_next_item"]

# Where a next item may begin: behind a comma, or at the start of a line. Ends at its bracket.
_NEXT_ITEM: Final = re.compile(rb",[ \t\r]*{|\n([ \t]*)(?:,[ \t]*)?{")
# Text between items that is none: up to a comma, a bracket or the line's end; commas in a string belong to it.
_NO_QUOTE: Final = re.compile(rb'[^",\[\]{\n]*+')
_NO_END: Final = re.compile(rb"[^,\[\]{\n]*+")
_TO_CLOSING_QUOTE: Final = re.compile(rb'"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+')
_CLOSED: Final = re.compile(rb'"(?=[ \t\r]*(?:[,\]\n]|\Z))')
LONGEST_STRAY: Final = 1 << 16


@define
class Items:
    """Items of an array, with the lines where they begin, and how the lines since the last ones are counted."""

    texts: list[bytes] = Factory(list)
    numbers: list[int] = Factory(list)
    lines: int = 0
    blank: int = 0
    joined: int = 0
    shared: int = 0


@define
class Rejected:
    """What is an error as it stands. The items around it count its lines."""

    number: int
    reason: str
    raw: bytes


class FoundItems:
    """What was found and did not come out yet. Everything is added in the order of the file.

    `line` is the line where the next of it stands.
    """

    def __init__(self) -> None:
        self.line: int = 1
        self._before: list[Items | Rejected] = []
        self._items = Items()
        self._last_line = 0  # that was counted

    def __bool__(self) -> bool:
        return bool(self._items.texts or self._before)

    def add(self, text: bytes) -> None:
        """An item."""
        self._items.texts.append(text)
        self._items.numbers.append(self.line)
        self._count(text.count(b"\n"))

    def reject(self, reason: str, raw: bytes = b"", newlines: int = 0, at_line: int | None = None) -> None:
        """An error about something with so many newlines, told of this line or of `at_line`."""
        first = self.line if at_line is None else at_line
        self._count(newlines)
        self._before += [self._items, Rejected(first, reason, raw)]
        self._items = Items()

    def end(self) -> None:
        """The array ends in this line."""
        self._items.lines += self.line - self._last_line
        self._items.blank += self.line - self._last_line
        self._last_line = self.line

    def flush(self) -> Iterator[Items | Rejected]:
        """All of it, once."""
        found, self._before, self._items = [*self._before, self._items], [], Items()
        yield from found

    def _count(self, newlines: int) -> None:
        items = self._items
        if self.line > self._last_line:
            items.blank += self.line - self._last_line - 1
        else:
            items.shared += 1
        self.line += newlines
        items.joined += newlines
        items.lines += self.line - self._last_line
        self._last_line = self.line


def find_next_item(text: bytes, begin: int, indent: int) -> int:
    r"""Where one seems to begin behind `begin`: on a line of its own, no deeper than `indent`; -1 if nowhere.

    >>> find_next_item(b'{"x":[\n  {"y":1}\n},\n{"x":2}', 1, 0)
    20
    """
    for match in _NEXT_ITEM.finditer(text, begin):
        if match[1] is None or len(match[1]) <= indent:
            return match.end() - 1
    return -1


def end_of_stray(text: bytes, at: int) -> int:
    """Where text ends that stands between items and is none: at least one byte behind its beginning.

    >>> end_of_stray(b'[{"x":1}, "a, b", 17]', 10)
    16
    """
    end, limit = at, min(at + LONGEST_STRAY, len(text))
    while (end := _end_of(_NO_QUOTE, text, end, limit)) < limit and text[end : end + 1] == b'"':
        behind = _end_of(_TO_CLOSING_QUOTE, text, end, limit)
        if (closed := _CLOSED.match(text, behind, limit)) is not None:
            end = closed.end()
            continue
        # It begins no string. Nor do those before `behind`, which would end there too: to try each would take for ever.
        end = _end_of(_NO_END, text, end, behind)
        if end < behind:
            break
    return max(end, at + 1)


def _end_of(pattern: re.Pattern[bytes], text: bytes, at: int, limit: int) -> int:
    return pattern.match(text, at, limit).end()  # type: ignore[union-attr]  # it matches nothing too
