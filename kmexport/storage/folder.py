"""One folder on any fsspec filesystem: read a small file, list a folder, open many files in turn."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from kmexport.errors import BucketNotFoundError, RevisionNotFoundError
from kmexport.storage.checked import open_checked
from kmexport.storage.credentials import redact, secrets_of
from kmexport.storage.faults import retrying, unwrapped
from kmexport.storage.listing import list_files, lists_reliably
from kmexport.storage.opening import is_cache, is_thread_safe, lock_of, opener, unwrap_path
from kmexport.storage.options import complete
from kmexport.storage.translation import translated

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from fsspec.callbacks import Callback

    from kmexport.files import BinaryFile

__all__ = ["PREFETCH_BYTES", "REQUESTS", "Folder"]

PREFETCH_BYTES = 64 << 20
REQUESTS = 16

# Files of this machine are opened when their turn comes: fetching them ahead would only hold memory.
_AT_HAND = ("fsspec.implementations.local", "fsspec.implementations.memory")


class Folder:
    """The folder of an export. The filesystem is made when it is first needed, and again in another process."""

    def __init__(self, url: str, fs: AbstractFileSystem | None, storage_options: dict[str, Any]) -> None:
        self._url = url
        self._fs = fs
        self._storage_options = storage_options
        self._resolved: tuple[AbstractFileSystem, str] | None = None
        self._process = 0  # that has resolved it
        self.public_url = redact(url)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_resolved": None}

    @property
    def lists_reliably(self) -> bool:
        """Whether a listing is the whole truth. The page of a web server may leave out anything."""
        with self._access("opening the storage"):
            return lists_reliably(unwrapped(_without_cache(self._storage()[0])))

    def read(self, name: str) -> bytes:
        """The whole of a small file, as it is now."""
        with self._access(f"reading {name}", lambda: BucketNotFoundError(self.public_url, f"there is no {name}")):
            fs, path = self._fresh(name)
            for attempt in retrying(fs):
                with attempt, _alone(fs):
                    _forget_listings(fs, path)
                    content = cast("bytes", fs.cat_file(path))
        return content

    def list(self, name: str) -> list[tuple[str, int | None]]:
        """The files of a folder as they are now, in no order: name, and size in bytes where the storage tells it.

        Raises BucketNotFoundError where there is no such folder. Object stores know no folders: there one without
        files is missing, or on S3 empty. An answer that is no listing is a BucketUnreachableError.
        """
        missing = partial(BucketNotFoundError, self.public_url, f"there is no folder {name}")
        with self._access(f"listing {name}", missing):
            fs, path = self._fresh(name)
            for attempt in retrying(fs):
                with attempt, _alone(fs):
                    _forget_listings(fs, path)
                    files = list_files(*unwrap_path(fs, path))
        return files

    def open_each(
        self,
        files: Sequence[tuple[str, int | None]],
        *,
        prefetch_bytes: int = PREFETCH_BYTES,
        requests: int = REQUESTS,
        callback: Callback | None = None,
    ) -> Generator[AbstractContextManager[BinaryFile], None, None]:
        """For each file, in order, a context manager that opens it for reading in large blocks, unpacked where gzip.

        `files` are names with the sizes in bytes at which they were listed, None where that is not known: a file
        that has grown is read to that size. Files that lie far away are fetched ahead.
        """
        with self._access("opening the storage"):
            fs, root = self._storage()
        paths = [(_join(root, name), size) for name, size in files]
        if type(unwrapped(fs)).__module__ in _AT_HAND:
            for (name, size), (path, _) in zip(files, paths, strict=True):
                yield open_checked(partial(fs.open, path, "rb"), name, size, self._guard(name), callback)
            return
        from kmexport.storage.ahead import fetch_ahead  # noqa: PLC0415  # asyncio takes longer to load than a local export

        open_file = None if _goes_by_coroutines(fs, paths) else opener(fs)
        if open_file is not None and not is_thread_safe(fs):
            requests = 1
        fetched = fetch_ahead(fs, paths, budget=prefetch_bytes, requests=requests, open_file=open_file)
        with closing(fetched):
            for (name, size), file in zip(files, fetched, strict=True):
                yield open_checked(lambda file=file: file, name, size, self._guard(name), callback)  # type: ignore[misc]

    def _guard(self, name: str) -> Callable[[], AbstractContextManager[None]]:
        return partial(self._access, f"reading {name}", partial(RevisionNotFoundError, name))

    def _access(self, doing: str, missing: Callable[[], Exception] | None = None) -> AbstractContextManager[None]:
        return translated(self._url, self._storage_options, self._secrets, doing, missing)

    def _secrets(self) -> Iterable[str]:
        return secrets_of(self._resolved[0] if self._resolved is not None else self._fs, self._storage_options)

    def _fresh(self, name: str) -> tuple[AbstractFileSystem, str]:
        """The filesystem without caches, which would give a manifest of long ago; and the path of a file there."""
        fs, root = self._storage()
        return _without_cache(fs), _join(root, name)

    def _storage(self) -> tuple[AbstractFileSystem, str]:
        if getattr(self._fs, "asynchronous", False):
            msg = "fs= is made with asynchronous=True: a bucket is read from plain loops and needs one without"
            raise ValueError(msg)
        if self._resolved is None or self._process != os.getpid():
            self._process = os.getpid()
            if self._fs is not None:
                found = self._fs, self._fs._strip_protocol(self._url)
            else:
                from fsspec.core import url_to_fs  # noqa: PLC0415

                found = url_to_fs(self._url, **complete(self._url, self._storage_options))
            # A filesystem that only puts a folder before every path hides what the one within it can do.
            self._resolved = unwrap_path(*found)
        return self._resolved


def _without_cache(fs: AbstractFileSystem) -> AbstractFileSystem:
    """The filesystem under fsspec's caches (`simplecache::…`)."""
    while is_cache(fs):
        fs = fs.fs
    return fs


def _alone(fs: AbstractFileSystem) -> AbstractContextManager[object]:
    return nullcontext() if is_thread_safe(fs) else lock_of(unwrapped(fs))


def _goes_by_coroutines(fs: AbstractFileSystem, files: Sequence[tuple[str, int | None]]) -> bool:
    """Whether its coroutines can fetch the files: their sizes are known, or it is a web server, which streams them."""
    inner = unwrapped(fs)
    if is_cache(inner) or not inner.async_impl:
        return False
    return type(fs).__module__ == "fsspec.implementations.http" or all(size is not None for _, size in files)


def _forget_listings(fs: AbstractFileSystem, path: str) -> None:
    """Drop what fsspec remembers of a path and of the folder it is in: names, and the sizes that reading goes by.

    What `invalidate_cache` does differs: s3fs drops the folders above too, ftp only the path as it is spelt, and
    http nothing; the older filesystems that put a folder before every path do not hand it on.
    """
    fs, path = unwrap_path(fs, path)
    folder = path.rpartition("/")[0]
    for spelt in (path, f"{path}/", folder, f"{folder}/"):
        fs.invalidate_cache(spelt)
        fs.dircache.pop(spelt, None)


def _join(root: str, name: str) -> str:
    return f"{root.rstrip('/')}/{name}" if root else name
