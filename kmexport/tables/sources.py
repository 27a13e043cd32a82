"""Where the records of Facts come from: an export, a lake, any iterable of records, or an Arrow stream."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from typing import Any, Protocol, cast, runtime_checkable

import pyarrow as pa

from kmexport.identities import IdentityMap, Prefer
from kmexport.reading import OnError
from kmexport.records import Record
from kmexport.tables.batches import from_records
from kmexport.windows import Window

__all__ = ["Export", "Source", "open_batches", "reads_again", "take_source"]


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
        source = import_module("kmexport.lake").open_lake(source)
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


def open_batches(
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
