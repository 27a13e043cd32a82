"""`Bucket.to_batches`: the same records as `iter_records`, as columns."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from unittest import mock

import duckdb
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kmexport import Alias, Bucket, Event, LineCounts, MalformedRecordError, PropertySet, Record, Window
from kmexport.columns import reader as columns
from kmexport.parsing import stream as pieces
from kmexport.tables import SCHEMA, from_records, to_records
from kmexport.testing import BROKEN_LINES, write_export
from tests.parsing.test_selection import LINES
from tests.support.strategies import BLANK, BROKEN, RECORDS, examples, legal_lines

CORPUS = sorted((Path(__file__).parents[1] / "data" / "broken").glob("*.json*"))
HEADS = [name for name in SCHEMA.names if name != "properties"]
HALF = "half of a surrogate pair"


def has_half(record: Record) -> bool:
    texts = [record.person, getattr(record, "name", ""), getattr(record, "alias", "")]
    return any(0xD800 <= ord(character) < 0xE000 for text in texts for character in text)


def export_of(content: bytes, name: str = "1.json") -> Bucket:
    bucket = write_export("memory://columns", {1: []})
    from fsspec.implementations.memory import MemoryFileSystem

    fs = MemoryFileSystem()
    fs.rm("/columns/revisions/1.json")
    fs.pipe_file(f"/columns/revisions/{name}", content)
    return bucket


def placed(errors: list[MalformedRecordError]) -> list[tuple[str, int, str, bytes]]:
    return [(error.source, error.line_number, error.reason, error.raw) for error in errors]


def accounted(counts: LineCounts) -> int:
    told = counts.records + counts.rejected + counts.blank + counts.passed
    return told + counts.joined - counts.shared


def check_same(bucket: Bucket, **arguments) -> None:
    """Records, properties with their types, errors and counts: as objects and by way of columns."""
    in_objects: list[MalformedRecordError] = []
    in_columns: list[MalformedRecordError] = []
    counts, column_counts = LineCounts(), LineCounts()
    records = list(bucket.iter_records(on_error=in_objects.append, counts=counts, **arguments))
    reader = bucket.to_batches(on_error=in_columns.append, counts=column_counts, batch_rows=3, **arguments)
    found = list(to_records(reader))
    whole = [record for record in records if not has_half(record)]
    assert found == whole
    assert [repr(record.properties) for record in found] == [repr(record.properties) for record in whole]
    halves = [error for error in in_columns if HALF in error.reason]
    others = [error for error in in_columns if error not in halves]
    if "window" not in arguments:
        assert len(halves) == len(records) - len(whole)
    # One way may pass over lines that the other reads. Then it does not tell which of them are broken, joined or blank.
    if counts.passed == column_counts.passed:
        assert placed(others) == placed(in_objects)
        assert (counts.joined, counts.blank) == (column_counts.joined, column_counts.blank)
    else:
        fewer, more = sorted([in_objects, others], key=len)
        assert set(placed(fewer)) <= set(placed(more))
    assert accounted(counts) == accounted(column_counts) == counts.lines
    assert (counts.rejected, column_counts.rejected) == (len(in_objects), len(in_columns))
    heads = bucket.to_batches(columns=HEADS, on_error="skip", **arguments).read_all()
    assert heads == bucket.to_batches(on_error="skip", **arguments).read_all().select(HEADS)
    assert (counts.lines, counts.shared) == (column_counts.lines, column_counts.shared)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_the_broken_corpus(path):
    check_same(export_of(path.read_bytes(), f"1{''.join(path.suffixes)}"))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_the_broken_corpus_stops_at_the_same_line(path):
    bucket = export_of(path.read_bytes(), f"1{''.join(path.suffixes)}")
    assert until_an_error(to_records(bucket.to_batches())) == until_an_error(bucket.iter_records())


def until_an_error(records: Iterable[Record]) -> list[object]:
    """The records, and the error that ends them."""
    found: list[object] = []
    try:
        found.extend(records)
    except MalformedRecordError as error:
        found += placed([error])
    return found


@given(
    st.lists(st.one_of(RECORDS.flatmap(legal_lines).map(lambda form: form[0]), BROKEN, BLANK), max_size=12),
    st.sampled_from([1, 40, 150, 1 << 16]),
)
@settings(max_examples=examples(500))
@example([b'{"\\u005fp":"a","_t":1,"x":1,"x":2.50,"y":"\\ud83d"}'], 1 << 16)
@example([b'{"_p":"a\\ud83d","_t":1}', b'{"_p":"a","_t":1,"_n":"\\udc00"}'], 1 << 16)
@example([b'{"_p":"\\303\\241\\ud83d","_t":1}'], 1 << 16)
@example([b'{"_p":"a","_t":1},{"_p":"b","_t":1}', b'{"_p":"c', b'd","_t":1}'], 1 << 16)
@example([b"null", b'{"_p":"b","_t":1}'], 1 << 16)
@example([b'{"_p":"a","_t":1,"x":{', b' "y":[', b" 1]}}"], 1 << 16)
@example([b'{"_p":"a","_t":1,"":"", "revision":7, "person":1e400, "a\\"b.c[0]":-0, "\\u0000":"\\u0000"}'], 1)
@pytest.mark.slow
def test_any_lines(lines, block_bytes):
    with mock.patch.object(pieces, "BLOCK_BYTES", block_bytes):
        check_same(export_of(b"\n".join(lines)))


@given(
    LINES,
    st.sampled_from([None, Event, [Alias], [PropertySet, Alias]]),
    st.none() | st.lists(st.sampled_from(["Signed Up", "click", ""]), min_size=1, max_size=2),
    st.none() | st.builds(lambda a, b: Window(min(a, b), max(a, b)), *[st.integers(1349040000, 1349510000)] * 2),
)
@settings(max_examples=examples(500))
@example(
    [b'{"_p":"a","_t":1,"_p2":"\\ud83d"}', b"", b'{"_p":"b","_t":1,"_n":', b'{"_p":"c","_t":1,"_n":"x"}'],
    [Alias],
    None,
    None,
)
@pytest.mark.slow
def test_any_selection(lines, kinds, names, window):
    check_same(export_of(b"\n".join(lines)), kinds=kinds, names=names, **({"window": window} if window else {}))


def test_numbers_of_revisions_and_lines():
    bob = Event("bob", 1349222400, "x")
    bucket = write_export(
        "memory://columns", {7: [bob, BROKEN_LINES["cut off"], "", bob], 9: [b'{"_p":"a",', b' "_t":1349222400}', bob]}
    )
    table = bucket.to_batches(columns=["revision", "line"], on_error="skip").read_all()
    assert table.to_pydict() == {"revision": [7, 7, 9, 9], "line": [1, 4, 1, 3]}
    table = bucket.to_batches(columns=["line"], names="x", on_error="skip", revisions=[9]).read_all()
    assert table.to_pydict() == {"line": [3]}


def test_lines_that_were_passed_over_are_counted():
    lines: list[Record] = [Event("bob", 1349222400, "x" if n % 3 else "Wanted") for n in range(5_000)]
    bucket = write_export("memory://columns", {1: lines})
    table = bucket.to_batches(columns=["line"], names="wanted").read_all()
    assert table["line"].to_pylist() == list(range(1, 5_001, 3))


class TestColumns:
    @pytest.fixture
    def bucket(self) -> Bucket:
        properties = {"plan": "Pro", "price": "12.50", "n": 7, "yes": True}
        records: list[Record] = [
            Event("bob", 1349222400, "signed up", properties),
            PropertySet("bob", 1349222401, {"Plan": None, "price": Decimal("1e400"), "n": 7.5}),
            Alias("bob", 1349222402, "b"),
        ]
        return write_export("memory://columns", {1: records})

    def test_all(self, bucket):
        reader = bucket.to_batches()
        assert reader.schema == SCHEMA
        assert reader.read_all().to_pylist()[2] == {
            "revision": 1, "line": 3, "kind": "alias", "person": "bob", "name": None, "alias": "b", "properties": "{}",
            "time": bucket.to_batches(columns=["time"]).read_all()["time"][2].as_py(),
        }  # fmt: skip

    def test_properties_as_columns(self, bucket):
        types = {"PLAN": pa.string(), "price": pa.float64(), "n": pa.int64(), "yes": pa.bool_(), "none": pa.string()}
        table = bucket.to_batches(columns=["kind"], properties=types).read_all()
        assert table.to_pylist() == [
            {"kind": "event", "PLAN": "Pro", "price": 12.5, "n": 7, "yes": True, "none": None},
            {"kind": "property_set", "PLAN": None, "price": None, "n": None, "yes": None, "none": None},
            {"kind": "alias", "PLAN": None, "price": None, "n": None, "yes": None, "none": None},
        ]

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ({"columns": ["persons"]}, "there is no column 'persons'"),
            ({"columns": "person"}, "not one string"),
            ({"properties": ["person"]}, "two columns would be named 'person'"),
            ({"properties": {"plan": pa.list_(pa.string())}}, "the column of a property"),
            ({"batch_rows": 0}, "batch_rows is at least 1"),
            ({"on_error": "ignore"}, "on_error"),
            ({"kinds": "event"}, "kinds"),
            ({"margin": -1}, "margin"),
            ({"revisions": ["1.json"]}, "a revision is a Revision or its number"),
        ],
    )
    def test_a_wrong_argument_is_told_at_the_call(self, bucket, arguments, error):
        with pytest.raises((ValueError, TypeError), match=error):
            bucket.to_batches(**arguments)

    def test_what_came_before_an_error_comes_out(self, bucket):
        bucket = write_export("memory://columns", {1: [Event("bob", 1, "x")], 2: [BROKEN_LINES["no time"]]})
        reader = bucket.to_batches()
        assert reader.read_next_batch().num_rows == 1
        with pytest.raises(MalformedRecordError, match=r"revisions/2\.json, line 1: there is no _t"):
            reader.read_next_batch()


def test_long_lines_make_smaller_batches():
    records = [Event(f"p{n}", 1349222400, "x", {"text": "." * 900}) for n in range(500)]
    bucket = write_export("memory://columns", {1: records, 2: records})
    with mock.patch.object(columns, "_MOST_BYTES", 100_000):
        batches = list(bucket.to_batches())
    assert max(batch.nbytes for batch in batches) < 300_000
    assert list(to_records(batches)) == [*records, *records]


NAMES = st.sampled_from(["plan", "Plan", "PLAN", "a b", "a,b", "a/b", "\u017f", "S", 'q"', "_p", ""])
FLAT = st.sampled_from(["Pro", 7, 1.5, True, None, "7", "é", "\ud83d", ["plan"], {"plan": 1}, "plan", 10**30])


@given(
    st.lists(st.tuples(st.dictionaries(NAMES, FLAT, max_size=4), st.booleans()), max_size=6),
    st.lists(NAMES, min_size=1, max_size=3, unique=True),
    st.sampled_from([pa.string(), pa.float64(), pa.int64(), pa.bool_()]),
)
@settings(max_examples=examples(500))
@example([({"PLAN": "x"}, False), ({"plan": "x", "PLAN": "y"}, False)], ["Plan"], pa.string())
@example([({"a/b": "x", "A/B": "y"}, True)], ["a/b"], pa.string())
def test_columns_of_properties_are_those_of_the_records(hashes, names, kind):
    lines = [
        json.dumps({**properties, "_p": "p", "_t": 1}, ensure_ascii=escaped).replace("/", "\\/" if escaped else "/")
        for properties, escaped in hashes
    ]
    lines = [line for line in lines if escaped_is_utf8(line)]
    bucket = export_of("\n".join(lines).encode())
    types = dict.fromkeys(names, kind)
    found = bucket.to_batches(columns=[], properties=types, batch_rows=2, on_error="skip").read_all()
    records = list(bucket.iter_records(on_error="skip"))
    assert found == from_records(records, columns=[], properties=types).read_all()


def escaped_is_utf8(line: str) -> bool:
    return not any(0xD800 <= ord(character) < 0xE000 for character in line)


class TestLaziness:
    def test_nothing_is_read_before_the_first_batch(self, tmp_path):
        Bucket(tmp_path / "nowhere").to_batches()

    def test_a_reader_that_is_dropped_closes_its_file(self):
        from fsspec.implementations.memory import MemoryFileSystem

        records = [Event("bob", 1349222400 + n, "x", {"filler": "." * 200}) for n in range(10_000)]
        bucket = write_export("memory://columns", {1: records, 2: [BROKEN_LINES["no time"]]})
        opened = []
        plain_open = MemoryFileSystem.open

        def counted(self, path, *arguments, **options):
            opened.append(path)
            return plain_open(self, path, *arguments, **options)

        with mock.patch.object(MemoryFileSystem, "open", counted):
            reader = bucket.to_batches(batch_rows=100)
            reader.read_next_batch()
            reader.close()
            del reader
        assert [path for path in opened if "2.json" in path] == []


class TestEngines:
    def test_duckdb(self):
        reader = Bucket.sample().to_batches(columns=["name"], kinds=Event)  # noqa: F841  # DuckDB finds it by its name
        found = duckdb.sql("select count(*), count(name) from reader").fetchall()
        events = sum(1 for _ in Bucket.sample().iter_records(kinds=Event))
        assert found == [(events, events)]

    def test_without_the_extra(self):
        code = (
            "import sys; sys.modules['pyarrow'] = None\n"
            "from kmexport import Bucket\n"
            "try:\n    Bucket.sample().to_batches()\n"
            "except ImportError as error:\n    print(error)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert "pip install 'kmexport[tables]'" in done.stdout
