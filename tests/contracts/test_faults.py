"""Whatever happens to the connections: every record in order, or an error that says so. Never fewer records.

Real servers behind a proxy that resets, cuts, stalls or refuses. First plain faults, then 300 seeds that
draw theirs at random from all that the proxy can do, for listings, manifests and bodies.
"""

from __future__ import annotations

import gc
import logging
import random
import re
import shutil
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import pytest
from attrs import define, evolve, field, frozen

from kmexport import (
    Bucket,
    BucketNotFoundError,
    BucketUnreachableError,
    Event,
    KmExportError,
    Limits,
    Record,
    Revision,
    RevisionNotFoundError,
)
from kmexport.testing import write_export
from tests.support.limited import limited
from tests.support.proxies import PLANS, Fault, Proxy, proxied
from tests.support.servers import S3Server, free_port, serve_http_from
from tests.support.systems import make_link

BREAKING = ["reset", "503", "stall", "short"]
REVISION = re.compile(r"/(revisions/[0-9]+\.json(?:\.gz)?)$")
SEEDS = range(300)
WORKERS = 16  # most of the time they wait: for time-outs, and between tries
SILENT_FOR = 0.5  # seconds, after which the clients here give up a connection
STALL = 2.0  # seconds, so that it is the client that gives up
ENDS_WITHIN = 60.0  # seconds, for any iteration
ALL_END_WITHIN = 200.0  # seconds

T = TypeVar("T")


@frozen
class Export:
    """An export on the disk that both servers serve, and what is in it."""

    folder: Path
    revisions: dict[int, list[Record]]
    records: list[Record] = field(init=False)

    @records.default
    def _in_order(self) -> list[Record]:
        return [record for _, records in sorted(self.revisions.items()) for record in records]

    def records_before(self, number: int) -> int:
        return sum(len(records) for before, records in self.revisions.items() if before < number)

    def bytes_of(self, number: int) -> int:
        return (self.folder / f"revisions/{number}.json").stat().st_size


@frozen
class Server:
    """A server that serves the exports: where it is, and a Bucket of an export there as seen through a proxy."""

    name: str
    upstream: str
    files: Path
    bucket: Callable[[str, Export], Bucket]
    secret: str | None = None


def on_s3(server: S3Server) -> Server:
    config = {"read_timeout": SILENT_FOR, "connect_timeout": 2, "retries": {"max_attempts": 1}}

    def bucket(endpoint: str, export: Export) -> Bucket:
        # Four files a page: a listing is several requests.
        pages = {"s3_additional_kwargs": {"MaxKeys": 4}}
        options = {**server.options, "endpoint_url": endpoint, "config_kwargs": config, **pages}
        return Bucket(f"s3://{export.folder.name}", **options)

    assert server.folder is not None
    return Server("s3", server.endpoint, server.folder, bucket, server.secret)


def on_http(url: str, folder: Path) -> Server:
    from aiohttp import ClientTimeout

    def bucket(endpoint: str, export: Export) -> Bucket:
        settings = {"timeout": ClientTimeout(sock_read=SILENT_FOR)}
        return Bucket(f"{endpoint}/{export.folder.name}", client_kwargs=settings)

    return Server("http", url, folder, bucket)


@pytest.fixture(scope="module")
def servers(rclone: S3Server, web: tuple[str, Path]) -> dict[str, Server]:
    return {"s3": on_s3(rclone), "http": on_http(*web)}


@pytest.fixture(params=["s3", "http"])
def server(request: pytest.FixtureRequest, servers: dict[str, Server]) -> Server:
    return servers[request.param]


@pytest.fixture(scope="module")
def exports(rclone: S3Server, web: tuple[str, Path]) -> Iterator[dict[str, Export]]:
    """A few exports, from tiny to one with a revision of 20 MB; the web server has links to them."""
    assert rclone.folder is not None
    shapes: dict[str, tuple[dict[int, int], set[int]]] = {
        "tiny": (dict.fromkeys(range(1, 6), 100), set()),
        "small": ({1: 100_000, 2: 0, 3: 500, 9: 120_000, 10: 80, 11: 100_000}, set()),
        "gzipped": ({3: 200_000, 4: 0, 5: 90, 6: 300_000, 12: 100_000}, {3, 4, 5, 6}),
        "many": ({n: 100_000 if n % 8 == 0 else 300 for n in range(1, 17)}, {7, 16}),
        "large": ({1: 100, 2: 9_000_000, 3: 100_000, 4: 200}, {3}),
        "largest": ({98: 300, 99: 20_000_000, 100: 300}, set()),
    }
    made = {}
    for name, (sizes, gzipped) in shapes.items():
        rng = random.Random(name)
        revisions = {number: some_records(rng, number, size) for number, size in sizes.items()}
        folder = rclone.folder / f"faults-{name}"
        write_export(folder, revisions, gzipped=gzipped)
        index = folder / "index.csv"  # of a web server it is the listing
        packed = re.compile("|".join(rf"\b{n}\.json\b" for n in gzipped) or "$^")
        index.write_text(packed.sub(r"\g<0>.gz", index.read_text(encoding="utf-8")), encoding="utf-8")
        make_link(web[1] / folder.name, folder)
        made[name] = Export(folder, revisions)
    yield made
    for export in made.values():
        (web[1] / export.folder.name).unlink()
        shutil.rmtree(export.folder)


def some_records(rng: random.Random, number: int, size: int) -> list[Record]:
    """Records of about `size` bytes together, each another one, with text that gzip can't make small."""
    length = max(size // 500, 40)  # of a line, about
    return [
        Event(f"p{number}-{at}", number * 1_000_000 + at, "x", {"filler": rng.randbytes(length // 2).hex()})
        for at in range(0, size, length + 50)
    ]


def in_time(work: Callable[[], T]) -> Future[T]:
    """Do the work in a daemon thread: a hang then fails one test, and does not hold up the run."""
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:  # noqa: BLE001  # it is raised where the result is asked for
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return result


def read(bucket: Bucket, **options: Any) -> tuple[list[Record], Exception | None]:
    """What iteration gives before it ends, and the error it ends with, if any."""
    records: list[Record] = []
    try:
        for record in bucket.iter_records(**options):
            records.append(record)  # noqa: PERF402  # list.extend would lose them all at an error
    except Exception as error:  # noqa: BLE001  # the tests say which may come
        return records, error
    return records, None


def read_in_time(bucket: Bucket, **options: Any) -> tuple[list[Record], Exception | None]:
    return in_time(partial(read, bucket, **options)).result(ENDS_WITHIN)


def asked(proxy: Proxy, name: str) -> int:
    """The most that one request of a path that ends in `name` was made."""
    counts = Counter(request for request in proxy.requests if request[1].partition("?")[0].endswith(name))
    return max(counts.values(), default=0)


def check_end(export: Export, records: list[Record], error: Exception | None, secret: str | None = None) -> None:
    """All records in order; or those before the place that could not be read, and an error that names it."""
    in_order = records == export.records[: len(records)]
    assert in_order, f"the {len(records)} records that came are others than those of the export"
    if error is None:
        assert len(records) == len(export.records), "fewer records, and no error"
        return
    shown = "".join(traceback.format_exception(error))
    assert isinstance(error, BucketUnreachableError), shown
    assert error.__cause__ is not None
    assert secret is None or secret not in shown
    named = re.search(r"revisions/([0-9]+)\.json", str(error))
    if named is None:
        assert re.search(r"reading index\.csv|listing revisions", str(error))
        assert records == []
    else:
        number = int(named[1])
        assert export.records_before(number) <= len(records) <= export.records_before(number + 1)


class TestPlainFaults:
    @pytest.mark.parametrize(("kind", "on_error"), [("short", "skip"), ("reset", "raise")])
    def test_a_revision_that_always_breaks_off(self, server, exports, kind, on_error):
        export = exports["small"]

        def plan(_: str, path: str) -> Fault | None:
            return Fault(kind, 0.5) if path.endswith("/revisions/9.json") else None

        with proxied(server.upstream, plan=plan) as proxy:
            records, error = read_in_time(server.bucket(proxy.endpoint, export), on_error=on_error)
        check_end(export, records, error, server.secret)
        assert "revisions/9.json" in str(error)
        assert export.records_before(9) <= len(records) < export.records_before(10)
        assert proxy.faults[kind] > 1

    def test_one_reset_within_a_large_revision_does_not_begin_it_anew(self, servers, exports):
        server, export = servers["s3"], exports["largest"]
        faults = iter([Fault("reset", 0.5)])

        def plan(method: str, path: str) -> Fault | None:
            return next(faults, None) if method == "GET" and path.endswith("/99.json") else None

        with proxied(server.upstream, plan=plan) as proxy:
            records, error = read_in_time(server.bucket(proxy.endpoint, export))
        assert error is None
        assert records == export.records
        assert proxy.faults == {"reset": 1}
        assert export.bytes_of(99) <= proxy.bytes_down < 1.6 * export.bytes_of(99)

    def test_a_revision_that_breaks_off_again_and_again_leaves_nothing_open(self, server, exports):
        export = exports["small"]
        faults = iter([Fault("short", 0.9), Fault("reset", 0.5), Fault("stall", 0.2), Fault("short", 0.7)])

        def plan(_: str, path: str) -> Fault | None:
            return next(faults, None) if path.endswith("/9.json") else None

        with proxied(server.upstream, plan=plan, stall=STALL) as proxy:
            records, error = read_in_time(limited(server.bucket(proxy.endpoint, export), prefetch_bytes=0))
            assert error is None
            assert records == export.records
            assert proxy.faults.total() == 4
            # What was left open warns now, and a warning is an error.
            del records
            gc.collect()

    def test_each_request_is_refused_three_times_and_then_answered(self, server, exports):
        export = exports["small"]
        times: Counter[str] = Counter()

        def plan(_: str, path: str) -> Fault | None:
            times[path] += 1
            return Fault("503") if times[path] <= 3 else None

        with proxied(server.upstream, plan=plan) as proxy:
            records, error = read_in_time(server.bucket(proxy.endpoint, export))
        assert error is None
        assert records == export.records
        # index.csv, the listing (a web server has none), and every revision that is not known to be empty.
        manifests = 2 if server.name == "s3" else 1
        files = len([number for number in export.revisions if export.bytes_of(number)])
        assert proxy.faults["503"] >= 3 * (manifests + files)

    def test_denied_access_on_s3_is_not_tried_again(self, rclone, exports):
        with proxied(rclone.endpoint) as proxy:
            options = {**rclone.options, "endpoint_url": proxy.endpoint, "secret": "not-the-secret"}
            records, error = read_in_time(Bucket(f"s3://{exports['tiny'].folder.name}", **options))
        assert records == []
        assert isinstance(error, PermissionError)
        assert f"s3://{exports['tiny'].folder.name}" in str(error)
        shown = "".join(traceback.format_exception(error))
        assert "not-the-secret" not in shown
        assert rclone.key not in shown
        assert asked(proxy, "/index.csv") == 1

    def test_denied_access_on_the_web_is_not_tried_again(self):
        with serve_http_from({"/shop/index.csv": b""}, status=403) as url, proxied(url) as proxy:
            address = proxy.endpoint.replace("http://", "http://bob:pass-word@")
            records, error = read_in_time(Bucket(f"{address}/shop"))
        assert records == []
        assert isinstance(error, PermissionError)
        assert f"{proxy.endpoint.removeprefix('http://')}/shop" in str(error)
        assert "pass-word" not in "".join(traceback.format_exception(error))
        assert asked(proxy, "/index.csv") == 1

    def test_a_missing_export_is_not_asked_for_again(self, server, exports):
        nowhere = Export(exports["tiny"].folder / "nowhere", {})
        with proxied(server.upstream) as proxy:
            records, error = read_in_time(server.bucket(proxy.endpoint, nowhere))
        assert records == []
        assert isinstance(error, BucketNotFoundError)
        assert asked(proxy, "/index.csv") == 1

    def test_a_missing_revision_is_not_asked_for_again(self, server, rclone, web):
        assert rclone.folder is not None
        folder = rclone.folder / f"faults-gone-{server.name}"
        written = {n: some_records(random.Random(n), n, 500) for n in (1, 2, 3)}
        write_export(folder, written)
        make_link(web[1] / folder.name, folder)

        def plan(_: str, path: str) -> Fault | None:
            if path.endswith("/2.json"):
                (folder / "revisions/2.json").unlink(missing_ok=True)
            return None

        with proxied(server.upstream, plan=plan) as proxy:
            records, error = read_in_time(server.bucket(proxy.endpoint, Export(folder, written)))
        assert records == written[1]
        assert isinstance(error, RevisionNotFoundError)
        assert error.source == "revisions/2.json"
        assert asked(proxy, "/2.json") == 1

    def test_an_empty_answer_in_place_of_a_file_is_told(self, servers, exports, caplog):
        """Of a web server nothing tells the true length. Of two revisions without a byte, one is meant to be so."""
        export = exports["small"]

        def plan(_: str, path: str) -> Fault | None:
            return Fault("empty") if path.endswith("/9.json") else None

        with proxied(servers["http"].upstream, plan=plan) as proxy:
            records, error = read(servers["http"].bucket(proxy.endpoint, export))
        assert error is None
        assert records == [record for number, some in export.revisions.items() if number != 9 for record in some]
        told = [message for message in caplog.messages if "is empty" in message]
        assert told == ["revisions/9.json: is empty, and the index says that it holds records"]


@define
class Plan:
    """The faults of one seed. The same request fails the same way at the same try, whatever runs beside it."""

    seed: int
    server: str
    rate: float
    kinds: list[str]
    is_hit: Callable[[str], bool]
    times: Counter[tuple[str, str]] = field(factory=Counter)

    def __call__(self, method: str, path: str) -> Fault | None:
        self.times[method, path] += 1
        rng = random.Random(f"{self.seed} {method} {path} {self.times[method, path]}")
        if not self.is_hit(path) or rng.random() >= self.rate:
            return None
        kinds = [kind for kind in self.kinds if kind in FITTING[self.server, target_of(path)]]
        if path.endswith(".gz"):
            kinds = [kind for kind in kinds if kind != "replaced"]  # the proxy replaces lines
        return Fault(rng.choice(kinds), rng.choice([0.0, 0.999, rng.random()])) if kinds else None


def target_of(path: str) -> str:
    """What is asked for: "index", "listing" or "body"."""
    if REVISION.search(path):
        return "body"
    return "listing" if "list-type=2" in path else "index"


def is_target(target: str, path: str) -> bool:
    return target_of(path) == target


ABOUT_FILES = {"whole", "other part", "replaced"}
FITTING = {
    ("s3", "body"): set(PLANS),
    ("s3", "listing"): set(PLANS) - ABOUT_FILES,
    ("s3", "index"): set(PLANS) - {"replaced"},
    # Where a length is announced, and nothing else tells the true one, nobody can know.
    ("http", "body"): set(PLANS) - {"shorter", "longer"},
    ("http", "index"): set(PLANS) - {"replaced", "shorter"},
}


@define
class Outcome:
    """How one seed ended: its server, "full" or the type of the error, its seconds, and what is wrong about that."""

    server: str
    ended: str
    seconds: float
    faults: Counter[str]
    problem: AssertionError | None = None


@pytest.fixture(scope="module")
def outcomes(servers: dict[str, Server], exports: dict[str, Export]) -> dict[int, Outcome]:
    """All seeds, a few at a time."""
    seeds = iter(SEEDS)  # of all workers: each takes the next one
    running = [in_time(partial(run_seeds, seeds, servers, exports)) for _ in range(WORKERS)]
    deadline = time.monotonic() + ALL_END_WITHIN
    every: dict[int, Outcome] = {}
    for one in running:
        every |= one.result(deadline - time.monotonic())
    return every


@pytest.mark.slow
@pytest.mark.xdist_group("seeds")
@pytest.mark.parametrize("seed", SEEDS)
def test_every_record_or_an_error(seed, outcomes):
    outcome = outcomes[seed]
    if outcome.problem is not None:
        raise outcome.problem
    assert outcome.seconds < ENDS_WITHIN


@pytest.mark.slow
@pytest.mark.xdist_group("seeds")
def test_the_seeds_met_every_fault_and_every_end(outcomes, record_property):
    met: dict[str, Counter[str]] = {kind: Counter() for kind in PLANS}
    for outcome in outcomes.values():
        for kind in outcome.faults:
            met[kind][outcome.ended] += 1
    record_property("told", "\n".join(table_of(outcomes, met)))
    assert set(outcomes) == set(SEEDS)
    assert [kind for kind, counts in met.items() if not counts] == []
    for server in ("s3", "http"):
        ends_here = Counter(outcome.ended for outcome in outcomes.values() if outcome.server == server)
        assert ends_here["full"] > ends_here.total() / 3
        assert ends_here["BucketUnreachableError"] > 0


def table_of(outcomes: dict[int, Outcome], met: dict[str, Counter[str]]) -> Iterator[str]:
    """How often each fault was met, and how the seeds ended that met it: lines for the end of the test run."""
    seconds = [outcome.seconds for outcome in outcomes.values()]
    yield f"{len(outcomes)} seeds, {sum(seconds):.0f} s in all, the longest {max(seconds):.1f} s"
    for kind, counts in met.items():
        ends = ", ".join(f"{end} {count}" for end, count in counts.most_common())
        injected = sum(outcome.faults[kind] for outcome in outcomes.values())
        yield f"{kind:>12}: {injected:4} times in {counts.total():3} seeds that ended: {ends}"


def run_seeds(seeds: Iterator[int], servers: dict[str, Server], exports: dict[str, Export]) -> dict[int, Outcome]:
    """Run some of the seeds in turn, with a proxy before each server, so that clients are kept from seed to seed."""
    plan = Plan(-1, "s3", 0.0, [], lambda _: False)

    def current(method: str, path: str) -> Fault | None:
        return plan(method, path)

    s3, http = servers["s3"], servers["http"]
    outcomes = {}
    with (
        proxied(s3.upstream, plan=current, stall=STALL, files=s3.files) as before_s3,
        proxied(http.upstream, plan=current, stall=STALL, files=s3.files) as before_http,
        warnings_of_this_thread() as warnings,
    ):
        for seed in seeds:
            rng = random.Random(seed)
            server, proxy = (s3, before_s3) if seed % 2 else (http, before_http)
            name = rng.choices([*exports], weights=[5, 8, 8, 6, 2, 1])[0]
            export = exports[name]
            # Most of the kinds end the reading, so that they are mostly tried alone.
            alone = [[*PLANS][seed // 2 % len(PLANS)]]
            kinds = rng.choice([alone, alone, rng.sample([*PLANS], 3), rng.sample(BREAKING, rng.randint(1, 4))])
            rate = rng.choice([0.05, 0.1, 0.2, 0.3, 0.4])
            one = f"revisions/{rng.choice([*export.revisions])}.json"
            hits = rng.choice([lambda _: True, REVISION.search, lambda path, one=one: one in path])
            if (target := rng.choice(["index", "listing", "body", "body", "body"])) != "body":
                hits, rate = (
                    partial(is_target, target),
                    rng.choice([0.3, 0.6, 0.9]),
                )  # of these there is one request or two
            if alone[0] in ABOUT_FILES:  # with several parts
                export, kinds, hits = exports[rng.choice(["small", "large"])], alone, REVISION.search
            if seed % 20 in (6, 7):  # some of each server fail for ever
                rate = 1.0
            plan = Plan(seed, server.name, rate, kinds, hits)
            on_error = rng.choice(["raise", "skip"])
            limits = {
                # With 0 a large revision would be hundreds of small requests, and the test too slow.
                "prefetch_bytes": rng.choice([8 << 20 if "large" in export.folder.name else 0, 64 << 20]),
                "requests": rng.choice([1, 4, 16]),
            }
            proxy.faults.clear()
            proxy.replaced.clear()
            warnings.clear()
            started = time.monotonic()
            records, error = read(limited(server.bucket(proxy.endpoint, export), **limits), on_error=on_error)
            seconds = time.monotonic() - started
            outcome = Outcome(
                server.name, "full" if error is None else type(error).__name__, seconds, Counter(proxy.faults)
            )
            left_out = {found[1] for warning in warnings if (found := re.match(r"revisions/([0-9]+)\.json", warning))}
            if error is None and left_out:
                outcome.ended = "full but what the log names"
            try:
                check_all(export, records, error, {int(number) for number in left_out}, server.secret)
            except AssertionError as problem:
                outcome.problem = problem
            outcomes[seed] = outcome
    return outcomes


def revision_of(record: Record) -> int:
    return int(record.person[1:].partition("-")[0])


def check_all(
    export: Export, records: list[Record], error: Exception | None, left_out: set[int], secret: str | None
) -> None:
    """Every revision whole, as it was or as it was replaced; or an error, which names the place where it stops.

    Of the revisions that the log says are left out, wholly or in part, some records may be missing.
    """
    found = {number: list(some) for number, some in groupby(records, key=revision_of)}
    assert [*found] == sorted(found), "the revisions are out of order, or come in pieces"
    assert sum(map(len, found.values())) == len(records)
    stops_at = last = max(found, default=0)
    if error is not None:
        shown = "".join(traceback.format_exception(error))
        assert isinstance(error, KmExportError | PermissionError), shown
        assert secret is None or secret not in shown
        named = re.search(r"revisions/([0-9]+)\.json", str(error))
        if named is None:
            assert re.search(r"index\.csv|listing revisions|revisions/", str(error)), str(error)
            assert records == [], str(error)
            return
        stops_at = int(named[1])
        assert last <= stops_at, f"records of {last}, behind the error in {stops_at}"
    for number, expected in export.revisions.items():
        versions = [expected, [evolve(record, person=f"q{record.person[1:]}") for record in expected]]
        here = found.get(number, [])
        if here in versions:
            continue
        if error is not None and number >= stops_at:
            assert any(here == version[: len(here)] for version in versions), f"other records in {number}"
            continue
        assert number in left_out, (
            f"{len(here)} records of {number} where {len(expected)} are right, and nobody said so"
        )
        assert any(set(map(str, here)) <= set(map(str, version)) for version in versions), f"other records in {number}"


@contextmanager
def warnings_of_this_thread() -> Iterator[list[str]]:
    """What the library warns of while this thread reads."""
    messages: list[str] = []
    thread = threading.get_ident()

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread:
                messages.append(record.getMessage())

    logger = logging.getLogger("kmexport")
    handler = Listening(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)


def test_no_error_stands_behind_itself():
    """Dask and others walk along the causes of an error, and would never end."""
    options = {"key": "AKIAMADEUPFORTESTS00", "secret": "made-up", "endpoint_url": f"http://127.0.0.1:{free_port()}"}
    with pytest.raises(BucketUnreachableError) as caught:
        list(
            Bucket("s3://acme/export", limits=Limits(silent_for=0.2), **options).read([Revision(1, "revisions/1.json")])
        )
    error, met = caught.value, []
    while error is not None:
        assert all(error is not one for one in met)
        met.append(error)
        error = error.__cause__
    assert len(met) > 1
