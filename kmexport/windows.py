"""Time: windows, days of a time zone, and how a moment is written."""

from __future__ import annotations

import html
import math
from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from numbers import Rational, Real
from operator import index
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from attrs import field, frozen

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def time_at(seconds: int, zone: tzinfo = UTC) -> datetime:
    """Turn unix seconds into an aware datetime, for all years from 1 to 9999; OverflowError outside of them.

    Not by `datetime.fromtimestamp`: on Windows that fails before 1970 and after the year 3000.

    >>> time_at(-1).isoformat(), time_at(32536857600).isoformat()
    ('1969-12-31T23:59:59+00:00', '3001-01-20T00:00:00+00:00')
    """
    try:
        time = _EPOCH + timedelta(0, int(seconds))  # timedelta refuses numpy's integers
    except OverflowError:
        msg = f"the time is {seconds}, outside the years 1 to 9999 (unix time in seconds)"
        raise OverflowError(msg) from None
    return time if zone is UTC else time.astimezone(zone)


def spell_moment(seconds: int | None, zone: tzinfo = UTC) -> str:
    """Write unix seconds, with their ISO time in a zone beside them where the calendar has one.

    >>> spell_moment(1349222400), spell_moment(None)
    ('1349222400 (2012-10-03T00:00:00Z)', 'None')
    """
    try:
        text = time_at(seconds, zone).isoformat() if seconds is not None else None
    except (OverflowError, ValueError):  # outside the years 1 to 9999
        text = None
    if text is None:
        return str(seconds)
    return f"{seconds} ({text.removesuffix('+00:00') + 'Z' if text.endswith('+00:00') else text})"


def write_moment(seconds: int, zone: tzinfo = UTC) -> str:
    """Write unix seconds as a clock of the zone shows them, for sentences.

    >>> write_moment(1349222400), write_moment(1349222400, find_zone("America/New_York"))
    ('2012-10-03 00:00:00 UTC', '2012-10-02 20:00:00 EDT')
    """
    try:
        moment = time_at(seconds, zone)
    except (OverflowError, ValueError):  # outside the years 1 to 9999
        return str(seconds)
    return f"{moment.replace(tzinfo=None)} {moment.tzname()}"


Day: TypeAlias = date | str
Zone: TypeAlias = str | tzinfo

_DAY = 86_400  # seconds


def dates_of(window: Window, zone: tzinfo) -> tuple[date, date]:
    """Return the dates of the first and the last second of a window in a zone; of its start where it is empty."""
    return time_at(window.start, zone).date(), time_at(max(window.end - 1, window.start), zone).date()


def bounds_of_days(first: date, last: date, zone: tzinfo) -> tuple[int, int]:
    """Return the first unix second of the first day, and that of the day after the last."""
    try:
        return first_moment(first, zone), first_moment(last + timedelta(days=1), zone)
    except (OverflowError, ValueError) as error:
        msg = f"the days {first} to {last} lie outside the years 1 to 9999"
        raise ValueError(msg) from error


def first_moment(day: date, zone: tzinfo) -> int:
    """Return the first unix second of a day, or of the next where the zone left the day out.

    >>> first_moment(date(2012, 10, 3), ZoneInfo("America/New_York"))
    1349236800
    """
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    moment = int(midnight.timestamp())
    if time_at(moment, zone).replace(tzinfo=None) == midnight.replace(tzinfo=None):
        return moment
    # The clock jumped over midnight: with fold=1 the moment is computed by the offset after the jump, so it
    # lies before the jump, as the other lies at it or after it. dateutil's zones give the same for both.
    before = int(midnight.replace(fold=1).timestamp())
    for moments in (range(before, moment + 1), range(moment - _DAY, moment + _DAY + 1)):
        at = bisect_left(moments, day, key=lambda second: time_at(second, zone).date())
        if 0 < at < len(moments):
            return moments[at]
    msg = f"{zone} has no beginning of {day}"
    raise ValueError(msg)


def as_day(day: Day) -> date:
    """Return a date, of ISO text too; ValueError or TypeError for anything else."""
    if isinstance(day, str):
        try:
            return date.fromisoformat(day)
        except ValueError as error:
            msg = f"a day is a date or ISO text such as '2012-10-03', not {day!r}"
            raise ValueError(msg) from error
    if isinstance(day, datetime) or not isinstance(day, date):
        msg = f"a day is a date or ISO text such as '2012-10-03', not {day!r}"
        raise TypeError(msg)
    return day


def find_zone(tz: Zone) -> tzinfo:
    """Find a time zone by its IANA name, or take it as it is; those of pytz by name. ValueError for an unknown one."""
    if isinstance(tz, tzinfo):
        name = getattr(tz, "zone", None)
        if name is None or not hasattr(tz, "localize"):
            return tz
        tz = str(name)  # of pytz, whose zones give local mean time here
    try:
        return ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError) as error:
        msg = f"there is no time zone {tz!r}: write an IANA name such as 'America/New_York' or 'UTC'"
        raise ValueError(msg) from error


Moment: TypeAlias = datetime | int | float


def as_timestamp(moment: Moment) -> int:
    """Return unix seconds. A fraction is rounded up: no whole second lies between."""
    seconds = _seconds(moment)
    if not math.isfinite(seconds):
        msg = f"a moment is a finite number of seconds, not {moment!r}"
        raise ValueError(msg)
    return math.ceil(seconds)


def _seconds(moment: object) -> int | float:
    """Return the unix seconds of an aware datetime, or of a number of any kind (numpy's too)."""
    if type(moment) is int:  # most are
        return moment
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            msg = (
                f"{moment.isoformat()} has no time zone: write datetime(..., tzinfo=ZoneInfo('America/New_York')), "
                f"or Window.day('{moment.date()}', tz='America/New_York') for a whole day"
            )
            raise ValueError(msg)
        return moment.timestamp()
    if isinstance(moment, Real) and not isinstance(moment, bool | Rational):
        return float(moment)
    if isinstance(moment, bool) or not (hasattr(moment, "__index__") or isinstance(moment, Rational)):
        msg = (
            f"a moment is an aware datetime or unix seconds, not {moment!r}: "
            "write Window.day(date, tz=...) or Window.days(first, last, tz=...) for days"
        )
        raise TypeError(msg)
    return float(moment) if isinstance(moment, Rational) and moment.denominator != 1 else index(int(moment))


def _as_zone(tz: Zone | None) -> tzinfo | None:
    return None if tz is None else find_zone(tz)


@frozen(repr=False)
class Window:
    """A half-open stretch of time: `start` is in it, `end` is not; both unix seconds.

    `Window(start, end)` takes aware datetimes or unix seconds. `Window.day(date, tz)` and
    `Window.days(first, last, tz)` (the last day included) take days of any IANA zone, as dates or ISO text: such days
    have 23, 24 or 25 hours. They remember their zone in `tz`, which comparisons leave out. `window & other` is what
    both have in common. Raises ValueError for a naive datetime, a reversed window and an unknown zone.

    `in` takes a moment, as the constructor does, or a record. TypeError for anything else: a date is a whole day.

    >>> day = Window.day("2012-10-03", tz="America/New_York")
    >>> day
    Window(start=1349236800 (2012-10-03T00:00:00-04:00), end=1349323200 (2012-10-04T00:00:00-04:00))
    >>> day.start in day, day.end in day
    (True, False)
    >>> day & Window.day("2012-10-03", tz="UTC") == Window(day.start, 1349308800)
    True
    """

    start: int = field(converter=as_timestamp)
    end: int = field(converter=as_timestamp)
    tz: tzinfo | None = field(default=None, converter=_as_zone, eq=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.end < self.start:
            msg = (
                f"the window ends before it starts ({self.start} to {self.end}): write Window({self.end}, {self.start})"
            )
            raise ValueError(msg)

    @classmethod
    def day(cls, day: Day, tz: Zone = "UTC") -> Window:
        """Make the window of one day of a zone: from its first moment to the first moment of the next day.

        A day whose midnight does not exist starts when the clock jumps over it; one whose midnight comes
        twice starts at the first. A day that a zone left out (Samoa, 30 December 2011) is an empty window.

        >>> day = Window.day("2012-03-11", "America/New_York")
        >>> (day.end - day.start) // 3600
        23
        """
        return cls.days(day, day, tz)

    @classmethod
    def days(cls, first: Day, last: Day, tz: Zone = "UTC") -> Window:
        """Make one window of several days of a zone, the last one included.

        >>> window = Window.days("2012-11-03", "2012-11-05", tz="America/New_York")
        >>> (window.end - window.start) // 3600
        73
        """
        zone = find_zone(tz)
        return cls(*bounds_of_days(*_first_and_last(first, last), zone), tz=zone)

    @classmethod
    def each_day(cls, first: Day, last: Day, tz: Zone = "UTC") -> Iterator[tuple[date, Window]]:
        """Yield each day of a zone with its window, the last one included.

        >>> days = Window.each_day("2012-11-03", "2012-11-05", tz="America/New_York")
        >>> [(day.isoformat(), (window.end - window.start) // 3600) for day, window in days]
        [('2012-11-03', 24), ('2012-11-04', 25), ('2012-11-05', 24)]
        """
        start, end = _first_and_last(first, last)
        zone = find_zone(tz)
        bounds_of_days(start, end, zone)
        dates = (start + timedelta(days=number) for number in range((end - start).days + 1))
        return ((day, cls.day(day, zone)) for day in dates)

    def split_by_days(self, tz: Zone | None = None) -> list[Window]:
        """Split the window into days of a zone; the first and the last may be parts of a day.

        Without a zone: of its own, if it is made of days, else of UTC.

        >>> days = Window.days("2012-11-03", "2012-11-05", "America/New_York")
        >>> [(part.end - part.start) // 3600 for part in days.split_by_days()]
        [24, 25, 24]
        >>> [(part.end - part.start) // 3600 for part in days.split_by_days("UTC")]
        [20, 24, 24, 5]
        """
        zone = find_zone(tz) if tz is not None else self._zone
        try:
            day = time_at(self.start, zone).date()
        except (OverflowError, ValueError) as error:
            msg = f"the window starts outside the years 1 to 9999 of {zone}"
            raise ValueError(msg) from error
        parts = []
        start = self.start
        while start < self.end:
            try:
                day += timedelta(days=1)
                end = min(first_moment(day, zone), self.end)
            except (OverflowError, ValueError):  # it was the last day that there is
                end = self.end
            if end > start:
                parts.append(Window(start, end, tz=zone))
                start = end
        return parts

    def __contains__(self, moment: object) -> bool:
        # A record has its seconds as an attribute; what a datetime has under that name is a method.
        timestamp = getattr(moment, "timestamp", None)
        return self.start <= _seconds(timestamp if type(timestamp) is int else moment) < self.end

    def __and__(self, other: Window) -> Window:
        if not isinstance(other, Window):
            return NotImplemented
        start = max(self.start, other.start)
        return Window(start, max(start, min(self.end, other.end)), tz=self.tz or other.tz)

    @property
    def _zone(self) -> tzinfo:
        return UTC if self.tz is None else self.tz

    def __repr__(self) -> str:
        return f"Window(start={spell_moment(self.start, self._zone)}, end={spell_moment(self.end, self._zone)})"

    def _repr_html_(self) -> str:
        start, end = (html.escape(spell_moment(moment, self._zone)) for moment in (self.start, self.end))
        return f"<p>Window from {start} to {end}</p>"


def _first_and_last(first: Day, last: Day) -> tuple[date, date]:
    first, last = as_day(first), as_day(last)
    if last < first:
        msg = f"the last day is before the first ({first} to {last}): write Window.days('{last}', '{first}')"
        raise ValueError(msg)
    return first, last


def check_window(window: object) -> tuple[int, int]:
    """Return the start and the end of a window; TypeError for anything else."""
    if not isinstance(window, Window):
        msg = f"a Window belongs there, not {window!r}: write Window.day('2012-10-03', tz='America/New_York')"
        raise TypeError(msg)
    return window.start, window.end
