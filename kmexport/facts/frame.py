"""The flat table of `Facts.frame`: a row for each event, a column for each property that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import pyarrow as pa
from duckdb import DuckDBPyConnection

from kmexport.arguments import check_list
from kmexport.columns.schema import Properties, choose_columns, without_halves
from kmexport.errors import UnknownNameError
from kmexport.facts.sql import number_of
from kmexport.format.names import closest_names, different_names

_OWN: Final = ("person", "time", "name")
# The narrowest type that loses nothing: 007 stays text, and so does a number with more digits than a double holds.
_NARROWEST: Final = r"""
    CASE WHEN bool_and(value IN ('true', 'false')) THEN 'bool'
         WHEN bool_and(number IS NOT NULL AND abs(number) < 1e15 AND NOT regexp_matches(text, '^\s*[+-]?0\d'))
         THEN CASE WHEN bool_and(regexp_full_match(text, '-?\d+')) THEN 'int64' ELSE 'double' END
         ELSE 'string' END
"""
_CASTS: Final = {
    "string": "{0}",
    "bool": "CASE {0} WHEN 'true' THEN true WHEN 'false' THEN false END",
    "double": number_of("{0}"),
}


def as_types(properties: Properties) -> dict[str, Any]:
    """Return the folded names of properties with the Arrow types that are asked for; None where values decide.

    Raises TypeError for a name that is not text, and for a type that no column can have; ValueError for a
    decimal whose digits the engine can not have.
    """
    names = [properties] if isinstance(properties, str) else properties
    check_list("properties", names)
    asked = names if isinstance(names, Mapping) else dict.fromkeys(names)
    if others := [name for name in asked if not isinstance(name, str)]:
        msg = f"properties are strings, not {others[0]!r}"
        raise TypeError(msg)
    asked = {without_halves(name): kind for name, kind in asked.items()}
    layout = choose_columns((), {name: pa.string() if kind is None else kind for name, kind in asked.items()})
    for name, kind in asked.items():
        if kind is not None and str(kind) not in (*_CASTS, "int64") and not pa.types.is_decimal(kind):
            msg = f"a column of a frame is string, int64, float64, bool_ or decimal128 of Arrow, not {kind} ({name!r})"
            raise TypeError(msg)
        if kind is not None and pa.types.is_decimal(kind) and not 0 <= kind.scale <= kind.precision:
            msg = f"a decimal of a frame has a scale from 0 to its precision, not {kind} ({name!r})"
            raise ValueError(msg)
    return {column.folded: asked[column.name] for column in layout.properties}


def check_known(connection: DuckDBPyConnection, kind: str, names: Iterable[str]) -> None:
    """Raise an UnknownNameError for a folded name that no record has."""
    query = f"SELECT DISTINCT name FROM kmexport.{kind}_names WHERE name_id IS NOT NULL"
    there = {name for (name,) in connection.execute(query).fetchall()}
    for name in names:
        if name not in there:
            raise UnknownNameError(kind, name, closest_names(name, there))


def narrowest_types(connection: DuckDBPyConnection, names: Iterable[str] | None) -> dict[str, str]:
    """Return the properties, these or all in order of their names, each with the type that all its values fit in."""
    chosen = None if names is None else list(names)
    condition = "" if chosen is None else "WHERE list_contains($names, name)"
    query = f"SELECT name, {_NARROWEST} FROM main.properties {condition} GROUP BY name ORDER BY name"
    found = dict(connection.execute(query, {} if chosen is None else {"names": chosen}).fetchall())
    return found if chosen is None else {name: found.get(name, "string") for name in chosen}


def frame_query(types: Mapping[str, str], *, with_names: bool, is_strict: bool) -> tuple[str, dict[str, Any]]:
    """Return the query and its parameters, but for `$events`, the folded names where these are limited.

    By the classic rule a property has one value for each person and second, whatever record it stands on: an event
    shows that one, as the reports do. By the strict rule an event shows what it carries itself.
    """
    key = "seq" if is_strict else "person, time"
    params: dict[str, Any] = {f"p{place}": name for place, name in enumerate(types)}
    shown = [f"events.{name}" for name in _OWN]
    heads = different_names([*_OWN, *(name or "(no name)" for name in types)], " (property)")
    for place, (kind, head) in enumerate(zip(types.values(), heads[len(_OWN) :], strict=True)):
        quoted = head.replace('"', '""')
        shown.append(f'{_cast(kind, f"p{place}")} AS "{quoted}"')
    joined = ""
    if types:
        values = ", ".join(
            f"first(text ORDER BY seq) FILTER (name = $p{place}) AS p{place}" for place in range(len(types))
        )
        params["properties"] = list(types)
        joined = f"""
            LEFT JOIN (
                SELECT {key}, {values} FROM kmexport.numbered_properties
                WHERE list_contains($properties, name) GROUP BY {key}
            ) USING ({key})"""
    condition = "WHERE list_contains($events, events.name)" if with_names else ""
    query = f"""
        SELECT {", ".join(shown)} FROM kmexport.numbered_events AS events {joined} {condition}
        ORDER BY events.time, events.seq"""
    return query, params


def _cast(kind: str, text: str) -> str:
    """Return the expression for a text as a type; null where it does not fit."""
    if kind in _CASTS:
        return _CASTS[kind].format(text)
    if kind == "int64":
        type_, scale = "BIGINT", 0
    else:
        type_, scale = kind.replace("decimal128", "DECIMAL"), int(kind.rstrip(")").rpartition(",")[2])
    # DuckDB rounds: it would make 13 of 12.5. The digits tell, where there is no exponent.
    number, fitting = number_of(text), f"TRY_CAST({text} AS {type_})"
    is_exact = rf"""
        CASE WHEN contains(lower({text}), 'e') THEN {fitting}::DOUBLE = {number}
             ELSE {number} IS NOT NULL AND NOT regexp_matches({text}, '\.\d{{{scale}}}\d*[1-9]') END
    """
    return f"CASE WHEN {is_exact} THEN {fitting} END"
