"""A proxy on loopback that slows requests down, counts them, and breaks those that a plan names."""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import struct
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from attrs import define, field, frozen, validators

from tests.support.servers import STARTED_WITHIN, STOPPED_WITHIN, ended

PLANS = {
    # The connection, while a body is on its way:
    "reset": "the connection is reset",
    "short": "the connection is closed in good order, before the announced end",
    "stall": "nothing more comes for a while, then the connection is closed",
    "drip": "the body comes in small pieces, with pauses",
    # Answers that say what is wrong:
    "400": "the credentials have expired",
    "401": "no credentials",
    "403": "access is denied",
    "404": "the file is not there",
    "416": "the range can't be had",
    "429": "too many requests",
    "500": "the server failed",
    "503": "the client has to slow down",
    "redirect": "to a page to log in, which answers 200",
    "loop": "a redirect to the same address, for ever",
    # Answers that look like success, each with a length that fits:
    "204": "no content",
    "empty": "an empty body",
    "error": "an error of S3, as XML with the status 200",
    "html": "a page of HTML without links",
    "json": "an object of JSON",
    "text": "a line of text",
    "shorter": "the beginning of the body, announced as the whole",
    "longer": "the body and its last bytes once more",
    "whole": "all of the file where a part was asked for",
    "other part": "a part that was not asked for, as its Content-Range says",
    # And the file itself:
    "replaced": "the body breaks off, and from then on the file is another one of the same length",
}
"""What an unusual server can do to an answer, by name."""

READ_BYTES = 1 << 18  # what asyncio takes from a socket at a time
BREAKING_OFF = ("reset", "short", "stall", "drip", "replaced")
DRIPS = 10  # pieces of a body that drips
DRIP = 0.05  # seconds between two of them
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 seconds


@frozen
class Fault:
    """What happens to one answer: the name of one of PLANS.

    What breaks off does so when the part `after` (0 to 1) of its body is sent, and never after the whole; an answer
    without a body fails before its head is sent. For "whole" and "replaced" the proxy needs the files (`files=`).
    """

    kind: str = field(validator=validators.in_(PLANS))
    after: float = 0.5


@define
class Proxy:
    """Where a proxy answers, and what went through it: every request, the bytes to clients, the faults."""

    endpoint: str = ""
    requests: list[tuple[str, str]] = field(factory=list)
    bytes_down: int = 0
    faults: Counter[str] = field(factory=Counter)
    replaced: set[str] = field(factory=set)  # paths of files that are others now


@frozen
class ProxyProcess:
    """A proxy in a process of its own."""

    endpoint: str

    def counts(self) -> dict[str, int]:
        """How many requests and bytes went through since the last reset."""
        counts: dict[str, int] = json.loads(self._ask("/__counts__"))
        return counts

    def reset(self) -> None:
        """Count from zero again."""
        self._ask("/__reset__")

    def _ask(self, path: str) -> bytes:
        with urllib.request.urlopen(f"{self.endpoint}{path}", timeout=STOPPED_WITHIN) as answer:
            content: bytes = answer.read()
            return content


@contextmanager
def proxied(
    upstream: str,
    *,
    delay: float = 0.0,
    plan: Callable[[str, str], Fault | None] | None = None,
    stall: float = 3.0,
    files: Path | None = None,
) -> Iterator[Proxy]:
    """A proxy before the server `upstream`, in a thread of its own; it is gone when the block ends.

    Each request waits `delay` seconds before it is sent on. `plan(method, path)` is called once a request, in the
    thread of the proxy, and returns what shall happen to it. A stalled answer is silent for `stall` seconds. `files`
    is the folder that the server serves.
    """
    host, _, port = upstream.removeprefix("http://").rstrip("/").partition(":")
    proxy = Proxy()
    passing = _Passing(proxy, host, int(port), delay, plan or _no_fault, stall, files)
    started: Future[Callable[[], object]] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(passing.serve(started)), name="proxy", daemon=True)
    thread.start()
    stop = started.result(STARTED_WITHIN)
    try:
        yield proxy
    finally:
        stop()
        thread.join(STOPPED_WITHIN)


@contextmanager
def proxied_process(upstream: str, delay: float = 0.0) -> Iterator[ProxyProcess]:
    """The same in a process of its own, so that its work is not counted as the client's."""
    command = [sys.executable, "-m", "tests.support.proxies", "--upstream", upstream, "--delay", str(delay)]
    with (
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2], text=True
        ) as process,
        ended(process),
    ):
        assert process.stdout is not None
        endpoint = process.stdout.readline().strip()
        if not endpoint:
            msg = f"the proxy ended at once, with code {process.wait(STOPPED_WITHIN)}"
            raise RuntimeError(msg)
        yield ProxyProcess(endpoint)


def _no_fault(method: str, path: str) -> Fault | None:
    return None


@define
class _Passing:
    """The work of a proxy, on its own event loop."""

    proxy: Proxy
    host: str
    port: int
    delay: float
    plan: Callable[[str, str], Fault | None]
    stall: float
    files: Path | None
    clients: dict[asyncio.Task[None], asyncio.StreamWriter] = field(factory=dict)

    async def serve(self, started: Future[Callable[[], object]]) -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=READ_BYTES)
        self.proxy.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started.set_result(lambda: loop.call_soon_threadsafe(stopped.set))
        await stopped.wait()
        server.close()
        clients = dict(self.clients)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        for writer in clients.values():
            writer.transport.abort()  # one that was accepted last was cancelled before it began, and closed nothing
        await asyncio.sleep(0)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = asyncio.create_task(self._serve_client(reader, writer))
        self.clients[client] = writer
        client.add_done_callback(self.clients.pop)

    async def _serve_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A drain then waits until all is sent, so that a fault comes after the bytes before it.
        writer.transport.set_write_buffer_limits(0)
        upstream = _Upstream(self.host, self.port)
        try:
            while await self._answer_one(reader, writer, upstream):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass  # One side went away; that its connection closes tells the other side.
        except asyncio.CancelledError:
            writer.transport.abort()  # what waits to be sent would keep it open
            raise
        finally:
            upstream.close()
            writer.close()

    async def _answer_one(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: _Upstream
    ) -> bool:
        """Answer one request. False: the connection of the client ends here."""
        head = await reader.readuntil(b"\r\n\r\n")
        if _header(head, b"expect") == b"100-continue":
            # The client waits for this before it sends its body; from here on it is an ordinary request.
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = _with(head, b"expect", None)
        body = await reader.readexactly(int(_header(head, b"content-length") or 0))
        method, path, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        if path in ("/__counts__", "/__reset__"):
            writer.write(self._counts(path))
            return True
        self.proxy.requests.append((method, path))
        fault = self.plan(method, path)
        if self.delay:
            await asyncio.sleep(self.delay)
        if (own := _own_answer(fault, path)) is not None:
            if fault is not None:
                self.proxy.faults[fault.kind] += 1
            await self._send(writer, own.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if method == "HEAD" else own)
            return True
        answer = await upstream.ask(head + body)
        pieces = upstream.body(method, answer)
        if fault is None and path not in self.proxy.replaced:
            await self._send(writer, answer)
            async for piece in pieces:
                await self._send(writer, piece)
            return upstream.is_open
        content = b"".join([piece async for piece in pieces])
        if path in self.proxy.replaced:
            answer, content = _as_another_file(head, answer, content)
        return await self._answer_wrongly(writer, fault, path, answer, content) and upstream.is_open

    async def _answer_wrongly(
        self, writer: asyncio.StreamWriter, fault: Fault | None, path: str, head: bytes, body: bytes
    ) -> bool:
        """The server's answer, after what the fault makes of it. False: the connection ends here."""
        if fault is None:
            await self._send(writer, head + body)
            return True
        self.proxy.faults[fault.kind] += 1
        if fault.kind in BREAKING_OFF:
            await self._break_off(writer, fault, head, body)
            if fault.kind == "replaced":
                self.proxy.replaced.add(path)
            return fault.kind == "drip"
        await self._send(writer, b"".join(_changed(fault, head, body, self._file(path))))
        return True

    async def _break_off(self, writer: asyncio.StreamWriter, fault: Fault, head: bytes, body: bytes) -> None:
        if fault.kind == "drip":
            await self._send(writer, head)
            step = max(len(body) // DRIPS, 1)
            for start in range(0, len(body), step):
                await self._send(writer, body[start : start + step])
                await asyncio.sleep(DRIP)
            return
        if body:
            await self._send(writer, head + body[: min(int(len(body) * fault.after), len(body) - 1)])
        if fault.kind == "stall":
            await asyncio.sleep(self.stall)
        if fault.kind in ("reset", "replaced"):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            writer.transport.abort()

    def _file(self, path: str) -> bytes | None:
        """The file that the server has at a path."""
        found = self.files / unquote(path.partition("?")[0]).lstrip("/") if self.files is not None else None
        return found.read_bytes() if found is not None and found.is_file() else None

    async def _send(self, writer: asyncio.StreamWriter, content: bytes) -> None:
        writer.write(content)
        self.proxy.bytes_down += len(content)
        await writer.drain()

    def _counts(self, path: str) -> bytes:
        counts = {"requests": len(self.proxy.requests), "bytes_down": self.proxy.bytes_down}
        if path == "/__reset__":
            self.proxy.requests.clear()
            self.proxy.bytes_down = 0
        return _answer(b"200 OK", b"application/json", json.dumps(counts).encode())


@define
class _Upstream:
    """One client's connection to the server, opened again whenever the server has closed it."""

    host: str
    port: int
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None

    @property
    def is_open(self) -> bool:
        return self.reader is not None

    async def ask(self, request: bytes) -> bytes:
        """Send a request as it is; the head of the answer, as it is."""
        if self.reader is None or self.writer is None or self.reader.at_eof():
            self.close()
            self.reader, self.writer = await asyncio.open_connection(self.host, self.port, limit=READ_BYTES)
        self.writer.write(request)
        return await self.reader.readuntil(b"\r\n\r\n")

    async def body(self, method: str, head: bytes) -> AsyncIterator[bytes]:
        """The body that follows the head, piece by piece as it was sent: with the frames of a chunked one."""
        assert self.reader is not None
        version, status = head.split(b" ", 2)[:2]
        length = _header(head, b"content-length")
        closing = version == b"HTTP/1.0" or _header(head, b"connection") == b"close"
        if method == "HEAD" or status in (b"204", b"304"):
            pass
        elif _header(head, b"transfer-encoding") == b"chunked":
            frame = b""
            while frame != b"0\r\n":
                frame = await self.reader.readuntil(b"\r\n")
                yield frame + await self.reader.readexactly(int(frame, 16) + 2)
        elif length is not None:
            left = int(length)
            while left and (piece := await self.reader.read(min(left, READ_BYTES))):
                left -= len(piece)
                yield piece
            closing = closing or left > 0
        else:
            closing = True
            while piece := await self.reader.read(READ_BYTES):
                yield piece
        if closing:
            self.close()

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


def _header(head: bytes, name: bytes) -> bytes | None:
    """The value of a header, in lower case."""
    _, found, rest = head.lower().partition(b"\r\n" + name + b":")
    return rest.partition(b"\r\n")[0].strip() if found else None


def _answer(status: bytes, kind: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (status, kind, len(body), body)


def _error(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}, says the proxy</Message></Error>".encode()


LOGIN = "/__login__"
LOGIN_PAGE = b"<html><body><form><input type='password'></form></body></html>"
XML = b"application/xml"
OWN_ANSWERS = {
    "400": _answer(b"400 Bad Request", XML, _error("ExpiredToken")),
    "401": _answer(b"401 Unauthorized", XML, _error("Unauthorized")),
    "403": _answer(b"403 Forbidden", XML, _error("AccessDenied")),
    "404": _answer(b"404 Not Found", XML, _error("NoSuchKey")),
    "416": _answer(b"416 Range Not Satisfiable", XML, _error("InvalidRange")),
    "429": _answer(b"429 Too Many Requests", XML, _error("TooManyRequests")),
    "500": _answer(b"500 Internal Server Error", XML, _error("InternalError")),
    "503": _answer(b"503 Slow Down", XML, _error("SlowDown")),
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "empty": _answer(b"200 OK", b"application/octet-stream", b""),
    "error": _answer(b"200 OK", XML, _error("InternalError")),
    "html": _answer(b"200 OK", b"text/html", b"<html><body>We will be back soon.</body></html>"),
    "json": _answer(b"200 OK", b"application/json", b'{"message": "not now"}'),
    "text": _answer(b"200 OK", b"text/plain", b"not now"),
}


def _own_answer(fault: Fault | None, path: str) -> bytes | None:
    """What the proxy answers itself, without asking the server."""
    if path.startswith(LOGIN):
        return _answer(b"200 OK", b"text/html", LOGIN_PAGE)
    if fault is not None and fault.kind in ("redirect", "loop"):
        to = LOGIN if fault.kind == "redirect" else path
        return b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % to.encode()
    return OWN_ANSWERS.get(fault.kind) if fault is not None else None


def _changed(fault: Fault, head: bytes, body: bytes, file: bytes | None) -> tuple[bytes, bytes]:
    """Head and body of an answer that looks like success; as they are where there is nothing to change."""
    if not body or head.split(b" ", 2)[1] not in (b"200", b"206"):
        return head, body
    head, body = _unframed(head, body)
    if fault.kind == "shorter":
        body = body[: int(len(body) * fault.after)]
    elif fault.kind == "longer":
        body += body[-1000:]
    elif fault.kind == "whole" and file is not None:
        head = _with(_with(head, b"content-range", None), b"", b"HTTP/1.1 200 OK")
        body = file
    elif fault.kind == "other part" and file is not None:
        length = len(body) if len(body) < len(file) else len(body) // 2
        asked = int((_header(head, b"content-range") or b"bytes 0-").split(b"-")[0].removeprefix(b"bytes "))
        start = 0 if asked else len(file) - length
        body = file[start : start + length]
        stated = b"bytes %d-%d/%d" % (start, start + len(body) - 1, len(file))
        head = _with(_with(head, b"content-range", stated), b"", b"HTTP/1.1 206 Partial Content")
    return _with(head, b"content-length", b"%d" % len(body)), body


def _unframed(head: bytes, body: bytes) -> tuple[bytes, bytes]:
    """The same answer with a length in place of the frames of a chunked body."""
    if _header(head, b"transfer-encoding") != b"chunked":
        return head, body
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        whole, body = whole + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return _with(_with(head, b"transfer-encoding", None), b"content-length", b"%d" % len(whole)), whole


def _as_another_file(request: bytes, head: bytes, body: bytes) -> tuple[bytes, bytes]:
    """The answer of a server where the file is another one by now, of the same length."""
    asked = {_header(request, name) for name in (b"if-match", b"if-unmodified-since")}
    if asked - {None, NEW_TAG, NEW_TIME.lower()}:
        answer = _answer(b"412 Precondition Failed", XML, _error("PreconditionFailed"))
        first, _, rest = answer.partition(b"\r\n\r\n")
        return first + b"\r\n\r\n", rest
    head, body = _unframed(head, body)
    for name, value in ((b"etag", NEW_TAG), (b"last-modified", NEW_TIME)):
        if _header(head, name) is not None:
            head = _with(head, name, value)
    return head, replaced(body)


NEW_TAG = b'"0123456789abcdef0123456789abcdef"'
NEW_TIME = b"Fri, 02 Jan 2026 03:04:05 GMT"


def replaced(body: bytes) -> bytes:
    """The other file: each person has another name."""
    return body.replace(b'"p', b'"q')


def _with(head: bytes, name: bytes, value: bytes | None) -> bytes:
    """The head with another value of a header, without it (None), or with another first line (no name)."""
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    if not name:
        first = value or first
    else:
        lines = [line for line in lines if not line.lower().startswith(name + b":")]
        lines += [name + b": " + value] if value is not None else []
    return b"\r\n".join([first, *lines]) + b"\r\n\r\n"


def _main() -> None:
    """Serve until the input is closed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upstream", required=True, help="the server's URL: http://127.0.0.1:PORT")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that each request waits")
    arguments = parser.parse_args()
    with proxied(arguments.upstream, delay=arguments.delay) as proxy:
        print(proxy.endpoint, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    _main()
