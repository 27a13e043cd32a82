"""Revisions in groups of about equal bytes: for one commit, for one task, or for an executor's workers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from typing import Final, TypeVar

from attrs import evolve

from kmexport.revisions.manifest import Revision
from kmexport.revisions.reader import Links, ReadFile, ReadGroup, ReadOptions, read_links, read_revisions, set_size
from kmexport.storage.folder import Folder
from kmexport.storage.open_files import progress_bar

_T = TypeVar("_T")

_UNKNOWN_SIZE: Final = 4 << 20  # what a revision is taken for whose storage does not tell its size
_PACKED: Final = 8  # times as long is a revision when it is unpacked, about
_GROUPS_EACH: Final = 4  # for a worker, so that none waits long for the last one
# Measured: what comes of a group is about as large, and with two workers five of them wait in the caller's memory.
_GROUP_BYTES: Final = 8 << 20
_SMALLEST: Final = 16  # of the largest group: a smaller one costs more to hand out than it saves


def each_file(new_reader: Callable[[], ReadFile[_T]]) -> ReadGroup[_T]:
    """Read each file of a group by what `new_reader` makes, once for the group."""
    return partial(_read_each, new_reader)


def _read_each(
    new_reader: Callable[[], ReadFile[_T]], folder: Folder, revisions: Sequence[Revision], reading: ReadOptions
) -> Iterator[_T]:
    return read_revisions(folder, revisions, reading, new_reader())


def _link_reader() -> ReadFile[Links]:
    return read_links


LINKS: Final[ReadGroup[Links]] = each_file(_link_reader)  # the aliases of a group


def in_groups(revisions: Iterable[Revision], most_bytes: int) -> Iterator[list[Revision]]:
    """Group neighbours up to a number of bytes, or one revision alone; their order stays.

    >>> revisions = [Revision(n, f"revisions/{n}.json", size=40) for n in range(1, 6)]
    >>> [[revision.number for revision in group] for group in in_groups(revisions, 100)]
    [[1, 2], [3, 4], [5]]
    """
    group: list[Revision] = []
    held = 0
    for revision in revisions:
        size = _size(revision)
        if group and held + size > most_bytes:
            yield group
            group, held = [], 0
        group.append(revision)
        held += size
    if group:
        yield group


def _size(revision: Revision) -> int:
    size = _UNKNOWN_SIZE if revision.size is None else revision.size
    return size * _PACKED if revision.path.endswith(".gz") else size


def read_in_groups(
    folder: Folder,
    revisions: Sequence[Revision],
    reading: ReadOptions,
    read_group: ReadGroup[_T],
    group_bytes: int = _GROUP_BYTES,
) -> Generator[_T, None, None]:
    """Read revisions by `read_group`, in their order: by the executor of `reading`, in groups; without one here.

    Submits `reading.ahead` groups of at most `group_bytes` bytes at a time. When the generator is left, groups that no
    worker has begun are cancelled. Raises what reading raises, and ExecutorError where the executor fails.
    """
    if reading.executor is None:
        yield from read_group(folder, revisions, reading)
        return
    from kmexport.revisions.executing import count_workers, read_by_executor  # noqa: PLC0415  # it loads much

    workers = count_workers(reading.executor)
    enough = sum(map(_size, revisions)) // (workers * _GROUPS_EACH)
    groups = in_groups(revisions, min(max(enough, group_bytes // _SMALLEST), group_bytes))
    with progress_bar(reading.callback) as callback:
        set_size(callback, revisions)
        here = evolve(reading, callback=callback, ahead=reading.ahead or 2 * workers)
        yield from read_by_executor(folder, groups, here, read_group)
