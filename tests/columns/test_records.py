from __future__ import annotations

import subprocess
import sys
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmexport import Alias, Bucket, Event, MalformedRecordError, PropertySet, iter_records
from kmexport.columns.json_text import without_heads
from kmexport.format.decoding import decode_properties
from kmexport.tables import SCHEMA, from_records, to_records
from kmexport.testing import write_export
from tests.support.strategies import PROPERTIES, TEXT, TIMESTAMPS, legal_lines

SIGNED_UP = Event("bob", 1349222400, "signed up", {"plan": "Pro"})
WHOLE_TEXT = TEXT.filter(lambda text: not any(0xD800 <= ord(character) < 0xE000 for character in text))
FIT_RECORDS = st.one_of(
    st.builds(Event, WHOLE_TEXT, TIMESTAMPS, WHOLE_TEXT, PROPERTIES),
    st.builds(PropertySet, WHOLE_TEXT, TIMESTAMPS, PROPERTIES),
    st.builds(Alias, WHOLE_TEXT, TIMESTAMPS, WHOLE_TEXT, PROPERTIES),
)


def same(one, other):
    # 1, 1.0 and True are equal in Python, and the order of keys is part of a record here.
    return list(map(repr, one)) == list(map(repr, other)) and one == other


@given(st.lists(FIT_RECORDS, max_size=7), st.integers(1, 4))
def test_there_and_back(records, batch_rows):
    assert same(list(to_records(from_records(records, batch_rows=batch_rows))), records)


@given(st.data())
def test_there_and_back_from_lines(data):
    records = data.draw(st.lists(FIT_RECORDS, max_size=5))
    lines = [data.draw(legal_lines(record))[0] for record in records]
    read = list(iter_records(lines))
    for record in read[::2]:
        record.properties  # noqa: B018  # some are parsed before they come here
    assert list(to_records(from_records(iter(read)))) == read


def texts(*lines):
    return from_records(iter_records(lines), columns=["properties"]).read_all().column(0).to_pylist()


def test_properties_keep_their_digits_and_the_last_of_a_key():
    assert texts(b'{"_p":"a","x":1e3,"_t":1,"y":1e400,"x":-0,"z":12345678901234567890123}') == [
        '{"x":-0,"y":1e400,"z":12345678901234567890123}'
    ]
    assert texts(rb'{"_p":"a","_t":1,"x":"\ud83d","x":"\ud83e"}') == [r'{"x":"\ud83e"}']
    (record,) = to_records(from_records([PropertySet("a", 1, {"x": Decimal("1E+400"), "y": "\ud83d"})]))
    assert record == PropertySet("a", 1, {"x": Decimal("1E+400"), "y": "\ud83d"})


def test_half_a_surrogate_pair_changes_the_spelling_of_nothing_else():
    texts = [
        rb'{"_p":"b","_t":1,"x":1.50,"h":"\ud83d","y":1E2}',
        rb'{ "_p" : "\ud83d" , "_t":1, "a{,:\ud83d" : {"_p":"\ud83d", "k": [1.500, 2e0 ]} , "a{,:\ud83d":-0.0 }',
        rb'{"_n":"}","_p":"b","x":"\ud83d","y":{"z":"}"},"_t":1}',
        b'{"_p":"b","x":"\\ud83d","long":' + b"9" * 5_000 + b',"deep":' + b"[" * 400 + b"]" * 400 + b',"_t":1}',
        rb'{"_p":"\ud83d","_t":1}',
    ]
    expected = [
        rb'{"x":1.50,"h":"\ud83d","y":1E2}',
        rb'{"a{,:\ud83d":-0.0}',
        rb'{"x":"\ud83d","y":{"z":"}"}}',
        b'{"x":"\\ud83d","long":' + b"9" * 5_000 + b',"deep":' + b"[" * 400 + b"]" * 400 + b"}",
        b"{}",
    ]
    assert without_heads(texts) == expected
    assert list(map(decode_properties, expected)) == list(map(decode_properties, texts))


def test_a_value_over_several_lines():
    line = b'{"_p":"a",\n  "_t":1,\n  "x":{"b": 1,\n    "b": 2}}'
    records = list(iter_records(line.split(b"\n")))
    assert list(to_records(from_records(iter_records([*line.split(b"\n"), b'{"_p":"a","_t":2}'])))) == [
        *records,
        PropertySet("a", 2),
    ]


def test_columns_are_those_of_the_schema():
    reader = from_records([SIGNED_UP, Alias("bob", 7, "b"), PropertySet("bob", -1)])
    assert reader.schema == SCHEMA
    assert reader.read_all().drop_columns("properties").to_pylist()[1] == {
        "revision": None,
        "line": None,
        "kind": "alias",
        "person": "bob",
        "time": Alias("bob", 7, "b").time,
        "name": None,
        "alias": "b",
    }
    chosen = from_records([SIGNED_UP], columns=["name", "kind"]).read_all()
    assert chosen.to_pylist() == [{"name": "signed up", "kind": "event"}]
    assert from_records([]).read_all().num_rows == 0


def test_what_is_not_asked_for_is_not_computed():
    (record,) = iter_records([b'{"_p":"a","_t":1,"x":1}'])
    from_records([record], columns=["person"]).read_all()
    from_records([record]).read_all()
    assert record._text


def test_it_is_lazy():
    def source():
        yield SIGNED_UP
        yield SIGNED_UP
        raise AssertionError

    reader = from_records(source(), batch_rows=2)
    assert reader.read_next_batch().num_rows == 2


VALUES = ["7", 7, 7.5, "7.50", True, None, "seven", 10**30, Decimal("1e400"), " 7 ", "1_000", "nan", [7], "0x7", -1]


@pytest.mark.parametrize(
    ("kind", "fitting"),
    [
        (pa.int8(), [7, 7, None, None, None, None, None, None, None, 7, None, None, None, None, -1]),
        (pa.uint64(), [7, 7, None, None, None, None, None, None, None, 7, None, None, None, None, None]),
        (pa.float64(), [7, 7, 7.5, 7.5, None, None, None, 1e30, None, 7, None, None, None, None, -1]),
        (pa.float32(), [7, 7, 7.5, 7.5, None, None, None, float(pa.scalar(1e30, pa.float32()).as_py()), None, 7,
                        None, None, None, None, -1]),
        (pa.decimal128(4, 1), [7, 7, Decimal("7.5"), Decimal("7.5"), None, None, None, None, None, 7, None, None,
                               None, None, -1]),
        (pa.bool_(), [None] * 4 + [True] + [None] * 10),
        (pa.string(), ["7", "7", "7.5", "7.50", "true", None, "seven", str(10**30), "1E+400", " 7 ", "1_000", "nan",
                       "[7]", "0x7", "-1"]),
    ],
)  # fmt: skip
def test_properties_as_columns(kind, fitting):
    records = [PropertySet("a", 1, {"X:": value}) for value in VALUES]
    table = from_records(records, columns=[], properties={"x,": kind}).read_all()
    assert table.schema.names == ["x,"]
    assert table.column(0).to_pylist() == fitting
    assert table.column(0).type == kind


def test_properties_as_columns_by_any_spelling():
    records = [
        PropertySet("a", 1, {"Plan": "first", "plan": "second"}),
        SIGNED_UP,
        PropertySet("a", 1, {"q": "\ud83d"}),
    ]
    table = from_records(records, columns=["person"], properties=["PLAN", "q"]).read_all()
    assert table.column("PLAN").to_pylist() == ["first", "Pro", None]
    assert table.column("q").to_pylist() == [None, None, "\\ud83d"]


def test_a_null_is_passed_over_for_the_next_spelling(tmp_path):
    records = [PropertySet("a", n, {"Plan": None, "plan": value}) for n, value in enumerate(["Pro", None, "", "Free"])]
    expected = ["Pro", None, "", "Free"]
    assert [record.get("plan") for record in records] == expected
    assert from_records(records, columns=[], properties=["plan"]).read_all().column(0).to_pylist() == expected
    bucket = write_export(tmp_path, {1: records})
    assert bucket.to_batches(columns=[], properties=["plan"]).read_all().column(0).to_pylist() == expected


@pytest.mark.parametrize(
    ("options", "error", "why"),
    [
        ({"columns": ["plan"]}, ValueError, "there is no column 'plan'"),
        ({"columns": "person"}, TypeError, "lists of names"),
        ({"properties": "plan"}, TypeError, "lists of names"),
        ({"properties": ["person"]}, ValueError, "two columns would be named 'person'"),
        ({"columns": ["person", "person"]}, ValueError, "two columns"),
        ({"properties": {"plan": pa.list_(pa.int8())}}, TypeError, "the column of a property"),
        ({"properties": {"plan": int}}, TypeError, "the column of a property"),
        ({"batch_rows": 0}, ValueError, "batch_rows"),
        ({"on_error": "ignore"}, ValueError, "on_error"),
    ],
)
def test_arguments_are_checked_at_the_call(options, error, why):
    with pytest.raises(error, match=why):
        from_records([], **options)


MISFITS = [
    (Event("a\ud83d", 1, "x"), "person holds half of a surrogate pair"),
    (Event("a", 1, "\ud83d"), "name holds half"),
    (Alias("a", 1, "\udc00"), "alias holds half"),
    (Event("a", 1.5, "x"), "whole number of seconds"),
    (Event("a", 10**13, "x"), "outside the years"),
    (Event(7, 1, "x"), "int"),
    (Event("a", 1, None), "name is None"),
    (PropertySet("a", 1, {"x": float("nan")}), "no JSON value"),
    (PropertySet("a", 1, {"_p": "b"}), "can't be named _p"),
    ("a record", "Event, a PropertySet or an Alias"),
]


@pytest.mark.parametrize(("misfit", "why"), MISFITS)
def test_what_no_column_can_hold(misfit, why):
    records = [SIGNED_UP, misfit, SIGNED_UP]
    with pytest.raises(MalformedRecordError, match=why) as caught:
        from_records(records).read_all()
    assert (caught.value.source, caught.value.line_number) == ("<records>", 2)
    assert from_records(records, on_error="skip").read_all().num_rows == 2
    errors = []
    assert from_records(records, on_error=errors.append, batch_rows=1).read_all().num_rows == 2
    assert [error.line_number for error in errors] == [2]


def test_back_from_other_tools():
    table = from_records([SIGNED_UP]).read_all()
    assert list(to_records(table)) == [SIGNED_UP]
    assert list(to_records(table.to_batches())) == [SIGNED_UP]
    plain = table.set_column(7, "properties", table.column("properties").cast(pa.string()))
    assert list(to_records(plain)) == [SIGNED_UP]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"kind": "visit"}, "row 2 is no record: kind is 'visit'"),
        ({"name": None}, "row 2 is no record: kind is 'event', and name or alias is null"),
        ({"person": None}, "row 2 is no record: person or time is null"),
        ({"properties": "["}, "row 2 is no record: not a JSON object"),
    ],
)
def test_rows_that_are_no_record(change, why):
    row = {"kind": "event", "person": "a", "time": 1, "name": "x", "alias": None, "properties": "{}"}
    schema = pa.schema([("kind", pa.string()), ("person", pa.string()), ("time", SCHEMA.field("time").type),
                        ("name", pa.string()), ("alias", pa.string()), ("properties", pa.string())])  # fmt: skip
    with pytest.raises(ValueError, match=why):
        list(to_records(pa.Table.from_pylist([row, row | change], schema)))
    with pytest.raises(ValueError, match="there is no column 'kind'"):
        list(to_records(from_records([SIGNED_UP], columns=["person"])))
    with pytest.raises(TypeError, match="Arrow stream"):
        to_records(7)


def test_the_sample():
    records = list(Bucket.sample().iter_records())
    assert list(to_records(from_records(records))) == records


@pytest.mark.parametrize("missing", ["duckdb", "numpy", "pyarrow"])
@pytest.mark.parametrize(
    "use", ["from kmexport import Facts", "import kmexport.tables", "import kmexport; kmexport.Facts"]
)
def test_without_the_extra(missing, use):
    code = f"import sys; sys.modules[{missing!r}] = None; {use}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ImportError: kmexport.tables needs " in done.stderr
    assert "pip install 'kmexport[tables]'" in done.stderr
