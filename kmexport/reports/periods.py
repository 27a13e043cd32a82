"""The hours, days, weeks and months of a zone, and how a row of a query finds the one in which it lies."""

from __future__ import annotations

from bisect import bisect_left
from calendar import monthrange
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import groupby
from typing import Final, Literal, TypeAlias

from attrs import frozen

from kmexport.format.decoding import FIRST_TIMESTAMP
from kmexport.reports.query import END, ask
from kmexport.tables import Facts
from kmexport.windows import Window, Zone, dates_of, find_zone, first_moment, time_at

Every: TypeAlias = Literal["hour", "day", "week", "month"]
Group: TypeAlias = Literal["day", "week", "month"]
GROUPS: Final = ("day", "week", "month")

# Seconds. A bucket of a cohort has this length; a month is 30 days. Source: the vendor's retention report.
LENGTHS: Final[dict[str, int]] = {"hour": 3_600, "day": 86_400, "week": 7 * 86_400, "month": 30 * 86_400}
MANY: Final = 100_000
RUNS_AT_MOST: Final = 64
PLENTY: Final = 1_000  # periods: for more of them, a clock that is years wrong is looked for
GAP: Final = 366  # days without a row
DAYS_AT_MOST: Final = 4_000  # that are made without a look at which of them have rows
_DAY: Final = 86_400
# The day of UTC in which a time lies; the engine divides towards zero, and times before 1970 are negative.
_FIRST_DAY: Final = FIRST_TIMESTAMP // _DAY
_DAY_OF_UTC: Final = f"(epoch_us(time) - {_FIRST_DAY * _DAY}000000) // {_DAY}000000 + {_FIRST_DAY}"
_AROUND: Final[dict[str, int]] = {"hour": 1, "day": 2, "week": 8, "month": 32}  # days that surely hold a whole period


@frozen
class Period:
    """An hour, day, week or month of a zone: its label, and its first second and the one behind its last."""

    label: str
    start: int
    end: int


def check_every(every: str, name: str = "every") -> None:
    if not isinstance(every, str) or every not in LENGTHS:
        msg = f'{name} is "hour", "day", "week" or "month", not {every!r}'
        raise ValueError(msg)


def check_group(group: str) -> None:
    if not isinstance(group, str) or group not in GROUPS:
        msg = f'group is "day", "week" or "month", not {group!r}'
        raise ValueError(msg)


def split_into_periods(window: Window, every: Every, tz: Zone = "UTC") -> list[Period]:
    """Return the periods that make up a window; the first and the last may be parts of one.

    Days have 23, 24 or 25 hours; weeks begin on Monday. Labels are ISO text: "2012-10-03" (a day, or the Monday of a
    week), "2012-10", "2012-10-03 14:00-04:00". Raises ValueError for more than 100,000 periods.

    >>> zone = "America/New_York"
    >>> days = Window.days("2012-11-03", "2012-11-05", zone)
    >>> periods = split_into_periods(days, "week", zone)
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


def split_into_groups(window: Window, group: Group, tz: Zone = "UTC") -> list[Period]:
    """Return the periods that make up a window, the first of them from its own first day: weeks of seven days from it.

    Months begin on the same day of the month, or on the last where a month is shorter. Labels are the first days.
    Source: https://oldsupport.kissmetrics.com/tools/cohort-report.html, whose weeks begin on the range's first day.

    >>> weeks = split_into_groups(Window.days("2012-11-30", "2012-12-08"), "week")
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


@frozen
class PeriodLookup:
    """The way of a row to its period and the period's end: two expressions over its time; None where a join has to.

    The first expression is null for what lies before the first period or after the last.

    The join is with the lists of parameters whose names begin with `name`.
    """

    name: str
    period: str | None = None
    until: str | None = None

    def periods(self) -> str:
        """Return the periods as a table: period, since, until."""
        numbers, starts, ends = (f"unnest(${self.name}_{part}::bigint[])" for part in ("numbers", "starts", "ends"))
        return f"select {numbers} as period, to_timestamp({starts}) as since, to_timestamp({ends}) as until"


@frozen
class Periods:
    """The periods of a report: their labels, how rows find them, and what lies in none of them."""

    labels: list[str]
    lookup: PeriodLookup | None
    is_all: bool = True
    notes: tuple[str, ...] = ()


def find_periods(
    facts: Facts, source: str, params: dict[str, object], *, window: Window | None, every: Every | None, zone: tzinfo
) -> Periods:
    """Put the periods of the window into the params; without a window those from the source's first row to its last."""
    if every is None:
        return Periods([], None)
    check_every(every)
    notes: tuple[str, ...] = ()
    if window is not None:
        periods = split_into_periods(window, every, zone)
    else:
        span, notes = _bulk(facts, source, params, LENGTHS[every])
        periods = _whole_periods(span, every, zone)
    is_all = window is not None or bool(periods and not notes)
    return Periods([period.label for period in periods], _lookup(periods, params, "period"), is_all, notes)


def find_groups(
    facts: Facts, source: str, params: dict[str, object], *, window: Window | None, group: Group, zone: tzinfo
) -> Periods:
    """Put the groups of cohorts into the params: periods from the first day of the window, or of the source."""
    notes: tuple[str, ...] = ()
    if window is None:
        span, notes = _bulk(facts, source, params, LENGTHS[group])
        if span.start == span.end:
            return Periods([], _lookup([], params, "period"))
        day = time_at(span.start, zone).date()
        window = Window(first_moment(day, zone) if day.year > 1 else span.start, span.end)
    periods = split_into_groups(window, group, zone)
    return Periods([period.label for period in periods], _lookup(periods, params, "period"), not notes, notes)


def _bulk(facts: Facts, source: str, params: dict[str, object], length: int) -> tuple[Window, tuple[str, ...]]:
    """Return the window around the source's rows; a very long one without rows that lie years from most others."""
    span = _span(facts, source, params)
    if (span.end - span.start) // length <= PLENTY:
        return span, ()
    query = f"select {_DAY_OF_UTC} as day, count(*) from ({source}) group by day order by day"
    stretches = stretches_of(ask(facts, query, params), GAP)
    largest = max(stretches, key=lambda stretch: stretch[2])
    if len(stretches) == 1:
        return span, ()
    near = f"select * from ({source}) where {_DAY_OF_UTC} between {largest[0]} and {largest[1]}"
    far = [stretch for stretch in stretches if stretch is not largest]
    told = ", ".join(f"{rows:,} of {time_at(first * _DAY):%Y-%m-%d}" for first, _, rows in far[:3])
    more = f" and {len(far) - 3:,} times more" if len(far) > 3 else ""
    note = f"In no row, for years lie between it and most others (a wrong clock?): {told}{more}. Give a window."
    return _span(facts, near, params), (note,)


def last_moment(facts: Facts) -> int:
    """Return the last second of the facts' records, but for those that lie years behind most others (a wrong clock)."""
    records = "kmexport.records where alias is null"
    span = _span(facts, f"select time from {records}", {})
    if span.end - span.start <= GAP * _DAY:
        return span.end - 1 if span.start < span.end else FIRST_TIMESTAMP
    days = f"select {_DAY_OF_UTC} as day, count(*) from {records} group by day order by day"
    _, day, _ = max(stretches_of(ask(facts, days, {}), GAP), key=lambda stretch: stretch[2])
    query = f"select epoch_us(max(time)) // 1000000 from {records} and time < to_timestamp({(day + 1) * _DAY})"
    [(last,)] = ask(facts, query, {})
    return int(last)


def stretches_of(counts: Iterable[tuple[int, int]], gap: int) -> list[tuple[int, int, int]]:
    """Return (first, last, rows) of each stretch of numbers, in their order, in which no `gap` of them is missing.

    >>> stretches_of([(1, 5), (2, 5), (90, 1)], gap=30)
    [(1, 2, 10), (90, 90, 1)]
    """
    found: list[tuple[int, int, int]] = []
    for number, rows in counts:
        if found and number - found[-1][1] <= gap:
            found[-1] = (found[-1][0], number, found[-1][2] + rows)
        else:
            found.append((number, number, rows))
    return found


def _whole_periods(span: Window, every: Every, zone: tzinfo) -> list[Period]:
    """Return the periods that hold a row, from the first to the last: without a window each is whole."""
    if span.start == span.end:
        return []
    more = _AROUND[every] * _DAY
    start = span.start - more if span.start - more > FIRST_TIMESTAMP + _DAY else span.start
    end = span.end + more if span.end + more < END - _DAY else span.end
    around = split_into_periods(Window(start, end), every, zone)
    return [period for period in around if period.start < span.end and period.end > span.start]


def days_shown(window: Window) -> str:
    """Write the first and the last day of a window, or its bounds where these are not whole days."""
    zone = window.tz or UTC
    first, last = dates_of(window, zone)
    if window == Window.days(first, last, zone):
        return f"from {first} to {last}"
    return f"from {time_at(window.start, zone)} to {time_at(window.end, zone)}"


def find_days(facts: Facts, zone: tzinfo, source: str, params: dict[str, object]) -> PeriodLookup:
    """Put the zone's days in which the source has rows into the params.

    Only those: the clock of one phone may be thousands of years away.
    """
    span = _span(facts, source, params)
    in_utc: Sequence[int] = range(span.start // _DAY, -(-span.end // _DAY))
    if len(in_utc) > DAYS_AT_MOST:
        query = f"select distinct {_DAY_OF_UTC} as day from ({source}) order by day"
        in_utc = [day for (day,) in ask(facts, query, params)]
    days: list[Period] = []
    for stretch in _stretches(in_utc):
        days += split_into_periods(stretch, "day", zone)
    if days:  # the first days of the year 1 have no local date everywhere
        days[0] = Period(days[0].label, FIRST_TIMESTAMP, days[0].end)
    return _lookup(days, params, "day")


def _span(facts: Facts, source: str, params: dict[str, object]) -> Window:
    """Return the window from the source's first row to its last."""
    query = f"select epoch_us(min(time)) // 1000000, epoch_us(max(time)) // 1000000 from ({source})"
    [(first, last)] = ask(facts, query, params)
    return Window(first, last + 1) if first is not None else Window(0, 0)


def _stretches(days: Iterable[int]) -> Iterator[Window]:
    """Return windows around days of UTC, a day wider on either side, so that each local day of a row is whole."""
    start = end = None
    for day in days:
        first = max((day - 1) * _DAY, FIRST_TIMESTAMP + 2 * _DAY)
        if start is None or end is None or first > end:
            if start is not None and end is not None:
                yield Window(start, end)
            start = first
        end = min((day + 2) * _DAY, END)
    if start is not None and end is not None:
        yield Window(min(start, end), end)


def _lookup(periods: Sequence[Period], params: dict[str, object], name: str) -> PeriodLookup:
    """Put the periods into the params, and return the shortest way to them.

    Days have 24 hours but for one or two a year, so a few runs of equal lengths say all. With an expression over them a
    funnel of 1 M rows and 90 days takes a fifth less time than with a join.
    """
    params[f"{name}_numbers"] = list(range(len(periods)))
    params[f"{name}_starts"] = [period.start for period in periods]
    params[f"{name}_ends"] = [period.end for period in periods]
    runs = _runs(periods)
    if not 0 < len(runs) <= RUNS_AT_MOST:
        return PeriodLookup(name)
    number = f"case when time < to_timestamp({periods[0].start}) then null"
    until = "case"
    for first, start, length, end in runs:
        nth = f"(epoch_us(time) - {start * 1_000_000}) // {length * 1_000_000}" if end - start > length else "0"
        number += f" when time < to_timestamp({end}) then {first} + {nth}"
        until += f" when time < to_timestamp({end}) then {start} + {length} * ({nth} + 1)"
    return PeriodLookup(name, f"{number} end", f"{until} end")


def _runs(periods: Sequence[Period]) -> list[tuple[int, int, int, int]]:
    """Periods of one length that follow one another: the number of the first, its start, the length, the last's end."""
    runs: list[tuple[int, int, int, int]] = []
    for number, period in enumerate(periods):
        length = period.end - period.start
        if runs and runs[-1][2:] == (length, period.start):
            runs[-1] = (*runs[-1][:3], period.end)
        else:
            runs.append((number, period.start, length, period.end))
    return runs
