"""The heads of a whole block in one call, where all its lines are records as they stand."""

from __future__ import annotations

import re
from typing import Any, Final

from kmexport.format.hashes import DECODE_ERRORS, DEEPEST, decode_heads
from kmexport.format.repair import is_plain

__all__ = ["count", "first_of_two_kinds", "heads_of_block"]

_OCTAL: Final = re.compile(rb"\\[0-3]")


def heads_of_block(block: bytes) -> list[Any] | None:
    r"""A head for each line; None where it is not certain that each line is one record.

    >>> [head.person for head in heads_of_block(b'{"_p":"ann","_t":1}\n{"_p":"bob","_t":2}')]
    ['ann', 'bob']
    >>> heads_of_block(b'{"_p":"ann",\n"_t":1}') is None
    True
    >>> heads_of_block(b'{"_p":"a","_t":1},{"_p":"b","_t":1}\n{"_p":"c\nd","_t":1}') is None
    True
    """
    if _OCTAL.search(block) or not is_plain(block):
        return None
    lines = count(b"\n", block) + 1
    # A line that is nested too deeply has an opening bracket more for each of its levels.
    if count(b"{", block) - lines + count(b"[", block) > DEEPEST:
        return None
    try:
        # As one array with a null for each end of a line: only where each line is one object do they take turns.
        found = decode_heads(b"[%b]" % block.replace(b"\n", b",null,"))
    except DECODE_ERRORS:
        return None
    heads = found[::2]
    if len(found) != 2 * lines - 1 or any(found[1::2]) or not all(heads) or first_of_two_kinds(heads) is not None:
        return None
    return heads


def first_of_two_kinds(heads: list[Any]) -> int | None:
    """The first that is both an event and an alias."""
    if not [None for head in heads if head.alias is not None and head.name is not None]:
        return None
    return next(at for at, head in enumerate(heads) if head.alias is not None and head.name is not None)


def count(byte: bytes, block: bytes) -> int:
    """How often a byte stands in a block. Twice as fast as block.count(byte), which looks at each byte alone."""
    return len(block) - len(block.replace(byte, b""))
