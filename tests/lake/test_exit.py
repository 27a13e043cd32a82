"""A process that used the library ends with 0, however late a thread of Arrow, DuckDB, delta-rs or Polars is.

Each program runs with every foreign thread held that asks for the GIL: see held_threads.c. Without that, a nightly job
died in one of 25 runs on a busy machine and in none of a thousand on one at rest. `nox -s endings` runs the nightly
script itself, many times, on a machine that it keeps busy.
"""

from __future__ import annotations

import json
import platform
import shutil
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from kmexport import Bucket
from kmexport.lake import sync
from tests.support.servers import S3Server

ROOT = Path(__file__).parents[2]
TOO_LATE = 86

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform != "linux" or platform.libc_ver()[0] != "glibc" or struct.calcsize("P") != 8,
        reason="threads are held in the way of a 64-bit Linux with glibc",
    ),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc, which makes what holds threads"),
]

BEGINNING = """
    import ctypes, json, sys
    import _duckdb, deltalake, duckdb, polars, pyarrow.compute, pyarrow.dataset, pyarrow.parquet
    from kmexport import Bucket, Facts
    from kmexport.lake import compact, open_lake, sync, vacuum
    from kmexport.tables import scan_polars

    holder, milliseconds, lake, new, far, options = sys.argv[1:]
    options = json.loads(options)
    library = ctypes.CDLL(holder)
    held_threads = library.held
    held_threads.restype = ctypes.c_long
    libraries = library.hold(ctypes.c_long(int(milliseconds)))
    assert libraries >= 4, libraries
"""
# What a program does. `lake` has a checkpoint; `new` is an address where nothing is.
PROGRAMS = {
    "nothing new": """
        for _ in range(10):
            sync(Bucket.sample(), lake)
    """,
    "a first night": "sync(Bucket.sample(), new, bytes_a_commit=30_000)",
    "upkeep": """
        sync(Bucket.sample(), new, bytes_a_commit=30_000)
        compact(new)
        vacuum(new, keep_hours=0)
    """,
    "a lake read": """
        for _ in range(3):
            list(open_lake(lake).iter_records())
        open_lake(lake).identities()
    """,
    "a lake read in part": """
        iterator = open_lake(lake).iter_records()
        next(iterator)
    """,
    "a lake far away read": """
        list(open_lake(far, **options).iter_records())
        open_lake(far, **options).identities()
        sync(Bucket.sample(), far, **options)
    """,
    "facts": """
        facts = Facts(Bucket.sample())
        facts.sql("select name, count(*) from events group by all").fetchall()
        facts.sql("select name, count(*) from properties group by all").fetchall()
    """,
    "facts of a lake": """
        facts = Facts(lake)
        facts.sql("select name, count(*) from events group by all").fetchall()
        facts.sql("select name, count(*) from properties group by all").fetchall()
    """,
    "columns into DuckDB": """
        batches = Bucket.sample().to_batches(properties=["plan"])
        duckdb.sql("create table records as from batches")
        whole = Bucket.sample().to_batches(properties=["plan"]).read_all()
        duckdb.sql("select kind, count(*) from whole group by all").fetchall()
        whole.to_pandas()
    """,
    "columns into Polars": "scan_polars(Bucket.sample()).group_by('name').len().collect()",
}


@pytest.fixture(scope="module")
def holder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("holder") / "held_threads.so"
    source = Path(__file__).with_name("held_threads.c")
    subprocess.run(["gcc", "-Wall", "-Werror", "-shared", "-fPIC", "-o", made, source, "-ldl"], check=True)
    return made


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("held") / "lake"
    sync(Bucket.sample(), folder, bytes_a_commit=30_000)
    assert list((folder / "records" / "_delta_log").glob("*.checkpoint.parquet"))
    return folder


@pytest.fixture(scope="module")
def far(rclone: S3Server, lake: Path) -> tuple[str, str]:
    """The address of the same lake on a server, with the options that it needs."""
    assert rclone.folder is not None
    shutil.copytree(lake, rclone.folder / "held" / "lake")
    return "s3://held/lake", json.dumps(rclone.options)


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    code = textwrap.dedent(BEGINNING) + textwrap.dedent(program)
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_thread_comes_too_late(name, holder, lake, far, tmp_path):
    done = run(PROGRAMS[name], holder, 200, lake, tmp_path / "new", *far)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_thread_that_is_late_is_found(holder, lake, tmp_path):
    """Else the other tests prove nothing. Arrow reads so by threads that hold Python's bytes."""
    program = """
        (checkpoint, *_) = __import__("pathlib").Path(lake).glob("records/_delta_log/*.checkpoint.parquet")
        for _ in range(5_000):
            if held_threads():
                break
            pyarrow.parquet.read_table(pyarrow.BufferReader(checkpoint.read_bytes()), columns=["txn"])
    """
    # Chance decides which thread drops the last reference: in some runs it is never a foreign one.
    runs = (run(program, holder, 10_000, lake, tmp_path / "new", "", "{}").returncode for _ in range(6))
    assert any(returncode == TOO_LATE for returncode in runs)
