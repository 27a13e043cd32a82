"""An export without a person, and nobody else touched."""

from __future__ import annotations

import gzip
import io
import json
import logging

import fsspec
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from kmexport import Alias, Bucket, EntangledLinesError, Event, Limits, PropertySet, iter_records, without_person
from kmexport.testing import write_export
from tests.support.strategies import BLANK, BROKEN, PROPERTIES, examples, legal_lines

BOB, ANN = "bob@example.com", "ann@example.com"
IDENTITIES = frozenset({BOB, "10017", "b\x00b", "\ud83db"})
T = 1349222400


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


def run(files, gzipped=()):
    """The texts of the new revisions, or None where the recipe asks for hands."""
    fsspec.filesystem("memory").store.clear()
    write_export("memory://old", {number: [] for number in files})
    fs = fsspec.filesystem("memory")
    rows = ["filename,min_timestamp,max_timestamp,min_utc_date,max_utc_date"]
    for number, text in files.items():
        path = f"revisions/{number}.json"
        received = T + 300 if text.strip() else 0
        rows.append(f"{path},{received},{received},,")
        fs.rm(f"/old/{path}")
        packed = gzip.compress(text) if number in gzipped else text
        fs.pipe_file(f"/old/{path}.gz" if number in gzipped else f"/old/{path}", packed)
    fs.pipe_file("/old/index.csv", "\n".join(rows).encode())
    fs.pipe_file("/old/status.csv", f"{len(files)},{len(files)},{T + 300},".encode())
    try:
        copy = without_person(Bucket("memory://old"), "memory://new", IDENTITIES)
    except EntangledLinesError:
        assert not fs.exists("/new/index.csv")
        return None
    new = {}
    for number in files:
        content = fs.cat_file(f"/new/revisions/{number}.json{'.gz' if number in gzipped else ''}")
        new[number] = gzip.decompress(content) if number in gzipped else content
    assert {number for number in files if new[number] != files[number]} <= set(copy.revisions)
    return new, copy.unreadable


def check(old, new):
    records, raws = read(old)
    assert read(new) == ([record for record in records if not is_theirs(record)], raws)


@settings(max_examples=examples(60))
@given(
    st.dictionaries(st.integers(1, 3), st.lists(LEGAL | BLANK, max_size=6), min_size=1),
    st.sets(st.integers(1, 3)),
    st.booleans(),
)
def test_whole_records(files, gzipped, has_newline):
    texts = {number: b"\n".join(lines) + b"\n" * has_newline for number, lines in files.items()}
    new, unreadable = run(texts, gzipped)
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


@settings(max_examples=examples(60))
@given(st.lists(LEGAL | BROKEN | BLANK | CUT, max_size=8))
def test_lines_that_cant_be_read_are_kept(lines):
    old = b"\n".join(lines)
    found = run({1: old})
    event("by hand" if found is None else "done")
    if found is not None:
        new, unreadable = found
        check(old, new[1])
        assert {error.raw for error in unreadable} <= set(read(old)[1])


def test_a_hash_over_several_lines_goes_as_a_whole():
    theirs = b'{"_p":"bob@example.com",\n  "_t":1349222400,\n  "_n":"x"\n}\n'
    others = b'{"_p":"ann@example.com",\n  "_t":1349222400,\n  "friend":"bob@example.com"\n}\r\n'
    new, _ = run({1: others + theirs + others, 2: theirs})
    assert new == {1: others * 2, 2: b"\n"}


def test_an_array_is_written_anew():
    records = [{"_p": person, "_t": T, "_n": "x"} for person in (BOB, ANN, "10017")]
    new, _ = run({1: json.dumps(records).encode(), 2: json.dumps(records[1:2]).encode()})
    assert new == {1: b'{"_p":"ann@example.com","_t":1349222400,"_n":"x"}\n', 2: json.dumps(records[1:2]).encode()}


def test_halves_that_would_become_one_are_left_to_hands():
    theirs = b'{"_p":"bob@example.com","_t":1349222400}\n'
    assert run({1: b'{"_p":"ann@example.com",\n' + theirs + b'  "_t":1349222400}\n'}) is None


def test_the_first_bytes_tell_a_packed_file_not_its_name():
    write_export("memory://packed", {1: [Event(BOB, T, "x"), Event(ANN, T, "x")], 2: [Event(BOB, T, "y")], 3: []})
    fs = fsspec.filesystem("memory")
    plain = fs.cat_file("/packed/revisions/1.json")
    fs.pipe_file("/packed/revisions/1.json", gzip.compress(plain))
    fs.mv("/packed/revisions/2.json", "/packed/revisions/2.json.gz")
    copy = without_person(Bucket("memory://packed"), "memory://packed-copy", [BOB])
    assert (copy.records, copy.revisions, copy.unreadable) == (2, [1, 2], [])
    assert [record.person for record in Bucket("memory://packed-copy").iter_records()] == [ANN]
    assert gzip.decompress(fs.cat_file("/packed-copy/revisions/1.json")) in plain
    fs.pipe_file("/packed/revisions/3.json", gzip.compress(plain)[:-9])
    with pytest.raises(EntangledLinesError, match="packed and breaks off"):
        without_person(Bucket("memory://packed"), "memory://packed-again", [BOB])


def test_nothing_is_written_over():
    old = write_export("memory://old", {1: [Event(BOB, T, "x")]})
    without_person(old, "memory://new", IDENTITIES)
    for there in ("memory://new", "memory://old"):
        with pytest.raises(FileExistsError, match="an export already"):
            without_person(old, there, IDENTITIES)


def test_one_identity_is_the_whole_person(tmp_path):
    aliases = [Alias(BOB, T, "10017"), Alias("10017", T, "b2"), Alias(ANN, T, "a2")]
    records = [Event(who, T, "x") for who in (BOB, "10017", "b2", ANN, "a2")]
    bucket = write_export(tmp_path / "old", {1: aliases, 2: records, 3: records[3:]})
    copy = without_person(bucket, tmp_path / "new", "Bob@Example.com")
    assert copy.identities == {BOB, "Bob@Example.com", "10017", "b2"}
    assert (copy.revisions, copy.records, copy.copied) == ([1, 2], 5, 3)
    assert list(Bucket(tmp_path / "new").iter_records()) == [aliases[2], *records[3:], *records[3:]]
    assert BOB not in str(copy)
    # Several identities are just those.
    copy = without_person(bucket, tmp_path / "other", [BOB])
    assert copy.identities == {BOB}
    assert {record.person for record in Bucket(tmp_path / "other").iter_records()} == {"10017", "b2", ANN, "a2"}


def test_the_manifests_are_as_they_were(tmp_path):
    bucket = write_export(tmp_path / "old", {1: [Event(BOB, T, "x")], 2: [Event(ANN, T, "x")]})
    without_person(bucket, tmp_path / "new", [BOB])
    for name in ("index.csv", "status.csv"):
        assert (tmp_path / "new" / name).read_bytes() == (tmp_path / "old" / name).read_bytes()


def test_a_revision_that_is_empty_now_raises_no_alarm(tmp_path, caplog):
    bucket = write_export(tmp_path / "old", {1: [Event(BOB, T, "x")], 2: [Event(ANN, T, "x")]})
    without_person(bucket, tmp_path / "new", [BOB])
    assert len(list(Bucket(tmp_path / "new").iter_records())) == 1
    assert caplog.records == []


@pytest.mark.parametrize("who", ["", [], [BOB, ""], [7], 7])
def test_nobody_is_an_error(who):
    with pytest.raises(ValueError, match="who is one identity or several"):
        without_person(Bucket.sample(), "memory://nobody", who)


def test_the_log_does_not_name_who_is_taken_out(tmp_path, caplog):
    bucket = write_export(tmp_path / "old", {1: [Event(BOB, T, "x"), Alias(BOB, T, "10017"), Event(ANN, T, "x")]})
    with caplog.at_level(logging.DEBUG, "kmexport"):
        copy = without_person(bucket, tmp_path / "new", BOB.upper())
    assert copy.identities >= {BOB, "10017"}
    assert not any(BOB in message.lower() for message in caplog.messages)


def test_an_address_in_place_of_the_bucket():
    with pytest.raises(TypeError, match="is a Bucket, not its address"):
        without_person("memory://old", "memory://new", BOB)


def test_an_item_that_is_longer_than_a_line_may_be_stays_whole(tmp_path):
    long = b'{"_p":"ann@example.com","_t":1,"_n":"' + b"x" * 5_000 + b'"}'
    array = b'[{"_p":"bob@example.com","_t":1,"_n":"x"},\n' + long + b"\n]"
    write_export(tmp_path / "old", {1: []})
    (tmp_path / "old" / "revisions" / "1.json").write_bytes(array)
    bucket = Bucket(tmp_path / "old", limits=Limits(max_line_bytes=1_000))
    without_person(bucket, tmp_path / "new", [BOB])
    assert long in (tmp_path / "new" / "revisions" / "1.json").read_bytes()


def test_a_line_that_cant_be_read_is_shown_where_it_names_them_in_any_spelling(tmp_path):
    theirs = [
        rb'{"_p":"zo\\303\\253\/1","_t":"x"}',
        rb'{"_p":"zo\u00EB\u002f1","_t":"x"}',
        '{"_p":"Zoë/1'.encode(),  # the quote behind it is lost
        '{"friend":"\\nzoë/1"'.encode(),
    ]
    others = ['{"_p":"enzoë/1","_t":"x"}'.encode(), '{"_p":"zoë/12","_t":"x"}'.encode(), rb'{"_p":"a\nn\u00ef"']
    bucket = write_export(tmp_path / "old", {1: [Event("zoë/1", T, "x"), *others, *theirs], 2: [*theirs, *others]})
    copy = without_person(bucket, tmp_path / "new", ["zoë/1"])
    assert [error.raw for error in copy.unreadable] == theirs * 2
    assert (copy.records, copy.revisions) == (1, [1])


def test_a_copy_from_which_nothing_went_says_so():
    copy = without_person(Bucket.sample(), "memory://nobody-there", "nobody@example.com")
    assert copy.records == 0
    assert copy.problems == ["no record is under what was asked for: compare the spelling"]
    assert "nobody@example.com" not in str(copy)
