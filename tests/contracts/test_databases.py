"""The jobs of docs/databases.md, as they stand there: against a real PostgreSQL, SQLite and dlt."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import pytest
from attrs import frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kmexport import Alias, Bucket, Event, Facts, LineCounts, MalformedRecordError, PropertySet
from kmexport.tables import SCHEMA, storable, to_sqlite
from kmexport.testing import BROKEN_LINES, write_export
from tests.support.strategies import examples

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "databases.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COLUMNS = {
    "events": "person, time, name, name_as_sent, properties, revision, line",
    "properties": "person, time, name, name_as_sent, value, text, number, event, revision, line",
}
JSON = {"events": ["properties"], "properties": ["value"]}
SECOND = 1349222400
CALLS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg")
NEW: Iterator[int] = count(1)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("databases"),
]  # one server, not one for each process of the test run


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the page as a module, as its readers would have it."""
    path = tmp_path_factory.mktemp("page") / "jobs_of_the_page.py"
    path.write_text("\n\n".join(BLOCK.findall(PAGE.read_text(encoding="utf-8"))), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def page(module: Path) -> Iterator[dict[str, Any]]:
    """What the page defines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(module.parent)
        patch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
        yield vars(importlib.import_module(module.stem))
        del sys.modules[module.stem]


@frozen
class Database:
    """An empty database, the page's job for it, and how it is asked."""

    load: Callable[[Bucket], None]
    ask: Callable[[str], list[tuple[Any, ...]]]
    uri: str = ""

    def counted(self, table: str) -> list[tuple[Any, ...]]:
        return comparable(self.ask(f"select {COLUMNS[table]} from counted_{table}"))


@pytest.fixture
def empty(postgres: str) -> Iterator[str]:
    """The URI of a database with nothing in it."""
    import adbc_driver_postgresql.dbapi as postgresql

    name = f"test_{next(NEW)}"
    with postgresql.connect(postgres, autocommit=True) as server, server.cursor() as cursor:
        cursor.execute(f"create database {name}")
        yield f"{postgres.rpartition('/')[0]}/{name}"
        cursor.execute(f"drop database {name} with (force)")


def ask_postgres(uri: str, query: str) -> list[tuple[Any, ...]]:
    import adbc_driver_postgresql.dbapi as postgresql

    with postgresql.connect(uri) as database, database.cursor() as cursor:
        cursor.execute(query)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def ask_sqlite(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


def new_sqlite(path: Path) -> Database:
    return Database(partial(to_sqlite, path=path), partial(ask_sqlite, path))


def new_postgres(page: dict[str, Any], uri: str) -> Database:
    page["set_up"](uri)
    return Database(partial(page["load_tonight"], uri=uri), partial(ask_postgres, uri), uri)


@pytest.fixture(params=["postgres", "sqlite"])
def database(request: pytest.FixtureRequest, page: dict[str, Any], tmp_path: Path) -> Database:
    if request.param == "sqlite":
        return new_sqlite(tmp_path / "shop.sqlite")
    return new_postgres(page, request.getfixturevalue("empty"))


def comparable(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted((tuple(map(_plain, row)) for row in rows), key=repr)


def _plain(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", value):
        value = datetime.fromisoformat(value)
    if isinstance(value, str) and value.startswith("{"):
        return json.dumps(json.loads(value), sort_keys=True)  # a letter may be written as itself or as its escape
    if isinstance(value, datetime):
        assert value.tzinfo is not None
        return value.astimezone(UTC)
    return value


def of_facts(facts: Facts, table: str) -> list[tuple[Any, ...]]:
    reader = storable(facts.sql(f"select {COLUMNS[table]} from {table}").to_arrow_reader(), json=JSON[table])
    return comparable([tuple(row.values()) for row in reader.read_all().to_pylist()])


def assert_counts_as_facts(database: Database, bucket: Bucket) -> None:
    with Facts(bucket) as facts:
        for table in COLUMNS:
            assert database.counted(table) == of_facts(facts, table)


HOSTILE_NAME = "x\"'; drop table events; --.[0].$" + "é" * 100
HOSTILE: dict[int, list[Any]] = {
    1: [
        rb'{"_p":"b\u0000b","_t":1349222400,"_n":"Signed\u0000Up","city":"a\u0000b","half":"\ud83d","pl\u0000an":7}',
        rb'{"_p":"b\\u0000b","_t":1349222400,"_n":"Signed\\u0000Up","lit":"a\\u0000b","back":"\\\\u0000 \\\u0000"}',
        b'{"_p":"big","_t":1349222400,"_n":"numbers","huge":%b,"e":1e400,"far":-1e999999,"text":"1e400"}' % (b"9" * 40),
        b'{"_p":"long","_t":1349222401,"_n":"numbers","longer":%b}' % (b"7" * 4_000),
        Event("quo'te\"\\", SECOND, HOSTILE_NAME, {HOSTILE_NAME: HOSTILE_NAME, "a.b": "c", "": "empty", "revision": 5}),
        PropertySet("x" * 5_000, SECOND, {"n" * 5_000: "v" * 50_000, "identity": "\x01\x1f\x7f\u2028\ufeff"}),
        Event("", -62_135_596_800, "", {"nested": {"a": [1, {"b": None}]}, "none": None, "yes": True, "n": "12.50"}),
        Event("end", 253_402_300_799, "ÀÉ, Straße: İ", {"_d": 1, "Straße": "x", "STRASSE": "y"}),
        b'[{"_p":"one","_t":1,"_n":"x","a":1},{"_p":"two","_t":1,"_n":"x","a":2}]',
    ][:-1],
    2: [b'[{"_p":"one","_t":1,"_n":"x","a":1},{"_p":"two","_t":1,"_n":"x","a":2},{"_p":"one","_t":1,"_n":"X","a":3}]'],
    3: [b'{"_p":"x","_t":5,"_n":"x","nul":"\\u0000"}', b'{"_p":"al","_t":5,"_p2":"al\\u0000ias","_d":1}'],
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has ended")
def test_a_test_run_that_is_killed_leaves_no_server(postgres):
    job = """if True:
        import os, signal
        from tests.support.postgres import find_programs, serve_postgres
        with serve_postgres(find_programs()) as uri:
            print(uri, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # the server is another user where the tests are root's
        environment = {**os.environ, "TMPDIR": folder}
        command = [sys.executable, "-c", job]
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=120, cwd=ROOT, check=False, env=environment
        )
        assert ended.returncode == -9, ended.stderr
        address = ("127.0.0.1", int(ended.stdout.rpartition(":")[2].partition("/")[0]))
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with closing(socket.socket()) as probe:
                if probe.connect_ex(address):
                    return
            time.sleep(0.1)
    pytest.fail(f"somebody still answers at {address}")


class TestEachNight:
    def test_the_sample_counts_as_facts(self, database):
        database.load(Bucket.sample())
        assert_counts_as_facts(database, Bucket.sample())
        with Facts(Bucket.sample()) as facts:
            events = facts.sql("select count(*) from records where kind = 'event'").fetchall()
            aliases = facts.sql("select person, alias from records where kind = 'alias'").fetchall()
        assert database.ask("select count(*) from events") == events
        assert comparable(database.ask("select identity, alias from aliases")) == comparable(aliases)

    def test_a_second_run_adds_nothing(self, database):
        database.load(Bucket.sample())
        tables = ["events", "properties", "aliases", "people", "revisions"]
        before = [database.ask(f"select count(*) from {table}") for table in tables]
        database.load(Bucket.sample())
        assert [database.ask(f"select count(*) from {table}") for table in tables] == before

    def test_a_late_revision_and_a_late_alias(self, database, tmp_path):
        revisions: dict[int, list[Any]] = {
            2: [Event("eve", SECOND, "Signed Up", {"plan": "Pro"}), Event("b1", SECOND, "signed up", {"plan": "Free"})],
            5: [
                Event("bob", SECOND, "signed up", {"plan": "Team", "city": "Ulm"}),
                PropertySet("bob", SECOND, {"x": 1}),
            ],
        }
        database.load(write_export(tmp_path / "early", revisions))
        assert {row[0] for row in database.counted("events")} == {"eve", "b1", "bob"}
        revisions |= {
            3: [Event("b1", SECOND, "SIGNED UP", {"city": "Bonn"}), Alias("bob", SECOND + 9, "b1")],
            6: [Alias("eve", SECOND + 99, "eve@example.com")],
        }
        late = write_export(tmp_path / "late", revisions)
        database.load(late)
        assert comparable(database.ask("select revision from revisions")) == [(2,), (3,), (5,), (6,)]
        assert {row[0] for row in database.counted("events")} == {"eve@example.com", "b1"}
        assert_counts_as_facts(database, late)

    def test_a_property_of_a_second_counts_once(self, database, tmp_path):
        revisions = {
            1: [Event("bob", SECOND, "added", {"product": "vase"})],
            2: [Event("bob", SECOND, "bought", {"product": "bowl"}), PropertySet("bob", SECOND, {"Product": "jug"})],
            3: [Event("b1", SECOND, "Bought", {"product": "pot", "colour": "red"}), Alias("bob", 1, "b1")],
        }
        bucket = write_export(tmp_path, revisions)
        database.load(bucket)
        assert_counts_as_facts(database, bucket)
        kept = database.ask("select text, event from counted_properties order by text")
        assert kept == [("red", None), ("vase", "added")]  # what is left of a duplicate event is of no event

    def test_hostile_text(self, database, tmp_path, caplog):
        bucket = write_export(tmp_path, HOSTILE)
        database.load(bucket)
        assert_counts_as_facts(database, bucket)
        persons = {row[0] for row in database.counted("events")}
        assert {r"b\u0000b", r"b\\u0000b"} <= persons
        assert "events.identity 2, events.name 2, events.name_as_sent 2, events.properties 3" in caplog.text
        assert database.ask("select properties ->> 'far' from events where identity = 'big'") == [
            ("-1e999999",) if database.uri else (float("-inf"),)
        ]
        assert database.ask("select value from properties where name = 'huge'") == [("9" * 40,)]
        # One odd row does not make every query fail.
        everything = database.ask("select properties ->> 'city' from events where properties ->> 'city' is not null")
        assert everything == [(r"a\u0000b",)]
        # Of a file that is one array, each item is a record of its own, and its properties are tied to it.
        tied = "select identity, text from events join properties using (revision, record, identity) where revision = 2"
        assert comparable(database.ask(tied)) == [("one", "1"), ("one", "3"), ("two", "2")]

    def test_what_breaks_leaves_nothing_behind(self, database, tmp_path):
        revisions = {1: [Event("bob", SECOND, "x")] * 3, 2: [Alias("bob", 1, "b1"), BROKEN_LINES["cut off"]]}
        with pytest.raises(MalformedRecordError, match=r"revisions/2\.json, line 2"):
            database.load(write_export(tmp_path / "broken", revisions))
        if database.uri:
            for table in ("events", "properties", "aliases", "people", "revisions"):
                assert database.ask(f"select count(*) from {table}") == [(0,)]
        else:
            assert database.ask("select count(*) from sqlite_master") == [(0,)]
        whole = write_export(tmp_path / "whole", revisions | {2: [Alias("bob", 1, "b1")]})
        database.load(whole)
        assert_counts_as_facts(database, whole)
        assert comparable(database.ask("select identity, person from people")) == [("b1", "b1"), ("bob", "b1")]

    def test_two_jobs_at_once(self, database):
        with ThreadPoolExecutor(3) as threads:
            jobs = [threads.submit(database.load, Bucket.sample()) for _ in range(3)]
            for job in jobs:
                job.result(60)
        assert_counts_as_facts(database, Bucket.sample())
        assert database.ask("select count(*) from revisions") == [(len(Bucket.sample().revisions()),)]

    @pytest.mark.slow
    def test_a_job_that_is_killed(self, page, module, empty):
        database = new_postgres(page, empty)
        job = f"""if True:
            import os, signal, sys
            sys.path.insert(0, {str(module.parent)!r})
            import {module.stem} as page
            from kmexport import Bucket

            def killed_in_between(batches):
                for number, tables in enumerate(given(batches)):
                    yield tables
                    if number == 2:
                        os.kill(os.getpid(), signal.SIGKILL)

            class Small(Bucket):
                def to_batches(self, **arguments):
                    return super().to_batches(batch_rows=300, **arguments)

            given, page.relational = page.relational, killed_in_between
            page.load_tonight(Small.sample(), {empty!r})
        """
        command = [sys.executable, "-c", job]
        environment = {**os.environ, "RUNTIME__DLTHUB_TELEMETRY": "false"}
        ended = subprocess.run(command, capture_output=True, timeout=120, check=False, env=environment)
        assert ended.returncode == -9, ended.stderr.decode()
        assert database.ask("select count(*) from events") == [(0,)]
        database.load(Bucket.sample())
        assert_counts_as_facts(database, Bucket.sample())


IDENTITIES = st.sampled_from(["a", "b", "7", "c@example.com", "n\x00"])
NAMES = st.sampled_from(["Signed Up", "signed up", "x", "X\x00", "ß", "SS"])
VALUES = st.sampled_from(["Pro", "1.50", 3, None, "\x00", "\ud83d", [1, {"a": "\x00"}], 10**30, "1_000", "nan", 1e300])
PAIRS = st.dictionaries(st.sampled_from(["plan", "Plan", "p\x00", "_d", "ß", "ss"]), VALUES, max_size=3)
TIMES = st.integers(SECOND, SECOND + 1)
RECORDS = st.one_of(
    st.builds(Event, IDENTITIES, TIMES, NAMES, PAIRS),
    st.builds(PropertySet, IDENTITIES, TIMES, PAIRS),
    st.builds(Alias, IDENTITIES, TIMES, IDENTITIES),
)


@st.composite
def nights(draw: st.DrawFn) -> list[dict[int, list[Any]]]:
    """What the bucket holds each night: revisions that arrive in any order."""
    revisions = draw(st.lists(st.lists(RECORDS, max_size=6), min_size=1, max_size=5))
    there: dict[int, list[Any]] = {}
    found = []
    for number in draw(st.permutations(range(1, len(revisions) + 1))):
        there = {**there, number: revisions[number - 1]}
        if draw(st.booleans()):
            found.append(there)
    return [*found, there]


def check_nights(database: Database, nights: list[dict[int, list[Any]]]) -> None:
    for there in nights:
        bucket = write_export(f"memory://nights-{next(NEW)}", there)
        database.load(bucket)
        assert_counts_as_facts(database, bucket)


@pytest.mark.slow
@given(nights())
@settings(max_examples=examples(12), suppress_health_check=[HealthCheck.too_slow])
def test_any_order_of_arrival_counts_as_facts_in_sqlite(page, tmp_path_factory, nights):
    check_nights(new_sqlite(tmp_path_factory.mktemp("nights") / "shop.sqlite"), nights)


@pytest.mark.slow
@given(nights())
@settings(
    max_examples=examples(5),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_any_order_of_arrival_counts_as_facts_in_postgres(page, empty, nights):
    import adbc_driver_postgresql.dbapi as postgresql

    with postgresql.connect(empty, autocommit=True) as server, server.cursor() as cursor:
        cursor.execute("drop schema public cascade")
        cursor.execute("create schema public")
    check_nights(new_postgres(page, empty), nights)


def test_a_file_of_something_else_is_left_alone(tmp_path):
    path = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("create table events (x)")
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"a table 'events' is there"):
        to_sqlite(Bucket.sample(), path)
    assert path.read_bytes() == before


def test_a_file_may_have_tables_of_its_own(tmp_path):
    path = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("create table mine (x)")
    assert len(to_sqlite(Bucket.sample(), path)) == len(Bucket.sample().revisions())
    assert ask_sqlite(path, "select count(*) from mine") == [(0,)]


def test_bad_lines_are_skipped_counted_or_given(tmp_path):
    bucket = write_export(tmp_path / "export", {1: [Event("bob", SECOND, "x"), BROKEN_LINES["cut off"]]})
    errors: list[MalformedRecordError] = []
    counts = LineCounts()
    assert to_sqlite(bucket, tmp_path / "given.sqlite", on_error=errors.append, counts=counts) == [1]
    assert (len(errors), counts.rejected) == (1, 1)
    assert to_sqlite(bucket, tmp_path / "skipped.sqlite", on_error="skip") == [1]
    assert ask_sqlite(tmp_path / "skipped.sqlite", "select person from counted_events") == [("bob",)]


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    """SQLite ends the transaction by itself then, and there is nothing left to roll back."""
    path, connect = tmp_path / "shop.sqlite", sqlite3.connect

    def connect_to_60_pages(*arguments: Any, **options: Any) -> sqlite3.Connection:
        database = connect(*arguments, **options)
        database.execute("pragma max_page_count = 60")
        return database

    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", connect_to_60_pages)
        with pytest.raises(sqlite3.OperationalError, match="database or disk is full"):
            to_sqlite(Bucket.sample(), path)
    assert len(to_sqlite(Bucket.sample(), path)) == 12


@pytest.mark.parametrize("after", [1, 2])
def test_a_job_that_breaks_off_leaves_the_file_as_it_was(tmp_path, after):
    class Interrupted(Bucket):
        def to_batches(self, **arguments):
            reader = super().to_batches(batch_rows=300, **arguments)

            def batches():
                for number, batch in enumerate(reader, 1):
                    if number > after:
                        raise KeyboardInterrupt
                    yield batch

            return batches()

    path = tmp_path / "shop.sqlite"
    assert to_sqlite(write_export(tmp_path / "small", {99: [Event("bob", SECOND, "x")]}), path) == [99]
    before = ask_sqlite(path, "select * from events")
    with pytest.raises(KeyboardInterrupt):
        to_sqlite(Interrupted.sample(), path)
    assert ask_sqlite(path, "select * from events") == before
    assert ask_sqlite(path, "select * from revisions") == [(99,)]
    to_sqlite(Bucket.sample(), path)
    assert len(ask_sqlite(path, "select * from revisions")) == len(Bucket.sample().revisions()) + 1


class TestAfresh:
    def assert_is_facts(self, bucket: Bucket, uri: str) -> None:
        with Facts(bucket) as facts:
            for table, columns in COLUMNS.items():
                assert comparable(ask_postgres(uri, f"select {columns} from kmexport.{table}")) == of_facts(
                    facts, table
                )
            people = storable(facts.sql("select identity, person from people").to_arrow_reader()).read_all().to_pylist()
            found = ask_postgres(uri, "select identity, person from kmexport.people")
            assert comparable(found) == comparable([tuple(row.values()) for row in people])

    def test_the_sample(self, page, empty):
        page["load_afresh"](Bucket.sample(), empty)
        self.assert_is_facts(Bucket.sample(), empty)
        aliases = sum(isinstance(record, Alias) for record in Bucket.sample().iter_records())
        assert ask_postgres(empty, "select count(*) from kmexport.aliases") == [(aliases,)]

    def test_the_query_of_the_page(self, page, empty):
        page["load_afresh"](Bucket.sample(), empty)
        query = re.search(r"^select count.*?;", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        with Facts(Bucket.sample()) as facts:
            expected = facts.sql("""
                select count(distinct person) from events
                where name = 'signed up' and timezone('America/New_York', time)::date = '2012-10-03'
            """).fetchall()
        assert expected != [(0,)]
        assert ask_postgres(empty, query[0]) == expected

    def test_hostile_text(self, page, empty, tmp_path, caplog):
        bucket = write_export(tmp_path, HOSTILE)
        page["load_afresh"](bucket, empty)
        self.assert_is_facts(bucket, empty)
        assert "person 2, name 2, name_as_sent 2, properties 3" in caplog.text
        (found,) = ask_postgres(empty, "select properties ->> 'far' from kmexport.events where person = 'big'")
        assert found == ("-1e999999",)

    def test_again_it_takes_the_place_of_what_was_there(self, page, empty, tmp_path):
        page["load_afresh"](Bucket.sample(), empty)
        other = write_export(tmp_path / "other", {1: [Event("bob", SECOND, "x")]})
        page["load_afresh"](other, empty)
        self.assert_is_facts(other, empty)

    def test_what_breaks_leaves_what_was_there(self, page, empty, tmp_path):
        page["load_afresh"](Bucket.sample(), empty)
        with pytest.raises(MalformedRecordError):
            page["load_afresh"](write_export(tmp_path, {1: [BROKEN_LINES["no time"]]}), empty)
        self.assert_is_facts(Bucket.sample(), empty)


@pytest.fixture
def new_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """A pipeline of dlt as another process would find it: all its files are in one folder."""
    import dlt

    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "data"))
    destination = dlt.destinations.duckdb(str(tmp_path / "shop.duckdb"))
    folder = str(tmp_path / "pipelines")
    return partial(dlt.pipeline, "kmexport", destination=destination, dataset_name="export", pipelines_dir=folder)


def ask_dlt(tmp_path: Path, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(tmp_path / "shop.duckdb") as database:
        database.execute("set timezone = 'UTC'")
        return database.execute(query).fetchall()


def assert_has_the_records(tmp_path: Path, bucket: Bucket) -> None:
    expected = [tuple(row.values()) for row in storable(bucket.to_batches()).read_all().to_pylist()]
    found = ask_dlt(tmp_path, f"select {', '.join(SCHEMA.names)} from export.records")
    assert comparable(found) == comparable(expected)


class TestDlt:
    def test_a_second_run_adds_nothing(self, page, new_pipeline, tmp_path):
        page["load_by_dlt"](Bucket.sample(), new_pipeline())
        assert_has_the_records(tmp_path, Bucket.sample())
        page["load_by_dlt"](Bucket.sample(), new_pipeline())
        assert_has_the_records(tmp_path, Bucket.sample())

    def test_a_late_revision_and_hostile_text(self, page, new_pipeline, tmp_path):
        early = write_export(tmp_path / "early", {number: lines for number, lines in HOSTILE.items() if number != 2})
        page["load_by_dlt"](early, new_pipeline())
        assert_has_the_records(tmp_path, early)
        page["load_by_dlt"](write_export(tmp_path / "late", HOSTILE), new_pipeline())
        assert_has_the_records(tmp_path, write_export(tmp_path / "late", HOSTILE))
        tables = "select table_name, column_name from information_schema.columns where table_schema = 'export'"
        columns = [column for table, column in ask_dlt(tmp_path, tables) if table == "records"]
        assert sorted(columns) == sorted(SCHEMA.names)

    def test_a_file_that_breaks_is_read_the_next_time(self, page, new_pipeline, tmp_path):
        from dlt.pipeline.exceptions import PipelineStepFailed

        revisions = {1: [Event("bob", SECOND, "x")], 2: [BROKEN_LINES["cut off"]]}
        with pytest.raises(PipelineStepFailed, match=r"revisions/2\.json, line 1"):
            page["load_by_dlt"](write_export(tmp_path / "broken", revisions), new_pipeline())
        whole = write_export(tmp_path / "whole", revisions | {2: [Event("eve", SECOND, "x")]})
        page["load_by_dlt"](whole, new_pipeline())
        assert_has_the_records(tmp_path, whole)

    def test_killed_after_the_rows_are_written_and_before_dlt_knows(self, page, new_pipeline, tmp_path):
        pipeline = new_pipeline()
        pipeline.extract(page["records"](Bucket.sample()))
        pipeline.normalize()
        shutil.copytree(tmp_path / "pipelines", tmp_path / "as it was")
        pipeline.load()
        assert_has_the_records(tmp_path, Bucket.sample())
        shutil.rmtree(tmp_path / "pipelines")
        (tmp_path / "as it was").rename(tmp_path / "pipelines")
        page["load_by_dlt"](Bucket.sample(), new_pipeline())
        assert_has_the_records(tmp_path, Bucket.sample())

    @pytest.mark.slow
    def test_it_calls_nobody(self, module, tmp_path):
        job = f"""if True:
            import sys
            calls = []
            sys.addaudithook(lambda event, arguments: calls.append((event, arguments)) if event in {CALLS} else None)
            sys.path.insert(0, {str(module.parent)!r})
            import {module.stem} as page
            import dlt, socket
            from kmexport import Bucket
            folders = {{"destination": dlt.destinations.duckdb("shop.duckdb"), "pipelines_dir": "pipelines"}}
            pipeline = dlt.pipeline("kmexport", dataset_name="export", **folders)
            page.load_by_dlt(Bucket.sample(), pipeline)
            assert calls == [], calls
            with socket.socket() as probe:
                probe.connect_ex(("127.0.0.1", 9))
            assert calls, "the hook sees no calls"
        """
        environment = {**os.environ, "RUNTIME__DLTHUB_TELEMETRY": "false", "DLT_DATA_DIR": str(tmp_path / "data")}
        command = [sys.executable, "-c", job]
        ended = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False, env=environment
        )
        assert ended.returncode == 0, ended.stderr
        assert_has_the_records(tmp_path, Bucket.sample())


def test_the_queries_beside_the_scopes_of_km_db():
    scopes = (PAGE.parent / "from-km-db.md").read_text(encoding="utf-8")
    queries = re.findall(r"^\| `[^`]+` \| `(select [^`]+)` \|$", scopes, re.MULTILINE)
    assert len(queries) == 12
    records = [
        Event("b1", SECOND - 1, "Signed Up", {"plan": "Pro"}),
        Event("bob@example.com", SECOND, "signed up", {"plan": "Free"}),
        Event("b1", SECOND + 1, "signed up"),
        Alias("bob@example.com", SECOND, "b1"),
    ]
    with Facts(write_export("memory://scopes", {1: records})) as facts:
        found = {query: facts.sql(query).fetchall() for query in queries}
    assert [len(rows) for rows in found.values()] == [3, 1, 1, 3, 3, 3, 3, 1, 2, 1, 2, 1]
    assert found[queries[9]] == [("bob@example.com",)]
    assert found[queries[11]] == [("Free",)]
