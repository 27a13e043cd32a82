"""The JSON texts of properties → a row for each property."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa

from kmexport.names import VENDOR_KEYS, fold_name
from kmexport.tables.pairs import read_pairs
from kmexport.tables.schema import JSON

__all__ = ["UNNESTED", "PropertyNames", "unnest"]

# What each property takes over from its record.
_CARRIED: Final = {
    "seq": pa.int64(),
    "person_id": pa.int32(),
    "time": pa.timestamp("us", "UTC"),
    "event_id": pa.int32(),
    "is_counted": pa.bool_(),
    "is_contested": pa.bool_(),
    "revision": pa.int64(),
    "line": pa.int64(),
}
UNNESTED: Final = pa.schema(
    [*_CARRIED.items(), ("place", pa.int32()), ("spelling_id", pa.int32()), ("name_id", pa.int32()), ("value", JSON)]
)


class PropertyNames(dict[str, int]):
    """Spelling → its number; `folded` has the number of its name for each, -1 for the vendor's reserved keys."""

    def __init__(self) -> None:
        super().__init__()
        self.folded: list[int] = []
        self.name_ids: dict[str, int] = {}

    def __missing__(self, spelling: str) -> int:
        number = self[spelling] = len(self.folded)
        name = fold_name(spelling)
        self.folded.append(-1 if spelling in VENDOR_KEYS else self.name_ids.setdefault(name, len(self.name_ids)))
        return number

    def table(self) -> pa.Table:
        """Every spelling with its number and its name."""
        spellings = list(self)
        return pa.table(
            {
                "spelling_id": pa.array(range(len(spellings)), pa.int32()),
                "name_as_sent": pa.array(spellings, pa.string()),
                "name": pa.array(list(map(fold_name, spellings)), pa.string()),
            }
        )


def unnest(batches: Iterable[pa.RecordBatch], names: PropertyNames) -> Iterator[pa.RecordBatch]:
    """A row as UNNESTED says for each property of each record, but for the vendor's reserved keys.

    `place` is the property's among those of its record. A property set that has two spellings of one name is
    contested too.
    """
    for batch in batches:
        texts = batch.column("properties")
        counts, spelling_ids, values = read_pairs(getattr(texts, "storage", texts), names)
        name_ids = np.array(names.folded or [0], np.int32)[spelling_ids]
        owners = np.repeat(np.arange(len(counts)), counts)
        taken = pa.array(owners)
        columns = {name: batch.column(name).cast(kind).take(taken) for name, kind in _CARRIED.items()}
        twice = _said_twice(owners, name_ids, batch.column("is_set").to_numpy(zero_copy_only=False))
        if len(twice):
            contested = columns["is_contested"].to_numpy(zero_copy_only=False) | np.isin(owners, twice)
            columns["is_contested"] = pa.array(contested)
        starts = np.cumsum(counts) - counts
        columns |= {
            "place": pa.array((np.arange(len(owners)) - starts[owners]).astype(np.int32)),
            "spelling_id": pa.array(spelling_ids),
            "name_id": pa.array(name_ids),
            "value": pa.ExtensionArray.from_storage(JSON, values),
        }
        rows = pa.RecordBatch.from_arrays([columns[name] for name in UNNESTED.names], schema=UNNESTED)
        yield rows.filter(pa.array(name_ids >= 0)) if (name_ids < 0).any() else rows


def _said_twice(owners: Any, name_ids: Any, is_set: Any) -> Any:
    """The property sets that have two spellings of one name."""
    names = np.int64(name_ids.max(initial=0)) + 1
    asked = is_set[owners] & (name_ids >= 0)
    keys = np.sort(owners[asked] * names + name_ids[asked])
    return np.unique(keys[1:][keys[1:] == keys[:-1]] // names)
