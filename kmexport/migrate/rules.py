"""The limits of a target as one table, the checks that read it, and the error for a record that it can't take."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal
from reprlib import repr as shown
from typing import Any, Final, TypeAlias

from attrs import define, frozen

from kmexport.errors import KmExportError
from kmexport.format.decoding import FIRST_TIMESTAMP, LAST_TIMESTAMP
from kmexport.format.names import VENDOR_KEYS, fold_name
from kmexport.records import Alias, Event, Record
from kmexport.revisions.manifest import quoted
from kmexport.windows import spell_moment

Spelling: TypeAlias = Callable[[str], str]

_NOT_TEXT: Final = re.compile("[\x00\ud800-\udfff]")
_REPLACEMENT: Final = "\ufffd"
_EXACT: Final = 1 << 53  # no double tells apart integers beyond it
_OUR_PREFIX: Final = "km_"


class RejectedByTarget(Exception):  # noqa: N818  # it never leaves the package
    """Reason why a target can't take a record; the converter adds the record."""


class MigrationError(KmExportError, ValueError):
    """A target can't take a record: `.target` names it, `.reason` says why, `.record` is the record.

    `.person`, `.timestamp` (unix seconds) and `.name` are the record's: the name of an event, the second identity of an
    alias, None for a property set.

    >>> alias = Alias("bob@example.com", 1349222400, "7")
    >>> raise MigrationError("Amplitude", alias, "the alias has 1 characters")
    Traceback (most recent call last):
        ...
    kmexport.migrate.rules.MigrationError: alias '7' of 'bob@example.com' at 1349222400 (2012-10-03T00:00:00Z): ...
    """

    def __init__(self, target: str, record: Record, reason: str) -> None:
        super().__init__(target, record, reason)
        self.target = target
        self.record = record
        self.reason = reason

    @property
    def person(self) -> str:
        """The identity in the record."""
        return self.record.person

    @property
    def timestamp(self) -> int:
        """The record's unix seconds."""
        return self.record.timestamp

    @property
    def name(self) -> str | None:
        """The name of an event, the second identity of an alias, None for a property set."""
        if isinstance(self.record, Event):
            return self.record.name
        return self.record.alias if isinstance(self.record, Alias) else None

    def __str__(self) -> str:
        kind = {Event: "event", Alias: "alias"}.get(type(self.record), "property set")
        name = "" if self.name is None else f" {quoted(str(self.name))}"
        what = f"{kind}{name} of {quoted(str(self.person))} at {spell_moment(self.timestamp)}"
        return f'{what}: {self.target} can\'t take it ({self.reason}). Pass on_error="skip" to go on without it.'


@frozen(kw_only=True)
class Rules:
    """The limits of a target. None, and what is left out: the documents and sources that were read name no limit."""

    target: str
    unit: str = "characters"  # of the lengths of identities and names: "characters", or "bytes" of UTF-8
    shortest_id: int = 1
    longest_id: int | None = None  # a longer one would be shortened, and two persons might become one
    refused_ids: frozenset[str] = frozenset()  # identities that mean nobody, as they are
    refused_ids_in_any_case: frozenset[str] = frozenset()  # the same, without spaces around them, in small letters
    trims_ids: bool = False  # takes away spaces around an identity
    first_time: int | None = None  # unix seconds
    newest_age: int | None = None  # seconds: how old a record is at least; below 0, how far ahead it may be
    longest_event_name: int | None = None
    longest_property_name: int | None = None
    refused_events: frozenset[str] = frozenset()  # names that are instructions
    reserved: frozenset[str] = frozenset()  # properties of an event that mean something else there
    owns_dollar: bool = False  # names that begin with $ are the target's own
    longest_text: int | None = None  # characters of a value. The target shortens a longer one: counted, not refused
    deepest: int = 100  # levels of brackets in the value of a property; 100 is a limit of our own
    most_inside: int | None = None  # keys of an object, items of an array
    most_event_properties: int | None = None
    most_person_properties: int | None = None
    most_person_bytes: int | None = None  # of a line that sets a person's properties
    drops_above: int | None = None  # properties of a record. The target drops those of a fuller one: counted
    takes_chains: bool = True  # joins two identities that are both joined to others already
    most_identities: int | None = None  # of one person


@define
class Changes:
    """Counts of what was changed in a record so that a target takes it."""

    renamed: int = 0
    replaced: int = 0
    shortened: int = 0
    second_spellings: int = 0
    overfull: int = 0


def check_identity(rules: Rules, identity: object, what: str) -> str:
    """Return the identity as it is: to change one would make another person of it."""
    if not isinstance(identity, str):
        reason = f"the {what} is {shown(identity)}, not a string"
        raise RejectedByTarget(reason)
    trimmed = identity.strip()
    if not trimmed:
        reason = f"the {what} is empty"
        raise RejectedByTarget(reason)
    if _NOT_TEXT.search(identity):
        reason = f"the {what} holds NUL or half of a surrogate pair"
        raise RejectedByTarget(reason)
    length = _length(rules, identity)
    if length < rules.shortest_id:
        reason = f"the {what} has {length} {rules.unit}, and {rules.shortest_id} are the least"
        raise RejectedByTarget(reason)
    if rules.longest_id is not None and length > rules.longest_id:
        reason = f"the {what} has {length} {rules.unit}, more than {rules.longest_id}"
        raise RejectedByTarget(reason)
    if identity in rules.refused_ids or trimmed.lower() in rules.refused_ids_in_any_case:
        reason = f"the {what} {identity!r} stands on the list of identities that mean nobody"
        raise RejectedByTarget(reason)
    if rules.trims_ids and trimmed != identity:
        reason = f"the {what} {shown(identity)} has spaces around it, which would be taken away"
        raise RejectedByTarget(reason)
    return identity


def check_time(rules: Rules, timestamp: object, now: float) -> int:
    """Return whole unix seconds in the range that the target takes."""
    if not isinstance(timestamp, int) or isinstance(timestamp, bool):
        reason = f"the time is {shown(timestamp)}, not a whole number of seconds"
        raise RejectedByTarget(reason)
    if not FIRST_TIMESTAMP <= timestamp <= LAST_TIMESTAMP:
        reason = "the time is outside the years 1 to 9999 (unix time in seconds)"
        raise RejectedByTarget(reason)
    if rules.first_time is not None and timestamp < rules.first_time:
        reason = f"the time is before the first one that is taken, {rules.first_time} (unix seconds)"
        raise RejectedByTarget(reason)
    if rules.newest_age is not None and timestamp > now - rules.newest_age:
        hours = abs(rules.newest_age) // 3_600
        reason = (
            f"the time is less than {hours} hours ago" if rules.newest_age > 0 else f"the time is {hours} hours ahead"
        )
        raise RejectedByTarget(reason)
    return timestamp


def check_event_name(rules: Rules, name: object, spelling: Spelling, changes: Changes) -> str:
    """Return the name of an event as it is sent."""
    if not isinstance(name, str):
        reason = f"the name is {shown(name)}, not a string"
        raise RejectedByTarget(reason)
    spelt = clean_text(spelling(name), changes)
    if not spelt.strip():
        reason = "the name is empty"
        raise RejectedByTarget(reason)
    if spelt in rules.refused_events or (rules.owns_dollar and name.startswith("$") and spelt.startswith("$")):
        reason = f"an event called {spelt!r} would be an instruction there"
        raise RejectedByTarget(reason)
    _check_length(rules, spelt, rules.longest_event_name, "the name")
    return spelt


def prepare_properties(
    rules: Rules, properties: object, spelling: Spelling, changes: Changes, *, of_a_person: bool
) -> dict[str, Any]:
    """Return the properties as they are sent. Null is left out; of two spellings of a name the first counts."""
    if not isinstance(properties, dict):
        reason = f"the properties are {shown(properties)}, not a dict"
        raise RejectedByTarget(reason)
    reserved = frozenset[str]() if of_a_person else rules.reserved
    seen = set()
    prepared: dict[str, Any] = {}
    for name, value in properties.items():
        if not isinstance(name, str):
            reason = f"the property {shown(name)} has no string for a name"
            raise RejectedByTarget(reason)
        if value is None or name in VENDOR_KEYS:
            continue
        folded = fold_name(name)
        if folded in seen:
            changes.second_spellings += 1
            continue
        seen.add(folded)
        key = clean_text(spelling(name), changes)
        is_own = not key or key in reserved or (rules.owns_dollar and name.startswith("$") and key.startswith("$"))
        if is_own or key in prepared:
            key = f"{_OUR_PREFIX}{key}"
            while key in prepared:
                key = f"{_OUR_PREFIX}{key}"
            changes.renamed += 1
        _check_length(rules, key, rules.longest_property_name, "the name of a property")
        prepared[key] = _value(rules, value, changes, 1)
    most = rules.most_person_properties if of_a_person else rules.most_event_properties
    if most is not None and len(prepared) > most:
        reason = f"there are {len(prepared)} properties, and {most} are the most"
        raise RejectedByTarget(reason)
    if rules.drops_above is not None and len(prepared) > rules.drops_above:
        changes.overfull += 1
    return prepared


def _length(rules: Rules, text: str) -> int:
    return len(text) if rules.unit == "characters" else len(text.encode())


def _check_length(rules: Rules, name: str, longest: int | None, what: str) -> None:
    if longest is not None and (length := _length(rules, name)) > longest:
        reason = f"{what} has {length} {rules.unit}, more than {longest}"
        raise RejectedByTarget(reason)


def _value(rules: Rules, value: object, changes: Changes, level: int) -> Any:
    if isinstance(value, str):
        if rules.longest_text is not None and len(value) > rules.longest_text:
            changes.shortened += 1
        return clean_text(str.__str__(value), changes)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float | Decimal):
        return _number(value, changes)
    if not isinstance(value, list | dict):
        reason = f"a value is {shown(value)}, which JSON has no form for"
        raise RejectedByTarget(reason)
    if level > rules.deepest:
        reason = f"a value is nested in more than {rules.deepest} levels"
        raise RejectedByTarget(reason)
    if rules.most_inside is not None and len(value) > rules.most_inside:
        reason = f"a value has {len(value)} parts, and {rules.most_inside} are the most"
        raise RejectedByTarget(reason)
    if isinstance(value, list):
        return [_value(rules, item, changes, level + 1) for item in value]
    return _pairs(rules, value, changes, level)


def _pairs(rules: Rules, value: dict[Any, Any], changes: Changes, level: int) -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    for name, item in value.items():
        if not isinstance(name, str):
            reason = f"the key {shown(name)} in a value is no string"
            raise RejectedByTarget(reason)
        key = clean_text(name, changes)
        while key in pairs:
            key = f"{_OUR_PREFIX}{key}"
        pairs[key] = _value(rules, item, changes, level + 1)
    return pairs


def _number(value: float | Decimal, changes: Changes) -> int | float | str:
    """Return the number, or its digits as text where a double would lose some: to the vendor "123" and 123 are one."""
    if isinstance(value, int) and -_EXACT <= value <= _EXACT:
        return int.__int__(value)
    if isinstance(value, float) and math.isfinite(value):
        return float.__float__(value)
    if isinstance(value, float) or (isinstance(value, Decimal) and not value.is_finite()):
        reason = f"a value is {value}, which is no JSON number"
        raise RejectedByTarget(reason)
    changes.replaced += 1
    try:
        return str(value)
    except ValueError as error:  # Python does not write more than 4,300 digits of an int
        reason = "a value is an integer of more than 4,300 digits"
        raise RejectedByTarget(reason) from error


def clean_text(text: str, changes: Changes) -> str:
    """Return the text without NUL and halves of surrogate pairs, so that it is valid UTF-8."""
    if not _NOT_TEXT.search(text):
        return text
    changes.replaced += 1
    return _NOT_TEXT.sub(_REPLACEMENT, text)
