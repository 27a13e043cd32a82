"""Wrong arguments of public functions: each is a sentence of ours that names what belongs there, at the call."""

from __future__ import annotations

import io
import pickle
import sqlite3
import traceback
from pathlib import Path

import pytest

import kmexport
from kmexport import (
    Alias,
    Bucket,
    Cursor,
    Event,
    Facts,
    IdentityMap,
    PropertySet,
    Window,
    lake,
    migrate,
    reports,
    tables,
)
from kmexport.testing import write_export

RECORDS = [
    Event("ann", 1349222400, "visited", {"plan": "Pro"}),
    PropertySet("ann", 1349222401, {"plan": "Max"}),
    Alias("ann", 1349222402, "a1"),
]


COUNTS = reports.event_counts(RECORDS, "visited")
METRIC = reports.Metric("people", "visited")


class Odd:
    """An object of no use anywhere."""

    def __repr__(self) -> str:
        return "Odd()"


NO_RECORDS = [None, 5, "a line", b"a line", {"_p": "ann"}, Path("x"), Bucket.sample(), Odd(), [{"_p": "ann"}], ["x"]]
TAKES_RECORDS = {
    "drop_duplicates": kmexport.drop_duplicates,
    "dump_records": lambda records: kmexport.dump_records(records, io.BytesIO()),
    "in_window": lambda records: kmexport.in_window(records, Window(0, 9)),
    "latest_properties": kmexport.latest_properties,
    "merge_identities": lambda records: kmexport.merge_identities(records, IdentityMap()),
    "profile": kmexport.profile,
    "select": kmexport.select,
    "sort_by_time": kmexport.sort_by_time,
    "to_rows": kmexport.to_rows,
    "from_records": tables.from_records,
}


def is_ours(error: BaseException) -> bool:
    """Whether a line of the package raised it, and not something inside that it ran into."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return "kmexport" in Path(last.filename).parts and str(last.line).startswith("raise ")


@pytest.mark.parametrize("given", NO_RECORDS, ids=repr)
@pytest.mark.parametrize("name", TAKES_RECORDS)
def test_what_is_no_record_is_an_error_at_the_call(name, given):
    with pytest.raises(TypeError, match=r"^records are ") as caught:
        TAKES_RECORDS[name](given)
    assert is_ours(caught.value)


WHOLE = {
    "drop_duplicates(within)": lambda value: kmexport.drop_duplicates(RECORDS, within=value),
    "sort_by_time(max_delay)": lambda value: kmexport.sort_by_time(RECORDS, max_delay=value),
    "iter_records(max_line_bytes)": lambda value: kmexport.iter_records([b"{}"], max_line_bytes=value),
    "from_records(batch_rows)": lambda value: tables.from_records(RECORDS, batch_rows=value),
    "to_batches(batch_rows)": lambda value: Bucket.sample().to_batches(batch_rows=value),
    "revisions(after)": lambda value: Bucket.sample().revisions(after=value),
    "iter_records(after)": lambda value: Bucket.sample().iter_records(after=value),
    "identities(after)": lambda value: Bucket.sample().identities(after=value),
    "vacuum(keep_hours)": lambda value: lake.vacuum("memory://x", keep_hours=value),
    "sync(bytes_a_commit)": lambda value: lake.sync(Bucket.sample(), "memory://x", bytes_a_commit=value),
    "batches(max_count)": lambda value: migrate.batches([], max_count=value),
    "write_export(pending)": lambda value: write_export("memory://x", {}, pending=value),
}


@pytest.mark.parametrize("value", ["5", 1.5, True, [5], Odd(), float("nan")], ids=repr)
@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_number_is_one(name, value):
    argument = name.partition("(")[2].rstrip(")")
    with pytest.raises(TypeError, match=f"^{argument} is a whole number") as caught:
        WHOLE[name](value)
    assert is_ours(caught.value)
    with pytest.raises(ValueError, match=f"^{argument} is at least"):
        WHOLE[name](-1)


WRONG = [
    ("a callback that is a function", lambda: Bucket.sample().iter_records(callback=print), "fsspec Callback or"),
    ("into that is a path", lambda: Bucket.sample().identities(into="people.jsonl"), "^into is an IdentityMap"),
    (
        "a path as a map",
        lambda: kmexport.merge_identities(RECORDS, Path("x")),
        "takes an IdentityMap, not",
    ),
    ("a path as the map of facts", lambda: Facts(RECORDS, identities=Path("x")), "^identities is an IdentityMap"),
    ("a filesystem by its name", lambda: Bucket("shop", fs="s3"), "^fs is a filesystem of fsspec"),
    ("an address in bytes", lambda: Bucket(b"shop"), "^an address is text or a path .* not bytes$"),
    ("no address", lambda: IdentityMap().save(None), "^an address is text or a path .* not NoneType$"),
    ("no address of a lake", lambda: lake.open_lake(None), "^an address is text or a path"),
    ("a database in bytes", lambda: Facts(RECORDS, database=b"x"), "^an address is text or a path"),
    ("a list of records as a bucket", lambda: lake.sync(RECORDS, "x"), r"not a list: sync\(Bucket\(url\), …\)$"),
    ("no bucket to mirror", lambda: kmexport.mirror(None, "x"), r"not a NoneType: mirror\(Bucket\(url\), …\)$"),
    ("no bucket without a person", lambda: kmexport.without_person(5, "x", "ann"), r"not a int: without_person"),
    ("the address of a cursor's bucket", lambda: Cursor().unread("shop"), r"not str: Bucket\(url\)$"),
    ("one revision", lambda: Cursor().done(5), r"^several revisions belong there: write \[5\]$"),
    ("no revisions", lambda: Cursor(None), "^revisions is a list of"),
    ("no revisions to read", lambda: Bucket.sample().read(None), "^revisions is a list of"),
    ("a file by its name", lambda: kmexport.dump_records(RECORDS, "x.json"), "^file is a binary file that is open"),
    ("a file of text", lambda: kmexport.dump_records(RECORDS, io.StringIO()), "^file is a binary file that is open"),
    ("a name that is a number", lambda: kmexport.fold_name(5), "^a name is a string, not 5$"),
    ("a property that is a number", lambda: RECORDS[0].get(5), "^a name is a string, not 5$"),
    ("an identity that is none", lambda: IdentityMap().identities_of(None), "^identity is a string"),
    ("a column that is no list", lambda: Bucket.sample().to_batches(columns=5), "^columns is a list of names"),
    ("a property that is no list", lambda: Bucket.sample().to_batches(properties=5), "^properties is a list of names"),
    ("a query that is none", lambda: Facts(RECORDS).sql(None), "^query is text, not NoneType$"),
    ("params that are none", lambda: Facts(RECORDS).sql("select ?", 5), "^params is a list of values"),
    ("a frame of a number", lambda: Facts(RECORDS).frame(5), "^properties is a list of names"),
    ("records in place of an export", lambda: write_export("memory://x", RECORDS), "^revisions is a dict"),
    ("steps that are no list", lambda: reports.funnel(RECORDS, 5), "^steps is a list of one event or more"),
    (
        "columns of people",
        lambda: reports.people(RECORDS, columns=[5]),
        r"^a column is the name .*, not int$",
    ),
    ("no test", lambda: reports.ab_test(RECORDS, None, "visited"), "^property is the name of a property"),
    ("a pivot's window", lambda: reports.pivot(RECORDS, ["plan"], [METRIC], "2012-10-03"), "^a Window belongs there"),
    ("a page's title", lambda: reports.page([], title=None), "^title is text"),
    ("no result", lambda: reports.compare(RECORDS, "x.csv"), "^result is the result of a report, not list$"),
    ("no records to migrate", lambda: migrate.segment(Bucket.sample()), "^records is a list of records"),
    (
        "columns that are no dict",
        lambda: reports.compare(COUNTS, "x.csv", columns="Plan"),
        "^columns is a dict of",
    ),
    ("a file in bytes", lambda: reports.compare(COUNTS, b"x.csv"), "^an address is text or a path"),
    ("persons that are numbers", lambda: reports.people(RECORDS, [5]), r"^among is a condition .*, not \[5\]$"),
    ("aliases of facts", lambda: migrate.known_aliases(Facts(RECORDS), 0), "^people is an IdentityMap"),
]


@pytest.mark.parametrize(("call", "told"), [(call, told) for _, call, told in WRONG], ids=[name for name, *_ in WRONG])
def test_a_wrong_argument_is_told(call, told):
    with pytest.raises(TypeError, match=told) as caught:
        call()
    assert is_ours(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


CHOICES = [
    IdentityMap,
    lambda value: Bucket.sample().identities(prefer=value),
    lambda value: reports.event_counts(RECORDS, "visited", every=value),
    lambda value: reports.cohorts(RECORDS, "visited", "visited", group=value),
    lambda value: reports.Metric(value, "visited"),
]


@pytest.mark.parametrize("value", [[], {}, {"week"}, "fortnight", 5, RECORDS[0]], ids=repr)
@pytest.mark.parametrize("call", CHOICES)
def test_a_choice_that_is_none_of_the_known_ones(call, value):
    with pytest.raises(ValueError, match=r" is .*, not ") as caught:
        call(value)
    assert is_ours(caught.value)


class Visit(Event):
    """An event of a class of one's own."""


def test_records_of_classes_of_ones_own_are_records():
    (row,) = kmexport.to_rows([Visit("ann", 1349222400, "visited")])
    assert (row["kind"], row["name"]) == ("event", "visited")
    with pytest.raises(TypeError, match=r"not Odd$"):
        list(kmexport.to_rows(iter([Odd()])))


def test_a_folder_that_is_not_there_for_sqlite(tmp_path):
    path = tmp_path / "nowhere" / "shop.sqlite"
    with pytest.raises(sqlite3.OperationalError, match=r"shop\.sqlite: unable to open database file\. Its folder"):
        tables.to_sqlite(Bucket.sample(), path)


NESTED: list[object] = []
NESTED.append(NESTED)


@pytest.mark.parametrize("value", [10**5000, NESTED, object()], ids=["5,001 digits", "a circle", "an object"])
def test_a_value_that_has_no_form_is_told_with_its_record(value):
    record = Event("ann", 1349222400, "visited", {"n": value})
    with pytest.raises(ValueError, match=r"no form for this record: .*'ann'") as caught:
        kmexport.dump_records([record], io.BytesIO())
    assert is_ours(caught.value)
    with pytest.raises(kmexport.MalformedRecordError, match=r"<records>, line 1: ") as caught:
        tables.from_records([record]).read_all()
    assert b"ann" in caught.value.raw


def test_a_time_outside_the_calendar_is_told():
    with pytest.raises(OverflowError, match=r"^the time is 10+, outside the years 1 to 9999"):
        list(kmexport.to_rows([Event("ann", 10**30, "visited")]))
