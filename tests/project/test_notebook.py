"""The notebook of the docs runs from a clean kernel, top to bottom, and gives the numbers of the steps over records."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from kmexport import Bucket, Event, Window, drop_duplicates, in_window, merge_identities
from kmexport.format.names import fold_name
from tests.support import report_model

NOTEBOOK = Path(__file__).parents[2] / "docs" / "five-questions.ipynb"
NEW_YORK = "America/New_York"
WEEKS = Window.days("2012-09-03", "2012-10-07", tz=NEW_YORK)
STEPS = ["visited site", "signed up", "added to cart", "purchased"]


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """The outputs of each code cell, by the first line of its code."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "outputs are made by the docs, not kept"
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(tmp_path_factory.mktemp("notebook")))
    return {cell.source.splitlines()[0]: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}


@pytest.fixture(scope="module")
def records():
    bucket = Bucket.sample()
    return list(drop_duplicates(merge_identities(bucket.iter_records(), bucket.identities())))


def text_of(cells, start):
    [outputs] = [outputs for first, outputs in cells.items() if first.startswith(start)]
    return "\n".join(output["data"].get("text/plain", "") for output in outputs if "data" in output)


def table_of(cells, start):
    """The rows of a printed table: their first cell and their numbers."""
    rows = re.findall(r"^  (.*?) {2,}([\d,. %-]+)$", text_of(cells, start), re.MULTILINE)
    return {name: re.findall(r"[\d,.]+", numbers) for name, numbers in rows}


def of_event(records, name, window=WEEKS):
    return [r for r in in_window(records, window) if isinstance(r, Event) and fold_name(r.name) == name]


@pytest.mark.slow
def test_sign_ups_a_day(cells, records):
    table = table_of(cells, "signups =")
    people = []
    for day in range(1, 6):
        date = f"2012-10-0{day}"
        events = of_event(records, "signed up", Window.day(date, tz=NEW_YORK))
        people.append(len({event.person for event in events}))
        assert table[date][:2] == [str(people[-1]), str(len(events))]
    assert (min(people), max(people)) == (10, 17)
    assert "Ten to seventeen people a day" in NOTEBOOK.read_text(encoding="utf-8")


def test_where_they_are_lost(cells, records):
    table = table_of(cells, "steps =")
    model = report_model.funnel(records, STEPS, WEEKS, NEW_YORK)
    visited, signed_up, carted, purchased = (len(people) for people in model[None])
    assert [int(table[step][0]) for step in STEPS] == [visited, signed_up, carted, purchased]
    assert text_of(cells, "abandoned =").startswith(f"({carted - purchased},")
    assert visited > signed_up > carted > purchased > carted / 2, "each bar is lower; more than half buy"
    page = NOTEBOOK.read_text(encoding="utf-8")
    assert f"{visited - signed_up} of {visited} are not in step 2" in page
    ever = {event.person for event in of_event(records, "signed up", Window(0, 2**40))}
    visitors = {event.person for event in of_event(records, "visited site")}
    assert f"{len(visitors - ever)} never signed up" in page


def test_who_comes_back(cells, records):
    table = table_of(cells, "retention =")
    model = report_model.cohorts(records, "visited site", "visited site", WEEKS, "week", tz=NEW_YORK)
    assert len(model) == 5
    for cohort, (people, buckets) in model.items():
        assert [int(number) for number in table[cohort]] == [
            len(people), *(len(buckets.get(week, ())) for week in range(len(table[cohort]) - 1))
        ]  # fmt: skip
        if cohort < "2012-10":
            assert 0.45 < len(buckets[0]) / len(people) < 0.6, "about half came again within a week"


def test_what_they_pay(cells, records):
    table = table_of(cells, "revenue =")
    amounts = [float(event.properties["billing amount"]) for event in of_event(records, "purchased")]
    assert sum(float(row[0].replace(",", "")) for row in table.values()) == pytest.approx(sum(amounts))
    assert sum(int(row[1]) for row in table.values()) == len(amounts)
    per_person = {plan: float(row[-1]) for plan, row in table.items()}
    assert max(per_person, key=per_person.__getitem__) == "None"
    assert per_person["Free"] <= per_person["Pro"]
    assert "average_per_person" in text_of(cells, "revenue.df()")


def test_where_they_came_from(cells, records):
    first = {}
    for event in sorted(of_event(records, "visited site", Window(0, 2**40)), key=lambda event: event.timestamp):
        first.setdefault(event.person, event.properties["referrer"])
    table = table_of(cells, "referrers =")
    for referrer in ("www.bing.com", "twitter.com"):
        assert table[referrer] == [str(list(first.values()).count(referrer))]
    rates = table_of(cells, "conversion =")
    for referrer, (denominator, numerator) in report_model.conversion(
        records, "visited site", "purchased", WEEKS, ("referrer", "last_touch")
    ).items():
        if referrer:
            assert rates[referrer][:2] == [str(len(numerator)), str(len(denominator))]
    assert rates["www.bing.com"][1] == "16"
    assert max(rates, key=lambda referrer: float(rates[referrer][2])) == "www.google.com"


def test_the_pictures_are_there(cells):
    pictures = [
        output["data"]["image/png"]
        for outputs in cells.values()
        for output in outputs
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 6
    assert all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)
