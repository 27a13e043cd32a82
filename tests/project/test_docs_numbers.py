"""The numbers that the pages teach, counted once more from the sample's bytes by plain loops, without the library."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "kmexport" / "sample" / "revisions"
OCTAL = re.compile(rb"(?:\\[0-7]{3})+")
NEW_YORK = ZoneInfo("America/New_York")
DAY = range(1349236800, 1349323200)  # 3 October 2012 in New York, in seconds


def lines(name: str = "*.json") -> list[dict[str, Any]]:
    found = []
    for path in sorted(SAMPLE.glob(name), key=lambda path: int(path.stem)):
        for line in path.read_bytes().splitlines():
            text = OCTAL.sub(lambda match: bytes(int(octal, 8) for octal in match[0][1:].split(b"\\")), line)
            found.append(json.loads(text))
    return found


def names_of_people(records: list[dict[str, Any]]) -> dict[str, str]:
    groups: dict[str, set[str]] = {}
    for record in records:
        if "_p2" in record:
            one = groups.setdefault(record["_p"], {record["_p"]}) | groups.setdefault(record["_p2"], {record["_p2"]})
            groups |= dict.fromkeys(one, one)
    return {
        identity: min(group, key=lambda other: ("@" not in other, other)) for identity, group in groups.items()
    }  # the sample has an address in every group that has a named identity


@pytest.fixture(scope="module")
def events() -> list[tuple[str, int, str, dict[str, Any]]]:
    """(person, second, name, line): each event once, under its person."""
    records = lines()
    person_of = names_of_people(records)
    once: dict[tuple[str, int, str], dict[str, Any]] = {}
    for record in records:
        if "_n" in record:
            person = person_of.get(record["_p"], record["_p"])
            once.setdefault((person, record["_t"], record["_n"].lower()), record)
    return [(*key, record) for key, record in once.items()]


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def day_of(second: int, zone: Any = NEW_YORK) -> str:
    return datetime.fromtimestamp(second, zone).date().isoformat()


def test_the_tutorial_counts_each_event_once(events):
    tutorial = page("docs/tutorial.md")
    for name, count in Counter(name for _, _, name, _ in events).items():
        assert f"{count:5} {name}\n" in tutorial
    sales: Counter[str] = Counter()
    for _, _, name, line in events:
        if name == "purchased":
            sales[line["product"]] += Decimal(str(line["billing amount"]))  # type: ignore[assignment]
    assert f"Decimal('{sales.total()}')" in tutorial
    for product, amount in sales.most_common(3):
        assert f"{amount:8} {product}\n" in tutorial


def test_the_tutorial_counts_days(events):
    tutorial = page("docs/tutorial.md")
    here = Counter(day_of(second) for _, second, name, _ in events if name == "purchased")
    in_utc = Counter(day_of(second, UTC) for _, second, name, _ in events if name == "purchased")
    for day in sorted(here | in_utc)[-5:]:
        assert f"{day} {in_utc[day]} {here[day]}\n" in tutorial
    (best, count), (_, second_best) = here.most_common(2)
    assert best == "2012-10-03"
    assert count > second_best
    assert f"with {count} purchases in the shop's own zone. In UTC it has {in_utc[best]}," in tutorial
    assert in_utc.most_common(1)[0][0] == "2012-10-02"


@pytest.mark.parametrize("name", ["README.md", "docs/new-york.md"])
def test_people_and_times_of_the_day_in_new_york(name, events):
    signups = [person for person, second, event, _ in events if event == "signed up" and day_of(second) == "2012-10-03"]
    assert f"({len(set(signups))}, {len(signups)})\n" in page(name)


def test_each_step_of_the_day_in_new_york_changes_the_number():
    """Each row of the page's last table, counted with that step left out and with all others."""
    files = {path.name: lines(path.name) for path in SAMPLE.iterdir()}
    aliases = [record for records in files.values() for record in records if "_p2" in record]
    everybody = names_of_people(aliases)
    of_the_day = names_of_people([alias for alias in aliases if day_of(alias["_t"]) == "2012-10-03"])
    touched = [name for name, records in files.items() if any(record["_t"] in DAY for record in records)]

    def signups(names=tuple(files), day="2012-10-03", zone=NEW_YORK):
        found = [record for name in names for record in files[name] if record.get("_n", "").lower() == "signed up"]
        return [record for record in found if day in (None, day_of(record["_t"], zone))]

    def people_and_times(found, names=everybody, once=True):
        events = [(names.get(record["_p"], record["_p"]), record["_t"], record["_n"].lower()) for record in found]
        return len({person for person, _, _ in events}), len(set(events) if once else events)

    def first_of_each_identity(found):
        return list({(record["_p"], record["_t"], record["_n"].lower()): record for record in found}.values())

    today = signups()
    answer = people_and_times(today)
    rows = {
        "the zone's day": people_and_times(signups(zone=UTC)),
        "the check that the day is all there, when a file is gone": people_and_times(
            signups(files.keys() - {"10.json"})
        ),
        "the test of each record": people_and_times(signups(touched, day=None)),
        "merging": people_and_times(today, names={}),
        "the aliases of other days": people_and_times(today, names=of_the_day),
        "filtering of duplicates": people_and_times(today, once=False),
        "their order: filtering first, merging after it": people_and_times(first_of_each_identity(today), once=False),
        "names without case": people_and_times([r for r in today if r["_n"] == "signed up"]),
    }
    table = page("docs/new-york.md").partition("| step left out |")[2]
    assert f"\n| none | **{answer[0]}** | **{answer[1]}** |\n" in table
    for step, number in rows.items():
        assert number != answer, step
        assert f"\n| {step} | {number[0]} | {number[1]} |\n" in table, (step, number)
    assert table.count("\n| ") == len(rows) + 1
    spoken = f"**{answer[0]} people signed up on 3 October in New York**, and they did it {answer[1]} times"
    assert spoken in page("docs/new-york.md")


def test_the_days_one_by_one(events):
    shown = page("docs/day-by-day.md")
    for day in ("2012-10-01", "2012-10-02", "2012-10-03"):
        start = int(datetime.fromisoformat(day).replace(tzinfo=NEW_YORK).timestamp())
        people = [person for person, second, name, _ in events if name == "signed up" and day_of(second) == day]
        assert re.search(rf"^({start}|{day}) {len(set(people))} {len(people)}$", shown, re.MULTILINE)


def test_the_money_of_the_day_in_new_york(events):
    amounts = [
        Decimal(str(line["billing amount"]))
        for _, second, name, line in events
        if name == "purchased" and day_of(second) == "2012-10-02"
    ]
    assert f"({len(amounts)}, Decimal('{sum(amounts)}'))\n" in page("docs/new-york.md")


def test_the_days_of_the_notebook(events):
    notebook = page("docs/notebook.md")
    sales: dict[str, list[Decimal]] = {}
    for _, second, name, line in events:
        if name == "purchased":
            sales.setdefault(day_of(second), []).append(Decimal(str(line["billing amount"])))
    for day, amounts in sorted(sales.items())[-5:]:
        assert re.search(rf"^{day} +{len(amounts)} +{sum(amounts)}$", notebook, re.MULTILINE)
    buyers = [person for person, _, name, _ in events if name == "purchased"]
    assert f"({len(buyers)}, {len(set(buyers))})\n" in notebook
