"""One folder on any fsspec filesystem: small files, a fresh listing, many files in turn; errors that name the place."""

from __future__ import annotations

import errno
import gzip
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

from kmexport.errors import BucketNotFoundError, BucketUnreachableError, KmExportError, RevisionNotFoundError
from kmexport.storage.credentials import can_show_one, redact, secrets_in
from kmexport.storage.faults import ShortBodyError, check_body, is_denied, is_missing, retrying, unwrapped
from kmexport.storage.opening import is_cache, is_thread_safe, lock_of, opener, unwrap_path

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from fsspec.callbacks import Callback

    from kmexport.files import BinaryFile

__all__ = ["PREFETCH_BYTES", "REQUESTS", "Folder"]

PREFETCH_BYTES = 64 << 20
REQUESTS = 16

_GZIP_MAGIC = b"\x1f\x8b"
_FIRST_BYTES = 1 << 16

# Files of this machine are opened when their turn comes: fetching them ahead would only hold memory.
_AT_HAND = ("fsspec.implementations.local", "fsspec.implementations.memory")

# Idle connections are closed soon, so that a loop that ended leaves none. s3fs opens 10 at most unless it is
# told otherwise.
_IDLE_FOR = 0.4  # seconds
_S3_CONFIG = {"max_pool_connections": 128, "connector_args": {"keepalive_timeout": _IDLE_FOR}}
_S3_OPTIONS = {"max_concurrency": 1}  # else s3fs asks for a manifest's size before it reads it


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

    def read(self, name: str) -> bytes:
        """The whole of a small file, as it is now."""
        with self._access(f"reading {name}", lambda: BucketNotFoundError(self.public_url, f"there is no {name}")):
            fs, root = self._storage()
            fs = _without_cache(fs)
            path = _join(root, name)
            for attempt in retrying(fs):
                with attempt, _alone(fs):
                    _forget_listings(fs, path)
                    content = cast("bytes", fs.cat_file(path))
        return content

    def list(self, name: str) -> list[tuple[str, int | None]]:
        """The files of a folder as they are now, in no order: name and size in bytes. No folder: no files."""
        with self._access(f"listing {name}"):
            fs, root = self._storage()
            fs = _without_cache(fs)
            path = _join(root, name)
            try:
                for attempt in retrying(fs):
                    with attempt, _alone(fs):
                        _forget_listings(fs, path)
                        # With the slash an HTTP server need not redirect; other filesystems pass over it.
                        entries = fs.ls(f"{path}/", detail=True)
            except FileNotFoundError as error:
                if not is_missing(error):
                    raise
                return []
            return [
                (entry["name"].rstrip("/").rpartition("/")[2], entry.get("size"))
                for entry in entries
                # A local link has the type "other", whatever it leads to.
                if entry["type"] == "file" or (entry.get("islink") and fs.isfile(entry["name"]))
            ]

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
                yield self._opened(partial(fs.open, path, "rb"), name, size, callback)
            return
        from kmexport.storage.ahead import fetch_ahead  # noqa: PLC0415  # asyncio takes longer to load than a local export

        open_file = None if _goes_by_coroutines(fs, paths) else opener(fs)
        if open_file is not None and not is_thread_safe(fs):
            requests = 1
        fetched = fetch_ahead(fs, paths, budget=prefetch_bytes, requests=requests, open_file=open_file)
        with closing(fetched):
            for (name, size), file in zip(files, fetched, strict=True):
                yield self._opened(lambda file=file: file, name, size, callback)  # type: ignore[misc]

    @contextmanager
    def _opened(
        self, opening: Callable[[], _RawFile], name: str, size: int | None, callback: Callback | None
    ) -> Iterator[BinaryFile]:
        guard = partial(self._access, f"reading {name}", lambda: RevisionNotFoundError(name))
        with guard():
            raw = opening()
        with closing(raw):
            file = _CheckedFile(raw, size, guard, callback)
            if file.first.startswith(_GZIP_MAGIC):
                with gzip.GzipFile(fileobj=file) as unpacked:  # type: ignore[call-overload]
                    yield unpacked
            elif name.endswith(".gz") and not file.first:
                yield _NoGzip()
            else:
                yield file

    def _storage(self) -> tuple[AbstractFileSystem, str]:
        if getattr(self._fs, "asynchronous", False):
            msg = "fs= is made with asynchronous=True: a bucket is read from plain loops and needs one without"
            raise ValueError(msg)
        if self._resolved is None or self._process != os.getpid():
            self._process = os.getpid()
            if self._fs is not None:
                self._resolved = self._fs, self._fs._strip_protocol(self._url)
            else:
                from fsspec.core import url_to_fs  # noqa: PLC0415

                self._resolved = url_to_fs(self._url, **_with_ours(self._url, self._storage_options))
        return self._resolved

    @contextmanager
    def _access(self, doing: str, missing: Callable[[], Exception] | None = None) -> Iterator[None]:
        """Storage errors under the library's names, with the place and without credentials."""
        try:
            yield
        except KmExportError:
            raise
        except Exception as error:
            cause = error if self._is_safe(error) else None
            translated = self._translated(error, cause, doing, missing)
            if translated is error:
                raise
            try:
                raise translated from cause
            finally:
                if cause is None:
                    translated.__context__ = None  # `from None` would only hide it

    def _translated(
        self, error: Exception, cause: Exception | None, doing: str, missing: Callable[[], Exception] | None
    ) -> Exception:
        if missing is not None and is_missing(error):
            return missing()
        if is_denied(error):
            return PermissionError(errno.EACCES, "access to the export is denied", self.public_url)
        if cause is not None and _speaks_for_itself(error):
            return error
        why = str(error) if isinstance(error, ShortBodyError) else type(error).__name__
        return BucketUnreachableError(self.public_url, f"{doing} failed ({why})")

    def _is_safe(self, error: BaseException) -> bool:
        """Whether no text in the error's chain can show a credential. Only then it may be the cause of ours."""
        if self._url != self.public_url:
            return False
        options = [self._storage_options]
        fs = self._fs
        while fs is not None:
            options.append(getattr(fs, "storage_options", {}))
            fs = getattr(fs, "fs", None)
        return not can_show_one(error, list(secrets_in(options)))


def _with_ours(url: str, options: dict[str, Any]) -> dict[str, Any]:
    """The storage options, and where they say nothing, what makes reading an export fast and leaves nothing open."""
    if url.startswith(("s3://", "s3a://")):
        return {**_S3_OPTIONS, **options, "config_kwargs": {**_S3_CONFIG, **options.get("config_kwargs", {})}}
    if url.startswith(("http://", "https://")):
        return {"get_client": _web_client, **options}
    return options


async def _web_client(**options: Any) -> Any:
    from aiohttp import ClientSession, TCPConnector  # noqa: PLC0415

    return ClientSession(**{"connector": TCPConnector(keepalive_timeout=_IDLE_FOR, limit=0), **options})


class _RawFile(Protocol):
    """An open file of a filesystem."""

    def read(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


def _speaks_for_itself(error: Exception) -> bool:
    """An error of the local disk that names its file, a wrong address, a filesystem that is not installed, a warning.

    Errors of the local disk have a file name; those that come from a server have none.
    """
    if isinstance(error, OSError):
        return error.filename is not None
    return isinstance(error, ImportError | Warning) or type(error) in (TypeError, ValueError)


def _without_cache(fs: AbstractFileSystem) -> AbstractFileSystem:
    """The filesystem under fsspec's caches (`simplecache::…`): they would give a manifest of long ago."""
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


class _NoGzip:
    """An empty file that is called .gz: even nothing at all is some bytes of gzip, so it is cut off."""

    def read(self, _size: int, /) -> bytes:
        msg = "the file is empty"
        raise EOFError(msg)


class _CheckedFile:
    """A file whose `read` raises the folder's errors, ends at the size that was listed, and moves the callback."""

    def __init__(
        self,
        raw: _RawFile,
        size: int | None,
        guard: Callable[[], AbstractContextManager[None]],
        callback: Callback | None,
    ) -> None:
        self._raw = raw
        self._size = size
        self._at = 0
        self._guard = guard
        self._callback = callback
        self.first = b""
        self.first = self.read(_FIRST_BYTES)

    def read(self, size: int, /) -> bytes:
        if self.first:
            block, self.first = self.first[:size], self.first[size:]
            return block
        with self._guard():
            if self._size is not None:
                size = min(size, self._size - self._at)
            block = self._raw.read(size)
            self._at += len(block)
            if not block and size and self._size is not None:
                check_body(self._at, self._size)
        if self._callback is not None:
            self._callback.relative_update(len(block))
        return block


def _join(root: str, name: str) -> str:
    return f"{root.rstrip('/')}/{name}" if root else name
