"""Dask: a worker beside one process that reads the same columns, and two workers beside one."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from distributed import Client, LocalCluster

from kmexport import Bucket
from kmexport.cluster import to_dataframe
from tests.benchmarks import material
from tests.benchmarks.harness import Group, Row, Table, compare

FILES = 16
COLUMNS = ["person", "time", "name"]


def linked_export(folder: Path, path: Path, copies: int) -> Bucket:
    """An export whose revisions are one and the same file, so that a large one needs little disk."""
    (folder / "revisions").mkdir(parents=True)
    rows = ["revision,filename,minimum_timestamp,maximum_timestamp"]
    for number in range(1, copies + 1):
        os.link(path, folder / "revisions" / f"{number}.json")
        rows.append(f"{number},revisions/{number}.json,0,9999999999")
    (folder / "index.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return Bucket(folder)


def count_here(bucket: Bucket) -> int:
    return sum(batch.num_rows for batch in bucket.to_batches(columns=COLUMNS))


def count_on(client: Client, bucket: Bucket) -> int:
    parts = to_dataframe(bucket, columns=COLUMNS).map_partitions(len, meta=(None, "int64"))
    return int(client.compute(parts.sum()).result())


def local_cluster(workers: int) -> LocalCluster:
    return LocalCluster(
        n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", memory_limit=None
    )


def cluster_group(folder: Path, count: int, runs: int) -> Table:
    """Overhead of a worker, and what a second one brings."""
    count = max(count, 5_000_000) // FILES * FILES
    bucket = linked_export(folder / "cluster-export", material.clean_file(folder, count // FILES), FILES)
    with local_cluster(1) as one, local_cluster(2) as two, Client(one) as alone, Client(two) as both:
        assert count_here(bucket) == count_on(alone, bucket) == count_on(both, bucket) == count
        cases = {
            "to_batches": lambda: count_here(bucket),
            "one worker": lambda: count_on(alone, bucket),
            "two workers": lambda: count_on(both, bucket),
        }
        timings = {name: timing.median for name, timing in compare(cases, runs).items()}
    overhead = timings["one worker"] / timings["to_batches"]
    gain = timings["one worker"] / timings["two workers"]
    rows = [
        Row("to_batches in one process", f"{timings['to_batches']:.2f}", ratio=1.0),
        Row("one worker", f"{timings['one worker']:.2f}", "", overhead, "at most 1.15", overhead <= 1.15),
        Row("two workers", f"{timings['two workers']:.2f}", "", timings["two workers"] / timings["to_batches"]),
        Row("two workers, times as fast as one", f"{gain:.2f}", target="at least 1.7", is_met=gain >= 1.7),
    ]
    return Table(f"cluster: {count:,} lines in {FILES} revisions, three columns; the floor is to_batches", rows)


GROUPS: dict[str, Group] = {"cluster": cluster_group}


def main() -> None:
    """`cluster.py FOLDER LINES...`: seconds for so many lines on two workers, in that order, for docs/scale.md."""
    folder = Path(sys.argv[1])
    path = material.clean_file(folder, 312_500)
    with local_cluster(2) as cluster, Client(cluster) as client:
        for lines in map(int, sys.argv[2:]):
            bucket = linked_export(folder / f"export-{lines}-{time.monotonic_ns()}", path, lines // 312_500)
            begun = time.perf_counter()
            assert count_on(client, bucket) == lines
            counted = time.perf_counter()
            bucket.identities(executor=client.get_executor())
            ended = time.perf_counter()
            load = f"load {os.getloadavg()[0]:.1f}"
            print(
                f"{lines:,} lines: frame {counted - begun:.1f} s, identities {ended - counted:.1f} s, {load}",
                flush=True,
            )


if __name__ == "__main__":
    main()
