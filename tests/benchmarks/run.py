"""Measures and prints the tables of docs/performance.md: `python tests/benchmarks/run.py [GROUP ...]`."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks import helpers, reading

GROUPS = {**reading.GROUPS, **helpers.GROUPS}
RIVALS = ["msgspec", "orjson", "jsonlines", "ijson", "duckdb", "polars", "networkx", "fsspec", "attrs"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; all without")
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args()
    if unknown := set(chosen.groups) - set(GROUPS):
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    versions = ", ".join(f"{name} {version(name)}" for name in RIVALS)
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {versions}. Medians of {chosen.runs} runs.\n")
    for name, group in GROUPS.items():
        if chosen.groups and name not in chosen.groups:
            continue
        with tempfile.TemporaryDirectory() as folder:
            print(group(Path(folder), chosen.lines, chosen.runs), flush=True)


if __name__ == "__main__":
    main()
