"""The recipe of docs/privacy.md, as it stands there: an export without a person, and nobody else touched."""

from __future__ import annotations

import doctest
import gzip
import io
import json
from pathlib import Path

import fsspec
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from kmexport import Alias, Bucket, Event, PropertySet, iter_records
from kmexport.testing import write_export
from tests.strategies import BLANK, BROKEN, PROPERTIES, legal_lines

PAGE = Path(__file__).parent.parent / "docs" / "privacy.md"
BOB, ANN = "bob@example.com", "ann@example.com"
IDENTITIES = frozenset({BOB, "10017", "b\x00b", "\ud83db"})
T = 1349222400


@pytest.fixture(scope="module")
def copy_without():
    """The functions of the page: its first imports and every definition."""
    names: dict = {}
    for example in doctest.DocTestParser().get_examples(PAGE.read_text(encoding="utf-8")):
        if example.source.startswith(("from ", "import ", "def ")):
            exec(example.source, names)
    return names["copy_without"]


PEOPLE = st.sampled_from([*sorted(IDENTITIES), ANN, "10018", "", "bob@example.co"])
TIMES = st.integers(T, T + 9)
NAMES = st.sampled_from(["a", "bob@example.com", "\ud83d", "10017"])
RECORDS = st.one_of(
    st.builds(Event, PEOPLE, TIMES, NAMES, PROPERTIES),
    st.builds(PropertySet, PEOPLE, TIMES, PROPERTIES),
    st.builds(Alias, PEOPLE, TIMES, PEOPLE),
)
LEGAL = RECORDS.flatmap(legal_lines).map(lambda found: found[0])
CUT = st.sampled_from([b'{"_p":"bob@example.com"', b'{"_p":"bob@example.com","_t":1', b'"_t":1}', b'  "_t":1}', b"  }"])


def is_theirs(record):
    return record.person in IDENTITIES or getattr(record, "alias", None) in IDENTITIES


def read(text):
    errors = []
    return list(iter_records(io.BytesIO(text), on_error=errors.append)), [error.raw for error in errors]


def run(copy_without, files, gzipped=()):
    """The texts of the new revisions, or None where the recipe asks for hands."""
    fsspec.filesystem("memory").store.clear()
    write_export("memory://old", {number: [] for number in files})
    fs = fsspec.filesystem("memory")
    rows = ["filename,min_timestamp,max_timestamp,min_utc_date,max_utc_date"]
    for number, text in files.items():
        path = f"revisions/{number}.json"
        seconds = [record.timestamp for record in read(text)[0]] or [0]
        rows.append(f"{path},{min(seconds)},{max(seconds)},,")
        fs.rm(f"/old/{path}")
        packed = gzip.compress(text) if number in gzipped else text
        fs.pipe_file(f"/old/{path}.gz" if number in gzipped else f"/old/{path}", packed)
    fs.pipe_file("/old/index.csv", "\n".join(rows).encode())
    try:
        changed, unreadable = copy_without("memory://old", "memory://new", IDENTITIES)
    except ValueError as error:
        if "edit it by hand" not in str(error) or fs.exists("/new/index.csv"):
            raise
        return None
    new = {}
    for number in files:
        content = fs.cat_file(f"/new/revisions/{number}.json{'.gz' if number in gzipped else ''}")
        new[number] = gzip.decompress(content) if number in gzipped else content
    assert {number for number in files if new[number] != files[number]} <= set(changed)
    return new, unreadable


def check(old, new):
    records, raws = read(old)
    assert read(new) == ([record for record in records if not is_theirs(record)], raws)


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(st.integers(1, 3), st.lists(LEGAL | BLANK, max_size=6), min_size=1),
    st.sets(st.integers(1, 3)),
    st.booleans(),
)
def test_whole_records(copy_without, files, gzipped, has_newline):
    texts = {number: b"\n".join(lines) + b"\n" * has_newline for number, lines in files.items()}
    new, unreadable = run(copy_without, texts, gzipped)
    assert unreadable == []
    for number, old in texts.items():
        check(old, new[number])
        # The lines that are left are lines of before, byte for byte and in their order.
        lines = iter(old.split(b"\n"))
        assert all(line in lines for line in new[number].rstrip(b"\n").split(b"\n") if line)
    bucket = Bucket("memory://new")
    assert list(bucket.iter_records(people=IDENTITIES)) == []
    audit = bucket.audit(deep=True)
    if has_newline:
        assert audit.is_clean == Bucket("memory://old").audit(deep=True).is_clean, (audit, texts)


@settings(deadline=None, max_examples=60)
@given(st.lists(LEGAL | BROKEN | BLANK | CUT, max_size=8))
def test_lines_that_cant_be_read_are_kept(copy_without, lines):
    old = b"\n".join(lines)
    found = run(copy_without, {1: old})
    event("by hand" if found is None else "done")
    if found is not None:
        new, unreadable = found
        check(old, new[1])
        assert {error.raw for error in unreadable} <= set(read(old)[1])


def test_a_hash_over_several_lines_goes_as_a_whole(copy_without):
    theirs = b'{"_p":"bob@example.com",\n  "_t":1349222400,\n  "_n":"x"\n}\n'
    others = b'{"_p":"ann@example.com",\n  "_t":1349222400,\n  "friend":"bob@example.com"\n}\r\n'
    new, _ = run(copy_without, {1: others + theirs + others, 2: theirs})
    assert new == {1: others * 2, 2: b""}


def test_an_array_is_written_anew(copy_without):
    records = [{"_p": person, "_t": T, "_n": "x"} for person in (BOB, ANN, "10017")]
    new, _ = run(copy_without, {1: json.dumps(records).encode(), 2: json.dumps(records[1:2]).encode()})
    assert new == {1: b'{"_p":"ann@example.com","_t":1349222400,"_n":"x"}\n', 2: json.dumps(records[1:2]).encode()}


def test_halves_that_would_become_one_are_left_to_hands(copy_without):
    theirs = b'{"_p":"bob@example.com","_t":1349222400}\n'
    assert run(copy_without, {1: b'{"_p":"ann@example.com",\n' + theirs + b'  "_t":1349222400}\n'}) is None


def test_nothing_is_written_over(copy_without):
    write_export("memory://old", {1: [Event(BOB, T, "x")]})
    copy_without("memory://old", "memory://new", IDENTITIES)
    with pytest.raises(FileExistsError, match="an export already"):
        copy_without("memory://old", "memory://new", IDENTITIES)
    with pytest.raises(FileExistsError):
        copy_without("memory://old", "memory://old", IDENTITIES)


def test_the_index_has_the_ranges_of_what_is_left(copy_without, tmp_path):
    write_export(
        tmp_path / "old",
        {1: [Event(BOB, T, "x"), Event(ANN, T + 60, "x"), Event(BOB, T + 90, "x")], 2: [Event(BOB, T, "x")], 3: []},
        unindexed=[3],
    )
    copy_without(str(tmp_path / "old"), str(tmp_path / "new"), IDENTITIES)
    new = Bucket(tmp_path / "new")
    assert [(row.number, row.min_timestamp, row.max_timestamp) for row in new.index()] == [
        (1, T + 60, T + 60),
        (2, 0, 0),
    ]
    assert new.status() == Bucket(tmp_path / "old").status()
    assert [revision.number for revision in new.revisions()] == [1, 2, 3]
