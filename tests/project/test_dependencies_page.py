"""docs/dependencies.md names each dependency of pyproject.toml, with the version there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PAGE = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
REQUIREMENT = re.compile(r"`([a-z0-9-]+(?:\[[a-z]+\])?>=[0-9.]+(?:,<[0-9.]+)?)`")


def rows_of(heading: str) -> list[list[str]]:
    """The cells of the table rows between a heading and the next one."""
    _, _, text = PAGE.partition(f"\n## {heading}\n")
    section, _, _ = text.partition("\n## ")
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]


def test_the_plain_install():
    named = {found for row in rows_of("The plain install") for found in REQUIREMENT.findall(row[0])}
    assert named == set(PROJECT["dependencies"])


def test_the_extras():
    named: dict[str, set[str]] = {}
    for row in rows_of("Extras"):
        if extra := re.match("`([a-z]+)`", row[0]):  # in the second table the packages have a cell of their own
            named.setdefault(extra[1], set()).update(REQUIREMENT.findall("|".join(row[:2])))
    stated = {
        extra: {requirement for requirement in requirements if not requirement.startswith("kmexport[")}
        for extra, requirements in PROJECT["optional-dependencies"].items()
    }
    assert named == {extra: requirements for extra, requirements in stated.items() if requirements}


def test_the_extras_that_bring_tables():
    bring = {extra for extra, needs in PROJECT["optional-dependencies"].items() if "kmexport[tables]" in needs}
    assert "`lake`, `dask` and `polars` bring `tables` with them." in PAGE
    assert bring == {"lake", "dask", "polars"}
