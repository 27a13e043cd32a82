"""Records by time: those of a window, and in order."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from operator import attrgetter
from typing import TypeVar

from kmexport.arguments import check_records, check_whole
from kmexport.errors import LateRecordError
from kmexport.records import Record
from kmexport.windows import Window, check_window

_R = TypeVar("_R", bound=Record)


def in_window(records: Iterable[_R], window: Window) -> Iterator[_R]:
    """Keep the records inside the window, in their order.

    Holds nothing. Source: the vendor's files hold records of neighbouring days, so each record has to be tested.

    >>> from kmexport import PropertySet
    >>> records = [PropertySet("bob", second) for second in (9, 10, 19, 20)]
    >>> [record.timestamp for record in in_window(records, Window(10, 20))]
    [10, 19]
    """
    start, end = check_window(window)
    check_records(records)
    return (record for record in records if start <= record.timestamp < end)


def sort_by_time(
    records: Iterable[_R],
    *,
    max_delay: int | None = None,
    on_late: Callable[[_R], object] | None = None,
) -> Iterator[_R]:
    """Sort the records by time; those of one second stay in the order in which they came.

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
    check_whole("max_delay", max_delay, 0, "seconds")
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
