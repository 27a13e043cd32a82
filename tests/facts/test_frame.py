"""The flat table of Facts, and the macro that reads a property in any case."""

from __future__ import annotations

import sqlite3

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kmexport import (
    Alias,
    Bucket,
    Event,
    Facts,
    IdentityMap,
    PropertySet,
    drop_duplicates,
    fold_name,
    merge_identities,
    reports,
)
from kmexport.columns.properties import as_column
from kmexport.errors import FactsLeftOutError, UnknownNameError
from tests.support.strategies import examples

RECORDS = [
    Event("bob", 5, "Purchased", {"Plan": "Pro", "plan": "x", "Amount": "12.50", "zip": "007", "ok": True, "n": 3}),
    Event("ann", 6, "visited", {"plan": 7, "amount": 3}),
    PropertySet("ann", 6, {"zip": "12"}),
]


def test_columns_have_the_narrowest_type_that_loses_nothing():
    table = Facts(RECORDS).frame(["Plan", "amount", "zip", "ok", "n"])
    assert table.columns == ["person", "time", "name", "plan", "amount", "zip", "ok", "n"]
    assert [row[0:1] + row[2:] for row in table.fetchall()] == [
        ("bob", "purchased", "Pro", 12.5, "007", True, 3),
        ("ann", "visited", "7", 3.0, "12", None, None),
    ]


def test_types_may_be_given_and_what_does_not_fit_is_null():
    types = {"amount": pa.int64(), "zip": pa.decimal128(10, 2), "plan": pa.float64(), "ok": pa.bool_(), "n": None}
    table = Facts(RECORDS).frame(types)
    shown = [str(kind) for kind in table.types[3:]]
    assert shown == ["BIGINT", "DECIMAL(10,2)", "DOUBLE", "BOOLEAN", "BIGINT"]
    assert [[None if cell is None else str(cell) for cell in row[3:]] for row in table.fetchall()] == [
        [None, "7.00", None, "True", "3"],
        ["3", "12.00", "7.0", None, None],
    ]
    with pytest.raises(
        TypeError, match=r"is string, int64, float64, bool_ or decimal128 of Arrow, not int32 \('plan'\)"
    ):
        Facts(RECORDS).frame({"plan": pa.int32()})


NUMBERS = st.text("0123456789.+-eE_ ", max_size=8) | st.integers(-(10**20), 10**20) | st.floats(-1e6, 1e6)
SPELT = ["1.005", "9007199254740993.5", "1e18", "1.0e18", "12.5e1", "1e-3", "+-1", "1_0", "99999999.999", " 7 ", "1.50"]


@settings(max_examples=examples(60))
@example(SPELT)
@given(st.lists(NUMBERS, min_size=1, max_size=30))
def test_numbers_fit_types_as_they_do_in_the_columns_of_batches(values):
    records = [Event("ann", second, "x", {"n": value}) for second, value in enumerate(values)]
    with Facts(records) as facts:
        for kind in (pa.float64(), pa.int64(), pa.decimal128(10, 2), pa.decimal128(38, 0)):
            found = facts.frame({"n": kind}).to_arrow_table()["n"].to_pylist()
            assert found == as_column(values, kind).to_pylist(), kind


@pytest.mark.parametrize("name", ["time", "", 'q"x', "~t", "a/b", "*", "n\0ul", "p0", "Straße"])
def test_any_name_of_a_property_makes_a_column(name):
    with Facts([Event("bob", 5, "x", {name: "it"})]) as facts:
        assert facts.frame(name).fetchall()[0][3:] == ("it",)
        assert facts.frame().fetchall()[0][3:] == ("it",)


def test_names_that_nobody_has_or_that_were_left_out_are_errors():
    with Facts(RECORDS) as facts:
        with pytest.raises(UnknownNameError, match=r"the property 'plam'.*'plan'"):
            facts.frame(["plam"])
        with pytest.raises(UnknownNameError, match=r"the event 'purchase'.*'purchased'"):
            facts.frame(events="purchase")
        with pytest.raises(TypeError, match="properties are strings, not 3"):
            facts.frame([3])
    with Facts(RECORDS, names=["visited"], properties=["plan"]) as facts:
        with pytest.raises(FactsLeftOutError):
            facts.frame(["zip"])
        with pytest.raises(FactsLeftOutError):
            facts.frame(events="purchased")
        assert facts.frame().fetchall()[0][2:] == ("visited", "7")
    with Facts(RECORDS, properties=False) as facts:
        assert facts.frame().columns == ["person", "time", "name"]


def test_a_frame_goes_into_pandas_parquet_sqlite_and_polars(tmp_path):
    polars = pytest.importorskip("polars")
    with Facts(Bucket.sample()) as facts:
        table = facts.frame(["billing amount", "plan"], events="purchased")
        pandas = table.df()
        table.write_parquet(str(tmp_path / "bought.parquet"))
        with sqlite3.connect(tmp_path / "bought.db") as database:
            pandas.to_sql("bought", database, index=False)
            stored = database.execute('select count(*), round(sum("billing amount"), 2) from bought').fetchone()
        database.close()
        assert stored == (92, 3157.2)
        assert pq.read_table(tmp_path / "bought.parquet").num_rows == len(table.pl()) == len(pandas) == 92
        assert isinstance(table.pl(), polars.DataFrame)
        # The amounts of a report, though some stand on a line beside the event.
        assert reports.property_total(facts, "billing amount", event="purchased").total == pytest.approx(3157.2)


def test_under_strict_an_event_shows_its_own_values():
    records = [PropertySet("bob", 5, {"plan": "Free"}), Event("bob", 5, "x", {"plan": "Pro"})]
    assert Facts(records).frame("plan").fetchall()[0][3:] == ("Free",)
    assert Facts(records, rule="strict").frame("plan").fetchall()[0][3:] == ("Pro",)


NAMES, VALUES = st.sampled_from(["Plan", "plan", "PLAN:", "n"]), st.sampled_from(["Pro", "7", 7, 1.5, True, None, ""])
PROPERTIES = st.dictionaries(NAMES, VALUES, max_size=3)
ANY_RECORDS = st.lists(
    st.builds(Event, st.sampled_from("ab"), st.integers(1, 3), st.sampled_from(["x", "Y", "y"]), PROPERTIES)
    | st.builds(PropertySet, st.sampled_from("ab"), st.integers(1, 3), PROPERTIES)
    | st.just(Alias("a", 1, "c")),
    max_size=8,
)


@settings(max_examples=examples(60))
@given(ANY_RECORDS)
def test_a_frame_shows_what_the_steps_over_records_keep(records):
    people = [record for record in records if isinstance(record, Alias)]
    kept = list(drop_duplicates(merge_identities(records, IdentityMap().update(people)), properties="once"))
    said: dict[tuple[str, int, str], object] = {}
    for record in kept:
        if not isinstance(record, Alias):
            for name, value in record.properties.items():
                if value is not None:
                    said.setdefault((record.person, record.timestamp, fold_name(name)), value)
    expected = [
        (one.person, fold_name(one.name), *(said.get((one.person, one.timestamp, name)) for name in ("n", "plan")))
        for one in sorted((one for one in kept if isinstance(one, Event)), key=lambda one: one.timestamp)
    ]
    with Facts(records) as facts:
        types = {name: pa.string() for name in ("n", "plan")}
        known = {name: kind for name, kind in types.items() if any(key[2] == name for key in said)}
        found = [(row[0], row[2], *row[3:]) for row in facts.frame(known).fetchall()]
    places = [("n", "plan").index(name) for name in known]
    shown = [(*row[:2], *(_text(row[2 + place]) for place in places)) for row in expected]
    assert sorted(found, key=str) == sorted(shown, key=str)


def _text(value: object) -> object:
    return value if value is None or isinstance(value, str) else str(value).lower()


def test_property_of_reads_a_property_in_any_case():
    with Facts(RECORDS) as facts:
        assert facts.sql("select property_of(properties, 'PLAN') from events").fetchall() == [("Pro",), ("7",)]
        assert facts.sql("select property_of(properties, 'nope') from events").fetchall() == [(None,), (None,)]
        query = "select property_of(properties, 'zip') from records where kind = 'property_set'"
        assert facts.sql(query).fetchall() == [("12",)]


@pytest.mark.parametrize("name", ["", "a/b", "~t", "a~1b", '"', "*", "$.x"])
def test_property_of_takes_any_name(name):
    with Facts([Event("bob", 5, "x", {name: "it", f"{name} ": "other"})]) as facts:
        assert facts.sql("select property_of(properties, ?) from events", [name]).fetchall() == [("it",)]


def test_columns_of_a_frame_have_different_names():
    properties = {"time": 1, "time (property)": 2, "": 3, "(no name)": 4, "n\0ul": 5, "n\ufffdul": 6, "name": 7}
    with Facts([Event("bob", 5, "x", properties)]) as facts:
        for asked in (None, list(properties)):
            table = facts.frame(asked)
            assert len(set(table.columns)) == len(table.columns) == 3 + len(properties)
            assert sorted(table.fetchall()[0][3:]) == [1, 2, 3, 4, 5, 6, 7]
        assert facts.frame(["time", "name"]).columns[3:] == ["time (property)", "name (property)"]
        assert set(facts.frame().df().columns) == set(facts.frame().columns)


@pytest.mark.parametrize("digits", [(5, -2), (3, 5)])
def test_a_decimal_that_no_column_holds(digits):
    with pytest.raises(ValueError, match=r"a scale from 0 to its precision, not decimal128\(.*\) \('Amount'\)"):
        Facts(RECORDS).frame({"Amount": pa.decimal128(*digits)})


def test_half_a_surrogate_pair_in_names():
    half = "ha\ud800"
    records = [Event("a", 1, "e", {half: "v\ud800"})]
    for limits in ({}, {"properties": [half]}, {"properties": [half, "plan"], "rule": "strict"}):
        with Facts(records, **limits) as facts:
            table = facts.frame([half])
            assert table.columns[3:] == ["ha\\ud800"]
            assert table.fetchall()[0][3:] == ("v\\ud800",)
            with pytest.raises(UnknownNameError):
                facts.frame(events=half)
            found = reports.event_counts(facts, "e", by=half)
            assert found == reports.event_counts(records, "e", by=half)
            assert found.to_arrow().column_names[0] == found.df().columns[0] == found.pl().columns[0] == "ha\\ud800"
            assert found._repr_html_().isascii()
            with pytest.raises(UnknownNameError):
                reports.event_counts(facts, half)


def test_properties_that_were_left_out():
    with Facts(RECORDS, properties=False) as facts, pytest.raises(FactsLeftOutError, match="properties=False"):
        facts.frame(["plan"])
