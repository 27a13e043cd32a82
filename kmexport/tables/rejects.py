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
_MOST_WAITING: Final = 1_000
_MOST_BYTES: Final = 8 << 20
_Place: TypeAlias = tuple[str, int, str]
_SCHEMA: Final = pa.schema(
    [("revision", pa.int64()), ("line", pa.int64()), ("reason", pa.string()), ("raw", pa.binary())]
)


class Rejects:
    """Takes each error as `on_error` says, and keeps it in the table `rejects`.

    A file may be read more than once: for its aliases, for its records, and for properties that a later query needs.
    Each reading meets the same errors again. One is new where this reading has met it more often than any before: only
    then is it told to the caller, or kept.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, on_error: OnError) -> None:
        self.connection = connection
        self.on_error = on_error
        self.met: Counter[_Place] = Counter()  # in this reading
        self.told: Counter[_Place] = Counter()  # to the caller
        self.kept: Counter[_Place] = Counter()  # in the table, or about to be
        self.waiting: list[MalformedRecordError] = []  # for the table
        self.waiting_bytes: int = 0

    def begin(self, *, anew: bool) -> OnError:
        """A reading begins; its reader is given what this returns. `anew`: the table is emptied, and filled again."""
        self.met.clear()
        if anew:
            self.kept.clear()
            self.waiting, self.waiting_bytes = [], 0
            self.connection.execute("DELETE FROM kmexport.rejects")
        return "raise" if self.on_error == "raise" else self._take

    def _take(self, error: MalformedRecordError) -> None:
        place = (error.source, error.line_number, error.reason)
        self.met[place] += 1
        times = self.met[place]
        if times > self.kept[place]:
            self.kept[place] = times
            self.waiting.append(error)
            self.waiting_bytes += len(error.raw)
        if times > self.told[place]:
            self.told[place] = times
            if callable(self.on_error):
                self.on_error(error)
        if len(self.waiting) >= _MOST_WAITING or self.waiting_bytes >= _MOST_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write those that wait to the table."""
        held, self.waiting, self.waiting_bytes = self.waiting, [], 0
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
