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

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "kmexport" / "sample" / "revisions"
OCTAL = re.compile(rb"(?:\\[0-7]{3})+")
NEW_YORK = ZoneInfo("America/New_York")


def lines() -> list[dict[str, Any]]:
    found = []
    for path in sorted(SAMPLE.iterdir(), key=lambda path: int(path.stem)):
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
    for day in here | in_utc:
        assert f"{day} {in_utc[day]} {here[day]}\n" in tutorial
    (best, count), *_ = here.most_common()
    assert best == "2012-10-02"
    assert f"with {count} purchases in the shop's own zone and {in_utc[best]} in UTC" in tutorial


@pytest.mark.parametrize("name", ["README.md", "docs/new-york.md"])
def test_people_and_times_of_the_day_in_new_york(name, events):
    signups = [person for person, second, event, _ in events if event == "signed up" and day_of(second) == "2012-10-03"]
    assert f"({len(set(signups))}, {len(signups)})\n" in page(name)


def test_the_days_of_the_recipes(events):
    recipes = page("docs/recipes.md")
    for day in ("2012-10-01", "2012-10-02", "2012-10-03"):
        start = int(datetime.fromisoformat(day).replace(tzinfo=NEW_YORK).timestamp())
        people = [person for person, second, name, _ in events if name == "signed up" and day_of(second) == day]
        assert re.search(rf"^({start}|{day}) {len(set(people))} {len(people)}$", recipes, re.MULTILINE)


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
    for day, amounts in sales.items():
        assert re.search(rf"^{day} +{len(amounts)} +{sum(amounts)}$", notebook, re.MULTILINE)
    buyers = [person for person, _, name, _ in events if name == "purchased"]
    assert f"({len(buyers)}, {len(set(buyers))})\n" in notebook
