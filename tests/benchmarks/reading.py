"""Reading one file: against parsers that build no record, and against other ways to the same columns."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import duckdb
import ijson
import jsonlines
import msgspec
import orjson
import polars

import kmexport
from kmexport import Event, MalformedRecordError
from tests.benchmarks import material
from tests.benchmarks.harness import Row, in_process, rows, run, table, times_faster

FLOOR = "orjson.loads on each line (the floor)"
OURS = "kmexport.iter_records"


def exhaust(path: Path, **options: object) -> int:
    count = 0
    with path.open("rb") as file:
        for _ in kmexport.iter_records(file, **options):  # type: ignore[arg-type]
            count += 1
    return count


def touch_properties(path: Path) -> None:
    with path.open("rb") as file:
        for record in kmexport.iter_records(file):
            record.properties  # noqa: B018


def each_line(path: Path, parse) -> None:
    with path.open("rb") as file:
        for line in file:
            parse(line)


def ijson_items(path: Path) -> None:
    with path.open("rb") as file:
        for _ in ijson.items(file, "", multiple_values=True, use_float=True):
            pass


def jsonlines_reader(path: Path) -> None:
    with path.open("rb") as file:
        for _ in jsonlines.Reader(file):
            pass


COLUMNS = "{'_p': 'VARCHAR', '_t': 'BIGINT', '_n': 'VARCHAR', '_p2': 'VARCHAR'}"
SCHEMA = {"_p": polars.String, "_t": polars.Int64, "_n": polars.String, "_p2": polars.String}


def duckdb_columns(path: Path, more: str = "") -> object:
    query = f"SELECT * FROM read_json('{path}', format='newline_delimited', columns={COLUMNS}{more})"
    return duckdb.sql(query).to_arrow_table()


def lines_group(folder: Path, count: int, runs: int) -> str:
    path = material.write(folder / "clean.json", count)
    seconds = run(
        {
            "iterate the raw lines": lambda: each_line(path, len),
            FLOOR: lambda: each_line(path, orjson.loads),
            OURS: lambda: exhaust(path),
            f"{OURS}, every `.properties` touched": lambda: touch_properties(path),
            f"{OURS}(kinds=Event)": lambda: exhaust(path, kinds=Event),
            f"{OURS}(names=…), one event in ten": lambda: exhaust(path, names=["signed up"]),
            "msgspec, each line to a dict": lambda: each_line(path, msgspec.json.Decoder(dict).decode),
            "json.loads on each line": lambda: each_line(path, json.loads),
            "jsonlines": lambda: jsonlines_reader(path),
            "ijson (yajl2_c), multiple values": lambda: ijson_items(path),
            "DuckDB read_json, four columns to Arrow": lambda: duckdb_columns(path),
            "Polars read_ndjson, four columns": lambda: polars.scan_ndjson(path, schema=SCHEMA).collect(),
        },
        runs,
    )
    limits = {OURS: 1.0, f"{OURS}, every `.properties` touched": 1.6, f"{OURS}(names=…), one event in ten": 0.5}
    lines = rows(seconds, FLOOR, limits)
    lines.append(times_faster(seconds, OURS, "json.loads on each line", 3))
    lines.append(times_faster(seconds, OURS, "jsonlines", 1))
    lines.append(times_faster(seconds, OURS, "ijson (yajl2_c), multiple values", 1))
    return table(f"{count:,} clean lines, {path.stat().st_size / 1e6:.0f} MB", lines)


def octal_group(folder: Path, count: int, runs: int) -> str:
    clean = material.write(folder / "clean.json", count)
    octal = material.write(folder / "octal.json", count, octal_every=50)
    ours, base = "one line in fifty with octal escapes", "clean lines"
    seconds = run({base: lambda: exhaust(clean), ours: lambda: exhaust(octal)}, runs)
    lines = rows(seconds, base, {ours: 2.0})
    lines.append(Row("records that kmexport gives", f"{exhaust(octal):,}"))
    for name, parse in (("json", json.loads), ("orjson", orjson.loads), ("msgspec", msgspec.json.decode)):
        lines.append(Row(f"lines that {name} rejects", f"{rejected(octal, parse):,}"))
    empty = duckdb_columns(octal, ", ignore_errors=true").filter(  # type: ignore[attr-defined]
        duckdb_null()
    )
    lines.append(Row("rows of NULLs from DuckDB with ignore_errors", f"{len(empty):,}"))
    return table(f"{count:,} lines, octal escapes in one of fifty", lines)


def duckdb_null() -> object:
    import pyarrow.compute

    return pyarrow.compute.field("_p").is_null()


def rejected(path: Path, parse) -> int:
    count = 0
    with path.open("rb") as file:
        for line in file:
            try:
                parse(line)
            except ValueError:
                count += 1
    return count


PEAK = """
import sys, kmexport
class Repeated:
    def __init__(self, path, times):
        self.path, self.times, self.file = path, times, open(path, "rb")
    def read(self, size):
        block = self.file.read(size)
        if not block and self.times > 1:
            self.times -= 1
            self.file = open(self.path, "rb")
            block = self.file.read(size)
        return block
count = sum(1 for _ in kmexport.iter_records(Repeated(sys.argv[1], int(sys.argv[2])), on_error=lambda error: None))
# Not getrusage: a new process begins with its parent's peak there.
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(status["VmHWM"].split()[0]) / 1024, count)
"""


def memory_group(folder: Path, count: int, runs: int) -> str:
    path = material.write(folder / "clean.json", count)
    huge = folder / "huge.json"
    with huge.open("wb") as file:
        for _ in range(200):
            file.write(b"x" * 1_000_000)

    def peak(source: Path, times: int) -> tuple[float, int]:
        megabytes, records = in_process(PEAK, str(source), str(times)).split()
        return float(megabytes), int(records)

    once, ten_times = peak(path, 1), peak(path, 10)
    lines = [
        Row(f"peak memory, {once[1]:,} lines", f"{once[0]:.0f} MB"),
        Row(f"peak memory, {ten_times[1]:,} lines", f"{ten_times[0]:.0f} MB"),
        Row("more for ten times the lines", f"{ten_times[0] - once[0]:.1f} MB", limit=20, value=ten_times[0] - once[0]),
        Row("peak memory, one line of 200 MB (one error)", f"{peak(huge, 1)[0]:.0f} MB"),
    ]
    few, many = folder / "few.json", folder / "many.json"
    few.write_bytes(b'{"_p":"a","_t":\n' * (count // 10))
    many.write_bytes(b'{"_p":"a","_t":\n' * count)
    errors: list[MalformedRecordError] = []
    seconds = run({"few": lambda: exhaust(few, on_error=len_of(errors)), "many": lambda: exhaust(many, on_error=len_of(errors))}, runs)
    ratio = statistics.median(seconds["many"]) / statistics.median(seconds["few"])
    took = statistics.median(seconds["many"])
    lines.append(Row(f"time for {count:,} broken lines ÷ for a tenth of them", f"{took:.2f} s", ratio=ratio, limit=12, value=ratio))
    return table("Memory, and hostile input", lines)


def len_of(errors: list[MalformedRecordError]):
    def count(error: MalformedRecordError) -> None:
        errors[:] = [error]

    return count


def import_group(folder: Path, count: int, runs: int) -> str:
    seconds: dict[str, list[float]] = {"python -c pass": [], "import kmexport": []}
    for _ in range(runs * 2):
        for name, code in (("python -c pass", "pass"), ("import kmexport", "import kmexport")):
            start = time.perf_counter()
            in_process(code)
            seconds[name].append(time.perf_counter() - start)
    lines = rows(seconds, "python -c pass")
    more = statistics.median(seconds["import kmexport"]) - statistics.median(seconds["python -c pass"])
    lines.append(Row("more for the import", f"{more:.3f} s", limit=0.2, value=more))
    heavy = "s3fs aiobotocore aiohttp pyarrow pandas numpy duckdb polars dask tqdm"
    loaded = in_process(f"import sys, kmexport; print(*[name for name in {heavy.split()!r} if name in sys.modules])")
    lines.append(Row("engines and remote filesystems that it loads", loaded or "none"))
    return table("Import", lines)


ARRAY = {"an array on one line": None, "an array, printed pretty": 1}


def array_group(folder: Path, count: int, runs: int) -> str:
    few = max(count // 50, 1)
    found = [json.loads(line) for line in material.lines(few)]
    paths = {}
    for name, indent in ARRAY.items():
        paths[name] = folder / f"array-{indent}.json"
        paths[name].write_text(json.dumps(found, indent=indent))
    one = paths["an array on one line"]
    python = ijson.get_backend("python")

    def streamed(backend) -> None:
        with one.open("rb") as file:
            for _ in backend.items(file, "item", use_float=True):
                pass

    seconds = run(
        {
            **{name: lambda path=path: exhaust(path) for name, path in paths.items()},
            "ijson, C backend (loses lone surrogates, rejects long integers)": lambda: streamed(ijson),
            "ijson, Python backend (exact)": lambda: streamed(python),
        },
        runs,
    )
    lines = rows(seconds, "ijson, Python backend (exact)", dict.fromkeys(ARRAY, 1.0))
    for line in lines:
        line.figure = f"{statistics.median(seconds[line.what]) / few * 1e6:.1f} µs a record"
    return table(f"A file that is one array, {few:,} records", lines)


GROUPS = {
    "lines": lines_group,
    "octal": octal_group,
    "memory": memory_group,
    "import": import_group,
    "array": array_group,
}
