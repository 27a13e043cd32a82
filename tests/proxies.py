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
from typing import Literal

from attrs import define, field, frozen

from tests.servers import STARTED_WITHIN, STOPPED_WITHIN, ended

READ_BYTES = 1 << 18  # what asyncio takes from a socket at a time
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>slow down</Message></Error>"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 seconds


@frozen
class Fault:
    """What happens to one answer, when the part `after` (0 to 1) of its body is sent; never the whole body.

    "reset": the connection is reset. "short": it is closed in good order. "stall": nothing more comes for a while,
    then it is closed. "503": the proxy answers itself that the client has to slow down. An answer without
    a body fails before its head is sent.
    """

    kind: Literal["reset", "503", "stall", "short"]
    after: float = 0.5


@define
class Proxy:
    """Where a proxy answers, and what went through it: every request, the bytes to clients, the faults."""

    endpoint: str = ""
    requests: list[tuple[str, str]] = field(factory=list)
    bytes_down: int = 0
    faults: Counter[str] = field(factory=Counter)


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
    upstream: str, *, delay: float = 0.0, plan: Callable[[str, str], Fault | None] | None = None, stall: float = 3.0
) -> Iterator[Proxy]:
    """A proxy before the server `upstream`, in a thread of its own; it is gone when the block ends.

    Each request waits `delay` seconds before it is sent on. `plan(method, path)` is called once a request, in the
    thread of the proxy, and returns what shall happen to it. A stalled answer is silent for `stall` seconds.
    """
    host, _, port = upstream.removeprefix("http://").rstrip("/").partition(":")
    proxy = Proxy()
    passing = _Passing(proxy, host, int(port), delay, plan or _no_fault, stall)
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
    command = [sys.executable, "-m", "tests.proxies", "--upstream", upstream, "--delay", str(delay)]
    with (
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent, text=True
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
    clients: set[asyncio.Task[None]] = field(factory=set)

    async def serve(self, started: Future[Callable[[], object]]) -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=READ_BYTES)
        self.proxy.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started.set_result(lambda: loop.call_soon_threadsafe(stopped.set))
        await stopped.wait()
        server.close()
        for client in self.clients:
            client.cancel()
        await asyncio.gather(*self.clients, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = asyncio.create_task(self._serve_client(reader, writer))
        self.clients.add(client)
        client.add_done_callback(self.clients.discard)

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
        body = await reader.readexactly(int(_header(head, b"content-length") or 0))
        method, path, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        if path in ("/__counts__", "/__reset__"):
            writer.write(self._counts(path))
            return True
        self.proxy.requests.append((method, path))
        fault = self.plan(method, path)
        if self.delay:
            await asyncio.sleep(self.delay)
        if fault is not None and fault.kind == "503":
            self.proxy.faults["503"] += 1
            answer = _answer(b"503 Slow Down", b"application/xml", SLOW_DOWN)
            await self._send(writer, answer.removesuffix(SLOW_DOWN) if method == "HEAD" else answer)
            return True
        answer = await upstream.ask(head + body)
        pieces = upstream.body(method, answer)
        if fault is not None:
            await self._fail(writer, fault, answer, b"".join([piece async for piece in pieces]))
            return False
        await self._send(writer, answer)
        async for piece in pieces:
            await self._send(writer, piece)
        return upstream.is_open

    async def _fail(self, writer: asyncio.StreamWriter, fault: Fault, head: bytes, body: bytes) -> None:
        self.proxy.faults[fault.kind] += 1
        if body:
            await self._send(writer, head + body[: min(int(len(body) * fault.after), len(body) - 1)])
        if fault.kind == "stall":
            await asyncio.sleep(self.stall)
        if fault.kind == "reset":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            writer.transport.abort()

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
