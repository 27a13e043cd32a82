"""What tests need that not every system has. Each mark says what is missing where it skips."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys

import pytest

WINDOWS = os.name == "nt"

NEEDS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
NEEDS_FCNTL = pytest.mark.skipif(importlib.util.find_spec("fcntl") is None, reason="this system has no fcntl")
NEEDS_LIMITS = pytest.mark.skipif(
    importlib.util.find_spec("resource") is None, reason="this system sets no limits to a process"
)
NEEDS_PERMISSIONS = pytest.mark.skipif(WINDOWS, reason="Windows knows no permissions of owner, group and others")
NEEDS_PIPES = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
NEEDS_REPLACING = pytest.mark.skipif(WINDOWS, reason="Windows lets nobody replace or remove a file that is open")
NEEDS_STOPPING = pytest.mark.skipif(
    not hasattr(signal, "SIGSTOP"), reason="this system can't stop a process for a while"
)
NEEDS_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has it")
