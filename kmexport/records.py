"""The three kinds of record that an export holds, and dict ⇄ record."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import msgspec
from attrs import define, field

from kmexport.parsing import RESERVED, has_doubled_octal, hide_doubled_octal, read_properties

__all__ = ["Alias", "Event", "PropertySet", "Record", "dump_records"]


_encode = msgspec.json.Encoder(decimal_format="number").encode


class _Read:
    """What the kinds share. A record that was read holds its text until its properties are asked for."""

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
                self.properties = read_properties(text)
                self._text = b""
            return self.properties

    @property
    def time(self) -> datetime:
        """The moment as an aware datetime in UTC."""
        return datetime.fromtimestamp(self.timestamp, UTC)


@define(weakref_slot=False)
class Event(_Read):
    """A person did something.

    `person` is the identity as it stands in the line, `timestamp` unix seconds, `name` the event's name as
    read (names compare without case), `properties` every key of the line other than `_p _t _n _p2`, with
    its value as read: the vendor's reserved keys (`_d`, `_c` …) are among them.

    Records that were read keep their line and parse `properties` when they are first asked for: until
    then one costs its line and about 120 bytes, afterwards what a dict costs.

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
class PropertySet(_Read):
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
class Alias(_Read):
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


def under_person(record: Record, person: str) -> Record:
    """A copy under another identity; properties that were not parsed yet stay unparsed.

    >>> under_person(Alias("a", 1349222400, "b"), "c")
    Alias(person='c', timestamp=1349222400, alias='b')
    """
    copy = object.__new__(type(record))
    copy.person = person
    copy.timestamp = record.timestamp
    if isinstance(record, Event):
        copy.name = record.name  # type: ignore[union-attr]  # of the same class
    elif isinstance(record, Alias):
        copy.alias = record.alias  # type: ignore[union-attr]
    try:
        # The slot itself: `record.properties` would parse them.
        copy.properties = dict(_PROPERTIES[type(record)](record))
    except AttributeError:
        copy._text = record._text
    return copy


_PROPERTIES = {kind: vars(kind)["properties"].__get__ for kind in (Event, PropertySet, Alias)}


def dump_records(records: Iterable[Record], file: IO[bytes]) -> int:
    r"""Write records to a binary file as the export's own JSON Lines, and return how many.

    What is read, dumped and read again is equal: integers of any size keep their digits. The vendor's JSON
    import reads the result. Holds one record at a time.

    Raises ValueError for what the format can't say (NaN, a value of another type than JSON's, a property
    named `_p`, `_t`, `_n` or `_p2`); what was written before it stays written.

    >>> import io
    >>> file = io.BytesIO()
    >>> dump_records([Event("bob", 1349222400, "signed up", {"city": "Paraná"})], file)
    1
    >>> file.getvalue().decode()
    '{"_p":"bob","_t":1349222400,"_n":"signed up","city":"Paraná"}\n'
    """
    count = 0
    for record in records:
        file.write(_as_line(record))
        count += 1
    return count


def _as_line(record: Record) -> bytes:
    clash = [key for key in RESERVED if key in record.properties]
    if clash:
        msg = f"a property can't be named {clash[0]}: the export keeps that key for itself ({record!r})"
        raise ValueError(msg)
    found = record.to_dict()
    try:
        _check(found)
    except TypeError as error:
        msg = f"the export has no form for this record ({error}): {record!r}"
        raise ValueError(msg) from error
    try:
        text = _encode(found)
    except UnicodeEncodeError:  # a lone surrogate goes back as the escape that it came from
        text = _spell(found).encode()
    return (hide_doubled_octal(text) if has_doubled_octal(text) else text) + b"\n"


def _check(value: object) -> None:
    if isinstance(value, str | int | None):
        return
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                msg = f"the key {key!r} is no string"
                raise TypeError(msg)
            _check(item)
    elif isinstance(value, list):
        for item in value:
            _check(item)
    elif not (value.is_finite() if isinstance(value, Decimal) else isinstance(value, float) and math.isfinite(value)):
        msg = f"{value!r} is no JSON value"
        raise TypeError(msg)


def _spell(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_spell(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_spell, value)) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value)
