"""A stretch of one file, from its start to its end. Where a connection breaks, it goes on after the last byte.

All bytes of a file come from one version of it. Where parts can be asked for, each answer names its version, and a
new version is an error. Elsewhere a file that may have changed is read again from its start: the same has to come.
"""

from __future__ import annotations

import asyncio
import zlib
from contextlib import nullcontext, suppress
from typing import Any, Protocol

from attrs import define, field

from kmexport.errors import RevisionChangedError
from kmexport.storage.faults import IncompleteReadError, check_body
from kmexport.storage.retries import RetryBudget

__all__ = ["PART_BYTES", "READ_BYTES", "STOPPED_WITHIN", "Body", "Fetcher", "File", "Stream"]

READ_BYTES = 1 << 20  # one reading: a filesystem may hold it twice while it is read
PART_BYTES = 8 << 20  # one request of a large file, at most
STOPPED_WITHIN = 1.0  # seconds: what still hangs then is left alone


@define(eq=False)
class File:
    """A file that is fetched, as the loop knows it: what its parts have in common."""

    name: str
    path: str
    size: int | None  # in bytes as it was listed, and then as the storage says
    patience: RetryBudget
    version: Any = None  # as the storage names it; None before the first answer, or always
    one_by_one: asyncio.Lock = field(factory=asyncio.Lock)  # while requests for it fail, one is made at a time


class Body(Protocol):
    """An answer of a storage: the bytes of one version of a file, from a place on."""

    at: int  # where it begins: at the place that was asked for, or at 0
    end: int | None  # where it ends; None where the storage does not say so before
    size: int | None  # of the whole file; None where that is not known, or the file may grow while it is read
    version: Any  # None where the storage names none

    async def read(self, most: int, /) -> bytes:
        """Read the next bytes, at most `most`; none at its end."""
        ...

    async def close(self) -> None: ...


class Fetcher(Protocol):
    """One way to fetch files."""

    loop: asyncio.AbstractEventLoop
    by_parts: bool  # whether parts of one file are asked for at the same time
    cost: int  # of an error: the tries that the filesystem has made before it raised it

    async def open(self, file: File, start: int, end: int | None) -> Body:
        """Ask for a file from `start` on, and to `end` where parts can be asked for.

        A body that begins at 0 instead may be of another version.
        """

    async def keeps_open(self, body: Any) -> bool:
        """Tell whether a body stays open while nobody reads it."""

    async def drain(self) -> None:
        """Wait for what runs, for a moment."""

    def close(self) -> None:
        """Give back threads and loop. Nothing is asked of it any more."""


class Stream:
    """The bytes of a file from `start` to `end` (None: to its end), all of one version of it."""

    def __init__(self, source: Fetcher, file: File, start: int, end: int | None) -> None:
        self._source = source
        self._file = file
        self._at = start
        self._end = end
        self._body: Body | None = None
        self._sum = 0  # of the bytes that came, where it may have to be compared with what comes again
        self._in_use = asyncio.Lock()
        self.is_at_end: bool = start == end
        # The file was replaced after its parts were planned: this stream gives all of the new version, and the streams
        # of the other parts are not needed.
        self.is_whole_file: bool = False

    async def read(self, most: int) -> bytes:
        async with self._in_use:
            if self.is_at_end:
                return b""
            async for attempt in self._file.patience.retrying_async():
                with attempt:
                    block = await self._try(most, is_again=attempt.retry_state.attempt_number > 1)
            self._file.patience.heard(len(block))
            if not self._source.by_parts:  # else each body begins where it was asked to
                self._sum = zlib.crc32(block, self._sum)
            self._at += len(block)
            self.is_at_end = not block or self._at == self._end
            if self.is_at_end:
                await self._drop()
            return block

    async def pause(self) -> None:
        """Let go of what need not stay open while nobody reads it."""
        async with self._in_use:
            if self._body is not None and not await self._source.keeps_open(self._body):
                await self._drop()

    async def close(self) -> None:
        async with self._in_use:
            await self._drop()

    async def _try(self, most: int, *, is_again: bool) -> bytes:
        async with self._file.one_by_one if is_again else nullcontext():
            patience = self._file.patience
            if is_again and patience.is_spent and patience.last_error is not None:
                raise patience.last_error  # another part has used the last try
            try:
                return await self._next_block(most)
            except BaseException:
                await self._drop()
                raise

    async def _next_block(self, most: int) -> bytes:
        if self._body is not None and self._body.end == self._at:
            await self._drop()  # it was a part, and the file goes on
        body = self._body or await self._open()
        if self._end is not None:
            most = min(most, self._end - self._at)
        if not most:
            return b""
        block = await self._read(body, most)
        if not block and self._end is not None:
            check_body(self._at, self._end)
        return block

    async def _open(self) -> Body:
        self._body = body = await self._source.open(self._file, self._at, self._end)
        comes_again = body.at < self._at and not self._source.by_parts
        if self._at and not comes_again:
            self._check_version(body)
        elif self._is_shorter(body):
            raise RevisionChangedError(self._file.name, f"it had {self._file.size:,} bytes and has {body.size:,} now")
        if body.at < self._at:
            await self._read_over(body, is_compared=comes_again)
        if not self._at or comes_again:
            # Only now: what failed while it was read over has to be compared once more.
            self._take_version(body)
        return body

    def _is_shorter(self, body: Body) -> bool:
        return body.size is not None and self._file.size is not None and body.size < self._file.size

    def _take_version(self, body: Body) -> None:
        """Go by the version that is there now: nothing came of the file yet, or the same came again."""
        file = self._file
        if file.version is not None and file.version != body.version:
            self.is_whole_file = True
        file.version = body.version
        if body.size is None:
            return
        if file.size is not None and body.size > file.size:
            self.is_whole_file = True
        file.size = body.size
        if self._end is None or self.is_whole_file:
            self._end = body.size

    def _check_version(self, body: Body) -> None:
        file = self._file
        if file.version is None:
            file.version = body.version
        is_other = body.version is not None and body.version != file.version
        if is_other or (body.size is not None and file.size is not None and body.size != file.size):
            raise RevisionChangedError(file.name, "another version of it came while it was read")

    async def _read_over(self, body: Body, *, is_compared: bool) -> None:
        """Pass over what came before, and compare it."""
        at, seen = body.at, 0
        while at < self._at:
            block = await self._read(body, min(self._at - at, READ_BYTES))
            if not block:
                check_body(at, self._at)
            at += len(block)
            seen = zlib.crc32(block, seen)
        if is_compared and seen != self._sum:
            raise RevisionChangedError(self._file.name, "its beginning is another than before")

    async def _read(self, body: Body, most: int) -> bytes:
        async with asyncio.timeout(self._file.patience.request_silent_for):
            block = await body.read(most)
        if len(block) > most:
            msg = f"{len(block):,} bytes came where at most {most:,} were asked for"
            raise IncompleteReadError(msg)
        return block

    async def _drop(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            # What matters was read, or has failed already with a better error. Closing may hang as reading may.
            with suppress(Exception):
                async with asyncio.timeout(self._file.patience.request_silent_for):
                    await body.close()
