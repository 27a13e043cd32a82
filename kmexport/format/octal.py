"""Octal escapes in the text of a JSON line → the characters they stand for."""

from __future__ import annotations

import json
import re

__all__ = ["has_doubled_octal", "hide_doubled_octal", "repair_doubled_octal", "repair_octal"]

# A run of octal escapes, or one other escape: matched from left to right, so the parity is always right.
_ESCAPE = re.compile(rb"((?:\\[0-3][0-7]{2})+)|\\.", re.DOTALL)

# The second form, with every backslash doubled. Of an even number of backslashes the last pair is the escape
# only where the pairs are odd in number, as single backslashes would have to be. Only bytes above 0x7f: the
# vendor escapes what is outside ASCII, and C:\\101 is a path.
_DOUBLED = re.compile(rb"(?<!\\)((?:\\\\\\\\)*+)((?:\\\\[23][0-7]{2})+)")
_TRIPLE = re.compile(rb"[0-3][0-7]{2}")


def repair_octal(text: bytes) -> bytes | None:
    r"""The line with its single octal escapes replaced; None where it has none, or their bytes are not UTF-8.

    An escape is a backslash that is not itself escaped, with three octal digits. The bytes of neighbouring escapes
    are taken together. Cost: linear in the length of the line. Source: real exports, which write
    text outside ASCII so.

    >>> repair_octal(rb'{"city":"Paran\303\241"}').decode()
    '{"city":"Paraná"}'
    >>> repair_octal(rb'{"path":"C:\\303"}') is None  # a backslash and "303"
    True
    >>> repair_octal(rb'{"city":"Paran\303"}') is None  # half a character
    True
    """
    found = False

    def character(match: re.Match[bytes]) -> bytes:
        nonlocal found
        run = match[1]
        if run is None:
            return match[0]
        found = True
        return _as_json_text(run)

    try:
        repaired = _ESCAPE.sub(character, text)
    except UnicodeDecodeError:
        return None
    return repaired if found else None


def has_doubled_octal(text: bytes) -> bool:
    r"""Whether the text may hold octal escapes with doubled backslashes.

    >>> has_doubled_octal(rb'"Paran\\303\\241"'), has_doubled_octal(rb'"Paran\303"')
    (True, False)
    """
    # A search for one byte costs a tenth of one for two, and that a tenth of the pattern's; most text has none.
    return b"\\" in text and b"\\\\" in text and _DOUBLED.search(text) is not None


def hide_doubled_octal(text: bytes) -> bytes:
    r"""The line with such backslashes spelt otherwise, so that text that only looks like octal is read as it was.

    >>> hide_doubled_octal(rb'{"typed":"\\303\\241"}')
    b'{"typed":"\\u005c303\\u005c241"}'
    """
    return _ESCAPE.sub(lambda match: rb"\u005c" if match[0] == rb"\\" else match[0], text)


def repair_doubled_octal(text: bytes) -> bytes:
    r"""The line with its doubled octal escapes replaced, where their bytes are UTF-8; else as it was.

    >>> repair_doubled_octal(rb'{"city":"Paran\\303\\241"}').decode()
    '{"city":"Paraná"}'
    >>> repair_doubled_octal(rb'{"path":"C:\\303"}')
    b'{"path":"C:\\\\303"}'
    """

    def character(match: re.Match[bytes]) -> bytes:
        try:
            return match[1] + _as_json_text(match[2])
        except UnicodeDecodeError:
            return match[0]

    return _DOUBLED.sub(character, text)


def _as_json_text(run: bytes) -> bytes:
    text = bytes(int(digits, 8) for digits in _TRIPLE.findall(run)).decode("utf-8")
    # A quote, a backslash or a control character given in octal stays inside its string.
    return json.dumps(text, ensure_ascii=False)[1:-1].encode()
