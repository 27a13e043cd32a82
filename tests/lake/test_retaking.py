"""Changed revisions taken again: old rows out and new ones in, by one commit, whatever lies in their files besides."""

from __future__ import annotations

import logging
import os
import random
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import fsspec
import pytest
from deltalake import DeltaTable
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from kmexport import Bucket, Event, KmExportError, LakeNotFoundError, RevisionNotFoundError
from kmexport.lake import compact, open_lake, retake, sync, vacuum
from kmexport.lake.log import LakeTable
from kmexport.lake.schema import RECORDS
from kmexport.testing import write_export
from tests.lake.test_lake import FIRST, check_equal, plain
from tests.support.proxies import Fault, proxied
from tests.support.servers import S3Server
from tests.support.strategies import examples
from tests.support.systems import KILLED

ROOT = Path(__file__).parents[2]
DAY = 86_400
KILLS = int(os.environ.get("KMEXPORT_KILLS", "3"))
RACES = int(os.environ.get("KMEXPORT_RACES", "2"))
QUICKLY = (Phase.explicit, Phase.reuse, Phase.generate)


def changed(number: int, count: int) -> list[Any]:
    """What a revision holds later: other records, on other days, with another number of broken lines."""
    events = [Event(f"new{number}", FIRST + number * 40_000 + line * DAY, "seen", {"n": line}) for line in range(count)]
    return [*events, *[b"?"] * (count % 3)]


@pytest.mark.parametrize("is_compacted", [False, True])
def test_changed_revisions_are_taken_again(tmp_path, is_compacted):
    lines: dict[int, list[Any]] = {number: [*plain(number, 5), b"{"] for number in range(1, 8)}
    bucket = write_export(tmp_path / "export", lines)
    sync(bucket, tmp_path / "lake", bytes_a_commit=1)
    if is_compacted:
        compact(tmp_path / "lake")
    for counts in ({2: 4, 5: 0}, {5: 7}, {2: 1, 5: 2, 7: 3}):
        for number, count in counts.items():
            lines[number] = changed(number, count)
        bucket = write_export(tmp_path / "export", lines)
        told = sync(bucket, tmp_path / "lake")
        assert [change.number for change in told.changed] == list(counts)
        assert all("takes it again" in problem for problem in told.problems)
        before = open_lake(tmp_path / "lake")
        old = list(before.iter_records())
        summary = retake(bucket, tmp_path / "lake", counts)
        assert summary.revisions == summary.retaken == list(counts)
        assert f"{len(counts)} revision" in summary.headline
        assert "taken again: " in summary.headline
        assert "added to" not in summary.headline
        assert (summary.commits, open_lake(tmp_path / "lake").version) == (1, before.version + 1)
        check_equal(bucket, tmp_path / "lake")
        assert list(before.iter_records()) == old, "a reader keeps the version that it opened"
        assert sync(bucket, tmp_path / "lake").problems == []
    compact(tmp_path / "lake")
    vacuum(tmp_path / "lake", keep_hours=0)
    check_equal(bucket, tmp_path / "lake")


def test_twice_is_as_once(tmp_path):
    write_export(tmp_path / "export", {1: plain(1, 9), 2: plain(2)})
    sync(Bucket(tmp_path / "export"), tmp_path / "lake")
    bucket = write_export(tmp_path / "export", {1: changed(1, 2), 2: plain(2)})
    for _ in range(3):
        retake(bucket, tmp_path / "lake", [1, 1])
        check_equal(bucket, tmp_path / "lake")
    for _ in range(4):  # and through checkpoints, though the file is smaller now
        retake(bucket, tmp_path / "lake", bucket.revisions())
    assert list((tmp_path / "lake" / "records" / "_delta_log").glob("*.checkpoint.parquet"))
    DeltaTable(tmp_path / "lake" / "records").create_checkpoint()
    for path in (tmp_path / "lake" / "records" / "_delta_log").glob("0*.json"):
        path.unlink()
    assert sync(bucket, tmp_path / "lake").problems == []
    check_equal(bucket, tmp_path / "lake")


def test_files_without_rows_of_it_stay(tmp_path):
    bucket = write_export(tmp_path / "export", {number: plain(number, 4) for number in range(1, 12)})
    sync(bucket, tmp_path / "lake", bytes_a_commit=1)
    before = {path.name for path in (tmp_path / "lake" / "records").glob("day=*/*.parquet")}
    assert retake(bucket, tmp_path / "lake", [3]).files <= 2
    kept = {uri.rpartition("/")[2] for uri in DeltaTable(tmp_path / "lake" / "records").file_uris()}
    assert 0 < len(before - kept) <= 2


def test_what_the_lake_lacks_is_added(tmp_path):
    write_export(tmp_path / "export", {1: plain(1)})
    sync(Bucket(tmp_path / "export"), tmp_path / "lake")
    bucket = write_export(tmp_path / "export", {1: plain(1), 2: [*plain(2), b"?"]})
    assert retake(bucket, tmp_path / "lake", [2]).revisions == [2]
    check_equal(bucket, tmp_path / "lake")
    assert sync(bucket, tmp_path / "lake").revisions == []


def test_what_cannot_be_taken_again(tmp_path):
    bucket = write_export(tmp_path / "export", {1: plain(1), 2: plain(2)})
    with pytest.raises(LakeNotFoundError):
        retake(bucket, tmp_path / "lake", [1])
    sync(bucket, tmp_path / "lake")
    (tmp_path / "export" / "revisions" / "2.json").unlink()
    before = open_lake(tmp_path / "lake").version
    with pytest.raises(RevisionNotFoundError, match=r"revisions/2\.json: the file is gone, or was never there"):
        retake(bucket, tmp_path / "lake", [1, 2])
    with pytest.raises(TypeError, match="a revision is"):
        retake(bucket, tmp_path / "lake", ["1"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="folder of the export"):
        retake(bucket, tmp_path / "export", [1])
    assert retake(bucket, tmp_path / "lake", []).revisions == []
    assert open_lake(tmp_path / "lake").version == before


LINES = st.lists(
    st.one_of(
        st.builds(Event, st.sampled_from("ab"), st.integers(FIRST, FIRST + 4 * DAY), st.just("seen")), st.just(b"?")
    ),
    max_size=5,
)


@given(st.lists(st.tuples(LINES, LINES, st.booleans()), min_size=1, max_size=5), st.integers(1, 400), st.booleans())
@settings(max_examples=examples(12), phases=QUICKLY)
@pytest.mark.slow
def test_random_changes(tmp_path_factory, revisions, bytes_a_commit, is_compacted):
    folder = tmp_path_factory.mktemp("retake")
    before = {number: old for number, (old, _, _) in enumerate(revisions, 1)}
    after = {number: new if is_new else old for number, (old, new, is_new) in enumerate(revisions, 1)}
    sync(write_export(folder / "export", before), folder / "lake", bytes_a_commit=bytes_a_commit)
    if is_compacted:
        compact(folder / "lake")
    bucket = write_export(folder / "export", after)
    retake(bucket, folder / "lake", [number for number, (_, _, is_new) in enumerate(revisions, 1) if is_new])
    check_equal(bucket, folder / "lake")
    shutil.rmtree(folder)


@pytest.mark.parametrize("beside", ["compaction", "retake", "sync", "nothing"])
def test_what_another_run_commits_meanwhile(tmp_path, monkeypatch, beside):
    """Whatever comes between the reading of the log and the commit."""
    lines: dict[int, list[Any]] = {number: plain(number, 5) for number in range(1, 6)}
    sync(write_export(tmp_path / "export", lines), tmp_path / "lake", bytes_a_commit=1)
    lines[3], lines[6] = changed(3, 4), plain(6)
    bucket = write_export(tmp_path / "export", lines)
    begun: list[int] = []
    replace = LakeTable.replace

    def meanwhile(self, *arguments):
        if self.layout is RECORDS:
            begun.append(1)
            if len(begun) == 1 and beside == "compaction":
                compact(tmp_path / "lake")
            elif len(begun) == 1 and beside == "retake":
                retake(bucket, tmp_path / "lake", [3])
            elif len(begun) == 1 and beside == "sync":
                sync(bucket, tmp_path / "lake")
        return replace(self, *arguments)

    monkeypatch.setattr(LakeTable, "replace", meanwhile)
    retake(bucket, tmp_path / "lake", [3])
    monkeypatch.undo()
    assert len(begun) == {"compaction": 2, "retake": 3, "sync": 1, "nothing": 1}[beside]
    sync(bucket, tmp_path / "lake")
    check_equal(bucket, tmp_path / "lake")


def test_a_run_that_broke_between_the_two_tables(tmp_path, monkeypatch):
    sync(write_export(tmp_path / "export", {1: [*plain(1), b"?"], 2: plain(2)}), tmp_path / "lake")
    bucket = write_export(tmp_path / "export", {1: [*changed(1, 4), b"!", b"!"], 2: plain(2)})
    replace = LakeTable.replace

    def breaks(self, *arguments):
        if self.layout is RECORDS:
            raise KeyboardInterrupt
        return replace(self, *arguments)

    monkeypatch.setattr(LakeTable, "replace", breaks)
    with pytest.raises(KeyboardInterrupt):
        retake(bucket, tmp_path / "lake", [1])
    monkeypatch.undo()
    assert [record.person for record in open_lake(tmp_path / "lake").iter_records()].count("p1") == 3
    assert [change.number for change in sync(bucket, tmp_path / "lake").changed] == [1]
    retake(bucket, tmp_path / "lake", [1])
    check_equal(bucket, tmp_path / "lake")


# Processes that are killed, and that race.

RUN = """
    import sys
    from kmexport import Bucket
    from kmexport.lake import compact, retake, sync
    bucket, lake, what = Bucket(sys.argv[1]), sys.argv[2], sys.argv[3]
    print("ready", flush=True)
    sys.stdin.readline()
    if what == "retake":
        for number in sys.argv[4:]:
            summary = retake(bucket, lake, [int(number)])
            assert not summary.unsettled, summary
    else:
        sync(bucket, lake, bytes_a_commit=1)
"""


def started(export: Path, lake: Path, *what: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(RUN), *map(str, (export, lake, *what))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def begin(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def people(lake: Path, number: int) -> list[str]:
    """Whose records of a revision are there."""
    rows = open_lake(lake).to_batches(columns=["revision", "person"]).read_all().to_pylist()
    return sorted(row["person"] for row in rows if row["revision"] == number)


@pytest.mark.slow
def test_kill_9_in_the_middle_leaves_old_rows_or_new_ones(tmp_path, record_property):
    chance = random.Random(7)
    numbers = range(1, 9)
    export, lake = tmp_path / "export", tmp_path / "lake"
    states: list[dict[int, list[Any]]] = [
        {number: [*plain(number, 300), b"?"] for number in numbers},
        {number: [*changed(number, 200), b"!"] for number in numbers},
    ]
    sync(write_export(export, states[0]), lake)
    compact(lake)
    before, wanted = ["p"] * 300, ["new"] * 200
    begun = time.monotonic()
    bucket = write_export(export, states[1])
    retake(bucket, lake, [1])
    longest = 3 * (time.monotonic() - begun)
    killed = 0
    for _ in range(KILLS):
        with started(export, lake, "retake", *numbers[1:]) as process:
            begin(process)
            time.sleep(chance.uniform(0, longest))
            process.kill()
            killed += process.wait() == KILLED
        for number in numbers:
            found = [person.rstrip("0123456789") for person in people(lake, number)]
            assert found in (before, wanted), number
    retake(bucket, lake, numbers)
    check_equal(bucket, lake)
    assert sync(bucket, lake).problems == []
    record_property("told", f"kill -9 of retake: {killed} of {KILLS} runs killed")


@pytest.mark.slow
def test_races(tmp_path, record_property):
    """Runs of retake and sync beside each other, over files that hold rows of all of them."""
    for race in range(RACES):
        export, lake = tmp_path / f"export{race}", tmp_path / f"lake{race}"
        lines: dict[int, list[Any]] = {number: [*plain(number, 40), b"?"] for number in range(1, 7)}
        sync(write_export(export, lines), lake)
        compact(lake)
        lines |= {number: changed(number, 30 + number) for number in (2, 3)}
        lines |= {number: [*plain(number, 40), b"?"] for number in (7, 8, 9)}
        bucket = write_export(export, lines)
        processes = [started(export, lake, *what) for what in (("retake", 2, 3), ("retake", 3, 2), ("sync",))]
        for process in processes:
            begin(process)
        for process in processes:
            process.communicate(timeout=240)
            assert process.returncode == 0
        check_equal(bucket, lake)
        assert sync(bucket, lake).problems == []
    record_property("told", f"races of retake and sync: {RACES}")


@pytest.mark.slow
def test_compaction_beside(tmp_path):
    export, lake = tmp_path / "export", tmp_path / "lake"
    lines: dict[int, list[Any]] = {number: plain(number, 40) for number in range(1, 9)}
    sync(write_export(export, lines), lake, bytes_a_commit=1)
    lines |= {number: changed(number, 30) for number in range(2, 9)}
    bucket = write_export(export, lines)
    with started(export, lake, "retake", *range(2, 9)) as process:
        begin(process)
        while process.poll() is None:
            compact(lake)
        assert process.wait(60) == 0
    check_equal(bucket, lake)


@pytest.mark.slow
@pytest.mark.xdist_group("lake-faults")
def test_on_s3(moto: S3Server, tmp_path):
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    name = f"retake-{random.randrange(10**9)}"
    fsspec.filesystem("s3", **moto.options).mkdir(name)
    lake = f"s3://{name}/a lake"
    lines: dict[int, list[Any]] = {number: [*plain(number, 5), b"{"] for number in range(1, 5)}
    sync(write_export(tmp_path / "export", lines), lake, **moto.options)
    lines[2] = changed(2, 4)
    bucket = write_export(tmp_path / "export", lines)
    retake(bucket, lake, [2], **moto.options)
    assert list(open_lake(lake, **moto.options).iter_records()) == list(bucket.iter_records(on_error="skip"))
    assert sync(bucket, lake, **moto.options).problems == []


@pytest.mark.slow
@pytest.mark.xdist_group("lake-faults")
def test_a_server_that_fails(moto: S3Server, tmp_path, record_property):
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    faults = ended = 0
    for run in range(int(os.environ.get("KMEXPORT_FAILING_RUNS", "1"))):
        chance = random.Random(run)
        name = f"retake-{random.randrange(10**9)}"
        fsspec.filesystem("s3", **moto.options).mkdir(name)
        lake = f"s3://{name}/lake"
        lines: dict[int, list[Any]] = {number: [*plain(number, 30), b"{"] for number in range(1, 5)}
        sync(write_export(tmp_path / f"export{run}", lines), lake, **moto.options)
        lines |= {number: changed(number, 20) for number in (2, 3)}
        bucket = write_export(tmp_path / f"export{run}", lines)

        def plan(method: str, path: str, chance: random.Random = chance) -> Fault | None:
            return Fault(chance.choice(("500", "503", "reset", "short", "429"))) if chance.random() < 0.3 else None

        with proxied(moto.endpoint, plan=plan) as proxy:
            try:
                retake(bucket, lake, [2, 3], **{**moto.options, "endpoint_url": proxy.endpoint, "aws_max_retries": "3"})
            except (KmExportError, OSError):
                ended += 1
            faults += sum(proxy.faults.values())
        found = open_lake(lake, **moto.options).to_batches(columns=["revision", "person"]).read_all().to_pylist()
        counts = [sum(row == {"revision": 2, "person": person} for row in found) for person in ("p2", "new2")]
        assert counts in ([30, 0], [0, 20])
        retake(bucket, lake, [2, 3], **moto.options)
        assert list(open_lake(lake, **moto.options).iter_records()) == list(bucket.iter_records(on_error="skip"))
    assert faults
    record_property("told", f"retake and a failing server: {faults} faults, {ended} runs ended by them")
