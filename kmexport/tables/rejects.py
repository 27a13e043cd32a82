"""What was rejected while facts were read: the policy of errors, and a table."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final, TypeAlias

import duckdb
import pyarrow as pa

from kmexport.errors import MalformedRecordError
from kmexport.reading import OnError
from kmexport.tables.streams import insert

__all__ = ["Rejects"]

_REVISION: Final = re.compile(r"(?:.*/)?([0-9]{1,18})\.json(?:\.gz)?")
_HELD: Final = 1_000
_HELD_BYTES: Final = 8 << 20
_Place: TypeAlias = tuple[str, int, str]
_SCHEMA: Final = pa.schema(
    [("revision", pa.int64()), ("line", pa.int64()), ("reason", pa.string()), ("raw", pa.binary())]
)


class Rejects:
    """Takes each error as `on_error` says, and keeps it in the table `rejects`.

    A file may be read twice, for its aliases and for its records: what is met again in a later pass is told and kept
    once.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, on_error: OnError) -> None:
        self.connection = connection
        self.on_error = on_error
        self.held: list[MalformedRecordError] = []
        self.held_bytes: int = 0
        self.met: Counter[_Place] = Counter()  # in this pass
        self.told: Counter[_Place] = Counter()
        self.kept: Counter[_Place] = Counter()

    def begin(self, *, anew: bool) -> OnError:
        """A pass begins: what its reader is given. `anew`: what the table holds is forgotten, for all is read again."""
        self.met.clear()
        if anew:
            self.held, self.held_bytes = [], 0
            self.kept.clear()
            self.connection.execute("DELETE FROM kmexport.rejects")
        return "raise" if self.on_error == "raise" else self._take

    def _take(self, error: MalformedRecordError) -> None:
        place = (error.source, error.line_number, error.reason)
        self.met[place] += 1
        if self.met[place] > self.kept[place]:
            self.kept[place] += 1
            self.held.append(error)
            self.held_bytes += len(error.raw)
        if self.met[place] > self.told[place]:
            self.told[place] += 1
            if callable(self.on_error):
                self.on_error(error)
        if len(self.held) >= _HELD or self.held_bytes >= _HELD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write to the table what is still held."""
        held, self.held, self.held_bytes = self.held, [], 0
        if not held:
            return
        numbers = [_REVISION.fullmatch(error.source) for error in held]
        columns = [
            [int(number[1]) if number else None for number in numbers],
            [error.line_number for error in held],
            [error.reason.encode(errors="backslashreplace").decode() for error in held],
            [error.raw for error in held],
        ]
        rejected = pa.RecordBatch.from_arrays(
            [pa.array(column, kind) for column, kind in zip(columns, _SCHEMA.types, strict=True)], schema=_SCHEMA
        )
        insert(self.connection, "INSERT INTO kmexport.rejects FROM arrived", pa.Table.from_batches([rejected]))
