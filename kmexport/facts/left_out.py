"""What facts were told not to read: a query that asks for it gets an error, never an empty answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any, Final, TypeAlias

import duckdb
from attrs import evolve, field, frozen

from kmexport.columns.schema import without_halves
from kmexport.errors import FactsLeftOutError
from kmexport.facts.source import FactsSpec
from kmexport.format.names import fold_name

Params: TypeAlias = Sequence[Any] | Mapping[str, Any]
_Columns: TypeAlias = Mapping[str, str | None]  # what a table's columns name; None for those that name nothing

# What DuckDB says of a table or a column that is not there.
_MISSING: Final = re.compile(r'\b(name|table|column named|column|key) "?(?:numbered_)?(\w+)')
# The columns that hold names, and what they name.
_NAMES: Final[Mapping[str, _Columns]] = {
    "events": {"name": "event", "name_as_sent": "event"},
    "properties": {"event": "event", "name": "property", "name_as_sent": "property"},
}
_OTHERS: Final[_Columns] = {"*": None}  # there may be more columns, of any name
_LEFT_ONLY: Final = ("SEMI", "ANTI")  # joins that show the left table alone
_KNOW_ALIASES: Final = ("modifiers", "having", "qualify")  # the parts of a query that know the columns it makes
_EQUAL: Final = ("COMPARE_EQUAL", "COMPARE_NOT_DISTINCT_FROM")
_LISTS: Final = ("list_value", "list_pack", "array_value", "unnest")  # the functions that `[…]` and `any(…)` stand for
_HAS: Final = ("contains", "list_contains", "list_has", "array_contains", "array_has")  # `in […]` stands for the first


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
    read = spec.names if kind == "event" else spec.properties
    if read is None or read is True or (read and without_halves(fold_name(name)) in read):
        return
    what = f"the {kind} {name!r}"
    raise FactsLeftOutError(what, spec.made_with("names" if kind == "event" else "properties"))


def check_query(spec: FactsSpec, connection: duckdb.DuckDBPyConnection, query: str, params: Params | None) -> None:
    """Raise FactsLeftOutError for a query that compares a name with one that was not read.

    What counts is `=`, `in` or `= any` between a text, a list of texts or a parameter, and a column of names of
    `events` or `properties`, also where a subquery or `with` passes it on under its name. Names in other expressions
    are not looked at. Of a statement that is not a query, the queries within it count.
    """
    if spec.names is None and isinstance(spec.properties, bool):
        return
    scope = _Scope(_known_tables(connection))
    for tree, values in _trees(connection, query, params):
        for kind, name in _compared(tree, scope, values):
            if kind == "event" or spec.properties is not False:
                check_name(spec, kind, name)


def _known_tables(connection: duckdb.DuckDBPyConnection) -> dict[str, _Columns]:
    """Return the tables that are there, the user's own too, with what each column names. Temporary ones come first."""
    found: dict[bool, dict[str, dict[str, str | None]]] = {False: {}, True: {}}
    query = """
        SELECT database_name = 'temp', lower(table_name), lower(column_name) FROM duckdb_columns()
        WHERE schema_name = 'main' AND database_name IN ('temp', current_database()) AND NOT internal
    """
    for is_temporary, table, column in connection.execute(query).fetchall():
        names = {} if is_temporary else _NAMES.get(table, {})
        found[is_temporary].setdefault(table, {})[column] = names.get(column)
    return {**found[False], **found[True]}


def _trees(
    connection: duckdb.DuckDBPyConnection, query: str, params: Params | None
) -> Iterator[tuple[Any, Params | None]]:
    """Give the tree of a query, or those of the queries within another statement, and the parameters of each."""
    spelt, reached = query.encode(), 0
    for start, end, marks in chain([(0, len(spelt), 0)], _parts(query)):
        if start >= reached:
            part = spelt[start:end].decode()
            ((told,),) = connection.execute("SELECT json_serialize_sql(?)", [part]).fetchall()
            tree = json.loads(told)
            if not tree["error"]:  # DuckDB spells SELECT statements only
                yield tree["statements"], params if params is None or isinstance(params, Mapping) else params[marks:]
                reached = end
        if reached == len(spelt):
            return


def _parts(query: str) -> Iterator[tuple[int, int, int]]:
    """Give the parts that may be queries: the first byte and the last, and how many `?` come before."""
    spelt = query.encode()
    starts = [start for start, _ in duckdb.tokenize(query)]
    words = [spelt[start:end].strip().lower() for start, end in pairwise([*starts, len(spelt)])]
    for number, word in enumerate(words):
        if word in (b"select", b"from", b"with"):
            depths = accumulate((later == b"(") - (later == b")") for later in words[number:])
            closed = (start for start, depth in zip(starts[number:], depths, strict=True) if depth < 0)
            yield starts[number], next(closed, len(spelt)), words[:number].count(b"?")


@frozen
class _Scope:
    """The meaning of names in a part of a query.

    `own` are the tables in its FROM; `around` are these and those of the queries around. `known` are the tables that
    are there, and CTEs. `aliases` are the columns that the part itself makes.
    """

    known: Mapping[str, _Columns]
    own: Mapping[str, _Columns] = field(factory=dict)
    around: Mapping[str, _Columns] = field(factory=dict)
    aliases: _Columns = field(factory=dict)

    def within(self, node: dict[str, Any]) -> _Scope:
        """Return the scope inside a node of the tree."""
        scope = self
        for entry in node.get("cte_map", {}).get("map", ()):
            value = entry["value"]
            # The place differs by version, here and below.
            query = value["query_node"] if "query_node" in value else value["query"]["node"]
            columns = _OTHERS if value.get("aliases") else scope.passed_on(query)
            scope = evolve(scope, known={**scope.known, entry["key"].lower(): columns})
        if node.get("type") == "SELECT_NODE":
            scope = scope.of(scope.tables(node["from_table"]))
        elif node.get("type") == "JOIN":  # its condition
            scope = scope.of(chain(scope.tables(node["left"]), scope.tables(node["right"])))
        return scope

    def of(self, tables: Iterable[tuple[str, _Columns]]) -> _Scope:
        """Return the scope of a part with these tables of its own."""
        own = dict(tables)
        return _Scope(self.known, own, {**self.around, **own}) if own else self

    def tables(self, node: dict[str, Any]) -> Iterator[tuple[str, _Columns]]:
        """Give what FROM names, with its columns, as far as the query and the tables that are there tell them."""
        if node["type"] == "JOIN":
            yield from self.tables(node["left"])
            if node["join_type"] not in _LEFT_ONLY:
                yield from self.tables(node["right"])
        elif node["type"] != "EMPTY":
            name, schema = node.get("table_name", "").lower(), node.get("schema_name")
            columns = _OTHERS
            if node["type"] == "SUBQUERY":
                columns = self.passed_on(node["subquery"]["node"])
            elif node["type"] == "BASE_TABLE" and schema in (None, "", "main"):
                columns = (_NAMES if schema else self.known).get(name, _OTHERS)
            yield (node.get("alias") or name).lower(), _OTHERS if node.get("column_name_alias") else columns

    def passed_on(self, query: dict[str, Any]) -> _Columns:
        """Return the columns that a query is known to give, each with what it names; of one name the first."""
        if query["type"] != "SELECT_NODE":
            return _OTHERS
        scope = self.within(query)
        found: _Columns = {}
        for column in query["select_list"]:
            if column["class"] == "STAR":
                of = (column.get("relation_name") or "").lower()
                # What EXCLUDE, REPLACE or RENAME names is not the column any more.
                lists = [value for key, value in column.items() if key.endswith("_list")]
                changed = set(re.findall(r"\w+", json.dumps(lists).lower()))
                tables = [columns for table, columns in scope.own.items() if of in ("", table)]
                for columns in [_OTHERS] if column.get("columns") or not tables else tables:
                    found = _behind(found, {name: kind for name, kind in columns.items() if name not in changed})
            else:
                found = _behind(found, scope.made(column))
        return found

    def made(self, column: dict[str, Any]) -> _Columns:
        """Return the column that an expression of a select list makes."""
        return {(column.get("alias") or column.get("column_names", [""])[-1]).lower(): self.kind(column)}

    def with_aliases(self, query: dict[str, Any]) -> _Scope:
        """Return the scope of ORDER BY and HAVING, which know the columns that the query makes."""
        columns = [self.made(column) for column in query["select_list"] if column.get("alias")]
        return evolve(self, aliases=dict(chain.from_iterable(one.items() for one in columns)))

    def kind(self, node: dict[str, Any]) -> str | None:
        """Tell what a column names; None for another expression, or where only DuckDB can tell whose column it is."""
        if node.get("class") != "COLUMN_REF":
            return None
        *table, column = [name.lower() for name in node["column_names"]]
        if table:
            return self.around.get(table[-1], {}).get(column)
        if column in self.aliases:
            return self.aliases[column]
        kinds = {columns[column] for columns in self.own.values() if column in columns}
        return kinds.pop() if len(kinds) == 1 else None


def _behind(first: _Columns, others: _Columns) -> _Columns:
    """Return columns of two tables: of one name the first has it, and may have it where not all of its are known."""
    return {**{name: None if "*" in first else kind for name, kind in others.items()}, **first}


def _compared(tree: Any, scope: _Scope, params: Params | None) -> Iterator[tuple[str, str]]:
    """Give the names with which a query compares columns, each with what it names."""
    for node in _inside(tree):
        inner = scope.within(node)
        for left, right in _sides(node, params):
            yield from _named(left, right, inner, params)
        late = _KNOW_ALIASES if node.get("type") == "SELECT_NODE" else ()
        if late:
            yield from _compared([node.get(part) for part in late], inner.with_aliases(node), params)
        yield from _compared([value for part, value in node.items() if part not in late], inner, params)


def _inside(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    elif isinstance(tree, list):
        for part in tree:
            yield from _inside(part)


def _sides(node: dict[str, Any], params: Params | None) -> Iterator[tuple[Any, Any]]:
    """Give what a comparison says to be equal."""
    if node.get("type") in _EQUAL:
        yield node["left"], node["right"]
    elif node.get("type") == "COMPARE_IN":
        wanted, *given = _children(node)
        yield from ((wanted, one) for one in given)
    elif node.get("class") == "SUBQUERY" and node.get("comparison_type") in _EQUAL:
        query = node["subquery"]["node"]  # of `= any(list)`: SELECT unnest(list)
        if query.get("from_table", {}).get("type") == "EMPTY":
            yield from ((node["child"], one) for one in query["select_list"])
    elif _function(node) in _HAS and len(given := _children(node)) == 2 and isinstance(_value(given[0], params), list):
        yield given[1], given[0]


def _named(left: Any, right: Any, scope: _Scope, params: Params | None) -> Iterator[tuple[str, str]]:
    """Give the names that one side has for the columns of the other. Rows are compared one column at a time."""
    left, right = _bare(left), _bare(right)
    if _function(left) == _function(right) == "row":
        for one, other in zip(_children(left), _children(right), strict=False):
            yield from _named(one, other, scope, params)
    for column, given in ((left, right), (right, left)):
        if (kind := scope.kind(column)) is not None:
            value = _value(given, params)
            names = value if isinstance(value, list) else [value]
            yield from ((kind, name) for name in names if isinstance(name, str))


def _function(node: Any) -> str:
    return str(node.get("function_name", "")).lower()


def _children(node: Any) -> list[Any]:
    return node["children"] if "children" in node else [one["expression"] for one in node["arguments"]]


def _bare(node: Any) -> Any:
    while node.get("class") == "CAST":
        node = node["child"]
    return node


def _value(node: Any, params: Params | None) -> Any:
    """Return the text, or the list of texts, that an expression is; None for another."""
    node = _bare(node)
    if _function(node) in _LISTS or node.get("type") == "ARRAY_CONSTRUCTOR":
        values = [_value(child, params) for child in _children(node)]
        return [one for value in values for one in (value if isinstance(value, list) else [value])]
    value = None
    if node.get("class") == "CONSTANT":
        value = node.get("literal", {}).get("text") if "literal" in node else node["value"].get("value")
        kind = node["literal"]["kind"] if "literal" in node else node["value"]["type"]["id"]
        value = value if kind in ("STRING", "VARCHAR") else None
    elif node.get("class") == "PARAMETER" and params is not None:
        name = node["identifier"]
        if isinstance(params, Mapping):
            value = next((one for key, one in params.items() if key.lower() == name.lower()), None)
        elif name.isdecimal() and int(name) <= len(params):
            value = params[int(name) - 1]
    return list(value) if isinstance(value, tuple) else value
