"""An export at any fsspec URL: its manifests, its revisions, and every record in them."""

from __future__ import annotations

import html
import logging
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from kmexport.errors import RevisionNotFoundError
from kmexport.manifest import Revision, Status, parse_index, parse_status, revision_number
from kmexport.parsing import Tally
from kmexport.reading import MAX_LINE_BYTES, OnError, check_policy, check_selection, read_stream, select
from kmexport.records import Record
from kmexport.storage import Folder

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from fsspec.callbacks import Callback

__all__ = ["Bucket"]

_REVISION_FILE = re.compile(r"[0-9]{1,18}\.json(\.gz)?")

logger = logging.getLogger("kmexport")


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
        return f"Bucket({self._folder.shown_url!r})"

    def _repr_html_(self) -> str:
        url = html.escape(self._folder.shown_url)
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

    def revisions(self, *, after: int = 0) -> list[Revision]:
        """The revision files that are in the bucket now, in numeric order; with `after=N` those above N.

        Files that the index does not name have no timestamps; rows of the index whose file is gone are
        left out. Costs the index and one fresh listing: new files are seen at once, whatever fsspec has cached.

        >>> [revision.number for revision in Bucket.sample().revisions(after=9)]
        [10, 11, 12]
        """
        return [revision for revision, _ in self._selected(after)]

    def iter_records(
        self,
        *,
        after: int = 0,
        kinds: type[Record] | Iterable[type[Record]] | None = None,
        names: str | Iterable[str] | None = None,
        on_error: OnError = "raise",
        callback: Callback | None = None,
        max_line_bytes: int = MAX_LINE_BYTES,
    ) -> Iterator[Record]:
        """Every record of the export, lazily, in the order of the revisions and their lines.

        `after=N` reads only revisions above N. `kinds`, `names`, `on_error` and `max_line_bytes` are those of
        `kmexport.iter_records`. `callback` is an fsspec Callback: its size is the bytes of the selected
        revisions where the filesystem tells them, and it moves as they are read.

        Holds 64 KiB of the revision that is being read, or its longest line. Raises MalformedRecordError (see
        `on_error`), RevisionNotFoundError for a file that went after it was listed (left out with a
        warning under `on_error="skip"`), and what `revisions()` raises, at the first `next()`.

        >>> from kmexport import Event
        >>> names = [event.name for event in Bucket.sample().iter_records(kinds=Event)]
        >>> "signed up" in names
        True
        """
        check_policy(on_error, max_line_bytes)
        wanted_kinds, wanted_names = check_selection(kinds, names)
        records = self._records(after, on_error, callback, max_line_bytes)
        return select(records, wanted_kinds, wanted_names)

    def _records(
        self, after: int, on_error: OnError, callback: Callback | None, max_line_bytes: int
    ) -> Iterator[Record]:
        selected = self._selected(after)
        if callback is not None and all(size is not None for _, size in selected):
            callback.set_size(sum(size or 0 for _, size in selected))
        for revision, _ in selected:
            try:
                with self._folder.open(revision.path, callback) as file:
                    yield from read_stream(file, revision.path, on_error, max_line_bytes, Tally())
            except RevisionNotFoundError:
                if on_error != "skip":
                    raise
                logger.warning("%s: the file went after it was listed; it was left out", revision.path)

    def _selected(self, after: int) -> list[tuple[Revision, int | None]]:
        """The revisions to read, each with its size in bytes where the listing tells it."""
        indexed = {revision.number: revision for revision in self.index()}
        found: dict[int, tuple[Revision, int | None]] = {}
        for name, size in sorted(self._folder.list("revisions")):
            if not _REVISION_FILE.fullmatch(name):
                logger.debug("revisions/%s: not a revision file, not read", name)
                continue
            path = f"revisions/{name}"
            number = revision_number(path)
            if number <= after:
                continue
            if number in found:
                logger.warning("%s: not read, for %s is the same revision", path, found[number][0].path)
                continue
            row = indexed.get(number)
            revision = Revision(number, path, row.min_timestamp, row.max_timestamp) if row else Revision(number, path)
            found[number] = (revision, size)
        return [found[number] for number in sorted(found)]
