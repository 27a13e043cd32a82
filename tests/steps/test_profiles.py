from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmexport import Alias, Bucket, Event, PropertySet, profile
from kmexport.format.names import VENDOR_KEYS, fold_name
from kmexport.steps import profiles
from tests.support.strategies import RECORDS as ANY_RECORDS

RECORDS = [
    Event("ana", 5, "Signed Up", {"plan": "Pro", "age": 7}),
    Event("bob", 3, "signed up", {"Plan": "Team", "age": 7.5}),
    PropertySet("bob", 9, {"plan": None, "x": ["é", 1], "y": {"a": True}, "z": True, "big": Decimal("1e400")}),
    Alias("bob", 4, "b"),
]


def test_counts_types_and_lengths():
    found = profile(iter(RECORDS))
    assert (found.people, found.first, found.last) == (2, 3, 9)
    assert found.kinds == {"Event": 2, "PropertySet": 1, "Alias": 1}
    (event,) = found.events
    assert (event.name, event.count, event.first, event.last) == ("Signed Up", 2, 3, 5)
    properties = {one.name: one for one in found.properties}
    assert [one.name for one in found.properties[:2]] == ["plan", "age"]
    plan = properties["plan"]
    assert (plan.count, plan.first, plan.last, plan.longest, plan.longest_value) == (3, 3, 9, 4, "Team")
    assert plan.types == {"string": 2, "null": 1}
    assert properties["age"].types == {"integer": 1, "number": 1}
    assert (properties["x"].types, properties["x"].longest_value) == ({"array": 1}, '["é", 1]')
    assert (properties["y"].types, properties["z"].types) == ({"object": 1}, {"boolean": 1})
    assert properties["big"].types == {"number": 1}


def test_it_prints_and_is_escaped_in_a_notebook():
    found = profile([PropertySet("bob", 0, {"<script>": "a & b" * 20})])
    assert "1 records (1 PropertySet) of 1 people" in str(found)
    assert repr(found) == str(found)
    page = found._repr_html_()
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert "a &amp; b" in page


def test_nothing():
    found = profile([])
    assert (found.people, found.first, found.last, found.events, found.properties) == (0, None, None, [], [])
    assert "0 records" in str(found)


def test_the_sample():
    found = profile(Bucket.sample().iter_records())
    assert found.kinds.total() == 2_000
    assert found.events[0].name.lower() == "viewed product"


def test_the_vendors_keys_are_apart_and_an_alias_alone_is_no_person():
    found = profile(
        [Event("bob", 1, "x", {"_d": 1, "plan": "Pro"}), Alias("eve", 2, "e1"), Event("bob", 3, "X", {"_d": 1})]
    )
    assert found.people == 1
    assert [(key.name, key.count) for key in found.vendor_keys] == [("_d", 2)]
    assert [one.name for one in found.properties] == ["plan"]
    assert "The vendor's own keys" in str(found)
    assert "<td>_d</td>" in found._repr_html_()


def test_of_two_spellings_in_one_record_the_first_counts():
    found = profile([Event("bob", 1, "x", {"Plan": None, "plan": "Pro", "PLAN": "Enterprise"}), Event("bob", 2, "x")])
    (plan,) = found.properties
    assert (plan.name, plan.count, plan.types, plan.longest_value) == ("Plan", 1, {"string": 1}, "Pro")


def type_name(value):
    names = {bool: "boolean", int: "integer", str: "string", type(None): "null", list: "array", dict: "object"}
    return names.get(type(value), "number")


def shown(value):
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def one_by_one(records):
    """A profile as dicts: each record and each value looked at alone, in order."""
    kinds, people, times = Counter(), set(), []
    events, properties = {}, {}

    def met(table, key, name, time):
        entry = table.setdefault(key, {"name": name, "times": [], "types": Counter(), "values": []})
        entry["times"].append(time)
        return entry

    for record in records:
        kinds[type(record).__name__] += 1
        times.append(record.timestamp)
        if not isinstance(record, Alias):
            people.add(record.person)
        if isinstance(record, Event):
            met(events, fold_name(record.name), record.name, record.timestamp)
        carried: dict[tuple[bool, str], tuple[str, object]] = {}
        for name, value in record.properties.items():
            key = name in VENDOR_KEYS, fold_name(name)
            if key not in carried or carried[key][1] is None:
                carried[key] = carried.get(key, (name,))[0], value
        for key, (name, value) in carried.items():
            entry = met(properties, key, name, record.timestamp)
            entry["types"][type_name(value)] += 1
            entry["values"].append(shown(value))
    return {
        "kinds": kinds,
        "people": len(people),
        "range": (min(times, default=None), max(times, default=None)),
        "events": in_order(events.values()),
        "properties": in_order(entry for (is_reserved, _), entry in properties.items() if not is_reserved),
        "vendor_keys": in_order(entry for (is_reserved, _), entry in properties.items() if is_reserved),
    }


def in_order(entries):
    rows = []
    for entry in entries:
        times, values = entry["times"], entry["values"]
        longest = max(values, key=len, default="")  # the first of the longest
        rows.append((entry["name"], len(times), min(times), max(times), entry["types"], len(longest), longest))
    return sorted(rows, key=lambda row: (-row[1], row[0]))


def as_dicts(found):
    def rows(entries):
        parts = ("name", "count", "first", "last", "types", "longest", "longest_value")
        empty = {"types": Counter(), "longest": 0, "longest_value": ""}
        return [tuple(getattr(entry, part, empty.get(part)) for part in parts) for entry in entries]

    return {
        "kinds": found.kinds,
        "people": found.people,
        "range": (found.first, found.last),
        "events": rows(found.events),
        "properties": rows(found.properties),
        "vendor_keys": rows(found.vendor_keys),
    }


FEW = st.sampled_from
VALUES = FEW(["", "a", "é", "Pro", 1, -1, 10**30, 1.5, 1e300, True, None, [1, "é"], {"a": None}, Decimal("1e400")])
BAGS = st.dictionaries(FEW(["p", "P", "q:", "Q ", "_d", "_D", "_c", ""]), VALUES, max_size=4)
MANY = st.one_of(
    st.builds(Event, FEW("abc"), st.integers(-3, 3), FEW(["x", "X", "y:", "Y,"]), BAGS),
    st.builds(PropertySet, FEW("abc"), st.integers(-3, 3), BAGS),
    st.builds(Alias, FEW("abc"), st.integers(-3, 3), FEW("abc"), BAGS),
)


@pytest.mark.parametrize("block", [1, 3, 1_000])
@given(st.lists(st.one_of(MANY, ANY_RECORDS), max_size=15))
def test_the_same_value_by_value(block, records):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(profiles, "_BLOCK", block)
        assert as_dicts(profile(iter(records))) == one_by_one(records)
