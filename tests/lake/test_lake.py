"""The lake: the export's records, each once, and nothing else; and Facts of it are Facts of the bucket."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, TableFeatures, Transaction, write_deltalake
from fsspec.callbacks import Callback
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from kmexport import (
    Alias,
    Bucket,
    Event,
    Facts,
    LakeFormatError,
    LakeNotFoundError,
    PropertySet,
    RevisionChangedError,
    Window,
    mirror,
    without_person,
)
from kmexport.cluster import to_bag, to_dataframe
from kmexport.lake import Lake, compact, open_lake, retake, sync, vacuum
from kmexport.lake import maintenance as upkeep
from kmexport.lake import writer as files
from kmexport.lake.folder import LakeFolder
from kmexport.lake.log import LakeTable, open_table
from kmexport.lake.schema import RECORDS, REJECTS, STATISTICS_COLUMNS
from kmexport.lake.storage import find_destination
from kmexport.revisions import groups
from kmexport.revisions.reader import read_revisions
from kmexport.tables import SCHEMA, to_sqlite
from kmexport.testing import BROKEN_LINES, write_export
from tests.columns.test_reader import CORPUS, export_of, has_half
from tests.facts.test_facts import CROWDED, found
from tests.support.strategies import BLANK, BROKEN, examples, legal_lines
from tests.support.strategies import RECORDS as RANDOM_RECORDS
from tests.support.systems import WINDOWS, make_link

DAY = 86_400
QUICKLY = (Phase.explicit, Phase.reuse, Phase.generate)  # an example takes a second: shrinking would take minutes
FIRST = 1349049600  # 2012-10-01


def plain(number: int, count: int = 3) -> list[Event]:
    """Records of one revision: each says where it stands."""
    start = FIRST + number * 40_000
    return [Event(f"p{number}", start - 7 * line, "seen", {"at": f"{number}.{line}"}) for line in range(count)]


def an_export(folder: Path, numbers: Mapping[int, int] | range | list[int]) -> Bucket:
    return write_export(folder, {number: plain(number) for number in numbers})


def in_bucket(bucket: Bucket, window: Window | None = None) -> list[object]:
    return [record for record in bucket.iter_records(window, on_error="skip") if not has_half(record)]


def check_equal(bucket: Bucket, lake: Path) -> None:
    """The same records in the same order, and the same rejects."""
    assert list(open_lake(lake).iter_records()) == in_bucket(bucket)
    in_columns = bucket.to_batches(on_error="skip").read_all()
    assert open_lake(lake).to_batches().read_all().equals(in_columns)
    errors: list[object] = []
    list(bucket.to_batches(on_error=lambda error: errors.append((error.line_number, error.reason, error.raw))))
    kept = [(error.line_number, error.reason, error.raw) for error in open_lake(lake).rejects()]
    assert [(line, raw) for line, _, raw in kept] == [(line, raw) for line, _, raw in errors]


def rows(lake: Path, table: str = "records") -> list[tuple[object, ...]]:
    """What another engine finds there."""
    found = DeltaTable(lake / table).to_pyarrow_dataset()  # noqa: F841  # DuckDB finds it by its name
    return duckdb.sql("select * from found order by all").fetchall()


def test_the_sample(tmp_path):
    bucket = Bucket.sample()
    summary = sync(bucket, tmp_path)
    assert summary.revisions == [revision.number for revision in bucket.revisions()]
    assert summary.records == sum(1 for _ in bucket.iter_records())
    assert (summary.rejects, summary.commits, summary.present, summary.problems) == (0, 1, 0, [])
    check_equal(bucket, tmp_path)
    assert sync(bucket, tmp_path).revisions == []
    check_equal(bucket, tmp_path)


def test_the_demo_revision(tmp_path, real_data):
    path = real_data / "demo-account-revision.json"
    bucket = write_export(tmp_path / "export", {1: path.read_bytes().splitlines()})
    sync(bucket, tmp_path / "lake")
    check_equal(bucket, tmp_path / "lake")
    assert len(list(open_lake(tmp_path / "lake").iter_records())) == 6_354


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_the_broken_corpus(path, tmp_path):
    bucket = export_of(path.read_bytes(), f"1{''.join(path.suffixes)}")
    sync(bucket, tmp_path)
    check_equal(bucket, tmp_path)


def test_only_a_bucket_is_a_bucket(tmp_path):
    sync(Bucket.sample(), tmp_path / "lake")
    there = tmp_path / "there"
    calls: list[tuple[str, Callable[[Any], object]]] = [
        ("sync", lambda bucket: sync(bucket, there)),
        ("retake", lambda bucket: retake(bucket, there, [1])),
        ("mirror", lambda bucket: mirror(bucket, there)),
        ("without_person", lambda bucket: without_person(bucket, there, "bob")),
        ("to_sqlite", lambda bucket: to_sqlite(bucket, there)),
        ("to_bag", to_bag),
        ("to_dataframe", to_dataframe),
    ]
    others = ("s3://acme", "its address"), (open_lake(tmp_path / "lake"), "a Lake"), (None, "a NoneType")
    for name, call in calls:
        for other, what in others:
            with pytest.raises(TypeError, match=rf"is a Bucket, not {what}: {name}\(Bucket\(url\), …\)$"):
                call(other)
    assert not there.exists()


def test_records_of_one_line_keep_their_order(tmp_path):
    lines = ",".join(f'{{"_p":"p","_t":{100 - number},"n":{number}}}' for number in range(50))
    bucket = export_of(f"[{lines}]\n".encode())
    sync(bucket, tmp_path)
    check_equal(bucket, tmp_path)
    assert {row[2] for row in rows(tmp_path)} == set(range(1, 51))


@given(
    st.lists(st.lists(RANDOM_RECORDS, max_size=4), min_size=1, max_size=4),
    st.lists(st.one_of(BROKEN, BLANK), max_size=3),
    st.integers(1, 2000),
    st.data(),
)
@settings(max_examples=examples(15), phases=QUICKLY)
@pytest.mark.slow
def test_random_exports(tmp_path_factory, revisions, broken, bytes_a_commit, data):
    folder = tmp_path_factory.mktemp("random")
    lines = {
        number: [data.draw(legal_lines(record))[0] for record in found] for number, found in enumerate(revisions, 1)
    }
    at = data.draw(st.integers(1, len(lines)))
    lines[at] = [*lines[at], *broken] if data.draw(st.booleans()) else [*broken, *lines[at]]
    bucket = write_export(folder / "export", lines)
    summary = sync(bucket, folder / "lake", bytes_a_commit=bytes_a_commit)
    check_equal(bucket, folder / "lake")
    assert summary.counts.lines >= summary.records + summary.rejects - summary.counts.shared
    window = data.draw(
        st.builds(
            lambda start, days: Window(start, start + days * DAY),
            st.integers(FIRST, FIRST + 400_000),
            st.integers(0, 3),
        )
    )
    # The bucket reads the files whose range touches the window, the lake every record of it.
    inside = [record for record in in_bucket(bucket) if record.timestamp in window]
    assert list(open_lake(folder / "lake").iter_records(window)) == inside
    shutil.rmtree(folder)


@pytest.mark.parametrize("rule", ["classic", "strict"])
@given(st.lists(st.lists(CROWDED, max_size=5), min_size=1, max_size=4), st.booleans())
@settings(max_examples=examples(6), phases=QUICKLY)
@pytest.mark.slow
def test_facts_are_those_of_the_bucket(tmp_path_factory, rule, revisions, has_window):
    folder = tmp_path_factory.mktemp("facts")
    bucket = write_export(folder / "export", dict(enumerate(revisions, 1)))
    sync(bucket, folder / "lake", bytes_a_commit=100)
    window = Window(2, 4) if has_window else None
    with Facts(bucket, rule=rule, window=window) as one, Facts(folder / "lake", rule=rule, window=window) as other:
        assert found(one) == found(other)
        for table in ("records", "events", "properties", "people"):
            query = f"select * from {table} order by all"
            assert one.sql(query).fetchall() == other.sql(query).fetchall()
    shutil.rmtree(folder)


def test_facts_of_the_sample(tmp_path):
    sync(Bucket.sample(), tmp_path)
    day = Window.day("2012-10-03", tz="America/New_York")
    query = "select name, count(*), count(distinct person) from events group by all order by all"
    for window in (None, day):
        with Facts(Bucket.sample(), window=window) as one, Facts(str(tmp_path), window=window) as other:
            assert one.sql(query).fetchall() == other.sql(query).fetchall()
            assert one.people.resolve("10007") == other.people.resolve("10007")
    assert Facts(open_lake(tmp_path)).sql("select count(*) from records").fetchall() == [(2000,)]


def test_facts_have_the_rejects(tmp_path):
    bucket = write_export(tmp_path / "export", {1: [*plain(1), BROKEN_LINES["no person"]], 2: [b"?"]})
    sync(bucket, tmp_path / "lake")
    query = "select * from rejects order by all"
    found = []
    for source in (bucket, tmp_path / "lake"):
        with Facts(source, on_error=lambda _: None) as facts:
            facts.sql("select count(*) from records").fetchall()
            found.append(facts.sql(query).fetchall())
    assert found[0] == found[1]
    assert len(found[0]) == 2


def test_the_window_reads_its_days_only(tmp_path):
    bucket = an_export(tmp_path / "export", range(1, 20))
    sync(bucket, tmp_path / "lake")
    day = Window.day("2012-10-03")
    for path in (tmp_path / "lake" / "records").glob("day=*/*.parquet"):
        if path.parent.name != "day=2012-10-03":
            path.unlink()
    assert list(open_lake(tmp_path / "lake").iter_records(day)) == list(bucket.iter_records(day))
    with Facts(tmp_path / "lake", window=day, identities=bucket.identities()) as facts:
        assert facts.sql("select count(*) from events").fetchall() == [(len(list(bucket.iter_records(day))),)]


def test_layout(tmp_path):
    bucket = an_export(tmp_path / "export", range(1, 6))
    sync(bucket, tmp_path / "lake")
    table = DeltaTable(tmp_path / "lake" / "records")
    assert table.metadata().partition_columns == ["day"]
    assert table.metadata().configuration["kmexport.version"] == "1"
    names = [field.name for field in table.schema().fields]
    assert [name for name in names if name not in ("item", "day")] == SCHEMA.names
    for uri in table.file_uris():
        path = Path(uri.removeprefix("file://"))
        times = pa.parquet.read_table(path, columns=["time"], partitioning=None)["time"].to_pylist()
        assert times == sorted(times)
        assert {str(time.date()) for time in times} == {path.parent.name.removeprefix("day=")}
        assert pa.parquet.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"
    assert pl.scan_delta(str(tmp_path / "lake" / "records")).select(pl.len()).collect().item() == 15


def test_what_the_log_says_of_files_is_true(tmp_path):
    wild = [Event("a", time, "x", {}) for time in (-62_135_596_800, -1, 0, FIRST, 253_402_300_799)]
    sync(write_export(tmp_path / "export", {3: wild}), tmp_path / "lake")
    actions = pa.table(DeltaTable(tmp_path / "lake" / "records").get_add_actions(flatten=True)).to_pylist()
    assert [action["num_records"] for action in actions] == [1] * 5
    assert sorted(action["min.line"] for action in actions) == [1, 2, 3, 4, 5]
    assert sorted(int(action["min.time"].timestamp()) for action in actions) == sorted(e.timestamp for e in wild)
    assert all(action["min.time"] == action["max.time"] for action in actions)
    assert list(open_lake(tmp_path / "lake").iter_records()) == wild


@pytest.mark.parametrize("what", ["half", "empty", "zeros", "no JSON", "half a checkpoint"])
def test_a_damaged_log_is_named(tmp_path, what):
    sync(Bucket.sample(), tmp_path, bytes_a_commit=30_000)
    log = tmp_path / "records" / "_delta_log"
    (checkpoint,) = log.glob("*.checkpoint.parquet")
    path = checkpoint if what == "half a checkpoint" else max(log.glob("0*.json"))
    if path is not checkpoint:
        checkpoint.unlink()
    content = path.read_bytes()
    half = content[: len(content) // 2]
    damaged = {"empty": b"", "zeros": bytes(len(content)), "no JSON": b"<html>\n"}.get(what, half)
    path.write_bytes(damaged)
    for reads in (lambda lake: sync(Bucket.sample(), lake), open_lake, Facts, compact, vacuum):
        with pytest.raises(LakeFormatError, match=rf"records/_delta_log/{path.name} is damaged") as caught:
            reads(tmp_path)
        assert pickle.loads(pickle.dumps(caught.value)).reason == caught.value.reason


@pytest.mark.parametrize("what", ["gone", "damaged"])
def test_a_file_of_a_lake_that_is_gone_or_damaged_is_named(tmp_path, what):
    bucket = write_export(tmp_path / "export", {1: [*plain(1), b"?"]})
    sync(bucket, tmp_path / "lake")
    lake = open_lake(tmp_path / "lake")
    (path,) = (tmp_path / "lake" / "records").rglob("*.parquet")
    (rejects,) = (tmp_path / "lake" / "rejects").rglob("part-*.parquet")
    error = LakeNotFoundError if what == "gone" else LakeFormatError
    for file, reads in (
        (path, lambda: list(lake.iter_records())),
        (path, lambda: lake.to_batches().read_all()),
        (path, lake.identities),
        (path, lambda: Facts(lake).sql("select count(*) from events").fetchall()),
        (rejects, lambda: list(lake.rejects())),
    ):
        if what == "damaged":
            file.write_bytes(b"PAR1")
        else:
            file.unlink(missing_ok=True)
        with pytest.raises(error, match=rf"{file.parent.name}/{file.name} is {what}"):
            reads()


@pytest.mark.parametrize("what", ["gone", "damaged"])
def test_upkeep_of_a_lake_that_lacks_a_file(tmp_path, what):
    sync(an_export(tmp_path / "export", range(1, 6)), tmp_path / "lake", bytes_a_commit=1)
    days = (tmp_path / "lake" / "records").glob("day=*")
    path = next(files[0] for day in days if len(files := list(day.iterdir())) > 1)
    path.write_bytes(b"PAR1") if what == "damaged" else path.unlink()
    error = LakeNotFoundError if what == "gone" else LakeFormatError
    with pytest.raises(error, match=f"compacting records failed, for a file of the lake is {what}"):
        compact(tmp_path / "lake")


def test_a_hint_at_a_checkpoint_that_is_gone(tmp_path):
    """Whoever deletes a damaged checkpoint has to delete the hint at it too: delta-rs says so."""
    bucket = an_export(tmp_path / "export", range(1, 6))
    sync(bucket, tmp_path / "lake", bytes_a_commit=1)
    (tmp_path / "lake" / "records" / "_delta_log" / "_last_checkpoint").write_bytes(b'{"version":99,"size":1}')
    bucket = an_export(tmp_path / "export", range(1, 7))
    for does in (lambda: sync(bucket, tmp_path / "lake"), lambda: compact(tmp_path / "lake")):
        with pytest.raises(LakeFormatError, match=r"damaged .*_last_checkpoint"):
            does()


def test_a_table_that_needs_another_reader_is_not_read(tmp_path):
    sync(Bucket.sample(), tmp_path)
    DeltaTable(tmp_path / "records").alter.add_feature(
        TableFeatures.DeletionVectors, allow_protocol_versions_increase=True
    )
    with pytest.raises(LakeFormatError, match="needs a reader of Delta's version 3"):
        open_lake(tmp_path)


def test_a_late_revision_below_the_highest_is_taken(tmp_path):
    an_export(tmp_path / "export", [1, 2, 5])
    sync(Bucket(tmp_path / "export"), tmp_path / "lake")
    bucket = an_export(tmp_path / "export", [1, 2, 3, 5, 6])
    summary = sync(bucket, tmp_path / "lake")
    assert summary.revisions == [3, 6]
    check_equal(bucket, tmp_path / "lake")


def test_what_was_deleted_stays(tmp_path, caplog):
    bucket = an_export(tmp_path / "export", range(1, 5))
    sync(bucket, tmp_path / "lake")
    before = rows(tmp_path / "lake")
    (tmp_path / "export" / "revisions" / "2.json").unlink()
    with caplog.at_level(logging.WARNING):
        summary = sync(bucket, tmp_path / "lake")
    assert summary.revisions == []
    assert summary.problems == ["revisions/2.json is gone from the bucket; the lake holds its records"]
    assert "left out" not in caplog.text
    assert rows(tmp_path / "lake") == before
    # What the lake lacks too is another matter.
    summary = sync(bucket, tmp_path / "other")
    assert summary.problems == ["revisions/2.json is named by the index and not in the bucket: the lake lacks it"]


def test_a_lake_in_its_export_is_refused(tmp_path):
    bucket = an_export(tmp_path / "export", [1])
    for place in (
        tmp_path / "export",
        tmp_path / "export" / "lake",
        f"file://{tmp_path.as_posix()}/export/a/b",
        tmp_path / "link",
    ):
        if place == tmp_path / "link":
            make_link(place, tmp_path / "export")
        with pytest.raises(ValueError, match="does not lie in the folder of the export"):
            sync(bucket, place)
    assert sorted(path.name for path in (tmp_path / "export").iterdir()) == ["index.csv", "revisions", "status.csv"]
    assert sync(bucket, tmp_path / "export-lake").revisions == [1]


def test_a_lake_whose_rejects_were_deleted_says_so(tmp_path):
    bucket = write_export(tmp_path / "export", {1: [*plain(1), b"?"]})
    sync(bucket, tmp_path / "lake")
    shutil.rmtree(tmp_path / "lake" / "rejects")
    with pytest.raises(LakeNotFoundError, match="the table rejects is gone"):
        list(open_lake(tmp_path / "lake").rejects())
    summary = sync(bucket, tmp_path / "lake")
    assert [problem.partition(",")[0] for problem in summary.problems] == ["the table rejects was deleted"]
    assert sync(bucket, tmp_path / "lake").problems == []
    assert list(open_lake(tmp_path / "lake").rejects()) == []


def test_empty_revisions_and_empty_exports(tmp_path):
    bucket = write_export(tmp_path / "none", {})
    assert sync(bucket, tmp_path / "lake").revisions == []
    assert list(open_lake(tmp_path / "lake").iter_records()) == []
    bucket = write_export(tmp_path / "empty", {1: [], 2: [b"", b"  "]})
    assert sync(bucket, tmp_path / "lake").revisions == [1, 2]
    assert sync(bucket, tmp_path / "lake").revisions == []
    assert list(open_lake(tmp_path / "lake").iter_records()) == []


def test_rejects_are_kept_once(tmp_path):
    lines = {number: [*plain(number), *BROKEN_LINES.values()] for number in range(1, 4)}
    bucket = write_export(tmp_path / "export", lines)
    summary = sync(bucket, tmp_path / "lake", bytes_a_commit=1)
    assert summary.rejects == 3 * len(BROKEN_LINES) == len(rows(tmp_path / "lake", "rejects"))
    assert str(summary.rejects) in str(summary)
    check_equal(bucket, tmp_path / "lake")
    assert sync(bucket, tmp_path / "lake").rejects == 0


def test_a_run_that_broke_between_the_two_tables(tmp_path, monkeypatch):
    bucket = write_export(tmp_path / "export", {1: [*plain(1), b"?"], 2: [b"!", *plain(2)]})

    commit = LakeTable.commit

    def breaks(self, added, revisions):
        if self.layout is REJECTS:
            return commit(self, added, revisions)
        raise KeyboardInterrupt

    monkeypatch.setattr(LakeTable, "commit", breaks)
    with pytest.raises(KeyboardInterrupt):
        sync(bucket, tmp_path / "lake")
    monkeypatch.undo()
    assert len(rows(tmp_path / "lake", "rejects")) == 2
    assert rows(tmp_path / "lake") == []
    sync(bucket, tmp_path / "lake")
    check_equal(bucket, tmp_path / "lake")


def test_a_commit_of_what_is_there_is_refused(tmp_path):
    """One after another and at the same time: the log is asked first, then delta-rs."""
    bucket = an_export(tmp_path / "export", [1, 2, 3])
    sync(bucket, tmp_path / "lake")
    folder = LakeFolder(find_destination(tmp_path / "lake", {}))
    one, other = open_table(folder, RECORDS), open_table(folder, RECORDS)
    assert not one.commit([], {2: bucket.revisions()[1]})
    late = write_export(tmp_path / "late", {4: plain(4)}).revisions()[0]
    other._delta()
    assert one.commit([], {4: late})
    assert not other.log.sizes.keys() & {4}
    assert not other.commit([], {4: late})
    assert other.log.sizes.keys() == {1, 2, 3, 4}


def test_ids_stay_through_checkpoints_cleanup_compaction_and_vacuum(tmp_path):
    bucket = an_export(tmp_path / "export", range(1, 30))
    for last in (10, 20, 30):
        an_export(tmp_path / "export", range(1, last))
        sync(bucket, tmp_path / "lake", bytes_a_commit=500)
    log = tmp_path / "lake" / "records" / "_delta_log"
    before = len(list(log.glob("*.json")))
    compaction = compact(tmp_path / "lake")
    assert compaction.added < compaction.removed
    assert vacuum(tmp_path / "lake", keep_hours=0)
    for path in log.glob("*.json"):  # as after thirty days
        os.utime(path, (1, 1))
    DeltaTable(tmp_path / "lake" / "records").alter.set_table_properties(
        {"delta.logRetentionDuration": "interval 0 days"}
    )
    table = DeltaTable(tmp_path / "lake" / "records")
    table.create_checkpoint()
    table.cleanup_metadata()
    assert len(list(log.glob("*.json"))) < before
    assert not (log / f"{0:020d}.json").exists()
    assert sync(bucket, tmp_path / "lake").revisions == []
    an_export(tmp_path / "export", range(1, 31))
    assert sync(bucket, tmp_path / "lake").revisions == [30]
    check_equal(bucket, tmp_path / "lake")


def test_a_log_of_which_only_the_checkpoint_is_left(tmp_path):
    bucket = an_export(tmp_path / "export", [1, 2])
    sync(bucket, tmp_path / "lake")
    DeltaTable(tmp_path / "lake" / "records").create_checkpoint()
    for path in (tmp_path / "lake" / "records" / "_delta_log").glob("0*.json"):
        path.unlink()
    assert sync(bucket, tmp_path / "lake").revisions == []
    assert open_lake(tmp_path / "lake").revisions == {1, 2}


def test_a_log_with_a_gap_is_refused(tmp_path):
    bucket = an_export(tmp_path / "export", [1, 2, 3])
    sync(bucket, tmp_path / "lake", bytes_a_commit=1)
    log = tmp_path / "lake" / "records" / "_delta_log"
    for path in log.glob("*checkpoint*"):
        path.unlink()
    (log / f"{1:020d}.json").unlink()
    with pytest.raises(LakeFormatError, match="lacks version 1"):
        sync(bucket, tmp_path / "lake")


def test_another_table_is_left_alone(tmp_path):
    strange = pa.table({"x": [1]})
    write_deltalake(tmp_path / "one", strange)
    write_deltalake(tmp_path / "two" / "records", strange)
    write_deltalake(tmp_path / "three" / "rejects", strange)
    for name in ("one", "two", "three"):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(LakeFormatError, match="Nothing was written"):
            sync(Bucket.sample(), tmp_path / name)
        assert sorted(tmp_path.rglob("*")) == before
    for reads in (open_lake, compact, vacuum):
        with pytest.raises(LakeFormatError):
            reads(tmp_path / "two")


@pytest.mark.parametrize("table", ["records", "rejects"])
def test_a_newer_version_is_left_alone(tmp_path, table):
    bucket = an_export(tmp_path / "export", [1])
    sync(bucket, tmp_path / "lake")
    properties = {"kmexport.version": "2"}
    DeltaTable(tmp_path / "lake" / table).alter.set_table_properties(properties, raise_if_not_exists=False)
    an_export(tmp_path / "export", [1, 2])
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(LakeFormatError, match="version '2'"):
        sync(bucket, tmp_path / "lake")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_table_that_would_forget_its_ids_is_refused(tmp_path):
    sync(Bucket.sample(), tmp_path)
    properties = {"delta.setTransactionRetentionDuration": "interval 1 days"}
    DeltaTable(tmp_path / "records").alter.set_table_properties(properties)
    with pytest.raises(LakeFormatError, match="forget"):
        sync(Bucket.sample(), tmp_path)


def test_no_lake(tmp_path):
    for reads in (open_lake, compact, vacuum, Facts):
        with pytest.raises(LakeNotFoundError, match="there is no table"):
            reads(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_a_revision_that_changed_after_it_was_taken(tmp_path):
    bucket = an_export(tmp_path / "export", [1, 2])
    sync(bucket, tmp_path / "lake")
    check_equal(bucket, tmp_path / "lake")
    with (tmp_path / "export" / "revisions" / "2.json").open("ab") as file:
        file.write(b'{"_p":"late","_t":1}\n')
    summary = sync(bucket, tmp_path / "lake")
    assert [change.number for change in summary.changed] == [2]
    assert "2.json" in str(summary)
    assert "late" not in str(rows(tmp_path / "lake"))
    # One that was packed has another size, and the same records.
    import gzip

    plain_file = tmp_path / "export" / "revisions" / "1.json"
    plain_file.with_suffix(".json.gz").write_bytes(gzip.compress(plain_file.read_bytes()))
    plain_file.unlink()
    assert [change.number for change in sync(bucket, tmp_path / "lake").changed] == [2]


def break_reading(monkeypatch: pytest.MonkeyPatch, error: Exception, times: int) -> None:
    """Let reading meet an error at one revision, for some tries."""
    left = [error] * times

    def broken(folder, revisions, reading, read_file):
        is_hit = left and any(revision.path == error.source for revision in revisions)
        yield from read_revisions(folder, revisions[:1] if is_hit else revisions, reading, read_file)
        if is_hit:
            raise left.pop()

    monkeypatch.setattr(files, "read_revisions", broken)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_revision_that_is_replaced_while_it_is_read(tmp_path, monkeypatch, workers):
    monkeypatch.setattr(groups, "_SMALLEST", 1 << 40)
    bucket = an_export(tmp_path / "export", range(1, 6))
    error = RevisionChangedError("revisions/3.json", "its beginning is another than before")
    with ThreadPoolExecutor(workers or 1) as threads:
        executor = threads if workers else None
        break_reading(monkeypatch, error, 1)
        summary = sync(bucket, tmp_path / "lake", executor=executor)
        assert summary.revisions == [1, 2, 4, 5, 3]
        assert summary.records == 15
        check_equal(bucket, tmp_path / "lake")
        break_reading(monkeypatch, error, 99)
        summary = sync(bucket, tmp_path / "other", executor=executor)
        assert summary.revisions == [1, 2, 4, 5]
        assert summary.unsettled == ["revisions/3.json"]
        monkeypatch.undo()
        assert sync(bucket, tmp_path / "other", executor=executor).revisions == [3]
    check_equal(bucket, tmp_path / "other")


def test_a_revision_that_vanishes_while_others_are_read(tmp_path, caplog):
    bucket = an_export(tmp_path / "export", range(1, 6))
    listing = bucket._listing()
    (tmp_path / "export" / "revisions" / "3.json").unlink()
    bucket._listing = lambda: listing
    with caplog.at_level(logging.WARNING):
        summary = sync(bucket, tmp_path / "lake")
    assert summary.revisions == [1, 2, 4, 5]
    assert summary.vanished == ["revisions/3.json"]
    assert summary.records == 12
    check_equal(Bucket(tmp_path / "export"), tmp_path / "lake")
    assert len(list((tmp_path / "lake").rglob("*.parquet"))) == summary.files


def test_large_revisions_are_written_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CHUNK_BYTES", 20_000)
    bucket = write_export(tmp_path / "export", {1: plain(1, 50_000), 2: plain(2, 10)})
    summary = sync(bucket, tmp_path / "lake")
    assert summary.commits == 1
    assert summary.files > 3
    check_equal(bucket, tmp_path / "lake")


def test_a_commit_holds_several_revisions(tmp_path):
    bucket = an_export(tmp_path / "export", range(1, 40))
    size = bucket.revisions()[0].size
    assert sync(bucket, tmp_path / "one").commits == 1
    assert sync(bucket, tmp_path / "many", bytes_a_commit=4 * size + 10).commits in range(10, 14)
    assert rows(tmp_path / "one") == rows(tmp_path / "many")


class Watching(Callback):
    def __init__(self):
        super().__init__()
        self.told = []

    def set_size(self, size):
        super().set_size(size)
        self.told.append(size)


def test_progress(tmp_path):
    bucket = an_export(tmp_path / "export", range(1, 10))
    total = sum(revision.size for revision in bucket.revisions())
    callback = Watching()
    sync(bucket, tmp_path / "lake", callback=callback, bytes_a_commit=300)
    assert callback.told == [total]
    assert callback.value == total
    sync(bucket, tmp_path / "lake", callback="tqdm")


def test_arguments_are_checked_before_anything_is_done(tmp_path):
    for wrong in ({"bytes_a_commit": 0}, {"ahead": 0}, {"callback": "bar"}):
        with pytest.raises(ValueError):
            sync(Bucket.sample(), tmp_path / "lake", **wrong)
    for url in ("memory://lake", "http://127.0.0.1/lake", "sftp://host/lake"):
        with pytest.raises(ValueError, match="local disk, on S3"):
            sync(Bucket.sample(), url)
    for path in ("a%20b", *([] if WINDOWS else ["a\\b"])):  # there a backslash is a slash
        with pytest.raises(ValueError, match="delta-rs takes no path"):
            sync(Bucket.sample(), tmp_path / path)
    with pytest.raises(TypeError, match="'ky' is no storage option"):
        sync(Bucket.sample(), "s3://bucket/lake", ky="x")
    with pytest.raises(ValueError, match="keep_hours"):
        vacuum(tmp_path, keep_hours=-1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a b", "a#é?", "100%", "it's", "[x]*", "a+b&c=d"])
def test_odd_folders(tmp_path, name):
    if WINDOWS:
        name = name.translate({ord("?"): "é", ord("*"): "x"})  # no name there may have them
    sync(Bucket.sample(), f"file://{(tmp_path / name).as_posix()}")
    assert sync(Bucket.sample(), tmp_path / name).present == 12
    check_equal(Bucket.sample(), tmp_path / name)


def test_summaries_print_well(tmp_path):
    bucket = write_export(tmp_path / "export", {1: [*plain(1), b"?"]})
    summary = sync(bucket, tmp_path / "lake")
    summary.url = "<i>"  # a name that not every system takes
    assert "1 revision added to 0: 3 records" in str(summary)
    assert "1 line is no record" in str(summary)
    assert "<i>" not in summary._repr_html_()
    assert "nothing new; 1 revisions" in str(sync(bucket, tmp_path / "lake"))
    assert pickle.loads(pickle.dumps(summary)) == summary


def test_a_lake_is_as_it_was_when_it_was_opened(tmp_path):
    bucket = an_export(tmp_path / "export", [1])
    sync(bucket, tmp_path / "lake")
    lake = open_lake(tmp_path / "lake")
    an_export(tmp_path / "export", [1, 2])
    sync(bucket, tmp_path / "lake")
    assert len(list(lake.iter_records())) == 3
    assert len(list(open_lake(tmp_path / "lake").iter_records())) == 6
    assert len(list(pickle.loads(pickle.dumps(lake)).iter_records())) == 3
    assert isinstance(lake, Lake)


def test_a_second_vacuum_has_nothing_to_remove(tmp_path):
    sync(an_export(tmp_path / "export", range(1, 8)), tmp_path / "lake", bytes_a_commit=1)
    before = {path.relative_to(tmp_path / "lake").as_posix() for path in (tmp_path / "lake").rglob("*.parquet")}
    compaction = compact(tmp_path / "lake")
    would = vacuum(tmp_path / "lake", keep_hours=0, dry_run=True)
    removed = vacuum(tmp_path / "lake", keep_hours=0)
    assert len(removed) == compaction.removed > 0
    assert set(removed) == set(would) < before
    assert not any((tmp_path / "lake" / path).exists() for path in removed)
    for is_dry in (True, False):
        assert vacuum(tmp_path / "lake", keep_hours=0, dry_run=is_dry) == []


def test_compaction_in_portions(tmp_path, monkeypatch):
    bucket = an_export(tmp_path / "export", range(1, 20))
    sync(bucket, tmp_path / "lake", bytes_a_commit=1)
    monkeypatch.setattr(upkeep, "_PORTION_BYTES", 1)
    before = open_lake(tmp_path / "lake").version
    compaction = compact(tmp_path / "lake")
    days = {path.parent.name for path in (tmp_path / "lake" / "records").glob("day=*/*.parquet")}
    assert compaction.added == open_lake(tmp_path / "lake").version - before > len(days) // 2
    check_equal(bucket, tmp_path / "lake")


def test_vacuum_removes_what_a_killed_run_left(tmp_path):
    bucket = an_export(tmp_path / "export", [1, 2])
    sync(bucket, tmp_path / "lake")
    orphan = tmp_path / "lake" / "records" / "day=2012-10-01" / "part-orphan.zstd.parquet"
    orphan.write_bytes(b"half a file")
    os.utime(orphan, (1, 1))
    before = rows(tmp_path / "lake")
    assert vacuum(tmp_path / "lake", dry_run=True) == ["records/day=2012-10-01/part-orphan.zstd.parquet"]
    assert orphan.exists()
    assert len(vacuum(tmp_path / "lake")) == 1
    assert not orphan.exists()
    assert rows(tmp_path / "lake") == before
    check_equal(bucket, tmp_path / "lake")


def test_without_the_extra(tmp_path):
    code = """
import sys
sys.modules["deltalake"] = None
import kmexport
try:
    import kmexport.lake
except ImportError as error:
    print(error)
try:
    kmexport.Facts("somewhere")
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    message = "kmexport.lake needs deltalake: pip install 'kmexport[lake]'"
    way_out = "Facts(address) reads a lake or an export."
    assert done.stdout.splitlines() == [message, f"{message}. {way_out}"]


def test_an_id_of_someone_else_is_no_revision(tmp_path):
    sync(Bucket.sample(), tmp_path)
    table = DeltaTable(tmp_path / "records")
    transactions = [Transaction("kmexport/x", 1), Transaction("spark/3", 1)]
    empty = pa.table(
        {name: pa.array([], kind) for name, kind in zip(RECORDS.schema.names, RECORDS.schema.types, strict=True)}
    )
    write_deltalake(table, empty, mode="append", commit_properties=CommitProperties(app_transactions=transactions))
    assert open_lake(tmp_path).revisions == frozenset(range(1, 13))


def test_kinds_of_records_come_back(tmp_path):
    given = [
        Event("a", FIRST, "Signed Up", {"x": 10**30, "y": [1, {"z": None}]}),
        PropertySet("", FIRST, {"é": "ü"}),
        Alias("a", FIRST, "b", {"k": 1.5}),
    ]
    sync(write_export(tmp_path / "export", {7: given}), tmp_path / "lake")
    assert list(open_lake(tmp_path / "lake").iter_records()) == given
    assert STATISTICS_COLUMNS == ("revision", "line", "time")
