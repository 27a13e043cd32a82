"""Cases are run in turn, A B C A B C …, so that a machine that slows down slows all of them; medians are compared."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Case = Callable[[], object]


@dataclass
class Row:
    """One line of a table. `limit` is what `value` may be at most (or, with `at_least`, must be at least)."""

    what: str
    figure: str
    spread: str = ""
    ratio: float | None = None
    limit: float | None = None
    value: float | None = None
    at_least: bool = False

    @property
    def verdict(self) -> str:
        if self.limit is None or self.value is None:
            return ""
        is_met = self.value >= self.limit if self.at_least else self.value <= self.limit
        sign = "≥" if self.at_least else "≤"
        return f"{sign} {self.limit:g}: {'met' if is_met else '**missed**'} ({self.value:.3g})"


def run(cases: Mapping[str, Case], runs: int) -> dict[str, list[float]]:
    """Seconds of each case, run in turn; one turn before is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(runs + 1):
        for name, case in cases.items():
            start = time.perf_counter()
            case()
            took = time.perf_counter() - start
            if turn:
                seconds[name].append(took)
    return seconds


def rows(
    seconds: Mapping[str, list[float]],
    floor: str,
    limits: Mapping[str, float] | None = None,
) -> list[Row]:
    """A row for each case, with the ratio of its median to the floor's, which `limits` bounds."""
    medians = {name: statistics.median(took) for name, took in seconds.items()}
    table = []
    for name, took in seconds.items():
        ratio = medians[name] / medians[floor]
        limit = (limits or {}).get(name)
        table.append(
            Row(name, f"{medians[name]:.3f} s", f"{min(took):.3f}-{max(took):.3f}", ratio, limit, ratio if limit else None)
        )
    return table


def times_faster(seconds: Mapping[str, list[float]], ours: str, rival: str, at_least: float) -> Row:
    """How many times as long the rival takes."""
    times = statistics.median(seconds[rival]) / statistics.median(seconds[ours])
    return Row(f"{ours}: faster than {rival}", f"{times:.1f} times", limit=at_least, value=times, at_least=True)


def table(title: str, lines: list[Row]) -> str:
    """Markdown."""
    out = [f"### {title}", "", "| what | median | min-max | ratio | target |", "|---|---|---|---|---|"]
    for row in lines:
        ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
        out.append(f"| {row.what} | {row.figure} | {row.spread} | {ratio} | {row.verdict} |")
    return "\n".join(out) + "\n"


def in_process(code: str, *arguments: str) -> str:
    """What a fresh Python prints for a piece of code."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
