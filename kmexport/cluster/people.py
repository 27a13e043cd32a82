"""Who is who, and what counts once, over a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Unpack
from uuid import uuid4

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
from attrs import frozen
from distributed import Client, as_completed, get_client

from kmexport.bucket import Bucket
from kmexport.cluster.collections import (
    GROUP_BYTES,
    Options,
    ReadPairs,
    checked,
    empty_frame,
    frame_records,
    group_revisions,
    span,
    to_frame,
)
from kmexport.columns.schema import SCHEMA, Properties, choose_columns
from kmexport.records import Record
from kmexport.steps.duplicates import drop_duplicates as drop_from_records
from kmexport.steps.identities import IdentityMap, Prefer
from kmexport.tables import from_records

__all__ = ["drop_duplicates", "identities", "newest_client"]

_ROW = "row of its revision"


def identities(
    bucket: Bucket,
    *,
    client: Client | None = None,
    prefer: Prefer = "named_first",
    into: IdentityMap | None = None,
    after: int = 0,
    group_bytes: int = GROUP_BYTES,
    **options: Unpack[Options],
) -> IdentityMap:
    """Every alias of the export as a map of who is who: the map of `bucket.identities()`.

    The workers read the alias lines, a task a group of revisions, and give each pair of identities once; the map is put
    together here, as they come. Costs the map, about 250 bytes an identity, in this process, and on a worker the pairs
    of one group. `client` is the cluster's; without one, that which was made last. Raises ValueError where there is
    none, and what `bucket.identities()` raises.
    """
    client = client or newest_client()
    read = ReadPairs(bucket, None, checked(bucket, options))
    groups = group_revisions(bucket.revisions(after=after), group_bytes)
    keys = [f"kmexport-aliases-{span(group)}-{read.token}" for group in groups]
    people = IdentityMap(prefer) if into is None else into
    futures = client.map(read, groups, key=keys, pure=False)
    for _, pairs in as_completed(futures, with_results=True):
        for person, alias in pairs:
            people.link(person, alias)
    return people


def newest_client() -> Client:
    """The client that was made last. Raises ValueError where there is none."""
    try:
        return get_client()
    except ValueError as error:
        msg = "there is no cluster: make a distributed.Client first, or give one as client="
        raise ValueError(msg) from error


def drop_duplicates(
    frame: dd.DataFrame,
    people: IdentityMap | None = None,
    *,
    rule: Literal["classic", "strict"] = "classic",
    properties: Literal["as_sent", "once"] = "as_sent",
    property_columns: Properties = (),
    npartitions: int | None = None,
) -> dd.DataFrame:
    """Give what `kmexport.drop_duplicates(merge_identities(records, people))` gives, over a frame of all columns.

    Records go to their person by a shuffle, and there the helper itself looks at each person's records, in the order
    of their revisions and lines; so `frame` is one of `to_dataframe` with all columns, filtered by rows or not. `rule`
    and `properties` are the helper's: a kept event as it was sent, or without what was said before. The result has the
    same columns, the persons' names, and a PropertySet where some properties of a record are left; its order is not the
    export's. `property_columns` adds columns of their own, as `properties` of `to_dataframe` does. Without `people`,
    records stay under the identities that they have.

    The map goes to each worker once, so it costs its memory there too. A task holds one part after the shuffle, some
    six times its bytes as objects; `npartitions` are those of the result. Raises ValueError for an unknown rule or
    form, or where a column is missing.

    >>> from kmexport import Bucket
    >>> from kmexport.cluster import to_dataframe
    >>> bucket = Bucket.sample()
    >>> once = drop_duplicates(to_dataframe(bucket), bucket.identities())
    >>> import dask
    >>> with dask.config.set(scheduler="synchronous"):
    ...     counted = len(once)
    >>> from kmexport import drop_duplicates as drop_from_records, merge_identities
    >>> merged = merge_identities(bucket.iter_records(), bucket.identities())
    >>> counted == len(list(drop_from_records(merged)))
    True
    """
    options: dict[str, Any] = {"rule": rule, "properties": properties}
    drop_from_records((), **options)
    if missing := [name for name in SCHEMA.names if name not in frame.columns]:
        msg = f"there is no column {missing[0]!r}: give a frame of to_dataframe with all columns"
        raise ValueError(msg)
    layout = choose_columns(None, property_columns)
    empty = empty_frame(choose_columns(None, ()))
    frame = frame[SCHEMA.names].map_partitions(_under_persons, _shared(people), meta=empty.assign(**{_ROW: [0][:0]}))
    frame = frame.shuffle("person", npartitions=npartitions)
    types = {column.name: column.type for column in layout.properties}
    return frame.map_partitions(_once, options, types, meta=empty_frame(layout))


def _shared(people: IdentityMap | None) -> Any:
    """The map as one value for all tasks: on a cluster it is sent to the workers, and no task carries it."""
    if people is None:
        return None
    name = f"kmexport-identities-{uuid4().hex}"
    try:
        client = get_client()
    except ValueError:
        return _Here(people, name)
    return client.scatter({name: people}, broadcast=True, hash=False)[name]


@frozen
class _Here:
    """A map in the tasks themselves, which run in this process. The token stands for it: hashing it takes long."""

    people: IdentityMap
    token: str

    def __dask_tokenize__(self) -> str:
        return self.token


def _under_persons(frame: pd.DataFrame, people: IdentityMap | _Here | None) -> pd.DataFrame:
    people = people.people if isinstance(people, _Here) else people
    if people is not None:
        persons = frame["person"].map(people.resolve).astype(frame["person"].dtype)
        frame = frame.assign(person=persons)
    return frame.assign(**{_ROW: np.arange(len(frame))})


def _once(frame: pd.DataFrame, options: dict[str, Any], property_columns: dict[str, Any]) -> pd.DataFrame:
    frame = frame.sort_values(["revision", _ROW], kind="stable")
    at = -1

    def numbered() -> Iterator[Record]:
        nonlocal at
        for at, record in enumerate(frame_records(frame)):  # noqa: B007  # the helper gives a record before it takes the next
            yield record

    places: list[int] = []

    def kept() -> Iterator[Record]:
        for record in drop_from_records(numbered(), **options):
            places.append(at)
            yield record

    table = from_records(kept(), properties=property_columns).read_all()
    for place, name in enumerate(("revision", "line")):
        table = table.set_column(place, SCHEMA.field(name), pa.array(frame[name].to_numpy()[places]))
    return to_frame(table)
