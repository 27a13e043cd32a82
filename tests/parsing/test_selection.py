"""`kinds=`, `names=` and `people=` give what filtering afterwards gives, however lines are spelt, broken or cut."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kmexport import Alias, Event, MalformedRecordError, PropertySet, Record, iter_records, select
from kmexport.format.names import fold_name
from kmexport.parsing import stream as pieces
from kmexport.parsing.counts import LineCounts
from kmexport.parsing.records import one_by_one, read_lists
from kmexport.parsing.selection import check_selection
from tests.support.strategies import BLANK, BROKEN, PROPERTIES, RECORDS, TEXT, examples, legal_lines

# Names that differ in case, in what folds alike within and outside ASCII (a long s, the Kelvin sign, a sharp s), in
# commas and colons; that begin alike; with quotes, backslashes and what reads as a key; and the empty one.
NAMES = st.sampled_from(
    [
        "signed up", "Signed Up", "SIGNED UP", "\u017figned up", "signed: up", "signed,up", "signed", "signed up again",
        "click", "clic\u212a", "stra\xdfe", "STRASSE", "\xe9t\xe9", "\xc9T\xc9", "e\u0301te\u0301", "\U0001f600", "",
        " ", ":", 's"up', "s\\up", '_n":"signed up', "s\\303\\241", "\u0130x", "i\u0307x", "\ud83d", "s\nup", "/x",
    ]
)  # fmt: skip
ASKED = st.lists(NAMES | TEXT, max_size=3)
# Identities in many spellings: numbers, which may stand without quotes; what only escapes can say; what begins alike.
PEOPLE = st.sampled_from(["ann", "a", "ann b", "7", "77", "-0", "\xe9", "\ud83d", 'a"b', "b@example.com", "", "_p"])
WHOSE = st.lists(PEOPLE | TEXT, max_size=3) | st.lists(PEOPLE, min_size=1, max_size=1)
KINDS = st.none() | st.lists(st.sampled_from([Event, PropertySet, Alias]), max_size=3)
HIDDEN = st.sampled_from(
    [
        '"_n":"signed up"', '{"_n":"signed up"}', "_p2", '"_p2":"b"', "\\", '\\"_n":"signed up', "{", '_n":"click"',
        'signed up"', "\n",
    ]
)  # fmt: skip
VALUES = (
    HIDDEN | st.dictionaries(st.sampled_from(["_n", "_p2", "x"]), HIDDEN, max_size=2) | st.lists(HIDDEN, max_size=2)
)
EVENTS = st.builds(
    Event, PEOPLE, st.integers(0, 9), NAMES, st.dictionaries(st.sampled_from("xyz"), VALUES) | PROPERTIES
)
OTHERS = st.builds(PropertySet, PEOPLE, st.integers(0, 9), st.dictionaries(st.sampled_from("xyz"), VALUES)) | st.builds(
    Alias, PEOPLE, st.integers(0, 9), PEOPLE
)

# Lines whose meaning hangs on what stands before or behind them, or on which of two keys counts.
ODD = st.sampled_from(
    [
        b'{"_n":"click","_p":"a","_t":1,"_n":"signed up"}', b'{"_n":"signed up","_p":"a","_t":1,"_n":"click"}',
        b'{"_p":"a","_t":1,"_n"\t:\r"signed up"}', b'{"_p":"a","_t":1,"_n" :\n"signed up"}', b'{"_p":"a","_t":1,"_n":',
        b'"signed up"}', b' "_n":"signed up"}', b'{"_p":"a","_t":1,', b'  {"_n":"signed up","_p":"a","_t":1}',
        b'[{"_n":"signed up","_p":"a","_t":1},', b'{"_n":"click","_p":"a","_t":1}]', b'{"_n":7,"_p":"a","_t":1}',
        b'{"_n":"signed up","_p2":"b","_p":"a","_t":1}', b'{"_N":"signed up","_p":"a","_t":1}', b'"_n":"click"',
        b'{"_n":"signed up","_p":"a","_t":1}{"_n":"click","_p":"a","_t":1}', b'\xef\xbb\xbf{"_p":"a","_t":1}',
        b'{"_n":"signed up","_p":"a","_t":1}\r', b'{"_n":"click","_p":"a","_t":1,"x":"\n',
        b'{"_p":"a","_t":1,"x":"_n"}',
        b'{"_p":7,"_t":1}', b'{"_p":"a","_p2": 77 ,"_t":1}', b'{"_t":1,"_p":\n7}', b'{"_p":-0,"_t":1}',
        b'{"_p":7.0,"_t":1}',
        b'{"_t":1,"_p":\n"a\\u006en"}', b'{"_t":1,"_p":\n\n"ann"}', b'{"_p":"ann","_p":"a","_t":1}', b'"_p":"ann"}',
        b'{"_n":"signed \\u0055p","_p":"a","_t":"1"}', b'{"_n":"\\163igned up","_p":"a","_t":1}', b"}", b"]", b"{",
    ]
)  # fmt: skip


@st.composite
def spelt(draw: st.DrawFn, record: Record) -> bytes:
    """A record's line, some of its characters escaped, whether they must be or not."""
    line, _ = draw(legal_lines(record))
    for plain, escaped in draw(st.lists(SPELLINGS, max_size=2)):
        line = line.replace(plain, escaped)
    return line


# An octal escape stands in for a byte of text; \u for any character.
SPELLINGS = st.sampled_from(
    [
        (b'"_n"', b'"\\u005fn"'), (b'"_n"', b'"_\\u006E"'), (b'"_n"', b'"_\\156"'), (b'"_n"', b'"\\137n"'),
        (b'"_n":', b'"_n" : '), (b'"_p2"', b'"_p\\u0032"'), (b'"_p2"', b'"\\137p2"'), (b"sig", b"s\\u0069g"),
        (b'"s', b'"\\u0053'), (b'"s', b'"\\163'), (b"click", b"clic\\u212a"), (b"/", b"\\/"), (b"up", b"u\\160"),
        (b'"_n":"s', b'"_n":"S'), (b"\xc3\xa9", b"\\303\\251"), (b"k", b"\\\\153"),
        (b'"ann', b'"a\\156n'), (b'"ann', b'"\\u0061nn'), (b'"_p"', b'"\\u005fp"'), (b'"_p"', b'"_\\160"'),
        (b'"7"', b"7"), (b'"_p":', b'"_p" :\n '), (b'"_p2":"', b'"_p2"\t: "'), (b'"a', b'"\\\\141'), (b'"-0"', b"-0"),
    ]
)  # fmt: skip
LINE = st.one_of(
    EVENTS.flatmap(spelt), OTHERS.flatmap(spelt), RECORDS.flatmap(spelt), EVENTS.flatmap(spelt), ODD, BROKEN, BLANK
)
LINES = st.lists(LINE, max_size=10)


def filtered(
    records: Iterable[Record],
    kinds: list[type[Record]] | None,
    names: list[str] | None,
    people: list[str] | None = None,
) -> list[Record]:
    """What the arguments mean, done afterwards."""
    wanted = None if names is None else {fold_name(name) for name in names}
    return [
        record
        for record in records
        if (kinds is None or type(record) in kinds)
        and (wanted is None or (isinstance(record, Event) and fold_name(record.name) in wanted))
        and (people is None or {record.person, getattr(record, "alias", record.person)} & set(people))
    ]


@pytest.mark.slow
@given(LINES, KINDS, st.none() | ASKED, st.none() | WHOSE, st.sampled_from([1, 40, 150, 1 << 16]))
@settings(max_examples=examples(1500))
@example([b'{"_p":"a","_t":1}', b'"_n":"x"', b'{"_p":"a","_t":1,"x":{"_n":"y"}}'], [PropertySet], None, None, 1 << 16)
@example([b'{"foo_n":"x","_p":"a","_t":1}'], [PropertySet], None, None, 1 << 16)
@example([b'{"_p":"a","_n":"x","_t":1,"_n":null}', b'{"_p":"a","_n":"x","_t":1}'], [PropertySet], None, None, 1 << 16)
def test_the_same_records_as_filtering_afterwards(lines, kinds, names, people, block_bytes):
    content = b"\n".join(lines)
    in_full: list[MalformedRecordError] = []
    errors: list[MalformedRecordError] = []
    with mock.patch.object(pieces, "BLOCK_BYTES", block_bytes):
        everything = list(iter_records(io.BytesIO(content), on_error=in_full.append))
        found = list(iter_records(io.BytesIO(content), kinds=kinds, names=names, people=people, on_error=errors.append))
    wanted = filtered(everything, kinds, names, people)
    assert found == wanted == list(select(everything, kinds=kinds, names=names, people=people))
    assert [record.properties for record in found] == [record.properties for record in wanted]
    # Lines that can't be wanted are not judged; those that are say the same at the same place.
    told = {(error.line_number, error.reason, error.raw) for error in in_full}
    assert {(error.line_number, error.reason, error.raw) for error in errors} <= told
    if kinds is None and names is None and people is None:
        assert len(errors) == len(in_full)


@given(LINES, KINDS, st.none() | ASKED, st.none() | WHOSE)
@settings(max_examples=examples(300))
def test_every_line_is_counted_once(lines, kinds, names, people):
    content = b"\n".join(lines)
    counts = LineCounts()
    selection = check_selection(kinds, names, people)
    found = list(one_by_one(read_lists(io.BytesIO(content), "x", lambda _: None, 1 << 20, counts, selection=selection)))
    assert counts.lines == len(content.removesuffix(b"\n").split(b"\n")) if content else counts.lines == 0
    assert counts.lines == (
        counts.records + counts.rejected + counts.blank + counts.joined - counts.shared + counts.passed
    )
    assert counts.records >= len(found)


@pytest.mark.parametrize(
    "selection",
    [
        {"names": "signed up"},
        {"kinds": Alias},
        {"kinds": PropertySet},
        {"kinds": [PropertySet, Alias]},
        {"people": "b"},
        {"people": {"b", "7"}},
        {"people": ["b", "c\xe9"], "kinds": Alias},
    ],
)
def test_other_lines_are_passed_over_before_they_are_parsed(selection):
    lines = [json.dumps({"_n": "click", "_p": "a", "_t": n}, separators=(",", ":")).encode() for n in range(5000)]
    content = b"\n".join(
        [*lines, b'{"_n":"signed up","_p":"a","_t":1}', b'{"_p":"a","_t":1}', b'{"_p":"a","_p2":"b","_t":1}']
    )
    counts = LineCounts()
    found = list(iter_records(io.BytesIO(content), counts=counts, **selection))
    assert 1 <= len(found) <= 2
    assert counts.passed >= 5000


def test_a_broken_line_that_may_be_wanted_is_told_with_its_number():
    lines = [b'{"_n":"click","_p":"a","_t":1}'] * 3 + [
        b'{"_n":"signed up","_p":"a"',
        b'{"_n":"signed up","_p":"a","_t":2}',
    ]
    with pytest.raises(MalformedRecordError, match="line 4"):
        list(iter_records(io.BytesIO(b"\n".join(lines)), names="Signed Up"))


def test_a_broken_line_that_can_not_be_wanted_is_passed_over():
    lines = [b'{"_n":"click","_p":"a"', b'{"_n":"signed up","_p":"a","_t":2}', b'{"_n":"signed up","_p":"a","_t":3}']
    assert [event.timestamp for event in iter_records(io.BytesIO(b"\n".join(lines)), names="signed up")] == [2, 3]


def test_a_key_that_ends_like_that_of_a_name():
    line = rb'{"x\"_n":"v","_p":"a","_t":1}'
    assert len(list(iter_records([line], kinds=PropertySet))) == 1


def test_many_people():
    events = [Event(f"person {n}", n, "x") for n in range(100)]
    lines = [json.dumps(event.to_dict()).encode() for event in events]
    assert list(iter_records(lines, people=(f"person {n}" for n in range(0, 100, 2)))) == events[::2]
    assert list(iter_records(lines, people=[])) == []


def test_a_person_that_is_no_text():
    with pytest.raises(TypeError, match="people are strings, their identities, not 7"):
        iter_records([], people=[7])
    with pytest.raises(TypeError, match="not b'ann'"):
        select([], people=b"ann")


def test_many_names():
    events = [Event("ann", n, f"event {n}") for n in range(100)]
    lines = [json.dumps(event.to_dict()).encode() for event in events]
    assert list(iter_records(lines, names=[f"Event {n}" for n in range(0, 100, 2)])) == events[::2]
