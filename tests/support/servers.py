"""Real servers on loopback, each stopped for certain when its `with` block ends."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

from attrs import frozen

STARTED_WITHIN = 20.0  # seconds
STOPPED_WITHIN = 5.0


@frozen
class S3Server:
    """An S3 server: where it answers, the keys it takes, and the folder whose folders are its buckets."""

    endpoint: str
    key: str
    secret: str
    folder: Path | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The storage options of a Bucket on this server."""
        return {"key": self.key, "secret": self.secret, "endpoint_url": self.endpoint}


@contextmanager
def serve_s3_by_rclone(folder: Path, *, remembers: str = "1ms") -> Iterator[S3Server]:
    """`rclone serve s3`: checks signatures, and its buckets are the folders of `folder`.

    `remembers`: for how long it may answer from an old listing; for that time it hides new files, but is faster. Not
    "0s": with that, each folder that it has seen keeps a core busy, and a PUT soon takes seconds.
    """
    server = S3Server(f"http://127.0.0.1:{free_port()}", "AKIAMADEUPFORTESTS00", "made-up/secret+for/tests", folder)
    with running_program(rclone_command(server, remembers), server.endpoint):
        yield server


def rclone_command(server: S3Server, remembers: str) -> list[Any]:
    """What starts rclone as this server."""
    rclone = shutil.which("rclone", path=Path(sys.executable).parent) or "rclone"  # on Windows it has a suffix
    address = server.endpoint.removeprefix("http://")
    command = [rclone, "serve", "s3", server.folder, "--addr", address, "--dir-cache-time", remembers]
    return [*command, "--config", "", "--auth-key", f"{server.key},{server.secret}"]


@contextmanager
def serve_s3_by_moto() -> Iterator[S3Server]:
    """moto's server: the second opinion for what AWS does. It takes any keys."""
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    try:
        host, port = moto.get_host_and_port()
        yield S3Server(f"http://{host}:{port}", "AKIAMADEUPFORTESTS01", "made-up/secret+for/moto")
    finally:
        moto.stop()


@contextmanager
def serve_http(folder: Path) -> Iterator[str]:
    """A plain web server with an index page for each folder; it does not know range requests. Yields its URL."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
            pass

    with serve(partial(Quiet, directory=str(folder))) as url:
        yield url


@contextmanager
def serve_http_from(files: dict[str, bytes], *, status: int = 200, send: float = 1.0) -> Iterator[str]:
    """A web server that answers with `status`, and cuts the connection when the part `send` of a body is sent."""

    class Scripted(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, *, with_body: bool) -> None:
            body = files.get(self.path)
            self.send_response(status if body is not None else 404)
            body = body or b""
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(body[: int(len(body) * send)] if self.path.endswith(".json") else body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
            pass

    with serve(Scripted) as url:
        yield url


def free_port() -> int:
    """A port of 127.0.0.1 where nobody listens."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # with the usual 5, many connections at once wait a second for the next try


@contextmanager
def serve(handler: Any, port: int = 0) -> Iterator[str]:
    """A web server whose requests a class of http.server answers. Yields its URL."""
    with _Server(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(STOPPED_WITHIN)


@contextmanager
def ended(process: subprocess.Popen[Any]) -> Iterator[None]:
    """The process is gone when the block ends."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOPPED_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()


@contextmanager
def running_program(command: list[Any], endpoint: str) -> Iterator[None]:
    """The program runs, and answers at the endpoint, until the block ends."""
    # The log goes to a file: a pipe that nobody reads would fill up and stop the server.
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process,
        ended(process),
    ):
        _wait_until_it_answers(process, endpoint, log)
        yield


def _wait_until_it_answers(process: subprocess.Popen[bytes], endpoint: str, log: IO[bytes]) -> None:
    host, _, port = endpoint.rpartition("/")[2].partition(":")
    deadline = time.monotonic() + STARTED_WITHIN
    while time.monotonic() < deadline:
        if process.poll() is not None:
            log.seek(0)
            msg = f"the server at {endpoint} ended at once: {log.read().decode(errors='replace')}"
            raise RuntimeError(msg)
        with closing(socket.socket()) as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return
        time.sleep(0.05)
    msg = f"{endpoint} did not answer within {STARTED_WITHIN} seconds"
    raise RuntimeError(msg)
