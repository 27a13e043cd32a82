"""What counts: records after merging and duplicate filtering, as tables of an embedded engine."""

from __future__ import annotations

import html
import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self, TypeAlias

import duckdb

from kmexport.identities import IdentityMap, Prefer
from kmexport.reading import OnError, check_policy
from kmexport.revisions import MARGIN, check_selecting
from kmexport.storage import Progress
from kmexport.tables.kept import Kept, describe
from kmexport.tables.needs import COLUMNS, needs_of
from kmexport.tables.rejects import Rejects
from kmexport.tables.sources import Source, check_callback, take_source
from kmexport.tables.store import Recipe, Rule, Store
from kmexport.windows import Window

__all__ = ["Facts"]

_ROWS: Final = {"people": "identities"}

Params: TypeAlias = Sequence[Any] | Mapping[str, Any]


class Facts:
    """The records of an export as tables that are merged and without duplicates, for SQL.

    `source` is a Bucket, any iterable of records, or an Arrow stream with the columns of `kmexport.tables.SCHEMA`.
    The numbers are those of `drop_duplicates(merge_identities(records, people), rule=rule)`:

    - `events`: `person`, `time`, `name` (folded), `name_as_sent`, `revision`, `line`, `properties`;
    - `properties`, a row each: `person`, `time`, `name` (folded), `name_as_sent`, `value` (JSON), `text`, `number` (of
      what is one or reads as one), `event` (folded; null for a property set), `revision`, `line`; no reserved keys;
    - `people`: `identity`, `person`: every identity that the aliases or records name;
    - `records`: what the files say, nothing merged or dropped: the columns of `SCHEMA`;
    - `rejects`: `revision`, `line`, `reason`, `raw` (bytes): what is no record, unless `on_error` is "raise".

    Nothing is read before the first query, and a table is built when a query first needs it: who counts events never
    pays for properties, and a Bucket is read a second time where a later query asks for them.

    `window` limits the records, never the aliases: those hold for all time. Of a Bucket, the files received up to
    `margin` seconds behind it are read, see `Bucket.revisions`; a lake knows the day of each of its records. `people`
    is a ready IdentityMap; without it, the aliases of the source are used, and `prefer` names the persons (see
    `IdentityMap`). `rule` is "classic" or "strict" (see `drop_duplicates`). `on_error` is "raise", "skip", or a
    callable that gets each MalformedRecordError.

    `database` keeps the tables in a file instead of memory. A file that holds these facts already is used again, and
    what is built there is not read once more; anything else in it is a FileExistsError. `memory_limit` ("4GB"),
    `threads` and `temp_directory` are DuckDB's: what does not fit in memory goes to that folder, or to a private one of
    the system's. `callback` is that of `iter_records`, for a Bucket: it is told the bytes of each reading.
    Use it from one thread at a time, others by `cursor()`; close it, or use it in a `with` statement.

    >>> from kmexport import Bucket
    >>> with Facts(Bucket.sample()) as facts:
    ...     counts = "select count(*), count(distinct person) from events"
    ...     facts.sql(f"{counts} where name = 'signed up'").fetchall()
    [(154, 136)]
    """

    def __init__(
        self,
        source: Source,
        *,
        window: Window | None = None,
        margin: int | None = MARGIN,
        people: IdentityMap | None = None,
        rule: Rule = "classic",
        prefer: Prefer = "named_first",
        on_error: OnError = "raise",
        database: str | os.PathLike[str] | None = None,
        memory_limit: str | None = None,
        threads: int | None = None,
        temp_directory: str | os.PathLike[str] | None = None,
        callback: Progress = None,
    ) -> None:
        if rule not in ("classic", "strict"):
            msg = f'rule is "classic" or "strict", not {rule!r}'
            raise ValueError(msg)
        check_policy(on_error, 1)
        check_selecting(window, margin)
        if people is not None and not hasattr(people, "resolve"):
            msg = f"people is an IdentityMap, not {type(people).__name__}: people = bucket.identities()"
            raise TypeError(msg)
        IdentityMap(prefer)  # raises for a policy that does not exist
        recipe = Recipe(take_source(source), window, margin, people, rule, prefer, callback)
        check_callback(recipe.source, callback)
        self._connection, spill = _connect(database, memory_limit, threads, temp_directory)
        self._discard: weakref.finalize[..., Facts] | None = weakref.finalize(self, _discard, spill)
        # Tables are built over a connection of their own: a transaction that is rolled back takes none away.
        own, of_rejects = self._connection.cursor(), self._connection.cursor()
        try:
            kept = None
            if database is not None:
                told = describe(recipe.source, window, people, rule, prefer, margin=margin)
                kept = Kept(own, os.fspath(database), told, recipe.source)
            self._store = Store(own, recipe, Rejects(of_rejects, on_error), kept)
        except BaseException:
            for connection in (of_rejects, own, self._connection):
                connection.close()
            self._discard()
            raise

    def sql(self, query: str, params: Params | None = None) -> duckdb.DuckDBPyRelation:
        """The answer to a query, as a DuckDB relation: `.show()`, `.fetchall()`, `.df()`, `.pl()`, `.arrow()`.

        `params` are the values of `?` or `$name` in it. What the query needs is built first. An unknown table or
        column is DuckDB's error, before anything is read. Of several statements the last one's answer is given.

        >>> from kmexport import Event
        >>> facts = Facts([Event("bob", 1349222400, "Signed Up")])
        >>> query = "select person, name from events where name = ?"
        >>> facts.sql(query, ["signed up"]).fetchall()
        [('bob', 'signed up')]
        """
        statements = duckdb.extract_statements(query)
        if not statements:
            msg = "there is no statement in the query"
            raise ValueError(msg)
        if not all(statement.query for statement in statements):  # a PIVOT, for some versions: parts without a text
            self.build()
            return self._connection.sql(query, params=params)
        *before, last = statements
        for statement in before:
            self._provide(statement, None)
            self._connection.execute(statement)
        self._provide(last, params)
        return self._connection.sql(last.query, params=params)

    def _provide(self, statement: duckdb.Statement, params: Params | None) -> None:
        if not self._store.is_complete:
            with self._store.lock:
                self._store.provide(needs_of(self._connection, statement, params, self._store.connection))

    def build(self) -> Self:
        """Build every table now, and return the facts.

        >>> from kmexport import Event
        >>> Facts([Event("bob", 1349222400, "signed up")]).build()
        <Facts: 1 records, 1 identities, 1 events, 0 properties, 0 rejects>
        """
        self._store.provide({(table, "properties") for table in COLUMNS})
        return self

    @property
    def people(self) -> IdentityMap:
        """Who is who: the map that records were merged by."""
        return self._store.known_people()

    def cursor(self) -> Facts:
        """The same tables for another thread. What one of them builds, all of them have."""
        other = object.__new__(type(self))
        other._store = self._store
        other._connection = self._connection.cursor()
        other._discard = None
        return other

    def close(self) -> None:
        """Give back the memory, and the files that hold what did not fit."""
        self._connection.close()
        if self._discard is not None:
            self._store.close()
            self._discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        counted = {table: self._count(table) for table in COLUMNS}
        told = [f"{count} {_ROWS.get(table, table)}" for table, count in counted.items() if count is not None]
        return f"<Facts: {', '.join(told) or 'nothing read yet'}>"

    def _repr_html_(self) -> str:
        rows = []
        for table, columns in COLUMNS.items():
            count = self._count(table)
            cells = (table, "not built yet" if count is None else count, ", ".join(columns))
            rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
        return f"<table><tr><th>table</th><th>rows</th><th>columns</th></tr>{''.join(rows)}</table>"

    def _count(self, table: str) -> str | None:
        if (table if table in ("events", "properties") else "records") not in self._store.built:
            return None
        return f"{self._connection.execute(f'SELECT count(*) FROM main.{table}').fetchall()[0][0]:,}"


def _discard(spill: str | None) -> None:
    if spill is not None:
        shutil.rmtree(spill, ignore_errors=True)


def _connect(
    database: str | os.PathLike[str] | None,
    memory_limit: str | None,
    threads: int | None,
    temp_directory: str | os.PathLike[str] | None,
) -> tuple[duckdb.DuckDBPyConnection, str | None]:
    """The database, and the private folder for what does not fit in memory."""
    own = None if temp_directory is not None else tempfile.mkdtemp(prefix="kmexport-")
    config: dict[str, Any] = {
        "temp_directory": own or os.fspath(temp_directory or ""),
        # A name that is no table is an error, never a variable of the caller's that happens to be called so.
        "python_enable_replacements": False,
    }
    config |= {"memory_limit": memory_limit} if memory_limit is not None else {}
    config |= {"threads": threads} if threads is not None else {}
    try:
        connection = duckdb.connect(":memory:" if database is None else os.fspath(database), config=config)
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
    except BaseException:
        if own is not None:
            shutil.rmtree(own, ignore_errors=True)
        raise
    return connection, own
