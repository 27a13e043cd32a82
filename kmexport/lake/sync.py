"""The run that brings a lake up to date, and its summary."""

from __future__ import annotations

import html
import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any, Final

from attrs import Factory, define, frozen
from fsspec.callbacks import Callback

from kmexport.arguments import check_whole
from kmexport.bucket import Bucket, check_bucket
from kmexport.errors import RevisionChangedError, RevisionNotFoundError
from kmexport.lake.folder import LakeFolder
from kmexport.lake.log import LakeTable, TableLog, open_table, read_log
from kmexport.lake.schema import RECORDS, REJECTS
from kmexport.lake.storage import find_destination
from kmexport.lake.writer import CommitWriter
from kmexport.parsing.counts import LineCounts
from kmexport.revisions.groups import in_groups
from kmexport.revisions.manifest import Revision, revision_number
from kmexport.revisions.reader import check_executor, set_size
from kmexport.revisions.scan import FarRevision
from kmexport.storage.open_files import Progress, check_progress, progress_bar

logger: logging.Logger = logging.getLogger("kmexport")

_SHOWN = 10


@frozen
class ChangedRevision:
    """A revision whose file has another size in bytes now (`size`) than when it was taken (`size_then`)."""

    number: int
    path: str
    size_then: int
    size: int

    def __str__(self) -> str:
        """Say so in a sentence."""
        return f"{self.path} has {self.size:,} bytes now, and had {self.size_then:,} when it was taken"


@define
class SyncSummary:
    """The summary of a run of `sync`: the numbers of the `revisions` that it took, and the `counts` of their lines.

    `present` is the number of revisions that the lake had before. `by_others` came in by another run meanwhile,
    `vanished` those that went after they were listed. `unsettled` are left to the next run: they were replaced again
    and again while they were read, or other runs came first again and again. `changed` are revisions of earlier runs
    whose file has another size by now; the lake keeps what was there first, until `retake` takes them again. Of files
    that the index names and that are not in the bucket, the lake has those in `gone`, and lacks those in `missing`.
    `retaken` are those of `revisions` that the lake had, and whose rows `retake` has replaced.
    `lost_rejects`: somebody has deleted the table rejects, which was made anew without the lines that it had.
    `far` are revisions with records that came more than a day late: windows of the bucket miss them, those of the lake
    do not.
    """

    url: str
    present: int = 0
    revisions: list[int] = Factory(list)
    counts: LineCounts = Factory(LineCounts)
    files: int = 0
    file_bytes: int = 0
    commits: int = 0
    seconds: float = 0.0
    by_others: list[int] = Factory(list)
    vanished: list[str] = Factory(list)
    unsettled: list[str] = Factory(list)
    changed: list[ChangedRevision] = Factory(list)
    far: list[FarRevision] = Factory(list)
    gone: list[str] = Factory(list)
    missing: list[str] = Factory(list)
    lost_rejects: bool = False
    retaken: list[int] = Factory(list)

    @property
    def records(self) -> int:
        """The number of records that were added."""
        return self.counts.records

    @property
    def rejects(self) -> int:
        """The number of rejected lines: they are in the table rejects."""
        return self.counts.rejected

    @property
    def problems(self) -> list[str]:
        """Sentences on what a person should look at; empty on most nights."""
        problems = []
        if self.rejects:
            lines = "line is" if self.rejects == 1 else "lines are"
            problems.append(f"{self.rejects:,} {lines} no record and went to the table rejects")
        problems += [f"{path} went after it was listed" for path in self.vanished]
        problems += [f"{path} changed again and again, and is left to the next run" for path in self.unsettled]
        problems += [f"{change}: retake(bucket, url, [{change.number}]) takes it again" for change in self.changed]
        problems += [f"{path} is gone from the bucket; the lake holds its records" for path in self.gone]
        problems += [f"{path} is named by the index and not in the bucket: the lake lacks it" for path in self.missing]
        if self.lost_rejects:
            problems.append(
                "the table rejects was deleted, and is made anew: the lines of earlier runs that are no records are "
                "lost, until retake(bucket, url, revisions) reads their files again"
            )
        return problems

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers and the problems as what JSON can hold: `json.dumps(summary.to_dict())` is one line."""
        return {
            "url": self.url,
            "present": self.present,
            "revisions": self.revisions,
            "retaken": self.retaken,
            "records": self.records,
            "rejects": self.rejects,
            "files": self.files,
            "bytes": self.file_bytes,
            "seconds": round(self.seconds, 3),
            "problems": self.problems,
        }

    def __str__(self) -> str:
        """Say so in a few lines."""
        return "\n".join([self.headline, *(f"- {problem}" for problem in _cut([*self.problems, *map(str, self.far)]))])

    @property
    def headline(self) -> str:
        """The numbers in a sentence, as `sync` logs them at INFO."""
        if not self.revisions:
            first = f"{self.url}: nothing new; {self.present:,} revisions were there"
        else:
            added = len(self.revisions) - len(self.retaken)
            took = [f"{_revisions(added)} added to {self.present:,}"] if added else []
            took += [f"{_revisions(len(self.retaken))} taken again"] if self.retaken else []
            first = (
                f"{self.url}: {', '.join(took)}: {self.records:,} records in {self.files:,} files "
                f"({self.file_bytes:,} bytes), {self.seconds:.1f} s"
            )
        if self.by_others:
            first += f"; {len(self.by_others):,} more were added by another run"
        return first

    def _repr_html_(self) -> str:
        first, *problems = str(self).split("\n")
        items = "".join(f"<li>{html.escape(problem.removeprefix('- '))}</li>" for problem in problems)
        return f"<p>{html.escape(first)}</p>" + (f"<ul>{items}</ul>" if items else "")


def add_commit(summary: SyncSummary, files: CommitWriter, revisions: Sequence[int]) -> None:
    """Add the commit of these files, which hold the revisions of these numbers."""
    summary.revisions += revisions
    summary.commits += 1
    summary.files += len(files.records.added)
    summary.file_bytes += sum(action.size for action in files.records.added)
    summary.counts.add(files.counts)
    summary.far += [one for one in files.received.far() if one.revision.number not in summary.retaken]


def _revisions(count: int) -> str:
    return "1 revision" if count == 1 else f"{count:,} revisions"


def _cut(lines: Sequence[str]) -> Sequence[str]:
    return lines if len(lines) <= _SHOWN else [*lines[:_SHOWN], f"and {len(lines) - _SHOWN:,} more"]


def find_lacking(bucket: Bucket, folder: LakeFolder) -> tuple[list[Revision], TableLog | None, SyncSummary]:
    """Find the revisions that the lake lacks, with its log (None where there is no table) and a first summary.

    Raises LakeFormatError for a table that kmexport did not make, ValueError for a lake that lies in the export.
    """
    folder.check_apart(bucket._folder)
    summary = SyncSummary(folder.public_url)
    log = read_log(folder, RECORDS)
    listing = bucket._listing()
    present = log.sizes if log is not None else {}
    # The summary names these; the log need not.
    gone = [row for row in listing.missing if row.number in present]
    listing.warned.update(row.path for row in gone)
    listed = listing.select(None, 0, None)
    summary.present = len(present)
    summary.gone = [row.path for row in gone]
    summary.missing = [row.path for row in listing.missing if row.number not in present]
    summary.changed = _changed_since(listed, present)
    summary.lost_rejects = log is not None and not folder.find_files(f"{REJECTS.name}/_delta_log")
    return [revision for revision in listed if revision.number not in present], log, summary


def _changed_since(listed: Sequence[Revision], present: dict[int, int]) -> list[ChangedRevision]:
    """List the revisions whose file has another size now than when it was taken; `present` has the sizes of then."""
    changed = []
    for revision in listed:
        then = present.get(revision.number, -1)
        # A file that was packed meanwhile has another size, and may well hold the same.
        if then >= 0 and revision.size is not None and revision.size != then and not revision.path.endswith(".gz"):
            changed.append(ChangedRevision(revision.number, revision.path, then, revision.size))
    return changed


BYTES_A_COMMIT: Final = 256 << 20
_MOST_COLLISIONS: Final = 20  # with other runs over one group; each one means that another has come further
_ROUNDS: Final = 3  # for revisions that are replaced while they are read


def sync(
    bucket: Bucket,
    url: str | os.PathLike[str],
    *,
    callback: Progress = None,
    bytes_a_commit: int = BYTES_A_COMMIT,
    executor: Executor | None = None,
    ahead: int | None = None,
    **storage_options: Any,
) -> SyncSummary:
    """Bring a lake up to date with the export: the revisions that it lacks are added, each exactly once.

    A lake is two Delta tables side by side, which any engine reads. `url/records` has the columns of
    `kmexport.tables.SCHEMA`, `item` and the UTC `day` by which it is partitioned; and `url/rejects`, with the lines
    that could not be read. It is made where there is none, and may lie on the local disk, S3, Google Cloud Storage or
    Azure; `storage_options` are fsspec's, as for a Bucket.

    A revision that fills in late, below the highest number, is taken too. What a run has committed stays, whatever
    ends it; the next one takes the rest. Two runs at once do no harm: each revision is added by one of them. A commit
    holds revisions of about `bytes_a_commit` bytes together. The lake keeps what it has: a revision that is deleted
    from the bucket stays, and one whose file has another size by now is named in the summary.

    `callback` is an fsspec Callback or "tqdm". `executor` and `ahead` are those of `Bucket.to_batches`: the workers
    read groups of at most 48 MiB and write their files, so the lake has to lie where they reach it; and one commit here
    adds the files of `bytes_a_commit`, once they are all there. With many workers give them more of it. What workers
    of a run leave that was killed or failed stays unseen until `vacuum` removes it. Holds some 350 MB at most, here or
    on a worker, and the `prefetch_bytes` of the bucket's limits where the export lies far away. Costs a handful of
    requests where nothing is new.

    Raises TypeError for an address in place of the bucket; LakeFormatError for tables that were not made by kmexport,
    or by a newer one, before anything is written; ValueError for a storage that delta-rs does not write;
    PermissionError for a profile that is not there; what `Bucket.iter_records` raises, but no MalformedRecordError; and
    ExecutorError as `Bucket.to_batches` does.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> summary = sync(Bucket.sample(), folder)
    >>> len(summary.revisions), summary.records, summary.rejects
    (12, 2000, 0)
    >>> sync(Bucket.sample(), folder).revisions
    []
    """
    check_bucket(bucket, "sync")
    check_whole("bytes_a_commit", bytes_a_commit, 1)
    check_executor(executor, ahead)
    check_progress(callback)
    begun = time.monotonic()
    folder = LakeFolder(find_destination(url, storage_options))
    wanted, log, summary = find_lacking(bucket, folder)
    if wanted or log is None or summary.lost_rejects:
        # In this order, so that both are known to be ours before anything is written to one of them.
        rejects = open_table(folder, REJECTS)
        records = open_table(folder, RECORDS, log)
        run = _Run(bucket, folder, executor, ahead, bytes_a_commit, summary, records, rejects)
        with progress_bar(callback) as bar:
            run.take(wanted, bar)
    summary.seconds = time.monotonic() - begun
    logger.info("%s", summary.headline)
    return summary


@define
class _Run:
    bucket: Bucket
    folder: LakeFolder
    executor: Executor | None
    ahead: int | None
    bytes_a_commit: int
    summary: SyncSummary
    records: LakeTable
    rejects: LakeTable

    def take(self, wanted: Sequence[Revision], bar: Callback | None) -> None:
        """Add these revisions; those that are replaced while they are read are listed and read again."""
        set_size(bar, wanted)
        for _ in range(_ROUNDS):
            changed: list[int] = []
            for group in in_groups(wanted, self.bytes_a_commit):
                changed += self._take_group(group, bar)
            if not changed:
                break
            listed = {revision.number: revision for revision in self.bucket.revisions()}
            wanted = [listed[number] for number in changed if number in listed]
        else:
            self.summary.unsettled += [revision.path for revision in wanted]
        self.records.shorten_log()
        self.rejects.shorten_log()

    def _take_group(self, group: list[Revision], bar: Callback | None) -> list[int]:
        """Add the revisions of a group in one commit. Gives the numbers of those that were replaced meanwhile."""
        changed: list[int] = []
        for _ in range(_MOST_COLLISIONS + len(group)):
            others = [revision.number for revision in group if revision.number in self.records.log.sizes]
            self.summary.by_others += others
            group = [revision for revision in group if revision.number not in others]
            if not group:
                return changed
            files = CommitWriter(self.folder, frozenset(self.rejects.log.sizes))
            try:
                files.fill(self.bucket, group, None if bar is None else _Relay(bar), self.executor, self.ahead)
            except (RevisionNotFoundError, RevisionChangedError) as error:
                number = revision_number(error.source)
                group = [revision for revision in group if revision.number != number]
                if isinstance(error, RevisionChangedError):
                    changed.append(number)
                else:
                    self.summary.vanished.append(error.source)
                    logger.warning("%s: went after it was listed; it was left out", error.source)
                continue
            if self._commit(files, group):
                return changed
        self.summary.unsettled += [revision.path for revision in group]
        return changed

    def _commit(self, files: CommitWriter, group: list[Revision]) -> bool:
        """Commit the rejects, then the records: a revision whose records are there is done."""
        rejected = {revision.number: revision for revision in group if revision.number in files.rejected}
        if rejected and not self.rejects.commit(files.rejects.added, rejected):
            return False
        if not self.records.commit(files.records.added, {revision.number: revision for revision in group}):
            return False
        add_commit(self.summary, files, [revision.number for revision in group])
        files.received.log()
        return True


class _Relay(Callback):  # type: ignore[misc]  # fsspec has no types
    """A callback that hands on how far the reading has come, and not the size: a group is a part of the whole."""

    def __init__(self, bar: Callback) -> None:
        super().__init__()
        self._bar = bar

    def relative_update(self, inc: int = 1) -> None:
        self.value += inc
        self._bar.relative_update(inc)
