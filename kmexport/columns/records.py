"""Records ⇄ Arrow record batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, islice
from typing import Any, Final

import pyarrow as pa

from kmexport.arguments import check_records, check_whole
from kmexport.columns.json_text import as_json, why_not_text, without_head, without_heads
from kmexport.columns.properties import PropertyColumns
from kmexport.columns.schema import KINDS, TIME, Layout, Properties, as_kinds, choose_columns
from kmexport.errors import MalformedRecordError
from kmexport.format.decoding import FIRST_TIMESTAMP, LAST_TIMESTAMP, RESERVED, NotARecord, decode_properties
from kmexport.format.encoding import spell_object
from kmexport.parsing.records import OnError, check_policy
from kmexport.records import Alias, Event, PropertySet, Record, show_record, unparsed_line

__all__ = ["from_records", "to_records"]

_CODES: Final = {Event: 0, PropertySet: 1, Alias: 2}


def from_records(
    records: Iterable[Record],
    *,
    columns: Iterable[str] | None = None,
    properties: Properties = (),
    batch_rows: int = 32_768,
    on_error: OnError = "raise",
) -> pa.RecordBatchReader:
    """Turn records into Arrow record batches with the columns of `SCHEMA`, for anything that takes an Arrow stream.

    `columns` chooses among them; what is not asked for is not computed. `properties` adds a column for each of these
    properties, named as given: a list gives text, a mapping of names to Arrow types gives those (text, integers,
    floats, decimals, booleans). Names compare without case; of two spellings on one record the first counts that is not
    null. A value that does not fit its type is null there, and stays in the column `properties`: one JSON object with
    every key but the four of the record, numbers with all their digits. `revision` and `line` are null: records alone
    don't know them.

    Lazy: holds one batch of `batch_rows` records. Arrow's strings can't hold half a surrogate pair: such a record, and
    one whose parts have other types than an export's, is a MalformedRecordError with its number among the records,
    which goes the way of `on_error` ("raise", "skip", or a callable that gets each).

    >>> from kmexport import Event
    >>> signup = Event("bob", 1349222400, "signed up", {"plan": "Pro"})
    >>> reader = from_records([signup], properties=["Plan"])
    >>> reader.read_all().select(["person", "name", "properties", "Plan"]).to_pylist()
    [{'person': 'bob', 'name': 'signed up', 'properties': '{"plan":"Pro"}', 'Plan': 'Pro'}]
    """
    layout = choose_columns(columns, properties)
    check_policy(on_error, 1)
    check_records(records)
    check_whole("batch_rows", batch_rows, 1)
    return pa.RecordBatchReader.from_batches(layout.schema, _batches(iter(records), layout, batch_rows, on_error))


def _batches(records: Iterator[Record], layout: Layout, batch_rows: int, on_error: OnError) -> Iterator[pa.RecordBatch]:
    number = 0
    while chosen := list(islice(records, batch_rows)):
        try:
            yield _batch(chosen, layout)
        except _MISFITS:
            yield _batch(list(_fitting(chosen, layout, number, on_error)), layout)
        number += len(chosen)


def _fitting(records: list[Record], layout: Layout, number: int, on_error: OnError) -> Iterator[Record]:
    """Keep the records that columns can hold, one by one; the others go the way of on_error."""
    for at, record in enumerate(records, number + 1):
        try:
            _batch([record], layout)
        except _MISFITS as why:
            raw = show_record(record, None).encode(errors="replace")
            error = MalformedRecordError("<records>", at, _reason(record, why), raw)
            if on_error == "raise":
                raise error from why
            if callable(on_error):
                on_error(error)
        else:
            yield record


_MISFITS: Final = (ValueError, TypeError, OverflowError)  # those of Arrow, and UnicodeEncodeError, are among them


def _reason(record: Record, why: Exception) -> str:
    if isinstance(why, UnicodeEncodeError):
        return why_not_text(record) or str(why)
    return str(why)


def _batch(records: list[Record], layout: Layout) -> pa.RecordBatch:
    arrays = [_COLUMNS[name](records) for name in layout.columns]
    if layout.properties:
        values = PropertyColumns(layout.properties)
        values.add(record.properties for record in records)
        arrays += values.arrays()
    return pa.RecordBatch.from_arrays(arrays, schema=layout.schema)


def _kinds(records: Sequence[Record]) -> pa.Array:
    try:
        codes = [_CODES[type(record)] for record in records]
    except KeyError as error:
        msg = f"a record is an Event, a PropertySet or an Alias, not {error.args[0]!r}"
        raise TypeError(msg) from None
    return as_kinds(pa.array(codes, pa.int8()))


def _times(records: Sequence[Record]) -> pa.Array:
    times = [record.timestamp for record in records]
    if set(map(type, times)) - {int}:
        msg = "timestamp is not a whole number of seconds"
        raise TypeError(msg)
    if times and not FIRST_TIMESTAMP <= min(times) <= max(times) <= LAST_TIMESTAMP:
        msg = "timestamp is outside the years 1 to 9999 (unix time in seconds)"
        raise ValueError(msg)
    return pa.array(times, pa.int64()).cast(TIME)


def _texts(records: Sequence[Record]) -> pa.Array:
    texts = [unparsed_line(record) for record in records]
    if all(texts):
        return as_json(without_heads(texts))
    pairs = zip(records, texts, strict=True)
    return as_json([without_head(text) if text else _spelt(record) for record, text in pairs])


def _spelt(record: Record) -> bytes:
    if clash := [key for key in RESERVED if key in record.properties]:
        msg = f"a property can't be named {clash[0]}: the export keeps that key for itself"
        raise ValueError(msg)
    return spell_object(record.properties)


def _persons(records: Sequence[Record]) -> pa.Array:
    return _without_null([record.person for record in records], len(records), "person")


def _names(records: Sequence[Record]) -> pa.Array:
    names = [record.name if type(record) is Event else None for record in records]
    return _without_null(names, sum(type(record) is Event for record in records), "name")


def _aliases(records: Sequence[Record]) -> pa.Array:
    aliases = [record.alias if type(record) is Alias else None for record in records]
    return _without_null(aliases, sum(type(record) is Alias for record in records), "alias")


def _without_null(texts: Sequence[str | None], count: int, what: str) -> pa.Array:
    array = pa.array(texts, pa.string())
    if len(array) - array.null_count != count:
        msg = f"{what} is None"
        raise TypeError(msg)
    return array


def _no_numbers(records: Sequence[Record]) -> pa.Array:
    return pa.nulls(len(records), pa.int64())


_COLUMNS: Final[dict[str, Callable[[Sequence[Record]], pa.Array]]] = {
    "revision": _no_numbers,
    "line": _no_numbers,
    "kind": _kinds,
    "person": _persons,
    "time": _times,
    "name": _names,
    "alias": _aliases,
    "properties": _texts,
}


def to_records(batches: Any) -> Iterator[Record]:
    """Turn Arrow batches with the columns of `SCHEMA` into records: the way back from `from_records`.

    `batches` is a RecordBatchReader, a Table, an iterable of record batches, or anything else that gives an Arrow
    stream (a DuckDB relation, a Polars frame). `revision`, `line` and further columns are passed over. Holds one batch.
    Raises ValueError where a column is missing, or a row can't be a record.

    >>> from kmexport import Event
    >>> signup = Event("bob", 1349222400, "signed up", {"plan": "Pro"})
    >>> list(to_records(from_records([signup])))
    [Event(person='bob', timestamp=1349222400, name='signed up', properties={'plan': 'Pro'})]
    """
    if isinstance(batches, pa.RecordBatchReader | pa.Table):
        # Not by way of the stream below: an error would come out of it as text only.
        batches = batches if isinstance(batches, pa.RecordBatchReader) else batches.to_reader()
    elif hasattr(batches, "__arrow_c_stream__"):
        batches = pa.RecordBatchReader.from_stream(batches)
    elif not isinstance(batches, Iterable):
        msg = f"batches are an Arrow stream or record batches, not {type(batches).__name__}"
        raise TypeError(msg)
    return _records(batches)


_NEEDED: Final = ("kind", "person", "time", "name", "alias", "properties")


def _records(batches: Iterable[pa.RecordBatch]) -> Iterator[Record]:
    rows = count(1)
    for batch in batches:
        if missing := [name for name in _NEEDED if name not in batch.schema.names]:
            msg = f"there is no column {missing[0]!r}: records are made of {', '.join(_NEEDED)}"
            raise ValueError(msg)
        columns = {name: batch.column(name) for name in _NEEDED}
        columns["time"] = columns["time"].cast(TIME).cast(pa.int64())
        columns["properties"] = getattr(columns["properties"], "storage", columns["properties"]).cast(pa.string())
        for parts in zip(*(column.to_pylist() for column in columns.values()), strict=True):
            row = next(rows)
            try:
                yield _record(*parts)
            except NotARecord as why:
                msg = f"row {row} is no record: {why}"
                raise ValueError(msg) from why


def _record(  # noqa: PLR0917  # a row, in the order of _NEEDED
    kind: str | None, person: str | None, time: int | None, name: str | None, alias: str | None, text: str | None
) -> Record:
    properties = decode_properties(text.encode()) if text is not None else {}
    if person is None or time is None:
        msg = "person or time is null"
        raise NotARecord(msg)
    if kind == "event" and name is not None:
        return Event(person, time, name, properties)
    if kind == "alias" and alias is not None:
        return Alias(person, time, alias, properties)
    if kind == "property_set":
        return PropertySet(person, time, properties)
    msg = f"kind is {kind!r}, and name or alias is null" if kind in KINDS else f"kind is {kind!r}"
    raise NotARecord(msg)
