"""Arrow tables → pandas frames whose types are the same for every part of a collection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, TypeAlias, TypedDict, Unpack
from uuid import uuid4

import dask.bag as db
import dask.dataframe as dd
import pandas as pd
import pyarrow as pa
from attrs import field, frozen
from dask import delayed

from kmexport.bucket import Bucket
from kmexport.columns.schema import JSON, KINDS, SCHEMA, Layout, Properties, choose_columns
from kmexport.parsing.records import OnError
from kmexport.records import Alias, Record
from kmexport.revisions.listing import MARGIN
from kmexport.revisions.manifest import Revision
from kmexport.revisions.reader import in_groups
from kmexport.steps.time import in_window
from kmexport.tables import to_records as records_of_batches
from kmexport.windows import Window

__all__ = ["GROUP_BYTES", "Group", "empty_frame", "group_revisions", "to_bag", "to_dataframe", "to_frame", "to_records"]

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

Group: TypeAlias = tuple[Revision, ...]


def group_revisions(revisions: Iterable[Revision], group_bytes: int) -> list[Group]:
    """Neighbours together, as many as have about so many bytes, at least one; their order stays.

    No revisions are one group that is empty: then a frame has its columns all the same.

    >>> revisions = [Revision(n, f"revisions/{n}.json", size=40) for n in range(1, 6)]
    >>> groups = group_revisions(revisions, 100)
    >>> [[revision.number for revision in group] for group in groups]
    [[1, 2], [3, 4], [5]]
    """
    if group_bytes < 1:
        msg = f"group_bytes is at least 1, not {group_bytes}"
        raise ValueError(msg)
    return [tuple(group) for group in in_groups(revisions, group_bytes)] or [()]


def span(group: Sequence[Revision]) -> str:
    """Their numbers, for the name of a task."""
    return f"{group[0].number}-{group[-1].number}" if group else "none"


LABEL = "kmexport-revisions"  # how the dashboard names the tasks that read


class Options(TypedDict, total=False):
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
    **options: Unpack[Options],
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
    **options: Unpack[Options],
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


def checked(bucket: Bucket, options: Options) -> dict[str, Any]:
    """The options, in a form that can be read twice. Raises for those that no reading takes, here and not in a task."""
    found: dict[str, Any] = {
        name: list(value) if isinstance(value, Iterable) and not isinstance(value, str) else value
        for name, value in options.items()
    }
    bucket.to_batches(revisions=(), **found)
    return found


@frozen
class _Read:
    """What reads a group of revisions in a task. Its token is no hash of the bucket, which may hold credentials."""

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

    def __call__(self, group: Group, columns: list[str] | None = None) -> pd.DataFrame:
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

    def __call__(self, groups: Iterable[Group]) -> list[Record]:
        records: Iterator[Record] = self.bucket.read([one for group in groups for one in group], **self.options)
        return list(records if self.window is None else in_window(records, self.window))


class ReadPairs(_Read):
    """A group → its pairs of identities, each once."""

    def __call__(self, group: Group) -> list[tuple[str, str]]:
        links = self.bucket.read(group, **{**self.options, "kinds": Alias})
        return list(dict.fromkeys((link.person, link.alias) for link in links))
