"""Measures, and prints the tables of docs/measured.md: `python tests/benchmarks/run.py [NAME ...]`."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks import (
    cluster,
    columns,
    executors,
    facts,
    facts_large,
    helpers,
    lake,
    large,
    reading,
    remote,
    reports,
    tried,
)
from tests.benchmarks.harness import Group, Row

# A further group needs a function of (folder, lines, runs) that gives a Table, and a name in its module's GROUPS.
MODULES = (reading, helpers, tried, remote, large, columns, facts, facts_large, reports, lake, executors, cluster)
GROUPS: dict[str, Group] = {name: group for module in MODULES for name, group in module.GROUPS.items()}
PACKAGES = [
    "attrs", "fsspec", "msgspec", "orjson", "jsonlines", "ijson", "duckdb", "polars", "pyarrow", "networkx", "tenacity",
    "s3fs", "aiobotocore", "aiohttp", "deltalake", "dask", "distributed",
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"groups, of {', '.join(GROUPS)}; all without")
    parser.add_argument("--lines", type=_positive, default=1_000_000, metavar="N", help="of the material")
    parser.add_argument("--runs", type=_positive, default=5, metavar="N", help="of each case, in turn")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(GROUPS):
        parser.error(f"no such group: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    print(_machine(arguments.runs), flush=True)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="kmexport-benchmarks-") as folder:
        for name in arguments.names or GROUPS:
            table = GROUPS[name](Path(folder), arguments.lines, arguments.runs)
            print(table.as_markdown(), flush=True)
            rows += table.rows
    print(_summary(rows))


def _machine(runs: int) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{datetime.now(UTC).date()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}. "
        f"Medians of {runs} runs in turn.\n"
    )


def _summary(rows: list[Row]) -> str:
    judged = [row for row in rows if row.is_met is not None]
    missed = [f"**missed**: {row.what} (target {row.target})" for row in judged if not row.is_met]
    return "\n".join([f"{len(judged) - len(missed)} of {len(judged)} targets met.", *(f"- {line}" for line in missed)])


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        msg = f"{number} is below 1"
        raise argparse.ArgumentTypeError(msg)
    return number


if __name__ == "__main__":
    main()
