"""The values of properties that are asked for by their names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from kmexport.format.hashes import RESERVED, Head, read_properties
from kmexport.names import fold_name
from kmexport.tables.plain import DecodeLines, plain_heads
from kmexport.tables.schema import PropertyColumn
from kmexport.tables.values import as_column

__all__ = ["HeadWithValues", "PropertyHeads", "PropertyValues"]

_ESCAPABLE: Final = re.compile(r'["\\/\x00-\x1f\x7f]')
# What folds to letters within ASCII: as escapes, and as bytes (the long s, the Kelvin sign, ß, and ligatures).
_ESCAPED_LETTERS: Final = re.compile(rb"\\u(?:00[0-7dD]|017[fF]|1[eE]9[eE]|212[aA]|[fF][bB]0)")
_OTHER_LETTERS: Final = re.compile(rb"\xc5\xbf|\xe2\x84\xaa|\xc3\x9f|\xe1\xba\x9e|\xef\xac[\x80-\x86]")
# fold_name, for text within ASCII.
_FOLDED: Final = bytes(range(256)).lower().translate(bytes.maketrans(b",:", b"  "))
_CASE_BIT: Final = 0x20
_VALUES_AT_ONCE: Final = 1_000  # many more are out of the processor's cache when their array is made


class HeadWithValues(Head, gc=False):
    """The head of a line, with the values of the properties that are asked for, as `p0` and so on."""


class PropertyHeads:
    """Reads the heads of blocks, with the values of some properties where all lines spell their names alike."""

    def __init__(self, columns: Sequence[PropertyColumn]) -> None:
        self.spellings: dict[str, str] = {column.folded: column.name for column in columns}  # as they were met last
        self._decoded: list[str] = []  # the spellings that are decoded
        self._decode: DecodeLines | None = None
        self._unsized = bytearray()  # one for all blocks: to get memory for each costs more than to fill it
        self._begins = {name: _begin(name) for name in self.spellings}
        self._values_of = _values_of(len(self.spellings))

    def __call__(self, block: bytes) -> list[Any] | None:
        """The heads of a block, as `plain_heads` gives them; `HeadWithValues` where the values are certain too."""
        if self._decoded != [*self.spellings.values()]:
            self._decoded = [*self.spellings.values()]
            self._decode = _decoder(self.spellings)
        if self._decode is not None:
            heads = plain_heads(block, self._decode)
            if heads is None or self._are_all(heads, block):
                return heads
        return plain_heads(block)

    def _are_all(self, heads: list[Any], block: bytes) -> bool:
        """Whether no key of the block is another spelling of a name."""
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
            folded = folded or block.translate(_FOLDED)
            # A value, or a nested key, that is spelt so counts too; then the slow way decides.
            if folded.count(b'"%b"' % name.encode()) != present:
                return False
        return True


def _begin(folded: str) -> bytes:
    """How a key that folds so begins, behind its quote, with the bit set that tells letters of both cases apart."""
    return bytes(byte | _CASE_BIT for byte in b'"%b' % folded.partition(" ")[0].encode())


def _values_of(count: int) -> list[Callable[[Any], Any]]:
    return [attrgetter(f"p{number}") for number in range(count)]


def _decoder(spellings: dict[str, str]) -> DecodeLines | None:
    """What reads properties that are spelt so. Names that escapes can spell, or of a record's own keys, it can't."""
    names = [*spellings, *spellings.values()]
    if any(map(_ESCAPABLE.search, names)) or not set(names).isdisjoint(RESERVED):
        return None
    fields = [(f"p{n}", Any, msgspec.field(default=None, name=name)) for n, name in enumerate(spellings.values())]
    head = msgspec.defstruct("Found", fields, bases=(HeadWithValues,), gc=False)
    return msgspec.json.Decoder(head).decode_lines


class PropertyValues:
    """The values of some properties, record by record. Of two spellings the first counts that is not null."""

    def __init__(self, columns: Sequence[PropertyColumn], spellings: dict[str, str] | None = None) -> None:
        self._columns = columns
        self._values: dict[str, list[Any]] = {column.folded: [] for column in columns}
        self._arrays: list[list[Any]] = []  # of each column, those of the values that came first
        self._spellings = {} if spellings is None else spellings
        self._values_of = _values_of(len(self._values))

    def add(self, hashes: Iterable[dict[str, Any]]) -> None:
        """The properties of more records."""
        values = self._values
        for properties in hashes:
            found: dict[str, Any] = {}
            for name, value in properties.items():
                folded = fold_name(name)
                if folded in values and value is not None:
                    found.setdefault(folded, value)
                    self._spellings[folded] = name
            for folded, column in values.items():
                column.append(found.get(folded))

    def add_texts(self, texts: Iterable[bytes]) -> None:
        """The same of hashes that are JSON still."""
        self.add(map(read_properties, texts))

    def add_heads(self, heads: Sequence[Head]) -> None:
        """The same of `HeadWithValues`."""
        for values, value_of in zip(self._values.values(), self._values_of, strict=True):
            values.extend(map(value_of, heads))
        if len(values) >= _VALUES_AT_ONCE:
            self._arrays.append(self._converted())

    def arrays(self) -> list[Any]:
        """One for each column."""
        return [pa.concat_arrays(arrays) for arrays in zip(*self._arrays, self._converted(), strict=True)]

    def _converted(self) -> list[Any]:
        arrays = [as_column(self._values[column.folded], column.type) for column in self._columns]
        for values in self._values.values():
            values.clear()
        return arrays
