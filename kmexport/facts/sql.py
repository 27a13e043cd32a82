"""The tables of Facts and the views that users see, in SQL.

Each record has a number of arrival, `seq`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

__all__ = ["COLUMNS", "READINGS", "create_tables", "create_views", "number_of", "text_of"]

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


def number_of(text: str) -> str:
    """Return the expression for a text as a double; null where `as_number` takes it for no number."""
    # DuckDB takes nan, inf, 1_000 and +-1 for numbers too.
    number = f"TRY_CAST({text} AS DOUBLE)"
    return (
        f"CASE WHEN isfinite({number}) AND NOT contains({text}, '_') AND NOT contains({text}, '+-') THEN {number} END"
    )


# A value as text and as a number.
READINGS: Final = f"""{text_of("value")} AS text, {number_of("value->>'$'")} AS number"""

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
