"""One version of each file, one budget of tries, and a place of its own for each reader: against real servers."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.http import HTTPFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from kmexport import Bucket, BucketUnreachableError, Event, Limits, RevisionChangedError
from kmexport.testing import write_export
from tests.support.leftovers import SECOND_FILE_HANGS
from tests.support.limited import limited
from tests.support.proxies import Fault, proxied
from tests.support.systems import NEEDS_FORK, NEEDS_REPLACING

MIB = 1 << 20
FILLER = "." * 1000


def events(person: str, count: int = 12_000) -> list[Event]:
    return [Event(person, n, "x", {"filler": FILLER}) for n in range(1, count + 1)]


def persons(records: Any) -> list[str]:
    return [record.person for record in records]


def gather(records: Any, found: list[str]) -> None:
    """The persons that come before an error."""
    for record in records:
        found.append(record.person)  # noqa: PERF401  # list.extend would lose them all


class TestReplacedOnS3:
    @pytest.fixture
    def export(self, rclone):
        folder = rclone.folder / f"replaced-{time.time_ns()}"
        write_export(folder, {1: [Event("first", 1, "x")], 2: events("old")})
        return folder, Bucket(f"s3://{folder.name}", **rclone.options)

    def replace(self, folder: Path, person: str, count: int = 12_000) -> None:
        write_export(folder, {1: [Event("first", 1, "x")], 2: events(person, count)})

    def test_between_two_parts_it_is_an_error(self, export):
        folder, bucket = export
        records = limited(bucket, prefetch_bytes=4 * MIB, requests=1).iter_records()
        found = [next(records).person for _ in range(100)]
        self.replace(folder, "new")
        with pytest.raises(RevisionChangedError, match=r"^revisions/2\.json: the file was replaced"):
            found += persons(records)
        assert set(found) == {"first", "old"}

    @pytest.mark.parametrize("count", [12_000, 15_000])
    def test_before_its_turn_the_new_version_comes_whole(self, export, count):
        folder, bucket = export
        records = limited(bucket, prefetch_bytes=0, requests=1).iter_records()
        assert next(records).person == "first"
        self.replace(folder, "new", count)
        assert persons(records) == ["new"] * count

    def test_after_a_break(self, export, rclone):
        folder, _ = export
        faults = iter([Fault("reset", 0.5)])

        def plan(method: str, path: str) -> Fault | None:
            if not path.endswith("/2.json"):
                return None
            fault = next(faults, None)
            if fault is None:
                self.replace(folder, "new")
            return fault

        with proxied(rclone.endpoint, plan=plan) as proxy:
            options = {**rclone.options, "endpoint_url": proxy.endpoint}
            found: list[str] = []
            try:
                limits = Limits(prefetch_bytes=0, requests=1)
                found += persons(Bucket(f"s3://{folder.name}", limits=limits, **options).iter_records())
            except RevisionChangedError:
                return
        assert set(found) in ({"first", "old"}, {"first", "new"})


class TestReplacedOnTheWeb:
    @pytest.mark.parametrize("person", ["old", "new"])
    def test_after_a_break(self, web, person):
        url, root = web
        folder = root / f"replaced-{time.time_ns()}"
        write_export(folder, {1: events("old")})
        faults = iter([Fault("short", 0.8)])

        def plan(method: str, path: str) -> Fault | None:
            if not path.endswith("/1.json"):
                return None
            fault = next(faults, None)
            if fault is None:
                write_export(folder, {1: events(person)})
            return fault

        with proxied(url, plan=plan) as proxy:
            bucket = Bucket(f"{proxy.endpoint}/{folder.name}")
            if person == "old":
                assert persons(bucket.iter_records()) == ["old"] * 12_000  # written again, and still the same
            else:
                found: list[str] = []
                with pytest.raises(RevisionChangedError, match="its beginning is another"):
                    gather(bucket.iter_records(), found)
                assert set(found) <= {"old"}
            assert proxy.faults.total() == 1


class TestReplacedLocally:
    @pytest.fixture
    def reading(self, tmp_path):
        write_export(tmp_path, {1: events("old")})
        records = Bucket(tmp_path).iter_records()
        assert next(records).person == "old"
        time.sleep(0.02)  # longer than a tick of the clock that stamps files
        return tmp_path / "revisions" / "1.json", records

    def test_written_over(self, reading):
        path, records = reading
        path.write_bytes(path.read_bytes().replace(b'"old"', b'"new"'))
        found: list[str] = []
        with pytest.raises(RevisionChangedError, match="it was written over"):
            gather(records, found)
        assert set(found) == {"old"}

    def test_written_over_by_a_larger(self, reading):
        path, records = reading
        path.write_bytes(path.read_bytes().replace(b'"old"', b'"newer"'))
        with pytest.raises(RevisionChangedError, match="it was written over"):
            list(records)

    @NEEDS_REPLACING
    def test_another_file_in_its_place(self, reading):
        path, records = reading
        path.with_name("new").write_bytes(path.read_bytes().replace(b'"old"', b'"new"'))
        path.with_name("new").replace(path)
        assert persons(records) == ["old"] * 11_999

    def test_written_on(self, reading):
        path, records = reading
        with path.open("ab") as file:
            file.write(b'{"_p":"more","_t":1}\n' * 1000)
        assert persons(records) == ["old"] * 11_999

    def test_cut(self, reading):
        path, records = reading
        os.truncate(path, 100_000)
        with pytest.raises(RevisionChangedError):
            list(records)

    @NEEDS_FORK
    def test_a_forked_process_has_its_own_place(self, tmp_path):
        write_export(tmp_path, {1: events("bob")})
        code = (
            "import os, kmexport\n"
            f"records = kmexport.Bucket({str(tmp_path)!r}).iter_records()\n"
            "next(records)\n"
            "child = os.fork()\n"
            "count = sum(1 for _ in records)\n"
            "if not child:\n    os._exit(count != 11999)\n"
            "print(count, os.waitpid(child, 0)[1])\n"
        )
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
        assert done.stdout == "11999 0\n"


def in_memory(tmp: Path) -> Bucket:
    write_export("/places", {n: events(f"p{n}", 900) for n in (1, 2)}, fs=MemoryFileSystem())
    return Bucket("memory://places")


def in_a_folder_in_memory(tmp: Path) -> Bucket:
    in_memory(tmp)
    return Bucket("", fs=DirFileSystem("/places", MemoryFileSystem()))


def in_a_subclass_of_memory(tmp: Path) -> Bucket:
    class Mine(MemoryFileSystem):
        cachable = False

    in_memory(tmp)
    return Bucket("/places", fs=Mine())


def in_a_cache_of_memory(tmp: Path) -> Bucket:
    in_memory(tmp)
    return Bucket("simplecache::memory://places", simplecache={"cache_storage": str(tmp / "cache")})


def in_a_list_cache_of_memory(tmp: Path) -> Bucket:
    in_memory(tmp)
    return Bucket("filecache::memory://places", filecache={"cache_storage": str(tmp / "cache")})


def in_a_tar_file_in_memory(tmp: Path) -> Bucket:
    write_export(tmp / "shop", {n: events(f"p{n}", 900) for n in (1, 2)})
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(tmp / "shop", "shop")
    MemoryFileSystem().pipe_file("/shop.tar", packed.getvalue())
    return Bucket("tar://shop::memory://shop.tar")


def on_disk(tmp: Path) -> Bucket:
    return write_export(tmp, {n: events(f"p{n}", 900) for n in (1, 2)})


PLACES: list[Callable[[Path], Bucket]] = [
    in_memory,
    in_a_folder_in_memory,
    in_a_subclass_of_memory,
    in_a_cache_of_memory,
    in_a_list_cache_of_memory,
    in_a_tar_file_in_memory,
    on_disk,
]
EXPECTED = ["p1"] * 900 + ["p2"] * 900


@pytest.mark.parametrize("place", PLACES)
def test_each_reader_has_its_own_place(place, tmp_path):
    bucket = place(tmp_path)
    pairs = list(zip(bucket.iter_records(), bucket.iter_records(), strict=True))
    assert persons(one for one, _ in pairs) == persons(other for _, other in pairs) == EXPECTED
    assert [one.timestamp for one, _ in pairs] == list(range(1, 901)) * 2
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: persons(bucket.iter_records()), range(8), timeout=60):
            assert found == EXPECTED


def test_a_cache_that_unpacks_is_not_cut_at_the_packed_size(tmp_path):
    write_export(tmp_path / "shop", {1: events("bob", 900)}, gzipped=[1])
    cache = {"cache_storage": str(tmp_path / "cache"), "compression": "gzip"}
    bucket = Bucket("shop", fs=DirFileSystem(str(tmp_path), LocalFileSystem()))
    assert len(list(bucket.iter_records())) == 900
    assert len(list(Bucket(f"simplecache::file://{tmp_path / 'shop'}", simplecache=cache).iter_records())) == 900


class TestTries:
    @pytest.fixture
    def folder(self, rclone):
        folder = rclone.folder / "tries"
        if not folder.exists():
            write_export(folder, {n: events(f"p{n}", 20) for n in range(1, 41)})
        return folder

    @pytest.mark.parametrize("kind", ["reset", "503"])
    def test_of_s3_are_counted_once(self, rclone, folder, kind, caplog):
        def plan(method: str, path: str) -> Fault | None:
            return Fault(kind, 0.0) if path.endswith("/1.json") else None

        with proxied(rclone.endpoint, plan=plan) as proxy:
            bucket = Bucket(f"s3://{folder.name}", **{**rclone.options, "endpoint_url": proxy.endpoint})
            with pytest.raises(BucketUnreachableError, match=r"revisions/1\.json"):
                list(bucket.iter_records())
            asked = Counter(path for _, path in proxy.requests)
        assert [count for path, count in asked.items() if path.endswith("/1.json")] == [10]
        told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert len(told) == 9
        assert told[0].startswith("revisions/1.json: try 1 of 10 failed (")

    def test_silence_ends_them(self, rclone, folder):
        def plan(method: str, path: str) -> Fault | None:
            return Fault("stall", 0.5) if path.endswith("/1.json") else None

        started = time.monotonic()
        with proxied(rclone.endpoint, plan=plan, stall=30.0) as proxy:
            options = {**rclone.options, "endpoint_url": proxy.endpoint}
            bucket = Bucket(f"s3://{folder.name}", limits=Limits(silent_for=2), **options)
            with pytest.raises(BucketUnreachableError, match=r"revisions/1\.json"):
                list(bucket.iter_records())
        assert time.monotonic() - started < 15

    def test_the_first_record_does_not_fetch_all_files(self, rclone, folder):
        with proxied(rclone.endpoint) as proxy:
            records = Bucket(f"s3://{folder.name}", **{**rclone.options, "endpoint_url": proxy.endpoint}).iter_records()
            next(records)
            time.sleep(0.3)
            asked = [path for _, path in proxy.requests if "/revisions/" in path and path.endswith(".json")]
            assert 1 <= len(asked) <= 4
            assert 1 + len(list(records)) == 20 * 40


def test_a_web_session_of_two_connections(web):
    from aiohttp import ClientSession, TCPConnector

    async def client(**options: Any) -> ClientSession:
        return ClientSession(connector=TCPConnector(limit=2), **{k: v for k, v in options.items() if k != "loop"})

    url, root = web
    write_export(root / "connections", {n: events(f"p{n}", 9000) for n in (1, 2, 3)})
    fs = HTTPFileSystem(get_client=client, skip_instance_cache=True)
    bucket = Bucket(f"{url}/connections", fs=fs)
    count = 0
    for one, other in zip(bucket.iter_records(), bucket.iter_records(), strict=True):
        assert one == other
        count += 1
        if count == 100:
            assert bucket.status().exported_revisions == 3
    assert count == 27_000


@NEEDS_FORK
def test_threads_of_forked_processes(rclone):
    folder = rclone.folder / "forked"
    write_export(folder, {n: events(f"p{n}", 20) for n in range(1, 9)})
    code = (
        "import os, kmexport\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        f"bucket = kmexport.Bucket('s3://forked', **{rclone.options!r})\n"
        "def count(_=0):\n    return sum(1 for _ in bucket.iter_records())\n"
        "assert count() == 160\n"
        "for _ in range(5):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        with ThreadPoolExecutor(4) as pool:\n"
        "            print(sum(pool.map(count, range(4))), flush=True)\n"
        "        os._exit(0)\n"
        "    os.waitpid(child, 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=90)
    assert done.stdout == "640\n" * 5, done.stderr


def test_listing_in_threads(rclone):
    write_export(rclone.folder / "listed-in-threads", {n: [Event("p", n, "x")] for n in range(1, 9)})
    bucket = Bucket("s3://listed-in-threads", **rclone.options)
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: len(bucket.revisions()), range(200), timeout=90))
    assert found == {8}


def test_readers_that_are_left_hanging_do_not_hold_up_the_end_of_the_program():
    code = (
        "readers = [reader() for _ in range(20)]\n"
        "for one in readers:\n    next(one).read(1)\n"
        "print(time.monotonic(), flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", SECOND_FILE_HANGS + code], check=True, capture_output=True, text=True, timeout=50
    )
    assert time.monotonic() - float(done.stdout) < 6


def test_a_reader_that_reads_on_when_the_program_has_ended_gets_an_error(rclone):
    write_export(rclone.folder / "read-on", {n: events("p", 3000) for n in (1, 2)})
    code = (
        "import atexit\n"
        "left = []\n"
        "atexit.register(lambda: sum(1 for _ in left[-1]))\n"
        "from kmexport import Bucket, Limits\n"
        "limits = Limits(prefetch_bytes=0, requests=1)\n"
        f"bucket = Bucket('s3://read-on', limits=limits, **{rclone.options!r})\n"
        "left.append(bucket.iter_records())\n"
        "next(left[-1])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=50)
    assert "BucketUnreachableError: s3://read-on: reading revisions/1.json failed" in done.stderr


@pytest.mark.parametrize("last", ["close()", "read(1)"])
def test_a_reader_that_is_used_when_the_program_has_ended(last):
    code = (
        "import atexit, io\n"
        "left = []\n"
        f"atexit.register(lambda: left[-1].{last})\n"  # before the library's own, so it runs after that
        "from kmexport.storage.fetch.prefetch import fetch_ahead\n"
        "from kmexport.storage.fetch.threads import ThreadSource\n"
        "from kmexport.storage.open_files import FileRequest\n"
        "size = 1 << 20\n"
        "files = [FileRequest(str(n), str(n), size) for n in range(9)]\n"
        "def source():\n"
        "    return ThreadSource(lambda path: io.BytesIO(bytes(size)), 2)\n"
        "reader = fetch_ahead(source, files, budget=0, requests=2)\n"
        "left.append(next(reader))\n"
        "left[-1].read(1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=50)
    assert done.stderr == ""
