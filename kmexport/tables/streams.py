"""Arrow streams into DuckDB, so that an error of the stream comes out as itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import duckdb
import pyarrow as pa

__all__ = ["insert"]


def insert(
    connection: duckdb.DuckDBPyConnection, statement: str, batches: Iterable[pa.RecordBatch], schema: Any
) -> None:
    """Execute a statement that reads the batches as the table `arrived`.

    What goes wrong in the batches is raised as it is; DuckDB alone would tell its text only.
    """
    failures: list[BaseException] = []

    def watched() -> Iterator[pa.RecordBatch]:
        try:
            yield from batches
        except BaseException as error:
            failures.append(error)
            raise

    connection.register("arrived", pa.RecordBatchReader.from_batches(schema, watched()))
    try:
        connection.execute(statement)
    except duckdb.Error as error:
        if failures:
            raise failures[0] from error
        raise
    finally:
        connection.unregister("arrived")
