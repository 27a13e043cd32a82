"""The two Delta tables of a lake: their columns, and the marks by which they are known."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
from attrs import frozen

# Tables of a higher version are left alone: a later kmexport may mean something else by the same columns.
LAKE_VERSION: Final = 1
VERSION_KEY: Final = "kmexport.version"

# The columns whose smallest and largest value in each file are in the log.
STATISTICS_COLUMNS: Final = ("revision", "line", "time")

DELTA_TIME: Final = pa.timestamp("us", "UTC")  # Delta has no coarser one


@frozen
class TableLayout:
    """One of the two tables: its folder, its columns, and its partitions."""

    name: str
    schema: Any
    partitions: tuple[str, ...]

    @property
    def configuration(self) -> dict[str, str]:
        """The table's metadata. No transaction id may ever expire there: they name the revisions that it has."""
        return {
            VERSION_KEY: str(LAKE_VERSION),
            "delta.checkpointInterval": "100",
            "delta.dataSkippingStatsColumns": ",".join(
                name for name in STATISTICS_COLUMNS if name in self.schema.names
            ),
        }


RECORDS: Final = TableLayout(
    "records",
    pa.schema(
        [
            pa.field("revision", pa.int64(), nullable=False),
            pa.field("line", pa.int64(), nullable=False),
            pa.field("item", pa.int32(), nullable=False),
            pa.field("kind", pa.string(), nullable=False),
            pa.field("person", pa.string(), nullable=False),
            pa.field("time", DELTA_TIME, nullable=False),
            pa.field("name", pa.string()),
            pa.field("alias", pa.string()),
            pa.field("properties", pa.string(), nullable=False),
            pa.field("day", pa.date32(), nullable=False),
        ]
    ),
    ("day",),
)
REJECTS: Final = TableLayout(
    "rejects",
    pa.schema(
        [
            pa.field("revision", pa.int64(), nullable=False),
            pa.field("line", pa.int64(), nullable=False),
            pa.field("reason", pa.string(), nullable=False),
            pa.field("raw", pa.binary(), nullable=False),
        ]
    ),
    (),
)


def transaction_id(revision: int) -> str:
    """Name the application id under which a revision is committed; its version is the revision's size in bytes."""
    return f"kmexport/{revision}"
