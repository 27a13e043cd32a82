"""Names and values of lines: cut out of plain ones, parsed out of others; the same as one line after another."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmexport import Facts
from kmexport.format.hashes import RESERVED, load_object, read_properties
from kmexport.tables import pairs as pairs_module
from kmexport.tables.cuts import cut_plain
from kmexport.tables.numbers import PropertyNames
from kmexport.tables.pairs import pairs_of_lines
from kmexport.tables.texts import without_head
from tests.strategies import RECORDS, legal_lines
from tests.test_columns import export_of
from tests.test_facts import expected, found, half_as_text

FEW = st.sampled_from
STRINGS = ["", "a", "é", ":", ",", "{", "}", '\\"', "\\\\", "\\/", "\\u0041", "\\ud83d", "a:b,", "[", "\\n", '\\\\\\"']
KEYS = FEW(["plan", "Plan", "a b", "_d", "é", "", ":", "\\u0061", "a", 'x\\"y', "_p", "\\u005fn", *map(str, range(40))])
VALUES = st.one_of(
    FEW(STRINGS).map('"{}"'.format),
    FEW(
        [
            "1",
            "-0",
            "1.50",
            "1e400",
            "true",
            "false",
            "null",
            "[]",
            '["a:b"]',
            '{"plan":"x"}',
            '[{"_p":1}]',
            "12345678901234567890",
        ]
    ),
)
SPACES = FEW(["", "", "", " ", "  ", "\t"])


@st.composite
def hashes(draw):
    """JSON objects that have the keys of a record, in many spellings."""
    pairs = draw(st.lists(st.tuples(KEYS, VALUES), max_size=6))
    pairs.insert(draw(st.integers(0, len(pairs))), ("_t", "1"))
    if draw(st.booleans()):  # no space between the parts
        return f"{{{','.join(f'{chr(34)}{key}{chr(34)}:{value}' for key, value in pairs)}}}"
    spaces = [draw(SPACES) for _ in range(5)]
    spelt = f"{spaces[0]},{spaces[1]}".join(f'"{key}"{spaces[2]}:{spaces[3]}{value}' for key, value in pairs)
    return f"{{{spaces[4]}{spelt}{spaces[0]}}}{spaces[1]}"


def as_rows(pairs, names):
    """The properties of each line."""
    spellings = list(names)
    values = [load_object(f'{{"":{text}}}'.encode())[""] for text in pairs.values.to_pylist()]
    rows = list(zip([spellings[number] for number in pairs.ids.tolist()], map(repr, values), strict=True))
    ends = pairs.counts.cumsum().tolist()
    return [rows[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def one_by_one(lines):
    return [
        [(half_as_text(name), repr(half_as_text(value))) for name, value in read_properties(line).items()]
        for line in lines
    ]


@pytest.mark.parametrize("at_once", [1, 150, 800_000])
@given(st.lists(hashes(), max_size=12))
@settings(deadline=None)
def test_the_same_as_one_line_after_another(at_once, hashes):
    lines = [text.encode() for text in hashes]
    names = PropertyNames()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pairs_module, "_CUT_AT_ONCE", at_once)
        together = [b"\n".join(lines[:3]), *lines[3:]] if lines else []  # a block, and lines of their own
        found = pairs_of_lines(together, names, with_texts=True)
    assert as_rows(found, names) == one_by_one(lines)
    assert found.texts.to_pylist() == [without_head(line).decode() for line in lines]


@given(st.lists(hashes(), min_size=1, max_size=12))
@settings(deadline=None)
def test_plain_lines_need_no_parser(hashes):
    names = PropertyNames()
    lines = [text.encode() for text in hashes]
    cut = cut_plain(b"\n".join([*lines, b""]), names, with_texts=False)
    for line, is_plain in zip(lines, cut.is_plain if cut is not None else [], strict=False):
        if is_plain:
            assert b" " not in line.replace(b"a b", b"")
            assert all(not isinstance(value, list | dict) for value in load_object(line).values())
    plain = b'{"_p":"ann","plan":"Pro: a, b {c}","n":-1.5e3,"x":null,"_t":1}\n'
    cut = cut_plain(plain * 3, names, with_texts=True)
    assert cut.is_plain.all()
    assert cut.spelt.to_pylist() == ['{"plan":"Pro: a, b {c}","n":-1.5e3,"x":null}'] * 3


def test_a_key_that_stands_twice_is_found_however_many_there_are():
    keys = [f'"k{number}":{number}' for number in range(200)]
    lines = [keys, [*keys, '"k7":1'], [*keys, '"k170":1'], ['"k":1'] * 100, keys]
    text = "".join(f"{{{','.join(pairs)}}}\n" for pairs in lines).encode()
    assert cut_plain(text, PropertyNames(), with_texts=False).is_plain.tolist() == [True, False, False, False, True]
    assert RESERVED == ("_p", "_t", "_n", "_p2")


@given(st.data())
@settings(deadline=None, max_examples=40)
@pytest.mark.parametrize("rule", ["classic", "strict"])
@pytest.mark.slow
def test_facts_of_an_export_in_any_spelling(rule, data):
    records = data.draw(st.lists(RECORDS, max_size=6))
    lines = [data.draw(legal_lines(record))[0] for record in records]
    bucket = export_of(b"\n".join([*lines, *lines[:2]]))
    halves = []
    kept = list(bucket.to_batches(on_error=halves.append))
    assert sum(batch.num_rows for batch in kept) + len(halves) == len(lines) + len(lines[:2])
    if not halves:
        with Facts(bucket, rule=rule) as facts:
            assert found(facts) == expected(bucket.iter_records(), bucket.identities(), rule)
            texts = facts.sql("select properties from records").fetchall()
            assert len(texts) == len(lines) + len(lines[:2])
