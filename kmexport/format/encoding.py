"""Values → JSON text that reads back as the same values."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any, Final

import msgspec

from kmexport.format.decoding import DEEPEST, with_own_stack

_encode = msgspec.json.Encoder(decimal_format="number").encode


def spell_object(found: dict[str, Any]) -> bytes:
    r"""Write a JSON object in compact form; numbers keep their digits, half a surrogate pair becomes its escape.

    Values of a class that is derived from str, int, float, dict or list are written as these. Raises TypeError for what
    JSON has no form for, and for what is nested deeper than it is read.

    >>> spell_object({"n": 12345678901234567890, "x": Decimal("1E+400"), "half": "\ud83d"})
    b'{"n":12345678901234567890,"x":1E+400,"half":"\\ud83d"}'
    """
    return with_own_stack(_spell_object, found)


def _spell_object(found: dict[str, Any]) -> bytes:
    plain = _plain(found, 1)
    try:
        return _encode(plain)
    except UnicodeEncodeError:  # half a surrogate pair goes back as the escape that it came from
        return spell(plain).encode()


def spell(value: object, *, sort_keys: bool = False) -> str:
    r"""Write a value as JSON text, also what msgspec can't write: half of a surrogate pair, NaN.

    >>> spell({"b": "\ud800", "a": [1, None]}, sort_keys=True)
    '{"a":[1,null],"b":"\\ud800"}'
    """
    if isinstance(value, dict):
        keys = sorted(value) if sort_keys else value
        return "{" + ",".join(f"{json.dumps(key)}:{spell(value[key], sort_keys=sort_keys)}" for key in keys) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(spell(item, sort_keys=sort_keys) for item in value) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value)


def _plain(value: object, level: int) -> object:
    """Copy the value into Python's own classes."""
    if type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, dict | list) and level > DEEPEST:
        msg = f"it is nested in more than {DEEPEST} levels"
        raise TypeError(msg)
    # Loops, for a comprehension would take a second frame of the stack.
    if isinstance(value, dict):
        pairs = {}
        for key, item in value.items():
            if not isinstance(key, str):
                msg = f"the key {key!r} is no string"
                raise TypeError(msg)
            pairs[str.__str__(key)] = _plain(item, level + 1)
        return pairs
    if isinstance(value, list):
        items = []
        for item in value:
            items.append(_plain(item, level + 1))  # noqa: PERF401
        return items
    return _plain_scalar(value)


def _plain_scalar(value: object) -> object:
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float) and math.isfinite(value):
        return float.__float__(value)
    if isinstance(value, Decimal) and value.is_finite():
        return value
    msg = f"{value!r} is no JSON value"
    raise TypeError(msg)


_AS_THEY_ARE: Final = frozenset({str, int, bool, type(None)})
