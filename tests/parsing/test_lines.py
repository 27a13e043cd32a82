"""Reading is exact: every record of every legal form comes out, and every other line is an error with its number."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import sys
import zlib
from contextlib import nullcontext
from decimal import Decimal
from typing import ClassVar

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kmexport import MalformedRecordError, iter_records
from kmexport.format.decoding import DECODE_ERRORS, decode_head
from kmexport.format.octal import has_doubled_octal, repair_doubled_octal, repair_octal
from kmexport.format.repair import parse_record
from kmexport.parsing.counts import LineCounts
from kmexport.parsing.records import one_by_one, read_lists
from kmexport.storage.open_files import open_checked
from tests.support.strategies import BLANK, BROKEN, RECORDS, legal_lines

GOOD = b'{"_p":"ana","_t":1}'


class ShortReads(io.RawIOBase):
    """A file that gives a few bytes at a time, so that every line crosses a border somewhere."""

    def __init__(self, content: bytes, size: int) -> None:
        self.content, self.size, self.at = content, size, 0

    def read(self, size: int = -1) -> bytes:
        block = self.content[self.at : self.at + min(size, self.size)]
        self.at += len(block)
        return block


def calls_of(work) -> int:
    calls = 0

    def count(frame, event, arg):
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def read(source, max_line_bytes=1 << 20, *, touch=False):
    """With `touch`, the properties are asked for record by record, so that later blocks are parsed whole."""
    errors: list[MalformedRecordError] = []
    counts = LineCounts()
    records = []
    for record in one_by_one(read_lists(source, "revisions/1.json", errors.append, max_line_bytes, counts)):
        if touch:
            assert record.properties is record.properties
        records.append(record)
    assert counts.lines == counts.records + counts.rejected + counts.blank + counts.joined - counts.shared
    assert (len(records), len(errors)) == (counts.records, counts.rejected)
    return records, errors, counts


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_records_in_any_legal_form_between_broken_and_blank_lines(data):
    lines: list[bytes] = []
    expected_records, expected_errors, blank = [], [], 0
    for _ in range(data.draw(st.integers(0, 8))):
        kind = data.draw(st.sampled_from(["record", "record", "broken", "blank"]))
        number = sum(line.count(b"\n") + 1 for line in lines) + 1
        if kind == "record":
            record = data.draw(RECORDS)
            line, _ = data.draw(legal_lines(record))
            expected_records.append(record)
        elif kind == "broken":
            line = data.draw(BROKEN)
            if not expected_records and not expected_errors and line.startswith((b"[", b"\xef")):
                continue  # at the start they say: the file is one array, or begins with a byte-order mark
            expected_errors.append((number, line))
        else:
            line = data.draw(BLANK)
            blank += 1
        lines.append(line)
    content = b"\n".join(lines)
    end = data.draw(st.sampled_from([b"\n", b"\r\n"]))
    content = content.replace(b"\n", end)
    has_end = bool(lines) and data.draw(st.booleans())
    if has_end:
        content += end
    source = ShortReads(content, data.draw(st.integers(1, 200)))
    records, errors, counts = read(source, touch=data.draw(st.booleans()))
    assert records == expected_records
    assert [(error.line_number, error.raw.rstrip(b"\r")) for error in errors] == expected_errors
    # A last line without a newline is one only where something stands in it.
    assert counts.blank == blank - (bool(lines) and lines[-1] == b"" and not has_end)


@given(st.lists(RECORDS, max_size=6), st.sampled_from([None, 1, 3]), st.booleans())
@settings(max_examples=150, deadline=None)
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
@settings(max_examples=400, deadline=None)
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
@settings(max_examples=300, deadline=None)
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


@given(RECORDS, st.data())
@settings(max_examples=500, deadline=None)
def test_the_fast_way_accepts_nothing_that_json_rejects(record, data):
    line = bytearray(json.dumps(record.to_dict()).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(line) - 1))
        line[at : at + data.draw(st.integers(0, 1))] = data.draw(
            st.sampled_from(
                [b"", b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"0", b"-", b"e", b".", b"\x00", b"\xff"]
            )
        )
    try:
        head = decode_head(bytes(line))
        bytes(line).decode()
    except DECODE_ERRORS:
        return
    assume(not has_doubled_octal(bytes(line)))
    assert parse_record(bytes(line)).head == head


IRREGULAR = [
    b'{"_p":"a","_t":"7"}', b'{"_p":"a","_t":true}', b'{"_p":1,"_t":7}', b'{"_t":7}', b'{"_p":"a","_t":7,"_n":1}',
    b'{"_p":"a","_t":7,"_n":"x","_p2":"b"}', b'{"_p":"a","_t":7,"_p2":null}', b'{"_p":"a","_t":7.0}', b"[]", b"7",
    b'{"_p":"a","_t":999999999999999}', rb'{"_p":"a","_t":7,"x":"\\303\\241"}', b'{"_p":"a","_t":7,"x":1e400}',
]  # fmt: skip


@given(st.lists(st.one_of(st.just(GOOD), st.sampled_from(IRREGULAR)), max_size=12), st.integers(1, 100))
@settings(max_examples=300, deadline=None)
def test_parsing_whole_lines_gives_what_parsing_in_two_steps_gives(lines, size):
    content = b"\n".join([GOOD, *lines])
    plain = read(ShortReads(content, size))
    touched = read(ShortReads(content, size), touch=True)
    assert touched[0] == plain[0]
    assert [(e.line_number, e.reason, e.raw) for e in touched[1]] == [
        (e.line_number, e.reason, e.raw) for e in plain[1]
    ]
    assert touched[2] == plain[2]


@given(st.binary(max_size=300), st.integers(1, 40))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_accounted_for(content, size):
    records, errors, counts = read(ShortReads(content, size))
    assert counts.lines == content.count(b"\n") + (0 if content.endswith(b"\n") or not content else 1)
    whole_records, whole_errors, whole_tally = read(io.BytesIO(content))
    assert (records, [str(e) for e in errors], counts) == (whole_records, [str(e) for e in whole_errors], whole_tally)


@pytest.mark.parametrize(
    ("line", "repaired"),
    [
        (rb'{"a":"Paran\303\241"}', '{"a":"Paraná"}'),
        (rb'{"a":"\\\303\241"}', '{"a":"\\\\á"}'),
        (rb'{"a":"\303\241\342\202\254"}', '{"a":"á€"}'),
        (rb'{"a":"\n\303\241"}', '{"a":"\\ná"}'),
        (rb'{"a":"\101"}', '{"a":"A"}'),
        (rb'{"a":"\012"}', '{"a":"\\n"}'),
        (rb'{"a":"\\303"}', None),
        (rb'{"a":"\303"}', '{"a":"Ã"}'),
        (rb'{"a":"\400"}', None),
        (rb'{"a":"\303x\241"}', '{"a":"Ãx¡"}'),
        (rb'{"a":"\355\240\275"}', '{"a":"í\xa0½"}'),  # half a surrogate pair is not UTF-8
        (rb'{"a":"Frida\231"}', '{"a":"Frida™"}'),
        (rb'{"a":"\\\231 \\231"}', r'{"a":"\\™ \\231"}'),
        (rb'{"a":"\303\241\303"}', '{"a":"áÃ"}'),
        (rb'{"a":"\201\303\012\342\202"}', '{"a":"\ufffdÃ\\nâ\u201a"}'),
        (b'{"a":"\xc3\\241 \\303\xa1 \xe9\\351"}', '{"a":"á á éé"}'),
        (rb'{"a":"b"}', None),
    ],
)
def test_single_octal(line, repaired):
    found = repair_octal(line)
    assert (found.decode() if found else found) == repaired


@pytest.mark.parametrize(
    ("line", "repaired"),
    [
        (rb'{"a":"Paran\\303\\241"}', '{"a":"Paraná"}'),
        (rb'{"a":"\\\\303\\241"}', r'{"a":"\\\\303\\241"}'),
        (rb'{"a":"\\\\\\303\\241"}', '{"a":"\\\\\\\\á"}'),
        (rb'{"a":"\\303"}', r'{"a":"\\303"}'),
        (rb'{"a":"\\101"}', r'{"a":"\\101"}'),
        (rb'{"a":"\\303\\241\\200"}', '{"a":"á€"}'),  # half a character, behind a whole one
        (rb'{"a":"\\200\\303\\241"}', '{"a":"€á"}'),
        (rb'{"a":"D:\\2012\\231"}', r'{"a":"D:\\2012\\231"}'),
    ],
)
def test_doubled_octal(line, repaired):
    assert repair_doubled_octal(line).decode() == repaired


def test_the_line_of_the_format_description():
    line = (
        rb'{"_n":"email - email sent","subject":"Municipalidad de Paran\303\241: Today\'s news",'
        rb'"_p":"187675_17lu","_t":1443603671}'
    ).replace(rb"\'", b"'")
    (record,) = iter_records([line])
    assert record.properties["subject"].startswith("Municipalidad de Paraná: ")


def test_a_line_above_the_limit_costs_one_error():
    content = GOOD + b"\n" + b"x" * 300_000 + b"\n" + GOOD + b"\n"
    records, errors, _ = read(io.BytesIO(content), max_line_bytes=200_000)
    assert len(records) == 2
    assert [(error.line_number, len(error.raw)) for error in errors] == [(2, 1_000)]
    assert "300,000 bytes is above the limit, max_line_bytes=200,000" in errors[0].reason


@pytest.mark.parametrize("size", [1, 7, 65_535, 65_536, 65_537, 131_072])
def test_the_limit_holds_whatever_the_blocks(size):
    line = b'{"_p":"' + b"a" * (size - 15 if size > 15 else 0) + b'","_t":1}'
    for limit, count in ((len(line), 2), (len(line) - 1, 0)):
        records, errors, _ = read(io.BytesIO(line + b"\n" + line), max_line_bytes=limit)
        assert (len(records), len(errors)) == (count, 2 - count)


def test_a_hash_over_several_lines_has_the_same_limit():
    content = b'{"_p":"eve",\n' + b'  "x":1,\n' * 1_000 + b'  "_t":3}\n' + GOOD
    records, errors, _ = read(io.BytesIO(content), max_line_bytes=1_000)
    assert [record.person for record in records] == ["ana"]
    assert len(errors) == 1_002


@pytest.mark.parametrize(
    "line",
    [
        b"x\n",
        b"\n",
        b'{"_p":"a",\n',
        b' {"a":[\n',
        b'{"_p":"a","_t":1}}\n',
        b'{"a":"\\303"}\n',
        b'  "a":1,\n',
        b"[\n",
        b"{\n",
        b'"\n',
    ],
)
@pytest.mark.parametrize("first", [b"", b"[\n", b'{"_p":\n'])
def test_time_stays_linear_on_hostile_lines(line, first):
    """Counted in calls, not in seconds: each line is judged at most twice."""

    def cost(lines: int) -> int:
        return calls_of(lambda: read(io.BytesIO(first + line * lines)))

    assert cost(2_000) <= 2.2 * cost(1_000)


def test_a_hash_of_many_short_lines_is_bounded_by_what_they_cost():
    content = b'{"a":[\n' + b" ,\n" * 1_000
    _, errors, _ = read(io.BytesIO(content), max_line_bytes=10_000)
    assert len(errors) == 1_001  # given up before the end, and each line judged alone


def test_a_source_that_fails_later_gives_its_first_records():
    def lines():
        yield GOOD
        yield GOOD
        msg = "read too far"
        raise RuntimeError(msg)

    records = iter_records(lines())
    assert next(records).person == "ana"
    assert next(records).person == "ana"
    with pytest.raises(RuntimeError, match="read too far"):
        next(records)


def test_the_first_record_needs_only_the_first_line():
    def lines():
        yield GOOD
        pytest.fail("the second line was read")

    assert next(iter_records(lines())).person == "ana"


def test_numbers_keep_their_value():
    digits = "9" * 5_000
    line = f'{{"_p":"a","_t":1,"int":{digits},"float":-1e999,"small":1.5}}'.encode()
    (record,) = iter_records([line])
    assert record.properties == {"int": Decimal(digits), "float": Decimal("-1e999"), "small": 1.5}


@pytest.mark.parametrize("damage", ["checksum", "no trailer", "text behind it", "cut off"])
def test_a_broken_gzip_stream_gives_all_that_can_be_unpacked(damage):
    lines = [b'{"_n":"x","_p":"p%d","_t":1,"y":"%s"}' % (n, os.urandom(30).hex().encode()) for n in range(3000)]
    packed = gzip.compress(b"\n".join(lines) + b"\n")
    broken = {
        "checksum": packed[:-8] + b"\x00" * 8,
        "no trailer": packed[:-8],
        "text behind it": packed + b"text",
        "cut off": packed[: len(packed) // 2],
    }[damage]
    unpacked = zlib.decompressobj(wbits=31)
    whole = unpacked.decompress(packed[: len(packed) // 2]).count(b"\n") if damage == "cut off" else len(lines)
    errors: list[MalformedRecordError] = []
    with gzip.open(io.BytesIO(broken)) as file:
        records = list(iter_records(file, on_error=errors.append))
    assert len(records) == whole > 1000
    assert "gzip" in errors[-1].reason
    assert [error.line_number for error in errors] == [whole + 1]
    assert lines[whole:][:1] == [] or (errors[0].raw and lines[whole].startswith(errors[0].raw))


def cut_gzip(content: bytes, keep: int) -> gzip.GzipFile:
    """A stream that unpacks to the first bytes of the content, and breaks off behind them."""
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress(content[:keep]) + packer.flush(zlib.Z_FULL_FLUSH)
    return gzip.GzipFile(fileobj=io.BytesIO(packed))


@given(st.lists(st.sampled_from([GOOD, b'{"_p":"bob",\n  "x":[1,\n  2],\n  "_t":1}', b""]), max_size=4), st.data())
@settings(max_examples=200, deadline=None)
def test_a_gzip_stream_cut_anywhere_gives_one_error_more(lines, data):
    is_array = data.draw(st.booleans())
    separator = data.draw(st.sampled_from([b",", b",\n", b"\n,"])) if is_array else b"\n"
    content = separator.join(filter(None, lines) if is_array else lines)
    content = b"[" + content + b"]" if is_array else content
    keep = data.draw(st.integers(0, len(content)))
    records, errors, counts = read(cut_gzip(content, keep))
    assert [error for error in errors if "gzip" not in error.reason] == []
    assert len(errors) == 1
    assert errors[0].raw in content[:keep]
    whole, _, _ = read(io.BytesIO(content))
    assert records == whole[: len(records)]
    assert counts.lines >= content[:keep].count(b"\n")


@pytest.mark.parametrize("size", [1, 2, 3, 65_536])
def test_gzip_is_seen_however_little_a_reading_gives(size):
    packed = ShortReads(gzip.compress(GOOD + b"\n" + GOOD), size)
    with open_checked(lambda: packed, "revisions/1.json", nullcontext, None) as file:
        assert len(list(iter_records(file))) == 2
    for content in (b"", b"{", GOOD):
        with open_checked(lambda: ShortReads(content, size), "1.json", nullcontext, None) as file:  # noqa: B023
            assert b"".join(iter(lambda: file.read(7), b"")) == content


def test_a_file_that_has_nothing_to_read_yet_is_not_at_its_end():
    class NotYet(io.RawIOBase):
        blocks: ClassVar = [GOOD + b"\n", None]

        def read(self, size: int = -1) -> bytes | None:
            return self.blocks.pop(0)

    records = iter_records(NotYet())
    assert next(records).person == "ana"
    with pytest.raises(BlockingIOError, match="read\\(\\) gave None"):
        next(records)


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
