"""Many files, fetched ahead, in order, in bounded memory.

The consumer asks for bytes in its own thread; everything else happens on an event loop: fsspec's, or one of its own
where files are read in threads. A file of known size on a filesystem of coroutines is fetched in parts by range; any
other is streamed, and its beginning is fetched ahead.
"""

from __future__ import annotations

import asyncio
import atexit
import io
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define, field

from kmexport.storage.faults import check_body, retrying_async
from kmexport.storage.streams import BLOCK_BYTES, CoroutineFiles, Files, Stream, ThreadFiles, Workers

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["FetchedFile", "fetch_ahead"]

PART_BYTES = 8 << 20  # one request of a large file; what is fetched twice when it breaks off
LEAST_BYTES = 1 << 16  # of a part or a block, however small the budget
JOBS_PER_REQUEST = 8  # fetched or waiting, so that a small file need not wait for the consumer
STOPPED_WITHIN = 1.0  # seconds: a thread that hangs in a read is left behind after that

T = TypeVar("T")


def fetch_ahead(
    fs: AbstractFileSystem,
    files: Iterable[tuple[str, int | None]],
    *,
    budget: int,
    requests: int,
    open_file: Callable[[str], Any] | None = None,
) -> Generator[FetchedFile, None, None]:
    """The files in their order, each while it is looked at; the next ones are fetched meanwhile.

    `files` are paths with the sizes in bytes that they had when they were listed, None where that is not known. At most
    `budget` bytes are held (but always 128 KiB), and `requests` requests run at a time. With `open_file`, which opens
    a file for reading, nothing of the filesystem is used but that, in threads. Starts nothing before the first
    `next()`; closing the generator stops all that runs. Errors are those of the filesystem, or ShortBodyError, at the
    reading of the file they belong to.
    """
    files = list(files)
    ahead = _Ahead(fs, files, budget, requests, open_file)
    atexit.register(ahead.stop)
    try:
        for number in range(len(files)):
            ahead.hand_over()
            file = FetchedFile(ahead, number)
            try:
                yield file
            finally:
                file.close()
    finally:
        ahead.stop()
        atexit.unregister(ahead.stop)


@define(eq=False)
class _Job:
    """A part of a file, or the beginning of one that is streamed: the bytes that it may hold, and what came of it."""

    file: int
    path: str
    start: int
    end: int | None
    is_stream: bool
    cost: int
    blocks: Future[deque[bytes]] = field(factory=Future)
    # The rest belongs to the loop; the stream, too, but for its `read`, once the blocks have come.
    task: asyncio.Task[None] | None = None
    stream: Stream | None = None
    is_wanted: bool = True


class FetchedFile:
    """One file for reading. What was fetched of it is freed as it is read."""

    def __init__(self, ahead: _Ahead, number: int) -> None:
        self._ahead = ahead
        self._number = number
        self._blocks = ahead.blocks_of(number)
        self._block = io.BytesIO()
        self._is_closed = False

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most `size`; none at the end of the file."""
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
        """Let go of what was fetched of it and not read."""
        self._is_closed = True
        self._blocks.close()
        self._block = io.BytesIO()
        self._ahead.forget(self._number)


class _Ahead:
    """Which parts are fetched when.

    The consumer's thread hands jobs over, waits for their blocks, and says which it has read; whatever else there is
    belongs to the loop, which counts the bytes and runs the jobs.
    """

    def __init__(
        self,
        fs: AbstractFileSystem,
        files: list[tuple[str, int | None]],
        budget: int,
        requests: int,
        open_file: Callable[[str], Any] | None,
    ) -> None:
        self._fs = fs
        self._process = os.getpid()
        self._workers: Workers | None = None
        if open_file is None:
            self._loop: asyncio.AbstractEventLoop = fs.loop
            self._files: Files = CoroutineFiles(fs)
        else:
            self._loop = _own_loop()
            self._workers = Workers(requests)
            self._files = ThreadFiles(open_file, self._workers)
        self._budget = budget
        self._requests = asyncio.Semaphore(requests)
        self._part_bytes = max(LEAST_BYTES, min(PART_BYTES, budget // 8))
        self._unknown_bytes = max(LEAST_BYTES, min(PART_BYTES, budget // requests))
        # The consumer's:
        self._most_jobs = JOBS_PER_REQUEST * requests
        self._planned = (job for number in range(len(files)) for job in self._jobs_of(number, *files[number]))
        self._next = next(self._planned, None)
        self._jobs: deque[_Job] = deque()
        self._has_dropped = False
        # The loop's:
        self._waiting: deque[_Job] = deque()
        self._live: set[_Job] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._held = 0

    def hand_over(self, read: _Job | None = None) -> None:
        """The next jobs to the loop, which starts them when the budget allows it, and one whose blocks were read."""
        if self._process != os.getpid():
            msg = "the iterator was begun in another process: begin one in each"
            raise RuntimeError(msg)
        more = []
        while self._next is not None and len(self._jobs) < self._most_jobs:
            more.append(self._next)
            self._jobs.append(self._next)
            self._next = next(self._planned, None)
        # Each message costs a change between threads.
        if more or read is not None or self._has_dropped:
            self._has_dropped = False
            self._loop.call_soon_threadsafe(self._take, more, read)

    def blocks_of(self, file: int) -> Generator[bytes, None, None]:
        """What a file consists of. Its turn must have come."""
        while self._jobs and self._jobs[0].file == file:
            job = self._jobs[0]
            blocks = job.blocks.result()
            while blocks:
                yield blocks.popleft()
            if job.stream is not None:
                # Two of them are held at a time.
                yield from self._rest_of(job.stream, min(BLOCK_BYTES, job.cost // 2))
            self.hand_over(self._jobs.popleft())

    def forget(self, file: int) -> None:
        """Drop the parts of a file that are not wanted any more; nothing takes their place before `hand_over`."""
        dropped = []
        while self._jobs and self._jobs[0].file == file:
            dropped.append(self._jobs.popleft())
        while self._next is not None and self._next.file == file:
            self._next = next(self._planned, None)
        if dropped:
            self._has_dropped = True
            self._loop.call_soon_threadsafe(self._drop, dropped)

    def stop(self) -> None:
        """Cancel all that runs, close all that is open, and wait for it for a moment."""
        self._jobs.clear()
        self._next = None
        if sys.is_finalizing() or self._loop.is_closed() or self._process != os.getpid():
            return
        stopped = self._start(self._stop())
        if self._workers is not None:
            stopped.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._loop.stop))
        with suppress(RuntimeError):
            if asyncio.get_running_loop() is self._loop:  # collected by chance in the loop's thread
                return
        with suppress(TimeoutError):
            stopped.result(STOPPED_WITHIN)

    def _jobs_of(self, number: int, path: str, size: int | None) -> Iterator[_Job]:
        if size is None or self._workers is not None:
            most = self._unknown_bytes if size is None else min(size, self._part_bytes)
            yield _Job(number, path, 0, size, is_stream=True, cost=most)
            return
        for start in range(0, size, self._part_bytes):
            end = min(start + self._part_bytes, size)
            yield _Job(number, path, start, end, is_stream=False, cost=end - start)

    def _rest_of(self, stream: Stream, size: int) -> Iterator[bytes]:
        """The blocks of a stream, one read ahead."""
        coming = self._start(stream.read(size))
        try:
            while block := coming.result():
                coming = self._start(stream.read(size))
                yield block
                del block
        finally:
            coming.cancel()

    def _start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    # From here on everything runs on the loop.

    def _take(self, jobs: list[_Job], read: _Job | None) -> None:
        if read is not None:
            self._drop([read])
        self._waiting += jobs
        self._go_on()

    def _go_on(self) -> None:
        """Start what fits into the budget; one job in any case."""
        while self._waiting:
            job = self._waiting[0]
            if job.is_wanted and self._live and self._held + job.cost > self._budget:
                break
            self._waiting.popleft()
            if job.is_wanted:
                self._live.add(job)
                self._held += job.cost
                job.task = self._loop.create_task(self._run(job))

    def _drop(self, jobs: Iterable[_Job]) -> None:
        for job in jobs:
            job.is_wanted = False
            if job in self._live:
                self._live.remove(job)
                self._held -= job.cost
                if job.stream is not None or not job.task.done():  # type: ignore[union-attr]  # a live one has a task
                    ending = self._loop.create_task(self._end(job))
                    self._ending.add(ending)
                    ending.add_done_callback(self._ending.discard)

    async def _end(self, job: _Job) -> None:
        task: asyncio.Task[None] = job.task  # type: ignore[assignment]  # it is live
        task.cancel()
        await asyncio.wait([task])
        if job.stream is not None:
            await job.stream.close()

    async def _stop(self) -> None:
        self._waiting.clear()
        self._drop(list(self._live))
        if self._ending:
            await asyncio.wait(self._ending)
        if self._workers is not None:
            self._workers.stop()

    async def _run(self, job: _Job) -> None:
        try:
            async with self._requests:
                blocks = await (self._beginning(job) if job.is_stream else self._part(job))
        except Exception as error:  # noqa: BLE001  # it is the consumer's
            job.blocks.set_exception(error)
        except BaseException:
            job.blocks.cancel()
            raise
        else:
            job.blocks.set_result(blocks)

    async def _part(self, job: _Job) -> deque[bytes]:
        async for attempt in retrying_async(self._fs):
            with attempt:
                body = await self._fs._cat_file(job.path, start=job.start, end=job.end)
                if job.start == 0:
                    body = body[: job.end]  # of a server that does not know ranges
                check_body(len(body), (job.end or 0) - job.start)
        return deque([body])

    async def _beginning(self, job: _Job) -> deque[bytes]:
        """As much of a stream as the job may hold. What it does not need of that is for others."""
        job.stream = stream = Stream(self._fs, self._files, job.path, job.end)
        blocks: deque[bytes] = deque()
        room = job.cost
        while not blocks or (room and not stream.is_at_end):
            block = await stream.read(min(room, BLOCK_BYTES))
            blocks.append(block)
            room -= len(block)
        if stream.is_at_end:
            await stream.close()
            job.stream = None
            if job in self._live:
                job.cost -= room
                self._held -= room
                self._go_on()
        return blocks


def _own_loop() -> asyncio.AbstractEventLoop:
    """A loop in a thread of its own, until it is stopped."""

    def run() -> None:
        try:
            loop.run_forever()
        finally:
            loop.close()

    loop = asyncio.new_event_loop()
    threading.Thread(target=run, name="kmexport-loop", daemon=True).start()
    return loop
