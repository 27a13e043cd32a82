"""A lock on a file of the local disk that one process holds at a time. It goes with the process, however that ends."""

from __future__ import annotations

import os
import time
from importlib import import_module
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows
    _fcntl: Any = None
else:
    _fcntl = fcntl

__all__ = ["lock_file", "unlock_file"]

_ASK_AGAIN = 0.05  # seconds


def lock_file(file: IO[bytes]) -> None:
    """Hold the lock of an open file. Where another holds it, wait for it."""
    if _fcntl is not None:
        _fcntl.flock(file, _fcntl.LOCK_EX)
        return
    while not _locks_on_windows(file):
        time.sleep(_ASK_AGAIN)


def unlock_file(file: IO[bytes]) -> None:
    """Let it go before the file is closed: Windows may take its time otherwise."""
    if _fcntl is None:
        _at_first_byte(file, "LK_UNLCK")


def _locks_on_windows(file: IO[bytes]) -> bool:
    try:
        _at_first_byte(file, "LK_NBLCK")
    except PermissionError:  # another holds it
        return False
    return True


def _at_first_byte(file: IO[bytes], what: str) -> None:
    msvcrt: Any = import_module("msvcrt")  # by its name: type checkers know it on Windows only
    os.lseek(file.fileno(), 0, os.SEEK_SET)  # it locks from the file's place on
    msvcrt.locking(file.fileno(), getattr(msvcrt, what), 1)
