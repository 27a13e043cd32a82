"""Files are fetched ahead, in order, within the budget; whatever ends the loop, nothing is left running."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import partial
from typing import Any

import pytest
from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from kmexport import Bucket, BucketUnreachableError, Event, Limits, RevisionChangedError, RevisionNotFoundError
from kmexport.storage.faults import IncompleteReadError
from kmexport.storage.fetch.prefetch import fetch_ahead
from kmexport.storage.fetch.ranges import RangeSource
from kmexport.storage.fetch.threads import ThreadSource
from kmexport.storage.open_files import FileRequest
from kmexport.testing import write_export
from tests.support.leftovers import TELLS_SOCKETS, eventually, fetchers, open_sockets
from tests.support.strategies import examples
from tests.support.systems import NEEDS_FORK

KIB = 1 << 10
MIB = 1 << 20


class Watch:
    """How many calls run at once, what was asked for, and what went wrong on purpose."""

    def __init__(self, seconds: float = 0.0, fault: Callable[[str, int, int], Exception | None] | None = None) -> None:
        self.seconds = seconds
        self.fault = fault or (lambda path, start, tries: None)
        self.calls: list[tuple[str, int, int | None]] = []
        self.tries: Counter[tuple[str, int]] = Counter()
        self.running = 0
        self.most = 0
        self.cancelled = 0
        self.open_files = 0
        self.given = 0

    def begin(self, path: str, start: int, end: int | None) -> None:
        self.calls.append((path, start, end))
        self.tries[path, start] += 1
        self.running += 1
        self.most = max(self.most, self.running)

    def end(self, path: str, start: int) -> None:
        error = self.fault(path, start, self.tries[path, start])
        if error is not None:
            raise error


class Coroutines(AsyncFileSystem):
    """A filesystem of coroutines."""

    cachable = False

    def __init__(self, files: dict[str, bytes], watch: Watch) -> None:
        super().__init__()
        self.files = files
        self.watch = watch

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        self.watch.begin(path, start or 0, end)
        try:
            await asyncio.sleep(self.watch.seconds)
            self.watch.end(path, start or 0)
            if path not in self.files:
                raise FileNotFoundError(path)
            body = self.files[path][start:end]
        except asyncio.CancelledError:
            self.watch.cancelled += 1
            raise
        else:
            self.watch.given += len(body)
            return body
        finally:
            self.watch.running -= 1

    async def _info(self, path: str, **options: Any) -> dict[str, Any]:
        return {"name": path, "size": len(self.files[path]), "type": "file"}


class Threads(MemoryFileSystem):
    """A filesystem without coroutines."""

    cachable = False

    def __init__(self, files: dict[str, bytes], watch: Watch) -> None:
        super().__init__()
        self.files = files
        self.watch = watch

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if path not in self.files:
            raise FileNotFoundError(path)
        return Slow(path, self.files[path], self.watch)


class Slow:
    """An open file whose every reading takes its time."""

    def __init__(self, path: str, content: bytes, watch: Watch) -> None:
        self.path = path
        self.content = content
        self.watch = watch
        self.at = 0
        watch.open_files += 1

    def seek(self, at: int) -> None:
        self.at = at

    def read(self, size: int) -> bytes:
        self.watch.begin(self.path, self.at, self.at + size)
        try:
            time.sleep(self.watch.seconds)
            self.watch.end(self.path, self.at)
            block = self.content[self.at : self.at + size]
            self.at += len(block)
            self.watch.given += len(block)
            return block
        finally:
            self.watch.running -= 1

    def close(self) -> None:
        self.watch.open_files -= 1


KINDS = [Coroutines, Threads]


def fetched(
    fs: Any, sizes: dict[str, int | None] | None = None, budget: int = 64 * MIB, requests: int = 16
) -> Generator[Any, None, None]:
    sizes = sizes or {path: len(content) for path, content in fs.files.items()}
    wanted = [FileRequest(path, path, size) for path, size in sizes.items()]
    return fetch_ahead(partial(source_of, fs, requests), wanted, budget=budget, requests=requests)


def source_of(fs: Any, requests: int) -> Any:
    return RangeSource(fs) if isinstance(fs, Coroutines) else ThreadSource(fs.open, requests)


def whole(file: Any, size: int = 64 * KIB) -> bytes:
    return b"".join(iter(lambda: file.read(size), b""))


def read_first(files: Generator[Any, None, None]) -> None:
    with closing(files):
        for file in files:
            file.read(1)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    eventually(lambda: not fetchers())


@pytest.mark.parametrize("kind", KINDS)
@given(
    sizes=st.lists(st.integers(0, 700) | st.integers(0, 700 * KIB), max_size=8),
    budget=st.integers(0, 2 * MIB),
    requests=st.integers(1, 5),
    known=st.booleans(),
)
@settings(max_examples=examples(60))
def test_the_bytes_of_every_file_in_order(kind, sizes, budget, requests, known):
    files = {f"/{n}": os.urandom(8) * (size // 8) + b"." * (size % 8) for n, size in enumerate(sizes)}
    watch = Watch()
    fs = kind(files, watch)
    known = known or kind is Coroutines
    expected = {path: len(content) if known else None for path, content in files.items()}
    assert [whole(file) for file in fetched(fs, expected, budget, requests)] == list(files.values())
    assert watch.given == sum(sizes)
    assert watch.most <= requests + 1  # in threads the file in turn is read beside those to come
    eventually(lambda: watch.open_files == 0 and not fetchers())


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_fetched_together_before_their_turn(kind):
    watch = Watch(0.05)
    fs = kind({f"/{n}": b"x" * 1000 for n in range(40)}, watch)
    started = time.monotonic()
    assert [whole(file) for file in fetched(fs, requests=10)] == [b"x" * 1000] * 40
    assert watch.most == 10
    assert time.monotonic() - started < 1.0 < 40 * 0.05


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("budget", [2 * MIB, 256 * KIB])
def test_the_budget_is_all_that_is_ever_held(kind, budget):
    watch = Watch()
    fs = kind({f"/{n}": b"x" * (100 * KIB) for n in range(100)}, watch)
    seen = 0
    most = 0
    for file in fetched(fs, budget=budget):
        while block := file.read(10 * KIB):
            time.sleep(0.0005)  # so that the fetching is ahead
            most = max(most, watch.given - seen)
            seen += len(block)
    assert seen == 100 * 100 * KIB
    assert budget // 2 < most <= budget


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_above_the_budget_goes_through_in_blocks(kind):
    watch = Watch()
    fs = kind({"/0": b"first", "/1": bytes(range(256)) * (20 * MIB // 256), "/2": b"last"}, watch)
    most = 0
    seen = 0
    contents = []
    for file in fetched(fs, budget=4 * MIB, requests=4):
        content = bytearray()
        while block := file.read(64 * KIB):
            time.sleep(0.0005)
            most = max(most, watch.given - seen)
            seen += len(block)
            content += block
        contents.append(bytes(content))
    assert contents == list(fs.files.values())
    assert most <= 4 * MIB


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_starts_before_the_first_file_is_asked_for(kind):
    watch = Watch()
    files = fetched(kind({"/0": b"x"}, watch))
    time.sleep(0.05)
    assert watch.calls == []
    assert not fetchers()
    assert whole(next(files)) == b"x"


def leave_by_break(files: Iterator[Any]) -> None:
    for file in files:
        file.read(1)
        break


def leave_by_an_error(files: Iterator[Any]) -> None:
    def fail_in_the_loop() -> None:
        for file in files:
            file.read(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_the_loop()


def leave_by_closing(files: Iterator[Any]) -> None:
    next(files).read(1)
    files.close()


def leave_to_the_collector(files: Iterator[Any]) -> None:
    gc.collect()  # what other tests have left takes its time
    circle: list[Any] = [files]
    circle.append(circle)
    next(files).read(1)
    del circle, files
    gc.collect()


WAYS_OUT = [leave_by_break, leave_by_an_error, leave_by_closing, leave_to_the_collector]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("leave", WAYS_OUT)
def test_whatever_ends_the_loop_nothing_is_left_running(kind, leave):
    first = threading.Event()

    def hold(path: str, start: int, tries: int) -> None:
        first.set()

    watch = Watch(0.1, hold)
    fs = kind({f"/{n}": b"x" * 100 for n in range(200)}, watch)
    ways = [fetched(fs)]
    started = time.monotonic()
    leave(ways.pop())
    # Far below what fetching all of it takes; the collector alone needs seconds on a busy machine.
    assert time.monotonic() - started < (10.0 if leave is leave_to_the_collector else 1.0)
    eventually(lambda: watch.running == 0 and watch.open_files == 0 and not fetchers(), 0.5)
    calls = len(watch.calls)
    assert calls < 60
    time.sleep(0.15)
    assert len(watch.calls) == calls
    assert first.is_set()


def test_requests_that_run_are_cancelled():
    class FirstAtOnce(Coroutines):
        async def _cat_file(self, path: str, **options: Any) -> bytes:
            self.watch.seconds = 0.0 if path == "/0" else 30.0
            return await super()._cat_file(path, **options)

    watch = Watch()
    started = time.monotonic()
    files = fetched(FirstAtOnce({f"/{n}": b"x" for n in range(40)}, watch), requests=4)
    next(files).read(1)
    eventually(lambda: watch.running == 3)  # of the first four
    files.close()
    eventually(lambda: watch.running == 0)
    assert watch.cancelled == 3
    assert time.monotonic() - started < 10


def test_a_call_that_hangs_does_not_hold_up_the_end_of_the_loop():
    watch = Watch()
    hanging = threading.Event()

    def hang(path: str, start: int, tries: int) -> None:
        if path == "/1":
            hanging.wait(5)

    watch.fault = hang
    fs = Threads({"/0": b"x", "/1": b"y"}, watch)
    started = time.monotonic()
    leave_by_break(fetched(fs))
    assert time.monotonic() - started < 1.5
    hanging.set()
    eventually(lambda: watch.open_files == 0 and not fetchers())


def test_a_file_whose_closing_hangs_is_read_and_left_behind():
    hanging = threading.Event()

    class HangsAtItsEnd(Slow):
        def close(self) -> None:
            hanging.wait(10)
            super().close()

    watch = Watch()
    source = partial(ThreadSource, lambda path: HangsAtItsEnd(path, b"all of it", watch), 2)
    started = time.monotonic()
    with closing(fetch_ahead(source, [FileRequest("/0", "/0", 9)], budget=MIB, requests=2, silent_for=0.4)) as files:
        assert whole(next(files)) == b"all of it"
        assert time.monotonic() - started < 5
    hanging.set()
    eventually(lambda: watch.open_files == 0 and not fetchers())


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_comes_when_its_file_does(kind):
    watch = Watch()
    fs = kind({"/0": b"x", "/2": b"z"}, watch)
    files = fetched(fs, {"/0": 1, "/1": 1, "/2": 1})
    assert whole(next(files)) == b"x"
    missing = next(files)
    with pytest.raises(FileNotFoundError):
        missing.read(1)
    assert whole(next(files)) == b"z"
    files.close()
    assert watch.tries["/1", 0] <= 1  # it was not tried again


@pytest.mark.parametrize("kind", KINDS)
def test_what_breaks_off_goes_on_where_it_broke(kind):
    def fault(path: str, start: int, tries: int) -> Exception | None:
        return ConnectionResetError() if start == 8 * MIB and tries < 3 else None

    watch = Watch(fault=fault)
    fs = kind({"/0": bytes(range(256)) * (20 * MIB // 256)}, watch)
    assert [whole(file) for file in fetched(fs)] == list(fs.files.values())
    assert watch.given == 20 * MIB


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [ConnectionResetError(), TimeoutError(), OSError(5, "503 SlowDown")])
def test_the_last_of_ten_tries_is_final(kind, error):
    watch = Watch(fault=lambda path, start, tries: error)
    fs = kind({"/0": b"x"}, watch)
    with pytest.raises(type(error)) as caught:
        read_first(fetched(fs))
    assert caught.value.args == error.args
    assert watch.tries == {("/0", 0): 10}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [PermissionError(), FileNotFoundError(), ValueError(), NotImplementedError()])
def test_what_no_try_can_mend_is_final_at_once(kind, error):
    watch = Watch(fault=lambda path, start, tries: error)
    fs = kind({"/0": b"x"}, watch)
    with pytest.raises(type(error)):
        read_first(fetched(fs))
    assert watch.tries == {("/0", 0): 1}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [101, 64 * KIB, 9 * MIB])
def test_a_body_that_is_shorter_than_announced_is_no_end_of_the_file(kind, size):
    fs = kind({"/0": b"x" * 100}, Watch())
    files = fetched(fs, {"/0": size})
    file = next(files)
    with pytest.raises(IncompleteReadError, match="bytes came where"):
        whole(file)
    with pytest.raises(ValueError, match="reading it has failed"):
        file.read(1)
    files.close()
    with pytest.raises(ValueError, match="closed"):
        file.read(1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_longer_by_now(kind):
    fs = kind({"/0": b"x" * 100, "/1": b"y" * (9 * MIB), "/2": b"z"}, Watch())
    files = fetched(fs, {"/0": 50, "/1": 9 * MIB - 1, "/2": 1})
    found = [len(whole(file)) for file in files]
    # Who is asked for parts gives the whole of the new version. One that is opened may just be written on.
    assert found == ([100, 9 * MIB, 1] if kind is Coroutines else [50, 9 * MIB - 1, 1])


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("change", ["grows", "is replaced"])
def test_a_file_that_is_written_to_while_it_is_read(change, fails):
    """The same bytes have to come again, also where reading them again fails for a moment."""
    old = bytes(5 * MIB)
    failures = [ConnectionResetError()] if fails else []

    def fault(path: str, start: int, tries: int) -> Exception | None:
        return failures.pop() if failures and start == 0 and fs.files["a"] != old else None

    fs = Threads({"a": old}, Watch(fault=fault))

    def source() -> ThreadSource:
        return ThreadSource(fs.open, 1, lambda path: (hash(fs.files[path]), None))

    with closing(fetch_ahead(source, [FileRequest("a", "a", len(old))], budget=2 * MIB, requests=1)) as reading:
        file = next(reading)
        first = file.read(64 * KIB)
        fs.files["a"] = old + b"more" if change == "grows" else b"x" + old[1:]
        if change == "grows":
            assert first + whole(file) == old
        else:
            with pytest.raises(RevisionChangedError, match="its beginning is another"):
                whole(file)
    assert failures == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_not_read_to_its_end_is_dropped(kind):
    watch = Watch()
    fs = kind({f"/{n}": b"%d" % n * (3 * MIB) for n in range(5)}, watch)
    assert [file.read(1) for file in fetched(fs, budget=4 * MIB)] == [b"0", b"1", b"2", b"3", b"4"]
    eventually(lambda: watch.open_files == 0 and not fetchers())


def test_a_loop_that_runs_in_this_thread_is_no_hindrance():
    async def notebook() -> list[bytes]:
        return [whole(file) for file in fetched(Coroutines({"/0": b"x", "/1": b"y"}, Watch()))]

    assert asyncio.run(notebook()) == [b"x", b"y"]


class TestBucket:
    """The same from outside, over S3."""

    @pytest.fixture
    def bucket(self, rclone):
        folder = rclone.folder / "ahead"
        if not folder.exists():
            write_export(folder, {n: [Event(f"p{n}", n, "x", {"filler": "." * 50_000})] * 2 for n in range(1, 101)})
        return Bucket("s3://ahead", **rclone.options)

    @pytest.mark.skipif(not TELLS_SOCKETS, reason="this system does not list a process's files")
    def test_threads_and_sockets_after_an_early_end(self, bucket):
        list(bucket.iter_records())  # makes the filesystem, and fsspec's thread with it
        time.sleep(1)
        before = len(threading.enumerate()), open_sockets()
        for leave in WAYS_OUT[:2]:
            for _ in range(3):
                leave(Firsts(bucket.iter_records()))
            eventually(lambda: len(threading.enumerate()) <= before[0] and open_sockets() <= before[1])

    def test_all_its_records(self, bucket):
        assert [event.timestamp for event in bucket.iter_records()] == [n for n in range(1, 101) for _ in range(2)]

    def test_a_program_that_ends_in_the_middle_of_a_loop(self, rclone, bucket):
        code = (
            "import kmexport\n"
            f"records = kmexport.Bucket('s3://ahead', **{rclone.options!r}).iter_records()\n"
            "print(next(records).person)\n"
        )
        started = time.monotonic()
        done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=30)
        assert (done.stdout, done.stderr, done.returncode) == ("p1\n", "", 0)
        assert time.monotonic() - started < 10

    @NEEDS_FORK
    def test_a_forked_process_reads_by_itself(self, rclone, bucket):
        code = (
            "import os, kmexport\n"
            f"bucket = kmexport.Bucket('s3://ahead', **{rclone.options!r})\n"
            "print(sum(1 for _ in bucket.iter_records()), flush=True)\n"
            "child = os.fork()\n"
            "if not child:\n    print(sum(1 for _ in bucket.iter_records()), flush=True)\n    os._exit(0)\n"
            "os.waitpid(child, 0)\n"
        )
        done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=30)
        assert (done.stdout, done.returncode) == ("200\n200\n", 0), done.stderr

    def test_a_revision_that_goes_while_others_are_read(self, rclone):
        folder = rclone.folder / "going"
        bucket = write_export(folder, {n: [Event("a", n, "x")] for n in range(1, 4)})
        bucket = Bucket("s3://going", limits=Limits(prefetch_bytes=0), **rclone.options)
        records = bucket.iter_records()
        next(records)
        (folder / "revisions" / "2.json").unlink()
        with pytest.raises(RevisionNotFoundError, match=r"revisions/2\.json"):
            next(records)

    def test_a_failure_names_the_revision_and_keeps_the_cause(self):
        class Failing(Threads):
            def ls(self, path, detail=True, **options):
                return [{"name": f"/{name}", "size": 1, "type": "file"} for name in ("revisions/1.json",)]

            def cat_file(self, path, **options):
                return b"filename,min_timestamp,max_timestamp\nrevisions/1.json,1,1\n"

        error = ConnectionResetError("by peer")
        fs = Failing({"/shop/revisions/1.json": b"x"}, Watch(fault=lambda path, start, tries: error))
        with pytest.raises(
            BucketUnreachableError, match=r"revisions/1\.json failed \(ConnectionResetError: by peer\)"
        ) as caught:
            list(Bucket("/shop", fs=fs).iter_records())
        assert caught.value.__cause__ is error


class Firsts:
    """A loop of records in the shape of a loop of files."""

    def __init__(self, records: Iterator[Any]) -> None:
        self.records = records

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        next(self.records)
        return self

    def read(self, size: int) -> bytes:
        return b""
