"""What an export holds: names, counts, types, lengths: what one needs to write a database schema for it."""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TypeVar

from attrs import Factory, define

from kmexport.names import fold_name
from kmexport.records import Event, Record

__all__ = ["EventProfile", "Profile", "PropertyProfile", "commonest_first", "profile", "shown"]


@define
class EventProfile:
    """One event name: as first spelt, how often, and its first and last time (unix seconds)."""

    name: str
    count: int = 0
    first: int = 0
    last: int = 0


@define
class PropertyProfile:
    """One property name: as first spelt, how many records carry it, the JSON types of its values, and their longest.

    `types` counts "string", "integer", "number", "boolean", "null", "array" and "object". `longest` is the length
    of the longest value in characters (of other values than strings, of their JSON), `longest_value` that value.
    """

    name: str
    count: int = 0
    first: int = 0
    last: int = 0
    types: Counter[str] = Factory(Counter)
    longest: int = 0
    longest_value: str = ""


@define(repr=False)
class Profile:
    """What `profile` found. `events` and `properties` are in the order of their counts, the commonest first.

    `kinds` counts the records by class name; `people` is the number of persons; `first` and `last` are unix seconds,
    None where there was no record. Prints as a table, and as an HTML table in a notebook.
    """

    kinds: Counter[str]
    people: int
    first: int | None
    last: int | None
    events: list[EventProfile]
    properties: list[PropertyProfile]

    def __str__(self) -> str:
        return "\n".join(self._lines())

    __repr__ = __str__

    def _lines(self) -> Iterator[str]:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in self.kinds.most_common())
        yield f"{self.kinds.total():,} records ({kinds}) of {self.people:,} people"
        yield f"{_moment(self.first)} to {_moment(self.last)}"
        for title, rows in (("Events", self._event_rows()), ("Properties", self._property_rows())):
            yield ""
            table = [tuple(row) for row in rows]
            widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
            yield title
            for row in table:
                cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
                yield f"  {'  '.join(cells).rstrip()}"

    def _repr_html_(self) -> str:
        head, times, *_ = self._lines()
        parts = [f"<p>{html.escape(head)}<br>{html.escape(times)}</p>"]
        for rows in (self._event_rows(), self._property_rows()):
            parts.append("<table>")
            for number, row in enumerate(rows):
                tag = "td" if number else "th"
                cells = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
                parts.append(f"<tr>{cells}</tr>")
            parts.append("</table>")
        return "".join(parts)

    def _event_rows(self) -> Iterator[tuple[str, ...]]:
        yield "event", "count", "first", "last"
        for event in self.events:
            yield event.name, f"{event.count:,}", _moment(event.first), _moment(event.last)

    def _property_rows(self) -> Iterator[tuple[str, ...]]:
        yield "property", "count", "types", "longest", "longest value"
        for found in self.properties:
            types = ", ".join(kind for kind, _ in found.types.most_common())
            value = found.longest_value
            beginning = value if len(value) <= 40 else f"{value[:40]}…"
            yield found.name, f"{found.count:,}", types, f"{found.longest:,}", beginning


def profile(records: Iterable[Record]) -> Profile:
    """Read all records and tell what they hold.

    Names are grouped as they compare: without case, commas and colons as spaces. People are counted as they come, so
    merge identities first. Costs one entry for each name and each person (about 150 bytes).

    >>> from kmexport import PropertySet
    >>> print(profile([Event("bob", 1349222400, "signed up", {"plan": "Pro"}), PropertySet("bob", 0, {"plan": 7})]))
    2 records (1 Event, 1 PropertySet) of 1 people
    1970-01-01 00:00:00 UTC to 2012-10-03 00:00:00 UTC
    <BLANKLINE>
    Events
      event      count  first                    last
      signed up  1      2012-10-03 00:00:00 UTC  2012-10-03 00:00:00 UTC
    <BLANKLINE>
    Properties
      property  count  types            longest  longest value
      plan      2      string, integer  3        Pro
    """
    kinds: Counter[str] = Counter()
    people: set[str] = set()
    events: dict[str, EventProfile] = {}
    properties: dict[str, PropertyProfile] = {}
    first: int | None = None
    last: int | None = None
    for record in records:
        timestamp = record.timestamp
        kinds[type(record).__name__] += 1
        people.add(record.person)
        first = timestamp if first is None else min(first, timestamp)
        last = timestamp if last is None else max(last, timestamp)
        if isinstance(record, Event):
            _count(events.setdefault(fold_name(record.name), EventProfile(record.name)), timestamp)
        for name, value in record.properties.items():
            found = properties.setdefault(fold_name(name), PropertyProfile(name))
            _count(found, timestamp)
            _measure(found, value)
    return Profile(
        kinds, len(people), first, last, commonest_first(events.values()), commonest_first(properties.values())
    )


_Found = TypeVar("_Found", EventProfile, PropertyProfile)


def _count(found: EventProfile | PropertyProfile, timestamp: int) -> None:
    found.first = timestamp if not found.count else min(found.first, timestamp)
    found.last = timestamp if not found.count else max(found.last, timestamp)
    found.count += 1


_TYPES = {
    str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null", list: "array", dict: "object"
}  # fmt: skip


def _measure(found: PropertyProfile, value: object) -> None:
    found.types[_TYPES.get(type(value), "number")] += 1
    text = shown(value)
    if len(text) > found.longest:
        found.longest, found.longest_value = len(text), text


def shown(value: object) -> str:
    """The text whose length counts: a string as it is, any other value as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def commonest_first(found: Iterable[_Found]) -> list[_Found]:
    """By their counts, those of one count by their names."""
    return sorted(found, key=lambda one: (-one.count, one.name))


def _moment(timestamp: int | None) -> str:
    return "-" if timestamp is None else datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
