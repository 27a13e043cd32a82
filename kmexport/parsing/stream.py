"""A binary file or an iterable of lines → pieces of bytes."""

from __future__ import annotations

import errno
import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol, TypeAlias, cast

from attrs import define

from kmexport.format.octal import encode_text


class BinaryFile(Protocol):
    """A binary file, or anything else with `read(n)`: at most n bytes, none at the end."""

    def read(self, size: int, /) -> bytes: ...


MAX_LINE_BYTES: Final = 64 << 20

# Measured: 16, 32, 64, 128 and 256 KiB differ by less than the machine's noise; larger only holds more memory.
BLOCK_BYTES = 1 << 16
# Where most lines are passed over, what a block costs apart from its lines is a fifth of all.
BLOCKS_TO_SIFT: Final = 4
KEPT_OF_OVERSIZED = 1_000

LineSource: TypeAlias = BinaryFile | Iterable[bytes] | Iterable[str]


@define
class OversizedLine:
    """A line above the limit: its length in bytes and its beginning."""

    length: int
    beginning: bytes


@define
class TruncatedStream:
    """The end of a stream whose packing (gzip) is broken; `line` is what there is of the last line."""

    reason: str
    line: bytes = b""


def check_source(source: object) -> None:
    """Raise TypeError for anything but an open binary file or an iterable of lines.

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


def file_or_lines(source: LineSource) -> tuple[BinaryFile | None, Iterable[bytes] | Iterable[str]]:
    """Return the file that is to be read in blocks, or else the lines. A text file is read line by line."""
    if hasattr(source, "read") and not isinstance(source, io.TextIOBase):
        return cast("BinaryFile", source), ()
    return None, source


def pieces_of_file(file: BinaryFile, *, is_sifted: bool = False) -> Iterator[bytes | TruncatedStream]:
    """Yield what each reading gives; of a broken gzip stream all that can be unpacked, and then TruncatedStream."""
    # Of a broken stream, read() throws away what it has unpacked so far; read1() gives that first.
    read: Callable[[int], object] = file.read1 if isinstance(file, gzip.GzipFile) else file.read
    try:
        while block := read(BLOCK_BYTES * (BLOCKS_TO_SIFT if is_sifted else 1)):
            yield _as_bytes(block)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield TruncatedStream(f"the gzip stream is broken ({error}); what stands behind this place is lost")
    else:
        if block is None:
            msg = "read() gave None: there is nothing to read yet. Open the file so that it waits (blocking)"
            raise BlockingIOError(errno.EAGAIN, msg)


def pieces_of_lines(lines: Iterable[bytes] | Iterable[str]) -> Iterator[bytes]:
    """Yield each line with a newline at its end."""
    for line in lines:
        yield _as_bytes(line).removesuffix(b"\n") + b"\n"


def _as_bytes(item: object) -> bytes:
    if isinstance(item, bytes):
        return item
    if isinstance(item, str):
        return encode_text(item)
    if isinstance(item, bytearray | memoryview):
        return bytes(item)
    msg = f"a line is bytes or str, not {type(item).__name__}"
    raise TypeError(msg)
