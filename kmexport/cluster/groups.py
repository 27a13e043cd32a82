"""Revisions in groups, one for each task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from kmexport.revisions.manifest import Revision
from kmexport.revisions.reader import in_groups

__all__ = ["GROUP_BYTES", "Group", "group_revisions"]

GROUP_BYTES = 64 << 20

Group: TypeAlias = tuple[Revision, ...]


def group_revisions(revisions: Iterable[Revision], group_bytes: int) -> list[Group]:
    """Neighbours together, as many as have about so many bytes, at least one; their order stays.

    No revisions are one group that is empty: then a frame has its columns all the same.

    >>> revisions = [Revision(n, f"revisions/{n}.json", size=40) for n in range(1, 6)]
    >>> groups = group_revisions(revisions, 100)
    >>> [[revision.number for revision in group] for group in groups]
    [[1, 2], [3, 4], [5]]
    """
    if group_bytes < 1:
        msg = f"group_bytes is at least 1, not {group_bytes}"
        raise ValueError(msg)
    return [tuple(group) for group in in_groups(revisions, group_bytes)] or [()]


def span(group: Sequence[Revision]) -> str:
    """Their numbers, for the name of a task."""
    return f"{group[0].number}-{group[-1].number}" if group else "none"
