from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmexport import LateRecordError, PropertySet, Window, in_window, sort_by_time

NEW_YORK = "America/New_York"
ZONES = sorted(name for name in available_timezones() if "/" in name)


def at(*timestamps: int) -> list[PropertySet]:
    return [PropertySet("bob", timestamp, {"place": place}) for place, timestamp in enumerate(timestamps)]


def hours(window: Window) -> float:
    return (window.end - window.start) / 3600


@pytest.mark.parametrize(
    ("day", "zone", "expected"),
    [
        ("2012-03-11", NEW_YORK, 23),
        ("2012-11-04", NEW_YORK, 25),
        ("2012-10-03", NEW_YORK, 24),
        ("2018-11-04", "America/Sao_Paulo", 23),
        ("2012-10-03", "UTC", 24),
        ("2011-12-30", "Pacific/Apia", 0),  # the zone left this day out
        ("2011-12-31", "Pacific/Apia", 24),
        ("2019-10-06", "Australia/Lord_Howe", 23.5),
        ("2012-11-04", "America/Havana", 25),
    ],
)
def test_hours_of_a_day(day, zone, expected):
    assert hours(Window.day(day, zone)) == expected
    assert Window.day(date.fromisoformat(day), tz=ZoneInfo(zone)) == Window.day(day, tz=zone)


def test_a_midnight_that_does_not_exist():
    day = Window.day("2018-11-04", "America/Sao_Paulo")
    assert datetime.fromtimestamp(day.start, ZoneInfo("America/Sao_Paulo")).isoformat() == "2018-11-04T01:00:00-02:00"


def test_a_midnight_that_comes_twice_counts_from_the_first():
    day = Window.day("2012-11-04", "America/Havana")
    zone = ZoneInfo("America/Havana")
    assert datetime.fromtimestamp(day.start, zone).isoformat() == "2012-11-04T00:00:00-04:00"
    assert datetime.fromtimestamp(day.start + 3600, zone).isoformat() == "2012-11-04T00:00:00-05:00"


@given(st.sampled_from(ZONES), st.dates(date(1900, 1, 2), date(2037, 12, 30)), st.integers(0, 3))
@settings(max_examples=300, deadline=None)
def test_days_tile_time_and_hold_their_date(zone, first, more):
    last = first + timedelta(days=more)
    whole = Window.days(first, last, zone)
    parts = [Window.day(first + timedelta(days=number), zone) for number in range(more + 1)]
    assert (parts[0].start, parts[-1].end) == (whole.start, whole.end)
    assert all(one.end == other.start for one, other in itertools.pairwise(parts))
    assert whole.days(zone) == [part for part in parts if part.start < part.end]
    clock = ZoneInfo(zone)
    # The first second of a day has its date, and the second before it has another.
    if whole.start < whole.end and parts[0].start < parts[0].end:
        assert datetime.fromtimestamp(whole.start, clock).date() == first
        assert datetime.fromtimestamp(whole.start - 1, clock).date() < first


@given(st.integers(0, 10**9), st.integers(0, 10**7), st.sampled_from(ZONES))
@settings(max_examples=100, deadline=None)
def test_splitting_loses_no_second(start, length, zone):
    window = Window(start, start + length)
    parts = window.days(zone)
    assert sum(part.end - part.start for part in parts) == length
    assert all(one.end == other.start for one, other in itertools.pairwise(parts))


def test_moments():
    expected = Window(1349236800, 1349323200)
    zone = ZoneInfo(NEW_YORK)
    assert Window(datetime(2012, 10, 3, tzinfo=zone), datetime(2012, 10, 4, tzinfo=zone)) == expected
    assert Window(datetime(2012, 10, 3, 4, tzinfo=UTC), 1349323200.0) == expected
    assert Window(1349236799.5, 1349323199.001) == expected
    assert Window(datetime(2012, 10, 3, tzinfo=timezone(timedelta(hours=-4))), 1349323200) == expected


def test_half_open():
    window = Window(10, 20)
    assert [moment in window for moment in (9, 10, 19, 20)] == [False, True, True, False]
    assert datetime.fromtimestamp(10, UTC) in window
    assert "10" not in window
    assert list(in_window(at(9, 10, 19, 20), window)) == [
        PropertySet("bob", 10, {"place": 1}),
        PropertySet("bob", 19, {"place": 2}),
    ]


@pytest.mark.parametrize(
    ("make", "error", "advice"),
    [
        (lambda: Window(datetime(2012, 10, 3), 7), ValueError, r"write datetime\(\.\.\., tzinfo"),  # noqa: DTZ001
        (lambda: Window(20, 10), ValueError, r"write Window\(10, 20\)"),
        (lambda: Window("2012-10-03", "2012-10-04"), TypeError, r"write Window.day\(date, tz=\.\.\.\)"),
        (lambda: Window(date(2012, 10, 3), 7), TypeError, "write Window.day"),
        (lambda: Window(True, 7), TypeError, "unix seconds"),
        (lambda: Window(float("nan"), 7), ValueError, "finite"),
        (lambda: Window.day("3 October"), ValueError, "ISO text such as '2012-10-03'"),
        (lambda: Window.day(datetime(2012, 10, 3, tzinfo=UTC)), TypeError, "a day is a date"),
        (lambda: Window.day("2012-10-03", "New York"), ValueError, "write an IANA name"),
        (lambda: Window.day("2012-10-03", "../zone"), ValueError, "write an IANA name"),
        (lambda: Window.days("2012-10-04", "2012-10-03"), ValueError, r"write Window.days\('2012-10-03', '2012-10-04'"),
        (lambda: Window.day("9999-12-31"), ValueError, "outside the years 1 to 9999"),
        (lambda: in_window([], (10, 20)), TypeError, "a Window belongs there"),
    ],
)
def test_mistakes_say_what_to_write_instead(make, error, advice):
    with pytest.raises(error, match=advice):
        make()


def test_sorting_all():
    records = at(3, 1, 2, 1)
    assert list(sort_by_time(iter(records))) == [records[1], records[3], records[2], records[0]]


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(0, 50))
def test_a_sorted_stream_is_sorted_and_whole(timestamps, max_delay):
    records = at(*timestamps)
    late: list[PropertySet] = []
    out = list(sort_by_time(records, max_delay=max_delay, on_late=late.append))
    assert [record.timestamp for record in out] == sorted(record.timestamp for record in out)
    newest = list(itertools.accumulate(timestamps, max))
    expected_late = [
        record for record, high in zip(records, newest, strict=True) if record.timestamp < high - max_delay
    ]
    assert late == expected_late
    kept = [record for record in records if record not in late]
    assert out == sorted(kept, key=lambda record: record.timestamp)
    if late:
        with pytest.raises(LateRecordError) as caught:
            list(sort_by_time(records, max_delay=max_delay))
        assert caught.value.record == late[0]


def test_a_stream_comes_out_as_soon_as_it_can():
    def stream():
        yield from at(10, 12, 21)
        pytest.fail("read too far")

    records = sort_by_time(stream(), max_delay=10)
    assert next(records).timestamp == 10


@pytest.mark.parametrize("arguments", [{"max_delay": -1}, {"on_late": print}])
def test_arguments_of_the_sort(arguments):
    with pytest.raises(ValueError, match=r"max_delay"):
        sort_by_time([], **arguments)


@pytest.mark.parametrize(
    ("second", "inside"), [(9.5, False), (10, True), (10.5, True), (19.5, True), (20, False), (20.5, False)]
)
def test_fractions_of_a_second(second, inside):
    window = Window(10, 20)
    assert (second in window) is inside
    assert (datetime.fromtimestamp(second, UTC) in window) is inside


def test_days_at_the_edges_of_the_calendar():
    last = Window(253_402_300_799 - 10, 253_402_300_799)
    assert last.days() == [last]
    first = Window(-62_135_596_800, -62_135_596_000)
    assert first.days() == [first]
    with pytest.raises(ValueError, match="outside the years 1 to 9999"):
        first.days("America/New_York")
    with pytest.raises(ValueError, match="outside the years 1 to 9999"):
        Window.day("0001-01-01", "Asia/Tokyo")


class Pytz(tzinfo):
    """As a zone of pytz: its own offsets are right only after localize()."""

    zone = "America/New_York"

    def localize(self, moment: datetime) -> datetime:
        raise NotImplementedError

    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=-4, minutes=-56)

    def dst(self, moment: datetime | None) -> timedelta:
        return timedelta(0)


def test_a_zone_of_pytz_is_taken_by_its_name():
    assert Window.day("2012-10-03", Pytz()) == Window.day("2012-10-03", "America/New_York")
