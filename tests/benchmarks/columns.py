"""Columns: `to_batches` beside the floor, and beside the readers of two engines that repair and check nothing."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import orjson

from kmexport import Bucket
from kmexport.testing import write_export
from tests.benchmarks import material
from tests.benchmarks.harness import Case, Group, Row, Table, compare, figure, in_new_process, pairs, rows_of
from tests.benchmarks.reading import read_with_duckdb, read_with_polars
from tests.benchmarks.remote import MILLISECONDS, remote_export, revisions_of, row_against

HEADS: Final = ["kind", "person", "time", "name", "alias", "line"]
PROPERTY: Final = "product"


def columns_group(folder: Path, count: int, runs: int) -> Table:
    """Ratios of pairs: each case directly after the floor, which reads the same clean lines."""
    path = material.clean_file(folder, count)
    clean = _export(folder / "clean-columns", path)
    octal = _export(folder / "octal-columns", material.octal_file(folder, count))
    packed = _export(folder / "packed-columns", path)
    _pack(folder / "packed-columns")
    cases: dict[str, tuple[Case, float | None]] = {
        "kind, person, time, name, alias, line": (lambda: _read(clean, HEADS), 1.0),
        "the same and one property": (lambda: _read(clean, HEADS, [PROPERTY]), 1.3),
        "the same and all properties as JSON": (lambda: _read(clean, [*HEADS, "properties"]), 2.2),
        "kind … line, one line in fifty octal": (lambda: _read(octal, HEADS), None),
        "kind … line, gzip": (lambda: _read(packed, HEADS), None),
        "iter_records": (lambda: _count(clean.iter_records()), None),
        "DuckDB read_json, four columns, nothing repaired": (lambda: read_with_duckdb(path), None),
        "Polars scan_ndjson, four columns, nothing repaired": (lambda: read_with_polars(path), None),
    }
    expected = _count(clean.iter_records())
    for bucket in (clean, octal, packed):
        assert _read(bucket, HEADS) == expected
    found = pairs(lambda: _floor(path), {name: case for name, (case, _) in cases.items()}, runs)
    rows = [ratios.row(name, cases[name][1]) for name, ratios in found.items()]
    rows.append(_against_clean(octal, clean, runs))
    return Table(f"columns: {count:,} lines in one revision", rows)


def columns_memory_group(folder: Path, count: int, runs: int) -> Table:
    more, rows, seconds = in_new_process(str(Path(__file__).with_name("columns_peak.py")), str(10 * count)).split()
    return Table(
        f"columns_memory: {int(rows):,} lines in 20 revisions, all columns",
        [
            figure("peak over that of the imports", float(more), "MB", at_most=200),
            figure("its seconds", float(seconds), "s"),
        ],
        "figure",
    )


def columns_remote_group(folder: Path, count: int, runs: int) -> Table:
    with remote_export(folder, count) as remote:
        records, batches = "Bucket.iter_records() (the floor)", "Bucket.to_batches(), kind … line"
        cases: dict[str, Case] = {
            records: lambda: _count(remote.bucket().iter_records()),
            batches: lambda: _read(remote.bucket(), HEADS),
        }
        timings = compare(cases, runs)
    rows = rows_of(timings, records)
    rows.append(row_against(timings, batches, records, 1.2))
    return Table(f"columns_remote: {revisions_of(count)} revisions, {MILLISECONDS} ms a request", rows)


def _against_clean(octal: Bucket, clean: Bucket, runs: int) -> Row:
    against = pairs(lambda: _read(clean, HEADS), {"octal": lambda: _read(octal, HEADS)}, runs)
    return against["octal"].row("kind … line, one line in fifty octal, against the clean lines", 1.6)


def _export(folder: Path, path: Path) -> Bucket:
    return write_export(folder, {1: path.read_bytes().splitlines()})


def _pack(folder: Path) -> None:
    plain = folder / "revisions" / "1.json"
    plain.write_bytes(gzip.compress(plain.read_bytes(), compresslevel=6))


def _read(bucket: Bucket, columns: list[str], properties: Iterable[str] = ()) -> int:
    return sum(batch.num_rows for batch in bucket.to_batches(columns=columns, properties=properties))


def _count(records: Iterable[object]) -> int:
    return sum(1 for _ in records)


def _floor(path: Path) -> None:
    with path.open("rb") as file:
        for line in file:
            orjson.loads(line)


GROUPS: dict[str, Group] = {
    "columns": columns_group,
    "columns_memory": columns_memory_group,
    "columns_remote": columns_remote_group,
}
