"""One folder on any fsspec filesystem: read a small file, list a folder, open many files in turn."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from kmexport.errors import BucketNotFoundError, RevisionNotFoundError
from kmexport.storage.atomic import remove_old_parts, write_bytes
from kmexport.storage.credentials import redact, secrets_of
from kmexport.storage.errors import translated
from kmexport.storage.faults import UnexpectedResponseError
from kmexport.storage.fetch.transports import exclusive_access, openers
from kmexport.storage.filesystems import (
    connect_anew,
    forget_listings,
    is_broken,
    layers,
    noticing,
    prepare,
    unwrap_path,
    with_defaults,
    without_cache,
)
from kmexport.storage.limits import Limits
from kmexport.storage.listing import has_listings, list_files
from kmexport.storage.open_files import FileRequest, lock_for, open_checked
from kmexport.storage.retries import manifest_budget, tries_within

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from fsspec.callbacks import Callback
    from tenacity import AttemptManager

    from kmexport.parsing.stream import BinaryFile

__all__ = ["Folder"]

# Held while a filesystem is found, so that many threads find the same. A forked process has its own: the one that it
# was forked with may be held by a thread that it does not have.
_LOCKS: dict[int, threading.Lock] = {}


class Folder:
    """The folder of an export. The filesystem is made when it is first needed, and again in another process."""

    def __init__(
        self, url: str, fs: AbstractFileSystem | None, storage_options: dict[str, Any], limits: Limits | None = None
    ) -> None:
        self.limits: Limits = limits or Limits()
        self._url = url
        self._fs = fs
        self._storage_options = storage_options
        self._resolved: tuple[AbstractFileSystem, str] | None = None
        self._process = 0  # that has resolved it
        self.public_url: str = redact(url)

    def __getstate__(self) -> dict[str, Any]:
        # Another process may run in another folder.
        url = str(Path(self._url).absolute()) if self._is_relative else self._url
        return {**self.__dict__, "_resolved": None, "_url": url}

    @property
    def _is_relative(self) -> bool:
        is_local = self._fs is None and ":" not in self._url and not self._url.startswith("~")
        return is_local and not Path(self._url).is_absolute()

    @property
    def has_listings(self) -> bool:
        """Tell whether the folders of this storage can be listed. Those of a web server can't."""
        with self._access("opening the storage"):
            return has_listings(self._fresh("")[0])

    @property
    def is_private(self) -> bool:
        """True where the files lie in the memory of one process, so that another can't see them."""
        if self._fs is None:
            return any(part.startswith("memory:") for part in self._url.split("::"))
        return any("memory" in one.protocol for one in layers(self._fs))

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        """Read a small file whole, as it is now; or its bytes from `start` to `end`."""
        with self._access(f"reading {name}", partial(self._missing, name)):
            for attempt in self._tries(name):
                with attempt, self._connected(name) as (fs, path), exclusive_access(fs):
                    forget_listings(fs, path)
                    content = cast("bytes", fs.cat_file(path, start=start, end=end))
                    if not content and not has_listings(fs):
                        # An index without a byte would hide every file. A web server that fails may answer so.
                        msg = "an empty answer came where a file was asked for"
                        raise UnexpectedResponseError(msg)
        return content

    def list(self, name: str) -> list[tuple[str, int | None]]:
        """List the files of a folder as they are now, in no order: name, and size in bytes where the storage knows it.

        Raises BucketNotFoundError where there is no such folder. Object stores know no folders: there one without
        files is missing, or on S3 empty. Any other answer is a BucketUnreachableError.
        """
        with self._access(f"listing {name}", partial(self._missing, f"folder {name}")):
            for attempt in self._tries(name):
                # Two that list a folder at the same time would forget each other's listing while it is made.
                with attempt, self._connected(name) as (fs, path), lock_for(fs):
                    forget_listings(fs, path)
                    files = list_files(fs, path)
        return files

    def list_folders(self, name: str) -> Sequence[str]:
        """List the folders in a folder; none where it can't be listed: it helps to explain an error."""
        try:
            fs, path = self._fresh(name)
            entries = fs.ls(f"{path}/", detail=True) if has_listings(fs) else []
        except Exception:  # noqa: BLE001  # another library's: the error that is to be explained counts
            return []
        return [one["name"].rstrip("/").rpartition("/")[2] for one in entries if one["type"] == "directory"]

    def open_each(
        self,
        files: Sequence[tuple[str, int | None]],
        *,
        callback: Callback | None = None,
        unpack: bool = True,
    ) -> Generator[AbstractContextManager[BinaryFile], None, None]:
        """Yield a context manager for each file, in order, that opens it. It is read in large blocks, gzip unpacked.

        `files` are names with the sizes in bytes at which they were listed, None where that is not known. A file of
        the local disk that has grown is read to that size; an object that was replaced before its turn is read whole,
        as it is then. Files that lie far away are fetched ahead, within the limits of the folder.
        """
        with self._access("opening the storage"):
            for attempt in self._tries("the storage"):
                with attempt:
                    _, root = self._storage()
        wanted = [FileRequest(name, _join(root, name), size) for name, size in files]
        limits = self.limits
        opening = openers(
            lambda: self._storage()[0],
            wanted,
            budget=limits.prefetch_bytes,
            requests=limits.requests,
            silent_for=limits.silent_for,
        )
        with closing(opening):
            for (name, _), open_file in zip(files, opening, strict=True):
                yield open_checked(open_file, name, self._guard(name), callback, unpack=unpack)

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Write a file, whole or not at all, and ask for its size afterwards. Missing folders are made."""
        with self._access(f"writing {name}"):
            for attempt in self._tries(name):
                with attempt, self._connected(name) as (fs, path), exclusive_access(fs):
                    write_bytes(fs, path, content)

    def remove_old_parts(self, name: str) -> None:
        """Remove the unfinished files of runs that were killed a day ago or longer."""
        with self._access(f"listing {name or 'the folder'}"):
            for attempt in self._tries(name):
                with attempt, self._connected(name) as (fs, path), exclusive_access(fs), suppress(FileNotFoundError):
                    remove_old_parts(fs, path)

    def _missing(self, what: str) -> BucketNotFoundError:
        """Make the error for a missing file. Of a relative path it says where it was looked for."""
        place = f" in {Path(self.public_url).absolute()}" if self._is_relative else ""
        names = getattr(self._resolved[0], "index", ()) if self._resolved is not None else ()
        if any(str(name).startswith("./") for name in names):  # a tar file that was packed as "tar cf … ."
            place = "; the names in this archive begin with ./, so write tar://.::…"
        return BucketNotFoundError(self.public_url, f"there is no {what}{place}")

    def _guard(self, name: str) -> Callable[[], AbstractContextManager[None]]:
        return partial(self._access, f"reading {name}", partial(RevisionNotFoundError, name))

    def _access(self, doing: str, missing: Callable[[], Exception] | None = None) -> AbstractContextManager[None]:
        return translated(self._url, self._storage_options, self._secrets, doing, missing)

    def _secrets(self) -> Iterable[str]:
        return secrets_of(self._resolved[0] if self._resolved is not None else self._fs, self._storage_options)

    def _tries(self, name: str) -> Iterator[AttemptManager]:
        budget = manifest_budget(name)
        for attempt in budget.retrying():
            if self._resolved is not None:
                budget.cost = tries_within(self._resolved[0])
            yield attempt

    @contextmanager
    def _connected(self, name: str) -> Iterator[tuple[AbstractFileSystem, str]]:
        """Give the filesystem without caches, and a file's path. After an error the next try has a new connection."""
        fs, path = self._fresh(name)
        with noticing(fs):
            yield fs, path

    def _fresh(self, name: str) -> tuple[AbstractFileSystem, str]:
        """Return the filesystem without caches, which would give an old manifest; and the path of a file there."""
        fs, root = self._storage()
        return unwrap_path(without_cache(fs), _join(root, name))

    def _storage(self) -> tuple[AbstractFileSystem, str]:
        if getattr(self._fs, "asynchronous", False):
            msg = "fs= is made with asynchronous=True: a bucket is read from plain loops and needs one without"
            raise ValueError(msg)
        with _LOCKS.setdefault(os.getpid(), threading.Lock()):
            if self._resolved is None or self._process != os.getpid():
                self._resolved = self._find_storage()
                self._process = os.getpid()
            if is_broken(self._resolved[0]):
                self._resolved = connect_anew(self._resolved[0]), self._resolved[1]
            return self._resolved

    def _find_storage(self) -> tuple[AbstractFileSystem, str]:
        if self._fs is not None:
            found = self._fs, self._fs._strip_protocol(self._url)
        else:
            from fsspec.core import url_to_fs  # noqa: PLC0415

            found = url_to_fs(self._url, **with_defaults(self._url, self._storage_options))
            prepare(found[0])
        # A filesystem that only puts a folder before every path hides what the one within it can do.
        return unwrap_path(*found)


def _join(root: str, name: str) -> str:
    return f"{root.rstrip('/')}/{name}" if root else name
