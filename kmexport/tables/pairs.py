"""The properties of records as pairs of a name and a value: from the lines of files, or from columns of JSON.

msgspec reads each object as a dict of values that stay JSON, some hundreds of objects in one call. Of a key that stands
twice the last value counts, in the place of the first. Values keep their digits. What msgspec does not read (half of a
surrogate pair) is read one object at a time, and shown as the text of its escape.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import methodcaller
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
from attrs import define, field

from kmexport.format.hashes import DECODE_ERRORS, load_object
from kmexport.format.spelling import spell_object
from kmexport.names import fold_name
from kmexport.tables.escapes import show_halves
from kmexport.tables.texts import HASHES_AT_ONCE, read_raw_lines, split_lines, without_head

__all__ = ["PairReader", "Pairs", "Spellings", "pairs_of_texts"]

_values_of: Final = methodcaller("values")
_encode_lines: Final = msgspec.json.Encoder().encode_lines


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

    def add(self, found: Sequence[dict[str, Any]], spellings: Spellings) -> None:
        """Add records, each a dict of values that are JSON."""
        values = list(chain.from_iterable(map(_values_of, found)))
        self._counts.append(np.fromiter(map(len, found), np.int64, len(found)))
        self._ids.append(np.fromiter(map(spellings.__getitem__, chain.from_iterable(found)), np.int32, len(values)))
        self._values.append(_encode_lines(values))

    def add_texts(self, lines: bytes) -> None:
        """Add the properties of records as objects, with a newline after each."""
        self._texts.append(lines)

    @property
    def size(self) -> int:
        """How many bytes of text it is."""
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
    """Reads properties of objects. `take` gives those that were read since it was called last.

    `wanted` are folded names; None means all. `spellings` numbers the names that come out.
    """

    def __init__(self, spellings: Spellings, wanted: frozenset[str] | None = None, *, with_texts: bool = False) -> None:
        self._spellings = spellings
        self._wanted = None if wanted is None else _WantedSpellings(wanted)
        self._with_texts = with_texts
        self._found = Pairs()
        self._rows = 0

    def add_block(self, block: bytes, count: int) -> None:
        """Read the lines of a block, `count` lines with one object on each."""
        try:
            found = read_raw_lines(block)
        except DECODE_ERRORS:
            found = []
        if len(found) == count:
            self._add(found)
        else:
            self._add_one_by_one(block.split(b"\n"))

    def add_texts(self, texts: Sequence[bytes]) -> None:
        """Read one object of each text."""
        for start in range(0, len(texts), HASHES_AT_ONCE):
            some = texts[start : start + HASHES_AT_ONCE]
            # A line end in an object is a space between its parts: inside a string it is an escape.
            flat = [text.replace(b"\n", b" ") if b"\n" in text else text for text in some]
            self.add_block(b"\n".join(flat), len(flat))

    def take(self) -> Pairs:
        found, self._found, self._rows = self._found, Pairs(), 0
        return found

    def _add(self, found: list[dict[str, Any]]) -> None:
        for pairs in found:
            # One by one: a loop over the keys costs half as much again.
            pairs.pop("_p", None)
            pairs.pop("_t", None)
            pairs.pop("_n", None)
            pairs.pop("_p2", None)
        if self._with_texts:
            self._found.add_texts(_encode_lines(found))
        if self._wanted is not None:
            wanted = self._wanted
            found = [{name: value for name, value in pairs.items() if wanted[name]} for pairs in found]
        self._rows += len(found)
        self._found.add(found, self._spellings)

    def _add_one_by_one(self, texts: Sequence[bytes]) -> None:
        found = []
        for row, text in enumerate(texts, self._rows):
            try:
                found += [read_raw_lines(text)[0]]
            except DECODE_ERRORS:
                exact = without_head(text).decode()
                shown, changed = show_halves(pa.array([exact], pa.string()))
                if changed:
                    self._found.exact[row] = exact
                found.append(_read_object(shown[0].as_py().encode()))
        self._add(found)


def _read_object(text: bytes) -> dict[str, Any]:
    """Read an object as a dict of values that stay JSON, also one that is nested too deeply for msgspec."""
    try:
        pairs: dict[str, Any] = read_raw_lines(text)[0]
    except DECODE_ERRORS:
        return {name: msgspec.Raw(spell_object({"": value})[4:-1]) for name, value in load_object(text).items()}
    return pairs


class _WantedSpellings(dict[str, bool]):
    """Spellings, and whether their names are wanted."""

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__()
        self._names = names

    def __missing__(self, spelling: str) -> bool:
        is_wanted = self[spelling] = fold_name(spelling) in self._names
        return is_wanted


def pairs_of_texts(texts: pa.Array, spellings: Spellings) -> Pairs:
    """Read properties that are a column of JSON objects; null has none."""
    reader = PairReader(spellings)
    for start in range(0, len(texts), HASHES_AT_ONCE):
        reader.add_texts([(text or "{}").encode() for text in texts.slice(start, HASHES_AT_ONCE).to_pylist()])
    return reader.take()
