"""Numbers of any size keep their value; nesting has a limit."""

from __future__ import annotations

import io
from decimal import Decimal

import pytest

from kmexport import MalformedRecordError, iter_records
from tests.support.reading import GOOD, read


def test_numbers_keep_their_value():
    digits = "9" * 5_000
    line = f'{{"_p":"a","_t":1,"int":{digits},"float":-1e999,"small":1.5}}'.encode()
    (record,) = iter_records([line])
    assert record.properties == {"int": Decimal(digits), "float": Decimal("-1e999"), "small": 1.5}


def test_a_number_that_nothing_can_hold_is_kept_as_text():
    (record,) = iter_records([b'{"_p":"a","_t":1,"x":1e9999999999999999999}'])
    assert record.properties == {"x": "1e9999999999999999999"}
    with pytest.raises(MalformedRecordError, match="_t is"):
        list(iter_records([b'{"_p":"a","_t":1e9999999999999999999}']))


def nested(levels: int, kind: str = "[]") -> bytes:
    """A record that is nested so deep, itself counted."""
    opening = b"[" if kind == "[]" else b'{"x":'
    inner = opening * (levels - 1) + (b"1" if kind == "{}" else b"") + kind[1].encode() * (levels - 1)
    return b'{"_n":"x","_p":"a","_t":1,"y":' + inner + b"}"


def deeper(frames: int, ask):
    """What asking gives when the stack is so much higher."""
    return deeper(frames - 1, ask) if frames else ask()


@pytest.mark.parametrize("kind", ["[]", "{}"])
@pytest.mark.parametrize("frames", [0, 300, 700])
@pytest.mark.parametrize("form", ["%s", "[%s]", "%s\r", "\xef\xbb\xbf%s", '{"_p":"b","_t":1,"o":"\\303\\241"}\n%s'])
def test_nesting_has_a_limit_of_our_own(kind, frames, form):
    for levels, is_read in ((490, True), (500, True), (501, False), (5_000, False), (100_000, False)):
        content = form.encode("latin-1") % nested(levels, kind)

        def read_all(content=content):
            errors: list[MalformedRecordError] = []
            records = [r for r in iter_records(io.BytesIO(content), on_error=errors.append) if r.person == "a"]
            assert [list(record.properties) for record in records] == [["y"]] * len(records)
            return len(records), [error.reason for error in errors]

        reason = "nested too deeply (more than 500 levels)"
        assert deeper(frames, read_all) == ((1, []) if is_read else (0, [reason]))


def test_deep_and_broken_lines_cost_their_neighbours_nothing():
    deep = b'{"_p":"a","_t":1,"x":' + b"[" * 480
    lines = [line for _ in range(50) for line in (deep, GOOD, nested(499), b"[" * 3_000, b'{"a":' * 3_000)]
    records, errors, _ = read(io.BytesIO(b"\n".join([GOOD, *lines])))
    assert (len(records), len(errors)) == (101, 150)


def test_deeply_nested_properties_are_read_wherever_they_are_asked_for():
    (record,) = iter_records([nested(500)])
    assert list(deeper(700, lambda: record.properties)) == ["y"]


@pytest.mark.parametrize("levels", [499, 501, 998, 999, 1000, 1001, 5000])
@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"_p":"a","_t":1,"x":['])
def test_brackets_that_are_opened_and_never_closed_are_one_error(opening, levels):
    text = opening * levels
    errors: list[MalformedRecordError] = []
    assert list(iter_records(io.BytesIO(text), on_error=errors.append)) == []
    assert errors
