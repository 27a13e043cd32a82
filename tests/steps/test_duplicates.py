from __future__ import annotations

import copy
import itertools
import json
from decimal import Decimal

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from kmexport import Alias, Bucket, Event, PropertySet, as_number, drop_duplicates, iter_records, merge_identities
from kmexport.format.names import VENDOR_KEYS, fold_name
from kmexport.records import unparsed_line
from kmexport.steps.duplicates import _NameSets, _stretches, canonical_form
from tests.support.strategies import RECORDS, examples

SIGNED_UP = Event("bob", 7, "signed up", {"plan": "Pro"})


def classic(*records, **options):
    return list(drop_duplicates(records, **options))


def once(*records, **options):
    return list(drop_duplicates(records, properties="once", **options))


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


def test_a_kept_event_comes_out_as_sent_or_without_what_was_said():
    bought = Event("bob", 7, "purchased", {"Plan": "Free", "city": "Lima", "_d": 1})
    assert classic(SIGNED_UP, bought) == [SIGNED_UP, bought]
    assert classic(SIGNED_UP, bought, PropertySet("bob", 7, {"plan": "Team"})) == [SIGNED_UP, bought]
    assert once(SIGNED_UP, bought) == [SIGNED_UP, Event("bob", 7, "purchased", {"city": "Lima", "_d": 1})]
    assert once(SIGNED_UP, Event("bob", 7, "purchased", {"plan": "Free"})) == [SIGNED_UP, Event("bob", 7, "purchased")]
    assert bought.properties == {"Plan": "Free", "city": "Lima", "_d": 1}


def test_amounts_add_up_as_the_vendors():
    """The vendor's page: items of one order need times that are a second apart."""
    sent = [Event("bob", 7, "billed", {"amount": 90}), Event("bob", 7, "upgraded", {"amount": 90})]
    assert sum(record.properties.get("amount", 0) for record in classic(*sent)) == 180
    assert sum(record.properties.get("amount", 0) for record in once(*sent)) == 90
    assert [record.name for record in once(*sent)] == ["billed", "upgraded"]


def test_of_two_spellings_in_one_record_the_first_counts():
    twice = Event("ana", 100, "purchased", {"Amount": 10, "amount": 20, "_d": 1})
    assert classic(twice) == [twice]
    assert once(twice) == [Event("ana", 100, "purchased", {"Amount": 10, "_d": 1})]
    assert len(strict(twice, Event("ana", 100, "purchased", {"amount": 10, "_d": 1}))) == 2  # strict compares all
    again = Event("ana", 100, "Purchased", {"City": "Lima", "city": "Rome"})
    assert classic(twice, again)[1:] == once(twice, again)[1:] == [PropertySet("ana", 100, {"City": "Lima"})]


def test_a_null_says_nothing():
    null, pro = PropertySet("a", 1, {"plan": None}), PropertySet("a", 1, {"plan": "Pro"})
    for drop in (classic, once, strict):
        assert drop(null, pro) == [null, pro]
    assert classic(pro, null, null) == [pro, null]  # a record of its own, once, as one without properties
    both = Event("a", 1, "x", {"Plan": None, "plan": "Pro", "city": None})
    assert classic(both) == once(both) == [both]
    assert both.get("plan") == "Pro"
    assert classic(both, pro) == [both]
    left = PropertySet("a", 1, {"plan": "Free", "size": 7, "city": None})
    assert classic(both, left) == [both, PropertySet("a", 1, {"size": 7, "city": None})]
    bare = PropertySet("a", 1)
    assert strict(bare, null, PropertySet("a", 1, {"_d": None})) == [bare]
    assert strict(PropertySet("a", 1, {"x": [None]}), PropertySet("a", 1, {"x": []})) != [bare]


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
    ("one", "other"),
    list(itertools.combinations([1, 1.5, "1", "1.0", True, None, [1], {"1": 1}, 0.1, Decimal("1e400"), "1E+400"], 2)),
)
def test_strict_compares_values_exactly(one, other):
    records = [PropertySet("bob", 7, {"x": one}), PropertySet("bob", 7, {"x": other})]
    assert [repr(record) for record in strict(*records)] == [repr(record) for record in records]


EQUAL_NUMBERS = [
    ["1", "1.0", "10e-1", "1.00000"],
    ["1.5", "1.50", "15e-1", "0.15E1"],
    ["0", "-0", "0.0", "-0.0", "0e5"],
    ["-12.5", "-125e-1"],
    ["100000000000000000000", "1e20", "1.0E+20"],
    ["9007199254740993", "9007199254740993"],
    ["1e400", "10e399", "1" + "0" * 400],
    ["1e16", "10000000000000000"],
    ["1e-7", "0.0000001"],
    ["9" * 5_000, "9" * 5_000],
]


@pytest.mark.parametrize("spellings", EQUAL_NUMBERS, ids=range(len(EQUAL_NUMBERS)))
@pytest.mark.parametrize("place", ["%s", "[1,%s]", '{"y":%s}'])
@pytest.mark.parametrize("touch", [True, False])
def test_equal_numbers_are_one_value_shown_as_first_sent(spellings, place, touch):
    values = [place.replace("%s", number) for number in spellings]
    records = list(iter_records([f'{{"_p":"bob","_t":7,"_n":"x","n":{value}}}' for value in values]))
    if touch:
        assert all(record.properties for record in records)
    assert strict(*records) == records[:1]
    text = PropertySet("bob", 7, {"n": spellings[0]})
    assert strict(PropertySet("bob", 7, {"n": records[0].properties["n"]}), text)[1:] == [text]
    assert repr(strict(*records)[0].properties) == repr(records[0].properties)


@given(
    st.one_of(
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.decimals(allow_nan=False, allow_infinity=False),
    ),
    st.one_of(
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.decimals(allow_nan=False, allow_infinity=False),
    ),
)
def test_numbers_are_equal_by_their_decimal_value(one, other):
    forms = [canonical_form(PropertySet("a", 1, {"n": number})) for number in (one, other, as_number(one))]
    assert forms[0] == forms[2]
    assert (forms[0] == forms[1]) == (as_number(one) == as_number(other))


def test_strict_two_spellings_of_a_name_in_any_order():
    sets = [PropertySet("bob", 1, {"A": 1, "a": 2}), PropertySet("bob", 1, {"a": 2, "A": 1.0})]
    assert list(drop_duplicates(sets, rule="strict")) == sets[:1]
    assert len(strict(sets[0], PropertySet("bob", 1, {"A": 1, "a": 1}), PropertySet("bob", 1, {"A": 1}))) == 3


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


# The rules as they are written, over lists: each record looks back at all that came before.


def said_by(record):
    """What a record says of its person: the first spelling of each name, without nulls and the vendor's keys."""
    said = {}
    for name, value in record.properties.items():
        if value is not None and name not in VENDOR_KEYS and fold_name(name) not in said:
            said[fold_name(name)] = (name, value)
    return said


def says_nothing(record):
    return isinstance(record, PropertySet) and not said_by(record)


def is_same_moment(one, other):
    return not isinstance(one, Alias) and (one.person, one.timestamp) == (other.person, other.timestamp)


def is_same_event(one, other):
    return isinstance(one, Event) and isinstance(other, Event) and fold_name(one.name) == fold_name(other.name)


def model(records, properties):
    for at, record in enumerate(records):
        if isinstance(record, Alias):
            yield record
            continue
        earlier = [one for one in records[:at] if is_same_moment(one, record)]
        known = {name for one in earlier for name in said_by(one)}
        new = [name for folded, (name, _) in said_by(record).items() if folded not in known]
        left = {
            name: value
            for name, value in record.properties.items()
            if name in new or value is None or name in VENDOR_KEYS
        }
        if isinstance(record, Event) and not any(is_same_event(one, record) for one in earlier):
            yield record if properties == "as_sent" else Event(record.person, record.timestamp, record.name, left)
        elif new:
            yield PropertySet(record.person, record.timestamp, left)
        elif says_nothing(record) and not any(map(says_nothing, earlier)):
            yield record  # it repeats nothing but its like


def is_equal(one, other):
    """Whether two values are: numbers by their decimal value, all else by type and content."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_equal(one[name], other[name]) for name in one)
    numbers = None if isinstance(one, str) or isinstance(other, str) else (as_number(one), as_number(other))
    if numbers and None not in numbers:
        return numbers[0] == numbers[1]
    return type(one) is type(other) and one == other


def strict_model(records):
    for at, record in enumerate(records):
        if isinstance(record, Alias) or not any(is_twin(one, record) for one in records[:at]):
            yield record


def is_twin(one, other):
    if not is_same_moment(one, other) or type(one) is not type(other):
        return False
    left = pairs_of(other)
    for folded, value in pairs_of(one):
        same = next((at for at, pair in enumerate(left) if pair[0] == folded and is_equal(pair[1], value)), None)
        if same is None:
            return False
        del left[same]
    return not left and (isinstance(one, PropertySet) or is_same_event(one, other))


def pairs_of(record):
    return [(fold_name(name), value) for name, value in record.properties.items() if value is not None]


FEW = st.sampled_from
FEW_VALUES = FEW([1, "1", 1.0, 1.5, None, True, "", 0, [1], [1.0], {"a": 1}])
FEW_PROPERTIES = st.dictionaries(FEW(["p", "P", "q", "_d", "x", "q,"]), FEW_VALUES, max_size=4)
SMALL = st.one_of(
    st.builds(Event, FEW("ab"), FEW([1, 2]), FEW(["x", "X", "y:"]), FEW_PROPERTIES),
    st.builds(PropertySet, FEW("ab"), FEW([1, 2]), FEW_PROPERTIES),
    st.builds(Alias, FEW("ab"), FEW([1, 2]), FEW("ab")),
)


def spelt(records):
    """Values with their types: 1 and True are equal to Python."""
    return [(type(record).__name__, repr(record.to_dict())) for record in records]


@pytest.mark.slow
@seed(20121003)
@given(st.lists(SMALL, max_size=12))
@settings(max_examples=examples(300), database=None)
def test_the_rules_are_kept_to_the_letter(records):
    before = copy.deepcopy(records)
    for form in ("as_sent", "once"):
        assert spelt(drop_duplicates(records, properties=form)) == spelt(model(records, form))
    assert [id(one) for one in drop_duplicates(records, rule="strict")] == [id(one) for one in strict_model(records)]
    assert spelt(records) == spelt(before)
    lines = [json.dumps(record.to_dict()) for record in records]  # the same where properties are not parsed yet
    assert spelt(drop_duplicates(iter_records(lines), properties="once")) == spelt(model(records, "once"))
    assert len(list(drop_duplicates(iter_records(lines), rule="strict"))) == len(list(strict_model(records)))


@pytest.mark.slow
@seed(20121003)
@given(st.lists(SMALL, min_size=2, max_size=10), st.data())
@settings(max_examples=examples(300), database=None)
def test_the_order_of_lines_decides_between_different_values_only(records, data):
    """Swapping two lines changes a classic total only where two different values of one second compete."""
    one, other = data.draw(st.lists(st.integers(0, len(records) - 1), min_size=2, max_size=2))
    swapped = [*records]
    swapped[one], swapped[other] = records[other], records[one]
    before, after = counted_values(records), counted_values(swapped)
    assert before.keys() == after.keys()
    for key, value in before.items():
        competing = [said_by(each)[key[2]][1] for each in records if is_of(each, key)]
        if all(is_equal(competing[0], each) for each in competing):
            assert is_equal(value, after[key])


def counted_values(records):
    """What a total adds up: each value that counts, by its person, second and folded name."""
    found = {}
    for record in drop_duplicates(records, properties="once"):
        for folded, (_, value) in () if isinstance(record, Alias) else said_by(record).items():
            assert (record.person, record.timestamp, folded) not in found
            found[record.person, record.timestamp, folded] = value
    return found


def is_of(record, key):
    return not isinstance(record, Alias) and (record.person, record.timestamp) == key[:2] and key[2] in said_by(record)


@given(st.lists(RECORDS, max_size=6))
def test_any_record_is_kept_to_the_letter(records):
    twice = [*records, *records]
    assert [id(one) for one in drop_duplicates(twice, rule="strict")] == [id(one) for one in strict_model(twice)]
    for form in ("as_sent", "once"):
        assert spelt(drop_duplicates(twice, properties=form)) == spelt(model(twice, form))


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
    stretches = _stretches((Event("bob", second, "x") for second in range(1_000)), 10)
    for moments, run in stretches:
        moments.update((record.timestamp, frozenset()) for record in run)
        assert sum(map(len, stretches.gi_frame.f_locals["held"].values())) <= 20


def test_within_gives_a_record_before_it_takes_the_next():
    def feed():
        yield SIGNED_UP
        pytest.fail("the second record was read")

    for options in ({}, {"rule": "strict"}, {"events_only": True}, {"properties": "once"}):
        assert next(drop_duplicates(feed(), within=60, **options)) == SIGNED_UP


@pytest.mark.parametrize(
    "options",
    [
        {"rule": "loose"},
        {"within": 0},
        {"properties": "twice"},
        {"properties": "once", "rule": "strict"},
        {"properties": "once", "events_only": True},
    ],
)
def test_arguments_are_checked_at_the_call(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        drop_duplicates([], **options)


def test_many_names_at_one_moment_take_no_more_than_their_number():
    def steps(count: int) -> int:
        sets = _NameSets()
        seen: frozenset[int] | set[int] = frozenset()
        for number in range(count):
            seen = sets.add(seen, frozenset([number]))
        assert len(seen) == count
        return sum(map(len, sets._sets))

    assert steps(10_000) == steps(100)
    events = [Event("bob", 1, f"name {n % 500}", {f"p{n % 300}": n}) for n in range(2000)]
    found = list(drop_duplicates(events))
    assert sum(isinstance(record, Event) for record in found) == 500
    assert len({name for record in found for name in record.properties}) == 300


def test_each_person_and_second_is_its_own_moment():
    first, last = -62_135_596_800, 253_402_300_799
    seconds = [first, first + 1, -1, 0, 1, 1 << 37, last - 1, last]
    events = [Event(f"person {n}", second, "x") for n in range(5_000) for second in seconds]
    assert sum(1 for _ in drop_duplicates(events)) == len(events)
    assert sum(1 for _ in drop_duplicates([*events, *events], events_only=True)) == len(events)


def test_before_1970_too():
    events = [Event("bob", -1000, "x")] * 3
    assert list(drop_duplicates(events, within=60)) == events[:1]


@given(st.lists(SMALL, max_size=12), st.none() | st.integers(1, 3))
@settings(max_examples=examples(300))
def test_events_only_are_the_events_that_come_out_with_the_rest(records, within):
    events = [record for record in drop_duplicates(records, within=within) if isinstance(record, Event)]
    found = list(drop_duplicates(records, within=within, events_only=True))
    assert [id(record) for record in found] == [id(record) for record in events]


def test_events_only_parses_no_properties():
    lines = [b'{"_p":"bob","_t":7,"_n":"%s","plan":"Pro"}' % name for name in (b"x", b"X", b"y")]
    lines += [b'{"_p":"bob","_t":7,"plan":"Pro"}', b'{"_p":"bob","_t":7,"_p2":"b"}']
    records = list(iter_records(lines))
    texts = [unparsed_line(record) for record in records]
    found = list(drop_duplicates(iter(records), events_only=True))
    assert [event.name for event in found] == ["x", "y"]
    assert all(texts)
    assert [unparsed_line(record) for record in records] == texts


def test_events_only_and_strict_exclude_each_other():
    with pytest.raises(ValueError, match="compares them"):
        drop_duplicates([], rule="strict", events_only=True)


def test_a_real_export_counts_as_the_model_says(real_data):
    bucket = Bucket(real_data / "real-export")
    records = list(merge_identities(bucket.iter_records(margin=None), bucket.identities()))
    for form in ("as_sent", "once"):
        assert spelt(drop_duplicates(records, properties=form)) == spelt(model(records, form))
    as_sent, alone = (
        [one for one in drop_duplicates(records, properties=form) if isinstance(one, Event)]
        for form in ("as_sent", "once")
    )
    # The figures of docs/counting.md.
    assert len(as_sent) == len(alone) == 558
    fewer = [set(one.properties) - set(other.properties) for one, other in zip(as_sent, alone, strict=True)]
    assert (sum(map(bool, fewer)), sum(map(len, fewer))) == (104, 106)
    assert sum(names == {"referrer"} for names in fewer) == 102
