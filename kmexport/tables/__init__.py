"""Records in columns, and what counts, in an embedded engine (extra `tables`: pyarrow, duckdb, numpy)."""

from __future__ import annotations

try:
    import duckdb  # noqa: F401
    import numpy  # noqa: F401, ICN001
    import pyarrow  # noqa: F401, ICN001
except ImportError as _error:
    _msg = f"kmexport.tables needs {_error.name}: pip install 'kmexport[tables]'"
    raise ImportError(_msg, name=_error.name) from _error

from kmexport.tables.batches import from_records, to_records
from kmexport.tables.facts import Facts
from kmexport.tables.relational import relational, storable
from kmexport.tables.scanning import scan_polars
from kmexport.tables.schema import SCHEMA
from kmexport.tables.sqlite import to_sqlite

__all__ = [
    "SCHEMA",
    "Facts",
    "from_records",
    "relational",
    "scan_polars",
    "storable",
    "to_records",
    "to_sqlite",
]
