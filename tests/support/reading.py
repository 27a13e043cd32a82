"""One stream read with every check of its counts, and files that give little at a time."""

from __future__ import annotations

import io
import sys

from kmexport import LineCounts, MalformedRecordError
from kmexport.parsing.records import one_by_one, read_lists

GOOD = b'{"_p":"ana","_t":1}'


class ShortReads(io.RawIOBase):
    """A file that gives a few bytes at a time, so that every line crosses a border somewhere."""

    def __init__(self, content: bytes, size: int) -> None:
        self.content, self.size, self.at = content, size, 0

    def read(self, size: int = -1) -> bytes:
        block = self.content[self.at : self.at + min(size, self.size)]
        self.at += len(block)
        return block


def calls_of(work) -> int:
    calls = 0

    def count(frame, event, arg):
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def read(source, max_line_bytes=1 << 20, *, touch=False):
    """With `touch`, the properties are asked for record by record, so that later blocks are parsed whole."""
    errors: list[MalformedRecordError] = []
    counts = LineCounts()
    records = []
    for record in one_by_one(read_lists(source, "revisions/1.json", errors.append, max_line_bytes, counts)):
        if touch:
            assert record.properties is record.properties
        records.append(record)
    assert counts.lines == counts.records + counts.rejected + counts.blank + counts.joined - counts.shared
    assert (len(records), len(errors)) == (counts.records, counts.rejected)
    return records, errors, counts
