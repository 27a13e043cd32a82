"""What the README and the docs promise beside their examples, which pytest runs as doctests."""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.util
import json
import re
from pathlib import Path
from types import FunctionType

import duckdb
import ijson
import msgspec
import polars as pl
import pytest

import kmexport
from tests.support.pages import PAGES, ROOT, blocks


def named(pages: list[Path]):
    return pytest.mark.parametrize("page", pages, ids=lambda page: page.relative_to(ROOT).as_posix())


def test_the_readme_starts_with_two_commands():
    first, second = [text for language, text in blocks(ROOT / "README.md") if language == "sh"][:2]
    for text in (first, second):
        assert len(text.splitlines()) == 1
        assert text.strip()
    assert "kmexport.tour" in first
    assert "pytest" in second


@named(PAGES)
def test_python_blocks_parse(page):
    for language, text in blocks(page):
        if ">>>" in text:
            assert language in ("python", "pycon")
            for example in doctest.DocTestParser().get_examples(text):
                ast.parse(example.source)
        elif language == "python":
            ast.parse(text)
        else:
            others = ("sh", "text", "{eval-rst}", "{toctree}", "{include}", "{image}")
            assert language in others, "examples of Python say so"


@named(PAGES)
def test_examples_end_with_a_blank_line(page):
    # doctest takes the closing fence for output that it expects, unless a blank line stands before it.
    for _, text in blocks(page):
        if ">>>" in text:
            assert text.endswith("\n\n")


def test_the_toctree_names_every_page():
    listing = (ROOT / "docs" / "index.md", ROOT / "docs" / "api.md")
    toctrees = [text for page in listing for language, text in blocks(page) if language == "{toctree}"]
    entries = [line for text in toctrees for line in text.splitlines() if line and not line.startswith(":")]
    listed = [re.sub(r".*<(.*)>", r"\1", entry) for entry in entries]  # some have a shorter name there
    assert len(listed) == len(set(listed)), "a page has one place"
    pages = [*(page for page in PAGES if page.parent.name == "docs"), *(ROOT / "docs").glob("*.ipynb")]
    assert set(listed) == {page.stem for page in pages} - {"index"}


def text_of_the_reference() -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("api-*.md")))


PUBLIC_MODULES = [
    "kmexport",
    *(f"kmexport.{name}" for name in ("cluster", "lake", "migrate", "reports", "tables", "testing", "tour")),
]


def test_the_readme_tells_how_many_points_the_rules_leave_open():
    text = (ROOT / "docs" / "reports.md").read_text(encoding="utf-8")
    table = text.partition("## What the rules leave open")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"leave {len(rows)} points open" in readme


def test_the_api_page_names_every_public_name():
    api = text_of_the_reference()
    directives = set(re.findall(r"^\.\. [\w:]+:: (\S+?)(?:\(\))?$", api, re.MULTILINE))
    public = {f"{module}.{name}" for module in PUBLIC_MODULES for name in importlib.import_module(module).__all__}
    assert public - directives == {"kmexport.tables.Facts"}, "it stands there as kmexport.Facts"


def test_the_api_page_names_every_public_method():
    api = text_of_the_reference()
    directives = re.findall(r"^\.\. auto\w+:: (\S+?)(?:\(\))?$\n((?:^ +:.*$\n)*)", api, re.MULTILINE)
    options_of = {path.rpartition(".")[2]: options for path, options in directives}
    missing = []
    for name in kmexport.__all__:
        public = getattr(kmexport, name)
        if not isinstance(public, type) or issubclass(public, Exception):
            continue
        members = re.search(r":members:(.*)", options_of[name])
        listed = set(re.findall(r"\w+", members[1])) if members else set()
        if members and not listed:
            continue  # all of them
        for attribute, value in vars(public).items():
            is_callable = isinstance(value, FunctionType | classmethod | staticmethod | property)
            if not attribute.startswith("_") and is_callable and attribute not in listed:
                missing.append(f"{name}.{attribute}")
    assert missing == []


# Of services that the tests do not have. What they are told is ours all the same.
THEIRS = ("airflow", "coiled", "dask_jobqueue", "dask_kubernetes", "delta", "prefect", "pyspark")


def has(module, name):
    """Whether a name can be imported: of a package its modules too, though none is loaded yet."""
    return hasattr(module, name) or (
        hasattr(module, "__path__") and importlib.util.find_spec(f"{module.__name__}.{name}") is not None
    )


@named(PAGES)
def test_blocks_that_are_no_doctests_import_what_is_there(page):
    # They need a network, or show what not to write; all others have >>> and are run.
    for language, text in blocks(page):
        if language == "python":
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] not in THEIRS:
                    module = importlib.import_module(str(node.module))
                    assert [name.name for name in node.names if not has(module, name.name)] == []
        else:
            assert language != "pycon" or ">>>" in text


DUCKDB = duckdb.connect()  # of its own: the examples of pages use the shared one


def rejected_by_json(line: bytes) -> int:
    try:
        json.loads(line)
    except ValueError:
        return 1
    return 0


def rejected_by_msgspec(line: bytes) -> int:
    try:
        msgspec.json.decode(line)
    except msgspec.DecodeError:
        return 1
    return 0


def rejected_by_ijson(line: bytes) -> int:
    try:
        list(ijson.items(line, ""))
    except ijson.JSONError:
        return 1
    return 0


def rejected_by_polars(line: bytes) -> int:
    try:
        pl.read_ndjson(line)
    except pl.exceptions.ComputeError:
        return 1
    return 0


def rejected_by_duckdb(line: bytes) -> int:
    return int(not DUCKDB.execute("select json_valid(?)", [line.decode()]).fetchall()[0][0])


@pytest.mark.parametrize(
    "rejected", [rejected_by_json, rejected_by_msgspec, rejected_by_ijson, rejected_by_polars, rejected_by_duckdb]
)
def test_the_first_number_of_the_readme(rejected):
    lines = [
        line
        for file in sorted((ROOT / "kmexport/sample/revisions").iterdir())
        for line in file.read_bytes().splitlines()
    ]
    failed = sum(map(rejected, lines))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{failed} of {len(lines):,} lines of the sample, written as real exports are, fail" in readme
    assert sum(1 for _ in kmexport.Bucket.sample().iter_records()) == len(lines) == 2000
