"""The lines of a block that may be wanted, and their places, by NumPy: events of some names, and aliases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np

from kmexport.parsing.lines import FoundLines
from kmexport.parsing.selection import LineFilter

__all__ = ["LineSearch"]

_NEWLINE, _QUOTE, _COLON, _UNDERSCORE, _N, _P, _2 = b'\n":_np2'
_WORD: Final = 8  # bytes that are compared at once


class LineSearch:
    """A search for the lines that a filter finds, and perhaps for some more, with their places.

    Names are compared by their first eight bytes, without the bit that tells capital letters from small ones. So a name
    is passed over only where those bytes are plain ASCII and begin no wanted name. Keys or names that are written in
    another way are left to the filter's own search. Measured: 0.18 µs a line for one name or three, and aliases; the
    filter's takes 0.27 and 0.45, without the places.
    """

    def __init__(self, line_filter: LineFilter) -> None:
        self._filter = line_filter
        self._beginnings = list(_beginnings(line_filter.names or ()))

    def __call__(self, block: bytes) -> FoundLines | None:
        r"""Find the lines of a block. None where only reading the whole block can tell.

        >>> from kmexport.parsing.selection import name_filter
        >>> block = b'{"_n":"Signed Up"}\n{"x":"signed up"}\n{"_n":"signe\\u0064 up"}'
        >>> found = LineSearch(name_filter({"signed up"}))(block)
        >>> found.texts, found.places.tolist(), found.count
        ([b'{"_n":"Signed Up"}', b'{"_n":"signe\\u0064 up"}'], [0, 2], 3)
        """
        characters = np.frombuffer(block, np.uint8)
        ends = (characters == _NEWLINE).nonzero()[0]
        rows = self._rows(block, characters, ends)
        if rows is None:
            found = self._filter.spans(block)
            if found is None:
                return None
            spans = found
            rows = np.searchsorted(ends, [begin for begin, _ in spans])
        else:
            borders = np.concatenate([[-1], ends, [len(block)]])
            begins, stops = borders[rows] + 1, borders[rows + 1]
            spans = list(zip(begins.tolist(), stops.tolist(), strict=True))
        return FoundLines([block[begin:end] for begin, end in spans], rows, len(ends) + 1)

    def _rows(self, block: bytes, characters: Any, ends: Any) -> Any:
        """Find the places of the lines; None where the filter itself has to search."""
        if self._filter.names is None or len(block) < _WORD or self._filter.has_escaped_key(block):
            return None
        at = (characters == _UNDERSCORE).nonzero()[0]
        follows = characters.take(at + 1, mode="clip")
        keys = at[follows == _N]
        keys = keys[characters.take(keys + 2, mode="clip") == _QUOTE]
        for place, character in ((3, _COLON), (4, _QUOTE)):
            if (characters.take(keys + place, mode="clip") != character).any():
                return None
        found = np.zeros(len(ends) + 1, bool)
        found[np.searchsorted(ends, keys[self._may_begin(block, keys + 5)])] = True
        if self._filter.with_aliases:
            aliases = at[follows == _P]
            aliases = aliases[characters.take(aliases + 2, mode="clip") == _2]
            found[np.searchsorted(ends, aliases)] = True
        return found.nonzero()[0]

    def _may_begin(self, block: bytes, starts: Any) -> Any:
        """Tell where a wanted name may begin."""
        last = len(block) - _WORD
        words = np.ndarray(last + 1, "<u8", block, strides=(1,))[np.minimum(starts, last)]
        may_begin = starts > last
        for mask, beginning in self._beginnings:
            may_begin |= (words & mask) == beginning
        if b"\\" in block or not block.isascii():
            may_begin |= _has_other_than_itself(words)
        return may_begin


def _beginnings(names: Iterable[str]) -> Iterator[tuple[Any, Any]]:
    """Give the bytes with which each name begins, as one number, and a mask of the bits that are compared."""
    for name in names:
        beginning, mask = bytearray(_WORD), bytearray(_WORD)
        for place, byte in enumerate((name.encode(errors="replace") + b'"')[:_WORD]):
            # A space may be a comma or a colon.
            mask[place] = 0 if byte == ord(" ") else ~_CASE_BIT & 0xFF if chr(byte).isalpha() else 0xFF
            beginning[place] = byte & mask[place]
        yield np.uint64(int.from_bytes(mask, "little")), np.uint64(int.from_bytes(beginning, "little"))


def _has_other_than_itself(words: Any) -> Any:
    """Tell which words have a byte that may spell another letter: a backslash, or one outside ASCII."""
    differences = words ^ _BACKSLASHES
    # A byte of zero is the only one whose highest bit this sets.
    return ((words | ((differences - _ONES) & ~differences)) & _HIGHEST_BITS) != 0


_CASE_BIT: Final = 0x20
_ONES: Final = np.uint64(0x0101010101010101)
_HIGHEST_BITS: Final = np.uint64(0x8080808080808080)
_BACKSLASHES: Final = np.uint64(0x5C5C5C5C5C5C5C5C)
