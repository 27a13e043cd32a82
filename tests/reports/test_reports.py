"""Every worked example of the vendor's rules, and what reports do with bad input."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest

from kmexport import Alias, Event, Facts, KmExportError, PropertySet, Window, reports
from kmexport.errors import UnknownNameError
from kmexport.reports import periods
from kmexport.testing import write_export

WINDOW = Window(0, 100)
DAY = 86_400


def did(**events):
    """Records of what people did: did(a="X@1 Y@5")."""
    pairs = [(person, *one.split("@")) for person, told in events.items() for one in told.split()]
    return [Event(person, int(moment), name) for person, name, moment in pairs]


# The worked examples.


def test_people_times_and_average():
    facts = Facts(did(a="X@1 X@5", b="X@7", c="X@100"))
    counts = reports.event_counts(facts, "X", WINDOW)
    assert (counts.people, counts.times, counts.average) == (2, 3, 1.5)


def test_conversion_once():
    facts = Facts(did(a="E1@10 E2@20", b="E1@10", c="E2@5 E1@10 E2@30", d="E1@10 E2@120"))
    once = reports.conversion(facts, "E1", "E2", WINDOW)
    assert (once.numerator, once.denominator, once.rate) == (1, 3, 1 / 3)
    assert once.people_of() == ["a"]
    assert once.people_of("denominator") == ["a", "b", "d"]
    assert once.people_of("dropped") == ["b", "d"]


def test_who_did_event_2_before_the_window_is_left_out():
    facts = Facts(did(a="E2@-5 E1@10 E2@20"))
    assert reports.conversion(facts, "E1", "E2", WINDOW).denominator == 0


def test_conversion_in_the_same_second_is_not_after():
    facts = Facts(did(a="E1@10 E2@10"))
    once = reports.conversion(facts, "E1", "E2", WINDOW)
    assert (once.numerator, once.denominator) == (0, 1)


def test_repeating_conversion():
    facts = Facts(did(a="E1@1 E1@2 E2@3 E1@100", b="E2@0 E2@99"))
    repeating = reports.conversion(facts, "E1", "E2", WINDOW, repeating=True)
    assert (repeating.numerator, repeating.denominator, repeating.rate) == (3, 2, 1.5)
    assert repeating.people_of("dropped") == []
    assert repeating.people_of() == ["a", "b"]


def test_time_between_events():
    facts = Facts(did(a="E1@-20 E1@10 E2@40", b="E1@30 E2@32 E2@90", c="E2@5 E1@50", d="E1@60 E2@150"))
    ever = reports.time_between(facts, "E1", "E2", WINDOW)
    assert (ever.people, ever.mean, ever.median) == (2, 31, 31)  # a took 60, b 2
    inside = reports.time_between(facts, "E1", "E2", WINDOW, first_ever=False)
    assert (inside.people, inside.mean, inside.people_of(at_least=3)) == (2, 16, ["a"])  # a took 30, b 2


def test_the_time_to_the_next_of_the_same_event():
    facts = Facts(did(a="E@10 E@25 E@90"))
    assert reports.time_between(facts, "E", "e").mean == 15


PURCHASES = [
    Event("a", 1, "purchased", {"amount": "24.00", "plan": "Pro"}),
    Event("a", 5, "purchased", {"amount": 6, "plan": "Pro"}),
    Event("a", 7, "refunded", {"amount": -10.5}),
    Event("b", 8, "purchased", {"amount": "a gift"}),
    PropertySet("c", 9, {"amount": "0.5"}),
    Event("d", 10, "visited"),
    Event("e", 200, "visited"),
    Alias("nobody", 10, "nobody at all"),
]


@pytest.mark.parametrize(
    ("population", "total", "values", "people", "average"),
    [
        ("with_property", 20, 4, 2, 10),
        ("Purchased", 19.5, 3, 2, 9.75),  # c did not purchase, so c's 0.5 is not summed
        ("everyone", 20, 4, 5, 4),
        ("visited", 0, 0, 1, 0),
    ],
)
def test_total_of_a_property(population, total, values, people, average):
    found = reports.property_total(Facts(PURCHASES), "Amount", WINDOW, population=population)
    assert (found.total, found.values, found.people) == (total, values, people)
    assert (found.average_per_incident, found.average_per_person) == (total / values if values else None, average)


def test_the_event_of_a_population_filters_the_people():
    facts = Facts([
        Event("a", 1, "ad campaign hit"), Event("a", 2, "billed", {"revenue": 10}),
        Event("b", 3, "billed", {"revenue": 90}),
    ])  # fmt: skip
    assert reports.property_total(facts, "revenue", population="ad campaign hit").average_per_person == 10


def test_total_on_one_event():
    total = reports.property_total(Facts(PURCHASES), "amount", WINDOW, event="PURCHASED")
    assert (total.total, total.values, total.average_per_person) == (30, 2, 30)


def test_total_by_a_property_of_the_person():
    total = reports.property_total(Facts(PURCHASES), "amount", WINDOW, by="plan")
    # The refund says no plan of its own: the one in force is that of the purchase before.
    assert [(row.value, row.total) for row in total.rows] == [("Pro", 19.5), (None, 0.5)]


STEPS = ["S1", "S2", "S3", "S4", "S5"]


@pytest.mark.parametrize(
    ("order", "without", "skipping"),
    [
        ("1234", "1234", "1234"),
        ("1245", "12", "1245"),
        ("1254", "12", "124"),
        ("12435", "123", "1235"),
        ("41", "1", "1"),
    ],
)
def test_funnel_with_and_without_skipped_steps(order, without, skipping):
    # One occurrence a day, or the rule of the last of each day would decide.
    records = [Event("a", at * DAY, f"S{step}") for at, step in enumerate(order)]
    facts = Facts([*records, *(Event("b", 0, step) for step in STEPS[1:])])

    def reached(skip_steps):
        found = reports.funnel(facts, STEPS, skip_steps=skip_steps)
        return "".join(str(place) for place in range(1, 6) if "a" in found.people_of(place))

    assert (reached(skip_steps=False), reached(skip_steps=True)) == (without, skipping)
    assert ("b" in reports.funnel(facts, STEPS, skip_steps=True).people_of(2)) is True


def test_funnel_keeps_the_last_of_each_day():
    facts = Facts(did(a="E1@10 E2@20 E1@30", b="E1@10 E2@10", c=f"E1@10 E1@{DAY + 5} E2@20 E2@{DAY + 4}"))
    found = reports.funnel(facts, ["E1", "E2"])
    assert [step.people for step in found.steps] == [3, 2]
    assert found.people_of("E2", dropped=True) == ["a"]


def test_the_day_of_a_funnel_is_that_of_the_zone():
    midnight = 1349236800  # 3 October 2012 in New York
    facts = Facts([Event("a", midnight - 10, "E1"), Event("a", midnight - 5, "E2"), Event("a", midnight + 5, "E1")])
    assert reports.funnel(facts, ["E1", "E2"], tz="America/New_York").steps[1].people == 1
    assert reports.funnel(facts, ["E1", "E2"]).steps[1].people == 0


def test_a_funnel_differs_from_a_metric():
    facts = Facts(did(a=f"E2@5 E1@10 E2@{DAY + 30}"))
    assert reports.conversion(facts, "E1", "E2").denominator == 0
    assert [step.people for step in reports.funnel(facts, ["E1", "E2"]).steps] == [1, 1]


def test_the_limit_of_a_funnel_is_tried_from_every_start():
    facts = Facts(
        did(a=f"visited@0 visited@{100 * DAY} purchased@{100 * DAY + 60}", b=f"visited@0 purchased@{2 * DAY}")
    )
    steps = ["visited", "purchased"]
    assert reports.funnel(facts, steps, within=timedelta(hours=1)).people_of("purchased") == ["a"]
    assert reports.funnel(facts, steps, step_within="1 h").people_of("purchased") == ["a"]
    assert reports.funnel(facts, steps, within="1 hour", skip_steps=True).people_of("purchased") == ["a"]


def test_an_event_that_is_two_steps_needs_two_occurrences():
    facts = Facts(did(a="E@0", b=f"E@0 E@{DAY}"))
    found = reports.funnel(facts, ["E", "e"])
    assert [step.people for step in found.steps] == [2, 1]
    assert found.people_of(2) == ["b"]
    with pytest.raises(ValueError, match="more than one step"):
        found.people_of("E")


def test_property_at_a_moment():
    values = [(-50, "a"), (10, "b"), (40, "c"), (150, "d")]
    facts = Facts([*(PropertySet("p", at, {"referrer": value}) for at, value in values), Event("p", 20, "step")])

    def value(at, **step):
        [row] = reports.property_values(facts, "referrer", WINDOW, at=at, **step).rows
        return row.value

    assert value("first_ever") == "a"
    assert value("last_ever") == "d"
    assert value("first_in_window") == "b"
    assert value("last_in_window") == "c"
    assert value("at_step", step="step") == "b"


def test_property_that_nobody_set_is_none():
    facts = Facts([PropertySet("p", 1, {"referrer": "None"}), Event("q", 20, "step")])
    found = reports.property_values(facts, "referrer")
    assert [(row.value, row.people) for row in found.rows] == [("None", 1), (None, 1)]
    assert (found.people_of("None"), found.people_of(None)) == (["p"], ["q"])


def test_cohorts_are_of_each_persons_own_time():
    sunday = 1349568000  # 7 October 2012
    later = [("a", 0), ("a", 6 * DAY), ("a", 7 * DAY - 1), ("b", 7 * DAY), ("c", 13 * DAY), ("c", 40 * DAY)]
    records = [Event(person, sunday, "E1") for person in "abc"] + [Event(p, sunday + at, "E2") for p, at in later]
    facts = Facts([*records, Event("d", sunday + 7 * DAY, "E1"), Event("d", sunday - 1, "E2")])
    window = Window(sunday, sunday + 8 * DAY)
    found = reports.cohorts(facts, "E1", "E2", window)
    assert [(row.cohort, row.people) for row in found.rows] == [("2012-10-07", 3), ("2012-10-14", 1)]
    assert [row.buckets for row in found.rows] == [(1, 2, 0, 0, 0, 1), (0, 0, 0, 0, 0, 0)]
    assert found.rows[0].shares[1] == 2 / 3
    first = reports.cohorts(facts, "E1", "E2", window, first_time_only=True)
    assert first.rows[0].buckets == (1, 2)
    running = reports.cohorts(facts, "E1", "E2", window, cumulative=True, columns=3)
    assert running.rows[0].buckets == (1, 3, 3)
    assert running.people_of("2012-10-07", 1) == ["a", "b", "c"]
    assert found.people_of("2012-10-07", 5) == ["c"]


def test_the_first_occurrence_of_the_same_event_is_not_counted():
    facts = Facts(did(a="E@10 E@11", b="E@10"))
    [row] = reports.cohorts(facts, "E", "e", group="day").rows
    assert (row.people, row.buckets) == (2, (1,))


VENDORS = [
    Event("A", 1, "foo"), PropertySet("A", 2, {"var": "A"}), Event("A", 3, "foo"), Event("B", 1, "foo"),
    Event("C", 1, "foo"), PropertySet("C", 2, {"var": "A"}), Event("D", 2, "foo"), PropertySet("D", 2, {"var": "A"}),
]  # fmt: skip


def test_relative_to_a_segment():
    facts = Facts(VENDORS)
    assert [(row.value, row.people) for row in reports.segments(facts, "foo", "var").rows] == [("A", 3), (None, 1)]
    relative = reports.segments(facts, "FOO", "VAR", relative=True)
    assert [(row.value, row.people) for row in relative.rows] == [("A", 2), (None, 1)]
    assert relative.people_of("A") == ["A", "D"]


# Splits.


def test_the_value_at_an_event_is_that_of_its_second_whichever_record_said_it():
    facts = Facts([Event("a", 5, "X"), PropertySet("a", 5, {"plan": "Pro"}), Event("a", 9, "Y"), Event("a", 1, "Y")])
    assert [row.value for row in reports.event_counts(facts, "X", by="PLAN").rows] == ["Pro"]
    assert [row.value for row in reports.event_counts(facts, "Y", by="plan").rows] == ["Pro", None]  # nothing at 1


def test_days_of_a_zone_have_23_24_and_25_hours():
    window = Window.days("2012-11-03", "2012-11-05", "America/New_York")
    hours = [Event(f"p{moment}", moment, "X") for moment in range(window.start, window.end, 3_600)]
    days = reports.event_counts(Facts(hours), "x", window, every="day", tz="America/New_York")
    assert [(row.label, row.times) for row in days.rows] == [("2012-11-03", 24), ("2012-11-04", 25), ("2012-11-05", 24)]
    window = Window.days("2012-03-10", "2012-03-12", "America/New_York")
    hours = [Event("p", moment, "X") for moment in range(window.start, window.end, 3_600)]
    days = reports.event_counts(Facts(hours), "x", window, every="day", tz="America/New_York")
    assert [row.times for row in days.rows] == [24, 23, 24]
    weeks = reports.event_counts(Facts(hours), "x", window, every="week", tz="America/New_York")
    assert [(row.label, row.times) for row in weeks.rows] == [("2012-03-05", 47), ("2012-03-12", 24)]


@pytest.mark.parametrize("every", ["hour", "day", "week", "month"])
def test_periods_are_found_by_an_expression_or_by_a_join(every, monkeypatch):
    window = Window.days("2012-01-15", "2013-04-20", "America/New_York")
    records = [Event(f"p{at % 7}", at, name) for at in range(window.start, window.end, 17_000) for name in ("X", "Y")]
    facts = Facts([*records, Event("a", window.start - 10**9, "X")])

    def found():
        yield reports.event_counts(facts, "x", window, every=every, tz="America/New_York").to_dict()
        yield reports.conversion(facts, "x", "y", window, every=every, tz="America/New_York").to_dict()
        yield reports.funnel(facts, ["x", "y"], tz="America/New_York").to_dict()

    by_expression = list(found())
    monkeypatch.setattr(periods, "RUNS_AT_MOST", 0)
    monkeypatch.setattr(periods, "DAYS_AT_MOST", 0)
    assert list(found()) == by_expression
    assert sum(row["times"] for row in by_expression[0]["rows"]) == len(records) // 2


def test_a_funnel_of_each_day_is_that_of_the_day_alone():
    facts = Facts(did(a=f"E1@10 E2@{DAY + 5}", b="E1@10 E2@20", c=f"E1@{DAY + 1} E2@{DAY + 2}"))
    found = reports.funnel(facts, ["E1", "E2"], Window(0, 2 * DAY), every="day")
    assert [(row.label, [step.people for step in row.steps]) for row in found.rows] == [
        ("1970-01-01", [2, 1]),
        ("1970-01-02", [1, 1]),
    ]
    assert [step.people for step in found.steps] == [3, 3]
    assert found.people_of("E2", dropped=True, label="1970-01-01") == ["a"]


def test_property_values_by_a_second_property_that_is_chosen_alike():
    facts = Facts(
        [
            PropertySet("a", 1, {"referrer": "ad"}),
            Event("a", 5, "X", {"plan": "Pro"}),
            PropertySet("a", 8, {"plan": "Free", "referrer": "mail"}),
            Event("b", 5, "X"),
        ]
    )

    def rows(**options):
        found = reports.property_values(facts, "plan", by="Referrer", **options)
        return {(row.by_value, row.value): row.people for row in found.rows}

    assert rows(at="first_ever") == {("ad", "Pro"): 1, (None, None): 1}
    assert rows() == {("mail", "Free"): 1, (None, None): 1}
    assert rows(at="at_step", step="x") == {("ad", "Pro"): 1, (None, None): 1}
    found = reports.property_values(facts, "plan", Window(0, 10), at="last_in_window", by="referrer")
    assert (found.people_of("Free", by_value="mail"), found.people_of(by_value=None)) == (["a"], ["b"])


def test_property_values_at_the_end_of_each_day():
    facts = Facts([PropertySet("a", 5, {"plan": "Free"}), PropertySet("a", DAY, {"plan": "Pro"}), Event("b", DAY, "X")])
    found = reports.property_values(facts, "plan", Window(0, 2 * DAY), at="last_in_window", every="day")
    assert [(row.label, row.value, row.people) for row in found.rows] == [
        ("1970-01-01", None, 1), ("1970-01-01", "Free", 1), ("1970-01-01", "Pro", 0),
        ("1970-01-02", None, 1), ("1970-01-02", "Free", 0), ("1970-01-02", "Pro", 1),
    ]  # fmt: skip
    assert found.people == 2
    assert found.people_of("Free", label="1970-01-01") == ["a"]
    with pytest.raises(ValueError, match="looks at no window"):
        reports.property_values(facts, "plan", every="day")


def test_segments_by_what_the_event_said():
    facts = Facts([*VENDORS, Event("A", 4, "foo", {"page": "/home"}), Event("B", 1, "foo", {"page": "/"})])
    found = reports.segments(facts, "foo", "var", by="page")
    # A did it twice before the page was told, and once with it.
    assert {(row.by_value, row.value): row.people for row in found.rows} == {
        (None, "A"): 3, ("/home", "A"): 1, ("/", None): 1,
    }  # fmt: skip
    assert (found.people, found.people_of("A", by_value="/home")) == (4, ["A"])
    since = reports.segments(facts, "foo", "var", by="page", relative=True)
    assert since.people_of("A", by_value=None) == ["A", "D"]


def test_periods_without_an_occurrence_are_rows_too():
    facts = Facts([Event("a", 0, "X"), Event("a", 2 * DAY, "X")])
    assert [row.people for row in reports.event_counts(facts, "X", every="day").rows] == [1, 0, 1]
    assert [row.average for row in reports.event_counts(facts, "X", every="day").rows] == [1, None, 1]


# Bad input.

FACTS_OF_BAD_INPUT = [
    Event("a", 1, "Signed Up", {"plan": "Pro", "huge": 1e308, "amount": 5}),
    Event("a", 2, "Purchased: mug", {"huge": "1e308", "odd": "inf", "amount": 2.5}),
    Event("b", 3, "purchased, mug", {"huge": -1e308, "odd": "nan"}),
    PropertySet("b", 4, {"odd": "1e999"}),
    Alias("only an alias", 5, "and another"),
]

REPORTS = {
    "event_counts": reports.event_counts,
    "conversion": lambda facts, event, window, **options: reports.conversion(facts, event, event, window, **options),
    "time_between": lambda facts, event, window, **options: reports.time_between(
        facts, event, event, window, **options
    ),
    "funnel": lambda facts, event, window, **options: reports.funnel(facts, [event, event], window, **options),
    "cohorts": lambda facts, event, window, every="week", **options: reports.cohorts(
        facts, event, event, window, bucket=every, **options
    ),
    "segments": lambda facts, event, window, **options: reports.segments(facts, event, "plan", window, **options),
    "property_total": lambda facts, event, window, **options: reports.property_total(
        facts, "amount", window, event=event, **options
    ),
    "property_values": lambda facts, event, window, **options: reports.property_values(
        facts, "plan", window, at="at_step", step=event, **options
    ),
}
every_report = pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)


@every_report
def test_a_name_that_was_never_seen_is_an_error_that_names_the_closest(report):
    with pytest.raises(UnknownNameError, match=r"no record has the event 'Singed Up'. The closest name is 'signed up'"):
        report(Facts(FACTS_OF_BAD_INPUT), "Singed Up", None)


@every_report
def test_a_property_that_was_never_seen_is_an_error_too(report):
    with pytest.raises(UnknownNameError, match=r"no record has the property 'plna'. The closest name is 'plan'"):
        report(Facts(FACTS_OF_BAD_INPUT), "signed up", None, by="plna")


@every_report
def test_names_are_given_in_any_spelling(report):
    facts = Facts(FACTS_OF_BAD_INPUT)
    assert (
        report(facts, "PURCHASED  mug", None).to_dict().keys() == report(facts, "purchased: Mug", None).to_dict().keys()
    )


@every_report
def test_an_empty_window_gives_nothing(report):
    found = report(Facts(FACTS_OF_BAD_INPUT), "signed up", Window(50, 50))
    assert found.people_of(1) == [] if isinstance(found, reports.Funnel) else found.people_of() == []
    assert str(found)
    assert found._repr_html_()
    assert found.to_arrow().num_columns


@every_report
def test_a_window_that_is_none(report):
    with pytest.raises(TypeError, match="a Window belongs there"):
        report(Facts(FACTS_OF_BAD_INPUT), "signed up", (0, 100))


@every_report
def test_what_holds_no_records_is_no_source(report):
    with pytest.raises(TypeError, match="facts are made of a Bucket, a lake"):
        report(7, "signed up", None)


@every_report
def test_zones_and_periods_are_known(report):
    facts = Facts(FACTS_OF_BAD_INPUT)
    with pytest.raises(ValueError, match="there is no time zone 'America/New York'"):
        report(facts, "signed up", None, every="day", tz="America/New York")
    with pytest.raises(ValueError, match='is "hour", "day", "week" or "month"'):
        report(facts, "signed up", None, every="year")


@every_report
def test_an_unknown_zone_is_an_error_where_it_would_not_matter_too(report):
    with pytest.raises(ValueError, match="there is no time zone"):
        report(Facts(FACTS_OF_BAD_INPUT), "signed up", None, tz="Mars/Olympus")


def test_too_many_periods():
    facts = Facts([Event("a", 0, "X"), Event("a", 10**11, "X")])  # a phone with milliseconds for seconds
    with pytest.raises(ValueError, match="more than 100,000 periods"):
        reports.event_counts(facts, "X", Window(0, 10**11 + 1), every="day")
    assert reports.event_counts(facts, "X", every="day", by=None, window=Window(0, DAY)).times == 1
    assert reports.funnel(facts, ["X", "X"]).steps[1].people == 1


def test_moments_beyond_the_calendar():
    first, last = -62_135_596_800, 253_402_300_799
    facts = Facts([Event("a", first, "X"), Event("a", last, "X"), Event("a", 0, "X")])
    assert reports.event_counts(facts, "X", Window(-(10**15), 10**15)).times == 3
    for tz in ("UTC", "America/New_York", "Pacific/Kiritimati"):
        found = reports.funnel(facts, ["X", "X", "X"], Window(-(10**15), 10**15), tz=tz)
        assert [step.people for step in found.steps] == [1, 1, 1]


def test_steps_of_a_funnel():
    facts = Facts(FACTS_OF_BAD_INPUT)
    with pytest.raises(ValueError, match="steps is a list of one event or more"):
        reports.funnel(facts, [])
    with pytest.raises(TypeError, match="steps is a list"):
        reports.funnel(facts, "signed up")
    with pytest.raises(ValueError, match="0 or more"):
        reports.funnel(facts, ["signed up"], within=timedelta(-1))
    with pytest.raises(ValueError, match=r'text such as "7 days".* not \'7 moons\''):
        reports.funnel(facts, ["signed up"], step_within="7 moons")
    with pytest.raises(ValueError, match="skip_steps= has no rule"):
        reports.funnel(facts, ["signed up"], step_within="5 s", skip_steps=True)
    for number in (-1, 3_600, math.nan, True):
        with pytest.raises(TypeError, match="within takes a timedelta"):
            reports.funnel(facts, ["signed up"], within=number)
    one = reports.funnel(facts, ["signed up"])
    assert [(step.people, step.share, step.of_previous) for step in one.steps] == [(1, 1.0, 1.0)]
    for step in (0, 2, "purchased mug"):
        with pytest.raises(LookupError):
            one.people_of(step)
    with pytest.raises(ValueError, match="before the first step"):
        one.people_of(1, dropped=True)


def test_a_property_without_numbers():
    with pytest.raises(ValueError, match="no value of 'plan' is a number"):
        reports.property_total(Facts(FACTS_OF_BAD_INPUT), "plan")
    with pytest.raises(OverflowError, match="the value 1e999 of 'odd' is so huge that no float holds it"):
        reports.property_total(Facts(FACTS_OF_BAD_INPUT), "odd")
    # Where it has numbers, but none in the window, the answer is small.
    none = reports.property_total(Facts(FACTS_OF_BAD_INPUT), "amount", Window(50, 60), by="plan", every="hour")
    assert (none.total, none.values, none.average_per_incident, none.average_per_person) == (0, 0, None, None)


def test_huge_numbers():
    facts = Facts(FACTS_OF_BAD_INPUT)
    assert reports.property_total(facts, "huge").total == 1e308  # though 1e308 + 1e308 is none
    with pytest.raises(OverflowError, match="no float holds their total"):
        reports.property_total(facts, "huge", Window(0, 3))
    by_plan = reports.property_total(facts, "huge", Window(0, 4), by="amount")
    assert {row.value: row.total for row in by_plan.rows} == {"5": 1e308, "2.5": 1e308, None: -1e308}


def test_other_arguments_that_make_no_sense():
    facts = Facts(FACTS_OF_BAD_INPUT)
    with pytest.raises(ValueError, match="at is one of"):
        reports.property_values(facts, "plan", at="first")
    with pytest.raises(ValueError, match="needs step="):
        reports.property_values(facts, "plan", at="at_step")
    with pytest.raises(ValueError, match='step= needs at="at_step"'):
        reports.property_values(facts, "plan", step="signed up")
    with pytest.raises(ValueError, match="columns is a number"):
        reports.cohorts(facts, "signed up", "signed up", columns=0)
    with pytest.raises(ValueError, match="group is"):
        reports.cohorts(facts, "signed up", "signed up", group="hour")
    with pytest.raises(ValueError, match="occurrences is"):
        reports.funnel(facts, ["signed up"], occurrences="every")
    with pytest.raises(ValueError, match="this report splits at 'last_ever', 'first_ever', not at 'last_touch'"):
        reports.cohorts(facts, "signed up", "signed up", by=reports.Split("plan", at="last_touch"))
    with pytest.raises(ValueError, match="this report splits at"):
        reports.event_counts(facts, "signed up", by=reports.Split("plan", at="at_step"))
    with pytest.raises(LookupError, match="the funnel has the steps 1 to 1, not 2"):
        reports.funnel(facts, ["signed up"], by=reports.Split("plan", at="at_step", step=2))
    with pytest.raises(ValueError, match="form is one of"):
        reports.Split("plan", form="upper")
    with pytest.raises(ValueError, match="at is one of"):
        reports.Split("plan", at="first")
    with pytest.raises(ValueError, match="step= needs"):
        reports.Split("plan", step="x")
    with pytest.raises(TypeError, match="the name of an event or a property is text"):
        reports.event_counts(facts, 7)
    with pytest.raises(UnknownNameError):
        reports.property_total(facts, "amount", population="all")
    with pytest.raises(ValueError, match="side is"):
        reports.conversion(facts, "signed up", "signed up").people_of("both")


def test_people_who_have_only_aliases_are_nobody():
    records = [Alias("a", 1, "b"), Alias("c", 2, "a")]
    facts = Facts([*records, Event("x", 1, "X"), PropertySet("x", 1, {"plan": "Pro"})])
    assert reports.property_values(facts, "plan").people == 1
    with pytest.raises(UnknownNameError):
        reports.event_counts(Facts(records), "X")


def test_names_that_would_be_sql():
    odd = "x'; drop table people; --"
    facts = Facts([Event("a", 1, odd, {odd: 5, "$event": "$by"})])
    assert reports.event_counts(facts, odd, by=odd, every="day").rows[0].value == "5"
    assert reports.property_total(facts, odd, by="$EVENT").rows[0].value == "$by"
    assert [step.people for step in reports.funnel(facts, [odd], by=odd).steps] == [1]
    assert reports.cohorts(facts, odd, odd, by=odd).people_of("5") == ["a"]
    assert reports.property_values(facts, odd).people_of("5") == ["a"]


@pytest.mark.parametrize("sent", ["1.50", "1e3", "1E+3", "123456789012345678901234567890", "[1.50, 1e3]", '{"a": 2.0}'])
def test_values_are_shown_as_they_were_sent(sent, tmp_path):
    line = b'{"_p":"ann","_t":50,"_n":"X","plan":%s}' % sent.encode()
    facts = Facts(write_export(tmp_path, {1: [line]}))
    found = [
        reports.event_counts(facts, "X", by="plan"),
        *(reports.property_values(facts, "plan", at=at) for at in ("first_ever", "last_ever")),
        *(reports.property_values(facts, "plan", WINDOW, at=at) for at in ("first_in_window", "last_in_window")),
        *(
            reports.property_values(facts, "plan", WINDOW, at=at, every="day")
            for at in ("first_in_window", "last_in_window")
        ),
        reports.property_values(facts, "plan", at="at_step", step="X"),
        reports.segments(facts, "X", "plan"),
    ]
    assert [row.value for result in found for row in result.rows] == [sent] * len(found)
    assert facts.sql("select text from properties").fetchall() == [(sent,)]


def test_the_error_of_a_name():
    with pytest.raises(KmExportError) as caught:
        reports.event_counts(Facts([Event("a", 1, "X")]), "something else")
    assert isinstance(caught.value, LookupError)
    assert (caught.value.kind, caught.value.name, caught.value.closest) == ("event", "something else", [])


def test_a_report_by_a_property_reads_a_bucket_once(tmp_path):
    lines = [b'{"_p":"a","_t":1,"_n":"X","plan":"Pro"}', b"no record"]
    bad = []
    with Facts(write_export(tmp_path, {1: lines}), on_error=bad.append) as facts:
        assert [row.value for row in reports.event_counts(facts, "X", by="plan").rows] == ["Pro"]
        assert [row.value for row in reports.segments(facts, "X", "plan", by="plan").rows] == ["Pro"]
    assert len(bad) == 1


def test_without_a_window_no_period_is_cut_short():
    facts = Facts(did(a="E1@10 E2@20", b=f"E1@5 E1@{DAY + 10} E2@{DAY + 50}"))
    for every, rows in [("hour", 25), ("day", 2), ("week", 1), ("month", 1)]:
        found = reports.conversion(facts, "E1", "E2", every=every, repeating=True)
        assert (len(found.rows), sum(row.numerator for row in found.rows)) == (rows, 2)
    days = reports.conversion(facts, "E1", "E2", every="day").rows
    assert [(row.numerator, row.denominator) for row in days] == [(1, 2), (1, 1)]
