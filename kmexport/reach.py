"""Where the records of an export begin and how far it has come, whatever wrong clocks say.

One phone with a wrong clock dates a record years away. The range of its revision is as wide then, and status.csv states
a newest record that nobody sent. So no time counts by itself: others have to bear it out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import median_low
from typing import Final, TypeAlias

from kmexport.contents import Contents
from kmexport.gaps import count_lacking
from kmexport.manifest import Revision, Status
from kmexport.revisions import Listing

__all__ = ["Range", "ends_in_doubt", "exported_until", "known_ranges", "latest_begin", "starts_at"]

Range: TypeAlias = tuple[int, int]  # first and last unix second

_DAY: Final = 86_400  # seconds; no revision of the vendor's is longer unless a clock was wrong
_MONTH: Final = 30 * _DAY
_FIRST_FILES: Final = 5  # that show where a bucket begins: a wrong clock spoils one or two
_LAST_FILES: Final = 3  # that are read to see where it ends


def known_ranges(listing: Listing, contents: Mapping[int, Contents]) -> list[Range]:
    """The ranges of the revisions, in numeric order: as the index states them, or as their files were read."""
    ranges = []
    for revision in listing.in_order:
        first, last = revision.min_timestamp, revision.max_timestamp
        if first is None and revision.number in contents:
            found = contents[revision.number]
            first, last = found.first, found.last
        if first is not None and last is not None:
            ranges.append((first, last))
    return ranges


def starts_at(ranges: Sequence[Range], known: Collection[int]) -> int | None:
    """The end of the first revision: what lies before it may have been in an earlier one. None if it is number 1.

    The first revision of a day or less is taken, but no time behind the middle one of the first five ends.

    >>> starts_at([(0, 90), (90, 180), (180, 270)], known=[7, 8, 9])
    90
    """
    if min(known, default=1) <= 1 or not ranges:
        return None
    first = ranges[:_FIRST_FILES]
    ends = [end for _, end in first]
    return min(next((end for start, end in first if end - start <= _DAY), ends[0]), median_low(ends))


def latest_begin(ranges: Iterable[Range]) -> int | None:
    """The latest time at which a revision begins; not that of one alone that begins a month behind all others.

    >>> latest_begin([(0, 90), (90, 10**9)]), latest_begin([(0, 90), (10**9, 10**9)])
    (90, 0)
    """
    begins = sorted(begin for begin, _ in ranges)
    if len(begins) > 1 and begins[-1] - begins[-2] > _MONTH:
        return begins[-2]
    return begins[-1] if begins else None


def ends_in_doubt(listing: Listing, begin: int | None) -> list[Revision]:
    """The last revisions that end a day behind the latest begin: one record of a wrong clock is enough for that."""
    if begin is None:
        return []
    ahead = [one for one in listing.revisions if one.max_timestamp is not None and one.max_timestamp > begin + _DAY]
    return ahead[-_LAST_FILES:]


def exported_until(status: Status, listing: Listing, begin: int | None, read: Iterable[Contents]) -> int | None:
    """The time of the newest record exported, in unix seconds; None while nothing shows it.

    status.csv is believed to a day behind the latest begin of a revision. Beyond that, as far as the files that were
    `read` reach: by more than one record, or to a month behind it.
    """
    stated = status.max_exported_timestamp
    if stated is None or begin is None:
        return None
    if stated <= begin + _DAY and not count_lacking(status, listing.known):
        return stated
    reached = [
        one.reached for one in read if one.reached is not None and (one.support > 1 or one.reached <= begin + _MONTH)
    ]
    return min(stated, max([begin, *reached]))
