"""What a run has done."""

from __future__ import annotations

import html
from collections.abc import Sequence

from attrs import Factory, define, frozen

from kmexport.lateness import FarRevision
from kmexport.reading import LineCounts

__all__ = ["ChangedRevision", "SyncSummary"]

_SHOWN = 10


@frozen
class ChangedRevision:
    """A revision whose file has another size in bytes now (`size`) than when it was taken (`size_then`)."""

    number: int
    path: str
    size_then: int
    size: int

    def __str__(self) -> str:
        """In a sentence."""
        return f"{self.path} has {self.size:,} bytes now, and had {self.size_then:,} when it was taken"


@define
class SyncSummary:
    """What `sync` has done: the numbers of the `revisions` that it took, and how their lines were counted (`counts`).

    `present` is how many revisions the lake had before. `by_others` are those that another run brought in meanwhile,
    `vanished` those that went after they were listed. `unsettled` are left to the next run: they were replaced again
    and again while they were read, or other runs came first again and again. `changed` are revisions of earlier runs
    whose file has another size by now; the lake keeps what was there first, until `retake` takes them again. Of files
    that the index names and that are not in the bucket, the lake has those in `gone`, and lacks those in `missing`.
    `lost_rejects`: somebody has deleted the table rejects, which was made anew without the lines that it had.
    `far` are revisions with records that came more than a day late: windows of the bucket miss them, those of the lake
    do not.
    """

    url: str
    present: int = 0
    revisions: list[int] = Factory(list)
    counts: LineCounts = Factory(LineCounts)
    files: int = 0
    file_bytes: int = 0
    commits: int = 0
    seconds: float = 0.0
    by_others: list[int] = Factory(list)
    vanished: list[str] = Factory(list)
    unsettled: list[str] = Factory(list)
    changed: list[ChangedRevision] = Factory(list)
    far: list[FarRevision] = Factory(list)
    gone: list[str] = Factory(list)
    missing: list[str] = Factory(list)
    lost_rejects: bool = False

    @property
    def records(self) -> int:
        """How many records were added."""
        return self.counts.records

    @property
    def rejects(self) -> int:
        """How many lines are no records: they are in the table rejects."""
        return self.counts.rejected

    @property
    def problems(self) -> list[str]:
        """What should be looked at, in sentences; empty on most nights."""
        problems = []
        if self.rejects:
            lines = "line is" if self.rejects == 1 else "lines are"
            problems.append(f"{self.rejects:,} {lines} no record and went to the table rejects")
        problems += [f"{path} went after it was listed" for path in self.vanished]
        problems += [f"{path} changed again and again, and is left to the next run" for path in self.unsettled]
        problems += [f"{change}: retake(bucket, url, [{change.number}]) takes it again" for change in self.changed]
        problems += [f"{path} is gone from the bucket; the lake holds its records" for path in self.gone]
        problems += [f"{path} is named by the index and not in the bucket: the lake lacks it" for path in self.missing]
        if self.lost_rejects:
            problems.append(
                "the table rejects was deleted, and is made anew: the lines of earlier runs that are no records are "
                "lost, until retake(bucket, url, revisions) reads their files again"
            )
        return problems

    def __str__(self) -> str:
        """In a few lines."""
        if not self.revisions:
            first = f"{self.url}: nothing new; {self.present:,} revisions were there"
        else:
            took = "1 revision" if len(self.revisions) == 1 else f"{len(self.revisions):,} revisions"
            first = (
                f"{self.url}: {took} added to {self.present:,}: {self.records:,} records in {self.files:,} files "
                f"({self.file_bytes:,} bytes), {self.seconds:.1f} s"
            )
        if self.by_others:
            first += f"; {len(self.by_others):,} more were added by another run"
        return "\n".join([first, *(f"- {problem}" for problem in _cut([*self.problems, *map(str, self.far)]))])

    def _repr_html_(self) -> str:
        first, *problems = str(self).split("\n")
        items = "".join(f"<li>{html.escape(problem.removeprefix('- '))}</li>" for problem in problems)
        return f"<p>{html.escape(first)}</p>" + (f"<ul>{items}</ul>" if items else "")


def _cut(lines: Sequence[str]) -> Sequence[str]:
    return lines if len(lines) <= _SHOWN else [*lines[:_SHOWN], f"and {len(lines) - _SHOWN:,} more"]
