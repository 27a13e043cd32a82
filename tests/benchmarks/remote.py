"""An export that lies far away: real servers, behind a proxy that makes each request take its time."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from attrs import evolve, field, frozen
from fsspec import AbstractFileSystem
from fsspec.implementations.http import HTTPFileSystem

from kmexport import Bucket, Limits, Record, Window, iter_records
from kmexport.revisions.manifest import batch_time
from kmexport.testing import write_export
from tests.benchmarks import material
from tests.benchmarks.harness import (
    Case,
    Group,
    Row,
    Table,
    Timing,
    compare,
    figure,
    in_new_process,
    rows_of,
    times_as_fast,
)
from tests.support.leftovers import TELLS_SOCKETS, open_sockets
from tests.support.proxies import proxied_process
from tests.support.servers import S3Server, serve_http, serve_s3_by_rclone

MILLISECONDS = 30  # that each request waits
REVISION_LINES = 480  # about 100 KB
LINES_PER_REVISION = 2_500  # of the argument: 400 revisions for a million
NAME = "shop"
DAY_FILES = 10
CONNECTIONS = 32  # of the filesystems that a thread pool uses

FLOOR = "fs.cat_file, one after another (the floor)"
OURS, ONE = "Bucket.iter_records()", "the same with Limits(requests=1)"
AT_ONCE = "fs.cat of all, then parse"

# What a new process does for the first record of a window: seconds for kmexport, for s3fs, and for the record.
FIRST_USE = """
import json, sys, time
times = [time.perf_counter()]
import kmexport
times.append(time.perf_counter())
import s3fs
times.append(time.perf_counter())
url, options, start, end = sys.argv[1:]
bucket = kmexport.Bucket(url, **json.loads(options))
next(bucket.iter_records(kmexport.Window(int(start), int(end))))
times.append(time.perf_counter())
print(*[after - before for before, after in zip(times, times[1:])])
"""


@frozen
class Remote:
    """An S3 server behind a proxy, and the folder where its export lies."""

    folder: Path
    proxy: Any
    server: S3Server

    def bucket(self, limits: Limits = Limits()) -> Bucket:  # noqa: B008  # it is frozen
        return Bucket(f"s3://{NAME}", limits=limits, **self.server.options)

    def filesystem(self) -> AbstractFileSystem:
        from s3fs import S3FileSystem

        pool = {"max_pool_connections": CONNECTIONS}
        return S3FileSystem(**self.server.options, config_kwargs=pool, skip_instance_cache=True)


@frozen
class Counted:
    """Cases of which is noted how many records they gave and how many requests they made."""

    proxy: Any
    records: dict[str, int] = field(factory=dict)
    requests: dict[str, int] = field(factory=dict)

    def cases(self, cases: dict[str, Callable[[], int]]) -> dict[str, Case]:
        return {name: partial(self._run, name, case) for name, case in cases.items()}

    def rows(self) -> list[Row]:
        assert len(set(self.records.values())) == 1, self.records
        return [figure(f"requests: {name}", count) for name, count in self.requests.items()]

    def _run(self, name: str, case: Callable[[], int]) -> None:
        self.proxy.reset()
        self.records[name] = case()
        self.requests[name] = self.proxy.counts()["requests"]


def remote_group(folder: Path, count: int, runs: int) -> Table:
    with remote_export(folder, count) as remote:
        counted = Counted(remote.proxy)
        slow = {
            FLOOR: in_turn(remote.filesystem(), NAME),
            ONE: lambda: total(remote.bucket(Limits(requests=1)).iter_records()),
        }
        pools = {threads: f"fs.cat_file in a pool of {threads} threads" for threads in (8, 16, 32)}
        quick = {pools[threads]: in_threads(remote.filesystem(), NAME, threads) for threads in pools}
        quick |= {AT_ONCE: at_once(remote.filesystem(), NAME), OURS: lambda: total(remote.bucket().iter_records())}
        timings = compare(counted.cases(slow), 1) | compare(counted.cases(quick), runs)
        best = min(pools.values(), key=lambda name: timings[name].median)
        rows = rows_of(timings, FLOOR)
        rows.append(times_as_fast(timings, OURS, FLOOR, 8))
        rows.append(row_against(timings, OURS, best, 1.2))
        rows += counted.rows()
    title = f"remote: {counted.records[OURS]:,} records in {revisions_of(count)} revisions, {MILLISECONDS} ms a request"
    return Table(f"{title}; each filesystem is used once before", rows)


def web_group(folder: Path, count: int, runs: int) -> Table:
    place = write(folder, count)
    with serve_http(place.parent) as server, proxied_process(server, MILLISECONDS / 1000) as proxy:
        counted = Counted(proxy)
        url = f"{proxy.endpoint}/{NAME}"
        rival = "fs.cat_file in a pool of 16 threads (the floor)"
        cases = {
            rival: in_threads(HTTPFileSystem(skip_instance_cache=True), url, 16),
            OURS: lambda: total(Bucket(url).iter_records()),
        }
        rows = rows_of(compare(counted.cases(cases), runs), rival) + counted.rows()
    title = f"web: {counted.records[OURS]:,} records in {revisions_of(count)} revisions, {MILLISECONDS} ms a request"
    return Table(title, rows)


def day_group(folder: Path, count: int, runs: int) -> Table:
    with remote_export(folder, count) as remote:
        window = window_of(remote.bucket(), DAY_FILES)
        named = remote.bucket().revisions(window)
        wanted = sum((remote.folder / revision.path).stat().st_size for revision in named)
        listing = bytes_down(remote, lambda: remote.bucket().revisions(window))
        whole = bytes_down(remote, lambda: (remote.bucket().status(), total(remote.bucket().iter_records(window))))
        warm = median(seconds_to_the_first(remote.bucket(), window) for _ in range(runs))
        ours, s3fs, cold = map(median, zip(*(seconds_of_first_use(remote, window) for _ in range(runs)), strict=True))
        rows = [
            figure("files that the window needs, with its margin", len(named)),
            figure("their bytes", wanted / 1000, "KB"),
            figure("bytes that came: index and listing", listing / 1000, "KB"),
            figure("bytes that came: status, index, listing and files", whole / 1000, "KB"),
            figure("all that came, against the files", whole / wanted, "times", at_most=1.2),
            figure("until the first record, the filesystem used once before", warm, "s", at_most=0.5),
            figure("until the first record, in a new process, without the imports", cold, "s"),
            figure("import kmexport, there", ours, "s"),
            figure("import s3fs, there", s3fs, "s"),
        ]
    title = f"day: {DAY_FILES} of {revisions_of(count)} revisions, {MILLISECONDS} ms a request"
    return Table(title, rows, "figure")


def stop_group(folder: Path, count: int, runs: int) -> Table:
    rows = []
    with remote_export(folder, count) as remote:
        bucket = remote.bucket()
        for title, records in (("the first record", 1), ("half of the records", revisions_of(count) * 240)):
            bucket.revisions()
            before = threads_and_sockets()
            remote.proxy.reset()
            start = time.perf_counter()
            for number, _ in enumerate(bucket.iter_records(), 1):
                if number == records:
                    break
            took = time.perf_counter() - start
            after = threads_and_sockets()
            time.sleep(1)
            later = threads_and_sockets()
            rows += [
                figure(f"seconds for {title}, and for leaving the loop", took, "s"),
                figure("requests that were made for it", remote.proxy.counts()["requests"]),
            ]
            for what in before:
                rows += [
                    figure(f"{what} before", before[what]),
                    figure(f"{what} when the loop was left", after[what]),
                    figure(f"{what} a second later", later[what], at_most=before[what]),
                ]
    return Table("stop: what is left of a loop that was left early", rows, "figure")


GROUPS: dict[str, Group] = {"remote": remote_group, "web": web_group, "day": day_group, "stop": stop_group}


# The export.


@contextmanager
def remote_export(folder: Path, count: int) -> Iterator[Remote]:
    """The export on an S3 server behind the proxy; all stops at the end of the block."""
    place = write(folder, count)
    with (
        serve_s3_by_rclone(place.parent, remembers="1h") as server,
        proxied_process(server.endpoint, MILLISECONDS / 1000) as proxy,
    ):
        yield Remote(place, proxy, evolve(server, endpoint=proxy.endpoint))


def write(folder: Path, count: int) -> Path:
    """The same export for all groups."""
    place = folder / "served" / NAME
    if not (place / "status.csv").exists():
        lines = material.lines(revisions_of(count) * REVISION_LINES)
        revisions = {n: list(islice(lines, REVISION_LINES)) for n in range(1, revisions_of(count) + 1)}
        write_export(place, revisions, ranges={n: received(n, lines) for n, lines in revisions.items()})
    return place


def revisions_of(count: int) -> int:
    return min(max(count // LINES_PER_REVISION, 2 * DAY_FILES), 400)


def received(number: int, lines: list[bytes]) -> tuple[int, int]:
    first, last = iter_records([lines[0], lines[-1]])
    return batch_time(number, first.timestamp), batch_time(number, last.timestamp)


def window_of(bucket: Bucket, files: int) -> Window:
    """The stretch in which so many revisions of the middle were received."""
    index = bucket.index()
    start = (len(index) - files) // 2
    first, last = index[start].min_timestamp, index[start + files - 1].max_timestamp
    assert first is not None
    assert last is not None
    return Window(first, last + 1)


# The ways to its records. All list the folder first, and give the records in the order of the revisions.


def in_turn(fs: AbstractFileSystem, place: str) -> Callable[[], int]:
    return lambda: total(parsed(map(fs.cat_file, paths(fs, place))))


def in_threads(fs: AbstractFileSystem, place: str, threads: int) -> Callable[[], int]:
    def read() -> int:
        with ThreadPoolExecutor(threads) as pool:
            return total(parsed(pool.map(fs.cat_file, paths(fs, place))))

    return read


def at_once(fs: AbstractFileSystem, place: str) -> Callable[[], int]:
    def read() -> int:
        wanted = paths(fs, place)
        bodies = fs.cat(wanted)
        return total(parsed(bodies[path] for path in wanted))

    return read


def paths(fs: AbstractFileSystem, place: str) -> list[str]:
    fs.invalidate_cache()
    # With what the listing remembers, s3fs need not ask for the size of each file.
    found = fs.ls(f"{place}/revisions/", detail=False)
    return sorted(found, key=lambda path: int(path.rpartition("/")[2].removesuffix(".json")))


def parsed(bodies: Iterable[bytes]) -> Iterator[Record]:
    for body in bodies:
        yield from iter_records(io.BytesIO(body))


def total(records: Iterable[Record]) -> int:
    return sum(1 for _ in records)


# What is measured.


def row_against(timings: dict[str, Timing], ours: str, rival: str, at_most: float | None = None) -> Row:
    ratio = timings[ours].median / timings[rival].median
    return figure(f"{ours}: its time over that of {rival}", ratio, "times", at_most=at_most)


def bytes_down(remote: Remote, work: Callable[[], object]) -> int:
    remote.proxy.reset()
    work()
    count: int = remote.proxy.counts()["bytes_down"]
    return count


def seconds_to_the_first(bucket: Bucket, window: Window) -> float:
    bucket.status()
    start = time.perf_counter()
    records = bucket.iter_records(window)
    next(records)
    took = time.perf_counter() - start
    del records  # closes it
    return took


def seconds_of_first_use(remote: Remote, window: Window) -> list[float]:
    options = json.dumps(remote.server.options)
    printed = in_new_process("-c", FIRST_USE, f"s3://{NAME}", options, str(window.start), str(window.end))
    return [float(number) for number in printed.split()]


def threads_and_sockets() -> dict[str, int]:
    """How many there are in this process; sockets only where the system tells them."""
    counts = {"threads": threading.active_count()}
    if TELLS_SOCKETS:
        counts["sockets"] = open_sockets()
    return counts
