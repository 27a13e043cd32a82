"""Exactly the records inside the window come out, each once, and no file is opened in vain."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import ClassVar

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from kmexport import Alias, Bucket, Event, PropertySet, Window, in_window, iter_records
from kmexport.manifest import Revision
from kmexport.revisions import select_revisions
from kmexport.testing import write_export
from tests.strategies import BLANK, BROKEN, RECORDS, legal_lines


class CountingFileSystem(MemoryFileSystem):
    """Counts what is opened."""

    store: dict = {}  # noqa: RUF012  # fsspec's memory filesystem keeps its files on the class
    pseudo_dirs = [""]  # noqa: RUF012
    opened: ClassVar[Counter[str]] = Counter()
    cachable = False

    def open(self, path, mode="rb", **options):
        if mode == "rb":
            self.opened[path.rpartition("/")[2]] += 1
        return super().open(path, mode, **options)

    def cat_file(self, path, **options):
        self.opened[path.rpartition("/")[2]] += 1
        return super().cat_file(path, **options)


@pytest.fixture
def counting():
    yield fresh()
    fresh()


def fresh() -> CountingFileSystem:
    CountingFileSystem.store.clear()
    CountingFileSystem.opened.clear()
    return CountingFileSystem()


TIMES = st.lists(st.integers(0, 60), max_size=5)


@given(
    st.dictionaries(st.integers(1, 30), TIMES, max_size=8),
    st.sets(st.integers(1, 30)),
    st.tuples(st.integers(-5, 65), st.integers(-5, 65)).map(sorted),
    st.integers(0, 2),
)
@settings(max_examples=200, deadline=None)
def test_exactly_the_windows_records_come_out_of_exactly_the_files_needed(files, unindexed, ends, neighbours):
    fs = fresh()
    revisions = {
        number: [Event(f"{number}-{at}", second, "x") for at, second in enumerate(times)]
        for number, times in files.items()
    }
    unindexed &= set(files)
    bucket = write_export("/selection", revisions, fs=fs, unindexed=unindexed)
    fs.opened.clear()
    window = Window(*ends)
    found = list(bucket.iter_records(window, neighbours=neighbours))
    expected = [event for number in sorted(revisions) for event in in_window(revisions[number], window)]
    assert found == expected
    selected = {f"{revision.number}.json" for revision in bucket.revisions(window, neighbours=neighbours)}
    opened = {name for name in fs.opened if name not in ("index.csv", "status.csv")}
    # What the listing tells to be empty need not be opened.
    assert opened <= selected
    assert all(not files[int(name.removesuffix(".json"))] for name in selected - opened)
    assert all(fs.opened[name] == 1 for name in opened)
    needed = {f"{number}.json" for number in unindexed}
    needed |= {
        f"{number}.json"
        for number, times in files.items()
        if number not in unindexed and times and window.touches(min(times), max(times))
    }
    assert needed <= selected


def test_neighbours_and_files_without_a_row():
    revisions = [Revision(n, f"revisions/{n}.json", n * 10, n * 10 + 9) for n in (1, 2, 3, 5, 9)]
    revisions.insert(3, Revision(4, "revisions/4.json"))
    window = Window(30, 40)

    def chosen(neighbours: int) -> list[int]:
        return [revision.number for revision in select_revisions(revisions, window, neighbours)]

    assert (chosen(0), chosen(1), chosen(2)) == ([3, 4], [2, 3, 4, 5], [1, 2, 3, 4, 5, 9])


def test_a_range_includes_both_its_ends():
    revisions = [Revision(1, "revisions/1.json", 10, 20)]
    ends = [Window(0, 10), Window(0, 11), Window(20, 30), Window(21, 30), Window(15, 15)]
    assert [len(select_revisions(revisions, window, 0)) for window in ends] == [0, 1, 1, 0, 0]
    # Before the first file and after the last there is a neighbour too; an empty window needs none.
    assert [len(select_revisions(revisions, window, 1)) for window in ends] == [1, 1, 1, 1, 0]


def test_only_later_revisions(counting):
    bucket = write_export("/after", {n: [Event("bob", n, "x")] for n in (1, 9, 10, 11)}, fs=counting)
    assert [event.timestamp for event in bucket.iter_records(after=9)] == [10, 11]
    assert [event.timestamp for event in bucket.iter_records(Window(0, 11), after=9)] == [10]
    assert set(counting.opened) == {"index.csv", "10.json", "11.json"}


def test_arguments_are_checked_at_the_call():
    bucket = Bucket("/nowhere")
    with pytest.raises(TypeError, match="a Window belongs there"):
        bucket.iter_records((1, 2))
    with pytest.raises(ValueError, match="neighbours is 0 or more"):
        bucket.iter_records(neighbours=-1)
    with pytest.raises(TypeError, match="a Window belongs there"):
        bucket.coverage("2012-10-03")


SPELT_OTHERWISE = st.sampled_from([b'"\\u005fp2"', b'"_\\u00702"', b'"_p\\u0032"', b'"\\137p2"'])


@pytest.mark.slow
@given(st.data())
@settings(max_examples=300, deadline=None)
def test_the_alias_pass_finds_what_reading_finds(data):
    lines: list[bytes] = []
    for _ in range(data.draw(st.integers(0, 8))):
        kind = data.draw(st.sampled_from(["alias", "record", "broken", "blank"]))
        if kind in ("alias", "record"):
            record = data.draw(RECORDS.filter(lambda r: isinstance(r, Alias)) if kind == "alias" else RECORDS)
            line, _ = data.draw(legal_lines(record))
            if data.draw(st.booleans()):
                line = line.replace(b'"_p2"', data.draw(SPELT_OTHERWISE))
            lines.append(line)
        else:
            lines.append(data.draw(BROKEN if kind == "broken" else BLANK))
    content = b"\n".join(lines)
    fs = fresh()
    bucket = write_export("/skim", {1: []}, fs=fs)
    fs.pipe_file("/skim/revisions/1.json", content)
    expected: dict[frozenset[str], int] = Counter()
    for record in iter_records(content.split(b"\n"), on_error=lambda _: None):
        if isinstance(record, Alias):
            expected[frozenset([record.person, record.alias])] += 1
    people = bucket.identities(on_error=lambda _: None)
    by_reading = bucket.identities(on_error=lambda _: None, into=type(people)()).update(
        record for record in bucket.iter_records(on_error=lambda _: None)
    )
    assert people.people() == by_reading.people()
    for pair in expected:
        if all(pair):
            assert len({people.resolve(identity) for identity in pair}) == 1
    assert len(people) <= sum(len(pair) for pair in expected)


def test_a_nightly_job_keeps_its_map(counting):
    revisions = {
        1: [Alias("bob", 1, "b1")],
        2: [Event("b1", 2, "x")],
        3: [Alias("b1", 3, "b2"), PropertySet("z", 3, {"x": "_p2"})],
    }
    bucket = write_export("/nightly", revisions, fs=counting)
    people = bucket.identities()
    counting.opened.clear()
    assert bucket.identities(after=2, into=people) is people
    assert set(counting.opened) == {"index.csv", "3.json"}
    assert people.identities_of("bob") == {"bob", "b1", "b2"}


REAL = pytest.mark.skipif(
    "KMEXPORT_REAL_DATA" not in os.environ, reason="KMEXPORT_REAL_DATA names no folder of real files"
)


@REAL
def test_the_real_index_and_a_day(tmp_path: Path):
    shutil.copy(Path(os.environ["KMEXPORT_REAL_DATA"]) / "real-index.csv", tmp_path / "index.csv")
    bucket = Bucket(tmp_path)
    (tmp_path / "revisions").mkdir()
    for revision in bucket.index():
        (tmp_path / revision.path).touch()
    day = Window.day("2012-10-03")
    assert len(bucket.revisions(day, neighbours=0)) == 47
    assert 47 <= len(bucket.revisions(day)) <= 49


@REAL
def test_the_demo_revision_by_days():
    path = Path(os.environ["KMEXPORT_REAL_DATA"]) / "demo-account-revision.json"

    def events(day: str, zone: str) -> int:
        with path.open("rb") as file:
            return sum(1 for _ in in_window(iter_records(file), Window.day(day, zone)))

    assert events("2011-08-01", "UTC") == 229
    assert events("2011-07-31", "America/Los_Angeles") == 200


def test_people_by_every_door_of_a_bucket():
    bucket = Bucket.sample()
    person = next(record.person for record in bucket.iter_records(kinds=Event))
    known = bucket.identities().identities_of(person)
    wanted = [r for r in bucket.iter_records() if r.person in known or (isinstance(r, Alias) and r.alias in known)]
    assert len(wanted) > len(known) > 1
    assert list(bucket.iter_records(people=known)) == wanted
    assert list(bucket.read(bucket.revisions(), people=known)) == wanted
    assert bucket.to_batches(people=known, columns=["person"]).read_all()["person"].to_pylist() == [
        record.person for record in wanted
    ]
    assert list(bucket.iter_records(people=known, names="signed up")) == [
        r for r in wanted if isinstance(r, Event) and r.name.casefold() == "signed up"
    ]
