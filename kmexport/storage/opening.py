"""How one file of a filesystem without coroutines is opened, so that many threads and many readers do no harm."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import frozen

from kmexport.storage.faults import unwrapped

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["is_cache", "is_thread_safe", "lock_of", "opener", "unwrap_path"]

# Each key has one of these, so that they need not be kept for each file. None is asked for while another is held.
_LOCKS = [threading.Lock() for _ in range(64)]


def opener(fs: AbstractFileSystem) -> Callable[[str], Any]:
    """A function that opens a file of it for reading."""
    if is_cache(unwrapped(fs)):
        return partial(_open_cached, fs)
    if is_thread_safe(fs):
        return partial(_open, fs)
    return partial(_open_alone, fs)


def is_cache(fs: AbstractFileSystem) -> bool:
    """Whether it is one of fsspec's caches: simplecache, filecache, blockcache."""
    from fsspec.implementations.cached import CachingFileSystem  # noqa: PLC0415

    return isinstance(fs, CachingFileSystem)


def is_thread_safe(fs: AbstractFileSystem) -> bool:
    """Not archives, which are one open file; nor caches that keep a list of their files; nor FTP's one connection."""
    from fsspec.archive import AbstractArchiveFileSystem  # noqa: PLC0415
    from fsspec.implementations.cached import SimpleCacheFileSystem  # noqa: PLC0415

    fs = unwrapped(fs)
    if isinstance(fs, AbstractArchiveFileSystem) or type(fs).__module__ == "fsspec.implementations.ftp":
        return False
    return isinstance(fs, SimpleCacheFileSystem) or not is_cache(fs)


def unwrap_path(fs: AbstractFileSystem, path: str) -> tuple[AbstractFileSystem, str]:
    """The filesystem within those that only put a folder before every path, and the path there."""
    inner = unwrapped(fs)
    while fs is not inner:
        fs, path = fs.fs, fs._join(path)
    return fs, path


def lock_of(*key: object) -> threading.Lock:
    """The lock of whatever the key says."""
    return _LOCKS[hash(key) % len(_LOCKS)]


def _open(fs: AbstractFileSystem, path: str) -> Any:
    from fsspec.caching import BaseCache  # noqa: PLC0415
    from fsspec.spec import AbstractBufferedFile  # noqa: PLC0415

    file = fs.open(path, "rb")
    if isinstance(file, AbstractBufferedFile):
        # What fsspec reads ahead, 5 MiB a file and more, would be held beside what is fetched ahead.
        file.cache = BaseCache(file.blocksize, file._fetch_range, file.size)
    return file


def _open_alone(fs: AbstractFileSystem, path: str) -> Any:
    lock = lock_of(unwrapped(fs))
    with lock:
        return _LockedFile(fs.open(path, "rb"), lock)


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


def _open_cached(fs: AbstractFileSystem, path: str) -> Any:
    """fsspec's caches write under a file's last name, and take for whole what they find there, also half of it."""
    cache, path = unwrap_path(fs, path)
    is_simple = is_thread_safe(cache)
    with lock_of(cache.storage[-1], path if is_simple else None):
        try:
            if is_simple and not cache.compression and not cache._check_file(path):
                _fill(cache, path)
            return cache.open(path, "rb")
        except BaseException as error:
            _drop(cache, path)
            if isinstance(error, FileNotFoundError) and not is_simple:
                # They say so of a server that does not answer.
                cache.fs.invalidate_cache(path.rpartition("/")[0])
                cache.fs.info(path)
                msg = "the file is there, and could not be read"
                raise OSError(msg) from error
            raise


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
