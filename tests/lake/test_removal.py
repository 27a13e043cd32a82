"""One person taken out of a lake, and what a run says of itself."""

from __future__ import annotations

import json
import logging
import random
from pathlib import Path

import fsspec
import pytest
from deltalake import DeltaTable

from kmexport import Alias, Bucket, Event
from kmexport.errors import LakeNotFoundError
from kmexport.lake import compact, open_lake, remove_person, retake, sync, vacuum
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
