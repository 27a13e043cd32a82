"""A file that is one JSON array: its items are its lines, and a broken one costs its neighbours nothing."""

from __future__ import annotations

import io
import json
import re
from decimal import Decimal

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kmexport import MalformedRecordError, iter_records
from kmexport.format.octal import has_doubled_octal
from tests.support.reading import GOOD, ShortReads, calls_of, read
from tests.support.strategies import RECORDS, examples


@given(st.lists(RECORDS, max_size=6), st.sampled_from([None, 1, 3]), st.booleans())
@settings(max_examples=examples(150))
def test_a_file_that_is_one_array(expected, indent, compact):
    separators = (",", ":") if compact else None
    text = json.dumps([record.to_dict() for record in expected], indent=indent, separators=separators)
    assume(not has_doubled_octal(text.encode()))
    records, errors, _ = read(io.BytesIO(text.encode()))
    assert errors == []
    assert records == expected


GOOD_ITEMS = st.sampled_from(
    [
        GOOD, b'{"_p":"bob","_t":2,"x":"}, {"}', b'{"_p":"eve","_t":3,"x":{"y":[1,{"z":"]"}]}}',
        b'{"_p":"kim","_t":4.5}',
        b'{"_p":"Paran\\303\\241","_t":5}', b'{\n"_p":"leo",\n"_t":6\n}', b'{"_p":"max","_t":7,"x":"\\"},{\\""}',
        b'{"_p":"\xe9","_t":8,"x":"},{\xe2\x82"}', b'{"_p":"\\351","_t":9,"caf\xe9":{"x":"\\231"}}',
    ]
)  # fmt: skip


BROKEN_ITEMS = st.sampled_from(
    [
        b"null", b"17", b"-1.5e3", b'"s, t"', b'"half', b"nul", b":", b"[1]", b'[{"_p":"n","_t":1}]', b"{}", b"oops",
        b'{"_p":"x","_t":}', b'{"_p" "x"}', b'{"_p":"x","_t":1,}', b"{]}", b'{"_p":"x","_t":NaN}',
        b'{"_p":"x\xff","_t":1]',
        b'{"_p":"x","y":"\x01","_t":1}',
    ]
)  # fmt: skip


SEPARATORS = st.sampled_from([b",", b", ", b",\n", b"\n,", b" ,\n\n"])


@given(
    st.lists(GOOD_ITEMS | BROKEN_ITEMS, max_size=8), SEPARATORS, st.sampled_from([1, 2, 3, 17, 1 << 16]), st.booleans()
)
@settings(max_examples=examples(400))
def test_broken_items_of_an_array_cost_their_neighbours_nothing(items, separator, size, is_closed):
    content = b"[" + separator.join(items) + (b"]" if is_closed else b"")
    records, errors, counts = read(ShortReads(content, size))
    good = [item for item in items if b'"_t":' in item and not BROKEN_ITEM.search(item)]
    expected, _, _ = read(io.BytesIO(b"\n".join(item.replace(b"\n", b"") for item in good)))
    assert records == expected
    assert bool(errors) == (len(good) < len(items) or not is_closed)
    assert (records, [str(e) for e in errors], counts) == unsized(content)


BROKEN_ITEM = re.compile(rb"^[^{]|:}|,}|NaN|[^}]$|\x01")


def unsized(content: bytes):
    records, errors, counts = read(io.BytesIO(content))
    return records, [str(error) for error in errors], counts


@given(st.lists(RECORDS, max_size=6), st.sampled_from([None, 0, 2, "\t"]), st.data())
@settings(max_examples=examples(300))
def test_an_array_is_the_same_in_blocks_of_any_size(expected, indent, data):
    ascii_only = data.draw(st.booleans()) or any("\ud83d" in repr(record.to_dict()) for record in expected)
    text = json.dumps([record.to_dict() for record in expected], indent=indent, ensure_ascii=ascii_only)
    content = text.encode("utf-8", "replace" if ascii_only else "surrogatepass")
    try:
        content.decode()
    except UnicodeDecodeError:
        assume(False)
    assume(not has_doubled_octal(content))
    before = data.draw(st.sampled_from([b"", b"\n ", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"]))
    after = data.draw(st.sampled_from([b"", b"\n", b" \r\n\n"]))
    size = data.draw(st.sampled_from([1, 2, 3, 7, 64, 1_000, 65_536]))
    records, errors, counts = read(ShortReads(before + content + after, size))
    assert (records, errors) == (expected, [])
    assert [list(record.properties.items()) for record in records] == [list(r.properties.items()) for r in expected]
    assert counts.lines == (before + content + after).removesuffix(b"\n").count(b"\n") + 1


@pytest.mark.parametrize(
    "number", ["2.2184916219093016e+16", "-1e-7", "1.5E+300", "1e400", "-0", "0.000000000000000000001", "1" * 40, "12"]
)
def test_a_number_of_an_array_is_cut_anywhere(number):
    content = f'[{{"_p":"ana","_t":1,"x":[{number}\n,{number}\n],"y":{{"z":{number}}}}}]'.encode()
    expected = list(iter_records([content[1:-1].replace(b"\n", b"")]))
    for size in range(1, len(content)):
        for before in range(min(size, 30)):
            records, errors, _ = read(ShortReads(b" " * before + content, size))
            assert (records, errors) == (expected, []), (size, before)


@pytest.mark.parametrize(
    "first", [b"[", b"[{", b'["x"', b"[garbage", b'[{"_p":"x","_t":1}', b'[{"_p":"x"', b"[17", b"[{]}"]
)
@pytest.mark.parametrize("size", [1, 20, 65_536])
def test_a_broken_first_line_makes_no_array_of_the_lines_behind_it(first, size):
    lines = [GOOD, b'{"_p":"bob","x":[', b'{"_p":"eve","_t":2}', b'{"_p":"kim","_t":"', b'{"_p":"leo","_t":3}']
    records, errors, _ = read(ShortReads(b"\n".join([first, *lines]), size))
    assert [record.person for record in records][-3:] == ["ana", "eve", "leo"]
    assert [error.line_number for error in errors if error.line_number > 1] == [3, 5]
    assert len([error for error in errors if error.line_number == 1]) == 1 or first in (b"[", b"[{")


@pytest.mark.parametrize("ending", [b"", b"\n", b",", b",\n  ", b', {"_p":"x","_t', b',\n{"_p":"x",\n"y":[{'])
def test_an_array_that_is_not_closed_is_one_error_after_its_records(ending):
    content = b"[" + GOOD + b",\n" + GOOD + ending
    records, errors, _ = read(io.BytesIO(content))
    assert len(records) == 2
    assert len(errors) == 1
    with pytest.raises(MalformedRecordError):
        next(records := iter_records(io.BytesIO(content))) and next(records) and next(records)


def test_lines_behind_an_array_are_read():
    records, errors, counts = read(io.BytesIO(b"[" + GOOD + b"," + GOOD + b"]\n" + GOOD + b"\n\n" + b"broken\n" + GOOD))
    assert (len(records), [error.line_number for error in errors], counts.shared) == (4, [4], 1)


@pytest.mark.parametrize(
    "text", [b"x" * 5_000, b"x " * 2_500, b"9" * 5_000, b"\\u00e9" * 900, b'\\"' * 2_500, b"},{" * 1_700]
)
@pytest.mark.parametrize("size", [1, 100, 65_536])
def test_an_item_of_an_array_above_the_limit_is_one_error(text, size):
    item = b'{"_p":"eve","_t":1,"x":{"y":"' + text + b'"}}'
    content = b"[" + GOOD + b"," + item + b"," + GOOD + b"]"
    assert len(read(ShortReads(content, size), max_line_bytes=len(item))[0]) == 3
    if b"},{" not in text:
        records, errors, _ = read(ShortReads(content, size), max_line_bytes=len(item) - 1)
        assert (len(records), [len(error.raw) for error in errors]) == (2, [1_000])
        assert f"an item of {len(item):,} bytes is above the limit" in errors[0].reason


@pytest.mark.parametrize("size", [1, 7, 65_536])
def test_a_number_of_thousands_of_digits_does_not_end_the_process(size):
    number = b"9" * 5_000
    content = b'[{"_p":"a","_t":1,"x":{"n":-%s,"f":%s.%se%s}},%s, {"_p":"b","_t":1}]' % (
        number,
        number,
        number,
        b"1",
        number,
    )
    records, errors, _ = read(ShortReads(content, size))
    assert [record.person for record in records] == ["a", "b"]
    assert records[0].properties["x"]["n"] == Decimal("-" + "9" * 5_000)
    assert len(errors) == 1


@pytest.mark.parametrize("item", [b'{"x":[{},', b'{"x":[{"a":', b'{"a":"},', b"[{},", b"{}}", b'{"x":[1},{"y":2}],'])
def test_time_stays_linear_on_hostile_arrays(item):
    def cost(items: int) -> int:
        return calls_of(lambda: read(io.BytesIO(b"[" + item * items)))

    assert cost(4_000) <= 2.4 * cost(2_000)
