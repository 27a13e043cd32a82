"""The reader of a lake: the files of a table → batches → the records of the export, in its order.

    files ──▶ small ones: fetched whole, some ahead of their turn ─┐
          ──▶ large ones: the wanted columns, in their turn ───────┴▶ batches ──▶ sorted by DuckDB

Python's own threads fetch them. Never let a thread of Arrow, DuckDB or delta-rs hold memory of Python, as the datasets
of pyarrow do over fsspec: one that gives it back when the interpreter is at its end takes the process down. Python
waits for threads of its own.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kmexport.columns.records import to_records
from kmexport.columns.schema import JSON, KINDS, TIME, as_kinds, choose_columns
from kmexport.errors import KmExportError, LakeFormatError, LakeNotFoundError, MalformedRecordError
from kmexport.lake.folder import LakeFolder
from kmexport.lake.log import TableFile, check_reader, read_log, read_records_log
from kmexport.lake.schema import RECORDS, REJECTS, TableLayout
from kmexport.lake.storage import find_destination
from kmexport.parsing.records import OnError, check_policy
from kmexport.records import Record
from kmexport.steps.identities import IdentityMap, Prefer
from kmexport.windows import Window, check_window

_BATCH_ROWS: Final = 32_768
_ORDER: Final = "ORDER BY revision, line, item"
_SMALL: Final = 2 << 20  # bytes; of a larger file that lies far away only the wanted columns are fetched
_AHEAD: Final = 16  # small files
_MEMORY: Final = "400MB"  # for sorting; what does not fit goes to temporary files


class Lake:
    """A lake as it was when it was opened: what is added later is not seen. See `open_lake`.

    It reads as a Bucket reads: `iter_records`, `to_batches`, `identities`, and `Facts(lake)`. The rejected lines go to
    `on_error` where that is a callable, and are passed over otherwise.
    """

    def __init__(self, url: str | os.PathLike[str], **storage_options: Any) -> None:
        self._folder = LakeFolder(find_destination(url, storage_options))
        log = read_records_log(self._folder)
        self.version: int = log.version
        self._revisions = frozenset(log.sizes)
        check_reader(self._folder, RECORDS, log)
        self._files = tuple(log.files.values())

    def __repr__(self) -> str:
        return f"<Lake {self._folder.public_url}: {len(self._revisions):,} revisions, version {self.version}>"

    @property
    def revisions(self) -> frozenset[int]:
        """The numbers of the revisions that are in it."""
        return self._revisions

    def iter_records(self, window: Window | None = None, *, on_error: OnError = "raise") -> Iterator[Record]:
        """Iterate over the records of a window, or all: those of `Bucket.iter_records`, in the same order."""
        return to_records(self.to_batches(window, on_error=on_error))

    def to_batches(
        self,
        window: Window | None = None,
        *,
        columns: Iterable[str] | None = None,
        on_error: OnError = "raise",
    ) -> pa.RecordBatchReader:
        """Read the records in columns, as `Bucket.to_batches` gives them: `columns` chooses among those of `SCHEMA`.

        Reads the days of the window and no other. Sorts them: what does not fit in 400 MB goes to temporary files.
        """
        check_policy(on_error, 1)
        if window is not None:
            check_window(window)
        layout = choose_columns(columns, ())
        batches = self._batches(window, layout.columns, layout.schema, on_error)
        return pa.RecordBatchReader.from_batches(layout.schema, batches)

    def identities(self, *, prefer: Prefer = "named_first", on_error: OnError = "raise") -> IdentityMap:  # noqa: ARG002
        """Read every alias into a map of who is who; `on_error` is there for the sake of `Facts`."""
        people = IdentityMap(prefer)
        for _, batch in scan_files(self._folder, RECORDS, self._files, ["kind", "person", "alias"]):
            aliases = batch.filter(pc.equal(batch["kind"], "alias"))
            people.link_pairs(zip(aliases["person"].to_pylist(), aliases["alias"].to_pylist(), strict=True))
        return people

    def rejects(self) -> Iterator[MalformedRecordError]:
        """Yield the rejected lines as the errors that reading them gave, in the order of revision and line.

        Raises LakeNotFoundError where somebody has deleted the table rejects.
        """
        log = read_log(self._folder, REJECTS)
        if log is None:
            reason = "the table rejects is gone, and the rejected lines with it (the table records is there)"
            raise LakeNotFoundError(self._folder.public_url, reason)
        check_reader(self._folder, REJECTS, log)
        query = "SELECT revision, line, reason, raw FROM lake ORDER BY revision, line"
        for batch in self._query(REJECTS, log.files.values(), REJECTS.schema.names, query, []):
            for row in batch.to_pylist():
                if row["revision"] in self._revisions:
                    path = f"revisions/{row['revision']}.json"
                    yield MalformedRecordError(path, row["line"], row["reason"], row["raw"])

    def _batches(
        self, window: Window | None, columns: tuple[str, ...], schema: Any, on_error: OnError
    ) -> Iterator[pa.RecordBatch]:
        if callable(on_error):
            for error in self.rejects():
                on_error(error)
        names = ", ".join(columns) or "1"
        files, condition, values = self._files, "", []
        if window is not None:
            first, last = _day_of(window.start), _day_of(window.end - 1)
            files = tuple(file for file in files if first <= (file.partition.get("day") or "") <= last)
            condition = (
                "WHERE time >= make_timestamptz(CAST(? AS BIGINT)) AND time < make_timestamptz(CAST(? AS BIGINT))"
            )
            values = [window.start * 1_000_000, window.end * 1_000_000]
        query = f"SELECT {names} FROM lake {condition} {_ORDER}"
        read = [
            name for name in RECORDS.schema.names if name in columns or name in ("revision", "line", "item", "time")
        ]
        for batch in self._query(RECORDS, files, read, query, values):
            found = ((name, batch.column(name)) for name in columns)
            arrays = [_FORMS[name](column) if name in _FORMS else column for name, column in found]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _query(
        self, layout: TableLayout, files: Iterable[TableFile], columns: Sequence[str], query: str, values: list[Any]
    ) -> Iterator[pa.RecordBatch]:
        failed: list[BaseException] = []

        def rows() -> Iterator[pa.RecordBatch]:
            try:
                for _, batch in scan_files(self._folder, layout, files, columns):
                    yield batch
            except BaseException as error:
                failed.append(error)  # DuckDB would hand on its text only
                raise

        schema = pa.schema([layout.schema.field(name) for name in columns])
        # Where Windows can't remove what is still open, it stays.
        with tempfile.TemporaryDirectory(prefix="kmexport-", ignore_cleanup_errors=True) as spill:
            config: dict[str, Any] = {
                "temp_directory": spill,
                "memory_limit": _MEMORY,
                "python_enable_replacements": False,
            }
            with duckdb.connect(":memory:", config=config) as connection:
                connection.execute("SET TimeZone = 'UTC'")
                connection.register("lake", pa.RecordBatchReader.from_batches(schema, rows()))
                with self._folder.delta(f"reading {layout.name}"):
                    try:
                        # Closed before its connection, which else would hold the folder open.
                        with connection.sql(query, params=values).to_arrow_reader(_BATCH_ROWS) as found:
                            yield from found
                    except duckdb.Error:
                        if failed:
                            raise failed[0] from None
                        raise


def _kinds(column: Any) -> Any:
    return as_kinds(pc.index_in(column, pa.array(KINDS)).cast(pa.int8()))


_FORMS: Final[dict[str, Any]] = {
    "kind": _kinds,
    "time": lambda column: column.cast(TIME),
    "properties": lambda column: pa.ExtensionArray.from_storage(JSON, column.cast(pa.string())),
}


def _day_of(timestamp: int) -> str:
    return (date(1970, 1, 1) + timedelta(days=timestamp // 86_400)).isoformat()


def open_lake(url: str | os.PathLike[str], **storage_options: Any) -> Lake:
    """Open a lake to be read, as it is now: `Facts(open_lake("s3://acme-lake", profile="analytics"))`.

    `storage_options` are fsspec's. Raises LakeNotFoundError where there is no lake, and LakeFormatError for tables that
    kmexport did not make.

    >>> import tempfile
    >>> from kmexport import Bucket
    >>> from kmexport.lake import sync
    >>> folder = tempfile.mkdtemp()
    >>> summary = sync(Bucket.sample(), folder)
    >>> len(open_lake(folder).revisions)
    12
    """
    return Lake(url, **storage_options)


def scan_files(
    folder: LakeFolder, layout: TableLayout, files: Iterable[TableFile], columns: Sequence[str]
) -> Iterator[tuple[TableFile, pa.RecordBatch]]:
    """Read the rows of these files, with just these columns, file by file, each batch with its file.

    Raises LakeNotFoundError for a file that is gone and LakeFormatError for one that is damaged.
    """
    schema = pa.schema([layout.schema.field(name) for name in columns])
    files = list(files)
    sources = _sources(folder, [(f"{layout.name}/{file.name}", file.size) for file in files])
    for one, (name, source) in zip(files, sources, strict=True):
        try:
            with source, pq.ParquetFile(source) as file:
                for batch in file.iter_batches(_BATCH_ROWS, columns=list(columns), use_threads=False):
                    yield one, batch.select(columns).cast(schema)
        except KmExportError:
            raise
        except (pa.ArrowException, OSError, ValueError, LookupError) as error:
            words = " ".join(str(error).split())
            raise LakeFormatError(folder.public_url, f"{name} is damaged ({words:.200})") from error


def _sources(folder: LakeFolder, files: Sequence[tuple[str, int]]) -> Iterator[tuple[str, Any]]:
    if folder.is_local:
        for name, _ in files:
            yield name, _open_local(folder, name)
        return
    ahead: deque[tuple[str, int, Future[bytes] | None]] = deque()
    waiting = iter(files)
    with ThreadPoolExecutor(_AHEAD, "kmexport lake") as pool:
        try:
            while True:
                while len(ahead) < _AHEAD and (file := next(waiting, None)) is not None:
                    name, size = file
                    ahead.append((name, size, pool.submit(folder.content, name) if size <= _SMALL else None))
                if not ahead:
                    return
                name, size, fetched = ahead.popleft()
                yield name, _FarFile(folder, name, size) if fetched is None else pa.BufferReader(fetched.result())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _open_local(folder: LakeFolder, name: str) -> Any:
    path = Path(folder.destination.url) / name
    try:
        return pa.OSFile(str(path))
    except FileNotFoundError as error:
        raise folder.gone(name) from error


class _FarFile(io.RawIOBase):
    """A file in a far storage: only what is asked for is fetched."""

    def __init__(self, folder: LakeFolder, name: str, size: int) -> None:
        super().__init__()
        self._folder = folder
        self._name = name
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        content = self._folder.content(self._name, self._at, end) if self._at < end else b""
        self._at += len(content)
        return content
