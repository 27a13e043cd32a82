"""Whether the records of a window are all there."""

from __future__ import annotations

import html
from collections.abc import Mapping

from attrs import field, frozen

from kmexport.contents import Contents, look_into
from kmexport.gaps import count_lacking, skipped_numbers
from kmexport.manifest import Revision, Status
from kmexport.moments import spell_moment
from kmexport.reach import ends_in_doubt, exported_until, known_ranges, latest_begin, starts_at
from kmexport.revisions import Listing, select_revisions
from kmexport.storage import Folder
from kmexport.windows import Window

__all__ = ["Coverage", "cover"]


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
    if deep:
        contents = {found.revision.number: found for found in look_into(folder, needed)}
    else:
        contents = {revision.number: Contents(revision) for revision in needed if revision.size == 0}
    ranges = known_ranges(listing, contents)
    until = _exported_until(folder, status, listing, latest_begin(ranges), contents, deep=deep)
    is_settled = until is not None and until >= window.end + settle
    return Coverage(
        window=window,
        exported_until=until,
        pending_revisions=0 if is_settled else status.pending_revisions,
        missing=(
            *select_revisions(listing.missing, window, 0),
            *(one.revision for one in contents.values() if one.is_gone),
        ),
        skipped_numbers=tuple(_skipped_in(window, listing)),
        starts_at=starts_at(ranges, listing.known),
        lacking_revisions=0 if is_settled else count_lacking(status, listing.known),
        damaged=tuple(one for one in contents.values() if one.falls_short or one.is_cut_off),
    )


def _exported_until(
    folder: Folder,
    status: Status,
    listing: Listing,
    begin: int | None,
    contents: Mapping[int, Contents],
    *,
    deep: bool,
) -> int | None:
    """How far the export has come, by the files without a range, and with `deep` by those whose end is in doubt."""
    read = [one for one in contents.values() if not one.revision.has_range]
    if deep:
        in_doubt = ends_in_doubt(listing, begin)
        read += [contents[one.number] for one in in_doubt if one.number in contents]
        read += look_into(folder, [one for one in in_doubt if one.number not in contents])
    return exported_until(status, listing, begin, read)


def _skipped_in(window: Window, listing: Listing) -> list[int]:
    """The numbers that are nowhere, where the time from the revision before to the one behind touches the window."""
    ranged = [one for one in listing.in_order if one.has_range]
    found = []
    at = 0  # of the first revision behind the number
    for number in skipped_numbers(listing.known):
        while at < len(ranged) and ranged[at].number < number:
            at += 1
        around = ranged[max(at - 1, 0) : at + 1]
        starts = [one.min_timestamp for one in around if one.min_timestamp is not None]
        ends = [one.max_timestamp for one in around if one.max_timestamp is not None]
        is_between = 0 < at < len(ranged)
        if not is_between or window.touches(min(starts), max(ends)):
            found.append(number)
    return found
