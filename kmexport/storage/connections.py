"""Filesystems that hold one connection, and what is done when it breaks: they would use the dead one for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from kmexport.storage.faults import is_denied, is_missing

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["Current", "connect_anew", "connection_options", "is_broken", "limit_silence", "noticing"]

Current: TypeAlias = "Callable[[], AbstractFileSystem]"  # the one that is in use now

_SECONDS = 30  # for a connection to be made, and for one that says nothing
# Options that filesystems with a connection need. Each bucket has a connection of its own: what else uses the same one,
# in another thread, would mix up the answers.
_OPTIONS: dict[str, dict[str, Any]] = {
    "fsspec.implementations.ftp.FTPFileSystem": {},
    "fsspec.implementations.sftp.SFTPFileSystem": {
        "timeout": _SECONDS, "banner_timeout": _SECONDS, "auth_timeout": _SECONDS, "channel_timeout": _SECONDS,
    },
    "sshfs.spec.SSHFileSystem": {"connect_timeout": _SECONDS, "login_timeout": _SECONDS, "keepalive_interval": 10},
}  # fmt: skip
_MARK = "_kmexport_is_broken"


def connection_options(kind: type) -> dict[str, Any]:
    """The options for a class of filesystems; none where it holds no connection."""
    found = _OPTIONS.get(f"{kind.__module__}.{kind.__qualname__}")
    return {} if found is None else {"skip_instance_cache": True, **found}


def limit_silence(fs: Any) -> None:
    """Let a connection that says nothing fail at some time. paramiko would wait for ever."""
    channel = getattr(getattr(fs, "ftp", None), "get_channel", None)
    if channel is not None:
        channel().settimeout(_SECONDS)


def is_broken(fs: AbstractFileSystem) -> bool:
    """Whether its connection failed, so that it needs another one."""
    return _MARK in vars(fs)


@contextmanager
def noticing(fs: AbstractFileSystem) -> Iterator[None]:
    """Mark a filesystem as broken where an error may come of its connection."""
    try:
        yield
    except Exception as error:
        if connection_options(type(fs)) and not is_missing(error) and not is_denied(error):
            setattr(fs, _MARK, True)
        raise


def connect_anew(fs: AbstractFileSystem) -> AbstractFileSystem:
    """The same filesystem with a new connection."""
    made: AbstractFileSystem = type(fs)(*fs.storage_args, **{**fs.storage_options, "skip_instance_cache": True})
    limit_silence(made)
    return made
