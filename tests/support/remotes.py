"""Servers for FTP, SFTP and WebDAV on loopback. They can be restarted, and cut a connection in the middle of a file."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from tests.support.servers import STARTED_WITHIN, STOPPED_WITHIN, free_port, running_program

USER, PASSWORD = "ana", "made-up-word/for+tests"
BLIND = "blind"  # may log in with the same password, and see nothing


class Remote(Protocol):
    """A server of a folder: its port stays the same when it is started again."""

    port: int

    def start(self) -> None: ...
    def stop(self) -> None: ...


@contextmanager
def running(server: Any) -> Iterator[Any]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


class FtpServer:
    """pyftpdlib. `cut_after`: bytes of a body after which the next few transfers are reset."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.cuts: list[int] = []

    def start(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of asyncore, which it stands on
            from pyftpdlib.authorizers import DummyAuthorizer
            from pyftpdlib.handlers import DTPHandler, FTPHandler
            from pyftpdlib.ioloop import IOLoop
            from pyftpdlib.servers import FTPServer

        cuts = self.cuts

        class Cutting(DTPHandler):  # type: ignore[misc]
            def send(self, data: bytes) -> int:
                if cuts and self.get_transmitted_bytes() + len(data) > cuts[0]:
                    cuts.pop(0)
                    self.cmd_channel.close()  # the whole connection goes
                    self.close()
                    return 0
                sent: int = super().send(data)
                return sent

        authorizer = DummyAuthorizer()
        authorizer.add_user(USER, PASSWORD, str(self.folder), perm="elradfmwMT")
        authorizer.add_user(BLIND, PASSWORD, str(self.folder), perm="")
        handler = type("Handler", (FTPHandler,), {"authorizer": authorizer, "use_sendfile": False})
        handler.dtp_handler = Cutting
        self._server = FTPServer(("127.0.0.1", self.port), handler, ioloop=IOLoop())
        self._ends = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._ends:
            self._server.serve_forever(timeout=0.05, blocking=False, handle_exit=False)
        self._server.close_all()

    def stop(self) -> None:
        self._ends = True
        self._thread.join(STOPPED_WITHIN)


class SftpServer:
    """asyncssh, behind a relay that cuts connections."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.cuts: list[int] = []  # bytes that a connection carries before it is reset, one for each cut
        self._key: Any = None

    def start(self) -> None:
        started: Future[Callable[[], object]] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), daemon=True)
        self._thread.start()
        self._stop = started.result(STARTED_WITHIN)

    def stop(self) -> None:
        self._stop()
        self._thread.join(STOPPED_WITHIN)

    async def _listen(self, connections: list[Any]) -> Any:
        """The SSH server, which adds each connection to the list."""
        import asyncssh

        folder = str(self.folder)

        class Passwords(asyncssh.SSHServer):
            def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
                connections.append(conn)

            def begin_auth(self, username: str) -> bool:
                return True

            def password_auth_supported(self) -> bool:
                return True

            def validate_password(self, username: str, password: str) -> bool:
                return username in (USER, BLIND) and password == PASSWORD

        class Files(asyncssh.SFTPServer):
            def __init__(self, chan: Any) -> None:
                self._is_blind = chan.get_connection().get_extra_info("username") == BLIND
                super().__init__(chan, chroot=folder)

            def map_path(self, path: bytes) -> bytes:
                if self._is_blind:
                    reason = "Permission denied"
                    raise asyncssh.SFTPPermissionDenied(reason)
                return super().map_path(path)

        self._key = self._key or asyncssh.generate_private_key("ssh-ed25519")
        return await asyncssh.listen(
            "127.0.0.1", 0, server_factory=Passwords, server_host_keys=[self._key], sftp_factory=Files
        )

    async def _serve(self, started: Future[Callable[[], object]]) -> None:
        connections: list[Any] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._connected: set[asyncio.Task[None]] = set()
        ended = asyncio.Event()
        server = await self._listen(connections)
        relay = await asyncio.start_server(self._relay(server.get_port()), "127.0.0.1", self.port)
        loop = asyncio.get_running_loop()
        started.set_result(lambda: loop.call_soon_threadsafe(ended.set))
        await ended.wait()
        relay.close()
        while self._connected:
            for writer in list(self._writers):
                writer.transport.abort()
            await asyncio.wait(self._connected, timeout=0.1)
        server.close()
        for connection in connections:
            connection.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await server.wait_closed()
        # What is aborted closes its socket in a later turn of the loop: after the last turn it would stay open.
        await asyncio.sleep(0.1)

    def _relay(self, port: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(connected(reader, writer))
            self._connected.add(task)
            task.add_done_callback(self._connected.discard)

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", port)
            self._writers |= {writer, upstream}
            up = asyncio.create_task(pump(reader, upstream, is_cut=False))
            down = asyncio.create_task(pump(upstream_reader, writer, is_cut=True))
            await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
            for one in (writer, upstream):
                one.transport.abort()
                self._writers.discard(one)
            await asyncio.wait([up, down])

        async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_cut: bool) -> None:
            passed = 0
            with suppress(OSError):
                while block := await reader.read(1 << 14):
                    passed += len(block)
                    if is_cut and self.cuts and passed > self.cuts[0]:
                        self.cuts.pop(0)
                        return
                    writer.write(block)
                    await writer.drain()

        return accept


class DavServer:
    """wsgidav, on cheroot."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()

    def start(self) -> None:
        from cheroot import wsgi
        from wsgidav.wsgidav_app import WsgiDAVApp

        users = {USER: {"password": PASSWORD}}
        app = WsgiDAVApp(
            {
                "provider_mapping": {"/": str(self.folder)},
                "simple_dc": {"user_mapping": {"*": users}},
                "http_authenticator": {"domain_controller": None},
                "verbose": 0,
                "logging": {"enable": False},
            }
        )
        self._server = wsgi.Server(("127.0.0.1", self.port), app, numthreads=4, shutdown_timeout=1)
        self._server.prepare()
        self._thread = threading.Thread(target=self._server.serve, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.stop()
        self._thread.join(STOPPED_WITHIN)


@contextmanager
def serve_azure(program: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Azurite, Microsoft's own emulator of Azure's blobs. Yields the storage options."""
    port = free_port()
    command = [program, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", folder, "--silent"]
    with running_program([*command, "--skipApiVersionCheck", "--disableTelemetry"], f"http://127.0.0.1:{port}"):
        # The account of every emulator.
        key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
        where = f"BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1"
        yield {
            "connection_string": f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={key};{where};"
        }
