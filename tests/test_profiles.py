from __future__ import annotations

from decimal import Decimal

from kmexport import Alias, Bucket, Event, PropertySet, profile

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
