"""Arrow tables → pandas frames whose types are the same for every part of a collection."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa

from kmexport.columns.schema import JSON, KINDS, SCHEMA, Layout

__all__ = ["empty_frame", "to_frame"]

_TEXT = pd.StringDtype("pyarrow")
_KIND = pd.CategoricalDtype(list(KINDS))


def to_frame(table: pa.Table) -> pd.DataFrame:
    """The table as a frame: text as `string[pyarrow]`, `kind` as a category, further columns as their Arrow types."""
    return pd.DataFrame({name: _series(name, table.column(name)) for name in table.column_names})


def empty_frame(layout: Layout) -> pd.DataFrame:
    """A frame without rows, with the columns and types of every part."""
    return to_frame(layout.schema.empty_table())


def _series(name: str, column: pa.ChunkedArray) -> Any:
    if name not in SCHEMA.names:
        return pd.Series(pd.array(column.to_pandas(types_mapper=pd.ArrowDtype)))
    if name == "kind":
        return column.cast(pa.string()).to_pandas().astype(_KIND)
    if column.type == JSON:
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], pa.string())
    if pa.types.is_string(column.type):
        return column.to_pandas(types_mapper={pa.string(): _TEXT}.get)
    return column.to_pandas()
