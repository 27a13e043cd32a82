"""Lines that were rejected while facts were read: each goes to `on_error` once, and into the table `rejects` once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, TypeAlias

import duckdb
import pyarrow as pa

from kmexport.errors import MalformedRecordError
from kmexport.manifest import is_revision_name, revision_number
from kmexport.reading import OnError
from kmexport.tables.streams import insert

__all__ = ["Rejects"]

_MOST_WAITING: Final = 1_000
_MOST_BYTES: Final = 8 << 20
_SCHEMA: Final = pa.schema(
    [("revision", pa.int64()), ("line", pa.int64()), ("reason", pa.string()), ("raw", pa.binary())]
)

# Source, line and reason. Several errors may have the same: a line may hold a whole array.
_Place: TypeAlias = tuple[str, int, str]


class Rejects:
    """Hands each error to `on_error`, and keeps it in the table `rejects`; both once, however often a file is read.

    A file is read up to three times: for its aliases, for its records, and for properties that a later query needs.
    Each reading meets the same errors again, so the errors of a place are counted: the third is new if no reading
    before has met three.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, on_error: OnError) -> None:
        self.connection = connection
        self.on_error = on_error
        self.kept: Counter[_Place] = Counter()  # in the table, or waiting for it
        self._told: Counter[_Place] = Counter()
        self._met: Counter[_Place] = Counter()  # in this reading
        self._waiting: list[MalformedRecordError] = []
        self._waiting_bytes = 0

    def begin(self, *, anew: bool) -> OnError:
        """The policy for the reader of a reading that begins now. `anew` empties the table, to fill it again."""
        self._met.clear()
        if anew:
            self.kept.clear()
            self._waiting, self._waiting_bytes = [], 0
            self.connection.execute("DELETE FROM kmexport.rejects")
        return "raise" if self.on_error == "raise" else self._take

    def _take(self, error: MalformedRecordError) -> None:
        place = (error.source, error.line_number, error.reason)
        self._met[place] += 1
        if self._is_new(place, self.kept):
            self._waiting.append(error)
            self._waiting_bytes += len(error.raw)
        if self._is_new(place, self._told) and callable(self.on_error):
            self.on_error(error)
        if len(self._waiting) >= _MOST_WAITING or self._waiting_bytes >= _MOST_BYTES:
            self.flush()

    def _is_new(self, place: _Place, before: Counter[_Place]) -> bool:
        """Whether this reading has met more errors of a place than came before; if so, this one is counted there."""
        if self._met[place] <= before[place]:
            return False
        before[place] = self._met[place]
        return True

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
    """The revision's number, where the source is a revision's file."""
    return revision_number(source) if is_revision_name(source.rpartition("/")[2]) else None
