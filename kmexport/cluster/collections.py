"""An export as Dask frames and bags, and each record once over a cluster.

steps/duplicates.py has the rule of duplicates over records, facts/duplicates.py and facts/sqlite.py in SQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Literal, TypeAlias, TypedDict, Unpack
from uuid import uuid4

import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
from attrs import field, frozen
from dask import delayed
from distributed import get_client

from kmexport.arguments import check_whole
from kmexport.bucket import Bucket, check_bucket
from kmexport.columns.schema import JSON, KINDS, SCHEMA, Layout, Properties, choose_columns
from kmexport.parsing.records import OnError
from kmexport.records import Record
from kmexport.revisions.groups import in_groups
from kmexport.revisions.listing import MARGIN
from kmexport.revisions.manifest import Revision
from kmexport.steps.duplicates import drop_duplicates as drop_from_records
from kmexport.steps.identities import IdentityMap
from kmexport.steps.time import in_window
from kmexport.tables import from_records
from kmexport.tables import to_records as records_of_batches
from kmexport.windows import Window

_TEXT = pd.StringDtype("pyarrow")
_KIND = pd.CategoricalDtype(list(KINDS))


def to_frame(table: pa.Table) -> pd.DataFrame:
    """The table as a frame: text as `string[pyarrow]`, `kind` as a category, further columns as their Arrow types."""
    return pd.DataFrame({name: _series(name, table.column(name)) for name in table.column_names})


def empty_frame(layout: Layout) -> pd.DataFrame:
    """A frame without rows, with the columns and types of every part."""
    return to_frame(layout.schema.empty_table())


def _series(name: str, column: pa.ChunkedArray) -> Any:
    if name not in SCHEMA.names:
        return pd.Series(pd.array(column.to_pandas(types_mapper=pd.ArrowDtype)))
    if name == "kind":
        return column.cast(pa.string()).to_pandas().astype(_KIND)
    if column.type == JSON:
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], pa.string())
    if pa.types.is_string(column.type):
        return column.to_pandas(types_mapper={pa.string(): _TEXT}.get)
    return column.to_pandas()


GROUP_BYTES = 64 << 20

RevisionGroup: TypeAlias = tuple[Revision, ...]


def group_revisions(revisions: Iterable[Revision], group_bytes: int) -> list[RevisionGroup]:
    """Group neighbours up to a number of bytes, at least one; their order stays.

    No revisions are one group that is empty: then a frame has its columns all the same.

    >>> revisions = [Revision(n, f"revisions/{n}.json", size=40) for n in range(1, 6)]
    >>> groups = group_revisions(revisions, 100)
    >>> [[revision.number for revision in group] for group in groups]
    [[1, 2], [3, 4], [5]]
    """
    check_whole("group_bytes", group_bytes, 1)
    return [tuple(group) for group in in_groups(revisions, group_bytes)] or [()]


LABEL = "kmexport-revisions"  # how the dashboard names the tasks that read


class BagOptions(TypedDict, total=False):
    """The further arguments of `Bucket.iter_records` that make sense on a worker."""

    kinds: type[Record] | Iterable[type[Record]] | None
    names: str | Iterable[str] | None
    people: str | Iterable[str] | None
    on_error: OnError


def to_dataframe(
    bucket: Bucket,
    window: Window | None = None,
    *,
    columns: Iterable[str] | None = None,
    properties: Properties = (),
    margin: int | None = MARGIN,
    after: int = 0,
    group_bytes: int = GROUP_BYTES,
    **options: Unpack[BagOptions],
) -> dd.DataFrame:
    """The records of `bucket.to_batches` with the same arguments, in the same order, as a Dask frame.

    A partition is a group of neighbouring revisions of about `group_bytes` bytes. Columns that are not used later are
    not computed: Dask hands its choice to the tasks. Text is `string[pyarrow]`, `kind` a category, `time`
    `datetime64[s, UTC]`, `properties` JSON text, columns of properties their Arrow types. The revisions are those that
    are there now: the listing is made here, at the call, and files that come later are not read.

    `on_error` happens on the workers, so a callable has to be picklable, and what it remembers stays there. A task
    holds its partition: some three times its bytes. The bucket travels to the workers with its storage options, in the
    task and never in its key, its repr or the dashboard. Raises what `Bucket.to_batches` raises, when it is computed.

    >>> from kmexport import Bucket
    >>> frame = to_dataframe(
    ...     Bucket.sample(), columns=["person"], properties=["plan"], names="signed up"
    ... )
    >>> list(frame.columns)
    ['person', 'plan']
    """
    layout = choose_columns(columns, properties)
    check_bucket(bucket, "to_dataframe")
    read = ReadFrame(bucket, window, checked(bucket, options), {one.name: one.type for one in layout.properties})
    groups = group_revisions(bucket.revisions(window, margin=margin, after=after), group_bytes)
    frame = dd.from_map(read, groups, meta=empty_frame(choose_columns(None, properties)), label=LABEL)
    return frame[list(layout.schema.names)]


def to_bag(
    bucket: Bucket,
    window: Window | None = None,
    *,
    margin: int | None = MARGIN,
    after: int = 0,
    group_bytes: int = GROUP_BYTES,
    **options: Unpack[BagOptions],
) -> db.Bag:
    """The records of `bucket.iter_records` with the same arguments, in the same order, as a Dask bag of objects.

    For functions that take records. A task holds the objects of its group, some ten times its bytes; where a frame
    will do, take `to_dataframe`. All else is as there.

    >>> from kmexport import Bucket, Event
    >>> bag = to_bag(Bucket.sample(), kinds=Event, names="signed up")
    >>> signups = list(Bucket.sample().iter_records(names="signed up"))
    >>> bag.compute(scheduler="synchronous") == signups
    True
    """
    check_bucket(bucket, "to_bag")
    read = ReadRecords(bucket, window, checked(bucket, options))
    groups = group_revisions(bucket.revisions(window, margin=margin, after=after), group_bytes)
    return db.from_sequence(groups, npartitions=len(groups)).map_partitions(read)


def to_records(frame: dd.DataFrame) -> db.Bag:
    """The records of a frame that has the columns of `kmexport.tables.SCHEMA`, as a bag.

    A frame that was shuffled, as by `drop_duplicates`, is computed first on a cluster, and held in its workers' memory
    while the bag is there: Dask's bags can't be joined to its shuffle between workers.

    >>> from kmexport import Bucket
    >>> records = to_records(to_dataframe(Bucket.sample()))
    >>> records.compute(scheduler="synchronous") == list(Bucket.sample().iter_records())
    True
    """
    if any(type(task).__name__ == "P2PBarrierTask" for task in frame.optimize().dask.values()):
        frame = frame.persist()
    # Not by map_partitions over the bag: dask 2025.5 to 2025.11 lose the frame's tasks there.
    listed = delayed(_listed, pure=True)
    return db.from_delayed([listed(part) for part in frame.to_delayed()])


def _listed(frame: pd.DataFrame) -> list[Record]:
    return list(frame_records(frame))


def frame_records(frame: pd.DataFrame) -> Iterator[Record]:
    """The records of one part."""
    return records_of_batches(pa.Table.from_pandas(frame, preserve_index=False))


def checked(bucket: Bucket, options: BagOptions) -> dict[str, Any]:
    """The options, in a form that can be read twice. Raises for those that no reading takes, here and not in a task."""
    found: dict[str, Any] = {
        name: list(value) if isinstance(value, Iterable) and not isinstance(value, str) else value
        for name, value in options.items()
    }
    bucket.to_batches(revisions=(), **found)
    return found


@frozen
class _Read:
    """A reader of a group of revisions in a task. Its token is not made of the bucket, which may hold credentials."""

    __name__: ClassVar[str] = LABEL  # a bag names its tasks so

    bucket: Bucket
    window: Window | None
    options: dict[str, Any]
    properties: dict[str, Any] = field(factory=dict)
    token: str = field(factory=lambda: uuid4().hex, repr=False)

    def __dask_tokenize__(self) -> str:
        return self.token


class ReadFrame(_Read):
    """A group → a frame. Dask says which columns are needed."""

    def __call__(self, group: RevisionGroup, columns: list[str] | None = None) -> pd.DataFrame:
        wanted = [*SCHEMA.names, *self.properties] if columns is None else columns
        batches = self.bucket.to_batches(
            self.window,
            revisions=group,
            columns=[name for name in SCHEMA.names if name in wanted]
            or ["line"],  # rows without columns have no number
            properties={name: kind for name, kind in self.properties.items() if name in wanted},
            **self.options,
        )
        return to_frame(batches.read_all())[wanted]


class ReadRecords(_Read):
    """Groups → records: a list, for Dask can't send an iterator to another worker."""

    def __call__(self, groups: Iterable[RevisionGroup]) -> list[Record]:
        records: Iterator[Record] = self.bucket.read([one for group in groups for one in group], **self.options)
        return list(records if self.window is None else in_window(records, self.window))


_ROW = "row of its revision"


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
