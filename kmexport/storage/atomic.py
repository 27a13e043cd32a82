"""Small files that are written whole or not at all; and a lock on a file."""

from __future__ import annotations

import errno
import io
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from kmexport.arguments import address_of
from kmexport.storage.faults import is_missing
from kmexport.storage.filesystems import is_cache, unwrap_path

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["atomic_write", "local_path", "lock_file", "read_bytes", "remove_old_parts", "unlock_file", "write_bytes"]

try:
    import fcntl
except ImportError:  # Windows
    _fcntl: Any = None
else:
    _fcntl = fcntl

_ASK_AGAIN = 0.05  # seconds


def lock_file(file: IO[bytes]) -> None:
    """Hold the lock of an open file. Where another holds it, wait for it."""
    if _fcntl is not None:
        _fcntl.flock(file, _fcntl.LOCK_EX)
        return
    while not _locks_on_windows(file):
        time.sleep(_ASK_AGAIN)


def unlock_file(file: IO[bytes]) -> None:
    """Release the lock before the file is closed: Windows may take its time otherwise."""
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


_T = TypeVar("_T")

# On Windows a file is opened as text without it.
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_DISK_SAYS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)  # and leaves out which file it is about
_OLD = 86_400  # seconds, after which a file that was not finished belongs to a run that ended
_PART = re.compile(r"\.kmexport-[0-9a-f]{16}\.part")
# There a file can't take the place of one that another program reads, as a virus scanner does: try again for so long.
_BUSY_FOR = 2.0 if os.name == "nt" else 0.0  # seconds


@contextmanager
def atomic_write(path: str | os.PathLike[str], /, **storage_options: Any) -> Iterator[IO[bytes]]:
    """Open a binary file to write to. It takes its place at a path or an fsspec URL when the block ends, as a whole.

    Where the block raises, the disk is full or the process is killed, the file is as it was before. On the
    local disk it is written beside its place, brought to the disk and put there in one step; a link stays a link and
    permissions stay. Elsewhere it is gathered in memory and put in one call, which an object store does whole or not
    at all; a filesystem that can rename gets it under another name first. What was put there is asked for its size.

    A process that is killed while it writes leaves a file `.kmexport-….part` beside. It may be deleted; `mirror`
    does so after a day.
    Raises what the filesystem raises, and OSError where it takes a file and does not have it afterwards.

    >>> with atomic_write("memory://kept.txt") as file:
    ...     _ = file.write(b"all of it")
    >>> read_bytes("memory://kept.txt")
    b'all of it'
    """
    fs, target = _resolved(path, storage_options)
    if _is_local(fs):
        if fs.auto_mkdir:
            fs.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH120  # fsspec's paths are text
        with _beside(Path(os.path.realpath(target))) as file:
            yield file
        return
    gathered = io.BytesIO()
    yield gathered
    _put(fs, target, gathered.getvalue())


def write_bytes(fs: AbstractFileSystem, path: str, content: bytes | memoryview) -> None:
    """Write a file of a filesystem, whole or not at all. Folders of its path that are missing are made."""
    if _is_local(fs):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with _beside(Path(os.path.realpath(path))) as file:
            file.write(content)
        return
    content = bytes(content)
    try:
        _put(fs, path, content)
    except Exception as error:
        if not is_missing(error) or _is_object_store(fs):  # what lacks there is a bucket
            raise
        fs.makedirs(fs._parent(path), exist_ok=True)
        _put(fs, path, content)


def remove_old_parts(fs: AbstractFileSystem, folder: str) -> None:
    """Remove the files `.kmexport-….part` of runs that were killed a day ago or longer; those of others stay."""
    if _is_object_store(fs):
        return  # there are none
    for entry in fs.ls(folder, detail=True):
        path = entry["name"]
        if _PART.fullmatch(path.rpartition("/")[2]) is None:
            continue
        with suppress(OSError, NotImplementedError, KeyError):  # another run has removed it, or no time is told
            if time.time() - fs.modified(path).timestamp() > _OLD:
                fs.rm_file(path)


def read_bytes(path: str | os.PathLike[str], /, **storage_options: Any) -> bytes:
    """Read all bytes of a file, in one piece: so never the beginning of one version and the end of another.

    >>> read_bytes("memory://nowhere.txt")
    Traceback (most recent call last):
        ...
    FileNotFoundError: /nowhere.txt
    """
    fs, target = _resolved(path, storage_options)
    content: bytes = _when_free(partial(fs.cat_file, target)) if _is_local(fs) else fs.cat_file(target)
    return content


def local_path(path: str | os.PathLike[str], /, **storage_options: Any) -> Path | None:
    """Find the place of a path or a URL on the local disk, links followed; None where it is elsewhere.

    >>> local_path("memory://kept.txt") is None
    True
    """
    fs, target = _resolved(path, storage_options)
    return Path(os.path.realpath(target)) if _is_local(fs) else None


def _resolved(path: str | os.PathLike[str], storage_options: dict[str, Any]) -> tuple[AbstractFileSystem, str]:
    from fsspec.core import url_to_fs  # noqa: PLC0415  # fsspec is loaded when it is needed

    fs, target = url_to_fs(address_of(path), **storage_options)
    fs, target = unwrap_path(fs, target)
    while is_cache(fs):  # a cache would answer from long ago
        fs, target = unwrap_path(fs.fs, target)
    return fs, target


def _is_local(fs: AbstractFileSystem) -> bool:
    from fsspec.implementations.local import LocalFileSystem  # noqa: PLC0415

    return isinstance(fs, LocalFileSystem)


@contextmanager
def _beside(place: Path) -> Iterator[IO[bytes]]:
    permissions = _permissions(place)
    # Beside its place: then it is on the same device, and takes its place in one step.
    part = place.with_name(f".kmexport-{secrets.token_hex(8)}.part")
    # Nobody else may read it while it is written, where nobody else may read the file that it replaces.
    try:
        descriptor = os.open(part, _NEW_FILE, 0o666 if permissions is None else 0o600)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(place)) from error
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123  # a descriptor
            yield file
            file.flush()
            os.fsync(file.fileno())
        if permissions is not None:
            part.chmod(permissions)
        _when_free(partial(part.replace, place))
    except BaseException as error:
        with suppress(OSError):
            part.chmod(0o600)  # Windows deletes no file that is read-only
            part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None and error.errno in _DISK_SAYS:
            raise OSError(error.errno, error.strerror, str(place)) from error
        raise
    _sync(place.parent)


def _when_free(action: Callable[[], _T]) -> _T:
    until = time.monotonic() + _BUSY_FOR
    while True:
        try:
            return action()
        except PermissionError:
            if time.monotonic() >= until:
                raise
        time.sleep(0.02)


def _permissions(place: Path) -> int | None:
    try:
        mode = place.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "a file can't take the place of a folder", str(place))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "a file can't take the place of a device, a pipe or a socket", str(place))
    return stat.S_IMODE(mode)


def _sync(folder: Path) -> None:
    """Bring the new name to the disk. Some systems can't do it for a folder; the file itself is there."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _put(fs: AbstractFileSystem, target: str, content: bytes) -> None:
    from fsspec import AbstractFileSystem  # noqa: PLC0415

    is_copied = type(fs).mv is AbstractFileSystem.mv  # it would copy and delete
    if is_copied or _is_object_store(fs):
        fs.pipe_file(target, content)
    else:
        folder, slash, _ = target.rpartition("/")
        part = f"{folder}{slash}.kmexport-{secrets.token_hex(8)}.part"
        try:
            fs.pipe_file(part, content)
            _check(fs, part, content)
            _move(fs, part, target)
        except BaseException:
            with suppress(Exception):  # the first error says more
                fs.rm_file(part)
            raise
    _check(fs, target, content)


def _is_object_store(fs: AbstractFileSystem) -> bool:
    """Tell whether a filesystem puts a file whole or not at all: those with coroutines do, but for the one over SSH."""
    from fsspec.asyn import AsyncFileSystem  # noqa: PLC0415

    return isinstance(fs, AsyncFileSystem) and type(fs).__module__ != "sshfs.spec"


def _move(fs: Any, part: str, target: str) -> None:
    if type(fs).__module__ == "webdav4.fsspec":  # its own `mv` copies, and refuses a name that is taken
        fs.client.move(part, target, overwrite=True)
    else:
        fs.mv(part, target)


def _check(fs: AbstractFileSystem, target: str, content: bytes) -> None:
    """Ask for the size of a file: some filesystems return without an error and have written nothing, or half."""
    fs.invalidate_cache(fs._parent(target))
    size = fs.info(target).get("size")
    if size is not None and size != len(content):
        raise OSError(errno.EIO, f"{len(content)} bytes were written, and {size} are there", target)
