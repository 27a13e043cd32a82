"""The rule of duplicates over records, in the vendor's two forms.

Classic: of events with one person, second and name only the first counts; of properties too. So the names that each
second of a person has are held, as a set of numbers; seconds with equal sets share one. Strict compares whole records,
by a digest of their canonical form.

facts/duplicates.py has this rule in SQL, facts/sqlite.py for SQLite, cluster/collections.py over a cluster.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from functools import lru_cache
from itertools import groupby
from typing import Any, Final, Literal, TypeAlias, TypeVar, overload

import msgspec
from attrs import define

from kmexport.arguments import check_records, check_whole
from kmexport.format.encoding import spell
from kmexport.format.names import VENDOR_KEYS, fold_name
from kmexport.records import Alias, Event, PropertySet, Record

_SETS_HELD: Final = 100_000
_MANY: Final = 32  # names at one moment of one person
_R = TypeVar("_R", bound=Record)

Rule: TypeAlias = Literal["classic", "strict"]


def check_rule(rule: object) -> None:
    """Raise ValueError for anything but a rule's name."""
    if rule not in ("classic", "strict"):
        msg = f'rule is "classic" or "strict", not {rule!r}'
        raise ValueError(msg)


@overload
def drop_duplicates(
    records: Iterable[Record],
    *,
    rule: Literal["classic"] = "classic",
    properties: Literal["as_sent"] = "as_sent",
    within: int | None = None,
    events_only: Literal[True],
) -> Iterator[Event]: ...
@overload
def drop_duplicates(
    records: Iterable[_R],
    *,
    rule: Literal["strict"],
    properties: Literal["as_sent"] = "as_sent",
    within: int | None = None,
    events_only: Literal[False] = False,
) -> Iterator[_R]: ...
@overload
def drop_duplicates(
    records: Iterable[_R],
    *,
    rule: Rule = "classic",
    properties: Literal["as_sent", "once"] = "as_sent",
    within: int | None = None,
    events_only: Literal[False] = False,
) -> Iterator[_R | PropertySet]: ...


def drop_duplicates(
    records: Iterable[Record],
    *,
    rule: Rule = "classic",
    properties: Literal["as_sent", "once"] = "as_sent",
    within: int | None = None,
    events_only: bool = False,
) -> Iterator[Any]:
    """Drop duplicates: of records, or of properties, that repeat one another the first counts.

    `rule="classic"`: of events with the same person, second and name the first counts; of properties with the same
    person, second and name the first counts, whatever their values, on whatever record they stand. A property set comes
    out with what is new in it, or not at all. A duplicate event does not come out; what is new in it does, as a
    PropertySet. An event that is kept comes out

    - as it was sent, by default (`properties="as_sent"`): take it for a list of events, and to split events by a
      property;
    - without what an earlier record of that second said (`properties="once"`): take it to add up amounts, for then each
      counts once, as in the vendor's reports.

    `rule="strict"`: two records are one only when person, event name, second, and all property names and values are
    equal. It drops a record whole or keeps it whole.

    Names compare without case, with commas and colons as spaces; of two spellings in one record the first counts under
    classic. Values compare with their case, numbers by their decimal value (1, 1.0 and 10e-1 are equal; "1" is text). A
    null says nothing: it stays on a record that comes out, and makes no duplicate. The vendor's reserved keys (`_d`,
    `_server_timestamp` …) are not properties: they stay on a record that comes out; strict compares them too. Aliases
    pass, since saying one twice changes nothing. Source: https://oldsupport.kissmetrics.com/troubleshooting/detecting-duplicates.html
    (classic), and the vendor's later documentation (strict).

    Persons are compared as they are: merge identities first, or the same event under two identities of one
    person stays twice.

    What was seen is known by fingerprints with a random part, of 81 bits for each person (classic) or 128 for each
    record (strict). Holds about 90 bytes for each person and second, or under strict for each record.
    With `within=` (seconds) it forgets what is older than that, for streams that never end: a duplicate is found when
    it is at most `within` seconds older than the newest record, and at most twice that long is remembered. A record
    dated ahead of its stream makes it forget early. Inputs are never changed.

    `events_only=True` gives the events alone, by the classic rule and as they were sent: the same that come out without
    it, with their properties unparsed. Raises ValueError for an unknown rule, and where `events_only` or
    `properties="once"` meets a rule or form that it contradicts.

    >>> from kmexport import Event, PropertySet
    >>> sent = [
    ...     Event("bob", 1349222400, "signed up", {"plan": "Pro"}),
    ...     Event("bob", 1349222400, "Signed Up", {"plan": "Free", "city": "Paraná"}),
    ...     Event("bob", 1349222400, "billed", {"Plan": "Pro", "amount": 90}),
    ... ]
    >>> list(drop_duplicates(sent))
    [Event(person='bob', timestamp=1349222400, name='signed up', properties={'plan': 'Pro'}),
     PropertySet(person='bob', timestamp=1349222400, properties={'city': 'Paraná'}),
     Event(person='bob', timestamp=1349222400, name='billed', properties={'Plan': 'Pro', 'amount': 90})]
    >>> list(drop_duplicates(sent, properties="once"))[-1]
    Event(person='bob', timestamp=1349222400, name='billed', properties={'amount': 90})
    """
    check_records(records)
    _check_options(rule, properties, within, events_only=events_only)
    stretches = _stretches(records, within)
    if rule == "strict":
        return _drop_strict(stretches)
    if events_only:
        return _first_events(stretches)
    return _drop_classic(stretches, once=properties == "once")


def _check_options(rule: str, properties: str, within: int | None, *, events_only: bool) -> None:
    check_rule(rule)
    if properties not in ("as_sent", "once"):
        msg = f'properties is "as_sent" or "once", not {properties!r}'
        raise ValueError(msg)
    if within is not None:
        check_whole("within", within, 1, "seconds")
    if events_only and rule == "strict":
        msg = "events_only=True never looks at properties, and the strict rule compares them: take one of the two"
        raise ValueError(msg)
    if properties == "once" and (events_only or rule == "strict"):
        other = "events_only=True leaves events" if events_only else "the strict rule leaves records"
        msg = f'properties="once" takes away what was said before, and {other} as they were sent: take one of the two'
        raise ValueError(msg)


_Seen: TypeAlias = frozenset[int] | set[int]
_Memory: TypeAlias = dict[int, _Seen]  # what was seen in each moment of a person

_NOTHING: Final[frozenset[int]] = frozenset()
_SAYS_NOTHING: Final = -1  # a property set without properties is still a record; this stands for its name


def _stretches(records: Iterable[Record], within: int | None) -> Iterator[tuple[_Memory, Iterable[Record]]]:
    """Give the records with their memory: all of them, or each run of those whose times lie in one stretch.

    A stretch is `within` seconds long. The memories of the last two are held.
    """
    if within is None:
        yield {}, records
        return
    held: dict[int, _Memory] = {}
    newest: int | None = None
    for number, run in groupby(records, lambda record: record.timestamp // within):
        if newest is None or number > newest:
            newest = number
            held = {old: memory for old, memory in held.items() if old >= number - 1}
        memory = held.get(number, {})
        if number >= newest - 1:
            held[number] = memory
        yield memory, run


# The classic rule. These loops run once a record. The key of a moment is one integer of 40 bytes: a fingerprint of the
# person in 81 bits, and the second. 64 of them have a random prefix, so nobody can prepare two persons that collide;
# and of a billion persons, a hundred in each second, two collide by chance once in 10^13 exports. Measured: a number
# for each person, which is exact, takes a sixth more time and 150 bytes a person.


def _drop_classic(stretches: Iterable[tuple[_Memory, Iterable[Record]]], *, once: bool) -> Iterator[Record]:
    sets = _NameSets()
    known, prefix = sets.known, _random_prefix()
    for moments, records in stretches:
        for record in records:
            event = None
            if isinstance(record, Event):
                event = record.name
            elif isinstance(record, Alias):
                yield record
                continue
            properties = record.properties
            said = _without_nulls(properties) if None in properties.values() else properties
            own = known.get((event, *said)) or sets.learn(event, said)
            person = record.person
            moment = (((hash(prefix + person) << 17) + (hash(person) & _17_BITS)) << 39) + record.timestamp
            seen = moments.get(moment)
            if seen is None and not own.repeats:
                moments[moment] = own.names
                yield record
                continue
            seen = seen or _NOTHING
            is_kept = event is not None and own.event not in seen
            if own.names <= seen and not is_kept:
                continue
            fresh = properties if is_kept and not once else sets.fresh(properties, seen)
            moments[moment] = sets.add(seen, own.names)
            if len(fresh) == len(properties) and (is_kept or event is None):
                yield record
            elif event is not None and is_kept:
                yield Event(person, record.timestamp, event, fresh)
            else:
                yield PropertySet(person, record.timestamp, fresh)


def _first_events(stretches: Iterable[tuple[_Memory, Iterable[Record]]]) -> Iterator[Event]:
    sets = _NameSets()
    known, prefix = sets.known, _random_prefix()
    for moments, records in stretches:
        for record in records:
            if not isinstance(record, Event):
                continue
            own = known.get((record.name,)) or sets.learn(record.name, {})
            person = record.person
            moment = (((hash(prefix + person) << 17) + (hash(person) & _17_BITS)) << 39) + record.timestamp
            seen = moments.get(moment, _NOTHING)
            if own.event not in seen:
                moments[moment] = sets.add(seen, own.names)
                yield record


_17_BITS: Final = (1 << 17) - 1  # and 39 hold the seconds of the years 1 to 9999


def _random_prefix() -> str:
    return os.urandom(16).hex()


def _without_nulls(properties: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in properties.items() if value is not None}


@define
class _NameIds:
    """The names on a record as numbers: its event's, and all of them; and whether one is there in two spellings."""

    event: int
    names: frozenset[int]
    repeats: bool


class _NameSets:
    """Numbers of names, events' and properties' apart, and sets of them, each held once."""

    def __init__(self) -> None:
        self.known: dict[tuple[str | None, ...], _NameIds] = {}
        self._numbers: dict[tuple[str, bool], int] = {}
        self._sets: dict[frozenset[int], frozenset[int]] = {}

    def learn(self, event: str | None, said: dict[str, Any]) -> _NameIds:
        """Look at names that `known` does not have yet."""
        if len(self.known) >= _SETS_HELD:
            self.known.clear()
        numbers = [self._number(name, is_event=False) for name in said if name not in VENDOR_KEYS]
        own = -1 if event is None else self._number(event, is_event=True)
        names = frozenset(numbers or [_SAYS_NOTHING]) if event is None else frozenset([own, *numbers])
        found = self.known[event, *said] = _NameIds(own, self._shared(names), len(set(numbers)) < len(numbers))
        return found

    def add(self, seen: _Seen, names: frozenset[int]) -> _Seen:
        """Join both. Equal small sets are held once; a large one belongs to one moment, and grows in place."""
        if not seen:
            return names
        if isinstance(seen, set):
            seen |= names
            return seen
        if len(seen) + len(names) > _MANY:
            return {*seen, *names}
        return self._shared(seen | names)

    def fresh(self, properties: dict[str, Any], seen: _Seen) -> dict[str, Any]:
        """Return the new properties, the first spelling of each name; nulls and the vendor's keys stay with them."""
        met: set[int] = set()
        fresh = {}
        for name, value in properties.items():
            if value is not None and name not in VENDOR_KEYS:
                number = self._number(name, is_event=False)
                if number in seen or number in met:
                    continue
                met.add(number)
            fresh[name] = value
        return fresh

    def _shared(self, names: frozenset[int]) -> frozenset[int]:
        if len(self._sets) >= _SETS_HELD:
            self._sets.clear()
        return self._sets.setdefault(names, names)

    def _number(self, name: str, *, is_event: bool) -> int:
        return self._numbers.setdefault((fold_name(name), is_event), len(self._numbers))


# The strict rule.


def _drop_strict(stretches: Iterable[tuple[_Memory, Iterable[Record]]]) -> Iterator[Record]:
    # A random key: nobody can prepare two records that collide in 128 bits.
    keyed = hashlib.blake2b(key=os.urandom(16), digest_size=16)
    for met, records in stretches:
        for record in records:
            if isinstance(record, Alias):
                yield record
                continue
            digest = keyed.copy()
            digest.update(canonical_form(record))
            key = int.from_bytes(digest.digest(), "little")
            if key not in met:
                met[key] = _NOTHING
                yield record


def canonical_form(record: Event | PropertySet) -> bytes:
    """Spell a record so that equal ones have one text: names as they compare, without nulls, numbers by their value.

    >>> canonical_form(PropertySet("bob", 7, {"Plan": "Pro", "amount": 1.50, "city": None}))
    b'["bob",7,null,["amount","plan"],[1.5,"Pro"]]'
    >>> canonical_form(PropertySet("bob", 7, {"amount": Decimal("15e-1"), "plan": "Pro"}))
    b'["bob",7,null,["amount","plan"],[1.5,"Pro"]]'
    """
    name = fold_name(record.name) if isinstance(record, Event) else None
    said = record.properties
    if None in said.values():
        said = _without_nulls(said)
    folded, sent, repeats = _in_order(tuple(said))
    values = [_canonical(said[one]) for one in sent]
    if repeats:
        pairs = sorted(zip(folded, values, strict=True), key=lambda pair: (pair[0], _spell(pair[1])))
        values = [value for _, value in pairs]
    return _spell([record.person, record.timestamp, name, folded, values])


def _spell(parts: object) -> bytes:
    try:
        text = _encode(parts)
    except UnicodeEncodeError:  # half of a surrogate pair
        return spell(parts, sort_keys=True).encode()
    # NaN, which no file holds, would be written as null too.
    return spell(parts, sort_keys=True).encode() if b"null" in text else text


_encode: Final = msgspec.json.Encoder(order="sorted", decimal_format="number").encode


@lru_cache(1 << 14)
def _in_order(names: tuple[str, ...]) -> tuple[list[str], list[str], bool]:
    """Sort names as they compare: give them folded, then as sent, and whether two are spellings of one."""
    pairs = sorted((fold_name(name), name) for name in names)
    folded = [one for one, _ in pairs]
    return folded, [name for _, name in pairs], len(set(folded)) < len(folded)


def _canonical(value: Any) -> Any:
    """Turn each number in a value into the integer or the shortest decimal number that is equal."""
    convert = _CANONICAL.get(type(value))
    return value if convert is None else convert(value)


def _canonical_integer(value: int) -> int | Decimal:
    return value if -_LARGE < value < _LARGE else _canonical_decimal(Decimal(value))


def _canonical_float(value: float) -> int | float | Decimal:
    if not math.isfinite(value):
        return value
    # By its shortest spelling: 0.1 is 0.1, not 0.1000000000000000055….
    return int(value) if value.is_integer() and -_LARGE < value < _LARGE else _canonical_decimal(Decimal(repr(value)))


def _canonical_decimal(value: Decimal) -> int | Decimal:
    if not value.is_finite():
        return value
    if -_LARGE < value < _LARGE and value == (whole := int(value)):
        return whole
    sign, digits, exponent = value.as_tuple()
    last = len(digits)
    while digits[last - 1] == 0:
        last -= 1
    return Decimal((sign, digits[:last], int(exponent) + len(digits) - last))


_LARGE: Final = 1 << 53  # up to it a float holds each integer
_CANONICAL: Final[dict[type, Callable[[Any], Any]]] = {
    int: _canonical_integer,
    float: _canonical_float,
    Decimal: _canonical_decimal,
    list: lambda values: [_canonical(value) for value in values],
    dict: lambda pairs: {name: _canonical(value) for name, value in pairs.items()},
}
