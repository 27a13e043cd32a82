"""The text of one JSON object → its head (person, time, name, alias) and its properties."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final, NoReturn, TypeVar

import msgspec

_Taken = TypeVar("_Taken")
_Given = TypeVar("_Given")

RESERVED: Final = ("_p", "_t", "_n", "_p2")

# The years 1 to 9999: what datetime can say.
FIRST_TIMESTAMP: Final = -62_135_596_800
LAST_TIMESTAMP: Final = 253_402_300_799

DEEPEST: Final = 500  # levels of brackets
FLAT_BYTES: Final = 2 * DEEPEST  # no shorter text that is JSON is nested deeper
# A string that is not closed goes to the end: to look at each quote in it again would take quadratic time.
_BRACKETS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|([\[\]{}])', re.DOTALL)

DECODE_ERRORS: Final = (msgspec.DecodeError, ValueError, RecursionError)  # a UnicodeDecodeError is a ValueError


class Head(msgspec.Struct, gc=False):
    """The four keys that say who, when and which kind. gc=False: it holds strings and an integer, so no cycles."""

    person: str = msgspec.field(name="_p")
    timestamp: Annotated[int, msgspec.Meta(ge=FIRST_TIMESTAMP, le=LAST_TIMESTAMP)] = msgspec.field(name="_t")
    name: str | None = msgspec.field(default=None, name="_n")
    alias: str | None = msgspec.field(default=None, name="_p2")


class NotARecord(ValueError):  # noqa: N818  # it never leaves the package
    """The reason why a text is not a record; the reader adds the file and the line."""


class NotAnObject(NotARecord):
    """The text is not even one JSON object."""


# Checks the syntax of the whole line and reads the head; not the UTF-8 of the strings that it passes over.
decode_head: Callable[[bytes | str], Head] = msgspec.json.Decoder(Head).decode
# Not dict[str, Any]: keys are strings anyway, and to check that takes a twelfth of the time.
decode_object: Callable[[bytes], dict[str, Any]] = msgspec.json.Decoder(dict).decode


def load_object(text: bytes) -> dict[str, Any]:
    """Read a JSON object as `json.loads` does, but numbers keep their value whatever their size.

    >>> load_object(b'{"n": 123456789012345678901234567890, "x": 1e400}')
    {'n': 123456789012345678901234567890, 'x': Decimal('1E+400')}
    """
    try:
        return decode_object(text)
    except DECODE_ERRORS:
        # msgspec refuses lone surrogates and numbers out of range, which are JSON all the same.
        return load_slowly(text)


def decode_properties(text: bytes) -> dict[str, Any]:
    """Read every key of a JSON object but the four that make the record."""
    properties = load_object(text)
    for key in RESERVED:
        properties.pop(key, None)
    return properties


def load_slowly(text: bytes, decoder: json.JSONDecoder | None = None) -> dict[str, Any]:
    """Read a JSON object whatever its numbers and surrogates. Raises NotAnObject, which says why it is not one."""
    if is_too_deep(text):
        msg = f"nested too deeply (more than {DEEPEST} levels)"
        raise NotAnObject(msg)
    decoded = text.decode()
    try:
        found = with_own_stack((decoder or _SLOW).decode, decoded)
    except json.JSONDecodeError as error:
        what = error.msg[0].lower() + error.msg[1:].removesuffix(" at")
        msg = f"not a JSON object ({what} at column {error.pos + 1})"
        raise NotAnObject(msg) from error
    if not isinstance(found, dict):
        msg = f"a JSON {_JSON_TYPES.get(decoded.lstrip()[0], 'number')} where an object belongs"
        raise NotAnObject(msg)
    return found


def with_own_stack(function: Callable[[_Taken], _Given], argument: _Taken) -> _Given:
    """Call the function, in a thread of its own where the caller's stack leaves no room for 500 levels."""
    try:
        return function(argument)
    except RecursionError:
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(function, argument).result()


def is_too_deep(text: bytes) -> bool:
    """Tell whether brackets are nested in more than 500 levels: a limit of our own, the same on every Python.

    Python's own are 1,000 less the height of the stack, or several thousands, as the version has it.

    >>> is_too_deep(b"[" * 500 + b"]" * 500), is_too_deep(b"[" * 501 + b"]" * 501)
    (False, True)
    """
    if len(text) <= DEEPEST or text.count(b"[") + text.count(b"{") <= DEEPEST:
        return False
    depth = 0
    for match in _BRACKETS.finditer(text):
        opens = match[1]
        if opens is not None:
            depth += 1 if opens in b"[{" else -1
            if depth > DEEPEST:
                return True
    return False


def _integer(digits: str) -> int | Decimal:
    # Python refuses to turn more than 4,300 digits into an int at once; the value is kept all the same.
    return int(digits) if len(digits) <= 4_300 else Decimal(digits)


def _number(digits: str) -> float | Decimal | str:
    value = float(digits)
    try:
        return value if math.isfinite(value) else Decimal(digits)
    except InvalidOperation:  # an exponent of more than 18 digits: no number of Python's can hold it
        return digits


def no_number(constant: str) -> NoReturn:
    """Refuse NaN and Infinity, for a decoder."""
    msg = f"not a JSON object ({constant} is no JSON number)"
    raise NotAnObject(msg)


_SLOW = json.JSONDecoder(parse_int=_integer, parse_float=_number, parse_constant=no_number)
_JSON_TYPES = {"[": "array", '"': "string", "t": "boolean", "f": "boolean", "n": "null"}
