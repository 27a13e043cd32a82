"""Groups of revisions read by an executor: what comes out is what one loop over all of them gives.

    groups ──▶ tasks, `ahead` of them submitted ──▶ a worker reads its group, and notes what happens:
                                                    what was found, rejected lines, log records,
    the loop, on_error, counts, log, callback ◀──   lines counted, bytes read, the error at the end

The notes are taken in the order of the groups. The executor is the caller's: processes, threads, or a cluster. A worker
in another process on the same machine leaves its notes in a file: a pipe takes them in pieces of 64 KiB, and that cost
3 ms of a core for each megabyte; the file costs 0.7.
"""

from __future__ import annotations

import copy
import logging
import os
import pickle
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from logging.handlers import QueueHandler
from pathlib import Path
from queue import SimpleQueue
from typing import Any, ClassVar, Final, Literal, TypeAlias, TypeVar
from uuid import uuid4

from attrs import evolve, field, frozen
from fsspec.callbacks import Callback

from kmexport.errors import ExecutorError
from kmexport.parsing.counts import LineCounts
from kmexport.parsing.selection import check_selection
from kmexport.revisions.manifest import Revision
from kmexport.revisions.reader import ReadGroup, ReadOptions
from kmexport.storage.credentials import can_show_one, shows_one
from kmexport.storage.folder import Folder

logger: logging.Logger = logging.getLogger("kmexport")

_T = TypeVar("_T")


def read_by_executor(
    folder: Folder, groups: Iterator[list[Revision]], reading: ReadOptions, read_group: ReadGroup[_T]
) -> Generator[_T, None, None]:
    """Give what the groups give, in their order; `reading.ahead` of them are submitted at a time."""
    policy = "call" if callable(reading.on_error) else reading.on_error
    level, selection = logger.getEffectiveLevel(), reading.selection
    asked = None if selection is None else (selection.kinds, selection.names, selection.people)
    shared = _new_shared_folder()
    tasks = (_Task(read_group, folder, group, policy, reading.max_line_bytes, asked, level, shared) for group in groups)
    futures = (_submit(reading.executor, task, folder) for task in tasks)
    submitted: deque[Future[list[_Note] | _NotesFile]] = deque()
    try:
        for future in islice(futures, reading.ahead):
            submitted.append(future)  # each at once, so that those before one that fails are cancelled
        while submitted:
            with _executor_errors(folder):
                found = submitted[0].result()
                notes = deque(found.take() if isinstance(found, _NotesFile) else found)
            submitted.popleft()
            submitted.extend(islice(futures, 1))
            while notes:
                yield from _act(notes.popleft(), reading)
    finally:
        for future in submitted:
            future.cancel()
        if shared is not None:
            _remove(shared)


def _new_shared_folder() -> str | None:
    """Make a folder that only this user may open; None where the system has no place for one."""
    with suppress(OSError):
        return tempfile.mkdtemp(prefix="kmexport-")
    return None


def _remove(shared: str) -> None:
    """Remove the folder, while workers still write there: under another name none of them finds it."""
    hidden = f"{shared}.gone"
    with suppress(OSError):
        Path(shared).rename(hidden)
    for path in (hidden, shared):
        shutil.rmtree(path, ignore_errors=True)


def _submit(executor: Any, task: _Task, folder: Folder) -> Future[list[_Note] | _NotesFile]:
    with _executor_errors(folder):
        future = executor.submit(task)
    if not (callable(getattr(future, "result", None)) and callable(getattr(future, "cancel", None))):
        given = "None" if future is None else type(future).__name__
        msg = f"submit() of an executor returns a Future, and that of {type(executor).__name__} returned {given}"
        raise TypeError(msg)
    return future  # type: ignore[no-any-return]


def _act(note: _Note, reading: ReadOptions) -> Iterator[Any]:
    """Replay a worker's note here: counts, progress, log, on_error, what was found, or the error."""
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
        ours = ExecutorError(f"{reason} ({type(error).__name__}{_words(text, secrets)})", _ADVICE[reason])
        try:
            raise ours from error if is_safe else None
        finally:
            if not is_safe:
                ours.__context__ = None  # `from None` would only hide it


def _words(text: str, secrets: list[str]) -> str:
    """Return what an error says, behind a colon; nothing where that can show a credential."""
    return "" if not text or shows_one(text, secrets) else f": {text}"


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
class _NotesFile:
    """A file with the notes of a task."""

    path: Path

    def take(self) -> list[_Note]:
        with self.path.open("rb") as file:
            notes: list[_Note] = pickle.load(file)  # noqa: S301  # no other user may write there
        with suppress(OSError):
            self.path.unlink()
        return notes


def _leave(notes: list[_Note], shared: str | None) -> _NotesFile | None:
    """Write notes into the caller's folder; None where it is on another machine, or has no room."""
    if shared is None:
        return None
    path = Path(shared, uuid4().hex)
    try:
        with path.open("xb") as file:
            pickle.dump(notes, file, protocol=5)  # which copies no column
    except OSError:
        with suppress(OSError):
            path.unlink()
        return None
    return _NotesFile(path)


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
    shared: str | None
    submitter: tuple[str, int] = field(factory=_this_process)
    token: str = field(factory=lambda: uuid4().hex)

    def __dask_tokenize__(self) -> str:
        """Return what stands in a key of Dask: no digest of credentials."""
        return self.token

    def __call__(self) -> list[_Note] | _NotesFile:
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
                notes.add("raised", _picklable(error, self.folder) if is_elsewhere else error)
        notes.add("ended", None)
        return (_leave(notes.notes, self.shared) if is_elsewhere else None) or notes.notes


def _check_shared(folder: Folder) -> None:
    if folder.is_private:
        raise ExecutorError(_PRIVATE, _ADVICE[_PRIVATE])


class _Notes:
    """The notes of one task, while it runs."""

    def __init__(self) -> None:
        self.notes: list[_Note] = []
        self.counts: LineCounts = LineCounts()
        self.progress: Callback = Callback()
        self._told = LineCounts()
        self._told_bytes = 0

    def add(self, kind: Any, what: object) -> None:
        counts, moved = evolve(self.counts), self.progress.value
        self.notes.append(_Note(kind, what, counts.since(self._told), moved - self._told_bytes))
        self._told, self._told_bytes = counts, moved


def _picklable(error: Exception, folder: Folder) -> Exception:
    try:
        pickle.dumps(error)
        copy.copy(error)  # it is made again in the same way when it is unpickled
    except Exception:  # noqa: BLE001  # what another library's error does there can't be known
        return RuntimeError(f"{type(error).__name__} in a worker{_words(str(error), list(folder._secrets()))}")
    return error


# Where log records of a thread go; of what libraries log on threads of their own, those of the newest task.
_takers: Final[dict[int, Callable[[logging.LogRecord], None]]] = {}
_takers_lock: Final = threading.Lock()
_level_before: int = logging.NOTSET


class _Taking(logging.Filter):
    """Takes the log records of tasks out of the log of the process that runs them."""

    is_elsewhere = False

    def filter(self, record: logging.LogRecord) -> bool:
        take = _takers.get(threading.get_ident())
        if take is None and self.is_elsewhere:
            take = next(iter(list(_takers.values())[-1:]), None)
        if take is None:
            return True
        take(_prepare(record))
        return False


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
