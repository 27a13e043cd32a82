"""Revisions → the files of a commit, and what is known of a lake before any is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import pyarrow as pa
from fsspec.callbacks import Callback

from kmexport.bucket import Bucket
from kmexport.errors import MalformedRecordError
from kmexport.lake.commits import TableLog, read_log
from kmexport.lake.files import RecordFiles, RejectFiles
from kmexport.lake.folder import LakeFolder
from kmexport.lake.layout import RECORDS, REJECTS
from kmexport.lake.summary import ChangedRevision, SyncSummary
from kmexport.lateness import ReceivedTimes
from kmexport.manifest import Revision, revision_number
from kmexport.reading import LineCounts

__all__ = ["CHUNK_BYTES", "Filling", "find_lacking"]

CHUNK_BYTES: Final = 64 << 20  # of columns held: sorting them and writing takes about three times as much


def find_lacking(bucket: Bucket, folder: LakeFolder) -> tuple[list[Revision], TableLog | None, SyncSummary]:
    """The revisions that the lake lacks, its log (None where there is no table), and a summary that has what was seen.

    Raises LakeFormatError for a table that is none of ours, ValueError for a lake that lies in the export.
    """
    folder.check_apart(bucket._folder)
    summary = SyncSummary(folder.public_url)
    log = read_log(folder, RECORDS)
    listing = bucket._listing()
    present = log.sizes if log is not None else {}
    # Of those the summary tells: nothing is left out.
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
    """The revisions whose file has another size now than when it was taken; `present` has the sizes of then."""
    changed = []
    for revision in listed:
        then = present.get(revision.number, -1)
        # A file that was packed meanwhile has another size, and may well hold the same.
        if then >= 0 and revision.size is not None and revision.size != then and not revision.path.endswith(".gz"):
            changed.append(ChangedRevision(revision.number, revision.path, then, revision.size))
    return changed


class Filling:
    """The files of one commit, while revisions are read into them."""

    def __init__(self, folder: LakeFolder, known_rejects: frozenset[int]) -> None:
        self.records: RecordFiles = RecordFiles(folder, CHUNK_BYTES)
        self.rejects: RejectFiles = RejectFiles(folder, CHUNK_BYTES)
        self.counts: LineCounts = LineCounts()
        self.received: ReceivedTimes = ReceivedTimes()
        self.rejected: set[int] = set()  # revisions that have rejects which no commit has yet
        self._known_rejects = known_rejects

    def fill(
        self, bucket: Bucket, group: Sequence[Revision], callback: Callback | None = None, *, processes: int = 1
    ) -> None:
        """Read the revisions, and write all of them to files. Where that fails, no file is left."""
        revisions = {revision.number: revision for revision in group}
        try:
            for batch in bucket.to_batches(
                revisions=group, on_error=self._reject, counts=self.counts, callback=callback, processes=processes
            ):
                self.records.add(batch)
                self._note_times(batch, revisions)
            self.records.finish()
            self.rejects.flush()
        except BaseException:
            self.records.discard()
            self.rejects.discard()
            raise

    def _note_times(self, batch: pa.RecordBatch, revisions: Mapping[int, Revision]) -> None:
        times = pa.table({"revision": batch["revision"], "time": batch["time"].cast(pa.int64())})
        spans = times.group_by("revision", use_threads=False).aggregate([("time", "min"), ("time", "max")])
        for row in spans.to_pylist():
            self.received.see(revisions[row["revision"]], [row["time_min"], row["time_max"]])

    def _reject(self, error: MalformedRecordError) -> None:
        number = revision_number(error.source)
        if number not in self._known_rejects:
            self.rejected.add(number)
            self.rejects.add(number, error.line_number, error.reason, error.raw)
