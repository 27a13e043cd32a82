"""Filesystems that are not made for many threads or broken connections are read right all the same."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.http import HTTPFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from kmexport import Bucket, BucketUnreachableError, Event, PropertySet
from kmexport.storage.faults import is_missing, is_transient
from kmexport.storage.fetch.prefetch import fetch_ahead
from kmexport.storage.fetch.threads import ThreadSource
from kmexport.storage.open_files import FileRequest
from kmexport.testing import write_export
from tests.support.leftovers import SECOND_FILE_HANGS, eventually, fetchers
from tests.support.proxies import Fault, proxied
from tests.support.systems import NEEDS_FORK

CACHES = ["simplecache", "filecache"]


def events(revision: int, count: int = 400) -> list[Event]:
    return [Event(f"p{revision}", n, "x", {"filler": os.urandom(40).hex()}) for n in range(count)]


@pytest.fixture
def export(tmp_path):
    revisions = {n: events(n) for n in range(1, 9)}
    write_export(tmp_path / "shop", revisions)
    return tmp_path / "shop", [event for _, several in sorted(revisions.items()) for event in several]


@pytest.fixture
def tar(export, tmp_path):
    folder, expected = export
    with tarfile.open(tmp_path / "shop.tar", "w") as archive:
        archive.add(folder, "shop")
    return Bucket(f"tar://shop::{tmp_path / 'shop.tar'}"), expected


def test_two_loops_over_one_tar_file(tar):
    bucket, expected = tar
    for _ in range(3):
        both = zip(bucket.iter_records(), bucket.iter_records(), strict=True)
        assert [one for one, other in both if one == other] == expected


def test_a_manifest_of_a_tar_file_within_a_loop(tar):
    bucket, expected = tar
    found = []
    for number, event in enumerate(bucket.iter_records()):
        if number % 50 == 0:
            assert bucket.status().exported_revisions == 8
        found.append(event)
    assert found == expected


@pytest.fixture
def cached(web, tmp_path, request):
    """An export on a web server behind a proxy with one fault, and a function that makes a bucket with a cold cache."""
    folder = web[1] / "cached"
    revisions = {n: events(n, 50) for n in range(1, 5)}
    write_export(folder, revisions)
    return [event for _, several in sorted(revisions.items()) for event in several]


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("kind", ["short", "reset", "503"])
def test_a_cache_never_keeps_half_a_file(web, cached, tmp_path, cache, kind):
    faults = iter([Fault(kind, 0.5)])

    def plan(method: str, path: str) -> Fault | None:
        return next(faults, None) if path.endswith("/2.json") and method == "GET" else None

    with proxied(web[0], plan=plan) as proxy:
        place = {cache: {"cache_storage": str(tmp_path / "cache")}}
        bucket = Bucket(f"{cache}::{proxy.endpoint}/cached", **place)
        assert list(bucket.iter_records()) == cached
        assert proxy.faults.total() == 1
        before = len(proxy.requests)
        assert list(bucket.iter_records()) == cached
        assert ("GET", "/cached/revisions/2.json") not in proxy.requests[before:]


@pytest.mark.parametrize("cache", CACHES)
def test_a_cache_says_that_the_server_failed_and_not_that_the_file_is_gone(web, cached, tmp_path, cache):
    def plan(method: str, path: str) -> Fault | None:
        return Fault("503") if path.endswith("/2.json") else None

    with proxied(web[0], plan=plan) as proxy:
        bucket = Bucket(f"{cache}::{proxy.endpoint}/cached", **{cache: {"cache_storage": str(tmp_path / "cache")}})
        with pytest.raises(BucketUnreachableError, match=r"revisions/2\.json"):
            list(bucket.iter_records(on_error="skip"))


@pytest.mark.parametrize("cache", CACHES)
def test_two_readers_of_a_cold_cache(web, cached, tmp_path, cache):
    bucket = Bucket(f"{cache}::{web[0]}/cached", **{cache: {"cache_storage": str(tmp_path / "cache")}})
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: list(bucket.iter_records()), range(4), timeout=60):
            assert found == cached


class Odd(MemoryFileSystem):
    """Raises what a filesystem should not."""

    cachable = False
    error: BaseException

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        raise self.error


@pytest.mark.parametrize("error", [StopIteration(), SystemExit(3)])
def test_an_error_that_no_future_can_hold(error):
    fs = Odd()
    fs.error = error
    tried = 0
    files = [FileRequest(path, path, 1) for path in ("/1", "/2")]
    for file in fetch_ahead(lambda: ThreadSource(fs.open, 1), files, budget=1, requests=1):
        with pytest.raises(RuntimeError, match="the filesystem raised"):
            file.read(1)
        tried += 1
    assert tried == 2


def test_a_file_that_can_not_seek_goes_on_where_it_broke(tmp_path):
    body = bytes(range(256)) * 50_000
    tries = 0

    class NoSeek(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            nonlocal tries
            if self.tell() > 9_000_000 and tries < 2:
                tries += 1
                raise ConnectionResetError
            return super().read(size)

        def seek(self, at: int, whence: int = 0) -> int:
            raise io.UnsupportedOperation

    found = b""
    files = [FileRequest("/1", "/1", len(body))]
    for file in fetch_ahead(lambda: ThreadSource(lambda path: NoSeek(body), 1), files, budget=8 << 20, requests=1):
        while block := file.read(1 << 16):
            found += block
    assert found == body
    assert tries == 2


def test_what_fsspec_reads_ahead_is_not_held_beside_the_budget(tmp_path):
    asked: list[int] = []

    class Remote(AbstractFileSystem):
        cachable = False

        def ls(self, path, detail=True, **options):
            return [{"name": f"/shop/revisions/{n}.json", "size": len(body), "type": "file"} for n in range(1, 4)]

        def cat_file(self, path, start=None, end=None, **options):
            return b"filename,min_timestamp,max_timestamp\nrevisions/1.json,1,1\n"

        def _open(self, path, mode="rb", **options):
            return RemoteFile(self, path, mode, size=len(body), **options)

    class RemoteFile(AbstractBufferedFile):
        def _fetch_range(self, start, end):
            asked.append(end - start)
            return body[start:end]

    body = b'{"_p":"a","_t":1}\n' * 1000
    assert list(Bucket("/shop", fs=Remote()).iter_records()) == [PropertySet("a", 1)] * 3000
    assert sum(asked) == 3 * len(body)


@NEEDS_FORK
def test_the_loop_of_a_forked_process_is_its_own():
    code = (
        "import io, os, sys\n"
        "from kmexport.storage.fetch.prefetch import fetch_ahead\n"
        "from kmexport.storage.fetch.threads import ThreadSource\n"
        "from kmexport.storage.open_files import FileRequest\n"
        "files = [FileRequest('1', '/1', 1), FileRequest('2', '/2', 1)]\n"
        "files = fetch_ahead(lambda: ThreadSource(lambda path: io.BytesIO(b'x'), 1), files, budget=1, requests=1)\n"
        "next(files).read(1)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    try:\n        next(files)\n"
        "    except RuntimeError as error:\n        print(error, flush=True)\n"
        "    os._exit(0)\n"
        "os.waitpid(child, 0)\n"
        "print(next(files).read(1), flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=20)
    assert done.stdout == "the iterator belongs to another process. Make one in each process.\nb'x'\n", done.stderr


def test_a_read_that_hangs_does_not_hold_up_the_end_of_the_program():
    code = f"{SECOND_FILE_HANGS}\nfiles = reader()\nnext(files).read(1)\n"
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True, timeout=50)
    assert time.monotonic() - started < 30


def test_a_subclass_of_the_folder_filesystem(export):
    class Mine(DirFileSystem):
        pass

    folder, expected = export
    assert list(Bucket("shop", fs=Mine(str(folder.parent), LocalFileSystem())).iter_records()) == expected


def test_an_asynchronous_filesystem_is_an_error_that_says_so():
    with pytest.raises(ValueError, match="asynchronous=True"):
        Bucket("http://127.0.0.1:9/shop", fs=HTTPFileSystem(asynchronous=True)).index()


def test_what_stands_behind_a_file_that_is_not_found():
    def behind(cause: Exception | None) -> FileNotFoundError:
        error = FileNotFoundError("/1")
        error.__cause__ = cause
        return error

    class AnswerError(Exception):
        def __init__(self, status: int) -> None:
            self.status = status

    assert [is_missing(behind(cause)) for cause in (None, KeyError("/1"), AnswerError(404))] == [True] * 3
    for cause in (ConnectionResetError(), TimeoutError(), AnswerError(503)):
        assert (is_missing(behind(cause)), is_transient(behind(cause))) == (False, True)


def test_an_answer_400_that_means_too_slow_is_tried_again():
    class ClientError(Exception):
        def __init__(self) -> None:
            self.response = {"ResponseMetadata": {"HTTPStatusCode": 400}, "Error": {"Code": "RequestTimeout"}}

    error = TimeoutError("Your socket connection to the server was not read from or written to")
    error.__cause__ = ClientError()
    assert is_transient(error)
    assert not is_transient(ClientError())


def test_no_thread_of_these_tests_is_left():
    eventually(lambda: not fetchers(), 2)
