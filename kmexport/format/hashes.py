"""The text of one hash → its head (person, time, name, alias) and its properties."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final, NoReturn

import msgspec

__all__ = [
    "DECODE_ERRORS",
    "FIRST_TIMESTAMP",
    "LAST_TIMESTAMP",
    "RESERVED",
    "UNSET",
    "Head",
    "NotARecord",
    "NotAnObject",
    "check_joined",
    "decode_head",
    "decode_object",
    "judge_object",
    "load_object",
    "read_properties",
]

RESERVED: Final = ("_p", "_t", "_n", "_p2")
UNSET: Final = msgspec.UNSET

# The years 1 to 9999: what datetime can say.
FIRST_TIMESTAMP: Final = -62_135_596_800
LAST_TIMESTAMP: Final = 253_402_300_799

_DIGITS: Final = re.compile("-?[0-9]{1,20}")

DECODE_ERRORS: Final = (msgspec.DecodeError, ValueError, RecursionError)  # a UnicodeDecodeError is a ValueError


class Head(msgspec.Struct, gc=False):
    """What says who, when and which kind. gc=False: it holds strings and an integer, so no cycles."""

    person: str = msgspec.field(name="_p")
    timestamp: Annotated[int, msgspec.Meta(ge=FIRST_TIMESTAMP, le=LAST_TIMESTAMP)] = msgspec.field(name="_t")
    name: str | msgspec.UnsetType = msgspec.field(default=UNSET, name="_n")
    alias: str | msgspec.UnsetType = msgspec.field(default=UNSET, name="_p2")


class NotARecord(ValueError):  # noqa: N818  # it never leaves the package
    """Says why a text is no record; the reader adds the file and the line."""


class NotAnObject(NotARecord):
    """The text is not even one JSON object."""


# Checks the syntax of the whole line and reads the head; not the UTF-8 of the strings that it passes over.
decode_head = msgspec.json.Decoder(Head).decode
decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def load_object(text: bytes) -> dict[str, Any]:
    """The hash as `json.loads` reads it, but numbers keep their value whatever their size.

    >>> load_object(b'{"n": 123456789012345678901234567890, "x": 1e400}')
    {'n': 123456789012345678901234567890, 'x': Decimal('1E+400')}
    """
    try:
        return decode_object(text)
    except DECODE_ERRORS:
        # msgspec refuses lone surrogates and numbers out of range, which are JSON all the same.
        return _load_slowly(text)


def read_properties(text: bytes) -> dict[str, Any]:
    """Every key of the hash but the four that make the record."""
    try:
        properties = load_object(text)
    except NotAnObject:
        # Of a deeply nested value: the stack may be higher here than it was where the line was judged.
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

        with ThreadPoolExecutor(1) as with_own_stack:
            properties = with_own_stack.submit(load_object, text).result()
    for key in RESERVED:
        properties.pop(key, None)
    return properties


def judge_object(text: bytes) -> Head:
    """The head of a hash that the fast way could not read; NotARecord says why there is none."""
    found = _load_slowly(text)
    return Head(_person(found), _timestamp(found), *_name_and_alias(found))


def _load_slowly(text: bytes) -> dict[str, Any]:
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        msg = f"not UTF-8 (byte {text[error.start]:#04x} at column {error.start + 1})"
        raise NotAnObject(msg) from error
    try:
        found = _SLOW.decode(decoded)
    except json.JSONDecodeError as error:
        what = error.msg[0].lower() + error.msg[1:].removesuffix(" at")
        msg = f"not a JSON object ({what} at column {error.pos + 1})"
        raise NotAnObject(msg) from error
    except RecursionError as error:
        msg = "not a JSON object that can be read (nested too deeply)"
        raise NotAnObject(msg) from error
    if not isinstance(found, dict):
        msg = f"a JSON {_JSON_TYPES[type(found)]} where an object belongs"
        raise NotAnObject(msg)
    return found


def _integer(digits: str) -> int | Decimal:
    # Python refuses to turn more than 4,300 digits into an int at once; the value is kept all the same.
    return int(digits) if len(digits) <= 4_300 else Decimal(digits)


def _number(digits: str) -> float | Decimal | str:
    value = float(digits)
    try:
        return value if math.isfinite(value) else Decimal(digits)
    except InvalidOperation:  # an exponent of more than 18 digits: no number of Python's can hold it
        return digits


def _no_number(constant: str) -> NoReturn:
    msg = f"not a JSON object ({constant} is no JSON number)"
    raise NotAnObject(msg)


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        for key in RESERVED:
            if keys.count(key) > 1:
                msg = f"{key} stands twice in a hash over several lines: these are parts of two records"
                raise NotAnObject(msg)
    return found


_SLOW = json.JSONDecoder(parse_int=_integer, parse_float=_number, parse_constant=_no_number)
_SLOW_JOINED = json.JSONDecoder(object_pairs_hook=_no_key_twice)
_JSON_TYPES = {
    list: "array", str: "string", int: "number", float: "number", Decimal: "number", bool: "boolean", type(None): "null"
}  # fmt: skip


def check_joined(text: bytes) -> None:
    """NotAnObject where the lines that were joined are parts of two records: a reserved key stands twice."""
    try:
        _SLOW_JOINED.decode(text.decode("utf-8"))
    except ValueError:
        return  # the judge finds the words for it


def _person(found: dict[str, Any]) -> str:
    person = found.get("_p", UNSET)
    if isinstance(person, str):
        return person
    msg = "there is no _p" if person is UNSET else f"_p is {_quoted(person)}, not a string"
    raise NotARecord(msg)


def _timestamp(found: dict[str, Any]) -> int:
    value = found.get("_t", UNSET)
    if value is UNSET:
        msg = "there is no _t"
        raise NotARecord(msg)
    timestamp: int | None = None
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    is_whole = isinstance(value, float) and value.is_integer()
    if is_integer or is_whole or (isinstance(value, str) and _DIGITS.fullmatch(value)):
        timestamp = int(value)
    if timestamp is None:
        msg = f"_t is {_quoted(value)}, not a whole number of seconds"
        raise NotARecord(msg)
    if not FIRST_TIMESTAMP <= timestamp <= LAST_TIMESTAMP:
        msg = f"_t is {_quoted(value)}, outside the years 1 to 9999 (unix time in seconds)"
        raise NotARecord(msg)
    return timestamp


def _name_and_alias(found: dict[str, Any]) -> tuple[str | msgspec.UnsetType, str | msgspec.UnsetType]:
    name = found.get("_n", UNSET)
    alias = found.get("_p2", UNSET)
    for key, value in (("_n", name), ("_p2", alias)):
        if value is not UNSET and not isinstance(value, str):
            msg = f"{key} is {_quoted(value)}, not a string"
            raise NotARecord(msg)
    if name is not UNSET and alias is not UNSET:
        msg = "both _n and _p2: an event or an alias, it can't be both"
        raise NotARecord(msg)
    return name, alias


def _quoted(value: object) -> str:
    shown = json.dumps(value, default=str)
    return shown if len(shown) <= 60 else f"{shown[:60]}…"
