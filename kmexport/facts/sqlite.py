"""An export in a SQLite file: each revision exactly once, and two views that count by the classic rule.

steps/duplicates.py has this rule over records, facts/duplicates.py for Facts, cluster/collections.py over a cluster.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from typing import Any, Final

import pyarrow as pa

from kmexport.arguments import address_of
from kmexport.bucket import Bucket, check_bucket
from kmexport.cursor import Cursor
from kmexport.facts.relational import relational
from kmexport.parsing.counts import LineCounts
from kmexport.parsing.records import OnError
from kmexport.steps.identities import IdentityMap
from kmexport.storage.open_files import Progress

__all__ = ["to_sqlite"]

_WAIT: Final = 3_600.0  # seconds, for another job at work with the file

# SQLite has no types for times and JSON: both are text, which its functions read.
_TABLES: Final = {
    "revisions": "revision integer primary key",
    "people": "identity text not null, person text not null",
    "aliases": """
        revision integer, record integer, line integer, identity text, time text, alias text, properties text,
        primary key (revision, record)
    """,
    "events": """
        revision integer, record integer, line integer, identity text, time text, name text, name_as_sent text,
        properties text, primary key (revision, record)
    """,
    "properties": """
        revision integer, record integer, line integer, identity text, time text, place integer, name text,
        name_as_sent text, value text, text text, number real, event text, primary key (revision, record, place)
    """,
}
_VIEWS: Final = {
    "counted_events": """
        select person, time, name, name_as_sent, properties, revision, record, line
        from (
            select events.*, coalesce(person, identity) as person, row_number() over (
                partition by coalesce(person, identity), time, name order by revision, record
            ) as nth
            from events left join people using (identity)
        ) as merged
        where nth = 1
    """,
    "counted_properties": """
        select person, time, name, name_as_sent, value, text, number, counted as event, revision, record, line
        from (
            select properties.*, coalesce(people.person, identity) as person, row_number() over (
                partition by coalesce(people.person, identity), properties.time, properties.name
                order by revision, record, place
            ) as nth, counted_events.name as counted
            from properties left join people using (identity)
            left join counted_events using (revision, record)
            where properties.text is not null
        ) as merged
        where nth = 1
    """,
}


def to_sqlite(
    bucket: Bucket,
    path: str | os.PathLike[str],
    *,
    on_error: OnError = "raise",
    counts: LineCounts | None = None,
    callback: Progress = None,
) -> list[int]:
    """Bring a SQLite file up to date with an export; return the numbers of the revisions that it took.

    The file is made where there is none. It has the tables of `relational`, `events`, `properties` and `aliases`, with
    `people` (every identity that has an alias, and its person) and `revisions`; and the views `counted_events` and
    `counted_properties`, which merge and leave out duplicates as `Facts` does. A revision that the file has already is
    not read again, one that arrives late is. `on_error`, `counts` and `callback` are those of `Bucket.iter_records`.

    All is one transaction: what breaks leaves the file as it was, and a second job waits for the first. Holds one batch
    of records, and the identities that have aliases. Raises FileExistsError where the file has tables of these names
    that were made by something else, sqlite3.Error, and what reading a bucket raises.

    >>> import pathlib, tempfile
    >>> from kmexport import Bucket
    >>> path = pathlib.Path(tempfile.mkdtemp(), "shop.sqlite")
    >>> len(to_sqlite(Bucket.sample(), path)), to_sqlite(Bucket.sample(), path)
    (12, [])
    """
    check_bucket(bucket, "to_sqlite")
    try:
        connection = sqlite3.connect(address_of(path), timeout=_WAIT, isolation_level=None)
    except sqlite3.OperationalError as error:
        msg = f"{address_of(path)}: {error}. Its folder has to be there, and open to you"
        raise sqlite3.OperationalError(msg) from error
    with closing(connection) as database:
        database.execute("begin immediate")
        try:
            _set_up(database, path)
            done = database.execute("select revision from revisions")
            revisions = Cursor(number for (number,) in done).unread(bucket)
            batches = bucket.to_batches(revisions=revisions, on_error=on_error, counts=counts, callback=callback)
            for tables in relational(batches):
                for table, rows in tables.items():
                    place = rows.schema.get_field_index("time")
                    texts = rows.set_column(place, "time", rows["time"].cast(pa.string()))
                    _insert(database, table, zip(*(column.to_pylist() for column in texts.columns), strict=True))
            _insert(database, "revisions", ((revision.number,) for revision in revisions))
            _name_people(database)
        except BaseException:
            if database.in_transaction:  # SQLite has ended it by itself where the disk is full
                database.execute("rollback")
            raise
        database.execute("commit")
    return [revision.number for revision in revisions]


def _set_up(database: sqlite3.Connection, path: str | os.PathLike[str]) -> None:
    there = {name for (name,) in database.execute("select name from sqlite_master where type in ('table', 'view')")}
    ours = _TABLES.keys() | _VIEWS.keys()
    if ours <= there:
        return
    if ours & there:
        msg = f"{os.fspath(path)}: a table {min(ours & there)!r} is there, which was made by something else"
        raise FileExistsError(msg)
    for name, columns in _TABLES.items():
        database.execute(f"create table {name} ({columns})")
    for name, query in _VIEWS.items():
        database.execute(f"create view {name} as {query}")


def _insert(database: sqlite3.Connection, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
    marks = ", ".join("?" * len(database.execute(f"select * from {table} limit 0").description))
    database.executemany(f"insert into {table} values ({marks})", rows)


def _name_people(database: sqlite3.Connection) -> None:
    people = IdentityMap()
    people.link_pairs(database.execute("select identity, alias from aliases"))
    database.execute("delete from people")
    rows = ((identity, name) for name, identities in people.each_person() for identity in identities)
    _insert(database, "people", rows)
