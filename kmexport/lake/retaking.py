"""Changed revisions, taken once more: their old rows go and the new ones come in one commit.

    files that may hold rows of them ──▶ the rows of other revisions, written anew ─┐
    the bucket                       ──▶ the rows of these, written as `sync` does ─┴▶ one commit: old files out, new in

A file that has no row of theirs stays as it is. The table rejects comes first, in a commit of its own: until the commit
of the records, the sizes in the log show that the revisions are not done, and the next try does both again.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from kmexport.bucket import Bucket, check_bucket
from kmexport.errors import RevisionNotFoundError
from kmexport.lake.folder import LakeFolder
from kmexport.lake.log import LakeTable, TableFile, check_reader, open_table, read_records_log
from kmexport.lake.reader import scan_files
from kmexport.lake.schema import RECORDS, REJECTS
from kmexport.lake.storage import find_destination
from kmexport.lake.sync import SyncSummary, add_commit
from kmexport.lake.writer import CHUNK_BYTES, CommitWriter, NewFiles
from kmexport.revisions.manifest import Revision
from kmexport.revisions.reader import check_revisions
from kmexport.storage.open_files import Progress, check_progress, progress_bar

logger: logging.Logger = logging.getLogger("kmexport")

ROUNDS: Final = 20  # with runs beside ours; each one means that another has come further


def retake(
    bucket: Bucket,
    url: str | os.PathLike[str],
    revisions: Iterable[Revision | int],
    *,
    callback: Progress = None,
    **storage_options: Any,
) -> SyncSummary:
    """Take revisions again whose files have changed: their old rows go, and the new ones come, in one commit.

    A reader sees the old rows or the new ones, never both and never none, whatever ends the run. Taking the same
    revisions twice changes nothing more; one that the lake lacks is added. `sync` names a changed revision each night
    until then. `revisions` are numbers, or `Revision` objects of `bucket.revisions()`.

    Costs reading these revisions, and reading and writing again the files of the lake that hold rows of them: of a lake
    that was compacted those of whole days. Holds what `sync` holds. The rejected lines go to the table rejects in a
    commit before. `callback` and `storage_options` are those of `sync`.

    Raises RevisionNotFoundError for a revision that is not in the bucket: the lake keeps what it has of it;
    RevisionChangedError for one that is replaced in this moment; LakeNotFoundError where there is no lake; and what
    `sync` raises.

    >>> import tempfile
    >>> from kmexport.lake import open_lake, sync
    >>> folder = tempfile.mkdtemp()
    >>> summary = sync(Bucket.sample(), folder)
    >>> retake(Bucket.sample(), folder, [3]).revisions
    [3]
    >>> sum(1 for _ in open_lake(folder).iter_records())
    2000
    """
    check_bucket(bucket, "retake")
    wanted = {one.number if isinstance(one, Revision) else one for one in check_revisions(revisions)}
    check_progress(callback)
    begun = time.monotonic()
    folder = LakeFolder(find_destination(url, storage_options))
    folder.check_apart(bucket._folder)
    log = read_records_log(folder)
    listed = {revision.number: revision for revision in bucket._listing().revisions}
    lacking = [f"revisions/{number}.json" for number in sorted(wanted - listed.keys())]
    if lacking:
        raise RevisionNotFoundError(lacking[0])
    group = [listed[number] for number in sorted(wanted)]
    summary = SyncSummary(folder.public_url, present=len(log.sizes), retaken=sorted(wanted & log.sizes.keys()))
    if group:
        tables = open_table(folder, RECORDS, log), open_table(folder, REJECTS)
        with progress_bar(callback) as bar:
            _take(bucket, group, tables, summary, bar)
    summary.seconds = time.monotonic() - begun
    logger.info("%s", summary.headline)
    return summary


def _take(
    bucket: Bucket,
    group: Sequence[Revision],
    tables: tuple[LakeTable, LakeTable],
    summary: SyncSummary,
    bar: Any,
) -> None:
    """Try until no other run comes between."""
    records, rejects = tables
    revisions = {revision.number: revision for revision in group}
    for _ in range(ROUNDS):
        files = CommitWriter(records.folder, frozenset())
        files.fill(bucket, group, bar)
        if _replace(rejects, files.rejects, revisions) and _replace(records, files.records, revisions):
            break
    else:
        summary.unsettled += [revision.path for revision in group]
        return
    records.shorten_log()
    rejects.shorten_log()
    add_commit(summary, files, sorted(revisions))


def _replace(table: LakeTable, new: NewFiles, revisions: dict[int, Revision]) -> bool:
    """Put the new rows of the revisions in the place of the old ones; False where another run was faster."""
    check_reader(table.folder, table.layout, table.log)
    numbers = pa.array(revisions, pa.int64())
    old = [file for file in table.log.files.values() if file.may_hold(revisions) and _holds(table, file, numbers)]
    if table.layout is REJECTS and not old and not new.added:
        return True
    others = NewFiles(table.folder, table.layout)
    copy_rows(table, others, old, lambda batch: pc.invert(pc.is_in(batch["revision"], numbers)))
    return table.replace(old, [*new.added, *others.added], revisions)


def _holds(table: LakeTable, file: TableFile, numbers: pa.Array) -> bool:
    found = scan_files(table.folder, table.layout, [file], ["revision"])
    return any(pc.any(pc.is_in(batch["revision"], numbers)).as_py() for _, batch in found)


def copy_rows(
    table: LakeTable, new: NewFiles, files: Iterable[TableFile], are_kept: Callable[[pa.RecordBatch], Any]
) -> None:
    """Write the rows that are kept to files of their own, in the order of the old file."""
    columns = [name for name in table.layout.schema.names if name not in table.layout.partitions]
    for file, found in groupby(scan_files(table.folder, table.layout, files, columns), itemgetter(0)):
        held: list[pa.RecordBatch] = []
        for _, batch in found:
            held.append(batch.filter(are_kept(batch)))
            if sum(one.nbytes for one in held) >= CHUNK_BYTES:
                new.write(pa.Table.from_batches(held), file.partition)
                held = []
        rows = pa.Table.from_batches(held) if held else None
        if rows:
            new.write(rows, file.partition)
