"""Time: windows, days of a time zone, filtering and sorting records by it."""

from __future__ import annotations

import heapq
import html
import math
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import count
from numbers import Rational, Real
from operator import attrgetter, index
from typing import TypeAlias, TypeVar

from attrs import field, frozen

from kmexport.days import Day, Zone, as_day, bounds_of_days, find_zone, first_moment
from kmexport.errors import LateRecordError
from kmexport.moments import spell_moment, time_at
from kmexport.records import Alias, Event, PropertySet, Record, check_records

__all__ = ["Moment", "Window", "Zone", "as_timestamp", "find_zone", "in_window", "sort_by_time"]

Moment: TypeAlias = datetime | int | float
_R = TypeVar("_R", bound=Record)


def as_timestamp(moment: Moment) -> int:
    """Unix seconds. A fraction is rounded up: the whole seconds at or after it are the same."""
    seconds = _seconds(moment)
    if not math.isfinite(seconds):
        msg = f"a moment is a finite number of seconds, not {moment!r}"
        raise ValueError(msg)
    return math.ceil(seconds)


def _seconds(moment: object) -> int | float:
    """Unix seconds of an aware datetime, or of a number of any kind (numpy's too)."""
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
    have 23, 24 or 25 hours. They remember their zone in `tz`, which is no part of equality. `window & other` is what
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
        """One day of a zone: from its first moment to the first moment of the next day.

        A day whose midnight does not exist starts when the clock jumps over it; one whose midnight comes
        twice starts at the first. A day that a zone left out (Samoa, 30 December 2011) is an empty window.

        >>> day = Window.day("2012-03-11", "America/New_York")
        >>> (day.end - day.start) // 3600
        23
        """
        return cls.days(day, day, tz)

    @classmethod
    def days(cls, first: Day, last: Day, tz: Zone = "UTC") -> Window:
        """Several days of a zone as one window, the last one included.

        >>> window = Window.days("2012-11-03", "2012-11-05", tz="America/New_York")
        >>> (window.end - window.start) // 3600
        73
        """
        zone = find_zone(tz)
        return cls(*bounds_of_days(*_first_and_last(first, last), zone), tz=zone)

    @classmethod
    def each_day(cls, first: Day, last: Day, tz: Zone = "UTC") -> Iterator[tuple[date, Window]]:
        """Each day of a zone with its window, the last one included.

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
        """The days of a zone that the window is made of; the first and the last may be parts of a day.

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

    def touches(self, first: int, last: int) -> bool:
        """Whether a range that includes both its ends has a second in common with the window.

        >>> Window(10, 20).touches(5, 10), Window(10, 20).touches(20, 30)
        (True, False)
        """
        return first < self.end and last >= self.start and self.start < self.end

    def __contains__(self, moment: object) -> bool:
        if isinstance(moment, Event | PropertySet | Alias):
            moment = moment.timestamp
        return self.start <= _seconds(moment) < self.end

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


def in_window(records: Iterable[_R], window: Window) -> Iterator[_R]:
    """The records inside the window, in their order.

    Holds nothing. Source: the vendor's files hold records of neighbouring days, so each record has to be tested.

    >>> from kmexport import PropertySet
    >>> records = [PropertySet("bob", second) for second in (9, 10, 19, 20)]
    >>> [record.timestamp for record in in_window(records, Window(10, 20))]
    [10, 19]
    """
    start, end = check_window(window)
    check_records(records)
    return (record for record in records if start <= record.timestamp < end)


def check_window(window: object) -> tuple[int, int]:
    """The start and the end of a window; TypeError for anything else."""
    if not isinstance(window, Window):
        msg = f"a Window belongs there, not {window!r}: write Window.day('2012-10-03', tz='America/New_York')"
        raise TypeError(msg)
    return window.start, window.end


def sort_by_time(
    records: Iterable[_R],
    *,
    max_delay: int | None = None,
    on_late: Callable[[_R], object] | None = None,
) -> Iterator[_R]:
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
    >>> in_time = sort_by_time(stream, max_delay=5, on_late=late.append)
    >>> [record.timestamp for record in in_time]
    [10, 11, 12, 20]
    >>> late
    [PropertySet(person='bob', timestamp=13, properties={})]
    """
    check_records(records)
    if max_delay is None:
        if on_late is not None:
            msg = "on_late= needs max_delay=: without it nothing is late"
            raise ValueError(msg)
        return _sort_all(records)
    if max_delay < 0:
        msg = f"max_delay is a number of seconds, 0 or more, not {max_delay}"
        raise ValueError(msg)
    return _sort_stream(records, max_delay, on_late)


def _sort_all(records: Iterable[_R]) -> Iterator[_R]:
    yield from sorted(records, key=attrgetter("timestamp"))


def _sort_stream(records: Iterable[_R], max_delay: int, on_late: Callable[[_R], object] | None) -> Iterator[_R]:
    held: list[tuple[int, int, _R]] = []
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
