"""Records and their properties into the tables of the engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, Literal, Self, TypeAlias

import duckdb
import numpy as np
import pyarrow as pa
from attrs import evolve

from kmexport.tables.arrived import Arrived, read_properties
from kmexport.tables.escapes import show_halves
from kmexport.tables.needs import UNREAD
from kmexport.tables.numbers import Identities, PropertyNames
from kmexport.tables.pairs import Pairs
from kmexport.tables.schema import JSON
from kmexport.tables.streams import insert
from kmexport.tables.unnest import UNNESTED, unnest

__all__ = ["Intake", "Part", "in_loads"]

# What is read of a source: records without their properties, those as JSON, and those as names and values.
Part: TypeAlias = Literal["records", "texts", "pairs"]

_RECORDS: Final = {
    "seq": "BIGINT", "revision": "BIGINT", "line": "BIGINT", "kind": "VARCHAR", "identity_id": "INTEGER",
    "time": "TIMESTAMPTZ", "name_id": "INTEGER", "spelling_id": "INTEGER", "alias": "VARCHAR",
}  # fmt: skip
_TABLES: Final = {"records": "records", "pairs": "properties"}

# With twice as many, identities get their numbers in 0.15 µs each instead of 0.17; but three loads are held at a time.
_ROWS: Final = 65_536


def in_loads(arrivals: Iterable[Arrived]) -> Iterator[list[Arrived]]:
    """So many of them as are taken in at once. Holds one load."""
    held: list[Arrived] = []
    count = 0
    for arrived in arrivals:
        held.append(arrived)
        count += arrived.heads.num_rows
        if count >= _ROWS:
            yield held
            held, count = [], 0
    if held:
        yield held


class Intake:
    """What takes loads in, into new tables: those that were there before stay until `replace`.

    `exact` keeps the properties of records in which half a surrogate pair shows as the text of its escape, as they
    were, by `seq`. A context manager, used by one thread at a time.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, parts: AbstractSet[Part]) -> None:
        self.connection = connection
        self.parts = parts
        self.identities: Identities = Identities()
        self.names: PropertyNames = PropertyNames()
        self.doubled: list[Any] = []
        self.exact: list[tuple[int, str]] = []
        texts = {"properties": "JSON"} if "texts" in parts else {UNREAD: "JSON DEFAULT NULL"}
        columns = {"records": _RECORDS | {"counts": "BOOLEAN DEFAULT true"} | texts, "pairs": UNNESTED}
        for part, table in _TABLES.items():
            if part in parts:
                spelt = ", ".join(f"{column} {kind}" for column, kind in columns[part].items())
                connection.execute(f"CREATE OR REPLACE TABLE kmexport.new_{table} ({spelt})")

    def take(self, load: Sequence[Arrived]) -> None:
        """More records."""
        columns = [*_RECORDS, "properties"] if "texts" in self.parts else [*_RECORDS]
        records, rows = [], []
        for heads, arrived in zip(self._identified([one.heads for one in load]), load, strict=True):
            if self.parts == {"records"}:
                records.append(heads.select(columns))
                continue
            pairs = self._properties(arrived)
            if "pairs" in self.parts:
                rows.append(self._rows(heads, pairs))
            whole = _with_texts(heads, pairs.texts) if "texts" in self.parts else heads
            records.append(whole.select(columns))
        statement = f"INSERT INTO kmexport.new_records ({', '.join(columns)}) FROM arrived"
        insert(self.connection, statement, pa.Table.from_batches(records))
        self._insert_rows(rows)

    def take_own(self, load: Sequence[Arrived]) -> None:
        """The properties of records that are in the table of records already."""
        self._insert_rows([self._rows(one.heads, read_properties(one, self.names)) for one in load])

    def replace(self) -> None:
        """Put the new tables in the place of the old ones, all at once."""
        self.connection.begin()
        for part, table in _TABLES.items():
            if part in self.parts:
                self.connection.execute(f"DROP TABLE IF EXISTS kmexport.{table}")
                self.connection.execute(f"ALTER TABLE kmexport.new_{table} RENAME TO {table}")
        self.connection.commit()

    def doubled_sets(self) -> pa.Table:
        """`seq` of the property sets that have two spellings of one name."""
        return pa.table({"seq": np.concatenate([np.zeros(0, np.int64), *self.doubled])})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for table in _TABLES.values():
            self.connection.execute(f"DROP TABLE IF EXISTS kmexport.new_{table}")
        self.connection.close()

    def _identified(self, batches: Sequence[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The heads with the numbers of their identities."""
        persons = [batch.column("person") for batch in batches]
        aliases = [batch.column("alias").drop_null() for batch in batches]
        numbers = self.identities.number(pa.concat_arrays([*persons, *aliases]))
        start = 0
        for batch in batches:
            yield batch.append_column("identity_id", numbers.slice(start, batch.num_rows))
            start += batch.num_rows

    def _properties(self, arrived: Arrived) -> Pairs:
        first = arrived.heads.column("seq")[0].as_py()
        if arrived.lines is None:
            texts = self._shown(arrived.heads.column("properties"), first)
            arrived = Arrived(_with_texts(arrived.heads, texts))
            return evolve(read_properties(arrived, self.names), texts=texts)
        pairs = read_properties(arrived, self.names, with_texts="texts" in self.parts)
        return pairs if pairs.texts is None else evolve(pairs, texts=self._shown(pairs.texts, first))

    def _shown(self, properties: Any, first: int) -> pa.Array:
        texts = getattr(properties, "storage", properties).cast(pa.string())
        shown, changed = show_halves(texts)
        self.exact += [(first + row, texts[row].as_py()) for row in changed]
        return shown

    def _rows(self, heads: pa.RecordBatch, pairs: Pairs) -> pa.RecordBatch:
        rows, doubled = unnest(heads, pairs, np.array(self.names.folded or [-1], np.int64))
        self.doubled.append(doubled)
        return rows

    def _insert_rows(self, rows: Sequence[pa.RecordBatch]) -> None:
        if rows:
            insert(self.connection, "INSERT INTO kmexport.new_properties FROM arrived", pa.Table.from_batches(rows))


def _with_texts(heads: pa.RecordBatch, texts: Any) -> pa.RecordBatch:
    columns = dict(zip(heads.schema.names, heads.columns, strict=True))
    return pa.RecordBatch.from_pydict(columns | {"properties": pa.ExtensionArray.from_storage(JSON, texts)})
