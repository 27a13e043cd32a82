"""What a revision really holds, beside what the index says of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing

from attrs import field, frozen

from kmexport.errors import MalformedRecordError, RevisionNotFoundError
from kmexport.files import BinaryFile
from kmexport.in_turn import Reading, open_in_turn
from kmexport.manifest import Revision
from kmexport.moments import spell_moment
from kmexport.reading import LineCounts, one_by_one, read_lists
from kmexport.storage import Folder

__all__ = ["Contents", "look_into"]

_HOUR = 3600
_FAR = 2 * 24  # hours without a record, behind which the next ones may be of a wrong clock


@frozen
class Contents:
    """What one revision holds: the unix seconds of its `first` and `last` record, and how many lines are malformed.

    `is_gone`: there is no such file. `is_cut_off`: it ends inside a line. `reached` is the last second of its largest
    group of records between which no more than two days lie, for the others may be of a wrong clock; `support` is how
    many that group has.
    """

    revision: Revision
    first: int | None = field(default=None, repr=spell_moment)
    last: int | None = field(default=None, repr=spell_moment)
    malformed: int = 0
    is_cut_off: bool = False
    reached: int | None = field(default=None, repr=spell_moment)
    support: int = 0
    is_gone: bool = False

    @property
    def oversteps(self) -> bool:
        """Whether a record lies outside the range that the index states."""
        start, end = self.revision.min_timestamp, self.revision.max_timestamp
        if self.first is None or self.last is None or start is None or end is None:
            return False
        return self.first < start or self.last > end

    @property
    def falls_short(self) -> bool:
        """Whether the records do not reach the ends of the range that the index states, as those of a cut file."""
        start, end = self.revision.min_timestamp, self.revision.max_timestamp
        if start is None or end is None or self.is_gone:
            return False
        return self.first is None or self.last is None or self.first > start or self.last < end

    def __str__(self) -> str:
        """In a sentence."""
        path, start, end = self.revision.path, self.revision.min_timestamp, self.revision.max_timestamp
        if self.first is None:
            holds = "no records"
        else:
            holds = f"records from {spell_moment(self.first)} to {spell_moment(self.last)}"
        cut = " and ends inside a line" if self.is_cut_off else ""
        if start is None:
            return f"{path} holds {holds}{cut}"
        return f"{path} holds {holds}{cut}, and the index states {spell_moment(start)} to {spell_moment(end)}"


def look_into(folder: Folder, revisions: Sequence[Revision]) -> Iterator[Contents]:
    """Read each file. Holds one number for each hour of one file."""
    with closing(open_in_turn(folder, revisions, Reading())) as openings:
        for revision, opening in openings:
            try:
                with opening as file:
                    contents = _contents(file, revision, folder.limits.max_line_bytes)
            except RevisionNotFoundError:
                contents = Contents(revision, is_gone=True)
            yield contents


def _contents(file: BinaryFile, revision: Revision, max_line_bytes: int) -> Contents:
    watched = _WatchedFile(file)
    counts = LineCounts()
    errors = _ErrorCount()
    first: int | None = None
    last: int | None = None
    latest: dict[int, int] = {}  # of each hour
    records: Counter[int] = Counter()
    for record in one_by_one(read_lists(watched, revision.path, errors.add, max_line_bytes, counts)):
        timestamp = record.timestamp
        if first is None or last is None:
            first = last = timestamp
        first, last = min(first, timestamp), max(last, timestamp)
        hour = timestamp // _HOUR
        records[hour] += 1
        latest[hour] = max(latest.get(hour, timestamp), timestamp)
    reached, support = _most(records)
    is_at_end = errors.count > 0 and errors.last_line == counts.lines
    is_cut_off = is_at_end and (errors.is_broken_off or watched.last_byte != b"\n")
    return Contents(revision, first, last, errors.count, is_cut_off, latest.get(reached), support)


def _most(records: Counter[int]) -> tuple[int, int]:
    """The last hour of the largest group, and its records: two days without a record end a group."""
    best, support, of_this = 0, 0, 0
    before: int | None = None
    for hour in sorted(records):
        of_this = records[hour] + (of_this if before is not None and hour - before <= _FAR else 0)
        before = hour
        if of_this >= support:
            best, support = hour, of_this
    return best, support


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
