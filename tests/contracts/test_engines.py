"""A lake in other engines, and the nightly job: what the pages on them say and a doctest can't hold."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from datetime import date
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from kmexport import Alias, Bucket, Event, PropertySet, Window
from kmexport.lake import compact, open_lake, sync, vacuum
from kmexport.testing import BROKEN_LINES, write_export
from tests.support.strategies import examples

DOCS = Path(__file__).parents[2] / "docs"
START = 1349222400  # 2012-10-03, in UTC
DAY = date(2012, 10, 3)


def python_blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


BLOCKS = [(page, block) for page in ("engines.md", "schedulers.md") for block in python_blocks(page)]


def test_the_pages_have_blocks_that_no_doctest_runs():
    assert [page for page, _ in BLOCKS] == ["engines.md"] * 2 + ["schedulers.md"] * 3


@pytest.mark.parametrize(("page", "block"), BLOCKS)
def test_blocks_are_python_and_import_what_kmexport_has(page, block):
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kmexport"):
            module = importlib.import_module(node.module or "")
            assert all(hasattr(module, alias.name) for alias in node.names)


def by_duckdb(table: DeltaTable) -> dict[str, int]:
    records = table.to_pyarrow_dataset()  # noqa: F841  # DuckDB finds it by its name
    query = "select lower(name), count(distinct person) from records where day = ? and kind = 'event' group by all"
    return dict(duckdb.sql(query, params=[DAY]).fetchall())


def by_polars(table: DeltaTable) -> dict[str, int]:
    events = pl.scan_delta(table.table_uri).filter(pl.col("day") == DAY, pl.col("kind") == "event")
    people = events.group_by(pl.col("name").str.to_lowercase()).agg(pl.col("person").n_unique())
    return dict(people.collect().iter_rows())


def by_pandas(table: DeltaTable) -> dict[str, int]:
    events = table.to_pandas(columns=["person", "name"], filters=[("day", "=", DAY), ("kind", "=", "event")])
    return events.groupby(events["name"].str.lower())["person"].nunique().to_dict()


def by_pyarrow(table: DeltaTable) -> dict[str, int]:
    of_the_day = (pc.field("day") == DAY) & (pc.field("kind") == "event")
    events = table.to_pyarrow_dataset().to_table(columns=["name", "person"], filter=of_the_day)
    lowered = events.set_column(0, "name", pc.utf8_lower(events["name"]))
    found = lowered.group_by("name").aggregate([("person", "count_distinct")])
    return dict(zip(found["name"].to_pylist(), found["person_count_distinct"].to_pylist(), strict=True))


ENGINES: list[Callable[[DeltaTable], dict[str, int]]] = [by_duckdb, by_polars, by_pandas, by_pyarrow]
PERSONS = st.sampled_from(["bob", "Bob", "eve"])
TIMES = st.sampled_from([START - 1, START, START + 1, START + 86_399, START + 86_400])
NAMES = st.sampled_from(["signed up", "Signed Up", "straße", "", 'it\'s "quoted"', "a%2Fb=c", "ÉTÉ", "été"])
RECORDS = st.one_of(
    st.builds(Event, PERSONS, TIMES, NAMES, st.just({"plan": "Pro"})),
    st.builds(PropertySet, PERSONS, TIMES, st.just({"plan": "Pro"})),
    st.builds(Alias, PERSONS, TIMES, PERSONS, st.just({})),
)


@given(
    st.dictionaries(st.integers(1, 9), st.lists(RECORDS, min_size=1, max_size=8), min_size=1, max_size=4), st.booleans()
)
@settings(max_examples=examples(25))
@pytest.mark.slow
def test_every_engine_counts_as_the_iterator_does(tmp_path_factory, export, compacted):
    folder = tmp_path_factory.mktemp("engines")
    bucket = write_export(folder / "export", export)
    sync(bucket, folder / "lake", bytes_a_commit=1)
    if compacted:
        compact(folder / "lake")
    people: dict[str, set[str]] = defaultdict(set)
    for event in bucket.iter_records(Window.day(DAY), kinds=Event):
        people[event.name.lower()].add(event.person)
    expected = {name: len(persons) for name, persons in people.items()}
    table = DeltaTable(folder / "lake" / "records")
    assert {engine.__name__: engine(table) for engine in ENGINES} == {engine.__name__: expected for engine in ENGINES}


def manifest_paths(lake: Path) -> set[str]:
    manifests = (lake / "records" / "_symlink_format_manifest").rglob("manifest")
    return {line for path in manifests for line in path.read_text(encoding="utf-8").split()}


def test_lists_of_files_for_redshift(tmp_path):
    lake = tmp_path / "lake"
    sync(Bucket.sample(), lake, bytes_a_commit=1)
    before = set(DeltaTable(lake / "records").file_uris())
    assert compact(lake).removed > 0
    table = DeltaTable(lake / "records")
    table.generate()
    named = {Path(path).name for path in manifest_paths(lake)}
    assert named == {Path(uri).name for uri in table.file_uris()}
    assert named != {Path(uri).name for uri in before}
    days = {path.name for path in (lake / "records" / "_symlink_format_manifest").iterdir()}
    assert days == {path.name for path in (lake / "records").glob("day=*")}
    # The lists are no part of the table: it reads, grows and is cleaned as before, and they stay.
    assert vacuum(lake, keep_hours=0)
    assert manifest_paths(lake)
    assert list(open_lake(lake).iter_records()) == list(Bucket.sample().iter_records())
    assert sync(Bucket.sample(), lake).revisions == []


@pytest.mark.slow
class TestNightly:
    @pytest.fixture
    def run(self, tmp_path: Path) -> Callable[[], subprocess.CompletedProcess[str]]:
        """Runs nightly.py of the page, with its two addresses in the temporary folder."""
        (job,) = (block for block in python_blocks("schedulers.md") if "sys.exit(" in block)
        for address, local in [
            ('"s3://acme-kissmetrics", profile="analytics"', repr(str(tmp_path / "vendor"))),
            ('"s3://acme-lake/kissmetrics", profile="lake"', repr(str(tmp_path / "lake"))),
        ]:
            assert job.count(address) == 1
            job = job.replace(address, local)
        (tmp_path / "nightly.py").write_text(job, encoding="utf-8")
        command = [sys.executable, str(tmp_path / "nightly.py")]
        return lambda: subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    def test_what_it_says_and_where(self, run, tmp_path):
        signup = Event("bob", START, "signed up")
        bucket = write_export(tmp_path / "vendor", {1: [signup]})
        first = run()
        assert (first.returncode, first.stderr) == (0, "")
        assert [json.loads(first.stdout)[key] for key in ("present", "revisions", "records")] == [0, [1], 1]

        write_export(tmp_path / "vendor", {1: [signup], 2: [signup, BROKEN_LINES["cut off"]]})
        second = run()
        assert (second.returncode, second.stderr) == (1, "1 line is no record and went to the table rejects\n")
        assert [json.loads(second.stdout)[key] for key in ("present", "revisions", "records")] == [1, [2], 1]

        third = run()
        assert (third.returncode, third.stderr) == (0, "")
        assert [json.loads(third.stdout)[key] for key in ("present", "revisions", "records")] == [2, [], 0]

        for path in (tmp_path / "vendor" / "revisions").iterdir():
            path.unlink()
        cleaned = run()
        assert (cleaned.returncode, cleaned.stdout) == (1, "")
        assert cleaned.stderr.splitlines()[-1].startswith("EmptyListingError: ")
        assert "Traceback" not in cleaned.stderr
        assert bucket.index()
        assert list(open_lake(tmp_path / "lake").iter_records()) == [signup, signup]

    def test_a_file_that_went_is_a_problem_on_the_other_output(self, run, tmp_path):
        signup = Event("bob", START, "signed up")
        write_export(tmp_path / "vendor", {1: [signup], 2: [signup]})
        run()
        (tmp_path / "vendor" / "revisions" / "1.json").unlink()
        done = run()
        assert done.returncode == 1, "a problem of the summary"
        assert "revisions/1.json is gone from the bucket; the lake holds its records" in done.stderr
        assert "left out" not in done.stderr
