"""The tables of Facts: each is built when it is first needed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

import duckdb
import pyarrow as pa
from attrs import define

from kmexport.identities import IdentityMap, Prefer
from kmexport.tables.arrivals import HEADS, WHOLE, Arrivals
from kmexport.tables.needs import COLUMNS, UNREAD, create_stand_ins
from kmexport.tables.numbers import name_identities, name_spellings
from kmexport.tables.rejects import Rejects
from kmexport.tables.rules import (
    CLASSIC_EVENTS,
    CLASSIC_RECORDS,
    CONTESTED,
    DROP_LATER_PROPERTIES,
    MERGED,
    PROPERTIES,
    STRICT_CANDIDATES,
    STRICT_RECORDS,
    UNCOUNT,
)
from kmexport.tables.schema import JSON
from kmexport.tables.sources import Export, Source, open_batches, reads_again
from kmexport.tables.streams import insert
from kmexport.tables.strict import repeated_records
from kmexport.tables.unnest import UNNESTED, PropertyNames, unnest
from kmexport.windows import Window

__all__ = ["Recipe", "Rule", "Store"]

Rule: TypeAlias = Literal["classic", "strict"]

_UNNESTED_ROWS: Final = 32_768

logger: logging.Logger = logging.getLogger("kmexport")


@define
class Recipe:
    """What facts are made of, and how."""

    source: Source
    window: Window | None
    people: IdentityMap | None
    rule: Rule
    prefer: Prefer


class Store:
    """The tables, and how far they are built.

    One table, kmexport.records, holds what records and events show: a record and whether it counts. Its texts are
    numbers of kmexport.identities, which knows the persons, and kmexport.event_names. It is read without properties
    first, where the source can be read again.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, recipe: Recipe, rejects: Rejects) -> None:
        self.connection = connection
        self.recipe = recipe
        self.rejects = rejects
        self.lock: threading.RLock = threading.RLock()
        self.people = recipe.people
        self.is_whole: bool = False
        self.built: set[str] = set()
        self.failure: BaseException | None = None
        connection.execute("CREATE SCHEMA kmexport")
        connection.execute("CREATE TABLE kmexport.rejects (revision BIGINT, line BIGINT, reason VARCHAR, raw BLOB)")
        create_stand_ins(connection)

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to build."""
        return self.is_whole and self.built >= {"records", "events", "properties"}

    def provide(self, needed: set[tuple[str, str]]) -> None:
        """Build what these columns of these tables need."""
        if not needed:
            return
        tables = {table for table, _ in needed}
        is_whole = "properties" in tables or any(column == "properties" for _, column in needed)
        is_whole |= self.recipe.rule == "strict" and "events" in tables
        with self.lock:
            if "records" not in self.built or (is_whole and not self.is_whole):
                self._build_records(is_whole=is_whole or not reads_again(self.recipe.source))
            if tables & {"events", "properties"} and "events" not in self.built:
                self._build_events()
            if "properties" in tables and "properties" not in self.built:
                self._build_properties()

    def close(self) -> None:
        """Let go of the database."""
        self.rejects.connection.close()
        self.connection.close()

    # Records and people.

    def _build_records(self, *, is_whole: bool) -> None:
        if self.failure is not None:
            msg = "the records were read only once, and that failed: make Facts anew"
            raise ValueError(msg) from self.failure
        had_events = "events" in self.built
        try:
            arrivals = self._read(is_whole=is_whole)
        except BaseException as error:
            if not reads_again(self.recipe.source):
                self.failure = error
            raise
        self._name(arrivals)
        self._show_records(arrivals, is_whole=is_whole)
        self.is_whole = is_whole
        self.built = {"records"}
        if had_events:
            self._build_events()

    def _read(self, *, is_whole: bool) -> Arrivals:
        recipe = self.recipe
        policy = self.rejects.begin(anew=True)
        learnt = None
        if recipe.people is None:
            self.people = IdentityMap(recipe.prefer)
            if recipe.window is not None and isinstance(recipe.source, Export):
                # The aliases of the whole export hold, and only some of its files are read for the window.
                self.people = recipe.source.identities(prefer=recipe.prefer, on_error=policy)
                policy = self.rejects.begin(anew=False)
            else:
                learnt = self.people
        batches = open_batches(recipe.source, recipe.window, WHOLE if is_whole else HEADS, policy)
        arrivals = Arrivals(batches, is_whole=is_whole, learnt=learnt, window=recipe.window)
        properties = "" if is_whole else f", NULL::JSON AS {UNREAD}"
        statement = f"CREATE OR REPLACE TABLE kmexport.records AS SELECT *, true AS counts{properties} FROM arrived"
        insert(self.connection, statement, arrivals, arrivals.schema)
        self.rejects.flush()
        if rejected := self.rejects.kept.total():
            logger.warning("facts: %d lines were rejected; the table rejects has them", rejected)
        return arrivals

    def _name(self, arrivals: Arrivals) -> None:
        """The tables of numbers: identities with their persons, and spellings with their names."""
        identities = name_identities(arrivals.identities, self.people or IdentityMap())
        insert(self.connection, "CREATE OR REPLACE TABLE kmexport.identities AS FROM arrived", *identities)
        spellings = name_spellings(arrivals.spellings, arrivals.names)
        insert(self.connection, "CREATE OR REPLACE TABLE kmexport.event_names AS FROM arrived", *spellings)
        self.connection.execute(f"CREATE OR REPLACE VIEW kmexport.merged AS {MERGED}")

    def _show_records(self, arrivals: Arrivals, *, is_whole: bool) -> None:
        exact = pa.RecordBatch.from_pydict(
            {
                "seq": pa.array([seq for seq, _ in arrivals.exact], pa.int64()),
                "exact": pa.ExtensionArray.from_storage(
                    JSON, pa.array([text for _, text in arrivals.exact], pa.string())
                ),
            }
        )
        self._view("people", "SELECT identity, person, person_id FROM kmexport.identities")
        self._view("rejects", "FROM kmexport.rejects")
        properties, joined = "properties" if is_whole else UNREAD, ""
        if arrivals.exact:
            insert(self.connection, "CREATE OR REPLACE TABLE kmexport.exact AS FROM arrived", [exact], exact.schema)
            properties, joined = "coalesce(exact, properties)", "LEFT JOIN kmexport.exact USING (seq)"
        self._view(
            "records",
            "SELECT seq, person_id, revision, line, kind, identity AS person, time, name_as_sent AS name, alias, "
            f"{properties} AS properties FROM kmexport.records JOIN kmexport.identities USING (identity_id) "
            f"LEFT JOIN kmexport.event_names USING (spelling_id) {joined}",
        )

    # Events and properties.

    def _build_events(self) -> None:
        if self.recipe.rule == "classic":
            self.connection.execute(f"CREATE OR REPLACE TABLE kmexport.repeated AS {CLASSIC_EVENTS}")
        else:
            candidates = self._stream(STRICT_CANDIDATES)
            schema = pa.schema([("seq", pa.int64())])
            statement = "CREATE OR REPLACE TABLE kmexport.repeated AS FROM arrived"
            insert(self.connection, statement, repeated_records(candidates, schema), schema)
        self.connection.execute(UNCOUNT)
        self.connection.execute("DROP TABLE kmexport.repeated")
        properties = "properties" if self.is_whole else UNREAD
        self._view(
            "events",
            f"SELECT seq, person_id, person, time, name, name_as_sent, revision, line, {properties} AS properties "
            "FROM kmexport.records JOIN kmexport.identities USING (identity_id) "
            "JOIN kmexport.event_names USING (spelling_id) WHERE counts AND kind = 'event'",
        )
        self.built.add("events")

    def _build_properties(self) -> None:
        names = PropertyNames()
        if self.recipe.rule == "classic":
            self.connection.execute(f"CREATE OR REPLACE TABLE kmexport.contested AS {CONTESTED}")
            records = self._stream(CLASSIC_RECORDS)
        else:
            records = self._stream(STRICT_RECORDS)
        statement = "CREATE OR REPLACE TABLE kmexport.properties AS FROM arrived"
        insert(self.connection, statement, unnest(records, names), UNNESTED)
        if self.recipe.rule == "classic":
            self.connection.execute(DROP_LATER_PROPERTIES)
            self.connection.execute("DROP TABLE kmexport.contested")
        spellings = names.table()
        insert(
            self.connection,
            "CREATE OR REPLACE TABLE kmexport.property_names AS FROM arrived",
            spellings.to_batches(),
            spellings.schema,
        )
        self.connection.execute(
            "CREATE OR REPLACE VIEW kmexport.events_folded AS "
            "SELECT DISTINCT name_id AS event_id, name AS event FROM kmexport.event_names"
        )
        self.connection.execute(
            "CREATE OR REPLACE VIEW kmexport.persons AS "
            "SELECT person_id, person FROM kmexport.identities WHERE identity_id = person_id"
        )
        self._view("properties", PROPERTIES, "JOIN kmexport.persons USING (person_id)")
        self.built.add("properties")

    def _stream(self, query: str) -> Iterator[pa.RecordBatch]:
        """The answer in batches, over a connection of its own: the other one writes while they are read."""
        with self.connection.cursor() as reading:
            yield from reading.sql(query).to_arrow_reader(_UNNESTED_ROWS)

    def _view(self, name: str, query: str, joined: str = "") -> None:
        """The view with the numbers that reports join by, and above it the one that users see."""
        self.connection.execute(f"CREATE OR REPLACE VIEW kmexport.numbered_{name} AS {query}")
        shown = f"SELECT {', '.join(COLUMNS[name])} FROM kmexport.numbered_{name} {joined}"
        self.connection.execute(f"CREATE OR REPLACE VIEW main.{name} AS {shown}")
