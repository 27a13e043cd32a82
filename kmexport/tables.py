"""Records in columns, and what counts, in an embedded engine (extra `tables`: pyarrow, duckdb, numpy)."""

from __future__ import annotations

from kmexport.columns.polars import scan_polars
from kmexport.columns.records import from_records, to_records
from kmexport.columns.schema import SCHEMA
from kmexport.facts.facts import Facts
from kmexport.facts.relational import relational, storable
from kmexport.facts.sqlite import to_sqlite

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
