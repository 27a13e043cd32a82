"""One file from its beginning to its end, by coroutines or in threads; where a connection breaks off, it goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from kmexport.storage.faults import check_body, retrying_async

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["BLOCK_BYTES", "CoroutineFiles", "Files", "Stream", "ThreadFiles", "Workers"]

BLOCK_BYTES = 1 << 20  # one reading: a filesystem may hold it twice while it is read
SILENT_FOR = 60.0  # seconds without a byte of a stream


class Stream:
    """One file from its beginning to its end; where a connection breaks off, it goes on behind the last byte."""

    def __init__(self, fs: AbstractFileSystem, files: Files, path: str, size: int | None) -> None:
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
            async for attempt in retrying_async(self._fs):
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
                self._file = await self._files.open(self._path)
                if self._at:
                    await self._files.go_to(self._file, self._at)
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


class Files(Protocol):
    """How files are opened and read: by coroutines, or in threads."""

    async def open(self, path: str) -> Any: ...
    async def go_to(self, file: Any, at: int) -> None: ...
    async def read(self, file: Any, most: int) -> bytes: ...
    async def close(self, file: Any) -> None: ...


class CoroutineFiles:
    """Files of a filesystem of coroutines that does not tell sizes: a web server's."""

    def __init__(self, fs: AbstractFileSystem) -> None:
        self._fs = fs

    async def open(self, path: str) -> Any:
        # Any size will do: without one the server is asked for it, and it is not needed for reading to the end.
        return await self._fs.open_async(path, "rb", size=0, **self._fs.kwargs)

    async def go_to(self, file: Any, at: int) -> None:
        # From the beginning: not every server knows ranges, and one that does not shows it only in its answer.
        await _read_over(self, file, at)

    async def read(self, file: Any, most: int) -> bytes:
        async with asyncio.timeout(SILENT_FOR):
            block: bytes = await file.read(most)
        return block

    async def close(self, file: Any) -> None:
        await file.close()


class ThreadFiles:
    """Files of any other filesystem, each call in a thread. A call can't be stopped: cancelling waits for its end."""

    def __init__(self, open_file: Callable[[str], Any], workers: Workers) -> None:
        self._open_file = open_file
        self._workers = workers

    async def open(self, path: str) -> Any:
        return await self._call(self._open_file, path, undo=self.close)

    async def go_to(self, file: Any, at: int) -> None:
        try:
            await self._call(file.seek, at)
        except (OSError, ValueError):  # it can't
            await _read_over(self, file, at)

    async def read(self, file: Any, most: int) -> bytes:
        block: bytes = await self._call(file.read, most)
        return block

    async def close(self, file: Any) -> None:
        await self._call(file.close)

    async def _call(self, work: Any, *arguments: Any, undo: Callable[[Any], Awaitable[None]] | None = None) -> Any:
        running = asyncio.wrap_future(self._workers.start(work, *arguments))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            if running.exception() is None and undo is not None:
                await undo(running.result())
            raise


async def _read_over(files: Files, file: Any, at: int) -> None:
    """Read the beginning of a file for nothing."""
    while at:
        at -= len(block := await files.read(file, min(at, BLOCK_BYTES)))
        if not block:
            check_body(0, at)


class Workers:
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
            except BaseException as error:  # noqa: BLE001  # it is the caller's
                # A future can't hold a StopIteration, and what is no Exception would end the loop.
                is_usual = isinstance(error, Exception) and not isinstance(error, StopIteration)
                result.set_exception(error if is_usual else _raised(error))
            else:
                result.set_result(done)
            del call, result, arguments, work
            done = None


def _raised(error: BaseException) -> RuntimeError:
    unusual = RuntimeError(f"the filesystem raised {type(error).__name__}")
    unusual.__cause__ = error
    return unusual
