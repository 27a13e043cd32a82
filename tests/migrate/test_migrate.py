"""Every line for another product passes a checker that was written from the product's documents."""

from __future__ import annotations

import json
import logging
import pickle
import time
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from itertools import pairwise
from urllib.parse import parse_qs, urlencode
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kmexport import (
    Alias,
    Bucket,
    Event,
    IdentityMap,
    PropertySet,
    drop_duplicates,
    fold_name,
    iter_records,
    merge_identities,
)
from kmexport.migrate import (
    ENDPOINTS,
    AnswerError,
    Batch,
    Endpoint,
    Line,
    MigrationCounts,
    MigrationError,
    amplitude,
    batches,
    known_aliases,
    mixpanel,
    posthog,
    read_answer,
    segment,
    write,
)
from kmexport.storage.atomic import read_bytes
from tests.support.migrate_checks import CHECKS, complaints, parse
from tests.support.strategies import RECORDS

T = 1349222400

TARGETS = {
    "mixpanel": partial(mixpanel, token="TOKEN", id_merge="original"),
    "mixpanel simplified": partial(mixpanel, token="TOKEN", id_merge="simplified"),
    "amplitude": amplitude,
    "posthog": posthog,
    "segment": segment,
}
KEYS = {
    "amplitude-usermap": {"api_key": "KEY"},
    "amplitude-events": {"api_key": "KEY"},
    "posthog-batch": {"api_key": "KEY"},
    "segment-batch": {"writeKey": "KEY"},
}
each_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)

# The same few persons, seconds and names again and again, in several spellings; and what a target has a meaning for.
NAMES = st.sampled_from(
    ["a", "A", "b:c", "B,C", "time", "$set", "$insert_id", "token", "distinct_id", "alias", "", "x" * 300]
)
IDENTITIES = st.sampled_from(
    ["bob@example.com", "42", "anonymous", "0", "Guest", "", " ", "x" * 201, "a\x00bcde", "\ud83dabcd"]
)
FEW = st.one_of(
    st.builds(Event, IDENTITIES, st.integers(T, T + 2), NAMES, st.dictionaries(NAMES, st.sampled_from(["1", 1, None]))),
    st.builds(PropertySet, IDENTITIES, st.integers(T, T + 2), st.dictionaries(NAMES, st.sampled_from(["1", 1, None]))),
    st.builds(Alias, IDENTITIES, st.integers(T, T + 2), IDENTITIES),
)


def check(lines: list[Line]) -> None:
    for batch in batches(lines):
        name = batch.endpoint.name
        assert complaints(name, batch.body(**KEYS.get(name, {}))) == []


def found(line: Line) -> dict:
    return parse(line.text)


def line_id(line: Line) -> str | None:
    values = found(line)
    if line.endpoint.name == "mixpanel-events":
        values = values["properties"]
    return next((values[key] for key in ("$insert_id", "insert_id", "uuid", "messageId") if key in values), None)


@each_target
@given(st.lists(RECORDS | FEW, max_size=5), st.sampled_from(["classic", "strict"]), st.sampled_from([fold_name, str]))
@example(
    [Event("bob@example.com", T, "x", {"n": 10**30, "big": Decimal("1e400"), "half": "\ud83d", "nul": "\x00"})],
    "classic",
    str,
)
def test_every_line_passes_the_checker_and_every_record_is_counted(target, records, rule, spelling):
    counts, errors = MigrationCounts(), []
    convert = partial(target, rule=rule, spelling=spelling)
    lines = list(convert(iter(records), on_error=errors.append, counts=counts))
    check(lines)
    assert counts.records == len(records) == counts.lines + counts.rejected + counts.passed
    assert counts.lines == len(lines)
    assert counts.rejected == len(errors)
    # The errors and the lines go by record: one that is refused leaves the others as they are. Aliases come last.
    alone = [
        line
        for record in records
        if not isinstance(record, Alias)
        for line in convert([record], on_error=lambda error: None)
    ]
    assert lines[: len(alone)] == alone
    aliases = [record for record in records if isinstance(record, Alias)]
    assert lines[len(alone) :] == list(convert(aliases, on_error=lambda error: None))
    assert all(any(error.record is record for record in records) for error in errors)


@each_target
@given(st.lists(FEW, max_size=8), st.sampled_from(["classic", "strict"]))
def test_ids_are_the_same_in_every_run_and_each_says_one_record(target, records, rule):
    kept = list(drop_duplicates(records, rule=rule))
    convert = partial(target, rule=rule, on_error=lambda error: None)
    lines = list(convert(kept))
    assert list(convert(kept)) == lines
    ids = [(line.endpoint.name, line_id(line)) for line in lines if line_id(line) is not None]
    assert len(set(ids)) == len(ids)


def test_what_an_id_is_made_of():
    def ids(record, other, rule):
        return [line_id(next(segment([one], rule=rule))) for one in (record, other)]

    event = Event("bob", T, "Signed Up", {"plan": "Pro"})
    for rule, other, is_same in [
        ("classic", Event("bob", T, "signed up", {"plan": "Free"}), True),
        ("strict", Event("bob", T, "signed up", {"plan": "Free"}), False),
        ("strict", Event("bob", T, "signed up", {"Plan": "Pro"}), True),
        ("classic", Event("bob", T + 1, "signed up"), False),
        ("classic", Event("Bob", T, "signed up"), False),
        ("classic", Event("bob", T, "signed in"), False),
    ]:
        first, second = ids(event, other, rule)
        assert (first == second) is is_same, (rule, other)
    first, second = ids(PropertySet("bob", T, {"a": 1}), PropertySet("bob", T, {"b": 1}), "classic")
    assert first != second
    first, second = ids(PropertySet("bob", T, {"a": 1, "_d": 1}), PropertySet("bob", T, {"A": 2}), "classic")
    assert first == second
    first, second = ids(Alias("bob", T, "b"), Alias("bob", T + 9, "b"), "strict")
    assert first == second


BOB = "bob@example.com"
LATER = int(time.time()) + 7_200
REFUSED = {
    "no person": (Event("", T, "x"), "the person is empty", TARGETS),
    "spaces": (Event(" \t", T, "x"), "the person is empty", TARGETS),
    "no alias": (Alias(BOB, T, ""), "the alias is empty", TARGETS),
    "NUL in a person": (Event("bob\x00@example.com", T, "x"), "NUL", TARGETS),
    "half a surrogate pair": (Event("\ud83d@example.com", T, "x"), "surrogate", TARGETS),
    "no name": (Event(BOB, T, ""), "the name is empty", TARGETS),
    "a blank name": (Event(BOB, T, " \t"), "the name is empty", TARGETS),
    "a person who is a number": (Event(42, T, "x"), "42, not a string", TARGETS),
    "a name that is a number": (Event(BOB, T, 42), "42, not a string", TARGETS),
    "a time that is a float": (Event(BOB, T + 0.5, "x"), "not a whole number", TARGETS),
    "a year that is none": (Event(BOB, 10**12, "x"), "years 1 to 9999", TARGETS),
    "no JSON value": (Event(BOB, T, "x", {"a": set(range(10_000))}), "JSON has no form", TARGETS),
    "NaN": (Event(BOB, T, "x", {"a": float("nan")}), "no JSON number", TARGETS),
    "infinity": (PropertySet(BOB, T, {"a": [Decimal("Infinity")]}), "no JSON number", TARGETS),
    "a key that is no string": (Event(BOB, T, "x", {"a": {1: 2}}), "no string", TARGETS),
    "a property without a string": (Event(BOB, T, "x", {1: 2}), "no string", TARGETS),
    "no dict": (Event(BOB, T, "x", ["x"] * 10_000), "not a dict", TARGETS),
    "101 levels": (Event(BOB, T, "x", {"a": json.loads("[" * 101 + "]" * 101)}), "levels", TARGETS),
    "too many digits": (Event(BOB, T, "x", {"a": 10**5_000}), "4,300 digits", TARGETS),
    "a long line": (Event(BOB, T, "x", {"a": ["x" * 250_000] * 4}), "bytes, more than", TARGETS),
    "254 parts inside": (Event(BOB, T, "x", {"a": list(range(255))}), "255 parts", ["mixpanel"]),
    "251 properties": (Event(BOB, T, "x", {str(n): n for n in range(251)}), "251 properties", ["mixpanel"]),
    "2,001 properties": (PropertySet(BOB, T, {str(n): n for n in range(2_001)}), "2001 properties", ["mixpanel"]),
    "4 levels": (Event(BOB, T, "x", {"a": [[[[1]]]]}), "more than 3 levels", ["mixpanel"]),
    "a long name": (Event(BOB, T, "x" * 256), "256 characters", ["mixpanel"]),
    "a long name of a property": (Event(BOB, T, "x", {"a" * 256: 1}), "256 characters", ["mixpanel"]),
    "a long person for mixpanel": (Event("x" * 256, T, "x"), "256 characters", ["mixpanel"]),
    "a long person for posthog": (Event("x" * 201, T, "x"), "201 bytes", ["posthog"]),
    "a person of many bytes": (Event("é" * 101, T, "x"), "202 bytes", ["posthog"]),
    "a long person for amplitude": (Event("x" * 1_025, T, "x"), "1025 characters", ["amplitude"]),
    "a long name for posthog": (Event(BOB, T, "x" * 201), "the name has 201 bytes", ["posthog"]),
    "before 1900": (Event(BOB, -2_208_988_801, "x"), "before the first", ["posthog"]),
    "a large person": (PropertySet(BOB, T, {"a": ["x" * 1_000] * 530}), "person's properties has", ["posthog"]),
    "spaces around a person": (Event("bob ", T, "x"), "spaces around it", ["posthog"]),
    "before 1971": (Event(BOB, 31_535_999, "x"), "before the first", ["mixpanel"]),
    "before 1970": (Event(BOB, -1, "x"), "before the first", ["mixpanel", "amplitude"]),
    "in two hours": (Event(BOB, LATER, "x"), "ahead", ["mixpanel"]),
    "an hour ago": (Event(BOB, LATER - 3 * 3_600, "x"), "less than 48 hours ago", ["posthog"]),
    "a short person": (Event("7", T, "x"), "1 characters, and 5", ["amplitude"]),
    "a short alias": (Alias(BOB, T, "abcd"), "the alias has 4 characters", ["amplitude"]),
    "nobody": (Event("anonymous", T, "x"), "mean nobody", ["mixpanel", "amplitude", "posthog"]),
    "nobody in capitals": (Alias(BOB, T, "Guest"), "mean nobody", ["posthog"]),
    "nobody in quotes": (Alias(BOB, T, "'null'"), "mean nobody", ["posthog"]),
    "nobody in other quotes": (Event('"Guest"', T, "x"), "mean nobody", ["posthog"]),
    "nobody with spaces": (Event(" System ", T, "x"), "mean nobody", ["posthog"]),
    "the empty UUID": (Event(str(UUID(int=0)), T, "x"), "mean nobody", ["posthog", "mixpanel", "amplitude"]),
    "a merge by an event": (Event(BOB, T, "$merge"), "instruction", ["mixpanel", "amplitude", "posthog"]),
    "an alias by an event": (Event(BOB, T, "$create_alias"), "instruction", ["mixpanel", "amplitude", "posthog"]),
    "a name of its own": (Event(BOB, T, "[Amplitude] Revenue"), None, ["amplitude"]),
    "41 levels": (Event(BOB, T, "x", {"a": json.loads("[" * 40 + "]" * 40)}), "39 levels", ["amplitude"]),
}  # fmt: skip


@pytest.mark.parametrize(("record", "reason", "targets"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_is_named(record, reason, targets):
    for name in targets:
        with pytest.raises(MigrationError) as caught:
            list(TARGETS[name]([record], spelling=str if reason is None else fold_name))
        error = caught.value
        assert (reason or "instruction") in error.reason, name
        assert error.record is record
        assert (error.person, error.timestamp) == (record.person, record.timestamp)
        assert error.name == getattr(record, "name", getattr(record, "alias", None))
        assert error.target.lower() == name.split()[0]
        again = pickle.loads(pickle.dumps(error))
        assert str(again) == str(error)
        assert len(str(error)) < 1_000


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_at_the_limits_passes(name):
    target = TARGETS[name]
    records = [
        Event("x" * 200, T, "y" * (200 if name == "posthog" else 255), {"z" * 255: "v" * 2_000}),
        Event(BOB, T, "x", {"a": [[[1]]], "b": list(range(254))}),
        Event(BOB, T, "x", {str(n): n for n in range(250)}),
        Event(BOB, 31_536_000, "x"),
        Event("12345", T, "x"),
        PropertySet(BOB, T, {str(n): n for n in range(2_000)}),
        Event(BOB, T, "x", {"n": 2**53, "m": -(2**53), "f": 1.5e300, "t": True}),
    ]
    lines = list(target(records))
    check(lines)
    assert len(lines) == len(records)


def test_what_stays_of_odd_values():
    counts = MigrationCounts()
    value = {"big": 2**53 + 1, "huge": Decimal("1E+400"), "nul": "a\x00b", "half": "\ud83d", "null": None, "in": [None]}
    (line,) = segment([Event(BOB, T, "a\x00", {**value, "_d": 1, "k": {"\x00": 1, "\ud83d": 2}})], counts=counts)
    assert found(line)["event"] == "a\ufffd"
    assert found(line)["properties"] == {
        "big": "9007199254740993", "huge": "1E+400", "nul": "a\ufffdb", "half": "\ufffd", "in": [None],
        "k": {"\ufffd": 1, "km_\ufffd": 2},
    }  # fmt: skip
    assert counts.replaced == 7


def test_properties_that_a_target_has_a_meaning_for_get_another_name():
    counts = MigrationCounts()
    event = Event(BOB, T, "x", {"$insert_id": "1", "km_time": "2", "time": "3", "Token": "4", "": "5", "ip": "6"})
    (line,) = mixpanel([event], token="T", counts=counts)
    properties = found(line)["properties"]
    assert properties["time"] == T
    assert {key: value for key, value in properties.items() if key.startswith("km_")} == {
        "km_$insert_id": "1", "km_time": "2", "km_km_time": "3", "km_token": "4", "km_": "5", "km_ip": "6",
    }  # fmt: skip
    assert counts.renamed == 5
    (line,) = posthog([Event(BOB, T, "x", {"$set": {"plan": "Pro"}, "Distinct_ID": "eve", "token": "T"})])
    assert found(line)["properties"] == {
        "km_$set": {"plan": "Pro"}, "km_distinct_id": "eve", "km_token": "T", "$geoip_disable": True,
    }  # fmt: skip


@each_target
def test_the_same_properties_of_a_person_mean_nothing_else(target):
    counts = MigrationCounts()
    properties = {"ip": "10.0.0.1", "time": "noon", "token": "T", "alias": "bobby", "distinct_id": "7", "$email": "b@c"}
    (line,) = target([PropertySet(BOB, T, properties)], counts=counts)
    text = line.text.decode()
    assert all(f'"{name}":' in text for name in properties if name != "$email"), text
    assert "km_ip" not in text
    assert counts.renamed == ("km_$email" in text)
    check([line])


@each_target
def test_second_spellings_are_counted(target):
    counts = MigrationCounts()
    event = Event(BOB, T, "x", {"Plan": "Pro", "plan": "Free", "PLAN": None, "none": None, "None": 1})
    (line,) = target([event], counts=counts)
    assert b'"plan":"Pro"' in line.text
    assert b'"none":1' in line.text
    assert (counts.second_spellings, counts.renamed) == (1, 0)


@each_target
def test_a_refused_record_counts_nothing_else(target):
    counts = MigrationCounts()
    half_way = Event(BOB, T, "x", {"Plan": "\x00", "plan": "Free", "$set": "y" * 2_000, "nan": float("nan")})
    list(target([half_way], counts=counts, on_error=lambda error: None))
    assert counts == MigrationCounts(records=1, rejected=1)


def test_more_properties_than_amplitude_keeps_are_counted():
    counts = MigrationCounts()
    full = {str(number): 1 for number in range(1_024)}
    records = [Event(BOB, T, "x", full), Event(BOB, T, "y", {**full, "one more": 1})]
    assert len(list(amplitude(records, counts=counts))) == 2
    assert counts.overfull == 1


@pytest.mark.parametrize("name", TARGETS)
def test_an_alias_that_the_target_would_refuse_is_told(name):
    errors, counts = [], MigrationCounts()
    target = partial(TARGETS[name], on_error=errors.append)
    aliases = [Alias(BOB, T, "bob-1"), Alias("other@example.com", T, "bob-1"), Alias("bob-1", T, "bob-2")]
    lines = list(target(aliases))
    refuses = name in {"posthog", "amplitude", "mixpanel simplified"}
    assert [error.record for error in errors] == aliases[1:2] * refuses
    assert all("known_aliases()" in error.reason for error in errors)
    check(lines)
    # What is joined already needs no line, and of two lines with one id a target would refuse both.
    again = [Alias(BOB, T + 1, "bob-1"), Alias("bob-1", T, BOB), Alias("bob-2", T, BOB), Alias(BOB, T, BOB)]
    assert list(target([*aliases, *again], counts=counts)) == lines
    assert counts.passed == len(again)


@each_target
@given(st.lists(st.tuples(*[st.sampled_from([f"person {letter}" for letter in "abcdef"])] * 2), max_size=8))
def test_no_target_refuses_known_aliases(target, pairs):
    people = IdentityMap()
    people.link_pairs(pairs)
    aliases = list(known_aliases(people, at=T))
    assert len(list(target(aliases))) == len(aliases)


def test_mixpanel_joins_500_identities_and_no_more():
    errors = []
    target = partial(TARGETS["mixpanel"], on_error=errors.append)
    aliases = [Alias("bob", T, f"bob {number}") for number in range(500)]
    assert len(list(target(aliases))) == 499
    (error,) = errors
    assert error.reason == "the person would have 501 identities, and 500 are the most"
    pairs = [Alias("eve", T, f"eve {number}") for number in range(499)]
    assert len(list(target([*aliases[:499], *pairs, Alias("eve", T, "bob")]))) == 998
    assert "1000 identities" in errors[-1].reason


@each_target
def test_aliases_come_last(target):
    records = [Alias(BOB, T, "one@home.net"), Event(BOB, T, "x"), Alias(BOB, T, "two@home.net"), Event(BOB, T, "y")]
    assert [b"@home.net" in line.text for line in target(records)] == [False, False, True, True]


def test_of_two_spellings_the_first_counts_and_a_spelling_of_ones_own_may_say_anything():
    event = Event(BOB, T, "Visited Site", {"Plan": "Pro", "plan": "Free", "URL": "/"})
    (line,) = posthog(
        [event], spelling={"Visited Site": "$pageview", "Plan": "plan", "URL": "$current_url"}.__getitem__
    )
    assert found(line)["event"] == "$pageview"
    assert found(line)["properties"] == {"plan": "Pro", "$current_url": "/", "$geoip_disable": True}
    with pytest.raises(MigrationError, match="instruction"):
        list(posthog([Event(BOB, T, " $identify")], spelling=str.strip))


def test_long_values_are_counted():
    counts = MigrationCounts()
    list(mixpanel([Event(BOB, T, "x", {"a": "y" * 255, "b": "y" * 256, "c": ["y" * 300]})], token="T", counts=counts))
    assert counts.shortened == 2


def test_what_has_nothing_to_say_is_passed():
    counts = MigrationCounts()
    records = [Alias(BOB, T, BOB), PropertySet(BOB, T), PropertySet(BOB, T, {"_d": 1, "plan": None})]
    assert list(segment(records, counts=counts)) == []
    assert counts.passed == counts.records == 3


def test_the_way_of_mixpanels_identities_has_to_be_said():
    with pytest.raises(MigrationError, match="pass id_merge="):
        list(mixpanel([Alias(BOB, T, "b")], token="T"))
    (line,) = TARGETS["mixpanel"]([Alias(BOB, T, "b")])
    assert found(line) == {"event": "$merge", "properties": {"$distinct_ids": [BOB, "b"], "token": "TOKEN"}}
    (line,) = TARGETS["mixpanel simplified"]([Alias(BOB, T, "b")])
    assert found(line)["properties"]["$device_id"] == "b"


def test_amplitude_with_a_shorter_limit():
    lines = list(amplitude([Event("7", T, "x"), Alias(BOB, T, "8")], min_id_length=1))
    first, second = batches(lines)
    body = first.body(api_key="KEY", options={"min_id_length": 1})
    assert complaints("amplitude-events", body) == []
    assert complaints("amplitude-events", first.body(api_key="KEY")) != []
    assert parse_qs(second.body(api_key="KEY").decode()) == {
        "api_key": ["KEY"],
        "mapping": ['[{"user_id":"8","global_user_id":"bob@example.com"}]'],
    }
    assert second.endpoint.content_type == "application/x-www-form-urlencoded"


@each_target
@pytest.mark.parametrize(
    ("argument", "error", "text"),
    [
        ({"rule": "Classic"}, ValueError, 'rule is "classic" or "strict"'),
        ({"on_error": "ignore"}, ValueError, "on_error is"),
        ({"spelling": {}}, TypeError, "spelling is a function"),
        ({"counts": []}, TypeError, "counts is a MigrationCounts"),
    ],
)
def test_arguments_are_checked_at_the_call(target, argument, error, text):
    with pytest.raises(error, match=text):
        target([], **argument)


def test_arguments_of_single_targets():
    for token in ("", None, 7):
        with pytest.raises(ValueError, match="token is the project's"):
            mixpanel([], token=token)
    with pytest.raises(ValueError, match="id_merge is"):
        mixpanel([], token="T", id_merge="Original")
    with pytest.raises(ValueError, match="min_id_length is 1 or more"):
        amplitude([], min_id_length=0)
    with pytest.raises(TypeError, match="each record is"):
        list(segment([{"_p": "bob"}]))


def test_lazy():
    def records():
        yield Event(BOB, T, "x")
        raise AssertionError

    assert found(next(segment(records())))["event"] == "x"


def test_skipped_records_are_told_in_one_warning(caplog):
    with caplog.at_level(logging.WARNING, "kmexport"):
        lines = list(amplitude([Event("7", T, "x"), Event(BOB, T, "x"), Event("8", T, "x")], on_error="skip"))
    assert len(lines) == 1
    assert [record.getMessage() for record in caplog.records] == [
        "Amplitude: 2 records were skipped, the first one: the person has 1 characters, and 5 are the least"
    ]


@given(st.lists(st.tuples(*[st.sampled_from("abcdef")] * 2), max_size=8))
def test_known_aliases_say_the_whole_map(pairs):
    people = IdentityMap()
    people.link_pairs(pairs)
    aliases = list(known_aliases(people, at=datetime(2012, 10, 3, tzinfo=UTC)))
    assert all(alias.timestamp == T and alias.person == people.resolve(alias.alias) for alias in aliases)
    again = IdentityMap().update(aliases)
    assert all(again.identities_of(name) == people.identities_of(name) for name in "abcdef")
    assert len({alias.alias for alias in aliases}) == len(aliases)


def test_known_aliases_take_no_naive_time():
    with pytest.raises(ValueError, match="no time zone"):
        known_aliases(IdentityMap(), at=datetime(2012, 10, 3))  # noqa: DTZ001


SMALL = Endpoint("small", "https://small.example", 3, 1_100, 80, key="lines")
OTHER = Endpoint("other", "https://small.example", 1, 5_000, 80)


@given(
    st.lists(st.tuples(st.sampled_from([SMALL, OTHER]), st.integers(2, 80)), max_size=20),
    st.none() | st.integers(1, 4),
    st.none() | st.integers(81, 200),
)
def test_batches_keep_order_and_limits(sizes, max_count, max_bytes):
    lines = [Line(endpoint, b'"' + str(n % 9).encode() * (size - 2) + b'"') for n, (endpoint, size) in enumerate(sizes)]
    found = list(batches(lines, max_count=max_count, max_bytes=max_bytes))
    for endpoint in (SMALL, OTHER):
        mine = [batch for batch in found if batch.endpoint is endpoint]
        assert [text for batch in mine for text in batch.lines] == [text for where, text in lines if where is endpoint]
        for batch in mine:
            assert 1 <= len(batch.lines) <= min(endpoint.max_count, max_count or 99)
            assert sum(len(text) + 1 for text in batch.lines) <= (max_bytes or 4_000)
            json.loads(batch.body())
        # No batch has room for the first line of the next.
        for batch, following in pairwise(mine):
            size = sum(len(text) + 1 for text in [*batch.lines, following.lines[0]])
            is_full = len(batch.lines) == min(endpoint.max_count, max_count or 99)
            assert is_full or size > min(max_bytes or 9_999, endpoint.max_bytes - 1_000)


def test_batches_check_their_limits():
    for limit in ("max_count", "max_bytes"):
        with pytest.raises(ValueError, match=f"{limit} is at least 1"):
            batches([], **{limit: 0})
    with pytest.raises(ValueError, match="small: a line has 31 bytes"):
        list(batches([Line(SMALL, b"x" * 30)], max_bytes=30))


def test_a_body_with_fields():
    assert json.loads(Batch(SMALL, [b"1", b"2"]).body(key='a"b')) == {"key": 'a"b', "lines": [1, 2]}
    with pytest.raises(ValueError, match="no place for api_key"):
        Batch(OTHER, [b"1"]).body(api_key="KEY")
    with pytest.raises(ValueError, match="shorten the fields"):
        Batch(SMALL, [b"1"]).body(key="x" * 1_100)


def test_endpoints_have_the_room_that_they_promise():
    for endpoint in ENDPOINTS.values():
        line = b'"' + b"x" * (endpoint.max_line_bytes - 2) + b'"'
        (batch,) = batches([Line(endpoint, line)])
        assert len(batch.body(**KEYS.get(endpoint.name, {}))) <= endpoint.max_bytes
    assert set(ENDPOINTS) == set(CHECKS)


@pytest.mark.parametrize("where", ["memory://moving", "local"])
def test_files_are_there_as_a_whole(where, tmp_path):
    folder = tmp_path if where == "local" else where
    records = [Event(BOB, T, "x"), Alias(BOB, T, "alias"), Event(BOB, T + 1, "x")]
    lines = list(amplitude(records))
    assert write(iter(lines), folder) == {"amplitude-events": 2, "amplitude-usermap": 1}
    before = {name: read_bytes(f"{folder}/{name}.jsonl") for name in ("amplitude-events", "amplitude-usermap")}
    assert before["amplitude-events"].splitlines() == [line.text for line in lines[:2]]
    with pytest.raises(MigrationError):
        write(amplitude([Event(BOB, T, "other"), Alias(BOB, T, "other"), Event("", T, "x")]), folder)
    assert {name: read_bytes(f"{folder}/{name}.jsonl") for name in before} == before
    if where == "local":
        assert sorted(path.name for path in tmp_path.iterdir()) == ["amplitude-events.jsonl", "amplitude-usermap.jsonl"]


def whole_export(bucket):
    people = bucket.identities()
    records = merge_identities(bucket.iter_records(kinds=(Event, PropertySet)), people)
    return people, list(drop_duplicates(records))


@each_target
def test_the_sample(target):
    people, records = whole_export(Bucket.sample())
    everything = [*known_aliases(people, at=T), *records]
    errors, counts = [], MigrationCounts()
    lines = list(target(everything, on_error=errors.append, counts=counts))
    check(lines)
    assert counts.lines + counts.rejected + counts.passed == len(everything)
    assert counts.lines > len(everything) * 0.9
    assert list(target(everything, on_error=errors.append)) == lines


@each_target
def test_a_real_revision(target, real_data):
    path = real_data / "demo-account-revision.json"
    with path.open("rb") as file:
        read = list(iter_records(file))
    people = IdentityMap().update(read)
    merged = merge_identities((r for r in read if not isinstance(r, Alias)), people)
    records = list(drop_duplicates(merged))
    errors = []
    lines = list(target(records, on_error=errors.append))
    check(lines)
    refused = {id(error.record) for error in errors}
    kept = [record for record in records if isinstance(record, Event) and id(record) not in refused]
    names = [found(line).get("event", found(line).get("event_type")) for line in lines]
    names = [name for name in names if name is not None and name != "$identify"]
    assert names == [fold_name(event.name) for event in kept]
    assert len(kept) > 0.9 * sum(isinstance(record, Event) for record in records)


SOME_ID = "00000000-0000-5000-8000-000000000000"
DAY = "2012-10-03T00:00:00Z"
CALL = {"userId": "a", "timestamp": DAY, "messageId": "a"}
WRONG = {
    "mixpanel-events": [
        {"event": "x", "properties": {"time": T, "distinct_id": "null", "$insert_id": "a_b", "$set": 1}},
    ],
    "mixpanel-people": [{"$token": "T", "$distinct_id": "", "$ip": 0, "$ignore_time": True, "$set": {"a": 1}}],
    "mixpanel-aliases": [{"event": "$merge", "properties": {"$distinct_ids": ["a", "a"], "token": "T"}}],
    "amplitude-events": {
        "api_key": "K",
        "events": [
            {"user_id": "bob", "event_type": "x", "time": T * 1_000, "insert_id": SOME_ID, "event_properties": {}},
        ],
    },
    "amplitude-usermap": {"mapping": json.dumps([{"user_id": "a", "global_user_id": "a"}]), "api_key": "K"},
    "posthog-batch": {
        "api_key": "K",
        "historical_migration": True,
        "batch": [
            {
                "event": "$set",
                "distinct_id": "a",
                "properties": {"$geoip_disable": True},
                "timestamp": DAY,
                "uuid": SOME_ID,
            }
        ],
    },
    "segment-batch": {"batch": [{**CALL, "type": "track", "userId": "", "event": "x", "properties": {}}]},
}


@pytest.mark.parametrize(("name", "body"), WRONG.items(), ids=WRONG)
def test_the_checker_complains(name, body):
    text = urlencode(body) if ENDPOINTS[name].is_form else json.dumps(body)
    assert len(complaints(name, text.encode())) == (3 if name == "mixpanel-events" else 1)


LINES = [b'{"a":1}', b'{"b":2}', b'{"c":3}']


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        (200, {"code": 200, "num_records_imported": 3, "status": "OK"}, ([], [])),
        (200, {"error": None, "status": 1}, ([], [])),
        (200, {"status": "Ok"}, ([], [])),
        (200, {"success": True}, ([], [])),
        (200, "1", ([], [])),
        (204, "", ([], [])),
        (400, {"num_records_imported": 2, "failed_records": [{"index": 1, "field": "x"}]}, (LINES[1:2], [])),
        (400, {"code": 400, "events_with_invalid_fields": {"time": [0], "user_id": [0, 2]}}, (LINES[::2], LINES[1:2])),
        (400, {"code": 400, "events_with_missing_fields": {"event_type": [1]}}, (LINES[1:2], LINES[::2])),
        (400, {"code": 400, "events_with_invalid_id_lengths": {"user_id": [0, 1, 2]}}, (LINES, [])),
        (400, {"code": 400, "silenced_events": [2], "events_with_invalid_fields": None}, (LINES[2:], LINES[:2])),
    ],
)
def test_answers(status, answer, expected):
    body = answer if isinstance(answer, str) else json.dumps(answer)
    assert read_answer(status, body.encode(), LINES) == expected


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b'{"code": 400, "error": "Invalid API key: 0123456789abcdef0123456789abcdef"}'),
        (401, b'{"error": "no"}'),
        (413, b"too large"),
        (500, b"\xff<html>"),
        (200, b'{"error": "bad data", "status": 0}'),
        (200, b'{"status": 1, "quota_limited": ["events"]}'),
        (200, b'{"success": false}'),
        (400, b'{"failed_records": []}'),
        (400, b"[1]"),
        (400, b"x" * 10_000),
    ],
)
def test_an_answer_that_refuses_everything_is_an_error(status, body):
    with pytest.raises(AnswerError, match=f"the target answered {status}: ") as caught:
        read_answer(status, body, LINES)
    assert (caught.value.status, len(caught.value.answer) <= 300) == (status, True)
    assert "0123456789abcdef" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
