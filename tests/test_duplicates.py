from __future__ import annotations

import copy
import itertools
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmexport import Alias, Event, PropertySet, drop_duplicates, iter_records
from kmexport.duplicates import _Names
from kmexport.names import VENDOR_KEYS, fold_name
from kmexport.records import unread_text
from tests.strategies import RECORDS

SIGNED_UP = Event("bob", 7, "signed up", {"plan": "Pro"})


def classic(*records, **options):
    return list(drop_duplicates(records, **options))


def strict(*records, **options):
    return list(drop_duplicates(records, rule="strict", **options))


@pytest.mark.parametrize("name", ["signed up", "Signed Up", "signed:up", "SIGNED,UP"])
def test_events_of_one_person_name_and_second_are_one(name):
    assert classic(SIGNED_UP, Event("bob", 7, name, {"plan": "Free"})) == [SIGNED_UP]


@pytest.mark.parametrize(
    "other",
    [
        Event("Bob", 7, "signed up", {"plan": "Pro"}),
        Event("bob", 8, "signed up", {"plan": "Pro"}),
        Event("bob", 7, "signed  up", {"plan": "Pro"}),
    ],
)
@pytest.mark.parametrize("drop", [classic, strict])
def test_events_that_differ_are_two(drop, other):
    assert drop(SIGNED_UP, other) == [SIGNED_UP, other]


def test_a_new_property_of_a_duplicate_event_is_not_lost():
    again = Event("bob", 7, "signed up", {"Plan": "Free", "city": "Paraná"})
    assert classic(SIGNED_UP, again, again) == [SIGNED_UP, PropertySet("bob", 7, {"city": "Paraná"})]


def test_an_event_that_is_kept_keeps_its_properties():
    bought = Event("bob", 7, "purchased", {"plan": "Free"})
    assert classic(SIGNED_UP, bought) == [SIGNED_UP, bought]
    assert classic(SIGNED_UP, bought, PropertySet("bob", 7, {"plan": "Team"})) == [SIGNED_UP, bought]


def test_property_sets_go_property_by_property():
    first = PropertySet("bob", 7, {"plan": "Pro"})
    both = PropertySet("bob", 7, {"Plan": "Free", "city": "Paraná"})
    assert classic(first, both, both) == [first, PropertySet("bob", 7, {"city": "Paraná"})]
    assert classic(both, first) == [both]
    assert classic(PropertySet("bob", 7, {"plan": 1, "Plan": 2})) == [PropertySet("bob", 7, {"plan": 1})]


def test_reserved_keys_make_no_property_set():
    retried = Event("bob", 7, "signed up", {"plan": "Pro", "_server_timestamp": 9, "_d": 1})
    assert classic(SIGNED_UP, retried) == [SIGNED_UP]
    riding = PropertySet("bob", 7, {"city": "Paraná", "_d": 1})
    assert classic(SIGNED_UP, riding) == [SIGNED_UP, riding]
    bare = PropertySet("bob", 7, {"_d": 1})
    assert classic(bare, bare) == [bare]


@pytest.mark.parametrize(
    ("one", "other"), list(itertools.combinations([1, 1.0, "1", True, None, [1], Decimal("1e400"), "1E+400"], 2))
)
def test_strict_compares_values_exactly(one, other):
    records = [PropertySet("bob", 7, {"x": one}), PropertySet("bob", 7, {"x": other})]
    assert [repr(record) for record in strict(*records)] == [repr(record) for record in records]


def test_strict_drops_what_is_equal():
    again = Event("bob", 7, "Signed Up", {"PLAN": "Pro"})
    assert strict(SIGNED_UP, again, PropertySet("bob", 7, {"plan": "Pro"})) == [
        SIGNED_UP,
        PropertySet("bob", 7, {"plan": "Pro"}),
    ]
    nested = PropertySet("bob", 7, {"x": {"a": 1, "b": [Decimal("1e400")]}})
    assert strict(nested, PropertySet("bob", 7, {"x": {"b": [Decimal("1e400")], "a": 1}})) == [nested]


def test_aliases_pass():
    alias = Alias("bob", 7, "x")
    assert classic(alias, alias) == strict(alias, alias) == [alias, alias]


def test_no_texts_are_joined():
    pairs = [("a", "b c"), ("a b", "c"), ("a\x00b", "c"), ("a", "b\x00c"), ("1", "2"), ("12", "")]
    records = [Event(person, 7, name) for person, name in pairs]
    assert classic(*records) == strict(*records) == records


def model(records):
    """The classic rule, spelt out with sets of tuples."""
    seen = set()
    for record in records:
        if isinstance(record, Alias):
            yield record
            continue
        person, second = record.person, record.timestamp
        is_event = isinstance(record, Event)
        is_twin = is_event and ("event", person, second, fold_name(record.name)) in seen
        if is_event:
            seen.add(("event", person, second, fold_name(record.name)))
        fresh = {}
        is_new = False
        for name, value in record.properties.items():
            key = ("property", person, second, fold_name(name))
            if name in VENDOR_KEYS:
                fresh[name] = value
            elif key not in seen:
                seen.add(key)
                fresh[name] = value
                is_new = True
        if not is_event and not set(record.properties) - VENDOR_KEYS:
            is_new = ("nothing", person, second) not in seen
            seen.add(("nothing", person, second))
        if is_event and not is_twin:
            yield record
        elif is_new:
            yield PropertySet(person, second, fresh)


FEW = st.sampled_from
SMALL = st.one_of(
    st.builds(
        Event,
        FEW("ab"),
        FEW([1, 2]),
        FEW(["x", "X", "y:"]),
        st.dictionaries(FEW(["p", "P", "q", "_d", "x"]), FEW([1, "1"])),
    ),
    st.builds(PropertySet, FEW("ab"), FEW([1, 2]), st.dictionaries(FEW(["p", "P", "q", "_d", "x"]), FEW([1, "1"]))),
    st.builds(Alias, FEW("ab"), FEW([1, 2]), FEW("ab")),
)


@given(st.lists(SMALL, max_size=12))
@settings(max_examples=400, deadline=None)
def test_classic_is_the_rule_spelt_out(records):
    before = copy.deepcopy(records)
    assert list(drop_duplicates(records)) == list(model(records))
    assert records == before


@given(st.lists(RECORDS, max_size=6))
@settings(deadline=None)
def test_strict_never_takes_two_for_one(records):
    kept = list(drop_duplicates([*records, *records], rule="strict"))
    for record in records:
        assert isinstance(record, Alias) or any(fold(record) == fold(other) for other in kept)
    once = [fold(record) for record in kept if not isinstance(record, Alias)]
    assert len({repr(one) for one in once}) == len(once)


def fold(record):
    name = fold_name(record.name) if isinstance(record, Event) else None
    properties = sorted((fold_name(key), repr(value)) for key, value in record.properties.items())
    return type(record), record.person, record.timestamp, name, properties


@given(st.lists(st.tuples(st.integers(0, 400), FEW("ab")), max_size=60), st.integers(1, 100), FEW([classic, strict]))
def test_within_finds_what_is_near_and_forgets_what_is_far(stream, within, drop):
    records = [Event(person, second, "x") for second, person in stream]
    kept = drop(*records, within=within)
    newest = None
    met: set[tuple[str, int]] = set()
    position = 0
    for record in records:
        newest = record.timestamp if newest is None else max(newest, record.timestamp)
        key = (record.person, record.timestamp)
        is_kept = position < len(kept) and kept[position] is record
        position += is_kept
        if key not in met:
            assert is_kept
        elif newest - record.timestamp <= within:
            assert not is_kept
        met.add(key)
    assert position == len(kept)


def test_within_holds_no_more_than_its_time():
    from kmexport.duplicates import _Slices

    slices = _Slices(10)
    for second in range(1_000):
        slices.at(second)[0][second] = frozenset()
    assert sum(len(moments) for moments, _ in slices.slices.values()) <= 20


@pytest.mark.parametrize("options", [{"rule": "loose"}, {"within": 0}])
def test_arguments_are_checked_at_the_call(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        drop_duplicates([], **options)


def test_many_names_at_one_moment_take_no_more_than_their_number():
    def steps(count: int) -> int:
        names = _Names()
        seen: frozenset[int] | set[int] | None = None
        for number in range(count):
            seen = names.joined(seen, frozenset([number]))
        assert seen is not None
        assert len(seen) == count
        return sum(map(len, names.sets))

    assert steps(10_000) == steps(100)
    events = [Event("bob", 1, f"name {n % 500}", {f"p{n % 300}": n}) for n in range(2000)]
    found = list(drop_duplicates(events))
    assert sum(isinstance(record, Event) for record in found) == 500
    assert len({name for record in found for name in record.properties}) == 300


def test_before_1970_too():
    events = [Event("bob", -1000, "x")] * 3
    assert list(drop_duplicates(events, within=60)) == events[:1]


def test_strict_two_spellings_of_a_name_in_any_order():
    sets = [PropertySet("bob", 1, {"A": 1, "a": 2}), PropertySet("bob", 1, {"a": 2, "A": 1})]
    assert list(drop_duplicates(sets, rule="strict")) == sets[:1]


@given(st.lists(SMALL, max_size=12), st.none() | st.integers(1, 3))
@settings(max_examples=300, deadline=None)
def test_events_only_are_the_events_that_come_out_with_the_rest(records, within):
    events = [record for record in drop_duplicates(records, within=within) if isinstance(record, Event)]
    found = list(drop_duplicates(records, within=within, events_only=True))
    assert [id(record) for record in found] == [id(record) for record in events]


def test_events_only_parses_no_properties():
    lines = [b'{"_p":"bob","_t":7,"_n":"%s","plan":"Pro"}' % name for name in (b"x", b"X", b"y")]
    lines += [b'{"_p":"bob","_t":7,"plan":"Pro"}', b'{"_p":"bob","_t":7,"_p2":"b"}']
    records = list(iter_records(lines))
    texts = [unread_text(record) for record in records]
    found = list(drop_duplicates(iter(records), events_only=True))
    assert [event.name for event in found] == ["x", "y"]
    assert all(texts)
    assert [unread_text(record) for record in records] == texts


def test_events_only_and_strict_exclude_each_other():
    with pytest.raises(ValueError, match="compares them"):
        drop_duplicates([], rule="strict", events_only=True)
