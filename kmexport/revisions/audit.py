"""The audit of an export: do status, index, listing and files agree?"""

from __future__ import annotations

import html

from attrs import Factory, define

from kmexport.errors import IndexFormatError
from kmexport.revisions.coverage import count_lacking, skipped_numbers
from kmexport.revisions.listing import Listing
from kmexport.revisions.manifest import Revision, Status
from kmexport.revisions.scan import FarRevision, ReceivedTimes, RevisionScan, scan_revisions
from kmexport.storage.folder import Folder
from kmexport.windows import spell_moment


@define
class Audit:
    """Every disagreement between status, index and listing; empty lists where they agree.

    `far`, `lateness`, `cut_off` and `malformed` (the number of malformed lines by path) are filled by a deep audit
    only. `far` are revisions with records that windows miss, for they came more than a day late. `lateness` counts all
    records by how late they came at least; it does not count as a disagreement.
    """

    missing: list[Revision] = Factory(list)  # in the index, the file is gone
    unindexed: list[Revision] = Factory(list)  # a file, not in the index
    # Between the first and the last number, nowhere; of a gap that would make them more than a million, only its ends.
    skipped_numbers: list[int] = Factory(list)
    doubled: list[str] = Factory(list)  # paths that are not read, for another file is the same revision
    unknown: list[str] = Factory(list)  # paths of other files in revisions/
    disagreements: list[str] = Factory(list)  # of status.csv with the index
    odd_rows: list[IndexFormatError] = Factory(list)  # of index.csv: no range, or no revision
    empty: list[Revision] = Factory(list)  # the index says that records were received, the file has none
    cut_off: list[str] = Factory(list)  # paths of files that end inside a line
    malformed: dict[str, int] = Factory(dict)
    far: list[FarRevision] = Factory(list)
    lateness: dict[str, int] = Factory(dict)

    @property
    def problems(self) -> list[str]:
        """Every disagreement as a sentence."""
        problems = list(self.disagreements)
        problems += map(str, self.odd_rows)
        problems += [f"{revision.path} is in the index and its file is gone" for revision in self.missing]
        problems += [f"{revision.path} is in the bucket and not in the index" for revision in self.unindexed]
        problems += [f"revision {number} is neither in the index nor in the bucket" for number in self.skipped_numbers]
        problems += [f"{path} is not read, for another file is the same revision" for path in self.doubled]
        problems += [f"{path} is no revision file" for path in self.unknown]
        problems += [str(RevisionScan(revision, is_empty=True)) for revision in self.empty]
        problems += [f"{path} ends inside a line, it was cut off" for path in self.cut_off]
        problems += [f"{path} has {count} malformed line{'s' * (count > 1)}" for path, count in self.malformed.items()]
        problems += map(str, self.far)
        return problems

    @property
    def is_clean(self) -> bool:
        """True where everything agrees."""
        return not self.problems

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{html.escape(problem)}</li>" for problem in self.problems)
        return f"<p>{len(self.problems)} problems</p><ul>{items}</ul>"


def audit_export(folder: Folder, status: Status, listing: Listing, *, deep: bool) -> Audit:
    """Compare status, index and the files that are there; with `deep`, what is in the files too."""
    named = {row.number for row in listing.index}
    audit = Audit(
        missing=list(listing.missing),
        unindexed=[revision for revision in listing.revisions if revision.number not in named],
        skipped_numbers=skipped_numbers(listing.known),
        doubled=list(listing.doubled),
        unknown=list(listing.unknown),
        disagreements=_disagreements(status, listing),
        odd_rows=list(listing.odd_rows),
        empty=[revision for revision in listing.revisions if revision.has_range and revision.size == 0],
    )
    if deep:
        _look_into_files(folder, listing, audit)
    return audit


def _look_into_files(folder: Folder, listing: Listing, audit: Audit) -> None:
    received = ReceivedTimes()
    for contents in scan_revisions(folder, listing.revisions):
        revision = contents.revision
        if contents.is_gone:
            audit.missing.append(revision)
        if contents.is_empty and revision not in audit.empty:
            audit.empty.append(revision)
        if contents.is_cut_off:
            audit.cut_off.append(revision.path)
        if contents.malformed:
            audit.malformed[revision.path] = contents.malformed
        received.see(revision, [second for second in (contents.first, contents.last) if second is not None])
        for lateness, count in contents.lateness.items():
            audit.lateness[lateness] = audit.lateness.get(lateness, 0) + count
    audit.far = received.far()
    received.log()


def _disagreements(status: Status, listing: Listing) -> list[str]:
    """List where status.csv and the index disagree. Counts are compared: a bucket may begin at any number."""
    found = []
    known, named = listing.known, len(listing.index)
    if len(known) > status.total_revisions:
        found.append(f"status.csv knows {status.total_revisions} revisions, and there are {len(known)}")
    stated = status.max_exported_timestamp
    newest = max((row.max_timestamp for row in listing.index if row.max_timestamp is not None), default=None)
    if newest is not None and (stated is None or newest > stated):
        found.append(
            f"status.csv says that all received until {spell_moment(stated)} is exported, and the index has "
            f"{spell_moment(newest)}"
        )
    if named > status.exported_revisions:
        found.append(f"status.csv counts {status.exported_revisions} exported revisions, and the index has {named}")
    if count_lacking(status, known):
        there = f"there are {len(known)}, the last is {max(known)}" if known else "there are none"
        found.append(f"status.csv counts {status.exported_revisions} exported revisions, and {there}")
    return found
