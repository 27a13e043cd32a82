"""The notes of a database file on the facts in it: what they were made of, and whether they are built.

A file whose facts are those that are asked for is used again, and nothing is read. Anything else is an error that says
what differs: the tables of another source, window or rule would be wrong numbers.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import uuid
from typing import Any, Final, NoReturn

import duckdb
import pyarrow as pa

from kmexport.errors import OtherFactsError
from kmexport.facts.engine import insert
from kmexport.facts.source import Export, FactsSpec, Source
from kmexport.steps.identities import IdentityMap

__all__ = ["Kept", "describe"]

# Of the tables. It changes when they do.
VERSION: Final = 3
# Of each file that this process has opened: one build at a time writes to it.
_LOCKS: Final[dict[str, threading.Lock]] = {}


def describe(spec: FactsSpec) -> dict[str, str]:
    """Say what facts are made of, in words that are equal for equal facts only. They hold no credentials.

    A list or a stream is not known again, nor a key function: their words differ each time.
    """
    unknown = f"one that is not known again ({uuid.uuid4().hex})"
    window, identities, properties = spec.window, spec.identities, spec.properties
    return {
        "source": repr(spec.source) if isinstance(spec.source, Export) else unknown,
        "window": "all time" if window is None else f"{window.start} to {window.end}, margin {spec.margin}",
        "names": "all" if spec.names is None else str(sorted(spec.names)),
        "properties": str(properties if isinstance(properties, bool) else sorted(properties)),
        "identities": "those of the aliases" if identities is None else f"a map with the digest {_digest(identities)}",
        "rule": spec.rule,
        "prefer": spec.prefer if isinstance(spec.prefer, str) else unknown,
    }


def _digest(people: IdentityMap) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for person, identities in people.each_person():
        digest.update(json.dumps([person, *sorted(identities)]).encode())
    return digest.hexdigest()


def _files_of(source: Source) -> list[tuple[str, int | None]]:
    """List the files that the source has now. (A lake's repr names its version.)"""
    revisions = getattr(source, "revisions", None)
    return [(one.path, one.size) for one in revisions()] if callable(revisions) else []


class Kept:
    """The tables of these notes: kmexport.kept has one row, kmexport.files one for each file that was read."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, file: str, told: dict[str, str], source: Source) -> None:
        self.connection = connection
        self.file = file
        self.told = told
        self.source = source
        self.lock: threading.Lock = _LOCKS.setdefault(os.path.realpath(file), threading.Lock())

    def is_there(self, *, with_rejects: bool) -> bool:
        """Tell whether these facts are in the file, whole; False for an empty file, and where a build did not end.

        OtherFactsError where the file holds anything else, where the source has other files by now, or where lines were
        rejected and that is an error.
        """
        if not self._rows("SELECT 1 FROM duckdb_tables() WHERE schema_name = 'kmexport' AND table_name = 'kept'"):
            if self._rows("SELECT 1 FROM duckdb_tables()"):
                self._refuse("holds other tables")
            return False
        ((version,),) = self._rows("SELECT version FROM kmexport.kept")
        if version != VERSION:
            what = f"holds facts in form {version}, and this kmexport knows form {VERSION}"
            self._refuse(f"{what}: install a newer kmexport" if version > VERSION else what)
        ((told, is_built),) = self._rows("SELECT told, is_built FROM kmexport.kept")
        found = json.loads(told)
        for what, text in self.told.items():
            if found.get(what) != text:
                self._refuse(f"holds other facts: {what} was {found.get(what)}, and is {text} here")
        if is_built:
            self._check_files()
            rejects = self._rows("SELECT count(*) FROM kmexport.rejects")[0][0]
            if rejects and not with_rejects:
                self._refuse(f'lacks {rejects} lines that were rejected, and on_error="raise" takes none for granted')
        return bool(is_built)

    def _check_files(self) -> None:
        read, there = set(self._rows("SELECT path, size FROM kmexport.files")), set(_files_of(self.source))
        if read != there:
            paths = sorted({path for path, _ in read ^ there})
            shown = ", ".join(paths[:3]) + (" …" if len(paths) > 3 else "")
            self._refuse(f"holds facts of an export that has changed since ({shown})")

    def create(self) -> None:
        """Say what will be built here."""
        self.connection.execute(
            "CREATE OR REPLACE TABLE kmexport.kept (version INTEGER, told VARCHAR, is_built BOOLEAN)"
        )
        self.connection.execute("INSERT INTO kmexport.kept VALUES (?, ?, false)", [VERSION, json.dumps(self.told)])
        self.connection.execute("CREATE OR REPLACE TABLE kmexport.files (path VARCHAR, size BIGINT)")

    def note_files(self) -> None:
        """Note the files that are about to be read."""
        files = _files_of(self.source)
        columns = {
            "path": pa.array([path for path, _ in files], pa.string()),
            "size": pa.array([size for _, size in files], pa.int64()),
        }
        insert(self.connection, "CREATE OR REPLACE TABLE kmexport.files AS FROM arrived", pa.table(columns))

    def end(self) -> None:
        """Say that all is built."""
        self.connection.execute("UPDATE kmexport.kept SET is_built = true")

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(query).fetchall()

    def _refuse(self, why: str) -> NoReturn:
        raise OtherFactsError(self.file, why)
