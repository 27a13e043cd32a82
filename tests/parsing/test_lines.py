"""Reading is exact: every record of every legal form comes out, and every other line is an error with its number."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kmexport.format.decoding import DECODE_ERRORS, decode_head
from kmexport.format.octal import has_doubled_octal
from kmexport.format.repair import parse_record
from tests.support.reading import GOOD, ShortReads, read
from tests.support.strategies import BLANK, BROKEN, RECORDS, examples, legal_lines


@given(st.data())
@settings(max_examples=examples(300))
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


@given(RECORDS, st.data())
@settings(max_examples=examples(500))
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
@settings(max_examples=examples(300))
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
@settings(max_examples=examples(300))
def test_any_bytes_are_accounted_for(content, size):
    records, errors, counts = read(ShortReads(content, size))
    assert counts.lines == content.count(b"\n") + (0 if content.endswith(b"\n") or not content else 1)
    whole_records, whole_errors, whole_tally = read(io.BytesIO(content))
    assert (records, [str(e) for e in errors], counts) == (whole_records, [str(e) for e in whole_errors], whole_tally)


@pytest.mark.parametrize("content", ["\ufeff", "\ufeff\n", "\ufeff \r\n\n", "\ufeff\ufeff\n"])
def test_a_file_that_holds_a_byte_order_mark_alone_is_blank(content):
    records, errors, counts = read(io.BytesIO(content.encode()))
    assert (records, errors) == ([], [])
    assert counts.lines == counts.blank == content.removesuffix("\n").count("\n") + 1
