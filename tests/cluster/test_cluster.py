"""On a real cluster of worker processes, frames, bags, identities and duplicates are those of one machine."""

from __future__ import annotations

import os
import pickle
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import dask
import pytest
from dask.utils import key_split
from distributed import get_task_stream
from fsspec.implementations.local import LocalFileSystem
from hypothesis import HealthCheck, given, settings

from kmexport import (
    Alias,
    Bucket,
    BucketUnreachableError,
    Event,
    ExecutorError,
    Facts,
    IdentityMap,
    Limits,
    MalformedRecordError,
    drop_duplicates,
    merge_identities,
)
from kmexport.cluster import drop_duplicates as drop_on_cluster
from kmexport.cluster import to_bag, to_dataframe, to_records
from kmexport.cluster.collections import ReadFrame, ReadRecords
from kmexport.lake import sync
from kmexport.revisions import groups
from kmexport.revisions.executing import count_workers
from kmexport.revisions.manifest import Revision
from kmexport.revisions.reader import ReadOptions
from kmexport.testing import write_export
from tests.cluster.test_here import EXPORTS, GROUP, check_all, counted
from tests.contracts.test_executors import killed
from tests.lake.test_lake import check_equal

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cluster")]


def test_the_sample(client):
    check_all(Bucket.sample(), GROUP)


def test_the_demo_revision(client, tmp_path, real_data):
    lines = (real_data / "demo-account-revision.json").read_bytes().splitlines()
    parts = {number + 1: lines[number * len(lines) // 4 : (number + 1) * len(lines) // 4] for number in range(4)}
    bucket = write_export(tmp_path, parts)
    check_all(bucket, 1)
    assert len(to_dataframe(bucket, group_bytes=1)) == 6_354


@given(EXPORTS)
@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_exports(client, tmp_path_factory, revisions):
    check_all(write_export(tmp_path_factory.mktemp("export"), revisions), 1)


def test_a_broken_line_names_its_file_and_number(client, tmp_path):
    bucket = write_export(tmp_path, {1: [Event("ann", 1, "x")], 2: [Event("ann", 2, "x"), b"?"]})
    for collection in (to_dataframe(bucket, group_bytes=1), to_bag(bucket, group_bytes=1)):
        with pytest.raises(MalformedRecordError, match=r"revisions/2\.json, line 2"):
            collection.compute()
    assert len(to_dataframe(bucket, on_error="skip", group_bytes=1).compute()) == 2


def test_tasks_are_named_after_what_they_read(client):
    parts = to_dataframe(Bucket.sample(), group_bytes=GROUP).npartitions
    with get_task_stream(client=client) as stream:
        to_bag(Bucket.sample(), group_bytes=GROUP).compute()
        to_dataframe(Bucket.sample(), group_bytes=GROUP).compute()
        Bucket.sample().identities(executor=client.get_executor())
    names = Counter(key_split(task["key"]) for task in stream.data)
    assert names["kmexport-revisions"] >= 2 * parts + 1


class _Slowly:
    """Takes its time, and notes in a folder which process it runs in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, part):
        self.folder.joinpath(f"{os.getpid()}-{time.monotonic_ns()}").touch()
        time.sleep(0.1)
        return part


def test_a_worker_that_is_killed_changes_nothing(client, tmp_path):
    records = [Event(f"person {n % 50}", 1349222400 + n % 7, f"event {n % 5}", {"n": n}) for n in range(2000)]
    bucket = write_export(tmp_path / "export", {n + 1: records[n * 100 : (n + 1) * 100] for n in range(20)})
    people = IdentityMap()
    people.link("person 1", "person 2")
    notes = tmp_path / "notes"
    notes.mkdir()
    frame = to_dataframe(bucket, group_bytes=1).map_partitions(_Slowly(notes), meta=to_dataframe(bucket)._meta)
    bag = to_bag(bucket, group_bytes=1).map_partitions(_Slowly(notes))
    once, everything = client.compute(drop_on_cluster(frame, people, npartitions=4)), client.compute(bag)
    deadline = time.monotonic() + 60
    while len(list(notes.iterdir())) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    killed = int(next(notes.iterdir()).name.partition("-")[0])
    os.kill(killed, 9)
    assert once.status == everything.status == "pending"
    assert everything.result(timeout=120) == records
    found = once.result(timeout=120)
    expected = list(drop_duplicates(merge_identities(records, people)))
    assert sorted(zip(found["person"], found["revision"], found["line"], strict=True)) == sorted(
        (record.person, record.get("n") // 100 + 1, record.get("n") % 100 + 1) for record in expected
    )
    assert killed not in client.run(os.getpid).values()


class SlowFiles(LocalFileSystem):
    """Local files that take their time; a folder of notes says which process opens them."""

    def _open(self, path, mode="rb", block_size=None, **options):
        if "revisions" in path:
            Path(self.storage_options["notes"], f"{os.getpid()}-{time.monotonic_ns()}").touch()
            time.sleep(0.1)
        return super()._open(path, mode, block_size, **options)


class TestExecutor:
    """`client.get_executor()` as `executor=`: what comes out is what one process gives."""

    @pytest.fixture(autouse=True)
    def small_groups(self):
        with mock.patch.object(groups, "_SMALLEST", 1 << 40):
            yield

    def test_the_sample(self, client, tmp_path):
        bucket, executor = Bucket.sample(), client.get_executor()
        assert count_workers(executor) == 2
        assert bucket.to_batches(executor=executor).read_all() == bucket.to_batches().read_all()
        bucket.identities(executor=executor).save(tmp_path / "cluster")
        bucket.identities().save(tmp_path / "one")
        assert (tmp_path / "cluster").read_bytes() == (tmp_path / "one").read_bytes()
        assert tables_of(bucket, executor) == tables_of(bucket, None)
        summary = sync(bucket, tmp_path / "lake", executor=executor)
        assert (summary.revisions, summary.commits) == ([revision.number for revision in bucket.revisions()], 1)
        check_equal(bucket, tmp_path / "lake")
        assert sync(bucket, tmp_path / "lake", executor=executor).revisions == []

    @pytest.mark.parametrize("task", ["sync", "identities", "facts"])
    def test_a_worker_that_is_killed_changes_nothing(self, client, tmp_path, task):
        records = [Event(f"person {n % 50}", 1349222400 + n % 7, f"event {n % 5}", {"n": n}) for n in range(1000)]
        records[::9] = [Alias(f"person {n}", 1349222400, f"alias {n}") for n in range(len(records[::9]))]
        parts = {n + 1: [*records[n * 50 : (n + 1) * 50], b"?"] for n in range(20)}
        bucket = write_export(tmp_path / "export", parts)
        notes = tmp_path / "notes"
        notes.mkdir()
        slow = Bucket(str(tmp_path / "export"), fs=SlowFiles(notes=str(notes)))
        executor = client.get_executor()
        work = {
            "sync": lambda: sync(slow, tmp_path / "lake", executor=executor).counts,
            "identities": lambda: slow.identities(on_error="skip", executor=executor).people(),
            "facts": lambda: tables_of(slow, executor),
        }
        with ThreadPoolExecutor(1) as thread:
            found = thread.submit(work[task])
            deadline = time.monotonic() + 60
            while len(list(notes.iterdir())) < 4:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            killed = int(next(notes.iterdir()).name.partition("-")[0])
            os.kill(killed, 9)
            assert not found.done()
            result = found.result(120)
        assert killed not in client.run(os.getpid).values()
        if task == "sync":
            check_equal(bucket, tmp_path / "lake")
            assert result.rejected == 20
        else:
            people = bucket.identities(on_error="skip").people()
            assert result == (people if task == "identities" else tables_of(bucket, None))

    def test_one_that_kills_each_worker_is_an_error_of_ours(self, client):
        bucket, executor = Bucket.sample(), client.get_executor()
        client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 0))
        reading = ReadOptions(executor=executor)
        with pytest.raises(ExecutorError, match=r"^executor=: a worker ended by itself \(KilledWorker"):
            list(groups.read_in_groups(bucket.folder, bucket.revisions(), reading, killed))
        client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 3))
        assert bucket.identities(executor=executor).people() == bucket.identities().people()

    def test_a_client_is_no_executor(self, client):
        with pytest.raises(TypeError, match=r"not Client: give client\.get_executor\(\)"):
            Bucket.sample().to_batches(executor=client)

    def test_rejected_lines_and_the_log_come_here(self, client, tmp_path, caplog):
        bucket = write_export(tmp_path, {n: [Event("ann", n, "x"), b"?"] for n in range(1, 6)})
        logged = []
        for executor in (None, client.get_executor()):
            errors = []
            bucket.to_batches(on_error=errors.append, executor=executor).read_all()
            with caplog.at_level("INFO", "kmexport"):
                bucket.to_batches(on_error="skip", executor=executor).read_all()
            messages = [record.getMessage() for record in caplog.records if record.name == "kmexport"]
            logged.append(([str(error) for error in errors], messages))
            caplog.clear()
        assert logged[0] == logged[1]
        assert len(logged[0][1]) == 5


def tables_of(bucket, executor):
    with Facts(bucket, on_error="skip", executor=executor) as facts:
        tables = ("events", "properties", "people", "records", "rejects")
        return [sorted(map(repr, facts.sql(f"select * from {table}").fetchall())) for table in tables]


SECRET = "sEcReT+for.the~test"
UNREACHABLE = {
    "keys": (
        "s3://acme/export",
        {
            "key": "AKIAIOSFODNN7EXAMPLE",
            "secret": SECRET,
            "client_kwargs": {"endpoint_url": "http://127.0.0.1:9", "region_name": "eu-west-1"},
        },
    ),
    "a password in the URL": (f"http://bob:{SECRET}@127.0.0.1:9/export", {}),
}


@pytest.mark.parametrize(("url", "options"), UNREACHABLE.values(), ids=UNREACHABLE)
def test_no_secret_in_keys_logs_errors_or_the_dashboard(client, url, options):
    bucket = Bucket(url, limits=Limits(silent_for=0.2), **options)
    assert SECRET in pickle.dumps(bucket).decode("latin-1")  # it does travel to the workers
    group = (Revision(1, "revisions/1.json", 0, 1), Revision(2, "revisions/2.json", 0, 1))
    seen = [dask.base.tokenize(bucket)]
    frame = dask.dataframe.from_map(ReadFrame(bucket, None, {}), [group], meta=to_dataframe(Bucket.sample())._meta)
    bag = dask.bag.from_sequence([group]).map_partitions(ReadRecords(bucket, None, {}))
    for collection in (frame, bag):
        future = client.compute(collection)
        error = future.exception(timeout=60)
        assert isinstance(error, BucketUnreachableError)
        seen += [repr(collection), str(dict(collection.dask)), repr(error), str(error.__cause__), future.key]
        seen += [*map(str, collection.__dask_keys__()), str(future.traceback()), repr(vars(error))]
    with pytest.raises(BucketUnreachableError) as caught:
        bucket.to_batches(revisions=group, executor=client.get_executor()).read_all()
    seen += [repr(caught.value), str(caught.value), repr(caught.value.__cause__)]
    single = client.submit(ReadRecords(bucket, None, {}), [group], key="kmexport-single")
    assert isinstance(single.exception(timeout=60), BucketUnreachableError)
    pages = [
        "info/main/workers.html",
        "info/main/logs.html",
        "info/main/exceptions.html",
        "info/task/kmexport-single.html",
    ]
    seen += [_page(client, page) for page in pages]
    seen += [frame.expr.tree_repr()]
    seen += [str(client.get_worker_logs()), str(client.get_scheduler_logs())]
    seen += client.run_on_scheduler(_reprs_of_tasks)
    assert [text for text in seen if SECRET in text or "bob" in text] == []
    assert any("BucketUnreachableError" in text for text in seen)


def _page(client, page):
    with urllib.request.urlopen(client.dashboard_link.replace("status", page), timeout=20) as answer:
        return answer.read().decode()


def _reprs_of_tasks(dask_scheduler):
    tasks = [f"{key!r} {one!r} {one.exception_text} {one.traceback_text}" for key, one in dask_scheduler.tasks.items()]
    return [*tasks, str(dask_scheduler.get_events())]


def test_an_s3_bucket_travels_to_the_workers(client, rclone):
    records = {number: [Event("ann", number, "x")] for number in range(1, 7)}
    records[3].append(Alias("ann@example.com", 3, "ann"))
    write_export(rclone.folder / "cluster" / "export", records)
    bucket = Bucket("s3://cluster/export", **rclone.options)
    assert to_bag(bucket, group_bytes=1).compute() == [one for number in records for one in records[number]]
    once = drop_on_cluster(to_dataframe(bucket, group_bytes=1), npartitions=2)
    assert counted(to_records(once).compute()) == counted(bucket.iter_records())
    assert bucket.identities(executor=client.get_executor()).resolve("ann") == "ann@example.com"
