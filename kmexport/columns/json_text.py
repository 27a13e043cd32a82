"""The column `properties`: objects as JSON text without a record's four keys; text that not every column can hold."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kmexport.columns.schema import HALF_OF_PAIR, JSON
from kmexport.format.decoding import DECODE_ERRORS, RESERVED, with_own_stack

__all__ = [
    "OBJECTS_AT_ONCE",
    "JsonTexts",
    "as_json",
    "block_without_heads",
    "encode_lines",
    "escape_both",
    "escape_nul",
    "escape_surrogates",
    "read_raw_lines",
    "split_lines",
    "split_text",
    "why_not_text",
    "without_head",
    "without_heads",
]

_PAIR: Final = r"\\u[dD][89abAB]..\\u[dD][c-fC-F].."
_HALF: Final = r"\\(u[dD][89a-fA-F]..)"
_BACKSLASHES: Final = r"((?:\\\\|\\u005[cC])+)(\\u0000|u0000)?"
_HALVES: Final = re.compile(rf"{_PAIR}|{_HALF}|\\.", re.DOTALL)
_ODD: Final = re.compile(rf"{_PAIR}|{_HALF}|{_BACKSLASHES}|(\\u0000)|\\.", re.DOTALL)
_NUL: Final = re.compile(r"(\\+)(\x00|u0000)?|\x00")

# A whole pair, and an escaped backslash before a u, look like half a pair.
_MAY_BE_HALF: Final = r"\\u[dD][89a-fA-F]"


def escape_surrogates(texts: Any) -> tuple[Any, list[int]]:
    r"""Show each half of a surrogate pair in JSON texts as the text of its escape; return the changed rows too.

    >>> halves = pa.array(['{"a":"\\ud83d"}', '{"a":"\\ud83d\\ude00"}'])
    >>> escape_surrogates(halves)[0].to_pylist()
    ['{"a":"\\\\ud83d"}', '{"a":"\\ud83d\\ude00"}']
    """
    # One search through all bytes takes a tenth of what one through each text takes.
    written = _bytes_of(texts)
    if rb"\ud" not in written and rb"\uD" not in written:
        return texts, []
    return _replaced(texts, _MAY_BE_HALF, _HALVES, _without_half)


def escape_both(texts: Any) -> tuple[Any, list[int]]:
    r"""Show each half of a surrogate pair, and each NUL, in JSON texts as the text of its escape; and the changed rows.

    >>> odd = pa.array([r'"a\u0000b"', r'"a\\u0000b"', r'"\\\u0000\\n"'])
    >>> escape_both(odd)[0].to_pylist()
    ['"a\\\\u0000b"', '"a\\\\\\\\u0000b"', '"\\\\\\\\\\\\u0000\\\\n"']
    """
    written = _bytes_of(texts)
    if b"u0000" not in written and rb"\ud" not in written and rb"\uD" not in written:
        return texts, []
    return _replaced(texts, f"u0000|{_MAY_BE_HALF}", _ODD, _without_half_or_nul)


def escape_nul(texts: Any) -> tuple[Any, list[int]]:
    r"""Show each NUL in texts as the text of its escape; return the changed rows too.

    >>> escape_nul(pa.array(["a\x00b", r"a\u0000b", r"a\b", None]))[0].to_pylist()
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


# More in one call take twice as long each: the garbage collector goes through those that are there again and again.
OBJECTS_AT_ONCE: Final = 500

read_raw_lines: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode_lines
_read_raw: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
encode_lines: Final = msgspec.json.Encoder().encode_lines
_encode: Final = msgspec.json.Encoder().encode

_decode_at: Final = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode
# In the outermost object: the text in front of a key, and the text between a key and its value.
_BEFORE_KEY: Final = re.compile(r"[{}, \t\r\n]*")
_BEFORE_VALUE: Final = re.compile(r"[: \t\r\n]*")


def without_heads(texts: Sequence[bytes]) -> list[bytes]:
    """Write the properties of each object as JSON: values as they are spelt, of a key that is there twice the last."""
    spelt: list[bytes] = []
    for start in range(0, len(texts), OBJECTS_AT_ONCE):
        spelt += _without_heads_at_once(texts[start : start + OBJECTS_AT_ONCE])
    return spelt


def _without_heads_at_once(texts: Sequence[bytes]) -> list[bytes]:
    lines = block_without_heads(b"\n".join(texts))
    if lines is None:
        return list(map(without_head, texts))
    spelt = lines.split(b"\n")
    spelt.pop()
    # A nested value may have line ends of its own, where its object was printed over several lines.
    return spelt if len(spelt) == len(texts) else list(map(without_head, texts))


def block_without_heads(block: bytes) -> bytes | None:
    """Write the properties of the objects of a block, a line each; None where msgspec does not read one."""
    try:
        found = read_raw_lines(block)
    except DECODE_ERRORS:
        return None
    drop_heads(found)
    lines: bytes = encode_lines(found)
    return lines


def drop_heads(found: Sequence[dict[str, Any]]) -> None:
    """Take the four keys of a record out of each object."""
    for pairs in found:
        # One by one: a loop over the keys costs half as much again.
        pairs.pop("_p", None)
        pairs.pop("_t", None)
        pairs.pop("_n", None)
        pairs.pop("_p2", None)


def without_head(text: bytes) -> bytes:
    r"""Write the properties of one object; half a surrogate pair stays as its escape.

    >>> without_head(b'{"_p":"bob","_t":1,"x":1.50,"half":"\\ud83d"}')
    b'{"x":1.50,"half":"\\ud83d"}'
    """
    try:
        pairs = _read_raw(text)
    except DECODE_ERRORS:  # msgspec refuses half a surrogate pair
        return with_own_stack(_without_head_slowly, text)
    for key in RESERVED:
        pairs.pop(key, None)
    return _encode(pairs)


def _without_head_slowly(text: bytes) -> bytes:
    """Write the properties of one object; the standard library finds where each key and value ends."""
    decoded = text.decode()
    pairs: dict[str, str] = {}
    at = _end(_BEFORE_KEY, decoded, 0)
    while at < len(decoded):
        key, at = _decode_at(decoded, at)
        start = _end(_BEFORE_VALUE, decoded, at)
        _, at = _decode_at(decoded, start)
        pairs[key] = decoded[start:at]
        at = _end(_BEFORE_KEY, decoded, at)
    spelt = (f"{json.dumps(key)}:{value}" for key, value in pairs.items() if key not in RESERVED)
    return f"{{{','.join(spelt)}}}".encode()


def _end(pattern: re.Pattern[str], text: str, start: int) -> int:
    found = pattern.match(text, start)
    return found.end() if found else start


def why_not_text(head: object) -> str | None:
    """Say why a column of text can't hold the person, name or alias of a head or a record; None where it can.

    Arrow's text is UTF-8, which has no form for half of a surrogate pair.
    """
    for part in ("person", "name", "alias"):
        text = getattr(head, part, None)
        if isinstance(text, str) and HALF_OF_PAIR.search(text):
            return f"{part} holds half of a surrogate pair, which no column of text can hold"
    return None


def as_json(spelt: Sequence[bytes]) -> Any:
    """Make an array of Arrow's JSON type."""
    return pa.ExtensionArray.from_storage(JSON, pa.array(spelt, pa.string()))


class JsonTexts:
    """Texts that will be an array of Arrow's JSON type."""

    def __init__(self) -> None:
        self._arrays: list[Any] = []
        self._lines: list[bytes] = []

    def add_lines(self, lines: bytes) -> None:
        """Add texts that have a newline after each, and none in them."""
        self._lines.append(lines)

    def add(self, spelt: list[bytes]) -> None:
        """Add any texts."""
        lines = b"\n".join([*spelt, b""])
        if lines.count(b"\n") == len(spelt):
            self._lines.append(lines)
        else:
            self._arrays += [split_lines(self._lines), pa.array(spelt, pa.string())]
            self._lines = []

    def array(self) -> Any:
        lines = split_lines(self._lines)
        storage = pa.concat_arrays([*self._arrays, lines]) if self._arrays else lines
        return pa.ExtensionArray.from_storage(JSON, storage)


def split_lines(parts: Sequence[bytes]) -> Any:
    """Split text, given in parts, that has a newline after each line. Needs no interpreter lock while it does."""
    together = b"".join(parts)
    return split_text(together, 0, len(together) - 1, "\n") if together else pa.nulls(0, pa.string())


def split_text(text: bytes, start: int, end: int, separator: str) -> Any:
    """Split a part of a text. Needs no interpreter lock while it does."""
    offsets = pa.py_buffer(np.array([start, end], np.int64))
    whole = pa.LargeStringArray.from_buffers(1, offsets, pa.py_buffer(text))
    return pc.split_pattern(whole, separator).flatten().cast(pa.string())
