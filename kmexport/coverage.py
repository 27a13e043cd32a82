"""Whether the records of a window are all there."""

from __future__ import annotations

import html
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from statistics import median_low

from attrs import field, frozen

from kmexport.contents import Contents, look_into
from kmexport.in_turn import find_gone
from kmexport.manifest import Revision, Status
from kmexport.moments import spell_moment
from kmexport.revisions import Listing, select_revisions
from kmexport.storage import Folder
from kmexport.windows import Window

__all__ = ["Coverage", "cover", "lacking", "skipped_numbers"]

_DAY = 86_400  # seconds
_MONTH = 30 * _DAY
_FIRST_FILES = 5  # so many are looked at to see where a bucket begins: a wrong clock spoils one or two
_MOST_SKIPPED = 1_000_000  # numbers that are listed one by one
_LAST_FILES = 3  # and so many are read to see where it ends


@frozen
class Coverage:
    """Whether the records of a window are all there: `is_complete`, and the facts if not.

    `exported_until` is the time of the newest record exported, without those of a wrong clock (unix seconds, None
    while nothing is exported). `starts_at` is the time before which revisions are lacking at the beginning, None where
    none are. `pending_revisions`, and `lacking_revisions` (status.csv counts them as exported, and they are nowhere)
    count only where records of the window may be in them. `missing` are revisions of the window whose file is gone,
    `damaged` those whose file holds less than the index says or ends inside a line. `skipped_numbers` are numbers
    inside the window's stretch that neither the index nor the bucket has; of a gap that would make them more than a
    million, only the first and the last.
    """

    window: Window
    exported_until: int | None = field(repr=spell_moment)
    pending_revisions: int
    missing: tuple[Revision, ...]
    skipped_numbers: tuple[int, ...]
    starts_at: int | None = field(default=None, repr=spell_moment)
    damaged: tuple[Contents, ...] = ()
    lacking_revisions: int = 0

    @property
    def is_exported(self) -> bool:
        """Whether the export has come past the window's end."""
        return self.exported_until is not None and self.exported_until >= self.window.end

    @property
    def reasons(self) -> list[str]:
        """Why the window is not complete, in sentences; empty if it is."""
        reasons = []
        start, end = spell_moment(self.window.start), spell_moment(self.window.end)
        if self.exported_until is None:
            reasons.append("no record shows how far the export has come")
        elif not self.is_exported:
            reasons.append(f"the export ends at {spell_moment(self.exported_until)}, the window at {end}")
        if self.starts_at is not None and self.window.start < self.starts_at:
            begins = spell_moment(self.starts_at)
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
        """Whether nothing speaks against the window."""
        return not self.reasons

    def __bool__(self) -> bool:
        return self.is_complete

    def _repr_html_(self) -> str:
        verdict = "complete" if self.is_complete else "not complete"
        window = f"{spell_moment(self.window.start)} to {spell_moment(self.window.end)}"
        items = "".join(f"<li>{html.escape(reason)}</li>" for reason in self.reasons)
        return f"<p>The window {html.escape(window)} is {verdict}.</p><ul>{items}</ul>"


def cover(folder: Folder, window: Window, status: Status, listing: Listing, settle: int, *, deep: bool) -> Coverage:
    """What the manifests and the listing say of a window; with `deep`, its files too."""
    needed = select_revisions(listing.revisions, window, 0)
    listing = listing.tried(find_gone(folder, needed, listing))
    needed = select_revisions(listing.revisions, window, 0)
    if deep:
        contents = {found.revision.number: found for found in look_into(folder, needed)}
    else:
        contents = {revision.number: Contents(revision) for revision in needed if revision.size == 0}
    ranges = _ranges(listing, contents)
    begin = _begin_of_the_last(ranges)
    ends = [one for number, one in contents.items() if not one.revision.has_range]
    if deep:
        ahead = _ends_far_ahead(listing, begin)
        ends += look_into(folder, [revision for revision in ahead if revision.number not in contents])
        ends += [contents[revision.number] for revision in ahead if revision.number in contents]
    until = _exported_until(status, listing, begin, ends)
    is_settled = until is not None and until >= window.end + settle
    return Coverage(
        window=window,
        exported_until=until,
        pending_revisions=0 if is_settled else status.pending_revisions,
        missing=tuple(select_revisions(listing.missing, window, 0)),
        skipped_numbers=tuple(_skipped_in(window, listing)),
        starts_at=_start(ranges, listing.known),
        lacking_revisions=0 if is_settled else lacking(status, listing.known),
        damaged=tuple(one for one in contents.values() if one.falls_short or one.is_cut_off),
    )


def skipped_numbers(known: Collection[int]) -> list[int]:
    """The numbers between the first and the last that are not there, in order.

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


def lacking(status: Status, known: Collection[int]) -> int:
    """How many more revisions status.csv counts as exported than there are, behind the last one.

    A bucket may begin at any number: then the count is from its first revision if it is below that, else from 1.
    """
    exported = status.exported_revisions
    if not known:
        return exported
    return max(exported - (len(known) if exported < min(known) else max(known)), 0)


def _start(ranges: Sequence[tuple[int, int]], known: Collection[int]) -> int | None:
    """The end of the first revision: what lies before it may have been in an earlier one. None if it is number 1.

    One that is longer than a day may hold a record of a wrong clock, so the next one's end is taken.
    """
    if min(known, default=1) <= 1 or not ranges:
        return None
    first = ranges[:_FIRST_FILES]
    ends = [end for _, end in first]
    return min(next((end for start, end in first if end - start <= _DAY), ends[0]), median_low(ends))


def _begin_of_the_last(ranges: Sequence[tuple[int, int]]) -> int | None:
    """The latest time at which a revision begins. One alone that begins a month behind all others is no witness."""
    begins = sorted(begin for begin, _ in ranges)
    if len(begins) > 1 and begins[-1] - begins[-2] > _MONTH:
        return begins[-2]
    return begins[-1] if begins else None


def _ranges(listing: Listing, contents: Mapping[int, Contents]) -> list[tuple[int, int]]:
    """First and last second of the revisions, in numeric order: as the index states, or as they were read."""
    ranges = []
    for revision in listing.in_order:
        found = contents.get(revision.number)
        first, last = revision.min_timestamp, revision.max_timestamp
        if first is None and found is not None:
            first, last = found.first, found.last
        if first is not None and last is not None:
            ranges.append((first, last))
    return ranges


def _ends_far_ahead(listing: Listing, begin: int | None) -> list[Revision]:
    """The last revisions that end much later than any begins: one record of a wrong clock is enough for that."""
    if begin is None:
        return []
    ahead = [one for one in listing.revisions if one.max_timestamp is not None and one.max_timestamp > begin + _DAY]
    return ahead[-_LAST_FILES:]


def _exported_until(status: Status, listing: Listing, begin: int | None, ends: Sequence[Contents]) -> int | None:
    """The newest record exported, as far as it has witnesses beside itself."""
    stated = status.max_exported_timestamp
    if stated is None or begin is None:
        return None
    if stated <= begin + _DAY and not lacking(status, listing.known):
        return stated
    reached = [
        end.reached for end in ends if end.reached is not None and (end.support > 1 or end.reached <= begin + _MONTH)
    ]
    return min(stated, max([begin, *reached]))


def _skipped_in(window: Window, listing: Listing) -> list[int]:
    """The numbers that are nowhere, where the time from the revision before to the one behind touches the window."""
    ranged = [one for one in listing.in_order if one.has_range]
    skipped = skipped_numbers(listing.known)
    found = []
    at = 0
    for number in skipped:
        while at < len(ranged) and ranged[at].number < number:
            at += 1
        around = ranged[max(at - 1, 0) : at + 1]
        starts = [one.min_timestamp for one in around if one.min_timestamp is not None]
        ends = [one.max_timestamp for one in around if one.max_timestamp is not None]
        is_between = 0 < at < len(ranged)
        if not is_between or window.touches(min(starts), max(ends)):
            found.append(number)
    return found
