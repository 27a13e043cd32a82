"""A file that is one JSON array → its items, one text each, however long the array and its lines are.

An item that is one object up to the first closing bracket ends there. Where others end, ijson says, and nothing else.
It reads the shadow of the text (see `shadow`), so what ijson does to values can't matter: it rounds, replaces or
refuses some. Values are read from the bytes of the file, as in any line.

    file      {"_n":"caf\303\251","n":12345,"x":{"y":1}},   {"_n":…
    shadow    {"":"","":11111,"":{"":1}
                                       }
                                       ↑ a chunk ends at each closing bracket; so when ijson tells the end of an item,
                                         it has read no further

Between items, spaces and commas are passed over. What is no item there comes out as one all the same, to become an
error. An item that ijson can't follow is cut off where the next one seems to begin.

Holds the item that is being read, and one block. Time is linear: after an item that it could not follow, ijson reads
text again, but not more than five times as much as there is. Then the cuts alone decide.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from kmexport.format.decoding import DECODE_ERRORS, decode_head
from kmexport.parsing.array_items import (
    LONGEST_STRAY,
    ArrayItems,
    Follower,
    FoundItems,
    RejectedItem,
    end_of_stray,
    find_next_item,
)
from kmexport.parsing.stream import KEPT_OF_OVERSIZED, TruncatedStream

__all__ = ["ArrayReader"]

_GAP: Final = re.compile(rb"[\s,]*")
_GAP_BYTES: Final = b" \t\r\n\v\f,"
_LONGEST_INDENT: Final = 1 << 16
_FREE_RETRIES: Final = 1 << 20  # bytes
_FIRST_CHUNK: Final = 1 << 8  # bytes of an item; each further chunk may be twice as long
_LONGEST_CHUNK: Final = 1 << 16


class _TooLongError(Exception):
    """The item is above the limit."""


class ArrayReader:
    """Reads `text`, which holds the bracket that opens the array, and then `pieces`.

    Behind `blocks()`, `rest` is text that is no part of the array: lines, which the pieces go on with.
    """

    def __init__(self, text: bytes, pieces: Iterator[bytes | TruncatedStream], max_item_bytes: int) -> None:
        self.rest: bytes = b""
        self._pieces = pieces
        self._max_item_bytes = max_item_bytes
        self._text = text
        self._at = 0  # in the text; all before it is done
        self._base = 0  # where the text begins in the file
        self._line_start: int | None = None  # in the text, where nothing but spaces stand since
        self._indent = 0  # of the item that is the first on its line; of others as deep as it may be
        self._broken: TruncatedStream | None = None
        self._is_open = False  # the array
        self._opened_at = 0  # line
        self._is_whole = False  # the last item
        self._has_comma = False  # behind it
        # The item that is being read.
        self._start = 0
        self._held: list[bytes] = []  # its text before this one
        self._held_bytes = 0
        self._closer = b"}"
        # ArrayItems that ijson could not follow.
        self._follower = Follower(self._chunk)
        self._stopped_at = self._next_stop = 0  # the end of the last chunk that it could follow, in the file
        self._most = _FIRST_CHUNK  # bytes of the next chunk
        self._retried = 0
        self._cut_until = 0
        # What comes out.
        self._found = FoundItems()
        self._has_error = self._is_cut_off = False

    def blocks(self) -> Iterator[ArrayItems | RejectedItem]:
        """The items and errors, as soon as they are read."""
        try:
            yield from self._all()
        except Exception:
            # What was read before the source failed comes out before its error.
            yield from self._found.flush()
            raise
        yield from self._found.flush()

    def _all(self) -> Iterator[ArrayItems | RejectedItem]:
        while True:
            text, at = self._text, self._at
            end = _GAP.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing too
            if end > at:
                self._pass_gap(text[at:end])
            if end == len(text):
                yield from self._found.flush()
                if not self._next_piece():
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
            self._is_whole = self._item(byte)
            self._has_comma = False

    # Between items.

    def _bracket(self) -> None:
        """Pass over the bracket that opens or closes the array."""
        if not self._is_open:
            self._opened_at = self._found.line
        self._is_open = not self._is_open
        self._line_start = None
        self._at += 1

    def _leaves(self, byte: bytes) -> bool:
        """Whether what begins here on a line of its own is no item: an array has commas between its items."""
        return not self._is_open or (self._is_whole and not self._has_comma and byte == b"{")

    def _end_before_lines(self, line_start: int) -> None:
        self.rest = self._text[line_start:]
        self._found.line -= 1
        if self._is_open and not self._has_error:
            self._found.reject(self._no_end(), b"[", at_line=self._opened_at)  # a broken line, more likely
        self._found.end()

    def _end_of_file(self) -> None:
        if self._line_start == len(self._text):
            self._found.line -= 1  # behind the last newline there is no line
        if not self._is_cut_off and (self._is_open or self._broken is not None):
            self._found.reject(self._broken.reason if self._broken is not None else self._no_end())
        self._found.end()

    def _no_end(self) -> str:
        return f"the array that begins in line {self._opened_at} has no closing bracket"

    def _pass_gap(self, gap: bytes) -> None:
        if b"\n" in gap:
            self._found.line += gap.count(b"\n")
            self._line_start = self._at + gap.rfind(b"\n") + 1
        self._at += len(gap)
        self._has_comma = self._has_comma or b"," in gap

    def _next_piece(self) -> bool:
        """Go on with the next piece of the file; of the text, the spaces of the line that has begun are kept."""
        piece = self._read_piece()
        if not piece:
            return False
        kept = self._at
        if self._line_start is not None:
            kept, self._line_start = max(self._line_start, self._at - _LONGEST_INDENT), 0
        self._text = self._text[kept:] + piece
        self._at -= kept
        self._base += kept
        return True

    def _read_piece(self) -> bytes:
        piece = next(self._pieces, b"")
        if isinstance(piece, TruncatedStream):
            self._broken = piece
            return b""
        return piece

    def _read_at_least(self, size: int) -> bytes:
        """The next pieces together. What is looked through again and again at least doubles, so that time is linear."""
        pieces = [self._read_piece()]
        length = len(pieces[0])
        while pieces[-1] and length < size:
            pieces.append(self._read_piece())
            length += len(pieces[-1])
        return b"".join(pieces)

    # One item.

    def _item(self, byte: bytes) -> bool:
        """Read the item that begins here; whether it is one, as far as brackets go."""
        self._indent = _LONGEST_INDENT if self._line_start is None else self._at - self._line_start
        self._line_start = None
        self._start = self._at
        if byte not in b"{[":
            self._stray()
            return False
        if byte == b"{" and self._is_flat():
            return True
        if self._base + self._at < self._cut_until and self._retried > _FREE_RETRIES + 4 * self._cut_until:
            self._cut()
            return False
        return self._follow(byte)

    def _is_flat(self) -> bool:
        """Take the item if it is one object up to the next bracket: then it ends there, and ijson need not say so.

        Measured: 2 µs an item, where ijson takes 6.
        """
        end = self._text.find(b"}", self._at) + 1
        item = self._text[self._at : end]
        if len(item) > self._max_item_bytes:
            return False
        try:
            decode_head(item)
        except DECODE_ERRORS:
            return False
        self._at = end
        self._found.add(item)
        return True

    def _follow(self, byte: bytes) -> bool:
        """Let ijson follow the item to its end; whether it could."""
        self._closer = b"}" if byte == b"{" else b"]"
        self._stopped_at = self._next_stop = item_at = self._base + self._at
        self._most = _FIRST_CHUNK
        try:
            is_whole = self._follower.follow(is_object=byte == b"{")
        except _TooLongError:
            is_whole = False
        if not is_whole:
            self._retried += self._stopped_at - item_at
            self._cut_until = max(self._cut_until, self._stopped_at)
            self._follower = Follower(self._chunk)
            self._cut()
            return False
        item = self._text[self._start : self._at]
        if self._held:
            item = b"".join([*self._held, item])
            self._held, self._held_bytes = [], 0
        self._found.add(item)
        return True

    def _chunk(self) -> tuple[bytes, bool]:
        """The text up to the next closing bracket, but not too much of it; and whether the item is long.

        What ijson stops in is lost work. So the first chunk is short, and each further one not twice as long as all
        before it together.
        """
        self._stopped_at = self._next_stop
        if self._at == len(self._text):
            self._held.append(self._text[self._start :])
            self._held_bytes += len(self._text) - self._start
            self._base += len(self._text)
            self._text, self._at, self._start = self._read_piece(), 0, 0
        longest = self._at + self._most
        self._most = min(2 * self._most, _LONGEST_CHUNK)
        end = self._text.find(self._closer, self._at, longest) + 1
        chunk = self._text[self._at : end or longest]
        self._at += len(chunk)
        if self._held_bytes + self._at - self._start > self._max_item_bytes:
            raise _TooLongError
        self._next_stop = self._base + self._at
        return chunk, bool(self._held)

    # What is no item.

    def _cut(self) -> None:
        """Cut the item off where the next one seems to begin."""
        self._has_error = True
        text, start = b"".join([*self._held, self._text]), self._start
        self._base -= self._held_bytes
        self._held, self._held_bytes = [], 0
        parts: list[bytes] = []
        length = newlines = 0
        begin = start + 1
        while (end := find_next_item(text, begin, self._indent)) < 0:
            # What seems to begin an item may begin with the last byte that is no space or comma.
            kept = max(len(text.rstrip(_GAP_BYTES)) - 1, begin)
            piece = self._read_at_least(len(text) - kept)
            if not piece:
                end, self._is_cut_off = len(text), True
                break
            length += kept - start
            newlines += text.count(b"\n", start, kept)
            parts.append(text[start:kept])
            if length > self._max_item_bytes:
                parts = [b"".join(parts)[:KEPT_OF_OVERSIZED]]
            self._base += kept
            text = text[kept:] + piece
            start = begin = 0
        last = text[start:end].rstrip(_GAP_BYTES)
        self._text, self._at = text, start + len(last)
        newlines += last.count(b"\n")
        raw = b"".join([*parts, last])
        length += len(last)
        if length > self._max_item_bytes:
            reason = f"an item of {length:,} bytes is above the limit, max_line_bytes={self._max_item_bytes:,}"
            self._found.reject(reason, raw[:KEPT_OF_OVERSIZED], newlines)
        elif self._is_cut_off and self._broken is not None:
            self._found.reject(self._broken.reason, raw, newlines)
        else:
            self._found.add(raw)

    def _stray(self) -> None:
        """Take what stands where an item belongs, and becomes an error as one."""
        self._has_error = True
        while self._text.find(b"\n", self._at) < 0 and len(self._text) - self._at < LONGEST_STRAY:
            piece = self._read_at_least(len(self._text) - self._at)
            if not piece:
                break
            self._base += self._at
            self._text = self._text[self._at :] + piece
            self._at = 0
        end = end_of_stray(self._text, self._at)
        self._found.add(self._text[self._at : end].rstrip())
        self._at = end
