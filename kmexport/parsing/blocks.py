"""One stream → blocks of whole lines, of bounded size; or blocks of items, where it is one array."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from itertools import chain
from typing import Final, TypeAlias

from kmexport.parsing.arrays import ArrayItems, ArrayReader, RejectedItem
from kmexport.parsing.stream import (
    BLOCK_BYTES,
    KEPT_OF_OVERSIZED,
    LineSource,
    OversizedLine,
    TruncatedStream,
    file_or_lines,
    pieces_of_file,
    pieces_of_lines,
)

Block: TypeAlias = bytes | OversizedLine | TruncatedStream | ArrayItems | RejectedItem

_LOOKED_AT: Final = 1 << 16  # bytes, at most, to tell whether a file is an array


def iter_blocks(source: LineSource, max_line_bytes: int, *, is_sifted: bool = False) -> Iterator[Block]:
    r"""Yield blocks of whole lines joined by newlines, without the last newline; over-long lines come alone.

    Where the first byte other than space is the bracket of an array, its items come out, and then the lines after the
    array. Holds one block, or the line or item that is being put together: at most `max_line_bytes` + 64 KiB. Blocks of
    a file are larger where most of their lines will be passed over (`is_sifted`).

    >>> list(iter_blocks([b"a\n", "b", b"c\r\n", b"d"], 80))
    [b'a', b'b', b'c\r\nd']
    """
    file, lines = file_or_lines(source)
    if file is not None:
        return _blocks(pieces_of_file(file, is_sifted=is_sifted), max_line_bytes, are_lines=False)
    return _blocks(pieces_of_lines(lines), max_line_bytes, are_lines=True)


def _blocks(pieces: Iterator[bytes | TruncatedStream], max_line_bytes: int, *, are_lines: bool) -> Iterator[Block]:
    text, pieces, is_array = _begin(pieces)
    if is_array:
        reader = ArrayReader(text.removeprefix(codecs.BOM_UTF8), pieces, max_line_bytes)
        yield from reader.blocks()
        text = reader.rest
    pieces = chain([text], pieces)
    yield from (_blocks_of_lines if are_lines else _blocks_of_file)(pieces, max_line_bytes)


# Is it an array?


def _begin(pieces: Iterator[bytes | TruncatedStream]) -> tuple[bytes, Iterator[bytes | TruncatedStream], bool]:
    """Read until it is clear whether the file is an array: the text so far, the pieces that follow, and the answer."""
    text = b""
    is_array: bool | None = None
    try:
        for piece in pieces:
            if isinstance(piece, TruncatedStream):
                return text, iter([piece]), bool(_is_array(text, is_whole=True))
            text += piece
            is_array = _is_array(text[:_LOOKED_AT], is_whole=len(text) >= _LOOKED_AT)
            if is_array is not None:
                return text, pieces, is_array
    except Exception as error:
        if not text:
            raise
        # What was read before the source failed comes out before its error.
        return text, _failing(error), bool(_is_array(text, is_whole=True))
    return text, pieces, bool(_is_array(text, is_whole=True))


def _failing(error: Exception) -> Iterator[bytes]:
    yield from ()
    raise error


def _is_array(text: bytes, *, is_whole: bool) -> bool | None:
    r"""Tell whether this is the beginning of an array; None where more text is needed.

    A broken first line that begins with a bracket does not make an array of the lines after it: in an array, a line
    that begins an object comes after a comma or a bracket.

    >>> _is_array(b'[{"_p":"bob"},\n{"_p":"eve"}', is_whole=True)
    True
    >>> _is_array(b'[{"_p":"bob"\n{"_p":"eve"}', is_whole=True)
    False
    """
    unsure = False if is_whole else None
    text = text.removeprefix(codecs.BOM_UTF8).lstrip()
    if not text or codecs.BOM_UTF8.startswith(text):
        return unsure
    if not text.startswith(b"["):
        return False
    line, newline, others = text.partition(b"\n")
    if not newline or not others.lstrip():
        return is_whole or None
    return line.rstrip()[-1:] in b",[]{:" or not others.lstrip().startswith(b"{")


# Lines.


def _blocks_of_file(pieces: Iterator[bytes | TruncatedStream], max_line_bytes: int) -> Iterator[Block]:
    begun = _BegunLine(max_line_bytes)
    for block in pieces:
        if isinstance(block, TruncatedStream):
            yield from begun.broken_off(block)
            return
        start, first, last = 0, block.find(b"\n"), block.rfind(b"\n")
        if first >= 0 and begun.length + first > max_line_bytes:
            begun.add(block[:first])
            yield begun.take()
            start = first + 1
        if last >= start:
            # With the block, not alone: one block more for each would cost a tenth of the time.
            yield from _within_limit(begun.take_with(memoryview(block)[start:last]), max_line_bytes)
            start = last + 1
        begun.add(block[start:])
    if begun.length:
        yield begun.take()


class _BegunLine:
    """A line whose end is not read yet; of a line above the limit only the beginning is held."""

    def __init__(self, max_line_bytes: int) -> None:
        self.max_line_bytes = max_line_bytes
        self.parts: list[bytes] = []
        self.length = 0

    def add(self, part: bytes) -> None:
        self.length += len(part)
        self.parts.append(part)
        if self.length > self.max_line_bytes:
            self.parts = [b"".join(self.parts)[:KEPT_OF_OVERSIZED]]

    def take_with(self, block: memoryview) -> bytes:
        """Give the line together with the block that follows it."""
        together = b"".join([*self.parts, block])
        self.parts, self.length = [], 0
        return together

    def take(self) -> bytes | OversizedLine:
        line = b"".join(self.parts)
        length, self.parts, self.length = self.length, [], 0
        return line if length <= self.max_line_bytes else OversizedLine(length, line)

    def broken_off(self, broken: TruncatedStream) -> Iterator[OversizedLine | TruncatedStream]:
        line = self.take()
        if isinstance(line, OversizedLine):
            yield line
            line = b""
        yield TruncatedStream(broken.reason, line)


def _within_limit(block: bytes, max_line_bytes: int) -> Iterator[Block]:
    if len(block) <= max_line_bytes:
        yield block
        return
    for line in block.split(b"\n"):
        yield OversizedLine(len(line), line[:KEPT_OF_OVERSIZED]) if len(line) > max_line_bytes else line


def _blocks_of_lines(pieces: Iterator[bytes | TruncatedStream], max_line_bytes: int) -> Iterator[Block]:
    # The first line makes a block of its own, then blocks double: a live source gives its first record at once.
    ready: list[bytes] = []
    held = 0
    limit = 1
    try:
        for piece in pieces:
            if not piece or isinstance(piece, TruncatedStream):
                continue
            line = piece.removesuffix(b"\n")
            if len(line) > max_line_bytes:
                if ready:
                    yield b"\n".join(ready)
                    ready, held = [], 0
                yield from _within_limit(line, max_line_bytes)
                continue
            ready.append(line)
            held += len(line) + 1
            if held >= limit:
                block, ready, held = b"\n".join(ready), [], 0
                limit = min(2 * max(limit, len(block)), BLOCK_BYTES)
                yield block
    except Exception:
        # What was read before the source failed comes out before its error.
        if ready:
            yield b"\n".join(ready)
        raise
    if ready:
        yield b"\n".join(ready)
