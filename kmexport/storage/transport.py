"""How the files of a filesystem are fetched: one table, from its class to a way."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import frozen

from kmexport.errors import OtherProcessError
from kmexport.storage.athand import LocalFile, open_in_memory
from kmexport.storage.connections import Current, noticing
from kmexport.storage.layers import without_cache
from kmexport.storage.opening import lock_of, open_alone
from kmexport.storage.patience import tries_within
from kmexport.storage.versions import version_and_size_at_once
from kmexport.storage.wanted import Wanted

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from kmexport.storage.streams import Source

__all__ = ["alone", "openers"]

MakeSource: TypeAlias = "Callable[[Current, int], Source]"  # for so many requests at a time


def openers(
    current: Current, files: Sequence[Wanted], *, budget: int, requests: int, silent_for: float
) -> Generator[Callable[[], Any], None, None]:
    """For each file, in order, what opens it. Those that lie far away are fetched ahead, at most `budget` bytes.

    `current` gives the filesystem, one with a new connection after that of the last one broke.
    """
    fs = current()
    if vars(without_cache(fs)).get("_pid", os.getpid()) != os.getpid():  # only those of coroutines have it
        what = "the filesystem given as fs="
        raise OtherProcessError(what)
    way = _way_of(fs)
    if way.open_here is not None:
        yield from (partial(way.open_here, fs, wanted) for wanted in files)
        return
    from kmexport.storage.ahead import fetch_ahead  # noqa: PLC0415  # asyncio takes longer to load than a local export

    if getattr(fs, "compression", None):  # a cache that unpacks: the sizes that are listed are those of packed files
        files = [Wanted(wanted.name, wanted.path, None) for wanted in files]
    requests = 1 if way.is_alone else requests
    fetched = fetch_ahead(
        partial(way.make_source, current, requests), files, budget=budget, requests=requests, silent_for=silent_for
    )
    with closing(fetched):
        for file in fetched:
            yield lambda file=file: file  # type: ignore[misc]


def alone(fs: AbstractFileSystem) -> AbstractContextManager[object]:
    """Within it, nobody else reads a filesystem that is not made for many threads."""
    return lock_of(fs) if _way_of(fs).is_alone else nullcontext()


# What makes the sources. Each imports its libraries only when it is called.


def _by_web(current: Current, _requests: int) -> Source:
    from kmexport.storage.web import WebSource  # noqa: PLC0415

    return WebSource(current())


def _by_s3(current: Current, _requests: int) -> Source:
    from kmexport.storage.ranges import S3Source  # noqa: PLC0415

    return S3Source(current())


def _by_ranges(current: Current, _requests: int) -> Source:
    from kmexport.storage.ranges import RangeSource  # noqa: PLC0415

    return RangeSource(current())


def _by_thread(current: Current, requests: int, *, has_versions: bool = True) -> Source:
    from kmexport.storage.threads import ThreadSource  # noqa: PLC0415

    fs = current()

    def open_file(path: str) -> Any:
        return open_alone(current(), path)

    def tell(path: str) -> tuple[Any, int | None]:
        fs = current()
        with alone(fs), noticing(fs):
            return version_and_size_at_once(without_cache(fs), path)

    has_versions = has_versions and not getattr(fs, "compression", None)
    return ThreadSource(open_file, requests, tell if has_versions else None, tries_within(without_cache(fs)))


@frozen
class _Way:
    """How files are read: with `open_here` each is opened in its turn, else `make_source` makes what fetches ahead."""

    open_here: Callable[[AbstractFileSystem, Wanted], Any] | None = None
    make_source: MakeSource = _by_ranges
    is_alone: bool = False  # one request at a time, however many loops read
    with_subclasses: bool = True


# Of a filesystem's classes, from the special to the general, the first that has a row.
_WAYS = {
    # Fetching them ahead would only hold memory. A subclass may keep its files anywhere.
    "fsspec.implementations.local.LocalFileSystem": _Way(LocalFile, with_subclasses=False),
    "fsspec.implementations.memory.MemoryFileSystem": _Way(open_in_memory, with_subclasses=False),
    # By coroutines on fsspec's loop: each file as one stream, or in parts.
    "fsspec.implementations.http.HTTPFileSystem": _Way(make_source=_by_web),
    "s3fs.core.S3FileSystem": _Way(make_source=_by_s3),
    "sshfs.spec.SSHFileSystem": _Way(make_source=_by_thread, is_alone=True),  # it knows no parts of files
    "fsspec.asyn.AsyncFileSystem": _Way(make_source=_by_ranges),
    # One open file: what is packed in it does not change.
    "fsspec.archive.AbstractArchiveFileSystem": _Way(
        make_source=partial(_by_thread, has_versions=False), is_alone=True
    ),
    # Any other may have one connection and one list of its files, and no lock for them: FTP, SFTP, fsspec's caches.
    "fsspec.spec.AbstractFileSystem": _Way(make_source=_by_thread, is_alone=True),
}


def _way_of(fs: AbstractFileSystem) -> _Way:
    for kind in type(fs).__mro__:
        way = _WAYS.get(f"{kind.__module__}.{kind.__qualname__}")
        if way is not None and (way.with_subclasses or kind is type(fs)):
            return way
    return _WAYS["fsspec.spec.AbstractFileSystem"]
