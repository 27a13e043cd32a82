"""The three kinds of record that an export holds, and dict ⇄ record."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import define, field

from kmexport.format.decoding import (
    DECODE_ERRORS,
    FIRST_TIMESTAMP,
    LAST_TIMESTAMP,
    Head,
    decode_object,
    decode_properties,
)
from kmexport.format.names import fold_name
from kmexport.windows import time_at


class _LazyProperties:
    """The part that all kinds share. A record that was read holds its text until its properties are asked for."""

    __slots__ = ("_text",)

    if TYPE_CHECKING:
        _text: bytes
        person: str
        timestamp: int
        properties: dict[str, Any]
    else:

        def __getattr__(self, name: str) -> Any:
            # Python comes here only where a slot is empty.
            if name != "properties":
                msg = f"{type(self).__name__!r} object has no attribute {name!r}"
                raise AttributeError(msg)
            text = self._text
            if text:
                self.properties = decode_properties(text)
                self._text = b""
            return self.properties

    @property
    def time(self) -> datetime:
        """The moment as an aware datetime in UTC."""
        return time_at(self.timestamp)

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a property, whatever the case of its name, with commas and colons as spaces.

        `default` where there is none, or its value is null. Of two spellings in one record the first counts, as in
        `drop_duplicates`. Source: the vendor does not tell case in names.

        >>> Event("bob", 1349222400, "signed up", {"Plan: Name": "Pro"}).get("plan  name")
        'Pro'
        """
        folded = fold_name(name)
        for key, value in self.properties.items():
            if value is not None and (key == name or fold_name(key) == folded):
                return value
        return default


@define(weakref_slot=False)
class Event(_LazyProperties):
    """A person did something.

    `person` is the identity as the line has it, `timestamp` unix seconds, `name` the event's name as
    read (names compare without case), `properties` every key of the line other than `_p _t _n _p2`, with
    its value as read: the vendor's reserved keys (`_d`, `_c` …) are among them.

    Records that were read keep their line and parse `properties` when they are first asked for: until
    then one costs its line and about 280 bytes, afterwards what a dict costs.

    >>> event = Event("bob@example.com", 1349222400, "signed up", {"plan": "Pro"})
    >>> event.time.isoformat()
    '2012-10-03T00:00:00+00:00'
    >>> event.to_dict()
    {'_p': 'bob@example.com', '_t': 1349222400, '_n': 'signed up', 'plan': 'Pro'}
    """

    person: str
    timestamp: int
    name: str
    properties: dict[str, Any] = field(factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The record under the export's own keys."""
        return {"_p": self.person, "_t": self.timestamp, "_n": self.name, **self.properties}


@define(weakref_slot=False)
class PropertySet(_LazyProperties):
    """Properties of a person, set at a moment: `person`, `timestamp` (unix seconds), `properties`.

    >>> PropertySet("bob@example.com", 1349222400, {"plan": "Pro"}).to_dict()
    {'_p': 'bob@example.com', '_t': 1349222400, 'plan': 'Pro'}
    """

    person: str
    timestamp: int
    properties: dict[str, Any] = field(factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The record under the export's own keys."""
        return {"_p": self.person, "_t": self.timestamp, **self.properties}


@define(weakref_slot=False)
class Alias(_LazyProperties):
    """Two identities are one person, for all time: `person`, `timestamp` (unix seconds), `alias`.

    `properties` holds the vendor's reserved keys where the line has some, so that they survive a round trip.

    >>> Alias("bob@example.com", 1349222400, "qFq2LweZugFNE4o49hLhmRPBW34=").to_dict()
    {'_p': 'bob@example.com', '_t': 1349222400, '_p2': 'qFq2LweZugFNE4o49hLhmRPBW34='}
    """

    person: str
    timestamp: int
    alias: str
    properties: dict[str, Any] = field(factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The record under the export's own keys."""
        return {"_p": self.person, "_t": self.timestamp, "_p2": self.alias, **self.properties}


Record: TypeAlias = Event | PropertySet | Alias


def show_record(record: Record, most: int | None = 1_000) -> str:
    """Return the repr of a record, cut after `most` characters; a shorter form of what has none.

    >>> show_record(PropertySet("bob", 5, {"n": 10**5000}))
    "PropertySet of 'bob'"
    """
    try:
        shown = repr(record)
    except (RecursionError, ValueError):  # nested too deeply; an integer of more digits than Python writes
        shown = f"{type(record).__name__} of {record.person!r}"
    return shown if most is None or len(shown) <= most else f"{shown[:most]}…"


def with_person(record: Record, person: str) -> Record:
    """Copy a record under another identity; properties that were not parsed yet stay unparsed.

    >>> with_person(Alias("a", 1349222400, "b"), "c")
    Alias(person='c', timestamp=1349222400, alias='b')
    """
    copy = object.__new__(type(record))
    copy.person = person
    copy.timestamp = record.timestamp
    if isinstance(record, Event):
        copy.name = record.name  # type: ignore[union-attr]  # of the same class
    elif isinstance(record, Alias):
        copy.alias = record.alias  # type: ignore[union-attr]
    if text := unparsed_line(record):
        copy._text = text
    else:
        copy.properties = dict(record.properties)
    return copy


def unparsed_line(record: Record) -> bytes:
    """Return the text that the record's properties are still to be read from; empty where they are there.

    >>> unparsed_line(Alias("a", 1349222400, "b"))
    b''
    """
    try:
        _PROPERTIES[type(record)](record)
    except AttributeError:
        return record._text
    return b""


# These loops run once a record. Filling the slots here saves the call of __init__ (measured: up to 0.1 µs of 0.8), and
# a list for each block costs no more than a generator frame.


def unparsed_records(heads: list[Head], texts: list[bytes]) -> list[Record]:
    """Make a record of each head; it parses its properties from its text when they are asked for."""
    new = object.__new__
    records: list[Record] = []
    add = records.append
    for head, text in zip(heads, texts, strict=True):
        if (name := head.name) is not None:
            event = new(Event)
            event.person = head.person
            event.timestamp = head.timestamp
            event.name = name
            event._text = text  # type: ignore[misc]  # a slot of the base
            add(event)
        elif (alias := head.alias) is not None:
            link = new(Alias)
            link.person = head.person
            link.timestamp = head.timestamp
            link.alias = alias
            link._text = text  # type: ignore[misc]  # a slot of the base
            add(link)
        else:
            properties = new(PropertySet)
            properties.person = head.person
            properties.timestamp = head.timestamp
            properties._text = text  # type: ignore[misc]  # a slot of the base
            add(properties)
    return records


def parse_full_records(lines: Iterator[bytes]) -> list[Record]:
    """Parse lines into records, with their properties, up to a line that needs a repair.

    Parsing a line whole costs half as much as parsing it in two steps.
    """
    new = object.__new__
    records: list[Record] = []
    first, last = FIRST_TIMESTAMP, LAST_TIMESTAMP
    add = records.append
    try:
        for found in map(decode_object, lines):
            person, timestamp = found.pop("_p"), found.pop("_t")
            if type(person) is not str or type(timestamp) is not int or not first <= timestamp <= last:
                return records
            record: Record
            if (name := found.pop("_n", None)) is not None:
                if type(name) is not str or "_p2" in found:
                    return records
                record = new(Event)
                record.name = name
            elif (alias := found.pop("_p2", None)) is not None:
                if type(alias) is not str:
                    return records
                record = new(Alias)
                record.alias = alias
            else:
                record = new(PropertySet)
            record.person = person
            record.timestamp = timestamp
            record.properties = found
            add(record)
    except (KeyError, *DECODE_ERRORS):
        pass
    return records


# The slots themselves: `record.properties` would parse.
_PROPERTIES = {kind: vars(kind)["properties"].__get__ for kind in (Event, PropertySet, Alias)}
