"""Many files, fetched ahead on fsspec's event loop, in order, in bounded memory.

The consumer asks for bytes in its own thread; everything else happens on the loop. A file of known size on a
filesystem of coroutines is fetched in parts by range; any other is streamed, and its beginning is fetched ahead.
"""

from __future__ import annotations

import asyncio
import atexit
import io
import os
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from attrs import define, field

from kmexport.faults import tries_on_a_loop

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["FetchedFile", "ShortBodyError", "check_body", "fetch_ahead"]

PART_BYTES = 8 << 20  # one request of a large file; what is fetched twice when it breaks off
BLOCK_BYTES = 1 << 20  # one reading of what is passed over
LEAST_BYTES = 1 << 16  # of a part or a block, however small the budget
JOBS_PER_REQUEST = 8  # fetched or waiting, so that a small file need not wait for the consumer
STOPPED_WITHIN = 1.0  # seconds: a thread that hangs in a read is left behind after that
SILENT_FOR = 60.0  # seconds without a byte of a stream

T = TypeVar("T")


class ShortBodyError(OSError):
    """A file gave fewer bytes than its size says, or others than were asked for."""


def check_body(given: int, asked: int) -> None:
    """Raise ShortBodyError where a body has not the length that was announced.

    >>> check_body(10, 12)
    Traceback (most recent call last):
        ...
    kmexport.prefetch.ShortBodyError: 10 bytes came where 12 were announced
    """
    if given != asked:
        msg = f"{given:,} bytes came where {asked:,} were announced"
        raise ShortBodyError(msg)


def fetch_ahead(
    fs: AbstractFileSystem,
    files: Iterable[tuple[str, int | None]],
    *,
    budget: int,
    requests: int,
    opening: Callable[[str], Any] | None = None,
) -> Generator[FetchedFile, None, None]:
    """The files in their order, each while it is looked at; the next ones are fetched meanwhile.

    `files` are paths with the sizes in bytes that they had when they were listed, None where that is not known. At most
    `budget` bytes are held (but always 128 KiB), and `requests` requests run at a time. With `opening`, which opens
    a file for reading, nothing of the filesystem is used but that, in threads. Starts nothing before the first
    `next()`; closing the generator stops all that runs. Errors are those of the filesystem, or ShortBodyError, at the
    reading of the file they belong to.
    """
    files = list(files)
    ahead = _Ahead(fs, files, budget, requests, opening)
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
    stream: _Stream | None = None
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
        opening: Callable[[str], Any] | None,
    ) -> None:
        self._fs = fs
        self._opening = opening
        self._process = os.getpid()
        self._loop = fs.loop if opening is None else _own_loop()
        self._budget = budget
        self._requests = asyncio.Semaphore(requests)
        self._workers = None if opening is None else _Workers(requests)
        self._part_bytes = max(LEAST_BYTES, min(PART_BYTES, budget // 8))
        self._unknown_bytes = max(LEAST_BYTES, min(PART_BYTES, budget // requests))
        # The consumer's:
        self._most_jobs = JOBS_PER_REQUEST * requests
        self._planned = (job for number in range(len(files)) for job in self._jobs_of(number, *files[number]))
        self._next = next(self._planned, None)
        self._jobs: deque[_Job] = deque()
        # The loop's:
        self._waiting: deque[_Job] = deque()
        self._live: set[_Job] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._held = 0

    def hand_over(self) -> None:
        """The next jobs to the loop, which starts them when the budget allows it."""
        if self._process != os.getpid():
            msg = "the iterator was begun in another process: begin one in each"
            raise RuntimeError(msg)
        more = []
        while self._next is not None and len(self._jobs) < self._most_jobs:
            more.append(self._next)
            self._jobs.append(self._next)
            self._next = next(self._planned, None)
        self._loop.call_soon_threadsafe(self._take, more)

    def blocks_of(self, file: int) -> Generator[bytes, None, None]:
        """What a file consists of. Its turn must have come."""
        while self._jobs and self._jobs[0].file == file:
            job = self._jobs[0]
            blocks = job.blocks.result()
            while blocks:
                yield blocks.popleft()
            if job.stream is not None:
                # Two of them are held at a time.
                yield from self._rest_of(job.stream, job.cost // 2)
            self._loop.call_soon_threadsafe(self._drop, [self._jobs.popleft()])
            self.hand_over()

    def forget(self, file: int) -> None:
        """Drop the parts of a file that are not wanted any more; nothing takes their place before `hand_over`."""
        dropped = []
        while self._jobs and self._jobs[0].file == file:
            dropped.append(self._jobs.popleft())
        while self._next is not None and self._next.file == file:
            self._next = next(self._planned, None)
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

    def _rest_of(self, stream: _Stream, size: int) -> Iterator[bytes]:
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

    def _take(self, jobs: list[_Job]) -> None:
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
        async for attempt in tries_on_a_loop(self._fs):
            with attempt:
                body = await self._fs._cat_file(job.path, start=job.start, end=job.end)
                if job.start == 0:
                    body = body[: job.end]  # of a server that does not know ranges
                check_body(len(body), (job.end or 0) - job.start)
        return deque([body])

    async def _beginning(self, job: _Job) -> deque[bytes]:
        """As much of a stream as the job may hold. What it does not need of that is for others."""
        files: _Files = _CoroutineFiles(self._fs)
        if self._opening is not None and self._workers is not None:
            files = _ThreadFiles(self._opening, self._workers)
        job.stream = stream = _Stream(self._fs, files, job.path, job.end)
        blocks: deque[bytes] = deque()
        room = job.cost
        while not blocks or (room and not stream.is_at_end):
            block = await stream.read(room)
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


class _Stream:
    """One file from its beginning to its end; where a connection breaks off, it goes on behind the last byte."""

    def __init__(self, fs: AbstractFileSystem, files: _Files, path: str, size: int | None) -> None:
        self._fs = fs
        self._files = files
        self._path = path
        self._size = size
        self._at = 0
        self._file: Any = None
        self._in_use = asyncio.Lock()
        self.is_at_end = False

    async def read(self, most: int) -> bytes:
        async with self._in_use:
            if self.is_at_end:
                return b""
            if self._size is not None:
                most = min(most, self._size - self._at)
            async for attempt in tries_on_a_loop(self._fs):
                with attempt:
                    block = await self._try(most)
            self._at += len(block)
            self.is_at_end = not block or self._at == self._size
            return block

    async def close(self) -> None:
        async with self._in_use:
            await self._drop()

    async def _try(self, most: int) -> bytes:
        try:
            if self._file is None:
                self._file = await self._files.open(self._path, self._at)
            block = await self._files.read(self._file, most)
            if not block and self._size is not None:
                check_body(self._at, self._size)
        except BaseException:
            await self._drop()
            raise
        return block

    async def _drop(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            # What matters was read, or has failed already with a better error.
            with suppress(Exception):
                await self._files.close(file)


class _Files(Protocol):
    """How files are opened and read: by coroutines, or in threads."""

    async def open(self, path: str, at: int) -> Any: ...
    async def read(self, file: Any, most: int) -> bytes: ...
    async def close(self, file: Any) -> None: ...


class _CoroutineFiles:
    """Files of a filesystem of coroutines that does not tell sizes: a web server's."""

    def __init__(self, fs: AbstractFileSystem) -> None:
        self._fs = fs

    async def open(self, path: str, at: int) -> Any:
        # Any size will do: without one the server is asked for it, and it is not needed for reading to the end.
        file = await self._fs.open_async(path, "rb", size=0, **self._fs.kwargs)
        try:
            # From the beginning: not every server knows ranges, and one that does not shows it only in its answer.
            while at:
                at -= len(block := await self.read(file, min(at, BLOCK_BYTES)))
                if not block:
                    check_body(0, at)
        except BaseException:
            await self.close(file)
            raise
        return file

    async def read(self, file: Any, most: int) -> bytes:
        async with asyncio.timeout(SILENT_FOR):
            block: bytes = await file.read(most)
        return block

    async def close(self, file: Any) -> None:
        await file.close()


class _ThreadFiles:
    """Files of any other filesystem, each call in a thread. A call can't be stopped: cancelling waits for its end."""

    def __init__(self, opening: Callable[[str], Any], workers: _Workers) -> None:
        self._opening = opening
        self._workers = workers

    async def open(self, path: str, at: int) -> Any:
        file = await self._call(self._opening, path, undo=self.close)
        try:
            if at:
                await self._go_to(file, at)
        except BaseException:
            await self.close(file)
            raise
        return file

    async def read(self, file: Any, most: int) -> bytes:
        block: bytes = await self._call(file.read, most)
        return block

    async def close(self, file: Any) -> None:
        await self._call(file.close)

    async def _go_to(self, file: Any, at: int) -> None:
        try:
            await self._call(file.seek, at)
        except (OSError, ValueError):  # it can't
            while at:
                at -= len(block := await self.read(file, min(at, BLOCK_BYTES)))
                if not block:
                    check_body(0, at)

    async def _call(self, work: Any, *arguments: Any, undo: Callable[[Any], Awaitable[None]] | None = None) -> Any:
        running = asyncio.wrap_future(self._workers.start(work, *arguments))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            if running.exception() is None and undo is not None:
                await undo(running.result())
            raise


class _Workers:
    """Threads that do not hold up the end of the program, as those of a ThreadPoolExecutor do when a read hangs."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._threads = 0
        self._calls: SimpleQueue[tuple[Future[Any], Any, tuple[Any, ...]] | None] = SimpleQueue()

    def start(self, work: Any, *arguments: Any) -> Future[Any]:
        """Call it in the next thread that is free."""
        if self._threads < self._most:
            self._threads += 1
            threading.Thread(target=self._work, name=f"kmexport-fetch-{self._threads}", daemon=True).start()
        result: Future[Any] = Future()
        self._calls.put((result, work, arguments))
        return result

    def stop(self) -> None:
        """End each thread when it is free."""
        for _ in range(self._threads):
            self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            result, work, arguments = call
            try:
                done = work(*arguments)
            except StopIteration as error:  # a future can't hold it
                result.set_exception(_raised(error))
            except Exception as error:  # noqa: BLE001  # it is the caller's
                result.set_exception(error)
            except BaseException as error:  # noqa: BLE001  # it would end the loop
                result.set_exception(_raised(error))
            else:
                result.set_result(done)
            del call, result, arguments, work
            done = None


def _raised(error: BaseException) -> RuntimeError:
    unusual = RuntimeError(f"the filesystem raised {type(error).__name__}")
    unusual.__cause__ = error
    return unusual
