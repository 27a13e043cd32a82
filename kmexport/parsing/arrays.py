"""A file that is one JSON array → its items, one text each, however long the array and its lines are.

Between items, spaces and commas are passed over. Stray text there comes out as an item all the same, to become an
error. Where items end, and what happens to broken ones: see `array_items`. Holds the item that is being read, and one
block.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from attrs import Factory, define

from kmexport.parsing.array_items import ArrayText, ItemReader
from kmexport.parsing.stream import TruncatedStream

_GAP: Final = re.compile(rb"[\s,]*")
_LONGEST_INDENT: Final = 1 << 16


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


class ArrayReader:
    """A reader of `text`, which holds the bracket that opens the array, and then of `pieces`.

    After `blocks()`, `rest` is text after the array: lines, which the pieces go on with.
    """

    def __init__(self, text: bytes, pieces: Iterator[bytes | TruncatedStream], max_item_bytes: int) -> None:
        self.rest: bytes = b""
        self._text = ArrayText(text, pieces)
        self._items = ItemReader(self._text, max_item_bytes)
        self._found = _FoundItems()
        self._line_start: int | None = None  # in the text, where there are only spaces since
        self._is_open = False  # the array
        self._opened_at = 0  # line
        self._lacks_comma = False  # after a whole item
        self._has_error = self._is_cut_off = False

    def blocks(self) -> Iterator[ArrayItems | RejectedItem]:
        """Yield the items and errors, as soon as they are read."""
        try:
            yield from self._all()
        except Exception:
            # What was read before the source failed comes out before its error.
            yield from self._found.flush()
            raise
        yield from self._found.flush()

    def _all(self) -> Iterator[ArrayItems | RejectedItem]:
        while True:
            text, at = self._text.text, self._text.at
            end = _GAP.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing too
            if end > at:
                self._pass_gap(text[at:end])
            if end == len(text):
                yield from self._found.flush()
                if not self._go_on():
                    return self._end_of_file()
                continue
            byte = text[end : end + 1]
            if (byte == b"]") if self._is_open else (byte == b"["):
                self._bracket()
                continue
            if self._line_start is not None and self._leaves(byte):
                return self._end_before_lines(self._line_start)
            if self._found and text.find(b"}", end) < 0:
                yield from self._found.flush()
            self._take_item(byte)

    def _take_item(self, byte: bytes) -> None:
        # An item that is not the first on its line may be as deep as it likes.
        indent = _LONGEST_INDENT if self._line_start is None else self._text.at - self._line_start
        self._line_start = None
        item = self._items.read(byte, indent)
        if isinstance(item, bytes):
            self._lacks_comma = True
            self._found.add(item)
            return
        self._lacks_comma, self._has_error = False, True
        self._is_cut_off = self._is_cut_off or item.ends_file
        if item.reason is None:
            self._found.add(item.text)
        else:
            self._found.reject(item.reason, item.text, item.newlines)

    def _bracket(self) -> None:
        """Pass over the bracket that opens or closes the array."""
        if not self._is_open:
            self._opened_at = self._found.line
        self._is_open = not self._is_open
        self._line_start = None
        self._text.at += 1

    def _leaves(self, byte: bytes) -> bool:
        """Tell whether a line begins here that is not an item: an array has commas between its items."""
        return not self._is_open or (self._lacks_comma and byte == b"{")

    def _end_before_lines(self, line_start: int) -> None:
        self.rest = self._text.text[line_start:]
        self._found.line -= 1
        if self._is_open and not self._has_error:
            self._found.reject(self._no_end(), b"[", at_line=self._opened_at)  # a broken line, more likely
        self._found.end()

    def _end_of_file(self) -> None:
        if self._line_start == len(self._text.text):
            self._found.line -= 1  # after the last newline there is no line
        truncated = self._text.truncated
        if not self._is_cut_off and (self._is_open or truncated is not None):
            self._found.reject(self._no_end() if truncated is None else truncated.reason)
        self._found.end()

    def _no_end(self) -> str:
        return f"the array that begins in line {self._opened_at} has no closing bracket"

    def _pass_gap(self, gap: bytes) -> None:
        if b"\n" in gap:
            self._found.line += gap.count(b"\n")
            self._line_start = self._text.at + gap.rfind(b"\n") + 1
        self._text.at += len(gap)
        self._lacks_comma = self._lacks_comma and b"," not in gap

    def _go_on(self) -> bool:
        """Go on with the next piece of the file; of the text, the spaces of the line that has begun are kept."""
        at, line_start = self._text.at, self._line_start
        kept = at if line_start is None else max(line_start, at - _LONGEST_INDENT)
        if not self._text.fill(kept):
            return False
        self._line_start = None if line_start is None else 0
        return True


class _FoundItems:
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
