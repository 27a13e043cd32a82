"""What users install: `python tests/support/package_checks.py [FOLDER]` builds it and tries it.

Needs the extra `package`.

The sdist is built from the tree and the wheel from the sdist, as installers do it. FOLDER keeps what passed, to be
published.
"""

from __future__ import annotations

import email
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable
from email.message import Message
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

# What an extra must be able to import from the wheel. "" is the plain install.
IMPORTS: Final = {
    "": ("kmexport", "kmexport.migrate", "kmexport.testing", "kmexport.tour"),
    "tables": ("kmexport.tables", "kmexport.reports"),
    "plot": ("matplotlib.pyplot",),
    "progress": ("tqdm",),
    "lake": ("kmexport.lake", "kmexport.reports"),
    "dask": ("kmexport.cluster",),
    "polars": ("kmexport.tables", "polars"),
    "all": ("kmexport.cluster", "kmexport.lake", "kmexport.reports", "matplotlib.pyplot", "polars", "tqdm"),
}
TOOLS: Final = {"test", "lint", "docs", "benchmark", "package"}  # extras for those who work on kmexport

TOUR: Final = ("12 of 13 revisions are exported", "Lines: 2,000 read, 441 repaired, 0 unreadable", "Records: 2,000")
MOST_BYTES: Final = {"wheel": 600_000, "sdist": 3_000_000}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        run("-m", "build", "--installer", "uv", "--outdir", folder, str(ROOT))
        (wheel,), (sdist,) = Path(folder).glob("*.whl"), Path(folder).glob("*.tar.gz")
        run("-m", "twine", "check", "--strict", str(wheel), str(sdist))
        with zipfile.ZipFile(wheel) as archive:
            check_wheel(archive.namelist())
            (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            check_metadata(email.message_from_bytes(archive.read(metadata)))
        with tarfile.open(sdist) as archive:
            check_sdist(archive.getnames())
        for path, kind in ((wheel, "wheel"), (sdist, "sdist")):
            expect(path.stat().st_size < MOST_BYTES[kind], f"{path.name} has {path.stat().st_size:,} bytes")
            print(f"{path.name}: {path.stat().st_size:,} bytes")
        for package in (wheel, sdist):
            check_tour(package)
            check_readme(package)
        check_extras(wheel)
        for kept in sys.argv[1:]:
            Path(kept).mkdir(parents=True, exist_ok=True)
            for path in (wheel, sdist):
                shutil.copy(path, kept)


def run(*arguments: str) -> str:
    print("$ python", *arguments, flush=True)
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    expect(done.returncode == 0, f"{' '.join(arguments)}:\n{done.stdout}{done.stderr}")
    return done.stdout


def expect(is_so: bool, otherwise: str) -> None:  # reads as a sentence
    if not is_so:
        sys.exit(f"failed: {otherwise}")


def check_wheel(names: Iterable[str]) -> None:
    """The package, the sample, the types and the licence, and nothing else."""
    names = set(names)
    strangers = [name for name in names if not re.match(r"kmexport(-[\d.]+\.dist-info)?/", name)]
    expect(not strangers, f"not of the package: {strangers}")
    here = {path.relative_to(ROOT).as_posix() for path in (ROOT / "kmexport").rglob("*") if path.is_file()}
    here = {name for name in here if "__pycache__" not in name}
    packed = {name for name in names if name.startswith("kmexport/")}
    expect(packed == here, f"packed and in the tree differ: {sorted(packed ^ here)}")
    expect("kmexport/py.typed" in packed, "py.typed is not there: the types are not seen")
    revisions = [name for name in packed if name.startswith("kmexport/sample/revisions/")]
    expect(len(revisions) == 12, f"the sample has {len(revisions)} revisions")
    expect(any(name.endswith(".dist-info/licenses/LICENSE") for name in names), "no licence")


def check_sdist(names: Iterable[str]) -> None:
    """What a packager needs to build, test and document it."""
    inside = {name.partition("/")[2] for name in names}
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "noxfile.py", "tests/conftest.py"):
        expect(name in inside, f"{name} is not in the sdist")
    expect("docs/index.md" in inside, "the docs are not in the sdist")
    left_over = [name for name in inside if re.search(r"(^|/)(_build|__pycache__|\.venv|\.git|\.nox)(/|$)", name)]
    expect(not left_over, f"left over: {left_over[:5]}")


def check_metadata(metadata: Message) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    source = (ROOT / "kmexport" / "__init__.py").read_text(encoding="utf-8")
    expect(f'__version__ = "{metadata["Version"]}"' in source, f"the version is {metadata['Version']}")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    expect(f"## {metadata['Version']} " in changelog, "the changelog does not know this version")
    expect(metadata["License-Expression"] == "MIT", "the licence is no SPDX expression")
    extras = set(metadata.get_all("Provides-Extra", ()))
    expect(extras == set(project["optional-dependencies"]) == set(IMPORTS) - {""} | TOOLS, f"extras: {extras}")
    urls = {url.partition(",")[0] for url in metadata.get_all("Project-URL", ())}
    expect(urls == set(project["urls"]), f"URLs: {urls}")
    text = str(metadata.get_payload())
    relative = re.findall(r'\]\((?!https?:)([^)]*)\)|(?:src|srcset)="(?!https?:)([^"]*)"', text)
    expect("](https://" in text and not relative, f"links that do not work on the package index: {relative}")


def check_tour(package: Path) -> None:
    """As `pipx run` would: from the wheel or sdist alone, in an environment that is made for it."""
    told = run_alone(package, "", "-m", "kmexport.tour")
    for line in TOUR:
        expect(line in told, f"the tour does not say {line!r}:\n{told}")


def check_readme(package: Path) -> None:
    """Run the README's examples in a folder without the tree, with the extras that its first line installs."""
    options = ("-o", "ELLIPSIS", "-o", "NORMALIZE_WHITESPACE", "-o", "IGNORE_EXCEPTION_DETAIL")
    with tempfile.TemporaryDirectory() as folder:
        page = shutil.copy(ROOT / "README.md", folder)
        run_alone(package, "tables,plot", "-P", "-m", "doctest", *options, str(page))


def check_extras(wheel: Path) -> None:
    for extra, modules in IMPORTS.items():
        run_alone(wheel, extra, "-c", f"import {', '.join(modules)}")
    told = run_alone(wheel, "", "-c", "import kmexport\ntry: kmexport.Facts\nexcept ImportError as error: print(error)")
    expect("kmexport[tables]" in told, f"Facts without its extra: {told!r}")


def run_alone(package: Path, extra: str, *arguments: str) -> str:
    needed = f"kmexport[{extra}] @ {package.as_uri()}" if extra else f"kmexport @ {package.as_uri()}"
    alone = ("-m", "uv", "run", "--quiet", "--isolated", "--no-project", "--python", sys.executable)
    return run(*alone, "--with", needed, "python", *arguments)


if __name__ == "__main__":
    main()
