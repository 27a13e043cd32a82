r"""Where the keys and values of plain hashes stand in their text, found by whole columns, without an object for each.

`{"_p":"ann","_t":1,"plan":"Pro"}` is plain: on one line, no space between its parts, nothing nested, and neither `\"`
nor half of a surrogate pair in it. In the text of many such lines every quote begins or ends a string, a string before
a colon is a key, and its value goes from behind the colon to the comma before the next key.
"""

from __future__ import annotations

from itertools import compress
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from attrs import evolve, frozen

from kmexport.format.hashes import RESERVED

__all__ = ["Cut", "cut_plain"]

_QUOTE, _COLON, _COMMA, _NEWLINE, _OPEN, _CLOSE, _BACKSLASH = (ord(character) for character in '":,\n{}\\')
_BEGINS: Final = np.isin(np.arange(256), np.frombuffer(b'"-0123456789tfn', np.uint8))  # of a value that is not nested
_ENDS: Final = np.isin(np.arange(256), np.frombuffer(b'"0123456789el', np.uint8))
_MOST_BYTES: Final = 1 << 30
_BITS: Final = 30  # as many as are summed up without an overflow, however often a key stands on a line


@frozen
class Cut:
    """What stands in some lines: for each whether it is plain, and how many properties it has (0 where it is not).

    Of these properties, one after another, the numbers of their spellings and their values as JSON. `spelt` is, for
    each line that is plain, a hash of its properties alone; None where that was not asked for.
    """

    is_plain: Any
    counts: Any
    ids: Any
    values: pa.Array
    wanted: Any  # the numbers of these properties among all pairs
    spelt: pa.Array | None


def cut_plain(text: bytes, names: dict[str, int], *, with_texts: bool) -> Cut | None:
    """The properties of those lines that are plain, of which each is a hash; None where it does not pay to look.

    There is a newline behind each. `names` gives each spelling its number, also one that it meets for the first time.
    """
    if len(text) > _MOST_BYTES:
        return None
    characters = np.frombuffer(text, np.uint8)
    newlines = np.flatnonzero(characters == _NEWLINE)
    quotes = np.flatnonzero(characters == _QUOTE)
    if b"\\" in text and len(odd := _odd_escapes(characters)):
        is_other = np.ones(len(newlines), bool)
        is_other[np.searchsorted(newlines, odd)] = False
        return _cut_others(text, is_other, names, with_texts=with_texts)
    opens, closes = quotes[0::2], quotes[1::2]
    is_key = characters[closes + 1] == _COLON
    opens, closes = opens[is_key], closes[is_key]
    starts = np.append(0, newlines[:-1] + 1)
    firsts = np.searchsorted(opens, starts)  # each line's first key
    counts = np.diff(firsts, append=len(opens))
    if not counts.all():
        return None
    lasts = firsts + counts - 1
    begins = closes + 2
    ends = np.append(opens[1:] - 1, 0)
    ends[lasts] = newlines - 1
    fits = characters[ends] == _COMMA
    fits[lasts] = characters[newlines - 1] == _CLOSE
    fits &= _BEGINS[characters[begins]] & _ENDS[characters[ends - 1]]
    is_plain = np.logical_and.reduceat(fits, firsts)
    is_plain &= (characters[starts] == _OPEN) & (opens[firsts] == starts + 1)
    bounds = np.stack([opens + 1, closes, begins, ends], axis=1).astype(np.int32)
    parts = pa.StringArray.from_buffers(bounds.size - 1, pa.py_buffer(bounds), pa.py_buffer(text))
    cut = _cut(parts, is_plain, firsts, names)
    if cut is None or not with_texts:
        return cut
    bounds = np.stack([opens, ends], axis=1).astype(np.int32)
    pairs = pa.StringArray.from_buffers(bounds.size - 1, pa.py_buffer(bounds), pa.py_buffer(text))
    return evolve(cut, spelt=_spelt(pairs.take(pa.array(cut.wanted * 2)), cut.counts[cut.is_plain]))


def _odd_escapes(characters: Any) -> Any:
    r"""Where a quote is escaped, or what may be half of a surrogate pair: `\"` and `\ud…`."""
    backslashes = np.flatnonzero(characters == _BACKSLASH)
    after = characters[backslashes + 1]
    is_surrogate = (after == ord("u")) & ((characters[backslashes + 2] | 0x20) == ord("d"))
    return backslashes[(after == _QUOTE) | is_surrogate]


def _spelt(pairs: pa.StringArray, counts: Any) -> pa.Array:
    """Hashes of so many pairs each."""
    offsets = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(counts, out=offsets[1:])
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), pairs), ",")
    return pc.binary_join_element_wise("{", joined, "}", "")


def _cut_others(text: bytes, is_other: Any, names: dict[str, int], *, with_texts: bool) -> Cut | None:
    """The same without some lines, which are not plain."""
    if not is_other.any():
        return None
    chosen = b"\n".join([*compress(text.split(b"\n"), is_other), b""])
    others = cut_plain(chosen, names, with_texts=with_texts)
    if others is None:
        return None
    is_plain, counts = np.zeros(len(is_other), bool), np.zeros(len(is_other), np.int64)
    is_plain[is_other], counts[is_other] = others.is_plain, others.counts
    return evolve(others, is_plain=is_plain, counts=counts)


def _cut(parts: pa.StringArray, is_plain: Any, firsts: Any, names: dict[str, int]) -> Cut | None:
    """`parts` are a key, a colon, a value and a comma by turns; `firsts` the number of the first key of each line."""
    keys = parts.take(pa.array(np.arange(0, len(parts), 4))).dictionary_encode()
    spellings = keys.dictionary.to_pylist()
    if any("\\" in spelling for spelling in spellings):
        return None
    numbers = keys.indices.to_numpy()
    owners = np.repeat(np.arange(len(firsts)), np.diff(firsts, append=len(numbers)))
    # Of a key that stands twice the last counts: that is for others to see to.
    is_plain[_with_a_key_twice(numbers, owners, firsts)] = False
    ids = np.array([-1 if one in RESERVED else names[one] for one in spellings], np.int32)[numbers]
    wanted = np.flatnonzero(is_plain[owners] & (ids >= 0))
    counts = np.bincount(owners[wanted], minlength=len(firsts))
    return Cut(is_plain, counts, ids[wanted], parts.take(pa.array(wanted * 4 + 2)), wanted, None)


def _with_a_key_twice(numbers: Any, owners: Any, firsts: Any) -> Any:
    # Few keys stand on most lines. A bit for each of them: their sum is what they are together where none is twice.
    is_common = numbers < _BITS
    bits = np.where(is_common, np.int64(1) << np.minimum(numbers, _BITS), 0)
    is_twice = np.add.reduceat(bits, firsts) != np.bitwise_or.reduceat(bits, firsts)
    rare = np.flatnonzero(~is_common)
    said = owners[rare].astype(np.int64) * (1 << 31) + numbers[rare]
    said.sort()
    is_twice[said[1:][said[1:] == said[:-1]] >> 31] = True
    return is_twice
