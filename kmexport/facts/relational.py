"""Records → rows of the tables of a database, in text that any database can hold."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kmexport.arguments import check_list
from kmexport.columns.json_text import escape_both, escape_nul, escape_surrogates
from kmexport.columns.pairs import PairReader, Spellings
from kmexport.columns.schema import SCHEMA
from kmexport.facts.sql import READINGS
from kmexport.format.names import VENDOR_KEYS, fold_name

__all__ = ["relational", "storable"]

logger: logging.Logger = logging.getLogger("kmexport")

_READINGS: Final = f"SELECT {READINGS} FROM arrived"
_JSON: Final = ("properties", "value")


def storable(batches: Any, *, json: Iterable[str] = ()) -> pa.RecordBatchReader:
    r"""Change the text of an Arrow stream so that any database can hold it.

    PostgreSQL has no NUL in its text, and its JSON functions fail for a whole query where one row has `\u0000` or half
    of a surrogate pair. So both become the text of their escapes, `\u0000` and `\ud83d`; a backslash in front of
    `u0000` is doubled, so two identities never become one. At the end of the stream a warning counts them by
    column. JSON comes as text: the columns of Arrow's JSON type, and those that `json` names, for DuckDB's come without
    their type. A column of a dictionary comes as its values.

    Every job that writes to a database needs this, and meets the line that shows it long after it was written.
    Lazy: holds one batch. Raises TypeError for anything but an Arrow stream, and ValueError for a column that is not
    there.

    >>> from kmexport import Event
    >>> from kmexport.tables import from_records
    >>> records = [Event("b\x00b", 1349222400, "signed up", {"city": "a\x00b"})]
    >>> rows = storable(from_records(records)).read_all()
    >>> rows.select(["person", "properties"]).to_pylist()
    [{'person': 'b\\u0000b', 'properties': '{"city":"a\\\\u0000b"}'}]
    """
    if not hasattr(batches, "__arrow_c_stream__"):
        msg = f"batches are an Arrow stream (a reader, a table, a relation of DuckDB), not {type(batches).__name__}"
        raise TypeError(msg)
    check_list("json", json)
    reader = batches if isinstance(batches, pa.RecordBatchReader) else pa.RecordBatchReader.from_stream(batches)
    wanted = set(json)
    if missing := sorted(wanted - set(reader.schema.names)):
        msg = f"there is no column {missing[0]!r}: columns are {', '.join(reader.schema.names)}"
        raise ValueError(msg)
    fields = [pa.field(field.name, _plain(field.type)) for field in reader.schema]
    is_json = [field.name in wanted or isinstance(field.type, pa.BaseExtensionType) for field in reader.schema]
    schema = pa.schema(fields)
    return pa.RecordBatchReader.from_batches(schema, _storable(reader, schema, is_json))


def relational(batches: Any) -> Iterator[dict[str, pa.RecordBatch]]:
    """Turn each batch of records into rows of the tables `events`, `properties` and `aliases` of a database.

    `batches` have all columns of `SCHEMA`: `bucket.to_batches(revisions=[…])`. The rows are what the files say, nothing
    merged or dropped: an alias of tomorrow may change who did something today, and a revision that arrives late may
    hold what came first. So a database keeps these, and counts in its queries. Each row has

    - `revision`, `record`, `line`: where it stands; `revision` and `record`, the number of the record in its revision
      from 1, are unique together (`line` is not, where a file is one array), and tie a property to its event;
    - `identity` and `time`;
    - events: `name` (folded), `name_as_sent`, `properties` (JSON);
    - properties: `place` in the record, `name` (folded), `name_as_sent`, `value` (JSON), `text`, `number` (of what is
      one or reads as one), `event` (folded; null for a property set); without the vendor's reserved keys;
    - aliases: `alias`, `properties` (JSON).

    Text is as `storable` has it. Every job that keeps a database would need these: names folded as everywhere
    here, values with all their digits, a key. Lazy: holds one batch. Raises ValueError where a column is missing, and
    what the batches raise.

    >>> from kmexport import Bucket
    >>> tables = next(relational(Bucket.sample().to_batches(revisions=[1])))
    >>> list(tables)
    ['events', 'properties', 'aliases']
    >>> columns = ["revision", "record", "name", "text"]
    >>> tables["properties"].select(columns).slice(0, 1).to_pylist()
    [{'revision': 1, 'record': 1, 'name': 'referrer', 'text': 'news.example.org'}]
    """
    if not isinstance(batches, Iterable):
        msg = f"batches are those of Bucket.to_batches or from_records, not {type(batches).__name__}"
        raise TypeError(msg)
    schema = getattr(batches, "schema", SCHEMA)
    if missing := [name for name in SCHEMA.names if name not in schema.names]:
        msg = f"there is no column {missing[0]!r}: the rows are made of {', '.join(SCHEMA.names)}"
        raise ValueError(msg)
    return _relational(batches)


def _plain(kind: Any) -> Any:
    if isinstance(kind, pa.BaseExtensionType):
        return kind.storage_type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _storable(batches: Iterable[Any], schema: Any, is_json: list[bool]) -> Iterator[pa.RecordBatch]:
    odd = _OddTexts()
    try:
        for batch in batches:
            parts = zip(batch.columns, schema.types, schema.names, is_json, strict=True)
            columns = [odd.shown(column, kind, name, is_json=asked) for column, kind, name, asked in parts]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
    finally:
        odd.log()


class _OddTexts:
    """The escapes of odd text, counted by column."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def shown(self, column: Any, kind: Any, label: str, *, is_json: bool) -> Any:
        column = getattr(column, "storage", column)
        column = column if column.type == kind else column.cast(kind)
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            return column
        column, changed = (escape_both if is_json else escape_nul)(column)
        self.counts[label] += len(changed)
        return column

    def log(self) -> None:
        told = ", ".join(f"{label} {count:,}" for label, count in self.counts.items() if count)
        if told:
            logger.warning("NUL, halves of surrogate pairs, or the text of their escapes became escapes in: %s", told)


def _relational(batches: Iterable[Any]) -> Iterator[dict[str, pa.RecordBatch]]:
    odd = _OddTexts()
    numbers = _RecordNumbers()
    with duckdb.connect(config={"threads": 1}) as engine:
        try:
            for batch in batches:
                columns = {name: getattr(batch.column(name), "storage", batch.column(name)) for name in SCHEMA.names}
                where = {"revision": columns["revision"], "record": numbers.of(columns["revision"])}
                where |= {"line": columns["line"], "identity": columns["person"], "time": columns["time"]}
                yield {
                    "events": _shown(_events(where, columns), "events", odd),
                    "properties": _read(_shown(_properties(where, columns), "properties", odd), engine),
                    "aliases": _shown(_aliases(where, columns), "aliases", odd),
                }
        finally:
            odd.log()


def _shown(rows: pa.RecordBatch, table: str, odd: _OddTexts) -> pa.RecordBatch:
    columns = [
        odd.shown(column, column.type, f"{table}.{name}", is_json=name in _JSON)
        for name, column in zip(rows.schema.names, rows.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=rows.schema)


class _RecordNumbers:
    """The numbers of records in their revision, which may go on in the next batch."""

    def __init__(self) -> None:
        self._revision: int | None = None
        self._last = 0

    def of(self, revisions: Any) -> Any:
        known = pc.fill_null(revisions, -1).to_numpy(zero_copy_only=False)
        if not len(known):
            return pa.array([], pa.int64())
        begins = np.flatnonzero(np.append(True, known[1:] != known[:-1]))
        lengths = np.diff(np.append(begins, len(known)))
        found = np.arange(1, len(known) + 1) - np.repeat(begins, lengths)
        if known[0] == self._revision:
            found[: lengths[0]] += self._last
        self._revision, self._last = known[-1], found[-1]
        return pa.array(found)


def _events(where: dict[str, Any], columns: dict[str, Any]) -> pa.RecordBatch:
    sent = columns["name"]
    rows = {**where, "name": _folded(sent), "name_as_sent": sent, "properties": columns["properties"]}
    return pa.RecordBatch.from_pydict(rows).filter(sent.is_valid())


def _aliases(where: dict[str, Any], columns: dict[str, Any]) -> pa.RecordBatch:
    rows = {**where, "alias": columns["alias"], "properties": columns["properties"]}
    return pa.RecordBatch.from_pydict(rows).filter(columns["alias"].is_valid())


def _properties(where: dict[str, Any], columns: dict[str, Any]) -> pa.RecordBatch:
    spellings = Spellings()
    texts, _ = escape_surrogates(columns["properties"])
    pairs = PairReader(spellings).read(texts)
    counts, spelling_ids, values = pairs.counts(), pairs.ids(), pairs.values()
    owners = np.repeat(np.arange(len(counts)), counts)
    places = np.arange(1, len(owners) + 1) - np.repeat(np.cumsum(counts) - counts, counts)
    sent = pa.array(list(spellings), pa.string()).take(pa.array(spelling_ids))
    rows = {name: column.take(pa.array(owners)) for name, column in where.items()}
    rows |= {"place": pa.array(places), "name": _folded(sent), "name_as_sent": sent, "value": values}
    rows["event"] = _folded(columns["name"]).take(pa.array(owners))
    is_of_alias = columns["alias"].is_valid().take(pa.array(owners))
    is_reserved = pc.is_in(sent, pa.array(sorted(VENDOR_KEYS), pa.string()))
    return pa.RecordBatch.from_pydict(rows).filter(pc.invert(pc.or_(is_of_alias, is_reserved)))


def _read(rows: pa.RecordBatch, engine: duckdb.DuckDBPyConnection) -> pa.RecordBatch:
    """Add the values as text, and as numbers."""
    engine.register("arrived", pa.Table.from_batches([rows]))
    read = engine.sql(_READINGS).to_arrow_table().combine_chunks()
    columns = dict(zip(rows.schema.names, rows.columns, strict=True))
    event = columns.pop("event")
    columns |= {
        name: pa.concat_arrays(read[name].chunks or [pa.nulls(0, read[name].type)]) for name in read.column_names
    }
    return pa.RecordBatch.from_pydict({**columns, "event": event})


def _folded(texts: Any) -> Any:
    different = texts.dictionary_encode()
    folded = pa.array(list(map(fold_name, different.dictionary.to_pylist())), pa.string())
    return folded.take(different.indices)
