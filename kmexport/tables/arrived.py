"""Records as they arrive: their heads in columns, and their properties as they stand in the lines, not parsed yet.

Another thread parses them while the next lines are read.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from attrs import frozen

from kmexport.reading.outcomes import ParsedLines
from kmexport.tables.columns import Rows
from kmexport.tables.pairs import Pairs, pairs_of_lines, pairs_of_texts

__all__ = ["Arrived", "HashRows", "read_properties"]


@frozen
class Arrived:
    """Some records: their heads, and the lines that they were read from, a hash on each, of which some stand together.

    Without lines, the column `properties` of the heads has JSON.
    """

    heads: pa.RecordBatch
    lines: Sequence[bytes] | None = None


class HashRows:
    """The rows of one revision: those of its heads, and the lines that they are read from."""

    def __init__(self, heads: Rows[pa.RecordBatch]) -> None:
        self._heads = heads
        self._lines: list[bytes] = []

    def __len__(self) -> int:
        return len(self._heads)

    def add(self, lines: ParsedLines) -> None:
        """More lines of the same revision."""
        self._heads.add(lines)
        if lines.block is not None:
            block = lines.block
            self._lines.append(block.replace(b"\r\n", b"\n").removesuffix(b"\r") if b"\r" in block else block)
        else:
            # A line end in a hash is a space between its parts: inside a string it is an escape.
            self._lines += [text.replace(b"\n", b" ") for text in lines.texts]

    def batch(self) -> Arrived:
        """All of it."""
        return Arrived(self._heads.batch(), self._lines)


def read_properties(
    arrived: Arrived, names: dict[str, int], *, with_texts: bool = False, shows_halves: bool = True
) -> Pairs:
    """The properties of the records (see `pairs_of_lines`); `texts` is None where the heads have them."""
    if arrived.lines is not None:
        return pairs_of_lines(arrived.lines, names, with_texts=with_texts, shows_halves=shows_halves)
    properties = arrived.heads.column("properties")
    return pairs_of_texts(getattr(properties, "storage", properties), names)
