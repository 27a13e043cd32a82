"""A Bucket as a lazy frame of Polars: what a query leaves out is not read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol, Unpack

import pyarrow as pa
from attrs import frozen

from kmexport.in_turn import ReadOptions
from kmexport.manifest import Revision
from kmexport.reading import Selection, check_selection
from kmexport.records import Record
from kmexport.tables.schema import JSON, KINDS, SCHEMA, Properties, choose_columns
from kmexport.windows import Window

if TYPE_CHECKING:
    import polars as pl

    from kmexport.tables.predicates import Bounds

__all__ = ["scan_polars"]


class ColumnExport(Protocol):
    """A Bucket, or what reads like one."""

    def to_batches(self, *arguments: Any, **options: Any) -> Any:
        """Its records in columns."""
        ...


def scan_polars(
    bucket: ColumnExport,
    window: Window | None = None,
    *,
    properties: Properties = (),
    revisions: Iterable[Revision | int] | None = None,
    after: int = 0,
    neighbours: int = 1,
    kinds: type[Record] | Iterable[type[Record]] | None = None,
    names: str | Iterable[str] | None = None,
    processes: int = 1,
    **options: Unpack[ReadOptions],
) -> pl.LazyFrame:
    """The records of an export as a Polars LazyFrame: the columns of `SCHEMA`, and one for each of `properties`.

    The arguments are those of `Bucket.to_batches`. A query reads the columns that it uses, and its filters leave out
    what they can: `time` compared with moments chooses revisions as a window does, and so does `revision` above a
    number; `name` and `person` equal to a text, or in several, are `names=` and `people=`; `kind`, and `alias` and
    `name` that are not null, are `kinds=`. Polars then applies the filters to the rows. `head(n)` stops reading after n
    rows. As with `window=` and the like, files and lines are passed over unread, those too that can't be read.

    `kind` is an Enum, `time` is in UTC, in milliseconds, for Polars has no seconds, and `properties` is text. Names
    compare as they were sent, as Polars does it; `names=` takes all spellings.

    Reads nothing before `collect()`, and once for each place in the query that the frame stands in. Needs
    `kmexport[polars]`. Holds what `to_batches` and the query hold. Raises TypeError and ValueError for arguments as
    `to_batches` does; what a read raises comes out of `collect()`, from Polars before version 2 as a ComputeError
    with its text.

    >>> import polars as pl
    >>> from kmexport import Bucket
    >>> records = scan_polars(Bucket.sample(), properties=["plan"])
    >>> is_signup = pl.col("name").is_in(["signed up", "Signed Up"])
    >>> signups = records.filter(is_signup).select("person", "plan")
    >>> of_the_export = list(Bucket.sample().iter_records(names="signed up"))
    >>> signups.collect().height == len(of_the_export)
    True
    """
    try:
        from polars.io.plugins import register_io_source  # noqa: PLC0415  # of an extra
    except ImportError as error:
        msg = "scan_polars needs polars: pip install 'kmexport[polars]'"
        raise ImportError(msg, name="polars") from error
    if not hasattr(bucket, "to_batches"):
        msg = f"scan_polars reads a Bucket, not {type(bucket).__name__}"
        if isinstance(bucket, str):
            msg += f": scan_polars(Bucket({bucket!r}))"
        raise TypeError(msg)
    layout = choose_columns(None, properties)
    types = {column.name: column.type for column in layout.properties}
    # Polars may read more than once, so nothing here is an iterator.
    given = {"revisions": revisions, "neighbours": neighbours, "processes": processes, **options}
    fixed = {name: list(value) if isinstance(value, Iterator) else value for name, value in given.items()}
    bucket.to_batches(window, **fixed)  # starts nothing, and raises for what can't be
    source = _Source(bucket, types, _bounds(window, after, check_selection(kinds, names)), fixed)
    return register_io_source(source, schema=_frame(layout.schema.empty_table()).schema, is_pure=True)


def _bounds(window: Window | None, after: int, selection: Selection | None) -> Bounds:
    from kmexport.tables.predicates import Bounds  # noqa: PLC0415  # of an extra

    bounds = Bounds(after=after)
    if window is not None:
        bounds &= Bounds(start=window.start, end=window.end)
    if selection is not None:
        bounds &= Bounds(names=selection.names, kinds=frozenset(selection.kinds))
    return bounds


@frozen
class _Source:
    """What Polars calls for each reading. Picklable where the bucket and the options are."""

    bucket: ColumnExport
    properties: Mapping[str, Any]
    bounds: Bounds
    options: Mapping[str, Any]

    def __call__(
        self, columns: list[str] | None, predicate: pl.Expr | None, count: int | None, _batch_size: int | None, /
    ) -> Iterator[pl.DataFrame]:
        from kmexport.tables.predicates import bounds_of  # noqa: PLC0415  # of an extra

        wanted = [*SCHEMA.names, *self.properties] if columns is None else columns
        bounds = self.bounds
        if predicate is not None and count is None:  # else it applies to the first rows, whatever they are
            bounds &= bounds_of(predicate)
        for frame in self._frames(wanted, bounds, count):
            yield frame if predicate is None else frame.filter(predicate)

    def _frames(self, wanted: list[str], bounds: Bounds, count: int | None) -> Iterator[pl.DataFrame]:
        properties = {name: kind for name, kind in self.properties.items() if name in wanted}
        columns = [name for name in wanted if name not in properties]
        yield _frame(choose_columns(columns, properties).schema.empty_table()).select(wanted)  # one is needed at least
        if bounds.is_empty or count == 0:
            return
        # People who are given are wanted as aliases too: what the bounds say of persons does not go with that.
        given = {name: value for name, value in self.options.items() if value is not None}
        arguments = {**bounds.as_arguments(), **given}
        batches = self.bucket.to_batches(columns=columns, properties=properties, **arguments)
        with closing(batches):
            for batch in batches:
                frame = _frame(batch if count is None else batch.slice(0, count)).select(wanted)
                yield frame
                if count is not None:
                    count -= frame.height
                    if not count:
                        return


def _frame(columns: pa.Table | pa.RecordBatch) -> pl.DataFrame:
    """Columns of Arrow as a frame: types without an extension, and kinds that are the same in each frame."""
    import polars as pl  # noqa: PLC0415  # of an extra

    arrays = dict(zip(columns.schema.names, columns.columns, strict=True))
    if "properties" in arrays and arrays["properties"].type == JSON:
        arrays["properties"] = arrays["properties"].cast(pa.string())
    frame = pl.DataFrame(pa.table(arrays))
    return frame.with_columns(pl.col("kind").cast(pl.Enum(KINDS))) if "kind" in arrays else frame
