"""How one file of a filesystem without coroutines is opened, so that many threads and many readers do no harm."""

from __future__ import annotations

import io
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from attrs import frozen

from kmexport.storage.faults import WrongAnswerError
from kmexport.storage.layers import without_cache
from kmexport.storage.versions import version_and_size_at_once

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["lock_of", "open_alone", "open_cached", "open_new"]

# Each key has one of these, so that they need not be kept for each file. Never take two of them at once.
_LOCKS = [threading.Lock() for _ in range(64)]

if hasattr(os, "register_at_fork"):
    # One may be held by a thread that a forked process does not have.
    os.register_at_fork(after_in_child=lambda: _LOCKS.__setitem__(slice(None), [threading.Lock() for _ in _LOCKS]))


def open_new(fs: AbstractFileSystem, path: str) -> Any:
    """A file of a filesystem that many threads may use."""
    from fsspec.caching import BaseCache  # noqa: PLC0415
    from fsspec.spec import AbstractBufferedFile  # noqa: PLC0415

    file = fs.open(path, "rb")
    if isinstance(file, AbstractBufferedFile):
        # What fsspec reads ahead, 5 MiB a file and more, would be held beside what is fetched ahead.
        file.cache = BaseCache(file.blocksize, file._fetch_range, file.size)
    if isinstance(file, io.BytesIO):
        # It may be the one of all readers: as fsspec's memory is.
        return io.BytesIO(file.getvalue())
    return file


def open_alone(fs: AbstractFileSystem, path: str) -> Any:
    """A file of a filesystem that only one may use at a time."""
    lock = lock_of(fs)
    with lock:
        file = open_new(fs, path)
    return file if isinstance(file, io.BytesIO) else _LockedFile(file, lock)


def open_cached(fs: AbstractFileSystem, path: str) -> Any:
    """fsspec's caches write under a file's last name, and take for whole what they find there, also half of it."""
    is_simple = _is_simple(fs)
    with lock_of(fs.storage[-1], path if is_simple else None):
        try:
            if fs._check_file(path):
                return fs.open(path, "rb")
            version, _ = version_and_size_at_once(without_cache(fs), path)
            if is_simple and not fs.compression:
                _fill(fs, path)
            file = fs.open(path, "rb")
            _check_version(fs, path, version, file)
        except BaseException as error:
            _drop(fs, path)
            if isinstance(error, FileNotFoundError) and not is_simple:
                # They say so of a server that does not answer.
                version_and_size_at_once(fs.fs, path)
                msg = "the file is there, and could not be read"
                raise OSError(msg) from error
            raise
        return file


def lock_of(*key: object) -> threading.Lock:
    """The lock for a key. An archive shares the lock of the file in which it lies."""
    return _LOCKS[hash(tuple(getattr(one, "fo", one) for one in key)) % len(_LOCKS)]


@frozen
class _LockedFile:
    """A file of which no two are read at a time."""

    file: Any
    lock: threading.Lock

    def read(self, size: int) -> bytes:
        with self.lock:
            block: bytes = self.file.read(size)
        return block

    def seek(self, at: int) -> None:
        with self.lock:
            self.file.seek(at)

    def close(self) -> None:
        with self.lock:
            self.file.close()


def _is_simple(fs: AbstractFileSystem) -> bool:
    """Whether a cache keeps no list of its files, which many threads would spoil."""
    from fsspec.implementations.cached import SimpleCacheFileSystem  # noqa: PLC0415

    return isinstance(fs, SimpleCacheFileSystem)


def _check_version(cache: AbstractFileSystem, path: str, version: Any, file: Any) -> None:
    if version_and_size_at_once(without_cache(cache), path)[0] != version:
        file.close()
        msg = "the file changed while it was fetched"
        raise WrongAnswerError(msg)


def _fill(cache: AbstractFileSystem, path: str) -> None:
    """Put a file into the cache, the whole of it or nothing."""
    cache._mkcache()
    last = _place(cache, path)
    part = f"{last}.{os.getpid()}-{threading.get_ident()}.part"
    try:
        cache.fs.get_file(path, part)
        os.replace(part, last)  # noqa: PTH105  # fsspec's own names are text
    finally:
        with suppress(OSError):
            os.remove(part)  # noqa: PTH107


def _drop(cache: AbstractFileSystem, path: str) -> None:
    with suppress(Exception):
        cache.pop_from_cache(path)
    with suppress(OSError):
        os.remove(_place(cache, path))  # noqa: PTH107


def _place(cache: AbstractFileSystem, path: str) -> str:
    place: str = os.path.join(cache.storage[-1], cache._mapper(cache._strip_protocol(path)))  # noqa: PTH118
    return place
