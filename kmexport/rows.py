"""Records → flat dicts, for a table of another tool."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, tzinfo
from typing import Any, Final

from kmexport.moments import time_at
from kmexport.records import Alias, Event, PropertySet, Record
from kmexport.windows import Zone, find_zone

__all__ = ["to_rows"]

_KINDS: Final = {Event: "event", PropertySet: "property_set", Alias: "alias"}
_COLUMNS: Final = frozenset({"kind", "person", "time", "name", "alias"})


def to_rows(records: Iterable[Record], *, tz: Zone | None = None) -> Iterator[dict[str, Any]]:
    """Each record as one flat dict: `kind`, `person`, `time`, `name`, `alias`, then its properties as they were sent.

    `pd.DataFrame(to_rows(records))` is a frame. `kind` is "event", "property_set" or "alias"; `time` an aware datetime,
    in UTC or in the zone `tz`; `name` and `alias` are None where the kind has none. A property that is called like
    one of these five is put under its name with a `property:` before it, so that nothing is lost.

    Lazy; holds one record. For millions of records `Bucket.to_batches` is much faster. Raises ValueError for an
    unknown zone.

    >>> signup = Event("bob", 1349222400, "signed up", {"plan": "Pro", "name": "Bob"})
    >>> row = next(to_rows([signup], tz="America/New_York"))
    >>> row["time"].isoformat(), row["name"], row["plan"], row["property:name"]
    ('2012-10-02T20:00:00-04:00', 'signed up', 'Pro', 'Bob')
    """
    return _rows(records, find_zone("UTC" if tz is None else tz))


def _rows(records: Iterable[Record], zone: tzinfo) -> Iterator[dict[str, Any]]:
    for record in records:
        row: dict[str, Any] = {
            "kind": _KINDS[type(record)],
            "person": record.person,
            "time": _time(record.timestamp, zone),
            "name": record.name if isinstance(record, Event) else None,
            "alias": record.alias if isinstance(record, Alias) else None,
        }
        properties = record.properties
        if _COLUMNS.isdisjoint(properties):
            row.update(properties)
        else:
            for name, value in properties.items():
                key = f"property:{name}" if name in _COLUMNS else name
                while key in row or (key != name and key in properties):
                    key = f"property:{key}"
                row[key] = value
        yield row


def _time(timestamp: int, zone: tzinfo) -> datetime:
    try:
        return time_at(timestamp, zone)
    except (OverflowError, ValueError):  # the first and last hours of the calendar
        return time_at(timestamp)
