"""Blocks whose lines need no repair → their heads, in one call."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np

from kmexport.columns.schema import PropertyColumn
from kmexport.format.decoding import DECODE_ERRORS, DEEPEST, FLAT_BYTES, RESERVED, Head
from kmexport.format.names import FOLDED_ASCII
from kmexport.format.repair import is_plain
from kmexport.parsing.lines import count, first_event_with_alias

__all__ = ["DecodeLines", "HeadWithValues", "PropertyHeads", "plain_block", "plain_heads"]

DecodeLines: TypeAlias = Callable[[bytes], list[Any]]

# Takes objects, not lines: one over two lines, or two on one, pass unseen.
_decode_heads: Final[DecodeLines] = msgspec.json.Decoder(Head).decode_lines

_NEWLINE, _OPEN, _CLOSE = b"\n{}"


def plain_heads(block: bytes, decode: DecodeLines = _decode_heads) -> list[Any] | None:
    r"""Read a head for each line; None where it is not certain that each line is one record.

    >>> [head.person for head in plain_heads(b'{"_p":"ann","_t":1}\n{"_p":"bob","_t":2}')]
    ['ann', 'bob']
    >>> plain_heads(b'{"_p":"ann",\n"_t":1}') is None
    True
    >>> plain_heads(b'{"_p":"a","_t":1}{"_p":"b","_t":1}\n{"_p":"c\nd","_t":1}') is None
    True
    """
    found = plain_block(block)
    if found is None:
        return None
    block, lines = found
    try:
        heads = decode(block)
    except DECODE_ERRORS:
        return None
    return heads if len(heads) == lines and first_event_with_alias(heads) is None else None


def plain_block(block: bytes) -> tuple[bytes, int] | None:
    """Return a block as msgspec may read it, and the number of its lines; None where some may be no whole object, or
    need a repair.
    """
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n").removesuffix(b"\r")
    lines = _count_lines(block)
    return None if lines is None or not is_plain(block) else (block, lines)


def _count_lines(block: bytes) -> int | None:
    """Count the lines; None where one does not begin and end as an object, or may be nested too deeply.

    A newline between a bracket that closes and one that opens is outside all objects: inside one a comma or a colon
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


_ESCAPABLE: Final = re.compile(r'["\\/\x00-\x1f\x7f]')
# What folds to letters within ASCII: as escapes, and as bytes (the long s, the Kelvin sign, ß, and ligatures).
_ESCAPED_LETTERS: Final = re.compile(rb"\\u(?:00[0-7dD]|017[fF]|1[eE]9[eE]|212[aA]|[fF][bB]0)")
_OTHER_LETTERS: Final = re.compile(rb"\xc5\xbf|\xe2\x84\xaa|\xc3\x9f|\xe1\xba\x9e|\xef\xac[\x80-\x86]")
_CASE_BIT: Final = 0x20


class HeadWithValues(Head, gc=False):
    """The head of a line, with the values of the properties that are asked for, as `p0` and so on."""


class PropertyHeads:
    """A reader of the heads of blocks, with the values of some properties where all lines spell their names alike."""

    def __init__(self, columns: Sequence[PropertyColumn]) -> None:
        self.spellings: dict[str, str] = {column.folded: column.name for column in columns}  # as they were seen last
        self._decoded: list[str] = []  # the spellings that are decoded
        self._decode: DecodeLines | None = None
        self._unsized = bytearray()  # one for all blocks: to get memory for each costs more than to fill it
        self._begins = {name: _begin(name) for name in self.spellings}
        self._values_of = _values_of(len(self.spellings))

    def __call__(self, block: bytes) -> list[Any] | None:
        """Read the heads of a block, as `plain_heads` does; `HeadWithValues` where the values are certain too."""
        if self._decoded != [*self.spellings.values()]:
            self._decoded = [*self.spellings.values()]
            self._decode = _decoder(self.spellings)
        if self._decode is not None:
            heads = plain_heads(block, self._decode)
            if heads is None or self._are_all(heads, block):
                return heads
        return plain_heads(block)

    def _are_all(self, heads: list[Any], block: bytes) -> bool:
        """Tell whether no key of the block is another spelling of a name."""
        if not block.isascii() and (_OTHER_LETTERS.search(block) or not all(map(str.isascii, self.spellings))):
            return False
        # One byte is found ten times as fast as two.
        if block.find(b"\\") >= 0 and _ESCAPED_LETTERS.search(block):
            return False
        # Letters without their case, and some other characters taken for one another: it may find more than there is.
        if len(self._unsized) < len(block):
            self._unsized = bytearray(len(block))
        characters = np.frombuffer(block, np.uint8)
        np.bitwise_or(characters, _CASE_BIT, out=np.frombuffer(self._unsized, np.uint8)[: len(block)])
        folded = b""
        for (name, begin), value_of in zip(self._begins.items(), self._values_of, strict=True):
            present = len([None for value in map(value_of, heads) if value is not None])
            if self._unsized.count(begin, 0, len(block)) == present:
                continue
            folded = folded or block.translate(FOLDED_ASCII)
            # A value, or a nested key, that is spelt so counts too; then the slow way decides.
            if folded.count(b'"%b"' % name.encode()) != present:
                return False
        return True


def _begin(folded: str) -> bytes:
    """Return the first word of a key that folds so, with the bit set in which small and capital letters differ."""
    return bytes(byte | _CASE_BIT for byte in b'"%b' % folded.partition(" ")[0].encode())


def _values_of(count: int) -> list[Callable[[Any], Any]]:
    return [attrgetter(f"p{number}") for number in range(count)]


def _decoder(spellings: dict[str, str]) -> DecodeLines | None:
    """Make a decoder of properties with these spellings; None for names that escapes can spell, and a record's keys."""
    names = [*spellings, *spellings.values()]
    if any(map(_ESCAPABLE.search, names)) or not set(names).isdisjoint(RESERVED):
        return None
    fields = [(f"p{n}", Any, msgspec.field(default=None, name=name)) for n, name in enumerate(spellings.values())]
    head = msgspec.defstruct("Found", fields, bases=(HeadWithValues,), gc=False)
    return msgspec.json.Decoder(head).decode_lines
