"""Items of an array: where each ends, and where a broken one is cut off.

An item that is one object up to the first closing bracket ends there. Where others end, ijson says, and nothing else.
It reads the shadow of the text (see `_Shadow`), so what ijson does to values can't matter: it rounds, replaces or
refuses some. Values are read from the bytes of the file, as in any line.

    file      {"_n":"caf\303\251","n":12345,"x":{"y":1}},   {"_n":…
    shadow    {"":"","":11111,"":{"":1}
                                       }
                                       ↑ a chunk ends at each closing bracket; so when ijson reports the end of an
                                         item, it has read no further

An item that ijson can't follow is cut off where the next one seems to begin. Time is linear: after such an item, ijson
reads text again, but not more than five times as much as there is. Then the cuts alone decide.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Final

from attrs import define

from kmexport.format.decoding import DECODE_ERRORS, decode_head
from kmexport.parsing.stream import KEPT_OF_OVERSIZED, TruncatedStream

_GAP_BYTES: Final = b" \t\r\n\v\f,"
_FREE_RETRIES: Final = 1 << 20  # bytes
_FIRST_CHUNK: Final = 1 << 8  # bytes of an item; each further chunk may be twice as long
_LONGEST_CHUNK: Final = 1 << 16


class ArrayText:
    """The part of a file that is being read: `text`, with all before `at` done; `base` is its place in the file."""

    def __init__(self, text: bytes, pieces: Iterator[bytes | TruncatedStream]) -> None:
        self.text: bytes = text
        self.at: int = 0
        self.base: int = 0
        self.truncated: TruncatedStream | None = None
        self._pieces = pieces

    def fill(self, kept: int, size: int = 1) -> bool:
        """Drop the text in front of `kept`, and add pieces of `size` bytes at least; False at the end of the file.

        A caller that looks through the text again and again at least doubles it each time, so that time is linear.
        """
        pieces = [self._read_piece()]
        length = len(pieces[0])
        if not length:
            return False
        while pieces[-1] and length < size:
            pieces.append(self._read_piece())
            length += len(pieces[-1])
        self.text = b"".join([self.text[kept:], *pieces])
        self.at -= kept
        self.base += kept
        return True

    def _read_piece(self) -> bytes:
        piece = next(self._pieces, b"")
        if isinstance(piece, TruncatedStream):
            self.truncated = piece
            return b""
        return piece


@define
class BrokenItem:
    """Text in place of an item: up to where the next one seems to begin, or the file ends.

    With a `reason` it is an error: the beginning of the text is held, and the number of its newlines. Without, it is
    parsed as any line.
    """

    text: bytes
    reason: str | None = None
    newlines: int = 0
    ends_file: bool = False


class _TooLongError(Exception):
    """The item is above the limit."""


class ItemReader:
    """A reader of the items of a text, one after another."""

    def __init__(self, text: ArrayText, max_item_bytes: int) -> None:
        self._text = text
        self._max_item_bytes = max_item_bytes
        self._follower = _Follower(self._chunk)
        # The item that is being followed.
        self._start = 0  # in the text
        self._held: list[bytes] = []  # of the item, before this text
        self._held_bytes = 0
        self._closer = b"}"
        self._longest_chunk = _FIRST_CHUNK
        # Items that ijson could not follow.
        self._stopped_at = 0  # the end of the last chunk that it could follow, in the file
        self._retried = 0  # bytes
        self._cut_until = 0  # in the file

    def read(self, byte: bytes, indent: int) -> bytes | BrokenItem:
        """Read the item that begins with `byte` at `text.at`; no item of the array is deeper than `indent` spaces."""
        if byte == b"{":
            # One object up to the next bracket ends there, and ijson need not say so: 2 µs an item, not 6 (measured).
            text, at = self._text.text, self._text.at
            end = text.find(b"}", at) + 1
            item = text[at:end]
            if len(item) <= self._max_item_bytes:
                try:
                    decode_head(item)
                except DECODE_ERRORS:
                    pass
                else:
                    self._text.at = end
                    return item
        elif byte != b"[":
            return self._stray()
        self._start = self._text.at
        at_in_file = self._text.base + self._start
        if at_in_file < self._cut_until and self._retried > _FREE_RETRIES + 4 * self._cut_until:
            return self._cut(indent)
        if self._follows(byte):
            return b"".join([*self._take_held(), self._text.text[self._start : self._text.at]])
        self._retried += self._stopped_at - at_in_file
        self._cut_until = max(self._cut_until, self._stopped_at)
        self._follower = _Follower(self._chunk)
        return self._cut(indent)

    def _follows(self, byte: bytes) -> bool:
        """Let ijson follow the item to its end; False where it can't."""
        self._closer = b"}" if byte == b"{" else b"]"
        self._longest_chunk = _FIRST_CHUNK
        try:
            return self._follower.follow(is_object=byte == b"{")
        except _TooLongError:
            return False

    def _chunk(self) -> tuple[bytes, bool]:
        """Give the text up to the next closing bracket, but not too much of it; and whether the item is long.

        What ijson stops in is lost work. So the first chunk is short, and each further one not twice as long as all
        before it together.
        """
        text = self._text
        self._stopped_at = text.base + text.at
        if text.at == len(text.text):
            part = text.text[self._start :]
            if text.fill(text.at):
                self._held.append(part)
                self._held_bytes += len(part)
                self._start = 0
        longest = text.at + self._longest_chunk
        self._longest_chunk = min(2 * self._longest_chunk, _LONGEST_CHUNK)
        end = text.text.find(self._closer, text.at, longest) + 1
        chunk = text.text[text.at : end or longest]
        text.at += len(chunk)
        if self._held_bytes + text.at - self._start > self._max_item_bytes:
            raise _TooLongError
        return chunk, bool(self._held)

    def _take_held(self) -> list[bytes]:
        held, self._held, self._held_bytes = self._held, [], 0
        return held

    def _cut(self, indent: int) -> BrokenItem:
        """Cut the item off where the next one seems to begin."""
        text = self._text
        text.base -= self._held_bytes
        text.text, start = b"".join([*self._take_held(), text.text]), self._start
        parts: list[bytes] = []
        length = newlines = 0
        ends_file = False
        begin = start + 1
        while (end := find_next_item(text.text, begin, indent)) < 0:
            # An item may seem to begin with the last byte other than a space or comma.
            kept = max(len(text.text.rstrip(_GAP_BYTES)) - 1, begin)
            part = text.text[start:kept]
            if not text.fill(kept, len(text.text) - kept):
                end, ends_file = len(text.text), True
                break
            length += len(part)
            newlines += part.count(b"\n")
            parts.append(part)
            if length > self._max_item_bytes:
                parts = [b"".join(parts)[:KEPT_OF_OVERSIZED]]
            start = begin = 0
        last = text.text[start:end].rstrip(_GAP_BYTES)
        text.at = start + len(last)
        newlines += last.count(b"\n")
        raw = b"".join([*parts, last])
        length += len(last)
        if length > self._max_item_bytes:
            reason = f"an item of {length:,} bytes is above the limit, max_line_bytes={self._max_item_bytes:,}"
            return BrokenItem(raw[:KEPT_OF_OVERSIZED], reason, newlines, ends_file)
        if ends_file and text.truncated is not None:
            return BrokenItem(raw, text.truncated.reason, newlines, ends_file)
        return BrokenItem(raw, ends_file=ends_file)

    def _stray(self) -> BrokenItem:
        """Take text where an item belongs: parsed as a line, it becomes an error."""
        text = self._text
        while text.text.find(b"\n", text.at) < 0 and len(text.text) - text.at < _LONGEST_STRAY:
            if not text.fill(text.at, len(text.text) - text.at):
                break
        end = end_of_stray(text.text, text.at)
        stray = text.text[text.at : end].rstrip()
        text.at = end
        return BrokenItem(stray)


# Any digit is as good as another, but 0 may not begin a number.
_DIGITS: Final = bytes.maketrans(b"0234567890", b"1" * 10)
# Spaces, control characters and bytes outside ASCII: they belong to no token but strings.
_DROPPED: Final = bytes([*range(33), *range(127, 256)])
_ESCAPE: Final = re.compile(rb"\\.?", re.DOTALL)
_LONG: Final = re.compile(rb'[^"{}\[\],:]{18,}')
_LONG_NUMBER: Final = b"1" * 18


class _Follower:
    """A parser that follows items to their ends. `next_chunk` gives text up to a bracket that may be an end.

    With each chunk comes whether the text is long; an empty one is the end. For ijson all items are one array: a comma
    is put in front of each but the first.
    """

    def __init__(self, next_chunk: Callable[[], tuple[bytes, bool]]) -> None:
        ijson: Any = import_module("ijson")
        self._next_chunk = next_chunk
        self._shadow = _Shadow()
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


class _Shadow:
    r"""The structure of a text for ijson: its brackets, commas, colons and literals, with empty strings.

    A legal text has a legal shadow of equal structure; an illegal text may have a legal shadow. ijson's C back end ends
    the process at a number of thousands of digits, so no long number gets through.

    >>> shadow = _Shadow()
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


# Where a next item may begin: after a comma, or at the start of a line. The match ends at its bracket.
_NEXT_ITEM: Final = re.compile(rb",[ \t\r]*{|\n([ \t]*)(?:,[ \t]*)?{")
# Stray text between items: up to a comma, a bracket or the line's end; commas in a string belong to it.
_NO_QUOTE: Final = re.compile(rb'[^",\[\]{\n]*+')
_NO_END: Final = re.compile(rb"[^,\[\]{\n]*+")
_TO_CLOSING_QUOTE: Final = re.compile(rb'"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+')
_CLOSED: Final = re.compile(rb'"(?=[ \t\r]*(?:[,\]\n]|\Z))')
_LONGEST_STRAY: Final = 1 << 16


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
    end, limit = at, min(at + _LONGEST_STRAY, len(text))
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
