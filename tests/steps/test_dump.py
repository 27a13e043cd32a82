"""What is dumped reads back equal, and what would not is refused."""

from __future__ import annotations

import enum
import io
from collections import OrderedDict, defaultdict
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmexport import Alias, Event, PropertySet, dump_records, iter_records
from tests.support.strategies import RECORDS, examples


class Words(str):
    __slots__ = ()


class Plan(enum.StrEnum):
    PRO = "Pro"


class Level(enum.IntEnum):
    HIGH = 3


class Share(float):
    __slots__ = ()


def deep_list(levels: int) -> list:
    value: list = []
    for _ in range(levels - 1):
        value = [value]
    return value


LINE = '{"_n":"signed up","plan":"Pro","_p":"bob","_t":1349222400,"_d":1}'


@given(st.lists(RECORDS, max_size=5))
@settings(max_examples=examples(200))
def test_what_is_dumped_and_read_again_is_equal(records):
    file = io.BytesIO()
    assert dump_records(records, file) == len(records)
    file.seek(0)
    again = list(iter_records(file))
    assert again == records
    assert [type(record) for record in again] == [type(record) for record in records]


def test_what_is_read_dumped_and_read_again_is_equal():
    lines = [
        LINE.encode(),
        rb'{"_p":"a","_t":"12","typed":"\\303\\241","city":"Paran\303\241"}',
        b'{"_p":"a","_t":1,"n":123456789012345678901234567890,"x":1e400,"y":-0.0,"s":"\\ud800\\u0000"}',
        b'{"_p":"a","_t":1,"_p2":"b","_c":"ios"}',
        b'{"_p":"a","_t":1,"n":' + b"1" * 5_000 + b',"s":"\\ud800"}',
    ]
    records = list(iter_records(lines))
    assert records[1].properties == {"typed": "\\303\\241", "city": "Paraná"}
    file = io.BytesIO()
    dump_records(records, file)
    file.seek(0)
    assert list(iter_records(file)) == records


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ({"_n": "x"}, "a property can't be named _n"),
        ({"x": float("nan")}, "nan is no JSON value"),
        ({"x": [Decimal("inf")]}, "no JSON value"),
        ({"x": (1, 2)}, "no JSON value"),
        ({"x": {1: 2}}, "the key 1 is no string"),
        ({"x": datetime(2012, 10, 3, tzinfo=UTC)}, "no JSON value"),
        (None, "its properties are None"),
        ({"x": deep_list(500)}, "more than 500 levels"),
        ({"x": deep_list(50_000)}, "more than 500 levels"),
    ],
)
def test_what_the_format_cannot_say_is_an_error(properties, reason):
    with pytest.raises(ValueError, match=reason):
        dump_records([PropertySet("a", 1, properties)], io.BytesIO())


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (Event(5, 1, "n"), "its person is 5, not a string"),
        (Event(None, 1, "n"), "its person is None"),
        (Event("a", 1.0, "n"), "its timestamp is 1.0"),
        (Event("a", True, "n"), "its timestamp is True"),
        (Event("a", "1", "n"), "its timestamp is '1'"),
        (Event("a", 1 << 40, "n"), "outside the years"),
        (Event("a", 1, None), "its name is None"),
        (Event("a", 1, b"n"), "its name is b'n'"),
        (Alias("a", 1, 7), "its alias is 7"),
        (PropertySet(b"a", 1), "its person is b'a'"),
    ],
)
def test_what_the_reader_would_refuse_is_not_written(record, reason):
    file = io.BytesIO()
    with pytest.raises(ValueError, match=reason):
        dump_records([Event("a", 1, "before"), record], file)
    assert [event.name for event in iter_records([file.getvalue()])] == ["before"]


def test_values_of_derived_classes_are_written_as_what_they_are():
    values = {Words("w"): Words("x"), "plan": Plan.PRO, "level": Level.HIGH, "share": Share(0.5), "yes": True}
    nested = {"o": OrderedDict(a=Level.HIGH), "d": defaultdict(int, b=[Plan.PRO]), "half": Words("\ud83d")}
    file = io.BytesIO()
    dump_records([Event(Words("bob"), Level.HIGH, Plan.PRO, OrderedDict(values | nested))], file)
    (again,) = iter_records([file.getvalue()])
    plain = {"w": "x", "plan": "Pro", "level": 3, "share": 0.5, "yes": True}
    assert again == Event("bob", 3, "Pro", plain | {"o": {"a": 3}, "d": {"b": ["Pro"]}, "half": "\ud83d"})


@pytest.mark.parametrize("frames", [0, 300, 700])
def test_what_is_nested_is_written_as_deep_as_it_is_read(frames):
    record = Event("a", 1, "n", {"x": deep_list(499)})

    def write(frames: int) -> bytes:
        if frames:
            return write(frames - 1)
        file = io.BytesIO()
        dump_records([record], file)
        return file.getvalue()

    (again,) = iter_records([write(frames)])
    assert again.to_dict() == record.to_dict()
