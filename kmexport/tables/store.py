"""The tables of Facts: each is built when it is first needed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

import duckdb
import pyarrow as pa
from attrs import define

from kmexport.errors import MalformedRecordError
from kmexport.identities import IdentityMap, Prefer
from kmexport.lateness import ReceivedTimes
from kmexport.storage import Progress
from kmexport.tables.arrivals import Arrivals
from kmexport.tables.arrived import Arrived
from kmexport.tables.intake import Intake, Part, in_loads
from kmexport.tables.kept import Kept
from kmexport.tables.needs import COLUMNS, UNREAD, create_stand_ins
from kmexport.tables.numbers import Identities, name_spellings
from kmexport.tables.rejects import Rejects
from kmexport.tables.rules import (
    CONTESTED,
    DROP_LATER_PROPERTIES,
    DROP_REPEATED_PROPERTIES,
    EVENTS,
    MERGED,
    OWN_TEXTS,
    PROPERTIES,
    RECORDS,
    REPEATED_EVENTS,
    SHARED,
    STRICT_CANDIDATES,
    UNCOUNT,
)
from kmexport.tables.schema import JSON
from kmexport.tables.sources import Export, Source, open_arrivals, reads_again
from kmexport.tables.streams import insert, take_aside
from kmexport.tables.strict import repeated_records
from kmexport.windows import Window

__all__ = ["Recipe", "Rule", "Store"]

Rule: TypeAlias = Literal["classic", "strict"]

_STREAMED_ROWS: Final = 32_768

logger: logging.Logger = logging.getLogger("kmexport")


@define
class Recipe:
    """What facts are made of, and how."""

    source: Source
    window: Window | None
    margin: int | None
    people: IdentityMap | None
    rule: Rule
    prefer: Prefer
    callback: Progress = None


class Store:
    """The tables, and how far they are built.

    kmexport.records holds what records and events show: a record and whether it counts. Its texts are numbers of
    kmexport.identities, which knows the persons, and kmexport.event_names. What a query does not need is not read
    (properties as JSON, or as rows of kmexport.properties), where the source can be read again.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, recipe: Recipe, rejects: Rejects, kept: Kept | None = None
    ) -> None:
        self.connection = connection
        self.recipe = recipe
        self.rejects = rejects
        self.lock: threading.RLock = threading.RLock()
        self.people = recipe.people
        self.parts: frozenset[Part] = frozenset()  # what was read
        self.built: set[str] = set()
        self.failure: BaseException | None = None
        self.kept = kept
        if kept is not None and kept.is_there():
            parts, self.built = kept.built(with_rejects=rejects.on_error != "raise")
            self.parts = frozenset(parts)
        if not self.parts:
            self._create_empty()

    def _create_empty(self) -> None:
        """All at once: a file that was left in the middle of it has nothing in it."""
        self.connection.begin()
        self.connection.execute("CREATE SCHEMA IF NOT EXISTS kmexport")
        self.connection.execute(
            "CREATE OR REPLACE TABLE kmexport.rejects (revision BIGINT, line BIGINT, reason VARCHAR, raw BLOB)"
        )
        create_stand_ins(self.connection)
        if self.kept is not None:
            self.kept.create()
        self.connection.commit()

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to build."""
        return "texts" in self.parts and self.built >= {"records", "events", "properties"}

    def provide(self, needed: set[tuple[str, str]]) -> None:
        """Build what these columns of these tables need."""
        if not needed:
            return
        parts = self._parts_for(needed)
        tables = {table for table, _ in needed} & {"events", "properties"}
        with self.lock:
            if parts <= self.parts and tables <= self.built:
                return
            if self.kept is not None:
                self.kept.begin()
            self._build(parts, tables)
            if self.kept is not None:
                self.kept.end(self.parts, self.built)

    def _parts_for(self, needed: set[tuple[str, str]]) -> set[Part]:
        tables = {table for table, _ in needed}
        parts: set[Part] = {"records"}
        if "properties" in tables:
            parts.add("pairs")
        is_compared = self.recipe.rule == "strict" and not tables.isdisjoint({"events", "properties"})
        if is_compared or any(column == "properties" for _, column in needed) or not reads_again(self.recipe.source):
            parts.add("texts")
        return parts

    def _build(self, parts: set[Part], tables: set[str]) -> None:
        if parts - self.parts == {"pairs"} and "texts" in self.parts:
            self._read_own_texts()
        elif not parts <= self.parts:
            self._read(self.parts | parts)
        if tables and "events" not in self.built:
            self._build_events()
        if "properties" in tables and "properties" not in self.built:
            self._build_properties()

    def close(self) -> None:
        """Let go of the database."""
        self.rejects.connection.close()
        self.connection.close()

    def known_people(self) -> IdentityMap:
        """Who is who; from the table of identities where facts were built before."""
        if self.people is None:
            self.provide({("people", "")})
        if self.people is None:
            self.people = IdentityMap(self.recipe.prefer)
            pairs = "SELECT person, identity FROM kmexport.identities WHERE identity <> person"
            self.people.link_pairs(self.connection.execute(pairs).fetchall())
        return self.people

    # Records and people.

    def _read(self, parts: frozenset[Part]) -> None:
        if self.failure is not None:
            msg = "the records were read only once, and that failed: make Facts anew"
            raise ValueError(msg) from self.failure
        before = self.built
        try:
            self._read_source(parts)
        except BaseException as error:
            if not reads_again(self.recipe.source):
                self.failure = error
            if isinstance(error, MalformedRecordError):
                # It comes out of a report or a query, which take no on_error.
                error.add_note('Facts(…, on_error="skip") goes on without such lines: the table rejects has them.')
            raise
        self.parts = parts
        self.built = {"records"}
        if before & {"events", "properties"}:
            self._build_events()
        if "properties" in before:
            self._build_properties()

    def _read_source(self, parts: frozenset[Part]) -> None:
        recipe = self.recipe
        policy = self.rejects.begin(anew=True)
        learnt = None
        if recipe.people is None:
            self.people = IdentityMap(recipe.prefer)
            if recipe.window is not None and isinstance(recipe.source, Export):
                # The aliases of the whole export hold, and only some of its files are read for the window.
                told = {} if recipe.callback is None else {"callback": recipe.callback}
                self.people = recipe.source.identities(prefer=recipe.prefer, on_error=policy, **told)
                policy = self.rejects.begin(anew=False)
            else:
                learnt = self.people
        if self.kept is not None:
            self.kept.note_files()
        source = open_arrivals(
            recipe.source,
            recipe.window,
            policy,
            recipe.callback,
            is_whole=parts != {"records"},
            margin=recipe.margin,
        )
        arrivals = Arrivals(source, learnt=learnt, window=recipe.window)
        with Intake(self.connection.cursor(), parts) as intake:
            take_aside(in_loads(arrivals), intake.take)
            intake.replace()
            self.rejects.flush()
            self._name(intake.identities, arrivals)
            self._name_properties(intake)
            self._show_records(intake.exact, parts)
        self._note_lateness()
        if rejected := self.rejects.kept.total():
            logger.warning("facts: %d lines were rejected; the table rejects has them", rejected)

    def _note_lateness(self) -> None:
        """Say which revisions hold records that windows of the bucket miss, where all of it was read."""
        index = getattr(self.recipe.source, "index", None)
        if self.recipe.window is None and isinstance(self.recipe.source, Export) and callable(index):
            spans = self.connection.execute(
                "SELECT revision, epoch(min(time))::BIGINT, epoch(max(time))::BIGINT FROM kmexport.records GROUP BY ALL"
            ).fetchall()
            received = ReceivedTimes()
            received.see_spans(index(), spans)
            received.log()

    def _name(self, identities: Identities, arrivals: Arrivals) -> None:
        """The tables of numbers: identities with their persons, and spellings with their names."""
        statement = "CREATE OR REPLACE TABLE kmexport.identities AS FROM arrived"
        for persons in identities.with_persons(self.people or IdentityMap()):
            insert(self.connection, statement, persons)
            statement = "INSERT INTO kmexport.identities FROM arrived"
        self._create("event_names", name_spellings(arrivals.spellings, arrivals.names))
        self.connection.execute(f"CREATE OR REPLACE VIEW kmexport.merged AS {MERGED}")
        self.connection.execute(
            "CREATE OR REPLACE VIEW kmexport.events_folded AS "
            "SELECT DISTINCT name_id AS event_id, name AS event FROM kmexport.event_names"
        )

    def _name_properties(self, intake: Intake) -> None:
        self._create("property_names", intake.names.table())
        self._create("doubled", intake.doubled_sets())

    def _show_records(self, exact_texts: list[tuple[int, str]], parts: frozenset[Part]) -> None:
        properties, exact = UNREAD, ""
        if "texts" in parts:
            properties = "properties"
        if exact_texts:
            numbers, texts = zip(*exact_texts, strict=True)
            spelt = pa.ExtensionArray.from_storage(JSON, pa.array(texts, pa.string()))
            self._create("exact", pa.table({"seq": pa.array(numbers, pa.int64()), "exact": spelt}))
            properties, exact = "coalesce(exact, properties)", "LEFT JOIN kmexport.exact USING (seq)"
        self._view("people", "SELECT identity, person, person_id FROM kmexport.identities")
        self._view("rejects", "FROM kmexport.rejects")
        self._view("records", RECORDS.format(properties=properties, exact=exact))

    def _read_own_texts(self) -> None:
        """Read the properties of the records that are here already."""
        with Intake(self.connection.cursor(), {"pairs"}) as intake:
            take_aside(in_loads(map(Arrived, self._stream(OWN_TEXTS))), intake.take_own)
            intake.replace()
            self._name_properties(intake)
        self.parts |= {"pairs"}

    # Events and properties.

    def _build_events(self) -> None:
        if self.recipe.rule == "classic":
            self.connection.execute(f"CREATE OR REPLACE TABLE kmexport.shared AS {SHARED}")
            self.connection.execute(f"CREATE OR REPLACE TABLE kmexport.repeated AS {REPEATED_EVENTS}")
        else:
            repeated = repeated_records(self._stream(STRICT_CANDIDATES))
            self._create("repeated", pa.table({"seq": pa.array(repeated, pa.int64())}))
        self.connection.execute(UNCOUNT)
        properties = "properties" if "texts" in self.parts else UNREAD
        self._view("events", EVENTS.format(properties=properties))
        self.built.add("events")

    def _build_properties(self) -> None:
        self.connection.execute("DELETE FROM kmexport.properties WHERE value = 'null'")
        if self.recipe.rule == "classic":
            self.connection.execute(f"CREATE OR REPLACE TABLE kmexport.contested AS {CONTESTED}")
            self.connection.execute(DROP_LATER_PROPERTIES)
            self.connection.execute("DROP TABLE kmexport.contested")
        else:
            self.connection.execute(DROP_REPEATED_PROPERTIES)
        self._view("properties", PROPERTIES)
        self.built.add("properties")

    def _stream(self, query: str) -> Iterator[pa.RecordBatch]:
        """The answer in batches, over a connection of its own: the other one writes while they are read."""
        with self.connection.cursor() as reading:
            yield from reading.sql(query).to_arrow_reader(_STREAMED_ROWS)

    def _create(self, table: str, arrived: pa.Table) -> None:
        insert(self.connection, f"CREATE OR REPLACE TABLE kmexport.{table} AS FROM arrived", arrived)

    def _view(self, name: str, query: str) -> None:
        """The view with the numbers that reports join by, and above it the one that users see."""
        self.connection.execute(f"CREATE OR REPLACE VIEW kmexport.numbered_{name} AS {query}")
        shown = f"SELECT {', '.join(COLUMNS[name])} FROM kmexport.numbered_{name}"
        self.connection.execute(f"CREATE OR REPLACE VIEW main.{name} AS {shown}")
