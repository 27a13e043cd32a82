"""Batches of records → Parquet files: sorted by time, one for each day, the memory bounded; and what the log says."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any, Final
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from attrs import frozen
from deltalake.transaction import AddAction
from fsspec.callbacks import Callback

from kmexport.bucket import Bucket
from kmexport.columns.raw_rows import raw_rows
from kmexport.columns.reader import read_revision, rows_of_heads
from kmexport.columns.schema import choose_columns
from kmexport.errors import MalformedRecordError
from kmexport.lake.folder import LakeFolder
from kmexport.lake.schema import DELTA_TIME, RECORDS, REJECTS, STATISTICS_COLUMNS, TableLayout
from kmexport.parsing.counts import LineCounts, ParsedLines
from kmexport.revisions.groups import read_in_groups
from kmexport.revisions.manifest import Revision, revision_number
from kmexport.revisions.reader import ReadOptions, read_revisions
from kmexport.revisions.scan import ReceivedTimes
from kmexport.storage.folder import Folder

CHUNK_BYTES: Final = 48 << 20  # of lines held: sorting them and writing takes about three times as much
_DAY: Final = 86_400  # seconds
_EPOCH: Final = date(1970, 1, 1)
_COLUMNS: Final = choose_columns(None, ())
_BATCH_ROWS: Final = 65_536  # each batch costs the other thread some dozens of calls that wait for the interpreter lock
_ROWS_BYTES: Final = 4_000  # of memory, beside the lines
_ROW_GROUP: Final = 131_072
_LEVEL: Final = 1  # of zstd: 3 takes longer and gives a file 1 % smaller
# Times are sorted: plain, they are a quarter as long as with a dictionary.
_DICTIONARIES: Final = ["revision", "item", "kind", "person", "name"]
_STATISTICS: Final = ["revision", "line", "item", "kind", "person", "time", "name"]


class NewFiles:
    """Files of a table that no commit has added yet, so that no reader sees them."""

    def __init__(self, folder: LakeFolder, layout: TableLayout) -> None:
        self.folder = folder
        self.layout = layout
        self.added: list[AddAction] = []

    def write(self, rows: pa.Table, partition: dict[str, str | None]) -> None:
        """Write rows to a file of their own."""
        folder = "".join(f"{key}={value}/" for key, value in partition.items())
        path = f"{folder}part-{uuid4()}.zstd.parquet"
        names = rows.schema.names
        sink = pa.BufferOutputStream()
        pq.write_table(
            rows,
            sink,
            compression="zstd",
            compression_level=_LEVEL,
            row_group_size=_ROW_GROUP,
            use_dictionary=[name for name in _DICTIONARIES if name in names],
            write_statistics=[name for name in _STATISTICS if name in names],
            store_schema=False,  # the file says what Delta says: text, not Arrow's dictionary
        )
        content = sink.getvalue()
        self.folder.write(f"{self.layout.name}/{path}", memoryview(content))
        self.added.append(AddAction(path, content.size, partition, int(time.time() * 1000), True, _statistics(rows)))

    def discard(self) -> None:
        """Remove them all. Only for those that no commit was tried for: one that failed may have succeeded."""
        for action in self.added:
            self.folder.remove(f"{self.layout.name}/{action.path}")
        self.added = []


class UnmadeBatch:
    """The rows of one revision; another thread makes a batch of them: Arrow needs no interpreter lock for most of it.

    `size` is the number of bytes of their lines.
    """

    def __init__(self, revision: int) -> None:
        self._rows = rows_of_heads(_COLUMNS, revision)
        self.size: int = 0

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, lines: ParsedLines) -> None:
        self.size += lines.size
        self._rows.add(lines)

    def batch(self) -> UnmadeBatch:
        """Hand the rows on as they are."""
        return self

    def make(self) -> pa.RecordBatch:
        """Make the batch."""
        return self._rows.batch()


class RecordFiles(NewFiles):
    """The files of the table records; takes rows of one revision each, in the order of their lines.

    Holds about CHUNK_BYTES of them; as many are sorted and written on another thread meanwhile, which needs that much
    again, twice. When it is finished, `received` has the first and the last second of each revision.
    """

    def __init__(self, folder: LakeFolder, revisions: Sequence[Revision]) -> None:
        super().__init__(folder, RECORDS)
        self.received: ReceivedTimes = ReceivedTimes()
        self._revisions = {revision.number: revision for revision in revisions}
        self._held: list[UnmadeBatch] = []
        self._held_bytes = 0
        self._thread = ThreadPoolExecutor(1, "kmexport writer")
        self._writing: Future[None] | None = None
        self._last = (-1, -1, 0)  # revision and line of the last record, and its place on the line

    def add(self, rows: UnmadeBatch) -> None:
        """Take rows, and write what is held where it is enough."""
        self._held.append(rows)
        self._held_bytes += rows.size + _ROWS_BYTES
        if self._held_bytes >= CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write all that is held, on the other thread, after what was held before."""
        held, self._held, self._held_bytes = self._held, [], 0
        self._wait()
        if held:
            self._writing = self._thread.submit(self._write_days, held)

    def finish(self) -> None:
        """Write all that is held, and wait for it."""
        try:
            self.flush()
            self._wait()
        finally:
            self._thread.shutdown()

    def discard(self) -> None:
        """Remove them all, when none is being written any more."""
        self._thread.shutdown()
        super().discard()

    def _wait(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _write_days(self, held: list[UnmadeBatch]) -> None:
        held.reverse()
        batches = []
        while held:  # none is held as rows and as a batch
            batch = held.pop().make()
            times = batch.column("time").cast(pa.int64()).to_numpy()
            revision = self._revisions[batch.column("revision")[0].as_py()]
            self.received.see(revision, (int(times.min()), int(times.max())))
            batches.append(self._with_items(batch))
        for day, rows in _by_day(batches):
            self.write(rows, {"day": day.isoformat()})

    def _with_items(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Add the table's columns to a batch of one revision. Records of an array may share a line: `item` counts them
        from 1."""
        revision, lines = batch.column("revision")[0].as_py(), batch.column("line").to_numpy()
        starts = np.ones(len(lines), bool)
        np.not_equal(lines[1:], lines[:-1], out=starts[1:])
        starts[0] = self._last[:2] != (revision, lines[0])
        items = np.ones(len(lines), np.int32)
        if not starts.all():
            places = np.arange(len(lines), dtype=np.int32)
            first = np.maximum.accumulate(np.where(starts, places, 0))
            items = places - first + 1
            if not starts[0]:
                items[first == 0] += self._last[2]
        self._last = (revision, int(lines[-1]), int(items[-1]))
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        columns["item"] = pa.array(items)
        columns["properties"] = columns["properties"].storage
        names = [name for name in RECORDS.schema.names if name != "day"]
        return pa.RecordBatch.from_arrays([columns[name] for name in names], names=names)


def _by_day(batches: list[pa.RecordBatch]) -> Iterator[tuple[date, pa.Table]]:
    """Yield the rows of each UTC day, sorted by time; those of one second in the order in which they came."""
    rows = pa.Table.from_batches(batches)
    times = rows.column("time").cast(pa.int64()).to_numpy()
    if (times[1:] < times[:-1]).any():
        order = np.argsort(times, kind="stable")
        rows = rows.take(pa.array(order))
        times = times[order]
    rows = rows.set_column(rows.schema.get_field_index("time"), "time", rows.column("time").cast(DELTA_TIME))
    days = times // _DAY
    starts = [0, *(np.flatnonzero(days[1:] != days[:-1]) + 1).tolist(), len(days)]
    for start, end in pairwise(starts):
        yield _EPOCH + timedelta(days=int(days[start])), rows.slice(start, end - start)


class RejectFiles(NewFiles):
    """The files of the table rejects."""

    def __init__(self, folder: LakeFolder) -> None:
        super().__init__(folder, REJECTS)
        self._held: list[tuple[int, int, str, bytes]] = []
        self._held_bytes = 0

    def add(self, revision: int, line: int, reason: str, raw: bytes) -> None:
        """Take one rejected line."""
        # Half a surrogate pair in the reason has no form in UTF-8.
        self._held.append((revision, line, reason.encode(errors="backslashreplace").decode(), raw))
        self._held_bytes += len(raw) + 500
        if self._held_bytes >= CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write all that is held."""
        held, self._held, self._held_bytes = self._held, [], 0
        if held:
            columns = zip(*held, strict=True)
            arrays = [pa.array(column, kind) for column, kind in zip(columns, REJECTS.schema.types, strict=True)]
            self.write(pa.Table.from_arrays(arrays, schema=REJECTS.schema), {})


def _statistics(rows: pa.Table) -> str:
    """Write the statistics of a file for the log, so that engines can pass it over."""
    smallest: dict[str, Any] = {}
    largest: dict[str, Any] = {}
    for name in STATISTICS_COLUMNS:
        if name in rows.schema.names:
            column = rows.column(name)
            values = column.cast(pa.int64()).to_numpy()
            form = _spell_time if name == "time" else int
            smallest[name], largest[name] = form(values.min()), form(values.max())
    nulls = dict.fromkeys(smallest, 0)
    return json.dumps({"numRecords": rows.num_rows, "minValues": smallest, "maxValues": largest, "nullCount": nulls})


def _spell_time(microseconds: Any) -> str:
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(microseconds))
    return f"{time.isoformat()[:19]}.000Z"


@frozen
class WrittenRecords:
    """The files of some revisions, which no commit has added yet; and each revision's first and last second."""

    added: list[AddAction]
    spans: list[tuple[Revision, int, int]]


def write_records(
    lake: LakeFolder, export: Folder, revisions: Sequence[Revision], reading: ReadOptions
) -> Iterator[WrittenRecords]:
    """Read revisions, and write their records to files, here or on a worker. Where that fails, no file is left."""
    files = RecordFiles(lake, revisions)
    read_file = read_revision(UnmadeBatch, None, _BATCH_ROWS, with_texts=True, heads_of=raw_rows)
    try:
        for rows in read_revisions(export, revisions, reading, read_file):
            files.add(rows)
        files.finish()
    except BaseException:
        files.discard()
        raise
    yield WrittenRecords(files.added, files.received.spans())


class CommitWriter:
    """The files of one commit, while revisions are read into them."""

    def __init__(self, folder: LakeFolder, known_rejects: frozenset[int]) -> None:
        self.records: NewFiles = NewFiles(folder, RECORDS)
        self.rejects: RejectFiles = RejectFiles(folder)
        self.counts: LineCounts = LineCounts()
        self.received: ReceivedTimes = ReceivedTimes()
        self.rejected: set[int] = set()  # revisions that have rejects which no commit has yet
        self._known_rejects = known_rejects

    def fill(
        self,
        bucket: Bucket,
        group: Sequence[Revision],
        callback: Callback | None = None,
        executor: Executor | None = None,
        ahead: int | None = None,
    ) -> None:
        """Read the revisions, and write all of them to files.

        Where that fails, no file is left; with an executor but those of its workers that were not taken yet.
        """
        reading = ReadOptions(
            self._reject, callback, self.counts, bucket.limits.max_line_bytes, executor=executor, ahead=ahead
        )
        write = partial(write_records, self.records.folder)
        try:
            for written in read_in_groups(bucket.folder, group, reading, write, CHUNK_BYTES):
                self.records.added += written.added
                for revision, first, last in written.spans:
                    self.received.see(revision, (first, last))
            self.rejects.flush()
        except BaseException:
            self.records.discard()
            self.rejects.discard()
            raise

    def _reject(self, error: MalformedRecordError) -> None:
        number = revision_number(error.source)
        if number not in self._known_rejects:
            self.rejected.add(number)
            self.rejects.add(number, error.line_number, error.reason, error.raw)
