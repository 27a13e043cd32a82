"""What the status, the index and the listing of an export say of each other."""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable, Sequence

from attrs import Factory, define, frozen

from kmexport.errors import MalformedRecordError
from kmexport.files import BinaryFile
from kmexport.in_turn import Reading, find_gone, open_in_turn
from kmexport.manifest import Revision, Status
from kmexport.reading import MAX_LINE_BYTES, LineCounts, read_stream
from kmexport.revisions import Listing, select_revisions, touches
from kmexport.storage import Folder
from kmexport.windows import Window

__all__ = ["Audit", "Coverage", "OutOfRange", "compare", "cover"]


@frozen
class Coverage:
    """Whether the records of a window are all there: `is_complete`, and the facts if not.

    `exported_until` is the time of the newest record exported (unix seconds); `pending_revisions` counts only where
    records of the window may still come with them; `missing` are revisions of the window whose file is gone;
    `skipped_numbers` are numbers inside the window's stretch that neither the index nor the bucket has.
    """

    window: Window
    exported_until: int
    pending_revisions: int
    missing: tuple[Revision, ...]
    skipped_numbers: tuple[int, ...]

    @property
    def is_exported(self) -> bool:
        """Whether the export has come past the window's end."""
        return self.exported_until >= self.window.end

    @property
    def reasons(self) -> list[str]:
        """Why the window is not complete, in sentences; empty if it is."""
        reasons = []
        if not self.is_exported:
            reasons.append(f"the export ends at {self.exported_until}, the window at {self.window.end} (unix seconds)")
        if self.pending_revisions:
            are = "revision is" if self.pending_revisions == 1 else "revisions are"
            reasons.append(f"{self.pending_revisions} {are} not exported yet and may hold late records")
        reasons += [f"{revision.path} is in the index and its file is gone" for revision in self.missing]
        if self.skipped_numbers:
            numbers = ", ".join(map(str, self.skipped_numbers))
            reasons.append(f"these revisions are neither in the index nor in the bucket: {numbers}")
        return reasons

    @property
    def is_complete(self) -> bool:
        """Whether nothing speaks against the window."""
        return not self.reasons

    def __bool__(self) -> bool:
        return self.is_complete

    def _repr_html_(self) -> str:
        verdict = "complete" if self.is_complete else "not complete"
        items = "".join(f"<li>{html.escape(reason)}</li>" for reason in self.reasons)
        return f"<p>The window {self.window.start}-{self.window.end} is {verdict}.</p><ul>{items}</ul>"


@frozen
class OutOfRange:
    """A revision whose records lie outside the range that the index states: the true first and last unix second."""

    revision: Revision
    first: int
    last: int


@define
class Audit:
    """Every disagreement between status, index and listing; empty lists where they agree.

    `out_of_range` and `malformed` (the number of malformed lines by path) are filled by a deep audit only.
    """

    missing: list[Revision] = Factory(list)  # in the index, the file is gone
    unindexed: list[Revision] = Factory(list)  # a file, not in the index
    skipped_numbers: list[int] = Factory(list)  # between the first and the last number, nowhere
    doubled: list[str] = Factory(list)  # paths that are not read, for another file is the same revision
    unknown: list[str] = Factory(list)  # paths in revisions/ that are no revision files
    disagreements: list[str] = Factory(list)  # of status.csv with the index
    out_of_range: list[OutOfRange] = Factory(list)
    malformed: dict[str, int] = Factory(dict)

    @property
    def problems(self) -> list[str]:
        """All of it, in sentences."""
        problems = list(self.disagreements)
        problems += [f"{revision.path} is in the index and its file is gone" for revision in self.missing]
        problems += [f"{revision.path} is in the bucket and not in the index" for revision in self.unindexed]
        problems += [f"revision {number} is neither in the index nor in the bucket" for number in self.skipped_numbers]
        problems += [f"{path} is not read, for another file is the same revision" for path in self.doubled]
        problems += [f"{path} is no revision file" for path in self.unknown]
        problems += [
            f"{found.revision.path} holds records from {found.first} to {found.last}, and the index states "
            f"{found.revision.min_timestamp} to {found.revision.max_timestamp}"
            for found in self.out_of_range
        ]
        problems += [f"{path} has {count} malformed lines" for path, count in self.malformed.items()]
        return problems

    @property
    def is_clean(self) -> bool:
        """Whether everything agrees."""
        return not self.problems

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{html.escape(problem)}</li>" for problem in self.problems)
        return f"<p>{len(self.problems)} problems</p><ul>{items}</ul>"


def cover(folder: Folder, window: Window, status: Status, listing: Listing, settle: int) -> Coverage:
    """What the manifests and the listing say of a window."""
    listing = listing.tried(find_gone(folder, select_revisions(listing.revisions, window, 0), listing))
    index, present = listing.index, {revision.number for revision in listing.revisions}
    touching = [revision for revision in index if touches(window, revision)]
    missing = tuple(revision for revision in touching if revision.number not in present)
    skipped = tuple(_skipped(_stretch(window, index, touching), index, present))
    is_settled = status.max_exported_timestamp >= window.end + settle
    pending = 0 if is_settled else status.pending_revisions
    return Coverage(window, status.max_exported_timestamp, pending, missing, skipped)


def compare(folder: Folder, status: Status, listing: Listing, *, deep: bool) -> Audit:
    """Hold status, index and the files that are there against each other; with `deep`, what is in them too."""
    listing = listing.tried(find_gone(folder, listing.revisions, listing))
    index, present = listing.index, listing.revisions
    named = {revision.number for revision in index}
    there = {revision.number for revision in present}
    audit = Audit(
        missing=[revision for revision in index if revision.number not in there],
        unindexed=[revision for revision in present if revision.number not in named],
        doubled=list(listing.doubled),
        unknown=list(listing.unknown),
    )
    if numbers := named | there:
        audit.skipped_numbers = _skipped(range(min(numbers), max(numbers) + 1), index, there)
        if max(numbers) > status.total_revisions:
            audit.disagreements.append(
                f"status.csv knows {status.total_revisions} revisions, and there is a revision {max(numbers)}"
            )
    newest = max((revision.max_timestamp or 0 for revision in index), default=0)
    if newest > status.max_exported_timestamp:
        audit.disagreements.append(
            f"status.csv states {status.max_exported_timestamp} as the newest record, and the index has {newest}"
        )
    if len(named) > status.exported_revisions:
        audit.disagreements.append(
            f"status.csv counts {status.exported_revisions} exported revisions, and the index has {len(named)}"
        )
    if deep:
        _look_into(folder, listing.revisions, audit)
    return audit


def _stretch(window: Window, index: Sequence[Revision], touching: Sequence[Revision]) -> range:
    """The numbers among which a revision with records of the window would be."""
    if touching:
        # One more on either side: the window's records may have been in a neighbour.
        return range(touching[0].number - 1, touching[-1].number + 2)
    before = [one.number for one in index if one.max_timestamp is not None and one.max_timestamp < window.start]
    behind = [one.number for one in index if one.min_timestamp is not None and one.min_timestamp >= window.end]
    return range(max(before), min(behind) + 1) if before and behind else range(0)


def _skipped(stretch: range, index: Iterable[Revision], present: Collection[int]) -> list[int]:
    known = {revision.number for revision in index} | set(present)
    if not known:
        return []
    inside = range(max(stretch.start, min(known)), min(stretch.stop, max(known) + 1))
    return [number for number in inside if number not in known]


def _look_into(folder: Folder, revisions: Sequence[Revision], audit: Audit) -> None:
    """Read every file, for malformed lines and ranges that the records overstep."""
    for revision, opening in open_in_turn(folder, revisions, Reading()):
        with opening as file:
            _look_into_one(file, revision, audit)


def _look_into_one(file: BinaryFile, revision: Revision, audit: Audit) -> None:
    def count(_error: MalformedRecordError) -> None:
        audit.malformed[revision.path] = audit.malformed.get(revision.path, 0) + 1

    first: int | None = None
    last: int | None = None
    for record in read_stream(file, revision.path, count, MAX_LINE_BYTES, LineCounts()):
        first = record.timestamp if first is None else min(first, record.timestamp)
        last = record.timestamp if last is None else max(last, record.timestamp)
    if first is None or last is None or revision.min_timestamp is None or revision.max_timestamp is None:
        return
    if first < revision.min_timestamp or last > revision.max_timestamp:
        audit.out_of_range.append(OutOfRange(revision, first, last))
