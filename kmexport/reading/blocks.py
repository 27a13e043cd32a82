"""One stream → blocks of whole lines, of bounded size."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterable, Iterator
from typing import cast

from attrs import define

from kmexport.files import BinaryFile

__all__ = ["Block", "BrokenOff", "Oversized", "Source", "check_source", "iter_blocks"]

# Measured: 16, 32, 64, 128 and 256 KiB differ by less than the machine's noise; larger only holds more memory.
BLOCK_BYTES = 1 << 16
KEPT_OF_OVERSIZED = 1_000


Source = BinaryFile | Iterable[bytes] | Iterable[str]


@define
class Oversized:
    """A line above the limit: its length in bytes and its beginning."""

    length: int
    beginning: bytes


@define
class BrokenOff:
    """The stream ends here because what it is packed in is broken."""

    reason: str


Block = bytes | Oversized | BrokenOff


def check_source(source: object) -> None:
    """Raise TypeError for what is neither a file nor an iterable of lines.

    >>> check_source("revisions/1.json")
    Traceback (most recent call last):
        ...
    TypeError: iter_records() reads an open binary file or an iterable of lines, not str. Open the file with ...
    """
    if isinstance(source, str | bytes | bytearray | memoryview | os.PathLike) or not (
        hasattr(source, "read") or hasattr(source, "__iter__")
    ):
        msg = (
            f"iter_records() reads an open binary file or an iterable of lines, not {type(source).__name__}. "
            'Open the file with open(path, "rb"), or read a whole export with Bucket(url).iter_records().'
        )
        raise TypeError(msg)


def iter_blocks(source: Source, max_line_bytes: int) -> Iterator[Block]:
    r"""Blocks of whole lines joined by newlines, without the last newline; over-long lines stand alone.

    Holds one block, or the line that is being put together: at most `max_line_bytes` + 64 KiB.

    >>> list(iter_blocks([b"a\n", "b", b"c\r\n", b"d"], 80))
    [b'a', b'b', b'c\r\nd']
    """
    if hasattr(source, "read") and not isinstance(source, io.TextIOBase):
        return _blocks_of_file(cast("BinaryFile", source), max_line_bytes)
    return _blocks_of_lines(source, max_line_bytes)


def _blocks_of_file(file: BinaryFile, max_line_bytes: int) -> Iterator[Block]:
    begun = _BegunLine(max_line_bytes)
    broken = None
    for block in _read(file):
        if isinstance(block, BrokenOff):
            broken = block
            break
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
    if broken is not None:
        yield broken


def _read(file: BinaryFile) -> Iterator[bytes | BrokenOff]:
    # Of a broken stream, read() throws away what it has unpacked so far; read1() gives that first.
    read = file.read1 if isinstance(file, gzip.GzipFile) else file.read
    try:
        while block := read(BLOCK_BYTES):
            yield _as_bytes(block)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield BrokenOff(f"the gzip stream is broken ({error}); what stands behind this place is lost")


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
        """The line and what follows it."""
        together = b"".join([*self.parts, block])
        self.parts, self.length = [], 0
        return together

    def take(self) -> bytes | Oversized:
        line = b"".join(self.parts)
        if self.length > self.max_line_bytes:
            line_or_oversized: bytes | Oversized = Oversized(self.length, line)
        else:
            line_or_oversized = line
        self.parts, self.length = [], 0
        return line_or_oversized


def _within_limit(block: bytes, max_line_bytes: int) -> Iterator[Block]:
    if len(block) <= max_line_bytes:
        yield block
        return
    for line in block.split(b"\n"):
        yield Oversized(len(line), line[:KEPT_OF_OVERSIZED]) if len(line) > max_line_bytes else line


def _blocks_of_lines(lines: Iterable[bytes] | Iterable[str], max_line_bytes: int) -> Iterator[Block]:
    # The first line makes a block of its own, then blocks double: a live source gives its first record at once.
    ready: list[bytes] = []
    held = 0
    limit = 1
    try:
        for item in lines:
            line = _as_bytes(item).removesuffix(b"\n")
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


def _as_bytes(item: object) -> bytes:
    if isinstance(item, bytes):
        return item
    if isinstance(item, str):
        # A lone surrogate can't be UTF-8: it makes the line malformed later, with its number.
        return item.encode("utf-8", "surrogatepass")
    if isinstance(item, bytearray | memoryview):
        return bytes(item)
    msg = f"a line is bytes or str, not {type(item).__name__}"
    raise TypeError(msg)
