r"""Text that not every column can hold, as the text of its JSON escape: `\ud83d` for half of a surrogate pair, `\u0000`
for NUL.

A backslash that stands before `u0000` in the text itself is doubled where NUL becomes that text. So two texts that
differ never become one: after an odd number of backslashes it was NUL.
"""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["show_halves", "show_nul", "show_odd_json"]

_PAIR: Final = r"\\u[dD][89abAB]..\\u[dD][c-fC-F].."
_HALF: Final = r"\\(u[dD][89a-fA-F]..)"
_BACKSLASHES: Final = r"((?:\\\\|\\u005[cC])+)(\\u0000|u0000)?"
_HALVES: Final = re.compile(rf"{_PAIR}|{_HALF}|\\.", re.DOTALL)
_ODD: Final = re.compile(rf"{_PAIR}|{_HALF}|{_BACKSLASHES}|(\\u0000)|\\.", re.DOTALL)
_NUL: Final = re.compile(r"(\\+)(\x00|u0000)?|\x00")

# A whole pair, and an escaped backslash before a u, look like half a pair.
_MAY_BE_HALF: Final = r"\\u[dD][89a-fA-F]"


def show_halves(texts: Any) -> tuple[Any, list[int]]:
    r"""JSON texts in which each half of a surrogate pair is the text of its escape; and which of them that changes.

    >>> show_halves(pa.array(['{"a":"\\ud83d"}', '{"a":"\\ud83d\\ude00"}']))[0].to_pylist()
    ['{"a":"\\\\ud83d"}', '{"a":"\\ud83d\\ude00"}']
    """
    # One search through all bytes takes a tenth of what one through each text takes.
    written = _bytes_of(texts)
    if rb"\ud" not in written and rb"\uD" not in written:
        return texts, []
    return _replaced(texts, _MAY_BE_HALF, _HALVES, _without_half)


def show_odd_json(texts: Any) -> tuple[Any, list[int]]:
    r"""The same, and NUL is the text of its escape too.

    >>> odd = pa.array([r'"a\u0000b"', r'"a\\u0000b"', r'"\\\u0000\\n"'])
    >>> show_odd_json(odd)[0].to_pylist()
    ['"a\\\\u0000b"', '"a\\\\\\\\u0000b"', '"\\\\\\\\\\\\u0000\\\\n"']
    """
    written = _bytes_of(texts)
    if b"u0000" not in written and rb"\ud" not in written and rb"\uD" not in written:
        return texts, []
    return _replaced(texts, f"u0000|{_MAY_BE_HALF}", _ODD, _without_half_or_nul)


def show_nul(texts: Any) -> tuple[Any, list[int]]:
    r"""Texts in which NUL is the text of its escape; and which of them that changes.

    >>> show_nul(pa.array(["a\x00b", r"a\u0000b", r"a\b", None]))[0].to_pylist()
    ['a\\u0000b', 'a\\\\u0000b', 'a\\b', None]
    """
    written = _bytes_of(texts)
    if b"\x00" not in written and rb"\u0000" not in written:
        return texts, []
    return _replaced(texts, r"\x00|\\u0000", _NUL, _without_nul)


def _bytes_of(texts: Any) -> bytes:
    buffer = texts.buffers()[2]
    return buffer.to_pybytes() if buffer is not None else b""


def _replaced(texts: Any, suspects: str, pattern: re.Pattern[str], shown: Any) -> tuple[Any, list[int]]:
    rows = np.flatnonzero(pc.fill_null(pc.match_substring_regex(texts, suspects), False).to_numpy(zero_copy_only=False))
    spelt = texts.to_pylist()
    changed = []
    for row in rows.tolist():
        before, spelt[row] = spelt[row], pattern.sub(shown, spelt[row])
        if spelt[row] != before:
            changed.append(row)
    return (pa.array(spelt, texts.type) if changed else texts), changed


def _without_half(escape: re.Match[str]) -> str:
    return f"\\\\{escape[1]}" if escape[1] else escape[0]


def _without_half_or_nul(escape: re.Match[str]) -> str:
    half, backslashes, after, nul = escape.groups()
    if half or nul:
        return f"\\\\{half or 'u0000'}"
    if not after:
        return escape[0]
    return f"{backslashes * 2}u0000" if after == "u0000" else f"{backslashes * 2}\\\\u0000"


def _without_nul(found: re.Match[str]) -> str:
    backslashes, after = found.groups()
    if backslashes is None:
        return "\\u0000"
    if not after:
        return found[0]
    return f"{backslashes * 2}u0000" if after == "u0000" else f"{backslashes * 2}\\u0000"
