"""The rules of duplicates as sets, in SQL: which records count, and which of their properties.

The first record to arrive is the one that counts, so each has a number of arrival, `seq`. Most moments of a person have
one record; those with more are looked at apart.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "CONTESTED",
    "DROP_LATER_PROPERTIES",
    "DROP_REPEATED_PROPERTIES",
    "EVENTS",
    "MERGED",
    "OWN_TEXTS",
    "PROPERTIES",
    "READINGS",
    "RECORDS",
    "REPEATED_EVENTS",
    "SHARED",
    "STRICT_CANDIDATES",
    "UNCOUNT",
    "text_of",
]

# Every record with the number of its person.
MERGED: Final = "SELECT records.*, person_id FROM kmexport.records JOIN kmexport.identities USING (identity_id)"

# Records of a moment that has more than one; of its events of one name, the first counts.
SHARED: Final = """
    WITH moments AS (
        SELECT person_id, time FROM kmexport.merged WHERE kind <> 'alias' GROUP BY ALL HAVING count(*) > 1
    ),
    shared AS (FROM kmexport.merged SEMI JOIN moments USING (person_id, time) WHERE kind <> 'alias')
    SELECT seq, person_id, time, kind = 'event' AS is_event,
           is_event AND seq = min(seq) OVER (PARTITION BY person_id, time, kind, name_id) AS is_counted
    FROM shared
"""

REPEATED_EVENTS: Final = "SELECT seq FROM kmexport.shared WHERE is_event AND NOT is_counted"

# Records that may be the same, group by group in the order of arrival, and only where their properties differ in
# their spelling; those that don't are the same.
STRICT_CANDIDATES: Final = """
    WITH twins AS (
        SELECT kind, person_id, time, name_id, row_number() OVER () AS twin
        FROM kmexport.merged WHERE kind <> 'alias' GROUP BY ALL HAVING count(*) > 1
    )
    SELECT twin, seq, properties
    FROM kmexport.merged AS records JOIN twins
      ON records.kind = twins.kind AND records.person_id = twins.person_id AND records.time = twins.time
     AND records.name_id IS NOT DISTINCT FROM twins.name_id
    ORDER BY twin, seq
"""

UNCOUNT: Final = "UPDATE kmexport.records SET counts = false WHERE seq IN (SELECT seq FROM kmexport.repeated)"
DROP_REPEATED_PROPERTIES: Final = "DELETE FROM kmexport.properties WHERE seq IN (SELECT seq FROM kmexport.repeated)"

# Records of which some properties may be said by another record of the moment, or by a second spelling.
CONTESTED: Final = """
    SELECT seq, person_id, time, is_counted FROM kmexport.shared
    UNION ALL
    SELECT seq, person_id, time, false FROM kmexport.merged SEMI JOIN kmexport.doubled USING (seq)
    ANTI JOIN kmexport.shared USING (seq)
"""

# A property that no counted event carries counts where it is the first to be said.
DROP_LATER_PROPERTIES: Final = """
    WITH said AS MATERIALIZED (
        SELECT properties.rowid AS row, person_id, contested.time, name_id, is_counted,
               seq * 4294967296 + place AS arrival
        FROM kmexport.properties JOIN kmexport.contested USING (seq) JOIN kmexport.property_names USING (spelling_id)
    ),
    firsts AS (SELECT person_id, time, name_id, min(arrival) AS first FROM said GROUP BY ALL)
    DELETE FROM kmexport.properties WHERE rowid IN (
        SELECT row FROM said JOIN firsts USING (person_id, time, name_id) WHERE NOT is_counted AND arrival > first
    )
"""

# What properties are read from, where the texts of records are here.
OWN_TEXTS: Final = """
    SELECT seq, identity_id, kind, time, name_id, revision, line, properties FROM kmexport.records WHERE kind <> 'alias'
"""

# The views. {properties} is what they show as properties, {exact} what else is joined for it.
RECORDS: Final = """
    SELECT seq, person_id, revision, line, kind, identity AS person, time, name_as_sent AS name, alias,
           {properties} AS properties
    FROM kmexport.records JOIN kmexport.identities USING (identity_id)
    LEFT JOIN kmexport.event_names USING (spelling_id) {exact}
"""
EVENTS: Final = """
    SELECT seq, person_id, person, time, name, name_as_sent, revision, line, {properties} AS properties
    FROM kmexport.records JOIN kmexport.identities USING (identity_id)
    JOIN kmexport.event_names USING (spelling_id) WHERE counts AND kind = 'event'
"""


def text_of(value: str) -> str:
    """The expression for a JSON value as text: a string itself, anything else as it was sent, nothing for null."""
    # DuckDB's ->> writes numbers anew (1.50 becomes 1.5, and 1e3 becomes 1000.0), so only strings go through it.
    return f"CASE WHEN starts_with({value}, '\"') THEN {value}->>'$' WHEN {value} <> 'null' THEN {value}::VARCHAR END"


# A value as text and as a number. DuckDB takes nan, inf and 1_000 for numbers; the vendor does not.
READINGS: Final = f"""
    {text_of("value")} AS text,
    CASE WHEN isfinite(TRY_CAST(value->>'$' AS DOUBLE)) AND NOT contains(value, '_')
         THEN TRY_CAST(value->>'$' AS DOUBLE) END AS number
"""
PROPERTIES: Final = f"""
    SELECT seq, place, person_id, person, time, name, name_as_sent, value, {READINGS}, event, revision, line
    FROM kmexport.properties AS properties
    JOIN kmexport.identities USING (identity_id)
    JOIN kmexport.property_names USING (spelling_id)
    LEFT JOIN kmexport.events_folded USING (event_id)
"""
