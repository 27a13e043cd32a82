"""Files whose parts can be asked for: S3, and any other filesystem of coroutines."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from attrs import define

from kmexport.errors import RevisionChangedError
from kmexport.storage.faults import IncompleteReadError, UnexpectedResponseError, check_body
from kmexport.storage.fetch.stream import PART_BYTES, File
from kmexport.storage.filesystems import version_and_size
from kmexport.storage.retries import tries_of_botocore, tries_within

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["RangeSource", "S3Source"]

SLOWEST = 16 << 10  # bytes a second of one request


class _Coroutines:
    by_parts = True
    cost = 1

    def __init__(self, fs: AbstractFileSystem) -> None:
        self._fs = fs
        self.loop: Any = fs.loop

    async def keeps_open(self, body: object) -> bool:  # noqa: ARG002
        return False  # a connection is for others, and the next part is only a request away

    async def drain(self) -> None:
        pass

    def close(self) -> None:
        pass


class S3Source(_Coroutines):
    """S3. Each answer names the version and the whole size of the file that it is a part of."""

    async def open(self, file: File, start: int, end: int | None) -> _S3Body:
        bucket, key, version_id = self._fs.split_path(file.path)
        wanted = {"Bucket": bucket, "Key": key}
        if version_id:
            wanted["VersionId"] = version_id
        if end is not None:
            end = min(end, start + PART_BYTES)
            wanted["Range"] = f"bytes={start}-{end - 1}"
        return _S3Body.of(await self._get(file, wanted), start, end)

    async def _get(self, file: File, wanted: dict[str, str]) -> dict[str, Any]:
        """Ask once: s3fs would try five times, each time with all the tries of botocore, and wait for each."""
        from s3fs.errors import translate_boto_error  # noqa: PLC0415

        await self._fs.set_session()
        client = await self._fs.get_s3(wanted["Bucket"])
        file.patience.cost = tries_of_botocore(client.meta.config.retries or {})
        try:
            method = client.get_object
            async with asyncio.timeout(file.patience.silent_for):
                answer: dict[str, Any] = await method(**self._fs._get_s3_method_kwargs(method, **wanted))
        except Exception as error:
            if "InvalidRange" in str(error):
                raise RevisionChangedError(file.name, "it is shorter than it was") from error
            translated = translate_boto_error(error)
            if translated is error:  # its own cause it must not be: who walks along causes would never end
                raise
            raise translated from error
        return answer


@define(eq=False)
class _S3Body:
    at: int
    end: int | None
    size: int | None
    version: Any
    _content: Any
    _left: int | None

    @classmethod
    def of(cls, answer: dict[str, Any], start: int, end: int | None) -> _S3Body:
        content = answer["Body"]
        version = answer.get("ETag") or answer.get("LastModified")
        length: int | None = answer.get("ContentLength")
        try:
            if "ContentRange" not in answer:
                # The whole of it, asked for or not: not every server knows ranges.
                return cls(0, length, length, version, content, length)
            at, end_there, size = _parsed(answer["ContentRange"])
            expected = end if size is None or end is None else min(end, size)
            _check_part(answer, is_asked_for=(at, end_there) == (start, expected))
        except BaseException:
            content.close()
            raise
        return cls(at, end_there, size, version, content, end_there - at)

    async def read(self, most: int) -> bytes:
        block: bytes = await self._content.read(most)
        if self._left is not None:
            self._left -= len(block)
            if self._left < 0 or (self._left == 0 and block and await self._content.read(1)):
                msg = "more bytes came than were announced"
                raise IncompleteReadError(msg)
            if not block:
                check_body(-self._left, 0)
        return block

    async def close(self) -> None:
        self._content.close()


class RangeSource(_Coroutines):
    """Any other filesystem of coroutines. A part comes without its version, which takes a request of its own."""

    def __init__(self, fs: AbstractFileSystem) -> None:
        super().__init__(fs)
        self.cost: int = tries_within(fs)

    async def open(self, file: File, start: int, end: int | None) -> _Part:
        if end is None:
            _, file.size = await version_and_size(self._fs, file.path)
            end = file.size
        if end is None:
            return _Part.of(await self._cat(file, start, None), start, None, None, None)
        if start == 0 and end == file.size and end <= PART_BYTES:
            # One request gives one version. A byte more is asked for to see whether the file is longer by now.
            content = await self._cat(file, 0, end + 1)
            if len(content) <= end:
                return _Part.of(content, 0, end, None, None)
        end = min(end, start + PART_BYTES)
        if file.version is None:
            file.version, _ = await version_and_size(self._fs, file.path)
        content = await self._cat(file, start, end)
        version, size = await version_and_size(self._fs, file.path)
        return _Part.of(content, start, end, version, size)

    async def _cat(self, file: File, start: int, end: int | None) -> bytes:
        # It does not tell when bytes come. So slow links get their time, and what hangs still ends.
        seconds = file.patience.silent_for + ((end or 0) - start) / SLOWEST
        async with asyncio.timeout(None if end is None else seconds):
            content: bytes = await self._fs._cat_file(file.path, start=start, end=end)
        return content


@define(eq=False)
class _Part:
    at: int
    end: int | None
    size: int | None
    version: Any
    _content: bytes
    _given: int = 0

    @classmethod
    def of(cls, content: bytes, start: int, end: int | None, version: Any, size: int | None) -> _Part:
        if end is not None and len(content) > end - start:
            msg = "more came than the part that was asked for: the server does not know parts of files (Range)"
            raise UnexpectedResponseError(msg, may_pass=False)
        if end is not None:
            check_body(len(content), end - start)
        return cls(start, start + len(content), size, version, content)

    async def read(self, most: int) -> bytes:
        if not self._given and most >= len(self._content):
            self._given = len(self._content)
            return self._content
        block = self._content[self._given : self._given + most]
        self._given += len(block)
        return block

    async def close(self) -> None:
        self._content = b""


def _check_part(answer: dict[str, Any], *, is_asked_for: bool) -> None:
    if not is_asked_for:
        msg = f"the answer is the part {answer['ContentRange']!r}, and another one was asked for"
        raise UnexpectedResponseError(msg)


def _parsed(content_range: str) -> tuple[int, int, int | None]:
    """Parse start, end and the whole size of "bytes 0-9/100"."""
    unit, _, numbers = content_range.partition(" ")
    stretch, _, size = numbers.partition("/")
    start, _, last = stretch.partition("-")
    if unit != "bytes" or not (start.isdigit() and last.isdigit() and (size.isdigit() or size == "*")):
        msg = f"the answer is a part {content_range!r}"
        raise UnexpectedResponseError(msg)
    return int(start), int(last) + 1, None if size == "*" else int(size)
