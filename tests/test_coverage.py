"""What speaks against a window, and every disagreement of an export with itself."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import pytest
from attrs import define, field
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kmexport import Bucket, Event, Revision, Window, in_window
from kmexport.gaps import skipped_numbers
from kmexport.testing import BROKEN_LINES, write_export

HOUR = 3600
DAY = 24 * HOUR
T0 = 1349222400
YEAR = 365 * DAY


def test_coverage_of_a_complete_window():
    bucket = write_export("memory://coverage", {n: [Event("bob", n * 100, "x")] for n in range(1, 6)})
    found = bucket.coverage(Window(150, 320))
    assert (found.is_complete, found.reasons, bool(found)) == (True, [], True)


def test_why_a_window_is_not_complete():
    revisions = {n: [Event("bob", n * 1000, "x")] for n in (1, 2, 3, 5, 6)}
    bucket = write_export("memory://coverage", revisions, gone=[3], pending=2)
    found = bucket.coverage(Window(1500, 7000), margin=50)
    assert not found
    assert found.missing == (bucket.index()[2],)
    assert found.skipped_numbers == (4,)
    assert found.pending_revisions == 2
    assert not found.is_exported
    assert found.reasons == [
        "the export ends at 6000 (1970-01-01T01:40:00Z), the window at 7000 (1970-01-01T01:56:40Z)",
        "2 revisions are not exported yet and may hold late records",
        "revisions/3.json is in the index and its file is gone",
        "these revisions are neither in the index nor in the bucket: 4",
    ]
    assert "not complete" in found._repr_html_()
    settled = bucket.coverage(Window(1500, 2500), margin=50)
    assert settled.reasons == []


def test_a_day_whose_file_is_nowhere_is_not_complete():
    revisions = {n: [Event("bob", n * 100, "x")] for n in (1, 3, 4)}
    bucket = write_export("memory://coverage", revisions)
    assert bucket.coverage(Window(200, 300), margin=0).skipped_numbers == (2,)
    assert bucket.coverage(Window(310, 390), margin=0).is_complete


def test_audit_names_every_disagreement():
    event = Event("bob", 100, "x")
    bucket = write_export(
        "memory://audit",
        {1: [event], 2: [event], 3: [event], 5: [event, Event("bob", 300, "x")], 6: [event, BROKEN_LINES["no time"]]},
        gone=[2],
        unindexed=[3],
        ranges={5: (100, 200)},
    )
    MemoryFileSystem().pipe_file("/audit/revisions/1.json.gz", b"")
    MemoryFileSystem().pipe_file("/audit/revisions/notes.txt", b"")
    MemoryFileSystem().pipe_file("/audit/status.csv", b"4,3,50,x\n")
    found = bucket.audit()
    assert [revision.number for revision in found.missing] == [2]
    assert [revision.number for revision in found.unindexed] == [3]
    assert found.skipped_numbers == [4]
    assert found.doubled == ["revisions/1.json.gz"]
    assert found.unknown == ["revisions/notes.txt"]
    assert len(found.disagreements) == 3
    assert (found.out_of_range, found.malformed) == ([], {})
    deep = bucket.audit(deep=True)
    assert [(one.revision.number, one.first, one.last) for one in deep.out_of_range] == [(5, 100, 300)]
    assert deep.malformed == {"revisions/6.json": 1}
    assert len(deep.problems) == 10
    assert not deep.is_clean
    assert "10 problems" in deep._repr_html_()


def test_a_file_that_is_named_after_a_date():
    bucket = write_export("memory://dated", {number: [Event("bob", 100, "x")] for number in (1, 2)})
    MemoryFileSystem().pipe_file("/dated/revisions/20121001123456.json", b'{"_p":"bob","_n":"x","_t":100}\n')
    assert bucket.audit().skipped_numbers == [3, 20121001123455]
    assert bucket.coverage(Window(50, 150), margin=0).skipped_numbers == (3, 20121001123455)


@given(known=st.sets(st.integers(1, 60), max_size=12), most=st.integers(0, 30))
def test_gaps_that_do_not_fit_in_are_told_by_their_ends(known, most):
    with mock.patch("kmexport.gaps._MOST_SKIPPED", most):
        found = skipped_numbers(known)
    all_of_them = [number for number in range(min(known, default=0), max(known, default=0)) if number not in known]
    assert set(found) <= set(all_of_them)
    assert found == sorted(set(found))
    ends = {number for number in all_of_them if {number - 1, number + 1} & known}
    assert ends <= set(found)
    if len(all_of_them) <= most:
        assert found == all_of_them


def test_an_audit_where_nothing_is_there():
    bucket = write_export("memory://nothing", {1: [Event("bob", 100, "x")]})
    MemoryFileSystem().rm_file("/nothing/revisions/1.json")
    MemoryFileSystem().pipe_file("/nothing/index.csv", b"")
    assert bucket.audit().disagreements == ["status.csv counts 1 exported revisions, and there are none"]


def days(numbers: range, **defects: Any) -> Bucket:
    """A bucket with a file for each day, with a record every hour."""
    revisions = {
        number: [Event("bob", T0 + at * DAY + hour * HOUR, "x") for hour in range(24)]
        for at, number in enumerate(numbers)
    }
    return write_export("memory://days", revisions, **defects)


def day(at: int) -> Window:
    return Window(T0 + at * DAY, T0 + (at + 1) * DAY)


class TestWhereABucketBegins:
    @pytest.mark.parametrize("first", [2, 7, 22770])
    def test_days_before_the_first_file_are_not_complete(self, first):
        bucket = days(range(first, first + 5))
        for window in (day(-1), day(-400), Window(T0 - DAY, T0 + 2 * DAY)):
            found = bucket.coverage(window, margin=0)
            assert not found
            begins = f"{T0 + 23 * HOUR} (2012-10-03T23:00:00Z)"
            start = f"{window.start} ({datetime.fromtimestamp(window.start, UTC):%Y-%m-%dT%H:%M:%SZ})"
            told = f"the first revisions are not there: what is begins at {begins}, the window at {start}"
            assert found.reasons == [told]
        assert bucket.coverage(day(1), margin=0).is_complete

    def test_nothing_came_before_revision_1(self):
        assert days(range(1, 6)).coverage(day(-1), margin=0).is_complete

    @pytest.mark.parametrize("wrong", [0, T0 - 10 * YEAR, T0 + 10 * YEAR])
    def test_a_wrong_clock_in_the_first_file(self, wrong):
        revisions = {22770 + n: [Event("bob", T0 + n * DAY + hour, "x") for hour in range(24)] for n in range(5)}
        revisions[22770].append(Event("eve", wrong, "x"))
        bucket = write_export("memory://days", revisions)
        assert not bucket.coverage(day(-1), margin=0)
        assert not bucket.coverage(day(-1), margin=0, deep=False)
        assert bucket.coverage(day(3), margin=0)


class TestHowFarTheExportHasCome:
    @pytest.mark.parametrize("ahead", [3 * DAY, 40 * DAY, YEAR, 100 * YEAR])
    @pytest.mark.parametrize("place", ["first", "middle", "last", "alone"])
    @pytest.mark.parametrize("deep", [True, False])
    def test_a_record_dated_far_ahead_does_not_count(self, ahead, place, deep):
        revisions = {n: [Event("bob", T0 + n * DAY + hour * HOUR, "x") for hour in range(24)] for n in range(1, 6)}
        wrong = Event("eve", T0 + 6 * DAY + ahead, "x")
        if place == "alone":
            revisions[6] = [wrong]
        else:
            revisions[{"first": 1, "middle": 3, "last": 5}[place]].append(wrong)
        bucket = write_export("memory://days", revisions)
        assert bucket.status().max_exported_timestamp == wrong.timestamp
        window = Window(T0 + 6 * DAY, T0 + 6 * DAY + min(ahead, 50 * DAY))
        if place != "alone" or ahead > 30 * DAY:
            assert not bucket.coverage(window, margin=0, deep=deep).is_exported
        assert bucket.coverage(day(3), margin=0, deep=deep)

    def test_a_long_file_and_a_wrong_clock(self):
        month = [Event("bob", T0 + hour * HOUR, "x") for hour in range(31 * 24)]
        bucket = write_export("memory://days", {1: month})
        assert bucket.coverage(day(29), margin=0)
        bucket = write_export("memory://days", {1: [*month, Event("eve", T0 + YEAR, "x")]})
        assert bucket.coverage(day(29), margin=0)
        assert bucket.coverage(day(40), margin=0).exported_until == T0 + (31 * 24 - 1) * HOUR

    def test_nothing_is_exported_yet(self):
        bucket = write_export("memory://days", {})
        MemoryFileSystem().pipe_file("/days/status.csv", b"12,0,,")
        assert bucket.coverage(day(0)).reasons == [
            "no record shows how far the export has come",
            "12 revisions are not exported yet and may hold late records",
        ]
        assert bucket.audit().is_clean

    @pytest.mark.parametrize("first", [1, 22770])
    def test_rows_and_files_are_lost_at_the_end(self, first):
        bucket = days(range(first, first + 5))
        for name in (f"revisions/{first + 4}.json", f"revisions/{first + 3}.json"):
            MemoryFileSystem().rm_file(f"/days/{name}")
        rows = MemoryFileSystem().cat_file("/days/index.csv").splitlines(keepends=True)
        MemoryFileSystem().pipe_file("/days/index.csv", b"".join(rows[:-2]))
        assert bucket.coverage(day(2)).lacking_revisions == 2
        assert "status.csv counts 2 exported revisions more than there are" in bucket.coverage(day(2)).reasons
        assert not bucket.coverage(day(3), margin=0)
        assert len(bucket.audit().disagreements) == 1


class TestDamagedFiles:
    @pytest.mark.parametrize("packed", [False, True])
    @pytest.mark.parametrize("what", ["emptied", "half a line", "first lines only", "last lines only", "one line"])
    def test_are_told(self, what, packed):
        bucket = days(range(1, 6), gzipped=[3] if packed else [])
        path = f"/days/revisions/3.json{'.gz' * packed}"
        text = MemoryFileSystem().cat_file(path)
        lines = (gzip.decompress(text) if packed else text).splitlines(keepends=True)
        left = {
            "emptied": [], "half a line": [*lines[:-1], lines[-1][:-5]], "first lines only": lines[:12],
            "last lines only": lines[12:], "one line": lines[:1],
        }[what]  # fmt: skip
        MemoryFileSystem().pipe_file(path, gzip.compress(b"".join(left)) if packed else b"".join(left))
        found = bucket.coverage(day(2), margin=0)
        assert [one.revision.number for one in found.damaged] == [3]
        assert found.reasons[0].startswith(f"revisions/3.json{'.gz' * packed} holds ")
        assert bucket.coverage(day(3), margin=0).is_complete
        audit = bucket.audit(deep=True)
        assert {one.number for one in audit.empty} | {one.revision.number for one in audit.out_of_range} == {3}

    def test_a_packed_file_that_is_cut(self):
        bucket = days(range(1, 6), gzipped=[3])
        packed = MemoryFileSystem().cat_file("/days/revisions/3.json.gz")
        MemoryFileSystem().pipe_file("/days/revisions/3.json.gz", packed[:-4])
        assert bucket.coverage(day(2), margin=0).damaged[0].is_cut_off
        assert bucket.audit(deep=True).cut_off == ["revisions/3.json.gz"]

    def test_an_empty_file_is_told_without_reading(self):
        bucket = days(range(1, 6))
        MemoryFileSystem().pipe_file("/days/revisions/3.json", b"")
        assert [one.revision.number for one in bucket.coverage(day(2), margin=0, deep=False).damaged] == [3]
        assert [one.number for one in bucket.audit().empty] == [3]

    def test_whole_files_are_not(self):
        bucket = days(range(1, 6))
        text = MemoryFileSystem().cat_file("/days/revisions/3.json")
        for whole in (text.removesuffix(b"\n"), text + b"\n\n", text.replace(b"\n", b"\r\n")):
            MemoryFileSystem().pipe_file("/days/revisions/3.json", whole)
            assert bucket.coverage(day(2), margin=0)
            assert bucket.audit(deep=True).is_clean


@pytest.mark.parametrize("first", [1, 22770])
@pytest.mark.parametrize("counts_from_1", [True, False])
def test_an_export_may_begin_at_any_number(first, counts_from_1):
    bucket = days(range(first, first + 5), pending=1)
    if counts_from_1:
        MemoryFileSystem().pipe_file("/days/status.csv", f"{first + 5},{first + 4},{T0 + 119 * HOUR},x".encode())
    assert bucket.audit(deep=True).problems == []
    assert bucket.coverage(day(2), margin=0).is_complete


def test_a_range_that_goes_back_in_time_hides_no_skipped_number():
    times = {1: (10, 20), 2: (0, 5), 4: (30, 40), 5: (15, 18), 6: (50, 60)}
    bucket = write_export("memory://back", {n: [Event("bob", t, "x") for t in both] for n, both in times.items()})
    for window in (Window(22, 28), Window(5, 15), Window(30, 41), Window(0, 60)):
        assert bucket.coverage(window, margin=0).skipped_numbers == (3,)
    assert bucket.coverage(Window(51, 55), margin=0).skipped_numbers == ()


def test_times_are_told_beside_seconds():
    bucket = days(range(22770, 22772), ranges={22771: (T0, T0 + YEAR)})
    told = " ".join([*bucket.coverage(Window(T0 - 5, T0 + DAY * 500)).reasons, *bucket.audit(deep=True).problems])
    for seconds in (T0 - 5, T0 + DAY * 500, T0 + YEAR, T0):
        assert f"{seconds} ({datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ})" in told
    assert "2012-10-03T00:00:00Z" in repr(bucket.index()[0])
    assert "2012-10-03T00:00:00Z" in bucket.index()[0]._repr_html_()
    assert "&lt;b&gt;" in Revision(1, "<b>")._repr_html_()
    assert "2012-10-03T00:00:00Z" in repr(bucket.coverage(day(0)))
    assert "2012-10-03T00:00:00Z" in bucket.coverage(day(0))._repr_html_()


# A random export, with whatever can happen to it. Files come three hours apart, with records up to two hours off.

DEFECTS = ["gone", "unindexed", "emptied", "cut", "skipped", "no range", "name odd"]
ODD_RANGES = ["", ",", ",,", ",1349161501", ",x,y", ",9999999999999,5", ",7,3"]


@define
class RandomExport:
    """What is written, and what is true of it."""

    bucket: Bucket
    records: dict[int, list[Event]]  # of each revision, as the vendor wrote them
    left: dict[int, list[Event]]  # as they can be read
    defects: dict[int, str]
    wrong_clock: Event | None
    hurt: set[int] = field(factory=set)  # revisions that lost something which can be told


@st.composite
def random_exports(draw: st.DrawFn) -> RandomExport:
    first = draw(st.sampled_from([1, 2, 22770]))
    numbers = range(first, first + draw(st.integers(2, 7)))
    offsets = st.lists(st.integers(-2 * HOUR, 2 * HOUR), min_size=1, max_size=4)
    records = {
        number: [Event(f"p{number}", T0 + at * 3 * HOUR + offset, "x") for offset in draw(offsets)]
        for at, number in enumerate(numbers)
    }
    MemoryFileSystem.store.clear()
    wrong_clock = None
    if draw(st.integers(0, 3)) == 0:
        wrong_clock = Event("wrong", T0 + draw(st.sampled_from([40 * DAY, 10 * YEAR])), "x")
        records[draw(st.sampled_from(numbers))].append(wrong_clock)
    defects = draw(st.dictionaries(st.sampled_from(numbers), st.sampled_from(DEFECTS), max_size=3))
    packed = draw(st.sets(st.sampled_from(numbers)))
    bucket = write_export(
        "memory://random", records, gzipped=packed, unindexed=[n for n, what in defects.items() if what == "unindexed"]
    )
    export = RandomExport(bucket, records, dict(records), defects, wrong_clock)
    fs = MemoryFileSystem()
    rows = fs.cat_file("/random/index.csv").decode().splitlines()
    for number, what in defects.items():
        path = f"/random/revisions/{number}.json{'.gz' * (number in packed)}"
        mine = f"revisions/{number}.json"
        if what in ("gone", "skipped"):
            fs.rm_file(path)
            export.left[number] = []
        if what == "skipped":
            rows = [row for row in rows if not row.startswith(f"{mine},")]
        if what in ("emptied", "cut"):
            text = fs.cat_file(path)
            text = gzip.decompress(text) if number in packed else text
            size = draw(st.integers(1, len(text) - 2)) if what == "cut" else 0
            export.left[number] = records[number][: text[:size].count(b"}")]
            fs.pipe_file(path, gzip.compress(text[:size]) if number in packed else text[:size])
            lost = {event.timestamp for event in records[number]} - {event.timestamp for event in export.left[number]}
            ends = {f(event.timestamp for event in records[number]) for f in (min, max)}
            if not text[:size].endswith((b"}", b"\n")) or lost & ends:
                export.hurt.add(number)
        elif what in ("gone", "skipped"):
            export.hurt.add(number)
        if what in ("no range", "name odd"):
            at = next(at for at, row in enumerate(rows) if row.startswith(f"{mine},"))
            rows[at] = mine + draw(st.sampled_from(ODD_RANGES)) if what == "no range" else f"x{rows[at]}"
    # Without one row that names a revision it is no index.
    assume(len(rows) == 1 or any(row.startswith("revisions/") for row in rows))
    fs.pipe_file("/random/index.csv", "\n".join(rows).encode())
    return export


WINDOWS = st.tuples(st.integers(-6, 30), st.integers(-6, 30)).map(
    lambda ends: Window(T0 + min(ends) * HOUR, T0 + max(ends) * HOUR)
)


@given(random_exports(), WINDOWS, st.sampled_from([0, 60, DAY, None]))
@settings(max_examples=300, deadline=None)
def test_every_record_of_the_window_that_is_there_comes_out(export, window, margin):
    if not any(export.defects.get(number) not in ("gone", "skipped") for number in export.records):
        return  # an empty listing: an error, see test_bucket.py
    found = list(export.bucket.iter_records(window, margin=margin, on_error=lambda _: None))
    assert found == [event for number in export.records for event in in_window(export.left[number], window)]


@given(random_exports(), WINDOWS)
@settings(max_examples=300, deadline=None)
def test_a_window_that_lost_something_is_never_complete(export, window):
    found = export.bucket.coverage(window)
    for number in export.hurt:
        times = [event.timestamp for event in export.records[number]]
        if window.touches(min(times), max(times)):
            assert not found, (number, export.defects)
    true_times = [e.timestamp for events in export.records.values() for e in events if e != export.wrong_clock]
    if window.end > max(true_times):
        assert not found
    first = min(export.records)
    if first > 1 and window.start < min(event.timestamp for event in export.records[first]):
        assert not found
    is_whole = set(export.defects.values()) <= {"unindexed", "no range", "name odd"}
    if is_whole and not export.defects and export.wrong_clock is None and first == 1:
        newest = max(event.timestamp for events in export.records.values() for event in events)
        assert bool(found) is (window.end <= newest)


@given(random_exports())
@settings(max_examples=300, deadline=None)
def test_an_audit_finds_each_defect_and_no_other(export):
    audit = export.bucket.audit(deep=True)

    def planted(*defects: str) -> set[int]:
        return {number for number, what in export.defects.items() if what in defects}

    skipped = planted("skipped")
    known = set(export.records) - skipped
    assert {one.number for one in audit.missing} == planted("gone")
    assert {one.number for one in audit.unindexed} == planted("unindexed", "name odd")
    assert set(audit.skipped_numbers) == {n for n in skipped if known and min(known) < n < max(known)}
    assert len(audit.odd_rows) == len(planted("no range", "name odd"))
    told = {one.number for one in audit.empty} | {one.revision.number for one in audit.out_of_range}
    told |= {int(path.split("/")[1].split(".")[0]) for path in audit.cut_off}
    hurt = export.hurt & planted("cut", "emptied")
    assert hurt <= told <= planted("cut", "emptied")
    if not export.defects:
        assert audit.problems == []
    if not audit.is_clean:
        assert export.defects
