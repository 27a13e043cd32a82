"""The text of a line → its head and its text as JSON, repaired where needed, or why it is not a record."""

from __future__ import annotations

import codecs
import json
import re
from decimal import ROUND_FLOOR, Decimal, InvalidOperation
from typing import Any, Final, Protocol

from attrs import define

from kmexport.format.decoding import (
    DECODE_ERRORS,
    FIRST_TIMESTAMP,
    LAST_TIMESTAMP,
    RESERVED,
    Head,
    NotAnObject,
    NotARecord,
    decode_head,
    is_too_deep,
    load_slowly,
    no_number,
)
from kmexport.format.octal import has_doubled_octal, repair_doubled_octal, repair_octal, to_utf8


@define
class ParsedRecord:
    """The head of a record, and its text as JSON. `is_repaired` says whether something in it was repaired."""

    head: Head
    text: bytes
    is_repaired: bool = False


class RecordParser(Protocol):
    """A function such as `parse_record`, or one that is stricter."""

    def __call__(self, text: bytes, *, is_first: bool = False, is_joined: bool = False) -> ParsedRecord: ...


def parse_record(text: bytes, *, is_first: bool = False, is_joined: bool = False) -> ParsedRecord:
    r"""Read a text as a record, repaired where that makes it one. Raises NotARecord, which says why it is not one.

    At the start of a file (`is_first`) a byte-order mark does not count as a repair. Joined lines (`is_joined`) with
    one of the keys that make a record twice are parts of two records: that raises NotAnObject.

    >>> parse_record(rb'{"_p":"bob","_t":1,"city":"Paran\303\241"}').text.decode()
    '{"_p":"bob","_t":1,"city":"Paraná"}'
    >>> parse_record(b'{"_p":"bob"}')
    Traceback (most recent call last):
        ...
    kmexport.format.decoding.NotARecord: there is no _t
    """
    json_text = _repaired(text)
    is_repaired = json_text != text and not (is_first and json_text == text.removeprefix(codecs.BOM_UTF8))
    if is_joined:
        _check_halves(json_text)
    try:
        return ParsedRecord(decode_checked(json_text), json_text, is_repaired)
    except DECODE_ERRORS:
        head, has_fraction = _head(json_text)
        return ParsedRecord(head, json_text, is_repaired or has_fraction)


def is_plain(block: bytes) -> bool:
    """Tell whether `decode_head` alone may read the lines: they are UTF-8, and none has doubled octal escapes."""
    if has_doubled_octal(block):
        return False
    if block.isascii():
        return True
    try:
        block.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def decode_checked(line: bytes) -> Head:
    """Read the head of a line that needs no repair. Raises one of DECODE_ERRORS if `parse_record` has to look at it."""
    if not is_plain(line) or is_too_deep(line):
        raise NotARecord
    head = decode_head(line)
    if head.alias is not None and head.name is not None:
        raise NotARecord
    return head


def _repaired(text: bytes) -> bytes:
    if text.startswith(codecs.BOM_UTF8):
        text = _MARKS.sub(b"", text, count=1)
    if b"\\" not in text:
        return to_utf8(text)
    repaired = repair_octal(text)
    if repaired is not None:
        return repaired
    return repair_doubled_octal(to_utf8(text))


# Halves of two records.


def _check_halves(text: bytes) -> None:
    """Raise NotAnObject where a key that makes a record is there twice: the lines are parts of two records."""
    if b"\\" not in text and max(map(text.count, _QUOTED)) < 2:
        return
    levels: list[list[str]] = []

    def keys_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        levels.append([key for key, _ in pairs])
        return dict(pairs)

    load_slowly(text, json.JSONDecoder(object_pairs_hook=keys_of, parse_int=str, parse_float=str))
    for key in RESERVED:
        if levels[-1].count(key) > 1:  # the outermost object comes last
            msg = f"{key} stands twice in an object over several lines: these are parts of two records"
            raise NotAnObject(msg)


# Spellings that msgspec's fast decoder refuses, and that are records all the same.


def _head(text: bytes) -> tuple[Head, bool]:
    """Read the head in any spelling that is understood, and tell whether its time has a fraction."""
    found = {key: value for key, value in load_slowly(text, _EXACT).items() if value is not None}
    person = _identity(found, "_p")
    if person is None:
        msg = "there is no _p"
        raise NotARecord(msg)
    timestamp, has_fraction = _timestamp(found)
    name = found.get("_n")
    if name is not None and type(name) is not str:
        msg = f"_n is {_quoted(name)}, not a string"
        raise NotARecord(msg)
    alias = _identity(found, "_p2")
    if name is not None and alias is not None:
        msg = "both _n and _p2: an event or an alias, it can't be both"
        raise NotARecord(msg)
    return Head(person, timestamp, name, alias), has_fraction


def _identity(found: dict[str, Any], key: str) -> Any:
    """Read an identity: a string, or the digits of an integer."""
    value = found.get(key)
    if isinstance(value, _Integer):
        return str(value)
    if value is None or type(value) is str:
        return value
    msg = f"{key} is {_quoted(value)}, not a string or an integer"
    raise NotARecord(msg)


def _timestamp(found: dict[str, Any]) -> tuple[int, bool]:
    """Read the second that the time lies in, and tell whether it has a fraction."""
    value = found.get("_t")
    if value is None:
        msg = "there is no _t"
        raise NotARecord(msg)
    number = None
    if isinstance(value, _Integer | _Float) or (isinstance(value, str) and _NUMBER.fullmatch(value)):
        number = _decimal(value)
    if number is None:
        msg = f"_t is {_quoted(value)}, not a number of seconds"
        raise NotARecord(msg)
    if not FIRST_TIMESTAMP <= number < LAST_TIMESTAMP + 1:
        msg = f"_t is {_quoted(value)}, outside the years 1 to 9999 (unix time in seconds)"
        raise NotARecord(msg)
    second = number.to_integral_value(ROUND_FLOOR)
    return int(second), second != number


class _Integer(str):
    """The digits of a JSON integer."""

    __slots__ = ()


class _Float(str):
    """The digits of a JSON number with a fraction or an exponent."""

    __slots__ = ()


def _decimal(digits: str) -> Decimal | None:
    try:
        return Decimal(digits)
    except InvalidOperation:  # an exponent of more than 18 digits
        return None


def _quoted(value: object) -> str:
    shown = str(value) if isinstance(value, _Integer | _Float) else json.dumps(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}…"


_QUOTED: Final = tuple(b'"%s"' % key.encode() for key in RESERVED)
_MARKS: Final = re.compile(b"^(?:%s)+" % codecs.BOM_UTF8)
_NUMBER: Final = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,3})?")
_EXACT: Final = json.JSONDecoder(parse_int=_Integer, parse_float=_Float, parse_constant=no_number)
