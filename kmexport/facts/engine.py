"""DuckDB: a connection, Arrow tables into it, and its errors about files, folders and memory as ours."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import duckdb

from kmexport.errors import FactsDatabaseError, FactsMemoryError, KmExportError

__all__ = ["connect", "engine_errors", "in_background", "insert"]

_T = TypeVar("_T")

_QUOTED: Final = re.compile(r'"([^"\n]+)"')
# What DuckDB's words have in them, and the way out.
_ADVICE: Final = {
    "lock": "One process at a time writes to a database file: close it there, or name another file as database=",
    "not a valid DuckDB": "Name a new file as database=, or remove this one",
    "version": "Name a new file as database=, or remove this one",
    "configuration": "Close the other connection to it in this process, or name another file as database=",
    "No space left": "Name a file, or a temp_directory=, on a disk with more room",
    "temporary directory": "Facts that share a database file share its temp_directory= too",
}
# The units are DuckDB's.
_AMOUNT: Final = re.compile(r"\s*(?=[0-9.]*[1-9])[0-9]+(?:\.[0-9]+)?\s*(?:[kmgt]i?)?b\s*", re.IGNORECASE | re.ASCII)
_TRANSLATED: Final[tuple[type[duckdb.Error], ...]] = (duckdb.IOException, duckdb.OutOfMemoryException)
_OTHER_ADVICE: Final = "Check that the folder is there, and that you may write to it"


def check_settings(memory_limit: object, threads: object) -> None:
    """Raise ValueError for anything but an amount of memory and a number of threads."""
    if memory_limit is not None and not (isinstance(memory_limit, str) and _AMOUNT.fullmatch(memory_limit)):
        msg = f'memory_limit is a number and its unit, such as "4GB" or "512MB", not {memory_limit!r}'
        raise ValueError(msg)
    if threads is not None and (not isinstance(threads, int) or isinstance(threads, bool) or threads < 1):
        msg = f"threads is a whole number, 1 or more, not {threads!r}"
        raise ValueError(msg)


def connect(
    database: str | None, memory_limit: str | None, threads: int | None, temp_directory: str | None
) -> tuple[duckdb.DuckDBPyConnection, str, str | None]:
    """Connect to the database file, or to one in memory.

    Returns the connection, the folder for what does not fit in memory, and that folder again where it is a private one
    that has to be removed.
    """
    private = None
    if temp_directory is None:
        # A file's folder lies beside it, as DuckDB has it: then all who use the file have the same.
        private = tempfile.mkdtemp(prefix="kmexport-") if database is None else None
        temp_directory = private or f"{database}.tmp"
    settings = {"temp_directory": temp_directory, "memory_limit": memory_limit, "threads": threads}
    try:
        with engine_errors(database or temp_directory, duckdb.ConnectionException):
            # Settings come after: DuckDB opens a file twice in a process only with the same configuration.
            connection = duckdb.connect(database or ":memory:")
            try:
                for name, value in settings.items():
                    if value is not None:
                        connection.execute(f"SET GLOBAL {name} = ?", [value])
                # An unknown table is an error, never a variable of the caller's that happens to be called so.
                connection.execute("SET GLOBAL python_enable_replacements = false")
                connection.execute("SET python_enable_replacements = false")
                connection.execute("SET GLOBAL TimeZone = 'UTC'")
                # Where it takes many rows for few, DuckDB compares each with each: a funnel by a property took 1.28 s
                # of 500,000 events, and takes 0.19 s.
                connection.execute("SET GLOBAL asof_loop_join_threshold = 0")
            except BaseException:
                connection.close()
                raise
    except BaseException:
        if private is not None:
            shutil.rmtree(private, ignore_errors=True)
        raise
    return connection, temp_directory, private


@contextmanager
def engine_errors(path: str, *further: type[duckdb.Error]) -> Iterator[None]:
    """Raise DuckDB's errors about files, folders, locks and memory as ours. `path` is named where DuckDB names none."""
    try:
        yield
    except (*_TRANSLATED, *further) as error:
        raise _translated(error, path) from error


def _translated(error: duckdb.Error, path: str) -> KmExportError:
    # The first line says what is wrong; the others are advice on DuckDB's settings.
    reason = str(error).partition("\n")[0].partition(" Error: ")[2].strip().rstrip(".!") or str(error)
    if isinstance(error, duckdb.OutOfMemoryException):
        return FactsMemoryError(path, reason)
    reason = reason.partition(" See also")[0].rstrip(".!")
    named = _QUOTED.search(reason)
    advice = next((advice for words, advice in _ADVICE.items() if words in reason), _OTHER_ADVICE)
    return FactsDatabaseError(os.fspath(named[1] if named else path), reason, advice)


def insert(connection: duckdb.DuckDBPyConnection, statement: str, arrived: Any) -> None:
    """Execute a statement that reads an Arrow table as `arrived`."""
    connection.register("arrived", arrived)
    try:
        connection.execute(statement)
    finally:
        connection.unregister("arrived")


def in_background(items: Iterable[_T], take: Callable[[_T], None], meanwhile: Callable[[], object]) -> None:
    """Call `take` with each item on another thread, while the next item is made on this one.

    `meanwhile` is called while the last one is taken. Holds two items. What goes wrong on either side is raised here;
    an item that was begun is taken to its end.
    """
    taken: Future[None] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="kmexport") as other:
        for item in items:
            if taken is not None:
                taken.result()
            taken = other.submit(take, item)
        meanwhile()
        if taken is not None:
            taken.result()
