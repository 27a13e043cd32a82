"""Values → JSON text that reads back as the same values."""

from __future__ import annotations

import json
import math
from decimal import Decimal

import msgspec

__all__ = ["spell_object"]

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
        return _spell(found).encode()


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
