"""What counts: records after merging and duplicate filtering, as tables of an embedded engine."""

from __future__ import annotations

import html
import os
import shutil
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, Final, NoReturn, Self

import duckdb

from kmexport.arguments import address_of, check_type
from kmexport.columns.schema import Properties, without_halves
from kmexport.facts.database_file import Kept, describe
from kmexport.facts.engine import check_settings, connect, engine_errors
from kmexport.facts.frame import as_types, check_known, frame_query, narrowest_types
from kmexport.facts.left_out import Params, check_name, check_query, check_table
from kmexport.facts.loading import Rejects
from kmexport.facts.source import FactsSpec, Source, check_reading, take_source
from kmexport.facts.sql import COLUMNS
from kmexport.facts.store import Store
from kmexport.format.names import fold_name
from kmexport.parsing.records import OnError, check_policy
from kmexport.parsing.selection import Names
from kmexport.revisions.listing import MARGIN, check_selecting
from kmexport.steps.duplicates import Rule, check_rule
from kmexport.steps.identities import IdentityMap, Prefer
from kmexport.storage.credentials import redact
from kmexport.storage.open_files import Progress
from kmexport.windows import Window

__all__ = ["Facts"]

_ROWS: Final = {"people": "identities"}
_READS_NOTHING: Final = (duckdb.StatementType.SET,)


class Facts:
    """The records of an export as tables that are merged and without duplicates, for SQL.

    `source` is a Bucket, a lake, the address of either, any iterable of records, or an Arrow stream with the columns of
    `kmexport.tables.SCHEMA`. The tables are:

    - `events`: `person`, `time`, `name` (folded), `name_as_sent`, `revision`, `line`, `properties` (as sent);
    - `properties`, a row each: `person`, `time`, `name` (folded), `name_as_sent`, `value` (JSON), `text`, `number` (of
      what is one or reads as one), `event` (folded; null for a property set, and for what is left of a duplicate
      event), `revision`, `line`; no reserved keys and no nulls, of two spellings in one record the first;
    - `people`: `identity`, `person`: every identity that the aliases or records name;
    - `records`: what the files say, nothing merged or dropped: the columns of `SCHEMA`;
    - `rejects`: `revision`, `line`, `reason`, `raw` (bytes): rejected lines, unless `on_error` is "raise".

    The source is read once, at the first query, whole as asked. Ask for less and it costs less: `names=` limits
    `events` to these names, and `properties=` is True, False, or names of properties, which are read from every record
    that carries them. A query for a table or a column that was left out is a FactsLeftOutError.

    `rule` is "classic" (of events of one person, second and name the first counts, and of properties of one person,
    second and name the first, whatever record it stands on) or "strict" (whole records that are equal), see
    `drop_duplicates`. `window` limits the records, never the aliases: those hold for all time, and the other files of
    an export are read for them. `margin` is that of `Bucket.revisions`. `identities` is a ready IdentityMap; without
    it, the aliases of the source are used, and `prefer` names the persons (see `IdentityMap`). `on_error` is "raise",
    "skip", or a callable that gets each MalformedRecordError.

    `database` keeps the tables in a file instead of memory. A file that holds these facts already is used again, and
    nothing is read; anything else in it is an OtherFactsError. `memory_limit` ("4GB"), `threads` and `temp_directory`
    are DuckDB's: what does not fit in memory goes to that folder, or to a private one of the system's. Raises
    FactsDatabaseError and FactsMemoryError where files, folders or memory don't do.

    `callback` is that of `iter_records`. With `executor` and `ahead`, those of `Bucket.to_batches`, workers read the
    files, and this process loads what they give. All three are for a Bucket. Use Facts from one thread at a time,
    others by `cursor()`; close it, or use it in a `with` statement.

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
        names: Names = None,
        properties: bool | Iterable[str] = True,
        identities: IdentityMap | None = None,
        rule: Rule = "classic",
        prefer: Prefer = "named_first",
        on_error: OnError = "raise",
        database: str | os.PathLike[str] | None = None,
        memory_limit: str | None = None,
        threads: int | None = None,
        temp_directory: str | os.PathLike[str] | None = None,
        callback: Progress = None,
        executor: Executor | None = None,
        ahead: int | None = None,
    ) -> None:
        check_rule(rule)
        check_policy(on_error, 1)
        check_selecting(window, margin)
        if identities is not None and not hasattr(identities, "identities_of"):
            msg = f"identities is an IdentityMap, not {type(identities).__name__}: identities = bucket.identities()"
            raise TypeError(msg)
        IdentityMap(prefer)  # raises for a policy that does not exist
        wanted_names = None if names is None else _folded(names, "names")
        wanted_properties = properties if isinstance(properties, bool) else _folded(properties, "properties")
        self._spec = FactsSpec(
            source=take_source(source),
            window=window,
            margin=margin,
            names=wanted_names,
            properties=wanted_properties,
            identities=identities,
            rule=rule,
            prefer=prefer,
            callback=callback,
            executor=executor,
            ahead=ahead,
        )
        check_reading(self._spec)
        check_settings(memory_limit, threads)
        file = None if database is None else _local_file(database)
        spill = None if temp_directory is None else address_of(temp_directory)
        self._is_closed = False
        self._connection, self._spill, private = connect(file, memory_limit, threads, spill)
        self._discard: weakref.finalize[..., Facts] | None = weakref.finalize(self, _discard, private)
        # Tables are built over a connection of their own: a transaction that is rolled back takes none away.
        own, of_rejects = self._connection.cursor(), self._connection.cursor()
        try:
            with engine_errors(self._spill):
                kept = None if file is None else Kept(own, file, describe(self._spec), self._spec.source)
                self._store = Store(own, self._spec, Rejects(of_rejects, on_error), kept)
        except BaseException:
            for connection in (of_rejects, own, self._connection):
                connection.close()
            self._discard()
            raise

    def sql(self, query: str, params: Params | None = None) -> duckdb.DuckDBPyRelation:
        """Return the answer to a query, as a DuckDB relation: `.show()`, `.fetchall()`, `.df()`, `.pl()`, `.arrow()`.

        `params` are the values of `?` or `$name` in it. The first query reads the source. An unknown table or column is
        DuckDB's error, before anything is read; one that was left out is a FactsLeftOutError. So is a name that
        `names=` or `properties=` left out, where the query compares it by `=`, `in` or `= any` with a column of names:
        `name` or `name_as_sent`, or `event` of properties; a `like` finds nothing. Of several statements the last one's
        answer is given.

        >>> from kmexport import Event
        >>> facts = Facts([Event("bob", 1349222400, "Signed Up")])
        >>> query = "select person, name from events where name = ?"
        >>> facts.sql(query, ["signed up"]).fetchall()
        [('bob', 'signed up')]
        """
        check_type("query", query, str, "text")
        if params is not None:
            check_type("params", params, (Sequence, Mapping), "a list of values, or a dict for $names")
        with self._errors():
            return self._answer(query, params)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        self._check_open()
        with engine_errors(self._spill):
            try:
                yield
            except (duckdb.CatalogException, duckdb.BinderException) as error:
                check_table(self._spec, error)
                raise

    def _rows(self, query: str, params: Params | None) -> list[tuple[Any, ...]]:
        """Answer a query over the tables of the schema kmexport: reports say themselves which names they compare."""
        query, params = without_halves(query), _shown(params)
        with self._errors():
            if not self._store.is_built:
                self._connection.execute(f"EXPLAIN {query}", params).fetchall()  # as in `_answer`
                self._store.build()
            return self._connection.execute(query, params).fetchall()

    def _answer(self, query: str, params: Params | None) -> duckdb.DuckDBPyRelation:
        # Tables show half of a surrogate pair as its escape, and the engine takes no other text.
        query, params = without_halves(query), _shown(params)
        statements = duckdb.extract_statements(query)
        if not statements:
            msg = "there is no statement in the query"
            raise ValueError(msg)
        for statement in statements:
            check_query(self._spec, self._connection, statement.query, params if statement is statements[-1] else None)
        if not self._store.is_built and any(statement.type not in _READS_NOTHING for statement in statements):
            first = statements[0]
            if first.type == duckdb.StatementType.SELECT and first.query:
                # Nothing is read for a query that has no answer.
                values = params if len(statements) == 1 else None
                self._connection.execute(f"EXPLAIN {first.query}", values).fetchall()
            self._store.build()
        if not all(statement.query for statement in statements):  # a PIVOT, for some versions: parts without a text
            return self._connection.sql(query, params=params)
        *before, last = statements
        for statement in before:
            self._connection.execute(statement).fetchall()
        return self._connection.sql(last.query, params=params)

    def frame(
        self, properties: Properties | None = None, *, events: str | Iterable[str] | None = None
    ) -> duckdb.DuckDBPyRelation:
        """Return a flat table: a row for each event in the order of time, a column for each property, by folded names.

        The columns are `person`, `time`, `name`, and `properties`: all of them, the ones that you name, or a mapping of
        names to Arrow types (`pa.float64()`). Where no type is given, the values decide: truth, whole numbers, numbers,
        and text, whichever loses nothing of any value in these facts; so give types where next month's table must have
        the same. What does not fit a type is null. `events` limits the rows to events of these names.

        A property's value is the one that counts in the event's second, as in the reports: amounts of one event add up
        to those of `reports.property_total`. With several `events` a value stands in each row of its second. (By the
        strict rule it is the event's own.) A property called `time` has the column `time (property)`.
        Facts that were made with `properties=False` have the first three columns.

        It is a DuckDB relation, as that of `sql`: `.df()`, `.pl()`, `.to_arrow_table()`, `.write_parquet(path)`. Raises
        UnknownNameError for a name that no record has. Costs one pass over the rows of these properties; the rows come
        as they are asked for.

        >>> from kmexport import Event
        >>> bought = Event("bob", 1349222400, "purchased", {"Plan": "Pro", "Amount": "9.50"})
        >>> facts = Facts([bought])
        >>> table = facts.frame(["plan", "amount"], events="purchased")
        >>> table.columns
        ['person', 'time', 'name', 'plan', 'amount']
        >>> table.fetchall()[0][2:]
        ('purchased', 'Pro', 9.5)
        """
        names = None if events is None else _folded(events, "events")
        types = None if properties is None else as_types(properties)
        for name in names or ():
            self.check_read(event=name)
        for name in types or ():
            self.check_read(property=name)
        self.build()
        with engine_errors(self._spill):
            check_known(self._connection, "event", names or ())
            check_known(self._connection, "property", types or ())
            has_rows = self._spec.properties is not False
            found = narrowest_types(self._connection, None if types is None else list(types)) if has_rows else {}
            chosen = found if types is None else {name: str(kind or found[name]) for name, kind in types.items()}
            query, params = frame_query(chosen, with_names=names is not None, is_strict=self._spec.rule == "strict")
            if names is not None:
                params["events"] = sorted(names)
            return self._connection.sql(query, params=params)

    def check_read(self, *, event: str | None = None, property: str | None = None) -> None:  # noqa: A002
        """Raise a FactsLeftOutError for an event or a property that these facts were not asked to read.

        For reports: a query can't tell a name that was left out from one that no record has.

        >>> from kmexport import Event
        >>> facts = Facts([Event("bob", 1349222400, "Signed Up")], names=["signed up"])
        >>> facts.check_read(event="purchased")
        Traceback (most recent call last):
            ...
        kmexport.errors.FactsLeftOutError: the event 'purchased' was not read: these facts were made with names=...
        """
        for kind, name in (("event", event), ("property", property)):
            if name is not None:
                check_name(self._spec, kind, name)

    def build(self) -> Self:
        """Read the source and build every table now, and return the facts.

        >>> from kmexport import Event
        >>> Facts([Event("bob", 1349222400, "signed up")]).build()
        <Facts: 1 records, 1 identities, 1 events, 0 properties, 0 rejects; duplicates: 0 events, 0 properties>
        """
        self._check_open()
        with engine_errors(self._spill):
            self._store.build()
        return self

    @property
    def people(self) -> IdentityMap:
        """The map of who is who, by which records were merged."""
        self._check_open()
        with engine_errors(self._spill):
            return self._store.known_people()

    def cursor(self) -> Facts:
        """Return the same tables for another thread."""
        self._check_open()
        other = object.__new__(type(self))
        other._is_closed = False
        other._spec, other._store, other._spill = self._spec, self._store, self._spill
        other._connection = self._connection.cursor()
        other._discard = None
        return other

    def close(self) -> None:
        """Give back the memory, and the files that hold what did not fit."""
        self._is_closed = True
        self._connection.close()
        if self._discard is not None:
            self._store.close()
            self._discard()

    def _check_open(self) -> None:
        if self._is_closed or self._store.is_closed:
            msg = "these facts are closed: make them anew, and ask before close() or inside the with statement"
            raise ValueError(msg)

    def __reduce__(self) -> NoReturn:
        msg = "Facts can't be copied or sent: cursor() is for another thread, database= keeps them for another process"
        raise TypeError(msg)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._is_closed or self._store.is_closed:
            return "<Facts: closed>"
        if not self._store.is_built:
            return "<Facts: nothing read yet>"
        told = [f"{self._count(table)} {_ROWS.get(table, table)}" for table in self._tables()]
        ((events, properties),) = self._connection.execute("FROM kmexport.duplicates").fetchall()
        return f"<Facts: {', '.join(told)}; duplicates: {events:,} events, {properties:,} properties>"

    def _repr_html_(self) -> str:
        if self._is_closed or self._store.is_closed:
            return "<p>Facts: closed</p>"
        left_out = self._spec.left_out()
        rows = []
        for table in self._tables():
            columns = ", ".join(column for column in COLUMNS[table] if f"{table}.{column}" not in left_out)
            cells = (table, self._count(table) if self._store.is_built else "not read yet", columns)
            rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
        return f"<table><tr><th>table</th><th>rows</th><th>columns</th></tr>{''.join(rows)}</table>"

    def _tables(self) -> list[str]:
        return [table for table in COLUMNS if table not in self._spec.left_out()]

    def _count(self, table: str) -> str:
        return f"{self._connection.execute(f'SELECT count(*) FROM main.{table}').fetchall()[0][0]:,}"


def _local_file(database: str | os.PathLike[str]) -> str:
    file = address_of(database)
    if not file or "://" in file:
        msg = f"database is the path of a file on this machine, not {redact(file)!r}; without it, facts are in memory"
        raise ValueError(msg)
    return file


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return without_halves(value)
    if isinstance(value, list | tuple):
        return [_shown(one) for one in value]
    return {name: _shown(one) for name, one in value.items()} if isinstance(value, Mapping) else value


def _folded(names: str | Iterable[str], what: str) -> frozenset[str]:
    asked: list[Any] = list(names) if isinstance(names, Iterable) and not isinstance(names, str) else [names]
    for name in asked:
        if not isinstance(name, str):
            msg = f"{what} are strings, not {name!r}"
            raise TypeError(msg)
    return frozenset(without_halves(fold_name(name)) for name in asked)


def _discard(spill: str | None) -> None:
    if spill is not None:
        shutil.rmtree(spill, ignore_errors=True)
