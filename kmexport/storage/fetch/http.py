"""Files of a web server: one request each, as long as its connection holds."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import define, frozen

from kmexport.storage.faults import UnexpectedResponseError
from kmexport.storage.fetch.stream import File

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession, ClientTimeout
    from fsspec import AbstractFileSystem

__all__ = ["WebSource"]

# The bodies of each session that keep a connection while they wait for their reader.
_WAITING: weakref.WeakKeyDictionary[ClientSession, set[_WebBody]] = weakref.WeakKeyDictionary()


class WebSource:
    """A web server."""

    by_parts = False
    cost = 1

    def __init__(self, fs: AbstractFileSystem) -> None:
        self._fs = fs
        self.loop: Any = fs.loop

    async def open(self, file: File, start: int, end: int | None) -> _WebBody:  # noqa: ARG002  # it has no parts
        body = await self._ask(file, start)
        if body.size == 0 and not start:
            # Ask once more: an answer may have lost its body, but hardly twice.
            await body.close()
            body = await self._ask(file, start)
        return body

    async def keeps_open(self, body: _WebBody) -> bool:
        """Keep a body open, but never all of a session: a reader who waits for a connection would wait for ever."""
        session: ClientSession = await self._fs.set_session()
        connector = session.connector
        limits = [limit for limit in (connector.limit, connector.limit_per_host) if limit] if connector else []
        waiting = _WAITING.setdefault(session, set())
        waiting.add(body)
        return not limits or len(waiting) < min(limits)

    async def drain(self) -> None:
        pass

    def close(self) -> None:
        pass

    async def _ask(self, file: File, start: int) -> _WebBody:
        session = await self._fs.set_session()
        options = {**self._fs.kwargs}
        headers = {**(options.pop("headers", None) or {})}
        version: _Version | None = file.version
        has_range = bool(start and version and version.is_exact)
        if version and has_range:
            # A server that does not know ranges, or has another version by now, answers with the whole file.
            headers |= {"Range": f"bytes={start}-", "If-Range": version.etag}
        options["timeout"] = _without_total(options.get("timeout") or session.timeout, file.patience.request_silent_for)
        answer = await session.get(self._fs.encode_url(file.path), headers=headers, **options)
        try:
            self._fs._raise_not_found_for_status(answer, file.path)
            return _WebBody.of(answer, start if has_range else 0)
        except BaseException:
            answer.close()
            raise


@frozen(eq=False)
class _Version:
    """The version of a file, as a web server names it. Two that have nothing in common count as equal."""

    etag: str | None
    modified: str | None
    is_packed: bool  # on its way, so that its length says nothing of the file

    @property
    def is_exact(self) -> bool:
        """Tell whether the same ETag means the same bytes."""
        return self.etag is not None and not self.etag.startswith("W/") and not self.is_packed

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Version):
            return NotImplemented
        if self.etag is not None and other.etag is not None:
            return self.etag == other.etag
        return self.modified is None or other.modified is None or self.modified == other.modified

    __hash__: ClassVar[None] = None  # type: ignore[assignment]


@define(eq=False)
class _WebBody:
    at: int
    size: int | None
    version: _Version
    _answer: ClientResponse
    _has_begun: bool = False
    end: int | None = None

    @classmethod
    def of(cls, answer: ClientResponse, asked: int) -> _WebBody:
        """Make the body of an answer to a request for a file from `asked` on."""
        headers = answer.headers
        is_packed = headers.get("Content-Encoding", "identity").lower() not in ("", "identity")
        version = _Version(headers.get("ETag"), headers.get("Last-Modified"), is_packed)
        if answer.status == 200:
            return cls(0, None if is_packed else answer.content_length, version, answer)
        part = headers.get("Content-Range", "")
        if answer.status != 206 or not asked or not part.startswith(f"bytes {asked}-"):
            of_part = f" ({part})" if part else ""
            msg = f"the answer has the status {answer.status}{of_part} where a file was asked for"
            raise UnexpectedResponseError(msg)
        size = part.rpartition("/")[2]
        return cls(asked, int(size) if size.isdigit() else None, version, answer)

    async def read(self, most: int) -> bytes:
        for waiting in _WAITING.values():
            waiting.discard(self)
        block = await self._answer.content.read(most)
        self._has_begun = self._has_begun or bool(block)
        if not self._has_begun and self.size is None:
            msg = "an empty answer came where a file was asked for"
            raise UnexpectedResponseError(msg)
        return block

    async def close(self) -> None:
        for waiting in _WAITING.values():
            waiting.discard(self)
        self._answer.close()


def _without_total(settings: Any, silent_for: float) -> ClientTimeout:
    """Return the user's time-outs, but without a total: that would count the pauses of the reader too."""
    from aiohttp import ClientTimeout  # noqa: PLC0415

    if not isinstance(settings, ClientTimeout):
        settings = ClientTimeout(sock_read=settings)
    return ClientTimeout(
        total=None,
        connect=settings.connect,
        sock_connect=settings.sock_connect,
        sock_read=min(silent_for, settings.sock_read or silent_for),
    )
