"""Links inside the project lead somewhere, every page is linked, and every name that a page refers to exists."""

from __future__ import annotations

import itertools
import json
import pydoc
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
ELSEWHERE = re.compile(r"[a-z][a-z+.-]*:", re.IGNORECASE)  # https:, mailto:
LABEL = re.compile(r"^\(([\w-]+)\)=$", re.MULTILINE)
ROLE = re.compile(r"\{(?:py:)?(?:attr|class|data|exc|func|meth|mod)\}`(?:[^`<]*<)?~?([\w.]+)>?`")


def pages(root: Path) -> list[Path]:
    return sorted(
        path
        for pattern in ("*.md", "docs/*.md", "docs/*.ipynb", ".github/**/*.md")
        for path in root.glob(pattern)
        if path.is_file()
    )


def text_of(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return text


def links(page: Path) -> Iterator[str]:
    """Where its links and pictures lead, those of HTML and of directives among them."""
    for block in MarkdownIt().enable("table").parse(text_of(page)):
        if block.type == "fence" and block.info.startswith(("{image}", "{figure}", "{include}")):
            yield block.info.split()[1]
        for token in [block, *(block.children or ())]:
            if token.type in ("html_block", "html_inline"):
                yield from re.findall(r'\b(?:href|src|srcset)="([^"]+)"', token.content)
            yield from (str(token.attrs[name]) for name in ("href", "src") if name in token.attrs)


def anchors(page: Path) -> set[str]:
    """What can stand behind the # of a link: headings as GitHub and MyST spell them, and labels."""
    tokens = MarkdownIt().parse(text_of(page))
    headings = [after.content for token, after in itertools.pairwise(tokens) if token.type == "heading_open"]
    slugs = {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}
    return slugs | set(LABEL.findall(text_of(page)))


def dead_links(page: Path, root: Path) -> list[str]:
    labels = {label for one in pages(root) for label in LABEL.findall(text_of(one))}
    dead = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        if ELSEWHERE.match(link) or link in labels:
            continue
        target = (page.parent / path).resolve() if path else page
        is_there = target.exists() and target.is_relative_to(root)
        if not is_there or (anchor and target.suffix in (".md", ".ipynb") and anchor not in anchors(target)):
            dead.append(link)
    return dead


def unlinked_pages(root: Path) -> set[str]:
    """Pages of the docs that no other page has a link to; the list of the sidebar is no link."""
    docs = {page for page in pages(root) if page.parent.name == "docs"}
    linked = {(page.parent / link.partition("#")[0]).resolve() for page in pages(root) for link in links(page)}
    return {page.name for page in docs - linked}


@pytest.mark.parametrize("page", pages(ROOT), ids=lambda page: page.relative_to(ROOT).as_posix())
class TestPages:
    def test_no_link_inside_is_dead(self, page):
        assert dead_links(page, ROOT) == []

    def test_every_name_referred_to_is_there(self, page):
        assert [name for name in ROLE.findall(text_of(page)) if not is_there(name)] == []


def is_there(name: str) -> bool:
    return pydoc.locate(name if name.startswith("kmexport") else f"kmexport.{name}") is not None


def test_every_page_is_linked():
    assert unlinked_pages(ROOT) == set()


def test_these_checks_can_fail(tmp_path):
    (tmp_path / "docs").mkdir()
    first, second = tmp_path / "README.md", tmp_path / "docs" / "lonely.md"
    first.write_text(
        "# One\n\n[a](docs/none.md) [b](#one) [c](#two) [d](docs/lonely.md#x-y) [e](../out.md) [f](https://example.org)\n\n"
        '`[g](code.md)` <img src="none.svg"> ![h](none.png)\n\n```{image} none-light.svg\n```\n',
        encoding="utf-8",
    )
    second.write_text("# X, y!\n\n{func}`~kmexport.no_such_name`, {func}`~kmexport.fold_name`\n", encoding="utf-8")
    dead = ["docs/none.md", "#two", "../out.md", "none.svg", "none.png", "none-light.svg"]
    assert sorted(dead_links(first, tmp_path)) == sorted(dead)
    assert dead_links(second, tmp_path) == []
    assert unlinked_pages(tmp_path) == set()
    first.write_text("# One\n", encoding="utf-8")
    assert unlinked_pages(tmp_path) == {"lonely.md"}
    assert [name for name in ROLE.findall(text_of(second)) if not is_there(name)] == ["kmexport.no_such_name"]


def test_the_top_level_is_small():
    ours = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "noxfile.py", "kmexport", "tests", "docs"}
    git = shutil.which("git")
    listed = git and subprocess.run([git, "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if not listed or listed.returncode or not listed.stdout:
        pytest.skip("git does not tell what is kept here")
    assert {name.partition("/")[0] for name in listed.stdout.splitlines() if not name.startswith(".")} == ours
