"""What is known of each person: the last value of each property."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kmexport.names import VENDOR_KEYS, fold_name
from kmexport.records import Record
from kmexport.windows import Moment, as_timestamp

__all__ = ["latest_properties"]


def latest_properties(records: Iterable[Record], *, before: Moment | None = None) -> dict[str, dict[str, Any]]:
    """For each person, the last value of each property, by the folded name of the property.

    Events and property sets set properties; the order of the records does not matter, their times do. With `before`
    (an aware datetime or unix seconds), only what was set earlier than that moment counts. Of two values set in the
    same second the first one met counts, as in `drop_duplicates`. Null sets nothing, and the vendor's own keys (`_d`
    …) are no properties. Persons are those of the records: merge identities first.

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
