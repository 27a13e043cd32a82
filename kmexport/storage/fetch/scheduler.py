"""The loop's half of fetching ahead: it decides which requests run, and keeps what they hold within the budget.

`_Scheduler` belongs to the event loop: all of it runs there. Other threads have a
`SchedulerClient`, which sends it messages.
Nothing else is shared but the futures that carry the results.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
from collections import deque
from collections.abc import Iterable
from concurrent.futures import CancelledError, Future, wait
from contextlib import suppress

from attrs import define, field, frozen

from kmexport.storage.fetch.stream import READ_BYTES, STOPPED_WITHIN, Fetcher, File, Stream

__all__ = ["FetchJob", "FirstBlocks", "SchedulerClient"]


@frozen(eq=False)
class FetchJob:
    """A stretch of a file to fetch, and the most bytes of it that are held before they are asked for."""

    number: int  # of the file, for the consumer
    file: File  # for the loop
    start: int
    end: int | None
    cost: int
    beginning: Future[FirstBlocks] = field(factory=Future)


@frozen(eq=False)
class FirstBlocks:
    """The first blocks of a job, or its failure."""

    blocks: deque[bytes]
    goes_on: bool  # whether more can be read of it
    is_whole_file: bool  # whether the file was replaced since it was listed, and all of it comes from this job


class SchedulerClient:
    """The client of a scheduler, which fetches jobs in their order, as budget and number of requests allow it."""

    def __init__(self, source: Fetcher, budget: int, requests: int) -> None:
        self._source = source
        self._loop = source.loop
        self._requests = _Scheduler(source, budget, requests)
        self._process = os.getpid()
        self._stopping: Future[None] | None = None
        _ALL.add(self)

    def submit(self, jobs: list[FetchJob], done: Iterable[FetchJob]) -> None:
        """Fetch these jobs, after earlier ones; and discard others, which were read or are not wanted any more."""
        if self._is_over:
            _cancel(jobs)
        else:
            self._loop.call_soon_threadsafe(self._requests.submit, jobs, done)

    def discard(self, jobs: list[FetchJob]) -> None:
        """Discard these; nothing takes their place before more are submitted."""
        if not self._is_over:
            self._loop.call_soon_threadsafe(self._requests.discard, jobs)

    def read_on(self, job: FetchJob, size: int) -> Future[bytes]:
        """Read the next bytes of a job whose beginning was read; none at its end."""
        if self._is_over:
            raise CancelledError
        return asyncio.run_coroutine_threadsafe(self._requests.read_on(job, size), self._loop)

    def stop(self) -> None:
        """Cancel all that runs, close all that is open, and wait for it for a moment."""
        stopping = self.begin_to_stop()
        with suppress(RuntimeError):
            if asyncio.get_running_loop() is self._loop:  # collected by chance in the loop's thread
                return
        if stopping is not None:
            wait([stopping], STOPPED_WITHIN)

    def begin_to_stop(self) -> Future[None] | None:
        """Stop without waiting; None where the loop is gone, or belongs to another process."""
        _ALL.discard(self)
        if sys.is_finalizing() or self._loop.is_closed() or self._process != os.getpid():
            return None
        if self._stopping is None:
            self._stopping = asyncio.run_coroutine_threadsafe(self._requests.stop(), self._loop)
            self._stopping.add_done_callback(lambda _: self._source.close())
        return self._stopping

    @property
    def _is_over(self) -> bool:
        """Tell whether it was stopped: at the end of the program, some readers are closed or read after that."""
        return self._stopping is not None or self._process != os.getpid()


class _Scheduler:
    """The jobs, as the loop knows them: those that wait, those that run, and what they hold."""

    def __init__(self, source: Fetcher, budget: int, requests: int) -> None:
        self._source = source
        self._budget = budget
        self._held = 0  # bytes of the budget
        self._free = asyncio.Semaphore(requests)
        self._waiting: deque[FetchJob] = deque()
        self._running: dict[FetchJob, _Running] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def submit(self, jobs: list[FetchJob], done: Iterable[FetchJob]) -> None:
        self.discard(done)
        self._waiting += jobs
        self._go_on()

    def discard(self, jobs: Iterable[FetchJob]) -> None:
        for job in jobs:
            running = self._running.pop(job, None)
            if running is None:
                self._waiting.remove(job)
                continue
            self._held -= running.cost
            if running.stream is not None or not running.task.done():
                ending = self._source.loop.create_task(_end(running))
                self._ending.add(ending)
                ending.add_done_callback(self._ending.discard)

    async def read_on(self, job: FetchJob, size: int) -> bytes:
        running = self._running.get(job)
        if running is None or running.stream is None:
            return b""  # it was discarded meanwhile
        block = await running.stream.read(size)
        await running.stream.pause()
        return block

    async def stop(self) -> None:
        _cancel(self._waiting)
        self._waiting.clear()
        self.discard(list(self._running))
        if self._ending:
            await asyncio.wait(self._ending, timeout=STOPPED_WITHIN)
        await self._source.drain()

    def _go_on(self) -> None:
        """Start what fits into the budget; one job in any case."""
        while self._waiting:
            job = self._waiting[0]
            if self._running and self._held + job.cost > self._budget:
                break
            self._waiting.popleft()
            self._held += job.cost
            self._running[job] = _Running(self._source.loop.create_task(self._run(job)), job.cost)

    async def _run(self, job: FetchJob) -> None:
        try:
            async with self._free:
                beginning = await self._fetch(job)
        except Exception as error:  # noqa: BLE001  # it is the consumer's
            job.beginning.set_exception(error)
        except BaseException:
            job.beginning.cancel()
            raise
        else:
            job.beginning.set_result(beginning)

    async def _fetch(self, job: FetchJob) -> FirstBlocks:
        """Fetch as much of a job as it may hold. What it does not need of that is for others."""
        running = self._running[job]
        running.stream = stream = Stream(self._source, job.file, job.start, job.end)
        blocks: deque[bytes] = deque()
        room = job.cost
        while not stream.is_at_end and (room or not blocks):
            block = await stream.read(min(room or READ_BYTES, READ_BYTES))
            blocks.append(block)
            room -= min(room, len(block))
        if stream.is_at_end:
            await stream.close()
            running.stream = None
            if room and job in self._running:
                running.cost -= room
                self._held -= room
                self._go_on()
        else:
            await stream.pause()
        return FirstBlocks(blocks, not stream.is_at_end, stream.is_whole_file)


@define(eq=False)
class _Running:
    """A job that was started; it stays until it is discarded: what came of it is held until then."""

    task: asyncio.Task[None]
    cost: int
    stream: Stream | None = None


def _cancel(jobs: Iterable[FetchJob]) -> None:
    """Cancel jobs that will never be started: nobody may wait for them."""
    for job in jobs:
        job.beginning.cancel()


async def _end(running: _Running) -> None:
    running.task.cancel()
    await asyncio.wait([running.task])
    if running.stream is not None:
        await running.stream.close()


# Those that run, for the end of the program: they are stopped together, and share one moment of waiting.
_ALL: set[SchedulerClient] = set()


@atexit.register
def _stop_all() -> None:
    if stopping := [one for fetcher in list(_ALL) if (one := fetcher.begin_to_stop()) is not None]:
        wait(stopping, STOPPED_WITHIN)
