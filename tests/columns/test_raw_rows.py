"""`raw_rows`: what it makes of a block is what each line says alone."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from kmexport.columns.json_text import encode_lines, without_head
from kmexport.columns.raw_rows import RawRows, nullable_strings, raw_rows, strings
from kmexport.format.repair import parse_record
from tests.support.strategies import examples

KEYS = st.sampled_from(["_p", "_t", "_n", "_p2", "\\u005fp", "x", "y z", "_N"])
STRINGS = ['"a"', '"ann@x"', '"null"', '""', '"é"', '"a\\nb"', '"\\u0000"', '"\\ud83d"', '"a" ']
NUMBERS = ["1", "0", "-1", "1.0", "1e3", "\t7", "253402300799", "253402300800", "18446744073709551617"]
VALUES = st.sampled_from([*STRINGS, *NUMBERS, "null", '{"_p":"x"}', '["a","b"]'])
LIKELY = st.fixed_dictionaries({"_p": st.sampled_from(['"a"', '"b"']), "_t": st.sampled_from(["1", "22"])})
LINES = st.tuples(LIKELY.map(lambda found: [*found.items()]), st.lists(st.tuples(KEYS, VALUES), max_size=4)).flatmap(
    lambda pairs: st.permutations(pairs[0] + pairs[1])
)


def spelt(pairs: list[tuple[str, str]]) -> bytes:
    return "{{{}}}".format(",".join(f'"{key}":{value}' for key, value in pairs)).encode()


@given(st.lists(LINES.map(spelt), min_size=1, max_size=5))
@settings(max_examples=examples(500))
@example([b'{"_p":"a","_t":1,"_n":null}', b'{"_p":"a","_t":1,"_p2":"b","_n":null}'])
@example([b'{"_p":7,"_p":"a","_t":1}'])
@example([b'{"_p":"a","_t":1,"x":1,"x":2}'])
@example([b'{"_p":"a","_t":1}', b'{"_p":"null","_t":1,"_n":"null","x":null}'])
def test_rows_are_those_of_each_line(lines):
    rows = raw_rows(b"\n".join(lines))
    if not isinstance(rows, RawRows):
        return
    parsed = [parse_record(line) for line in lines]
    assert not any(line.is_repaired for line in parsed)
    found = zip(
        strings([rows.heads.persons]).to_pylist(),
        rows.heads.times.tolist(),
        nullable_strings([rows.heads.names]).to_pylist(),
        nullable_strings([rows.heads.aliases]).to_pylist(),
        strict=True,
    )
    assert [*found] == [(head.person, head.timestamp, head.name, head.alias) for head in (one.head for one in parsed)]
    assert encode_lines(rows.properties) == b"".join(without_head(line) + b"\n" for line in lines)


def test_plain_lines_are_read_so():
    assert isinstance(raw_rows(b'{"_p":"a","_t":1}\r\n{"_p":"b","_t":2,"_p2":"a"}\r'), RawRows)
