"""What facts were told not to read: a query that asks for it gets an error, never an empty answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import duckdb

from kmexport.columns.schema import without_halves
from kmexport.errors import FactsLeftOutError
from kmexport.facts.source import FactsSpec
from kmexport.format.names import fold_name

Params: TypeAlias = Sequence[Any] | Mapping[str, Any]

# What DuckDB says of a table or a column that is not there.
_MISSING: Final = re.compile(r'\b(name|table|column named|column|key) "?(?:numbered_)?(\w+)')
# The columns that hold names, and what they name.
_NAMES: Final = {
    ("events", "name"): "event",
    ("events", "name_as_sent"): "event",
    ("properties", "event"): "event",
    ("properties", "name"): "property",
    ("properties", "name_as_sent"): "property",
}
_EQUAL: Final = ("COMPARE_EQUAL", "COMPARE_NOT_DISTINCT_FROM", "COMPARE_IN")


def check_table(spec: FactsSpec, error: duckdb.Error) -> None:
    """Raise FactsLeftOutError where DuckDB misses a table or a column that was left out."""
    left_out = spec.left_out()
    for place, name in _MISSING.findall(str(error).partition("\n")[0]):
        what = "table" if place in ("name", "table") else "column"
        key = name if what == "table" else f"events.{name}"
        if key in left_out:
            what = f"the {what} {name}"
            raise FactsLeftOutError(what, left_out[key]) from error


def check_name(spec: FactsSpec, kind: str, name: str) -> None:
    """Raise FactsLeftOutError for an event or a property that was not read."""
    argument, read = ("names", spec.names) if kind == "event" else ("properties", spec.properties)
    if read is None or read is True or (read and without_halves(fold_name(name)) in read):
        return
    shown = sorted(read) if read else [] if kind == "event" else False
    what = f"the {kind} {name!r}"
    raise FactsLeftOutError(what, f"{argument}={shown}")


def check_query(spec: FactsSpec, connection: duckdb.DuckDBPyConnection, query: str, params: Params | None) -> None:
    """Raise FactsLeftOutError for a query that compares a name with one that was not read.

    What counts is `=` or `in` between a column of names of `events` or `properties` and a text or a parameter, where
    the query itself says which table the column is of. Names in other expressions are not looked at.
    """
    if spec.names is None and isinstance(spec.properties, bool):
        return
    ((spelt,),) = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
    tree = json.loads(spelt)
    if not tree["error"]:  # DuckDB spells SELECT statements only
        for kind, name in _compared(tree["statements"], {}, set(_ctes(tree["statements"])), params):
            if kind == "event" or spec.properties is not False:
                check_name(spec, kind, name)


def _ctes(tree: Any) -> Iterator[str]:
    """Give the names that a query gives to tables of its own."""
    for node in _inside(tree):
        yield from (entry["key"] for entry in node.get("cte_map", {}).get("map", ()))
        yield from _ctes(list(node.values()))


def _compared(
    tree: Any, tables: Mapping[str, str | None], ctes: set[str], params: Params | None
) -> Iterator[tuple[str, str]]:
    """Give the names with which a query compares columns, each with what it names."""
    for node in _inside(tree):
        own = dict(_tables(node["from_table"], ctes)) if node.get("type") == "SELECT_NODE" else tables
        if node.get("type") in _EQUAL:
            sides = [node["left"], node["right"]] if "left" in node else node["children"]
            kinds = {kind for side in sides if (kind := _kind(side, own)) is not None}
            names = [name for side in sides if (name := _text(side, params)) is not None]
            yield from ((kind, name) for kind in kinds for name in names)
        yield from _compared(list(node.values()), own, ctes, params)


def _inside(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    elif isinstance(tree, list):
        for part in tree:
            yield from _inside(part)


def _tables(node: Any, ctes: set[str]) -> Iterator[tuple[str, str | None]]:
    """Give what FROM names: the table of facts that it is, None for anything else."""
    if node["type"] == "JOIN":
        yield from _tables(node["left"], ctes)
        yield from _tables(node["right"], ctes)
    elif node["type"] != "EMPTY":
        name = node.get("table_name", "")
        is_table = node["type"] == "BASE_TABLE" and name not in ctes and node.get("schema_name") in (None, "", "main")
        yield node.get("alias") or name, name.lower() if is_table else None


def _kind(node: Any, tables: Mapping[str, str | None]) -> str | None:
    """Tell what a column names; None for another expression, or where only DuckDB can tell whose column it is."""
    if node.get("class") != "COLUMN_REF":
        return None
    *table, column = [name.lower() for name in node["column_names"]]
    if table:
        return _NAMES.get((tables.get(table[-1]) or "", column))
    kinds = {_NAMES.get((one, column)) for one in tables.values() if one is not None} - {None}
    return kinds.pop() if len(kinds) == 1 and None not in tables.values() else None


def _text(node: Any, params: Params | None) -> str | None:
    """Return the text that a constant or a parameter is."""
    value = None
    if node.get("class") == "CONSTANT":
        # The place differs by version.
        value = node.get("literal", {}).get("text") if "literal" in node else node["value"].get("value")
        kind = node["literal"]["kind"] if "literal" in node else node["value"]["type"]["id"]
        value = value if kind in ("STRING", "VARCHAR") else None
    elif node.get("class") == "PARAMETER" and params is not None:
        name = node["identifier"]
        if isinstance(params, Mapping):
            value = params.get(name)
        elif name.isdecimal() and int(name) <= len(params):
            value = params[int(name) - 1]
    return value if isinstance(value, str) else None
