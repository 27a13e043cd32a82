"""The rooms: which module may import which, and what `import kmexport` must not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kmexport

PACKAGE = Path(kmexport.__file__).parent

ALLOWED = {
    "errors": set(),
    "parsing": {"errors"},
    "records": {"parsing"},
    "manifest": {"errors"},
    "reading": {"errors", "names", "parsing", "records"},
    "faults": {"errors"},
    "credentials": {"faults"},
    "streams": {"faults"},
    "prefetch": {"faults", "streams"},
    "names": set(),
    "windows": {"errors", "records"},
    "duplicates": {"names", "records"},
    "identities": {"errors", "records"},
    "profiles": {"names", "records"},
    "opening": {"faults"},
    "storage": {"credentials", "errors", "faults", "opening", "parsing", "prefetch"},
    "audit": {"manifest", "windows"},
    "progress": set(),
    "bucket": {
        "audit",
        "errors",
        "identities",
        "manifest",
        "parsing",
        "progress",
        "reading",
        "records",
        "storage",
        "windows",
    },
    "testing": {"bucket", "records"},
    "tour": {"bucket", "errors", "records"},
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name and name.startswith("kmexport.")}
    return found


def modules() -> list[Path]:
    return [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_directions(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert imports(path) - {room} <= ALLOWED[room]


def test_every_room_is_there():
    assert {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in modules()} == set(ALLOWED)


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
        "duckdb",
        "polars",
        "tqdm",
        "asyncio",
    ]
    code = f"import sys, kmexport; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_all_is_sorted_and_whole():
    assert kmexport.__all__ == sorted(kmexport.__all__)
    assert all(hasattr(kmexport, name) for name in kmexport.__all__)
