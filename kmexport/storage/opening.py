"""How one file of a filesystem without coroutines is opened, so that many threads and many readers do no harm."""

from __future__ import annotations

import io
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from attrs import frozen

from kmexport.storage.connections import noticing
from kmexport.storage.layers import is_cache

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["lock_of", "open_alone"]

# Each filesystem has one of these. Never take two of them at once.
_LOCKS = [threading.Lock() for _ in range(64)]

if hasattr(os, "register_at_fork"):
    # One may be held by a thread that a forked process does not have.
    os.register_at_fork(after_in_child=lambda: _LOCKS.__setitem__(slice(None), [threading.Lock() for _ in _LOCKS]))


def open_alone(fs: AbstractFileSystem, path: str) -> Any:
    """Open a file of a filesystem that only one may use at a time."""
    lock = lock_of(fs)
    with lock, noticing(fs):
        try:
            file = _open_new(fs, path)
        except BaseException as error:
            if is_cache(fs):
                _drop(fs, path)  # it takes for whole what it finds under the file's name, also half of it
                if isinstance(error, FileNotFoundError):
                    fs.fs.info(path)  # it says so of a server that does not answer, too
                    msg = "the file is there, and could not be read"
                    raise OSError(msg) from error
            raise
    return file if isinstance(file, io.BytesIO) else _LockedFile(file, lock, fs)


def lock_of(fs: AbstractFileSystem) -> threading.Lock:
    """The lock of a filesystem. An archive shares the lock of the file in which it lies."""
    # By identity: one with a new connection must not wait for a call that hangs in the old one.
    return _LOCKS[(id(getattr(fs, "fo", fs)) >> 4) % len(_LOCKS)]


@frozen
class _LockedFile:
    """A file of which no two are read at a time."""

    file: Any
    lock: threading.Lock
    fs: AbstractFileSystem

    def read(self, size: int) -> bytes:
        with self.lock, noticing(self.fs):
            block: bytes = self.file.read(size)
        return block

    def seek(self, at: int) -> None:
        with self.lock, noticing(self.fs):
            self.file.seek(at)

    def close(self) -> None:
        with self.lock:
            self.file.close()


def _open_new(fs: AbstractFileSystem, path: str) -> Any:
    """A file with a place of its own."""
    from fsspec.caching import BaseCache  # noqa: PLC0415
    from fsspec.spec import AbstractBufferedFile  # noqa: PLC0415

    file = fs.open(path, "rb")
    if isinstance(file, AbstractBufferedFile) and not is_cache(fs):
        # What fsspec reads ahead, 5 MiB a file and more, would be held beside what is fetched ahead.
        file.cache = BaseCache(file.blocksize, file._fetch_range, file.size)
    if isinstance(file, io.BytesIO):
        # It may be the one of all readers: as fsspec's memory is.
        return io.BytesIO(file.getvalue())
    return file


def _drop(cache: AbstractFileSystem, path: str) -> None:
    with suppress(Exception):
        cache.pop_from_cache(path)
    with suppress(OSError):
        os.remove(os.path.join(cache.storage[-1], cache._mapper(cache._strip_protocol(path))))  # noqa: PTH107, PTH118
