"""The rule of duplicates over the tables of Facts: the statements, their order, and the strict comparison.

The first record to arrive is the one that counts, by its number of arrival, `seq`. Most moments (a person's second)
have one record; only those with more are looked at.

steps/duplicates.py has this rule over records, facts/sqlite.py for SQLite, cluster/collections.py over a cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import duckdb
import pyarrow as pa

from kmexport.facts.engine import insert
from kmexport.format.decoding import decode_properties
from kmexport.records import PropertySet
from kmexport.steps.duplicates import canonical_form

__all__ = ["leave_out_duplicates"]

_STREAMED_ROWS: Final = 32_768

# Records that share their moment with another, each with the first of that moment. {key} are the columns that make a
# moment, {condition} what records are looked at. Different moments may have one digest: then
# some too many are looked at.
_SHARED: Final = """
    CREATE OR REPLACE TABLE kmexport.shared AS
    WITH merged AS MATERIALIZED (SELECT *, hash({key}) AS digest FROM kmexport.merged WHERE {condition}),
    digests AS (SELECT digest FROM merged GROUP BY digest HAVING count(*) > 1),
    chosen AS MATERIALIZED (FROM merged SEMI JOIN digests USING (digest)),
    moments AS (SELECT {key}, min(seq) AS moment FROM chosen GROUP BY {key} HAVING count(*) > 1)
    SELECT seq, name_id, moment FROM chosen JOIN moments USING ({key})
"""
_NOTHING_SHARED: Final = "CREATE OR REPLACE TABLE kmexport.shared (seq BIGINT, name_id INTEGER, moment BIGINT)"
# Of a person's events of one name in a second, the first counts.
_REPEATED_EVENTS: Final = """
    CREATE OR REPLACE TABLE kmexport.repeated AS
    WITH firsts AS (SELECT moment, name_id, min(seq) AS first FROM kmexport.shared GROUP BY ALL)
    SELECT seq FROM kmexport.shared JOIN firsts USING (moment, name_id) WHERE seq > first
"""
_NOT_KEPT: Final = "UPDATE kmexport.records SET is_kept = false WHERE seq IN (SELECT seq FROM kmexport.repeated)"
_COUNT_REPEATED: Final = """
    SELECT count(*) FROM kmexport.records SEMI JOIN kmexport.repeated USING (seq)
    JOIN kmexport.event_names USING (spelling_id) WHERE is_wanted
"""
# Records with a property that may have been said before: by another record of the moment, or in another spelling.
_CONTESTED: Final = """
    CREATE OR REPLACE TABLE kmexport.contested AS
    WITH spelt_twice AS (
        SELECT spelling_id, name_id FROM kmexport.property_names QUALIFY count(*) OVER (PARTITION BY name_id) > 1
    ),
    doubled AS (
        SELECT DISTINCT seq FROM (
            SELECT seq FROM kmexport.properties JOIN spelt_twice USING (spelling_id)
            GROUP BY seq, name_id HAVING count(*) > 1
        )
    )
    SELECT seq, moment FROM kmexport.shared
    UNION ALL SELECT seq, seq FROM doubled ANTI JOIN kmexport.shared USING (seq)
"""
# Of the properties of one name in a moment the first counts, whatever record it is on. Rows are in the order of their
# arrival. No property of the records {gone} counts.
_LATER: Final = """
    CREATE OR REPLACE TABLE kmexport.later AS
    WITH said AS MATERIALIZED (
        SELECT properties.rowid AS row, moment, name_id
        FROM kmexport.properties JOIN kmexport.contested USING (seq) JOIN kmexport.property_names USING (spelling_id)
        WHERE NOT {gone}
    ),
    firsts AS (SELECT moment, name_id, min(row) AS first FROM said GROUP BY ALL)
    SELECT row FROM said JOIN firsts USING (moment, name_id) WHERE row > first
    UNION ALL SELECT rowid FROM kmexport.properties WHERE {gone}
"""
_REPEATED: Final = "seq IN (SELECT seq FROM kmexport.repeated)"
_COUNT_LATER: Final = "SELECT (SELECT count(*) FROM kmexport.later), (SELECT count(*) FROM kmexport.properties)"
# Where it deletes rows, DuckDB keeps 8 bytes for each row of a stretch of 2,048, which no temporary folder takes. So of
# a large table the rows that stay are written anew: that takes four times as long.
_DELETED: Final = ("DELETE FROM kmexport.properties WHERE rowid IN (FROM kmexport.later)",)
_WRITTEN_ANEW: Final = (
    """
    CREATE OR REPLACE TABLE kmexport.remaining AS
    FROM kmexport.properties ANTI JOIN kmexport.later ON properties.rowid = later.row
    """,
    "DROP TABLE kmexport.properties",
    "ALTER TABLE kmexport.remaining RENAME TO properties",
)
_MOST_DELETED_OF: Final = 4_000_000
# Records that may be the same, group by group in the order of arrival.
_STRICT_CANDIDATES: Final = """
    WITH twins AS (
        SELECT person, time, name_id, row_number() OVER () AS twin
        FROM kmexport.merged GROUP BY ALL HAVING count(*) > 1
    )
    SELECT twin, seq, properties
    FROM kmexport.merged JOIN twins
      ON merged.person = twins.person AND merged.time = twins.time AND merged.name_id IS NOT DISTINCT FROM twins.name_id
    JOIN kmexport.records USING (seq)
    ORDER BY twin, seq
"""


def leave_out_duplicates(connection: duckdb.DuckDBPyConnection, *, is_strict: bool, has_rows: bool) -> None:
    """Mark the events that came before, drop the properties that did, and write down how many there were.

    `has_rows` is False where no properties were read. The strict rule needs the texts of the records' properties.
    """
    execute, properties = connection.execute, 0
    if is_strict:
        repeated = pa.table({"seq": pa.array(_repeated_records(_candidates(connection)), pa.int64())})
        insert(connection, "CREATE OR REPLACE TABLE kmexport.repeated AS FROM arrived", repeated)
        execute(_NOTHING_SHARED)
    else:
        # Without properties only events of one name share a moment.
        key, condition = ("person, time", "true") if has_rows else ("person, time, name_id", "name_id IS NOT NULL")
        execute(_SHARED.format(key=key, condition=condition))
        execute(_REPEATED_EVENTS)
    execute(_NOT_KEPT)
    ((events,),) = execute(_COUNT_REPEATED).fetchall()
    if has_rows:
        execute(_CONTESTED)
        execute(_LATER.format(gone=_REPEATED if is_strict else "false"))
        ((properties, rows),) = execute(_COUNT_LATER).fetchall()
        for statement in _DELETED if rows <= _MOST_DELETED_OF else _WRITTEN_ANEW:
            execute(statement)
    execute("INSERT INTO kmexport.duplicates VALUES (?, ?)", [events, properties])
    for table in ("shared", "repeated", "contested", "later"):
        execute(f"DROP TABLE IF EXISTS kmexport.{table}")


def _candidates(connection: duckdb.DuckDBPyConnection) -> Iterator[pa.RecordBatch]:
    with connection.cursor() as reading:
        yield from reading.sql(_STRICT_CANDIDATES).to_arrow_reader(_STREAMED_ROWS)


def _repeated_records(candidates: Iterable[pa.RecordBatch]) -> Iterator[int]:
    """Give the `seq` of each record that came before. Candidates come group by group, in the order of arrival."""
    group = None
    texts: set[str] = set()
    forms: set[bytes] = set()
    for batch in candidates:
        columns = (batch.column(name).to_pylist() for name in ("twin", "seq", "properties"))
        for twin, seq, text in zip(*columns, strict=True):
            if twin != group:
                group, texts, forms = twin, {text}, set()
            elif text in texts:
                yield seq
            else:
                # Most records that come twice come word for word: only others are parsed.
                forms = forms or {_form(next(iter(texts)))}
                form = _form(text)
                if form in forms:
                    yield seq
                forms.add(form)
                texts.add(text)


def _form(text: str) -> bytes:
    """Spell properties so that equal ones have one text, whatever their order and spelling."""
    return canonical_form(PropertySet("", 0, decode_properties(text.encode())))
