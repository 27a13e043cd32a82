"""Reading lines gives what an obvious model gives: octal escapes and bytes one by one, json, the rules one by one."""

from __future__ import annotations

import json
import re
from decimal import ROUND_FLOOR, Decimal
from typing import Any, NoReturn

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kmexport import LineCounts, MalformedRecordError, iter_records
from kmexport.format.octal import has_doubled_octal
from tests.support.reading import ShortReads
from tests.support.strategies import examples, read_bytes

MARK = b"\xef\xbb\xbf"
NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?")
KEYS = st.sampled_from(["_p", "_t", "_n", "_p2", "x", "_d", "é", "caf\\303\\251", ""])
VALUES = st.sampled_from(
    [
        "1", '"1"', "1.5", '"1.5"', "-0.5", '"x"', "null", "true", "7", '"7"', "1e3", '"é"', '"\\303\\251"', '"\\\\x"',
        '"\\u00e9"', '"\\ud83d"', '[1,{"a":"}"}]', '{"_p":1}', '"a\\"b"', "1349222400.0", '"-1.0"', '"C:\\\\303"',
        "NaN", "12345678901234567890123", '""', '"\\342\\202\\254x\\\\\\303\\241"', "-0", '"{"', "253402300799.9",
        '"\\101"', '"caf\\351"', '"\\231"', '"\\303\\241\\303"', '"\\355\\240\\275"', '"\\201"',
        '"\\\\\\231"', '"\\303\\012"',
    ]
)  # fmt: skip
DAMAGE = st.sampled_from([b"", b'"', b"{", b"}", b"\\", b",", b"\xff", b"\x00", b" ", b"\xc3", b"\x81", b"\xe2\x82"])


class Float(str):
    __slots__ = ()


class Integer(str):
    __slots__ = ()


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    keys = draw(st.permutations(["_p", "_t", *draw(st.lists(KEYS, max_size=3))]))
    text = "{" + ",".join(f'"{key}":{draw(VALUES)}' for key in keys) + "}"
    line = bytearray(text.encode())
    if draw(st.integers(0, 4)) == 0:
        at = draw(st.integers(0, len(line) - 1))
        line[at : at + draw(st.integers(0, 2))] = draw(DAMAGE)
    before = draw(st.sampled_from([b"", b"", b"", MARK, MARK * 2]))
    return before + bytes(line) + draw(st.sampled_from([b"", b"", b"\r"]))


def without_octal(line: bytes) -> bytes:
    """The line with the byte that each escape stands for; within ASCII, as JSON spells it in a string."""
    out, at = b"", 0
    while at < len(line):
        if re.match(rb"\\[0-3][0-7][0-7]", line[at : at + 4]):
            byte = int(line[at + 1 : at + 4], 8)
            out += bytes([byte]) if byte > 0x7F else json.dumps(chr(byte))[1:-1].encode()
            at += 4
        else:
            step = 2 if line[at : at + 1] == b"\\" else 1
            out += line[at : at + step]
            at += step
    return out


def refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def model(line: bytes) -> dict[str, Any] | None:
    """The record as its keys and values; None where the line is none."""
    while line.startswith(MARK):
        line = line.removeprefix(MARK)
    try:
        text = read_bytes(without_octal(line))
        found = json.loads(text, parse_constant=refuse, parse_int=Integer, parse_float=Float)
        values = json.loads(text)
        if not isinstance(found, dict):
            return None
    except ValueError:
        return None
    person, time, name, alias = (found.get(key) for key in ("_p", "_t", "_n", "_p2"))
    if any(type(identity) not in (str, Integer, type(None)) for identity in (person, alias)):
        return None
    if person is None or type(name) not in (str, type(None)) or (name is not None and alias is not None):
        return None
    is_number = type(time) in (str, Integer, Float) and NUMBER.fullmatch(time)
    if not is_number or not -62_135_596_800 <= Decimal(time) < 253_402_300_800:
        return None
    head = {"_p": person, "_t": int(Decimal(time).to_integral_value(ROUND_FLOOR)), "_n": name, "_p2": alias}
    properties = {key: value for key, value in values.items() if key not in head}
    return {key: value for key, value in head.items() if value is not None} | properties


@given(st.lists(lines(), min_size=1, max_size=8), st.sampled_from([1, 7, 60, 1 << 16]), st.booleans())
@settings(max_examples=examples(500))
def test_lines_are_what_the_model_says(content, size, touch):
    assume(not any(has_doubled_octal(line) or line.startswith((b"[", b" ")) or not line.strip() for line in content))
    expected = [(number, line, model(line)) for number, line in enumerate(content, 1)]
    file_of_short_reads = ShortReads(b"\n".join(content), size)
    errors: list[MalformedRecordError] = []
    counts = LineCounts()
    found = []
    for record in iter_records(file_of_short_reads, on_error=errors.append, counts=counts):
        if touch:
            assert record.properties is record.properties
        found.append(repr(record.to_dict()))
    assert found == [repr(record) for _, _, record in expected if record is not None]
    assert [(e.line_number, e.raw) for e in errors] == [(n, line) for n, line, record in expected if record is None]
    assert counts.lines == counts.records + counts.rejected == len(content)
