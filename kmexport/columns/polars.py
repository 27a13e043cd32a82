"""A Bucket as a lazy frame of Polars: columns that a query leaves out are not read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol, Unpack

import pyarrow as pa
from attrs import frozen

from kmexport.columns.schema import JSON, KINDS, SCHEMA, Properties, choose_columns
from kmexport.parsing.selection import Kinds, Names
from kmexport.revisions.listing import MARGIN
from kmexport.revisions.manifest import Revision
from kmexport.revisions.reader import ReadKeywords
from kmexport.windows import Window

if TYPE_CHECKING:
    import polars as pl

__all__ = ["scan_polars"]


class ColumnExport(Protocol):
    """A Bucket, or another source with its `to_batches`."""

    def to_batches(self, *arguments: Any, **options: Any) -> Any:
        """Read its records in columns."""
        ...


def scan_polars(
    bucket: ColumnExport,
    window: Window | None = None,
    *,
    properties: Properties = (),
    revisions: Iterable[Revision | int] | None = None,
    margin: int | None = MARGIN,
    after: int = 0,
    kinds: Kinds = None,
    names: Names = None,
    executor: Executor | None = None,
    ahead: int | None = None,
    **options: Unpack[ReadKeywords],
) -> pl.LazyFrame:
    """Make a Polars LazyFrame of an export: the columns of `SCHEMA`, and one for each of `properties`.

    The arguments are those of `Bucket.to_batches`: give `window`, `names`, `kinds`, `people` and `after` here, and
    files and lines that they leave out are passed over unread. A query reads the columns that it uses, and `head(n)`
    stops reading after n rows. Filters of Polars apply to the rows that were read, so `names=` here is faster than a
    filter by name.

    `kind` is an Enum, `time` is in UTC, in milliseconds, for Polars has no seconds, and `properties` is text. Polars
    compares names as they were sent; `names=` takes all spellings.

    Reads nothing before `collect()`, and once for each place in the query that the frame stands in. Needs
    `kmexport[polars]`. Holds what `to_batches` and the query hold. Raises TypeError and ValueError for arguments as
    `to_batches` does; what a read raises comes out of `collect()`, from Polars before version 2 as a ComputeError
    with its text.

    >>> import polars as pl
    >>> from kmexport import Bucket
    >>> signups = scan_polars(Bucket.sample(), names="signed up", properties=["plan"])
    >>> of_pro = signups.filter(pl.col("plan") == "Pro").select("person", "time")
    >>> sent = Bucket.sample().iter_records(names="signed up")
    >>> of_pro.collect().height == sum(event.get("plan") == "Pro" for event in sent)
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
            msg += ": scan_polars(Bucket(url))"
        raise TypeError(msg)
    layout = choose_columns(None, properties)
    types = {column.name: column.type for column in layout.properties}
    # Polars may read more than once, so nothing here is an iterator.
    given: dict[str, Any] = {
        "revisions": revisions,
        "after": after,
        "margin": margin,
        "kinds": kinds,
        "names": names,
    }
    given |= {"executor": executor, "ahead": ahead, **options}
    fixed = {name: list(value) if isinstance(value, Iterator) else value for name, value in given.items()}
    bucket.to_batches(window, **fixed)  # starts nothing, and raises for wrong arguments
    source = _Source(bucket, types, window, fixed)
    return register_io_source(source, schema=_frame(layout.schema.empty_table()).schema, is_pure=True)


@frozen
class _Source:
    """The callable that Polars calls for each reading. Picklable where the bucket and the options are."""

    bucket: ColumnExport
    properties: Mapping[str, Any]
    window: Window | None
    options: Mapping[str, Any]

    def __call__(
        self, columns: list[str] | None, predicate: pl.Expr | None, count: int | None, _batch_size: int | None, /
    ) -> Iterator[pl.DataFrame]:
        wanted = [*SCHEMA.names, *self.properties] if columns is None else columns
        for frame in self._frames(wanted, count):
            yield frame if predicate is None else frame.filter(predicate)

    def _frames(self, wanted: list[str], count: int | None) -> Iterator[pl.DataFrame]:
        properties = {name: kind for name, kind in self.properties.items() if name in wanted}
        columns = [name for name in wanted if name not in properties]
        yield _frame(choose_columns(columns, properties).schema.empty_table()).select(wanted)  # one is needed at least
        if count == 0:
            return
        batches = self.bucket.to_batches(self.window, columns=columns, properties=properties, **self.options)
        with closing(batches):
            for batch in batches:
                frame = _frame(batch if count is None else batch.slice(0, count)).select(wanted)
                yield frame
                if count is not None:
                    count -= frame.height
                    if not count:
                        return


def _frame(columns: pa.Table | pa.RecordBatch) -> pl.DataFrame:
    """Make a frame of Arrow columns: types without an extension, and one type of `kind` in all frames."""
    import polars as pl  # noqa: PLC0415  # of an extra

    arrays = dict(zip(columns.schema.names, columns.columns, strict=True))
    if "properties" in arrays and arrays["properties"].type == JSON:
        arrays["properties"] = arrays["properties"].cast(pa.string())
    frame = pl.DataFrame(pa.table(arrays))
    return frame.with_columns(pl.col("kind").cast(pl.Enum(KINDS))) if "kind" in arrays else frame
