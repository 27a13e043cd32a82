"""Facts that a database file keeps: used again by the next process, refused where they are others."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import duckdb
import pytest

from kmexport import (
    Alias,
    Bucket,
    Event,
    Facts,
    FactsDatabaseError,
    IdentityMap,
    MalformedRecordError,
    OtherFactsError,
    Window,
)
from kmexport.testing import write_export

RECORDS = [
    Event("anonymous", 5, "signed up", {"plan": "Pro"}),
    Event("anonymous", 5, "Signed Up", {"plan": "Free", "city": "Lima"}),
    Alias("anonymous", 6, "bob@example.com"),
]
COUNTS = "select (select count(*) from events), (select count(*) from properties), (select min(person) from events)"
ANSWER = [(1, 2, "bob@example.com")]


@pytest.fixture
def bucket(tmp_path):
    return write_export(tmp_path / "shop", {1: RECORDS[:2], 2: RECORDS[2:]})


@pytest.fixture
def database(tmp_path):
    return tmp_path / "facts.duckdb"


@pytest.fixture
def unreadable(bucket, tmp_path):
    def change():
        for path in (tmp_path / "shop" / "revisions").iterdir():
            path.write_bytes(b"?" * (path.stat().st_size - 1) + b"\n")

    return change


def test_another_process_reads_nothing_again(bucket, database, tmp_path, unreadable):
    code = f"""
from kmexport import Bucket, Facts
with Facts(Bucket({str(tmp_path / "shop")!r}), database={str(database)!r}) as facts:
    print(facts.build())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (
        done.stdout.strip()
        == "<Facts: 3 records, 2 identities, 1 events, 2 properties, 0 rejects; duplicates: 1 events, 1 properties>"
    )
    unreadable()
    with Facts(bucket, database=database) as facts:
        assert repr(facts) == done.stdout.strip()
        assert facts.sql(COUNTS).fetchall() == ANSWER
        assert facts.people.identities_of("anonymous") == {"anonymous", "bob@example.com"}


def test_the_first_query_builds_everything(bucket, database, unreadable):
    with Facts(bucket, database=database):
        pass  # nothing is read
    with Facts(bucket, database=database) as facts:
        assert facts.sql("select count(*) from records").fetchall() == [(3,)]
    unreadable()
    for query, answer in (
        ("select count(*) from events", [(1,)]),
        ("select properties->>'plan' from events", [("Pro",)]),
        (COUNTS, ANSWER),
        ("select text from properties order by text", [("Lima",), ("Pro",)]),
    ):
        with Facts(bucket, database=database) as facts:
            assert facts.sql(query).fetchall() == answer


def test_one_process_may_open_a_file_twice(bucket, database, unreadable):
    first, second = Facts(bucket, database=database), Facts(bucket, database=database, threads=1)
    with first, second:
        assert second.sql(COUNTS).fetchall() == ANSWER
        unreadable()
        assert first.sql(COUNTS).fetchall() == ANSWER  # built by the other
        with Facts(bucket, database=database, memory_limit="1GB") as third:
            assert third.sql(COUNTS).fetchall() == ANSWER
        with pytest.raises(OtherFactsError, match="rule was classic, and is strict"):
            Facts(bucket, database=database, rule="strict")
        assert first.sql(COUNTS).fetchall() == ANSWER


def test_threads_that_build_one_file_build_it_once(bucket, database):
    opened = [Facts(bucket, database=database) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda facts: facts.sql(COUNTS).fetchall(), opened)) == [ANSWER] * 4
    for facts in opened:
        facts.close()


def test_a_failed_query_and_a_failed_build_leave_the_file_usable(bucket, database, tmp_path):
    facts = Facts(bucket, database=database)
    with pytest.raises(duckdb.BinderException, match="nix"):
        facts.sql("select nix from events")
    line = (tmp_path / "shop" / "revisions" / "2.json").read_bytes()
    (tmp_path / "shop" / "revisions" / "2.json").write_bytes(b"broken\n")
    with pytest.raises(MalformedRecordError):
        facts.build()
    (tmp_path / "shop" / "revisions" / "2.json").write_bytes(line)
    # Nobody closed the first one.
    assert Facts(bucket, database=database).sql(COUNTS).fetchall() == ANSWER
    assert facts.sql(COUNTS).fetchall() == ANSWER


def test_two_processes_do_not_write_one_file(bucket, database, tmp_path):
    with Facts(bucket, database=database) as facts:
        facts.build()
        code = f"""
from kmexport import Bucket, Facts, FactsDatabaseError
try:
    Facts(Bucket({str(tmp_path / "shop")!r}), database={str(database)!r})
except FactsDatabaseError as error:
    print(error)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.search(r"facts\.duckdb: .*lock.*\. One process at a time writes to a database file", done.stdout)


def test_files_that_no_facts_can_be_in(bucket, tmp_path):
    (tmp_path / "text.duckdb").write_text("plain text\n" * 1_000, encoding="utf-8")
    for path, why in [
        (tmp_path / "nowhere" / "facts.duckdb", r"nowhere/facts\.duckdb.*: .*No such file or directory.* the folder"),
        (tmp_path / "text.duckdb", r"text\.duckdb: .*not a valid DuckDB database file\. Name a new file as database="),
        (tmp_path, "Is a directory"),
    ]:
        with pytest.raises(FactsDatabaseError, match=why):
            Facts(bucket, database=path)
    with pytest.raises(FactsDatabaseError, match="directory"), Facts(RECORDS) as facts:
        facts.sql(f"copy (from events) to '{tmp_path}/nowhere/events.csv'")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"window": Window(0, 6)}, "window was all time, and is 0 to 6, margin 86400 here"),
        ({"rule": "strict"}, "rule was classic, and is strict"),
        ({"prefer": "numeric_first"}, "prefer was named_first"),
        ({"prefer": len}, "prefer was named_first, and is one that is not known again"),
        ({"identities": IdentityMap().update(RECORDS)}, "identities was those of the aliases, and is a map"),
        ({"names": "Signed:Up"}, r"names was all, and is \['signed up'\] here"),
        ({"properties": False}, "properties was True, and is False here"),
        ({"properties": ["Plan"]}, r"properties was True, and is \['plan'\] here"),
    ],
)
def test_other_facts_are_refused(bucket, database, options, why):
    with Facts(bucket, database=database) as facts:
        facts.build()
    with pytest.raises(FileExistsError, match=rf"facts\.duckdb is there already and holds other facts: {why}"):
        Facts(bucket, database=database, **options)
    with Facts(bucket, database=database) as facts:  # the file is as it was, and nobody holds it
        assert facts.sql(COUNTS).fetchall() == ANSWER


def test_another_source_is_refused(bucket, database):
    with Facts(bucket, database=database):
        pass
    for source in (Bucket.sample(), RECORDS):
        with pytest.raises(FileExistsError, match=r"other facts: source was Bucket\("):
            Facts(source, database=database)


def test_a_list_is_not_known_again(database):
    with Facts(RECORDS, database=database) as facts:
        assert facts.sql(COUNTS).fetchall() == ANSWER
    with pytest.raises(FileExistsError, match="not known again"):
        Facts(RECORDS, database=database)


def test_an_export_that_went_on_is_refused(bucket, database, tmp_path):
    with Facts(bucket, database=database) as facts:
        facts.build()
    write_export(tmp_path / "shop", {1: RECORDS[:2], 2: RECORDS[2:], 3: [Event("eve", 9, "x")]})
    with pytest.raises(FileExistsError, match=r"has changed since \(revisions/3\.json\)"):
        Facts(bucket, database=database)


def test_a_map_that_is_given_is_known_by_what_it_holds(bucket, database):
    with Facts(bucket, identities=IdentityMap().update(RECORDS), database=database) as facts:
        assert facts.sql(COUNTS).fetchall() == ANSWER
    with Facts(bucket, identities=IdentityMap().update(RECORDS), database=database) as facts:
        assert facts.sql(COUNTS).fetchall() == ANSWER
    with pytest.raises(FileExistsError, match="identities was a map with the digest"):
        Facts(bucket, identities=IdentityMap(), database=database)


def test_rejected_lines_are_no_surprise(tmp_path, database):
    bucket = write_export(tmp_path / "broken", {1: [RECORDS[0], b"broken"]})
    with Facts(bucket, database=database) as facts, pytest.raises(MalformedRecordError):
        facts.build()
    with Facts(bucket, database=database, on_error="skip") as facts:  # nothing was built, so it is built now
        assert facts.sql("select count(*), (select count(*) from rejects) from events").fetchall() == [(1, 1)]
    with Facts(bucket, database=database, on_error="skip") as facts:
        assert facts.sql("select line from rejects").fetchall() == [(2,)]
    with pytest.raises(FileExistsError, match='lacks 1 lines that were rejected, and on_error="raise"'):
        Facts(bucket, database=database)


def test_other_tables_and_other_versions_are_refused(bucket, database, tmp_path):
    with duckdb.connect(str(tmp_path / "mine.duckdb")) as connection:
        connection.execute("create table mine (x integer)")
    with pytest.raises(FileExistsError, match=r"mine\.duckdb is there already and holds other tables"):
        Facts(bucket, database=tmp_path / "mine.duckdb")
    with Facts(bucket, database=database):
        pass
    with duckdb.connect(str(database)) as connection:
        connection.execute("update kmexport.kept set version = 4")
    with pytest.raises(FileExistsError, match="form 4, and this kmexport knows form 3: install a newer kmexport"):
        Facts(bucket, database=database)


@pytest.mark.slow
def test_a_build_that_was_killed_is_done_again(tmp_path, database):
    bucket = write_export(
        tmp_path / "large",
        {number: [Event(f"p{n}", n, "x", {"n": n, "text": "t" * 50}) for n in range(3_000)] for number in range(1, 9)},
    )
    code = f"""
from kmexport import Bucket, Facts
facts = Facts(Bucket({str(tmp_path / "large")!r}), database={str(database)!r})
facts.sql("select count(*) from events")
print("begun", flush=True)
while True:  # each question reads and builds anew
    facts._store.is_built = False
    facts._store.connection.execute("update kmexport.kept set is_built = false")
    facts.build()
"""
    for wait in (0.05, 0.4):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as building:
            assert building.stdout.readline() == b"begun\n"
            time.sleep(wait)
            building.kill()
            building.wait(30)
        with Facts(bucket, database=database) as facts:
            assert facts.sql("select count(*), count(distinct person) from events").fetchall() == [(3_000, 3_000)]
            assert facts.sql("select count(*), sum(number) from properties where name = 'n'").fetchall() == [
                (3_000, sum(range(3_000)))
            ]
            assert facts.sql("select count(*) from records").fetchall() == [(24_000,)]


def test_a_callback_is_told_the_bytes_of_a_bucket(bucket):
    from fsspec.callbacks import Callback

    told = Callback()
    with Facts(bucket, callback=told) as facts:
        assert told.value == 0
        facts.sql("from events")
    assert told.value == told.size == sum(revision.size for revision in bucket.revisions())
    with pytest.raises(TypeError, match="list has none"):
        Facts(RECORDS, callback=told)
    with pytest.raises(ValueError, match="tqdm"):
        Facts(bucket, callback="bar")
