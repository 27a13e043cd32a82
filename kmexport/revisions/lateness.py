"""Late records: their times against those at which the vendor received their file.

A window of a bucket reads the files that were received around it (see `select_revisions`). A record that came later
than the margin, or was imported years after its time, is in none of them. Each pass over all files sees such records,
and reports once which revisions hold them.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from attrs import define, field, frozen

from kmexport.revisions.listing import MARGIN, select_revisions
from kmexport.revisions.manifest import Revision
from kmexport.windows import Window, spell_moment

logger: logging.Logger = logging.getLogger("kmexport")

_ON_TIME: Final = "within 5 minutes"
_BOUNDS: Final = {_ON_TIME: 300, "within an hour": 3_600, "within a day": 86_400}
_LATER: Final = "later"
_AHEAD: Final = "ahead of their time"


@frozen
class FarRevision:
    """A revision with records that a window misses: they lie further from its batches than the default margin.

    `first` and `last` are the unix seconds of its first and its last record.
    """

    revision: Revision
    first: int = field(repr=spell_moment)
    last: int = field(repr=spell_moment)

    def __str__(self) -> str:
        """Say so in a sentence."""
        far = [spell_moment(second) for second in sorted({self.first, self.last}) if _is_far(self.revision, second)]
        received = spell_moment(self.revision.min_timestamp)
        return (
            f"{self.revision.path} was received at {received} and holds records of {' and '.join(far)}: "
            "windows miss them without margin=None"
        )


@define
class ReceivedTimes:
    """The first and the last record of each revision, noted while all are read. About 200 bytes a revision."""

    _spans: dict[int, tuple[Revision, int, int]] = field(factory=dict)

    def see(self, revision: Revision, times: Collection[int]) -> None:
        """Note the times of some records of a revision, in unix seconds."""
        if not times:
            return
        first, last = min(times), max(times)
        if revision.number in self._spans:
            _, before, behind = self._spans[revision.number]
            first, last = min(first, before), max(last, behind)
        self._spans[revision.number] = revision, first, last

    def see_spans(self, index: Iterable[Revision], spans: Iterable[tuple[int | None, int, int]]) -> None:
        """Note the number of a revision with its first and its last second, for many revisions of an index."""
        rows = {revision.number: revision for revision in index}
        for number, first, last in spans:
            if number in rows:
                self.see(rows[number], (first, last))

    def spans(self) -> list[tuple[Revision, int, int]]:
        """Each revision, with the seconds of its first and its last record."""
        return list(self._spans.values())

    def far(self) -> list[FarRevision]:
        """List the revisions that hold records further away than the default margin."""
        found = [FarRevision(*span) for span in self._spans.values()]
        return [one for one in found if _is_far(one.revision, one.first) or _is_far(one.revision, one.last)]

    def log(self) -> None:
        """Log one message for all of them, at level INFO."""
        far = self.far()
        if far:
            more = f" (and {len(far) - 3:,} more revisions)" if len(far) > 3 else ""
            logger.info("%s%s", "; ".join(map(str, far[:3])), more)


def count_lateness(revision: Revision, times: Iterable[int]) -> Mapping[str, int]:
    """Count the records of a revision by how late they came, at least: from the first batch of its file.

    >>> revision = Revision(143, "revisions/143.json", 1351300202, 1351300502)
    >>> times = [1351300190, 1351300400, 1323651600]
    >>> for lateness, count in count_lateness(revision, times).items():
    ...     print(lateness, count)
    within 5 minutes 2
    within an hour 0
    within a day 0
    later 1
    ahead of their time 0
    """
    counts = dict.fromkeys([*_BOUNDS, _LATER, _AHEAD], 0)
    begin, end = revision.min_timestamp, revision.max_timestamp
    if begin is None or end is None:
        return counts
    for second in times:
        if second > end:
            counts[_AHEAD] += 1
        else:
            counts[next((name for name, bound in _BOUNDS.items() if begin - second <= bound), _LATER)] += 1
    return counts


def _is_far(revision: Revision, second: int) -> bool:
    """Tell whether a window of this one second would miss the file."""
    return not select_revisions([revision], Window(second, second + 1), MARGIN)
