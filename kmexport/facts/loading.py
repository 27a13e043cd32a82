"""Chunks of records into the tables of Facts: a number for each record and each name, in few large loads.

Lines that were rejected go to `on_error`, and into the table `rejects`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kmexport.columns.pairs import Pairs, Spellings
from kmexport.columns.schema import JSON
from kmexport.errors import MalformedRecordError
from kmexport.facts.engine import insert
from kmexport.facts.source import FactsSpec, RecordChunk
from kmexport.format.names import VENDOR_KEYS, fold_name
from kmexport.parsing.records import OnError
from kmexport.revisions.manifest import is_revision_name, revision_number

__all__ = ["Rejects", "TableLoader", "in_loads"]

# Measured: loads of 80,000 rows take three times as long in all as loads of 400,000.
_ROWS: Final = 131_072
_BYTES: Final = 64 << 20
_NUMBERS: Final = pa.int32()


def in_loads(chunks: Iterable[RecordChunk]) -> Iterator[list[RecordChunk]]:
    """Put chunks together until a load is large. Holds one load."""
    held: list[RecordChunk] = []
    rows = size = 0
    for chunk in chunks:
        held.append(chunk)
        rows += chunk.heads.num_rows
        size += chunk.heads.nbytes + (chunk.pairs.size if chunk.pairs is not None else 0)
        if rows >= _ROWS or size >= _BYTES:
            yield held
            held, rows, size = [], 0, 0
    if held:
        yield held


class TableLoader:
    """The inserts of records into `kmexport.records`, and of their properties into `kmexport.properties`.

    `spellings` numbers the names of properties. Where the spec names events, all other records are left out, but for
    those with a wanted property. Used by one thread at a time.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, spec: FactsSpec, spellings: Spellings) -> None:
        self.connection = connection
        self.names: frozenset[str] | None = spec.names
        self.with_rows: bool = spec.properties is not False
        self.with_texts: bool = spec.reads_texts
        self.spellings = spellings
        self.event_spellings: Spellings = Spellings()
        self.count: int = 0

    def load(self, chunks: Sequence[RecordChunk]) -> None:
        """Insert more records, in the order of their arrival."""
        records, rows = zip(*map(self._tables_of, chunks), strict=True)
        columns = ", ".join(records[0].schema.names)
        table = pa.Table.from_batches(records).combine_chunks()
        insert(self.connection, f"INSERT INTO kmexport.records ({columns}) FROM arrived", table)
        if self.with_rows:
            table = pa.Table.from_batches(rows).combine_chunks()
            insert(self.connection, "INSERT INTO kmexport.properties FROM arrived", table)

    def finish(self) -> None:
        """Write down what the numbers of names stand for."""
        self._insert_names("event_names", self.event_spellings, frozenset())
        self._insert_names("property_names", self.spellings, VENDOR_KEYS)

    def _tables_of(self, chunk: RecordChunk) -> tuple[pa.RecordBatch, pa.RecordBatch | None]:
        heads, pairs = chunk.heads, chunk.pairs
        count = heads.num_rows
        spelt = heads.column("name").dictionary_encode()
        numbers = pa.array([self.event_spellings[name] for name in spelt.dictionary.to_pylist()], _NUMBERS)
        columns = {
            "seq": pa.array(np.arange(self.count, self.count + count)),
            "revision": heads.column("revision"),
            "line": heads.column("line"),
            "identity": heads.column("person"),
            "time": heads.column("time"),
            "spelling_id": numbers.take(spelt.indices),
            "alias": heads.column("alias"),
        }
        if self.with_texts and pairs is not None:
            columns["properties"] = pa.ExtensionArray.from_storage(JSON, pairs.texts())
            self._keep_exact(pairs)
        rows, owners = self._rows_of(heads, pairs) if self.with_rows and pairs is not None else (None, None)
        records = pa.RecordBatch.from_pydict(columns)
        if self.names is not None:
            is_wanted = np.array([fold_name(name) in self.names for name in spelt.dictionary.to_pylist()], bool)
            chosen = pc.fill_null(pa.array(is_wanted).take(spelt.indices), False).to_numpy(zero_copy_only=False)
            if owners is not None:
                chosen = chosen | np.isin(np.arange(count), owners)
            records = records.filter(pa.array(chosen))
        self.count += count
        return records, rows

    def _rows_of(self, heads: pa.RecordBatch, pairs: Pairs) -> tuple[pa.RecordBatch, Any]:
        """Make a row of each property that counts, and tell which record each is of."""
        counts, ids, values = pairs.counts(), pairs.ids(), pairs.values()
        owners = np.repeat(np.arange(heads.num_rows), counts)
        # Properties of aliases are nobody's; the vendor's keys and nulls do not count.
        is_left_out = pc.equal(values, "null").to_numpy(zero_copy_only=False)
        if reserved := [self.spellings[key] for key in VENDOR_KEYS if key in self.spellings]:
            is_left_out = is_left_out | np.isin(ids, reserved)
        aliases = heads.column("alias")
        if aliases.null_count < len(aliases):
            is_left_out = is_left_out | aliases.is_valid().to_numpy(zero_copy_only=False)[owners]
        if is_left_out.any():
            is_row = ~is_left_out
            owners, ids, values = owners[is_row], ids[is_row], values.filter(pa.array(is_row))
        rows = {
            "seq": pa.array(owners + self.count),
            "spelling_id": pa.array(ids),
            "value": pa.ExtensionArray.from_storage(JSON, values),
        }
        return pa.RecordBatch.from_pydict(rows), owners

    def _keep_exact(self, pairs: Pairs) -> None:
        if pairs.exact:
            spelt = pa.ExtensionArray.from_storage(JSON, pa.array(pairs.exact.values(), pa.string()))
            numbers = pa.array([self.count + row for row in pairs.exact], pa.int64())
            exact = pa.table({"seq": numbers, "exact": spelt})
            insert(self.connection, "INSERT INTO kmexport.exact FROM arrived", exact)

    def _insert_names(self, table: str, spellings: Spellings, apart: frozenset[str]) -> None:
        folded = list(map(fold_name, spellings))
        names = Spellings()
        columns = {
            "spelling_id": pa.array(spellings.values(), _NUMBERS),
            "name_as_sent": pa.array(list(spellings), pa.string()),
            "name_id": pa.array(
                [None if spelt in apart else names[name] for spelt, name in zip(spellings, folded, strict=True)],
                _NUMBERS,
            ),
            "name": pa.array(folded, pa.string()),
        }
        if table == "event_names":
            is_wanted = [self.names is None or name in self.names for name in folded]
            columns["is_wanted"] = pa.array(is_wanted, pa.bool_())
        insert(self.connection, f"INSERT INTO kmexport.{table} FROM arrived", pa.table(columns))


_MOST_WAITING: Final = 1_000
_MOST_BYTES: Final = 8 << 20
_SCHEMA: Final = pa.schema(
    [("revision", pa.int64()), ("line", pa.int64()), ("reason", pa.string()), ("raw", pa.binary())]
)


class Rejects:
    """The rejected lines: each goes to `on_error`, and into the table `kmexport.rejects`."""

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
