"""One folder on any fsspec filesystem: whole small files, a fresh listing, open files; errors that name the place."""

from __future__ import annotations

import errno
import gzip
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from kmexport.errors import BucketNotFoundError, BucketUnreachableError, KmExportError, RevisionNotFoundError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from fsspec.callbacks import Callback

    from kmexport.parsing.blocks import BinaryFile

__all__ = ["Folder", "redact"]

# More is hidden than must be: a secret may hold any character, those that end it in a URL too.
_QUERY_OR_SECRET = re.compile(r"(?<=://)[^?#]*[?#].*@.*", re.DOTALL)
_CREDENTIALS = re.compile(r"(?<=://)[^?#]*@")
_QUERY = re.compile(r"[?#].*", re.DOTALL)

_SENSITIVE = "key|secret|token|pass|pwd|user|login|auth|cred|sas|sig|conn|account|cookie|header"
_SENSITIVE_NAME = re.compile(_SENSITIVE, re.IGNORECASE)
_SENSITIVE_TEXT = re.compile(rf"://[^\s/]+@|[?&][^\s=&]*(?:{_SENSITIVE})[^\s=&]*=", re.IGNORECASE)
_GZIP_MAGIC = b"\x1f\x8b"
_FIRST_BYTES = 1 << 16
_LONGEST_CHAIN = 20


def redact(url: str) -> str:
    """The URL without what may be a credential: the part before an @, and the query.

    >>> redact("https://bob:secret@example.com/export/?signature=abc")
    'https://***@example.com/export/?***'
    """
    if "://" not in url:
        return url
    return _QUERY.sub("?***", _CREDENTIALS.sub("***@", _QUERY_OR_SECRET.sub("***", url)))


class Folder:
    """The folder of an export. The filesystem is made when it is first needed, and again after unpickling."""

    def __init__(self, url: str, fs: AbstractFileSystem | None, storage_options: dict[str, Any]) -> None:
        self._url = url
        self._fs = fs
        self._storage_options = storage_options
        self._resolved: tuple[AbstractFileSystem, str] | None = None
        self.shown_url = redact(url)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_resolved": None}

    def read(self, name: str) -> bytes:
        """The whole of a small file, as it is now."""
        with self._access(lambda: BucketNotFoundError(self.shown_url, f"there is no {name}")):
            fs, root = self._storage()
            fs = _without_cache(fs)
            path = _join(root, name)
            _forget_listings(fs, path)
            return cast("bytes", fs.cat_file(path))

    def list(self, name: str) -> list[tuple[str, int | None]]:
        """The files of a folder as they are now, in no order: name and size in bytes. No folder: no files."""
        with self._access():
            fs, root = self._storage()
            fs = _without_cache(fs)
            path = _join(root, name)
            _forget_listings(fs, path)
            try:
                # With the slash an HTTP server need not redirect; other filesystems pass over it.
                entries = fs.ls(f"{path}/", detail=True)
            except FileNotFoundError:
                return []
            return [
                (entry["name"].rstrip("/").rpartition("/")[2], entry.get("size"))
                for entry in entries
                # A local link has the type "other", whatever it leads to.
                if entry["type"] == "file" or (entry.get("islink") and fs.isfile(entry["name"]))
            ]

    @contextmanager
    def open(self, name: str, callback: Callback | None = None) -> Iterator[BinaryFile]:
        """The file for reading in large blocks, unpacked where it is gzip."""
        gone = lambda: RevisionNotFoundError(name)  # noqa: E731
        with self._access(gone):
            fs, root = self._storage()
            path = _join(root, name)
            raw = fs.open(path, "rb", **_streamed(fs, path))
        with raw:
            file = _Guarded(self, raw, gone, callback)
            if file.first.startswith(_GZIP_MAGIC):
                with gzip.GzipFile(fileobj=file) as unpacked:  # type: ignore[call-overload]
                    yield unpacked
            elif name.endswith(".gz") and not file.first:
                yield _NoGzip()
            else:
                yield file

    def _storage(self) -> tuple[AbstractFileSystem, str]:
        if self._resolved is None:
            if self._fs is not None:
                self._resolved = self._fs, self._fs._strip_protocol(self._url)
            else:
                from fsspec.core import url_to_fs  # noqa: PLC0415

                self._resolved = url_to_fs(self._url, **self._storage_options)
        return self._resolved

    @contextmanager
    def _access(self, missing: Callable[[], Exception] | None = None) -> Iterator[None]:
        """Storage errors under the library's names, with the place and without credentials."""
        try:
            yield
        except KmExportError:
            raise
        except Exception as error:
            cause = error if self._is_safe(error) else None
            if missing is not None and _is_missing(error):
                raise missing() from cause
            if _is_denied(error):
                raise PermissionError(errno.EACCES, "access to the export is denied", self.shown_url) from cause
            if cause is not None and _speaks_for_itself(error):
                raise
            reason = f"reading it failed ({type(error).__name__})"
            raise BucketUnreachableError(self.shown_url, reason) from cause

    def _is_safe(self, error: BaseException) -> bool:
        """Whether no text in the error's chain can show a credential. Only then it may be the cause of ours."""
        if self._url != self.shown_url:
            return False
        secrets = [*_secrets(self._storage_options), *_secrets(getattr(self._fs, "storage_options", {}))]
        return not any(
            _SENSITIVE_TEXT.search(text) or any(secret in text for secret in secrets) for text in _texts(error)
        )


def _texts(error: BaseException | None) -> Iterator[str]:
    """What the error and those behind it say."""
    for _ in range(_LONGEST_CHAIN):
        if error is None:
            return
        yield f"{error} {error!r}"
        error = error.__cause__ or error.__context__


def _secrets(option: object, name: str = "") -> Iterator[str]:
    """The storage options that are secrets, by their names; those of a nested option inherit its name."""
    if isinstance(option, dict):
        for key, value in option.items():
            yield from _secrets(value, f"{name} {key}")
    elif isinstance(option, list | tuple):
        for value in option:
            yield from _secrets(value, name)
    elif isinstance(option, str) and option and (_SENSITIVE_NAME.search(name) or redact(option) != option):
        yield option


def _is_missing(error: Exception) -> bool:
    # The KeyError is zipfile's, which older versions of fsspec hand on.
    in_zip = isinstance(error, KeyError) and "no item named" in str(error)
    return in_zip or isinstance(error, FileNotFoundError | NotADirectoryError)


def _is_denied(error: Exception) -> bool:
    # aiohttp's error has a status, and botocore's NoCredentialsError is no OSError.
    status = getattr(error, "status", None)
    return isinstance(error, PermissionError) or status in (401, 403) or type(error).__name__ == "NoCredentialsError"


def _speaks_for_itself(error: Exception) -> bool:
    """An error of the local disk that names its file, a wrong address, a filesystem that is not installed, a warning.

    Errors of the local disk have a file name; those that come from a server have none.
    """
    if isinstance(error, OSError):
        return error.filename is not None
    return isinstance(error, ImportError | Warning) or type(error) in (TypeError, ValueError)


def _without_cache(fs: AbstractFileSystem) -> AbstractFileSystem:
    """The filesystem under fsspec's caches (`simplecache::…`): they would give a manifest of long ago."""
    from fsspec.implementations.cached import CachingFileSystem  # noqa: PLC0415

    while isinstance(fs, CachingFileSystem):
        fs = fs.fs
    return fs


def _streamed(fs: AbstractFileSystem, path: str) -> dict[str, int]:
    """The option that streams from a web server: it need not know range requests, which shows only mid-file."""
    is_web = path.startswith(("http://", "https://")) and fs is _without_cache(fs)
    return {"block_size": 0} if is_web else {}


def _forget_listings(fs: AbstractFileSystem, path: str) -> None:
    """Drop what fsspec remembers of a path and of the folder it is in: names, and the sizes that reading goes by.

    What `invalidate_cache` does differs: s3fs drops the folders above too, ftp only the path as it is spelt, and
    http nothing.
    """
    folder = path.rpartition("/")[0]
    for spelt in (path, f"{path}/", folder, f"{folder}/"):
        fs.invalidate_cache(spelt)
        fs.dircache.pop(spelt, None)


class _NoGzip:
    """An empty file that is called .gz: even nothing at all is some bytes of gzip, so it is cut off."""

    def read(self, _size: int, /) -> bytes:
        msg = "the file is empty"
        raise EOFError(msg)


class _Guarded:
    """A file whose `read` raises the folder's errors and moves the callback."""

    def __init__(self, folder: Folder, raw: Any, missing: Callable[[], Exception], callback: Callback | None) -> None:
        self._folder = folder
        self._raw = raw
        self._missing = missing
        self._callback = callback
        self.first = b""
        self.first = self.read(_FIRST_BYTES)

    def read(self, size: int, /) -> bytes:
        if self.first:
            block, self.first = self.first[:size], self.first[size:]
            return block
        with self._folder._access(self._missing):
            block = cast("bytes", self._raw.read(size))
        if self._callback is not None:
            self._callback.relative_update(len(block))
        return block


def _join(root: str, name: str) -> str:
    return f"{root.rstrip('/')}/{name}" if root else name
