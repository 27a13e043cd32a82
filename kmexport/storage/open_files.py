"""One open file: where it lies, how it is opened, unpacked, checked against its size, and reported as progress."""

from __future__ import annotations

import gzip
import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from attrs import frozen

from kmexport.errors import RevisionChangedError
from kmexport.storage.faults import check_body
from kmexport.storage.filesystems import connection_of, is_cache, noticing

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from fsspec.callbacks import Callback

    from kmexport.parsing.stream import BinaryFile

__all__ = [
    "FileRequest",
    "LocalFile",
    "Progress",
    "RawFile",
    "check_progress",
    "lock_for",
    "open_checked",
    "open_exclusively",
    "open_in_memory",
    "progress_bar",
]


@frozen
class FileRequest:
    """A file to read: what it is called in messages, where it is, and its size in bytes where that is known."""

    name: str
    path: str
    size: int | None


Progress: TypeAlias = "Callback | Literal['tqdm'] | None"


def check_progress(progress: Progress) -> None:
    """Raise TypeError and ValueError for anything but a Callback or "tqdm", ImportError where tqdm is not installed."""
    if progress is None or callable(getattr(progress, "relative_update", None)):
        return
    if not isinstance(progress, str):
        msg = f'callback is an fsspec Callback or "tqdm", not {type(progress).__name__}'
        raise TypeError(msg)
    if progress != "tqdm":
        msg = f'callback is an fsspec Callback or "tqdm", not {progress!r}'
        raise ValueError(msg)
    if find_spec("tqdm") is None:
        msg = "callback=\"tqdm\" needs the package tqdm: pip install 'kmexport[progress]'"
        raise ImportError(msg)


@contextmanager
def progress_bar(progress: Progress) -> Iterator[Callback | None]:
    """Give the callback; for "tqdm" a bar of bytes, which is closed at the end: a text, or a widget in a notebook."""
    if not isinstance(progress, str):
        yield progress
        return
    from fsspec.callbacks import TqdmCallback  # noqa: PLC0415
    from tqdm.auto import tqdm  # noqa: PLC0415

    with closing(TqdmCallback({"unit": "B", "unit_scale": True}, tqdm_cls=tqdm)) as bar:
        yield bar


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
    """Open a file with `open_file`. Each call of the filesystem is made within `guard()`, for its errors."""
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
            yield _EmptyGzip()
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


class _EmptyGzip:
    """A .gz file of 0 bytes. It was cut off: gzip of nothing still has a header."""

    def read(self, _size: int, /) -> bytes:
        msg = "the file is empty"
        raise EOFError(msg)


_SAMPLE_BYTES = 1 << 12  # of the end of each block: they hold whole lines, so the rest of it need not be compared
_MOST_SAMPLES = 256


class LocalFile:
    """A file of the local disk, to the size that it was listed with, all of one version.

    One that is replaced by another file of its name is read on as it was. One that grows is read to its listed size.
    One that is written over, which would give a mixture, is a RevisionChangedError.
    """

    def __init__(self, fs: AbstractFileSystem, wanted: FileRequest) -> None:
        self._name = wanted.name
        self._file: Any = fs.open(wanted.path, "rb")
        self._at = 0
        self._stat = os.fstat(self._file.fileno())
        self._end = _end_of(wanted, self._stat.st_size)
        self._samples: list[tuple[int, bytes]] = []  # of what was given: place and bytes

    def read(self, size: int, /) -> bytes:
        wanted = min(size, self._end - self._at)
        block = self._read_at(self._at, wanted)
        now = os.fstat(self._file.fileno())
        if (now.st_mtime_ns, now.st_size) != (self._stat.st_mtime_ns, self._stat.st_size):
            self._look_again(now)
            if not self._at:
                block = self._read_at(0, wanted)  # nothing of the old version came out yet
        if wanted > 0 and not block:
            check_body(self._at, self._end)
        self._at += len(block)
        self._samples.append((self._at - len(block[-_SAMPLE_BYTES:]), block[-_SAMPLE_BYTES:]))
        if len(self._samples) > _MOST_SAMPLES:
            del self._samples[::2]
        return block

    def close(self) -> None:
        self._file.close()

    def _look_again(self, now: os.stat_result) -> None:
        """Look whether it was written to at its end only."""
        has_grown = now.st_size > self._stat.st_size
        if self._at and not (
            has_grown and all(self._read_at(at, len(sample)) == sample for at, sample in self._samples)
        ):
            raise RevisionChangedError(self._name, "it was written over")
        if now.st_size < self._end:
            raise RevisionChangedError(self._name, f"it had {self._end:,} bytes and has {now.st_size:,} now")
        self._stat = now

    def _read_at(self, at: int, size: int) -> bytes:
        # Not from where the file stands: a forked process shares that place.
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), size, at)
        # Windows has neither that nor forks. Not by the file's own read: it may answer from its buffer, with old bytes.
        os.lseek(self._file.fileno(), at, os.SEEK_SET)
        return os.read(self._file.fileno(), size)


def open_in_memory(fs: AbstractFileSystem, wanted: FileRequest) -> io.BytesIO:
    """Open a file of fsspec's memory, as it is now: fsspec gives all readers one object, with one place."""
    content = fs.open(wanted.path, "rb").getvalue()  # not a copy, as long as nobody writes to it
    end = _end_of(wanted, len(content))
    return io.BytesIO(content if end == len(content) else content[:end])


def _end_of(wanted: FileRequest, size: int) -> int:
    if wanted.size is None:
        return size
    if size < wanted.size:
        raise RevisionChangedError(wanted.name, f"it had {wanted.size:,} bytes and has {size:,} now")
    return wanted.size


# Each filesystem has one of these. Never take two of them at once.
_LOCKS = [threading.Lock() for _ in range(64)]

if hasattr(os, "register_at_fork"):
    # One may be held by a thread that a forked process does not have.
    os.register_at_fork(after_in_child=lambda: _LOCKS.__setitem__(slice(None), [threading.Lock() for _ in _LOCKS]))


def open_exclusively(fs: AbstractFileSystem, path: str) -> Any:
    """Open a file of a filesystem that only one may use at a time."""
    lock = lock_for(fs)
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


def lock_for(fs: AbstractFileSystem) -> threading.Lock:
    """Return the lock of a filesystem. All that use one connection share its lock, and archives that of their file."""
    # By identity: one with a new connection must not wait for a call that hangs in the old one.
    return _LOCKS[(id(connection_of(fs) or getattr(fs, "fo", fs)) >> 4) % len(_LOCKS)]


@frozen
class _LockedFile:
    """A file that is read only while nothing else of its filesystem is."""

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
    """Open a file with a place of its own."""
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
