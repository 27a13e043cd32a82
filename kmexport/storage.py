"""One folder on any fsspec filesystem: whole small files, a fresh listing, open files; errors that name the place."""

from __future__ import annotations

import errno
import gzip
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from kmexport.errors import BucketNotFoundError, BucketUnreachableError, KmExportError, RevisionNotFoundError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from fsspec.callbacks import Callback

    from kmexport.parsing.blocks import BinaryFile

__all__ = ["Folder", "redact"]

# More is hidden than must be: a secret may hold a slash.
_CREDENTIALS = re.compile(r"(?<=://)[^?#]*@")
_QUERY = re.compile(r"[?#].*", re.DOTALL)
_GZIP_MAGIC = b"\x1f\x8b"
_FIRST_BYTES = 1 << 16


def redact(url: str) -> str:
    """The URL without what may be a credential: the part before an @, and the query.

    >>> redact("https://bob:secret@example.com/export/?signature=abc")
    'https://***@example.com/export/?***'
    """
    url = _CREDENTIALS.sub("***@", url)
    return _QUERY.sub("?***", url) if "://" in url else url


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
            fs.invalidate_cache(_join(root, name))
            return cast("bytes", fs.cat_file(_join(root, name)))

    def list(self, name: str) -> list[tuple[str, int | None]]:
        """The files of a folder as they are now, in no order: name and size in bytes. No folder: no files."""
        with self._access():
            fs, root = self._storage()
            # With the slash an HTTP server need not redirect; other filesystems pass over it.
            path = _join(root, name) + "/"
            fs.invalidate_cache(path.rstrip("/"))
            fs.invalidate_cache(path)
            try:
                entries = fs.ls(path, detail=True)
            except FileNotFoundError:
                return []
        return [
            (entry["name"].rstrip("/").rpartition("/")[2], entry.get("size"))
            for entry in entries
            if entry["type"] == "file"
        ]

    @contextmanager
    def open(self, name: str, callback: Callback | None = None) -> Iterator[BinaryFile]:
        """The file for reading in large blocks, unpacked where it is gzip."""
        gone = lambda: RevisionNotFoundError(name)  # noqa: E731
        with self._access(gone):
            fs, root = self._storage()
            raw = fs.open(_join(root, name), "rb")
        with raw:
            file = _Guarded(self, raw, gone, callback)
            if file.first.startswith(_GZIP_MAGIC):
                with gzip.GzipFile(fileobj=file) as unpacked:  # type: ignore[call-overload]
                    yield unpacked
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
    def _access(self, missing: Any = None) -> Iterator[None]:
        """Storage errors under the library's names, with the place and without credentials."""
        try:
            yield
        except KmExportError:
            raise
        except FileNotFoundError as error:
            if missing is None:
                raise
            raise missing() from self._cause(error)
        except PermissionError as error:
            raise self._denied() from self._cause(error)
        except (OSError, ImportError) as error:
            if self._cause(error) is error:
                raise
            raise BucketUnreachableError(self.shown_url, f"{type(error).__name__}") from None
        except Exception as error:
            # botocore's and aiohttp's errors are no OSErrors.
            if getattr(error, "status", None) in (401, 403) or type(error).__name__ == "NoCredentialsError":
                raise self._denied() from self._cause(error)
            if isinstance(error, ValueError) and type(error).__module__ == "builtins":
                raise
            reason = f"the storage did not answer ({type(error).__name__})"
            raise BucketUnreachableError(self.shown_url, reason) from self._cause(error)

    def _denied(self) -> PermissionError:
        return PermissionError(errno.EACCES, "access to the export is denied", self.shown_url)

    def _cause(self, error: Exception) -> Exception | None:
        """The error itself, or None where its text would show a credential."""
        shown = str(error)
        secrets = [*_strings(self._storage_options)]
        is_safe = self._url == self.shown_url and not any(secret in shown for secret in secrets)
        return error if is_safe else None


def _strings(options: object) -> Iterator[str]:
    if isinstance(options, dict):
        for value in options.values():
            yield from _strings(value)
    elif isinstance(options, str) and len(options) >= 8:
        yield options


class _Guarded:
    """A file whose `read` raises the folder's errors and moves the callback."""

    def __init__(self, folder: Folder, raw: Any, missing: Any, callback: Callback | None) -> None:
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
    root = root.rstrip("/")
    return f"{root}/{name}" if root else name
