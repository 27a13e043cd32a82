"""The steps beside reading: the alias pass, duplicates, identities, choosing revisions."""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import networkx as nx
import orjson

from kmexport import Bucket, Event, IdentityMap, Record, Window, drop_duplicates, iter_records
from kmexport.revisions.listing import select_revisions
from kmexport.revisions.manifest import Revision
from kmexport.testing import write_export
from tests.benchmarks import material
from tests.benchmarks.harness import Group, Table, compare, figure, rows_of, times_as_fast

FLOOR = "orjson.loads on each line (the floor)"


def alias_group(folder: Path, count: int, runs: int) -> Table:
    bucket = write_export(folder / "export", {1: material.lines(count, alias_share=0.03)})
    path = folder / "export" / "revisions" / "1.json"

    def floor() -> None:
        with path.open("rb") as file:
            for line in file:
                orjson.loads(line)

    ours = "Bucket.identities()"
    rows = rows_of(compare({FLOOR: floor, ours: bucket.identities}, runs), FLOOR, {ours: 0.3})
    rows.append(figure("identities found", len(bucket.identities())))
    return Table(f"aliases: the alias pass over {count:,} lines, 3 % aliases", rows)


def held(records: list[Record], consume: Callable[[list[Record]], object]) -> float:
    """Bytes that a pass holds at its end, beside the records."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = consume(records)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del kept
    return after - before


def exhaust(iterator: Iterator[Record]) -> object:
    """Run a generator to its last record, and keep it alive, with what it holds."""
    for _ in iterator:
        pass
    return iterator


def tuples(records: list[Record]) -> set[tuple[str, str, int]]:
    # Strings of their own, as they come out of a file.
    return {
        (r.person[:1] + r.person[1:], r.name[:1] + r.name[1:], r.timestamp) for r in records if isinstance(r, Event)
    }


class Holding:
    """drop_duplicates, stopped behind its last record, so that its memory can be measured."""

    def __init__(self, records: list[Record], **options: object) -> None:
        self.kept = 0
        self.iterator = drop_duplicates(self._feed(records), **options)  # type: ignore[arg-type]
        self.measured = 0.0
        tracemalloc.start()
        self.before = tracemalloc.get_traced_memory()[0]
        for _ in self.iterator:
            self.kept += 1
        tracemalloc.stop()

    def _feed(self, records: list[Record]) -> Iterator[Record]:
        yield from records
        self.measured = tracemalloc.get_traced_memory()[0] - self.before


def duplicates_group(folder: Path, count: int, runs: int) -> Table:
    lines = list(material.lines(count))
    lines += lines[: count // 50]
    records = list(iter_records(lines))
    del lines
    for record in records:
        record.properties  # noqa: B018  # parsed before: only the filter is timed
    base, classic, strict = "iterate the records (the floor)", "drop_duplicates, classic", "drop_duplicates, strict"
    timings = compare(
        {
            base: lambda: exhaust(iter(records)),
            classic: lambda: exhaust(drop_duplicates(records)),
            strict: lambda: exhaust(drop_duplicates(records, rule="strict")),
        },
        runs,
    )
    rows = rows_of(timings, base)
    for name in (classic, strict):
        more = (timings[name].median - timings[base].median) / len(records) * 1e6
        rows.append(figure(f"{name}: more for each record", more, "µs", at_most=1.5))
    names = {(r.person, r.timestamp, "event", r.name) for r in records if isinstance(r, Event)}
    keys = len(names) + len({(r.person, r.timestamp, name) for r in records for name in r.properties})
    events = [Event(r.person, r.timestamp, r.name) for r in records if isinstance(r, Event)]
    strangers = [Event(f"person {n}", r.timestamp, "x") for n, r in enumerate(records)]
    del names
    for title, given, divisor in (
        ("classic, events and their properties", records, keys),
        ("classic, events without properties", events, len({(e.person, e.timestamp, e.name) for e in events})),
        ("classic, every person new", strangers, len(strangers)),
    ):
        per_key = Holding(given).measured / divisor
        rows.append(figure(f"memory a key, {title}", per_key, "bytes", at_most=130))
    per_record = Holding(records, rule="strict").measured / count
    rows.append(figure("memory a record, strict", per_record, "bytes", at_most=90))
    bare = held(records, tuples) / len({(e.person, e.timestamp, e.name) for e in events})
    rows.append(figure("memory a key, set of tuples (person, name, time)", bare, "bytes"))
    return Table(f"duplicates: {len(records):,} records, one in fifty twice", rows)


def bare_union_find(pairs: list[tuple[str, str]]) -> dict[str, str]:
    parents: dict[str, str] = {}

    def find(one: str) -> str:
        while parents[one] != one:
            parents[one] = parents[parents[one]]
            one = parents[one]
        return one

    for a, b in pairs:
        parents.setdefault(a, a)
        parents.setdefault(b, b)
        root_a, root_b = find(a), find(b)
        if root_a != root_b:
            parents[root_b] = root_a
    return parents


def with_networkx(pairs: list[tuple[str, str]]) -> dict[str, str]:
    graph = nx.Graph()
    graph.add_edges_from(pairs)
    return {one: min(people) for people in nx.connected_components(graph) for one in people}


def linked(pairs: list[tuple[str, str]]) -> IdentityMap:
    people = IdentityMap()
    people.link_pairs(pairs)
    return people


def identities_group(folder: Path, count: int, runs: int) -> Table:
    chance = random.Random(20121003)
    pairs = [
        (f"person{chance.randrange(count // 2)}@example.com", f"{chance.getrandbits(80):020x}") for _ in range(count)
    ]
    bare, ours, rival = "a bare dict union-find (the floor)", "IdentityMap", "networkx, connected components"
    timings = compare(
        {bare: lambda: bare_union_find(pairs), ours: lambda: linked(pairs), rival: lambda: with_networkx(pairs)}, runs
    )
    rows = rows_of(timings, bare, {ours: 1.5})
    rows.append(times_as_fast(timings, ours, rival, 4))
    return Table(f"identities: {count:,} alias pairs", rows)


def selection_group(folder: Path, count: int, runs: int) -> Table:
    revisions = [Revision(n, f"revisions/{n}.json", n * 1_000, n * 1_000 + 1_500) for n in range(1, 5_001)]
    window = Window(2_500_000, 2_586_400)
    revisions_of_events = {n: [Event("a", n * 1_000, "x"), Event("a", n * 1_000 + 1_500, "x")] for n in range(1, 5_001)}
    bucket = write_export(folder / "many", revisions_of_events)
    chosen = len(select_revisions(revisions, window, 86_400))
    choosing, whole = f"choosing {chosen} of 5,000 revisions", "the same, the index read and the folder listed (local)"
    timings = compare(
        {
            choosing: lambda: select_revisions(revisions, window, 86_400),
            whole: lambda: Bucket(folder / "many").revisions(window),
        },
        runs,
    )
    rows = [
        figure(choosing, timings[choosing].median * 1e3, "ms", at_most=50),
        figure(whole, timings[whole].median * 1e3, "ms"),
        figure("files that it chooses", len(bucket.revisions(window)), exactly=chosen),
    ]
    return Table("selection: one day of 5,000 revisions", rows, figure="median")


GROUPS: dict[str, Group] = {
    "aliases": alias_group,
    "duplicates": duplicates_group,
    "identities": identities_group,
    "selection": selection_group,
}
