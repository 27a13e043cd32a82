"""The rules of duplicates as sets, in SQL: which records count, and which of their properties.

The first record to arrive is the one that counts, so each has a number of arrival, `seq`. Most moments of a person have
one record; those with more are looked at apart.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "CLASSIC_EVENTS",
    "CLASSIC_RECORDS",
    "CONTESTED",
    "DROP_LATER_PROPERTIES",
    "MERGED",
    "PROPERTIES",
    "READINGS",
    "STRICT_CANDIDATES",
    "STRICT_RECORDS",
    "UNCOUNT",
]

# Every record with the number of its person.
MERGED: Final = "SELECT records.*, person_id FROM kmexport.records JOIN kmexport.identities USING (identity_id)"

# seq of each event that came before with the same person, second and name.
CLASSIC_EVENTS: Final = """
    WITH twins AS (
        SELECT person_id, time, name_id, min(seq) AS first
        FROM kmexport.merged WHERE kind = 'event' GROUP BY ALL HAVING count(*) > 1
    )
    SELECT seq FROM kmexport.merged JOIN twins USING (person_id, time, name_id) WHERE kind = 'event' AND seq > first
"""

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

# Records of a moment that has more than one, but for those that say word for word what one before them said.
CONTESTED: Final = """
    WITH shared AS (
        SELECT person_id, time FROM kmexport.merged WHERE kind <> 'alias' GROUP BY ALL HAVING count(*) > 1
    ),
    told AS (
        SELECT seq, person_id, time, counts AND kind = 'event' AS is_counted,
               row_number() OVER (PARTITION BY person_id, time, properties ORDER BY seq) AS nth
        FROM kmexport.merged JOIN shared USING (person_id, time) WHERE kind <> 'alias'
    )
    SELECT seq, nth > 1 AND NOT is_counted AS is_told FROM told
"""

DROP_LATER_PROPERTIES: Final = """
    DELETE FROM kmexport.properties WHERE rowid IN (
        SELECT row FROM (
            SELECT rowid AS row, is_counted,
                   row_number() OVER (PARTITION BY person_id, time, name_id ORDER BY seq, place) AS nth
            FROM kmexport.properties WHERE is_contested
        ) WHERE nth > 1 AND NOT is_counted
    )
"""

_CARRIED: Final = """
    seq, person_id, time, name_id AS event_id, counts AND kind = 'event' AS is_counted, kind = 'property_set' AS is_set,
    revision, line, properties
"""

# The records whose properties are looked at.
CLASSIC_RECORDS: Final = f"""
    SELECT {_CARRIED}, is_told IS NOT NULL AS is_contested
    FROM kmexport.merged LEFT JOIN kmexport.contested USING (seq)
    WHERE kind <> 'alias' AND is_told IS NOT true
"""
STRICT_RECORDS: Final = f"""
    SELECT {_CARRIED}, false AS is_contested FROM kmexport.merged WHERE kind <> 'alias' AND counts
"""

# What a value is as text, and as a number. DuckDB reads text as numbers that is none for us: nan, inf, 1_000.
READINGS: Final = """
    value->>'$' AS text,
    CASE WHEN isfinite(TRY_CAST(value->>'$' AS DOUBLE)) AND NOT contains(value, '_')
         THEN TRY_CAST(value->>'$' AS DOUBLE) END AS number
"""

PROPERTIES: Final = f"""
    SELECT seq, place, person_id, time, name, name_as_sent, value, {READINGS}, event, revision, line
    FROM kmexport.properties AS properties
    JOIN kmexport.property_names USING (spelling_id)
    LEFT JOIN kmexport.events_folded USING (event_id)
"""
