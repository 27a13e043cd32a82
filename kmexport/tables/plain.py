"""Blocks whose lines are all records as they stand → their heads, in one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np

from kmexport.format.hashes import DECODE_ERRORS, DEEPEST, FLAT_BYTES, Head
from kmexport.format.repair import is_plain
from kmexport.reading.at_once import count, first_of_two_kinds

__all__ = ["DecodeLines", "plain_heads"]

DecodeLines: TypeAlias = Callable[[bytes], list[Any]]

# Takes objects, not lines: one over two lines, or two on one, pass unseen.
_decode_heads: Final[DecodeLines] = msgspec.json.Decoder(Head).decode_lines

_NEWLINE, _OPEN, _CLOSE = b"\n{}"


def plain_heads(block: bytes, decode: DecodeLines = _decode_heads) -> list[Any] | None:
    r"""A head for each line; None where it is not certain that each line is one record.

    >>> [head.person for head in plain_heads(b'{"_p":"ann","_t":1}\n{"_p":"bob","_t":2}')]
    ['ann', 'bob']
    >>> plain_heads(b'{"_p":"ann",\n"_t":1}') is None
    True
    >>> plain_heads(b'{"_p":"a","_t":1}{"_p":"b","_t":1}\n{"_p":"c\nd","_t":1}') is None
    True
    """
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n").removesuffix(b"\r")
    lines = _count_lines(block)
    if lines is None or not is_plain(block):
        return None
    try:
        heads = decode(block)
    except DECODE_ERRORS:
        return None
    return heads if len(heads) == lines and first_of_two_kinds(heads) is None else None


def _count_lines(block: bytes) -> int | None:
    """How many lines there are; None where one does not begin and end as an object, or may be nested too deeply.

    Between a bracket that closes and one that opens, a newline stands in no object: inside one a comma or a colon
    would have to be there, and inside a string msgspec takes no newline.
    """
    if len(block) < 2 or block[0] != _OPEN or block[-1] != _CLOSE:
        return None
    characters = np.frombuffer(block, np.uint8)
    ends = (characters == _NEWLINE).nonzero()[0]
    if (characters[ends - 1] != _CLOSE).any() or (characters[ends + 1] != _OPEN).any():
        return None
    lines = len(ends) + 1
    if _longest(ends, len(block)) > FLAT_BYTES and count(b"{", block) + count(b"[", block) > DEEPEST + lines:
        return None
    return lines


def _longest(ends: Any, behind: int) -> int:
    if not len(ends):
        return behind
    return int(max(ends[0], (ends[1:] - ends[:-1]).max(initial=0), behind - ends[-1]))
