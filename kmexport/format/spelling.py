"""Values → JSON text that reads back as the same values."""

from __future__ import annotations

import json
import math
from decimal import Decimal

import msgspec

__all__ = ["spell", "spell_object"]

_encode = msgspec.json.Encoder(decimal_format="number").encode


def spell_object(found: dict[str, object]) -> bytes:
    r"""A hash as compact JSON; numbers of any size keep their digits, half a surrogate pair becomes its escape.

    Raises TypeError for what JSON has no form for.

    >>> spell_object({"n": 123456789012345678901234567890, "x": Decimal("1E+400"), "half": "\ud83d"})
    b'{"n":123456789012345678901234567890,"x":1E+400,"half":"\\ud83d"}'
    """
    _check(found)
    try:
        return _encode(found)
    except UnicodeEncodeError:  # half a surrogate pair goes back as the escape that it came from
        return spell(found).encode()


def spell(value: object, *, sort_keys: bool = False) -> str:
    r"""A value as JSON text, also where msgspec has none for it: half of a surrogate pair, NaN.

    >>> spell({"b": "\ud800", "a": [1, None]}, sort_keys=True)
    '{"a":[1,null],"b":"\\ud800"}'
    """
    if isinstance(value, dict):
        keys = sorted(value) if sort_keys else value
        return "{" + ",".join(f"{json.dumps(key)}:{spell(value[key], sort_keys=sort_keys)}" for key in keys) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(spell(item, sort_keys=sort_keys) for item in value) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value)


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
