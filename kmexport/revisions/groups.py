"""Revisions read in groups by an executor: what comes out is what one loop over all of them gives.

    revisions ──▶ groups ──▶ tasks, `ahead` of them submitted ──▶ a worker reads its group, and notes what happens:
                                                                  what was found, rejected lines, log records,
    the loop, on_error, counts, log, callback ◀── in order ◀────  lines counted, bytes read, the error at the end

The executor is the caller's: processes, threads, or a cluster.
"""

from __future__ import annotations

import copy
import logging
import os
import pickle
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from contextlib import contextmanager
from functools import partial
from itertools import islice
from logging.handlers import QueueHandler
from queue import SimpleQueue
from typing import Any, ClassVar, Final, Literal, Protocol, TypeAlias, TypeVar
from uuid import uuid4

from attrs import evolve, field, frozen

from kmexport.errors import ExecutorError
from kmexport.parsing.counts import LineCounts
from kmexport.parsing.selection import check_selection
from kmexport.revisions.manifest import Revision
from kmexport.revisions.reader import Links, ReadFile, ReadOptions, read_links, read_revisions
from kmexport.storage.credentials import can_show_one, shows_one
from kmexport.storage.folder import Folder
from kmexport.storage.open_files import progress_bar

__all__ = ["LINKS", "ReadGroup", "count_workers", "each_file", "in_groups", "read_in_groups"]

logger: logging.Logger = logging.getLogger("kmexport")

_T = TypeVar("_T")
_Found_co = TypeVar("_Found_co", covariant=True)

_UNKNOWN_SIZE: Final = 4 << 20  # what a revision is taken for whose storage does not tell its size
_PACKED: Final = 8  # times as long is a revision when it is unpacked, about
_GROUPS_EACH: Final = 4  # for a worker, so that none waits long for the last one
# Measured: what comes of a group is about as large, and with two workers five of them wait in the caller's memory.
_GROUP_BYTES: Final = 16 << 20
_SMALLEST: Final = 16  # of the largest group: a smaller one costs more to hand out than it saves


class ReadGroup(Protocol[_Found_co]):
    """A way to read revisions. It travels to the workers, so it is picklable; what it gives travels back."""

    def __call__(
        self, folder: Folder, revisions: Sequence[Revision], reading: ReadOptions, /
    ) -> Iterator[_Found_co]: ...


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
    workers = count_workers(reading.executor)
    enough = sum(map(_size, revisions)) // (workers * _GROUPS_EACH)
    groups = in_groups(revisions, min(max(enough, group_bytes // _SMALLEST), group_bytes))
    level, selection = logger.getEffectiveLevel(), reading.selection
    asked = None if selection is None else (selection.kinds, selection.names, selection.people)
    policy = "call" if callable(reading.on_error) else reading.on_error
    with progress_bar(reading.callback) as callback:
        sizes = [revision.size for revision in revisions if revision.size is not None]
        if callback is not None and len(sizes) == len(revisions):
            callback.set_size(sum(sizes))
        here = evolve(reading, callback=callback)
        tasks = (_Task(read_group, folder, group, policy, reading.max_line_bytes, asked, level) for group in groups)
        yield from _in_order(tasks, folder, here, reading.ahead or 2 * workers)


def _in_order(tasks: Iterator[_Task], folder: Folder, reading: ReadOptions, ahead: int) -> Generator[Any, None, None]:
    submitted: deque[Future[list[_Note]]] = deque()
    try:
        with _executor_errors(folder):
            submitted.extend(reading.executor.submit(task) for task in islice(tasks, ahead))  # type: ignore[union-attr]
        while submitted:
            with _executor_errors(folder):
                notes = deque(submitted[0].result())
                submitted.popleft()
                submitted.extend(reading.executor.submit(task) for task in islice(tasks, 1))  # type: ignore[union-attr]
            while notes:
                yield from _act(notes.popleft(), reading)
    finally:
        for future in submitted:
            future.cancel()


def _act(note: _Note, reading: ReadOptions) -> Iterator[Any]:
    """Do here what happened there."""
    if reading.counts is not None:
        reading.counts.add(note.counts)
    if reading.callback is not None and note.moved:
        reading.callback.relative_update(note.moved)  # type: ignore[union-attr]
    if note.kind == "found":
        yield note.what
    elif note.kind == "rejected":
        reading.on_error(note.what)  # type: ignore[operator]
    elif note.kind == "logged":
        logging.getLogger(note.what.name).handle(note.what)
    elif note.kind == "raised":
        raise note.what


_ADVICE: Final = {
    "a worker ended by itself": (
        "The system may have killed it, for want of memory or otherwise; and in a script, what starts processes has to "
        'stand under `if __name__ == "__main__":`'
    ),
    "it was shut down before all was read": "Give one that is open, and read inside its with statement",
    "a task did not reach a worker, or its result did not come back": (
        "Workers need the same kmexport, and what you give has to be picklable, as an address with storage options is; "
        "a ThreadPoolExecutor takes everything"
    ),
    "the export lies in the memory of this process, where no other one can read it": (
        "Give a ThreadPoolExecutor, or leave executor= out"
    ),
}
_ENDED, _SHUT_DOWN, _NOT_SENT, _PRIVATE = _ADVICE


@contextmanager
def _executor_errors(folder: Folder) -> Iterator[None]:
    """Raise what an executor raises as an ExecutorError, with the first error as the cause where it shows no secret."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  # executors are many, and each has its own
        text = str(error)
        reason = _NOT_SENT
        if isinstance(error, BrokenExecutor) or type(error).__name__ == "KilledWorker":  # the latter is Dask's
            reason = _ENDED
        elif isinstance(error, CancelledError) or "shutdown" in text or "closed" in text:
            reason = _SHUT_DOWN
        secrets = list(folder._secrets())
        is_safe = not can_show_one(error, secrets)
        words = type(error).__name__ if not text or shows_one(text, secrets) else f"{type(error).__name__}: {text}"
        ours = ExecutorError(f"{reason} ({words})", _ADVICE[reason])
        try:
            raise ours from error if is_safe else None
        finally:
            if not is_safe:
                ours.__context__ = None  # `from None` would only hide it


def count_workers(executor: Executor) -> int:
    """Return how many tasks it does at a time, where it tells; else the number of cores of this machine."""
    count = getattr(executor, "_max_workers", None)
    nthreads = getattr(getattr(executor, "_client", None), "nthreads", None)  # of a cluster of Dask
    if callable(nthreads):
        count = sum(nthreads().values())
    return count if isinstance(count, int) and count > 0 else os.cpu_count() or 1


# On a worker.

_Selection: TypeAlias = tuple[Any, Any, Any] | None
_HERE: Final = uuid4().hex  # of this process, or of that which it was forked from


def _this_process() -> tuple[str, int]:
    return _HERE, os.getpid()


@frozen
class _Note:
    """Something that happened as a group was read; and how many lines were counted, and bytes read, since the last."""

    kind: Literal["found", "rejected", "logged", "raised", "ended"]
    what: Any
    counts: LineCounts
    moved: int


@frozen
class _Task:
    """The reading of one group. It holds the folder, so credentials: nothing of that is shown."""

    __name__: ClassVar[str] = "kmexport-revisions"  # Dask's dashboard calls it so

    read_group: ReadGroup[Any] = field(repr=False)
    folder: Folder = field(repr=False)
    revisions: list[Revision]
    policy: str
    max_line_bytes: int
    selection: _Selection
    level: int
    submitter: tuple[str, int] = field(factory=_this_process)
    token: str = field(factory=lambda: uuid4().hex)

    def __dask_tokenize__(self) -> str:
        """Return what stands in a key of Dask: no digest of credentials."""
        return self.token

    def __call__(self) -> list[_Note]:
        notes = _Notes()
        is_elsewhere = self.submitter != _this_process()
        on_error: Any = partial(notes.add, "rejected") if self.policy == "call" else self.policy
        selection = None if self.selection is None else check_selection(*self.selection)
        reading = ReadOptions(on_error, notes.progress, notes.counts, self.max_line_bytes, selection)
        with _log_records(partial(notes.add, "logged"), self.level if is_elsewhere else None):
            try:
                if is_elsewhere:
                    _check_shared(self.folder)
                for found in self.read_group(self.folder, self.revisions, reading):
                    notes.add("found", found)
            except Exception as error:  # noqa: BLE001  # whatever it is, the caller raises it
                notes.add("raised", _picklable(error) if is_elsewhere else error)
        notes.add("ended", None)
        return notes.notes


def _check_shared(folder: Folder) -> None:
    if folder.is_private:
        raise ExecutorError(_PRIVATE, _ADVICE[_PRIVATE])


class _Notes:
    """The notes of one task, while it runs."""

    def __init__(self) -> None:
        self.notes: list[_Note] = []
        self.counts: LineCounts = LineCounts()
        from fsspec.callbacks import Callback  # noqa: PLC0415  # fsspec is loaded where files are opened

        self.progress: Callback = Callback()
        self._told = LineCounts()
        self._told_bytes = 0

    def add(self, kind: Any, what: object) -> None:
        counts, moved = evolve(self.counts), self.progress.value
        self.notes.append(_Note(kind, what, counts.since(self._told), moved - self._told_bytes))
        self._told, self._told_bytes = counts, moved


def _picklable(error: Exception) -> Exception:
    try:
        pickle.dumps(error)
        copy.copy(error)  # it is made again in the same way when it is unpickled
    except Exception:  # noqa: BLE001  # what another library's error does there can't be known
        return RuntimeError(f"{type(error).__name__} in a worker")
    return error


# Where log records of a thread go; of what libraries log on threads of their own, those of the newest task.
_takers: Final[dict[int, Callable[[logging.LogRecord], None]]] = {}
_takers_lock: Final = threading.Lock()
_level_before: int = logging.NOTSET


class _Taking(logging.Filter):
    """Takes the log records of tasks out of the log of the process that runs them."""

    is_elsewhere = False

    def filter(self, record: logging.LogRecord) -> bool:
        own = _takers.get(threading.get_ident())
        for take in [own] if own is not None else list(_takers.values())[-1:] if self.is_elsewhere else []:
            take(_prepare(record))
            return False
        return True


_taking: Final = _Taking()
_prepare: Final = QueueHandler(SimpleQueue()).prepare  # gives the text, for arguments may not be picklable


@contextmanager
def _log_records(take: Callable[[logging.LogRecord], None], level: int | None) -> Iterator[None]:
    """Give `take` what is logged by this thread. In another process than the caller's, `level` is the caller's."""
    global _level_before  # noqa: PLW0603  # it belongs to the logger: a process has one
    thread = threading.get_ident()
    with _takers_lock:
        if not _takers:
            _level_before = logger.level
            logger.addFilter(_taking)
        _takers[thread] = take
        _taking.is_elsewhere = level is not None
        if level is not None:
            logger.setLevel(level)
    try:
        yield
    finally:
        with _takers_lock:
            del _takers[thread]
            if not _takers:
                logger.removeFilter(_taking)
                if level is not None:
                    logger.setLevel(_level_before)
