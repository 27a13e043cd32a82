"""The revisions that are in a bucket now, and the choice of those that a window needs."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from typing import Final

from attrs import field, frozen

from kmexport.arguments import check_whole
from kmexport.errors import BucketNotFoundError, EmptyListingError, IndexFormatError
from kmexport.revisions.manifest import Index, Revision, is_revision_name, revision_number
from kmexport.storage.folder import Folder
from kmexport.windows import Window, check_window

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

logger: logging.Logger = logging.getLogger("kmexport")

MARGIN: Final = 86_400  # seconds after a window in which its records are still looked for
_AHEAD: Final = 3_600  # seconds by which the clock of a sender may run ahead
BATCH: Final = 300  # seconds: the range of an index says when batches were received, and a batch takes so long

_GONE = "left out: the index names it and it is not there"
_ANY_FORM = re.compile(r"revisions/([0-9]{1,18})\.json.*", re.IGNORECASE | re.DOTALL)
_SHOWN = 3


@frozen
class Listing:
    """The files in revisions/, matched with the rows of the index."""

    url: str  # of the bucket, without credentials
    index: Sequence[Revision]  # its rows, in numeric order
    revisions: Sequence[Revision]  # to be read, in numeric order: size as listed, range of the index
    missing: Sequence[Revision]  # rows of the index whose file is gone
    doubled: Sequence[str]  # paths that are not read, for another file is the same revision
    unknown: Sequence[str]  # paths of other files
    odd_rows: Sequence[IndexFormatError] = ()  # of the index
    warned: set[str] = field(factory=set)  # paths that were logged already

    @property
    def known(self) -> set[int]:
        """Every number that the index or the bucket has."""
        return {one.number for one in self.index} | {one.number for one in self.revisions}

    @property
    def in_order(self) -> list[Revision]:
        """Every revision that the index or the bucket has, in numeric order."""
        return sorted([*self.revisions, *self.missing])

    def select(self, window: Window | None, after: int, margin: int | None) -> list[Revision]:
        """Choose the revisions above `after` that may hold records of the window, or all; log what is left out.

        Raises EmptyListingError where the index names files and the listing has none.
        """
        named = _above(after, self.index)
        if named and not self.revisions:
            raise EmptyListingError(self.url, len(named), self.unknown[:_SHOWN])
        missing, revisions = self.missing, self.revisions
        if window is not None:
            missing = select_revisions(missing, window, margin)
            revisions = select_revisions(revisions, window, margin)
        for path in self.unknown:
            logger.debug("%s: not a revision file, not read", path)
        for path in self.doubled:
            self._warn(path, "not read, for another file is the same revision")
        others = _by_number(self.unknown)
        for row in _above(after, missing):
            other = others.get(row.number)
            self._warn(row.path, f"{_GONE}; {other} is, and a name such as this is not read" if other else _GONE)
        return _above(after, revisions)

    def _warn(self, path: str, reason: str) -> None:
        if path not in self.warned:
            self.warned.add(path)
            logger.warning("%s: %s", path, reason)


def list_revisions(folder: Folder, index: Index, warned: set[str]) -> Listing:
    """List revisions/ now, and match it with an index that was read before.

    In that order, for the vendor writes new files before their rows: so no row is without its file. A web server has
    no listing: there the index is the listing, and a file that it names and that is gone shows when it is read.
    """
    if not folder.has_listings:
        files: list[tuple[str, int | None]] = [(row.path.rpartition("/")[2], None) for row in index.revisions]
        return match_with_index(folder.public_url, index, files, warned)
    try:
        files = folder.list("revisions")
    except BucketNotFoundError:
        files = []
    return match_with_index(folder.public_url, index, files, warned)


def match_with_index(url: str, index: Index, files: Iterable[tuple[str, int | None]], warned: set[str]) -> Listing:
    r"""Match the listing of revisions/, given as names and sizes, with the index.

    The paths in `warned` are not logged again.

    >>> from kmexport.revisions.manifest import read_index
    >>> index = read_index(b"7.json,10,19\n8.json,20,29\n")
    >>> files = [("7.json.gz", 100), ("07.json", 30), ("notes.txt", 5)]
    >>> listing = match_with_index("s3://acme", index, files, set())
    >>> [(one.path, one.min_timestamp, one.size) for one in listing.revisions]
    [('revisions/7.json.gz', 10, 100)]
    >>> [revision.path for revision in listing.missing], listing.doubled, listing.unknown
    (['revisions/8.json'], ['revisions/07.json'], ['revisions/notes.txt'])
    """
    rows = {row.number: row for row in index.revisions}
    spellings: dict[int, list[Revision]] = {}
    unknown = []
    for name, size in sorted(files, key=lambda file: file[0]):
        path = f"revisions/{name}"
        if not is_revision_name(name):
            unknown.append(path)
            continue
        number = revision_number(path)
        row = rows.get(number, Revision(number, path))
        spellings.setdefault(number, []).append(Revision(number, path, row.min_timestamp, row.max_timestamp, size))
    found: dict[int, Revision] = {}
    doubled = []
    for number, files_of_one in spellings.items():
        named = rows[number].path if number in rows else f"revisions/{number}.json"
        found[number], *others = sorted(files_of_one, key=lambda file: _preference(file.path, named))
        doubled += [other.path for other in others]
    return Listing(
        url=url,
        index=index.revisions,
        revisions=[found[number] for number in sorted(found)],
        missing=[row for row in index.revisions if row.number not in found],
        doubled=sorted(doubled),
        unknown=unknown,
        odd_rows=index.odd_rows,
        warned=warned,
    )


def _above(after: int, revisions: Sequence[Revision]) -> list[Revision]:
    """Keep the revisions whose number is above `after`; with 0 all of them, a revision 0 too."""
    return [revision for revision in revisions if not after or revision.number > after]


def _by_number(paths: Sequence[str]) -> dict[int, str]:
    """Find files that may be a revision in another form, such as 12.json.bz2 or 12.JSON, by their numbers."""
    found = (_ANY_FORM.fullmatch(path) for path in paths)
    return {int(match[1]): match[0] for match in found if match is not None}


def _preference(path: str, named: str) -> tuple[bool, bool, str]:
    """Make the sort key of files of one revision: the name in the index, then it packed or unpacked, then others."""
    return path != named, path.removesuffix(".gz") != named.removesuffix(".gz"), path


def select_revisions(revisions: Sequence[Revision], window: Window, margin: int | None) -> list[Revision]:
    """Choose the revisions that may hold records of the window.

    The range of a revision is when the vendor received its batches, of five minutes each: a record lies in a file that
    was received when it happened or later, and earlier only where the sender's clock ran ahead. So these are the files
    received from an hour before the window (`margin` seconds, if that is less) to `margin` seconds after its end, and
    all without a range. All files where `margin` is None, and none for an empty window.

    >>> hours = [Revision(n, f"{n}.json", n * 3600, n * 3600 + 300) for n in range(9)]
    >>> window = Window(3 * 3600, 4 * 3600)
    >>> [one.number for one in select_revisions(hours, window, margin=0)]
    [3, 4]
    >>> [one.number for one in select_revisions(hours, window, margin=2 * 3600)]
    [2, 3, 4, 5, 6]
    """
    if window.start == window.end:
        return []
    if margin is None:
        return list(revisions)
    earliest = window.start - min(margin, _AHEAD)
    latest = window.end - 1 + margin + BATCH
    return [
        revision
        for revision in revisions
        if revision.min_timestamp is None
        or revision.max_timestamp is None
        or (revision.max_timestamp >= earliest and revision.min_timestamp <= latest)
    ]


def check_selecting(window: Window | None, margin: int | None, after: int = 0) -> None:
    """Raise TypeError for anything but a window and whole numbers, ValueError for a number below 0."""
    check_whole("after", after, 0)
    if window is not None:
        check_window(window)
    if margin is None:
        return
    if isinstance(margin, bool) or not isinstance(margin, int):
        msg = f"margin is a whole number of seconds, or None for every file, not {margin!r}"
        raise TypeError(msg)
    if margin < 0:
        msg = f"margin is 0 seconds or more, or None for every file, not {margin}"
        raise ValueError(msg)


def why_no_manifest(folder: Folder) -> str | None:
    """Explain how the files of an export from before October 2012 are read; None for anything else."""
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
