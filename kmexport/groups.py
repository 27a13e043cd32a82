"""Revisions in groups of about so many bytes, each for one commit or one task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from kmexport.manifest import Revision

__all__ = ["in_groups"]

_UNKNOWN_SIZE: Final = 4 << 20  # what a revision is taken for whose storage does not tell its size


def in_groups(revisions: Iterable[Revision], most_bytes: int) -> Iterator[list[Revision]]:
    """Neighbours together, as many as have at most so many bytes, or one; their order stays.

    >>> revisions = [Revision(n, f"revisions/{n}.json", size=40) for n in range(1, 6)]
    >>> [[revision.number for revision in group] for group in in_groups(revisions, 100)]
    [[1, 2], [3, 4], [5]]
    """
    group: list[Revision] = []
    held = 0
    for revision in revisions:
        size = _UNKNOWN_SIZE if revision.size is None else revision.size
        if group and held + size > most_bytes:
            yield group
            group, held = [], 0
        group.append(revision)
        held += size
    if group:
        yield group
