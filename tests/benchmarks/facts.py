"""Facts: from nothing read to an answer, and whole, beside the same over objects and beside DuckDB unchecked."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import duckdb
import orjson

from kmexport import Alias, Bucket, Event, Facts, drop_duplicates, merge_identities, profile, reports
from kmexport.facts.source import Rule
from kmexport.format.names import fold_name
from kmexport.testing import write_export
from tests.benchmarks import material
from tests.benchmarks.harness import Case, Group, Table, compare, figure, pairs

RULES: Final[tuple[Rule, ...]] = ("classic", "strict")
FILES = 8
NAMES = 200
STEPS = ["visited site", "signed up", "purchased"]
QUESTION = "select count(distinct person), count(*) from events where name = 'signed up'"


def crowded_lines(count: int) -> Iterator[bytes]:
    """One line in thirty twice, and in every third one more property, of two hundred names."""
    chance = random.Random(20121003)
    for number, line in enumerate(material.lines(count)):
        if number % 3 == 0:
            more = b',"campaign %d":"%d"}' % (chance.randrange(NAMES), chance.randrange(1_000))
            crowded = line.removesuffix(b"}") + more
        else:
            crowded = line
        yield crowded
        if chance.random() < 1 / 30:
            yield crowded


def crowded_export(folder: Path, count: int) -> Bucket:
    """An export of about `count` lines, one in fourteen of which is in a file that was written twice."""
    lines = list(crowded_lines(count * 9 // 10))
    size = -(-len(lines) // FILES)
    revisions = {number + 1: lines[number * size : (number + 1) * size] for number in range(FILES)}
    revisions[FILES + 1] = lines[: max(count - len(lines), 0)]
    return write_export(folder / "crowded", revisions)


def read_with_orjson(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            for line in file:
                orjson.loads(line)


def ask(bucket: Bucket, **options: Any) -> list[tuple[object, ...]]:
    with Facts(bucket, **options) as facts:
        return facts.sql(QUESTION).fetchall()


def ask_objects(bucket: Bucket) -> list[tuple[object, ...]]:
    kept = drop_duplicates(merge_identities(bucket.iter_records(), bucket.identities()))
    people = [one.person for one in kept if isinstance(one, Event) and fold_name(one.name) == "signed up"]
    return [(len(set(people)), len(people))]


def ask_unchecked(folder: Path) -> list[tuple[object, ...]]:
    return duckdb.sql(f"""
        with lines as (
            from read_json('{folder}/*.json', format='newline_delimited',
                columns={{_p: 'varchar', _t: 'bigint', _n: 'varchar', _p2: 'varchar'}})
        ),
        people as (select _p2 as identity, min(_p) as person from lines where _p2 is not null group by 1),
        events as (
            select distinct coalesce(person, _p) as person, _t, lower(_n) as name
            from lines left join people on identity = _p where _n is not null
        )
        select count(distinct person), count(*) from events where name = 'signed up'
    """).fetchall()


def count_by_report(bucket: Bucket) -> list[tuple[object, ...]]:
    with closing(reports.event_counts(bucket, "signed up")) as counts:
        return [(counts.people, counts.times)]


def funnel_by_report(bucket: Bucket) -> None:
    with closing(reports.funnel(bucket, STEPS)) as funnel:
        assert len(funnel.steps) == len(STEPS)


def build(bucket: Bucket, rule: Rule) -> tuple[int, int]:
    with Facts(bucket, rule=rule) as facts:
        counts = "select (select count(*) from events), (select count(*) from properties)"
        ((events, properties),) = facts.sql(counts).fetchall()
        return events, properties


def build_objects(bucket: Bucket, rule: Rule) -> tuple[int, int]:
    once: Any = {"properties": "once"} if rule == "classic" else {}
    kept = drop_duplicates(merge_identities(bucket.iter_records(), bucket.identities()), rule=rule, **once)
    events = properties = 0
    for record in kept:
        if not isinstance(record, Alias):
            events += isinstance(record, Event)
            properties += len(record.properties)
    return events, properties


def facts_group(folder: Path, count: int, runs: int) -> Table:
    bucket = crowded_export(folder, count)
    revisions = folder / "crowded" / "revisions"
    one_name = "people and times of one event name, classic, from nothing read"
    whole = {rule: f"events and properties, {rule}" for rule in RULES}
    no_properties, by_name = one_name, f"{one_name}, names= and properties=False"
    by_report, by_funnel = "reports.event_counts(bucket, name)", "reports.funnel(bucket, three names)"
    targets = {whole["classic"]: 3.6, no_properties: 2.0, by_report: 1.2, by_funnel: 1.4}
    cases: dict[str, Case] = {
        no_properties: lambda: ask(bucket, properties=False),
        by_name: lambda: ask(bucket, names="signed up", properties=False),
        by_report: lambda: count_by_report(bucket),
        by_funnel: lambda: funnel_by_report(bucket),
        f"{one_name}: over objects": lambda: ask_objects(bucket),
        f"{one_name}: DuckDB's own reader, nothing checked": lambda: ask_unchecked(revisions),
        "profile: over objects": lambda: profile(bucket.iter_records()),
    }
    for rule, name in whole.items():
        cases[name] = lambda rule=rule: build(bucket, rule)
        cases[f"{name}: over objects"] = lambda rule=rule: build_objects(bucket, rule)
        assert build(bucket, rule) == build_objects(bucket, rule)
    assert ask(bucket, names="signed up", properties=False) == ask_objects(bucket) == count_by_report(bucket)
    found = pairs(lambda: read_with_orjson(revisions), cases, runs)
    rows = [ratios.row(name, targets.get(name)) for name, ratios in found.items()]
    with Facts(bucket) as facts:
        assert facts.sql(QUESTION).fetchall() == ask_objects(bucket)
        again = compare({"again": lambda: facts.sql(QUESTION).fetchall()}, runs)["again"]
    rows.append(figure("asked again of the same Facts", again.median * 1e3, "ms", at_most=30))
    return Table(f"facts: {count:,} lines, {NAMES + 6} property names, duplicates and a repeated file", rows)


GROUPS: dict[str, Group] = {"facts": facts_group}
