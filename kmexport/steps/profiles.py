"""The profile of an export: names, counts, types and lengths, as one needs them to write a database schema."""

from __future__ import annotations

import html
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import count, islice
from math import isfinite
from typing import Any, Final

from attrs import Factory, define

from kmexport.arguments import check_records
from kmexport.format.names import VENDOR_KEYS, fold_name
from kmexport.records import Alias, Event, Record
from kmexport.windows import write_moment


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
    of the longest value in characters (of other values than strings, of their JSON), `longest_value` that value. Of two
    spellings in one record the first value counts that is not null.
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
    """The result of `profile`. `events` and `properties` are in the order of their counts, the commonest first.
    `vendor_keys` are the vendor's own keys (`_d`, `_server_timestamp` …), which say nothing of a person.

    `kinds` counts the records by class name; `people` is the number of persons who did something or have a property
    (an alias alone makes none); `first` and `last` are unix seconds, None where there was no record.

    Prints as a table, and as an HTML table in a notebook.
    """

    kinds: Counter[str]
    people: int
    first: int | None
    last: int | None
    events: list[EventProfile]
    properties: list[PropertyProfile]
    vendor_keys: list[PropertyProfile]

    def __str__(self) -> str:
        return "\n".join(self._lines())

    __repr__ = __str__

    def _lines(self) -> Iterator[str]:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in self.kinds.most_common())
        yield f"{self.kinds.total():,} records ({kinds}) of {self.people:,} people"
        yield f"{_moment(self.first)} to {_moment(self.last)}"
        for title, table in self._tables():
            yield ""
            widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
            yield title
            for row in table:
                cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
                yield f"  {'  '.join(cells).rstrip()}"

    def _repr_html_(self) -> str:
        head, times, *_ = self._lines()
        parts = [f"<p>{html.escape(head)}<br>{html.escape(times)}</p>"]
        for _, rows in self._tables():
            parts.append("<table>")
            for number, row in enumerate(rows):
                tag = "td" if number else "th"
                cells = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
                parts.append(f"<tr>{cells}</tr>")
            parts.append("</table>")
        return "".join(parts)

    def _tables(self) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
        yield "Events", list(self._event_rows())
        yield "Properties", list(_property_rows("property", self.properties))
        if self.vendor_keys:
            yield "The vendor's own keys", list(_property_rows("key", self.vendor_keys))

    def _event_rows(self) -> Iterator[tuple[str, ...]]:
        yield "event", "count", "first", "last"
        for event in self.events:
            yield event.name, f"{event.count:,}", _moment(event.first), _moment(event.last)


def _property_rows(head: str, properties: list[PropertyProfile]) -> Iterator[tuple[str, ...]]:
    yield head, "count", "types", "longest", "longest value"
    for found in properties:
        types = ", ".join(kind for kind, _ in found.types.most_common())
        value = found.longest_value
        shown = value if len(value) <= 40 else f"{value[:40]}…"
        yield found.name, f"{found.count:,}", types, f"{found.longest:,}", shown


def profile(records: Iterable[Record]) -> Profile:
    """Read all records and tell what they hold.

    Names are grouped as they compare: without case, commas and colons as spaces. People are counted by the identity in
    the record, so merge identities first; a person named only in aliases does not count. Costs one entry for each name
    and each person (about 150 bytes), and holds a thousand records at a time.

    >>> from kmexport import PropertySet
    >>> signup = Event("bob", 1349222400, "signed up", {"plan": "Pro"})
    >>> print(profile([signup, PropertySet("bob", 0, {"plan": 7})]))
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
    check_records(records)
    tally = _Tally()
    records = iter(records)
    for start in count(0, _BLOCK):
        block = list(islice(records, _BLOCK))
        if not block:
            break
        tally.add(start, block)
    return Profile(
        tally.kinds,
        len(tally.people),
        tally.first,
        tally.last,
        *_in_tables(tally.events.values(), tally.columns.values()),
    )


_BLOCK: Final = 1_000  # records whose values are held together


def _in_tables(
    events: Iterable[EventProfile], properties: Iterable[PropertyProfile]
) -> tuple[list[EventProfile], list[PropertyProfile], list[PropertyProfile]]:
    """Sort the events, properties and vendor's keys of a profile, each by count, the commonest first."""
    ranked = sorted(properties, key=_rank)
    own = [one for one in ranked if one.name in VENDOR_KEYS]
    return sorted(events, key=_rank), [one for one in ranked if one.name not in VENDOR_KEYS], own


def _rank(found: EventProfile | PropertyProfile) -> tuple[int, str]:
    return -found.count, found.name


class _Tally:
    """The counts so far. Records come in blocks, for whole columns are counted without a step for each value."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.people: set[str] = set()
        self.first: int | None = None
        self.last: int | None = None
        self.events: dict[str, EventProfile] = {}
        self.columns: dict[tuple[bool, str], PropertyProfile] = {}
        # The place of the longest value (record, place in it): ties go to the first.
        self.places: dict[tuple[bool, str], tuple[int, int]] = {}

    def add(self, start: int, block: list[Record]) -> None:
        events: dict[str, list[int]] = defaultdict(list)
        shapes: dict[tuple[str, ...], list[tuple[Any, ...]]] = defaultdict(list)
        for number, record in enumerate(block, start):
            timestamp = record.timestamp
            if isinstance(record, Event):
                events[record.name].append(timestamp)
            properties = record.properties
            shapes[tuple(properties)].append((number, timestamp, *properties.values()))
        for kind, found in Counter(map(type, block)).items():
            self.kinds[kind.__name__] += found
        self.people.update([record.person for record in block if not isinstance(record, Alias)])
        times = [record.timestamp for record in block]
        self.first = min(times if self.first is None else (self.first, *times))
        self.last = max(times if self.last is None else (self.last, *times))
        for name, occurrences in events.items():
            _add_times(
                self.events.setdefault(fold_name(name), EventProfile(name)),
                len(occurrences), min(occurrences), max(occurrences),
            )  # fmt: skip
        for names, rows in shapes.items():
            numbers, moments, *columns = zip(*rows, strict=True)
            for place, (name, values) in enumerate(_first_spellings(names, columns)):
                self._add_column(name, place, numbers, moments, values)

    def _add_column(
        self, name: str, place: int, numbers: tuple[int, ...], moments: tuple[int, ...], values: tuple[Any, ...]
    ) -> None:
        key = name in VENDOR_KEYS, fold_name(name)
        found = self.columns.get(key)
        if found is None:
            found = self.columns[key] = PropertyProfile(name)
        _add_times(found, len(moments), min(moments), max(moments))
        types = Counter(map(type, values))
        for kind, times in types.items():
            found.types[_TYPES.get(kind, "number")] += times
        lengths = _lengths(values, set(types), found.longest)
        longest = max(lengths, default=0)
        if longest < found.longest:
            return
        at = lengths.index(longest) if lengths else 0
        where = numbers[at], place
        if longest > found.longest or (lengths and where < self.places.get(key, where)):
            found.longest, found.longest_value = longest, _spell_value(values[at])
            self.places[key] = where


def _first_spellings(
    names: tuple[str, ...], columns: Iterable[tuple[Any, ...]]
) -> Iterable[tuple[str, tuple[Any, ...]]]:
    """Join the values of two spellings of a name: of each record the first value that is not null."""
    keys = [(name in VENDOR_KEYS, fold_name(name)) for name in names]
    if len(set(keys)) == len(keys):
        return zip(names, columns, strict=True)
    found: dict[tuple[bool, str], tuple[str, tuple[Any, ...]]] = {}
    for key, name, values in zip(keys, names, columns, strict=True):
        first, before = found.get(key, (name, (None,) * len(values)))
        found[key] = first, tuple(other if one is None else one for one, other in zip(before, values, strict=True))
    return found.values()


def _add_times(found: EventProfile | PropertyProfile, times: int, first: int, last: int) -> None:
    """Count more occurrences, between the first and the last of these unix seconds."""
    found.first = min(found.first, first) if found.count else first
    found.last = max(found.last, last) if found.count else last
    found.count += times


_TYPES: Final[dict[type, str]] = {
    str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null", list: "array", dict: "object"
}  # fmt: skip


def _lengths(values: tuple[Any, ...], types: set[type], longest: int) -> list[int]:
    """Measure each value as it is shown; empty where none can be as long as the longest so far."""
    if types == {str}:
        return list(map(len, values))
    if types == {int}:
        # The longest is the least or the greatest.
        if max(len(str(min(values))), len(str(max(values)))) < longest:
            return []
        return [len(str(value)) for value in values]
    return [len(_spell_value(value)) for value in values]


def _spell_value(value: object) -> str:
    """Spell a value as it is shown: text itself, of anything else its JSON."""
    if isinstance(value, str):
        return value
    if type(value) is float and isfinite(value):
        return repr(value)  # as JSON has it, in a fifth of the time
    return json.dumps(value, ensure_ascii=False, default=str)


def _moment(timestamp: int | None) -> str:
    return "-" if timestamp is None else write_moment(timestamp)
