r"""Blocks whose lines need no repair → their heads and their properties, each object decoded once.

msgspec reads each object as a dict of values that stay JSON. The values of `_p` are then one text, a line each
(`"ann"\n"bob"\n`), and Arrow makes a column of it without a Python string for each, and without the interpreter lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from attrs import frozen

from kmexport.columns.heads import plain_block, plain_heads
from kmexport.columns.json_text import encode_lines, read_raw_lines, split_text
from kmexport.format.decoding import DECODE_ERRORS, LAST_TIMESTAMP

__all__ = ["RawHeads", "RawRows", "nullable_strings", "raw_rows", "strings"]

_NULL: Final = b"null\n"
_NUL: Final = "\x00"  # stands for null: no JSON string has it without an escape
_NUL_LINE: Final = b'"\x00"\n'


@frozen
class RawHeads:
    """The heads of the records of a block: their times, and the JSON of their persons, names and aliases.

    None of the strings has an escape. NUL stands for no name, and no alias.
    """

    times: Any
    persons: bytes
    names: bytes
    aliases: bytes


@frozen
class RawRows:
    """The records of a block: their heads, and their properties as values that stay JSON."""

    heads: RawHeads
    properties: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.properties)


def raw_rows(block: bytes) -> RawRows | list[Any] | None:
    r"""Read a block; as `plain_heads` does where a person, a name or an alias has an escape, and for lines that differ
    in what they mean; None where it is not certain that each line is one record.

    >>> rows = raw_rows(b'{"_p":"ann","_t":1,"x":1.50}\n{"_n":"paid","_p":"bob","_t":2}')
    >>> rows.heads.persons, rows.heads.names, rows.heads.aliases, rows.heads.times.tolist()
    (b'"ann"\n"bob"\n', b'"\x00"\n"paid"\n', b'"\x00"\n"\x00"\n', [1, 2])
    >>> type(raw_rows(b'{"_p":"a\\tb","_t":1}')), raw_rows(b'{"_p":7,"_t":1}')
    (<class 'list'>, None)
    """
    plain = plain_block(block)
    if plain is None:
        return None
    block, lines = plain
    try:
        found = read_raw_lines(block)
        persons = encode_lines([pairs.pop("_p") for pairs in found])
        times = encode_lines([pairs.pop("_t") for pairs in found])
    except (*DECODE_ERRORS, KeyError):
        return None
    names = [pairs.pop("_n", None) for pairs in found]
    aliases = [pairs.pop("_p2", None) for pairs in found]
    has_aliases = any(aliases)
    if any(compress(names, aliases)):  # an event with an alias: `raw` is true, whatever it holds
        return plain_heads(block)
    spelt_names = encode_lines(names).replace(_NULL, _NUL_LINE)
    spelt_aliases = encode_lines(aliases).replace(_NULL, _NUL_LINE) if has_aliases else _NUL_LINE * lines
    seconds = _seconds(times)
    if (
        len(found) != lines
        or seconds is None
        or not all(_are_plain(spelt, lines) for spelt in (persons, spelt_names, spelt_aliases))
    ):
        return plain_heads(block)
    return RawRows(RawHeads(seconds, persons, spelt_names, spelt_aliases), found)


def _seconds(spelt: bytes) -> Any:
    """Read whole numbers, a line each; None for others, and for one out of range."""
    if spelt.translate(None, b"0123456789\n"):
        return None
    seconds: Any = np.fromstring(spelt, np.int64, sep="\n")  # the largest, where there are too many digits
    return seconds if seconds.max() <= LAST_TIMESTAMP else None


def _are_plain(spelt: bytes, count: int) -> bool:
    """Tell whether JSON values, a line each, are all strings without an escape.

    A string ends at its first quote then, so a line that begins and ends with one is a string.
    """
    return (
        b"\\" not in spelt and spelt.startswith(b'"') and spelt.endswith(b'"\n') and spelt.count(b'"\n"') == count - 1
    )


def strings(parts: Sequence[bytes]) -> Any:
    r"""Make a column of JSON strings, a line each, that have no escapes.

    >>> strings([b'"ann"\n"bob"\n', b'""\n']).to_pylist()
    ['ann', 'bob', '']
    """
    together = b"".join(parts)
    return split_text(together, 1, len(together) - 2, '"\n"')


def nullable_strings(parts: Sequence[bytes]) -> Any:
    r"""Make a column of JSON strings. The one that is NUL stands for null.

    >>> nullable_strings([b'"ann"\n', b'"\x00"\n']).to_pylist()
    ['ann', None]
    """
    found = strings(parts)
    return pc.if_else(pc.equal(found, _NUL), pa.scalar(None, pa.string()), found)
