"""What a database file tells of the facts in it: what they were made of, and how far they are built.

A file whose facts are those that are asked for is used again, and nothing is read. Anything else is an error that says
what differs: the tables of another source, window or rule would be wrong numbers.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Set as AbstractSet
from typing import Any, Final, NoReturn

import duckdb
import pyarrow as pa

from kmexport.identities import IdentityMap, Prefer
from kmexport.tables.sources import Export, Source
from kmexport.tables.streams import insert
from kmexport.windows import Window

__all__ = ["Kept", "describe"]

# Of the tables. It changes when they do.
VERSION: Final = 1


def describe(
    source: Source,
    window: Window | None,
    people: IdentityMap | None,
    rule: str,
    prefer: Prefer,
    *,
    margin: int | None,
) -> dict[str, str]:
    """What facts are made of, in words that are equal for equal facts only. They hold no credentials.

    A list or a stream is not known again, nor a key function: their words differ each time.
    """
    unknown = f"one that is not known again ({uuid.uuid4().hex})"
    return {
        "source": repr(source) if isinstance(source, Export) else unknown,
        "window": "all time" if window is None else f"{window.start} to {window.end} with margin={margin}",
        "people": "those of the aliases" if people is None else f"a map with the digest {_digest(people)}",
        "rule": rule,
        "prefer": prefer if isinstance(prefer, str) else unknown,
    }


def _digest(people: IdentityMap) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for person in people.people():
        digest.update(json.dumps([person, *sorted(people.identities_of(person))]).encode())
    return digest.hexdigest()


def _files_of(source: Source) -> list[tuple[str, int | None]]:
    """The files that the source has now. (What a lake says of itself names its version.)"""
    revisions = getattr(source, "revisions", None)
    return [(one.path, one.size) for one in revisions()] if callable(revisions) else []


class Kept:
    """The tables in which this stands: kmexport.kept has one row, kmexport.files one for each file that was read."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, file: str, told: dict[str, str], source: Source) -> None:
        self.connection = connection
        self.file = file
        self.told = told
        self.source = source

    def is_there(self) -> bool:
        """Whether these facts are in the file; False for an empty one. FileExistsError for anything else in it."""
        if not self._rows("SELECT 1 FROM duckdb_tables() WHERE schema_name = 'kmexport' AND table_name = 'kept'"):
            if self._rows("SELECT 1 FROM duckdb_tables()"):
                self._refuse("holds other tables")
            return False
        ((version, told),) = self._rows("SELECT version, told FROM kmexport.kept")
        if version != VERSION:
            what = f"holds facts in form {version}, and this kmexport knows form {VERSION}"
            self._refuse(f"{what}: install a newer kmexport" if version > VERSION else what)
        found = json.loads(told)
        for what, text in self.told.items():
            if found.get(what) != text:
                self._refuse(f"holds other facts: {what} was {found.get(what)}, and is {text} here")
        return True

    def built(self, *, with_rejects: bool) -> tuple[set[Any], set[str]]:
        """The parts that were read, and the tables that are built; none where a build did not come to its end.

        FileExistsError where the source has other files by now, or where lines were rejected and that is an error.
        """
        ((is_building, parts, built),) = self._rows("SELECT is_building, parts, built FROM kmexport.kept")
        if is_building or not parts:
            return set(), set()
        read, there = set(self._rows("SELECT path, size FROM kmexport.files")), set(_files_of(self.source))
        if read != there:
            paths = sorted({path for path, _ in read ^ there})
            shown = ", ".join(paths[:3]) + (" …" if len(paths) > 3 else "")
            self._refuse(f"holds facts of an export that has changed since ({shown})")
        rejects = self._rows("SELECT count(*) FROM kmexport.rejects")[0][0]
        if rejects and not with_rejects:
            self._refuse(f'lacks {rejects} lines that were rejected, and on_error="raise" takes none for granted')
        return set(parts), set(built)

    def create(self) -> None:
        """Say what will be built here."""
        self.connection.execute(
            "CREATE OR REPLACE TABLE kmexport.kept "
            "(version INTEGER, told VARCHAR, is_building BOOLEAN, parts VARCHAR[], built VARCHAR[])"
        )
        self.connection.execute(
            "INSERT INTO kmexport.kept VALUES (?, ?, false, [], [])", [VERSION, json.dumps(self.told)]
        )
        self.connection.execute("CREATE OR REPLACE TABLE kmexport.files (path VARCHAR, size BIGINT)")

    def begin(self) -> None:
        """A build begins."""
        self.connection.execute("UPDATE kmexport.kept SET is_building = true")

    def note_files(self) -> None:
        """The files are about to be read."""
        files = _files_of(self.source)
        columns = {
            "path": pa.array([path for path, _ in files], pa.string()),
            "size": pa.array([size for _, size in files], pa.int64()),
        }
        insert(self.connection, "CREATE OR REPLACE TABLE kmexport.files AS FROM arrived", pa.table(columns))

    def end(self, parts: AbstractSet[str], built: AbstractSet[str]) -> None:
        """All that was begun is built."""
        self.connection.execute(
            "UPDATE kmexport.kept SET is_building = false, parts = ?, built = ?", [sorted(parts), sorted(built)]
        )

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(query).fetchall()

    def _refuse(self, why: str) -> NoReturn:
        msg = f"{self.file} is there already and {why}. Name a new file as database=, or remove this one"
        raise FileExistsError(msg)
