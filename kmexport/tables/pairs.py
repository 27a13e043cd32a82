"""Properties → numbers of their names, and their values as JSON: from the hashes of lines, or from JSON texts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import methodcaller
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
from attrs import frozen

from kmexport.format.hashes import DECODE_ERRORS, load_object
from kmexport.format.spelling import spell_object
from kmexport.tables.cuts import cut_plain
from kmexport.tables.escapes import show_halves
from kmexport.tables.texts import HASHES_AT_ONCE, read_raw_lines, split_lines, without_head

__all__ = ["Pairs", "pairs_of_lines", "pairs_of_texts"]

_CUT_AT_ONCE: Final = 800_000  # bytes; measured: with half or four times as many a line takes a fifth longer
_values_of: Final = methodcaller("values")
_encode_lines: Final = msgspec.json.Encoder().encode_lines


@frozen
class Pairs:
    """How many properties each record has; their spellings' numbers and their values' JSON, one after another.

    `texts`: the properties of each record as one JSON object, where that was asked for.
    """

    counts: Any
    ids: Any
    values: pa.Array
    texts: pa.Array | None


def pairs_of_lines(
    lines: Sequence[bytes], names: dict[str, int], *, with_texts: bool = False, shows_halves: bool = True
) -> Pairs:
    """The properties of lines that are a record each: every key but the four, of a key that stands twice the last.

    Some lines may stand together, with newlines between them. `names` gives each spelling its number, also one that it
    meets for the first time. With `shows_halves`, half of a surrogate pair is the text of its escape in names and
    values; in `texts` it is as it was sent.
    """
    reader = _Reader(names, with_texts=with_texts, shows_halves=shows_halves)
    found: list[Pairs] = []
    held: list[bytes] = []
    size = 0
    for some in lines:
        held.append(some)
        size += len(some)
        if size >= _CUT_AT_ONCE:
            found.append(reader.read(held))
            held, size = [], 0
    return _together([*found, reader.read(held)] if held else found)


def pairs_of_texts(texts: pa.Array, names: dict[str, int]) -> Pairs:
    """The same of properties that are one JSON object for each record."""
    return _together(
        [
            _pairs_of(_read_hashes([text.encode() for text in texts.slice(start, HASHES_AT_ONCE).to_pylist()]), names)
            for start in range(0, len(texts), HASHES_AT_ONCE)
        ]
    )


class _Reader:
    def __init__(self, names: dict[str, int], *, with_texts: bool, shows_halves: bool) -> None:
        self._names = names
        self._with_texts = with_texts
        self._shows_halves = shows_halves

    def read(self, lines: Sequence[bytes]) -> Pairs:
        """First those that are plain, all at once; the others in their places between them."""
        text = b"\n".join([*lines, b""])
        cut = cut_plain(text, self._names, with_texts=self._with_texts)
        hashes = text.split(b"\n")[:-1] if cut is None or not cut.is_plain.all() else []
        if cut is None:
            return self._parse(hashes)
        plain = Pairs(cut.counts, cut.ids, cut.values, cut.spelt)
        if cut.is_plain.all():
            return plain
        rows = np.flatnonzero(~cut.is_plain)
        others = self._parse([hashes[row] for row in rows.tolist()])
        counts = cut.counts.copy()
        counts[rows] = others.counts
        plain_rows = np.flatnonzero(cut.is_plain)
        owners = np.concatenate([np.repeat(np.arange(len(counts)), cut.counts), np.repeat(rows, others.counts)])
        order = np.argsort(owners, kind="stable")
        texts = None
        if plain.texts is not None and others.texts is not None:
            places = np.argsort(np.concatenate([plain_rows, rows]))
            texts = pa.concat_arrays([plain.texts, others.texts]).take(pa.array(places))
        values = pa.concat_arrays([plain.values, others.values]).take(pa.array(order))
        return Pairs(counts, np.concatenate([plain.ids, others.ids])[order], values, texts)

    def _parse(self, hashes: Sequence[bytes]) -> Pairs:
        starts = range(0, len(hashes), HASHES_AT_ONCE)
        return _together([self._parse_at_once(hashes[start : start + HASHES_AT_ONCE]) for start in starts])

    def _parse_at_once(self, hashes: Sequence[bytes]) -> Pairs:
        try:
            found = read_raw_lines(b"\n".join(hashes))
        except DECODE_ERRORS:  # half of a surrogate pair
            found = []
        if len(found) == len(hashes):
            for pairs in found:
                # One by one: a loop over the keys costs half as much again.
                pairs.pop("_p", None)
                pairs.pop("_t", None)
                pairs.pop("_n", None)
                pairs.pop("_p2", None)
            return _pairs_of(found, self._names, split_lines(_encode_lines(found)) if self._with_texts else None)
        spelt = pa.array(map(without_head, hashes), pa.string())
        shown = show_halves(spelt)[0] if self._shows_halves else spelt
        found = _read_hashes([text.encode() for text in shown.to_pylist()])
        return _pairs_of(found, self._names, spelt if self._with_texts else None)


def _read_hashes(hashes: Sequence[bytes]) -> list[dict[str, Any]]:
    """Each as a dict of values that are JSON still."""
    try:
        found: list[dict[str, Any]] = read_raw_lines(b"\n".join(hashes))
    except DECODE_ERRORS:
        found = []
    if len(found) == len(hashes):
        return found
    return [
        {name: msgspec.Raw(spell_object({"": value})[4:-1]) for name, value in load_object(one).items()}
        for one in hashes
    ]


def _pairs_of(found: Sequence[dict[str, Any]], names: dict[str, int], texts: pa.Array | None = None) -> Pairs:
    counts = np.fromiter(map(len, found), np.int64, len(found))
    spelt = list(chain.from_iterable(map(_values_of, found)))
    values = split_lines(_encode_lines(spelt))
    if len(values) != len(spelt):
        # A line end in a value is a space between its parts: inside a string it is an escape.
        values = pa.array([bytes(value).replace(b"\n", b" ") for value in spelt], pa.string())
    ids = np.fromiter(map(names.__getitem__, chain.from_iterable(found)), np.int32, len(spelt))
    return Pairs(counts, ids, values, texts)


def _together(found: Sequence[Pairs]) -> Pairs:
    if len(found) == 1:
        return found[0]
    if not found:
        return Pairs(np.zeros(0, np.int64), np.zeros(0, np.int32), pa.array([], pa.string()), pa.array([], pa.string()))
    texts = [one.texts for one in found]
    return Pairs(
        np.concatenate([one.counts for one in found]),
        np.concatenate([one.ids for one in found]),
        pa.concat_arrays([one.values for one in found]),
        None if any(one is None for one in texts) else pa.concat_arrays(texts),
    )
