from __future__ import annotations

import gc
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from decimal import Decimal
from typing import ClassVar
from unittest import mock

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmexport import (
    Alias,
    Bucket,
    Event,
    Facts,
    FactsLeftOutError,
    FactsMemoryError,
    IdentityMap,
    MalformedRecordError,
    PropertySet,
    UnknownNameError,
    Window,
    in_window,
    reports,
)
from kmexport.facts import duplicates
from kmexport.format.names import fold_name
from kmexport.tables import SCHEMA, from_records, to_records
from kmexport.testing import write_export
from tests.support import export_model as model
from tests.support.strategies import PROPERTIES, TEXT, examples


def half_as_text(value):
    """What Facts make of half a surrogate pair: the text of its escape."""
    if type(value) is str:  # the digits of numbers are a text of their own class
        return "".join(f"\\u{ord(c):04x}" if 0xD800 <= ord(c) < 0xE000 else c for c in value)
    if isinstance(value, list):
        return [half_as_text(item) for item in value]
    if isinstance(value, dict):
        return {half_as_text(name): half_as_text(item) for name, item in value.items()}
    return value


def as_model(records):
    """Records, or those of a bucket, as those of the model: dicts, with numbers as their digits."""
    batches = records.to_batches() if isinstance(records, Bucket) else from_records(records, on_error="skip")
    rows = batches.read_all().to_pylist()
    keys = ("kind", "person", "name", "alias", "revision", "line")
    return [
        {key: row[key] for key in keys}
        | {"time": int(row["time"].timestamp()), "properties": half_as_text(model.DECODER.decode(row["properties"]))}
        for row in rows
    ]


def expected(records, people, rule, window=None):
    """The rows of events and properties, by the model."""
    records = as_model(records if window is None else in_window(records, window))
    kept = model.RULES[rule]([one | {"person": people.resolve(one["person"])} for one in records])
    events = [(*row[:4], model.spell(row[6])) for row in model.table_of_events(kept)]
    properties = [(*row[:4], model.spell(row[4]), *row[6:8]) for row in model.table_of_properties(kept)]
    return Counter(events), Counter(properties)


SECONDS_OF = "epoch_us(time) // 1000000"


def found(facts):
    columns = f"person, {SECONDS_OF}, name, name_as_sent"
    events = facts.sql(f"select {columns}, properties from events").fetchall()
    rows = facts.sql(f"select {columns}, value, number, event from properties").fetchall()
    return (
        Counter((*row[:4], tree(row[4])) for row in events),
        Counter((*row[:4], tree(row[4]), *row[5:]) for row in rows),
    )


def tree(text):
    """JSON text in a form that is equal for the same values with the same digits in the same order."""
    return model.spell(model.DECODER.decode(text))


def agree(records, rule="classic", window=None, **options):
    people = IdentityMap().update(records)
    with Facts(iter(records), rule=rule, window=window, **options) as facts:
        assert found(facts) == expected(records, people, rule, window)


SIGNED_UP = Event("bob", 1349222400, "signed up", {"plan": "Pro"})
RULES = pytest.mark.parametrize("rule", ["classic", "strict"])
FEW = st.sampled_from
SECONDS = FEW([1, 2, 3])
PEOPLE = FEW(["a", "b", "c", "d", "bob@example.com", ""])
NAMES = FEW(["x", "X", "y:", "Y,", "", "p"])
KEYS = FEW(
    ["p", "P", "q:", "Q ", "_d", "_c", "person", "revision", "value", "", "*", "a.b", 'a"b', "a'b", "a[0]", "/", "~"]
)
LITTLE = FEW([1, 1.0, "1", True, None, [1], {"b": 1, "a": 2}, {"a": 2, "b": 1}, "é", 10**30])
BAGS = st.dictionaries(KEYS, LITTLE, max_size=4)
CROWDED = st.one_of(
    st.builds(Event, PEOPLE, SECONDS, NAMES, BAGS),
    st.builds(PropertySet, PEOPLE, SECONDS, BAGS),
    st.builds(Alias, PEOPLE, SECONDS, PEOPLE, BAGS),
)
WINDOWS = st.one_of(
    st.none(), st.builds(lambda start, length: Window(start, start + length), st.integers(0, 3), SECONDS)
)


@RULES
@given(st.lists(CROWDED, max_size=14), WINDOWS, st.booleans())
@settings(max_examples=examples(30))
@pytest.mark.slow
def test_the_same_rows_as_the_steps_over_objects(rule, records, window, is_large):
    with mock.patch.object(duplicates, "_MOST_DELETED_OF", -1 if is_large else 100):
        agree(records, rule, window)


NO_HALF = TEXT.filter(lambda text: not any(0xD800 <= ord(c) < 0xE000 for c in text))
HOSTILE = st.one_of(
    st.builds(Event, NO_HALF, SECONDS, NO_HALF, PROPERTIES),
    st.builds(PropertySet, NO_HALF, SECONDS, PROPERTIES),
    st.builds(Alias, NO_HALF, SECONDS, NO_HALF, PROPERTIES),
)


@RULES
@given(st.lists(HOSTILE, max_size=5))
@settings(max_examples=examples(20))
@pytest.mark.slow
def test_hostile_text_and_values_agree_too(rule, records):
    agree([*records, *records], rule)


@RULES
@pytest.mark.parametrize("most_deleted_of", [-1, 1_000_000])
def test_the_sample(rule, most_deleted_of, monkeypatch):
    monkeypatch.setattr(duplicates, "_MOST_DELETED_OF", most_deleted_of)
    bucket = Bucket.sample()
    with Facts(bucket, rule=rule) as facts:
        assert found(facts) == expected(bucket.iter_records(), bucket.identities(), rule)
    day = Window.day("2012-10-03", tz="America/New_York")
    with Facts(bucket, rule=rule, window=day) as facts:
        assert found(facts) == expected(bucket.iter_records(), bucket.identities(), rule, day)


def test_the_first_query_reads_everything_once():
    records = iter([SIGNED_UP, Event("bob", 1349222400, "Signed Up", {"Plan": "Free", "city": "Lima"})])
    with Facts(records) as facts:
        assert repr(facts) == "<Facts: nothing read yet>"
        facts.sql("set threads = 1")
        assert repr(facts) == "<Facts: nothing read yet>"
        assert facts.sql("select count(*) from events").fetchall() == [(1,)]
        assert repr(facts) == (
            "<Facts: 2 records, 1 identities, 1 events, 2 properties, 0 rejects; duplicates: 1 events, 1 properties>"
        )
        assert facts.sql("select name, text, event from properties order by name").fetchall() == [
            ("city", "Lima", None),
            ("plan", "Pro", "signed up"),
        ]


def test_an_unknown_name_is_duckdbs_error_before_anything_is_read():
    def never():
        raise AssertionError
        yield

    facts = Facts(never())
    with pytest.raises(duckdb.CatalogException, match="evnts"):
        facts.sql("select * from evnts")
    with pytest.raises(duckdb.BinderException, match="plan"):
        facts.sql("select plan from events")
    with pytest.raises(AssertionError):
        facts.sql("select person from events")
    with pytest.raises(ValueError, match="read only once"):
        facts.sql("select person from events")


def test_a_stream_is_not_read_again_after_a_failure_at_the_end(monkeypatch):
    facts = Facts(iter([SIGNED_UP]))
    monkeypatch.setattr("kmexport.facts.duplicates._NOT_KEPT", "select no_such_column")
    with pytest.raises(duckdb.BinderException):
        facts.build()
    monkeypatch.undo()
    with pytest.raises(ValueError, match="read only once"):  # never facts without records
        facts.sql("from events")
    again = Facts(Bucket.sample())
    monkeypatch.setattr("kmexport.facts.duplicates._NOT_KEPT", "select no_such_column")
    with pytest.raises(duckdb.BinderException):
        again.build()
    monkeypatch.undo()
    assert again.sql("select count(*) from records").fetchall() == [(2000,)]


def test_two_spellings_in_one_record_are_one_property():
    twice = {"Amount": 10, "amount": 20, "_d": 1, "_D": 2}
    for record in (Event("ana", 100, "purchased", twice), PropertySet("ana", 100, twice)):
        for rule in ("classic", "strict"):
            with Facts([record], rule=rule) as facts:
                rows = facts.sql("select name, name_as_sent, number from properties order by name").fetchall()
                assert rows == [("_d", "_D", 2), ("amount", "Amount", 10)]
                assert facts.sql("select properties->>'amount' from records").fetchall() == [("20",)]
    with Facts([Event("ana", 100, "purchased", twice), Event("bob", 100, "purchased", {"amount": 10})]) as facts:
        total = reports.property_total(facts, "amount")
        assert (total.total, total.values) == (20, 2)


HALF = Event("bob", 1, "x\ud83d")
LINES = [b'{"_p":"a","_t":1,"_n":"x"}', b'{"_p":"a"', b'{"_p":"b","_t":1,"_n":"x"}', b'{"_p":"c","_t":"soon"}']


def test_what_is_rejected_is_raised_or_kept_in_a_table(tmp_path):
    bucket = write_export(tmp_path / "shop", {7: LINES[:2], 9: LINES[2:]})
    with Facts(bucket) as facts, pytest.raises(MalformedRecordError, match=r"revisions/7\.json, line 2") as caught:
        facts.sql("from events")
    assert 'where the export is named: Facts(bucket, on_error="skip")' in caught.value.__notes__[0]
    errors = []
    for policy in ("skip", errors.append):
        with Facts(bucket, on_error=policy) as facts:
            assert facts.sql("select count(*) from events").fetchall() == [(2,)]
            facts.build()  # the second reading, for the properties
            assert facts.sql("select revision, line, raw from rejects order by all").fetchall() == [
                (7, 2, LINES[1]),
                (9, 2, LINES[3]),
            ]
            assert "_t is" in facts.sql("select reason from rejects where revision = 9").fetchall()[0][0]
    assert [(error.source, error.line_number) for error in errors] == [("revisions/7.json", 2), ("revisions/9.json", 2)]


def test_half_a_surrogate_pair_is_rejected_where_no_text_can_hold_it():
    with Facts([HALF]) as facts, pytest.raises(MalformedRecordError, match="name holds half"):
        facts.sql("from events")
    with Facts([HALF, SIGNED_UP], on_error="skip") as facts:
        assert facts.sql("select line, reason from rejects").fetchall() == [
            (1, "name holds half of a surrogate pair, which no column of text can hold")
        ]
        assert facts.sql("select count(*) from events").fetchall() == [(1,)]


def test_half_a_surrogate_pair_fails_no_query_over_properties():
    halves = [Event("bob", 1, "x", {"a": "\ud83d", "b": "😀", "c": "\\ud83d", "\udc00": 1}), SIGNED_UP]
    with Facts(halves) as facts:
        assert facts.sql("select properties->>'a', properties->>'b', properties->>'c' from events").fetchall() == [
            ("\\ud83d", "😀", "\\ud83d"),
            (None, None, None),
        ]
        assert list(to_records(facts.sql("from records").arrow())) == halves


def test_a_window_limits_records_and_never_aliases(tmp_path):
    records = [Event("anonymous", 5, "x"), Event("anonymous", 15, "x"), Alias("anonymous", 25, "bob@example.com")]
    bucket = write_export(tmp_path / "shop", {1: records[:2], 2: records[2:], 3: [Event("eve", 99, "y"), b"broken"]})
    for source in (records, iter(records), from_records(records), from_records(records).read_all()):
        with Facts(source, window=Window(10, 20)) as facts:
            assert facts.sql("select person, epoch(time) from events").fetchall() == [("bob@example.com", 15)]
            assert facts.sql("select count(*) from records").fetchall() == [(1,)]
    errors = []
    with Facts(bucket, window=Window(10, 20), on_error=errors.append) as facts:
        assert facts.sql("select person from events").fetchall() == [("bob@example.com",)]
        assert sorted(facts.sql("from people").fetchall()) == [
            ("anonymous", "bob@example.com"),
            ("bob@example.com", "bob@example.com"),
        ]
        assert facts.people.resolve("anonymous") == "bob@example.com"


def test_people_may_be_given_or_named_by_another_policy():
    records = [Event("bob@example.com", 1, "x"), Event("10017", 1, "x"), Alias("10017", 1, "bob@example.com")]
    people = IdentityMap().update([Alias("10017", 1, "carol@example.com")])
    with Facts(records, prefer="numeric_first") as facts:
        assert facts.sql("select distinct person from events").fetchall() == [("10017",)]
        assert facts.people.resolve("bob@example.com") == "10017"
    with Facts(records, identities=people) as facts:
        assert sorted(facts.sql("select person from events").fetchall()) == [
            ("bob@example.com",),
            ("carol@example.com",),
        ]
        assert facts.people is people


NUMBERS = [7, 7.5, "12.50", " 7 ", "-1e3", True, None, "seven", "", "1_000", "nan", "inf", "Infinity", "0x1F", [7],
           Decimal("1e400"), 10**30, "1,5", "+5", ".5", "5.", "+-1"]  # fmt: skip


def test_number_is_there_where_a_value_is_one_or_reads_as_one():
    records = [Event("a", second, "x", {"v": value}) for second, value in enumerate(NUMBERS)]
    with Facts(records) as facts:
        numbers = [number for (number,) in facts.sql("select number from properties order by time").fetchall()]
        texts = [text for (text,) in facts.sql("select text from properties order by time").fetchall()]
    assert numbers == [7, 7.5, 12.5, 7, -1000, *[None] * 10, 1e30, None, 5, 0.5, 5, None]
    assert texts == ["7", "7.5", "12.50", " 7 ", "-1e3", "true", "seven", "", "1_000", "nan", "inf", "Infinity",
                     "0x1F", "[7]", "1E+400", str(10**30), "1,5", "+5", ".5", "5.", "+-1"]  # fmt: skip


def test_a_number_is_one_however_its_characters_are_escaped():
    lines = [rb'{"_p":"a","_t":1,"v":"1\u005f0"}', rb'{"_p":"a","_t":2,"v":"\u0031"}']
    with Facts(write_export("memory://spelt", {1: lines})) as facts:
        assert facts.sql("select text, number from properties order by time").fetchall() == [("1_0", None), ("1", 1)]


def test_what_an_event_carries():
    records = [
        Event("bob", 1349222400, "Signed, Up", {"Plan": "Pro", "_d": 1}),
        PropertySet("bob", 7, {"city": "Lima"}),
    ]
    with Facts(records) as facts:
        assert facts.sql("from events").fetchall() == [
            ("bob", records[0].time, "signed  up", "Signed, Up", None, None, '{"Plan":"Pro","_d":1}')
        ]
        assert facts.sql("select name, name_as_sent, value, text, event from properties order by time").fetchall() == [
            ("city", "city", '"Lima"', "Lima", None),
            ("plan", "Plan", '"Pro"', "Pro", "signed  up"),
        ]
        assert facts.sql("from records").columns == SCHEMA.names


def test_every_kind_of_statement(tmp_path):
    with Facts([SIGNED_UP]) as facts:
        assert facts.sql("explain analyze select * from properties").fetchall()
    for query, answer in [
        ("pivot events on name using count(*) group by person", [("bob", 1)]),
        ("create temp table t as select name from events; select * from t", [("signed up",)]),
        ("create view v as select properties from events; select * from v", [('{"plan":"Pro"}',)]),
        ("create macro m(x) as (select count(*) from events where name = x); select m('signed up')", [(1,)]),
        ("with e as (from events) select count(*) from (select distinct * from e)", [(1,)]),
        ("select (events).properties from events", [('{"plan":"Pro"}',)]),
        ("prepare p as select count(properties) from events; execute p", [(1,)]),
    ]:
        with Facts([SIGNED_UP]) as facts:
            assert facts.sql(query).fetchall() == answer, query
    with Facts([SIGNED_UP]) as facts:
        facts.sql("set threads = 1")
        with pytest.raises(ValueError, match="no statement"):
            facts.sql(" ; ")
        facts.sql(f"copy (select person from events) to '{tmp_path}/people.csv'")
        assert (tmp_path / "people.csv").read_text(encoding="utf-8") == "person\nbob\n"
        assert facts.sql("select name from events where name = $n and person = $p", {"n": "signed up", "p": "bob"})
        assert facts.sql("from events").arrow().read_all().num_rows == 1


@pytest.mark.parametrize("begin", ["begin; select count(*) from events", "begin"])
def test_a_transaction_takes_no_table_away(begin):
    with Facts([SIGNED_UP]) as facts:
        facts.sql(begin)
        assert facts.sql("select count(*) from events").fetchall() == [(1,)]
        facts.sql("rollback")
        assert facts.sql("select count(*) from events").fetchall() == [(1,)]


def test_no_variable_of_the_callers_is_a_table():
    visitors = from_records([SIGNED_UP]).read_all()
    with Facts([SIGNED_UP]) as facts, pytest.raises(duckdb.CatalogException, match="visitors"):
        facts.sql("select * from visitors")
    assert visitors.num_rows == 1


def test_cursors_share_the_tables_between_threads():
    with Facts(Bucket.sample()) as facts, ThreadPoolExecutor(4) as pool:
        queries = ["select count(*) from events", "select count(*) from properties", "select count(*) from records"] * 4

        def ask(query):
            with facts.cursor() as mine:
                return mine.sql(query).fetchall()[0][0]

        answers = list(pool.map(ask, queries))
    with Facts(Bucket.sample()) as facts:
        expected = [facts.sql(query).fetchall()[0][0] for query in queries[:3]]
    assert expected[2] == 2000
    assert answers == expected * 4


def test_it_shows_its_tables_escaped():
    with Facts([SIGNED_UP]) as facts:
        assert "not read yet" in facts._repr_html_()
        facts.build()
        assert "<td>events</td><td>1</td>" in facts._repr_html_()


def test_a_file_keeps_them(tmp_path):
    path = tmp_path / "shop.duckdb"
    with Facts([SIGNED_UP], database=path) as facts:
        facts.build()
    with duckdb.connect(str(path), read_only=True) as connection:
        assert connection.sql("select person, name, text from properties").fetchall() == [("bob", "plan", "Pro")]


def test_closed_facts_say_so():
    facts = Facts([SIGNED_UP]).build()
    other = facts.cursor()
    facts.close()
    assert repr(facts) == repr(other) == "<Facts: closed>"
    assert "closed" in facts._repr_html_()
    asks = [lambda: facts.sql("from events"), lambda: other.sql("from events"), facts.cursor, facts.build]
    for ask in [*asks, lambda: facts.people]:
        with pytest.raises(ValueError, match="these facts are closed"):
            ask()
    facts.close()


@pytest.mark.parametrize("database", ["", "s3://bob:secret@acme/facts.duckdb"])
def test_a_database_is_a_file_of_this_machine(database):
    with pytest.raises(ValueError, match="a file on this machine") as caught:
        Facts([SIGNED_UP], database=database)
    assert "secret" not in str(caught.value)


def test_closing_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    facts = Facts([SIGNED_UP]).build()
    facts.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="memory_limit"):
        Facts([SIGNED_UP], memory_limit="a lot")
    Facts([SIGNED_UP])
    gc.collect()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("source", "options", "error", "why"),
    [
        ([], {"rule": "loose"}, ValueError, "rule is"),
        ([], {"on_error": "ignore"}, ValueError, "on_error"),
        ([], {"prefer": "shortest"}, ValueError, "prefer"),
        ([], {"window": "2012-10-03"}, TypeError, "Window"),
        ([], {"identities": {}}, TypeError, "IdentityMap"),
        ([], {"names": 7}, TypeError, "names are strings"),
        ([], {"names": [7]}, TypeError, "names are strings, not 7"),
        ([], {"properties": [None]}, TypeError, "properties are strings, not None"),
        (b"s3://shop", {}, TypeError, "a Bucket, a lake"),
        ([], {"threads": 0}, ValueError, "threads is a whole number, 1 or more, not 0"),
        ([], {"threads": 1.5}, ValueError, "threads is a whole number, 1 or more, not 1.5"),
        ([], {"threads": True}, ValueError, "threads is a whole number"),
        ([], {"memory_limit": "-1"}, ValueError, "memory_limit is a number and its unit"),
        ([], {"memory_limit": "0 GB"}, ValueError, "memory_limit is a number and its unit"),
        ([], {"memory_limit": "4 lots"}, ValueError, "memory_limit is a number and its unit"),
        ([], {"memory_limit": 4_000_000}, ValueError, "memory_limit is a number and its unit"),
        (7, {}, TypeError, "an iterable of records or an Arrow stream"),
    ],
)
def test_arguments_are_checked_at_the_call(source, options, error, why):
    with pytest.raises(error, match=why):
        Facts(source, **options)


class TestAskedForLess:
    RECORDS: ClassVar = [
        Event("a", 1, "Signed Up", {"plan": "Pro", "city": "Lima"}),
        Event("a", 1, "visited", {"Plan": "Free", "url": "/"}),
        PropertySet("b", 2, {"plan": "Free"}),
        Alias("b", 3, "c"),
        Event("c", 2, "signed up", {"plan": "Max"}),
    ]

    @RULES
    def test_some_events_and_no_properties(self, rule):
        with Facts(self.RECORDS, names="signed,up", properties=False, rule=rule) as facts:
            assert sorted(facts.sql("select person, name from events").fetchall()) == [
                ("a", "signed up"), ("b", "signed up")
            ]  # fmt: skip
            assert facts.people.resolve("c") == "b"
            assert repr(facts) == "<Facts: 2 events, 0 rejects; duplicates: 0 events, 0 properties>"

    @RULES
    def test_some_properties_of_all_records(self, rule):
        with Facts(self.RECORDS, names=["signed up"], properties=["PLAN"], rule=rule) as facts:
            assert facts.sql("select person, text, event from properties order by all").fetchall() == {
                "classic": [("a", "Pro", "signed up"), ("b", "Free", None)],
                "strict": [("a", "Free", "visited"), ("a", "Pro", "signed up"), ("b", "Free", None),
                           ("b", "Max", "signed up")],
            }[rule]  # fmt: skip
            assert facts.sql("select count(*) from events").fetchall() == [(2,)]

    @pytest.mark.parametrize(
        ("options", "query", "what"),
        [
            ({"properties": False}, "select text from properties", "the table properties"),
            ({"properties": False}, "select events.properties from events", "the column properties"),
            ({"properties": False}, "select properties->>'plan' from events", "the column properties"),
            ({"properties": False}, "select e.properties from events e", "the column properties"),
            ({"properties": ["plan"]}, "select count(properties) from records", "the column properties"),
            ({"names": "visited"}, "from records", "the table records"),
            ({"names": "visited"}, "select * from people", "the table people"),
            ({"names": "visited"}, "select 1; create table mine as from people", "the table people"),
        ],
    )
    def test_what_was_left_out_is_an_error(self, options, query, what):
        for build in (False, True):
            with Facts(self.RECORDS, **options) as facts:
                if build:
                    facts.build()
                with pytest.raises(FactsLeftOutError, match=f"{what}.* was not read: these facts were made with"):
                    facts.sql(query)

    def test_names_that_were_left_out_can_be_told(self):
        with Facts(self.RECORDS, names=["visited"], properties=["Plan"]) as facts:
            facts.check_read(event="Visited", property="plan")
            with pytest.raises(FactsLeftOutError, match="the event 'signed up'"):
                facts.check_read(event="signed up")
            with pytest.raises(FactsLeftOutError, match=r"the property 'url' .* properties=\['plan'\]"):
                facts.check_read(property="url")

    @pytest.mark.parametrize(
        ("query", "params"),
        [
            ("from events where name = 'visited'", None),
            ("from events where 'Visited' = events.name_as_sent", None),
            ("select count(*) filter (where e.name in ('signed up', 'visited')) from main.events e", None),
            ("from properties where event = 'visited'", None),
            ("from properties where name = 'url'", None),
            ("from events e join properties p using (person) where p.name = 'url'", None),
            ("with them as (select person from events where name = 'visited') from them", None),
            ("select (select count(*) from events where name = 'visited')", None),
            ("from events where person = ? and name = ?", ["a", "visited"]),
            ("from events where name = $name", {"name": "visited"}),
            ("select 1; from events where name = 'visited'", None),
            ("from events E where E.name = 'visited'", None),
            ("from events where name = 'visited'::varchar", None),
            ("from events where name = any(['signed up', 'visited'])", None),
            ("from events where name in ['visited']", None),
            ("from events where list_contains(array['visited'], name)", None),
            ("from events where list_contains(?::text[], name)", [["visited"]]),
            ("from events where (name, person) in (('signed up', 'b'), ('visited', 'a'))", None),
            ("from events where (person, name) = ('a', 'visited')", None),
            ("select case name when 'visited' then 1 end from events", None),
            ("from (select * exclude (time) from events) where name = 'visited'", None),
            ("from (select person, e.name as which from events e) where which = 'visited'", None),
            ("with a as (from events), b as materialized (select name from a) from b where name = 'visited'", None),
            ("from events e where exists (from properties p where e.name = 'visited')", None),
            ("create temp table mine as (select name from events where name = 'visited')", None),
            ("create temp table \"größer\" as from events where name = 'visited'", None),
            ("copy (from events where name = 'visited') to 'visited.csv' (format csv)", None),
            ("explain analyze select * from events where name = 'visited'", None),
            (
                "create temp table mine as with e as (from events) from e where person = ? and name = ?",
                ["a", "visited"],
            ),
        ],
    )
    def test_a_name_that_was_left_out_is_an_error(self, query, params):
        with Facts(self.RECORDS, names=["signed up"], properties=["plan"]) as facts:
            with pytest.raises(FactsLeftOutError, match=r"the (event|property) '.*' was not read"):
                facts.sql(query, params)
            assert "nothing read yet" in repr(facts)

    @pytest.mark.parametrize(
        "query",
        [
            "from events where name in ('signed up', 'Signed Up') and person <> 'visited'",
            "select 'visited' from events where name <> 'visited' and person = 'visited'",
            "from properties where name = 'PLAN' and text = 'visited'",
            "with events as (select 'visited' as name) from events where name = 'visited'",
            "from (select 'visited' as name) where name = 'visited'",
            "from events join (select 'visited' as other) on other = 'visited'",
            "from (select * replace (upper(name) as name) from events) where name = 'VISITED'",
            "with a as (select name as other, 'visited' as name from events) select * from a where a.name = 'visited'",
            "with recursive events as (select 'visited' as name) from events where name = 'visited'",
            "create temp table mine as with events as (select 'visited' as name) from events where name = 'visited'",
            "create temp table mine as select 'from events where name = ''visited''' as told",
            "from events as e(name) where name = 'visited'",
        ],
    )
    def test_other_texts_are_no_names(self, query):
        with Facts(self.RECORDS, names=["signed up"], properties=["plan"]) as facts:
            facts.sql(query)  # raises no FactsLeftOutError

    @pytest.mark.parametrize(
        ("query", "is_error"),
        [
            ("from tiers semi join events using (person) where name = 'visited'", False),
            ("from tiers natural anti join events where name = 'visited'", False),
            ("from tiers semi join events e on e.person = tiers.person and e.name = 'visited'", True),
            ("from (from tiers join events using (person)) where name = 'visited'", False),
            ("from (from events join tiers using (person)) where name = 'visited'", True),
            ("from (select t.name, e.name from tiers t join events e using (person)) where name = 'visited'", False),
            ("from (select e.name, t.name from tiers t join events e using (person)) where name = 'visited'", True),
            ("from (from (from tiers union from tiers) join events using (person)) where name = 'visited'", False),
            ("with b as (from tiers join events using (person)) from b where name = 'visited'", False),
            ("from tiers join events using (person) where tiers.name = 'visited'", False),
            ("from tiers join events using (person) where event = 'visited'", False),
            ("from tiers join events using (person) where name_as_sent = 'visited'", True),
            ("from tiers where name = 'visited' and exists (from events where events.person = tiers.person)", False),
            ("from events where exists (from tiers where name = 'visited' and tiers.person = events.person)", False),
            ("from events where exists (from tiers where events.name = 'visited')", True),
            ("select person as name from events order by name = 'visited'", False),
            ("select person as name, count(*) from events group by all having name = 'visited'", False),
            ("select person, name as which, count(*) from events group by all having which = 'visited'", True),
            ("select person as name from events where name = 'visited'", True),
            ("select columns('n.*') from events order by name = 'visited'", True),
        ],
    )
    def test_names_in_a_table_of_ones_own_are_no_names_of_events(self, query, is_error):
        with Facts(self.RECORDS, names=["signed up"]) as facts:
            facts.sql("create table tiers as select 'a' as person, 'visited' as name, 'visited' as event")
            with pytest.raises(FactsLeftOutError) if is_error else nullcontext():
                facts.sql(query).fetchall()

    def test_a_temporary_table_stands_before_the_events(self):
        with Facts(self.RECORDS, names=["signed up"]) as facts:
            facts.sql("create temp table events as select 'visited' as name")
            assert facts.sql("from events where name = 'visited'").fetchall() == [("visited",)]
            with pytest.raises(FactsLeftOutError):
                facts.sql("from main.events where name = 'visited'")

    @pytest.mark.parametrize(("listed", "spelt"), [([], "[]"), (["URL", "b"], "['b', 'url']"), (False, "False")])
    def test_the_argument_is_spelt_in_one_way(self, listed, spelt):
        with Facts(self.RECORDS, properties=listed) as facts:
            with pytest.raises(FactsLeftOutError, match=re.escape(f"with properties={spelt}.")):
                facts.check_read(property="plan")
            with pytest.raises(FactsLeftOutError, match=re.escape(f"with properties={spelt}.")):
                facts.sql("select properties from events")

    def test_a_property_of_an_event_that_was_left_out_stands_on_no_event(self):
        # Of its lines without the property none was read: nobody knows which of them counts.
        records = [Event("a", 1, "x"), Event("a", 1, "x", {"amount": 5})]
        for names in (None, ["y"]):
            with Facts(records, names=names, properties=["amount"]) as facts:
                assert facts.sql("select event, text from properties").fetchall() == [(None, "5")]

    @pytest.mark.parametrize("rule", ["classic", "strict"])
    @given(st.lists(CROWDED, max_size=14), WINDOWS, st.tuples(st.sets(NAMES), st.sets(KEYS), st.booleans()))
    @settings(max_examples=examples(20))
    @pytest.mark.slow
    def test_less_is_a_part_of_all(self, rule, records, window, asked):
        names, keys, from_files = asked
        source = write_export("memory://less", {1: records}) if from_files else records
        columns = "name, name_as_sent, person, time, revision, line"
        options = {"rule": rule, "window": window, "margin": None}
        wanted, folded = list(map(fold_name, names)), list(map(fold_name, keys))
        with Facts(source, **options) as facts:
            events = facts.sql(f"select {columns} from events where name in (select unnest(?::text[]))", [wanted])
            events = Counter(events.fetchall())
            rows = facts.sql(f"select {columns}, value, event from properties where list_contains(?::text[], name)",
                             [folded]).fetchall()  # fmt: skip
        with Facts(source, names=names, properties=False, **options) as facts:
            assert Counter(facts.sql(f"select {columns} from events").fetchall()) == events
        for some in (names, None):
            with Facts(source, names=some, properties=keys, **options) as facts:
                known = [
                    (*row, event if some is None or rule == "strict" or event in wanted else None)
                    for *row, event in rows
                ]
                assert Counter(facts.sql(f"select {columns}, value, event from properties").fetchall()) == Counter(
                    known
                )
                if some is not None:
                    assert Counter(facts.sql(f"select {columns} from events").fetchall()) == events


def test_half_of_a_surrogate_pair_is_asked_for_as_it_came():
    with Facts([PropertySet("a", 1, {"\ud83d": "x\ud83d"})]) as facts:
        query = "select count(*) from properties where name = ? and text in (select unnest(?::text[]))"
        assert facts.sql(query, ["\ud83d", ["x\ud83d"]]).fetchall() == [(1,)]
        assert facts.sql("select text from properties where name = '\ud83d'").fetchall() == [("x\\ud83d",)]
        assert "x\\ud83d" in repr(reports.property_values(facts, "\ud83d"))
        with pytest.raises(UnknownNameError):
            reports.event_counts(facts, "\ud83d")


def test_more_than_memory_holds(tmp_path):
    def records():
        for number in range(30_000):
            yield Event(f"p{number % 500}", number // 2, "x", {"text": f"{number:05}" * 600, "n": number})

    spill = tmp_path / "spill"
    with Facts(records(), memory_limit="64MB", threads=1, temp_directory=spill) as facts:
        assert facts.sql("select count(*), sum(number) from properties where name = 'n'").fetchall() == [
            (30_000, sum(range(30_000)))
        ]
        assert sum(path.stat().st_size for path in spill.iterdir()) > 10_000_000
    assert not spill.exists() or list(spill.iterdir()) == []


def test_memory_and_disk_that_are_full_are_told(tmp_path):
    records = [Event(f"p{n}", n, "x", {"text": f"{n:06}" * 50}) for n in range(30_000)]
    with Facts(records, memory_limit="20MB", threads=1, temp_directory=tmp_path / "spill") as facts:
        facts.sql("set max_temp_directory_size = '1MB'")
        with pytest.raises(FactsMemoryError, match=r"spill: memory and this folder don't hold the facts .*properties="):
            facts.build()
    with pytest.raises(ValueError, match="memory_limit"):
        Facts(records, memory_limit="a lot")
