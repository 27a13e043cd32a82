"""Reports over Facts that are built once, each beside a query of one purpose, written by hand over the same tables.

All numbers of both are compared before they are timed: python tests/benchmarks/run.py reports --lines 5000000
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import duckdb

from kmexport import Bucket, Facts, Window, reports
from tests.benchmarks.facts import crowded_export
from tests.benchmarks.harness import Group, Table, pairs

# A shop of 90 days; a person does about fifty things. Every fifth line sets a plan, every purchase an amount.
MADE_UP: Final = """
    select null::bigint as revision, null::bigint as line, 'event' as kind,
        'person ' || (hash(i) % ({lines} // 50 + 1)) as person,
        to_timestamp(1349049600 + hash(i * 7 + 1) % (90 * 86400)) as time,
        ['visited site', 'viewed product', 'viewed product', 'searched', 'signed up', 'added to cart', 'purchased',
            'opened newsletter'][(hash(i * 13 + 5) % 8 + 1)::int] as name,
        null::varchar as alias,
        case when hash(i * 13 + 5) % 8 = 6 then '{{"billing amount":"' || hash(i + 3) % 10000 / 100.0 || '"}}'
             when hash(i * 3) % 5 = 0 then '{{"plan":"' || ['Free', 'Pro', 'Team'][(hash(i + 9) % 3 + 1)::int] || '"}}'
             else '{{}}' end as properties
    from range({lines}) t(i)
"""
VIEWS: Final = """
    create view did as select person_id as p, epoch_us(time) // 1000000 as t, name, seq from kmexport.numbered_events;
    create view plans as
        select person_id as p, epoch_us(time) // 1000000 as t, text, seq from kmexport.numbered_properties
        where name = 'plan';
    create view amounts as
        select person_id as p, epoch_us(time) // 1000000 as t, number from kmexport.numbered_properties
        where name = 'billing amount';
"""
# Each by hand: as short as it can be for this one question, and with all numbers of the report. Of two plans in one
# second the one that arrived last counts, which makes three of these queries longer than a first draft.
BY_HAND: Final[dict[str, str]] = {
    "event_counts": "select count(distinct p), count(*) from did where name = 'signed up'",
    "event_counts, days": """
        select (date '1970-01-01' + day::int)::varchar, people, times from (
            select t // 86400 as day, count(distinct p) as people, count(*) as times
            from did where name = 'signed up' group by grouping sets ((), (day)))""",
    "event_counts, by": """
        select v, count(distinct p), count(*) from (
            select e.p, last.text as v
            from (select * from did where name = 'signed up') e
            asof left join (select p, t, arg_max(text, seq) as text from plans group by p, t) last
                on last.p = e.p and last.t <= e.t
        ) group by grouping sets ((), (v))""",
    "conversion": """
        select count(*) filter (s.t > f.t), count(*)
        from (select p, min(t) as t from did where name = 'signed up' group by p) f
        left join (select p, min(t) as t from did where name = 'purchased' group by p) s using (p)
        where s.t is null or s.t >= f.t""",
    "time_between": """
        select count(*), avg(d), median(d) from (
            select f.p, min(s.t) - any_value(f.t) as d
            from (select p, min(t) as t from did where name = 'visited site' group by p) f
            join did s on s.p = f.p and s.name = 'purchased' and s.t > f.t group by f.p)""",
    "property_total": """
        select fsum(number), count(number), count(distinct p) filter (number is not null), count(*) - count(number)
        from amounts""",
    "funnel": """
        with kept as (
            select p, name, max(t) as t from did
            where name in ('visited site', 'signed up', 'added to cart', 'purchased') group by p, name, t // 86400
        ),
        a as (select p, min(t) as t from kept where name = 'visited site' group by p),
        b as (
            select k.p, min(k.t) as t from a join kept k on k.p = a.p and k.name = 'signed up' and k.t >= a.t group by 1
        ),
        c as (
            select k.p, min(k.t) as t from b join kept k on k.p = b.p and k.name = 'added to cart' and k.t >= b.t
            group by 1
        ),
        d as (
            select k.p, min(k.t) as t from c join kept k on k.p = c.p and k.name = 'purchased' and k.t >= c.t group by 1
        )
        select (select count(*) from a), (select count(*) from b), (select count(*) from c),
            (select count(*) from d)""",
    "funnel, by": """
        with kept as (
            select p, name, max(t) as t from did where name in ('visited site', 'purchased')
            group by p, name, t // 86400
        ),
        a as (select p, min(t) as t from kept where name = 'visited site' group by p),
        b as (
            select k.p, min(k.t) as t from a join kept k on k.p = a.p and k.name = 'purchased' and k.t >= a.t group by 1
        )
        select case when b.t is not null then last.text end as v, count(*), count(b.t)
        from a left join b using (p)
        asof left join (select p, t, arg_max(text, seq) as text from plans group by p, t) last
            on last.p = a.p and last.t <= b.t
        group by v""",
    "occurrences_before": """
        select (select count(*) from did e asof join (select distinct p, t from did where name = 'purchased') c
                on e.p = c.p and e.t <= c.t where e.name = 'viewed product'),
            (select count(*) from did where name = 'purchased')""",
    "revenue": """
        select (select fsum(number) from amounts), count(*) filter (not lost), count(*), count(*) filter (lost)
        from (
            select max(t) + 30 * 86400 < (select max(t) from did) as lost from amounts where number > 0 group by p
        )""",
    "people": """
        select p, coalesce(visits, 0), plan
        from (select p from did where name = 'purchased' group by p having count(*) >= 9)
        left join (select p, count(*) as visits from did where name = 'visited site' group by p) using (p)
        left join (select p, arg_max(text, (t, seq)) as plan from plans group by p) using (p)""",
    "a distribution": """
        select n, count(*) from (select p, count(*) as n from did where name = 'purchased' group by p) group by n""",
    "ab_test": """
        select text, count(*), count(*) filter (c.last >= a.t), sum(count(*) filter (several)) over ()
        from (
            select p, arg_min(text, (t, seq)) as text, min(t) as t, min(text) <> max(text) as several
            from plans group by p
        ) a
        left join (select p, max(t) as last from did where name = 'purchased' group by p) c using (p) group by text""",
    "paths": """
        with ways as (
            select p, min(c) as c, arg_min(s, coalesce(c, 999999999999)) as s
            from (
                select b.p, e.t as c, min(b.t) as s
                from (select * from did where name = 'signed up') b
                asof left join (select distinct p, t from did where name = 'purchased') e on e.p = b.p and e.t >= b.t
                group by b.p, e.t
            ) group by p
        ),
        ranks as (select name, count(*) as often from did group by name),
        moments as (
            select w.p, d.t, arg_min(d.name, (-often, d.name)) as name
            from ways w join did d on d.p = w.p and d.t <= coalesce(w.c, d.t) and (
                (d.t = w.s and d.name = 'signed up') or (d.t > w.s and d.name <> 'purchased')
            ) join ranks using (name) group by w.p, d.t
        ),
        runs as (
            select p, run, any_value(name) || 'x' || count(*) as item
            from (
                select *, count(*) filter (is_new) over (partition by p order by t) as run
                from (
                    select *, name is distinct from lag(name) over (partition by p order by t) as is_new from moments
                )
            ) group by p, run
        ),
        found as (
            select p, string_agg(item, ',' order by run) filter (run <= 5) as path, greatest(count(*) - 5, 0) as more
            from runs group by p
        )
        select path, count(*) as people, count(c) as conversions, median(c - s), median(more) filter (c is not null)
        from ways join found using (p) group by path order by conversions desc, people desc limit 50""",
    "pivot": """
        with last as (select p, arg_max(text, (t, seq)) as plan from plans group by p),
        signed as (
            select plan, count(distinct p) as people from (select p from did where name = 'signed up')
            left join last using (p) group by grouping sets ((), (plan))
        ),
        went_on as (
            select plan, count(*) filter (s.t > f.t) / count(*) as rate
            from (select p, min(t) as t from did where name = 'signed up' group by p) f
            left join (select p, min(t) as t from did where name = 'purchased' group by p) s using (p)
            left join last using (p) where s.t is null or s.t >= f.t group by grouping sets ((), (plan))
        ),
        spent as (
            select plan, fsum(number) as total from amounts left join last using (p) where number is not null
            group by grouping sets ((), (plan))
        )
        select plan, people, rate, total from signed join went_on using (plan) join spent using (plan)
        where plan is not null""",
    "property_values": """
        select text, count(*) from (select distinct p from did) e
        left join (select p, arg_max(text, (t, seq)) as text from plans group by p) using (p) group by text""",
    "cohorts": """
        with f as (select p, min(t) as t from did where name = 'signed up' group by p),
        days as (select min(t) // 86400 as first from f)
        select (date '1970-01-01' + (first + 7 * week)::int)::varchar, bucket, people from (
            select first, (f.t // 86400 - first) // 7 as week,
                (s.t - f.t) // 604800 as bucket, count(distinct f.p) as people
            from f join did s on s.p = f.p and s.name = 'visited site' and s.t >= f.t, days group by all)""",
    "segments": """
        select text, count(*) from (select distinct p from did where name = 'purchased') e
        left join (select p, arg_max(text, (t, seq)) as text from plans group by p) using (p) group by text""",
}

DAY: Final = Window.day("2012-10-02")
STEPS: Final = ["visited site", "signed up", "added to cart", "purchased"]


def ours(facts: Facts) -> dict[str, Callable[[], list[tuple[Any, ...]]]]:
    """The reports, each giving the rows of the query of the same name."""

    def counted(**split: Any) -> list[tuple[Any, ...]]:
        found = reports.event_counts(facts, "signed up", **split)
        rows = [(row.label or row.value, row.people, row.times) for row in found.rows]
        return [*rows, (None, found.people, found.times)] if split else [(found.people, found.times)]

    def between() -> list[tuple[Any, ...]]:
        found = reports.time_between(facts, "visited site", "purchased")
        return [(found.people, found.mean, found.median)]

    def converted() -> list[tuple[Any, ...]]:
        found = reports.conversion(facts, "signed up", "purchased")
        return [(found.numerator, found.denominator)]

    def total() -> list[tuple[Any, ...]]:
        found = reports.property_total(facts, "billing amount")
        return [(found.total, found.values, found.people, found.not_numbers)]

    def cells() -> list[tuple[Any, ...]]:
        rows = reports.cohorts(facts, "signed up", "visited site").rows
        return [(row.cohort, bucket, count) for row in rows for bucket, count in enumerate(row.buckets) if count]

    return {
        "event_counts": counted,
        "event_counts, days": lambda: counted(every="day"),
        "event_counts, by": lambda: counted(by="plan"),
        "conversion": converted,
        "time_between": between,
        "property_total": total,
        "funnel": lambda: [tuple(step.people for step in reports.funnel(facts, STEPS).steps)],
        "property_values": lambda: [(row.value, row.people) for row in reports.property_values(facts, "plan").rows],
        "cohorts": cells,
        "segments": lambda: [(row.value, row.people) for row in reports.segments(facts, "purchased", "plan").rows],
    }


def of_people(facts: Facts) -> dict[str, Callable[[], list[tuple[Any, ...]]]]:
    """The reports about customers, groups and lists of people, each giving the rows of the query of the same name."""

    def divided() -> list[tuple[Any, ...]]:
        rows = reports.funnel(facts, ["visited site", "purchased"], by="plan").rows
        return [(row.value, *(step.people for step in row.steps)) for row in rows]

    def before() -> list[tuple[Any, ...]]:
        found = reports.occurrences_before(facts, "viewed product", "purchased")
        return [(found.times, found.conversions)]

    def customers() -> list[tuple[Any, ...]]:
        found = reports.revenue(facts, "billing amount")
        return [(found.total, found.paying, found.gained, found.lost)]

    def searched() -> list[tuple[Any, ...]]:
        often = reports.did("purchased", at_least=9)
        return list(reports.people(facts, often, columns=[reports.Show("times", "visited site"), "plan"]).rows)

    def spread() -> list[tuple[Any, ...]]:
        return [(row.first, row.people) for row in purchases.distribution().rows]

    def tested() -> list[tuple[Any, ...]]:
        found = reports.ab_test(facts, "plan", "purchased")
        [told] = [note for note in found.notes if "several variations" in note]
        several = int(told.split()[0].replace(",", ""))
        return [(row.value, row.people, row.conversions, several) for row in found.rows]

    def walked() -> list[tuple[Any, ...]]:
        found = reports.paths(facts, "signed up", "purchased").rows
        items = [",".join(f"{name}x{count}" for name, count in zip(row.items, row.times, strict=True)) for row in found]
        numbers = [(row.people, row.conversions, row.time, row.more) for row in found]
        return [(path, *row) for path, row in zip(items, numbers, strict=True)]

    def grouped() -> list[tuple[Any, ...]]:
        columns = [
            reports.Metric("people", "signed up"),
            reports.Metric("rate", "signed up", "purchased"),
            reports.Metric("total", "billing amount"),
        ]
        rows = reports.pivot(facts, ["plan"], columns).rows
        return [(*row.values, *row.cells) for row in rows if row.values != (None,)]

    purchases = reports.event_counts(facts, "purchased")
    return {
        "funnel, by": divided,
        "occurrences_before": before,
        "revenue": customers,
        "people": searched,
        "a distribution": spread,
        "ab_test": tested,
        "paths": walked,
        "pivot": grouped,
    }


def build_events(bucket: Bucket) -> None:
    with Facts(bucket) as facts:
        facts.sql("select count(*) from events").fetchall()


def report_once(bucket: Bucket) -> None:
    with Facts(bucket) as facts:
        reports.event_counts(facts, "signed up", every="day", tz="America/New_York")


def read_a_day(bucket: Bucket) -> None:
    """Read the files of the day that `explain_a_day` explains, and all aliases."""
    revisions = bucket.revisions(DAY)
    for _ in bucket.to_batches(
        revisions=revisions, columns=["revision", "line", "person", "time", "name", "properties"]
    ):
        pass
    bucket.identities()


def explain_a_day(bucket: Bucket) -> None:
    reports.explain(bucket, "signed up", DAY)


def build_all(bucket: Bucket) -> None:
    with Facts(bucket) as facts:
        facts.build()


def report_by_a_property(bucket: Bucket) -> None:
    with Facts(bucket) as facts:
        reports.event_counts(facts, "signed up", by="campaign 7")


def reports_group(folder: Path, count: int, runs: int) -> Table:
    facts = Facts(duckdb.sql(MADE_UP.format(lines=count)).to_arrow_reader(100_000)).build()
    facts.sql(VIEWS)
    rows = []
    for name, report in (ours(facts) | of_people(facts)).items():

        def by_hand(query: str = BY_HAND[name]) -> list[tuple[Any, ...]]:
            rows: list[tuple[Any, ...]] = facts.sql(query).fetchall()
            return rows

        assert sorted(report(), key=str) == sorted(by_hand(), key=str), name
        found = pairs(by_hand, {name: report}, runs)[name]
        row = found.row(name, 1.5)
        row.target, row.is_met = "ratio ≤ 1.5, seconds ≤ 3", bool(row.is_met) and found.seconds <= 3
        rows.append(row)
    bucket = crowded_export(folder, min(count, 1_000_000))
    one = pairs(lambda: build_events(bucket), {"report": lambda: report_once(bucket)}, runs)["report"]
    rows.append(one.row("from the bucket to counts by day, beside building those facts (1 M lines at most)", 1.3))
    one = pairs(lambda: build_all(bucket), {"report": lambda: report_by_a_property(bucket)}, runs)["report"]
    rows.append(one.row("from the bucket to counts by a property, beside building those facts", 1.3))
    one = pairs(lambda: read_a_day(bucket), {"explain": lambda: explain_a_day(bucket)}, runs)["explain"]
    rows.append(one.row("explain of a day, beside reading its files and the aliases", 3))
    return Table(f"reports over Facts of {count:,} lines: each beside a query by hand, of the same number", rows)


GROUPS: dict[str, Group] = {"reports": reports_group}
