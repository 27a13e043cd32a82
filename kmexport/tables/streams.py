"""Arrow tables into DuckDB, and what one thread takes in while another reads on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import duckdb

__all__ = ["insert", "take_aside"]

_T = TypeVar("_T")


def insert(connection: duckdb.DuckDBPyConnection, statement: str, arrived: Any) -> None:
    """Execute a statement that reads an Arrow table as `arrived`."""
    connection.register("arrived", arrived)
    try:
        connection.execute(statement)
    finally:
        connection.unregister("arrived")


def take_aside(items: Iterable[_T], take: Callable[[_T], None]) -> None:
    """Take each item on another thread, while the next one is made on this one.

    Holds two of them. What goes wrong on either side is raised here; an item that was begun is taken to its end.
    """
    taken: Future[None] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="kmexport") as other:
        for item in items:
            if taken is not None:
                taken.result()
            taken = other.submit(take, item)
        if taken is not None:
            taken.result()
