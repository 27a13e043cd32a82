"""The tables of Facts and the rules of duplicates, in SQL.

The first record to arrive is the one that counts, so each has a number of arrival, `seq`. Most moments (a person's
second) have one record; only those with more are looked at.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

__all__ = [
    "COLUMNS",
    "CONTESTED",
    "COUNT_REPEATED",
    "DROP_LATER",
    "DROP_REPEATED",
    "NOTHING_SHARED",
    "NOT_KEPT",
    "READINGS",
    "REPEATED_EVENTS",
    "STRICT_CANDIDATES",
    "create_tables",
    "create_views",
    "find_shared",
    "text_of",
]

# What users see.
COLUMNS: Final = {
    "records": ["revision", "line", "kind", "person", "time", "name", "alias", "properties"],
    "people": ["identity", "person"],
    "events": ["person", "time", "name", "name_as_sent", "revision", "line", "properties"],
    "properties": [
        "person", "time", "name", "name_as_sent", "value", "text", "number", "event", "revision", "line"
    ],
    "rejects": ["revision", "line", "reason", "raw"],
}  # fmt: skip

# What is stored, in the schema kmexport. A name has a number for each spelling, `spelling_id`, and one for all of them,
# `name_id`. `aliased` has each identity that an alias names, and its person. `exact` has the properties of the records
# that the engine can't hold as they were sent. `duplicates` has one row: how many were left out. `records` has
# `properties JSON` too, where the properties of whole records are read.
_TABLES: Final = {
    "records": (
        "seq BIGINT, revision BIGINT, line BIGINT, identity VARCHAR, time TIMESTAMPTZ, spelling_id INTEGER, "
        "alias VARCHAR, is_kept BOOLEAN DEFAULT true"
    ),
    "properties": "seq BIGINT, spelling_id INTEGER, value JSON",
    "event_names": "spelling_id INTEGER, name_as_sent VARCHAR, name_id INTEGER, name VARCHAR, is_wanted BOOLEAN",
    "property_names": "spelling_id INTEGER, name_as_sent VARCHAR, name_id INTEGER, name VARCHAR",
    "aliased": "identity VARCHAR, person VARCHAR",
    "exact": "seq BIGINT, exact JSON",
    "rejects": "revision BIGINT, line BIGINT, reason VARCHAR, raw BLOB",
    "duplicates": "events BIGINT, properties BIGINT",
}


def text_of(value: str) -> str:
    """Return the expression for a JSON value as text: a string itself, anything else as it was sent, null for null."""
    # DuckDB's ->> writes numbers anew (1.50 becomes 1.5, and 1e3 becomes 1000.0), so only strings go through it.
    return f"CASE WHEN starts_with({value}, '\"') THEN {value}->>'$' WHEN {value} <> 'null' THEN {value}::VARCHAR END"


# A value as text and as a number. DuckDB takes nan, inf and 1_000 for numbers; the vendor does not.
READINGS: Final = f"""
    {text_of("value")} AS text,
    CASE WHEN isfinite(TRY_CAST(value->>'$' AS DOUBLE)) AND NOT contains(value, '_')
         THEN TRY_CAST(value->>'$' AS DOUBLE) END AS number
"""

# Every record that does something, with its person.
_MERGED: Final = """
    SELECT seq, coalesce(person, identity) AS person, time, name_id
    FROM kmexport.records LEFT JOIN kmexport.aliased USING (identity)
    LEFT JOIN kmexport.event_names USING (spelling_id)
    WHERE alias IS NULL
"""

# The views of the schema kmexport that the users' views are made of. They have `seq` beside what users see.
_VIEWS: Final = {
    "records": """
        SELECT seq, coalesce(aliased.person, identity) AS person_id, revision, line,
               CASE WHEN alias IS NOT NULL THEN 'alias' WHEN spelling_id IS NULL THEN 'property_set' ELSE 'event' END
                   AS kind,
               identity AS person, time, name_as_sent AS name, alias {exact}
        FROM kmexport.records LEFT JOIN kmexport.aliased USING (identity)
        LEFT JOIN kmexport.event_names USING (spelling_id)
        LEFT JOIN (SELECT seq, any_value(exact) AS exact FROM kmexport.exact GROUP BY seq) USING (seq)
    """,
    "people": """
        WITH met AS (
            SELECT identity FROM kmexport.records UNION SELECT alias FROM kmexport.records WHERE alias IS NOT NULL
            UNION SELECT identity FROM kmexport.aliased
        )
        SELECT identity, coalesce(person, identity) AS person, coalesce(person, identity) AS person_id
        FROM met LEFT JOIN kmexport.aliased USING (identity)
    """,
    "events": """
        SELECT seq, coalesce(aliased.person, identity) AS person, coalesce(aliased.person, identity) AS person_id,
               time, name, name_as_sent, revision, line {properties}
        FROM kmexport.records JOIN kmexport.event_names USING (spelling_id)
        LEFT JOIN kmexport.aliased USING (identity)
        WHERE is_kept AND is_wanted
    """,
    "properties": f"""
        SELECT seq, 0 AS place, coalesce(aliased.person, identity) AS person,
               coalesce(aliased.person, identity) AS person_id, time, property_names.name, property_names.name_as_sent,
               value, {READINGS}, CASE WHEN is_kept {{and_wanted}} THEN event_names.name END AS event, revision, line
        FROM kmexport.properties JOIN kmexport.property_names USING (spelling_id)
        JOIN kmexport.records USING (seq)
        LEFT JOIN kmexport.event_names ON records.spelling_id = event_names.spelling_id
        LEFT JOIN kmexport.aliased USING (identity)
    """,
    "rejects": "FROM kmexport.rejects",
}

# Records that share their moment with another, each with the first of that moment. {key} are the columns that make a
# moment, {condition} what records are looked at. Different moments may have one hash: then some too many are looked at.
_SHARED: Final = """
    CREATE OR REPLACE TABLE kmexport.shared AS
    WITH merged AS MATERIALIZED (SELECT *, hash({key}) AS digest FROM kmexport.merged WHERE {condition}),
    digests AS (SELECT digest FROM merged GROUP BY digest HAVING count(*) > 1),
    chosen AS MATERIALIZED (FROM merged SEMI JOIN digests USING (digest)),
    moments AS (SELECT {key}, min(seq) AS moment FROM chosen GROUP BY {key} HAVING count(*) > 1)
    SELECT seq, name_id, moment FROM chosen JOIN moments USING ({key})
"""
NOTHING_SHARED: Final = "CREATE OR REPLACE TABLE kmexport.shared (seq BIGINT, name_id INTEGER, moment BIGINT)"
# Of a person's events of one name in a second, the first counts.
REPEATED_EVENTS: Final = """
    CREATE OR REPLACE TABLE kmexport.repeated AS
    WITH firsts AS (SELECT moment, name_id, min(seq) AS first FROM kmexport.shared GROUP BY ALL)
    SELECT seq FROM kmexport.shared JOIN firsts USING (moment, name_id) WHERE seq > first
"""
NOT_KEPT: Final = "UPDATE kmexport.records SET is_kept = false WHERE seq IN (SELECT seq FROM kmexport.repeated)"
COUNT_REPEATED: Final = """
    SELECT count(*) FROM kmexport.records SEMI JOIN kmexport.repeated USING (seq)
    JOIN kmexport.event_names USING (spelling_id) WHERE is_wanted
"""
DROP_REPEATED: Final = "DELETE FROM kmexport.properties WHERE seq IN (SELECT seq FROM kmexport.repeated)"
# Records with a property that may have been said before: by another record of the moment, or in another spelling.
CONTESTED: Final = """
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
# Of the properties of one name in a moment the first counts, whatever record it stands on. Rows are in the order of
# their arrival.
DROP_LATER: Final = """
    WITH said AS MATERIALIZED (
        SELECT properties.rowid AS row, moment, name_id
        FROM kmexport.properties JOIN kmexport.contested USING (seq) JOIN kmexport.property_names USING (spelling_id)
    ),
    firsts AS (SELECT moment, name_id, min(row) AS first FROM said GROUP BY ALL)
    DELETE FROM kmexport.properties WHERE rowid IN (
        SELECT row FROM said JOIN firsts USING (moment, name_id) WHERE row > first
    )
"""
# Records that may be the same, group by group in the order of arrival.
STRICT_CANDIDATES: Final = """
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

# The value of a property in a record's JSON object, as text, whatever the case of its name; of two spellings the first.
_PROPERTY_OF: Final = """
    CREATE OR REPLACE MACRO main.property_of(properties, property) AS (
        SELECT properties ->> ('/' || replace(replace(key, '~', '~0'), '/', '~1'))
        FROM (SELECT unnest(json_keys(properties)) AS key, generate_subscripts(json_keys(properties), 1) AS place)
        JOIN kmexport.property_names ON key = name_as_sent
        WHERE name IN (
            SELECT name FROM kmexport.property_names WHERE property = name_as_sent OR lower(property) = name
        )
        ORDER BY place LIMIT 1
    )
"""


def create_tables(*, with_texts: bool) -> list[str]:
    """Return the statements that create the tables, empty, in place of those that are there."""
    texts = ", properties JSON" if with_texts else ""
    return [
        f"CREATE OR REPLACE TABLE kmexport.{table} ({columns}{texts if table == 'records' else ''})"
        for table, columns in _TABLES.items()
    ]


def create_views(left_out: Collection[str], rule: str) -> list[str]:
    """Return the statements that create the views, but for tables, and for columns of tables, that are left out."""
    has_texts = "events.properties" not in left_out
    parts = {
        "exact": ", coalesce(exact, properties) AS properties" if has_texts else "",
        "properties": ", properties" if has_texts else "",
        # Of events that are not wanted some lines were passed over, so classic can't tell which ones are duplicates.
        "and_wanted": "AND is_wanted" if rule == "classic" else "",
    }
    statements = [f"CREATE OR REPLACE VIEW kmexport.merged AS {_MERGED}"]
    for table, columns in COLUMNS.items():
        if table not in left_out:
            shown = [column for column in columns if f"{table}.{column}" not in left_out]
            statements += [
                f"CREATE OR REPLACE VIEW kmexport.numbered_{table} AS {_VIEWS[table].format(**parts)}",
                f"CREATE OR REPLACE VIEW main.{table} AS SELECT {', '.join(shown)} FROM kmexport.numbered_{table}",
            ]
    return [*statements, _PROPERTY_OF] if has_texts else statements


def find_shared(*, events_only: bool) -> str:
    """Return the statement that finds the records of a moment that has more than one, or its events of one name."""
    if events_only:
        return _SHARED.format(key="person, time, name_id", condition="name_id IS NOT NULL")
    return _SHARED.format(key="person, time", condition="true")
