from __future__ import annotations

import itertools
import pickle
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from fractions import Fraction
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmexport import Alias, Event, PropertySet, Window, in_window
from tests.support.strategies import examples
from tests.support.systems import clock_at

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
    assert clock_at(day.start, ZoneInfo("America/Sao_Paulo")).isoformat() == "2018-11-04T01:00:00-02:00"


def test_a_midnight_that_comes_twice_counts_from_the_first():
    day = Window.day("2012-11-04", "America/Havana")
    zone = ZoneInfo("America/Havana")
    assert clock_at(day.start, zone).isoformat() == "2012-11-04T00:00:00-04:00"
    assert clock_at(day.start + 3600, zone).isoformat() == "2012-11-04T00:00:00-05:00"


@given(st.sampled_from(ZONES), st.dates(date(1900, 1, 2), date(2037, 12, 30)), st.integers(0, 3))
@settings(max_examples=examples(300))
def test_days_tile_time_and_hold_their_date(zone, first, more):
    last = first + timedelta(days=more)
    whole = Window.days(first, last, zone)
    parts = [Window.day(first + timedelta(days=number), zone) for number in range(more + 1)]
    assert (parts[0].start, parts[-1].end) == (whole.start, whole.end)
    assert all(one.end == other.start for one, other in itertools.pairwise(parts))
    assert whole.split_by_days(zone) == [part for part in parts if part.start < part.end]
    clock = ZoneInfo(zone)
    # The first second of a day has its date, and the second before it has another.
    if whole.start < whole.end and parts[0].start < parts[0].end:
        assert clock_at(whole.start, clock).date() == first
        assert clock_at(whole.start - 1, clock).date() < first


@given(st.integers(0, 10**9), st.integers(0, 10**7), st.sampled_from(ZONES))
@settings(max_examples=examples(100))
def test_splitting_loses_no_second(start, length, zone):
    window = Window(start, start + length)
    parts = window.split_by_days(zone)
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
    assert clock_at(10, UTC) in window
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


@pytest.mark.parametrize(
    ("second", "inside"), [(9.5, False), (10, True), (10.5, True), (19.5, True), (20, False), (20.5, False)]
)
def test_fractions_of_a_second(second, inside):
    window = Window(10, 20)
    assert (second in window) is inside
    assert (clock_at(second, UTC) in window) is inside


def test_days_at_the_edges_of_the_calendar():
    last = Window(253_402_300_799 - 10, 253_402_300_799)
    assert last.split_by_days() == [last]
    first = Window(-62_135_596_800, -62_135_596_000)
    assert first.split_by_days() == [first]
    with pytest.raises(ValueError, match="outside the years 1 to 9999"):
        first.split_by_days("America/New_York")
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


RECORDS = [Event("bob", 15, "x"), PropertySet("bob", 15), Alias("bob", 15, "b2")]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_is_in_the_window_of_its_time(record):
    assert record in Window(10, 20)
    assert record not in Window(16, 20)


def test_numbers_of_any_kind():
    window = Window(10, 20)
    assert Fraction(19, 1) in window
    assert Fraction(39, 2) in window
    assert [float("inf") in window, float("nan") in window] == [False, False]  # noqa: PLW0177
    assert Window(Fraction(19, 2), 20).start == 10


def test_numbers_of_numpy():
    numpy = pytest.importorskip("numpy")
    window = Window(10, 20)
    for kind in ("int8", "uint16", "int32", "int64", "uint64", "float32", "float64"):
        inside, outside = numpy.array([15, 20], kind)
        assert inside in window
        assert outside not in window
        assert Window(*numpy.array([10, 20], kind)) == window
        assert type(Window(*numpy.array([10, 20], kind)).start) is int
    with pytest.raises(TypeError):
        numpy.datetime64("2012-10-03") in window  # noqa: B015


@pytest.mark.parametrize("other", [date(2012, 10, 3), "10", "2012-10-03", None, True, b"10", Window(11, 12), [15], 15j])
def test_what_is_no_moment_is_an_error_and_not_outside(other):
    with pytest.raises(TypeError, match="a moment is an aware datetime or unix seconds"):
        other in Window(10, 20)  # noqa: B015


def test_a_naive_datetime_is_an_error():
    with pytest.raises(ValueError, match="has no time zone"):
        datetime(2012, 10, 3) in Window(10, 20)  # noqa: B015, DTZ001


def test_the_zone_is_remembered_and_no_part_of_equality():
    window = Window.days("2012-11-03", "2012-11-05", NEW_YORK)
    plain = Window(window.start, window.end)
    assert (window == plain, hash(window) == hash(plain)) == (True, True)
    assert [hours(part) for part in window.split_by_days()] == [24, 25, 24]
    assert plain.split_by_days() == window.split_by_days("UTC") != window.split_by_days()
    for copy in (pickle.loads(pickle.dumps(window)), window & Window(0, 2**40), Window(0, 2**40) & window):
        assert copy == window
        assert [hours(part) for part in copy.split_by_days()] == [24, 25, 24]
    assert [hours(part) for day in window.split_by_days() for part in day.split_by_days()] == [24, 25, 24]
    assert Window(window.start, window.end, tz=NEW_YORK).split_by_days() == window.split_by_days()


@given(*[st.integers(-20, 20) for _ in range(5)])
def test_what_two_windows_have_in_common(a, b, c, d, second):
    one, other = Window(min(a, b), max(a, b)), Window(min(c, d), max(c, d))
    assert (second in one & other) is (second in one and second in other)
    assert (one & other).end - (one & other).start == (other & one).end - (other & one).start
    with pytest.raises(TypeError):
        one & 5


def test_each_day():
    found = list(Window.each_day("2011-12-29", date(2011, 12, 31), "Pacific/Apia"))
    assert [(str(day), hours(window)) for day, window in found] == [
        ("2011-12-29", 24), ("2011-12-30", 0), ("2011-12-31", 24),
    ]  # fmt: skip
    assert all(window == Window.day(day, "Pacific/Apia") for day, window in found)
    assert len(list(Window.each_day("2012-01-01", "2012-12-31"))) == 366


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (("2012-10-04", "2012-10-03"), "the last day is before the first"),
        (("2012-10-04", "2012-10-05", "New York"), "write an IANA name"),
        (("2012-10-04", "9999-12-31"), "outside the years"),
        (("4 October", "2012-10-05"), "ISO text"),
    ],
)
def test_each_day_checks_at_the_call(arguments, advice):
    with pytest.raises(ValueError, match=advice):
        Window.each_day(*arguments)


def test_how_a_window_is_shown():
    window = Window.day("2012-10-03", NEW_YORK)
    assert repr(window) == (
        "Window(start=1349236800 (2012-10-03T00:00:00-04:00), end=1349323200 (2012-10-04T00:00:00-04:00))"
    )
    assert "1349222400 (2012-10-03T00:00:00Z)" in Window(1349222400, 10**18)._repr_html_()
    assert repr(Window(-(10**18), 10**18)) == f"Window(start={-(10**18)}, end={10**18})"


SKIPPED_MIDNIGHTS = [
    ("America/Sao_Paulo", "2018-11-04"), ("America/Asuncion", "2019-10-06"), ("Asia/Beirut", "2021-03-28"),
    ("Asia/Amman", "2012-03-30"), ("America/Havana", "2012-04-01"), ("America/Santiago", "2019-09-08"),
    ("Africa/Cairo", "2010-04-30"), ("Asia/Tehran", "2012-03-21"), ("America/Scoresbysund", "2012-03-25"),
    ("Pacific/Apia", "2011-12-30"), ("Pacific/Apia", "2011-12-31"), ("Pacific/Kwajalein", "1993-08-21"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "day"), SKIPPED_MIDNIGHTS)
@pytest.mark.parametrize("of", ["gettz", "tzfile"])
def test_zones_of_dateutil_where_midnight_is_skipped(name, day, of):
    tz = pytest.importorskip("dateutil.tz")
    zone = (
        tz.gettz(name) if of == "gettz" else pytest.importorskip("dateutil.zoneinfo").get_zonefile_instance().get(name)
    )
    if zone is None:
        pytest.skip("dateutil has no such zone")
    for shift in (-1, 0, 1):
        that = date.fromisoformat(day) + timedelta(days=shift)
        assert Window.day(that, zone) == Window.day(that, name)
    first = date.fromisoformat(day) - timedelta(days=2)
    whole = Window.days(first, first + timedelta(days=4), zone)
    assert whole.split_by_days() == Window.days(first, first + timedelta(days=4), name).split_by_days()


@given(st.sampled_from(ZONES), st.dates(date(1971, 1, 2), date(2036, 12, 30)))
@settings(max_examples=examples(150))
def test_days_of_dateutil_tile_time(name, day):
    zone = pytest.importorskip("dateutil.tz").gettz(name)
    if zone is None:
        return
    parts = [Window.day(day + timedelta(days=number), zone) for number in range(3)]
    assert all(one.end == other.start for one, other in itertools.pairwise(parts))
    for at, part in enumerate(parts):
        if part.start < part.end:
            assert clock_at(part.start, zone).date() == day + timedelta(days=at)
            assert clock_at(part.start - 1, zone).date() < day + timedelta(days=at)
