"""Time: windows, days of a time zone, filtering and sorting records by it."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, timedelta, tzinfo
from itertools import count
from operator import attrgetter
from typing import Any, Protocol, overload
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from attrs import field, frozen

from kmexport.errors import LateRecordError
from kmexport.records import Record

__all__ = ["Window", "in_window", "sort_by_time"]

Moment = datetime | int | float
Day = date | str
Zone = str | tzinfo


def _as_timestamp(moment: Moment) -> int:
    """Unix seconds. A fraction is rounded up: the whole seconds at or after it are the same."""
    if isinstance(moment, datetime):
        moment = _seconds(moment)
    if isinstance(moment, bool) or not isinstance(moment, int | float):
        msg = (
            f"a moment is an aware datetime or unix seconds, not {moment!r}: "
            "write Window.day(date, tz=...) or Window.days(first, last, tz=...) for days"
        )
        raise TypeError(msg)
    if not math.isfinite(moment):
        msg = f"a moment is a finite number of seconds, not {moment!r}"
        raise ValueError(msg)
    return math.ceil(moment)


def _seconds(moment: datetime) -> float:
    if moment.tzinfo is None:
        msg = (
            f"{moment.isoformat()} has no time zone: write datetime(..., tzinfo=ZoneInfo('America/New_York')), "
            f"or Window.day('{moment.date()}', tz='America/New_York') for a whole day"
        )
        raise ValueError(msg)
    return moment.timestamp()


class _SplitByDays(Protocol):
    def __call__(self, tz: Zone = "UTC") -> list[Window]: ...


class _FromDays(Protocol):
    def __call__(self, first: Day, last: Day, tz: Zone = "UTC") -> Window: ...


class _Days:
    """`Window.days(first, last)` makes a window of days; `window.days(tz)` splits one into its days."""

    @overload
    def __get__(self, window: None, owner: type[Window]) -> _FromDays: ...
    @overload
    def __get__(self, window: Window, owner: type[Window]) -> _SplitByDays: ...
    def __get__(self, window: Window | None, owner: type[Window]) -> Any:
        return _window_of_days if window is None else window._split_by_days


@frozen
class Window:
    """A half-open stretch of time: `start` is in it, `end` is not; both unix seconds.

    `Window(start, end)` takes aware datetimes or unix seconds. `Window.day(date, tz)` and
    `Window.days(first, last, tz)` (the last day included) take days of any IANA zone, as dates or ISO text: such days
    have 23, 24 or 25 hours. `window.days(tz)` splits a window into the days of a zone. Raises ValueError
    for a naive datetime, a reversed window and an unknown zone.

    >>> day = Window.day("2012-10-03", tz="America/New_York")
    >>> day
    Window(start=1349236800, end=1349323200)
    >>> day.start in day, day.end in day
    (True, False)
    >>> [(part.end - part.start) // 3600 for part in Window.days("2012-11-03", "2012-11-05", "America/New_York").days()]
    [20, 24, 24, 5]
    >>> [(part.end - part.start) // 3600 for part in Window.days("2012-11-03", "2012-11-05", "America/New_York").days(
    ...     "America/New_York")]
    [24, 25, 24]
    """

    start: int = field(converter=_as_timestamp)
    end: int = field(converter=_as_timestamp)

    def __attrs_post_init__(self) -> None:
        if self.end < self.start:
            msg = (
                f"the window ends before it starts ({self.start} to {self.end}): write Window({self.end}, {self.start})"
            )
            raise ValueError(msg)

    days = _Days()

    @classmethod
    def day(cls, day: Day, tz: Zone = "UTC") -> Window:
        """One day of a zone: from its first moment to the first moment of the next day.

        A day whose midnight does not exist starts when the clock jumps over it; one whose midnight comes
        twice starts at the first. A day that a zone left out (Samoa, 30 December 2011) is an empty window.

        >>> [(w.end - w.start) // 3600 for w in (
        ...     Window.day("2012-03-11", "America/New_York"), Window.day("2018-11-04", "America/Sao_Paulo"))]
        [23, 23]
        """
        return _window_of_days(day, day, tz)

    def __contains__(self, moment: object) -> bool:
        if isinstance(moment, datetime):
            moment = _seconds(moment)
        return isinstance(moment, int | float) and self.start <= moment < self.end

    def touches(self, first: int, last: int) -> bool:
        """Whether a range that includes both its ends has a second in common with the window.

        >>> Window(10, 20).touches(5, 10), Window(10, 20).touches(20, 30)
        (True, False)
        """
        return first < self.end and last >= self.start and self.start < self.end

    def _split_by_days(self, tz: Zone = "UTC") -> list[Window]:
        zone = find_zone(tz)
        try:
            day = datetime.fromtimestamp(self.start, zone).date()
        except (OverflowError, ValueError) as error:
            msg = f"the window starts outside the years 1 to 9999 of {tz}"
            raise ValueError(msg) from error
        parts = []
        start = self.start
        while start < self.end:
            try:
                day += timedelta(days=1)
                end = min(_first_moment(day, zone), self.end)
            except (OverflowError, ValueError):  # it was the last day that there is
                end = self.end
            if end > start:
                parts.append(Window(start, end))
                start = end
        return parts


def _window_of_days(first: Day, last: Day, tz: Zone = "UTC") -> Window:
    zone = find_zone(tz)
    first, last = _day(first), _day(last)
    if last < first:
        msg = f"the last day is before the first ({first} to {last}): write Window.days('{last}', '{first}')"
        raise ValueError(msg)
    try:
        return Window(_first_moment(first, zone), _first_moment(last + timedelta(days=1), zone))
    except (OverflowError, ValueError) as error:
        msg = f"the days {first} to {last} lie outside the years 1 to 9999"
        raise ValueError(msg) from error


def _first_moment(day: date, zone: tzinfo) -> int:
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    moment = int(midnight.timestamp())
    if datetime.fromtimestamp(moment, zone).replace(tzinfo=None) == midnight.replace(tzinfo=None):
        return moment
    # The clock jumped over midnight: with fold=1 the moment is computed by the offset after the jump, so it
    # lies before the jump, as the other lies at it or after it.
    before = int(midnight.replace(fold=1).timestamp())
    moments = range(before, moment + 1)
    return moments[bisect_left(moments, day, key=lambda second: datetime.fromtimestamp(second, zone).date())]


def _day(day: Day) -> date:
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
    """A zone by its IANA name, or as it is given; ValueError for an unknown one."""
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


def in_window(records: Iterable[Record], window: Window) -> Iterator[Record]:
    """The records inside the window, in their order.

    Holds nothing. Source: the vendor's files hold records of neighbouring days, so each record has to be tested.

    >>> from kmexport import PropertySet
    >>> [record.timestamp for record in in_window([PropertySet("bob", t) for t in (9, 10, 19, 20)], Window(10, 20))]
    [10, 19]
    """
    start, end = check_window(window)
    return (record for record in records if start <= record.timestamp < end)


def check_window(window: object) -> tuple[int, int]:
    """The start and the end of a window; TypeError for anything else."""
    if not isinstance(window, Window):
        msg = f"a Window belongs there, not {window!r}: write Window.day('2012-10-03', tz='America/New_York')"
        raise TypeError(msg)
    return window.start, window.end


def sort_by_time(
    records: Iterable[Record],
    *,
    max_delay: int | None = None,
    on_late: Callable[[Record], object] | None = None,
) -> Iterator[Record]:
    """The records in the order of their time; those of the same second stay in the order in which they came.

    Without `max_delay` all are held in memory before the first comes out. With it, a stream is sorted: a record
    comes out as soon as one came that is `max_delay` seconds newer, and only the records of that many seconds are
    held. A record that comes later than that raises LateRecordError, or is passed to `on_late` and left out:
    never out of order.

    >>> from kmexport import PropertySet
    >>> stream = [PropertySet("bob", second) for second in (10, 12, 11, 20, 13)]
    >>> [record.timestamp for record in sort_by_time(stream)]
    [10, 11, 12, 13, 20]
    >>> late = []
    >>> [record.timestamp for record in sort_by_time(stream, max_delay=5, on_late=late.append)], late
    ([10, 11, 12, 20], [PropertySet(person='bob', timestamp=13, properties={})])
    """
    if max_delay is None:
        if on_late is not None:
            msg = "on_late= needs max_delay=: without it nothing is late"
            raise ValueError(msg)
        return _sort_all(records)
    if max_delay < 0:
        msg = f"max_delay is a number of seconds, 0 or more, not {max_delay}"
        raise ValueError(msg)
    return _sort_stream(records, max_delay, on_late)


def _sort_all(records: Iterable[Record]) -> Iterator[Record]:
    yield from sorted(records, key=attrgetter("timestamp"))


def _sort_stream(
    records: Iterable[Record], max_delay: int, on_late: Callable[[Record], object] | None
) -> Iterator[Record]:
    held: list[tuple[int, int, Record]] = []
    arrival = count()
    newest: int | None = None
    for record in records:
        timestamp = record.timestamp
        if newest is None or timestamp > newest:
            newest = timestamp
        if timestamp < newest - max_delay:
            if on_late is None:
                raise LateRecordError(record, newest - timestamp, max_delay)
            on_late(record)
            continue
        heapq.heappush(held, (timestamp, next(arrival), record))
        while held and held[0][0] <= newest - max_delay:
            yield heapq.heappop(held)[2]
    while held:
        yield heapq.heappop(held)[2]
