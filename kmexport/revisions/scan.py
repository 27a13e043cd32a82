"""The scan of a file: whether it is whole, its broken lines, and how late its records came.

Late is a record against the time at which the vendor received its file. A window of a bucket reads the files that were
received around it (see `select_revisions`). A record that came later than the margin, or was imported years after its
time, is in none of them. Each pass over all files sees such records, and reports once which revisions hold them.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Final

from attrs import define, field, frozen

from kmexport.errors import MalformedRecordError, RevisionNotFoundError
from kmexport.parsing.counts import LineCounts
from kmexport.parsing.records import one_by_one, read_lists
from kmexport.parsing.stream import BinaryFile
from kmexport.revisions.listing import MARGIN, select_revisions
from kmexport.revisions.manifest import Revision
from kmexport.revisions.reader import ReadOptions, open_revisions
from kmexport.storage.folder import Folder
from kmexport.windows import Window, spell_moment

logger: logging.Logger = logging.getLogger("kmexport")

_ON_TIME: Final = "within 5 minutes"
_BOUNDS: Final = {_ON_TIME: 300, "within an hour": 3_600, "within a day": 86_400}
_LATER: Final = "later"
_AHEAD: Final = "ahead of their time"


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
        is_empty=counts == LineCounts() and revision.has_range,
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


# How late records came.


@frozen
class FarRevision:
    """A revision with records that a window misses: they lie further from its batches than the default margin.

    `first` and `last` are the unix seconds of its first and its last record.
    """

    revision: Revision
    first: int = field(repr=spell_moment)
    last: int = field(repr=spell_moment)

    def __str__(self) -> str:
        """Say so in a sentence."""
        far = [spell_moment(second) for second in sorted({self.first, self.last}) if _is_far(self.revision, second)]
        received = spell_moment(self.revision.min_timestamp)
        return (
            f"{self.revision.path} was received at {received} and holds records of {' and '.join(far)}: "
            "windows miss them without margin=None"
        )


@define
class ReceivedTimes:
    """The first and the last record of each revision, noted while all are read. About 200 bytes a revision."""

    _spans: dict[int, tuple[Revision, int, int]] = field(factory=dict)

    def see(self, revision: Revision, times: Collection[int]) -> None:
        """Note the times of some records of a revision, in unix seconds."""
        if not times:
            return
        first, last = min(times), max(times)
        if revision.number in self._spans:
            _, before, behind = self._spans[revision.number]
            first, last = min(first, before), max(last, behind)
        self._spans[revision.number] = revision, first, last

    def see_spans(self, index: Iterable[Revision], spans: Iterable[tuple[int | None, int, int]]) -> None:
        """Note the number of a revision with its first and its last second, for many revisions of an index."""
        rows = {revision.number: revision for revision in index}
        for number, first, last in spans:
            if number in rows:
                self.see(rows[number], (first, last))

    def spans(self) -> list[tuple[Revision, int, int]]:
        """Each revision, with the seconds of its first and its last record."""
        return list(self._spans.values())

    def far(self) -> list[FarRevision]:
        """List the revisions that hold records further away than the default margin."""
        found = [FarRevision(*span) for span in self._spans.values()]
        return [one for one in found if _is_far(one.revision, one.first) or _is_far(one.revision, one.last)]

    def log(self) -> None:
        """Log one message for all of them, at level INFO."""
        far = self.far()
        if far:
            more = f" (and {len(far) - 3:,} more revisions)" if len(far) > 3 else ""
            logger.info("%s%s", "; ".join(map(str, far[:3])), more)


def count_lateness(revision: Revision, times: Iterable[int]) -> Mapping[str, int]:
    """Count the records of a revision by how late they came, at least: from the first batch of its file.

    >>> revision = Revision(143, "revisions/143.json", 1351300202, 1351300502)
    >>> times = [1351300190, 1351300400, 1323651600]
    >>> for lateness, count in count_lateness(revision, times).items():
    ...     print(lateness, count)
    within 5 minutes 2
    within an hour 0
    within a day 0
    later 1
    ahead of their time 0
    """
    counts = dict.fromkeys([*_BOUNDS, _LATER, _AHEAD], 0)
    begin, end = revision.min_timestamp, revision.max_timestamp
    if begin is None or end is None:
        return counts
    for second in times:
        if second > end:
            counts[_AHEAD] += 1
        else:
            counts[next((name for name, bound in _BOUNDS.items() if begin - second <= bound), _LATER)] += 1
    return counts


def _is_far(revision: Revision, second: int) -> bool:
    """Tell whether a window of this one second would miss the file."""
    return not select_revisions([revision], Window(second, second + 1), MARGIN)
