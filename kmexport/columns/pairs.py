"""The properties of records as pairs of a name and a value: from the lines of files, or from columns of JSON.

msgspec reads each object as a dict of values that stay JSON, some hundreds of objects in one call. Of a key that is
there twice the last value counts, in the place of the first. Values keep their digits. What msgspec does not read (half
of a surrogate pair) is read one object at a time, and shown as the text of its escape.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from operator import methodcaller
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
from attrs import define, field

from kmexport.columns.json_text import (
    OBJECTS_AT_ONCE,
    drop_heads,
    encode_lines,
    escape_surrogates,
    read_raw_lines,
    split_lines,
    without_head,
)
from kmexport.format.decoding import DECODE_ERRORS, load_object
from kmexport.format.encoding import spell_object
from kmexport.format.names import FOLDED_ASCII
from kmexport.parsing.selection import WantedNames

__all__ = ["PairReader", "Pairs", "Spellings"]

_NEWLINE: Final = ord("\n")
_values_of: Final = methodcaller("values")


class Spellings(dict[str, int]):
    """Spellings of names with their numbers: a spelling gets the next number when it is asked for the first time."""

    def __missing__(self, spelling: str) -> int:
        number = self[spelling] = len(self)
        return number


@define
class Pairs:
    """The properties of some records, record by record.

    `counts` has the number of properties of each record; `ids` the numbers of their spellings, and `values` their JSON,
    one after another. `texts` has the properties of each record as one JSON object, if those were asked for; `exact`
    the objects, by their row, that differ from what was sent, as they were sent.
    """

    _counts: list[Any] = field(factory=list)
    _ids: list[Any] = field(factory=list)
    _values: list[bytes] = field(factory=list)
    _texts: list[bytes] = field(factory=list)
    exact: dict[int, str] = field(factory=dict)

    def add(self, found: Sequence[dict[str, Any]], spellings: Spellings, rows: Any = None, count: int = 0) -> None:
        """Add records, each a dict of values that are JSON; with `rows` those records of `count`, others have none."""
        counts = np.fromiter(map(len, found), np.int64, len(found))
        if rows is not None:
            some, counts = counts, np.zeros(count, np.int64)
            counts[rows] = some
        self._counts.append(counts)
        values = list(chain.from_iterable(map(_values_of, found)))
        self._ids.append(np.fromiter(map(spellings.__getitem__, chain.from_iterable(found)), np.int32, len(values)))
        self._values.append(encode_lines(values))

    def add_texts(self, lines: bytes) -> None:
        """Add the properties of records as objects, with a newline after each."""
        self._texts.append(lines)

    def renumber(self, numbers: Sequence[int]) -> None:
        """Give each spelling another number: that which `numbers` has in its place."""
        places = np.array(numbers, np.int32)
        self._ids = [places[ids] for ids in self._ids]

    @property
    def size(self) -> int:
        """The bytes of text."""
        return sum(map(len, self._values)) + sum(map(len, self._texts))

    def counts(self) -> Any:
        return np.concatenate([np.zeros(0, np.int64), *self._counts])

    def ids(self) -> Any:
        return np.concatenate([np.zeros(0, np.int32), *self._ids])

    def values(self) -> pa.Array:
        return split_lines(self._values)

    def texts(self) -> pa.Array:
        return split_lines(self._texts)


class PairReader:
    """A reader of the properties of objects. `take` gives those that were read since it was called last.

    `wanted` are folded names; None means all. `spellings` numbers the names that come out.
    """

    def __init__(self, spellings: Spellings, wanted: frozenset[str] | None = None, *, with_texts: bool = False) -> None:
        self._spellings = spellings
        self._wanted = None if wanted is None else _NameSearch(wanted)
        self._with_texts = with_texts
        self._found = Pairs()
        self._rows = 0

    def add_block(self, block: bytes, count: int) -> None:
        """Read the lines of a block, `count` lines with one object on each."""
        rows = None if self._wanted is None or self._with_texts else self._wanted.rows(block)
        if rows is not None:
            lines = block.split(b"\n")
            found = self._read(b"\n".join([lines[row] for row in rows]), len(rows)) if len(rows) else []
            self._found.add(self._only_wanted(found), self._spellings, rows, count)
            self._rows += count
            return
        self.add_objects(self._read(block, count))

    def add_objects(self, found: list[dict[str, Any]]) -> None:
        """Read objects whose values stay JSON, without the four keys of a record."""
        if self._with_texts:
            self._found.add_texts(encode_lines(found))
        self._found.add(self._only_wanted(found), self._spellings)
        self._rows += len(found)

    def add_texts(self, texts: Sequence[bytes]) -> None:
        """Read one object of each text."""
        for start in range(0, len(texts), OBJECTS_AT_ONCE):
            some = texts[start : start + OBJECTS_AT_ONCE]
            # A line end in an object is a space between its parts: inside a string it is an escape.
            flat = [text.replace(b"\n", b" ") if b"\n" in text else text for text in some]
            self.add_block(b"\n".join(flat), len(flat))

    def read(self, texts: pa.Array) -> Pairs:
        """Read a column of JSON objects; null has none."""
        for start in range(0, len(texts), OBJECTS_AT_ONCE):
            self.add_texts([(text or "{}").encode() for text in texts.slice(start, OBJECTS_AT_ONCE).to_pylist()])
        return self.take()

    def take(self) -> Pairs:
        found, self._found, self._rows = self._found, Pairs(), 0
        return found

    def _read(self, block: bytes, count: int) -> list[dict[str, Any]]:
        """Read the objects of a block without the four keys of a record."""
        try:
            found = read_raw_lines(block)
        except DECODE_ERRORS:
            found = []
        if len(found) != count:
            found = list(map(self._read_one, block.split(b"\n"), range(self._rows, self._rows + count)))
        drop_heads(found)
        return found

    def _read_one(self, text: bytes, row: int) -> dict[str, Any]:
        try:
            pairs: dict[str, Any] = read_raw_lines(text)[0]
        except DECODE_ERRORS:
            exact = without_head(text).decode()
            shown, changed = escape_surrogates(pa.array([exact], pa.string()))
            if changed:
                self._found.exact[row] = exact
            return _read_object(shown[0].as_py().encode())
        return pairs

    def _only_wanted(self, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        wanted = self._wanted
        if wanted is None:
            return found
        return [{name: value for name, value in pairs.items() if wanted[name]} for pairs in found]


def _read_object(text: bytes) -> dict[str, Any]:
    """Read an object as a dict of values that stay JSON, also one that is nested too deeply for msgspec."""
    try:
        pairs: dict[str, Any] = read_raw_lines(text)[0]
    except DECODE_ERRORS:
        return {name: msgspec.Raw(spell_object({"": value})[4:-1]) for name, value in load_object(text).items()}
    return pairs


_OTHER: Final = re.compile(r'["\\/\x00-\x1f\x7f-\U0010ffff]')
_MOST_NAMES: Final = 12
_BLOCKS_READ_WHOLE: Final = 31  # then one is looked at again


class _NameSearch(WantedNames):
    """Wanted names of properties, and which lines of a block may have one of them."""

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__(names)
        is_simple = len(names) <= _MOST_NAMES and not any(map(_OTHER.search, names))
        self._keys = [re.compile(re.escape(b'"%b"' % name.encode())) for name in names] if is_simple else None
        self._read_whole = 0

    def rows(self, block: bytes) -> Any:
        """Find the lines that may have a wanted name; None where most have, or where looking does not tell."""
        if self._keys is None or self._read_whole:
            self._read_whole = max(self._read_whole - 1, 0)
            return None
        folded = block.translate(FOLDED_ASCII)
        starts = [found.start() for key in self._keys for found in key.finditer(folded)]
        if b"\\" in block:  # an escape may stand for a letter
            starts += [found.start() for found in re.finditer(rb"\\u", block)]
        characters = np.frombuffer(block, np.uint8)
        if not block.isascii():  # and so may letters outside ASCII, such as the long s
            starts += np.flatnonzero(characters >= 0x80).tolist()
        if not starts:
            return np.zeros(0, np.int64)
        ends = np.flatnonzero(characters == _NEWLINE)
        rows = np.unique(np.searchsorted(ends, starts))
        if len(rows) * 2 > len(ends):
            self._read_whole = _BLOCKS_READ_WHOLE
            return None
        return rows
