"""Many files, fetched ahead on fsspec's event loop, in order, in bounded memory.

The consumer asks for bytes in its own thread; everything else happens on the loop. A file of known size on a
filesystem of coroutines is fetched in parts by range; any other is streamed, and its beginning is fetched ahead.
"""

from __future__ import annotations

import asyncio
import atexit
import io
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from attrs import define

from kmexport.faults import tries_on_a_loop

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["FetchedFile", "ShortBodyError", "check_body", "fetch_ahead"]

PART_BYTES = 8 << 20  # one request of a large file; what is fetched twice when it breaks off
BLOCK_BYTES = 1 << 20  # one reading of a stream
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
    fs: AbstractFileSystem, files: Iterable[tuple[str, int | None]], *, budget: int, requests: int, streamed: bool
) -> Generator[FetchedFile, None, None]:
    """The files in their order, each while it is looked at; the next ones are fetched meanwhile.

    `files` are paths with the sizes in bytes that they had when they were listed, None where that is not known. At most
    `budget` bytes are held (but always 128 KiB), and `requests` requests run at a time. `streamed`: nothing
    but `fs.open` is used, in threads. Starts nothing before the first `next()`; closing the generator stops
    all that runs. Errors are those of the filesystem, or ShortBodyError, at the reading of the file they belong to.
    """
    files = list(files)
    ahead = _Ahead(fs, files, budget, requests, streamed=streamed)
    atexit.register(ahead.stop)
    try:
        for number in range(len(files)):
            ahead.top_up()
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
    """A part of a file, or the beginning of one that is streamed: the bytes that it may hold, and its result."""

    file: int
    path: str
    start: int
    end: int | None
    is_stream: bool
    cost: int
    result: Future[_Fetched] | None = None


@define
class _Fetched:
    """Bytes in blocks, and the stream that gives those behind them."""

    blocks: deque[bytes]
    rest: _Stream | None = None


class FetchedFile:
    """One file for reading. What was fetched of it is freed as it is read."""

    def __init__(self, ahead: _Ahead, number: int) -> None:
        self._ahead = ahead
        self._number = number
        self._blocks = self._fetched()
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

    def _fetched(self) -> Generator[bytes, None, None]:
        while (job := self._ahead.next_job(self._number)) is not None:
            found = job.result.result()  # type: ignore[union-attr]  # it was started
            while found.blocks:
                yield found.blocks.popleft()
            if found.rest is not None:
                yield from self._ahead.rest_of(found.rest)
            self._ahead.done(job)


class _Ahead:
    """Which parts are fetched when. All but the coroutines runs in the consumer's thread."""

    def __init__(
        self, fs: AbstractFileSystem, files: list[tuple[str, int | None]], budget: int, requests: int, *, streamed: bool
    ) -> None:
        from fsspec.asyn import get_loop  # noqa: PLC0415

        self._fs = fs
        self._loop: asyncio.AbstractEventLoop = get_loop() if streamed else fs.loop
        self._budget = budget
        self._requests = asyncio.Semaphore(requests)
        self._most_jobs = JOBS_PER_REQUEST * requests
        self._executor = ThreadPoolExecutor(requests, "kmexport-fetch") if streamed else None
        self._part_bytes = max(LEAST_BYTES, min(PART_BYTES, budget // 8))
        self._block_bytes = min(BLOCK_BYTES, self._part_bytes)
        self._unknown_bytes = max(LEAST_BYTES, min(PART_BYTES, budget // requests))
        self._planned = (job for number in range(len(files)) for job in self._jobs_of(number, *files[number]))
        self._next = next(self._planned, None)
        self._jobs: deque[_Job] = deque()
        self._held = 0
        self._freed: deque[int] = deque()  # filled on the loop
        self._tasks: set[asyncio.Task[_Fetched]] = set()
        self._streams: set[_Stream] = set()

    def top_up(self) -> None:
        """Start what fits into the budget; one job in any case."""
        while self._freed:
            self._held -= self._freed.popleft()
        while self._next is not None and len(self._jobs) < self._most_jobs:
            job = self._next
            if self._jobs and self._held + job.cost > self._budget:
                break
            job.result = self._start(self._run(job))
            self._held += job.cost
            self._jobs.append(job)
            self._next = next(self._planned, None)

    def next_job(self, file: int) -> _Job | None:
        """The next part of that file; None when there is no more."""
        self.top_up()
        return self._jobs[0] if self._jobs and self._jobs[0].file == file else None

    def done(self, job: _Job) -> None:
        """A part was read: its bytes are free."""
        self._jobs.popleft()
        self._held -= job.cost

    def forget(self, file: int) -> None:
        """Drop the parts of a file that are not wanted any more."""
        while self._jobs and self._jobs[0].file == file:
            job = self._jobs.popleft()
            self._held -= job.cost
            job.result.cancel()  # type: ignore[union-attr]  # it was started
        while self._next is not None and self._next.file == file:
            self._next = next(self._planned, None)
        for stream in [stream for stream in self._streams if stream.file_number == file]:
            self._start(self._finish(stream))

    def rest_of(self, stream: _Stream) -> Iterator[bytes]:
        """The blocks of a stream, one read ahead."""
        coming = self._start(stream.read(self._block_bytes))
        try:
            while block := coming.result():
                coming = self._start(stream.read(self._block_bytes))
                yield block
                del block
        finally:
            coming.cancel()
        self._start(self._finish(stream)).result()

    def stop(self) -> None:
        """Cancel all that runs, close all that is open, and wait for it for a moment."""
        for job in self._jobs:
            job.result.cancel()  # type: ignore[union-attr]  # it was started
        self._jobs.clear()
        self._next = None
        if sys.is_finalizing() or self._loop.is_closed():
            return
        stopped = self._start(self._stop())
        with suppress(RuntimeError):
            if asyncio.get_running_loop() is self._loop:  # collected by chance in the loop's thread
                return
        with suppress(TimeoutError):
            stopped.result(STOPPED_WITHIN)

    def _jobs_of(self, number: int, path: str, size: int | None) -> Iterator[_Job]:
        if size is None or self._executor is not None:
            held = self._unknown_bytes if size is None else min(size, self._part_bytes)
            yield _Job(number, path, 0, size, is_stream=True, cost=max(held, LEAST_BYTES))
            return
        for start in range(0, size, self._part_bytes):
            end = min(start + self._part_bytes, size)
            yield _Job(number, path, start, end, is_stream=False, cost=max(end - start, LEAST_BYTES))

    def _start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    # From here on everything runs on the loop.

    async def _run(self, job: _Job) -> _Fetched:
        task: asyncio.Task[_Fetched] = asyncio.current_task()  # type: ignore[assignment]  # it is one
        self._tasks.add(task)
        try:
            async with self._requests:
                return await (self._beginning(job) if job.is_stream else self._part(job))
        finally:
            self._tasks.discard(task)

    async def _part(self, job: _Job) -> _Fetched:
        async for attempt in tries_on_a_loop(self._fs):
            with attempt:
                body = await self._fs._cat_file(job.path, start=job.start, end=job.end)
                if job.start == 0:
                    body = body[: job.end]  # of a server that does not know ranges
                check_body(len(body), (job.end or 0) - job.start)
        return _Fetched(deque([body]))

    async def _beginning(self, job: _Job) -> _Fetched:
        files: _Files = _CoroutineFiles(self._fs) if self._executor is None else _ThreadFiles(self._fs, self._executor)
        stream = _Stream(self._fs, files, job.file, job.path, job.end)
        self._streams.add(stream)
        blocks: deque[bytes] = deque()
        room = job.cost
        while room > 0 and (block := await stream.read(min(room, self._block_bytes))):
            blocks.append(block)
            room -= len(block)
        if room > 0 or stream.is_at_end:
            await self._finish(stream)
            # The consumer's thread takes it off the job's cost; only when the job is small enough is there any.
            surplus = max(room - LEAST_BYTES, 0)
            job.cost -= surplus
            self._freed.append(surplus)
            return _Fetched(blocks)
        return _Fetched(blocks, stream)

    async def _finish(self, stream: _Stream) -> None:
        await stream.close()
        self._streams.discard(stream)

    async def _stop(self) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for stream in list(self._streams):
            await self._finish(stream)
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)


class _Stream:
    """One file from its beginning to its end; where a connection breaks off, it goes on behind the last byte."""

    def __init__(self, fs: AbstractFileSystem, files: _Files, file_number: int, path: str, size: int | None) -> None:
        self.file_number = file_number
        self._fs = fs
        self._files = files
        self._path = path
        self._size = size
        self._at = 0
        self._file: Any = None
        self._in_use = asyncio.Lock()

    @property
    def is_at_end(self) -> bool:
        return self._at == self._size

    async def read(self, most: int) -> bytes:
        async with self._in_use:
            if self._size is not None:
                most = min(most, self._size - self._at)
            if most == 0 and self._at:
                return b""
            async for attempt in tries_on_a_loop(self._fs):
                with attempt:
                    block = await self._try(most)
            self._at += len(block)
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
        # From the beginning: not every server knows ranges, and one that does not shows it only in its answer.
        while at:
            at -= len(block := await self.read(file, min(at, BLOCK_BYTES)))
            if not block:
                check_body(0, at)
        return file

    async def read(self, file: Any, most: int) -> bytes:
        async with asyncio.timeout(SILENT_FOR):
            block: bytes = await file.read(most)
        return block

    async def close(self, file: Any) -> None:
        await file.close()


class _ThreadFiles:
    """Files of any other filesystem, each call in a thread. A call can't be stopped: cancelling waits for its end."""

    def __init__(self, fs: AbstractFileSystem, executor: ThreadPoolExecutor) -> None:
        self._fs = fs
        self._executor = executor

    async def open(self, path: str, at: int) -> Any:
        file = await self._call(self._fs.open, path, "rb", undo=self.close)
        if at:
            await self._call(file.seek, at)
        return file

    async def read(self, file: Any, most: int) -> bytes:
        block: bytes = await self._call(file.read, most)
        return block

    async def close(self, file: Any) -> None:
        await self._call(file.close)

    async def _call(self, work: Any, *arguments: Any, undo: Callable[[Any], Awaitable[None]] | None = None) -> Any:
        running = asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            if running.exception() is None and undo is not None:
                await undo(running.result())
            raise
