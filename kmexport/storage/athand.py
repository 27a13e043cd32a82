"""Files that need no fetching, those of the local disk and of memory. Each reader has its own place in them."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

from kmexport.errors import RevisionChangedError
from kmexport.storage.faults import check_body
from kmexport.storage.wanted import Wanted

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["LocalFile", "open_in_memory"]

_SAMPLE_BYTES = 1 << 12  # of the end of each block: they hold whole lines, so the rest of it need not be compared
_MOST_SAMPLES = 256


class LocalFile:
    """A file of the local disk, to the size that it was listed with, all of one version.

    One that is replaced by another file of its name is read on as it was. One that grows is read to its listed size.
    One that is written over, which would give a mixture, is a RevisionChangedError.
    """

    def __init__(self, fs: AbstractFileSystem, wanted: Wanted) -> None:
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
        """It was written to: at its end, or from its beginning?"""
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


def open_in_memory(fs: AbstractFileSystem, wanted: Wanted) -> io.BytesIO:
    """A file of fsspec's memory, as it is now: fsspec gives all readers one object, with one place."""
    content = fs.open(wanted.path, "rb").getvalue()  # not a copy, as long as nobody writes to it
    end = _end_of(wanted, len(content))
    return io.BytesIO(content if end == len(content) else content[:end])


def _end_of(wanted: Wanted, size: int) -> int:
    if wanted.size is None:
        return size
    if size < wanted.size:
        raise RevisionChangedError(wanted.name, f"it had {wanted.size:,} bytes and has {size:,} now")
    return wanted.size
