"""What Windows and other systems do otherwise, as far as it can be tried on each: see docs/processes.md."""

from __future__ import annotations

import ast
import errno
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from fsspec.implementations.local import LocalFileSystem
from hypothesis import given
from hypothesis import strategies as st

import kmexport
from kmexport import Bucket, Cursor, CursorConflictError, Event, RevisionChangedError, Window, profile
from kmexport.revisions.manifest import is_revision_name, read_index
from kmexport.storage.atomic import atomic_write, lock_file, read_bytes, unlock_file
from kmexport.storage.credentials import public_name
from kmexport.storage.open_files import FileRequest, LocalFile
from kmexport.testing import write_export
from kmexport.tour import main, tour
from kmexport.windows import time_at
from tests.support.systems import NEEDS_OLD_TIMES

PACKAGE = Path(kmexport.__file__).parent
TESTS = Path(__file__).parents[1]

FIRST, LAST = (int(datetime(*day, tzinfo=UTC).timestamp()) for day in ((1, 1, 3), (9999, 12, 29)))


def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]


def called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def reads_text_unsaid(call: ast.Call) -> bool:
    """Whether a call opens a file as text and does not say how it is written: on Windows that is cp1252."""
    name = called(call)
    if any(keyword.arg in ("encoding", None) for keyword in call.keywords):
        return False
    if name in ("read_text", "write_text"):
        return len(call.args) < (1 if name == "read_text" else 2)
    given = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    modes = [one.value for one in given if isinstance(one, ast.Constant) and set(str(one.value)) <= set("rwxabt+")]
    is_text = bool(modes) and not any("b" in mode for mode in modes)
    if isinstance(call.func, ast.Name):
        return name == "open" and (is_text or not modes)
    if name in ("NamedTemporaryFile", "TemporaryFile", "fdopen"):
        return is_text
    # A filesystem's own is binary unless it is told otherwise, a path's own is text. A tar file's mode is its own.
    is_path = isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", "") != "tarfile"
    return name == "open" and is_path and (is_text or not given)


@pytest.mark.parametrize(
    ("line", "is_unsaid"),
    [
        ("open(path)", True),
        ("open(path, mode='w')", True),
        ("open(path, 'rb')", False),
        ("path.open()", True),
        ("path.open('a')", True),
        ("path.open('ab')", False),
        ("fs.open(path)", False),
        ("tarfile.open(path, 'w')", False),
        ("path.read_text()", True),
        ("path.read_text('utf-8')", False),
        ("path.write_text(text)", True),
        ("path.write_text(text, encoding='utf-8')", False),
        ("tempfile.TemporaryFile('w')", True),
    ],
)
def test_text_that_is_opened_unsaid(line, is_unsaid):
    (call,) = [node for node in ast.walk(ast.parse(line)) if isinstance(node, ast.Call)]
    assert reads_text_unsaid(call) is is_unsaid


@pytest.mark.parametrize("folder", [PACKAGE, TESTS], ids=lambda folder: folder.name)
def test_every_text_file_is_opened_with_its_encoding(folder):
    unsaid = [
        f"{path}:{call.lineno}" for path in folder.rglob("*.py") for call in calls(path) if reads_text_unsaid(call)
    ]
    assert unsaid == []


@pytest.mark.parametrize("path", sorted([*PACKAGE.rglob("*.py"), *TESTS.glob("*.py")]), ids=lambda path: path.stem)
def test_no_module_needs_at_its_import_what_windows_lacks(path):
    """A test module that fails there at its first lines would end the whole run."""
    needed = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:  # its first level: an import in a try is no need
        if isinstance(node, ast.Import):
            needed |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            needed.add(str(node.module))
    assert needed.isdisjoint(UNIX_ONLY)


class TestTimes:
    @NEEDS_OLD_TIMES
    @given(st.integers(FIRST, LAST), st.sampled_from(["UTC", "America/New_York", "Asia/Kolkata", "Pacific/Apia"]))
    def test_as_the_clock_of_the_system_has_it(self, seconds, name):
        zone = ZoneInfo(name)
        assert time_at(seconds) == datetime.fromtimestamp(seconds, UTC)
        at, expected = time_at(seconds, zone), datetime.fromtimestamp(seconds, zone)
        assert (at.isoformat(), at.tzinfo, at.fold) == (expected.isoformat(), expected.tzinfo, expected.fold)

    def test_before_1970_and_far_ahead(self):
        assert Event("ana", -1, "x").time.isoformat() == "1969-12-31T23:59:59+00:00"
        assert Event("ana", 40_000_000_000, "x").time.year == 3237
        assert Window.day("1066-10-14", "Europe/London").start < 0
        assert str(Window.day("4000-01-01")).count("4000-01-01T00:00:00Z") == 1

    @pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
    def test_nothing_else_makes_times_of_seconds(self, path):
        """Windows knows no negative ones, and years below 1000 have fewer digits on some systems."""
        names = {"fromtimestamp", "utcfromtimestamp", "gmtime", "localtime", "mktime", "strftime"}
        assert names.isdisjoint(map(called, calls(path)))

    def test_years_have_four_digits(self, tmp_path):
        first = -62_135_596_800  # of the calendar
        bucket = write_export(tmp_path, {1: [Event("ana", first, "x")]})
        assert b"0001-01-01 00:00 GMT" in (tmp_path / "index.csv").read_bytes()
        assert "0001-01-01 00:00:00 UTC" in str(profile(bucket.iter_records()))
        assert any("0001-01-01 00:00:00 UTC" in line for line in tour(bucket))


class TestConsoles:
    @pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "utf-8"])
    def test_the_tour_of_names_that_it_has_no_signs_for(self, tmp_path, encoding):
        names = ["Paraná", "日本", "€", "🙂", r"\ud800"]
        write_export(tmp_path, {1: [f'{{"_p":"ana","_t":0,"_n":"{name}"}}'.encode() for name in names]})
        environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "LC_ALL": "C"}
        command = [sys.executable, "-m", "kmexport.tour", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, check=False, env=environment)
        assert (done.returncode, done.stderr) == (0, b"")
        for name in ["paraná", "日本", "€", "🙂"]:
            assert name.encode(encoding, "backslashreplace") in done.stdout

    def test_the_tour_where_the_output_has_no_encoding(self, monkeypatch):
        printed = io.StringIO()
        monkeypatch.setattr(sys, "stdout", printed)
        assert main([]) == 0
        assert "12 of 13 revisions are exported" in printed.getvalue()


# The main jobs, as in a script of its own.
JOBS = """
import datetime, io, os, pathlib, sys
from kmexport import *
from kmexport.testing import write_export
from kmexport.tour import main, tour
folder = pathlib.Path(sys.argv[1])
lines = [b'{"_p":"ana","_t":-5,"_n":"Paran\\\\303\\\\241"}', b'{"_p":"ana","_p2":"b","_t":7}']
write_export(folder / "export", {1: lines})
bucket = Bucket(folder / "export")
people = bucket.identities()
people.save(folder / "people.jsonl")
assert IdentityMap.load(folder / "people.jsonl").people() == ["ana"]
records = list(drop_duplicates(merge_identities(bucket.iter_records(), people)))
assert records[0].name == "Paran\\xe1" and records[0].time.year == 1969
dump_records(records, io.BytesIO())
list(to_rows(records, tz="America/New_York"))
str(profile(records))
cursor = Cursor.load(folder / "cursor.json")
cursor.done(cursor.unread(bucket))
cursor.save(folder / "cursor.json")
assert 1 in Cursor.load(folder / "cursor.json")
assert bucket.audit(deep=True) and bucket.coverage(Window.day("1970-01-01")) is not None
mirror(bucket, folder / "copy")
assert len(list(Bucket(folder / "copy").iter_records())) == 2
list(Bucket.sample().iter_records(Window.day("2012-10-03", tz="America/New_York")))
"""
TABLES = """
from kmexport import Facts, reports
from kmexport.lake import open_lake, sync
with Facts(bucket, database=folder / "facts.duckdb") as facts:
    assert reports.event_counts(facts, "paran\\xe1").people == 1
    facts.build()
sync(bucket, folder / "lake")
with Facts(open_lake(folder / "lake")) as facts:
    assert facts.sql("select count(*) from events").fetchall() == [(1,)]
"""
UNIX_ONLY = ["fcntl", "grp", "posix", "pwd", "resource", "syslog", "termios", "tty"]


def run(code: str, folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *options, "-c", code, str(folder)]
    # The output is plain: no console is asked. On Windows it may be in another encoding, as that of the system is.
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="backslashreplace",
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.slow
class TestJobs:
    def test_no_text_is_read_by_the_systems_encoding(self, tmp_path):
        """Only by our own code: libraries do as they like, and are loaded before the warning is an error."""
        strict = "import warnings\nwarnings.filterwarnings('error', category=EncodingWarning, module='kmexport')\n"
        done = run(strict + JOBS + TABLES + "main([])\n", tmp_path, "-X", "warn_default_encoding")
        assert done.returncode == 0, done.stderr

    def test_an_ascii_locale(self, tmp_path):
        folder = tmp_path / "plain"
        folder.mkdir()
        done = run(JOBS + TABLES + "main([])\n", folder, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
        assert (done.returncode, done.stderr) == (0, "")

    def test_without_what_windows_lacks(self, tmp_path):
        """Modules are hidden, calls are taken away; a lock is tried in TestLocks."""
        hidden = f"""
import sys, os, threading, subprocess, tempfile, multiprocessing, asyncio, socket, signal, pathlib, shutil
import fsspec, fsspec.implementations.local, attrs, msgspec, tenacity, logging
for name in {UNIX_ONLY!r}:
    sys.modules[name] = None
for name in ("fork", "register_at_fork", "pread", "geteuid", "getuid", "fchmod", "umask_"):
    if hasattr(os, name):
        delattr(os, name)
class Windows:
    LK_NBLCK, LK_UNLCK = 2, 0
    def locking(file, how, count):
        print("locked" if how == 2 else "let go")
sys.modules["msvcrt"] = Windows
"""
        done = run(hidden + JOBS, tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.split("\n")[:2] == ["locked", "let go"]


class TestLocks:
    @pytest.fixture(autouse=True)
    def windows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The call of Windows, by the lock of this system."""
        fcntl = pytest.importorskip("fcntl", reason="the call of Windows is played by that of other systems")

        def locking(file: int, how: int, count: int) -> None:
            assert (os.lseek(file, 0, os.SEEK_CUR), count) == (0, 1)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB if how else fcntl.LOCK_UN)
            except BlockingIOError as error:
                raise PermissionError(errno.EACCES, "Permission denied") from error

        monkeypatch.setattr("kmexport.storage.atomic._fcntl", None)
        monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(LK_NBLCK=2, LK_UNLCK=0, locking=locking))

    def test_the_second_to_save_is_refused(self, tmp_path):
        first, second = Cursor([1]), Cursor([2])
        first.save(tmp_path / "cursor.json")
        with pytest.raises(CursorConflictError, match=r"cursor\.json"):
            second.save(tmp_path / "cursor.json")
        assert 1 in Cursor.load(tmp_path / "cursor.json")

    def test_saving_waits_for_the_other(self, tmp_path):
        path = tmp_path / "cursor.json"
        saved: list[str] = []

        def save() -> None:
            try:
                Cursor([1]).save(path)
            except CursorConflictError:
                saved.append("conflict")

        Cursor([2]).save(path)
        with (tmp_path / ".cursor.json.lock").open("ab") as lock:
            lock_file(lock)
            thread = threading.Thread(target=save)
            thread.start()
            time.sleep(0.1)
            assert (thread.is_alive(), saved) == (True, [])
            unlock_file(lock)
        thread.join(5)
        assert saved == ["conflict"]
        assert 1 not in Cursor.load(path)


class TestBusyFiles:
    """On Windows a file that another program reads can't be replaced; nor read while it is."""

    @pytest.fixture(autouse=True)
    def patient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("kmexport.storage.atomic._BUSY_FOR", 0.2)

    @pytest.fixture
    def busy(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
        """Let the replacing of a file fail so many times."""

        def let_fail(times: int) -> list[int]:
            replace, tries = Path.replace, []

            def fails(self: Path, target: Path) -> Path:
                tries.append(1)
                if len(tries) <= times:
                    raise PermissionError(errno.EACCES, "Access is denied", str(self), 5, str(target))
                return replace(self, target)

            monkeypatch.setattr(Path, "replace", fails)
            return tries

        return let_fail

    def test_tried_again(self, tmp_path, busy):
        tries = busy(3)
        with atomic_write(tmp_path / "kept.txt") as file:
            file.write(b"new")
        assert (len(tries), read_bytes(tmp_path / "kept.txt")) == (4, b"new")

    def test_not_for_ever(self, tmp_path, busy):
        with atomic_write(tmp_path / "kept.txt") as file:
            file.write(b"old")
        busy(10_000)
        with pytest.raises(PermissionError), atomic_write(tmp_path / "kept.txt") as file:
            file.write(b"new")
        assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("kept.txt", b"old")]

    def test_reading_too(self, tmp_path, monkeypatch):
        (tmp_path / "kept.txt").write_bytes(b"old")
        read, tries = LocalFileSystem.cat_file, []

        def fails(self: LocalFileSystem, path: str, **options: object) -> bytes:
            tries.append(path)
            if len(tries) < 3:
                raise PermissionError(errno.EACCES, "Access is denied", path)
            return read(self, path, **options)

        monkeypatch.setattr(LocalFileSystem, "cat_file", fails)
        assert (read_bytes(tmp_path / "kept.txt"), len(tries)) == (b"old", 3)

    def test_elsewhere_at_once(self, tmp_path, busy, monkeypatch):
        monkeypatch.setattr("kmexport.storage.atomic._BUSY_FOR", 0.0)
        tries = busy(10)
        with pytest.raises(PermissionError), atomic_write(tmp_path / "kept.txt") as file:
            file.write(b"new")
        assert len(tries) == 1


class TestPaths:
    @pytest.fixture
    def backslashes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "sep", "\\")

    @pytest.mark.parametrize(
        "path", ["C:\\jobs\\kept.txt", "C:/jobs/kept.txt", "\\\\server\\share\\kept.txt", "kept.txt"]
    )
    def test_the_name_of_a_file(self, backslashes, path):
        assert public_name(path) == "kept.txt"

    @pytest.mark.parametrize(
        ("address", "revisions"),
        [
            ("C:\\export", "C:/export/revisions"),
            ("C:/export", "C:/export/revisions"),
            ("c:\\export\\", "c:/export/revisions"),
            ("C:\\", "C:/revisions"),
            ("\\\\server\\share\\export", "//server/share/export/revisions"),
            ("file:///C:/export", "C:/export/revisions"),
            ("file://C:\\export", "C:/export/revisions"),
            ("local://C:/export", "C:/export/revisions"),
        ],
    )
    def test_drives_and_shares(self, backslashes, address, revisions):
        """What fsspec makes of an address on Windows, and which folder is listed then."""
        bucket = Bucket(address)
        fs, path = bucket.folder._fresh("revisions")
        assert (type(fs), path) == (LocalFileSystem, revisions)
        shown = "file://***" if address == "file://C:\\export" else address  # it could be a name with a password
        assert repr(bucket) == f"Bucket({shown!r})"

    @pytest.mark.parametrize(
        "name",
        [
            r"revisions\1.json", r"C:\x\1.json", "C:1.json", "revisions/1.json:stream", r"..\1.json",
            r"revisions/..\1.json", "revisions/CON.json", "revisions/1.json.", "revisions/1.JSON",
        ],
    )  # fmt: skip
    def test_no_name_in_an_index_leads_elsewhere(self, name):
        """Backslashes, drives, streams, devices, dots at the end: Windows would open another file by each."""
        index = read_index(f"filename,min_timestamp,max_timestamp\nrevisions/2.json,1,2\n{name},1,2\n".encode())
        assert [row.path for row in index.revisions] == ["revisions/2.json"]
        assert len(index.odd_rows) == 1
        assert not is_revision_name(name.rpartition("/")[2])


class TestReadingWithoutPread:
    """Windows has no pread: the file's place is set for each reading."""

    @pytest.fixture(autouse=True)
    def windows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "pread", raising=False)

    def test_every_record(self):
        assert sum(1 for _ in Bucket.sample().iter_records()) == 2_000

    def test_a_file_that_is_written_over_is_an_error(self, tmp_path):
        """Its own read would give the old bytes, out of its buffer, and the two versions would be one file."""
        path = tmp_path / "1.json"
        path.write_bytes(b"old\n" * 100)
        file = LocalFile(LocalFileSystem(), FileRequest("1.json", str(path), None))
        assert file.read(4) == b"old\n"
        with path.open("r+b") as same:
            same.write(b"new\n" * 101)
        with closing(file), pytest.raises(RevisionChangedError):
            file.read(4)
