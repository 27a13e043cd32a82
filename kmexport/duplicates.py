"""Which records are the same one twice, by the vendor's two rules."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any, Final, Literal, TypeAlias, TypeVar, overload

import msgspec
from attrs import define

from kmexport.format.spelling import spell
from kmexport.names import VENDOR_KEYS, fold_name
from kmexport.records import Alias, Event, PropertySet, Record, check_records

__all__ = ["canonical_form", "drop_duplicates"]

# Above the number of seconds between the years 1 and 9999: person * this + second is a number of its own for each
# pair. Its low bits are the second's, so that neighbours in time are neighbours in a dict, and in the cache.
_SECONDS: Final = 1 << 39
_SHAPES_HELD: Final = 100_000
_MANY: Final = 32  # names at one moment of one person
_encode: Final = msgspec.json.Encoder(order="sorted", decimal_format="number").encode
_R = TypeVar("_R", bound=Record)


@overload
def drop_duplicates(
    records: Iterable[Record],
    *,
    rule: Literal["classic"] = "classic",
    within: int | None = None,
    events_only: Literal[True],
) -> Iterator[Event]: ...
@overload
def drop_duplicates(
    records: Iterable[_R],
    *,
    rule: Literal["strict"],
    within: int | None = None,
    events_only: Literal[False] = False,
) -> Iterator[_R]: ...
@overload
def drop_duplicates(
    records: Iterable[_R],
    *,
    rule: Literal["classic", "strict"] = "classic",
    within: int | None = None,
    events_only: Literal[False] = False,
) -> Iterator[_R | PropertySet]: ...


def drop_duplicates(
    records: Iterable[Record],
    *,
    rule: Literal["classic", "strict"] = "classic",
    within: int | None = None,
    events_only: bool = False,
) -> Iterator[Any]:
    """The records without those that came before: the first one met is kept.

    `rule="classic"`: two events with the same person, name and time are one event; two properties with the same
    person, name and time are one property, whatever their values. A property set that keeps only some of its
    properties comes out with those. A property of a duplicate event that is new at that person and second comes
    out as a PropertySet; an event that is kept keeps all of its properties. `rule="strict"`: two records are one
    only when person, event name, time, and all property names and values are equal. Names compare without case, with
    commas and colons as spaces; values exactly (1, 1.0 and "1" differ). The vendor's reserved keys (`_d`,
    `_server_timestamp` …) never make a property set of their own; strict compares them too. Aliases pass: saying
    one twice changes nothing. Source: the export's own documentation (classic), and the vendor's later one (strict).

    Persons are compared as they are: merge identities first, or the same event under two identities of one
    person stays twice.

    Exact. Holds, for classic, about 75 bytes for each person and second (all names met there share them) and
    150 for each person; for strict, about 90 for each record. With `within=` (seconds) it forgets what is older
    than that, for streams that never end: a duplicate is found when it is at most `within` seconds older than the
    newest record, and at most twice that long is remembered. A record dated ahead of its stream makes it forget
    early. Inputs are never changed.

    `events_only=True` gives the events alone, by the classic rule: the same that come out without it, with their
    properties unparsed. Raises ValueError for an unknown rule, and for `events_only` with strict, which compares
    properties.

    >>> from kmexport import Event, PropertySet
    >>> list(drop_duplicates([
    ...     Event("bob", 1349222400, "signed up", {"plan": "Pro"}),
    ...     Event("bob", 1349222400, "Signed Up", {"plan": "Free", "city": "Paraná"}),
    ... ]))
    [Event(person='bob', timestamp=1349222400, name='signed up', properties={'plan': 'Pro'}),
     PropertySet(person='bob', timestamp=1349222400, properties={'city': 'Paraná'})]
    """
    check_records(records)
    if rule not in ("classic", "strict"):
        msg = f'rule is "classic" or "strict", not {rule!r}'
        raise ValueError(msg)
    if within is not None and within < 1:
        msg = f"within is a number of seconds, 1 or more, not {within}"
        raise ValueError(msg)
    if events_only:
        if rule == "strict":
            msg = "events_only=True never looks at properties, and the strict rule compares them: take one of the two"
            raise ValueError(msg)
        return _first_events(records, within)
    if rule == "strict":
        return _drop_strict(records, within)
    return _drop_classic(records, within)


def _drop_classic(records: Iterable[Record], within: int | None) -> Iterator[Record]:
    names = _Names()
    shapes = names.shapes
    slices = _Slices(within)
    if within is None:
        moments, people = slices.at(0)
    for record in records:
        event = None
        if isinstance(record, Event):
            event = record.name
        elif isinstance(record, Alias):
            yield record
            continue
        properties = record.properties
        shape = shapes.get((event, *properties)) or names.shape(event, properties)
        timestamp = record.timestamp
        if within is not None:
            moments, people = slices.at(timestamp)
        # One integer says person and second exactly, in 32 bytes.
        try:
            person = people[record.person]
        except KeyError:
            person = people[record.person] = len(people)
        moment = person * _SECONDS + timestamp
        seen = moments.get(moment)
        if seen is None and not shape.repeats:
            moments[moment] = shape.numbers
            yield record
        elif event is not None and (seen is None or shape.event not in seen):
            moments[moment] = names.joined(seen, shape.numbers)
            yield record
        elif not shape.numbers <= (seen or _NOTHING):
            fresh = names.fresh(properties, seen or _NOTHING)
            moments[moment] = names.joined(seen, shape.numbers)
            is_whole = event is None and len(fresh) == len(properties)
            yield record if is_whole else PropertySet(record.person, timestamp, fresh)


def _first_events(records: Iterable[Record], within: int | None) -> Iterator[Event]:
    names = _Names()
    singles: dict[str, tuple[int, frozenset[int]]] = {}
    slices = _Slices(within)
    moments, people = slices.at(0) if within is None else ({}, {})
    for record in records:
        if within is not None and not isinstance(record, Alias):
            moments, people = slices.at(record.timestamp)  # a property set's time makes it forget as well
        if not isinstance(record, Event):
            continue
        number, single = singles.get(record.name) or names.single(record.name, singles)
        try:
            person = people[record.person]
        except KeyError:
            person = people[record.person] = len(people)
        moment = person * _SECONDS + record.timestamp
        seen = moments.get(moment)
        if seen is None or number not in seen:
            moments[moment] = names.joined(seen, single)
            yield record


_Seen: TypeAlias = frozenset[int] | set[int]

_NOTHING: Final[frozenset[int]] = frozenset()
_SETS_NOTHING: Final = -2  # a property set without properties is still a record; this stands for its name


@define
class _Shape:
    """The names on a record: the event's number, the numbers of all, and whether a property set says one twice."""

    event: int
    numbers: frozenset[int]
    repeats: bool


class _Names:
    """Names as numbers: an event has an even one, a property an odd one. Records of one shape share one set of them."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[str, bool], int] = {}
        self.shapes: dict[tuple[str | None, ...], _Shape] = {}
        self.sets: dict[frozenset[int], frozenset[int]] = {}

    def shape(self, event: str | None, properties: dict[str, Any]) -> _Shape:
        if len(self.shapes) >= _SHAPES_HELD:
            self.shapes.clear()
        return self.shapes.setdefault((event, *properties), self._new_shape(event, properties))

    def _new_shape(self, event: str | None, properties: dict[str, Any]) -> _Shape:
        numbers = [self.property(name) for name in properties if name not in VENDOR_KEYS]
        repeats = event is None and len(set(numbers)) < len(numbers)
        if event is not None:
            number = self._number(event, is_event=True)
            return _Shape(number, self.shared(frozenset([number, *numbers])), repeats)
        return _Shape(-1, self.shared(frozenset(numbers or [_SETS_NOTHING])), repeats)

    def single(self, event: str, singles: dict[str, tuple[int, frozenset[int]]]) -> tuple[int, frozenset[int]]:
        if len(singles) >= _SHAPES_HELD:
            singles.clear()
        number = self._number(event, is_event=True)
        found = singles[event] = (number, self.shared(frozenset([number])))
        return found

    def fresh(self, properties: dict[str, Any], seen: AbstractSet[int]) -> dict[str, Any]:
        """The properties that are new, and the vendor's reserved keys beside them."""
        met = set()
        fresh = {}
        for name, value in properties.items():
            if name in VENDOR_KEYS:
                fresh[name] = value
                continue
            number = self.property(name)
            if number not in seen and number not in met:
                fresh[name] = value
                met.add(number)
        return fresh

    def joined(self, seen: _Seen | None, numbers: frozenset[int]) -> _Seen:
        """Both. A few are shared by all who have the same; many belong to one, and are added to where they are."""
        if seen is None:
            return numbers
        if isinstance(seen, set):
            seen |= numbers
            return seen
        if len(seen) + len(numbers) > _MANY:
            return {*seen, *numbers}
        return self.shared(seen | numbers)

    def property(self, name: str) -> int:
        return self._number(name, is_event=False)

    def shared(self, numbers: frozenset[int]) -> frozenset[int]:
        if len(self.sets) >= _SHAPES_HELD:
            self.sets.clear()
        return self.sets.setdefault(numbers, numbers)

    def _number(self, name: str, *, is_event: bool) -> int:
        return self.numbers.setdefault((fold_name(name), is_event), len(self.numbers))


class _Slices:
    """What was met, in slices of time; without `within` there is one, and nothing is forgotten."""

    def __init__(self, within: int | None) -> None:
        self.within = within
        self.slices: dict[int, tuple[dict[int, _Seen], dict[str, int]]] = {}
        self.newest: int | None = None

    def at(self, timestamp: int) -> tuple[dict[int, _Seen], dict[str, int]]:
        number = timestamp // self.within if self.within is not None else 0
        found = self.slices.get(number)
        if found is not None:
            return found
        if self.newest is None or number > self.newest:
            self.newest = number
            self.slices = {old: met for old, met in self.slices.items() if old >= number - 1}
        found = ({}, {})
        if number >= self.newest - 1:
            self.slices[number] = found
        return found


def _drop_strict(records: Iterable[Record], within: int | None) -> Iterator[Record]:
    # A random key: nobody can prepare two records that meet in 128 bits.
    keyed = hashlib.blake2b(key=os.urandom(16), digest_size=16)
    slices = _Slices(within)
    for record in records:
        if isinstance(record, Alias):
            yield record
            continue
        digest = keyed.copy()
        digest.update(canonical_form(record))
        key = int.from_bytes(digest.digest(), "little")
        met, _ = slices.at(record.timestamp)
        if key not in met:
            met[key] = _NOTHING
            yield record


def canonical_form(record: Event | PropertySet) -> bytes:
    """One text for equal records, and different ones for records that differ in anything but the case of names."""
    name = fold_name(record.name) if isinstance(record, Event) else None
    properties = sorted((fold_name(name), name, value) for name, value in record.properties.items())
    parts = [record.person, record.timestamp, name, [(folded, value) for folded, _, value in properties]]
    try:
        text = _encode(parts)
    except UnicodeEncodeError:  # half of a surrogate pair
        return spell(parts, sort_keys=True).encode()
    # NaN, which no file holds, would be written as null too.
    return spell(parts, sort_keys=True).encode() if b"null" in text else text
