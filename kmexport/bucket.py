"""An export at any fsspec URL: every record in it."""

from __future__ import annotations

import html
import os
from collections.abc import Generator, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, overload

from kmexport.arguments import address_of, check_type
from kmexport.errors import BucketNotFoundError
from kmexport.parsing.counts import LineCounts
from kmexport.parsing.records import OnError, one_by_one
from kmexport.parsing.selection import Identities, Kinds, Names, Selection, check_selection
from kmexport.records import Alias, Event, Record
from kmexport.revisions.audit import Audit, audit_export
from kmexport.revisions.coverage import Coverage, cover
from kmexport.revisions.groups import LINKS, each_file, read_in_groups
from kmexport.revisions.listing import MARGIN, Listing, check_selecting, list_revisions, why_no_manifest
from kmexport.revisions.manifest import Revision, Status, parse_status, read_index
from kmexport.revisions.reader import ReadGroup, ReadKeywords, ReadOptions, check_revisions, read_records
from kmexport.revisions.scan import ReceivedTimes
from kmexport.steps.identities import IdentityMap, Prefer
from kmexport.steps.time import in_window
from kmexport.storage.folder import Folder
from kmexport.storage.limits import Limits, check_limits
from kmexport.storage.open_files import Progress
from kmexport.windows import Window, check_window

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import pyarrow as pa
    from fsspec import AbstractFileSystem

    from kmexport.columns.schema import Properties

_R = TypeVar("_R", bound=Record)
_T = TypeVar("_T")


class Bucket:
    """An export at any fsspec URL, local path or `os.PathLike`; with `fs=`, at the path `url` of that filesystem.

    `limits` says how its files are fetched and how long a line may be, see `Limits`. Further keywords are the storage
    options of the filesystem (`profile="analytics"`, `anon=True` …). Constructing does no I/O and loads no filesystem.
    A bucket is picklable; its pickle holds the storage options, so the credentials that you gave too. Its repr, its
    errors and its logs never show them.

    >>> bucket = Bucket.sample()
    >>> bucket.status().pending_revisions
    1
    >>> sum(1 for record in bucket.iter_records()) == 2000
    True
    """

    def __init__(
        self,
        url: str | os.PathLike[str],
        *,
        fs: AbstractFileSystem | None = None,
        limits: Limits = Limits(),  # noqa: B008  # it is frozen
        **storage_options: Any,
    ) -> None:
        check_limits(limits)
        if fs is not None and storage_options:
            msg = f"give fs= or storage options, not both: {', '.join(sorted(storage_options))}"
            raise TypeError(msg)
        if fs is not None and not hasattr(fs, "cat_file"):
            msg = f"fs is a filesystem of fsspec, fsspec.filesystem(…), not {type(fs).__name__}"
            raise TypeError(msg)
        self._folder = Folder(address_of(url), fs, storage_options, limits)
        self._warned: set[str] = set()

    @property
    def folder(self) -> Folder:
        """The folder of its files: for modules of the package that work on files, not on records."""
        return self._folder

    @property
    def limits(self) -> Limits:
        """The limits within which it is read."""
        return self._folder.limits

    @classmethod
    def sample(cls) -> Self:
        """A small made-up export that ships inside the package: works with no network.

        >>> from kmexport import Bucket
        >>> Bucket.sample().revisions()[0].path
        'revisions/1.json'
        """
        return cls(Path(__file__).parent / "sample")

    def __repr__(self) -> str:
        return f"Bucket({self._folder.public_url!r})"

    def _repr_html_(self) -> str:
        url = html.escape(self._folder.public_url)
        return (
            f"<p><b>KISSmetrics export</b> <code>{url}</code><br>"
            "<code>.status()</code> <code>.index()</code> <code>.revisions()</code> <code>.iter_records()</code></p>"
        )

    def status(self) -> Status:
        """Read status.csv: how far the export has come. One request.

        Raises BucketNotFoundError where there is none, and StatusFormatError for wrong content.

        >>> from kmexport import Bucket
        >>> Bucket.sample().status().exported_revisions
        12
        """
        return parse_status(self._read_manifest("status.csv"))

    def index(self) -> list[Revision]:
        """Read the rows of index.csv, in the order of the revisions. One request; about 200 bytes a row.

        Raises BucketNotFoundError where there is none, and IndexFormatError for wrong content.

        >>> from kmexport import Bucket
        >>> [revision.number for revision in Bucket.sample().index()][:3]
        [1, 2, 3]
        """
        return read_index(self._read_manifest("index.csv")).revisions

    def revisions(self, window: Window | None = None, *, margin: int | None = MARGIN, after: int = 0) -> list[Revision]:
        """List the revision files that are in the bucket now and may hold records of the window, in numeric order.

        With a window: the files that the vendor received from an hour before it to `margin` seconds after its end,
        and every file without a range: the index does not name it yet, or has an odd row for it. The index says when
        records were received, not when they happened: phones send late, and what came later than `margin` is missed.
        `margin=0` trusts that nothing came late; `margin=None` takes every file, as no window does. An empty window
        needs none. `after=N`: only revisions above N. Costs the index and one fresh listing: new files are seen at
        once, whatever fsspec has cached.

        A row of the index whose file is gone is left out, with one warning; `audit()` tells them all. Raises
        EmptyListingError where the index names files and none is there. A web server has no listing: there these are
        the files that the index names.

        >>> from kmexport import Bucket, Window
        >>> revisions = Bucket.sample().revisions(Window.day("2012-10-01"))
        >>> [revision.number for revision in revisions]
        [6, 7, 8]
        """
        check_selecting(window, margin, after)
        return self._listing().select(window, after, margin)

    def coverage(self, window: Window, *, margin: int | None = MARGIN, deep: bool = True) -> Coverage:
        """Check whether all records of the window are there, and if not, why not. Ask it before you trust a day.

        It is complete when the export has come past the window's end and `margin` seconds further, for records come
        late, and when all files are there that `revisions(window, margin=margin)` names: none is gone, empty or ends
        inside a line, no number between them is missing, and the bucket does not begin later than the window.
        `margin=None` waits for nothing: the export has to be past the window's end, and every file of it there.

        Reads these files, for only that shows whether one was cut off. With `deep=False` no file is read, and it costs
        both manifests and one listing.

        >>> from kmexport import Bucket, Window
        >>> bool(Bucket.sample().coverage(Window.day("2012-10-03")))
        True
        >>> Bucket.sample().coverage(Window.day("2012-10-05")).reasons[1]
        '1 revision is not exported yet and may hold late records'
        """
        check_window(window)
        check_selecting(window, margin)
        status = self.status()
        return cover(self._folder, window, status, self._listing(), margin, deep=deep)

    def audit(self, *, deep: bool = False) -> Audit:
        """Find every disagreement between status, index and listing.

        Costs both manifests and one listing. With `deep=True` it also reads every file: for those that end inside a
        line, for malformed lines, and for how late records came. It names the revisions with records that windows miss,
        for they came more than a day late.

        >>> from kmexport import Bucket
        >>> audit = Bucket.sample().audit(deep=True)
        >>> [one.revision.path for one in audit.far]
        ['revisions/8.json', 'revisions/12.json']
        >>> len(audit.problems)
        2
        """
        status = self.status()
        return audit_export(self._folder, status, self._listing(), deep=deep)

    def _listing(self) -> Listing:
        return list_revisions(self._folder, read_index(self._read_manifest("index.csv")), self._warned)

    def _read_manifest(self, name: str) -> bytes:
        try:
            return self._folder.read(name)
        except BucketNotFoundError as error:
            reason = why_no_manifest(self._folder)
            if reason is None:
                raise
            raise BucketNotFoundError(error.url, f"{error.reason}; {reason}") from error

    @overload
    def read(
        self, revisions: Iterable[Revision | int], *, kinds: Kinds = None, names: str | Iterable[str],
        **options: Unpack[ReadKeywords],
    ) -> Iterator[Event]: ...  # fmt: skip
    @overload
    def read(
        self, revisions: Iterable[Revision | int], *, kinds: type[_R] | Iterable[type[_R]], names: None = None,
        **options: Unpack[ReadKeywords],
    ) -> Iterator[_R]: ...  # fmt: skip
    @overload
    def read(
        self, revisions: Iterable[Revision | int], *, kinds: Kinds = None, names: Names = None,
        **options: Unpack[ReadKeywords],
    ) -> Iterator[Record]: ...  # fmt: skip
    def read(
        self,
        revisions: Iterable[Revision | int],
        *,
        kinds: type[Any] | Iterable[type[Any]] | None = None,
        names: Names = None,
        people: Identities = None,
        on_error: OnError = "raise",
        callback: Progress = None,
        counts: LineCounts | None = None,
    ) -> Iterator[Record]:
        """Iterate over every record of just these revisions, in the order given: the layer under `iter_records`.

        `revisions` are those that `revisions()` and `index()` give, or their numbers. A `Revision` is opened
        at its path and no manifest is read: that is all that a worker of a cluster needs. Numbers cost the index and
        one listing. The other arguments are those of `iter_records`. Raises, at the call, TypeError for anything else
        and ValueError for a path outside revisions/.

        >>> bucket = Bucket.sample()
        >>> sum(1 for record in bucket.read(bucket.revisions()[:3]))
        501
        >>> next(bucket.read([3, 2], names="signed up")).name
        'signed up'
        """
        wanted = check_revisions(revisions)
        reading = self._reading(on_error, callback, counts, check_selection(kinds, names, people))
        return one_by_one(self._read(wanted, reading, _RECORDS))

    @overload
    def iter_records(
        self, window: Window | None = None, *, margin: int | None = MARGIN, after: int = 0,
        kinds: Kinds = None, names: str | Iterable[str], **options: Unpack[ReadKeywords],
    ) -> Iterator[Event]: ...  # fmt: skip
    @overload
    def iter_records(
        self, window: Window | None = None, *, margin: int | None = MARGIN, after: int = 0,
        kinds: type[_R] | Iterable[type[_R]], names: None = None, **options: Unpack[ReadKeywords],
    ) -> Iterator[_R]: ...  # fmt: skip
    @overload
    def iter_records(
        self, window: Window | None = None, *, margin: int | None = MARGIN, after: int = 0,
        kinds: Kinds = None, names: Names = None, **options: Unpack[ReadKeywords],
    ) -> Iterator[Record]: ...  # fmt: skip
    def iter_records(
        self,
        window: Window | None = None,
        *,
        margin: int | None = MARGIN,
        after: int = 0,
        kinds: type[Any] | Iterable[type[Any]] | None = None,
        names: Names = None,
        people: Identities = None,
        on_error: OnError = "raise",
        callback: Progress = None,
        counts: LineCounts | None = None,
    ) -> Iterator[Record]:
        """Iterate over the records of the window, or of the whole export, in the order of revisions and lines.

        Reads the files that `revisions(window, margin=margin, after=after)` names and no other: what was received
        later than `margin` seconds after the window is not among its records. `kinds`, `names`, `people` and
        `on_error` are those of `kmexport.iter_records`. `callback` is an fsspec Callback: its size is the bytes of the
        selected revisions where the filesystem tells them, and it moves as they are read; `callback="tqdm"` shows a
        bar.

        From any storage but the local disk and memory, the next revisions are fetched while one is parsed, within the
        `Limits` of the bucket. Nothing starts before the first `next()`, and everything stops when the loop is left.
        What fails for a moment is tried again: up to ten times for each file, as long as no more than
        `limits.silent_for` seconds pass without a byte of it.

        Holds `limits.prefetch_bytes`, and 64 KiB of the revision that is being read or its longest line. Raises
        MalformedRecordError (see `on_error`), RevisionNotFoundError for a file that went after it was listed (left
        out with a warning under `on_error="skip"`), BucketUnreachableError for one that can't be read whole after all
        tries, RevisionChangedError for one that was replaced meanwhile, and what `revisions()` raises; all at a
        `next()`.

        >>> from kmexport import Window
        >>> day = Window.day("2012-10-03", tz="America/New_York")
        >>> signups = Bucket.sample().iter_records(day, names=["signed up"])
        >>> sorted({event.name for event in signups})
        ['Signed Up', 'signed up']
        """
        check_selecting(window, margin, after)
        reading = self._reading(on_error, callback, counts, check_selection(kinds, names, people))
        records = one_by_one(self._read_selected(window, after, margin, reading, _RECORDS))
        return records if window is None else in_window(records, window)

    def to_batches(
        self,
        window: Window | None = None,
        *,
        columns: Iterable[str] | None = None,
        properties: Properties = (),
        revisions: Iterable[Revision | int] | None = None,
        margin: int | None = MARGIN,
        after: int = 0,
        kinds: Kinds = None,
        names: Names = None,
        people: Identities = None,
        on_error: OnError = "raise",
        callback: Progress = None,
        counts: LineCounts | None = None,
        batch_rows: int = 16_384,
        executor: Executor | None = None,
        ahead: int | None = None,
    ) -> pa.RecordBatchReader:
        """The records of `iter_records` with the same arguments, in the same order, as Arrow record batches.

        For an engine that takes an Arrow stream (DuckDB, Polars, pandas, pyarrow). Needs `kmexport[tables]`. `columns`
        chooses among those of `kmexport.tables.SCHEMA`, and `properties` adds some as columns of their own, see
        `kmexport.tables.from_records`: what is not asked for is not computed. `revisions` are just these, as `read`
        takes them, in place of those of the window.

        Lines become columns without an object for each. Repairs, counts and `on_error` are those of `iter_records`,
        with the same line numbers. One thing differs: Arrow's strings can't hold half a surrogate pair. A line that has
        one in its person, name or alias is malformed here; in `properties` it stays as its escape.

        `executor` is any `concurrent.futures.Executor`: a `ProcessPoolExecutor` for all cores of a machine, Dask's
        `client.get_executor()` for a cluster, threads where that is what you have. Its workers read groups of
        neighbouring revisions, of at most 8 MiB of lines or one revision. The rows, their order, rejected lines,
        counts and the log are as without, and `on_error` and `callback` are called here. `ahead` groups are submitted
        at a time, by default twice as many as there are workers; what they give waits in this process's memory. The
        `Limits` hold for each process. The page on processes shows a pool.

        Nothing starts before the first batch is asked for; drop or close the reader to end early. Holds one batch of
        about `batch_rows` rows (a block of 64 KiB more), and what `iter_records` holds; with an executor the batches of
        `ahead` groups and one more. Raises what `iter_records` raises, when the batch with that line is asked for: what
        came before it comes out first; and ExecutorError where a worker dies, the executor was shut down, or a bucket
        in the memory of this process (`memory://`) is given to other processes.

        >>> batches = Bucket.sample().to_batches(columns=["person"], names="signed up")
        >>> batches.read_all().num_rows
        168
        """
        from kmexport.columns.reader import batch_reader, read_columns  # noqa: PLC0415  # of an extra
        from kmexport.columns.schema import choose_columns  # noqa: PLC0415

        check_selecting(window, margin, after)
        layout = choose_columns(columns, properties)
        selection = check_selection(kinds, names, people)
        reading = self._reading(on_error, callback, counts, selection, executor=executor, ahead=ahead)
        new_reader = partial(read_columns, layout, window, batch_rows)
        new_reader()  # raises for a number of rows that can't be
        if revisions is None:
            batches = self._read_selected(window, after, margin, reading, each_file(new_reader))
        else:
            batches = self._read(check_revisions(revisions), reading, each_file(new_reader))
        return batch_reader(batches, layout.schema, batch_rows)

    def identities(
        self,
        *,
        after: int = 0,
        into: IdentityMap | None = None,
        prefer: Prefer = "named_first",
        on_error: OnError = "raise",
        callback: Progress = None,
        counts: LineCounts | None = None,
        executor: Executor | None = None,
        ahead: int | None = None,
    ) -> IdentityMap:
        """Read every alias of the export into a map of who is who, in one pass that parses alias lines only.

        `after=N` reads only revisions above N, and `into` adds to a map that is there: so a nightly job keeps its map.
        `prefer` names the persons of a new map, see `IdentityMap`. Lines that can't hold an alias are passed over,
        malformed or not. Where an alias may stand in a broken line, or over several lines, that part of the file is
        read whole, and its malformed lines go to `on_error`. `executor` and `ahead` are those of `to_batches`, the
        other arguments those of `iter_records`. Costs the map: about 250 bytes an identity; and what `iter_records`
        holds.

        >>> people = Bucket.sample().identities()
        >>> people.resolve("10007").endswith("@example.com")
        True
        """
        check_selecting(None, None, after)
        if into is not None:
            check_type("into", into, IdentityMap, "an IdentityMap (IdentityMap.load(path) reads one that was saved)")
        selection = check_selection(Alias, None)
        reading = self._reading(on_error, callback, counts, selection, executor=executor, ahead=ahead)
        people = IdentityMap(prefer) if into is None else into
        received = ReceivedTimes()
        for links in self._read_selected(None, after, None, reading, LINKS):
            people.link_pairs(links.pairs)
            received.see(links.revision, links.span)
        received.log()
        return people

    def _reading(
        self,
        on_error: OnError,
        callback: Progress,
        counts: LineCounts | None,
        selection: Selection | None,
        *,
        executor: Executor | None = None,
        ahead: int | None = None,
    ) -> ReadOptions:
        return ReadOptions(on_error, callback, counts, self.limits.max_line_bytes, selection, executor, ahead)

    def _read_selected(
        self, window: Window | None, after: int, margin: int | None, reading: ReadOptions, read_group: ReadGroup[_T]
    ) -> Generator[_T, None, None]:
        selected = self._listing().select(window, after, margin)
        yield from read_in_groups(self._folder, selected, reading, read_group)

    def _read(
        self, wanted: list[Revision | int], reading: ReadOptions, read_group: ReadGroup[_T]
    ) -> Generator[_T, None, None]:
        yield from read_in_groups(self._folder, self._resolved(wanted), reading, read_group)

    def _resolved(self, wanted: list[Revision | int]) -> list[Revision]:
        known = {}
        if any(isinstance(revision, int) for revision in wanted):
            known = {revision.number: revision for revision in self._listing().revisions}
        return [
            known.get(one, Revision(one, f"revisions/{one}.json")) if isinstance(one, int) else one for one in wanted
        ]


def check_bucket(bucket: object, function: str) -> None:
    """Raise TypeError for an address, a lake or whatever else `function` was given in place of a Bucket."""
    if not isinstance(bucket, Bucket):
        what = "its address" if isinstance(bucket, str | os.PathLike) else f"a {type(bucket).__name__}"
        msg = f"the first argument is a Bucket, not {what}: {function}(Bucket(url), …)"
        raise TypeError(msg)


_RECORDS: ReadGroup[list[Record]] = each_file(lambda: read_records)
