from __future__ import annotations

import itertools
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmexport import (
    Alias,
    Event,
    Facts,
    IdentityMap,
    IdentityMapFormatError,
    PropertySet,
    iter_records,
    merge_identities,
)
from tests.support.strategies import examples

ANONYMOUS = "qFq2LweZugFNE4o49hLhmRPBW34="
PAIRS = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh")), max_size=12)


def linked(*pairs, prefer="named_first") -> IdentityMap:
    people = IdentityMap(prefer)
    for a, b in pairs:
        people.link(a, b)
    return people


def closure(pairs):
    """Brute force: join sets until nothing changes."""
    groups = [{a, b} for a, b in pairs]
    while True:
        meeting = [(one, other) for one, other in itertools.combinations(groups, 2) if one & other]
        if not meeting:
            return groups
        one, other = meeting[0]
        groups = [group for group in groups if group is not one and group is not other] + [one | other]


@given(PAIRS, st.randoms())
@settings(max_examples=examples(300))
def test_union_find_equals_the_closure_whatever_the_order(pairs, order):
    shuffled = [pair if order.random() < 0.5 else pair[::-1] for pair in pairs]
    order.shuffle(shuffled)
    people = IdentityMap()
    for a, b in shuffled:
        people.link(a, b)
        people.resolve(a)  # asking between the links changes nothing
    groups = closure(pairs)
    for identity in "abcdefgh":
        group = next((group for group in groups if identity in group), {identity})
        assert people.identities_of(identity) == group
        assert people.resolve(identity) == min(group)
    assert people.people() == sorted(min(group) for group in groups if len(group) > 1)


def test_aliases_chain_repeat_and_point_to_themselves():
    people = IdentityMap().update(
        [Alias("a", 9, "b"), Alias("b", 1, "c"), Alias("b", 1, "c"), Alias("x", 1, "x"), Event("z", 1, "signed up")]
    )
    assert {people.resolve(identity) for identity in "abc"} == {"a"}
    assert people.people() == ["a"]
    assert len(people) == 3
    assert "c" in people
    assert "z" not in people


def test_an_empty_identity_links_nobody():
    people = linked(("", "a"), ("b", ""), ("", ""))
    assert people.resolve("a") == "a"
    assert people.resolve("") == ""
    assert people.ignored_links == 3
    assert people.people() == []


def test_a_chain_of_a_million():
    count = 1_000_000
    people = IdentityMap()
    people.update(Alias(str(number), 1, str(number + 1)) for number in range(count))
    assert people.resolve(str(count)) == people.resolve("17") == "0"
    assert len(people.identities_of("5")) == count + 1


@pytest.mark.parametrize(
    ("prefer", "name"),
    [
        ("named_first", "bob@example.com"),
        ("numeric_first", "10017"),
        (len, "bob"),
        (lambda identity: identity != ANONYMOUS, ANONYMOUS),
        (lambda _: 0, "10017"),
    ],
)
def test_policies(prefer, name):
    identities = [ANONYMOUS, "bob@example.com", "10017", "bob", "zoe@example.com"]
    for seed in range(5):
        random.Random(seed).shuffle(identities)
        assert linked(*itertools.pairwise(identities), prefer=prefer).resolve("bob") == name


# Made up, in the forms that real exports and the vendor's libraries have.
FORMS = [
    ANONYMOUS,
    ANONYMOUS.lower(),
    ANONYMOUS.rstrip("="),
    "k3xq0v9bu/ta7m+r2hy1zc84wle=",
    "k3xq0v9bu7ta7mr2hy1z",
    "0b51f2c8-5a3e-4d07-9c44-1e7f0a9d6b32",
    "0B51F2C8-5A3E-4D07-9C44-1E7F0A9D6B32",
]
NAMES = [
    "zoe", "user-77", "Zoe", "z", "+18887675477", "user #12345", "christopherjohnsonsmith", "christopherjohnsonsm",
    "k3xq0v9bu7ta7mr2hy1", "k3xq0v9bu7ta7mr2hy1zz", "K3xq0v9bu7ta7mr2hy1z", "k3xq0v9bu-ta7mr2hy1z",
    "0b51f2c8-5a3e-4d07-9c44-1e7f0a9d6b3", "0b51f2c8-5a3e-4d07-9c44-1e7f0a9d6b3g", "cus_9s6XKzkNRiz8i3", "-5", "5.0",
    "\u0665\u0665", "", "k3xq0v9bu/ta7m+r2hy1zc84wle==", "k3xq0v9bu/ta7m+r2hy1zc84wle=\n",
]  # fmt: skip


@pytest.mark.parametrize("anonymous", FORMS)
def test_an_anonymous_id_is_nobodys_name(anonymous):
    records = [Event(anonymous, 1, "visited site"), Event("zoe", 2, "signed up")]
    for name in (*NAMES, "12345678901234567890", "5", "bob@example.com"):
        people = linked((anonymous, name or "empty"))
        assert people.resolve(anonymous) == (name or "empty")
    merged = merge_identities(records, linked((anonymous, "zoe")))
    assert {record.person for record in merged} == {"zoe"}
    with Facts([*records, Alias(anonymous, 3, "zoe")]) as facts:
        assert facts.sql("select distinct person from events").fetchall() == [("zoe",)]


@given(st.permutations([*FORMS, "zoe", "user-77", "5", "10017", "12345678901234567890", "zz@b.c", "b b@c"]))
def test_the_order_is_address_name_digits_anonymous(identities):
    """Ties go to the lowest string."""
    ordered = ["zz@b.c", "b b@c", "user-77", "zoe", "10017", "12345678901234567890", "5", *sorted(FORMS)]
    for number in range(len(ordered) - 1):
        left = [identity for identity in identities if identity in ordered[number:]]
        assert linked(*itertools.pairwise(left)).resolve(left[-1]) == ordered[number]
    digits_first = [*ordered[4:7], *ordered[:4], *ordered[7:]]
    assert linked(*itertools.pairwise(identities), prefer="numeric_first").resolve("zoe") == digits_first[0]


def test_the_other_spelling_is_offered_where_there_is_one(caplog):
    people = linked(("bob@example.com", "10017"), ("Eve@example.com", "7"))
    for identity in (
        "bob@example.com",
        "nobody@example.com",
        "Nobody@example.com",
        "Eve@example.com",
        "eve@example.com",
    ):
        assert identity in people.identities_of(identity)
    assert caplog.records == []
    assert people.identities_of("Bob@Example.com") == {"Bob@Example.com"}
    (told,) = caplog.records
    assert told.getMessage() == (
        "identities_of('Bob@Example.com'): no alias names it; 'bob@example.com' is known. Identities compare exactly"
    )


def test_named_before_anonymous():
    assert linked((ANONYMOUS, "Zoe")).resolve(ANONYMOUS) == "Zoe"
    assert linked((ANONYMOUS, "AFq2LweZugFNE4o49hLhmRPBW34=")).resolve(ANONYMOUS) == "AFq2LweZugFNE4o49hLhmRPBW34="
    assert linked(("christopherjohnsonsmith", "zz")).resolve("zz") == "christopherjohnsonsmith"


def test_an_unknown_policy():
    with pytest.raises(ValueError, match="'named_first', 'numeric_first' or a key function"):
        IdentityMap("random")


@pytest.mark.parametrize("place", ["path", "memory"])
def test_saved_and_loaded(place, tmp_path):
    target = tmp_path / "people.jsonl" if place == "path" else "memory://identities/people.jsonl"
    people = linked(("b@x", ANONYMOUS), (ANONYMOUS, "odd \ud83d\n"), ("é", "f"), prefer="numeric_first")
    people.save(target)
    again = IdentityMap.load(target)
    assert again.prefer == "numeric_first"
    assert again.people() == people.people()
    assert all(again.identities_of(name) == people.identities_of(name) for name in people.people())
    if place == "path":
        lines = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
        assert lines[0] == {"format": "kmexport identities 1", "prefer": "numeric_first", "people": 2}
        assert lines[1][0] == "b@x"
    again.link("f", "b@x")
    assert again.resolve("é") == "b@x"


def test_a_key_function_has_to_be_given_again(tmp_path):
    linked(("a", "bb"), prefer=len).save(tmp_path / "people")
    with pytest.raises(IdentityMapFormatError, match="give it again as prefer="):
        IdentityMap.load(tmp_path / "people")
    assert IdentityMap.load(tmp_path / "people", prefer=len).resolve("bb") == "a"


def test_a_failed_save_leaves_the_old_map(tmp_path):
    path = tmp_path / "people.jsonl"
    people = linked(("a", "b"))
    people.save(path)
    before = path.read_bytes()
    people.prefer = lambda identity: 1 / 0
    people.link("c", "d")
    with pytest.raises(ZeroDivisionError):
        people.save(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("[]\n", 1),
        ("<html>", 1),
        ('{"format": "kmexport identities 1", "prefer": "named_first"}\n["a"]\n', 2),
        ('{"format": "kmexport identities 1", "prefer": "named_first"}\n["a", "b"]\n["a", 1]\n', 3),
        ('{"format": "kmexport identities 1", "prefer": "named_first"}\n["a", ""]\n', 2),
        ('{"format": "kmexport identities 1", "prefer": "named_first"}\n["a", "b"', 2),
        ('{"format": "kmexport identities 1", "prefer": "named_first"}\n["a", "a"]', 2),
        ('{"format": "kmexport identities 1", "prefer": "named_first"}\n["a", "b"]\n["c", "b"]\n', 3),
        ('{"format": "kmexport identities 1", "prefer": "named_first", "people": 2}\n["a", "b"]\n', 2),
        ('{"format": "kmexport identities 1", "prefer": "named_first", "people": 0}\n["a", "b"]\n', 2),
        ('{"format": "kmexport identities 1", "prefer": "named_first", "people": true}\n["a", "b"]\n', 1),
        ('{"format": "kmexport identities 1", "prefer": "named_first", "people": "1"}\n["a", "b"]\n', 1),
        ('{"format": "kmexport identities 1", "prefer": "named_first", "people": 1}\n\n["a", "b"]\n', 2),
        ("[" * 100_000, 1),
    ],
)
def test_another_file_is_an_error_with_its_line(text, line, tmp_path):
    (tmp_path / "people").write_text(text, encoding="utf-8")
    with pytest.raises(IdentityMapFormatError, match=f"people, line {line}"):
        IdentityMap.load(tmp_path / "people")


def test_merging_leaves_the_input_as_it_was():
    people = linked(("bob", ANONYMOUS))
    records = list(
        iter_records(
            [
                f'{{"_p":"{ANONYMOUS}","_t":1,"_n":"x","plan":"Pro"}}',
                '{"_p":"bob","_t":2}',
                f'{{"_p":"{ANONYMOUS}","_p2":"bob","_t":3,"_d":1}}',
            ]
        )
    )
    merged = list(merge_identities(records, people))
    assert merged == [Event("bob", 1, "x", {"plan": "Pro"}), PropertySet("bob", 2), Alias("bob", 3, "bob", {"_d": 1})]
    assert merged[1] is records[1]
    assert [record.person for record in records] == [ANONYMOUS, "bob", ANONYMOUS]
    merged[0].properties["plan"] = "Free"
    assert records[0].properties == {"plan": "Pro"}
    twice = next(merge_identities(records[:1], people))
    twice.properties["plan"] = "Free"
    assert records[0].properties == {"plan": "Pro"}


def test_merging_needs_a_map():
    with pytest.raises(TypeError, match=r"people = bucket\.identities\(\)"):
        merge_identities([], {"a": "b"})


def test_properties_that_were_replaced_stay_replaced():
    (record,) = iter_records([b'{"_n":"x","_p":"a","_t":1,"email":"secret"}'])
    record.properties = {"email": "***"}
    (merged,) = merge_identities([record], IdentityMap().update([Alias("a", 1, "a@b.c")]))
    assert merged == Event("a@b.c", 1, "x", {"email": "***"})


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh"), st.booleans()), max_size=30))
def test_names_are_the_same_whether_they_are_asked_for_in_between(steps):
    asked, silent = IdentityMap(), IdentityMap()
    for a, b, ask in steps:
        asked.link(a, b)
        silent.link(a, b)
        if ask:
            asked.resolve(a)
    assert asked.people() == silent.people()
    assert [asked.resolve(one) for one in "abcdefgh"] == [silent.resolve(one) for one in "abcdefgh"]


def test_linking_and_asking_in_turn_looks_at_few_identities():
    looked_at = 0

    def count(identity: str) -> int:
        nonlocal looked_at
        looked_at += 1
        return 0

    people = IdentityMap(prefer=count)
    for number in range(2000):
        people.link("a", f"b{number}")
        assert people.resolve("a") == "a"
    assert looked_at < 10 * 2000


@pytest.mark.parametrize("prefer", ['"bogus"', "[]", "7"])
def test_a_file_with_an_unknown_policy(tmp_path, prefer):
    path = tmp_path / "people.jsonl"
    path.write_text(f'{{"format": "kmexport identities 1", "prefer": {prefer}}}\n', encoding="utf-8")
    with pytest.raises(IdentityMapFormatError, match="no policy"):
        IdentityMap.load(path)


def test_half_a_map_is_refused_wherever_it_was_cut(tmp_path):
    path = tmp_path / "people"
    linked(("a", "b"), ("c", "d\ud83d"), ("\u00e9", "f"), ("f", "g")).save(path)
    whole = path.read_bytes()
    for end in range(len(whole) - 1):  # without the last newline nothing is missing
        path.write_bytes(whole[:end])
        with pytest.raises(IdentityMapFormatError):
            IdentityMap.load(path)
    path.write_bytes(whole[:-1])
    assert len(IdentityMap.load(path)) == 7


def test_a_map_of_an_earlier_version_is_read(tmp_path):
    (tmp_path / "people").write_text(
        '{"format": "kmexport identities 1", "prefer": "named_first"}\n["a", "b"]\n["c", "d"]\n', encoding="utf-8"
    )
    assert IdentityMap.load(tmp_path / "people").people() == ["a", "c"]


def test_a_map_without_anybody(tmp_path):
    IdentityMap().save(tmp_path / "people")
    assert IdentityMap.load(tmp_path / "people").people() == []


def test_loaded_from_s3_in_one_piece(rclone):
    from tests.support.proxies import proxied

    people = IdentityMap()
    people.link_pairs((f"person{number}@example.com", f"{number:040x}") for number in range(20_000))
    (rclone.folder / "identities").mkdir()
    people.save("s3://identities/people.jsonl", **rclone.options)
    with proxied(rclone.endpoint) as proxy:
        options = {**rclone.options, "endpoint_url": proxy.endpoint}
        again = IdentityMap.load("s3://identities/people.jsonl", **options)
    assert again.people() == people.people()
    assert [method for method, _ in proxy.requests].count("GET") == 1  # newer s3fs asks for the size first


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh")), min_size=1, max_size=14),
    st.data(),
)
@settings(max_examples=examples(300))
def test_a_policy_that_raises_while_linking_changes_nothing(pairs, data):
    """Each link that raised may be made again, and then the map is as if nothing had happened."""
    fails = False

    def policy(identity: str) -> str:
        if fails:
            raise ZeroDivisionError
        return identity

    people = IdentityMap(prefer=policy)
    for number, (a, b) in enumerate(pairs):
        if data.draw(st.booleans()):
            people.resolve(data.draw(st.sampled_from("abcdefgh")))
        fails = data.draw(st.booleans())
        known = [one in people for one in (a, b)], len(people)
        try:
            people.link(a, b)
        except ZeroDivisionError:
            assert ([one in people for one in (a, b)], len(people)) == known
            fails = False
            assert state(people) == state(linked(*pairs[:number], prefer=policy))
            people.link(a, b)
        fails = False
        assert state(people) == state(linked(*pairs[: number + 1], prefer=policy))


def state(people: IdentityMap) -> object:
    names = {one: (people.resolve(one), people.identities_of(one)) for one in "abcdefgh"}
    return names, people.people(), len(people), [one in people for one in "abcdefgh"]


def test_a_policy_that_raises_while_saving_leaves_the_old_file(tmp_path):
    linked(("a", "b")).save(tmp_path / "people")
    before = (tmp_path / "people").read_bytes()
    with pytest.raises(ZeroDivisionError):
        linked(("a", "b"), prefer=lambda identity: 1 / 0).save(tmp_path / "people")
    assert (tmp_path / "people").read_bytes() == before


@pytest.mark.parametrize("what", [[("a", "b")], ["ab"], [{"_p": "a", "_p2": "b"}], [None], "ab"])
def test_update_takes_records(what):
    with pytest.raises(TypeError, match="link_pairs"):
        IdentityMap().update(what)


@pytest.mark.parametrize("pair", ["ab", ("a", 7), (b"a", b"b"), ("a", None), Alias("a", 1, "b"), ["a", 7], None])
def test_links_are_pairs_of_strings(pair):
    people = linked(("x", "y"))
    with pytest.raises(TypeError, match="pair of identities"):
        people.link_pairs([("y", "z"), pair])
    assert people.people() == ["x"]
    assert len(people) == 3


def test_links_may_be_lists():
    people = IdentityMap()
    people.link_pairs([["a", "b"]])
    assert people.resolve("b") == "a"
