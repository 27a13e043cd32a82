"""Servers for any kind of storage on loopback. They can be restarted, and those for FTP and SSH cut connections."""

from __future__ import annotations

import asyncio
import base64
import getpass
import json
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.support.servers import STARTED_WITHIN, STOPPED_WITHIN, free_port, running_program, serve

USER, PASSWORD = "ana", "made-up-word/for+tests"
BLIND = "blind"  # may log in with the same password, and see nothing


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
        handler = type(
            "Handler", (FTPHandler,), {"authorizer": authorizer, "use_sendfile": False, "auth_failed_timeout": 0}
        )
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
    """asyncssh, after a relay that cuts connections."""

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


class OpenSshServer(SftpServer):
    """sshd of OpenSSH, after the same relay. It knows who runs the tests, and where that is root also nobody."""

    def __init__(self, program: str, folder: Path, keys: Path) -> None:
        super().__init__(folder)
        self._program = program
        self._keys = keys
        self._inner_port = free_port()
        self.user = getpass.getuser()
        self.blind_user = "nobody" if os.geteuid() == 0 else None
        self.key = self._make_key("right")
        self.wrong_key = self._make_key("wrong")
        self._make_key("host")
        (keys / "authorized").write_text(Path(f"{self.key}.pub").read_text("utf-8"), "utf-8")
        settings = {
            "Port": self._inner_port,
            "ListenAddress": "127.0.0.1",
            "HostKey": keys / "host",
            "PidFile": "none",
            "AuthorizedKeysFile": keys / "authorized",
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
            "MaxStartups": "100",
            "Subsystem": "sftp internal-sftp",
            "ForceCommand": "internal-sftp",
        }
        (keys / "config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()), "utf-8")

    def _make_key(self, name: str) -> Path:
        import asyncssh

        key = asyncssh.generate_private_key("ssh-ed25519")
        place = self._keys / name
        key.write_private_key(place)
        key.write_public_key(f"{place}.pub")
        place.chmod(0o600)
        return place

    async def _listen(self, connections: list[Any]) -> Any:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # it does not start without
        command = [self._program, "-D", "-e", "-f", self._keys / "config"]
        return _Sshd(ProgramServer(self._inner_port, command))


class _Sshd:
    def __init__(self, server: ProgramServer) -> None:
        self._server = server
        server.start()

    def get_port(self) -> int:
        return self._server.port

    def close(self) -> None:
        self._server.stop()

    async def wait_closed(self) -> None:
        pass


class DavServer:
    """wsgidav, on cheroot."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()

    def start(self) -> None:
        from cheroot import wsgi
        from wsgidav.wsgidav_app import WsgiDAVApp

        app = WsgiDAVApp(
            {
                "provider_mapping": {"/": str(self.folder)},
                "simple_dc": {"user_mapping": {"*": {USER: {"password": PASSWORD}}}},
                "http_authenticator": {"domain_controller": None},
                "verbose": 0,
                "logging": {"enable": False},
            }
        )

        def guarded(environ: dict[str, Any], start_response: Any) -> Any:
            if environ.get("HTTP_AUTHORIZATION") == basic(BLIND, PASSWORD):
                start_response("403 Forbidden", [("Content-Length", "0")])
                return [b""]
            return app(environ, start_response)

        self._server = wsgi.Server(("127.0.0.1", self.port), guarded, numthreads=4, shutdown_timeout=1)
        self._server.prepare()
        self._thread = threading.Thread(target=self._server.serve, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.stop()
        self._thread.join(STOPPED_WITHIN)


def basic(user: str, password: str) -> str:
    """The header of somebody who logs in to a web server."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class WebServer:
    """Python's own web server, which asks for a password. It does not know ranges."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._running = ExitStack()

    def start(self) -> None:
        class Guarded(SimpleHTTPRequestHandler):
            def send_head(self) -> Any:
                told = self.headers.get("Authorization")
                if told == basic(USER, PASSWORD):
                    return super().send_head()
                self.send_error(403 if told == basic(BLIND, PASSWORD) else 401)
                return None

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
                pass

        self._running.enter_context(serve(partial(Guarded, directory=str(self.folder)), self.port))

    def stop(self) -> None:
        self._running.close()


class ProgramServer:
    """Any program that listens at a port."""

    def __init__(self, port: int, command: list[Any]) -> None:
        self.port = port
        self._command = command
        self._running = ExitStack()

    def start(self) -> None:
        self._running.enter_context(running_program(self._command, f"http://127.0.0.1:{self.port}"))

    def stop(self) -> None:
        self._running.close()


# The account of every emulator of Azure.
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def azurite(program: str, folder: Path) -> ProgramServer:
    """Azurite, Microsoft's own emulator of Azure's blobs."""
    port = free_port()
    command = [program, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", folder, "--silent"]
    return ProgramServer(port, [*command, "--skipApiVersionCheck", "--disableTelemetry"])


def fake_gcs_server(program: Path, folder: Path) -> ProgramServer:
    """fake-gcs-server, which speaks as Google Cloud Storage does, and asks nobody who they are."""
    port = free_port()
    command = [program, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-log-level", "error"]
    command += ["-backend", "filesystem", "-filesystem-root", folder, "-external-url", f"http://127.0.0.1:{port}"]
    return ProgramServer(port, command)


@contextmanager
def refusing_as_google() -> Iterator[str]:
    """What Google answers to a wrong token, and to the one of somebody who may read nothing."""

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, message = 401, "Invalid Credentials"
            if self.headers.get("Authorization") == f"Bearer {PASSWORD}":
                status, message = 403, f"{BLIND} does not have storage.objects.get access to the object."
            body = json.dumps({"error": {"code": status, "message": message, "errors": []}}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815  # the base's name

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
            pass

    with serve(Refusing) as url:
        yield url
