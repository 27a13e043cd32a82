"""Numbers of revisions that are nowhere: between those that are there, and behind the last one."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise

from kmexport.manifest import Status

__all__ = ["count_lacking", "skipped_numbers"]

_MOST_SKIPPED = 1_000_000  # numbers that are listed one by one


def skipped_numbers(known: Collection[int]) -> list[int]:
    """The numbers between the first and the last that are not there, in order.

    A file that is named after a date makes a gap of billions. So a million numbers are listed one by one; of a gap
    that does not fit in, only the first and the last.

    >>> skipped_numbers([3, 7]), skipped_numbers([3, 20121001000000])
    ([4, 5, 6], [4, 20121000999999])
    """
    found: list[int] = []
    for before, behind in pairwise(sorted(known)):
        gap = range(before + 1, behind)
        if len(found) + len(gap) <= _MOST_SKIPPED:
            found += gap
        elif gap:
            found += sorted({gap[0], gap[-1]})
    return found


def count_lacking(status: Status, known: Collection[int]) -> int:
    """How many more revisions status.csv counts as exported than there are, behind the last one.

    A bucket may begin at any number: then the count is from its first revision if it is below that, else from 1 (from
    0 where there is a revision 0).

    >>> count_lacking(Status(12, 12, None), [1, 2, 3])
    9
    >>> count_lacking(Status(12, 3, None), [22, 23, 24])
    0
    """
    exported = status.exported_revisions
    if not known:
        return exported
    first, last = min(known), max(known)
    return max(exported - (len(known) if exported < first else last + (first == 0)), 0)
