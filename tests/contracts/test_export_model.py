"""Records, windows, persons, duplicates and facts of random exports are those of an obvious model over lists
and dicts."""

from __future__ import annotations

import random
from collections import Counter

import dask
import pytest

from kmexport import (
    Alias,
    Event,
    Facts,
    LineCounts,
    PropertySet,
    Window,
    cluster,
    drop_duplicates,
    merge_identities,
    reports,
)
from tests.support import export_model as model
from tests.support.random_exports import EVENTS, PERSONS, START, random_export, random_exports_as_one, write
from tests.support.strategies import examples

EXPORTS = min(3_000, examples(300))
AT_ONCE = 50
SEEDS = pytest.mark.parametrize(
    "seeds", [range(first, first + AT_ONCE) for first in range(0, EXPORTS, AT_ONCE)], ids=lambda seeds: str(seeds.start)
)
KINDS = {Event: "event", PropertySet: "property_set", Alias: "alias"}


def records_of(files):
    """All records of an export, by the model."""
    return [one for file in files for one in model.read_file(file.content, file.number)[0]]


def as_row(record):
    """A record of the library as a row that is equal for equal records only."""
    name, alias = getattr(record, "name", None), getattr(record, "alias", None)
    return KINDS[type(record)], record.person, record.timestamp, name, alias, repr(record.properties)


def expected_row(one):
    properties = {key: model.in_python(value) for key, value in one["properties"].items()}
    return one["kind"], one["person"], one["time"], one["name"], one["alias"], repr(properties)


def tree(text):
    """JSON text in a form that is equal for the same values with the same digits in the same order."""
    return text if text is None else model.spell(model.DECODER.decode(text))


@SEEDS
def test_lines(seeds):
    """Records, rejected lines and repairs, file by file."""
    for seed in seeds:
        files = random_export(seed)
        bucket = write(files, f"memory://model-lines-{seed}")
        for file, revision in zip(files, bucket.revisions(), strict=True):
            records, rejected, repaired = model.read_file(file.content, file.number)
            errors, counts = [], LineCounts()
            found = list(bucket.read([revision], on_error=errors.append, counts=counts))
            assert list(map(as_row, found)) == list(map(expected_row, records)), (seed, file.number)
            assert [error.line_number for error in errors] == rejected, (seed, file.number)
            assert (counts.records, counts.rejected, counts.repaired) == (len(records), len(rejected), repaired), seed


@SEEDS
def test_columns(seeds):
    for seed in seeds:
        files = random_export(seed)
        bucket = write(files, f"memory://model-columns-{seed}")
        rows = bucket.to_batches(on_error=lambda _: None).read_all().to_pylist()
        found = [
            (*(row[key] for key in ("revision", "line", "kind", "person")), int(row["time"].timestamp()), row["name"],
             row["alias"], tree(row["properties"]))
            for row in rows
        ]  # fmt: skip
        keys = ("revision", "line", "kind", "person", "time", "name", "alias")
        expected = [(*(one[key] for key in keys), model.spell(one["properties"])) for one in records_of(files)]
        assert found == expected, seed


@SEEDS
def test_selections(seeds):
    """`kinds=`, `names=` and `people=` give what filtering afterwards gives."""
    for seed in seeds:
        files = random_export(seed)
        bucket = write(files, f"memory://model-selections-{seed}")
        chance = random.Random(seed)
        kinds = chance.choice([None, None, *([kind] for kind in KINDS), [PropertySet, Alias]])
        names = chance.choice([None, chance.sample([*EVENTS, "never sent"], 2)])
        people = chance.choice([None, chance.sample([*PERSONS, "nobody"], 2)])
        expected = [one for one in records_of(files) if is_selected(one, kinds, names, people)]
        asked = {"kinds": kinds, "names": names, "people": people, "on_error": lambda _: None}
        assert list(map(as_row, bucket.iter_records(**asked))) == list(map(expected_row, expected)), (seed, asked)
        rows = bucket.to_batches(columns=["revision", "line"], **asked).read_all().to_pylist()
        lines = [(one["revision"], one["line"]) for one in expected]
        assert [(row["revision"], row["line"]) for row in rows] == lines, (seed, asked)


def is_selected(one, kinds, names, people):
    if kinds is not None and one["kind"] not in [KINDS[kind] for kind in kinds]:
        return False
    if names is not None and (one["name"] is None or model.fold(one["name"]) not in map(model.fold, names)):
        return False
    return people is None or one["person"] in people or one["alias"] in people


@SEEDS
def test_persons(seeds):
    for seed in seeds:
        files = random_export(seed)
        people = write(files, f"memory://model-persons-{seed}").identities(on_error=lambda _: None)
        names = model.names_of(records_of(files))
        for one in records_of(files):
            for identity in filter(None, (one["person"], one["alias"])):
                assert people.resolve(identity) == names.get(identity, identity), (seed, identity)
        for group in model.groups_of(records_of(files)):
            assert all(set(people.identities_of(identity)) == group for identity in group), seed


def what_counts(properties):
    return {key: value for key, value in properties.items() if key not in model.RESERVED and value is not None}


def counting_rows(records):
    """What counts of records that the library gave: no aliases, no reserved keys and no nulls, no empty sets."""
    kept = [record for record in records if type(record) is not Alias]
    rows = [(*as_row(record)[:4], repr(what_counts(record.properties))) for record in kept]
    return [row for row in rows if row[0] == "event" or row[4] != "{}"]


def expected_counting(kept, properties):
    """The same of the model's: `fresh` properties, or all of them `as_sent`, of events."""
    rows = []
    for one in kept:
        is_whole = properties == "as_sent" and one["kind"] == "event"
        stays = what_counts(one["properties"]) if is_whole else one["fresh"]
        row = repr({key: model.in_python(value) for key, value in stays.items()})
        rows.append((one["kind"], one["person"], one["time"], one["name"], row))
    return [row for row in rows if row[0] == "event" or row[4] != "{}"]


@SEEDS
def test_duplicates(seeds):
    for seed in seeds:
        files = random_export(seed)
        bucket = write(files, f"memory://model-duplicates-{seed}")
        people = bucket.identities(on_error=lambda _: None)
        merged = list(merge_identities(bucket.iter_records(on_error=lambda _: None), people))
        modelled = model.merged(records_of(files), model.names_of(records_of(files)))
        for properties in ("as_sent", "once"):
            found = drop_duplicates(iter(merged), properties=properties)
            assert counting_rows(found) == expected_counting(model.classic(modelled), properties), (seed, properties)
        found = [record for record in drop_duplicates(merged, rule="strict") if type(record) is not Alias]
        assert list(map(as_row, found)) == list(map(expected_row, model.strict(modelled))), seed


SECONDS = "epoch_us(time) // 1000000"
EVENT_ROWS = f"select person, {SECONDS}, name, name_as_sent, revision, line, properties from events"
PROPERTY_ROWS = f"""
    select person, {SECONDS}, name, name_as_sent, value, text, number, event, revision, line from properties"""


def check_facts(files, rule, url):
    records = records_of(files)
    names = model.names_of(records)
    kept = model.RULES[rule](model.merged(records, names))
    with Facts(write(files, url), rule=rule, on_error=lambda _: None) as facts:
        events = [(*row[:6], tree(row[6])) for row in facts.sql(EVENT_ROWS).fetchall()]
        properties = [(*row[:4], tree(row[4]), *row[5:]) for row in facts.sql(PROPERTY_ROWS).fetchall()]
        people = facts.sql("select identity, person from people").fetchall()
    expected_events = [(*row[:6], model.spell(row[6])) for row in model.table_of_events(kept)]
    expected = [(*row[:4], model.spell(row[4]), *row[5:]) for row in model.table_of_properties(kept)]
    assert Counter(events) == Counter(expected_events)
    assert Counter(properties) == Counter(expected)
    assert sorted(people) == model.table_of_people(records, names)


@SEEDS
def test_facts(seeds):
    """Ten exports at a time, for speed; and one of the ten alone, for files and tables that are empty."""
    for first in seeds[::10]:
        rules = ("classic", "strict") if first % 30 else ("strict", "classic")
        check_facts(random_exports_as_one(range(first, first + 10)), rules[0], f"memory://model-facts-{first}-to-9")
        check_facts(random_export(first), rules[1], f"memory://model-facts-{first}")


@SEEDS
def test_windows(seeds):
    """The records of the files that were received around a window, a margin later at most; and no others."""
    for seed in seeds:
        files = random_export(seed)
        bucket = write(files, f"memory://model-windows-{seed}")
        chance = random.Random(seed)
        for _ in range(2):
            edges = [START, *(edge for file in files for edge in file.received or ())]
            start = chance.choice(edges) + chance.choice([0, 1, -1, 300, -300, 3_600, -3_600, -3_601, -90_000])
            end = start + chance.choice([0, 1, 300, 3_600, 86_400, 10**6])
            margin = chance.choice([0, 1, 300, 3_600, 7_200, 86_400, 10**9, None])
            read = [file for file in files if model.is_read(file.received, start, end, margin)]
            expected = [one for one in records_of(read) if start <= one["time"] < end]
            window = Window(start, end)
            where = seed, start, end, margin
            assert [found.number for found in bucket.revisions(window, margin=margin)] == [f.number for f in read], (
                where
            )
            found = list(bucket.iter_records(window, margin=margin, on_error=lambda _: None))
            assert list(map(as_row, found)) == list(map(expected_row, expected)), where
            batches = bucket.to_batches(window, margin=margin, columns=["revision", "line"], on_error=lambda _: None)
            lines = [(row["revision"], row["line"]) for row in batches.read_all().to_pylist()]
            assert lines == [(one["revision"], one["line"]) for one in expected], where


@SEEDS
def test_cluster(seeds):
    """Frames, bags and duplicates of a few of the exports."""
    with dask.config.set(scheduler="synchronous"):
        for seed in seeds[::25]:
            files = random_export(seed)
            bucket = write(files, f"memory://model-cluster-{seed}")
            records = records_of(files)
            names = model.names_of(records)
            people = bucket.identities(on_error=lambda _: None)
            frame = cluster.to_dataframe(bucket, group_bytes=1, on_error="skip")
            assert list(map(as_row, cluster.to_records(frame).compute())) == list(map(expected_row, records)), seed
            kept = model.classic(model.merged(records, names))
            for properties in ("as_sent", "once"):
                once = cluster.to_records(cluster.drop_duplicates(frame, people, properties=properties)).compute()
                assert Counter(counting_rows(once)) == Counter(expected_counting(kept, properties)), seed
            whole = cluster.to_records(cluster.drop_duplicates(frame, people, rule="strict")).compute()
            found = [as_row(record) for record in whole if type(record) is not Alias]
            assert Counter(found) == Counter(map(expected_row, model.strict(model.merged(records, names)))), seed


EVERY_NAME = Event("somebody", 7, "purchased", {"amount": 1, "plan": "Pro"})


def without_competition(records, modelled):
    """The records but those that give a property of a person and second another value than a record before."""
    said, names = {}, model.names_of(modelled)
    for record, one in zip(records, model.merged(modelled, names), strict=True):
        moment = one["person"], one["time"]
        news = {
            (*moment, model.fold(name)): model.same(value) for name, value in model.counted(one["properties"]).items()
        }
        is_sum = all(abs(value[1]) < 10**300 for value in news.values() if value[0] == "number")  # a total needs floats
        if is_sum and all(said.get(key, value) == value for key, value in news.items()):
            said |= news
            yield record


def totals(records):
    """The totals of `amount`: all, of one event, and of each plan."""
    with Facts(records) as facts:
        one = reports.property_total(facts, "amount")
        of_event = reports.property_total(facts, "amount", event="purchased")
        split = reports.property_total(facts, "amount", by="plan")
        return (
            (one.total, one.values),
            (of_event.total, of_event.values),
            sorted((row.total, row.values) for row in split.rows),
        )


@SEEDS
def test_the_order_of_lines_changes_totals_only_where_two_values_of_one_second_compete(seeds):
    for seed in seeds[::25]:
        files = random_export(seed)
        records = write(files, f"memory://model-swaps-{seed}").iter_records(on_error=lambda _: None)
        apart = [EVERY_NAME, *without_competition(records, records_of(files))]
        shuffled = random.Random(seed).sample(apart, len(apart))
        assert totals(shuffled) == totals(apart), seed
