"""Cases are run in turn, A B C A B C …, so that a machine that slows down slows all of them; medians are compared.

A group is a function of (folder, lines, runs) that gives a `Table`. Whether a target is met is worked out here from
the numbers that were measured.
"""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]

Case = Callable[[], object]


@dataclass
class Timing:
    """What one case took, run after run."""

    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclass
class Row:
    """One line of a table: what was measured, and what it may be. Without a target `is_met` is None."""

    what: str
    figure: str
    spread: str = ""
    ratio: float | None = None
    target: str = ""
    is_met: bool | None = None

    @property
    def ratio_text(self) -> str:
        return "" if self.ratio is None else f"{self.ratio:.2f}"

    @property
    def judged_target(self) -> str:
        """The target and whether it is met, short enough for a narrow screen."""
        if self.is_met is None:
            return self.target
        return f"{self.target.removeprefix('ratio ')}, {'met' if self.is_met else '**missed**'}"


@dataclass
class Table:
    """The rows of one group. `figure` heads the column of the medians, which says its unit."""

    title: str
    rows: list[Row]
    figure: str = "seconds (median)"

    def as_markdown(self) -> str:
        heads = ["what", self.figure, "least\u2013most", "ratio", "target"]
        cells = [[row.what, row.figure, row.spread, row.ratio_text, row.judged_target] for row in self.rows]
        used = [column for column in range(5) if column < 2 or any(row[column] for row in cells)]
        lines = [f"### {self.title}", "", _line(heads, used), "|" + "---|" * len(used)]
        lines += [_line(row, used) for row in cells]
        return "\n".join(lines) + "\n"


Group = Callable[[Path, int, int], Table]


def compare(cases: Mapping[str, Case], runs: int = 5) -> dict[str, Timing]:
    """Time each case `runs` times, in turn. One turn before is not counted: it warms the caches of files."""
    timings = {name: Timing() for name in cases}
    for turn in range(runs + 1):
        for name, case in cases.items():
            gc.collect()  # no case pays for what another one left
            start = time.perf_counter()
            case()
            took = time.perf_counter() - start
            if turn:
                timings[name].seconds.append(took)
    return timings


def pairs(floor: Case, cases: Mapping[str, Case], runs: int) -> dict[str, Ratios]:
    """Each case directly after the floor, again and again: the machine has little time to change in between."""
    ratios = {}
    for name, case in cases.items():
        case()
        ratios[name] = Ratios([_seconds(case, after=floor) for _ in range(runs)])
    return ratios


@dataclass
class Ratios:
    """The time of a case and that of the floor just before it, pair by pair."""

    pairs: list[tuple[float, float]]

    @property
    def seconds(self) -> float:
        return statistics.median(case for _, case in self.pairs)

    def row(self, what: str, at_most: float | None = None) -> Row:
        ratios = [case / floor for floor, case in self.pairs]
        row = Row(what, f"{self.seconds:.3f}", _spread(ratios), statistics.median(ratios))
        if at_most is not None:
            row.target, row.is_met = f"ratio ≤ {at_most:g}", statistics.median(ratios) <= at_most
        return row


def _seconds(case: Case, *, after: Case) -> tuple[float, float]:
    gc.collect()
    times = [time.perf_counter()]
    for one in (after, case):
        one()
        times.append(time.perf_counter())
    return times[1] - times[0], times[2] - times[1]


def rows_of(timings: Mapping[str, Timing], floor: str, at_most: Mapping[str, float] | None = None) -> list[Row]:
    """A row for each case: its median, and the ratio to the floor's median, which `at_most` bounds."""
    rows = []
    for name, timing in timings.items():
        ratio = timing.median / timings[floor].median
        row = Row(name, f"{timing.median:.3f}", _spread(timing.seconds), ratio)
        limit = (at_most or {}).get(name)
        if limit is not None:
            row.target = f"ratio ≤ {limit:g}"
            row.is_met = ratio <= limit
        rows.append(row)
    return rows


def row_per_record(timing: Timing, what: str, records: int, floor: Timing | None = None) -> Row:
    """A row in microseconds a record."""
    micro = [took / records * 1e6 for took in timing.seconds]
    ratio = timing.median / floor.median if floor else None
    return Row(what, f"{statistics.median(micro):.2f} µs", _spread(micro), ratio)


def times_as_fast(timings: Mapping[str, Timing], ours: str, rival: str, at_least: float) -> Row:
    """How many times as long the rival takes; `at_least` of 1 means that the rival is not faster."""
    times = timings[rival].median / timings[ours].median
    return Row(
        f"{ours} against {rival}",
        f"{times:.1f} times as fast",
        target=f"≥ {at_least:g} times" if at_least > 1 else "faster",
        is_met=times >= at_least if at_least > 1 else times > 1,
    )


def figure(
    what: str, value: float, unit: str = "", *, at_most: float | None = None, exactly: float | None = None
) -> Row:
    """A row for a single number, with its target where there is one."""
    digits = f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 100 else f"{value:.3g}"
    row = Row(what, f"{digits} {unit}".rstrip())
    if at_most is not None:
        row.target = f"≤ {at_most:,g} {unit}".rstrip()
        row.is_met = value <= at_most
    elif exactly is not None:
        row.target = f"{exactly:,g} {unit}".rstrip()
        row.is_met = value == exactly
    return row


def in_new_process(*arguments: str) -> str:
    """What a fresh Python prints that is given these arguments, and finds kmexport in this tree."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.strip()


def _line(cells: list[str], used: list[int]) -> str:
    return f"| {' | '.join(cells[column] for column in used)} |"


def _spread(numbers: list[float]) -> str:
    return f"{min(numbers):.3f}\u2013{max(numbers):.3f}"
