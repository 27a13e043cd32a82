"""The JSON texts of properties → numbers of names, and texts of values."""

from __future__ import annotations

from itertools import chain
from operator import methodcaller
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kmexport.format.hashes import DECODE_ERRORS, load_object
from kmexport.format.spelling import spell_object
from kmexport.tables.texts import HASHES_AT_ONCE, read_raw_lines, split_lines

__all__ = ["read_pairs"]

_values_of: Final = methodcaller("values")


def read_pairs(texts: pa.Array, names: dict[str, int]) -> tuple[Any, Any, pa.Array]:
    """How many properties each text has; their spellings' numbers and their values' texts, one after another.

    `names` gives each spelling its number, also one that it meets for the first time.
    """
    counts: list[int] = []
    spelling_ids: list[int] = []
    joined: list[bytes] = []
    starts = [*range(0, len(texts), HASHES_AT_ONCE), len(texts)]
    chunks = pc.binary_join(pa.ListArray.from_arrays(pa.array(starts, pa.int32()), texts), "\n")
    for start, chunk in zip(starts, chunks, strict=False):
        found = _hashes(chunk.as_buffer().to_pybytes(), texts.slice(start, HASHES_AT_ONCE))
        counts.extend(map(len, found))
        spelling_ids.extend(map(names.__getitem__, chain.from_iterable(found)))
        joined.append(b"\n".join(chain.from_iterable(map(_values_of, found))))
    values = split_lines(b"\n".join([*filter(None, joined), b""]))
    return np.array(counts, np.int64), np.array(spelling_ids, np.int32), values


def _hashes(lines: bytes, texts: pa.Array) -> list[dict[str, Any]]:
    """Each text as a hash whose values are still text, on one line each."""
    if lines.count(b"\n") >= len(texts):
        # Between the parts of a value that was printed over several lines; inside a string there is none.
        lines = b"\n".join(text.replace("\n", " ").encode() for text in texts.to_pylist())
    try:
        found: list[dict[str, Any]] = read_raw_lines(lines)
    except DECODE_ERRORS:
        found = []
    if len(found) == len(texts):
        return found
    hashes = (load_object(text.encode()) for text in texts.to_pylist())
    return [{name: spell_object({"": value})[4:-1] for name, value in one.items()} for one in hashes]
