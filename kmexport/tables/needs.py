"""Which tables, and which of their columns, a query reads: told by DuckDB's own plan for it.

A table that is not built is a view over a table of one row, whose columns have names that nobody else uses. The plan of
a query names those that it reads, after views, stars and common table expressions are resolved and what is
not needed is left out. Executed, such a view is an error, never an empty answer.
"""

from __future__ import annotations

import re
from typing import Any, Final

import duckdb

__all__ = ["COLUMNS", "UNREAD", "create_stand_ins", "needs_of"]

COLUMNS: Final = {
    "records": {
        "revision": "BIGINT", "line": "BIGINT", "kind": "VARCHAR", "person": "VARCHAR", "time": "TIMESTAMPTZ",
        "name": "VARCHAR", "alias": "VARCHAR", "properties": "JSON",
    },
    "people": {"identity": "VARCHAR", "person": "VARCHAR"},
    "events": {
        "person": "VARCHAR", "time": "TIMESTAMPTZ", "name": "VARCHAR", "name_as_sent": "VARCHAR", "revision": "BIGINT",
        "line": "BIGINT", "properties": "JSON",
    },
    "properties": {
        "person": "VARCHAR", "time": "TIMESTAMPTZ", "name": "VARCHAR", "name_as_sent": "VARCHAR", "value": "JSON",
        "text": "VARCHAR", "number": "DOUBLE", "event": "VARCHAR", "revision": "BIGINT", "line": "BIGINT",
    },
    "rejects": {"revision": "BIGINT", "line": "BIGINT", "reason": "VARCHAR", "raw": "BLOB"},
}  # fmt: skip

# What kmexport.numbered_events and its like have beside these columns: the numbers that reports join by.
# `seq` is the number of a record in the order of arrival, `place` that of a property in its record.
_NUMBERS: Final[dict[str, dict[str, str]]] = {
    "records": {"seq": "BIGINT", "person_id": "INTEGER"},
    "people": {"person_id": "INTEGER"},
    "events": {"seq": "BIGINT", "person_id": "INTEGER"},
    "properties": {"seq": "BIGINT", "place": "INTEGER", "person_id": "INTEGER"},
}

# The column of a table that was built without properties: a query that reads it needs them.
UNREAD: Final = "unread_properties"

_NAMES: Final = re.compile(rf"unbuilt_([a-z]+?)(?:_column_([a-z_]+))?(?![a-z_])|{UNREAD}")
_EVERYTHING: Final = frozenset((table, "properties") for table in COLUMNS)


def create_stand_ins(connection: duckdb.DuckDBPyConnection) -> None:
    """A view for each table, which tells that it is not built yet."""
    for table, columns in COLUMNS.items():
        all_columns = columns | _NUMBERS.get(table, {})
        held = ", ".join(f"unbuilt_{table}_column_{name} {kind}" for name, kind in all_columns.items())
        what = f"the table {table} is not built yet: ask for it through Facts.sql(), or call Facts.build() first"
        connection.execute(f"CREATE OR REPLACE TABLE kmexport.unbuilt_{table} ({held})")
        connection.execute(f"INSERT INTO kmexport.unbuilt_{table} VALUES ({', '.join(['NULL'] * len(all_columns))})")
        for view, names in ((f"main.{table}", columns), (f"kmexport.numbered_{table}", all_columns)):
            shown = ", ".join(f"unbuilt_{table}_column_{name} AS {name}" for name in names)
            connection.execute(
                f"CREATE OR REPLACE VIEW {view} AS SELECT {shown} FROM kmexport.unbuilt_{table} WHERE error('{what}')"
            )


def needs_of(
    connection: duckdb.DuckDBPyConnection,
    statement: duckdb.Statement,
    params: Any,
    settings: duckdb.DuckDBPyConnection,
) -> set[tuple[str, str]]:
    """Pairs of table and column that a statement reads and that are not built; the column is "" where it counts rows.

    `settings` is another connection to the database, which no failed transaction can stop. Raises DuckDB's own error
    for a table or a column that does not exist: nothing is built for it.
    """
    if statement.type in (duckdb.StatementType.TRANSACTION, duckdb.StatementType.SET):
        return set()
    if statement.type in (duckdb.StatementType.MULTI, duckdb.StatementType.EXPLAIN):
        return set(_EVERYTHING)
    # The one rule that looks at the rows of a table: on the one row of a view it would leave out what is needed.
    before = settings.execute("SELECT current_setting('disabled_optimizers')").fetchall()[0][0]
    settings.execute("SET GLOBAL disabled_optimizers = 'statistics_propagation'")
    try:
        plan = connection.execute(f"EXPLAIN (FORMAT JSON) {statement.query}", params).fetchall()
    except (duckdb.ParserException, duckdb.NotImplementedException):  # no statement that can be explained
        return set(_EVERYTHING)
    finally:
        settings.execute("SET GLOBAL disabled_optimizers = ?", [before])
    found = _NAMES.finditer(str(plan))
    return {(name[1], name[2] or "") if name[1] else ("records", "properties") for name in found}
