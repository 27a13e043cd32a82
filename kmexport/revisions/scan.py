"""The scan of a file: whether it is whole, its broken lines, and how late its records came."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing

from attrs import field, frozen

from kmexport.errors import MalformedRecordError, RevisionNotFoundError
from kmexport.parsing.counts import LineCounts
from kmexport.parsing.records import one_by_one, read_lists
from kmexport.parsing.stream import BinaryFile
from kmexport.revisions.lateness import count_lateness
from kmexport.revisions.manifest import Revision
from kmexport.revisions.reader import ReadOptions, open_revisions
from kmexport.storage.folder import Folder
from kmexport.windows import spell_moment


@frozen
class RevisionScan:
    """The content of one revision: the unix seconds of its `first` and `last` record, and the number of broken lines.

    `is_gone`: there is no such file. `is_empty`: it has no line, and the index says that records were received.
    `is_cut_off`: it ends inside a line. `lateness` counts its records by how late they came.
    """

    revision: Revision
    first: int | None = field(default=None, repr=spell_moment)
    last: int | None = field(default=None, repr=spell_moment)
    malformed: int = 0
    is_gone: bool = False
    is_empty: bool = False
    is_cut_off: bool = False
    lateness: Mapping[str, int] = field(factory=dict)

    @property
    def is_damaged(self) -> bool:
        """True where something of it is lacking."""
        return self.is_empty or self.is_cut_off

    def __str__(self) -> str:
        """Say so in a sentence."""
        path = self.revision.path
        if self.is_gone:
            return f"{path} is in the index and its file is gone"
        if self.is_empty:
            return f"{path} is empty, and the index says that records were received"
        if self.is_cut_off:
            return f"{path} ends inside a line, it was cut off"
        if self.first is None:
            return f"{path} holds no records"
        return f"{path} holds records from {spell_moment(self.first)} to {spell_moment(self.last)}"


def scan_revisions(folder: Folder, revisions: Sequence[Revision]) -> Iterator[RevisionScan]:
    """Read each file. Holds the times of one."""
    with closing(open_revisions(folder, revisions, ReadOptions())) as openings:
        for revision, opening in openings:
            try:
                with opening as file:
                    contents = _contents(file, revision, folder.limits.max_line_bytes)
            except RevisionNotFoundError:
                contents = RevisionScan(revision, is_gone=True)
            yield contents


def _contents(file: BinaryFile, revision: Revision, max_line_bytes: int) -> RevisionScan:
    watched = _WatchedFile(file)
    counts = LineCounts()
    errors = _ErrorCount()
    lists = read_lists(watched, revision.path, errors.add, max_line_bytes, counts)
    times = [record.timestamp for record in one_by_one(lists)]
    is_at_end = errors.count > 0 and errors.last_line == counts.lines
    return RevisionScan(
        revision,
        min(times, default=None),
        max(times, default=None),
        errors.count,
        is_empty=counts == LineCounts() and revision.has_records,
        is_cut_off=is_at_end and (errors.is_broken_off or watched.last_byte != b"\n"),
        lateness=count_lateness(revision, times),
    )


class _WatchedFile:
    """A file that remembers the last byte that was read."""

    def __init__(self, file: BinaryFile) -> None:
        self._file = file
        self.last_byte = b""

    def read(self, size: int, /) -> bytes:
        block = self._file.read(size)
        self.last_byte = block[-1:] or self.last_byte
        return block


class _ErrorCount:
    """A policy that counts, and remembers where the last malformed line was."""

    def __init__(self) -> None:
        self.count = 0
        self.last_line = 0
        self.is_broken_off = False

    def add(self, error: MalformedRecordError) -> None:
        self.count += 1
        self.last_line = error.line_number
        self.is_broken_off = not error.raw  # its end is lacking: gzip that was cut off, or an open array
