"""Which revisions are in a bucket now: a fresh listing against the index, and a look at what it may have left out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing

from kmexport.errors import BucketNotFoundError, RevisionNotFoundError
from kmexport.in_turn import Reading, open_in_turn
from kmexport.manifest import Index, Revision
from kmexport.revisions import Listing, hold_against_index
from kmexport.storage import Folder
from kmexport.windows import Window

__all__ = ["find_gone", "present_revisions", "take_listing"]

logger: logging.Logger = logging.getLogger("kmexport")


def take_listing(folder: Folder, index: Index, warned: set[str]) -> Listing:
    """What lies in revisions/ now, held against an index that was read before.

    In that order, for the vendor writes new files before their rows: so no row is without its file.
    """
    is_whole = folder.lists_reliably
    files = _list_files(folder, is_whole=is_whole)
    return hold_against_index(folder.public_url, index, files, is_whole=is_whole, warned=warned)


def present_revisions(
    folder: Folder, listing: Listing, window: Window | None, after: int = 0, neighbours: int = 1
) -> list[Revision]:
    """Those that may hold records of the window, or all; what only the index names is looked for."""
    selected = listing.select(window, after, neighbours)
    return listing.without(find_gone(folder, selected, listing), selected)


def find_gone(folder: Folder, revisions: Sequence[Revision], listing: Listing) -> set[int]:
    """The numbers of those that were not listed and are not there, by opening each. Reads their first 64 KiB."""
    unlisted = [revision for revision in revisions if revision.number in listing.unlisted]
    gone = set()
    with closing(open_in_turn(folder, unlisted, Reading(prefetch_bytes=0))) as openings:
        for revision, opening in openings:
            try:
                with opening:
                    pass
            except RevisionNotFoundError:
                gone.add(revision.number)
    return gone


def _list_files(folder: Folder, *, is_whole: bool) -> list[tuple[str, int | None]]:
    """The files in revisions/. No such folder: none. Nor where a web server has no listings: the index has to do."""
    try:
        return folder.list("revisions")
    except BucketNotFoundError as error:
        if not is_whole:
            logger.warning("revisions/ can't be listed (%s): only what the index names is read", error.reason)
    except PermissionError as error:
        if is_whole:
            raise
        logger.warning("revisions/ can't be listed (%s): only what the index names is read", error.strerror)
    return []
