"""Records as flat rows: a dict each, or the last value of each property."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, tzinfo
from typing import Any, Final

from kmexport.arguments import check_records
from kmexport.format.names import VENDOR_KEYS, fold_name
from kmexport.records import Alias, Event, PropertySet, Record
from kmexport.windows import Moment, Zone, as_timestamp, find_zone, time_at

_KINDS: Final = {Event: "event", PropertySet: "property_set", Alias: "alias"}
_COLUMNS: Final = frozenset({"kind", "person", "time", "name", "alias"})


def to_rows(records: Iterable[Record], *, tz: Zone | None = None) -> Iterator[dict[str, Any]]:
    """Turn each record into a flat dict: `kind`, `person`, `time`, `name`, `alias`, then its properties as sent.

    `pd.DataFrame(to_rows(records))` is a frame. `kind` is "event", "property_set" or "alias"; `time` an aware datetime,
    in UTC or in the zone `tz`; `name` and `alias` are None where the kind has none. A property with one of these five
    names is put under `property:` and its name, so that nothing is lost.

    Lazy; holds one record. For millions of records `Bucket.to_batches` is much faster. Raises ValueError for an
    unknown zone.

    >>> signup = Event("bob", 1349222400, "signed up", {"plan": "Pro", "name": "Bob"})
    >>> row = next(to_rows([signup], tz="America/New_York"))
    >>> row["time"].isoformat(), row["name"], row["plan"], row["property:name"]
    ('2012-10-02T20:00:00-04:00', 'signed up', 'Pro', 'Bob')
    """
    check_records(records)
    return _rows(records, find_zone("UTC" if tz is None else tz))


def _rows(records: Iterable[Record], zone: tzinfo) -> Iterator[dict[str, Any]]:
    for record in records:
        row: dict[str, Any] = {
            "kind": _KINDS.get(type(record)) or _kind_of(record),
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


def _kind_of(record: object) -> str:
    for known, kind in _KINDS.items():
        if isinstance(record, known):  # of a class that is derived from it
            return kind
    msg = f"records are Event, PropertySet or Alias, not {type(record).__name__}"
    raise TypeError(msg)


def _time(timestamp: int, zone: tzinfo) -> datetime:
    try:
        return time_at(timestamp, zone)
    except (OverflowError, ValueError):  # the first and last hours of the calendar
        return time_at(timestamp)


def latest_properties(records: Iterable[Record], *, before: Moment | None = None) -> dict[str, dict[str, Any]]:
    """Find the last value of each property of each person, by the folded name of the property.

    Events and property sets set properties; the order of the records does not matter, their times do. With `before`
    (an aware datetime or unix seconds), only what was set earlier than that moment counts. Of two values set in the
    same second the first one seen counts, as in `drop_duplicates`. Null sets nothing, and the vendor's own keys (`_d`
    …) are left out. Persons are those of the records: merge identities first.

    Reads all records before it returns. Holds a dict for each person, with the time of each value while it reads: about
    250 bytes for each value. Raises ValueError for a naive datetime.

    >>> from kmexport import PropertySet
    >>> records = [
    ...     PropertySet("bob", 20, {"Plan": "Pro"}),
    ...     PropertySet("bob", 10, {"plan": "Free", "city": "Lima"}),
    ... ]
    >>> latest_properties(records)
    {'bob': {'plan': 'Pro', 'city': 'Lima'}}
    >>> latest_properties(records, before=20)
    {'bob': {'plan': 'Free', 'city': 'Lima'}}
    """
    check_records(records)
    end = None if before is None else as_timestamp(before)
    found: dict[str, dict[str, tuple[int, Any]]] = {}
    for record in records:
        timestamp = record.timestamp
        if end is not None and timestamp >= end:
            continue
        properties = found.setdefault(record.person, {}) if record.properties else {}
        met = set()
        for name, value in record.properties.items():
            folded = fold_name(name)
            if value is None or name in VENDOR_KEYS or folded in met:
                continue
            met.add(folded)
            known = properties.get(folded)
            if known is None or timestamp > known[0]:
                properties[folded] = (timestamp, value)
    return {
        person: {name: value for name, (_, value) in properties.items()}
        for person, properties in found.items()
        if properties
    }
