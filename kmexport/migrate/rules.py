"""What a target takes: its limits as one table, and the checks that read it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal
from reprlib import repr as shown
from typing import Any, Final, TypeAlias

from attrs import define, frozen

from kmexport.format.hashes import FIRST_TIMESTAMP, LAST_TIMESTAMP
from kmexport.migrate.refusals import Refused
from kmexport.names import VENDOR_KEYS, fold_name

__all__ = ["Mended", "Rules", "check_identity", "check_name", "check_time", "prepare_properties"]

Spelling: TypeAlias = Callable[[str], str]

_ODD: Final = re.compile("[\x00\ud800-\udfff]")
_REPLACEMENT: Final = "\ufffd"
_EXACT: Final = 1 << 53  # no double tells apart integers beyond it
_OUR_PREFIX: Final = "km_"


@frozen
class Rules:
    """The limits of a target. None: the documents that were read name no limit."""

    target: str
    shortest_id: int  # characters
    longest_id: int | None  # a longer one would be shortened, and two persons might become one
    refused_ids: frozenset[str]
    first_time: int | None  # unix seconds
    newest_age: int | None  # seconds: how old a record is at least; below 0, how far ahead it may be
    longest_name: int | None  # of events and properties, in characters
    refused_events: frozenset[str]  # names that are instructions
    reserved: frozenset[str]  # properties that mean something else there
    owns_dollar: bool  # names that begin with $ are the target's own
    longest_text: int | None  # a longer value is shortened by the target: counted, not refused
    deepest: int  # levels of brackets in the value of a property
    most_inside: int | None  # keys of an object, items of an array
    refused_ids_in_any_case: frozenset[str] = frozenset()


@define
class Mended:
    """What was changed so that a target takes it."""

    renamed: int = 0
    replaced: int = 0
    shortened: int = 0


def check_identity(rules: Rules, identity: object, what: str) -> str:
    """The identity as it is: to change one would make another person of it."""
    if not isinstance(identity, str):
        reason = f"the {what} is {shown(identity)}, not a string"
        raise Refused(reason)
    if not identity.strip():
        reason = f"the {what} is empty"
        raise Refused(reason)
    if _ODD.search(identity):
        reason = f"the {what} holds NUL or half of a surrogate pair"
        raise Refused(reason)
    if len(identity) < rules.shortest_id:
        reason = f"the {what} has {len(identity)} characters, and {rules.shortest_id} are the least"
        raise Refused(reason)
    if rules.longest_id is not None and len(identity) > rules.longest_id:
        reason = f"the {what} has {len(identity)} characters, more than {rules.longest_id}"
        raise Refused(reason)
    if identity in rules.refused_ids or identity.lower() in rules.refused_ids_in_any_case:
        reason = f"the {what} {identity!r} stands on the list of identities that mean nobody"
        raise Refused(reason)
    return identity


def check_time(rules: Rules, timestamp: object, now: float) -> int:
    """Whole unix seconds in the range that the target takes."""
    if not isinstance(timestamp, int) or isinstance(timestamp, bool):
        reason = f"the time is {shown(timestamp)}, not a whole number of seconds"
        raise Refused(reason)
    if not FIRST_TIMESTAMP <= timestamp <= LAST_TIMESTAMP:
        reason = "the time is outside the years 1 to 9999 (unix time in seconds)"
        raise Refused(reason)
    if rules.first_time is not None and timestamp < rules.first_time:
        reason = f"the time is before the first one that is taken, {rules.first_time} (unix seconds)"
        raise Refused(reason)
    if rules.newest_age is not None and timestamp > now - rules.newest_age:
        hours = abs(rules.newest_age) // 3_600
        reason = (
            f"the time is less than {hours} hours ago" if rules.newest_age > 0 else f"the time is {hours} hours ahead"
        )
        raise Refused(reason)
    return timestamp


def check_name(rules: Rules, name: object, spelling: Spelling, mended: Mended) -> str:
    """The name of an event as it is sent."""
    if not isinstance(name, str):
        reason = f"the name is {shown(name)}, not a string"
        raise Refused(reason)
    spelt = _whole(spelling(name), mended)
    if not spelt:
        reason = "the name is empty"
        raise Refused(reason)
    if spelt in rules.refused_events or (rules.owns_dollar and name.startswith("$") and spelt.startswith("$")):
        reason = f"an event called {spelt!r} would be an instruction there"
        raise Refused(reason)
    _check_length(rules, spelt, "the name")
    return spelt


def prepare_properties(
    rules: Rules, properties: object, spelling: Spelling, mended: Mended, most: int | None
) -> dict[str, Any]:
    """The properties as they are sent. Null is no value; of two spellings of a name the first counts."""
    if not isinstance(properties, dict):
        reason = f"the properties are {shown(properties)}, not a dict"
        raise Refused(reason)
    met = set()
    prepared: dict[str, Any] = {}
    for name, value in properties.items():
        if not isinstance(name, str):
            reason = f"the property {shown(name)} has no string for a name"
            raise Refused(reason)
        folded = fold_name(name)
        if value is None or name in VENDOR_KEYS or folded in met:
            continue
        met.add(folded)
        key = _whole(spelling(name), mended)
        is_own = (
            not key or key in rules.reserved or (rules.owns_dollar and name.startswith("$") and key.startswith("$"))
        )
        if is_own or key in prepared:
            key = f"{_OUR_PREFIX}{key}"
            while key in prepared:
                key = f"{_OUR_PREFIX}{key}"
            mended.renamed += 1
        _check_length(rules, key, "the name of a property")
        prepared[key] = _value(rules, value, mended, 1)
    if most is not None and len(prepared) > most:
        reason = f"there are {len(prepared)} properties, and {most} are the most"
        raise Refused(reason)
    return prepared


def _check_length(rules: Rules, name: str, what: str) -> None:
    if rules.longest_name is not None and len(name) > rules.longest_name:
        reason = f"{what} has {len(name)} characters, more than {rules.longest_name}"
        raise Refused(reason)


def _value(rules: Rules, value: object, mended: Mended, level: int) -> Any:
    if isinstance(value, str):
        if rules.longest_text is not None and len(value) > rules.longest_text:
            mended.shortened += 1
        return _whole(str.__str__(value), mended)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float | Decimal):
        return _number(value, mended)
    if not isinstance(value, list | dict):
        reason = f"a value is {shown(value)}, which JSON has no form for"
        raise Refused(reason)
    if level > rules.deepest:
        reason = f"a value is nested in more than {rules.deepest} levels"
        raise Refused(reason)
    if rules.most_inside is not None and len(value) > rules.most_inside:
        reason = f"a value has {len(value)} parts, and {rules.most_inside} are the most"
        raise Refused(reason)
    if isinstance(value, list):
        return [_value(rules, item, mended, level + 1) for item in value]
    return _pairs(rules, value, mended, level)


def _pairs(rules: Rules, value: dict[Any, Any], mended: Mended, level: int) -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    for name, item in value.items():
        if not isinstance(name, str):
            reason = f"the key {shown(name)} in a value is no string"
            raise Refused(reason)
        key = _whole(name, mended)
        while key in pairs:
            key = f"{_OUR_PREFIX}{key}"
        pairs[key] = _value(rules, item, mended, level + 1)
    return pairs


def _number(value: float | Decimal, mended: Mended) -> int | float | str:
    """The number, or its digits as text where a double would lose some: the vendor does not tell "123" from 123."""
    if isinstance(value, int) and -_EXACT <= value <= _EXACT:
        return int.__int__(value)
    if isinstance(value, float) and math.isfinite(value):
        return float.__float__(value)
    if isinstance(value, float) or (isinstance(value, Decimal) and not value.is_finite()):
        reason = f"a value is {value}, which is no JSON number"
        raise Refused(reason)
    mended.replaced += 1
    try:
        return str(value)
    except ValueError as error:  # Python does not write more than 4,300 digits of an int
        reason = "a value is an integer of more than 4,300 digits"
        raise Refused(reason) from error


def _whole(text: str, mended: Mended) -> str:
    """The text in valid UTF-8, without NUL."""
    if not _ODD.search(text):
        return text
    mended.replaced += 1
    return _ODD.sub(_REPLACEMENT, text)
