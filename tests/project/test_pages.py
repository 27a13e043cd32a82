"""How pages look: code that fits the column, no empty last line."""

from __future__ import annotations

import ast
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pages import PAGES, ROOT, blocks

MOST = 88  # characters of code: more would need a scroll bar beside the sidebar
MODULES = sorted((ROOT / "kmexport").rglob("*.py"))


def code_of(path: Path) -> Iterator[str]:
    """The lines of code that a page or the docstrings of a module show; output of examples is as it comes."""
    if path.suffix == ".md":
        yield from (text for language, text in blocks(path) if language in ("pycon", "python", "sql"))
    elif path.suffix == ".ipynb":
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        yield from ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    else:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield ast.get_docstring(node) or ""


def too_wide(path: Path) -> list[str]:
    wide = []
    for code in code_of(path):
        examples_only = ">>> " in code or path.suffix == ".py"
        wide += [
            line
            for line in code.splitlines()
            if len(line) > MOST and (not examples_only or line.lstrip().startswith((">>> ", "... ")))
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
        f"```python\n{long}y\n{long}\n```\n```pycon\n>>> {long}\n{long}y\n```\n```text\n{long}y\n```\n",
        encoding="utf-8",
    )
    module.write_text(
        f'def f():\n    """One.\n\n    >>> {long}\n    {long}y\n    """\n    # {long}y\n', encoding="utf-8"
    )
    assert too_wide(page) == [f"{long}y", f">>> {long}"]
    assert too_wide(module) == [f">>> {long}"]


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
