"""What speaks against a window, and every disagreement of an export with itself."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import pytest
from attrs import define
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kmexport import Bucket, Event, Revision, Window, in_window
from kmexport.revisions.coverage import skipped_numbers
from kmexport.testing import write_export
from tests.support.strategies import examples

HOUR = 3600
DAY = 24 * HOUR
T0 = 1349222400
YEAR = 365 * DAY


def day(at: int) -> Window:
    return Window(T0 + at * DAY, T0 + (at + 1) * DAY)


def days(numbers: range, **defects: Any) -> Bucket:
    """A bucket with a file for each day, with a record every hour."""
    revisions = {
        number: [Event("bob", T0 + at * DAY + hour * HOUR, "x") for hour in range(24)]
        for at, number in enumerate(numbers)
    }
    return write_export("memory://days", revisions, **defects)


def clock(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%d %H:%M:%S} UTC"


def test_a_complete_day_is_one_that_the_export_has_passed_by_the_margin():
    bucket = days(range(1, 6))
    received = bucket.index()[-1].max_timestamp
    assert received == T0 + 4 * DAY + 23 * HOUR + 3
    found = bucket.coverage(day(2))
    assert (found.is_complete, found.reasons, bool(found), found.exported_until) == (True, [], True, received)
    assert not bucket.coverage(day(3))
    assert bucket.coverage(day(3), margin=23 * HOUR)
    assert bucket.coverage(day(3), margin=23 * HOUR + 3)
    assert not bucket.coverage(day(3), margin=23 * HOUR + 4)
    assert bucket.coverage(day(3), margin=0)
    assert bucket.coverage(day(3), margin=None)
    assert not bucket.coverage(day(4), margin=None)


def test_a_pending_file_may_hold_a_part_of_the_last_batch():
    # As in a real export: one batch of five minutes, in two files.
    batch = T0 + 3
    sent = {1: [Event("ana", T0 - 200, "x")], 2: [Event("bob", T0 - 100, "x")], 3: [Event("eve", T0 + HOUR, "x")]}
    ranges = {1: (batch, batch), 2: (batch, batch), 3: (T0 + HOUR + 1, T0 + HOUR + 1)}
    window = Window(T0 - HOUR, T0)
    whole = write_export("memory://two-files", sent, ranges=ranges)
    assert whole.coverage(window, margin=0)
    first = write_export("memory://first-file", {1: sent[1]}, ranges={1: ranges[1]}, pending=2)
    assert first.coverage(window, margin=0).reasons == ["2 revisions are not exported yet and may hold late records"]
    assert len(list(first.iter_records(window))) < len(list(whole.iter_records(window)))
    assert first.coverage(Window(T0 - HOUR, batch - 300), margin=0)
    assert not first.coverage(Window(T0 - HOUR, batch - 299), margin=0)


def test_why_a_window_is_not_complete():
    bucket = days(range(1, 6), gone=[3], pending=2)
    MemoryFileSystem().rm_file("/days/revisions/2.json")
    rows = MemoryFileSystem().cat_file("/days/index.csv").splitlines(keepends=True)
    MemoryFileSystem().pipe_file("/days/index.csv", b"".join(row for row in rows if b"/2.json" not in row))
    window = Window(T0 + DAY, T0 + 5 * DAY)
    found = bucket.coverage(window, margin=60)
    assert not found
    assert found.missing == (bucket.index()[1],)
    assert found.skipped_numbers == (2,)
    assert found.pending_revisions == 2
    assert not found.is_exported
    assert found.reasons == [
        (
            f"the export ends at {clock(T0 + 4 * DAY + 23 * HOUR + 3)}, the window at {clock(window.end)}, "
            f"and what comes late is waited for until {clock(window.end + 60)}"
        ),
        "2 revisions are not exported yet and may hold late records",
        "revisions/3.json is in the index and its file is gone",
        "these revisions are neither in the index nor in the bucket: 2",
    ]
    assert "not complete" in found._repr_html_()
    assert found.reasons[0].partition(", and")[0] == bucket.coverage(window, margin=0).reasons[0]
    passed = bucket.coverage(Window(T0 + 3 * DAY + 2 * HOUR, T0 + 3 * DAY + 3 * HOUR))
    assert passed.reasons == []  # it is past the pending ones, and its files are there


def test_what_is_pending_counts_until_the_export_is_past_the_margin():
    bucket = days(range(1, 6), pending=1)
    assert bucket.coverage(day(2)).pending_revisions == 0
    assert bucket.coverage(day(3)).pending_revisions == 1
    assert bucket.coverage(day(3), margin=0).pending_revisions == 0
    assert bucket.coverage(day(4), margin=None).pending_revisions == 0  # it waits for nothing


def test_a_late_file_is_needed_too():
    revisions = {1: [Event("bob", T0, "x")], 2: [Event("eve", T0 + 60, "x")], 4: [Event("ana", T0 + 5 * DAY, "x")]}
    bucket = write_export("memory://late", revisions, ranges={2: (T0 + DAY + 2, T0 + DAY + 2)}, gone=[2])
    hour = Window(T0 - HOUR, T0 + HOUR)
    assert [one.number for one in bucket.coverage(hour).missing] == [2]
    assert bucket.coverage(hour).skipped_numbers == (3,)
    assert bucket.coverage(hour, margin=HOUR).is_complete
    assert bucket.coverage(Window(T0 - 9 * DAY, T0 - 8 * DAY)).is_complete
    assert not bucket.coverage(Window(T0 - 9 * DAY, T0 - 8 * DAY), margin=None)  # then every file is needed


def test_an_empty_window_needs_nothing():
    bucket = days(range(1, 6), gone=[3], pending=1)
    assert bucket.coverage(Window(T0 + 2 * DAY, T0 + 2 * DAY)).is_complete


@pytest.mark.parametrize("margin", [True, 1.5, "a day", -1])
def test_the_margin_is_checked(margin):
    with pytest.raises((TypeError, ValueError), match="margin is"):
        Bucket("/nowhere").coverage(day(0), margin=margin)


@given(known=st.sets(st.integers(1, 60), max_size=12), most=st.integers(0, 30))
def test_gaps_that_do_not_fit_in_are_told_by_their_ends(known, most):
    with mock.patch("kmexport.revisions.coverage._MOST_SKIPPED", most):
        found = skipped_numbers(known)
    all_of_them = [number for number in range(min(known, default=0), max(known, default=0)) if number not in known]
    assert set(found) <= set(all_of_them)
    assert found == sorted(set(found))
    ends = {number for number in all_of_them if {number - 1, number + 1} & known}
    assert ends <= set(found)
    if len(all_of_them) <= most:
        assert found == all_of_them


class TestWhereABucketBegins:
    @pytest.mark.parametrize("first", [2, 7, 22770])
    def test_days_before_the_first_file_are_not_complete_and_those_behind_it_are(self, first):
        bucket = days(range(first, first + 5))
        begin = bucket.index()[0].min_timestamp
        for window in (day(-1), day(-400), Window(T0 - DAY, T0 + 2 * DAY)):
            told = f"the first revisions are not there: what is begins at {clock(begin)}, the window at "
            assert bucket.coverage(window, margin=0).reasons == [told + clock(window.start)]
        assert bucket.coverage(day(1), margin=0).is_complete
        assert bucket.coverage(Window(begin, T0 + DAY), margin=0).is_complete

    def test_nothing_came_before_revision_1(self):
        assert days(range(1, 6)).coverage(day(-1), margin=0).is_complete


class TestHowFarTheExportHasCome:
    @pytest.mark.parametrize("wrong", [0, T0 - 10 * YEAR, T0 + 10 * YEAR])
    @pytest.mark.parametrize("number", [22770, 22772, 22774])
    def test_a_wrong_clock_changes_nothing(self, wrong, number):
        """The moment at which a record was received is the vendor's own."""
        sound = days(range(22770, 22775))
        found = [sound.coverage(day(at), margin=0) for at in range(-1, 6)]
        text = MemoryFileSystem().cat_file(f"/days/revisions/{number}.json")
        line = b'{"_p":"eve","_n":"x","_t":%d}\n' % wrong
        MemoryFileSystem().pipe_file(f"/days/revisions/{number}.json", text + line)
        assert [sound.coverage(day(at), margin=0) for at in range(-1, 6)] == found
        assert [one.revision.number for one in sound.audit(deep=True).far] == [number]

    def test_nothing_is_exported_yet(self):
        bucket = write_export("memory://days", {})
        MemoryFileSystem().pipe_file("/days/status.csv", b"12,0,,")
        assert bucket.coverage(day(0)).reasons == [
            "nothing shows how far the export has come",
            "12 revisions are not exported yet and may hold late records",
        ]
        assert bucket.audit().is_clean

    def test_files_whose_times_nobody_states(self):
        bucket = days(range(1, 6))
        MemoryFileSystem().pipe_file("/days/index.csv", b"revisions/1.json,,\nrevisions/2.json,,\n")
        assert bucket.coverage(day(2)).exported_until == bucket.status().max_exported_timestamp

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
        assert bucket.coverage(day(1), margin=0)
        assert len(bucket.audit().disagreements) == 1


class TestDamagedFiles:
    @pytest.mark.parametrize("packed", [False, True])
    @pytest.mark.parametrize("what", ["emptied", "half a line", "half of the only line"])
    def test_are_told(self, what, packed):
        bucket = days(range(1, 6), gzipped=[3] if packed else [])
        path = f"/days/revisions/3.json{'.gz' * packed}"
        text = MemoryFileSystem().cat_file(path)
        lines = (gzip.decompress(text) if packed else text).splitlines(keepends=True)
        half = lines[-1][:-5]
        left = {"emptied": b"", "half a line": b"".join([*lines[:-1], half]), "half of the only line": half}[what]
        MemoryFileSystem().pipe_file(path, gzip.compress(left) if packed else left)
        found = bucket.coverage(day(2), margin=0)
        assert [one.revision.number for one in found.damaged] == [3]
        is_empty = what == "emptied"
        name = f"revisions/3.json{'.gz' * packed}"
        assert found.reasons == [
            f"{name} is empty, and the index says that records were received"
            if is_empty
            else f"{name} ends inside a line, it was cut off"
        ]
        assert bucket.coverage(Window(T0 + 4 * DAY, T0 + 4 * DAY + HOUR), margin=0).is_complete
        audit = bucket.audit(deep=True)
        assert [one.number for one in audit.empty] == [3] * is_empty
        assert audit.cut_off == [name] * (not is_empty)

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

    def test_a_revision_without_a_range_is_none(self):
        bucket = write_export("memory://days", {1: [], 2: [Event("bob", T0, "x")]}, ranges={2: (0, 0)})
        audit = bucket.audit(deep=True)
        assert audit.empty == []
        assert [odd.line_number for odd in audit.odd_rows] == [2, 3]
        assert len(list(bucket.iter_records(Window(T0, T0 + 1)))) == 1

    def test_whole_files_are_not(self):
        bucket = days(range(1, 6))
        text = MemoryFileSystem().cat_file("/days/revisions/3.json")
        for whole in (text.removesuffix(b"\n"), text + b"\n\n", text.replace(b"\n", b"\r\n")):
            MemoryFileSystem().pipe_file("/days/revisions/3.json", whole)
            assert bucket.coverage(day(2), margin=0)
            assert bucket.audit(deep=True).is_clean


@pytest.mark.parametrize("first", [1, 140, 22770])
@pytest.mark.parametrize("counts_from_1", [True, False])
def test_an_export_may_begin_at_any_number(first, counts_from_1):
    bucket = days(range(first, first + 5), pending=1)
    if counts_from_1:
        received = bucket.index()[-1].max_timestamp
        MemoryFileSystem().pipe_file("/days/status.csv", f"{first + 5},{first + 4},{received},x".encode())
    assert bucket.audit(deep=True).problems == []
    assert bucket.coverage(day(1)).is_complete
    assert bucket.coverage(day(2)).is_complete


def test_a_range_that_goes_back_in_time_hides_no_skipped_number():
    times = {1: (10, 20), 2: (0, 5), 4: (30, 40), 5: (15, 18), 6: (50, 60)}
    revisions = {n: [Event("bob", second * HOUR, "x") for second in both] for n, both in times.items()}
    bucket = write_export("memory://back", revisions)
    for hours in ((22, 28), (5, 15), (30, 41), (0, 60)):
        window = Window(hours[0] * HOUR, hours[1] * HOUR)
        assert bucket.coverage(window, margin=0).skipped_numbers == (3,)
    assert bucket.coverage(Window(51 * HOUR, 55 * HOUR), margin=0).skipped_numbers == ()


def test_times_are_told_beside_seconds():
    bucket = days(range(22770, 22772), ranges={22771: (T0, T0 + YEAR)})
    told = " ".join(bucket.coverage(Window(T0 - 5, T0 + DAY * 500)).reasons)
    for second in (T0 - 5, T0 + DAY * 500, T0 + DAY * 501, T0 + YEAR, T0 + 1):
        assert clock(second) in told
    assert "2012-10-03T00:00:01Z" in repr(bucket.index()[0])
    assert "2012-10-03T00:00:01Z" in bucket.index()[0]._repr_html_()
    assert "&lt;b&gt;" in Revision(1, "<b>")._repr_html_()
    assert "2012-10-03 00:00:00 UTC" in repr(bucket.coverage(day(0)))
    assert "2012-10-03 00:00:00 UTC" in bucket.coverage(day(0))._repr_html_()


# A random export, with whatever can happen to it. Files come three hours apart; phones send late, up to two days.

DEFECTS = ["gone", "unindexed", "emptied", "cut", "skipped", "no range", "name odd"]
ODD_RANGES = ["", ",", ",,", ",1349161501", ",x,y", ",9999999999999,5", ",7,3"]
LOSES = {"gone", "emptied", "cut", "skipped"}


@define
class RandomExport:
    """What is written, and what is true of it."""

    bucket: Bucket
    records: dict[int, list[Event]]  # of each revision, as the vendor wrote them
    ranges: dict[int, tuple[int, int]]  # when they were received
    left: dict[int, list[Event]]  # as they can be read
    defects: dict[int, str]


@st.composite
def random_exports(draw: st.DrawFn) -> RandomExport:
    first = draw(st.sampled_from([1, 2, 22770]))
    numbers = range(first, first + draw(st.integers(2, 7)))
    lateness = st.one_of(st.integers(0, 299), st.integers(0, 2 * DAY), st.just(20 * DAY))
    records, ranges = {}, {}
    for at, number in enumerate(numbers):
        begin = T0 + at * 3 * HOUR + draw(st.integers(-12, 12)) * 300 + number % 3 + 1
        ranges[number] = begin, begin + draw(st.integers(0, 24)) * 300
        times = [draw(st.integers(*ranges[number])) - draw(lateness) for _ in range(draw(st.integers(1, 4)))]
        records[number] = [Event(f"p{number}", second, "x") for second in times]
    MemoryFileSystem.store.clear()
    defects = draw(st.dictionaries(st.sampled_from(numbers), st.sampled_from(DEFECTS), max_size=3))
    packed = draw(st.sets(st.sampled_from(numbers)))
    unindexed = [number for number, what in defects.items() if what == "unindexed"]
    bucket = write_export("memory://random", records, ranges=ranges, gzipped=packed, unindexed=unindexed)
    export = RandomExport(bucket, records, ranges, dict(records), defects)
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
            inside = [size for size in range(1, len(text)) if not text[:size].endswith((b"}", b"\n"))]
            size = draw(st.sampled_from(inside)) if what == "cut" else 0
            export.left[number] = records[number][: text[:size].count(b"}")]
            fs.pipe_file(path, gzip.compress(text[:size]) if number in packed else text[:size])
        if what in ("no range", "name odd"):
            at = next(at for at, row in enumerate(rows) if row.startswith(f"{mine},"))
            rows[at] = mine + draw(st.sampled_from(ODD_RANGES)) if what == "no range" else f"x{rows[at]}"
    # Without one row that names a revision it is no index.
    assume(len(rows) == 1 or any(row.startswith("revisions/") for row in rows))
    fs.pipe_file("/random/index.csv", "\n".join(rows).encode())
    return export


WINDOWS = st.tuples(st.integers(-60, 30), st.integers(1, 30)).map(
    lambda ends: Window(T0 + ends[0] * HOUR, T0 + (ends[0] + ends[1]) * HOUR)
)
MARGINS = st.sampled_from([0, 60, 6 * HOUR, DAY, None])


def is_needed(export: RandomExport, number: int, window: Window, margin: int | None) -> bool:
    """Whether a file may hold records of the window that came no later than the margin."""
    first, last = export.ranges[number]
    return margin is None or (last >= window.start - min(margin, HOUR) and first - 300 <= window.end - 1 + margin)


@given(random_exports(), WINDOWS, MARGINS)
@settings(max_examples=examples(300))
def test_every_record_of_the_window_that_came_in_time_comes_out(export, window, margin):
    if not any(export.defects.get(number) not in ("gone", "skipped") for number in export.records):
        return  # an empty listing: an error, see test_bucket.py
    found = list(export.bucket.iter_records(window, margin=margin, on_error=lambda _: None))
    # Files without a range are read for every window.
    read = [
        number
        for number in export.records
        if is_needed(export, number, window, margin)
        or export.defects.get(number) in ("unindexed", "no range", "name odd")
    ]
    assert found == [event for number in read for event in in_window(export.left[number], window)]
    if margin is None:
        assert read == list(export.records)


@given(random_exports(), WINDOWS, MARGINS)
@settings(max_examples=examples(500))
def test_a_window_is_complete_where_all_of_it_is_there_and_only_there(export, window, margin):
    # Where no file is there, reading raises EmptyListingError: a failed listing looks the same.
    assume(any(export.defects.get(number) not in ("gone", "skipped") for number in export.records))
    found = export.bucket.coverage(window, margin=margin)
    needed = [number for number in export.records if is_needed(export, number, window, margin)]
    lost = [number for number in needed if export.defects.get(number) in LOSES]
    received = max(last for _, last in export.ranges.values())
    first = min(export.records)
    begins_too_late = first > 1 and window.start < export.ranges[first][0]
    is_past = received >= window.end + (margin or 0)
    if lost or begins_too_late or not is_past:
        assert not found, (lost, begins_too_late, is_past)
    elif not export.defects:
        assert found, found.reasons
    if found:
        written = [event for number in needed for event in in_window(export.records[number], window)]
        read = list(export.bucket.iter_records(window, margin=margin, on_error=lambda _: None))
        assert [event for event in written if event not in read] == []


@given(random_exports())
@settings(max_examples=examples(300))
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
    assert {one.number for one in audit.empty} == planted("emptied")
    assert {int(path.split("/")[1].split(".")[0]) for path in audit.cut_off} == planted("cut")
    far = {
        number
        for number, events in export.left.items()
        for event in events
        if export.defects.get(number) not in ("unindexed", "no range", "name odd")
        and not is_needed(export, number, Window(event.timestamp, event.timestamp + 1), DAY)
    }
    assert {one.revision.number for one in audit.far} == far
    with_range = [n for n in export.left if export.defects.get(n) not in ("unindexed", "no range", "name odd")]
    assert sum(audit.lateness.values()) == sum(len(export.left[number]) for number in with_range)
    if not export.defects and not far:
        assert audit.problems == []
    if not audit.is_clean:
        assert export.defects or far


def test_a_coverage_prints_as_a_sentence_in_the_zone_of_its_window():
    complete = Bucket.sample().coverage(Window.day("2012-10-02", tz="America/New_York"))
    assert str(complete) == "The window 2012-10-02 00:00:00 EDT to 2012-10-03 00:00:00 EDT is complete"
    short = Bucket.sample().coverage(Window.day("2012-10-05", tz="America/New_York"))
    assert repr(short).startswith(
        "The window 2012-10-05 00:00:00 EDT to 2012-10-06 00:00:00 EDT is not complete: "
        "the export ends at 2012-10-05 19:00:01 EDT, the window at 2012-10-06 00:00:00 EDT"
    )
