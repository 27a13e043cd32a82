"""The ten questions of an analyst: short answers, and right ones, counted again in plain Python."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from kmexport import Bucket, Event, Facts, Window, drop_duplicates, fold_name, merge_identities
from tests.contracts.test_databases import ask_postgres
from tests.support.pages import ROOT, blocks

PAGE = ROOT / "docs" / "ten-questions.md"


@pytest.fixture(scope="module")
def events():
    bucket = Bucket.sample()
    records = drop_duplicates(merge_identities(bucket.iter_records(), bucket.identities()))
    return [record for record in records if isinstance(record, Event)]


def test_each_answer_has_at_most_ten_lines():
    sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert [section.partition(".")[0] for section in sections] == [str(number) for number in range(1, 11)]
    for section in sections:
        lines = [line for line in section.splitlines() if line.startswith((">>> ", "... "))]
        assert 1 <= len(lines) <= 10, section.splitlines()[0]


def test_sign_ups_sessions_and_buyers_are_those_of_plain_python(events):
    text = PAGE.read_text(encoding="utf-8")
    day = Window.day("2012-10-03", tz="America/New_York")
    signups = [event for event in events if fold_name(event.name) == "signed up" and event.timestamp in day]
    assert f"2012-10-03      {len({event.person for event in signups})}     {len(signups)} " in text
    times: dict[str, list[int]] = {}
    for event in events:
        times.setdefault(event.person, []).append(event.timestamp)
    sessions = sum(
        1 + sum(later - earlier > 1800 for earlier, later in pairwise(ordered))
        for ordered in map(sorted, times.values())
    )
    assert f"[({sessions},)]" in text
    spent: dict[str, float] = {}
    for event in events:
        if fold_name(event.name) == "purchased":
            spent[event.person] = spent.get(event.person, 0) + float(event.properties["billing amount"])
    top = sorted(spent.items(), key=lambda entry: (-round(entry[1], 2), entry[0]))[:2]
    assert repr([(name, round(amount, 2)) for name, amount in top]) in text


@pytest.mark.xdist_group("databases")
def test_the_flat_table_goes_into_postgres(postgres):
    code = next(text for language, text in blocks(PAGE) if language == "python")
    page: dict[str, object] = {}
    exec(compile(code, str(PAGE), "exec"), page)
    with Facts(Bucket.sample()) as facts:
        table = facts.frame(["product", "billing amount"], events="purchased")
        page["load"](table, postgres)  # type: ignore[operator]
        page["load"](table, postgres)  # type: ignore[operator]
    query = 'select count(*), round(sum("billing amount")::numeric, 2)::text from purchases'
    assert ask_postgres(postgres, query) == [(92, "3157.20")]
