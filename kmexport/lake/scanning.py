"""The files of a table → batches, read by Python's own threads.

Never let a thread of Arrow, DuckDB or delta-rs hold memory of Python, as the datasets of pyarrow do over fsspec: one
that gives it back when the interpreter is at its end takes the process down. Python waits for threads of its own.

    files ──▶ small ones: fetched whole, some ahead of their turn ─┐
          ──▶ large ones: the wanted columns, in their turn ───────┴▶ batches
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from kmexport.errors import KmExportError, LakeFormatError
from kmexport.lake.folder import LakeFolder
from kmexport.lake.log import TableFile
from kmexport.lake.schema import TableLayout

__all__ = ["scan"]

_BATCH_ROWS: Final = 32_768
_SMALL: Final = 2 << 20  # bytes; of a larger file that lies far away only the wanted columns are fetched
_AHEAD: Final = 16  # small files


def scan(
    folder: LakeFolder, layout: TableLayout, files: Iterable[TableFile], columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Read the rows of these files, with just these columns, file by file.

    Raises LakeNotFoundError for a file that is gone and LakeFormatError for one that is damaged.
    """
    schema = pa.schema([layout.schema.field(name) for name in columns])
    for name, source in _sources(folder, [(f"{layout.name}/{file.name}", file.size) for file in files]):
        try:
            with source, pq.ParquetFile(source) as file:
                for batch in file.iter_batches(_BATCH_ROWS, columns=list(columns), use_threads=False):
                    yield batch.select(columns).cast(schema)
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
