"""Exactly the records inside the window come out, each once, and no file is opened in vain."""

from __future__ import annotations

import shutil
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import ClassVar

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from kmexport import Alias, Bucket, Event, PropertySet, Window, in_window, iter_records
from kmexport.revisions.listing import select_revisions
from kmexport.revisions.manifest import Revision
from kmexport.testing import write_export
from tests.support.strategies import BLANK, BROKEN, RECORDS, examples, legal_lines


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


MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR
T0 = 1_349_222_400

# A record comes within its batch, late from a phone, or ahead of its time where a clock is wrong.
LATENESS = st.one_of(st.integers(0, 299), st.integers(0, 3 * DAY), st.integers(-HOUR, 0))


@st.composite
def received_files(draw):
    """For each revision when its first and its last batch was received, and the records in it."""
    files = {}
    for number in draw(st.sets(st.integers(1, 30), max_size=8)):
        first = T0 + draw(st.integers(0, 5 * 288)) * 300 + draw(st.integers(1, 3))
        last = first + draw(st.sampled_from([0, 0, 300, HOUR]))
        times = [draw(st.integers(first, last)) - lateness for lateness in draw(st.lists(LATENESS, max_size=5))]
        files[number] = (first, last), [Event(f"{number}-{at}", second, "x") for at, second in enumerate(times)]
    return files


WINDOWS = st.tuples(st.integers(-2 * DAY, 6 * DAY), st.sampled_from([0, 1, 300, HOUR, DAY])).map(
    lambda ends: Window(T0 + ends[0], T0 + ends[0] + ends[1])
)
MARGINS = st.one_of(st.none(), st.sampled_from([0, 1, 299, 300, HOUR, DAY]), st.integers(0, 4 * DAY))


@given(received_files(), st.sets(st.integers(1, 30)), WINDOWS, MARGINS)
@settings(max_examples=examples(300))
def test_exactly_the_windows_records_come_out_of_exactly_the_files_needed(files, unindexed, window, margin):
    fs = fresh()
    unindexed &= set(files)
    revisions = {number: events for number, (_, events) in files.items()}
    ranges = {number: received for number, (received, _) in files.items()}
    bucket = write_export("/selection", revisions, fs=fs, unindexed=unindexed, ranges=ranges)
    fs.opened.clear()

    def is_read(number: int) -> bool:
        if margin is None or number in unindexed:
            return bool(window.end - window.start)
        first, last = ranges[number]
        received = range(first - 300, last + 1)  # the batches of five minutes that it holds
        may_be = range(window.start - min(margin, HOUR), window.end + margin)
        return window.end > window.start and received[0] <= may_be[-1] and may_be[0] <= received[-1]

    wanted = [number for number in sorted(files) if is_read(number)]
    assert [revision.number for revision in bucket.revisions(window, margin=margin)] == wanted
    found = list(bucket.iter_records(window, margin=margin))
    assert found == [event for number in wanted for event in in_window(revisions[number], window)]
    opened = {int(name.removesuffix(".json")) for name in fs.opened if name != "index.csv"}
    # What the listing tells to be empty need not be opened.
    assert {number for number in wanted if revisions[number]} <= opened <= set(wanted)
    assert set(fs.opened.values()) <= {1, 2}  # the index twice
    for event in in_window(chain.from_iterable(revisions.values()), window):
        if event in found:
            continue
        first, last = ranges[int(event.person.partition("-")[0])]
        assert margin is not None
        assert event.timestamp < first - 300 - margin or event.timestamp > last + min(margin, HOUR)


def test_the_bounds_of_the_rule():
    def is_read(window: Window, margin: int | None, received: tuple[int, int] = (10_000, 10_300)) -> bool:
        return bool(select_revisions([Revision(1, "revisions/1.json", *received)], window, margin))

    assert is_read(Window(9_000, 9_701), 0)  # the first batch took from 9,700
    assert not is_read(Window(9_000, 9_700), 0)
    assert is_read(Window(10_300, 10_400), 0)
    assert not is_read(Window(10_301, 10_400), 0)
    assert is_read(Window(10_320, 10_400), 20)
    assert is_read(Window(13_900, 14_000), 3_600)
    assert not is_read(Window(13_901, 14_000), 86_400)  # a clock may run an hour ahead and no more
    assert is_read(Window(0, 9_000), 701)
    assert not is_read(Window(0, 9_000), 700)
    assert is_read(Window(0, 1), None)
    assert not is_read(Window(10_100, 10_100), None)  # an empty window needs nothing


def test_a_file_without_a_range_is_always_read_but_for_an_empty_window():
    revisions = [Revision(1, "revisions/1.json", 10_000, 10_300), Revision(2, "revisions/2.json")]
    assert select_revisions(revisions, Window(90_000, 90_001), 0) == revisions[1:]
    assert select_revisions(revisions, Window(90_000, 90_000), 0) == []


def test_only_later_revisions(counting):
    bucket = write_export("/after", {n: [Event("bob", n, "x")] for n in (1, 9, 10, 11)}, fs=counting)
    assert [event.timestamp for event in bucket.iter_records(after=9)] == [10, 11]
    assert [event.timestamp for event in bucket.iter_records(Window(0, 11), after=9)] == [10]
    assert set(counting.opened) == {"index.csv", "10.json", "11.json"}


def test_arguments_are_checked_at_the_call():
    bucket = Bucket("/nowhere")
    with pytest.raises(TypeError, match="a Window belongs there"):
        bucket.iter_records((1, 2))
    with pytest.raises(ValueError, match="margin is 0 seconds or more"):
        bucket.iter_records(margin=-1)
    with pytest.raises(TypeError, match="a Window belongs there"):
        bucket.coverage("2012-10-03")


SPELT_OTHERWISE = st.sampled_from([b'"\\u005fp2"', b'"_\\u00702"', b'"_p\\u0032"', b'"\\137p2"'])


@pytest.mark.slow
@given(st.data())
@settings(max_examples=examples(300))
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


def test_the_real_index_and_a_day(tmp_path: Path, real_data: Path):
    shutil.copy(real_data / "real-index.csv", tmp_path / "index.csv")
    bucket = Bucket(tmp_path)
    (tmp_path / "revisions").mkdir()
    for revision in bucket.index():
        (tmp_path / revision.path).touch()
    day = Window.day("2012-10-03")
    assert len(bucket.revisions(day, margin=0)) == 47
    assert len(bucket.revisions(day)) == 96
    assert len(bucket.revisions(day, margin=None)) == 473


def test_the_demo_revision_by_days(real_data: Path):
    path = real_data / "demo-account-revision.json"

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
