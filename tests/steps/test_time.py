"""in_window is a filter; sort_by_time sorts, all at once or as a stream."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmexport import LateRecordError, PropertySet, sort_by_time


def at(*timestamps: int) -> list[PropertySet]:
    return [PropertySet("bob", timestamp, {"place": place}) for place, timestamp in enumerate(timestamps)]


def test_sorting_all():
    records = at(3, 1, 2, 1)
    assert list(sort_by_time(iter(records))) == [records[1], records[3], records[2], records[0]]


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(0, 50))
def test_a_sorted_stream_is_sorted_and_whole(timestamps, max_delay):
    records = at(*timestamps)
    late: list[PropertySet] = []
    out = list(sort_by_time(records, max_delay=max_delay, on_late=late.append))
    assert [record.timestamp for record in out] == sorted(record.timestamp for record in out)
    newest = list(itertools.accumulate(timestamps, max))
    expected_late = [
        record for record, high in zip(records, newest, strict=True) if record.timestamp < high - max_delay
    ]
    assert late == expected_late
    kept = [record for record in records if record not in late]
    assert out == sorted(kept, key=lambda record: record.timestamp)
    if late:
        with pytest.raises(LateRecordError) as caught:
            list(sort_by_time(records, max_delay=max_delay))
        assert caught.value.record == late[0]


def test_a_stream_comes_out_as_soon_as_it_can():
    def stream():
        yield from at(10, 12, 21)
        pytest.fail("read too far")

    records = sort_by_time(stream(), max_delay=10)
    assert next(records).timestamp == 10


@pytest.mark.parametrize("arguments", [{"max_delay": -1}, {"on_late": print}])
def test_arguments_of_the_sort(arguments):
    with pytest.raises(ValueError, match=r"max_delay"):
        sort_by_time([], **arguments)
