"""The hours, days, weeks and months of a zone that a window is made of."""

from __future__ import annotations

from bisect import bisect_left
from calendar import monthrange
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Final, Literal, TypeAlias

from attrs import frozen

from kmexport.windows import Window, Zone, find_zone, first_moment, time_at

Every: TypeAlias = Literal["hour", "day", "week", "month"]
Group: TypeAlias = Literal["day", "week", "month"]
GROUPS: Final = ("day", "week", "month")

# Seconds. A bucket of a cohort has this length; a month is 30 days. Source: the vendor's retention report.
LENGTHS: Final[dict[str, int]] = {"hour": 3_600, "day": 86_400, "week": 7 * 86_400, "month": 30 * 86_400}
MANY: Final = 100_000


@frozen
class Period:
    """An hour, day, week or month of a zone: its label, and its first second and the one behind its last."""

    label: str
    start: int
    end: int


def check_every(every: str, name: str = "every") -> None:
    if every not in LENGTHS:
        msg = f'{name} is "hour", "day", "week" or "month", not {every!r}'
        raise ValueError(msg)


def check_group(group: str) -> None:
    if group not in GROUPS:
        msg = f'group is "day", "week" or "month", not {group!r}'
        raise ValueError(msg)


def split(window: Window, every: Every, tz: Zone = "UTC") -> list[Period]:
    """The periods that make up a window; the first and the last may be parts of one.

    Days have 23, 24 or 25 hours; weeks begin on Monday. Labels are ISO text: "2012-10-03" (a day, or the Monday of a
    week), "2012-10", "2012-10-03 14:00-04:00". Raises ValueError for more than 100,000 periods.

    >>> zone = "America/New_York"
    >>> periods = split(Window.days("2012-11-03", "2012-11-05", zone), "week", zone)
    >>> [(period.label, (period.end - period.start) / 3600) for period in periods]
    [('2012-10-29', 49.0), ('2012-11-05', 24.0)]
    """
    check_every(every)
    if (window.end - window.start) // LENGTHS[every] > MANY:
        msg = f"the window has more than {MANY:,} periods of one {every}: take a shorter window, or longer periods"
        raise ValueError(msg)
    days = ((_local(day.start, tz).date(), day) for day in window.split_by_days(tz))
    if every == "hour":
        return [hour for _, day in days for hour in _hours(day, tz)]
    return [
        Period(label, parts[0].start, parts[-1].end)
        for label, group in groupby(days, lambda day: _label(day[0], every))
        for parts in [[part for _, part in group]]
    ]


def split_from_start(window: Window, group: Group, tz: Zone = "UTC") -> list[Period]:
    """Return the periods that make up a window, the first of them from its own first day: weeks of seven days from it.

    Months begin on the same day of the month, or on the last where a month is shorter. Labels are the first days.
    Source: https://oldsupport.kissmetrics.com/tools/cohort-report.html, whose weeks begin on the range's first day.

    >>> weeks = split_from_start(Window.days("2012-11-30", "2012-12-08"), "week")
    >>> [(week.label, (week.end - week.start) // 86_400) for week in weeks]
    [('2012-11-30', 7), ('2012-12-07', 2)]
    """
    check_group(group)
    if (window.end - window.start) // LENGTHS[group] > MANY:
        msg = f"the window has more than {MANY:,} periods of one {group}: take a shorter window, or longer periods"
        raise ValueError(msg)
    zone = find_zone(tz)
    first = _local(window.start, zone).date()
    periods: list[Period] = []
    day, start = first, window.start
    while start < window.end:
        later = _later(first, group, len(periods) + 1) if group != "day" else day + timedelta(days=1)
        end = min(max(first_moment(later, zone), start), window.end)
        if end > start or group != "day":  # a zone left a day out
            periods.append(Period(day.isoformat(), start, end))
        day, start = later, end
    return periods


def _later(first: date, group: Group, count: int) -> date:
    if group == "week":
        return first + timedelta(weeks=count)
    years, month = divmod(first.month - 1 + count, 12)
    year = first.year + years
    return date(year, month + 1, min(first.day, monthrange(year, month + 1)[1]))


def _label(day: date, every: Every) -> str:
    if every == "week":
        return (day - timedelta(days=day.weekday())).isoformat()
    return day.isoformat() if every == "day" else day.isoformat()[:7]


def _hours(day: Window, tz: Zone) -> Iterator[Period]:
    start = day.start
    while start < day.end:
        local = _local(start, tz)
        end = min(start + 3_600 - local.minute * 60 - local.second, day.end)
        if _local(end - 1, tz).utcoffset() != local.utcoffset():  # the clock changes inside the hour: it ends there
            moments = range(start, end)
            offset = local.utcoffset()
            end = moments[bisect_left(moments, True, key=lambda moment: _local(moment, tz).utcoffset() != offset)]
        label = local.isoformat(" ", "minutes")
        yield Period(f"{label[:14]}00{label[16:]}", start, end)
        start = end


def _local(moment: int, tz: Zone) -> datetime:
    return time_at(moment, find_zone(tz))
