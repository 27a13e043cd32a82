"""A move to PostHog refuses no join, splits nobody and dates nobody late: by a model of PostHog itself."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from datetime import UTC, datetime

from kmexport import (
    Alias,
    Bucket,
    Event,
    IdentityMap,
    PropertySet,
    drop_duplicates,
    merge_identities,
    migrate,
    sort_by_time,
)
from tests.support import posthog_model
from tests.support.posthog_model import PostHog

AT = 1349049600
RANDOM_EXPORTS = 500
IDENTITIES = [
    *("bob@example.com", "eve@example.com", "ann@example.com", "10017", "10018", "bob", "Bob", "eve smith"),
    *("qFq2LweZugFNE4o49hLhmRPBW34=", "lcopa4sjykmujtlm/ybj5rzfyda=", "4f2a9c0d1e8b7a6f5d4c", "Zoë", "bob "),
    *("null", "Guest", "'None'", "user", "x" * 201, "é" * 150),
]


def moving(records, people):
    """The records as docs/migrate.md says."""
    kept = [record for record in records if not isinstance(record, Alias)]
    yield from sort_by_time(drop_duplicates(merge_identities(kept, people)))
    yield from migrate.known_aliases(people, at=AT)


def move(records, people):
    """What PostHog makes of the lines, and the lines."""
    lines = [json.loads(line.text) for line in migrate.posthog(records, on_error=lambda error: None)]
    posthog = PostHog()
    for line in lines:
        posthog.process(line)
    return posthog, lines


def faults(posthog, lines, people):
    """The joins that were refused, the people who are two there, and those who are dated after their first record."""
    there = defaultdict(set)
    for identity, person in posthog.persons.items():
        there[people.resolve(identity)].add(person)
    first = {}
    for line in lines:
        if line["event"] != "$create_alias":
            when = datetime.fromisoformat(line["timestamp"]).timestamp()
            person = people.resolve(line["distinct_id"])
            first[person] = min(first.get(person, when), when)
    late = [name for name, when in first.items() if any(person.created_at > when for person in there[name])]
    return posthog.refused, [name for name, persons in there.items() if len(persons) > 1], late


def check(records):
    people = IdentityMap().update(records)
    posthog, lines = move(moving(records, people), people)
    assert faults(posthog, lines, people) == ([], [], [])
    assert posthog.dropped == []
    # And nobody is joined who is not one person here.
    names = defaultdict(set)
    for identity, person in posthog.persons.items():
        names[person].add(people.resolve(identity))
    assert all(len(found) == 1 for found in names.values())
    return posthog, lines


def test_the_sample():
    posthog, _ = check(list(Bucket.sample().iter_records()))
    assert len(set(posthog.persons.values())) > 100


def test_a_real_export(real_data):
    posthog, _ = check(list(Bucket(real_data / "real-export").iter_records()))
    assert len(set(posthog.persons.values())) > 20


def test_what_makes_no_person_is_refused_in_every_spelling():
    names = {*posthog_model.MAKES_NO_PERSON, *posthog_model.IN_ANY_CASE, *posthog_model.AS_THEY_ARE}
    quoted = posthog_model.with_quotes(names)
    spelt = {way(name) for name in quoted for way in (str, str.upper, str.title, " {} ".format, "\u00a0{}".format)}
    spelt |= {"bob\n", "\tbob", "x" * 201, "é" * 101}
    errors = []
    assert list(migrate.posthog([Event(name, AT, "x") for name in spelt], on_error=errors.append)) == []
    assert len(errors) == len(spelt)
    near = ["nanny", "users", "user1", "'bob'", "0.0", "guest@example.com", "x" * 200, "é" * 100]
    assert len(list(migrate.posthog(Event(name, AT, "x") for name in near))) == len(near)


def random_export(seed):
    by_chance = random.Random(seed)
    identities = by_chance.sample(IDENTITIES, by_chance.randint(2, len(IDENTITIES)))
    records = []
    for _ in range(by_chance.randint(1, 60)):
        who, when = by_chance.choice(identities), AT + by_chance.randint(-10_000, 10_000)
        records.append(
            by_chance.choice(
                [
                    Event(who, when, by_chance.choice(["visited site", "signed up", "$identify"]), {"plan": "Pro"}),
                    PropertySet(who, when, {"name": "Bob"}),
                    Alias(who, when, by_chance.choice(identities)),
                ]
            )
        )
    return records


def test_500_random_exports():
    joins = 0
    for seed in range(RANDOM_EXPORTS):
        _, lines = check(random_export(seed))
        joins += sum(line["event"] == "$create_alias" for line in lines)
    assert joins > RANDOM_EXPORTS


def test_the_model_sees_what_the_raw_aliases_do():
    # Sent as they stand, and not as our converter orders them and refuses some.
    records = list(Bucket.sample().iter_records())
    people = IdentityMap().update(records)
    posthog, lines = PostHog(), []
    for record in records:
        ((_, line),) = [("", json.loads(line.text)) for line in migrate.posthog([record])]
        lines.append(line)
        posthog.process(line)
    refused, split, _ = faults(posthog, lines, people)
    assert refused
    assert split
    # Each of those is told.
    errors = []
    list(migrate.posthog(records, on_error=errors.append))
    assert errors
    assert all("known_aliases()" in error.reason for error in errors)


def test_what_is_left_after_raw_aliases_were_refused_joins_as_told():
    for seed in range(100):
        records, errors = random_export(seed), []
        posthog = PostHog()
        for line in migrate.posthog(records, on_error=errors.append):
            posthog.process(json.loads(line.text))
        assert posthog.refused == []


def test_the_model_sees_aliases_that_come_first():
    records = list(Bucket.sample().iter_records())
    people = IdentityMap().update(records)
    _, lines = move(moving(records, people), people)
    posthog = PostHog()
    for line in sorted(lines, key=lambda line: line["event"] != "$create_alias"):
        posthog.process(line)
    _, _, late = faults(posthog, lines, people)
    assert late


def test_the_model_itself():
    def event(name, who, when, **properties):
        time = datetime.fromtimestamp(when, UTC).isoformat()
        return {"event": name, "distinct_id": who, "timestamp": time, "properties": properties}

    posthog = PostHog()
    for line in [
        event("x", "a", 10),
        event("x", "b", 5),
        event("$create_alias", "a", 20, alias="b"),  # b was never joined: it goes into a
        event("$create_alias", "c", 30, alias="a"),  # nobody has c: it is added to a
        event("x", "d", 1),
        event("$create_alias", "d", 40, alias="a"),  # a is identified
        event("$create_alias", "d", 40, alias="null"),
        event("x", "System ", 1),
    ]:
        posthog.process(line)
    assert posthog.persons["a"] is posthog.persons["b"] is posthog.persons["c"]
    assert posthog.persons["a"].created_at == 5
    assert [other for other, _, _ in posthog.refused] == ["a", "null"]
    assert set(posthog.persons) == {"a", "b", "c", "d"}
