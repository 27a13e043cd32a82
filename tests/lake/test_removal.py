"""One person taken out of a lake, and what a run says of itself."""

from __future__ import annotations

import json
import logging
import random
from pathlib import Path

import fsspec
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from kmexport import Alias, Bucket, Event
from kmexport.errors import BucketUnreachableError, LakeNotFoundError
from kmexport.lake import compact, open_lake, remove_person, retake, sync, vacuum
from kmexport.lake.folder import LakeFolder
from kmexport.lake.log import LakeTable
from kmexport.lake.schema import RECORDS, REJECTS
from kmexport.testing import write_export

BOB, ANN = 'bob"@example.com', "ann@example.com"
THEIRS = [
    Event("anonymous", 1349222400, "visited"),
    Alias(BOB, 1349222401, "anonymous"),
    Event(BOB, 1349222402, "purchased", {"amount": 5}),
]
OTHERS = [Event(ANN, 1349222403, "invited", {"friend": BOB}), Event("bob", 1349222404, "visited")]
CUT_OFF = rb'{"_p":"bob\"@example.com","_t":13492'


@pytest.fixture
def bucket(tmp_path):
    array = b"[" + b", ".join(json.dumps(one.to_dict()).encode() for one in (THEIRS[2], OTHERS[1])) + b"]"
    return write_export(tmp_path / "export", {1: THEIRS, 2: [*OTHERS, CUT_OFF], 3: [b"{cut"], 4: [array]})


def files_that_name_them(lake: Path) -> list[str]:
    names = (b"anonymous", BOB.encode(), json.dumps(BOB)[1:-1].encode())
    return [
        str(path) for path in lake.rglob("*") if path.is_file() and any(name in path.read_bytes() for name in names)
    ]


def test_a_person_is_taken_out_of_both_tables(bucket, tmp_path):
    lake = tmp_path / "lake"
    sync(bucket, lake)
    removal = remove_person(lake, BOB)
    assert removal.identities == {BOB, "anonymous"}
    assert (removal.records, removal.rejects) == (4, 1)
    assert list(open_lake(lake).iter_records()) == [*OTHERS, OTHERS[1]]
    assert [error.raw for error in open_lake(lake).rejects()] == [b"{cut"]
    assert sync(bucket, lake).revisions == []
    again = remove_person(lake, [BOB, "anonymous"])
    assert (again.records, again.rejects) == (0, 0)


def test_a_rejected_line_with_another_identity_that_holds_theirs_stays(tmp_path):
    theirs = [b'{"_p":"bob"', b'{"_p":"Bob', b'{"url":"/?user=bob&page=2"', b"{_p:bob,", b'{"x":"(bob)."']
    others = [b'{"_p":"bob@example.com"', b'{"_p":"ann+bob@example.com"', b'{"_p":"bob-2"', b'{"_p":"bobby"']
    bucket = write_export(tmp_path / "export", {1: [Event("bob", 1349222400, "visited"), *theirs, *others]})
    sync(bucket, tmp_path / "lake")
    removal = remove_person(tmp_path / "lake", ["bob"])
    assert (removal.records, removal.rejects) == (1, len(theirs))
    assert [error.raw for error in open_lake(tmp_path / "lake").rejects()] == others


def test_after_vacuum_no_file_names_them_and_the_log_never_did(bucket, tmp_path):
    lake = tmp_path / "lake"
    sync(bucket, lake)
    remove_person(lake, BOB)
    assert [path for path in files_that_name_them(lake) if "_delta_log" in path] == []
    assert DeltaTable(f"{lake}/records", version=1).to_pyarrow_table().num_rows > 3  # an older version has them
    assert vacuum(lake, keep_hours=0)
    texts = [str(DeltaTable(f"{lake}/{name}").to_pyarrow_table().to_pylist()) for name in ("records", "rejects")]
    assert "anonymous" not in "".join(texts)
    parquet = [path for path in lake.rglob("*.parquet") if "_delta_log" not in str(path)]
    assert len(parquet) == len(open_lake(lake)._files) + 1
    compact(lake)
    assert len(list(open_lake(lake).iter_records())) == 3


def test_taking_a_revision_again_brings_them_back(bucket, tmp_path):
    lake = tmp_path / "lake"
    sync(bucket, lake)
    remove_person(lake, BOB)
    retake(bucket, lake, [1])
    assert len(list(open_lake(lake).iter_records())) == 6


def test_who_is_an_identity_or_several(bucket, tmp_path):
    lake = tmp_path / "lake"
    with pytest.raises(LakeNotFoundError):
        remove_person(lake, [BOB])
    sync(bucket, lake)
    for wrong in ("", [], [7]):
        with pytest.raises(ValueError, match="one identity or several"):
            remove_person(lake, wrong)
    assert remove_person(lake, "nobody").records == 0
    assert remove_person(lake, ["anonymous"]).records == 2  # the alias names them too


def people_of(lake: Path) -> list[str]:
    return [record.person for record in open_lake(lake).iter_records()]


TWO = {
    1: [Event("bob", 1349222400, "x"), Event("eve", 1349222401, "y")],
    2: [Event("ann", 1349222402, "z"), Event("bob", 1349222403, "x")],
}


@pytest.mark.parametrize("beside", ["retake", "compaction", "sync", "removal", "nothing"])
def test_what_another_run_commits_meanwhile(tmp_path, monkeypatch, beside):
    lake = tmp_path / "lake"
    sync(write_export(tmp_path / "export", TWO), lake, bytes_a_commit=1)
    later = write_export(tmp_path / "export", {1: TWO[1][::-1], 2: TWO[2], 3: [Event("ann", 1349222404, "z")]})
    begun: list[int] = []
    replace = LakeTable.replace

    def meanwhile(self, *arguments):
        if self.layout is RECORDS:
            begun.append(1)
            if len(begun) == 1 and beside == "retake":
                retake(later, lake, [1])
            elif len(begun) == 1 and beside == "compaction":
                compact(lake)
            elif len(begun) == 1 and beside == "sync":
                sync(later, lake)
            elif len(begun) == 1 and beside == "removal":
                remove_person(lake, "bob")
        return replace(self, *arguments)

    monkeypatch.setattr(LakeTable, "replace", meanwhile)
    assert remove_person(lake, "bob").records == (0 if beside == "removal" else 2)
    assert people_of(lake) == ["eve", "ann"] + ["ann"] * (beside == "sync")
    assert len(begun) == {"retake": 3, "compaction": 2, "sync": 1, "removal": 2, "nothing": 1}[beside]


def test_a_compaction_brings_nobody_back(tmp_path, monkeypatch):
    lake = tmp_path / "lake"
    sync(write_export(tmp_path / "export", TWO), lake, bytes_a_commit=1)
    begun: list[int] = []
    open_delta = LakeFolder.open_delta

    def meanwhile(self, name, version=None):
        table = open_delta(self, name, version)
        begun.append(1)
        if len(begun) == 1:
            remove_person(lake, "bob")
        return table

    monkeypatch.setattr(LakeFolder, "open_delta", meanwhile)
    compact(lake)
    assert people_of(lake) == ["eve", "ann"]


def test_a_collision_is_tried_again_and_not_for_ever(tmp_path, monkeypatch):
    lake = tmp_path / "lake"
    sync(write_export(tmp_path / "export", TWO), lake)
    write = DeltaTable.create_write_transaction
    collisions = 10_000

    def collides(self, *arguments, **options):
        nonlocal collisions
        collisions -= 1
        if collisions >= 0:
            msg = "another transaction has deleted data that this one has read"
            raise CommitFailedError(msg)
        write(self, *arguments, **options)

    monkeypatch.setattr(DeltaTable, "create_write_transaction", collides)
    monkeypatch.setattr("kmexport.lake.removal.ROUNDS", 2)
    monkeypatch.setattr("kmexport.lake.log._MOST_TRIES", 2)
    with pytest.raises(BucketUnreachableError, match=r"rows of records failed: other runs came first 2 times\. Call"):
        remove_person(lake, "bob")
    assert people_of(lake) == ["bob", "eve", "ann", "bob"]
    collisions = 3
    assert remove_person(lake, "bob").records == 2
    assert people_of(lake) == ["eve", "ann"]


def test_a_run_that_broke_off_is_called_again_as_it_was(bucket, tmp_path, monkeypatch):
    lake = tmp_path / "lake"
    sync(bucket, lake)
    replace = LakeTable.replace

    def breaks(at, self, *arguments):
        if self.layout is at:
            raise KeyboardInterrupt
        return replace(self, *arguments)

    for at in (REJECTS, RECORDS):
        monkeypatch.setattr(LakeTable, "replace", lambda *arguments, at=at: breaks(at, *arguments))
        with pytest.raises(KeyboardInterrupt):
            remove_person(lake, BOB)
        monkeypatch.undo()
    done = remove_person(lake, BOB)
    assert done.identities == {BOB, "anonymous"}
    assert (done.records, done.rejects) == (4, 0)
    assert [error.raw for error in open_lake(lake).rejects()] == [b"{cut"]
    retake(bucket, lake, [1, 2])
    assert remove_person(lake, done.identities).rejects == 1


def test_rejected_lines_that_name_a_person(tmp_path):
    lake = tmp_path / "lake"
    theirs = [
        rb'{"_p":"zo\303\253/1+=","_t":"x"}',
        rb'{"_p":"zo\\303\\253\/1+=","_t":"x"}',
        rb'{"_p":"zo\u00EB\u002f1+=","_t":"x"}',
        rb'{"_p":"zo\u00eb\/1+=","_t":"x"}',
        b'{"_p":"zo\xeb/1+=","_t":"x"}',
        '{"_p":"ZOË/1+=","_t":"x"}'.encode(),
        '{"x":"\\nzoë/1+='.encode(),
        b'{"_p":42,"_t":"x"}',
    ]
    others = ['{"_p":"enzoë/1+=","_t":"x"}'.encode(), b'{"_p":"eve","_t":"x","price":3421}', b'{"_p":"42nd","_t":"x"}']
    sync(write_export(tmp_path / "export", {1: [*theirs, *others]}), lake)
    assert remove_person(lake, ["zoë/1+=", "42"]).rejects == len(theirs)
    assert [error.raw for error in open_lake(lake).rejects()] == others


def test_half_of_a_surrogate_pair_is_an_identity_too(tmp_path):
    lake = tmp_path / "lake"
    half = "a\ud800"
    lines = [Event(half, 1349222401, "y"), Alias(half, 1349222402, "bob"), Event("bob", 1349222403, "z")]
    sync(write_export(tmp_path / "export", {1: [*lines, Event("a\U00010000", 1349222404, "y"), b"{"]}), lake)
    done = remove_person(lake, half)
    assert (done.identities, done.records, done.rejects) == ({half}, 0, 2)
    assert [error.raw for error in open_lake(lake).rejects()] == [b"{"]
    assert remove_person(lake, [half, "bob"]).records == 1
    assert people_of(lake) == ["a\U00010000"]


@pytest.mark.slow
@pytest.mark.xdist_group("lake-faults")
def test_three_nights_a_changed_file_and_a_person_on_s3(moto, tmp_path):
    """What an engineer does in the first days, with the pages of the docs beside."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    name = f"nights-{random.randrange(10**9)}"
    fsspec.filesystem("s3", **moto.options).mkdir(name)
    lake, options = f"s3://{name}/lake", moto.options
    nights: dict[int, list[object]] = {1: [*THEIRS]}
    assert sync(write_export(tmp_path / "export", nights), lake, **options).revisions == [1]
    nights |= {3: [*OTHERS, CUT_OFF]}
    assert sync(write_export(tmp_path / "export", nights), lake, **options).revisions == [3]
    nights |= {2: [OTHERS[1]], 3: [*OTHERS, OTHERS[0], CUT_OFF]}  # one that came late, and one that was changed
    bucket = write_export(tmp_path / "export", nights)
    night = sync(bucket, lake, **options)
    assert night.revisions == [2]
    assert [change.number for change in night.changed] == [3]
    retake(bucket, lake, [3], **options)
    assert sync(bucket, lake, **options).problems == []
    assert sorted(open_lake(lake, **options).revisions) == [1, 2, 3]
    removal = remove_person(lake, BOB, **options)
    assert (removal.records, removal.rejects) == (3, 1)
    assert vacuum(lake, keep_hours=0, **options)
    assert {record.person for record in open_lake(lake, **options).iter_records()} == {ANN, "bob"}
    assert list(open_lake(lake, **options).rejects()) == []


def test_a_run_says_what_it_did_in_a_line(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "kmexport"):
        summary = sync(Bucket.sample(), tmp_path / "lake")
    assert summary.headline in caplog.messages
    told = json.loads(json.dumps(summary.to_dict()))
    assert told["records"] == 2000
    assert told["revisions"] == list(range(1, 13))
    assert told["problems"] == []
    assert told["bytes"] == summary.file_bytes
    with caplog.at_level(logging.INFO, "kmexport"):
        retake(Bucket.sample(), tmp_path / "lake", [3])
    assert "lake: 1 revision taken again: " in caplog.messages[-1]
