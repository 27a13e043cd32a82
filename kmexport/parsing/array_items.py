"""Items of an array: where ijson says that they end, and the lines that they stand on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Final

from attrs import Factory, define

__all__ = [
    "LONGEST_STRAY",
    "ArrayItems",
    "Follower",
    "FoundItems",
    "RejectedItem",
    "Shadow",
    "end_of_stray",
    "find_next_item",
]

# Any digit is as good as another, but 0 may not begin a number.
_DIGITS: Final = bytes.maketrans(b"0234567890", b"1" * 10)
# Spaces, control characters and bytes outside ASCII: they belong to no token but strings.
_DROPPED: Final = bytes([*range(33), *range(127, 256)])
_ESCAPE: Final = re.compile(rb"\\.?", re.DOTALL)
_LONG: Final = re.compile(rb'[^"{}\[\],:]{18,}')
_LONG_NUMBER: Final = b"1" * 18


class Shadow:
    r"""The structure of a text for ijson: its brackets, commas, colons and literals, with empty strings.

    A legal text has a legal shadow of equal structure; an illegal text may have a legal shadow. ijson's C back end ends
    the process at a number of thousands of digits, so no long number gets through.

    >>> shadow = Shadow()
    >>> shadow.of(b'{"caf\\u00e9 \\"}": [12.5, true, ', is_long=False)
    b'{"":[11.1,true,'
    >>> shadow.of(b"99999999999999999999999999]", is_long=False)
    b'1]'
    """

    def __init__(self) -> None:
        self._is_escaped = False  # the last chunk ended between a backslash and what it escapes
        self._is_in_string = False
        self._ends_in_digit = False

    def of(self, chunk: bytes, *, is_long: bool) -> bytes:
        """Return the shadow of the next chunk; it may be empty. With `is_long`, long words are cut short."""
        if self._is_escaped:
            self._is_escaped = False
            chunk = chunk[1:]
        if b"\\" in chunk:
            backslashes = len(chunk) - len(chunk.rstrip(b"\\"))
            self._is_escaped = backslashes % 2 == 1
            chunk = _ESCAPE.sub(b"", chunk)
        shadow = self._without_strings(chunk).translate(_DIGITS, _DROPPED)
        if self._ends_in_digit:
            # The number goes on, and ended well where it was: of 1.2345678901234567e may be left 1, and +16 follow it.
            shadow = shadow.lstrip(b"1+-.eE")
        if is_long or _LONG_NUMBER in shadow:
            shadow = _LONG.sub(b"1", shadow)
        if shadow:
            self._ends_in_digit = shadow.endswith(b"1")
        return shadow

    def _without_strings(self, chunk: bytes) -> bytes:
        """Leave a pair of quotes of each string. ijson would read a string again from its start in each chunk."""
        if b'"' not in chunk:
            return b"" if self._is_in_string else chunk
        parts = chunk.split(b'"')
        begins_in_string = self._is_in_string
        self._is_in_string = begins_in_string != (len(parts) % 2 == 0)
        outside = b'""'.join(parts[begins_in_string::2])
        return (b'"' if begins_in_string else b"") + outside + (b'"' if self._is_in_string else b"")


class Follower:
    """A parser that follows items to their ends. `next_chunk` gives text up to a bracket that may be an end.

    With each chunk comes whether the text is long; an empty one is the end. For ijson all items are one array: a comma
    is put in front of each but the first.
    """

    def __init__(self, next_chunk: Callable[[], tuple[bytes, bool]]) -> None:
        ijson: Any = import_module("ijson")
        self._next_chunk = next_chunk
        self._shadow = Shadow()
        self._before = b"["
        self._error: type[Exception] = ijson.JSONError
        self._events: Iterator[tuple[str, object]] = ijson.basic_parse(self, buf_size=1)
        next(self._events)

    def follow(self, *, is_object: bool) -> bool:
        """Ask for text until the item that begins in the next chunk has ended; False where it can't end any more.

        A follower that has returned False is of no further use.
        """
        begins, ends = ("start_map", "end_map") if is_object else ("start_array", "end_array")
        depth = 0
        try:
            for event, _ in self._events:
                if event == begins:
                    depth += 1
                elif event == ends:
                    depth -= 1
                    if not depth:
                        self._before = b","
                        return True
        except self._error:
            pass
        return False

    def read(self, size: int) -> bytes:
        """Give ijson the next piece of the shadow."""
        if not size:
            return b""  # it asks so whether this is text or bytes
        if self._before:
            before, self._before = self._before, b""
            return before
        while True:
            chunk, is_long = self._next_chunk()
            shadow = self._shadow.of(chunk, is_long=is_long)
            # No bytes would mean the end. No filler may take the place of an empty shadow: it may lie in a number.
            if shadow or not chunk:
                return shadow


# Where a next item may begin: after a comma, or at the start of a line. The match ends at its bracket.
_NEXT_ITEM: Final = re.compile(rb",[ \t\r]*{|\n([ \t]*)(?:,[ \t]*)?{")
# Stray text between items: up to a comma, a bracket or the line's end; commas in a string belong to it.
_NO_QUOTE: Final = re.compile(rb'[^",\[\]{\n]*+')
_NO_END: Final = re.compile(rb"[^,\[\]{\n]*+")
_TO_CLOSING_QUOTE: Final = re.compile(rb'"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+')
_CLOSED: Final = re.compile(rb'"(?=[ \t\r]*(?:[,\]\n]|\Z))')
LONGEST_STRAY: Final = 1 << 16


@define
class ArrayItems:
    """Items of an array, with the lines where they begin, and how the lines since the last ones are counted."""

    texts: list[bytes] = Factory(list)
    numbers: list[int] = Factory(list)
    lines: int = 0
    blank: int = 0
    joined: int = 0
    shared: int = 0


@define
class RejectedItem:
    """An error in place of an item. The items around it count its lines."""

    number: int
    reason: str
    raw: bytes


class FoundItems:
    """The items and errors that did not come out yet, in the order of the file.

    `line` is the number of the line where the next one begins.
    """

    def __init__(self) -> None:
        self.line: int = 1
        self._before: list[ArrayItems | RejectedItem] = []
        self._items = ArrayItems()
        self._last_line = 0  # that was counted

    def __bool__(self) -> bool:
        return bool(self._items.texts or self._before)

    def add(self, text: bytes) -> None:
        """Add an item."""
        self._items.texts.append(text)
        self._items.numbers.append(self.line)
        self._count(text.count(b"\n"))

    def reject(self, reason: str, raw: bytes = b"", newlines: int = 0, at_line: int | None = None) -> None:
        """Add an error about text that holds this number of newlines; it names this line, or `at_line`."""
        first = self.line if at_line is None else at_line
        self._count(newlines)
        self._before += [self._items, RejectedItem(first, reason, raw)]
        self._items = ArrayItems()

    def end(self) -> None:
        """Count the lines up to this one, in which the array ends."""
        self._items.lines += self.line - self._last_line
        self._items.blank += self.line - self._last_line
        self._last_line = self.line

    def flush(self) -> Iterator[ArrayItems | RejectedItem]:
        """Give everything that was added, and forget it."""
        found, self._before, self._items = [*self._before, self._items], [], ArrayItems()
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
    r"""Find where an item seems to begin after `begin`: on a line of its own, no deeper than `indent`; -1 if nowhere.

    >>> find_next_item(b'{"x":[\n  {"y":1}\n},\n{"x":2}', 1, 0)
    20
    """
    for match in _NEXT_ITEM.finditer(text, begin):
        if match[1] is None or len(match[1]) <= indent:
            return match.end() - 1
    return -1


def end_of_stray(text: bytes, at: int) -> int:
    """Find where stray text between items ends: at least one byte after its beginning.

    >>> end_of_stray(b'[{"x":1}, "a, b", 17]', 10)
    16
    """
    end, limit = at, min(at + LONGEST_STRAY, len(text))
    while (end := _end_of(_NO_QUOTE, text, end, limit)) < limit and text[end : end + 1] == b'"':
        behind = _end_of(_TO_CLOSING_QUOTE, text, end, limit)
        if (closed := _CLOSED.match(text, behind, limit)) is not None:
            end = closed.end()
            continue
        # No string begins here, nor at a quote before `behind`, which would end there too: to try each takes for ever.
        end = _end_of(_NO_END, text, end, behind)
        if end < behind:
            break
    return max(end, at + 1)


def _end_of(pattern: re.Pattern[bytes], text: bytes, at: int, limit: int) -> int:
    return pattern.match(text, at, limit).end()  # type: ignore[union-attr]  # it matches nothing too
