"""A lake stays whole, whatever ends a run: kill -9, a second run, a server that fails, a disk that is full.

In CI each is tried a few times; `nox -s faults` tries them as often as the variables there say.
"""

from __future__ import annotations

import logging
import os
import pickle
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec
import pytest

from kmexport import Bucket, BucketUnreachableError, KmExportError
from kmexport.lake import compact, open_lake, reader, sync, vacuum
from kmexport.lake.folder import LakeFolder
from kmexport.lake.storage import find_destination
from kmexport.revisions import groups
from kmexport.testing import write_export
from tests.lake.test_lake import check_equal, plain
from tests.storage.test_atomic import tiny_disk  # noqa: F401  # a fixture
from tests.support.proxies import Fault, proxied
from tests.support.servers import S3Server
from tests.support.systems import KILLED, WINDOWS

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("KMEXPORT_KILLS", "3"))
RACES = int(os.environ.get("KMEXPORT_RACES", "2"))
FAILING_RUNS = int(os.environ.get("KMEXPORT_FAILING_RUNS", "1"))

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("lake-faults")]


def an_export(folder: Path, last: int, **options: Any) -> Bucket:
    """Some revisions with rejected lines in them."""
    return write_export(
        folder, {number: [*plain(number, 40), b"?", b'{"_p":1}'] for number in range(1, last + 1)}, **options
    )


def check_whole(bucket: Bucket, lake: Any, **options: Any) -> int:
    """What is there is there as a whole: each revision of the log with all its records, once, and no other record."""
    opened = open_lake(lake, **options)
    found: dict[int, list[tuple[object, ...]]] = defaultdict(list)
    for batch in opened.to_batches(columns=["revision", "line", "person", "time", "properties"]):
        for row in batch.to_pylist():
            found[row["revision"]].append(tuple(row.values()))
    expected: dict[int, list[tuple[object, ...]]] = defaultdict(list)
    columns = ["revision", "line", "person", "time", "properties"]
    for batch in bucket.to_batches(columns=columns, on_error="skip"):
        for row in batch.to_pylist():
            if row["revision"] in opened.revisions:
                expected[row["revision"]].append(tuple(row.values()))
    assert found == expected
    places = [(error.source, error.line_number) for error in opened.rejects()]
    assert len(places) == len(set(places)) == 2 * len(opened.revisions)
    return len(opened.revisions)


RUN = """
    import contextlib, sys, time
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context
    from kmexport import Bucket
    from kmexport.lake import sync
    from kmexport.revisions import groups
    groups._SMALLEST = 1 << 40
    export, lake, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn")) if workers else contextlib.nullcontext()
    with pool as executor:
        if workers:
            list(Bucket(export).to_batches(executor=executor, on_error="skip"))  # now the processes are there
        print("ready", flush=True)
        sys.stdin.readline()
        summary = sync(Bucket(export), lake, bytes_a_commit=12_000 if workers else 1, executor=executor)
        print(len(summary.revisions), len(summary.by_others), flush=True)
"""
WORKERS = pytest.mark.parametrize("workers", [0, 2], ids=["alone", "pool"])


@contextmanager
def started(export: Path, lake: Path, workers: int = 0) -> Iterator[subprocess.Popen[str]]:
    """A run in a process of its own; it begins when it gets a line. At the end its workers go with it."""
    command = [sys.executable, "-c", textwrap.dedent(RUN), str(export), str(lake), str(workers)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, cwd=ROOT, start_new_session=True, **pipes) as process:
        try:
            yield process
        finally:
            if process.poll() not in (None, 0) and not WINDOWS:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # a pool that has lost its master waits for ever


def begin(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@WORKERS
def test_kill_9_at_random_moments(tmp_path, record_property, workers):
    chance = random.Random(20121003)
    export, lake = tmp_path / "export", tmp_path / "lake"
    last = 30
    bucket = an_export(export, last)
    with started(export, tmp_path / "undisturbed", workers) as process:
        assert process.stdout is not None
        process.stdout.readline()
        begin(process)
        begun = time.monotonic()
        process.wait(60)
        longest = time.monotonic() - begun
    present, killed = 0, 0
    for _ in range(KILLS):
        with started(export, lake, workers) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            begin(process)
            time.sleep(chance.uniform(0, longest))
            process.kill()
            killed += process.wait() == KILLED
        if (lake / "records" / "_delta_log").exists() and any((lake / "records" / "_delta_log").glob("0*.json")):
            before, present = present, check_whole(bucket, lake)
            assert present >= before
        if last - present < 20:
            last += 30
            bucket = an_export(export, last)
    assert killed
    orphans = len(list((lake / "records").glob("day=*/*.parquet")))
    sync(bucket, lake)
    check_equal(bucket, lake)
    assert vacuum(lake, keep_hours=0) is not None
    check_equal(bucket, lake)
    record_property(
        "told",
        f"kill -9: {killed} runs killed, {present} revisions whole at the last, {last} at the end; {orphans} files",
    )


@WORKERS
def test_two_runs_at_once(tmp_path, record_property, workers):
    shared = 0
    for race in range(RACES):
        export, lake = tmp_path / f"export{race}", tmp_path / f"lake{race}"
        if race % 2:
            sync(an_export(export, 2), lake)
        bucket = an_export(export, 12)
        took = []
        with started(export, lake, workers) as one, started(export, lake) as other:
            for process in (one, other):
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
            for process in (one, other):
                begin(process)
            for process in (one, other):
                out, _ = process.communicate(timeout=120)
                assert process.returncode == 0
                took.append([int(count) for count in out.split()])
        assert sum(own for own, _ in took) == (10 if race % 2 else 12)
        shared += sum(others for _, others in took)
        assert check_whole(bucket, lake) == 12
        check_equal(bucket, lake)
    record_property("told", f"races: {RACES}, and {shared} revisions were found added by the other run")


@WORKERS
def test_compaction_while_a_run_is_at_work(tmp_path, workers):
    export, lake = tmp_path / "export", tmp_path / "lake"
    bucket = an_export(export, 20)
    sync(an_export(tmp_path / "first", 5), lake, bytes_a_commit=1)
    with started(export, lake, workers) as process:
        assert process.stdout is not None
        process.stdout.readline()
        begin(process)
        compactions = 0
        while process.poll() is None and compactions < 50:
            compact(lake)
            compactions += 1
        assert process.wait(60) == 0
    assert compactions
    assert check_whole(bucket, lake) == 20
    check_equal(bucket, lake)


@pytest.fixture
def s3(moto: S3Server) -> tuple[S3Server, str]:
    name = f"lake-{random.randrange(10**9)}"
    fsspec.filesystem("s3", **moto.options).mkdir(name)
    return moto, name


@pytest.fixture(params=[0, 2], ids=["alone", "threads"])
def small_commits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Arguments of `sync`: alone, or with workers in this process, where a test can shorten the waits."""
    if not request.param:
        yield {"bytes_a_commit": 1}
        return
    monkeypatch.setattr(groups, "_SMALLEST", 1 << 40)  # each revision is a group
    with ThreadPoolExecutor(request.param) as executor:
        yield {"bytes_a_commit": 12_000, "executor": executor}


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)


def test_on_s3(s3, tmp_path, monkeypatch):
    server, name = s3
    bucket = an_export(tmp_path / "export", 4)
    url = f"s3://{name}/a folder/lake"
    for last in (4, 5, 7, 9):
        bucket = an_export(tmp_path / "export", last)
        sync(bucket, url, **server.options)
        assert list(open_lake(url, **server.options).iter_records()) == list(bucket.iter_records(on_error="skip"))
    before = check_whole(bucket, url, **server.options)
    monkeypatch.setattr(reader, "_SMALL", 1)  # now each file is read by the columns that are wanted
    assert check_whole(bucket, url, **server.options) == before
    compact(url, **server.options)
    vacuum(url, keep_hours=0, **server.options)
    assert check_whole(bucket, url, **server.options) == before == 9


def test_a_night_with_nothing_new_costs_few_requests(s3, tmp_path, record_property):
    server, name = s3
    address = f"s3://{name}/export"
    most = 0
    with proxied(server.endpoint) as proxy:
        options = {**server.options, "endpoint_url": proxy.endpoint}
        for last in range(2, 9):
            an_export(address, last, **server.options)
            bucket = Bucket(address, **options)
            assert sync(bucket, f"s3://{name}/lake", **options).revisions
            proxy.requests.clear()
            assert not sync(bucket, f"s3://{name}/lake", **options).revisions
            most = max(most, len(proxy.requests))
    assert most <= 10
    record_property("told", f"a night with nothing new: {most} requests at most, the export's own with them")


KINDS = ("500", "503", "reset", "short", "429")


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_a_server_that_fails(s3, tmp_path, share, record_property, small_commits):
    """A request that breaks off was done by the server all the same: also the commit, which is then told apart."""
    server, name = s3
    faults = 0
    ended = 0
    for run in range(FAILING_RUNS):
        chance = random.Random(run)
        bucket = an_export(tmp_path / f"export{run}", 6)
        url = f"s3://{name}/lake{run}"

        def plan(method: str, path: str, chance: random.Random = chance) -> Fault | None:
            return Fault(chance.choice(KINDS)) if chance.random() < share else None

        with proxied(server.endpoint, plan=plan) as proxy:
            options = {**server.options, "endpoint_url": proxy.endpoint, "aws_max_retries": "3"}
            try:
                sync(bucket, url, **small_commits, **options)
            except (KmExportError, OSError):
                ended += 1
            faults += sum(proxy.faults.values())
        sync(bucket, url, **server.options)
        assert check_whole(bucket, url, **server.options) == 6
        assert list(open_lake(url, **server.options).iter_records()) == list(bucket.iter_records(on_error="skip"))
    assert faults
    record_property("told", f"a failing server: {FAILING_RUNS} runs, {faults} faults, {ended} runs ended by them")


def test_a_commit_whose_answer_was_lost(s3, tmp_path):
    """The server has it, the client is told of a broken connection, tries again and meets its own commit."""
    server, name = s3
    bucket = an_export(tmp_path / "export", 3)
    broken: list[str] = []

    def plan(method: str, path: str) -> Fault | None:
        if method == "PUT" and path.endswith(f"records/_delta_log/{1:020d}.json") and not broken:
            broken.append(path)
            return Fault("reset")
        return None

    with proxied(server.endpoint, plan=plan) as proxy:
        options = {**server.options, "endpoint_url": proxy.endpoint}
        summary = sync(bucket, f"s3://{name}/lake", **options)
    assert broken
    assert summary.revisions == [1, 2, 3]
    assert summary.by_others == []
    assert check_whole(bucket, f"s3://{name}/lake", **server.options) == 3


def test_a_disk_that_is_full(tiny_disk, tmp_path, small_commits):  # noqa: F811
    bucket = an_export(tmp_path / "export", 60)
    with pytest.raises(OSError, match="No space left on device") as caught:
        sync(bucket, tiny_disk / "lake", **small_commits)
    assert not isinstance(caught.value, BucketUnreachableError)
    assert 0 < check_whole(bucket, tiny_disk / "lake") < 60
    small = an_export(tmp_path / "small", 1)
    subprocess.run(["mount", "-o", "remount,size=20m", tiny_disk], check=True)
    sync(bucket, tiny_disk / "lake")
    check_equal(bucket, tiny_disk / "lake")
    assert small.revisions()


def test_no_server(tmp_path):
    options = {"key": "AKIAMADEUP", "secret": "made-up-secret-value", "endpoint_url": "http://127.0.0.1:1"}
    with pytest.raises((KmExportError, OSError)) as caught:
        sync(Bucket.sample(), "s3://lake/acme", **options)
    assert "made-up-secret-value" not in repr(caught.value)


SECRETS = {"key": "AKIAMADEUPFORTESTS77", "secret": "a-secret/that+nobody=sees", "token": "a-token-that-nobody-sees"}


def test_credentials_show_nowhere(s3, tmp_path, caplog):
    server, name = s3
    bucket = an_export(tmp_path / "export", 2)
    caplog.set_level(logging.DEBUG, "kmexport")
    options = {**SECRETS, "client_kwargs": {"endpoint_url": server.endpoint, "region_name": "eu-west-1"}}
    summary = sync(bucket, f"s3://{name}/lake", **options)
    lake = open_lake(f"s3://{name}/lake", **options)
    shown = [repr(summary), str(summary), summary._repr_html_(), repr(lake), caplog.text]
    shown.append(repr(LakeFolder(find_destination(f"s3://{name}/lake", options)).destination))
    for fault in ("403", "400", "500"):
        with proxied(server.endpoint, plan=lambda method, path, fault=fault: Fault(fault)) as proxy:
            broken = {**SECRETS, "endpoint_url": proxy.endpoint, "aws_max_retries": "0"}
            with pytest.raises((KmExportError, OSError)) as caught:
                sync(bucket, f"s3://{name}/{fault}", **broken)
            shown += _texts(caught.value)
        # The listing is answered, and what delta-rs asks for is not.
        with proxied(
            server.endpoint, plan=lambda method, path, fault=fault: Fault(fault) if method == "PUT" else None
        ) as proxy:
            broken = {**SECRETS, "endpoint_url": proxy.endpoint, "aws_max_retries": "0"}
            with pytest.raises((KmExportError, OSError)) as caught:
                sync(bucket, f"s3://{name}/{fault}", **broken)
            shown += _texts(caught.value)
    assert pickle.loads(pickle.dumps(lake)).revisions == {1, 2}
    for text in shown:
        assert not any(secret in text for secret in SECRETS.values()), text


def _texts(error: BaseException | None) -> list[str]:
    texts = []
    while error is not None:
        texts += [str(error), repr(error)]
        error = error.__cause__ or error.__context__
    return texts
