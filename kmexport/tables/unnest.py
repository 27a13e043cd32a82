"""Names and values of properties, and the heads of their records → a row for each property."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kmexport.tables.pairs import Pairs
from kmexport.tables.schema import JSON

__all__ = ["UNNESTED", "unnest"]

# What each property takes over from its record: its column there, its name here, and its type.
_CARRIED: Final = {
    "seq": ("seq", "BIGINT"),
    "identity_id": ("identity_id", "INTEGER"),
    "time": ("time", "TIMESTAMPTZ"),
    "name_id": ("event_id", "INTEGER"),
    "revision": ("revision", "BIGINT"),
    "line": ("line", "BIGINT"),
}
# The table of properties. `place` is the property's among those of its record.
UNNESTED: Final = {**dict(_CARRIED.values()), "place": "INTEGER", "spelling_id": "INTEGER", "value": "JSON"}


def unnest(heads: pa.RecordBatch, pairs: Pairs, folded: Any) -> tuple[pa.RecordBatch, Any]:
    """A row for each property, but for those of aliases and the vendor's reserved keys.

    `folded` has the number of the name for each spelling's number. Beside the rows, `seq` of the property sets that
    have two spellings of one name.
    """
    counts, spelling_ids, values = pairs.counts, pairs.ids, pairs.values
    owners = np.repeat(np.arange(len(counts)), counts)
    places = np.arange(len(owners)) - (np.cumsum(counts) - counts)[owners]
    kinds = heads.column("kind")
    is_wanted = (folded[spelling_ids] >= 0) & pc.not_equal(kinds, "alias").to_numpy(zero_copy_only=False)[owners]
    if not is_wanted.all():
        owners, spelling_ids, places = owners[is_wanted], spelling_ids[is_wanted], places[is_wanted]
        values = values.filter(pa.array(is_wanted))
    taken = pa.array(owners)
    columns = {name: heads.column(source).take(taken) for source, (name, _) in _CARRIED.items()}
    columns["place"] = pa.array(places.astype(np.int32))
    columns["spelling_id"] = pa.array(spelling_ids)
    columns["value"] = pa.ExtensionArray.from_storage(JSON, values)
    is_set = pc.equal(kinds, "property_set").to_numpy(zero_copy_only=False)[owners]
    twice = _said_twice(owners[is_set], folded[spelling_ids[is_set]])
    rows = pa.RecordBatch.from_pydict({name: columns[name] for name in UNNESTED})
    return rows, heads.column("seq").to_numpy()[twice]


def _said_twice(owners: Any, name_ids: Any) -> Any:
    """The owners who have a name twice."""
    names = np.int64(name_ids.max(initial=0)) + 1
    keys = np.sort(owners * names + name_ids)
    return np.unique(keys[1:][keys[1:] == keys[:-1]] // names)
