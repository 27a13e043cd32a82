"""Parsed lines of a file, and how its lines are counted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from operator import attrgetter, sub
from typing import TypeAlias

from attrs import define, fields

from kmexport.errors import MalformedRecordError
from kmexport.format.decoding import Head


@define
class ParsedLines:
    """Some lines of a file that are a record each, in their order.

    `heads` are checked: none is both an event and an alias. `texts` are what the properties are read from, repaired
    where needed; where a `block` was read at once they are its lines, cut at the first use. `numbers` are the numbers
    of the lines where they begin, from 1.
    """

    heads: list[Head]
    _texts: list[bytes]
    numbers: Sequence[int]
    block: bytes | None = None
    _size: int = 0

    @property
    def size(self) -> int:
        """The bytes of text."""
        return self._size or sum(map(len, self._texts))

    @property
    def texts(self) -> list[bytes]:
        if self.block is not None and not self._texts:
            self._texts = self.block.split(b"\n")
        return self._texts

    def only(self, wanted: Sequence[bool]) -> ParsedLines:
        """Keep the wanted lines."""
        if all(wanted):
            return self
        texts = compress(self.texts, wanted)
        return ParsedLines(list(compress(self.heads, wanted)), list(texts), list(compress(self.numbers, wanted)))


Outcome: TypeAlias = ParsedLines | MalformedRecordError


@define
class LineCounts:
    """Counters of the lines of files. Pass one as `counts=`: it is added to while lines are read.

    `records` were read, wanted or not; `rejected` lines could not be read as one; `repaired` records had octal escapes,
    bytes that are not UTF-8, a byte-order mark or a fraction of a second. An object over several lines is one record;
    `joined` counts its further lines.
    The lone brackets and commas of a file that is one array count as `blank`, and several records on one of its lines
    in `shared`. `passed` lines were not looked at, since no wanted record can be there. Every line is counted:
    `lines == records + rejected + blank + joined - shared + passed`.

    >>> from kmexport import iter_records
    >>> counts = LineCounts()
    >>> lines = [b'{"_p":"bob","_t":1.5}', b"", b"?"]
    >>> records = list(iter_records(lines, on_error="skip", counts=counts))
    >>> counts.lines, counts.records, counts.repaired, counts.blank, counts.rejected
    (3, 1, 1, 1, 1)
    """

    lines: int = 0
    records: int = 0
    rejected: int = 0
    blank: int = 0
    joined: int = 0
    shared: int = 0
    repaired: int = 0
    passed: int = 0

    def since(self, before: LineCounts) -> LineCounts:
        """Subtract an earlier state of these counters."""
        return LineCounts(*map(sub, _all_of(self), _all_of(before)))

    def add(self, more: LineCounts) -> None:
        """Add other counters to these."""
        for name, count in zip(_NAMES, _all_of(more), strict=True):
            if count:
                setattr(self, name, getattr(self, name) + count)


_NAMES = tuple(field.name for field in fields(LineCounts))
_all_of = attrgetter(*_NAMES)
