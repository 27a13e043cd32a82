"""Rows for databases: text that any of them holds, and a key for each row."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmexport import Alias, Bucket, Event, Facts, PropertySet, iter_records
from kmexport.columns.json_text import escape_both, escape_nul, escape_surrogates
from kmexport.format.names import VENDOR_KEYS
from kmexport.tables import SCHEMA, from_records, relational, storable
from kmexport.testing import write_export
from tests.support.strategies import RECORDS, TEXT

SECOND = 1349222400
HALVES = "\ud83d", "\udc00"
# Runs of backslashes, and what makes an escape of them.
ODD = st.lists(st.sampled_from(["\\", "\\\\", "\x00", "u0000", "u", "0", "n", '"', "ud83d", "é", "😀"])).map("".join)


def shown(show: Any, text: str) -> str:
    (found,) = show(pa.array([text]))[0].to_pylist()
    return found


def with_nul_again(text: str) -> str:
    """What escape_nul was given: after an odd number of backslashes, u0000 was NUL."""
    found, at = "", 0
    while at < len(text):
        end = at
        while text[end : end + 1] == "\\":
            end += 1
        slashes = end - at
        if text.startswith("u0000", end) and slashes:
            found += "\\" * (slashes // 2) + ("\x00" if slashes % 2 else "u0000")
            at = end + 5
        else:
            found += text[at : end + 1]
            at = end + 1
    return found


def spellings(text: str) -> Iterator[str]:
    """A string as JSON, with its backslashes and NULs spelt in different ways."""
    spelt = json.dumps(text)
    yield spelt
    yield json.dumps(text, ensure_ascii=False)
    for backslash in (r"\u005c", r"\u005C"):
        yield '"' + "".join(backslash if c == "\\" else json.dumps(c)[1:-1] for c in text) + '"'


@given(ODD)
def test_no_two_texts_become_one(text):
    found = shown(escape_nul, text)
    assert "\x00" not in found
    assert with_nul_again(found) == text


@given(ODD | TEXT.filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text)))
def test_json_says_what_the_text_says(text):
    for spelt in spellings(text):
        assert json.loads(shown(escape_both, spelt)) == shown(escape_nul, text)


@given(st.lists(st.sampled_from(["\\", "\x00", "u0000", "ud83d", *HALVES, "😀", "a"])).map("".join))
def test_no_half_of_a_pair_is_left_in_json(text):
    # As JSON reads it: two halves in a row that fit are a character.
    whole = json.loads(json.dumps(text))
    expected = "".join(f"\\u{ord(c):04x}" if c in HALVES else c for c in whole)
    assert json.loads(shown(escape_surrogates, json.dumps(text))) == expected
    found = json.loads(shown(escape_both, json.dumps(text)))
    assert not set(found) & {"\x00", *HALVES}


def test_a_text_of_backslashes_alone_stays():
    text = "\\" * 100_001
    assert shown(escape_nul, text + "x\x00") == text + r"x\u0000"
    assert shown(escape_both, json.dumps(text + "\x00")) == json.dumps(text * 2 + r"\u0000")


class TestStorable:
    def test_types(self):
        rows = pa.table(
            {
                "text": pa.array(["a\x00", None], pa.large_string()),
                "kind": pa.array(["x\x00", "y"]).dictionary_encode(),
                "found": pa.ExtensionArray.from_storage(pa.json_(pa.string()), pa.array([r'"\u0000"', None])),
                "named": [r'"\ud83d"', "{}"],
                "number": [1, 2],
                "list": [["\x00"], []],
            }
        )
        found = storable(rows, json=["named"])
        assert [str(field.type) for field in found.schema][:5] == [
            "large_string",
            "string",
            "string",
            "string",
            "int64",
        ]
        assert found.read_all().slice(0, 1).to_pylist() == [
            {
                "text": r"a\u0000", "kind": r"x\u0000", "found": r'"\\u0000"', "named": r'"\\ud83d"',
                "number": 1, "list": ["\x00"],
            }
        ]  # fmt: skip

    def test_what_is_odd_is_counted_by_column(self, caplog):
        records = [Event("bob\x00", SECOND, "x", {"plan": "\x00"}), Event("eve", SECOND, "x", {"plan": "\x00"})]
        storable(from_records(records)).read_all()
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert record.getMessage().endswith("in: person 1, properties 2")

    def test_what_is_plain_is_told_nobody(self, caplog):
        batches = from_records([Event("bob", SECOND, "x", {"a": r"\n", "b": "😀"})])
        table = batches.read_all()
        assert storable(table).read_all().to_pylist() == table.cast(storable(table).schema).to_pylist()
        assert caplog.records == []

    def test_it_is_lazy(self):
        def batches():
            yield pa.record_batch({"a": ["b"]})
            pytest.fail("read too far")

        reader = pa.RecordBatchReader.from_batches(pa.schema({"a": pa.string()}), batches())
        assert storable(reader).read_next_batch().to_pylist() == [{"a": "b"}]

    def test_a_relation_of_facts(self):
        with Facts([Event("b\x00", SECOND, "x")]) as facts:
            assert storable(facts.sql("select person from events")).read_all().to_pylist() == [{"person": r"b\u0000"}]

    def test_what_is_no_stream(self):
        with pytest.raises(TypeError, match="Arrow stream"):
            storable(["a"])
        with pytest.raises(TypeError, match="list of names"):
            storable(pa.table({"a": ["b"]}), json="a")

    def test_a_column_that_is_not_there(self):
        with pytest.raises(ValueError, match="there is no column 'value': columns are a"):
            storable(pa.table({"a": ["b"]}), json=["value"])


def rows_of(batches: Any) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {"events": [], "properties": [], "aliases": []}
    for tables in relational(batches):
        assert list(tables) == list(found)
        for table, rows in tables.items():
            found[table] += rows.to_pylist()
    return found


class TestRelational:
    @given(st.lists(RECORDS, max_size=8))
    @pytest.mark.slow
    def test_nothing_is_lost(self, records):
        batches = from_records(records, on_error="skip").read_all()
        found = rows_of(batches.to_reader(max_chunksize=3))
        kinds = batches.column("kind").cast(pa.string()).to_pylist()
        assert len(found["events"]) == kinds.count("event")
        assert len(found["aliases"]) == kinds.count("alias")
        texts = batches.column("properties").combine_chunks()
        properties = [json.loads(text) for text in getattr(texts, "storage", texts).to_pylist()]
        expected = [
            (number, name)
            for number, (kind, pairs) in enumerate(zip(kinds, properties, strict=True), 1)
            for name in pairs
            if kind != "alias" and name not in VENDOR_KEYS
        ]
        assert [row["record"] for row in found["properties"]] == [number for number, _ in expected]
        for row, (number, name) in zip(found["properties"], expected, strict=True):
            value = properties[number - 1][name]
            plain = json.loads(shown(escape_both, json.dumps(value)))
            assert json.loads(row["value"]) == plain
            assert isinstance(value, list | dict) or row["text"] == _text(row["value"], plain)

    def test_every_column_in_its_type(self):
        found = next(relational(Bucket.sample().to_batches()))
        common = {"revision": "int64", "record": "int64", "line": "int64", "identity": "string"}
        common |= {"time": "timestamp[s, tz=UTC]"}
        names = {"name": "string", "name_as_sent": "string"}
        types = {table: {field.name: str(field.type) for field in rows.schema} for table, rows in found.items()}
        assert types == {
            "events": common | names | {"properties": "string"},
            "properties": common
            | {"place": "int64"}
            | names
            | {"value": "string", "text": "string", "number": "double", "event": "string"},
            "aliases": common | {"alias": "string", "properties": "string"},
        }

    @pytest.mark.parametrize("batch_rows", [1, 2, 3, 7, 10_000])
    def test_records_are_numbered_through_batches_and_arrays(self, tmp_path, batch_rows):
        array = b'[{"_p":"a","_t":1,"_n":"x"},{"_p":"a","_t":1,"_n":"x"},{"_p":"b","_t":1,"y":2}]'
        bucket = write_export(tmp_path, {4: [array], 2: [Event("c", 1, "x", {"y": 1})] * 5, 9: [Event("d", 1, "x")]})
        found = rows_of(bucket.to_batches(batch_rows=batch_rows))
        keys = [(row["revision"], row["record"]) for row in found["events"]]
        assert keys == [*((2, number) for number in range(1, 6)), (4, 1), (4, 2), (9, 1)]
        assert [(row["revision"], row["record"]) for row in found["properties"]] == [*keys[:5], (4, 3)]

    def test_records_without_a_revision(self):
        records = [Alias("a", 1, "b", {"_d": 1}), PropertySet("a", 1, {"Plan": "Pro", "n": "1.50", "_d": 1})]
        found = rows_of(from_records(records, batch_rows=1))
        (alias,) = found["aliases"]
        assert (alias["revision"], alias["record"], alias["properties"]) == (None, 1, '{"_d":1}')
        shown = [(row["record"], row["place"], row["name"], row["number"]) for row in found["properties"]]
        assert shown == [(2, 1, "plan", None), (2, 2, "n", 1.5)]

    def test_numbers_keep_their_spelling_as_text_as_they_do_in_facts(self):
        spelt = [
            "1.50",
            "1e3",
            "1E3",
            "-0",
            "0.10e-7",
            "1.0000000000000000001",
            "9" * 40,
            "1e400",
            "[1.50,1e3]",
            "true",
        ]
        lines = [f'{{"_p":"a","_t":{second},"v":{value}}}' for second, value in enumerate([*spelt, "null", '"1.50"'])]
        records = list(iter_records(lines))
        texts = [row["text"] for row in rows_of(from_records(records))["properties"]]
        assert texts == [*spelt, None, "1.50"]
        with Facts(records) as facts:
            assert facts.sql("select text from properties order by time").fetchall() == [
                (text,) for text in texts if text is not None
            ]

    def test_nothing(self):
        assert list(relational([])) == []
        (found,) = relational([pa.RecordBatch.from_pylist([], SCHEMA)])
        assert [rows.num_rows for rows in found.values()] == [0, 0, 0]

    def test_it_is_lazy_and_raises_what_the_batches_raise(self, caplog):
        def batches():
            yield from from_records([Event("bob\x00", SECOND, "x")])
            raise KeyError(0)

        rows = relational(batches())
        assert next(rows)["events"].num_rows == 1
        with pytest.raises(KeyError):
            next(rows)
        assert "events.identity 1" in caplog.text

    def test_what_is_no_stream(self):
        with pytest.raises(TypeError, match="batches are those of"):
            relational(7)

    def test_a_column_that_is_not_there(self):
        with pytest.raises(ValueError, match="there is no column 'revision'"):
            relational(Bucket.sample().to_batches(columns=["person"]))


def _text(value: str, plain: Any) -> str | None:
    if plain is None:
        return None
    return plain if isinstance(plain, str) else value
