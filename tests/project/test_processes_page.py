"""What docs/processes.md says and no other test does."""

from __future__ import annotations

import multiprocessing
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kmexport import Bucket, Event, Facts
from kmexport.testing import write_export
from tests.support.servers import serve_http
from tests.support.systems import NEEDS_FORK

PAGE = Path(__file__).parents[2] / "docs" / "processes.md"
WITHIN = 120  # seconds


def run(script: Path | str) -> str:
    arguments = ["-c", script] if isinstance(script, str) else [str(script)]
    done = subprocess.run([sys.executable, *arguments], check=False, capture_output=True, text=True, timeout=WITHIN)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("method", sorted({"spawn", "forkserver"} & {*multiprocessing.get_all_start_methods()}))
def test_the_script_runs_by_each_start_method(method, tmp_path):
    (text,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert '"forkserver"' in text
    script = tmp_path / "counts.py"
    script.write_text(text.replace('"forkserver"', f'"{method}"'), encoding="utf-8")
    with Facts(Bucket.sample()) as facts:
        expected = facts.sql("select count(*), count(distinct person) from events").fetchall()
    assert run(script) == f"{expected}\n"


@NEEDS_FORK
def test_a_filesystem_from_before_the_fork(tmp_path):
    write_export(tmp_path / "shop", {1: [Event("bob", 1, "x")]})
    with serve_http(tmp_path) as url:
        printed = run(
            "import os, fsspec, kmexport\n"
            "fs = fsspec.filesystem('http')\n"
            f"bucket = kmexport.Bucket('{url}/shop', fs=fs)\n"
            "print(sum(1 for _ in bucket.iter_records()), flush=True)\n"
            "child = os.fork()\n"
            "if not child:\n"
            "    try:\n"
            "        list(bucket.read([kmexport.Revision(1, 'revisions/1.json', 1, 1)]))\n"
            "    except kmexport.OtherProcessError as error:\n"
            "        print(error, flush=True)\n"
            "    os._exit(0)\n"
            "os.waitpid(child, 0)\n"
        )
    first, second = printed.splitlines()
    assert first == "1"
    assert second == "the filesystem given as fs= belongs to another process. Make one in each process."
