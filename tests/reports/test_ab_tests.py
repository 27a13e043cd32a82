"""A/B tests: the arithmetic of the certainty, who is in a test, and the report against loops over random records."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmexport import Event, Facts, PropertySet, Window, reports
from kmexport.errors import UnknownNameError
from kmexport.reports import Split, has
from kmexport.reports.ab_tests import certainty
from tests.reports.test_rules import NAMES, RECORDS, RULES, SETTINGS, WINDOWS, prepare, span
from tests.support import report_model as model


def of(**got):
    """Facts of a test: of each variation so many people, so many of whom bought."""
    return Facts([
        record
        for name, (people, bought) in got.items()
        for number in range(people)
        for record in [
            PropertySet(f"{name} {number}", 1, {"button": name}),
            *([Event(f"{name} {number}", 2, "bought")] if number < bought else []),
        ]
    ] + [Event("somebody else", 1, "bought")])  # fmt: skip


def test_people_rates_and_the_winner():
    found = reports.ab_test(of(original=(1_000, 100), green=(1_000, 130), red=(900, 40)), "Button", "Bought")
    assert (found.baseline, found.winner, found.people, found.conversions) == ("original", "green", 2_900, 270)
    rows = [(row.value, row.people, row.conversions, row.rate) for row in found.rows]
    assert rows == [("original", 1_000, 100, 0.1), ("green", 1_000, 130, 0.13), ("red", 900, 40, 40 / 900)]
    assert found.rows[1].improvement == pytest.approx(0.3)
    # Φ(0.03 / √(0.1·0.9/1000 + 0.13·0.87/1000)) = Φ(2.105): 0.9824 in a printed table
    assert found.rows[1].certainty == pytest.approx(0.9824, abs=1e-4)
    assert found.rows[2].certainty < 0.001
    assert found.rows[0].improvement is found.rows[0].certainty is None
    assert found.notes == ()
    assert len(found.people_of("red", "dropped")) == 860
    assert found.people_of("green", "converted")[0] == "green 0"
    assert len(found.people_of()) == 2_900


def test_a_certainty_is_the_share_of_draws_in_which_the_variation_is_better():
    drawn = random.Random(7)
    better = 0
    for _ in range(4_000):
        base = drawn.gauss(0.1, math.sqrt(0.1 * 0.9 / 500))
        variation = drawn.gauss(0.12, math.sqrt(0.12 * 0.88 / 700))
        better += variation > base
    assert certainty((500, 50), (700, 84)) == pytest.approx(better / 4_000, abs=0.02)


@given(st.integers(1, 500), st.integers(1, 500), st.data())
def test_certainties_of_both_sides_add_up_to_one(n, m, data):
    one, other = (n, data.draw(st.integers(0, n))), (m, data.draw(st.integers(0, m)))
    there, back = certainty(one, other), certainty(other, one)
    if there is None:
        assert one[1] in (0, n)
        assert other[1] in (0, m)
    else:
        assert there + back == pytest.approx(1)
        assert (there > 0.5) == (other[1] / m > one[1] / n)


def test_without_a_spread_there_is_no_certainty_and_no_winner():
    found = reports.ab_test(of(control=(3, 0), b=(3, 3)), "button", "bought")
    assert (found.winner, found.rows[1].certainty, found.rows[1].improvement) == (None, None, None)
    assert found.notes == ("The certainty is rough: fewer than 5 people converted, or did not, with 'control', 'b'.",)


def test_no_winner_where_the_certainty_is_95_percent_or_less():
    found = reports.ab_test(of(original=(1_000, 100), green=(1_000, 120)), "button", "bought")
    assert 0.9 < found.rows[1].certainty < 0.95
    assert found.winner is None
    assert str(found).splitlines()[0] == "button → bought: 2,000 people, 220 conversions, no winner"


def test_the_baseline_is_asked_for_or_named_so_or_the_largest():
    facts = of(a=(50, 10), b=(60, 10), c=(10, 5))
    found = reports.ab_test(facts, "button", "bought")
    assert found.baseline == "b"
    assert "The baseline is 'b', the variation with most people: baseline= chooses another." in str(found)
    asked = reports.ab_test(facts, "button", "bought", baseline="c")
    assert (asked.baseline, asked.notes, asked.rows[0].value) == ("c", (), "c")
    named = of(Control=(20, 10), b=(60, 10))
    assert (reports.ab_test(named, "button", "bought").baseline) == "Control"
    two = of(Control=(20, 10), original=(60, 10))
    assert reports.ab_test(two, "button", "bought").baseline == "original"  # as the largest, and the note says so
    with pytest.raises(LookupError, match="the report has no variation 'd': the closest"):
        reports.ab_test(facts, "button", "bought", baseline="d")


def test_the_first_variation_within_the_window_counts_and_only_what_follows_it():
    facts = Facts([
        Event("early", 1, "bought"), PropertySet("early", 2, {"b": "x"}),
        PropertySet("same", 2, {"b": "x"}), Event("same", 2, "bought"),
        PropertySet("moved", 1, {"b": "x"}), PropertySet("moved", 2, {"b": "y"}), Event("moved", 3, "bought"),
        PropertySet("before", -5, {"b": "z"}), PropertySet("before", 5, {"b": "y"}), Event("before", 99, "bought"),
        PropertySet("late", 50, {"b": "y"}),
    ])  # fmt: skip
    found = reports.ab_test(facts, "b", "bought", Window(0, 50))
    assert [(row.value, row.people, row.conversions) for row in found.rows] == [("x", 3, 2), ("y", 1, 0)]
    assert found.people_of("x", "converted") == ["moved", "same"]
    assert found.notes[1] == "1 person with several variations: only the first one counts."
    whole = reports.ab_test(facts, "b", "bought", Window(0, 50), among=~has("Customer ID", equal_to="moved"))
    assert not any("several" in note for note in whole.notes)


def test_nobody_is_in_the_test():
    found = reports.ab_test(of(a=(2, 1)), "button", "bought", Window(50, 60))
    assert (found.people, found.rows, found.baseline, found.winner, found.people_of()) == (0, (), None, None, [])
    assert str(found).splitlines()[0] == "button → bought: 0 people, 0 conversions, no winner"
    assert found.to_arrow().num_rows == 0


def test_what_can_not_be_tested():
    facts = of(a=(2, 1))
    with pytest.raises(UnknownNameError, match="no record has the property 'buton'"):
        reports.ab_test(facts, "buton", "bought")
    with pytest.raises(UnknownNameError, match="no record has the event 'bougth'"):
        reports.ab_test(facts, "button", "bougth")
    with pytest.raises(ValueError, match="'Customer ID' is the name of a person"):
        reports.ab_test(facts, "Customer ID", "bought")
    with pytest.raises(ValueError, match="this report splits at 'first_in_window', not at 'last_ever'"):
        reports.ab_test(facts, Split("button", at="last_ever"), "bought")
    found = reports.ab_test(facts, "button", "bought")
    with pytest.raises(ValueError, match="which is one of 'in_test'"):
        found.people_of("a", "all")
    with pytest.raises(LookupError, match="no variation 'b'"):
        found.people_of("b")


def test_variations_in_a_form():
    facts = Facts([PropertySet("a", 1, {"b": "Green"}), PropertySet("b", 1, {"b": "green"}), Event("b", 2, "x")])
    found = reports.ab_test(facts, Split("b", form="lowercase"), "x")
    assert [(row.value, row.people, row.conversions) for row in found.rows] == [("green", 2, 1)]


def expected(records, name, event, window):
    """Variation → (persons, persons who converted); and how many had several variations."""
    found, several = {}, 0
    for person in model.everyone(records):
        given_ = [one for one in model.settings(records, person, name) if one[0] in window]
        if not given_:
            continue
        moment, value = given_[0]
        several += len({value for _, value in given_}) > 1
        people, converted = found.setdefault(value, (set(), set()))
        people.add(person)
        if any(at >= moment for at in model.times(records, person, event, window)):
            converted.add(person)
    return found, several


@SETTINGS
@given(RECORDS, RULES, st.sampled_from(["plan", "AMOUNT"]), NAMES, WINDOWS)
def test_against_loops(records, rule, name, event, window):
    kept, facts = prepare(records, rule)
    found = reports.ab_test(facts, name, event, window)
    variations, several = expected(kept, name, event, span(window))
    assert {row.value: (row.people, row.conversions) for row in found.rows} == {
        value: (len(people), len(converted)) for value, (people, converted) in variations.items()
    }
    assert any("several variations" in note for note in found.notes) == bool(several)
    for value, (people, converted) in variations.items():
        assert found.people_of(value) == sorted(people)
        assert found.people_of(value, "converted") == sorted(converted)
        assert found.people_of(value, "dropped") == sorted(people - converted)
    if variations:
        base = found.rows[0]
        assert base.value == found.baseline
        assert base.people == max(row.people for row in found.rows)
        for row in found.rows[1:]:
            assert row.certainty == certainty((base.people, base.conversions), (row.people, row.conversions))
            if base.rate:
                assert row.improvement == pytest.approx(row.rate / base.rate - 1)
    certain = {row.value: row.rate for row in found.rows if (row.certainty or 0) > 0.95}
    assert found.winner == max(certain, key=certain.get, default=None)
