"""Without a cluster, Dask computes in this process: frames, bags and duplicates are those of the helpers."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import dask
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmexport import Alias, Bucket, Event, PropertySet, Window, drop_duplicates, merge_identities
from kmexport.cluster import drop_duplicates as drop_on_cluster
from kmexport.cluster import to_bag, to_dataframe, to_records
from kmexport.cluster.collections import group_revisions
from kmexport.revisions.manifest import Revision
from kmexport.tables import SCHEMA
from kmexport.testing import write_export
from tests.support.strategies import PROPERTIES, examples

GROUP = 64_000  # bytes: three tasks for the sample

PERSONS = st.sampled_from(["ann", "Ann", "bob", "b@x", "7", "", "é", "a\x00b"])
NAMES = st.sampled_from(["signed up", "Signed: up", "click", "", 'q"']) | st.just("_p")
TIMES = st.integers(1349222400, 1349222403)
KEYS = st.dictionaries(st.sampled_from(["plan", "Plan", "_d", "revision", "person", ""]), st.integers(0, 1), max_size=3)
RECORD = st.one_of(
    st.builds(Event, PERSONS, TIMES, NAMES, KEYS | PROPERTIES),
    st.builds(PropertySet, PERSONS, TIMES, KEYS | PROPERTIES),
    st.builds(Alias, PERSONS, TIMES, PERSONS),
)
EXPORTS = st.dictionaries(st.integers(1, 9), st.lists(RECORD, max_size=9), max_size=4)


@pytest.fixture(autouse=True)
def in_this_process() -> Iterator[None]:
    with dask.config.set(scheduler="synchronous"):
        yield


def counted(records) -> Counter[str]:
    return Counter(map(repr, records))


def check_all(bucket, group_bytes, window=None):
    """Bag, frame and shuffle against the iterator and the helpers."""
    records = list(bucket.iter_records(window))
    frame = to_dataframe(bucket, window, group_bytes=group_bytes)
    assert list(to_bag(bucket, window, group_bytes=group_bytes).compute()) == records
    assert list(to_records(frame).compute()) == records
    people = bucket.identities()
    for options in ({}, {"properties": "once"}, {"rule": "strict"}):
        once = drop_duplicates(merge_identities(records, people), **options)
        assert counted(to_records(drop_on_cluster(frame, people, **options)).compute()) == counted(once)


def test_the_sample():
    check_all(Bucket.sample(), GROUP)
    check_all(Bucket.sample(), GROUP, Window.day("2012-10-03", tz="America/New_York"))
    assert to_dataframe(Bucket.sample(), group_bytes=GROUP).npartitions >= 3


@given(EXPORTS, st.sampled_from([1, 500, 1 << 20]))
@settings(max_examples=examples(12))
@pytest.mark.slow
def test_random_exports(tmp_path_factory, revisions, group_bytes):
    check_all(write_export(tmp_path_factory.mktemp("export"), revisions), group_bytes)


def test_the_same_line_twice_in_an_array_keeps_its_order(tmp_path):
    bucket = write_export(tmp_path, {1: [], 2: []})
    items = [f'{{"_p":"ann","_t":1,"plan":{n}}}' for n in range(20)]
    (tmp_path / "revisions" / "1.json").write_text("[" + ",".join(items) + "]", encoding="utf-8")
    found = to_records(drop_on_cluster(to_dataframe(bucket), npartitions=3)).compute()
    assert found == [PropertySet("ann", 1, {"plan": 0})]


def test_names_people_and_kinds_are_pushed_down():
    bucket = Bucket.sample()
    person = next(bucket.iter_records()).person
    for options in ({"names": ["signed up"]}, {"people": person}, {"kinds": (Alias, PropertySet)}):
        found = to_records(to_dataframe(bucket, group_bytes=GROUP, **options)).compute()
        assert found == list(bucket.iter_records(**options))
        assert found == to_bag(bucket, group_bytes=GROUP, **options).compute()
        assert 0 < len(found) < len(list(bucket.iter_records()))


class TestFrame:
    def test_columns_and_properties_are_those_of_to_batches(self):
        bucket = Bucket.sample()
        wanted = ["line", "person", "kind", "time"]
        frame = to_dataframe(bucket, columns=wanted, properties={"plan": pa.string()}, group_bytes=GROUP)
        found = frame.compute()
        table = bucket.to_batches(columns=wanted, properties={"plan": pa.string()}).read_all()
        assert list(found.columns) == table.column_names
        assert list(found.dtypes) == list(frame.dtypes)
        for name in ("line", "person", "kind"):
            assert found[name].tolist() == table[name].to_pylist()
        assert found["plan"].astype(object).where(found["plan"].notna(), None).tolist() == table["plan"].to_pylist()
        assert [int(moment.timestamp()) for moment in found["time"]] == table["time"].cast(pa.int64()).to_pylist()

    def test_a_task_is_asked_for_the_columns_that_are_used(self, monkeypatch):
        asked = []
        to_batches = Bucket.to_batches

        def spy(self, window=None, **options):
            asked.append((options["columns"], list(options["properties"])))
            return to_batches(self, window, **options)

        frame = to_dataframe(Bucket.sample(), properties=["plan"], group_bytes=1 << 20)
        monkeypatch.setattr(Bucket, "to_batches", spy)
        frame[frame["name"] == "signed up"]["person"].compute()
        frame["plan"].compute()
        assert asked == [(["person", "name"], []), (["line"], ["plan"])]

    def test_no_revisions_are_a_frame_with_its_columns(self, tmp_path):
        bucket = write_export(tmp_path, {1: [Event("ann", 1349222400, "x")]})
        frame = to_dataframe(bucket, Window(0, 1), properties=["plan"])
        assert list(frame.compute().columns) == [*SCHEMA.names, "plan"]
        assert len(frame) == 0
        assert to_bag(bucket, Window(0, 1)).compute() == []
        assert len(drop_on_cluster(frame[SCHEMA.names])) == 0

    def test_a_property_column_after_the_shuffle(self, tmp_path):
        bucket = write_export(
            tmp_path, {1: [Event("ann", 1, "x", {"plan": "Pro"}), Event("ann", 1, "x", {"plan": "No", "city": "Lima"})]}
        )
        found = drop_on_cluster(to_dataframe(bucket), property_columns=["plan", "city"]).compute()
        assert found[["kind", "line", "plan", "city"]].astype(object).where(found.notna(), None).values.tolist() == [
            ["event", 1, "Pro", None],
            ["property_set", 2, None, "Lima"],
        ]


class TestErrors:
    def test_wrong_arguments_are_told_at_the_call(self):
        bucket = Bucket.sample()
        with pytest.raises(ValueError, match="there is no column 'x'"):
            to_dataframe(bucket, columns=["x"])
        with pytest.raises(TypeError, match="kinds are the classes"):
            to_bag(bucket, kinds="event")
        with pytest.raises(ValueError, match="group_bytes"):
            to_bag(bucket, group_bytes=0)
        with pytest.raises(ValueError, match="there is no column 'revision'"):
            drop_on_cluster(to_dataframe(bucket, columns=["person"]))
        with pytest.raises(ValueError, match="rule"):
            drop_on_cluster(to_dataframe(bucket), rule="loose")
        with pytest.raises(ValueError, match=r"properties is .* not \['plan'\]"):
            drop_on_cluster(to_dataframe(bucket), properties=["plan"])


def test_groups_are_about_equal_and_in_order():
    revisions = [Revision(n, f"revisions/{n}.json", size=(n * 37) % 90) for n in range(1, 60)]
    groups = group_revisions(revisions, 200)
    assert [revision for group in groups for revision in group] == revisions
    assert max(sum(revision.size for revision in group) for group in groups) <= 200
    assert group_revisions([], 5) == [()]
    assert len(group_revisions([Revision(1, "revisions/1.json", size=900)], 200)) == 1


@pytest.mark.parametrize("missing", ["dask", "distributed", "pandas", "pyarrow"])
def test_without_the_extra(missing):
    code = f"""
import sys
sys.modules[{missing!r}] = None
import kmexport
try:
    import kmexport.cluster
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'kmexport[dask]'" in done.stdout
