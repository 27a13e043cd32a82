"""One page of several results, tables for pandas and Polars, and lists of people that go with a result."""

from __future__ import annotations

import logging
import re
import sys

import matplotlib as mpl
import pandas as pd
import polars as pl
import pytest
from matplotlib import pyplot as plt

from kmexport import Bucket, Event, Facts, Window, mirror, reports
from kmexport.errors import LakeNotFoundError, UnknownNameError
from kmexport.reports import Show, did
from kmexport.testing import BROKEN_LINES, write_export

mpl.use("Agg")

ODD = '<script>alert("1")</script> 😀'
WINDOW = Window.days("2012-10-01", "2012-10-05", "America/New_York")


@pytest.fixture(scope="module")
def facts():
    with Facts(Bucket.sample()) as facts:
        yield facts


def test_a_page_holds_tables_pictures_and_words(facts):
    funnel = reports.funnel(facts, ["visited site", "purchased"], WINDOW)
    coverage = Bucket.sample().coverage(WINDOW)
    text = reports.page(["How many buy?", funnel, coverage], title="A & B")
    assert text.isascii()
    assert "<title>A &amp; B</title>" in text
    assert text.count("<section>") == 3
    assert text.count('src="data:image/svg+xml;base64,') == 1
    assert "<table>" in text
    assert reports.page([funnel], pictures=False).count("<img") == 0
    assert "matplotlib" not in text
    with pytest.raises(TypeError, match="DataFrames and figures, not of int"):
        reports.page([3])
    for one in (funnel, "some words", 3):
        with pytest.raises(TypeError, match=r"a list of results, not of one (Funnel|str|int): put it into \[ \]"):
            reports.page(one)


def test_a_page_holds_reports_of_your_own(facts):
    relation = facts.sql("select name, count(*) as times, null as nothing from events group by name order by times")
    page = reports.page([relation, relation])  # asked again, it gives the same
    assert page.count("<tr><th>name</th><th>times</th><th>nothing</th></tr>") == 2
    assert page.count("<tr><td>viewed product</td><td>542</td><td>-</td></tr>") == 2
    assert "the first 200 rows" not in page
    long = reports.page([facts.sql("select line from events order by line limit 201")])
    assert (long.count("<td>"), "the first 200 rows" in long) == (200, True)
    assert "<table" in reports.page([relation.df()])
    figure, axes = plt.subplots()
    axes.set_title("a < b")
    assert reports.page([axes, figure]).count('src="data:image/svg+xml;base64,') == 2
    assert 'alt="a &lt; b"' in reports.page([axes])
    assert plt.fignum_exists(figure.number), "a picture of the caller's stays open"
    plt.close(figure)


def test_a_picture_goes_into_axes_and_not_into_a_file(facts):
    with pytest.raises(TypeError, match=r"not into 'days.png': .plot\(\).figure.savefig"):
        reports.event_counts(facts, "signed up").plot("days.png")


def test_a_name_of_the_other_kind_is_told(facts):
    for report, name, note in (
        (reports.event_counts, "Plan", "'Plan' is a property; this takes an event."),
        (
            reports.property_total,
            "purchased",
            "'purchased' is an event; this takes a property.",
        ),
    ):
        for source in (facts, Bucket.sample()):
            with pytest.raises(UnknownNameError) as caught:
                report(source, name)
            assert caught.value.__notes__ == [note]
    with Facts(Bucket.sample(), properties=False) as less, pytest.raises(UnknownNameError, match="shows what there is"):
        reports.event_counts(less, "Plan")


def test_names_on_a_page_are_escaped():
    result = reports.event_counts([Event("a", 1, ODD)], ODD)
    with Facts([Event("a", 1, ODD)]) as odd:
        text = reports.page([ODD, result, odd.sql('select name, name as "<script>" from events')], title=ODD)
    assert "<script" not in text
    assert re.search(r'alt="[^"]*&lt;script&gt;', text)


def test_every_result_goes_into_pandas_and_polars(facts):
    counts = reports.event_counts(facts, "signed up", WINDOW, every="day")
    frame, polars = counts.df(), counts.pl()
    assert isinstance(frame, pd.DataFrame)
    assert isinstance(polars, pl.DataFrame)
    assert list(frame.columns) == polars.columns == ["day", "people", "times", "average"]
    assert frame["people"].sum() == polars["people"].sum() == sum(row.people for row in counts.rows)


@pytest.mark.parametrize(("library", "method"), [("pandas", "df"), ("polars", "pl")])
def test_without_the_library_of_a_frame(facts, monkeypatch, library, method):
    monkeypatch.setitem(sys.modules, library, None)
    counts = reports.event_counts(facts, "signed up", WINDOW)
    with pytest.raises(ImportError, match=f"pip install {library}$"):
        getattr(counts, method)()


def test_people_of_a_result_come_with_their_latest_properties(facts):
    funnel = reports.funnel(facts, ["visited site", "purchased"], WINDOW)
    dropped = funnel.people_of("purchased", dropped=True)
    listed = reports.people(facts, dropped, columns=["city", Show("times", "visited site")])
    assert listed.people_of() == dropped
    assert listed.columns == ("city: last value", "visited site: times")
    everyone = reports.people(facts, did("visited site"), columns=[Show("last_value", "city")])
    known = dict(row for row in everyone.rows)
    assert all(row[1] == known[row[0]] for row in listed.rows)
    assert reports.people(facts, ["nobody"], columns=["city"]).rows == (("nobody", None),)
    assert reports.people(facts, [], columns=["city"]).rows == ()
    of_bucket = reports.people(Bucket.sample(), dropped[:3], columns=["city"])
    assert [row[:2] for row in of_bucket.rows] == [row[:2] for row in listed.rows[:3]]
    with pytest.raises(TypeError, match="or a list of persons, not 'bob'"):
        reports.people(facts, "bob")


def test_rejected_lines_are_told_once(tmp_path, caplog):
    records = [Event(f"p{second}", 1349222400 + second, "x") for second in range(3)]
    bucket = write_export(tmp_path, {1: [records[0], BROKEN_LINES["cut off"]], 2: records[1:]})
    with caplog.at_level(logging.WARNING, "kmexport"):
        reports.event_counts(bucket, "x", on_error="skip")
        reports.event_counts(bucket, "x", on_error="skip")
        assert [record.getMessage() for record in caplog.records] == [
            "facts: 1 lines were rejected; the table rejects has them"
        ]
        caplog.clear()
        explained = reports.explain(bucket, "x", "2012-10-03")
        assert explained.notes == ("1 line is no record, and left out",)
        assert [record.getMessage() for record in caplog.records] == ["explain: 1 line is no record, and left out"]


def test_an_address_may_be_that_of_an_export(tmp_path, caplog):
    mirror(Bucket.sample(), tmp_path / "export")
    with caplog.at_level(logging.INFO, "kmexport"), Facts(tmp_path / "export") as facts:
        assert "Facts read an export" in caplog.text
        assert facts.sql("select count(*) from events where name = 'signed up'").fetchall() == [(154,)]
    assert reports.event_counts(str(tmp_path / "export"), "signed up").times == 154
    with pytest.raises(LakeNotFoundError, match="there is no table records"):
        Facts(tmp_path / "nothing")


def test_axes_of_counts_tick_in_round_numbers(facts):
    axes = reports.funnel(facts, ["visited site", "purchased"]).plot()
    ticks = axes.yaxis.get_major_locator().tick_values(0, 230)
    assert all(tick == int(tick) for tick in ticks)
    assert str(int(ticks[1] - ticks[0])).rstrip("0") in ("1", "2", "5")
