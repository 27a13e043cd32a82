"""What tests need that not every system has. Each mark says what is missing where it skips."""

from __future__ import annotations

import importlib.util
import os
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest

WINDOWS = os.name == "nt"
KILLED = 1 if WINDOWS else -9  # the return code of a process that was killed

NEEDS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
NEEDS_LIMITS = pytest.mark.skipif(
    importlib.util.find_spec("resource") is None, reason="this system sets no limits to a process"
)
NEEDS_OLD_TIMES = pytest.mark.skipif(WINDOWS, reason="the clock of Windows knows no times before 1970")
NEEDS_PERMISSIONS = pytest.mark.skipif(WINDOWS, reason="Windows knows no permissions of owner, group and others")
NEEDS_PIPES = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
NEEDS_REPLACING = pytest.mark.skipif(WINDOWS, reason="Windows lets nobody replace or remove a file that is open")


def clock_at(seconds: int, zone: tzinfo = UTC) -> datetime:
    """Unix seconds on the clock of a zone, also before 1970, where that of Windows ends."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).astimezone(zone)


def make_link(place: Path, target: Path) -> None:
    """Make a symbolic link; skip the test where the user may not, as on Windows without its developer mode."""
    try:
        place.symlink_to(target, target_is_directory=target.is_dir())
    except (NotImplementedError, OSError) as error:
        if not WINDOWS:
            raise
        pytest.skip(f"this user may make no symbolic links ({error})")
