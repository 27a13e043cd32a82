"""The public types as a contract: read by mypy and pyright, never run."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, assert_type

import dask.bag as db
import dask.dataframe as dd
import polars as pl
from distributed import Client

from kmexport import (
    Alias,
    Audit,
    Bucket,
    CopySummary,
    Coverage,
    Cursor,
    Event,
    Facts,
    IdentityMap,
    Limits,
    LineCounts,
    MalformedRecordError,
    OnError,
    Profile,
    PropertySet,
    Record,
    Revision,
    Status,
    Window,
    as_number,
    drop_duplicates,
    dump_records,
    in_window,
    iter_records,
    latest_properties,
    merge_identities,
    migrate,
    profile,
    reports,
    select,
    sort_by_time,
    to_rows,
    without_person,
)
from kmexport import cluster as on_cluster
from kmexport.lake import Lake, SyncSummary, open_lake, remove_person, retake, sync
from kmexport.tables import scan_polars, to_sqlite
from kmexport.testing import write_export

bucket = Bucket("s3://acme", profile="analytics")
assert_type(Bucket(Path("export")), Bucket)
assert_type(Bucket.sample(), Bucket)
assert_type(bucket.status(), Status)
assert_type(bucket.status().max_exported_time, datetime | None)
assert_type(bucket.index(), list[Revision])
assert_type(bucket.revisions(after=7), list[Revision])
assert_type(bucket.index()[0].min_timestamp, int | None)


def collect(error: MalformedRecordError) -> None:
    assert_type(error.line_number, int)
    assert_type(error.raw, bytes)


assert_type(bucket.iter_records(kinds=Event, names=["signed up"], on_error=collect), Iterator[Event])
assert_type(bucket.iter_records(names="signed up"), Iterator[Event])
assert_type(bucket.iter_records(kinds=PropertySet), Iterator[PropertySet])
assert_type(bucket.read(bucket.revisions(), kinds=[Alias], callback="tqdm"), Iterator[Alias])
assert_type(bucket.read([22770, 22771], on_error="skip"), Iterator[Record])
assert_type(bucket.read(bucket.index(), kinds=None, names=None), Iterator[Record])
assert_type(bucket.iter_records(callback="tqdm", margin=None, after=7), Iterator[Record])
assert_type(bucket.identities(callback="tqdm"), IdentityMap)
assert_type(Bucket("export", limits=Limits(prefetch_bytes=1 << 20, requests=4)).limits, Limits)
mixed: Iterator[Record] = iter_records(io.BytesIO(), kinds=[Event, Alias])  # how narrow it is, checkers differ
assert_type(iter_records([b"{}"]), Iterator[Record])
assert_type(iter_records([b"{}"], kinds=Event), Iterator[Event])
assert_type(iter_records([b"{}"], names="signed up", on_error=collect, counts=LineCounts()), Iterator[Event])
assert_type(iter_records([b"{}"], kinds=Alias, names=["signed up"]), Iterator[Event])
assert_type(iter_records([b"{}"], kinds=None, names=None), Iterator[Record])
assert_type(select([Event("bob", 1, "x")]), Iterator[Event])
assert_type(select(bucket.iter_records(), kinds=PropertySet), Iterator[PropertySet])
assert_type(select(bucket.iter_records(), names="signed up"), Iterator[Event])
policy: OnError = "skip"
assert_type(iter_records([b"{}"], on_error=policy), Iterator[Record])
assert_type(iter_records(["{}"]), Iterator[Record])
with Path("1.json").open("rb") as file:
    assert_type(iter_records(file), Iterator[Record])

for record in bucket.iter_records():
    assert_type(record.person, str)
    assert_type(record.timestamp, int)
    assert_type(record.time, datetime)
    assert_type(record.properties, dict[str, Any])
    assert_type(record.to_dict(), dict[str, Any])
    if isinstance(record, Event):
        assert_type(record.name, str)
    elif isinstance(record, Alias):
        assert_type(record.alias, str)
    else:
        assert_type(record, PropertySet)

assert_type(dump_records([Event("bob", 1349222400, "signed up", {})], io.BytesIO()), int)
assert_type(write_export("memory://shop", {1: [Event("bob", 1, "signed up"), b"broken"]}, gone=[1]), Bucket)

day = Window.day("2012-10-03", tz="America/New_York")
assert_type(day, Window)
assert_type(Window.days("2012-10-01", date(2012, 10, 3)), Window)
assert_type(day.split_by_days("UTC"), list[Window])
assert_type(list(Window.each_day("2012-10-01", "2012-10-03")), list[tuple[date, Window]])
assert_type(day & Window(1, 2), Window)
assert_type(in_window([Event("bob", 1, "x")], day), Iterator[Event])
assert_type(sort_by_time(bucket.iter_records(kinds=Alias)), Iterator[Alias])
assert_type(Window(datetime(2012, 10, 3, tzinfo=UTC), 1349323200).start, int)
assert_type(bucket.revisions(day, margin=0), list[Revision])
assert_type(bucket.coverage(day), Coverage)
assert_type(bucket.coverage(day).is_complete, bool)
assert_type(bucket.audit(deep=True), Audit)

people = bucket.identities()
assert_type(people, IdentityMap)
assert_type(bucket.identities(after=7, into=people, prefer=len), IdentityMap)
with ThreadPoolExecutor() as executor:
    assert_type(bucket.identities(executor=executor, ahead=4), IdentityMap)
    assert_type(Facts(bucket, executor=executor).build(), Facts)
    assert_type(sync(bucket, Path("lake"), executor=executor, ahead=4), SyncSummary)
assert_type(people.resolve("bob"), str)
assert_type(people.identities_of("bob"), frozenset[str])
assert_type(people.people(), list[str])
assert_type(IdentityMap.load("people.jsonl"), IdentityMap)

steps = in_window(bucket.iter_records(day), day)
steps = merge_identities(steps, people)
steps = drop_duplicates(steps, rule="strict", within=86_400)
steps = sort_by_time(steps, max_delay=3_600)
assert_type(steps, Iterator[Record])
assert_type(profile(steps), Profile)
assert_type(merge_identities([Event("bob", 1, "x")], people), Iterator[Event])
assert_type(drop_duplicates([Event("bob", 1, "x")]), Iterator[Event | PropertySet])
assert_type(drop_duplicates([Event("bob", 1, "x")], properties="once"), Iterator[Event | PropertySet])
assert_type(drop_duplicates([Event("bob", 1, "x")], rule="strict"), Iterator[Event])
assert_type(drop_duplicates(bucket.iter_records(), events_only=True), Iterator[Event])

facts = Facts(bucket, window=day, margin=0)
assert_type(facts.people, IdentityMap)
assert_type(facts.cursor(), Facts)
assert_type(scan_polars(bucket, day, properties=["plan"], names="signed up", people=["bob"]), pl.LazyFrame)
assert_type(facts.build(), Facts)
assert_type(facts.frame(["plan"], events="signed up").columns, list[str])
assert_type(reports.page(["words", reports.event_counts(facts, "a")], title="A"), str)
assert_type(reports.people(facts, ["bob"], columns=["plan"]), reports.People)
assert_type(remove_person("lake", "bob").records, int)
counts = reports.event_counts(facts, "signed up", day, by="plan", every="day", tz="UTC")
assert_type(counts, reports.EventCounts)
assert_type(counts.average, float | None)
assert_type(counts.rows[0].value, str | None)
assert_type(counts.people_of(value=None), list[str])
assert_type(reports.conversion(facts, "a", "b", repeating=True).rate, float | None)
assert_type(reports.time_between(facts, "a", "b", first_ever=False).median, float | None)
assert_type(reports.property_total(facts, "amount", population="everyone").total, float)
assert_type(reports.funnel(facts, ["a", "b"], within="1 h").steps[0].people, int)
assert_type(reports.funnel(facts, ["a"]).people_of(1, dropped=True), list[str])
assert_type(reports.property_values(facts, "plan", at="at_step", step="a").rows, tuple[reports.ValueRow, ...])
assert_type(reports.cohorts(facts, "a", "b", group="month", bucket="hour").rows[0].buckets, tuple[int, ...])
assert_type(reports.segments(facts, "a", "plan", relative=True).people_of("Pro"), list[str])
assert_type(reports.segments(facts, "a", "plan", by="page", every="day").rows[0].by_value, str | None)
assert_type(reports.funnel(facts, ["a"], every="week", tz="UTC").rows[0].label, str | None)
with reports.funnel(bucket, ["a", "b"], on_error="skip", rule="strict") as kept:
    assert_type(kept, reports.Funnel)
assert_type(reports.ab_test(facts, "button", "a", day, baseline="red").winner, str | None)
assert_type(reports.ab_test(facts, "button", "a").people_of("red", "converted"), list[str])
assert_type(reports.paths(facts, "a", "b", day, of="Channel", take="last").rows[0].items, tuple[str, ...])
assert_type(reports.in_order("a", reports.did("b", at_least=2), window=day), reports.Condition)
metric = reports.Metric("people", "a", window=day, among=reports.did("b"))
table = reports.pivot(facts, ["plan", reports.GroupBy("times", "a")], {"people": metric}, day)
assert_type(table.rows[0].cells, tuple[float | None, ...])
assert_type(table.people_of("people", ("Pro", None)), list[str])
assert_type(reports.compare(table, "page.csv", columns={"Plan": "plan"}).rows[0].difference, float | None)
split_by = reports.Split("referrer", at="first_ever", form="domain")
assert_type(reports.did("a", at_least=2) & ~reports.has("plan", equal_to="Pro"), reports.Condition)
assert_type(reports.event_counts(facts, "a", by=split_by, among=reports.did("b")), reports.EventCounts)
assert_type(reports.property_total(facts, "amount", written="$1,000.00").not_numbers, int)
assert_type(counts.to_dict(), dict[str, Any])

cursor = Cursor.load("cursor.json")
assert_type(cursor.unread(bucket), list[Revision])
cursor.done([*cursor.unread(bucket), 7])
assert_type(as_number("12.50"), Decimal | None)
assert_type(latest_properties(bucket.iter_records(), before=day.start), dict[str, dict[str, Any]])
assert_type(to_rows(bucket.iter_records(), tz="UTC"), Iterator[dict[str, Any]])

assert_type(to_sqlite(bucket, Path("shop.sqlite"), on_error="skip"), list[int])
assert_type(without_person(bucket, Path("without"), ["bob"]), CopySummary)
counted = migrate.MigrationCounts()
moved = migrate.mixpanel(bucket.iter_records(), token="T", id_merge="simplified", rule="strict", counts=counted)
assert_type(moved, Iterator[migrate.Line])
assert_type(next(migrate.batches(moved, max_bytes=1_000)).body(api_key="K"), bytes)
assert_type(migrate.read_answer(200, b"{}", [b"{}"]), tuple[list[bytes], list[bytes]])
assert_type(migrate.write(migrate.posthog([], spelling=str), "memory://moving"), dict[str, int])
assert_type(migrate.write(migrate.amplitude([], min_id_length=1, on_error="skip"), Path()), dict[str, int])
assert_type(
    migrate.segment(migrate.known_aliases(people, at=0), on_error=lambda e: print(e.reason)), Iterator[migrate.Line]
)

client = Client("127.0.0.1:8786")
frame = on_cluster.to_dataframe(bucket, day, properties=["plan"], names="signed up", on_error="skip")
assert_type(frame, dd.DataFrame)
assert_type(on_cluster.to_bag(bucket, after=7, kinds=(Event, Alias)), db.Bag)
assert_type(on_cluster.to_records(frame), db.Bag)
assert_type(on_cluster.drop_duplicates(frame, people, rule="strict", npartitions=4), dd.DataFrame)
assert_type(on_cluster.drop_duplicates(frame, properties="once", property_columns=["plan"]), dd.DataFrame)
assert_type(retake(bucket, Path("lake"), [3, *bucket.revisions()], profile="lake"), SyncSummary)
assert_type(open_lake("s3://acme-lake"), Lake)
assert_type(open_lake("lake").iter_records(day), Iterator[Event | PropertySet | Alias])
