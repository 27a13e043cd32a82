from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmexport import (
    Alias,
    Bucket,
    Event,
    Facts,
    IdentityMap,
    PropertySet,
    Window,
    drop_duplicates,
    in_window,
    merge_identities,
)
from kmexport.duplicates import _RESERVED
from kmexport.format.hashes import load_object
from kmexport.names import fold_name
from tests.strategies import PROPERTIES, TEXT


def shown(value):
    """A value as a text that is equal for equal values only."""
    return repr(value)


def half_as_text(value):
    """What Facts make of half a surrogate pair: the text of its escape."""
    if isinstance(value, str):
        return "".join(f"\\u{ord(c):04x}" if 0xD800 <= ord(c) < 0xE000 else c for c in value)
    if isinstance(value, list):
        return [half_as_text(item) for item in value]
    if isinstance(value, dict):
        return {half_as_text(name): half_as_text(item) for name, item in value.items()}
    return value


def expected(records, people, rule, window=None):
    """The rows of events and properties, by the steps over objects."""
    records = list(records) if window is None else list(in_window(records, window))
    kept = drop_duplicates(merge_identities(records, people), rule=rule)
    events, properties = Counter(), Counter()
    for record in kept:
        if isinstance(record, Alias):
            continue
        is_event = isinstance(record, Event)
        name = fold_name(record.name) if is_event else None
        if is_event:
            events[record.person, record.timestamp, name, record.name] += 1
        for sent, value in record.properties.items():
            if sent not in _RESERVED:
                spelt = half_as_text(sent)
                row = (record.person, record.timestamp, fold_name(spelt), spelt, shown(half_as_text(value)))
                properties[row] += 1
    return events, properties


def found(facts):
    events = facts.sql("select person, epoch_us(time) // 1000000, name, name_as_sent from events").fetchall()
    rows = facts.sql("select person, epoch_us(time) // 1000000, name, name_as_sent, value from properties").fetchall()
    values = [(*row[:4], shown(load_object(f'{{"x":{row[4]}}}'.encode())["x"])) for row in rows]
    return Counter(events), Counter(values)


def agree(records, rule="classic", window=None, **options):
    people = IdentityMap().update(records)
    with Facts(iter(records), rule=rule, window=window, **options) as facts:
        assert found(facts) == expected(records, people, rule, window)


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
@given(st.lists(CROWDED, max_size=14), WINDOWS)
@settings(deadline=None, max_examples=80)
def test_the_same_rows_as_the_steps_over_objects(rule, records, window):
    agree(records, rule, window)


NO_HALF = TEXT.filter(lambda text: not any(0xD800 <= ord(c) < 0xE000 for c in text))
HOSTILE = st.one_of(
    st.builds(Event, NO_HALF, SECONDS, NO_HALF, PROPERTIES),
    st.builds(PropertySet, NO_HALF, SECONDS, PROPERTIES),
    st.builds(Alias, NO_HALF, SECONDS, NO_HALF, PROPERTIES),
)


@RULES
@given(st.lists(HOSTILE, max_size=5))
@settings(deadline=None, max_examples=40)
def test_hostile_text_and_values_agree_too(rule, records):
    agree([*records, *records], rule)


@RULES
def test_the_sample(rule):
    bucket = Bucket.sample()
    with Facts(bucket, rule=rule) as facts:
        assert found(facts) == expected(bucket.iter_records(), bucket.identities(), rule)
    day = Window.day("2012-10-03", tz="America/New_York")
    with Facts(bucket, rule=rule, window=day) as facts:
        assert found(facts) == expected(bucket.iter_records(), bucket.identities(), rule, day)


def test_a_query_builds_what_it_needs_and_no_more():
    with Facts(Bucket.sample()) as facts:
        assert repr(facts) == "<Facts: nothing read yet>"
        facts.sql("select name, count(distinct person) from events group by all")
        assert repr(facts).startswith("<Facts: 2,000 records")
        assert (facts._store.built, facts._store.is_whole) == ({"records", "events"}, False)
        facts.sql("select count(properties) from events")
        assert (facts._store.built, facts._store.is_whole) == ({"records", "events"}, True)
        facts.sql("select count(*) from properties")
        assert facts._store.is_complete


def test_an_unknown_name_is_duckdbs_error_before_anything_is_read():
    import duckdb

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
