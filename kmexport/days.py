"""Days of a time zone: when each begins, whatever the clock does at midnight."""

from __future__ import annotations

from bisect import bisect_left
from datetime import date, datetime, timedelta, tzinfo
from typing import TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kmexport.moments import time_at

__all__ = ["Day", "Zone", "as_day", "bounds_of_days", "find_zone", "first_moment"]

Day: TypeAlias = date | str
Zone: TypeAlias = str | tzinfo

_DAY = 86_400  # seconds


def bounds_of_days(first: date, last: date, zone: tzinfo) -> tuple[int, int]:
    """The first unix second of the first day, and that of the day behind the last."""
    try:
        return first_moment(first, zone), first_moment(last + timedelta(days=1), zone)
    except (OverflowError, ValueError) as error:
        msg = f"the days {first} to {last} lie outside the years 1 to 9999"
        raise ValueError(msg) from error


def first_moment(day: date, zone: tzinfo) -> int:
    """The first unix second of a day, or of the next where the zone left the day out.

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
    """A date, of ISO text too; ValueError or TypeError for anything else."""
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
    """A time zone by its IANA name, or as it is; those of pytz by their names. ValueError for an unknown one."""
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
