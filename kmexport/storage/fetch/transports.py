"""Ways to fetch the files of a filesystem: one table, from its class to a transport."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import frozen

from kmexport.errors import OtherProcessError
from kmexport.storage.filesystems import noticing, version_and_size_at_once, without_cache
from kmexport.storage.open_files import FileRequest, LocalFile, lock_for, open_exclusively, open_in_memory
from kmexport.storage.retries import tries_within

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from kmexport.storage.fetch.stream import Fetcher

__all__ = ["exclusive_access", "openers"]

Current: TypeAlias = "Callable[[], AbstractFileSystem]"  # the one that is in use now
MakeSource: TypeAlias = "Callable[[Current, int], Fetcher]"  # for this number of requests at a time


def openers(
    current: Current, files: Sequence[FileRequest], *, budget: int, requests: int, silent_for: float
) -> Generator[Callable[[], Any], None, None]:
    """Yield a function that opens it for each file, in order. Files far away are fetched ahead, at most `budget` bytes.

    `current` gives the filesystem, one with a new connection after that of the last one broke.
    """
    fs = current()
    if vars(without_cache(fs)).get("_pid", os.getpid()) != os.getpid():  # only those of coroutines have it
        what = "the filesystem given as fs="
        raise OtherProcessError(what)
    transport = _transport_of(fs)
    if transport.open_here is not None:
        yield from (partial(transport.open_here, fs, wanted) for wanted in files)
        return
    from kmexport.storage.fetch.prefetch import fetch_ahead  # noqa: PLC0415  # asyncio takes longer to load than a local export

    if getattr(fs, "compression", None):  # a cache that unpacks: the sizes that are listed are those of packed files
        files = [FileRequest(wanted.name, wanted.path, None) for wanted in files]
    requests = 1 if transport.is_sequential else requests
    fetched = fetch_ahead(
        partial(transport.make_source, current, requests),
        files,
        budget=budget,
        requests=requests,
        silent_for=silent_for,
    )
    with closing(fetched):
        for file in fetched:
            yield lambda file=file: file  # type: ignore[misc]


def exclusive_access(fs: AbstractFileSystem) -> AbstractContextManager[object]:
    """Keep others from a filesystem that is not made for many threads, as long as the block runs."""
    return lock_for(fs) if _transport_of(fs).is_sequential else nullcontext()


# What makes the sources. Each imports its libraries only when it is called.


def _by_web(current: Current, _requests: int) -> Fetcher:
    from kmexport.storage.fetch.http import WebSource  # noqa: PLC0415

    return WebSource(current())


def _by_s3(current: Current, _requests: int) -> Fetcher:
    from kmexport.storage.fetch.ranges import S3Source  # noqa: PLC0415

    return S3Source(current())


def _by_ranges(current: Current, _requests: int) -> Fetcher:
    from kmexport.storage.fetch.ranges import RangeSource  # noqa: PLC0415

    return RangeSource(current())


def _by_thread(current: Current, requests: int, *, has_versions: bool = True) -> Fetcher:
    from kmexport.storage.fetch.threads import ThreadSource  # noqa: PLC0415

    fs = current()

    def open_file(path: str) -> Any:
        return open_exclusively(current(), path)

    def tell(path: str) -> tuple[Any, int | None]:
        fs = current()
        with exclusive_access(fs), noticing(fs):
            return version_and_size_at_once(without_cache(fs), path)

    has_versions = has_versions and not getattr(fs, "compression", None)
    return ThreadSource(open_file, requests, tell if has_versions else None, tries_within(without_cache(fs)))


@frozen
class _Transport:
    """A way to read files: with `open_here` each is opened in its turn, else `make_source` makes what fetches ahead."""

    open_here: Callable[[AbstractFileSystem, FileRequest], Any] | None = None
    make_source: MakeSource = _by_ranges
    is_sequential: bool = False  # one request at a time, however many loops read
    with_subclasses: bool = True


# Of a filesystem's classes, from the special to the general, the first that has a row.
_TRANSPORTS = {
    # Fetching them ahead would only hold memory. A subclass may keep its files anywhere.
    "fsspec.implementations.local.LocalFileSystem": _Transport(LocalFile, with_subclasses=False),
    "fsspec.implementations.memory.MemoryFileSystem": _Transport(open_in_memory, with_subclasses=False),
    # By coroutines on fsspec's loop: each file as one stream, or in parts.
    "fsspec.implementations.http.HTTPFileSystem": _Transport(make_source=_by_web),
    "s3fs.core.S3FileSystem": _Transport(make_source=_by_s3),
    "sshfs.spec.SSHFileSystem": _Transport(make_source=_by_thread, is_sequential=True),  # it knows no parts of files
    "fsspec.asyn.AsyncFileSystem": _Transport(make_source=_by_ranges),
    # One open file: what is packed in it does not change.
    "fsspec.archive.AbstractArchiveFileSystem": _Transport(
        make_source=partial(_by_thread, has_versions=False), is_sequential=True
    ),
    # Any other may have one connection and one list of its files, and no lock for them: FTP, SFTP, fsspec's caches.
    "fsspec.spec.AbstractFileSystem": _Transport(make_source=_by_thread, is_sequential=True),
}


def _transport_of(fs: AbstractFileSystem) -> _Transport:
    for kind in type(fs).__mro__:
        transport = _TRANSPORTS.get(f"{kind.__module__}.{kind.__qualname__}")
        if transport is not None and (transport.with_subclasses or kind is type(fs)):
            return transport
    return _TRANSPORTS["fsspec.spec.AbstractFileSystem"]
