"""Lines that were rejected while facts were read: each goes to `on_error`, and into the table `rejects`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import duckdb
import pyarrow as pa

from kmexport.errors import MalformedRecordError
from kmexport.manifest import is_revision_name, revision_number
from kmexport.reading import OnError
from kmexport.tables.engine import insert

__all__ = ["Rejects"]

_MOST_WAITING: Final = 1_000
_MOST_BYTES: Final = 8 << 20
_SCHEMA: Final = pa.schema(
    [("revision", pa.int64()), ("line", pa.int64()), ("reason", pa.string()), ("raw", pa.binary())]
)


class Rejects:
    """Hands each error to `on_error`, and appends it to the table `kmexport.rejects`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, on_error: OnError) -> None:
        self.connection = connection
        self.on_error = on_error
        self.count: int = 0
        self._waiting: list[MalformedRecordError] = []
        self._waiting_bytes = 0

    def policy(self) -> OnError:
        """Return the `on_error` for the reader."""
        return "raise" if self.on_error == "raise" else self._take

    def _take(self, error: MalformedRecordError) -> None:
        self.count += 1
        self._waiting.append(error)
        self._waiting_bytes += len(error.raw)
        if callable(self.on_error):
            self.on_error(error)
        if len(self._waiting) >= _MOST_WAITING or self._waiting_bytes >= _MOST_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the errors that wait into the table."""
        errors, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if errors:
            insert(self.connection, "INSERT INTO kmexport.rejects FROM arrived", _as_table(errors))


def _as_table(errors: Sequence[MalformedRecordError]) -> pa.Table:
    columns = [
        [_revision_of(error.source) for error in errors],
        [error.line_number for error in errors],
        [error.reason.encode(errors="backslashreplace").decode() for error in errors],
        [error.raw for error in errors],
    ]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, _SCHEMA.types, strict=True)]
    return pa.Table.from_arrays(arrays, schema=_SCHEMA)


def _revision_of(source: str) -> int | None:
    """Return the revision's number, where the source is a revision's file."""
    return revision_number(source) if is_revision_name(source.rpartition("/")[2]) else None
