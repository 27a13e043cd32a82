"""The export into its lake: what the tables lack and no more, each revision once."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from typing import Any, Final

from attrs import define
from fsspec.callbacks import Callback

from kmexport.bucket import Bucket
from kmexport.errors import RevisionChangedError, RevisionNotFoundError
from kmexport.groups import in_groups
from kmexport.lake.commits import Table, open_table
from kmexport.lake.destinations import find_destination
from kmexport.lake.filling import Filling, find_lacking
from kmexport.lake.folder import LakeFolder
from kmexport.lake.layout import RECORDS, REJECTS
from kmexport.lake.summary import SyncSummary
from kmexport.manifest import Revision, revision_number
from kmexport.storage import Progress, check_progress, progress_bar

__all__ = ["sync"]

BYTES_A_COMMIT: Final = 256 << 20
_MOST_COLLISIONS: Final = 20  # with other runs over one group; each one means that another has come further
_ROUNDS: Final = 3  # for revisions that are replaced while they are read

logger: logging.Logger = logging.getLogger("kmexport")


def sync(
    bucket: Bucket,
    url: str | os.PathLike[str],
    *,
    callback: Progress = None,
    bytes_a_commit: int = BYTES_A_COMMIT,
    processes: int = 1,
    **storage_options: Any,
) -> SyncSummary:
    """Bring a lake up to date with the export: the revisions that it lacks are added, each exactly once.

    A lake is two Delta tables side by side, which any engine reads. `url/records` has the columns of
    `kmexport.tables.SCHEMA`, `item` and the UTC `day` by which it is partitioned; and `url/rejects`, with the lines
    that are no records. It is made where there is none, and may lie on the local disk, S3, Google Cloud Storage or
    Azure; `storage_options` are fsspec's, as for a Bucket.

    A revision that fills in late, below the highest number, is taken too. What a run has committed stays, whatever
    ends it; the next one takes the rest. Two runs at once do no harm: each revision is added by one of them. A commit
    holds revisions of about `bytes_a_commit` bytes together. The lake keeps what it has: a revision that is deleted
    from the bucket stays, and one whose file has another size by now is named in the summary.

    `callback` is an fsspec Callback or "tqdm"; `processes=N` is that of `Bucket.to_batches` and pays for the first run
    over a large export only. Holds some 350 MB at most, and the `prefetch_bytes` of the bucket's limits where the
    export lies far away. Costs a handful of requests where nothing is new.

    Raises TypeError for an address in place of the bucket; LakeFormatError for tables that were not made by kmexport,
    or by a newer one, before anything is written; ValueError for a storage that delta-rs does not write;
    PermissionError for a profile that is not there; and what `Bucket.iter_records` raises, but no MalformedRecordError.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> summary = sync(Bucket.sample(), folder)
    >>> len(summary.revisions), summary.records, summary.rejects
    (12, 2000, 0)
    >>> sync(Bucket.sample(), folder).revisions
    []
    """
    if isinstance(bucket, str | os.PathLike):
        msg = "the first argument is a Bucket, not its address: sync(Bucket(url), …)"
        raise TypeError(msg)
    for name, count in (("bytes_a_commit", bytes_a_commit), ("processes", processes)):
        if count < 1:
            msg = f"{name} is at least 1, not {count}"
            raise ValueError(msg)
    check_progress(callback)
    begun = time.monotonic()
    folder = LakeFolder(find_destination(url, storage_options))
    wanted, log, summary = find_lacking(bucket, folder)
    if wanted or log is None or summary.lost_rejects:
        # In this order, so that both are known to be ours before anything is written to one of them.
        rejects = open_table(folder, REJECTS)
        run = _Run(bucket, folder, processes, bytes_a_commit, summary, open_table(folder, RECORDS, log), rejects)
        with progress_bar(callback) as bar:
            run.take(wanted, bar)
    summary.seconds = time.monotonic() - begun
    return summary


@define
class _Run:
    bucket: Bucket
    folder: LakeFolder
    processes: int
    bytes_a_commit: int
    summary: SyncSummary
    records: Table
    rejects: Table

    def take(self, wanted: Sequence[Revision], bar: Callback | None) -> None:
        """Add these revisions; those that are replaced while they are read are listed and read again."""
        if bar is not None and all(revision.size is not None for revision in wanted):
            bar.set_size(sum(revision.size or 0 for revision in wanted))
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
            files = Filling(self.folder, frozenset(self.rejects.log.sizes))
            try:
                files.fill(self.bucket, group, None if bar is None else _Relay(bar), processes=self.processes)
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

    def _commit(self, files: Filling, group: list[Revision]) -> bool:
        """First the rejects, then the records: a revision whose records are there is done."""
        rejected = {revision.number: revision for revision in group if revision.number in files.rejected}
        if rejected and not self.rejects.commit(files.rejects.added, rejected):
            return False
        if not self.records.commit(files.records.added, {revision.number: revision for revision in group}):
            return False
        summary = self.summary
        summary.revisions += [revision.number for revision in group]
        summary.commits += 1
        summary.files += len(files.records.added)
        summary.file_bytes += sum(action.size for action in files.records.added)
        summary.counts.add(files.counts)
        summary.far += files.received.far()
        files.received.log()
        return True


class _Relay(Callback):  # type: ignore[misc]  # fsspec has no types
    """Hands on how far the reading has come, and not the size: a group is only a part of the whole."""

    def __init__(self, bar: Callback) -> None:
        super().__init__()
        self._bar = bar

    def relative_update(self, inc: int = 1) -> None:
        self.value += inc
        self._bar.relative_update(inc)
