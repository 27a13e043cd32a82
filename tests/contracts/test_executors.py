"""`executor=`: processes and threads give what one process gives: the order, errors, counts, log and progress too."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from unittest import mock

import fsspec
import pyarrow as pa
import pytest
from fsspec.callbacks import Callback
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

from kmexport import (
    Alias,
    Bucket,
    Event,
    ExecutorError,
    Facts,
    LineCounts,
    MalformedRecordError,
    PropertySet,
    RevisionNotFoundError,
    Window,
)
from kmexport.errors import RevisionChangedError
from kmexport.lake import open_lake, sync
from kmexport.revisions import executing, groups
from kmexport.revisions.executing import count_workers
from kmexport.revisions.groups import each_file, read_in_groups
from kmexport.revisions.manifest import Revision
from kmexport.revisions.reader import ReadOptions, read_records
from kmexport.testing import BROKEN_LINES, write_export
from tests.contracts.test_broken_files import CORPUS
from tests.support.random_exports import EVENTS, random_export, write
from tests.support.servers import S3Server
from tests.support.strategies import examples
from tests.support.systems import WINDOWS

pytestmark = [pytest.mark.xdist_group("pool")]

REVISIONS, LINES = 7, 30
START = 1_349_222_400
TABLES = ("events", "properties", "people", "records", "rejects")


@pytest.fixture(autouse=True)
def small_groups() -> Iterator[None]:
    """Eight groups for two workers, however small the files are."""
    with mock.patch.object(groups, "_SMALLEST", 1 << 40):
        yield


@pytest.fixture(params=["threads", "processes"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "processes":
        yield request.getfixturevalue("pool")
    else:
        with ThreadPoolExecutor(2) as threads:
            yield threads


def lines_of(number: int):
    for line in range(LINES):
        time = START + number * LINES + line
        yield Event(f"person{line}", time, "signed up", {"plan": "Pro", "n": line})
        yield PropertySet(f"person{line}", time, {"Plan": "é"})
        yield rb'{"_p":"b","_t":%d,"city":"Paran\303\241"}' % time
    yield Alias("bob", START, "b")
    yield BROKEN_LINES["no time"]
    yield b'{"_p":"a\\ud83d","_t":1}'


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return write_export(tmp_path / "shop", {number: list(lines_of(number)) for number in range(1, REVISIONS + 1)})


def placed(errors: list[MalformedRecordError]) -> list[tuple[str, int, str, bytes]]:
    return [(error.source, error.line_number, error.reason, error.raw) for error in errors]


@pytest.mark.parametrize(
    "arguments",
    [
        {"properties": {"plan": pa.string(), "n": pa.int64()}},
        {"columns": ["line", "kind", "person"], "kinds": [Event, Alias], "revisions": [2, 1, 5, 1]},
        {"names": ["Signed Up"], "window": Window(START + 2 * LINES, START + 4 * LINES)},
        {"people": "person7", "batch_rows": 3},
    ],
)
def test_columns_are_as_without(bucket, executor, arguments):
    seen = []
    for given in (None, executor):
        errors: list[MalformedRecordError] = []
        counts, callback = LineCounts(), Callback()
        reader = bucket.to_batches(
            on_error=errors.append, counts=counts, callback=callback, executor=given, **{"batch_rows": 11, **arguments}
        )
        seen.append((reader.read_all(), placed(errors), counts, callback.value, callback.size))
    assert seen[0] == seen[1]


def test_identities_are_as_without(bucket, executor):
    seen = []
    for given in (None, executor):
        errors: list[MalformedRecordError] = []
        counts, callback = LineCounts(), Callback()
        people = bucket.identities(on_error=errors.append, counts=counts, callback=callback, executor=given, after=2)
        seen.append((people.people(), people.identities_of("b"), placed(errors), counts, callback.value))
    assert seen[0] == seen[1]


def of_facts(bucket: Bucket, executor: Executor | None, **options):
    """The tables that there are, the persons, the lines that were rejected, and how far the reading came."""
    errors: list[MalformedRecordError] = []
    callback = Callback()
    with Facts(bucket, on_error=errors.append, executor=executor, callback=callback, **options) as facts:
        left_out = facts._spec.left_out()
        found = {
            table: sorted(map(repr, facts.sql(f"select * from {table}").fetchall()))
            for table in TABLES
            if table not in left_out and f"{table}.properties" not in left_out
        }
        return found, facts.people.people(), placed(errors), callback.value


FACTS = [
    {},
    {"rule": "strict"},
    {"window": Window(START + 2 * LINES, START + 4 * LINES), "margin": 0},
    {"names": ["signed up"], "properties": False},
    {"names": ["signed up"], "properties": ["plan"], "window": Window(START, START + 3 * LINES), "margin": 0},
]


@pytest.mark.parametrize("options", FACTS, ids=lambda options: ", ".join(options) or "all")
def test_facts_are_as_without(bucket, executor, options):
    assert of_facts(bucket, executor, **options) == of_facts(bucket, None, **options)


def test_a_lake_is_as_without(bucket, executor, tmp_path):
    seen = []
    for place, given in (("one", None), ("many", executor)):
        callback = Callback()
        summary = sync(bucket, tmp_path / place, callback=callback, executor=given, bytes_a_commit=20_000)
        lake = open_lake(tmp_path / place)
        told = (summary.revisions, summary.commits, summary.counts, summary.far, summary.rejects, callback.value)
        seen.append((told, lake.to_batches().read_all(), placed(list(lake.rejects()))))
        assert summary.commits > 1
        assert sync(bucket, tmp_path / place, executor=given).revisions == []
    assert seen[0] == seen[1]


def test_a_far_bucket_and_a_far_lake(pool, rclone: S3Server, moto: S3Server):
    far = write_export(rclone.folder / "executors" / "shop", {number: list(lines_of(number)) for number in range(1, 4)})
    near = far.to_batches(on_error="skip").read_all()
    far = Bucket("s3://executors/shop", **rclone.options)
    assert far.to_batches(on_error="skip", executor=pool).read_all() == near
    fsspec.filesystem("s3", **moto.options).mkdir("executors")
    summary = sync(far, "s3://executors/lake", executor=pool, **moto.options)
    assert summary.revisions == [1, 2, 3]
    assert open_lake("s3://executors/lake", **moto.options).to_batches().read_all() == near


def check_random(bucket: Bucket, executor: Executor, tmp_path: Path, chance: int) -> None:
    """Columns, identities, facts and the lake of one export."""
    options = FACTS[chance % 2] | ({"names": EVENTS[:2]} if chance % 3 == 1 else {})
    if chance % 3 == 2:
        options |= {"window": Window(START - 3_600, START + 2), "properties": chance % 2 == 0}
    seen = []
    for place, given in (("one", None), ("many", executor)):
        errors: list[MalformedRecordError] = []
        counts = LineCounts()
        table = bucket.to_batches(on_error=errors.append, counts=counts, executor=given).read_all()
        people = bucket.identities(on_error=lambda _: None, executor=given)
        sync(bucket, tmp_path / place, executor=given)
        lake = open_lake(tmp_path / place)
        seen.append(
            (
                table, placed(errors), counts, sorted(people.people()), of_facts(bucket, given, **options),
                lake.to_batches().read_all(), placed(list(lake.rejects())),
            )
        )  # fmt: skip
    assert seen[0] == seen[1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(examples(20)))
def test_random_exports(executor, tmp_path, seed):
    (tmp_path / "shop" / "revisions").mkdir(parents=True)
    check_random(write(random_export(seed), str(tmp_path / "shop")), executor, tmp_path, seed)


@pytest.mark.slow
def test_the_corpus_of_broken_files(executor, tmp_path):
    files = sorted(path for path in CORPUS.iterdir() if ".json" in path.suffixes)
    bucket = write_export(tmp_path / "shop", dict.fromkeys(range(1, len(files) + 1), ()))
    for number, path in enumerate(files, 1):
        (tmp_path / "shop" / "revisions" / f"{number}.json").write_bytes(path.read_bytes())
    check_random(bucket, executor, tmp_path, 0)


class TestErrors:
    def test_one_comes_where_it_stands(self, bucket, executor):
        counts = LineCounts()
        reader = bucket.to_batches(columns=["line"], executor=executor, batch_rows=10, counts=counts)
        rows = 0
        with pytest.raises(MalformedRecordError, match=r"revisions/1\.json, line 92: there is no _t"):  # noqa: PT012
            while True:
                rows += reader.read_next_batch().num_rows
        assert rows == 3 * LINES + 1
        assert (counts.records, counts.rejected) == (rows, 1)

    def test_what_is_skipped_is_logged_here(self, bucket, executor, caplog):
        logged = []
        for given in (None, executor):
            caplog.clear()
            with caplog.at_level(logging.INFO, "kmexport"):
                bucket.to_batches(on_error="skip", executor=given).read_all()
            logged.append([(record.name, record.levelname, record.getMessage()) for record in caplog.records])
        assert logged[0] == logged[1]
        assert len(logged[0]) == 2 * REVISIONS
        assert logging.getLogger("kmexport").filters == []

    def test_a_callable_that_raises(self, bucket, executor):
        seen = []
        for given in (None, executor):
            rows, counts = 0, LineCounts()

            def refuse(error: MalformedRecordError) -> None:
                raise KeyError(error.line_number)

            reader = bucket.to_batches(on_error=refuse, executor=given, counts=counts, batch_rows=7)
            with pytest.raises(KeyError, match="92"):  # noqa: PT012
                while True:
                    rows += reader.read_next_batch().num_rows
            seen.append((rows, counts))
        assert seen[0] == seen[1]

    def test_a_file_that_is_gone(self, bucket, executor, tmp_path, caplog):
        (tmp_path / "shop" / "revisions" / "3.json").unlink()
        arguments = {"revisions": bucket.index(), "columns": ["revision"], "executor": executor}
        reader = bucket.to_batches(on_error=lambda error: None, **arguments)
        with pytest.raises(RevisionNotFoundError, match=r"revisions/3\.json"):
            reader.read_all()
        found = bucket.to_batches(on_error="skip", **arguments).read_all()
        assert set(found["revision"].to_pylist()) == {1, 2, 4, 5, 6, 7}
        assert "revisions/3.json: the file is gone" in caplog.text

    def test_a_file_that_has_changed(self, bucket, executor, tmp_path):
        listed = bucket.revisions()
        path = tmp_path / "shop" / "revisions" / "3.json"
        path.write_bytes(path.read_bytes()[:100])
        seen = []
        for given in (None, executor):
            with pytest.raises(RevisionChangedError) as caught:
                bucket.to_batches(on_error="skip", revisions=listed, executor=given).read_all()
            seen.append(str(caught.value))
        assert seen[0] == seen[1]

    def test_an_executor_that_is_shut_down(self, bucket):
        with ThreadPoolExecutor(1) as executor:
            pass
        with pytest.raises(ExecutorError, match=r"^executor=: it was shut down before all was read .*inside its with"):
            bucket.identities(executor=executor)

    def test_one_that_is_shut_down_in_the_middle(self, bucket):
        executor = ThreadPoolExecutor(1)
        reader = bucket.to_batches(on_error="skip", executor=executor, batch_rows=1)
        reader.read_next_batch()
        executor.shutdown(cancel_futures=True)
        with pytest.raises(ExecutorError, match="shut down"):
            reader.read_all()

    def test_memory_of_this_process(self, pool, tmp_path):
        bucket = write_export("memory://executors", {1: [Event("bob", START, "x")], 2: [Event("ann", START, "x")]})
        with ThreadPoolExecutor(2) as threads:
            assert bucket.to_batches(executor=threads).read_all().num_rows == 2
        folder = DirFileSystem("/executors", fsspec.filesystem("memory"))
        for private in (bucket, Bucket("", fs=folder)):
            for read in (
                lambda of: of.to_batches(executor=pool).read_all(),
                lambda of: of.identities(executor=pool),
                lambda of: Facts(of, executor=pool).build(),
                lambda of: sync(of, tmp_path / "lake", executor=pool),
            ):
                with pytest.raises(ExecutorError, match=r"lies in the memory of this process.*ThreadPoolExecutor"):
                    read(private)

    def test_a_filesystem_that_can_not_be_pickled(self, bucket, pool, tmp_path):
        class Locked(LocalFileSystem):
            cachable = False

            def __reduce__(self):
                pickle.dumps(threading.Lock())

        own = Bucket(str(tmp_path / "shop"), fs=Locked())
        with ThreadPoolExecutor(2) as threads:
            assert own.to_batches(on_error="skip", executor=threads).read_all().num_rows
        with pytest.raises(ExecutorError, match=r"a task did not reach a worker.*lock.*ThreadPoolExecutor takes"):
            own.to_batches(on_error="skip", executor=pool).read_all()
        # The pool is whole all the same.
        assert bucket.to_batches(on_error="skip", executor=pool).read_all().num_rows

    @pytest.mark.parametrize("wrong", [4, "processes", subprocess])
    def test_what_is_no_executor(self, bucket, tmp_path, wrong):
        for read in (
            lambda: bucket.to_batches(executor=wrong),
            lambda: bucket.identities(executor=wrong),
            lambda: Facts(bucket, executor=wrong),
            lambda: sync(bucket, tmp_path / "lake", executor=wrong),
        ):
            with pytest.raises(TypeError, match=r"executor is a concurrent\.futures\.Executor, not (int|str|module)"):
                read()
        with pytest.raises(ValueError, match="ahead is at least 1, not 0"):
            bucket.to_batches(ahead=0)
        for not_whole in ("2", 1.5, True):
            with pytest.raises(TypeError, match="ahead is a whole number of tasks, not"):
                bucket.to_batches(ahead=not_whole)

    def test_facts_of_records_have_no_files(self, executor):
        with pytest.raises(TypeError, match="executor= is for the files of a Bucket; list has none"):
            Facts([Event("bob", START, "x")], executor=executor)

    @pytest.mark.parametrize(("returned", "told"), [(None, "None"), ([], "list"), (mock.Mock(spec=["result"]), "Mock")])
    def test_what_submit_returns_is_a_future(self, bucket, returned, told):
        class Odd(ThreadPoolExecutor):
            def submit(self, task, /, *arguments, **options):
                return returned

        with Odd(1) as executor, pytest.raises(TypeError, match=f"returns a Future, and that of Odd returned {told}$"):
            bucket.identities(on_error="skip", executor=executor)


class Watched(ThreadPoolExecutor):
    """Keeps what is submitted."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self.futures: list[Future] = []

    def submit(self, *arguments, **options):
        future = super().submit(*arguments, **options)
        self.futures.append(future)
        return future


class TestAhead:
    @pytest.mark.parametrize(("ahead", "submitted"), [(None, 5), (1, 2), (2, 3), (99, REVISIONS)])
    def test_so_many_are_submitted(self, bucket, ahead, submitted):
        with Watched(2) as executor:
            reader = bucket.to_batches(on_error="skip", executor=executor, ahead=ahead, batch_rows=1)
            assert executor.futures == []  # nothing starts before the first batch is asked for
            first = reader.read_next_batch().num_rows
            assert len(executor.futures) == submitted
            rows = first + reader.read_all().num_rows
        assert rows == bucket.to_batches(on_error="skip").read_all().num_rows
        assert len(executor.futures) == REVISIONS

    def test_a_loop_that_is_left_cancels_what_has_not_begun(self, bucket):
        gate = threading.Event()
        begun = []

        def read(folder, revisions, reading):
            begun.append(revisions)
            if len(begun) > 1:
                gate.wait(60)
            yield revisions

        with Watched(1) as executor:
            reader = read_in_groups(bucket.folder, bucket.revisions(), ReadOptions(executor=executor, ahead=4), read)
            next(reader)
            while len(begun) < 2:
                time.sleep(0.001)
            reader.close()
            gate.set()
        assert [future.cancelled() for future in executor.futures] == [False, False, True, True, True]
        assert len(begun) == 2

    def test_two_loops_over_one_executor(self, bucket, executor):
        one = bucket.to_batches(on_error="skip", executor=executor, batch_rows=5)
        other = bucket.to_batches(on_error="skip", executor=executor, batch_rows=7, columns=["line"])
        together = [batch for both in zip_longest(one, other) for batch in both if batch is not None]
        for columns, reader in ((8, {}), (1, {"columns": ["line"]})):
            found = pa.Table.from_batches([batch for batch in together if batch.num_columns == columns])
            assert found == bucket.to_batches(on_error="skip", **reader).read_all()

    def test_workers_are_counted(self, pool):
        assert count_workers(pool) == 2
        assert count_workers(Executor()) == os.cpu_count()

    def test_groups_have_about_equal_bytes(self):
        revisions = [Revision(n, f"revisions/{n}.json", size=(n * 37) % 90 + 1) for n in range(1, 60)]
        found = list(groups.in_groups(revisions, 200))
        assert [revision for group in found for revision in group] == revisions
        assert max(sum(revision.size or 0 for revision in group) for group in found) <= 200
        packed = [Revision(n, f"revisions/{n}.json.gz", size=100) for n in range(1, 5)]
        assert len(list(groups.in_groups(packed, 1_600))) == 2


def killed(folder, revisions, reading):
    """Read a group in a worker that is killed by the system."""
    os.kill(os.getpid(), signal.SIGTERM if WINDOWS else signal.SIGKILL)
    yield from ()


def unreadable(folder, revisions, reading):
    yield threading.Lock()


@pytest.fixture
def short_lived_pool(pool: ProcessPoolExecutor) -> Iterator[ProcessPoolExecutor]:
    """A pool of one, which a test may break."""
    with ProcessPoolExecutor(1, mp_context=pool._mp_context) as one:
        yield one


class TestWorkers:
    @pytest.mark.slow
    def test_one_that_is_killed(self, bucket, short_lived_pool):
        reading = ReadOptions(executor=short_lived_pool)
        reader = read_in_groups(bucket.folder, bucket.revisions(), reading, killed)
        with pytest.raises(ExecutorError, match=r"a worker ended by itself \(BrokenProcessPool: .*__main__"):
            list(reader)
        # The pool stays broken, as Python's do.
        with pytest.raises(ExecutorError, match="a worker ended by itself"):
            bucket.identities(executor=short_lived_pool)

    def test_a_result_that_can_not_be_pickled(self, bucket, pool):
        reader = read_in_groups(bucket.folder, bucket.revisions(), ReadOptions(executor=pool), unreadable)
        with pytest.raises(ExecutorError, match="its result did not come back"):
            list(reader)

    def test_their_results_lie_in_files_that_are_gone_at_the_end(self, bucket, pool, tmp_path, monkeypatch):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        reading = ReadOptions("skip", executor=pool, ahead=2)
        reader = read_in_groups(bucket.folder, bucket.revisions(), reading, groups.LINKS)
        next(reader)
        (shared,) = tmp_path.glob("kmexport-*")
        assert shared.stat().st_mode & 0o077 == 0 or WINDOWS
        reader.close()
        assert not shared.exists()

    @pytest.mark.parametrize("place", [None, "/no/folder/of/this/machine"])
    def test_without_a_shared_folder_results_come_through_the_pipe(self, bucket, pool, place):
        with mock.patch.object(executing, "_new_shared_folder", return_value=place):
            found = bucket.to_batches(on_error="skip", executor=pool).read_all()
        assert found == bucket.to_batches(on_error="skip").read_all()

    def test_nothing_is_left_in_a_folder_that_is_being_removed(self, tmp_path, monkeypatch):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        shared = executing._new_shared_folder()
        assert executing._leave([], shared) is not None
        remove = shutil.rmtree

        def rmtree(path, **options):
            assert executing._leave([], shared) is None
            remove(path, **options)

        monkeypatch.setattr(shutil, "rmtree", rmtree)
        executing._remove(shared)
        assert [*tmp_path.iterdir()] == []

    def test_a_system_without_a_temporary_folder(self, monkeypatch):
        monkeypatch.setattr(tempfile, "tempdir", "/no/folder/of/this/machine")
        assert executing._new_shared_folder() is None

    def test_an_error_that_can_not_be_pickled(self, bucket, pool):
        reader = read_in_groups(bucket.folder, bucket.revisions(), ReadOptions(executor=pool), raising)
        with pytest.raises(RuntimeError, match="OddError in a worker: odd words"):
            list(reader)

    def test_the_words_of_an_error_that_show_a_secret_stay_on_the_worker(self):
        secret = "sEcReT+for.the~test"
        folder = Bucket("s3://acme/export", key="AKIAMADEUPFORTESTS00", secret=secret).folder
        error = OddError()
        error.args = (f"cannot open {secret}",)
        assert str(executing._picklable(error, folder)) == "OddError in a worker"
        error.args = ("cannot open it",)
        assert str(executing._picklable(error, folder)) == "OddError in a worker: cannot open it"

    def test_what_is_sent_shows_no_secret(self):
        secret = "sEcReT+for.the~test"
        bucket = Bucket("s3://acme/export", key="AKIAMADEUPFORTESTS00", secret=secret)
        tasks: list[object] = []

        class Sent(Executor):
            def submit(self, task, /, *arguments, **options):
                tasks.append((task, task.__dask_tokenize__()))
                error = TypeError(f"cannot send {secret}")
                raise error

        with pytest.raises(ExecutorError, match=r"worker, .* \(TypeError\)") as caught:
            list(read_in_groups(bucket.folder, [Revision(1, "revisions/1.json")], ReadOptions(executor=Sent()), killed))
        assert secret not in repr(tasks)
        assert secret not in repr(caught.value)
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)
        assert secret.encode() in pickle.dumps(tasks)  # it does travel to the workers

    def test_a_relative_address_is_the_same_elsewhere(self, bucket, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        relative = Bucket("shop")
        sent = pickle.dumps(relative)
        monkeypatch.chdir("/")
        assert pickle.loads(sent).revisions() == bucket.revisions()
        assert repr(pickle.loads(sent)) == "Bucket('shop')"


class OddError(Exception):
    def __reduce__(self):
        return OddError, (1, 2)

    def __init__(self) -> None:
        super().__init__("odd words")


def raising(folder, revisions, reading):
    yield from each_file(lambda: read_records)(folder, (), reading)
    raise OddError


SCRIPT = """
import signal, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from kmexport import Bucket
from kmexport.revisions import groups
from kmexport.revisions.reader import ReadOptions

def slow(folder, revisions, reading):
    print("begun", flush=True)
    time.sleep(1)
    yield 1

def main():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background ignores it, and so would we
    groups._SMALLEST = 1 << 40
    bucket = Bucket.sample()
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        sys.stdin.readline()
        print(sum(groups.read_in_groups(bucket.folder, bucket.revisions(), ReadOptions(executor=pool), slow)))

"""


@pytest.mark.slow
@pytest.mark.skipif(WINDOWS, reason="no SIGINT for one process alone there")
def test_ctrl_c_ends_the_loop(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT + '\nif __name__ == "__main__":\n    main()\n', encoding="utf-8")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, script], text=True, **pipes) as process:
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert 0 < 1 + printed.count("begun") < 12  # one for each file, if nothing had been cancelled


@pytest.mark.slow
def test_a_script_without_its_guard_is_told(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"{SCRIPT}\nmain()\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script], input="\n", capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 1
    assert 'has to stand under `if __name__ == "__main__":`' in done.stderr
