"""The rooms: which module may import which, and what `import kmexport` must not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kmexport

PACKAGE = Path(kmexport.__file__).parent

# Each floor may import those below it, never one beside it or above it; inside a folder, see FLOORS_INSIDE.
FLOORS = [
    {"limits", "moments"},
    {"days", "errors", "files", "names", "policies"},
    {"format"},
    {"cells"},
    {"records", "manifest", "storage", "identity_files", "values"},
    {"reading", "dumping", "windows", "duplicates", "identities", "profiles", "cursor"},
    {"revisions", "gaps", "groups", "latest", "manifest_text", "migrate", "rows"},
    {"in_turn", "lateness"},
    {"contents", "tables"},
    {"audit"},
    {"coverage"},
    {"export_files"},
    {"bucket"},
    {"lake", "mirroring", "privacy", "reports"},
    {"cluster"},
    {"testing", "tour"},
]
FLOORS_INSIDE = {
    "format": [{"octal", "hashes"}, {"repair", "spelling"}],
    "reading": [
        {"at_once", "items", "outcomes", "pieces", "pushdown", "shadow"},
        {"following", "selection", "slow"},
        {"arrays"},
        {"blocks"},
        {"lines"},
        {"__init__"},
    ],
    "tables": [
        {"engine", "escapes", "plain", "rules", "schema", "strict"},
        {"texts"},
        {"pairs", "rejects", "values"},
        {"named", "worker"},
        {"batches", "columns", "relational", "scanning", "workers"},
        {"sources"},
        {"kept", "loading"},
        {"store"},
        {"facts", "sqlite"},
        {"__init__"},
    ],
    "migrate": [
        {"requests", "rules"},
        {"convert"},
        {"targets"},
        {"__init__"},
    ],
    "lake": [
        {"destinations", "layout", "summary"},
        {"folder"},
        {"commits", "files"},
        {"filling", "scanning", "upkeep"},
        {"reading", "retaking", "syncing"},
        {"__init__"},
    ],
    "cluster": [
        {"frames", "groups"},
        {"collections"},
        {"people"},
        {"syncing"},
        {"__init__"},
    ],
    "reports": [
        {"asking", "periods", "sources", "writing"},
        {"cuts", "results"},
        {"occurrences", "plots"},
        {"amounts", "channels"},
        {"filing"},
        {"conditions", "funnel_sql"},
        {"query"},
        {"splits"},
        {"distributions"},
        {"before", "cohorts", "conversions", "counts", "durations", "funnels"}
        | {"explaining", "people", "person", "revenue", "totals", "values"},
        {"__init__"},
    ],
    "storage": [
        {"faults", "layers", "locks", "progress", "wanted"},
        {"checked", "connections", "credentials", "patience", "versions"},
        {"athand", "listing", "opening", "options", "streams", "whole"},
        {"fetching", "ranges", "threads", "translation", "web"},
        {"ahead"},
        {"transport"},
        {"folder"},
        {"__init__"},
    ],
}


def imports(path: Path) -> set[str]:
    """The modules of the package that a module names, without "kmexport."."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "kmexport":
            found |= {alias.name for alias in node.names}
        names = [node.module] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.removeprefix("kmexport.") for name in names if name and name.startswith("kmexport.")}
    return found


def modules() -> list[Path]:
    return [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]


def floor_of(room: str, floors: list[set[str]]) -> int:
    return next(number for number, floor in enumerate(floors) if room in floor)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_directions(path):
    room, *inside = path.relative_to(PACKAGE).with_suffix("").parts
    for other in imports(path):
        other_room, _, other_inside = other.partition(".")
        if other_room != room:
            assert floor_of(other_room, FLOORS) < floor_of(room, FLOORS), f"{room} may not import {other_room}"
        else:
            floors = FLOORS_INSIDE[room]
            other_floor = floor_of(other_inside.partition(".")[0], floors)
            assert other_floor < floor_of(inside[0], floors), f"{path} may not import {other}"


def test_every_room_has_its_floor():
    rooms = [path.relative_to(PACKAGE).with_suffix("").parts for path in modules()]
    assert {room[0] for room in rooms} == set().union(*FLOORS)
    for folder, floors in FLOORS_INSIDE.items():
        inside = {room[1] for room in rooms if room[0] == folder}
        assert inside - {"__init__"} == set().union(*floors) - {"__init__"}


def test_no_module_is_long():
    lengths = {str(path.relative_to(PACKAGE)): len(path.read_text(encoding="utf-8").splitlines()) for path in modules()}
    assert {path for path, length in lengths.items() if length > 450} == set()


def test_import_loads_no_engine():
    heavy = [
        "s3fs",
        "aiobotocore",
        "botocore",
        "aiohttp",
        "pyarrow",
        "pandas",
        "numpy",
        "dask",
        "distributed",
        "deltalake",
        "duckdb",
        "polars",
        "tqdm",
        "asyncio",
        "ijson",
    ]
    code = f"import sys, kmexport; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_all_is_sorted_and_whole():
    assert kmexport.__all__ == sorted(kmexport.__all__)
    assert all(hasattr(kmexport, name) for name in kmexport.__all__)


def test_ijson_is_loaded_for_an_array_only():
    code = """
import sys, kmexport
one = b'{"_p":"a","_t":1}'
list(kmexport.iter_records([one, b'{"_p":"a",', b'  "_t":1}', b'[' + one], on_error="skip"))
before = "ijson" in sys.modules
print(before, len(list(kmexport.iter_records([b'[' + one + b']']))), "ijson" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "1", "True"]


def test_a_local_export_is_read_without_clients_for_the_net():
    code = """
import sys, kmexport
print(sum(1 for _ in kmexport.Bucket.sample().iter_records()))
print(sorted({name.partition(".")[0] for name in sys.modules} & {"aiohttp", "botocore", "ijson", "pyarrow", "s3fs"}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2000", "[]"]
