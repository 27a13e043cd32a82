"""`executor=`: a warm pool of two processes beside one process and the floor; and the caller's memory.

As a script it is the process whose memory is measured: `executors.py EXPORT PAUSE`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import duckdb  # noqa: F401  # whoever reads columns has it loaded
import pyarrow as pa  # noqa: F401

import kmexport.tables  # noqa: F401
from kmexport import Bucket, Facts
from kmexport.testing import write_export
from tests.benchmarks import lake, material
from tests.benchmarks.cluster import linked_export
from tests.benchmarks.columns import HEADS
from tests.benchmarks.facts import read_with_orjson
from tests.benchmarks.harness import Case, Group, Table, figure, in_new_process, pairs
from tests.benchmarks.peak import peak_bytes

REVISIONS: Final = 40
WORKERS: Final = 2
PEAK_LINES: Final = 25_000  # of a revision: 5 MB
PAUSE: Final = 5.0  # seconds of a loop that is slower than the workers: then all that may wait does


@contextmanager
def warm_pool() -> Iterator[ProcessPoolExecutor]:
    """Two processes that have everything loaded."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["kmexport.tables"])
    with ProcessPoolExecutor(WORKERS, mp_context=context) as pool:
        list(pool.map(time.sleep, [0.5] * WORKERS))
        Bucket.sample().to_batches(executor=pool).read_all()
        yield pool


def split_export(folder: Path, path: Path, count: int) -> Bucket:
    """The lines of a file in revisions of equal length, without holding them."""
    bucket = write_export(folder, dict.fromkeys(range(1, REVISIONS + 1), ()))
    each = -(-count // REVISIONS)
    with path.open("rb") as lines:
        for number in range(1, REVISIONS + 1):
            with (folder / "revisions" / f"{number}.json").open("wb") as file:
                file.writelines(line for _, line in zip(range(each), lines, strict=False))
    return bucket


def read(bucket: Bucket, columns: list[str], **options: Any) -> int:
    return sum(batch.num_rows for batch in bucket.to_batches(columns=columns, **options))


def build(bucket: Bucket, **options: Any) -> int:
    with Facts(bucket, **options) as facts:
        return facts.sql("select (select count(*) from events) + (select count(*) from properties)").fetchall()[0][0]


def executor_group(folder: Path, count: int, runs: int) -> Table:
    """Columns, facts and identities. The floor is the `orjson.loads` loop over the same files."""
    bucket = split_export(folder / f"executor-{count}", material.clean_file(folder, count), count)
    revisions = folder / f"executor-{count}" / "revisions"
    with warm_pool() as pool:
        cases: dict[str, tuple[Any, float | None]] = {
            "kind … line": (lambda **options: read(bucket, HEADS, **options), 0.6),
            "all properties as JSON": (lambda **options: read(bucket, [*HEADS, "properties"], **options), 1.3),
            "Facts, events and properties": (lambda **options: build(bucket, **options), 2.4),
            "identities": (lambda **options: len(bucket.identities(**options).people()), None),
        }
        rows = []
        for name, (case, at_most) in cases.items():
            assert case() == case(executor=pool)
            both: dict[str, Case] = {
                f"{name}, one process": case,
                f"{name}, pool of two": lambda case=case: case(executor=pool),
            }
            found = pairs(lambda: read_with_orjson(revisions), both, runs)
            one, two = found.values()
            rows += [one.row(f"{name}, one process"), two.row(f"{name}, pool of two", at_most)]
    return Table(f"executor: {count:,} lines in {REVISIONS} revisions, a warm pool of {WORKERS}", rows)


def executor_lake_group(folder: Path, count: int, runs: int) -> Table:
    """A lake from nothing. The floor is DuckDB's COPY of the same lines to Parquet."""
    clean = lake.an_export(folder / "clean-lake-export", material.clean_file(folder, count))
    with warm_pool() as pool:
        cases: dict[str, Case] = {
            "sync, one process": lambda: lake.sync_anew(clean, folder),
            "sync, pool of two": lambda: lake.sync_anew(clean, folder, executor=pool),
        }
        assert {case() for case in cases.values()} == {count}
        found = pairs(lambda: lake.copy_with_duckdb(folder), cases, runs)
    one, two = found.values()
    rows = [one.row("sync, one process", 1.3), two.row("sync, pool of two", 0.9)]
    return Table(f"executor_lake: {count:,} lines in {lake.FILES} revisions, a warm pool of {WORKERS}", rows)


def executor_memory_group(folder: Path, count: int, runs: int) -> Table:
    """The memory of the process that takes what two workers read; they have their own."""
    copies = max(10 * count // PEAK_LINES, 1)
    export = folder / "executor-memory"
    linked_export(export, material.clean_file(folder, PEAK_LINES), copies)
    rows = []
    for pause in (0.0, PAUSE):
        how = f"; the loop waits {pause:g} s after its first batch" if pause else ""
        more, read_rows, seconds = in_new_process(__file__, str(export), str(pause)).split()
        assert int(read_rows) == copies * PEAK_LINES
        rows += [
            figure(f"peak of the caller over that of the imports{how}", float(more), "MB", at_most=150),
            figure("its seconds", float(seconds), "s"),
        ]
    return Table(
        f"executor_memory: {copies * PEAK_LINES:,} lines in {copies} revisions, all columns, a pool of {WORKERS}",
        rows,
        "figure",
    )


def main(export: str, pause: float) -> None:
    with warm_pool() as pool:
        imported, start = peak_bytes(), time.perf_counter()
        batches = Bucket(export).to_batches(executor=pool)
        rows = batches.read_next_batch().num_rows
        time.sleep(pause)
        rows += sum(batch.num_rows for batch in batches)
        print((peak_bytes() - imported) / 1e6, rows, time.perf_counter() - start)


GROUPS: dict[str, Group] = {
    "executor": executor_group,
    "executor_lake": executor_lake_group,
    "executor_memory": executor_memory_group,
}

if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
