"""An export at any fsspec URL: its manifests, its revisions, and every record in them."""

from __future__ import annotations

import html
import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from attrs import field, frozen, validators

from kmexport.audit import Audit, Coverage, OutOfRange, compare, cover, select_revisions
from kmexport.errors import BucketNotFoundError, MalformedRecordError, RevisionNotFoundError
from kmexport.identities import IdentityMap, Prefer
from kmexport.manifest import Revision, Status, parse_index, parse_status, revision_number
from kmexport.reading import (
    MAX_LINE_BYTES,
    LineCounts,
    OnError,
    Selection,
    check_policy,
    check_selection,
    read_stream,
)
from kmexport.records import Alias, Record
from kmexport.storage import PREFETCH_BYTES, REQUESTS, Folder, Progress, check_progress, progress_bar
from kmexport.windows import Window, check_window, in_window

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from kmexport.files import BinaryFile

__all__ = ["Bucket"]

_REVISION_FILE = re.compile(r"[0-9]{1,18}\.json(\.gz)?")

logger = logging.getLogger("kmexport")


@frozen
class _Fetching:
    """How revisions are fetched, and who is told of it."""

    progress: Progress = None
    prefetch_bytes: int = field(default=PREFETCH_BYTES, validator=validators.ge(0))
    requests: int = field(default=REQUESTS, validator=validators.ge(1))

    def __attrs_post_init__(self) -> None:
        check_progress(self.progress)


class Bucket:
    """An export at any fsspec URL, local path or `os.PathLike`; with `fs=`, at the path `url` of that filesystem.

    Further keywords are the storage options of the filesystem (`profile="analytics"`, `anon=True` …). Constructing
    does no I/O and loads no filesystem. A bucket is picklable; its pickle holds the storage options, so the
    credentials that you gave too. Its repr, its errors and its logs never show them.

    >>> bucket = Bucket.sample()
    >>> bucket.status().pending_revisions
    1
    >>> sum(1 for record in bucket.iter_records()) == 2000
    True
    """

    def __init__(
        self, url: str | os.PathLike[str], *, fs: AbstractFileSystem | None = None, **storage_options: Any
    ) -> None:
        if fs is not None and storage_options:
            msg = f"give fs= or storage options, not both: {', '.join(sorted(storage_options))}"
            raise TypeError(msg)
        self._folder = Folder(os.fspath(url), fs, storage_options)

    @classmethod
    def sample(cls) -> Self:
        """A small made-up export that ships inside the package: works with no network.

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
        """How far the export has come, from status.csv. One request.

        Raises BucketNotFoundError where there is none, and StatusFormatError for wrong content.

        >>> Bucket.sample().status().exported_revisions
        12
        """
        return parse_status(self._folder.read("status.csv"))

    def index(self) -> list[Revision]:
        """The rows of index.csv, in the order of the revisions. One request; about 200 bytes a row.

        Raises BucketNotFoundError where there is none, and IndexFormatError for wrong content.

        >>> [revision.number for revision in Bucket.sample().index()][:3]
        [1, 2, 3]
        """
        return parse_index(self._folder.read("index.csv"))

    def revisions(self, window: Window | None = None, *, after: int = 0, neighbours: int = 1) -> list[Revision]:
        """The revision files that are in the bucket now and may hold records of the window, in numeric order.

        With a window: those whose range touches it, `neighbours` more on either side of each, and every file that the
        index does not name yet (it has no timestamps). Without: all. `after=N`: only revisions above N. Rows of
        the index whose file is gone are left out; `audit()` tells them. Costs the index and one fresh
        listing: new files are seen at once, whatever fsspec has cached.

        >>> from kmexport import Window
        >>> [revision.number for revision in Bucket.sample().revisions(Window.day("2012-10-01"))]
        [1, 2, 3, 4]
        """
        return [revision for revision, _ in self._selected(window, after, neighbours)]

    def iter_records(
        self,
        window: Window | None = None,
        *,
        after: int = 0,
        neighbours: int = 1,
        kinds: type[Record] | Iterable[type[Record]] | None = None,
        names: str | Iterable[str] | None = None,
        on_error: OnError = "raise",
        callback: Progress = None,
        max_line_bytes: int = MAX_LINE_BYTES,
        prefetch_bytes: int = PREFETCH_BYTES,
        requests: int = REQUESTS,
    ) -> Iterator[Record]:
        """Every record of the window, or of the whole export, lazily, in the order of the revisions and their lines.

        Reads the files that `revisions(window, after=after, neighbours=neighbours)` names and no other. `kinds`,
        `names`, `on_error` and `max_line_bytes` are those of `kmexport.iter_records`. `callback` is an
        fsspec Callback: its size is the bytes of the selected revisions where the filesystem tells them, and it moves
        as they are read; `callback="tqdm"` shows a bar.

        From any storage but the local disk and memory, the next revisions are fetched while one is parsed: at most
        `prefetch_bytes` bytes are held (never less than 128 KiB) and `requests` requests run at a time. Starts nothing
        before the first `next()`, and stops all when the loop is left.

        Holds `prefetch_bytes`, and 64 KiB of the revision that is being read or its longest line. Raises
        MalformedRecordError (see `on_error`), RevisionNotFoundError for a file that went after it was listed (left
        out with a warning under `on_error="skip"`), BucketUnreachableError for one that can't be read whole, however
        often it was tried, and what `revisions()` raises; all at a `next()`.

        >>> from kmexport import Window
        >>> day = Window.day("2012-10-03", tz="America/New_York")
        >>> sorted({event.name for event in Bucket.sample().iter_records(day, names=["signed up"])})
        ['Signed Up', 'signed up']
        """
        check_policy(on_error, max_line_bytes)
        selection = check_selection(kinds, names)
        _check_revisions(window, neighbours)
        fetching = _Fetching(callback, prefetch_bytes, requests)
        records = self._records(
            window, after, neighbours, fetching, on_error=on_error, max_line_bytes=max_line_bytes, selection=selection
        )
        return records if window is None else in_window(records, window)

    def identities(
        self,
        *,
        after: int = 0,
        into: IdentityMap | None = None,
        prefer: Prefer = "named_first",
        on_error: OnError = "raise",
        callback: Progress = None,
        prefetch_bytes: int = PREFETCH_BYTES,
        requests: int = REQUESTS,
    ) -> IdentityMap:
        """Every alias of the export as a map of who is who, in one pass that parses alias lines only.

        `after=N` reads only revisions above N, and `into` adds to a map that is there: so a nightly job keeps its map.
        `prefer` names the persons of a new map, see `IdentityMap`. Lines that can't hold an alias are passed over
        unseen, malformed or not; a stretch of a file where one may stand in a broken line, or over several lines, is
        read whole, and its malformed lines go the way of `on_error`. The other arguments are those of `iter_records`.
        Costs the map: about 250 bytes an identity; and what `iter_records` holds.

        >>> people = Bucket.sample().identities()
        >>> people.resolve("10007").endswith("@example.com")
        True
        """
        check_policy(on_error, MAX_LINE_BYTES)
        people = IdentityMap(prefer) if into is None else into
        fetching = _Fetching(callback, prefetch_bytes, requests)
        people.update(
            self._records(None, after, 0, fetching, on_error=on_error, selection=check_selection(Alias, None))
        )
        return people

    def coverage(self, window: Window, *, settle: int = 86_400) -> Coverage:
        """Whether all records of the window are there, and if not, why not. A job asks it before it trusts a day.

        Not complete: the export has not come past the window's end; revisions are pending, unless the export has
        come `settle` seconds past it (late records come within a day); a file of the window is gone; a number
        inside the window's stretch is nowhere. Costs both manifests and one listing.

        >>> from kmexport import Window
        >>> bool(Bucket.sample().coverage(Window.day("2012-10-03")))
        True
        >>> Bucket.sample().coverage(Window.day("2012-10-05")).reasons[1]
        '1 revision is not exported yet and may hold late records'
        """
        check_window(window)
        present = {revision.number for revision in self.revisions()}
        return cover(window, self.status(), self.index(), present, settle)

    def audit(self, *, deep: bool = False) -> Audit:
        """Every disagreement between status, index and listing.

        Costs both manifests and one listing. With `deep=True` it also reads every file, for those whose records lie
        outside the range that the index states and for malformed lines.

        >>> Bucket.sample().audit(deep=True).is_clean
        True
        """
        present, doubled, unknown = self._listing()
        audit = compare(self.status(), self.index(), [revision for revision, _ in present])
        audit.doubled, audit.unknown = doubled, unknown
        if deep:
            for file, revision in self._open_in_turn(present, "raise", _Fetching()):
                _look_into(file, revision, audit)
        return audit

    def _records(
        self,
        window: Window | None,
        after: int,
        neighbours: int,
        fetching: _Fetching,
        *,
        on_error: OnError,
        max_line_bytes: int = MAX_LINE_BYTES,
        selection: Selection | None = None,
    ) -> Iterator[Record]:
        selected = self._selected(window, after, neighbours)
        for file, revision in self._open_in_turn(selected, on_error, fetching):
            yield from read_stream(file, revision.path, on_error, max_line_bytes, LineCounts(), selection=selection)

    def _open_in_turn(
        self, selected: list[tuple[Revision, int | None]], on_error: OnError, fetching: _Fetching
    ) -> Iterator[tuple[BinaryFile, Revision]]:
        """The revisions with their sizes, each open while it is looked at; the callback moves with them."""
        with progress_bar(fetching.progress) as callback:
            if callback is not None and all(size is not None for _, size in selected):
                callback.set_size(sum(size or 0 for _, size in selected))
            openings = self._folder.open_each(
                [(revision.path, size) for revision, size in selected],
                prefetch_bytes=fetching.prefetch_bytes,
                requests=fetching.requests,
                callback=callback,
            )
            with closing(openings):
                for (revision, size), opening in zip(selected, openings, strict=True):
                    moved = callback.value if callback is not None else 0
                    try:
                        with opening as file:
                            yield file, revision
                    except RevisionNotFoundError:
                        if on_error != "skip":
                            raise
                        logger.warning("%s: the file went after it was listed; it was left out", revision.path)
                    if callback is not None and size is not None:
                        # What was left out is done with too.
                        callback.relative_update(size - (callback.value - moved))

    def _selected(self, window: Window | None, after: int, neighbours: int) -> list[tuple[Revision, int | None]]:
        """The revisions to read, each with its size in bytes where the listing tells it."""
        _check_revisions(window, neighbours)
        present, doubled, unknown = self._listing()
        for path in doubled:
            logger.warning("%s: not read, for another file is the same revision", path)
        for path in unknown:
            logger.debug("%s: not a revision file, not read", path)
        if window is not None:
            wanted = select_revisions([revision for revision, _ in present], window, neighbours)
            numbers = {revision.number for revision in wanted}
            present = [found for found in present if found[0].number in numbers]
        return [found for found in present if found[0].number > after]

    def _listing(self) -> tuple[list[tuple[Revision, int | None]], list[str], list[str]]:
        """The revisions that are there with their sizes; the paths of doubled ones, and those of other files."""
        indexed = {revision.number: revision for revision in self.index()}
        found: dict[int, tuple[Revision, int | None]] = {}
        doubled, unknown = [], []
        for name, size in sorted(self._files(has_rows=bool(indexed))):
            path = f"revisions/{name}"
            if not _REVISION_FILE.fullmatch(name):
                unknown.append(path)
                continue
            number = revision_number(path)
            if number in found:
                doubled.append(path)
                continue
            row = indexed.get(number)
            revision = Revision(number, path, row.min_timestamp, row.max_timestamp) if row else Revision(number, path)
            found[number] = (revision, size)
        return [found[number] for number in sorted(found)], doubled, unknown

    def _files(self, *, has_rows: bool) -> list[tuple[str, int | None]]:
        try:
            return self._folder.list("revisions")
        except BucketNotFoundError:
            if has_rows:
                raise
            return []  # nothing is exported yet


def _look_into(file: BinaryFile, revision: Revision, audit: Audit) -> None:
    """Count malformed lines, and note a range that the records overstep."""

    def count(_error: MalformedRecordError) -> None:
        audit.malformed[revision.path] = audit.malformed.get(revision.path, 0) + 1

    first: int | None = None
    last: int | None = None
    for record in read_stream(file, revision.path, count, MAX_LINE_BYTES, LineCounts()):
        first = record.timestamp if first is None else min(first, record.timestamp)
        last = record.timestamp if last is None else max(last, record.timestamp)
    if first is None or last is None or revision.min_timestamp is None or revision.max_timestamp is None:
        return
    if first < revision.min_timestamp or last > revision.max_timestamp:
        audit.out_of_range.append(OutOfRange(revision, first, last))


def _check_revisions(window: Window | None, neighbours: int) -> None:
    if window is not None:
        check_window(window)
    if neighbours < 0:
        msg = f"neighbours is 0 or more, not {neighbours}"
        raise ValueError(msg)
