from __future__ import annotations

import gzip

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmexport import (
    Alias,
    BucketNotFoundError,
    Event,
    IndexFormatError,
    MalformedRecordError,
    PropertySet,
    Revision,
    Window,
)
from kmexport.testing import BROKEN_LINES, write_export

EVENT = Event("ana", 1349222400, "signed up", {"city": "Paraná"})
ALIAS = Alias("ana", 1349222500, "qFq2LweZugFNE4o49hLhmRPBW34=")


@pytest.mark.parametrize("url", ["memory://testing/shop", "local"])
def test_an_export_with_everything_in_order(url, tmp_path):
    bucket = write_export(tmp_path if url == "local" else url, {10: [ALIAS], 9: [EVENT, ALIAS]}, pending=3)
    assert list(bucket.iter_records()) == [EVENT, ALIAS, ALIAS]
    assert bucket.index() == [
        Revision(9, "revisions/9.json", 1349222401, 1349222701),  # in the batches behind its records
        Revision(10, "revisions/10.json", 1349222702, 1349222702),
    ]
    status = bucket.status()
    assert (status.total_revisions, status.exported_revisions, status.pending_revisions) == (5, 2, 3)
    assert status.max_exported_timestamp == 1349222702


def test_defects_on_request(tmp_path):
    bucket = write_export(
        tmp_path,
        {1: [EVENT], 2: [EVENT], 3: [EVENT], 4: [EVENT], 5: [EVENT, b"broken", '{"_p":"bob","_t":1}\n']},
        gone=[1],
        unindexed=[2],
        ranges={3: (5, 6)},
        octal=[4],
        gzipped=[5],
    )
    assert [(r.number, r.path, r.min_timestamp) for r in bucket.revisions()] == [
        (2, "revisions/2.json", None),
        (3, "revisions/3.json", 5),
        (4, "revisions/4.json", 1349222402),
        (5, "revisions/5.json.gz", 1349222403),
    ]
    assert [r.number for r in bucket.index()] == [1, 3, 4, 5]
    assert rb"Paran\303\241" in (tmp_path / "revisions" / "4.json").read_bytes()
    assert gzip.decompress((tmp_path / "revisions" / "5.json.gz").read_bytes()).count(b"\n") == 3
    errors: list[MalformedRecordError] = []
    assert list(bucket.iter_records(on_error=errors.append)) == [EVENT] * 4 + [PropertySet("bob", 1)]
    assert [(error.source, error.line_number) for error in errors] == [("revisions/5.json.gz", 2)]


def test_doubled_octal(tmp_path):
    bucket = write_export(tmp_path, {1: [EVENT]}, octal=[1], octal_form="doubled")
    assert rb"Paran\\303\\241" in (tmp_path / "revisions" / "1.json").read_bytes()
    assert list(bucket.iter_records()) == [EVENT]


def test_a_ready_filesystem():
    fs = fsspec.filesystem("memory")
    bucket = write_export("/testing/ready", {1: [EVENT]}, fs=fs)
    assert list(bucket.iter_records()) == [EVENT]


def test_a_missing_manifest_and_a_hostile_one(tmp_path):
    bucket = write_export(tmp_path, {1: [EVENT]})
    index = tmp_path / "index.csv"
    index.write_text(index.read_text(encoding="utf-8").replace("revisions/1.json", "../1.json"), encoding="utf-8")
    with pytest.raises(IndexFormatError, match=r"line 2, column filename.*'\.\./1\.json'"):
        list(bucket.iter_records())
    index.unlink()
    with pytest.raises(BucketNotFoundError, match=r"no index\.csv"):
        list(bucket.iter_records())


@pytest.mark.parametrize("defect", BROKEN_LINES)
def test_every_broken_line_is_one(defect, tmp_path):
    bucket = write_export(tmp_path, {1: [EVENT, BROKEN_LINES[defect], EVENT]})
    errors: list[MalformedRecordError] = []
    assert list(bucket.iter_records(on_error=errors.append)) == [EVENT, EVENT]
    assert [error.line_number for error in errors] == [2]


def test_a_defect_of_a_revision_that_is_not_given(tmp_path):
    with pytest.raises(ValueError, match=r"gone names revisions that are not given: \[7\]"):
        write_export(tmp_path, {1: []}, gone=[7])


@given(st.integers(1, 9), st.lists(st.integers(0, 2 * 10**9), min_size=1, max_size=5))
def test_ranges_are_those_of_batches_of_five_minutes(number, times):
    bucket = write_export(
        f"memory://testing/batches/{number}", {number: [Event("bob", second, "x") for second in times]}
    )
    (row,) = bucket.index()
    assert row.min_timestamp % 300 == row.max_timestamp % 300 == 1 + number % 3
    assert 0 <= row.min_timestamp - min(times) < 300
    assert 0 <= row.max_timestamp - max(times) < 300
    assert bucket.status().max_exported_timestamp == row.max_timestamp
    for second in times:
        window = Window(second, second + 1)
        assert len(list(bucket.iter_records(window, margin=0))) == times.count(second)
