"""The revisions in a bucket now: its listing held against its index, and which of them a window needs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from attrs import field, frozen

from kmexport.errors import BucketNotFoundError, EmptyListingError, IndexFormatError
from kmexport.manifest import Index, Revision, is_revision_name, revision_number
from kmexport.storage import Folder
from kmexport.windows import Window, check_window

__all__ = ["Listing", "check_selecting", "hold_against_index", "select_revisions", "take_listing"]

_GONE = "left out: the index names it and it is not there"

logger: logging.Logger = logging.getLogger("kmexport")


@frozen
class Listing:
    """What lies in revisions/, and what the index says of it."""

    url: str  # of the bucket, without credentials
    index: Sequence[Revision]  # its rows, in numeric order
    revisions: Sequence[Revision]  # to be read, in numeric order: size as listed, range of the index
    missing: Sequence[Revision]  # rows of the index whose file is gone
    doubled: Sequence[str]  # paths that are not read, for another file is the same revision
    unknown: Sequence[str]  # paths of files that are no revision
    odd_rows: Sequence[IndexFormatError] = ()  # of the index
    warned: set[str] = field(factory=set)  # paths of which the log knows already

    @property
    def known(self) -> set[int]:
        """Every number that the index or the bucket has."""
        return {one.number for one in self.index} | {one.number for one in self.revisions}

    @property
    def in_order(self) -> list[Revision]:
        """Every revision that the index or the bucket has, in numeric order."""
        return sorted([*self.revisions, *self.missing])

    def select(self, window: Window | None, after: int, neighbours: int) -> list[Revision]:
        """The revisions above `after` that may hold records of the window, or all of them; what is left out is logged.

        EmptyListingError where the index names files and the listing has none.
        """
        named = [row for row in self.index if row.number > after]
        if named and not self.revisions:
            raise EmptyListingError(self.url, len(named))
        missing, revisions = self.missing, self.revisions
        if window is not None:
            missing = select_revisions(missing, window, 0)
            revisions = select_revisions(revisions, window, neighbours)
        for path in self.unknown:
            logger.debug("%s: not a revision file, not read", path)
        for path in self.doubled:
            self._warn(path, "not read, for another file is the same revision")
        for row in missing:
            if row.number > after:
                self._warn(row.path, _GONE)
        return [revision for revision in revisions if revision.number > after]

    def _warn(self, path: str, reason: str) -> None:
        if path not in self.warned:
            self.warned.add(path)
            logger.warning("%s: %s", path, reason)


def take_listing(folder: Folder, index: Index, warned: set[str]) -> Listing:
    """List revisions/ now, and hold it against an index that was read before.

    In that order, for the vendor writes new files before their rows: so no row is without its file. A web server has
    no listing: there the index is the listing, and a file that it names and that is gone shows when it is read.
    """
    if not folder.has_listings:
        files: list[tuple[str, int | None]] = [(row.path.rpartition("/")[2], None) for row in index.revisions]
        return hold_against_index(folder.public_url, index, files, warned)
    try:
        files = folder.list("revisions")
    except BucketNotFoundError:
        files = []
    return hold_against_index(folder.public_url, index, files, warned)


def hold_against_index(url: str, index: Index, files: Iterable[tuple[str, int | None]], warned: set[str]) -> Listing:
    r"""Hold the listing of revisions/, given as names and sizes, against the index.

    The paths in `warned` are not logged again.

    >>> from kmexport.manifest import read_index
    >>> index = read_index(b"7.json,10,19\n8.json,20,29\n")
    >>> files = [("7.json.gz", 100), ("07.json", 30), ("notes.txt", 5)]
    >>> listing = hold_against_index("s3://acme", index, files, set())
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
        found[number], *others = sorted(files_of_one, key=lambda file: _strangeness(file.path, named))
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


def _strangeness(path: str, named: str) -> tuple[bool, bool, str]:
    """The file that the index names comes first, then the same packed or unpacked, then other spellings of a number."""
    return path != named, path.removesuffix(".gz") != named.removesuffix(".gz"), path


def select_revisions(revisions: Sequence[Revision], window: Window, neighbours: int) -> list[Revision]:
    """Of the revisions in a bucket, those that may hold records of the window.

    Those whose range touches it, `neighbours` on either side of each, and those without a range. Where no range
    touches it, `neighbours` on either side of the gap in which it lies.

    >>> days = [Revision(n, f"{n}.json", n * 10, n * 10 + 8) for n in range(6)]
    >>> [one.number for one in select_revisions(days, Window(20, 30), neighbours=1)]
    [1, 2, 3]
    >>> [one.number for one in select_revisions(days, Window(29, 30), neighbours=1)]
    [2, 3]
    """
    ranged = [revision for revision in revisions if revision.has_range]
    wanted = {revision.number for revision in revisions if not revision.has_range}
    touching = [at for at, revision in enumerate(ranged) if _touches(window, revision)]
    places = [(at, at + 1) for at in touching] or [(at, at) for at in _gaps(ranged, window)]
    for start, end in places:
        wanted.update(revision.number for revision in ranged[max(start - neighbours, 0) : end + neighbours])
    return [revision for revision in revisions if revision.number in wanted]


def check_selecting(window: Window | None, neighbours: int) -> None:
    """TypeError for what is no window, ValueError for less than no neighbours."""
    if window is not None:
        check_window(window)
    if neighbours < 0:
        msg = f"neighbours is 0 or more, not {neighbours}"
        raise ValueError(msg)


def _touches(window: Window, revision: Revision) -> bool:
    """Whether the range that the index states has a second in common with the window."""
    first, last = revision.min_timestamp, revision.max_timestamp
    return first is not None and last is not None and window.touches(first, last)


def _gaps(ranged: Sequence[Revision], window: Window) -> list[int]:
    """Where, in the order of the numbers, time steps over the window; at the ends too. An empty window needs nothing.

    There is more than one such place where the ranges go back in time.
    """
    if window.start == window.end:
        return []
    is_before = [True, *(revision.max_timestamp < window.start for revision in ranged), False]  # type: ignore[operator]
    return [at for at in range(len(ranged) + 1) if is_before[at] != is_before[at + 1]]
