"""How pages look: code that fits the column, no empty last line."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pages import PAGES, ROOT, blocks

MOST = 88  # characters of code: more would need a scroll bar beside the sidebar
MODULES = sorted((ROOT / "kmexport").rglob("*.py"))


def code_of(path: Path) -> Iterator[str]:
    """The lines of code that a page or the docstrings of a module show; output of examples is as it comes."""
    if path.suffix == ".md":
        yield from (text for language, text in blocks(path) if language in ("pycon", "python", "sql", "text"))
    elif path.suffix == ".ipynb":
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        yield from ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    else:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield ast.get_docstring(node) or ""


def too_wide(path: Path) -> list[str]:
    """The lines of code that are too wide, and those of tables that a report prints: their lines begin with a space."""
    wide = []
    for code in code_of(path):
        kept = (">>> ", "... ") if path.suffix == ".py" else (">>> ", "... ", "  ")
        examples_only = ">>> " in code or path.suffix == ".py"
        wide += [
            line
            for line in code.splitlines()
            if len(line) > MOST and (not examples_only or line.startswith(kept) or line.lstrip().startswith(kept[:2]))
        ]
    return wide


@pytest.mark.parametrize(
    "path",
    [*PAGES, ROOT / "docs" / "five-questions.ipynb", *MODULES],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_code_fits(path):
    assert too_wide(path) == []


def test_code_that_does_not_fit_is_found(tmp_path):
    long = "x" * MOST
    page, module = tmp_path / "page.md", tmp_path / "module.py"
    page.write_text(
        f"```python\n{long}y\n{long}\n```\n```pycon\n>>> {long}\n{long}y\n  {long}\n```\n```sh\n{long}y\n```\n",
        encoding="utf-8",
    )
    module.write_text(
        f'def f():\n    """One.\n\n    >>> {long}\n    {long}y\n    """\n    # {long}y\n', encoding="utf-8"
    )
    assert too_wide(page) == [f"{long}y", f">>> {long}", f"  {long}"]
    assert too_wide(module) == [f">>> {long}"]


def joined_code(path: Path) -> list[str]:
    """The code in backquotes that runs on into letters, as in `Split`s: Sphinx finds its end somewhere else."""
    pieces = (piece for text in code_of(path) for piece in re.findall(r"``.+?``|`[^`]+`\w*", text))
    return [piece for piece in pieces if not piece.endswith("`")]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_code_in_docstrings_ends_at_its_backquote(path):
    assert joined_code(path) == []


def test_code_that_runs_on_is_found(tmp_path):
    module = tmp_path / "module.py"
    module.write_text('def f():\n    """Take `Split`s, not `a`, `b`; `c`."""\n', encoding="utf-8")
    assert joined_code(module) == ["`Split`s"]


def uneven_rows(page: Path) -> list[str]:
    """The rows of tables that have more or fewer cells than their head, as by a bar in code."""
    uneven, cells = [], 0
    for line in page.read_text(encoding="utf-8").splitlines():
        found = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        if found and cells and found != cells:
            uneven.append(line)
        cells = found and (cells or found)
    return uneven


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / ".github" / "CONTRIBUTING.md"], ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_each_row_of_a_table_has_the_cells_of_its_head(page):
    assert uneven_rows(page) == []


def test_a_row_with_a_bar_in_its_code_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("| a | b |\n|---|---|\n| `x|y` | z |\n| 1 | 2 |\n\n| c |\n|---|\n| 3 |\n", encoding="utf-8")
    assert uneven_rows(page) == ["| `x|y` | z |"]


def test_the_docs_show_no_empty_last_line():
    nodes = pytest.importorskip("docutils.nodes", reason="the extra docs is not installed")
    utils = pytest.importorskip("docutils.utils")
    spec = importlib.util.spec_from_file_location("conf", ROOT / "docs" / "conf.py")
    conf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conf)
    page = utils.new_document("page")
    page += nodes.literal_block("", ">>> 1\n1\n\n")
    page += nodes.doctest_block("", ">>> 2\n2\n")
    conf.strip_blank_ends(None, page)
    assert [block.astext() for block in page] == [">>> 1\n1", ">>> 2\n2"]
    assert page[0].rawsource == ">>> 1\n1"
