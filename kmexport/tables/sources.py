"""Where the records of Facts come from: an export, a lake, any iterable of records, or an Arrow stream."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from typing import Any, Final, Protocol, cast, runtime_checkable

import pyarrow as pa

from kmexport.identities import IdentityMap, Prefer
from kmexport.in_turn import Reading
from kmexport.reading import OnError
from kmexport.records import Record
from kmexport.revisions import MARGIN
from kmexport.storage import Progress, check_progress
from kmexport.tables.arrived import Arrived, HashRows
from kmexport.tables.batches import from_records
from kmexport.tables.columns import read_columns, read_rows, rows_of_heads
from kmexport.tables.schema import SCHEMA, choose_columns
from kmexport.windows import Window

__all__ = ["Export", "Source", "check_callback", "open_arrivals", "reads_again", "take_source"]

_HEADS: Final = [name for name in SCHEMA.names if name != "properties"]
_BATCH_ROWS: Final = 16_384


@runtime_checkable
class Export(Protocol):
    """A Bucket, or what reads like one."""

    def iter_records(self, window: Window | None = None, *, on_error: OnError = "raise") -> Iterator[Record]:
        """Its records."""
        ...

    def identities(self, *, prefer: Prefer = "named_first", on_error: OnError = "raise") -> IdentityMap:
        """All its aliases."""
        ...


Source = Export | Iterable[Record] | Any


def take_source(source: Source) -> Source:
    """The source, or a TypeError for what holds no records. An address is that of a lake."""
    if isinstance(source, str | os.PathLike):
        # By its name: the lake stands on the tables, and needs an extra of its own.
        try:
            lake = import_module("kmexport.lake")
        except ImportError as error:
            msg = f"{error}. Facts(address) reads a lake; of an export take Facts(Bucket(address))."
            raise ImportError(msg, name=error.name) from error
        source = lake.open_lake(source)
    if isinstance(source, Export) or hasattr(source, "__arrow_c_stream__"):
        return source
    if isinstance(source, bytes) or not isinstance(source, Iterable):
        msg = (
            "facts are made of a Bucket, a lake (or its address), an iterable of records or an Arrow stream, not "
            f"{type(source).__name__}"
        )
        raise TypeError(msg)
    return source


def reads_again(source: Source) -> bool:
    """Whether it may be read a second time, so that a first reading can leave the properties out."""
    return isinstance(source, Export)


def check_callback(source: Source, callback: Progress) -> None:
    """Raise for what is no callback, and where there are no files that it could be told of."""
    check_progress(callback)
    if callback is not None and _way_to_files(source) is None:
        msg = f"callback= is told the bytes of a Bucket as they are read; {type(source).__name__} has none"
        raise TypeError(msg)


def open_arrivals(
    source: Source,
    window: Window | None,
    on_error: OnError,
    callback: Progress = None,
    *,
    is_whole: bool,
    margin: int | None = MARGIN,
) -> Iterator[Arrived]:
    """The source's records, with their properties where `is_whole`. Only an export leaves out what is outside the
    window."""
    read_selected, limits = _way_to_files(source), getattr(source, "limits", None)
    if read_selected is None or limits is None:
        yield from map(Arrived, _open_batches(source, window, SCHEMA.names if is_whole else _HEADS, on_error))
        return
    reading = Reading(on_error=on_error, callback=callback, max_line_bytes=limits.max_line_bytes)
    layout = choose_columns(_HEADS, ())
    if is_whole:
        read = read_rows(lambda number: HashRows(rows_of_heads(layout, number)), window, _BATCH_ROWS, with_texts=True)
        yield from read_selected(window, 0, margin, reading, read)
    else:
        yield from map(Arrived, read_selected(window, 0, margin, reading, read_columns(layout, window, _BATCH_ROWS)))


def _way_to_files(source: Source) -> Any:
    """How a Bucket reads its revisions one after another; None of what is no Bucket."""
    return getattr(source, "_read_selected", None) if isinstance(source, Export) else None


def _open_batches(
    source: Source, window: Window | None, columns: Sequence[str], on_error: OnError
) -> Iterable[pa.RecordBatch]:
    """The source's records in columns. Only an export leaves out what is outside the window."""
    if isinstance(source, Export):
        if hasattr(source, "to_batches"):
            return cast(Iterable[pa.RecordBatch], source.to_batches(window, columns=columns, on_error=on_error))
        source = source.iter_records(window, on_error=on_error)
    elif hasattr(source, "__arrow_c_stream__"):
        return (batch.select(columns) for batch in pa.RecordBatchReader.from_stream(source))
    batches: Iterable[pa.RecordBatch] = from_records(source, columns=columns, on_error=on_error)
    return batches
