"""What may be left of a loop that ended: threads that fetch, and open sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

OPENED = Path("/proc/self/fd")  # where a system tells what a process has open
TELLS_SOCKETS = OPENED.exists()

# The beginning of a program: reader() gives two files, and opening the second one hangs.
SECOND_FILE_HANGS = """
import io, time
from kmexport.storage.fetch.prefetch import fetch_ahead
from kmexport.storage.fetch.threads import ThreadSource
from kmexport.storage.open_files import FileRequest

def open_file(path):
    if path == "2":
        time.sleep(60)
    return io.BytesIO(b"x")

def reader():
    files = [FileRequest("1", "1", 1), FileRequest("2", "2", 1)]
    return fetch_ahead(lambda: ThreadSource(open_file, 2), files, budget=9, requests=2)

"""


def eventually(condition: Callable[[], object], seconds: float = 1.0) -> None:
    """Wait until it is so; fail if it is not within a second."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def fetchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("kmexport")]


def open_sockets() -> int:
    """How many this process has. Only where TELLS_SOCKETS."""
    return sum(map(_is_socket, OPENED.iterdir()))


def _is_socket(opened: Path) -> bool:
    with suppress(OSError):  # the listing's own is gone again
        return str(opened.readlink()).startswith("socket:")
    return False
