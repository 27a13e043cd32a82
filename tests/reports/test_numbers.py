"""No number of a report without its reason: periods, values that are no number, wrong clocks, odd arguments."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import matplotlib as mpl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt

from kmexport import Event, Facts, PropertySet, Window, iter_records, reports
from kmexport.reports.periods import split_into_periods
from kmexport.reports.query import as_seconds
from kmexport.reports.results import texts_of, write_duration
from kmexport.reports.sql import reading_of
from tests.support.strategies import examples

mpl.use("Agg")
DAY = 86_400
YEAR = 366 * DAY


def rows_of(found, *names):
    return {row.label: tuple(getattr(row, name) for name in names) for row in found.rows}


# Periods.


def test_without_a_window_nothing_outside_a_period_counts_in_it():
    facts = Facts([Event("b", 0, "E2"), Event("a", 10 * DAY, "E1"), Event("c", 20 * DAY, "E2")])
    found = reports.conversion(facts, "E1", "E2", repeating=True, every="day")
    counted = rows_of(found, "numerator", "denominator")
    assert len(counted) == 21
    assert {label: numbers for label, numbers in counted.items() if any(numbers)} == {
        "1970-01-01": (1, 0), "1970-01-11": (0, 1), "1970-01-21": (1, 0),
    }  # fmt: skip
    assert (found.numerator, found.denominator) == (2, 1)
    assert found.people_of(label="1970-01-11") == []


def test_without_a_window_a_population_is_that_of_the_period():
    facts = Facts([Event("b", 0, "visited"), Event("a", 10 * DAY, "bought", {"n": 9})])
    found = reports.property_total(facts, "n", population="visited", every="day")
    counted = rows_of(found, "people", "average_per_person")
    assert (counted["1970-01-01"], counted["1970-01-11"]) == ((1, 0), (0, None))
    assert found.people_of() == ["b"]
    assert found.people_of(label="1970-01-11") == []


def test_totals_of_no_periods():
    facts = Facts([Event("a", 1, "e"), Event("b", 1, "x", {"n": 5})])
    total = reports.property_total(facts, "n", event="e", every="week")
    assert (total.total, total.values, total.people, total.rows) == (0, 0, 0, ())
    assert reports.property_total(facts, "n", event="e", population="e", every="week").people == 1
    assert reports.property_total(facts, "n", event="e", population="everyone", every="week").people == 2


@pytest.mark.parametrize(
    ("zone", "moment", "label"),
    [
        ("Pacific/Chatham", 1_380_377_100, "2013-09-29 03:00+13:45"),
        ("Pacific/Chatham", 1_380_376_700, "2013-09-29 02:00+12:45"),
        ("Australia/Lord_Howe", 1_365_260_400 - 1, "2013-04-07 01:00+11:00"),
        ("Australia/Lord_Howe", 1_365_260_400, "2013-04-07 01:00+10:30"),
    ],
)
def test_an_hour_ends_where_the_clock_changes_in_it(zone, moment, label):
    (row,) = reports.event_counts(Facts([Event("a", moment, "x")]), "x", every="hour", tz=zone).rows
    assert row.label == label


@given(st.sampled_from(["Pacific/Chatham", "Australia/Lord_Howe", "Africa/Monrovia"]), st.integers(-(10**9), 2 * 10**9))
def test_hours_cover_a_window_without_a_gap(zone, start):
    window = Window(start, start + 2 * DAY)
    hours = split_into_periods(window, "hour", zone)
    assert (hours[0].start, hours[-1].end) == (window.start, window.end)
    assert all(hour.end == later.start for hour, later in pairwise(hours))
    assert len({hour.label for hour in hours}) == len(hours)


def test_the_zone_of_a_report_is_its_own_then_that_of_the_window_then_utc():
    day = Window.day("2012-10-03", "America/New_York")
    facts = Facts([Event("a", day.start + 60, "s"), Event("b", day.end - 60, "s"), Event("b", day.end - 60, "t")])

    def labels(window, **tz):
        return [row.label for row in reports.event_counts(facts, "s", window, every="day", **tz).rows]

    assert labels(day) == ["2012-10-03"]
    assert labels(day, tz="UTC") == ["2012-10-03", "2012-10-04"]
    assert labels(Window(day.start, day.end)) == labels(None) == ["2012-10-03", "2012-10-04"]
    found = reports.cohorts(facts, "s", "t", day, group="day")
    assert [row.cohort for row in found.rows] == ["2012-10-03"]


# One wrong clock.


def test_a_clock_that_is_years_wrong_is_named_and_the_report_goes_on():
    right = [Event(f"p{number}", 1349222400 + number * 7_000, "x", {"n": 1}) for number in range(200)]
    facts = Facts([*right, Event("a", 4, "x", {"n": 1}), Event("b", 10**11, "x", {"n": 1})])
    for every, rows in (("hour", 387), ("day", 17), ("week", 3)):
        found = reports.event_counts(facts, "x", every=every)
        assert (len(found.rows), found.people, sum(row.people for row in found.rows)) == (rows, 202, 200)
        assert "1 of 1970-01-01, 1 of 5138-11-16" in found.notes[0]
        assert found.notes[0] in str(found)
    assert reports.property_total(facts, "n", every="day").total == 202
    assert reports.event_counts(facts, "x", Window(0, 5), every="day").notes == ()


def test_days_before_1970():
    many = [Event("b", 16_000 * DAY + second, "x") for second in range(5)]
    found = reports.event_counts(Facts([Event("a", -1, "x"), *many]), "x", every="hour")
    assert "1 of 1969-12-31" in found.notes[0]
    # The last record is in the last second before 1970: who began a day earlier has had two buckets.
    facts = Facts([Event("a", -DAY - 1, "x"), Event("a", -1, "y")])
    assert [row.begun for row in reports.cohorts(facts, "x", "y", group="day").rows] == [2]
    # A funnel keeps an event's last occurrence on each day of the zone, also of days far from one another.
    moments = [-5_000 * DAY, -DAY - 3_600, -DAY - 60, -1, 16_000 * DAY]
    for tz in ("UTC", "Pacific/Kiritimati", "Etc/GMT+12"):
        steps = [Event(person, moment, "x") for moment in moments for person in "ab"]
        funnel = reports.funnel(Facts([*steps, Event("a", 0, "y")]), ["x", "y"], tz=tz)
        assert [step.people for step in funnel.steps] == [2, 1]


def test_rows_of_many_years_are_all_there_where_no_clock_is_wrong():
    facts = Facts([Event("a", day * DAY, "x") for day in range(0, 2_000, 300)])
    found = reports.event_counts(facts, "x", every="day")
    assert (len(found.rows), found.notes) == (1_801, ())


def test_a_wrong_clock_makes_no_columns_of_cohorts():
    events = [Event("a", DAY, "x"), Event("a", 3 * DAY, "y"), Event("b", DAY, "x"), Event("b", 10**11, "y")]
    found = reports.cohorts(Facts(events), "x", "y", group="day")
    assert found.rows[0].buckets == (0, 0, 1)
    assert found.rows[0].begun == 3
    assert "1 who came back 1,157,406 days later or more" in str(found)


# Amounts.


def test_values_that_are_no_number_are_counted_and_named():
    texts = ["5", "$49.00", "$49.00", "gift", "a", "b", None, "7"]
    records = [Event("p", number, "bought", {"amount": text}) for number, text in enumerate(texts)]
    found = reports.property_total(Facts(records), "amount")
    assert (found.total, found.values, found.not_numbers) == (12, 2, 5)
    assert str(found).splitlines()[-1] == (
        '5 values are no number ($49.00, a, b …): written="$1,000.00" reads amounts in that form'
    )
    assert found.to_dict()["not_numbers"] == 5
    assert "5 values are no number" in found._repr_html_()
    later = reports.property_total(Facts(records), "amount", Window(3, 4))
    assert later.notes == ("1 value is no number (gift)",)
    assert reports.property_total(Facts(records), "amount", Window(7, 9)).notes == ()


@pytest.mark.parametrize(
    ("written", "amounts"),
    [
        ("$1,000.00", {"$1,463.00": 1463, "$-5.50": -5.5, "-$5.50": -5.5, "($5.50)": -5.5, " 49 USD": 49, "1463.25": 1463.25}),  # noqa: E501
        ("1.000,00 €", {"1.463,00 €": 1463, "1463,5": 1463.5, "1.463": 1463, "-7": -7, "7-": -7}),
        ("1 000,00", {"1 463,00": 1463, "12": 12}),
        ("1'000.00", {"1'463.00 CHF": 1463}),
        ("1000.00", {"1463.5": 1463.5}),
    ],
)  # fmt: skip
def test_amounts_are_read_as_they_are_written(written, amounts):
    records = [PropertySet("p", number, {"n": text}) for number, text in enumerate(amounts)]
    records.append(PropertySet("p", 99, {"n": 0.25}))  # a number of JSON is itself in every form
    found = reports.property_total(Facts(records), "n", written=written)
    assert (found.total, found.not_numbers) == (sum(amounts.values()) + 0.25, 0)


def test_what_is_written_otherwise_is_no_number():
    facts = Facts(
        [PropertySet("p", at, {"n": text}) for at, text in enumerate(["1.463,00", "49.00", "1.46.3", "1e3", ""])]
    )
    assert reports.property_total(facts, "n", written="1.000,00").not_numbers == 4
    for written in ("$1,000", "1.000", "dollars", "1,0,00.00", ""):
        with pytest.raises(ValueError, match="written is an amount with its decimals"):
            reading_of(written)
    with pytest.raises(TypeError, match="written is an amount"):
        reports.property_total(facts, "n", written=2)


@settings(max_examples=examples(25))
@given(st.decimals(-(10**9), 10**9, places=2))
def test_written_amounts_come_back(amount):
    english = f"${amount:,.2f}"
    german = f"{amount:,.2f} €".translate(str.maketrans(",.", ".,"))
    for text, written in ((english, "$1,000.00"), (german, "1.000,00 €")):
        found = reports.property_total(Facts([PropertySet("p", 1, {"n": text})]), "n", written=written)
        assert (found.total, found.values) == (float(amount), 1)


def test_a_number_beyond_every_float_is_told():
    facts = Facts(
        [Event("a", 1, "e", {"n": 5}), Event("b", 2, "e", {"n": "1e400"}), Event("b", 3, "e", {"n": "-1e400"})]
    )
    with pytest.raises(OverflowError, match=r"the value -?1e400 of 'n' is so huge"):
        reports.property_total(facts, "n")
    assert reports.property_total(facts, "n", Window(0, 2)).total == 5


def test_the_amounts_of_an_event_are_those_of_its_seconds():
    facts = Facts([
        Event("a", 1, "bought"), PropertySet("a", 1, {"n": 5}), PropertySet("a", 2, {"n": 7}),
        Event("b", 1, "x", {"n": 9}),
    ])  # fmt: skip
    assert reports.property_total(facts, "n", event="bought").total == 5


def test_equal_numbers_are_one_value_shown_as_first_sent():
    lines = ['"x"', "1.50", "1.5", "15e-1", '"1.5"', '"1.50"', "2", "2.0", "true", "-0", "0"]
    records = list(iter_records([f'{{"_p":"p{at}","_t":1,"_n":"x","v":{value}}}' for at, value in enumerate(lines)]))
    expected = {"x": 1, "1.50": 4, "1.5": 1, "2": 2, "true": 1, "-0": 2}
    facts = Facts(records)
    found = [reports.event_counts(facts, "x", by="v"), reports.property_values(facts, "v")]
    found += [reports.segments(facts, "x", "v"), reports.property_values(facts, "v", at="first_ever")]
    for report in found:
        assert {row.value: row.people for row in report.rows} == expected
    assert found[0].people_of(value="1.50") == ["p1", "p2", "p3", "p5"]


def test_equal_numbers_are_one_value_whether_or_not_somebody_looked_at_them():
    records = list(iter_records(['{"_p":"a","_t":1,"_n":"x","v":1.50}', '{"_p":"b","_t":2,"_n":"x","v":1.5}']))
    assert [row.people for row in reports.event_counts(Facts(records), "x", by="v").rows] == [2]
    assert all(record.properties for record in records)
    assert [row.people for row in reports.event_counts(Facts(records), "x", by="v").rows] == [2]


# How numbers are written.


def test_money_has_two_digits_and_whole_amounts_none():
    facts = Facts([Event("a", 1, "bought", {"n": 26_011.1, "m": 5}), Event("b", 2, "bought", {"n": "0.01", "m": "6"})])
    shown = str(reports.property_total(facts, "n")).splitlines()
    assert shown[0] == "n: 26,011.11 in 2 values, 2 people"
    assert shown[2].split()[:3] == ["26,011.11", "2", "2"]
    assert str(reports.property_total(facts, "m")).startswith("m: 11 in 2 values")
    assert texts_of([1e300, 0.0001, -2.5], "amount") == ["1e+300", "0.0001", "-2.50"]


def test_durations_have_one_form():
    facts = Facts([Event("a", 0, "x"), Event("a", 802, "y"), Event("b", 0, "x"), Event("b", 3 * DAY, "y")])
    found = reports.time_between(facts, "x", "y")
    assert str(found).splitlines()[0] == "x → y: 2 people, mean 1 d 12 h, median 1 d 12 h"
    assert found.to_arrow().column("median").to_pylist() == [(802 + 3 * DAY) / 2]


@given(st.floats(0, 10**12))
def test_a_duration_is_near_its_seconds(seconds):
    shown = write_duration(seconds).replace(",", "").replace(" d", " days")
    assert abs(as_seconds("x", shown) - seconds) <= max(0.05, seconds / 40) + 1e-9  # half of the smaller unit


def test_lengths_of_time():
    assert as_seconds("within", "1 h 30 min") == as_seconds("within", timedelta(hours=1.5)) == 5_400
    assert as_seconds("within", " 7 Days ") == 7 * DAY
    for text in ("", "7", "days", "7 days ago", "1 h, 2 min", "-1 h"):
        with pytest.raises(ValueError, match="within takes a timedelta"):
            as_seconds("within", text)


def test_the_value_none_is_told_from_no_value():
    facts = Facts([Event("a", 1, "x", {"plan": "None"}), Event("b", 1, "x"), Event("c", 1, "x", {"plan": ""})])
    found = reports.event_counts(facts, "x", by="plan")
    assert [line.split()[0] for line in str(found).splitlines()[2:]] == ["''", "'None'", "None"]
    assert [label.get_text() for label in found.plot().get_yticklabels()] == ["''", "'None'", "None"]
    plt.close("all")


def drawn(found):
    axes = found.plot()
    axes.figure.canvas.draw()
    return axes


def test_zero_is_drawn_as_zero_and_not_as_nobody():
    facts = Facts([Event("a", 1, "x", {"n": 5}), Event("b", 1, "x", {"n": -5}), Event("c", 0, "y")])
    assert [text.get_text() for text in drawn(reports.conversion(facts, "x", "y")).texts] == ["0.0%"]
    assert [text.get_text() for text in drawn(reports.property_total(facts, "n")).texts] == ["0"]
    assert drawn(reports.conversion(facts, "x", "y", every="day")).lines
    assert drawn(reports.property_total(facts, "n", every="day")).lines
    plt.close("all")


def test_huge_numbers_are_printed_and_drawn():
    facts = Facts([Event("a", 1, "x", {"n": 1e300}), Event("b", DAY, "x", {"n": -1.7e308})])
    for split_up in ({}, {"every": "day"}, {"by": "n"}):
        found = reports.property_total(facts, "n", **split_up)
        assert max(map(len, str(found).splitlines())) < 120
        drawn(found)
    plt.close("all")


# Arguments that make no sense.


def test_arguments_that_are_missing_or_of_another_kind():
    facts = Facts([Event("a", 1, "x", {"n": 5})])
    with pytest.raises(TypeError, match="the name of an event or a property is text"):
        reports.event_counts(facts, None)
    with pytest.raises(TypeError, match="the name of an event or a property is text"):
        reports.funnel(facts, ["x", None])
    with pytest.raises(TypeError, match="the name of an event or a property is text"):
        reports.property_total(facts, None)
    with pytest.raises(TypeError, match="population is"):
        reports.property_total(facts, "n", population=None)
    for number in (2.5, True, "3"):
        with pytest.raises(TypeError, match="a whole number"):
            reports.cohorts(facts, "x", "x", columns=number)


def test_closed_facts_say_that_they_are():
    with Facts([Event("a", 1, "x", {"n": 5})]) as facts:
        found = reports.event_counts(facts, "x")
    with pytest.raises(ValueError, match="these facts are closed"):
        reports.event_counts(facts, "x")
    with pytest.raises(ValueError, match="these facts are closed"):
        found.people_of()


def test_a_conversion_to_the_same_event_says_so():
    facts = Facts([Event("a", 1, "x"), Event("a", 2, "x")])
    once = reports.conversion(facts, "x", "X")
    assert (once.numerator, once.denominator) == (0, 1)
    assert "the rate is always 0%" in str(once)
    assert "always 100%" in str(reports.conversion(facts, "x", "x", repeating=True))


def test_the_note_of_amounts_has_the_way_to_read_them():
    def note(*values, **how):
        records = [Event(str(at), at, "sold", {"amount": value}) for at, value in enumerate(["1", *values])]
        return reports.property_total(records, "amount", **how).notes

    assert note("") == ('1 value is no number ("")',)
    assert note("gift") == ("1 value is no number (gift)",)
    assert note("9,90 €") == ('1 value is no number (9,90 €): written="$1,000.00" reads amounts in that form',)
    assert note("9,90 €", written="$1.00") == ("1 value is no number (9,90 €)",)
