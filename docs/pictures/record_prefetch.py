"""Record when each file of the sample is asked for, and when its records come out, with a slow server on loopback."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[2]))

from kmexport import Bucket, Limits, iter_records
from tests.support.servers import serve

KEPT: Final = Path(__file__).with_name("prefetch.json")
DELAY: Final = 0.3  # seconds that each request waits
WORK: Final = 0.1  # seconds that the loop spends on the records of one file
REQUESTS: Final = 4


def record() -> None:
    """Run once with fetching ahead and once without, and keep the times."""
    with TemporaryDirectory() as folder, as_file(files("kmexport") / "sample") as sample:
        shutil.copytree(sample, folder, dirs_exist_ok=True)
        found: dict[str, Any] = {"delay": DELAY, "work": WORK, "requests": REQUESTS}
        found["ahead"] = _run(Path(folder), REQUESTS)
        found["one_by_one"] = _run(Path(folder), 1)
    KEPT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8", newline="\n")


def _run(folder: Path, requests: int) -> list[dict[str, float]]:
    """For each file the seconds from the first request for one: asked, answered, first record, last record."""
    requested: list[tuple[str, float, float]] = []
    with _slow_server(folder, requested) as url:
        bucket = Bucket(url, limits=Limits(requests=requests))
        records = bucket.iter_records()
        came = []
        for revision in bucket.revisions():
            count = _count(folder / revision.path)
            next(records)
            first = time.monotonic()
            time.sleep(WORK)
            for _ in range(count - 1):
                next(records)
            came.append((revision.path, first, time.monotonic()))
    asked = {path: (begin, end) for path, begin, end in requested}
    if len(asked) != len(requested):
        msg = "a file was asked for twice: the machine is too busy, try again"
        raise RuntimeError(msg)
    start = min(begin for begin, _ in asked.values())
    return [
        {
            "asked": round(asked[path][0] - start, 3),
            "answered": round(asked[path][1] - start, 3),
            "first": round(first - start, 3),
            "last": round(last - start, 3),
        }
        for path, first, last in came
    ]


def _count(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in iter_records(file))


@contextmanager
def _slow_server(folder: Path, requested: list[tuple[str, float, float]]) -> Iterator[str]:
    class Slow(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            start = time.monotonic()
            time.sleep(DELAY)
            super().do_GET()
            if self.path.endswith(".json"):
                requested.append((self.path.removeprefix("/"), start, time.monotonic()))

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
            pass

    with serve(partial(Slow, directory=str(folder))) as url:
        yield url
