"""Servers that live as long as the test run, and a clean fsspec for each test."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from typing import TYPE_CHECKING

import fsspec
import pytest
from hypothesis import HealthCheck, settings

from tests.support.postgres import find_programs, serve_postgres
from tests.support.servers import S3Server, serve_http, serve_s3_by_moto, serve_s3_by_rclone

if TYPE_CHECKING:
    from distributed import Client

# Random examples are the same in each run, so that a change fails for what it did. `nox -s examples` draws new ones.
# None fails because the machine is slow.
settings.register_profile(
    "kmexport",
    derandomize=not os.environ.get("KMEXPORT_NEW_EXAMPLES"),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("kmexport")


def pytest_configure(config: pytest.Config) -> None:
    """Without the slow tests, draw a third of the random examples: the whole suite draws all."""
    if config.option.markexpr == "not slow":
        os.environ.setdefault("KMEXPORT_TIMES_THE_EXAMPLES", "0.33")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with files of a real export."""
    if "KMEXPORT_REAL_DATA" not in os.environ:
        pytest.skip("KMEXPORT_REAL_DATA names no folder with files of a real export")
    return Path(os.environ["KMEXPORT_REAL_DATA"])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test whose name has an address of memory: each worker of a run would know another one."""
    nameless = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if nameless:
        msg = f"give these parameters an id or a __repr__: {nameless[:3]}"
        raise pytest.UsageError(msg)


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with serve_s3_by_rclone(tmp_path_factory.mktemp("rclone")) as server:
        yield server


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Server]:
    with serve_s3_by_moto() as server:
        yield server


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("web")
    with serve_http(folder) as url:
        yield url, folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URI of a PostgreSQL server."""
    programs = find_programs()
    if programs is None:
        reason = "there is no PostgreSQL here: initdb, postgres and pg_isready are not on the PATH"
        # Where the whole suite has to run, a server that is not there is a failure.
        (pytest.fail if os.environ.get("KMEXPORT_NEEDS_POSTGRES") else pytest.skip)(reason)
    with serve_postgres(programs) as uri:
        yield uri


@pytest.fixture(scope="session")
def pool() -> Iterator[ProcessPoolExecutor]:
    """Two processes that have kmexport loaded. A test that breaks them takes a pool of its own."""
    context = get_context("forkserver" if "forkserver" in get_all_start_methods() else "spawn")
    context.set_forkserver_preload(["kmexport.tables"])
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        yield pool


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """The client of a Dask cluster of two processes."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests have to tell by `record_property("told", …)`, from whatever process they ran in."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, text in report.user_properties:
            if name == "told":
                terminalreporter.write_line(str(text))


@pytest.fixture(autouse=True)
def no_cached_filesystems() -> Iterator[None]:
    """fsspec keeps filesystems, their listings and the files in memory; none of it leaks into the next test."""
    yield
    for filesystem in set(fsspec.registry.values()):
        filesystem.clear_instance_cache()
    if "fsspec.implementations.memory" in sys.modules:
        from fsspec.implementations.memory import MemoryFileSystem

        MemoryFileSystem.store.clear()
        MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between ten tries lie twenty seconds; the tests make it less."""
    monkeypatch.setattr("kmexport.storage.retries._LONGEST_WAIT", 0.1)
