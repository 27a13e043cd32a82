"""The export into its lake by a cluster: workers write the files, and one commit here adds them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import uuid4

from attrs import define, field, frozen
from distributed import Client

from kmexport.bucket import Bucket
from kmexport.cluster.collections import GROUP_BYTES, Group, group_revisions, span
from kmexport.cluster.people import newest_client
from kmexport.errors import RevisionChangedError, RevisionNotFoundError
from kmexport.lake import SyncSummary
from kmexport.lake.folder import LakeFolder
from kmexport.lake.log import Table, open_table
from kmexport.lake.schema import RECORDS, REJECTS
from kmexport.lake.storage import find_destination
from kmexport.lake.sync import find_lacking
from kmexport.lake.writer import CommitWriter
from kmexport.parsing.counts import LineCounts
from kmexport.revisions.lateness import FarRevision
from kmexport.revisions.manifest import Revision, revision_number

__all__ = ["sync"]

_ROUNDS: Final = 5  # with runs beside ours that bring in some of our revisions


def sync(
    bucket: Bucket,
    url: str | os.PathLike[str],
    *,
    client: Client | None = None,
    group_bytes: int = GROUP_BYTES,
    **storage_options: Any,
) -> SyncSummary:
    """Bring a lake up to date with the export, as `kmexport.lake.sync` does, and the workers read and write.

    A task takes a group of revisions of about `group_bytes` bytes and writes its files; when all are there, they are
    added here in one commit, under the transaction ids of `kmexport.lake.sync`. So the two may take turns, or run at
    the same time, and each revision is added once. A run that fails or is killed has added nothing; files that it has
    written stay unseen until `kmexport.lake.vacuum` removes them.

    The lake has to lie where the workers reach it: on S3, Google Cloud Storage or Azure, or on a disk that all of them
    share. `storage_options` are the lake's. A revision that is replaced while it is read is left to the next run, see
    the summary. A task holds some 350 MB; here it costs some hundred bytes a file. Raises what `kmexport.lake.sync`
    raises, and ValueError where there is no cluster. Needs `kmexport[lake]` here and on the workers.
    """
    begun = time.monotonic()
    client = client or newest_client()
    folder = LakeFolder(find_destination(url, storage_options))
    wanted, log, summary = find_lacking(bucket, folder)
    groups = [group for group in group_revisions(wanted, group_bytes) if group]
    if groups or log is None or summary.lost_rejects:
        # In this order, so that both are known to be ours before anything is written to one of them.
        rejects = open_table(folder, REJECTS)
        records = open_table(folder, RECORDS, log)
        write = WriteGroup(bucket, folder, frozenset(rejects.log.sizes))
        _Run(client, records, rejects, summary).add(write, groups)
        records.shorten_log()
        rejects.shorten_log()
    summary.seconds = time.monotonic() - begun
    return summary


@define
class Written:
    """What a task has written. No reader sees it before it is committed."""

    group: tuple[Revision, ...]
    records: list[Any]
    rejects: list[Any]
    rejected: set[int]  # revisions that have rejects which no commit has yet
    counts: LineCounts
    far: list[FarRevision] = field(factory=list)
    vanished: list[str] = field(factory=list)
    changed: list[str] = field(factory=list)


@frozen
class WriteGroup:
    """Writes the files of a group, on a worker."""

    bucket: Bucket
    folder: LakeFolder = field(repr=False)  # its options may hold credentials
    known_rejects: frozenset[int] = field(repr=False)

    def __call__(self, group: Group) -> Written:
        vanished: list[str] = []
        changed: list[str] = []
        while True:
            try:
                written = self._write(group)
            except (RevisionNotFoundError, RevisionChangedError) as error:
                (vanished if isinstance(error, RevisionNotFoundError) else changed).append(error.source)
                number = revision_number(error.source)
                group = tuple(revision for revision in group if revision.number != number)
                continue
            written.vanished, written.changed = vanished, changed
            return written

    def _write(self, group: Group) -> Written:
        files = CommitWriter(self.folder, self.known_rejects)
        files.fill(self.bucket, group)
        far = files.received.far()
        return Written(group, files.records.added, files.rejects.added, files.rejected, files.counts, far)


@frozen
class _Run:
    client: Client
    records: Table
    rejects: Table
    summary: SyncSummary

    def add(self, write: WriteGroup, groups: Sequence[Group]) -> None:
        """Write and commit; a group of which another run has brought in a part is written again without that."""
        done: list[Written] = []
        for _ in range(_ROUNDS):
            done += self._written(write, groups)
            if not done or _commit(done, self.records, self.rejects):
                _sum_up(done, self.summary)
                return
            mixed = [one for one in done if self._is_mixed(one)]
            done = [one for one in done if not self._is_mixed(one)]
            groups = [left for one in mixed if (left := self._left_of(one))]
            write = WriteGroup(write.bucket, write.folder, frozenset(self.rejects.log.sizes))
        rest = [*groups, *(one.group for one in done)]
        self.summary.unsettled += [revision.path for group in rest for revision in group]

    def _written(self, write: WriteGroup, groups: Sequence[Group]) -> list[Written]:
        token = uuid4().hex
        keys = [f"kmexport-lake-{span(group)}-{token}" for group in groups]
        written: list[Written] = self.client.gather(self.client.map(write, groups, key=keys, pure=False))
        return written

    def _is_mixed(self, one: Written) -> bool:
        added = self.records.log.sizes.keys()
        return any(revision.number in added for revision in one.group) or bool(
            one.rejected & self.rejects.log.sizes.keys()
        )

    def _left_of(self, one: Written) -> Group:
        added = self.records.log.sizes.keys()
        self.summary.by_others += [revision.number for revision in one.group if revision.number in added]
        self.summary.vanished += one.vanished
        self.summary.unsettled += one.changed
        return tuple(revision for revision in one.group if revision.number not in added)


def _commit(done: Iterable[Written], records: Table, rejects: Table) -> bool:
    """First the rejects, then the records: a revision whose records are there is done."""
    revisions = {revision.number: revision for one in done for revision in one.group}
    rejected = {number: revisions[number] for one in done for number in one.rejected}
    if rejected:
        if not rejects.commit([action for one in done for action in one.rejects], rejected):
            return False
        for one in done:
            one.rejects, one.rejected = [], set()
    return not revisions or records.commit([action for one in done for action in one.records], revisions)


def _sum_up(done: Iterable[Written], summary: SyncSummary) -> None:
    summary.commits += 1 if any(one.group for one in done) else 0
    for one in done:
        summary.revisions += [revision.number for revision in one.group]
        summary.files += len(one.records)
        summary.file_bytes += sum(action.size for action in one.records)
        summary.vanished += one.vanished
        summary.unsettled += one.changed
        summary.counts.add(one.counts)
        summary.far += one.far
    summary.revisions.sort()
