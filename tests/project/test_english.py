"""The English of docstrings, comments and pages: patterns that read as riddles, counted over the package and docs."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import kmexport
from tests.support.pages import PAGES, ROOT

PACKAGE = Path(kmexport.__file__).parent

# A function's docstring begins with a verb, a class's with a noun.
FIRST_WORDS = re.compile(r"(What|Whether|How|Where|Which|Who|The same|All of it|Those)\b")

# Anywhere in a docstring or comment. What to write instead stands behind.
PHRASES = {
    r"\b[Hh]ash(?:es)?\b": "object; checksum or fingerprint where it is one",
    r"(?<![Tt]here )\b(?:is|are|was|were)\s(?:no|none)\b(?! longer| more| other| less| such| later)": "is not a …",
    r"\bof which\b": "two sentences, or whose",
    r"\bbe it\b": "whether, or",
    r"\bso many\b": "the number",
    r"\bas (?:it|they) stands?\b": "that needs no repair, unchanged, as it is",
    r"(?:[.:;] )(?:All of it|The same)\b": "name what is the same",
    r"\b(?:told|tells?) of\b": "reports, warns",
    r"\bbehind (?:it|them|that|which|this)\b": "after",
    r"\b(?:was|were|is|are|been) met\b|\bmet before\b": "seen",
    r"\b[Ww]hat (?:became|becomes|has become) of\b": "name it",
}

# Right on a page, where people stand behind a number, an index is a hash and an aim is met.
RIGHT_ON_PAGES = re.compile(r"[Hh]ash(es)?|behind .*|(is|are) met")

# Rows that are right as they are: a part of the row, and why.
RIGHT: dict[str, str] = {
    "is no storage option of s3://": "the text of an error, in an example",
}


def texts(path: Path) -> Iterator[tuple[int, bool, str]]:
    """Each docstring and comment of a module: its line, whether it is a docstring, and its text in one line."""
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if docstring := ast.get_docstring(node):
            yield node.body[0].lineno, not isinstance(node, ast.Module), " ".join(docstring.split())
    block: list[str] = []
    begun = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line = token.start[0]
        if block and line != last + 1:
            yield begun, False, " ".join(block)
            block = []
        if not block:
            begun = line
        block.append(token.string.lstrip("# "))
        last = line
    if block:
        yield begun, False, " ".join(block)


def offenders() -> Iterator[str]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        for line, is_docstring, text in texts(path):
            if is_docstring and (found := FIRST_WORDS.match(text)):
                yield f"{name}:{line}: begins with {found[0]!r}: {text[:70]}"
            for pattern, better in PHRASES.items():
                for found in re.finditer(pattern, text):
                    around = text[max(0, found.start() - 40) : found.end() + 30]
                    yield f"{name}:{line}: {found[0]!r} ({better}): …{around}…"


def riddles(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```$|<!--.*?-->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    found = (match for pattern in PHRASES for match in re.finditer(pattern, text))
    return [
        " ".join(text[max(0, match.start() - 40) : match.end() + 30].split())
        for match in found
        if not RIGHT_ON_PAGES.fullmatch(match[0])
    ]


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CHANGELOG.md", ROOT / ".github" / "CONTRIBUTING.md"], ids=lambda page: page.name
)
def test_pages_are_plain_english(page):
    assert riddles(page) == []


def test_a_riddle_on_a_page_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "A line that is\nno record.\n\n```text\nis no record\n```\n<!-- is no record -->\n", encoding="utf-8"
    )
    assert riddles(page) == ["A line that is no record."]


def test_docstrings_and_comments_are_plain_english():
    assert [row for row in offenders() if not any(part in row for part in RIGHT)] == []


if __name__ == "__main__":  # prints all rows, the right ones too
    for row in offenders():
        print(row)
