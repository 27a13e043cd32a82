"""The layers of the package: which module may import which, and what `import kmexport` must not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import kmexport

PACKAGE = Path(kmexport.__file__).parent

# A module imports only from the lines above its own; modules and folders of one line do not know each other.
HOUSE = (PACKAGE.parent / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
LAYERS = HOUSE.partition("holds the package to this list:\n\n```text\n")[2].partition("\n```")[0].splitlines()
LEVEL = {name: number for number, line in enumerate(LAYERS) for name in line.split()}

LONGEST, SHORTEST = 450, 60
SHORT_FOR_A_REASON: dict[str, str] = {
    "migrate/targets/segment.py": "one file for each target",
    "tables.py": "the public face of columns/ and facts/: names only",
}


def modules() -> list[Path]:
    return [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]


def name_of(path: Path) -> str:
    """`parsing.lines` of kmexport/parsing/lines.py, `parsing` of kmexport/parsing/__init__.py."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    """The modules of the package that a module imports, anywhere in it, without "kmexport."."""
    names = {name_of(other) for other in modules()}
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {one if one.removeprefix("kmexport.") in names else node.module for one in whole}
    return {name.removeprefix("kmexport.") for name in found if name.startswith("kmexport.")}


def test_every_module_is_in_a_layer():
    assert {name_of(path).partition(".")[0] for path in modules()} == set(LEVEL)


def test_a_module_imports_only_from_layers_above_its_own():
    offenders = []
    for path in modules():
        own = name_of(path).partition(".")[0]
        for other in imports(path):
            there = other.partition(".")[0]
            if there != own and LEVEL[there] >= LEVEL[own]:
                offenders.append(f"{name_of(path)} imports {other}")
    assert offenders == []


def test_parsing_and_storage_share_the_protocol_of_a_binary_file_only():
    used = {other for path in (PACKAGE / "storage").rglob("*.py") for other in imports(path)}
    assert {other for other in used if other.startswith("parsing")} <= {"parsing.stream"}


def test_there_is_no_circle():
    try:
        TopologicalSorter({name_of(path): imports(path) for path in modules()}).prepare()
    except CycleError as error:
        raise AssertionError(" → ".join(error.args[1])) from None


def test_no_module_is_long_and_none_is_short_without_a_reason():
    lengths = {
        path.relative_to(PACKAGE).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in modules()
    }
    assert {name for name, length in lengths.items() if length > LONGEST} == set()
    short = {name for name, length in lengths.items() if length < SHORTEST and not name.endswith("__init__.py")}
    assert short == set(SHORT_FOR_A_REASON)


# Files of tests that are called like no module, with the reason.
NAMED_OTHERWISE = {
    "cluster": {"cluster", "here", "lake"},
    "lake": {"access", "exit", "faults", "lake"},  # of the whole lake, in other processes
    "migrate": {"migrate", "page", "posthog_model"},  # every target alike, and a sender
    "reports": {
        "explain", "fields", "filing", "numbers", "real", "reports", "results", "rules", "sources", "vendor_pages",
    },
    "storage": {"fetching", "prefetch", "progress", "reasons"},  # the engine as a whole, and what users see of it
}  # fmt: skip


def test_a_file_of_tests_is_called_like_its_module():
    strangers = []
    for folder in (PACKAGE, *(path.parent for path in PACKAGE.glob("*/__init__.py"))):
        name = folder.relative_to(PACKAGE).as_posix()
        modules_here = {path.stem for path in folder.glob("*.py")}
        tests = {path.stem.removeprefix("test_") for path in (PACKAGE.parent / "tests" / name).glob("test_*.py")}
        strangers += [f"tests/{name}/test_{one}.py" for one in tests - modules_here - NAMED_OTHERWISE.get(name, set())]
    assert strangers == []


# What `import kmexport` loads of other people's packages, and of the standard library's slow ones.
LOADED = {"attr", "attrs", "msgspec", "typing_extensions"}
SLOW = {
    "asyncio", "concurrent", "ctypes", "email", "http", "multiprocessing", "socket", "sqlite3", "ssl", "subprocess",
    "tempfile", "unittest", "urllib.request", "xml",
}  # fmt: skip
# Folders and modules that are loaded where they are used, and not before.
LATER = {"cluster", "columns", "facts", "lake", "migrate", "reports", "tables", "testing", "tour"}


def test_import_loads_what_its_first_line_needs_and_no_more():
    code = "import sys; before = set(sys.modules); import kmexport; print(*set(sys.modules) - before)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    ours = {name.removeprefix("kmexport.") for name in loaded if name.startswith("kmexport.")}
    others = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names) - {"kmexport"}
    assert {name for name in others if not name.startswith("_sysconfigdata")} <= LOADED
    assert SLOW & loaded == set()
    assert {name for name in ours if name.partition(".")[0] in LATER} == set()
    assert {name for name in ours if name.startswith("storage.fetch.")} <= {"storage.fetch.transports"}


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


# Names that two modules define on purpose.
IN_TWO_PLACES = {
    "Moment": "a type of arguments in windows, a line of a timeline in kmexport.reports: both are public",
    "What": "the choices of one report each",
    "Which": "the choices of one report each",
    "ENDPOINTS": "of each target, and of all",
    "drop_duplicates": "of records, and of a bag: kmexport and kmexport.cluster",
    "funnel": "the report, and its picture",
    "paths": "the report, and its picture",
    "to_records": "of Arrow batches, and of a bag: kmexport.tables and kmexport.cluster",
}


def test_a_name_means_one_thing():
    places: dict[str, set[str]] = {}
    for path in modules():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names: list[str] = []
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                names = [node.name]
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                is_variable = isinstance(node.value, ast.Call) and getattr(node.value.func, "id", "") == "TypeVar"
                names = [target.id for target in targets if isinstance(target, ast.Name) and not is_variable]
            for name in names:
                if not name.startswith("_") and name != "logger":
                    places.setdefault(name, set()).add(path.relative_to(PACKAGE).as_posix())
    assert {name: found for name, found in places.items() if len(found) > 1 and name not in IN_TWO_PLACES} == {}
