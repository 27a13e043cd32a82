"""Files that are there as a whole or as they were before: the one way in which maps and cursors are kept."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import fsspec
import pytest
from fsspec import AbstractFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from kmexport.storage.atomic import atomic_write, local_path, read_bytes
from tests.support.systems import NEEDS_LIMITS, NEEDS_PERMISSIONS, NEEDS_PIPES, NEEDS_REPLACING, make_link

OLD, NEW = b"old\n" * 3, b"new\n" * 50_000


def write(target: object, content: bytes, **options: object) -> None:
    with atomic_write(target, **options) as file:  # type: ignore[arg-type]
        for start in range(0, len(content), 1 << 14):
            file.write(content[start : start + (1 << 14)])


def write_and_raise(target: object, error: type[BaseException], **options: object) -> None:
    with atomic_write(target, **options) as file:  # type: ignore[arg-type]
        file.write(NEW)
        raise error


@contextmanager
def no_file_above(limit: int) -> Iterator[None]:
    """What a full disk is to a program: a write fails in the middle of a file."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class Renaming(MemoryFileSystem):
    """A file store that can rename, as SFTP can; a put may break, in the middle or without a word."""

    protocol = "renaming"
    store: dict[str, object] = {}  # noqa: RUF012
    breaks = ""

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(path.replace("renaming://", "memory://"))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: object) -> None:
        if self.breaks == "silently":
            return
        half = value[: len(value) // 2]
        super().pipe_file(path, half if self.breaks in ("half", "short") else value)
        if self.breaks == "half":
            raise ConnectionResetError(errno.ECONNRESET, "the connection was reset")

    def mv(self, path1: str, path2: str, **kwargs: object) -> None:
        if self.breaks == "mv":
            raise PermissionError(errno.EACCES, "no", path2)
        self.store[path2] = self.store.pop(path1)


def register_renaming() -> None:
    fsspec.register_implementation("renaming", Renaming, clobber=True)
    Renaming.store.clear()


@pytest.fixture(params=["local", "file://", "memory", "simplecache", "renaming", "rclone", "moto"])
def place(request, tmp_path) -> tuple[str, dict[str, object]]:
    """An address that can be written, on each kind of storage, and its options."""
    kind = request.param
    register_renaming()
    if kind in ("rclone", "moto"):
        server = request.getfixturevalue(kind)
        options = server.options
        bucket = f"whole-{random.randrange(10**9)}"
        fsspec.filesystem("s3", **options).mkdir(bucket)
        return f"s3://{bucket}/kept.txt", options
    return {
        "local": (str(tmp_path / "kept.txt"), {}),
        "file://": (f"file://{tmp_path}/kept.txt", {}),
        "memory": ("memory://folder/kept.txt", {}),
        "simplecache": ("simplecache::memory://folder/kept.txt", {}),
        "renaming": ("renaming://folder/kept.txt", {}),
    }[kind]


def test_written_read_and_replaced(place):
    url, options = place
    for content in (OLD, NEW, b"", OLD):
        write(url, content, **options)
        assert read_bytes(url, **options) == content


def test_a_block_that_raises_leaves_the_file_as_it_was(place):
    url, options = place
    with pytest.raises(ZeroDivisionError):
        write_and_raise(url, ZeroDivisionError, **options)
    with pytest.raises(FileNotFoundError):
        read_bytes(url, **options)
    write(url, OLD, **options)
    for error in (ZeroDivisionError, KeyboardInterrupt):
        with pytest.raises(error):
            write_and_raise(url, error, **options)
    assert read_bytes(url, **options) == OLD


def test_nothing_else_is_left_beside(tmp_path):
    write(tmp_path / "kept.txt", OLD)
    with suppress(ZeroDivisionError):
        write_and_raise(tmp_path / "kept.txt", ZeroDivisionError)
    write(tmp_path / "kept.txt", NEW)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


@NEEDS_LIMITS
def test_a_full_disk(tmp_path):
    write(tmp_path / "kept.txt", OLD)
    with no_file_above(100_000), pytest.raises(OSError, match="File too large"):
        write(tmp_path / "kept.txt", NEW)
    assert (tmp_path / "kept.txt").read_bytes() == OLD
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


@pytest.fixture
def tiny_disk(tmp_path) -> Iterator[Path]:
    if sys.platform != "linux":
        pytest.skip("only Linux mounts a tmpfs")
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tiny", folder]
    mounted = subprocess.run(mount, check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("a disk of its own can't be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_truly_full(tiny_disk):
    write(tiny_disk / "kept.txt", OLD)
    with pytest.raises(OSError, match="No space left on device"):
        write(tiny_disk / "kept.txt", NEW)
    assert (tiny_disk / "kept.txt").read_bytes() == OLD
    assert [path.name for path in tiny_disk.iterdir()] == ["kept.txt"]


def test_a_link_to_another_device_stays_a_link(tiny_disk, tmp_path):
    write(tiny_disk / "real.txt", OLD)
    link = tmp_path / "kept.txt"
    make_link(link, tiny_disk / "real.txt")
    write(link, OLD * 2)
    assert link.is_symlink()
    assert (tiny_disk / "real.txt").read_bytes() == OLD * 2
    with pytest.raises(OSError, match="No space left"):
        write(link, NEW)
    assert link.read_bytes() == OLD * 2


def test_another_temporary_folder_on_another_device(tiny_disk, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tiny_disk))
    write(tmp_path / "kept.txt", NEW)
    assert (tmp_path / "kept.txt").read_bytes() == NEW


@NEEDS_PERMISSIONS
def test_permissions_stay(tmp_path):
    kept = tmp_path / "kept.txt"
    write(kept, OLD)
    assert kept.stat().st_mode & 0o777 == 0o666 & ~_umask()
    kept.chmod(0o640)
    write(kept, NEW)
    assert kept.stat().st_mode & 0o777 == 0o640


@NEEDS_PERMISSIONS
def test_what_others_may_not_read_they_may_not_read_while_it_is_written(tmp_path):
    kept = tmp_path / "kept.txt"
    write(kept, OLD)
    kept.chmod(0o600)
    with atomic_write(kept) as file:
        file.write(NEW)
        modes = [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()]
    assert modes == [0o600, 0o600]
    assert kept.read_bytes() == NEW


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def test_what_is_no_file_is_not_replaced(tmp_path):
    with pytest.raises(IsADirectoryError):
        write(tmp_path, OLD)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write(tmp_path / "nowhere" / "kept.txt", OLD)
    write(f"file://{tmp_path}/nowhere/kept.txt", OLD, auto_mkdir=True)
    assert (tmp_path / "nowhere" / "kept.txt").read_bytes() == OLD


@NEEDS_PIPES
def test_a_device_and_a_pipe_are_not_replaced(tmp_path):
    with pytest.raises(OSError, match="device"):
        write(os.devnull, OLD)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe"):
        write(tmp_path / "pipe", OLD)


@pytest.mark.parametrize("breaks", ["half", "short", "silently", "mv"])
def test_a_storage_that_breaks(breaks, monkeypatch):
    register_renaming()
    write("renaming://folder/kept.txt", OLD)
    monkeypatch.setattr(Renaming, "breaks", breaks)
    with pytest.raises(OSError):  # each its own
        write("renaming://folder/kept.txt", NEW)
    monkeypatch.setattr(Renaming, "breaks", "")
    assert read_bytes("renaming://folder/kept.txt") == OLD
    assert [key for key in Renaming.store if key.endswith(".part")] == []


def test_in_a_transaction_of_the_users_own(tmp_path):
    """Once a file was put off to the end of the transaction, and nobody was told."""
    local = fsspec.filesystem("file")
    with local.transaction:
        write(tmp_path / "kept.txt", OLD)
        assert (tmp_path / "kept.txt").read_bytes() == OLD
    memory = fsspec.filesystem("memory")
    with memory.transaction, pytest.raises(FileNotFoundError):
        write("memory://kept.txt", OLD)


@NEEDS_REPLACING
def test_many_writers_of_one_file(tmp_path):
    contents = [bytes([65 + number]) * (50_000 + number) for number in range(8)]
    threads = [threading.Thread(target=write, args=(tmp_path / "kept.txt", content)) for content in contents]
    for thread in threads:
        thread.start()
    seen = set()
    while any(thread.is_alive() for thread in threads):
        with suppress(FileNotFoundError):
            seen.add(read_bytes(tmp_path / "kept.txt"))
    for thread in threads:
        thread.join()
    assert seen <= set(contents)
    assert read_bytes(tmp_path / "kept.txt") in contents


WRITER = """
import sys, itertools
from kmexport.storage.atomic import atomic_write
for number in itertools.count():
    with atomic_write(sys.argv[1]) as file:
        for _ in range(200):
            file.write(b"%d\\n" % (number % 10) * 1000)
    print(flush=True)
"""


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path):
    chance = random.Random(8)
    for _ in range(12):
        with subprocess.Popen([sys.executable, "-c", WRITER, tmp_path / "kept.txt"], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(chance.random() / 20)
            writer.kill()
        lines = read_bytes(tmp_path / "kept.txt").split(b"\n")
        assert len(lines) == 200_001
        assert len(set(lines[:-1])) == 1


def test_where_a_local_path_is(tmp_path):
    make_link(tmp_path / "link", tmp_path / "kept.txt")
    for url in (tmp_path / "link", f"file://{tmp_path}/link", f"local://{tmp_path}/kept.txt"):
        assert local_path(url) == (tmp_path / "kept.txt").resolve()
    assert local_path("memory://kept.txt") is None


def test_a_filesystem_that_can_rename_is_known_by_its_own_mv():
    assert Renaming.mv is not AbstractFileSystem.mv
    assert MemoryFileSystem.mv is AbstractFileSystem.mv
