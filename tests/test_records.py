from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime

import attrs
import pytest

from kmexport import Alias, Event, PropertySet, iter_records

LINE = '{"_n":"signed up","plan":"Pro","_p":"bob","_t":1349222400,"_d":1}'


def read_event() -> Event:
    (record,) = iter_records([LINE])
    assert isinstance(record, Event)
    return record


def test_a_record_that_was_read_is_the_record_built_by_hand():
    record = read_event()
    by_hand = Event("bob", 1349222400, "signed up", {"plan": "Pro", "_d": 1})
    assert record == by_hand
    assert repr(read_event()) == repr(by_hand)
    assert type(record) is Event
    assert read_event().to_dict() == by_hand.to_dict() == json.loads(LINE)
    assert attrs.evolve(read_event(), person="eve") == attrs.evolve(by_hand, person="eve")


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda record: pickle.loads(pickle.dumps(record))])
@pytest.mark.parametrize("touched", [False, True])
def test_copies_and_pickles_are_equal(duplicate, touched):
    record = read_event()
    if touched:
        assert record.properties["plan"] == "Pro"
    assert duplicate(record) == record == read_event()


def test_properties_are_parsed_once_and_can_be_changed():
    record = read_event()
    record.properties["plan"] = "Free"
    assert record.properties["plan"] == "Free"
    assert read_event().properties["plan"] == "Pro"
    record.properties = {}
    assert record.to_dict() == {"_p": "bob", "_t": 1349222400, "_n": "signed up"}


def test_an_untouched_record_takes_new_properties():
    record = read_event()
    record.properties = {"plan": "Free"}
    assert record == Event("bob", 1349222400, "signed up", {"plan": "Free"})


def test_reserved_keys_survive_on_an_alias_and_stay_out_of_its_repr():
    (record,) = iter_records(['{"_p":"a","_p2":"b","_t":1,"_c":"ios"}'])
    assert record == Alias("a", 1, "b", {"_c": "ios"})
    assert record.to_dict() == {"_p": "a", "_p2": "b", "_t": 1, "_c": "ios"}
    assert repr(record) == "Alias(person='a', timestamp=1, alias='b')"


def test_time_is_aware():
    assert Alias("a", 1349222400, "b").time == datetime(2012, 10, 3, tzinfo=UTC)
    assert PropertySet("a", -1).time.isoformat() == "1969-12-31T23:59:59+00:00"


def test_no_other_attribute():
    with pytest.raises(AttributeError, match="'Event' object has no attribute 'propertys'"):
        read_event().propertys  # noqa: B018


@pytest.mark.parametrize("name", ["plan", "PLAN", "Plan"])
def test_a_property_is_got_by_its_folded_name(name):
    assert Event("a", 1, "n", {"Plan": "Pro"}).get(name) == "Pro"
    assert PropertySet("a", 1, {"plan": "Pro", "PLAN": "Free"}).get(name) == "Pro"
    assert PropertySet("a", 1, {"plan": None, "PLAN": "Free"}).get(name) == "Free"
    assert Alias("a", 1, "b").get(name) is None
    assert Alias("a", 1, "b", {"plan": None}).get(name, "none") == "none"


def test_a_property_of_a_record_that_was_read_is_got_by_its_folded_name():
    assert read_event().get("PLAN") == "Pro"
    assert Event("a", 1, "n", {"Stra\xdfe: Nr, 1": 0}).get("STRASSE  nr  1") == 0
