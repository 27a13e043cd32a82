"""Batches of records, on their way into the engine: a number for each record and each name, aliases learnt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from attrs import evolve

from kmexport.identities import IdentityMap
from kmexport.names import fold_name
from kmexport.tables.arrived import Arrived
from kmexport.tables.numbers import Numbers
from kmexport.tables.schema import TIME
from kmexport.windows import Window

__all__ = ["Arrivals", "inside"]


class Arrivals:
    """What arrives, with `seq`, the number of each record's arrival, and `spelling_id` and `name_id` for its name.

    With `learnt`, aliases are learnt, also those outside the window.
    """

    def __init__(self, source: Iterable[Arrived], *, learnt: IdentityMap | None, window: Window | None) -> None:
        self.source = source
        self.learnt = learnt
        self.window = window
        self.count: int = 0
        self.names: Numbers = Numbers()
        self.spellings: Numbers = Numbers()

    def __iter__(self) -> Iterator[Arrived]:
        for arrived in self.source:
            if self.learnt is not None:
                self._learn(arrived.heads, self.learnt)
            chosen = arrived if self.window is None else inside(arrived, self.window)
            if chosen.heads.num_rows:
                yield evolve(chosen, heads=self._numbered(chosen.heads))

    def _learn(self, heads: pa.RecordBatch, learnt: IdentityMap) -> None:
        aliases = heads.column("alias")
        if aliases.null_count < len(aliases):
            rows = pc.is_valid(aliases)
            pairs = (heads.column(name).filter(rows).to_pylist() for name in ("person", "alias"))
            learnt.link_pairs(zip(*pairs, strict=True))

    def _numbered(self, heads: pa.RecordBatch) -> pa.RecordBatch:
        columns = dict(zip(heads.schema.names, heads.columns, strict=True))
        names = columns.pop("name")
        columns["seq"] = pa.array(np.arange(self.count, self.count + heads.num_rows))
        columns["kind"] = columns["kind"].cast(pa.string())
        different = names.dictionary_encode()
        spellings = different.dictionary.to_pylist()
        for column, ids in (
            ("spelling_id", [self.spellings[spelling] for spelling in spellings]),
            ("name_id", [self.names[fold_name(spelling)] for spelling in spellings]),
        ):
            columns[column] = pa.array(ids, pa.int32()).take(different.indices)
        self.count += heads.num_rows
        return pa.RecordBatch.from_pydict(columns)


def inside(arrived: Arrived, window: Window) -> Arrived:
    """The records of the window; the lines of an export are of those alone."""
    if arrived.lines is not None:
        return arrived
    times = arrived.heads.column("time").cast(TIME).cast(pa.int64())
    is_inside = pc.and_(pc.greater_equal(times, window.start), pc.less(times, window.end))
    return Arrived(arrived.heads.filter(is_inside))
