"""Facts that a database file keeps: used again by the next process, refused where they are others."""

from __future__ import annotations

import subprocess
import sys
import time

import duckdb
import pytest

from kmexport import Alias, Bucket, Event, Facts, IdentityMap, MalformedRecordError, Window
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
    assert done.stdout.strip() == "<Facts: 3 records, 2 identities, 1 events, 2 properties, 0 rejects>"
    unreadable()
    with Facts(bucket, database=database) as facts:
        assert repr(facts) == done.stdout.strip()
        assert facts.sql(COUNTS).fetchall() == ANSWER
        assert facts.people.identities_of("anonymous") == {"anonymous", "bob@example.com"}


def test_what_is_not_built_yet_is_read_when_it_is_needed(bucket, database):
    with Facts(bucket, database=database) as facts:
        assert facts.sql("select count(*) from records").fetchall() == [(3,)]
    for query, answer in (
        ("select count(*) from events", [(1,)]),
        ("select properties->>'plan' from events", [("Pro",)]),
        (COUNTS, ANSWER),
        ("select text from properties order by text", [("Lima",), ("Pro",)]),
    ):
        with Facts(bucket, database=database) as facts:
            assert facts.sql(query).fetchall() == answer


def test_two_processes_do_not_write_one_file(bucket, database, tmp_path):
    with Facts(bucket, database=database) as facts:
        facts.build()
        code = f"""
import duckdb
from kmexport import Bucket, Facts
try:
    Facts(Bucket({str(tmp_path / "shop")!r}), database={str(database)!r})
except duckdb.IOException as error:
    print(error)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "lock" in done.stdout


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"window": Window(0, 6)}, "window was all time, and is 0 to 6 with margin=86400 here"),
        ({"rule": "strict"}, "rule was classic, and is strict"),
        ({"prefer": "numeric_first"}, "prefer was named_first"),
        ({"prefer": len}, "prefer was named_first, and is one that is not known again"),
        ({"people": IdentityMap().update(RECORDS)}, "people was those of the aliases, and is a map"),
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
    with Facts(bucket, people=IdentityMap().update(RECORDS), database=database) as facts:
        assert facts.sql(COUNTS).fetchall() == ANSWER
    with Facts(bucket, people=IdentityMap().update(RECORDS), database=database) as facts:
        assert facts.sql(COUNTS).fetchall() == ANSWER
    with pytest.raises(FileExistsError, match="people was a map with the digest"):
        Facts(bucket, people=IdentityMap(), database=database)


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
        connection.execute("update kmexport.kept set version = 2")
    with pytest.raises(FileExistsError, match="form 2, and this kmexport knows form 1: install a newer kmexport"):
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
    facts._store.parts, facts._store.built = frozenset(), set()
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
