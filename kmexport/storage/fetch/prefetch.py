"""The consumer's half of fetching ahead: which files are wanted in which order, and what was fetched of them.

An `_Ahead` belongs to the thread that reads. It plans jobs, and hands them to the loop through a `SchedulerClient`.
"""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence

from kmexport.errors import OtherProcessError
from kmexport.storage.fetch.scheduler import FetchJob, SchedulerClient
from kmexport.storage.fetch.stream import PART_BYTES, READ_BYTES, Fetcher, File
from kmexport.storage.limits import SILENT_FOR
from kmexport.storage.open_files import FileRequest
from kmexport.storage.retries import RetryBudget

__all__ = ["FetchedFile", "fetch_ahead"]

LEAST_BYTES = 1 << 16  # of a part or a block, however small the budget
FIRST_JOBS = 4  # who wants one record only need not fetch a whole export
GROWTH = 4  # times as many after each job that was read
JOBS_PER_REQUEST = 8  # fetched or waiting, so that a small file need not wait for the consumer


def fetch_ahead(
    make_source: Callable[[], Fetcher],
    files: Sequence[FileRequest],
    *,
    budget: int,
    requests: int,
    silent_for: float = SILENT_FOR,
) -> Generator[FetchedFile, None, None]:
    """Yield the files in their order, each to be read before the next; the next ones are fetched meanwhile.

    At most `budget` bytes are held (but always 128 KiB), and `requests` requests run at a time. A file may be silent
    for `silent_for` seconds. Starts nothing before the first `next()`; closing the generator stops all that runs.
    Errors are raised at the reading of the file they belong to: those of the filesystem, UnexpectedResponseError, or
    RevisionChangedError.
    """
    source = make_source()
    ahead = _Ahead(SchedulerClient(source, budget, requests), JOBS_PER_REQUEST * requests)
    ahead.plan(_jobs_of(files, source, budget, requests, silent_for))
    try:
        for number in range(len(files)):
            ahead.submit()
            file = FetchedFile(ahead, number)
            try:
                yield file
            finally:
                file.close()
    finally:
        ahead.stop()


class FetchedFile:
    """A file for reading. What was fetched of it is freed as it is read."""

    def __init__(self, ahead: _Ahead, number: int) -> None:
        self._ahead = ahead
        self._number = number
        self._blocks = ahead.blocks_of(number)
        self._block = io.BytesIO()
        self._is_closed = False

    def read(self, size: int, /) -> bytes:
        """Read the next bytes, at most `size`; none at the end of the file."""
        while not (part := self._block.read(size)):
            self._block = io.BytesIO()  # frees its bytes, which the next ones may take the place of
            if self._is_closed:
                msg = "the file is closed, or reading it has failed"
                raise ValueError(msg)
            try:
                block = next(self._blocks, None)
            except BaseException:
                self._is_closed = True  # what follows an error is never the end of the file
                raise
            if block is None:
                return b""
            self._block = io.BytesIO(block)
        return part

    def close(self) -> None:
        """Discard what was fetched of it and not read."""
        self._is_closed = True
        self._blocks.close()
        self._block = io.BytesIO()
        self._ahead.discard(self._number)


class _Ahead:
    """The jobs that were planned or submitted, and not read yet."""

    def __init__(self, fetcher: SchedulerClient, most_jobs: int) -> None:
        self._fetcher = fetcher
        self._process = os.getpid()
        self._most_jobs = most_jobs
        self._jobs_now = min(FIRST_JOBS, most_jobs)
        self._planned: Iterator[FetchJob] = iter(())
        self._next: FetchJob | None = None
        self._jobs: deque[FetchJob] = deque()
        self._has_discarded = False

    def plan(self, jobs: Iterator[FetchJob]) -> None:
        self._planned = jobs
        self._next = next(jobs, None)

    def submit(self, done: FetchJob | None = None) -> None:
        """Submit the next jobs to the loop, which starts them when the budget allows it. `done` was read."""
        self._check_process()
        more = []
        while self._next is not None and len(self._jobs) < self._jobs_now:
            more.append(self._next)
            self._jobs.append(self._next)
            self._next = next(self._planned, None)
        # Each message costs a change between threads.
        if more or done is not None or self._has_discarded:
            self._has_discarded = False
            self._fetcher.submit(more, [] if done is None else [done])

    def blocks_of(self, number: int) -> Generator[bytes, None, None]:
        """Yield the blocks of a file. Its turn must have come."""
        while self._jobs and self._jobs[0].number == number:
            self._check_process()
            job = self._jobs[0]
            beginning = job.beginning.result()
            while beginning.blocks:
                yield beginning.blocks.popleft()
            if beginning.goes_on:
                # Two of them are held at a time.
                yield from self._rest_of(job, min(READ_BYTES, max(1, job.cost // 2)))
            if beginning.is_whole_file:
                self.discard(number)  # the other parts are of another version
            else:
                self._jobs_now = min(self._jobs_now * GROWTH, self._most_jobs)
                self.submit(self._jobs.popleft())

    def discard(self, number: int) -> None:
        """Discard the parts of a file that are not wanted any more; nothing takes their place before `submit`."""
        discarded = []
        while self._jobs and self._jobs[0].number == number:
            discarded.append(self._jobs.popleft())
        while self._next is not None and self._next.number == number:
            self._next = next(self._planned, None)
        if discarded:
            self._has_discarded = True
            self._fetcher.discard(discarded)

    def stop(self) -> None:
        self._jobs.clear()
        self._next = None
        self._fetcher.stop()

    def _rest_of(self, job: FetchJob, size: int) -> Iterator[bytes]:
        """Yield the blocks after the beginning, one read ahead."""
        coming = self._fetcher.read_on(job, size)
        try:
            while block := coming.result():
                self._check_process()
                coming = self._fetcher.read_on(job, size)
                yield block
                del block
                self._check_process()
        finally:
            coming.cancel()

    def _check_process(self) -> None:
        if self._process != os.getpid():
            what = "the iterator"
            raise OtherProcessError(what)


def _jobs_of(
    files: Sequence[FileRequest], source: Fetcher, budget: int, requests: int, silent_for: float
) -> Iterator[FetchJob]:
    """Plan the stretches in which files are fetched: parts where that is possible, otherwise each as one stream."""
    part_bytes = max(LEAST_BYTES, min(PART_BYTES, budget // 8))
    unknown_bytes = max(LEAST_BYTES, min(PART_BYTES, budget // requests))
    for number, wanted in enumerate(files):
        size = wanted.size
        patience = RetryBudget(wanted.name, silent_for=silent_for, cost=source.cost)
        file = File(wanted.name, wanted.path, size, patience)
        if size is None or not source.by_parts:
            yield FetchJob(number, file, 0, size, unknown_bytes if size is None else min(size, part_bytes))
            continue
        for start in range(0, size, part_bytes):
            end = min(start + part_bytes, size)
            yield FetchJob(number, file, start, end, end - start)
