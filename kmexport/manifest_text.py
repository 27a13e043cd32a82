"""Revisions → the text of an index.csv, as the vendor writes it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from kmexport.manifest import Revision
from kmexport.moments import time_at

__all__ = ["HEADER", "batch_time", "index_row", "spell_index", "spell_time"]

_LAST_SECOND: Final = 253_402_300_799  # of the calendar

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


def batch_time(number: int, second: float) -> int:
    """When the vendor receives what comes at a moment: some seconds past a full five minutes, never before it.

    >>> batch_time(7, 1349161203), batch_time(7, 1349161202)
    (1349161502, 1349161202)
    """
    past = 1 + number % 3
    return min(math.ceil((second - past) / 300) * 300 + past, _LAST_SECOND)


def spell_time(second: int) -> str:
    """The vendor's form of a moment."""
    return f"{time_at(second).isoformat(' ')[:16]} GMT"  # strftime's years below 1000 differ by system
