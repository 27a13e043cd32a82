"""Reading one file: against parsers that build no record, and against other ways to the same columns."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import duckdb
import ijson
import jsonlines
import msgspec
import orjson
import polars as pl
import pyarrow as pa

import kmexport
from kmexport import Alias, Event
from tests.benchmarks import material
from tests.benchmarks.harness import (
    Case,
    Group,
    Row,
    Table,
    compare,
    figure,
    in_new_process,
    pairs,
    row_per_record,
    rows_of,
    times_as_fast,
)

FLOOR = "orjson.loads on each line (the floor)"
OURS = "kmexport.iter_records"
TOUCHED = f"{OURS}, `.properties` of every record"
NAMED = f"{OURS}(names=…), one event in ten"
ONE_PERSON = f"{OURS}(people=…), one person"
ALIASES = f"{OURS}(kinds=Alias), one line in fifty"
PAIRED = "seconds (median); then the least and the largest ratio"
JSON, JSONLINES, IJSON = "json.loads on each line", "jsonlines.Reader", "ijson (yajl2_c), multiple_values"

COLUMNS = "{'_p': 'VARCHAR', '_t': 'BIGINT', '_n': 'VARCHAR', '_p2': 'VARCHAR'}"
SCHEMA = {"_p": pl.String, "_t": pl.Int64, "_n": pl.String, "_p2": pl.String}

NOT_LOADED = ["s3fs", "aiobotocore", "pyarrow", "duckdb", "polars", "dask"]


def lines_group(folder: Path, count: int, runs: int) -> Table:
    path = material.clean_file(folder, count)
    timings = compare(
        {
            "the raw lines, not parsed": lambda: each_line(path, len),
            FLOOR: lambda: each_line(path, orjson.loads),
            OURS: lambda: read(path),
            TOUCHED: lambda: read_properties(path),
            f"{OURS}(kinds=Event)": lambda: read(path, kinds=Event),
            NAMED: lambda: read(path, names="signed up"),
            "msgspec, each line to a dict": lambda: each_line(path, msgspec.json.Decoder(dict).decode),
            JSON: lambda: each_line(path, json.loads),
            JSONLINES: lambda: read_with_jsonlines(path),
            IJSON: lambda: read_with_ijson(path),
            "DuckDB read_json, four columns to Arrow, all cores": lambda: read_with_duckdb(path),
            "Polars scan_ndjson, four columns, all cores": lambda: read_with_polars(path),
        },
        runs,
    )
    rows = rows_of(timings, FLOOR)
    rows += [
        times_as_fast(timings, OURS, JSON, 3),
        times_as_fast(timings, OURS, JSONLINES, 1),
        times_as_fast(timings, OURS, IJSON, 1),
    ]
    return Table(f"lines: {count:,} clean lines, {path.stat().st_size / 1e6:.0f} MB", rows)


def pairs_group(folder: Path, count: int, runs: int) -> Table:
    path = material.clean_file(folder, count)
    cases: dict[str, Case] = {
        OURS: lambda: read(path),
        TOUCHED: lambda: read_properties(path),
        NAMED: lambda: read(path, names="signed up"),
        ALIASES: lambda: read(path, kinds=Alias),
        ONE_PERSON: lambda: read(path, people="person77@example.com"),
    }
    targets = {OURS: 1.0, TOUCHED: 1.5, NAMED: 0.45, ALIASES: 0.25, ONE_PERSON: 0.3}
    found = pairs(lambda: each_line(path, orjson.loads), cases, 3 * runs)
    rows = [ratios.row(name, targets[name]) for name, ratios in found.items()]
    return Table(f"pairs: a case directly after the floor of the table above, {3 * runs} times", rows, PAIRED)


def octal_group(folder: Path, count: int, runs: int) -> Table:
    clean, octal = material.clean_file(folder, count), material.octal_file(folder, count)
    base, ours = f"{OURS}, clean lines (the floor)", f"{OURS}, one line in fifty with octal escapes"
    timings = compare({base: lambda: read(clean), ours: lambda: read(octal)}, runs)
    rows = rows_of(timings, base, {ours: 2.0})
    rows.append(figure("lines that kmexport loses", count - read(octal), exactly=0))
    for name, parse in (("json", json.loads), ("orjson", orjson.loads), ("msgspec", msgspec.json.decode)):
        rows.append(figure(f"lines that {name} rejects", rejected_lines(octal, parse)))
    rows += [
        Row("DuckDB, ignore_errors=true", lost_by_an_engine(lambda: read_with_duckdb(octal, ", ignore_errors=true"))),
        Row("Polars, ignore_errors=True", lost_by_an_engine(lambda: read_with_polars(octal, ignore_errors=True))),
    ]
    return Table(f"octal: {count:,} lines, octal escapes in one of fifty", rows, figure="seconds (median), or lines")


def memory_group(folder: Path, count: int, runs: int) -> Table:
    path = material.clean_file(folder, count)
    once, records, _ = peak(path)
    ten_times, more_records, _ = peak(path, 10)
    megabytes = 200
    long_line, long_records, errors = peak(material.long_line_file(folder, megabytes))
    rows = [
        figure(f"peak, {records:,} records", once, "MB"),
        figure(f"peak, {more_records:,} records", ten_times, "MB"),
        figure("more for ten times the records", ten_times - once, "MB", at_most=20),
        figure(f"peak, one line of {megabytes} MB", long_line, "MB", at_most=megabytes),
        figure("errors that it gives", errors, exactly=1),
        figure("records that it gives", long_records, exactly=0),
    ]
    few, many = material.broken_file(folder, count // 10), material.broken_file(folder, count)
    base, ours = f"{count // 10:,} broken lines", f"{count:,} broken lines"
    timings = compare({base: lambda: reject_all(few), ours: lambda: reject_all(many)}, min(runs, 3))
    rows += [row_per_record(timings[base], base, count // 10), row_per_record(timings[ours], ours, count)]
    rows[-1].ratio = timings[ours].median / (10 * timings[base].median)
    rows[-1].target = "ratio ≤ 1.2 (linear)"
    rows[-1].is_met = rows[-1].ratio <= 1.2
    return Table("memory: peak of a fresh process, and a file of broken lines", rows, figure="peak, or µs a line")


def import_group(folder: Path, count: int, runs: int) -> Table:
    nothing, ours = "python -c pass (the floor)", 'python -c "import kmexport"'
    timings = compare(
        {nothing: lambda: in_new_process("-c", "pass"), ours: lambda: in_new_process("-c", "import kmexport")},
        max(runs, 11) if runs >= 5 else runs,
    )
    rows = rows_of(timings, nothing)
    rows.append(figure("more for the import", timings[ours].median - timings[nothing].median, "s", at_most=0.2))
    code = f"import sys, kmexport; print(*[name for name in {NOT_LOADED!r} if name in sys.modules])"
    loaded = in_new_process("-c", code)
    rows.append(Row(f"loaded of {', '.join(NOT_LOADED)}", loaded or "none", target="none", is_met=not loaded))
    return Table("import", rows)


def array_group(folder: Path, count: int, runs: int) -> Table:
    few = max(count // 20, 1)
    clean = material.clean_file(folder, few)
    one_line, pretty = material.array_file(folder, few, None), material.array_file(folder, few, 1)
    hashes = material.hashes_file(folder, few)
    cases: dict[str, Case] = {
        "ijson, C backend, one line (not exact)": lambda: stream_array(ijson, one_line),
        f"{OURS}, an array on one line": lambda: read(one_line),
        f"{OURS}, an array printed pretty": lambda: read(pretty),
        f"{OURS}, hashes over several lines": lambda: read(hashes),
    }
    # 5, 5 and 8 µs a record where the floor takes 0.59.
    targets = dict(zip(cases, (math.inf, 8.5, 8.5, 13.5), strict=True))
    found = pairs(lambda: each_line(clean, orjson.loads), cases, 3 * runs)
    rows = [ratios.row(name, targets[name]) for name, ratios in found.items()]
    rows[0].target, rows[0].is_met = "", None
    megabytes = 200
    more, lost = in_new_process(str(Path(__file__).with_name("arrays_peak.py")), str(megabytes)).split()
    rows.append(figure(f"peak over the import, an array on one line of {megabytes} MB", float(more), "MB", at_most=10))
    rows.append(figure("records that it loses", float(lost), exactly=0))
    return Table(
        f"array: a file that is one array of {few:,} records; the floor is their lines by orjson", rows, PAIRED
    )


GROUPS: dict[str, Group] = {
    "lines": lines_group,
    "pairs": pairs_group,
    "octal": octal_group,
    "memory": memory_group,
    "import": import_group,
    "array": array_group,
}


# The ways through a file.


def read(path: Path, **options: object) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in kmexport.iter_records(file, **options))  # type: ignore[arg-type]


def read_properties(path: Path) -> None:
    with path.open("rb") as file:
        for record in kmexport.iter_records(file):
            record.properties  # noqa: B018


def reject_all(path: Path) -> None:
    errors = 0

    def count_error(error: kmexport.MalformedRecordError) -> None:
        nonlocal errors
        errors += 1

    records = read(path, on_error=count_error)
    assert errors > records == 0


def each_line(path: Path, parse: Callable[[bytes], object]) -> None:
    with path.open("rb") as file:
        for line in file:
            parse(line)


def read_with_ijson(path: Path) -> None:
    with path.open("rb") as file:
        for _ in ijson.items(file, "", multiple_values=True):
            pass


def stream_array(backend: object, path: Path) -> None:
    with path.open("rb") as file:
        for _ in backend.items(file, "item"):  # type: ignore[attr-defined]
            pass


def read_with_jsonlines(path: Path) -> None:
    with path.open("rb") as file:
        for _ in jsonlines.Reader(file):
            pass


def read_with_duckdb(path: Path, options: str = "") -> pa.Table:
    query = f"SELECT * FROM read_json('{path}', format='newline_delimited', columns={COLUMNS}{options})"
    return duckdb.sql(query).to_arrow_table()


def read_with_polars(path: Path, **options: bool) -> pa.Table:
    return pl.scan_ndjson(path, schema=SCHEMA, **options).collect().to_arrow()


# What is lost, and what is held.


def rejected_lines(path: Path, parse: Callable[[bytes], object]) -> int:
    count = 0
    with path.open("rb") as file:
        for line in file:
            try:
                parse(line)
            except ValueError:
                count += 1
    return count


def lost_by_an_engine(read_columns: Callable[[], pa.Table]) -> str:
    try:
        found = read_columns()
    except (duckdb.Error, pl.exceptions.PolarsError) as error:
        return f"reads nothing of the file ({type(error).__name__})"
    return f"{found.column('_p').null_count:,} rows of NULLs"


def peak(path: Path, times: int = 1) -> tuple[float, int, int]:
    """Peak megabytes of a fresh process that iterates the file, with its records and errors."""
    megabytes, records, errors = in_new_process(str(Path(__file__).with_name("peak.py")), str(path), str(times)).split()
    return float(megabytes), int(records), int(errors)
