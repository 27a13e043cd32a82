"""The coverage of a window: is the export past it, and are all its files there and whole?"""

from __future__ import annotations

import html
from collections.abc import Collection, Mapping
from datetime import UTC
from itertools import pairwise

from attrs import evolve, frozen

from kmexport.revisions.listing import BATCH, Listing, select_revisions
from kmexport.revisions.manifest import Revision, Status
from kmexport.revisions.scan import RevisionScan, scan_revisions
from kmexport.storage.folder import Folder
from kmexport.windows import Window, write_moment

_MOST_SKIPPED = 1_000_000  # numbers that are listed one by one


def skipped_numbers(known: Collection[int]) -> list[int]:
    """List the numbers between the first and the last that are not there, in order.

    A file that is named after a date makes a gap of billions. So a million numbers are listed one by one; of a gap
    that does not fit in, only the first and the last.

    >>> skipped_numbers([3, 7]), skipped_numbers([3, 20121001000000])
    ([4, 5, 6], [4, 20121000999999])
    """
    found: list[int] = []
    for before, behind in pairwise(sorted(known)):
        gap = range(before + 1, behind)
        if len(found) + len(gap) <= _MOST_SKIPPED:
            found += gap
        elif gap:
            found += sorted({gap[0], gap[-1]})
    return found


def count_lacking(status: Status, known: Collection[int]) -> int:
    """Count the revisions after the last one that status.csv counts as exported and that are not there.

    A bucket may begin at any number: then the count is from its first revision if it is below that, else from 1 (from
    0 where there is a revision 0).

    >>> count_lacking(Status(12, 12, None), [1, 2, 3])
    9
    >>> count_lacking(Status(12, 3, None), [22, 23, 24])
    0
    """
    exported = status.exported_revisions
    if not known:
        return exported
    first, last = min(known), max(known)
    return max(exported - (len(known) if exported < first else last + (first == 0)), 0)


@frozen(repr=False)
class Coverage:
    """The answer to whether all records of a window are there: `is_complete`, and the facts if not.

    It prints as a sentence, with the times of the window's zone.

    `exported_until` says until when all that the vendor received is exported (unix seconds, None while nothing is).
    `starts_at` is when the first file was received, None where that is revision 1: what came before it is not there.
    `pending_revisions`, and `lacking_revisions` (status.csv counts them as exported, and they are nowhere) count only
    while the export has not come `margin` seconds and a batch (five minutes) past the window; with `margin=None`
    nothing pends, and what is lacking always counts. Of the files that `Bucket.revisions(window, margin=margin)` names,
    `missing` are those that are gone, and `damaged` those that are empty or end inside a line. `skipped_numbers` are
    numbers between such files that neither the index nor the bucket has; of a gap that would make them more than a
    million, only the first and the last.
    """

    window: Window
    margin: int | None
    exported_until: int | None
    pending_revisions: int
    missing: tuple[Revision, ...]
    skipped_numbers: tuple[int, ...]
    starts_at: int | None = None
    damaged: tuple[RevisionScan, ...] = ()
    lacking_revisions: int = 0

    @property
    def is_exported(self) -> bool:
        """True where the export has come past the window's end, and `margin` seconds further for what came late."""
        return self.exported_until is not None and self.exported_until >= self.window.end + (self.margin or 0)

    @property
    def reasons(self) -> list[str]:
        """Why the window is not complete, in sentences with times of the window's zone; empty if it is."""
        reasons = []
        start, end = self._spelt(self.window.start), self._spelt(self.window.end)
        if self.exported_until is None:
            reasons.append("nothing shows how far the export has come")
        elif not self.is_exported:
            ends = f"the export ends at {self._spelt(self.exported_until)}, the window at {end}"
            late = f", and what comes late is waited for until {self._spelt(self.window.end + (self.margin or 0))}"
            reasons.append(ends + (late if self.margin else ""))
        if self.starts_at is not None and self.window.start < self.starts_at:
            begins = self._spelt(self.starts_at)
            reasons.append(f"the first revisions are not there: what is begins at {begins}, the window at {start}")
        if self.pending_revisions:
            are = "revision is" if self.pending_revisions == 1 else "revisions are"
            reasons.append(f"{self.pending_revisions} {are} not exported yet and may hold late records")
        if self.lacking_revisions:
            are = "revision" if self.lacking_revisions == 1 else "revisions"
            reasons.append(f"status.csv counts {self.lacking_revisions} exported {are} more than there are")
        reasons += [f"{revision.path} is in the index and its file is gone" for revision in self.missing]
        reasons += map(str, self.damaged)
        if self.skipped_numbers:
            numbers = ", ".join(map(str, self.skipped_numbers))
            reasons.append(f"these revisions are neither in the index nor in the bucket: {numbers}")
        return reasons

    @property
    def is_complete(self) -> bool:
        """True where there are no reasons against it."""
        return not self.reasons

    def __bool__(self) -> bool:
        return self.is_complete

    def __str__(self) -> str:
        return f"{self._verdict}: {'; '.join(self.reasons)}" if self.reasons else self._verdict

    __repr__ = __str__

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{html.escape(reason)}</li>" for reason in self.reasons)
        return f"<p>{html.escape(self._verdict)}.</p><ul>{items}</ul>"

    @property
    def _verdict(self) -> str:
        window = f"{self._spelt(self.window.start)} to {self._spelt(self.window.end)}"
        return f"The window {window} is {'complete' if self.is_complete else 'not complete'}"

    def _spelt(self, moment: int) -> str:
        return write_moment(moment, self.window.tz or UTC)


def cover(
    folder: Folder, window: Window, status: Status, listing: Listing, margin: int | None, *, deep: bool
) -> Coverage:
    """Check a window by the manifests and the listing; with `deep`, by its files too."""
    needed = select_revisions(listing.revisions, window, margin)
    contents: Mapping[int, RevisionScan] = {
        revision.number: RevisionScan(revision, is_empty=True)
        for revision in needed
        if revision.has_range and revision.size == 0
    }
    if deep:
        contents = {found.revision.number: found for found in scan_revisions(folder, needed)}
    found = Coverage(
        window=window,
        margin=margin,
        exported_until=_exported_until(status, listing),
        pending_revisions=0,
        missing=(
            *select_revisions(listing.missing, window, margin),
            *(one.revision for one in contents.values() if one.is_gone),
        ),
        skipped_numbers=tuple(_skipped_in(window, listing, margin)),
        starts_at=_starts_at(status, listing),
        damaged=tuple(one for one in contents.values() if one.is_damaged),
    )
    if window.start == window.end:
        return found
    lacking = count_lacking(status, listing.known)
    if margin is None:  # every file may hold records of the window, and what is pending is not waited for
        return evolve(found, lacking_revisions=lacking)
    # The last batch that counts may lie in two files, and one of them be pending.
    if found.exported_until is not None and found.exported_until >= window.end + margin + BATCH:
        return found
    return evolve(found, pending_revisions=status.pending_revisions, lacking_revisions=lacking)


def _exported_until(status: Status, listing: Listing) -> int | None:
    """Read the end from status.csv; not later than the last known file, for rows may be lost at the end."""
    received = max((one.max_timestamp for one in listing.in_order if one.max_timestamp is not None), default=None)
    stated = status.max_exported_timestamp
    if stated is None or received is None:
        return None if count_lacking(status, listing.known) else stated
    return min(stated, received)


def _starts_at(status: Status, listing: Listing) -> int | None:
    """Find when the first file with a range was received; where none has one, how far the export has come."""
    if min(listing.known, default=1) <= 1:
        return None
    received = (one.min_timestamp for one in listing.in_order if one.min_timestamp is not None)
    return next(received, status.max_exported_timestamp)


def _skipped_in(window: Window, listing: Listing, margin: int | None) -> list[int]:
    """List the missing numbers whose files the window may need: received between the files around them."""
    ranged = [one for one in listing.in_order if one.has_range]
    found = []
    at = 0  # of the first revision after the number
    for number in skipped_numbers(listing.known):
        while at < len(ranged) and ranged[at].number < number:
            at += 1
        around = ranged[max(at - 1, 0) : at + 1] if 0 < at < len(ranged) else []
        starts = [one.min_timestamp for one in around if one.min_timestamp is not None]
        ends = [one.max_timestamp for one in around if one.max_timestamp is not None]
        unknown = Revision(number, f"revisions/{number}.json", min(starts, default=None), max(ends, default=None))
        found += [one.number for one in select_revisions([unknown], window, margin)]
    return found
