"""Revisions → the text of an index.csv, as the vendor writes it."""

from __future__ import annotations

from collections.abc import Iterable

from kmexport.manifest import Revision
from kmexport.moments import time_at

__all__ = ["HEADER", "index_row", "spell_index", "spell_time"]

HEADER = "filename,min_timestamp,max_timestamp,min_utc_date,max_utc_date"


def spell_index(revisions: Iterable[Revision]) -> bytes:
    r"""The whole text. A revision without a range has empty cells.

    >>> revision = Revision(7, "revisions/7.json", 1349161501, 1349162102)
    >>> print(spell_index([revision]).decode(), end="")
    filename,min_timestamp,max_timestamp,min_utc_date,max_utc_date
    revisions/7.json,1349161501,1349162102,2012-10-02 07:05 GMT,2012-10-02 07:15 GMT
    """
    rows = (index_row(revision.path, revision.min_timestamp, revision.max_timestamp) for revision in revisions)
    return "".join(f"{row}\n" for row in (HEADER, *rows)).encode()


def index_row(path: str, first: int | None, last: int | None) -> str:
    """One row, without its end."""
    times = ("" if second is None else spell_time(second) for second in (first, last))
    return ",".join([path, *("" if second is None else str(second) for second in (first, last)), *times])


def spell_time(second: int) -> str:
    """The vendor's form of a moment."""
    return f"{time_at(second).isoformat(' ')[:16]} GMT"  # strftime's years below 1000 differ by system
