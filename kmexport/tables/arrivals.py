"""Batches of records, on their way into the engine: numbers for texts, aliases learnt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kmexport.identities import IdentityMap
from kmexport.names import fold_name
from kmexport.tables.escapes import show_halves
from kmexport.tables.numbers import Numbers
from kmexport.tables.schema import JSON, TIME
from kmexport.windows import Window

__all__ = ["HEADS", "WHOLE", "Arrivals", "inside"]

HEADS: Final = ("revision", "line", "kind", "person", "time", "name", "alias")
WHOLE: Final = (*HEADS, "properties")

_FIELDS: Final = [
    ("seq", pa.int64()),
    ("revision", pa.int64()),
    ("line", pa.int64()),
    ("kind", pa.string()),
    ("identity_id", pa.int32()),
    ("time", TIME),
    ("name_id", pa.int32()),
    ("spelling_id", pa.int32()),
    ("alias", pa.string()),
]


class Arrivals:
    """What arrives, batch by batch, as `schema` says; with `learnt`, aliases are learnt, also those outside the window.

    Identities and names are numbers there (`identities`, `names`, `spellings`): the engine takes in, joins and groups
    numbers in a third of the time of texts.

    DuckDB's JSON functions fail for a whole query where one row has half a surrogate pair. So such a half becomes the
    text of its escape, and `exact` keeps the properties of that record as they were, by the number of its arrival.
    """

    def __init__(
        self, batches: Iterable[pa.RecordBatch], *, is_whole: bool, learnt: IdentityMap | None, window: Window | None
    ) -> None:
        self.batches = batches
        self.learnt = learnt
        self.window = window
        self.schema: pa.Schema = pa.schema([*_FIELDS, ("properties", JSON)] if is_whole else _FIELDS)
        self.count: int = 0
        self.identities: Numbers = Numbers()
        self.names: Numbers = Numbers()
        self.spellings: Numbers = Numbers()
        self.exact: list[tuple[int, str]] = []

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self.batches:
            if self.learnt is not None:
                self._learn(batch)
            chosen = batch if self.window is None else inside(batch, self.window)
            if chosen.num_rows:
                yield self._numbered(chosen)

    def _learn(self, batch: pa.RecordBatch) -> None:
        aliases = batch.column("alias")
        if aliases.null_count < len(aliases):
            rows = pc.is_valid(aliases)
            pairs = (batch.column(name).filter(rows).to_pylist() for name in ("person", "alias"))
            self.learnt.link_pairs(zip(*pairs, strict=True))  # type: ignore[union-attr]  # asked before

    def _numbered(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        seq = pa.array(np.arange(self.count, self.count + batch.num_rows))
        self.count += batch.num_rows
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        columns["seq"] = seq
        columns["kind"] = columns["kind"].cast(pa.string())
        columns["identity_id"] = _numbers_of(columns["person"], self.identities)
        _numbers_of(columns["alias"], self.identities)
        columns["spelling_id"] = _numbers_of(columns["name"], self.spellings)
        columns["name_id"] = _numbers_of(columns["name"], self.names, fold_name)
        if "properties" in self.schema.names:
            columns["properties"] = self._mended(columns["properties"], seq[0].as_py())
        return pa.RecordBatch.from_arrays([columns[name] for name in self.schema.names], schema=self.schema)

    def _mended(self, properties: Any, first: int) -> pa.Array:
        texts = getattr(properties, "storage", properties).cast(pa.string())
        mended, changed = show_halves(texts)
        self.exact += [(first + row, texts[row].as_py()) for row in changed]
        return pa.ExtensionArray.from_storage(JSON, mended)


def _numbers_of(texts: pa.Array, numbers: Numbers, form: Callable[[str], str] = str) -> pa.Array:
    different = texts.dictionary_encode()
    ids = [numbers[form(text)] for text in different.dictionary.to_pylist()]
    return pa.array(ids, pa.int32()).take(different.indices)


def inside(batch: pa.RecordBatch, window: Window) -> pa.RecordBatch:
    """The rows of the window."""
    times = batch.column("time").cast(TIME).cast(pa.int64())
    return batch.filter(pc.and_(pc.greater_equal(times, window.start), pc.less(times, window.end)))
