"""The files of an export at any fsspec URL: its manifests, which revisions there are, and whether they are complete."""

from __future__ import annotations

import html
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from kmexport.errors import BucketNotFoundError
from kmexport.revisions.audit import Audit, compare
from kmexport.revisions.coverage import Coverage, cover
from kmexport.revisions.listing import MARGIN, Listing, check_selecting, list_revisions
from kmexport.revisions.manifest import Revision, Status, parse_status, read_index
from kmexport.storage.folder import Folder
from kmexport.storage.limits import Limits, check_limits
from kmexport.windows import Window, check_window

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["ExportFiles"]

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class ExportFiles:
    """What a `Bucket` knows of its files; the base of that class, and not made by itself."""

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
        self._folder = Folder(os.fspath(url), fs, storage_options, limits)
        self._warned: set[str] = set()

    @property
    def folder(self) -> Folder:
        """Where its files lie: for modules of the package that work on files, not on records."""
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
        """How far the export has come, from status.csv. One request.

        Raises BucketNotFoundError where there is none, and StatusFormatError for wrong content.

        >>> from kmexport import Bucket
        >>> Bucket.sample().status().exported_revisions
        12
        """
        return parse_status(self._read_manifest("status.csv"))

    def index(self) -> list[Revision]:
        """The rows of index.csv, in the order of the revisions. One request; about 200 bytes a row.

        Raises BucketNotFoundError where there is none, and IndexFormatError for wrong content.

        >>> from kmexport import Bucket
        >>> [revision.number for revision in Bucket.sample().index()][:3]
        [1, 2, 3]
        """
        return read_index(self._read_manifest("index.csv")).revisions

    def revisions(self, window: Window | None = None, *, margin: int | None = MARGIN, after: int = 0) -> list[Revision]:
        """The revision files that are in the bucket now and may hold records of the window, in numeric order.

        With a window: the files that the vendor received from an hour before it to `margin` seconds behind its end,
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
        check_selecting(window, margin)
        return self._listing().select(window, after, margin)

    def coverage(self, window: Window, *, margin: int | None = MARGIN, deep: bool = True) -> Coverage:
        """Whether all records of the window are there, and if not, why not. A job asks it before it trusts a day.

        It is complete when the export has come past the window's end and `margin` seconds further, for records come
        late, and when all files are there that `revisions(window, margin=margin)` names: none is gone, empty or ends
        inside a line, no number between them is nowhere, and the bucket does not begin later than the window.
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
        """Every disagreement between status, index and listing.

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
        return compare(self._folder, status, self._listing(), deep=deep)

    def _listing(self) -> Listing:
        return list_revisions(self._folder, read_index(self._read_manifest("index.csv")), self._warned)

    def _read_manifest(self, name: str) -> bytes:
        try:
            return self._folder.read(name)
        except BucketNotFoundError as error:
            reason = _why_no_manifest(self._folder)
            if reason is None:
                raise
            raise BucketNotFoundError(error.url, f"{error.reason}; {reason}") from error


def _why_no_manifest(folder: Folder) -> str | None:
    """What an export from before October 2012 is, and how its files are read; None for anything else."""
    years = [name for name in folder.list_folders("") if re.fullmatch("20[0-9]{2}", name)]
    if not any(set(_MONTHS) & set(folder.list_folders(year)) for year in years):
        return None
    return (
        "this is an export from before October 2012, with one file a day such as 2011/Jan/2011-01-01.json, no "
        "revisions and no index. This line reads its files, with fsspec imported and your storage options: "
        "records = (record for file in "
        f"fsspec.open_files({folder.public_url.rstrip('/') + '/*/*/*.json'!r}) "
        "for record in kmexport.iter_records(file.open()))"
    )
