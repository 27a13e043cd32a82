"""A PostgreSQL of its own on loopback, stopped and removed for certain when its `with` block ends."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

from tests.support.servers import STARTED_WITHIN, free_port

STOPPED_WITHIN = 15.0  # seconds
_TELL_WHEN_PARENT_ENDS = 1  # PR_SET_PDEATHSIG of prctl(2)
_DEBIAN = Path("/usr/lib/postgresql")  # Debian keeps the server's programs off the PATH, a folder for each version
_UNPRIVILEGED = ("postgres", "nobody")  # who runs it where the tests are root's: PostgreSQL refuses to be


def find_programs() -> Path | None:
    """The folder of initdb and postgres, of the newest version that is here; None where there is none."""
    for folder in [*map(Path, os.get_exec_path()), *sorted(_DEBIAN.glob("*/bin"), key=_version, reverse=True)]:
        if all(os.access(folder / program, os.X_OK) for program in ("initdb", "postgres", "pg_isready")):
            return folder
    return None


@contextmanager
def serve_postgres(programs: Path) -> Iterator[str]:
    """A server with an empty database in UTF-8. Yields its URI, password included."""
    user = _unprivileged()
    # Not a folder of the test run: those are open to their owner only, and the server may be another user.
    folder = Path(tempfile.mkdtemp(prefix="kmexport-postgres-"))
    try:
        if user is not None:
            shutil.chown(folder, user)
        uri = f"postgresql://tester@127.0.0.1:{free_port()}/postgres"
        _init(programs, folder, user)
        with _running(programs, folder, user, uri):
            yield uri
    finally:
        shutil.rmtree(folder)


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in folder.parent.name.split(".") if part.isdigit())


def _unprivileged() -> str | None:
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    import pwd  # Windows has none

    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in _UNPRIVILEGED if name in known)


def _init(programs: Path, folder: Path, user: str | None) -> None:
    command: list[Any] = [programs / "initdb", "--pgdata", folder / "cluster", "--username=tester", "--auth=trust"]
    command += ["--encoding=UTF8", "--no-locale", "--no-sync"]
    made = subprocess.run(command, user=user, cwd=folder, capture_output=True, timeout=120, check=False)
    if made.returncode:
        msg = f"initdb failed: {made.stderr.decode(errors='replace')}"
        raise RuntimeError(msg)


@contextmanager
def _running(programs: Path, folder: Path, user: str | None, uri: str) -> Iterator[None]:
    settings = {
        "port": uri.rpartition(":")[2].partition("/")[0],
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "off",  # nobody needs the data after a power cut
        "shared_buffers": "32MB",
        "max_connections": "20",
        "timezone": "America/New_York",  # an hour that depends on the server's zone shows up
    }
    command: list[Any] = [programs / "postgres", "-D", folder / "cluster"]
    command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    # A test run that is killed can't stop its server; Linux does it then.
    asks = partial(ctypes.CDLL(None).prctl, _TELL_WHEN_PARENT_ENDS, signal.SIGINT) if sys.platform == "linux" else None
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            command,
            user=user,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=asks,  # noqa: PLW1509  # it only calls the kernel
        ) as process,
    ):
        try:
            _wait(programs, process, uri, log)
            yield
        finally:
            process.send_signal(signal.SIGINT)  # a fast shutdown: it ends what is still connected
            try:
                process.wait(STOPPED_WITHIN)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGQUIT)  # it ends its own processes too, as a kill would not


def _wait(programs: Path, process: subprocess.Popen[bytes], uri: str, log: IO[bytes]) -> None:
    deadline = time.monotonic() + STARTED_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        ready = subprocess.run([programs / "pg_isready", "--quiet", "--dbname", uri], check=False, timeout=20)
        if ready.returncode == 0:
            return
        time.sleep(0.1)
    log.seek(0)
    msg = f"PostgreSQL did not start within {STARTED_WITHIN} seconds: {log.read().decode(errors='replace')}"
    raise RuntimeError(msg)
