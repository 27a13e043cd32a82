"""The lake: an export into it beside DuckDB's COPY to Parquet, which checks nothing; a day read back; memory."""

from __future__ import annotations

import re
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
from deltalake import DeltaTable

from kmexport import Bucket, Event, Window, drop_duplicates, merge_identities
from kmexport.lake import open_lake, sync
from kmexport.revisions.manifest import batch_time
from kmexport.testing import write_export
from tests.benchmarks import material
from tests.benchmarks.harness import Group, Row, Table, compare, figure, in_new_process, pairs, times_as_fast
from tests.benchmarks.peak import peak_bytes

FILES = 16
_TIME = re.compile(rb'"_t":([0-9]+)')
DAY = Window.day("2012-10-03")


def lake_group(folder: Path, count: int, runs: int) -> Table:
    """Ratios of pairs, each directly after DuckDB; then a day of the lake beside the same day of the JSON."""
    path = material.clean_file(folder, count)
    clean = an_export(folder / "clean-lake-export", path)
    octal = an_export(folder / "octal-lake-export", material.octal_file(folder, count))
    assert sync_anew(clean, folder) == sync_anew(octal, folder) == count
    cases = {
        "sync": lambda: sync_anew(clean, folder),
        "sync, one line in fifty octal": lambda: sync_anew(octal, folder),
    }
    found = pairs(lambda: copy_with_duckdb(folder), cases, runs)
    rows = [ratios.row(name, 1.5 if name == "sync" else None) for name, ratios in found.items()]
    sync_anew(clean, folder)
    rows += _a_day(clean, folder / "lake", runs)
    peak = in_new_process(str(Path(__file__)), str(folder / "clean-lake-export"), str(folder / "peak-lake"))
    rows.append(figure(f"peak over that of the imports, {count:,} lines", float(peak.split()[0]), "MB", at_most=500))
    return Table(f"lake: {count:,} lines in {FILES} revisions; the floor is DuckDB's COPY to Parquet, zstd", rows)


def _a_day(bucket: Bucket, lake: Path, runs: int) -> list[Row]:
    people = bucket.identities()

    def from_json() -> dict[str, int]:
        kept = drop_duplicates(merge_identities(bucket.iter_records(DAY), people))
        found: dict[str, set[str]] = {}
        for record in kept:
            if isinstance(record, Event):
                found.setdefault(record.name, set()).add(record.person)
        return {name: len(persons) for name, persons in found.items()}

    def from_lake() -> dict[str, int]:
        rows = open_lake(lake).to_batches(DAY, columns=["name", "person"])
        found: dict[str, set[str]] = {}
        for batch in rows:
            for name, person in zip(batch["name"].to_pylist(), batch["person"].to_pylist(), strict=True):
                if name is not None:
                    found.setdefault(name, set()).add(people.resolve(person))
        return {name: len(persons) for name, persons in found.items()}

    def by_duckdb() -> dict[str, int]:
        stored = DeltaTable(lake / "records").to_pyarrow_dataset()  # noqa: F841  # DuckDB finds it by its name
        query = (
            "select name, count(distinct person) from stored where day = '2012-10-03' and name is not null group by 1"
        )
        return dict(duckdb.sql(query).fetchall())

    assert from_json() == from_lake() == by_duckdb()
    timings = compare({"the JSON, by the steps": from_json, "lake.to_batches": from_lake, "DuckDB": by_duckdb}, runs)
    return [
        times_as_fast(timings, "DuckDB", "the JSON, by the steps", 50),
        times_as_fast(timings, "lake.to_batches", "the JSON, by the steps", 1),
    ]


def an_export(folder: Path, path: Path) -> Bucket:
    lines = path.read_bytes().splitlines()
    size = -(-len(lines) // FILES)
    starts = range(0, len(lines), size)
    revisions = {at // size + 1: lines[at : at + size] for at in starts}
    times = [[int(_TIME.search(line)[1]) for line in (found[0], found[-1])] for found in revisions.values()]  # type: ignore[index]
    ranges = {
        number: (batch_time(number, both[0]), batch_time(number, both[1])) for number, both in enumerate(times, 1)
    }
    return write_export(folder, revisions, ranges=ranges)


def sync_anew(bucket: Bucket, folder: Path, **options: Any) -> int:
    shutil.rmtree(folder / "lake", ignore_errors=True)
    return sync(bucket, folder / "lake", **options).records


def copy_with_duckdb(folder: Path) -> None:
    lines = f"{folder}/clean-lake-export/revisions/*.json"
    duckdb.sql(
        f"COPY (SELECT * FROM read_json('{lines}', format='newline_delimited')) "
        f"TO '{folder}/copied.parquet' (FORMAT parquet, COMPRESSION zstd)"
    )


def main(export: str, lake: str) -> None:
    imported = peak_bytes()
    start = time.perf_counter()
    summary = sync(Bucket(export), lake)
    print((peak_bytes() - imported) / 1e6, summary.records, time.perf_counter() - start)


GROUPS: dict[str, Group] = {"lake": lake_group}

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
