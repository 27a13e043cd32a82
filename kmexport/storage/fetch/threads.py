"""Files of filesystems without coroutines: each call in a thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

from attrs import define

from kmexport.storage.faults import UnexpectedResponseError
from kmexport.storage.fetch.stream import READ_BYTES, STOPPED_WITHIN, File

__all__ = ["OpenFile", "ThreadSource"]

T = TypeVar("T")


class OpenFile(Protocol):
    """An open file of a filesystem."""

    def read(self, size: int, /) -> bytes: ...
    def seek(self, at: int, /) -> Any: ...
    def close(self) -> None: ...


class ThreadSource:
    """Any filesystem without coroutines: `open_file` opens a path.

    `tell` gives what is equal as long as a file is the same, and its size in bytes; None where the bytes of an open
    file can't change.
    """

    by_parts = False

    def __init__(
        self,
        open_file: Callable[[str], OpenFile],
        threads: int,
        tell: Callable[[str], tuple[Any, int | None]] | None = None,
        cost: int = 1,
    ) -> None:
        self.cost = cost
        self._open_file = open_file
        self._tell = tell
        self._workers = _Workers(threads)
        self._calls: dict[asyncio.Future[Any], float] = {}  # those that run, and when they began
        self.loop: asyncio.AbstractEventLoop = _own_loop()

    async def open(self, file: File, start: int, end: int | None) -> _ThreadBody:  # noqa: ARG002  # it has no parts
        # A small file comes in one piece, and so from one version.
        is_large = file.size is None or file.size > READ_BYTES
        tell = self._tell if is_large else None
        async with asyncio.timeout(file.patience.silent_for):
            version, size = await self.wait(self.start(tell, file.path)) if tell is not None else (None, None)
            opening = self.start(self._open_file, file.path)
            try:
                opened = await self.wait(opening)
            except asyncio.CancelledError:
                opening.add_done_callback(_close_what_was_opened)
                raise
        body = _ThreadBody(0, version, self, file.path, opened, tell)
        if file.size is None:
            body.size = size
        if start and version == file.version:
            await body.go_to(start)
        return body

    async def keeps_open(self, body: object) -> bool:  # noqa: ARG002
        return True

    def start(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        """Call a function in a thread. Nothing can stop it then."""
        return self._workers.start(work, *arguments)

    async def wait(self, running: Future[T]) -> T:
        """Wait for the result of a call. Cancelling this leaves the call running."""
        here = asyncio.wrap_future(running)
        self._calls[here] = time.monotonic()
        here.add_done_callback(self._calls.pop)
        return await asyncio.shield(here)

    async def drain(self) -> None:
        # What hangs since long will not end now.
        if young := [running for running, began in self._calls.items() if time.monotonic() - began < STOPPED_WITHIN]:
            await asyncio.wait(young, timeout=STOPPED_WITHIN)
        self._workers.stop()

    def close(self) -> None:
        with suppress(RuntimeError):  # it is closed already
            self.loop.call_soon_threadsafe(self.loop.stop)


@define(eq=False)
class _ThreadBody:
    at: int
    version: Any
    _source: ThreadSource
    _path: str
    _opened: OpenFile
    _tell: Callable[[str], tuple[Any, int | None]] | None
    end: int | None = None
    size: int | None = None  # one that grows is read to the size that was listed
    _running: Future[Any] | None = None

    async def go_to(self, at: int) -> None:
        with suppress(OSError, ValueError):  # it can't
            await self._call(self._opened.seek, at)
            self.at = at

    async def read(self, most: int) -> bytes:
        block: bytes = await self._call(self._opened.read, most)
        if self._tell is not None and block and (await self._call(self._tell, self._path))[0] != self.version:
            msg = "the file changed while it was read"
            raise UnexpectedResponseError(msg)  # the next try looks whether it has only grown
        return block

    async def close(self) -> None:
        if self._running is not None and not self._running.done():
            self._running.add_done_callback(lambda _: self._opened.close())  # it hangs
        else:
            await self._call(self._opened.close)

    async def _call(self, work: Callable[..., T], *arguments: Any) -> T:
        self._running = running = self._source.start(work, *arguments)
        return await self._source.wait(running)


class _Workers:
    """Threads that do not hold up the end of the program, as those of a ThreadPoolExecutor do when a read hangs."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._threads = 0
        self._calls: SimpleQueue[tuple[Future[Any], Any, tuple[Any, ...]] | None] = SimpleQueue()

    def start(self, work: Any, *arguments: Any) -> Future[Any]:
        """Call a function in the next thread that is free."""
        if self._threads < self._most:
            threading.Thread(target=self._work, name=f"kmexport-fetch-{self._threads + 1}", daemon=True).start()
            self._threads += 1  # only now: a system that is short of threads refuses one
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
                # A future can't hold a StopIteration, and anything but an Exception would end the loop.
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


def _close_what_was_opened(opening: Future[OpenFile]) -> None:
    if opening.exception() is None:
        opening.result().close()


def _own_loop() -> asyncio.AbstractEventLoop:
    """Start a loop in a thread of its own, until it is stopped."""

    def run() -> None:
        try:
            loop.run_forever()
        finally:
            loop.close()

    loop = asyncio.new_event_loop()
    threading.Thread(target=run, name="kmexport-loop", daemon=True).start()
    return loop
