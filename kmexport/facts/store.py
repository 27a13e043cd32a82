"""The tables of Facts: how they are built, once, out of one reading of the source."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import duckdb
import pyarrow as pa

from kmexport.errors import MalformedRecordError
from kmexport.facts.database_file import Kept
from kmexport.facts.duplicates import leave_out_duplicates
from kmexport.facts.engine import in_background, insert
from kmexport.facts.loading import Rejects, TableLoader, in_loads
from kmexport.facts.source import Export, FactsSource, FactsSpec
from kmexport.facts.sql import create_tables, create_views
from kmexport.revisions.scan import ReceivedTimes
from kmexport.steps.identities import IdentityMap

__all__ = ["Store"]

logger: logging.Logger = logging.getLogger("kmexport")


_ALIASED_ROWS: Final = 131_072
_TOLD: Final[set[str]] = set()  # sources of whose rejected lines this process was warned, with their number


class Store:
    """The tables. `build` fills them; until then they are empty."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, spec: FactsSpec, rejects: Rejects, kept: Kept | None = None
    ) -> None:
        self.connection = connection
        self.spec = spec
        self.rejects = rejects
        self.kept = kept
        self.is_built: bool = False
        self.is_closed: bool = False
        self.lock: threading.RLock = threading.RLock()
        self.people = spec.identities
        self._failure: BaseException | None = None
        self._is_empty = True
        with self._file_lock():
            if not self._take_up():
                self._create_empty()

    def build(self) -> None:
        """Read the source and build every table, if that is not done yet."""
        with self.lock:
            if self.is_built:
                return
            if self._failure is not None:
                msg = "the records were read only once, and that failed: make Facts anew"
                raise ValueError(msg) from self._failure
            with self._file_lock():
                if not self._take_up():
                    self._build()
            self.is_built = True

    def close(self) -> None:
        """Let go of the database."""
        self.is_closed = True
        self.rejects.connection.close()
        self.connection.close()

    def known_people(self) -> IdentityMap:
        """Return who is who; from the table of aliased identities where facts were built before."""
        if self.people is None:
            self.build()
        if self.people is None:
            self.people = IdentityMap(self.spec.prefer)
            pairs = "SELECT person, identity FROM kmexport.aliased WHERE identity <> person"
            self.people.link_pairs(self.connection.execute(pairs).fetchall())
        return self.people

    def _file_lock(self) -> AbstractContextManager[object]:
        """Return the lock of the database file: two Facts of one process may have the same file."""
        return nullcontext() if self.kept is None else self.kept.lock

    def _take_up(self) -> bool:
        """True where the database file holds these facts, whole."""
        self.is_built = self.kept is not None and self.kept.is_there(with_rejects=self.rejects.on_error != "raise")
        return self.is_built

    def _create_empty(self) -> None:
        """Create the tables and views, all at once: a file that was left in the middle of it has nothing in it."""
        self.connection.begin()
        self.connection.execute("CREATE SCHEMA IF NOT EXISTS kmexport")
        for statement in create_tables(with_texts=self.spec.reads_texts):
            self.connection.execute(statement)
        for statement in create_views(self.spec.left_out(), self.spec.rule):
            self.connection.execute(statement)
        if self.kept is not None:
            self.kept.create()
        self.connection.commit()

    def _build(self) -> None:
        if not self._is_empty or self.kept is not None:
            # A build before this one failed, or that of other Facts in the same file.
            self._create_empty()
        self._is_empty = False
        try:
            self._read()
            self._leave_out_duplicates()
        except BaseException as error:
            if not isinstance(self.spec.source, Export):
                self._failure = error
            if isinstance(error, MalformedRecordError):
                # It comes out of a query, or of a report: one over a bucket takes on_error itself.
                error.add_note(
                    'Write it where the export is named: Facts(bucket, on_error="skip"), or in a report over a bucket. '
                    "Such lines are left out then, and the table rejects of Facts has them."
                )
            raise
        if self.kept is not None:
            self.kept.end()

    def _read(self) -> None:
        spec = self.spec
        people = IdentityMap(spec.prefer) if spec.identities is None else spec.identities
        learnt = people if spec.identities is None else None
        source = FactsSource(spec, learnt, self.rejects.policy())
        if self.kept is not None:
            self.kept.note_files()
        with self.connection.cursor() as loading:
            loader = TableLoader(loading, spec, source.spellings)
            in_background(in_loads(source.chunks()), loader.load, meanwhile=people.people)  # it keeps the names
            loader.finish()
        self._note_lateness()
        self.rejects.flush()
        if self.rejects.count:
            self._log_rejects()
        self.people = people
        for aliased in _aliased(people):
            insert(self.connection, "INSERT INTO kmexport.aliased FROM arrived", aliased)

    def _log_rejects(self) -> None:
        """Warn of rejected lines, once for a source: each report over a bucket reads it, and finds the same lines."""
        told = f"{self.spec.source!r}: {self.rejects.count}" if isinstance(self.spec.source, Export) else None
        level = logging.WARNING
        if told in _TOLD:
            level = logging.INFO
        elif told is not None:
            _TOLD.add(told)
        logger.log(level, "facts: %d lines were rejected; the table rejects has them", self.rejects.count)

    def _note_lateness(self) -> None:
        """Say which revisions hold records that windows of the bucket miss, where all of it was read."""
        source, is_whole = self.spec.source, self.spec.window is None and self.spec.names is None
        index = getattr(source, "index", None)
        if is_whole and isinstance(source, Export) and callable(index):
            spans = self.connection.execute(
                "SELECT revision, epoch(min(time))::BIGINT, epoch(max(time))::BIGINT FROM kmexport.records GROUP BY ALL"
            ).fetchall()
            received = ReceivedTimes()
            received.see_spans(index(), spans)
            received.log()

    def _leave_out_duplicates(self) -> None:
        is_strict = self.spec.rule == "strict"
        leave_out_duplicates(self.connection, is_strict=is_strict, has_rows=self.spec.properties is not False)
        if is_strict and not self.spec.shows_texts:
            self.connection.execute("ALTER TABLE kmexport.records DROP COLUMN properties")


def _aliased(people: IdentityMap) -> Iterator[pa.Table]:
    """Each identity of the map, with its person."""
    identities: list[str] = []
    persons: list[str] = []
    for person, members in people.each_person():
        identities += members
        persons += [person] * len(members)
        if len(identities) >= _ALIASED_ROWS:
            yield _as_table(identities, persons)
            identities, persons = [], []
    yield _as_table(identities, persons)


def _as_table(identities: list[str], persons: list[str]) -> pa.Table:
    return pa.table({"identity": pa.array(identities, pa.string()), "person": pa.array(persons, pa.string())})
