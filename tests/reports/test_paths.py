"""Paths: the rules of the vendor's page, one by one, and the report against loops over random records."""

from __future__ import annotations

import statistics
from collections import Counter
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmexport import Bucket, Event, Facts, PropertySet, Window, fold_name, reports
from kmexport.errors import UnknownNameError
from kmexport.reports import Split, did
from tests.reports.test_rules import NAMES, RECORDS, RULES, SETTINGS, WINDOWS, prepare, span
from tests.support import report_model as model

LETTERS = {"s": "start", "c": "convert"}


def walks(**told):
    """Facts of people who did an event a second, each event a letter: walks(ann="sabc")."""
    return Facts(
        [
            Event(person, at, LETTERS.get(letter, letter))
            for person, letters in told.items()
            for at, letter in enumerate(letters)
            if letter != " "
        ]
    )


def shown(found):
    return {row.path: (row.people, row.conversions) for row in found.rows}


def test_the_first_five_items_and_the_median_of_the_rest():
    facts = walks(ann="sabdefgc", bob="sabdefghic", cy="sabdef", di="sac")
    found = reports.paths(facts, "start", "convert")
    assert shown(found) == {"start → a → b → d → e → +3 more": (3, 2), "start → a": (1, 1)}
    first, second = found.rows
    assert (first.more, first.time, first.rate) == (3, 8, 2 / 3)  # 2 and 4 more, 7 and 9 seconds
    assert (second.more, second.time) == (0, 2)
    assert (found.people, found.conversions, found.rate) == (4, 3, 3 / 4)
    assert found.time == (8 * 2 + 2 * 1) / 3  # by conversions
    assert found.people_of(first) == ["ann", "bob", "cy"]
    assert found.people_of(first, "converted") == ["ann", "bob"]
    assert found.people_of(first, "dropped") == found.people_of(which="dropped") == ["cy"]
    assert found.people_of(which="converted") == ["ann", "bob", "di"]


def test_half_of_an_item_is_shown_rounded_down_and_kept_in_the_row():
    found = reports.paths(walks(ann="sabc", bob="sabdc"), "start", "convert", length=1)
    assert (found.rows[0].path, found.rows[0].more) == ("start → +2 more", 2.5)


def test_what_comes_again_at_once_is_one_item():
    found = reports.paths(walks(ann="saabbbac"), "start", "convert")
    assert found.rows[0].path == "start → a 2X → b 3X → a"
    assert (found.rows[0].items, found.rows[0].times) == (("start", "a", "b", "a"), (1, 2, 3, 1))


def test_the_last_items_before_the_conversion():
    facts = walks(ann="sabdxyc", bob="sxydexyc", cy="saxyz")
    found = reports.paths(facts, "start", "convert", take="last", length=2)
    row = found.rows[0]
    # cy went through x → y too, but did not convert with it; ann has 4 items before it, bob 5
    assert (row.path, row.people, row.conversions, row.more) == ("+4 more → x → y", 3, 2, 4.5)
    assert (found.people, found.conversions) == (3, 2)
    [start] = [row for row in found.rows if row.items == ("start",)]
    assert (start.people, start.conversions, start.more, start.time) == (3, 0, None, None)
    assert found.people_of(row, "dropped") == ["cy"]
    assert len(found.rows) > found.people  # one person is in several


def test_of_several_events_in_a_second_the_more_frequent_one_is_shown():
    facts = Facts([
        Event("a", 1, "start"), Event("a", 2, "rare"), Event("a", 2, "often"), Event("a", 9, "convert"),
        Event("b", 5, "often"), Event("b", 6, "a"), Event("c", 3, "start"), Event("c", 3, "often"),
        Event("c", 4, "convert"), Event("c", 4, "often"),
    ])  # fmt: skip
    found = reports.paths(facts, "start", "convert")
    # The start stays the start; what happens in the conversion's second is on the way to it.
    assert shown(found) == {"start → often": (2, 2)}


def test_the_first_conversion_within_the_range():
    facts = walks(ann="sac sbc sdc")
    assert shown(reports.paths(facts, "start", "convert")) == {"start → a": (1, 1)}
    assert shown(reports.paths(facts, "start", "convert", Window(3, 99))) == {"start → b": (1, 1)}
    assert shown(reports.paths(facts, "start", "convert", Window(7, 9))) == {"start": (1, 0)}  # not yet converted
    assert shown(reports.paths(facts, "start", "convert", Window(7, 10))) == {"start → d": (1, 0)}
    assert shown(reports.paths(facts, "start", "convert", Window(11, 12))) == {}


def test_who_began_before_the_range_is_on_the_way():
    facts = walks(ann="sabbbbc", bob="sx", cy="     s")
    window = Window(4, 99)
    assert reports.paths(facts, "start", "convert", window).people == 3
    assert reports.paths(facts, "start", "convert", window, among=did("start", window=window)).people_of() == ["cy"]


def test_from_one_purchase_to_the_next():
    found = reports.paths(walks(ann="cabcdc", bob="c", cy="abc d"), "convert", "convert")
    assert shown(found) == {"convert → a → b": (1, 1), "convert → d": (1, 0), "convert": (1, 0)}


def test_paths_of_the_values_of_a_property():
    facts = Facts([
        PropertySet("a", 0, {"channel": "before"}),
        Event("a", 1, "visited", {"channel": "Email"}), Event("a", 2, "visited", {"channel": "Paid"}),
        Event("a", 3, "visited", {"channel": "Paid"}), Event("a", 4, "bought", {"channel": "Direct"}),
        PropertySet("a", 5, {"channel": "after"}),
        Event("b", 1, "visited"), Event("b", 3, "bought"), Event("c", 1, "visited", {"channel": "Email"}),
    ])  # fmt: skip
    found = reports.paths(facts, "visited", "bought", of="Channel")
    assert shown(found) == {"Email → Paid 2X → Direct": (1, 1), "(nothing)": (1, 1), "Email": (1, 0)}
    assert [found.people_of(row) for row in found.rows] == [["b"], ["a"], ["c"]]
    lower = reports.paths(facts, "visited", "bought", of=Split("channel", form="lowercase"))
    assert lower.rows[-1].items == ("email",)


def test_only_so_many_paths_are_shown_and_the_totals_are_of_all():
    facts = walks(a="sac", b="sac", c="sac", d="sbc", e="sbc", f="sc")
    found = reports.paths(facts, "start", "convert", most=2)
    assert [row.conversions for row in found.rows] == [3, 2]
    assert (found.people, found.conversions) == (6, 6)
    assert "1 path more with fewer conversions" in str(found)
    assert len(reports.paths(facts, "start", "convert", most=None).rows) == 3


def test_nobody_on_the_way():
    found = reports.paths(walks(ann="ab", bob="sc"), "start", "convert", Window(50, 60))
    assert (found.people, found.conversions, found.rate, found.time, found.rows) == (0, 0, None, None, ())
    assert str(found).splitlines()[0] == "start → convert: 0 of 0 people"


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"take": "middle"}, ValueError, 'take is "first" or "last", not \'middle\''),
        ({"length": 0}, ValueError, "length is 1 or more, not 0"),
        ({"length": True}, TypeError, "length is a whole number"),
        ({"most": 2.5}, TypeError, "most is a whole number"),
        ({"of": "Customer ID"}, ValueError, "'Customer ID' is the name of a person"),
        ({"of": "colour"}, UnknownNameError, "no record has the property 'colour'"),
        ({"of": Split("plan", at="at_step")}, ValueError, "this report splits at"),
    ],
)
def test_what_is_no_path(options, error, told):
    facts = Facts([Event("a", 1, "start", {"plan": "x"}), Event("a", 2, "convert")])
    with pytest.raises(error, match=told):
        reports.paths(facts, "start", "convert", **options)


def test_a_row_of_another_report():
    found = reports.paths(walks(ann="sac"), "start", "convert")
    other = reports.paths(walks(ann="sbc"), "start", "convert")
    with pytest.raises(LookupError, match="the report has no such path: start → b"):
        found.people_of(other.rows[0])
    with pytest.raises(ValueError, match="which is one of 'on_the_way'"):
        found.people_of(which="lost")


def test_a_path_over_a_bucket_is_that_over_facts():
    with Facts(Bucket.sample()) as facts:
        for of in ("events", "referrer"):
            ready = reports.paths(facts, "visited site", "purchased", of=of)
            read = reports.paths(Bucket.sample(), "visited site", "purchased", of=of)
            assert read == ready
            assert read.people_of(read.rows[0]) == ready.people_of(ready.rows[0])


# The rules as loops.


def way_of(records, person, first, conversion, window):
    """When the person's way begins and ends (None: it is open); None for nobody on the way."""
    is_same = fold_name(first) == fold_name(conversion)
    ends = [at for at in model.times(records, person, conversion) if at < window.end]
    begun = {}
    for start in model.times(records, person, first):
        if start < window.end:
            end = next((at for at in ends if (at > start if is_same else at >= start)), None)
            begun.setdefault(end, start)
    for end in sorted(end for end in begun if end is not None):
        if end >= window.start:
            return begun[end], end
    return (begun[None], None) if None in begun else None


def items_of(records, person, way, first, conversion, window, of, often):
    """The (item, times) of a way."""
    start, end = way
    last = end if end is not None else window.end - 1
    if of is None:
        found = [
            (r.timestamp, fold_name(r.name))
            for r in records
            if isinstance(r, Event) and r.person == person and start < r.timestamp <= last
        ]
        found = [one for one in found if one[1] != fold_name(conversion)] + [(start, fold_name(first))]
    else:
        found = [one for one in model.settings(records, person, of) if start <= one[0] <= last]
    chosen = {}
    for at, item in found:
        if at not in chosen or (-often[item], item) < (-often[chosen[at]], chosen[at]):
            chosen[at] = item
    return [(item, len(list(group))) for item, group in groupby(chosen[at] for at in sorted(chosen))]


def expected(records, first, conversion, window, of, take, length):  # as literal as the rules
    """path → {person: None, or the seconds and the items beyond it of who converted}."""
    if of is None:
        often = Counter(fold_name(r.name) for r in records if isinstance(r, Event))
    else:
        often = Counter(value for person in model.everyone(records) for _, value in model.settings(records, person, of))
    found = {}
    for person in model.everyone(records):
        way = way_of(records, person, first, conversion, window)
        if way is None:
            continue
        items = items_of(records, person, way, first, conversion, window, of, often)
        more = max(len(items) - length, 0)
        converted = None if way[1] is None else (way[1] - way[0], more)
        if take == "first":
            found.setdefault(tuple(items[:length]), {})[person] = converted
            continue
        for end in range(1, len(items)):
            found.setdefault(tuple(items[max(end - length, 0) : end]), {})[person] = None
        found.setdefault(tuple(items[-length:]), {})[person] = converted
    return found


@SETTINGS
@given(
    RECORDS,
    RULES,
    NAMES,
    NAMES,
    WINDOWS,
    st.sampled_from([None, None, "plan", "AMOUNT"]),
    st.sampled_from(["first", "last"]),
    st.integers(1, 4),
)
def test_against_loops(records, rule, first, conversion, window, of, take, length):
    kept, facts = prepare(records, rule)
    found = reports.paths(facts, first, conversion, window, of=of or "events", take=take, length=length, most=None)
    paths = expected(kept, first, conversion, span(window), of, take, length)
    rows = {tuple(zip(row.items, row.times, strict=True)): row for row in found.rows}
    assert rows.keys() == paths.keys()
    medians = []
    for path, people in paths.items():
        row = rows[path]
        took = [one for one in people.values() if one is not None]
        assert (row.people, row.conversions, row.rate) == (len(people), len(took), len(took) / len(people))
        assert row.time == (statistics.median(seconds for seconds, _ in took) if took else None)
        assert row.more == (statistics.median(more for _, more in took) if took else None)
        assert found.people_of(row) == sorted(people)
        assert found.people_of(row, "converted") == sorted(one for one in people if people[one] is not None)
        medians += [row.time] * len(took)
    everybody = set().union(*paths.values())
    assert found.people_of() == sorted(everybody)
    assert (found.people, found.conversions) == (len(everybody), len(medians))
    assert found.rate == (len(medians) / len(everybody) if everybody else None)
    assert found.time == (pytest.approx(sum(medians) / len(medians)) if medians else None)
