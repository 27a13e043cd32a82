"""Names and values of properties: many lines in one call, and the same as one line after another."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmexport import Facts
from kmexport.columns.json_text import without_head
from kmexport.columns.pairs import PairReader, Spellings
from kmexport.format.decoding import decode_properties, load_object
from kmexport.testing import write_export
from tests.columns.test_reader import export_of
from tests.facts.test_facts import expected, found, half_as_text
from tests.support.strategies import RECORDS, examples, legal_lines

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
# Between the parts of one line JSON may have these.
SPACES = st.text(" \t\r", max_size=2) | st.just("")


@st.composite
def objects(draw):
    """JSON objects that have the keys of a record, in many spellings."""
    pairs = draw(st.lists(st.tuples(KEYS, VALUES), max_size=6))
    pairs.insert(draw(st.integers(0, len(pairs))), ("_t", "1"))
    parts = [part for key, value in pairs for part in (f'"{key}"', ":", value, ",")][:-1]
    spaces = draw(st.lists(SPACES, min_size=len(parts) + 1, max_size=len(parts) + 1))
    return "{" + "".join(space + part for space, part in zip(spaces, [*parts, ""], strict=True)) + "}"


def as_rows(pairs, names):
    """The properties of each line."""
    spellings = list(names)
    values = [load_object(f'{{"":{text}}}'.encode())[""] for text in pairs.values().to_pylist()]
    rows = list(zip([spellings[number] for number in pairs.ids().tolist()], map(repr, values), strict=True))
    ends = pairs.counts().cumsum().tolist()
    return [rows[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def one_by_one(lines):
    return [
        [(half_as_text(name), repr(half_as_text(value))) for name, value in decode_properties(line).items()]
        for line in lines
    ]


@given(st.lists(objects(), max_size=12), st.integers(0, 12))
def test_the_same_as_one_line_after_another(objects, of_block):
    lines = [text.encode() for text in objects]
    names = Spellings()
    reader = PairReader(names, with_texts=True)
    block, rest = lines[:of_block], lines[of_block:]
    if block:
        reader.add_block(b"\n".join(block), len(block))
    reader.add_texts(rest)
    found = reader.take()
    assert as_rows(found, names) == one_by_one(lines)
    assert {
        row: text for row, text in enumerate(found.texts().to_pylist()) if row not in found.exact
    } | found.exact == {row: without_head(line).decode() for row, line in enumerate(lines)}
    assert len(reader.take().counts()) == 0


@given(st.lists(objects(), max_size=12), st.sets(FEW(["plan", "a b", "é", ""])))
def test_wanted_names_in_every_spelling(objects, wanted):
    names = Spellings()
    reader = PairReader(names, frozenset(wanted))
    reader.add_texts([text.encode() for text in objects])
    everything = one_by_one([text.encode() for text in objects])
    folded = {"plan": "plan", "Plan": "plan", "a b": "a b", "é": "é", "": ""}
    assert as_rows(reader.take(), names) == [
        [(name, value) for name, value in pairs if folded.get(name) in wanted] for pairs in everything
    ]


def test_of_a_column_of_json():
    import pyarrow as pa

    names = Spellings()
    found = PairReader(names).read(pa.array(['{"a":1.50,"b":null}', None, '{"a":[1,\n2]}']))
    assert found.counts().tolist() == [2, 0, 1]
    assert found.values().to_pylist() == ["1.50", "null", "[1, 2]"]
    assert [list(names)[number] for number in found.ids()] == ["a", "b", "a"]


# Parts of one line, joined by every mixture of spaces, tabs and carriage returns.
PROPERTIES = st.dictionaries(FEW(["plan", "Plan", "url", "na\\u00efve", ""]), VALUES, max_size=4)
LINES = st.tuples(FEW(["ana", "eve"]), FEW(["1349000168", "1349000168.0", '"1349000168"']), PROPERTIES)


@st.composite
def spaced_lines(draw):
    person, time, properties = draw(LINES)
    pairs = [("_p", f'"{person}"'), ("_t", time), ("_n", '"signed up"'), *properties.items()]
    pairs = draw(st.permutations(pairs))
    parts = [part for key, value in pairs for part in (f'"{key}"', ":", value, ",")][:-1]
    spaces = draw(st.lists(SPACES, min_size=len(parts) + 1, max_size=len(parts) + 1))
    return ("{" + "".join(space + part for space, part in zip(spaces, [*parts, ""], strict=True)) + "}").encode()


@given(st.lists(spaced_lines(), min_size=1, max_size=8))
@settings(max_examples=examples(60))
@pytest.mark.slow
def test_records_columns_and_facts_agree_on_lines_with_any_spaces(lines):
    bucket = write_export("memory://spaces", {1: lines})
    records = list(bucket.iter_records())
    texts = [
        json.loads(text) for text in bucket.to_batches(columns=["properties"]).read_all()["properties"].to_pylist()
    ]
    assert [list(text) for text in texts] == [list(record.properties) for record in records]
    with Facts(bucket) as facts:
        assert found(facts) == expected(bucket, bucket.identities(), "classic")
    with Facts(bucket.to_batches()) as facts:
        assert found(facts) == expected(bucket, bucket.identities(), "classic")


@pytest.mark.parametrize(
    "line",
    [
        b'{"_t":1349000168 , "x" : "a" , "_p" : "eve" , "_n" : "s" , "url" : true}',
        b'{"_t":1349000168.0 , "na\\u00efve" : "\\u2028" , "_p" : "eve" , "_n" : "s"}',
        b'{"_p":"eve" , "x" : 1.50 , "_t" : 1349000168}',
        b'{"_p":"eve","x"\t: [1 , {"y" :\t2}]\r,"_t":1349000168}\r',
        b'{"_p":"eve","x":1,"_t":1349000168,"x" :2}',
    ],
)
def test_no_property_of_a_spaced_line_is_lost(line):
    bucket = write_export("memory://spaced", {1: [line, b'{"_p":"eve","_t":1}']})
    record, _ = bucket.iter_records()
    with Facts(bucket) as facts:
        names = [name for (name,) in facts.sql("select name_as_sent from properties where line = 1").fetchall()]
    assert sorted(names) == sorted(record.properties)


@given(st.data())
@settings(max_examples=examples(40))
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
            assert found(facts) == expected(bucket, bucket.identities(), rule)
            texts = facts.sql("select properties from records").fetchall()
            assert len(texts) == len(lines) + len(lines[:2])
