"""One open file of an export: unpacked where it is gzip, checked against its size, counted for the callback."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fsspec.callbacks import Callback

    from kmexport.files import BinaryFile

__all__ = ["RawFile", "open_checked"]

_GZIP_MAGIC = b"\x1f\x8b"
_FIRST_BYTES = 1 << 16


class RawFile(Protocol):
    """An open file of a filesystem."""

    def read(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


@contextmanager
def open_checked(
    open_file: Callable[[], RawFile],
    name: str,
    guard: Callable[[], AbstractContextManager[None]],
    callback: Callback | None,
    *,
    unpack: bool = True,
) -> Iterator[BinaryFile]:
    """The file that `open_file` opens. Each call of the filesystem is made within `guard()`, for its errors."""
    with guard():
        raw = open_file()
    with closing(raw):
        file = _CheckedFile(raw, guard, callback)
        if not unpack:
            yield file
        elif file.first.startswith(_GZIP_MAGIC):
            with gzip.GzipFile(fileobj=file) as unpacked:  # type: ignore[call-overload]
                yield unpacked
        elif name.endswith(".gz") and not file.first:
            yield _NoGzip()
        else:
            yield file


class _CheckedFile:
    """A file whose `read` raises the folder's errors, and moves the callback."""

    def __init__(
        self,
        raw: RawFile,
        guard: Callable[[], AbstractContextManager[None]],
        callback: Callback | None,
    ) -> None:
        self._raw = raw
        self._guard = guard
        self._callback = callback
        self.first = first = b""
        # A reading may give less than it was asked for: gzip is told by more than one byte.
        while len(first) < len(_GZIP_MAGIC) and (more := self.read(_FIRST_BYTES)):
            first += more
        self.first = first

    def read(self, size: int, /) -> bytes:
        if self.first:
            block, self.first = self.first[:size], self.first[size:]
            return block
        with self._guard():
            block = self._raw.read(size)
        if self._callback is not None:
            self._callback.relative_update(len(block))
        return block


class _NoGzip:
    """An empty file that is called .gz. Even nothing at all packs to some bytes, so this one was cut off."""

    def read(self, _size: int, /) -> bytes:
        msg = "the file is empty"
        raise EOFError(msg)
