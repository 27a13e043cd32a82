"""The helpers: the alias pass, duplicates, identities, choosing revisions."""

from __future__ import annotations

import gc
import random
import statistics
import tracemalloc
from pathlib import Path

import networkx
import orjson

from kmexport import Bucket, Event, IdentityMap, Record, Window, drop_duplicates, iter_records
from kmexport.audit import select_revisions
from kmexport.manifest import Revision
from kmexport.testing import write_export
from tests.benchmarks import material
from tests.benchmarks.harness import Row, rows, run, table, times_faster

FLOOR = "orjson.loads on each line (the floor)"


def alias_group(folder: Path, count: int, runs: int) -> str:
    bucket = write_export(folder / "export", {1: material.lines(count, alias_share=0.03)})
    path = folder / "export" / "revisions" / "1.json"

    def floor() -> None:
        with path.open("rb") as file:
            for line in file:
                orjson.loads(line)

    ours = "Bucket.identities()"
    lines = rows(run({FLOOR: floor, ours: bucket.identities}, runs), FLOOR, {ours: 0.3})
    lines.append(Row("identities found", f"{len(bucket.identities()):,}"))
    return table(f"The alias pass, {count:,} lines, 3 % aliases", lines)


def held(records: list[Record], consume) -> float:
    """Bytes that a pass holds at its end, beside the records."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = consume(records)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del kept
    return after - before


def exhaust(iterator) -> object:
    """Run a generator to its last record, and keep it alive, with what it holds."""
    for _ in iterator:
        pass
    return iterator


def tuples(records: list[Record]) -> set[tuple[str, str, int]]:
    # Strings of their own, as they come out of a file.
    return {(r.person[:1] + r.person[1:], r.name[:1] + r.name[1:], r.timestamp) for r in records if isinstance(r, Event)}


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

    def _feed(self, records: list[Record]):
        yield from records
        self.measured = tracemalloc.get_traced_memory()[0] - self.before


def duplicates_group(folder: Path, count: int, runs: int) -> str:
    lines = list(material.lines(count))
    lines += lines[: count // 50]
    records = list(iter_records(lines))
    del lines
    for record in records:
        record.properties  # noqa: B018  # parsed before: only the filter is timed
    seconds = run(
        {
            "iterate the records": lambda: exhaust(iter(records)),
            "drop_duplicates, classic": lambda: exhaust(drop_duplicates(records)),
            "drop_duplicates, strict": lambda: exhaust(drop_duplicates(records, rule="strict")),
        },
        runs,
    )
    out = rows(seconds, "iterate the records")
    base = statistics.median(seconds["iterate the records"])
    for name in ("drop_duplicates, classic", "drop_duplicates, strict"):
        more = (statistics.median(seconds[name]) - base) / len(records) * 1e6
        out.append(Row(f"{name}: more for each record", f"{more:.2f} µs", limit=1.5, value=more))
    names = {(r.person, r.timestamp, "event", r.name) for r in records if isinstance(r, Event)}
    keys = len(names) + len({(r.person, r.timestamp, name) for r in records for name in r.properties})
    events = [Event(r.person, r.timestamp, r.name) for r in records if isinstance(r, Event)]
    del names
    for title, given, divisor in (
        ("classic, events and their properties", records, keys),
        ("classic, events without properties", events, len({(e.person, e.timestamp, e.name) for e in events})),
    ):
        per_key = Holding(given).measured / divisor
        out.append(Row(f"memory a key, {title}", f"{per_key:.0f} bytes", limit=90, value=per_key))
    per_record = Holding(records, rule="strict").measured / count
    out.append(Row("memory a record, strict", f"{per_record:.0f} bytes", limit=90, value=per_record))
    bare = held(records, tuples) / len({(e.person, e.timestamp, e.name) for e in events})
    out.append(Row("memory a key, set of tuples (person, name, time)", f"{bare:.0f} bytes"))
    return table(f"Duplicates, {len(records):,} records, one in fifty twice", out)


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
    graph = networkx.Graph()
    graph.add_edges_from(pairs)
    return {one: min(people) for people in networkx.connected_components(graph) for one in people}


def linked(pairs: list[tuple[str, str]]) -> IdentityMap:
    people = IdentityMap()
    people.link_pairs(pairs)
    return people


def identities_group(folder: Path, count: int, runs: int) -> str:
    chance = random.Random(20121003)
    pairs = [(f"person{chance.randrange(count // 2)}@example.com", f"{chance.getrandbits(80):020x}") for _ in range(count)]
    bare, ours, rival = "a bare dict union-find", "IdentityMap", "networkx, connected components"
    seconds = run(
        {bare: lambda: bare_union_find(pairs), ours: lambda: linked(pairs), rival: lambda: with_networkx(pairs)}, runs
    )
    lines = rows(seconds, bare, {ours: 1.5})
    lines.append(times_faster(seconds, ours, rival, 4))
    return table(f"Identities, {count:,} alias pairs", lines)


def selection_group(folder: Path, count: int, runs: int) -> str:
    revisions = [Revision(n, f"revisions/{n}.json", n * 1_000, n * 1_000 + 1_500) for n in range(1, 5_001)]
    window = Window(2_500_000, 2_586_400)
    seconds = run({"choosing": lambda: select_revisions(revisions, window, 1)}, runs)
    chosen = len(select_revisions(revisions, window, 1))
    took = statistics.median(seconds["choosing"]) * 1e3
    lines = [Row(f"choosing {chosen} of 5,000 revisions", f"{took:.1f} ms", limit=50, value=took)]
    bucket = write_export(folder / "many", {n: [Event("a", n * 1_000, "x"), Event("a", n * 1_000 + 1_500, "x")] for n in range(1, 5_001)})
    whole = statistics.median(run({"": lambda: Bucket(folder / "many").revisions(window)}, runs)[""]) * 1e3
    lines.append(Row("the same with the index read and the folder listed (local)", f"{whole:.0f} ms"))
    lines.append(Row("files that it chooses", f"{len(bucket.revisions(window))}"))
    return table("One day of 5,000 revisions", lines)


GROUPS = {
    "aliases": alias_group,
    "duplicates": duplicates_group,
    "identities": identities_group,
    "selection": selection_group,
}
