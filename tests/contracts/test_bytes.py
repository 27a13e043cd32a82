"""A byte that is not UTF-8 costs no record, wherever it stands and however the record is read."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmexport import Alias, Bucket, Event, Facts, LineCounts, iter_records
from kmexport.format.octal import encode_text
from kmexport.tables import to_records
from kmexport.testing import write_export
from tests.support.strategies import examples, in_octal, read_bytes

# As found in a real export: a nickname with a trade mark sign. Then text cut at a limit of bytes, and Latin-1.
REAL = rb'{"_p":"account-7","_t":1353349238,"nickname":"Frida\231","plan":"Pro"}'
LINES = [
    REAL,
    rb'{"_p":"account-9","_t":1353349240,"_n":"signed up","nickname":"cut off \303\241\303"}',
    '{"_p":"café","_t":1353349241,"_n":"signed up","nickname":"café"}'.encode("latin-1"),
]


def as_read(lines, **options):
    counts = LineCounts()
    records = list(iter_records(io.BytesIO(b"\n".join(lines)), counts=counts, **options))
    return records, counts


def test_the_record_is_whole_and_counted_as_repaired():
    records, counts = as_read([*LINES, b'{"_p":"bob","_t":1}'])
    assert [record.properties for record in records] == [
        {"nickname": "Frida™", "plan": "Pro"}, {"nickname": "cut off áÃ"}, {"nickname": "café"}, {},
    ]  # fmt: skip
    assert (counts.records, counts.repaired, counts.rejected) == (4, 3, 0)


# Wherever it stands.

PLACES = [
    b'{"_p":"%b","_t":1,"_n":"x"}',
    b'{"_p":"a","_t":1,"_n":"%b"}',
    b'{"_p":"a","_t":1,"_p2":"%b"}',
    b'{"_p":"a","_t":1,"x":"%b"}',
    b'{"_p":"a","_t":1,"%b":"x"}',
    b'{"_p":"a","_t":1,"x":{"%b":["%b",{"y":"%b"}]}}',
    b'{"_p":"a",\n  "%b":"%b",\n  "_t":1}',
    b'[{"_p":"%b","_t":1},\n{"_p":"b","x":[{"%b":"%b"}],"_t":1}]',
    b'{"_p":"a","_t":1.5,"x":"%b"}\r',
    b'\xef\xbb\xbf{"_p":"a","_t":"1","x":"%b"}',
    b'{"_p":"a","_t":1,"x":"%b"}' + b" " * 200_000,
]


@pytest.mark.parametrize("place", PLACES, ids=range(len(PLACES)))
@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"caf\xe9", "café"),
        (rb"caf\351", "café"),
        (b"\xc3\xa1\xc3", "áÃ"),
        (rb"\303\241\303", "áÃ"),
        (rb"\\303\\241\\303", "áÃ"),
        (rb"\\\\\231", r"\\™".replace("\\\\", "\\\\\\\\")),
        (b"\x81\xed\xa0\xbd", "\ufffdí\xa0½"),
    ],
)
def test_it_costs_no_record_there(place, content, text):
    expected = list(iter_records(io.BytesIO(place.replace(b"%b", text.encode()))))
    counts = LineCounts()
    lines = place.replace(b"%b", content)
    assert list(iter_records(io.BytesIO(lines), counts=counts)) == expected
    assert (counts.records, counts.rejected, counts.repaired) == (len(expected), 0, len(expected))
    bucket = write_export("memory://bytes", {1: [lines]})
    assert list(to_records(bucket.to_batches())) == expected
    with Facts(bucket) as facts:
        assert list(to_records(facts.sql("from records"))) == expected


def test_lines_of_text():
    lines = ['{"_p":"café","_t":1,"x":"\ud83d"}', '{"_p":"caf\udce9","_t":1,"x":"\\231"}', '{"_p":"\\\\ud83d","_t":1}']
    assert [record.to_dict() for record in iter_records(lines)] == [
        {"_p": "café", "_t": 1, "x": "\ud83d"}, {"_p": "café", "_t": 1, "x": "™"}, {"_p": r"\ud83d", "_t": 1},
    ]  # fmt: skip
    file = io.TextIOWrapper(io.BytesIO(LINES[2]), "utf-8", errors="surrogateescape")
    assert list(iter_records(file)) == as_read(LINES[2:])[0]
    assert encode_text("\ud83d\ude00") == rb"\ud83d\ude00"


# However it is read.

BYTES = st.sampled_from([b"\xe9", b"\xdf", b"\xc3\xa9", b"\xc3", b"\x81", b"\xe2\x82", b"a", b"s", b"x", b"\xc2\xa9"])


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, bytes]:
    """Text, and bytes that are read as it."""
    content = b"".join(draw(st.lists(BYTES, max_size=4)))
    return read_bytes(content), in_octal(content) if draw(st.booleans()) else content


@st.composite
def lines(draw: st.DrawFn) -> tuple[str, bytes]:
    """A line as text, and in bytes."""
    form = draw(st.sampled_from(['"_n":"%s"', '"_p2":"%s"', '"x":"%s"', '"%s":1', '"x":["%s"]']))
    (person, person_bytes), (text, content) = draw(texts()), draw(texts())
    start, end = '{"_p":"%s","_t":1,' % person, "}"  # noqa: UP031
    line = b'{"_p":"' + person_bytes + b'","_t":1,' + form.encode().replace(b"%s", content) + b"}"
    return start + form.replace("%s", text) + end, line


@given(st.lists(lines(), max_size=6), texts(), texts())
@settings(max_examples=examples(200))
def test_every_way_of_reading_says_the_same(pairs, name, person):
    expected = list(iter_records([text for text, _ in pairs]))
    content = [line for _, line in pairs]
    assert as_read(content)[0] == expected
    assert as_read(content, kinds=Alias)[0] == [one for one in expected if isinstance(one, Alias)]
    found, _ = as_read(content, names=name[0])
    assert found == list(iter_records([text for text, _ in pairs], names=name[0]))
    found, _ = as_read(content, people=person[0])
    assert found == [one for one in expected if person[0] in (one.person, getattr(one, "alias", None))]
    bucket = write_export("memory://bytes", {1: content})
    assert list(to_records(bucket.to_batches())) == expected
    links = {frozenset((one.person, one.alias)) for one in expected if isinstance(one, Alias)}
    people = bucket.identities()
    assert all(len({people.resolve(identity) for identity in link if all(link)}) <= 1 for link in links)
    assert len(people) == len({identity for link in links if len(link) == 2 and all(link) for identity in link})


def test_the_lake_says_the_same(tmp_path):
    from kmexport import lake

    bucket = write_export(tmp_path / "export", {1: LINES})
    lake.sync(bucket, tmp_path / "lake")
    assert list(lake.open_lake(tmp_path / "lake").iter_records()) == as_read(LINES)[0]


def test_a_real_export_has_two_repaired_lines(real_data):
    counts = LineCounts()
    bucket = Bucket(real_data / "real-export")
    records = list(bucket.iter_records(counts=counts))
    assert (len(records), counts.rejected, counts.repaired) == (691, 0, 2)
    (nickname,) = {str(one.get("nickname")) for one in records if "™" in json.dumps(one.properties, ensure_ascii=False)}
    assert nickname.endswith("™")
    assert isinstance(records[0], Event | Alias) or records[0].properties
