"""Each report on a whole real export, against a few lines of plain Python over its bytes, without the library."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from kmexport import Bucket, Facts, reports

DAY = 86_400


@pytest.fixture(scope="module")
def folder(real_data):
    return real_data / "real-export"


@pytest.fixture(scope="module")
def facts(folder):
    with Facts(Bucket(folder)) as found:
        yield found


@pytest.fixture(scope="module")
def events(folder):
    """(person, second, name), each once."""
    return sorted({(person, moment, name) for person, moment, name, _ in read(folder) if name}, key=lambda one: one[1])


@pytest.fixture(scope="module")
def values(folder):
    """(person, second, property) → its first value."""
    found = {}
    for person, moment, _, line in read(folder):
        for name, value in line.items():
            if not name.startswith("_"):
                found.setdefault((person, moment, name.lower()), value)
    return found


def read(folder):
    lines = []
    for path in sorted((folder / "revisions").iterdir(), key=lambda path: int(path.stem)):
        for line in path.read_bytes().splitlines():
            lines.append(json.loads(re.sub(rb"\\[0-7]{3}", b"?", line)))  # noqa: PERF401
    group = {}
    for line in lines:
        if "_p2" in line:
            both = group.setdefault(line["_p"], {line["_p"]}) | group.setdefault(line["_p2"], {line["_p2"]})
            group |= dict.fromkeys(both, both)
    for line in lines:
        if "_p2" not in line:
            person = min(group.get(line["_p"], {line["_p"]}))
            yield person, line["_t"], (line.get("_n") or "").lower(), line


def times_of(events, name):
    found = {}
    for person, moment, event in events:
        if event == name:
            found.setdefault(person, []).append(moment)
    return found


def test_people_and_times(facts, events):
    for name, times in Counter(name for _, _, name in events).items():
        found = reports.event_counts(facts, name)
        assert (found.people, found.times) == (len(times_of(events, name)), times)


def test_last_touch_and_last_ever(facts, events, values):
    touched, ever = Counter(), Counter()
    for person, moment, name in events:
        if name == "page view":
            before = [at for one, at, prop in values if (one, prop) == (person, "referrer") and at <= moment]
            touched[values[person, max(before), "referrer"] if before else None] += 1
    found = reports.event_counts(facts, "page view", by="referrer")
    assert {row.value: row.times for row in found.rows} == touched
    people = {person for person, _, _ in events} | {person for person, _, _ in values}
    for person in people:
        last = max((at for one, at, prop in values if (one, prop) == (person, "referrer")), default=None)
        ever[None if last is None else values[person, last, "referrer"]] += 1
    assert {row.value: row.people for row in reports.property_values(facts, "referrer").rows} == ever


def test_conversion_and_time_between(facts, events):
    first, second = times_of(events, "visited site"), times_of(events, "page view")
    whole = [person for person in first if min(second.get(person, [first[person][0]])) >= first[person][0]]
    converted = [person for person in whole if person in second and second[person][0] > first[person][0]]
    found = reports.conversion(facts, "visited site", "page view")
    assert (found.numerator, found.denominator) == (len(converted), len(whole))
    later = {p: [m - first[p][0] for m in second.get(p, []) if m > first[p][0]] for p in first}
    took = [moments[0] for moments in later.values() if moments]
    between = reports.time_between(facts, "visited site", "page view")
    assert (between.people, between.mean) == (len(took), pytest.approx(sum(took) / len(took)))


def test_totals_and_revenue(facts, values):
    numbers = {
        (p, at): float(v) for (p, at, name), v in values.items() if name == "sku" and re.fullmatch(r"\d+", str(v))
    }
    found = reports.property_total(facts, "sku")
    assert (found.total, found.values, found.people) == (
        sum(numbers.values()),
        len(numbers),
        len({p for p, _ in numbers}),
    )
    last = {person: max(at for one, at in numbers if one == person) for person, _ in numbers}
    end = max(at for _, at, _ in values)
    lost = {person for person, at in last.items() if at + 30 * DAY < end}
    income = reports.revenue(facts, "sku")
    assert (income.total, income.gained) == (sum(numbers.values()), len(last))
    assert income.lost + income.paying == len(last)
    assert income.lost == len(lost)


@pytest.mark.parametrize("occurrences", ["last_of_day", "all"])
def test_funnel(facts, events, occurrences):
    def kept(name):
        found = times_of(events, name)
        if occurrences == "all":
            return found
        return {person: sorted({at // DAY: at for at in moments}.values()) for person, moments in found.items()}

    reached = {person: moments[0] for person, moments in kept("visited site").items()}
    counts = [len(reached)]
    for step in ("page view", "search engine hit"):
        later = {person: [at for at in kept(step).get(person, []) if at >= since] for person, since in reached.items()}
        reached = {person: moments[0] for person, moments in later.items() if moments}
        counts.append(len(reached))
    found = reports.funnel(facts, ["visited site", "page view", "search engine hit"], occurrences=occurrences)
    assert [step.people for step in found.steps] == counts


def test_cohorts_and_segments(facts, events, values):
    visits = times_of(events, "visited site")
    cells, start = Counter(), min(moments[0] for moments in visits.values()) // DAY
    for moments in visits.values():
        week = (moments[0] // DAY - start) // 7
        cells.update({(week, (at - moments[0]) // (7 * DAY)) for at in moments[1:]})
    found = reports.cohorts(facts, "visited site", "visited site")
    assert sum(row.people for row in found.rows) == len(visits)
    assert Counter(cell for row in found.rows for cell in row.buckets if cell) == Counter(cells.values())
    segments = Counter()
    for person in visits:
        last = max((at for one, at, prop in values if (one, prop) == (person, "search engine")), default=None)
        segments[None if last is None else values[person, last, "search engine"]] += 1
    assert {row.value: row.people for row in reports.segments(facts, "visited site", "search engine").rows} == segments


def test_times_before_a_conversion(facts, events):
    views, hits = times_of(events, "page view"), times_of(events, "search engine hit")
    times = sum(
        1 for person, moments in views.items() for at in moments if any(hit >= at for hit in hits.get(person, []))
    )
    found = reports.occurrences_before(facts, "page view", "search engine hit")
    assert (found.times, found.conversions) == (times, sum(map(len, hits.values())))


def test_people_search(facts, events):
    visits = times_of(events, "visited site")
    often = sorted(person for person, moments in visits.items() if len(moments) >= 2)
    found = reports.people(
        facts, reports.did("visited site", at_least=2), columns=[reports.Show("times", "visited site")]
    )
    assert sum(row[1] for row in found.rows) == sum(len(visits[person]) for person in often)
    assert found.people == len(often)


def test_an_ab_test(facts, events, values):
    given, converted = {}, Counter()
    for (person, moment, name), value in sorted(values.items(), key=lambda one: one[0][1]):
        if name == "referrer":
            given.setdefault(person, (value, moment))
    views = times_of(events, "page view")
    for person, (value, moment) in given.items():
        converted[value] += any(at >= moment for at in views.get(person, []))
    found = reports.ab_test(facts, "referrer", "page view")
    assert {row.value: row.people for row in found.rows} == Counter(value for value, _ in given.values())
    assert {row.value: row.conversions for row in found.rows} == converted


def test_paths(facts, events):
    views, often = times_of(events, "page view"), Counter(name for _, _, name in events)
    people, converted = Counter(), Counter()
    for person, (start, *_) in times_of(events, "visited site").items():
        end = next((at for at in views.get(person, []) if at >= start), None)
        if end is None or any(start < at <= end for at in times_of(events, "visited site")[person]):
            continue  # whose way is not plain is left to the model
        between = {}
        for one, at, name in events:
            if one == person and start < at <= end and name != "page view":
                between[at] = min(between.get(at, name), name, key=lambda other: (-often[other], other))
        items = ["visited site", *(between[at] for at in sorted(between))]
        people[tuple(items)] += 1
        converted[tuple(items)] += 1
    found = reports.paths(facts, "visited site", "page view", most=None)
    rows = {row.items: row for row in found.rows if set(row.times) == {1}}
    assert people
    for items, count in converted.items():
        if len(set(items)) == len(items) <= 5:
            assert rows[items].conversions >= count
    assert found.people == len(times_of(events, "visited site"))


def test_conditions_in_order(facts, events):
    steps = ["search engine hit", "visited site", "page view"]
    reached = {person: moments[0] for person, moments in times_of(events, steps[0]).items()}
    for step in steps[1:]:
        later = {p: [at for at in times_of(events, step).get(p, []) if at >= since] for p, since in reached.items()}
        reached = {person: moments[0] for person, moments in later.items() if moments}
    assert reports.people(facts, reports.in_order(*steps)).people_of() == sorted(reached)
    assert reached


def test_a_pivot(facts, events, values):
    visits, views = times_of(events, "visited site"), times_of(events, "page view")
    groups, total = Counter(), Counter()
    numbers = dict.fromkeys(visits, 0.0)
    for (person, _, name), value in values.items():
        if name == "sku" and re.fullmatch(r"\d+", str(value)):
            numbers[person] = numbers.get(person, 0.0) + float(value)
    for person in visits.keys() | numbers.keys():
        first = min((at for one, at, prop in values if (one, prop) == (person, "referrer")), default=None)
        key = None if first is None else values[person, first, "referrer"], str(len(views.get(person, [])))
        groups[key] += person in visits
        total[key] += numbers.get(person, 0.0)
    found = reports.pivot(
        facts,
        [reports.Split("referrer", at="first_ever"), reports.GroupBy("times", "page view")],
        [reports.Metric("people", "visited site"), reports.Metric("total", "sku")],
    )
    assert {row.values: row.cells[0] for row in found.rows if row.cells[0]} == {k: n for k, n in groups.items() if n}
    assert {row.values: row.cells[1] for row in found.rows if row.cells[1]} == {k: n for k, n in total.items() if n}
