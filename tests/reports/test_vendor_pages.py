"""The worked examples of the vendor's own help pages, each with its number."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kmexport import Alias, Event, Facts, PropertySet, Window, reports
from kmexport.reports import Split, did, has, in_order

DAY = 86_400


def on(day, month=1, year=2013):
    return int(datetime(year, month, day, tzinfo=UTC).timestamp())


def people(result, value):
    return {row.value: value(row) for row in result.rows}


# tools/metrics/metric-calculations, tools/tracking-refunds


def test_people_times_and_average():
    counts = {"Adam": 3, "Bob": 1, "Charlie": 10}
    facts = Facts([Event(name, at, "X") for name, times in counts.items() for at in range(times)])
    found = reports.event_counts(facts, "X")
    assert (found.people, found.times) == (3, 14)


def test_refunds_are_negative():
    facts = Facts([Event("a", at, "billed", {"amount": amount}) for at, amount in enumerate((90, -90, 50, 45))])
    assert reports.property_total(facts, "amount").total == 95


def test_the_population_of_an_average_filters_the_amounts():
    facts = Facts([
        Event("a", 1, "ad campaign hit"), Event("a", 2, "billed", {"revenue": 10}),
        Event("b", 3, "billed", {"revenue": 90}),
    ])  # fmt: skip
    found = reports.property_total(facts, "revenue", population="ad campaign hit")
    assert (found.average_per_person, found.total, found.values, found.people_of()) == (10, 10, 1, ["a"])


# tools/attribution: one conversion path, five answers

REFERRERS = Facts([
    Event("p", on(16, 4), "visited site", {"referrer": "linkedin"}),
    Event("p", on(2, 5), "visited site", {"referrer": "facebook"}), Event("p", on(2, 5) + 9, "bought", {"revenue": 50}),
    Event("p", on(5, 5), "visited site", {"referrer": "google"}), Event("p", on(5, 5) + 9, "bought", {"revenue": 100}),
    Event("p", on(3, 6), "visited site", {"referrer": "pinterest"}),
])  # fmt: skip
MAY = Window.days("2013-05-01", "2013-05-31")


@pytest.mark.parametrize(
    ("at", "totals"),
    [
        ("first_ever", {"linkedin": 150}),
        ("last_ever", {"pinterest": 150}),
        ("first_in_window", {"facebook": 150}),
        ("last_in_window", {"google": 150}),
        ("last_touch", {"facebook": 50, "google": 100}),
    ],
)
def test_the_five_answers_of_attribution(at, totals):
    found = reports.property_total(REFERRERS, "revenue", MAY, by=Split("referrer", at=at))
    assert people(found, lambda row: row.total) == totals


def test_last_touch_of_a_conversion_is_the_same_value_at_both_events():
    facts = Facts([
        Event("a", 1, "visited", {"plan": "x"}), Event("a", 2, "bought"),
        Event("b", 1, "visited", {"plan": "x"}), PropertySet("b", 2, {"plan": "y"}), Event("b", 3, "bought"),
        Event("c", 1, "visited", {"plan": "x"}), PropertySet("c", 2, {"plan": "y"}),
    ])  # fmt: skip
    found = reports.conversion(facts, "visited", "bought", by="plan")
    assert [(row.value, row.numerator, row.denominator) for row in found.rows] == [("x", 1, 2)]  # a of a and c
    assert (found.numerator, found.denominator) == (2, 3)
    between = reports.time_between(facts, "visited", "bought", by="plan")
    assert [(row.value, row.people, row.mean) for row in between.rows] == [("x", 1, 1)]
    assert between.people == 2


# tools/advanced-properties: received within the window


def test_first_and_last_in_the_window_are_received_within_it():
    window = Window(100, 200)
    after = Facts([Event("a", 150, "x"), PropertySet("a", 250, {"p": "after"})])
    before = Facts([Event("a", 150, "x"), PropertySet("a", 50, {"p": "before"})])
    for facts, at in ((after, "first_in_window"), (before, "last_in_window")):
        [row] = reports.property_values(facts, "p", window, at=at).rows
        assert row.value is None


# tools/funnels, tools/troubleshooting-properties


def test_the_split_of_a_funnel_is_the_value_at_the_last_step():
    facts = Facts([
        Event("a", 1, "visited"), PropertySet("a", 50, {"search engine": "google"}), Event("a", 100, "signed up"),
        PropertySet("b", 1, {"search engine": "google"}), Event("b", 2, "visited"),
    ])  # fmt: skip
    steps = ["visited", "signed up"]
    found = reports.funnel(facts, steps, by="search engine")
    assert people(found, lambda row: [step.people for step in row.steps]) == {"google": [1, 1], None: [1, 0]}
    first = reports.funnel(facts, steps, by=Split("search engine", at="at_step", step="visited"))
    assert people(first, lambda row: [step.people for step in row.steps]) == {"google": [1, 0], None: [1, 1]}


def test_people_of_a_day_and_of_a_week_of_a_funnel():
    facts = Facts([
        *(Event(person, 0, "visited") for person in "abc"), Event("a", 9, "bought"), Event("b", DAY, "bought")
    ])  # fmt: skip
    steps = ["visited", "bought"]
    daily = reports.funnel(facts, steps, Window(0, 7 * DAY), every="day")
    assert [step.people for step in daily.rows[0].steps] == [3, 1]
    assert [step.people for step in daily.steps] == [3, 2]
    skipped = reports.funnel(facts, steps, Window(0, 7 * DAY), every="day", skip_steps=True)
    assert [step.people for step in skipped.rows[1].steps] == [0, 1]


def test_the_times_of_a_step_and_every_occurrence():
    facts = Facts([Event("a", 1, "x"), Event("a", 5, "y"), Event("a", 9, "x"), Event("b", 1, "x"), Event("b", 2, "x")])
    last = reports.funnel(facts, ["x", "y"])
    assert [(step.people, step.times) for step in last.steps] == [(2, 4), (0, 0)]
    every = reports.funnel(facts, ["x", "y"], occurrences="all")
    assert [(step.people, step.times) for step in every.steps] == [(2, 4), (1, 1)]


# tools/cohort-report, tools/cohort-report/cohort-report-options


def test_weeks_of_cohorts_begin_on_the_first_day_of_the_range():
    facts = Facts([Event("Bob", on(4), "signed up"), Event("Fred", on(10), "signed up"), Event("x", on(1), "v")])
    window = Window.days("2012-11-30", "2013-01-31")  # a Friday
    assert [(row.cohort, row.people) for row in reports.cohorts(facts, "signed up", "v", window).rows] == [
        ("2013-01-04", 2)
    ]
    others = Window.days("2012-01-01", "2013-01-31")  # a Sunday
    assert [row.cohort for row in reports.cohorts(facts, "signed up", "v", others).rows] == ["2012-12-30", "2013-01-06"]


@pytest.mark.parametrize(("came", "bucket"), [(11, 1), (17, 1), (10, 0), (18, 2)])
def test_bobs_buckets_are_counted_from_his_own_day(came, bucket):
    facts = Facts([Event("Bob", on(4), "signed up"), Event("Bob", on(came), "visited")])
    [row] = reports.cohorts(facts, "signed up", "visited", Window.days("2013-01-01", "2013-01-31")).rows
    assert [at for at, count in enumerate(row.buckets) if count] == [bucket]


def test_grouping_and_buckets_are_two_options():
    facts = Facts([Event("a", on(4), "s"), Event("a", on(5), "v"), Event("b", on(20), "s")])
    found = reports.cohorts(facts, "s", "v", Window.days("2013-01-01", "2013-01-31"), group="month", bucket="day")
    assert [(row.cohort, row.people, row.buckets) for row in found.rows] == [("2013-01-01", 2, (0, 1))]


def test_a_cohort_by_a_property_is_its_first_or_last_value_ever():
    facts = Facts([
        PropertySet("a", 1, {"plan": "x"}), Event("a", 2, "s"), PropertySet("a", 3, {"plan": "y"}), Event("a", 4, "v")
    ])  # fmt: skip
    assert [row.cohort for row in reports.cohorts(facts, "s", "v", by="plan").rows] == ["y"]
    assert [row.cohort for row in reports.cohorts(facts, "s", "v", by=Split("plan", at="first_ever")).rows] == ["x"]


def test_cumulative_cells_add_up_and_may_exceed_100_percent():
    facts = Facts([Event("a", 0, "s"), Event("a", DAY, "v"), Event("a", 8 * DAY, "v")])
    [row] = reports.cohorts(facts, "s", "v", cumulative=True).rows
    assert (row.buckets, row.shares) == ((1, 2), (1.0, 2.0))


# tools/channel-definition


@pytest.mark.parametrize(
    ("properties", "channel", "origin"),
    [
        ({"campaign medium": "CPC", "campaign name": "spring"}, "Paid", "spring"),
        ({"campaign medium": "ppc"}, "Paid", "Campaign Name Unknown"),
        ({"campaign medium": "e-mail", "campaign name": "spring_promo"}, "Email", "spring_promo"),
        ({"campaign medium": "social media", "referrer": "http://t.co/x"}, "Social", "Campaign Name Unknown"),
        ({"campaign medium": "organic"}, "Organic", "Campaign Name Unknown"),
        ({"campaign medium": "Podcast", "campaign name": "x"}, "Podcast", "x"),
        ({"url": "https://shop.example/?gclid=abc", "referrer": "https://www.google.com/"}, "Paid", "AdWords"),
        ({"search engine": "Google", "referrer": "https://www.google.com/"}, "Organic", "Google"),
        ({"referrer": "https://www.google.co.uk/search?q=a"}, "Organic", "Google"),
        ({"referrer": "https://m.facebook.com/"}, "Social", "Facebook"),
        ({"referrer": "https://plus.google.com/1"}, "Social", "Google+"),
        ({"referrer": "https://blog.example.co.uk/page"}, "Referral", "example.co.uk"),
        ({"referrer": "Direct"}, "Direct", None),
        ({}, "Direct", None),
    ],
)
def test_channels(properties, channel, origin):
    facts = Facts([Event("a", 1, "Visited Site", properties), Event("a", 5, "signed up"), Event("b", 5, "signed up")])
    both = channel if origin is None else f"{channel}: {origin}"
    for name, expected in (("Channel", channel), ("origin", origin), ("Channel: Origin", both)):
        found = reports.event_counts(facts, "signed up", by=name)
        assert found.people_of(value=expected)[0] == "a"


def test_channels_of_your_own_lists():
    facts = Facts([Event("a", 1, "visited site", {"referrer": "https://partner.example/x", "campaign medium": "tv"})])
    rules = reports.ChannelRules(media={"TV": "Offline"})
    [row] = reports.event_counts(facts, "visited site", by=Split("channel", channels=rules)).rows
    assert row.value == "Offline"
    told = Facts([Event("a", 1, "visited site", {"channel": "ours"})])  # where records set it, that counts
    assert reports.event_counts(told, "visited site", by="Channel").rows[0].value == "ours"


# tools/advanced-properties: formats


@pytest.mark.parametrize(
    ("form", "values"),
    [
        ("as_sent", ["HTTPS://U@News.Example.org:80/Front/a?q=1#x", "", None]),
        ("lowercase", ["https://u@news.example.org:80/front/a?q=1#x", "", None]),
        ("url", ["HTTPS://U@News.Example.org:80/Front/a?q=1#x", "Direct", "Direct"]),
        ("domain", ["news.example.org", "Direct", "Direct"]),
        ("path", ["/Front/a", "Direct", "Direct"]),
    ],
)
def test_forms(form, values):
    facts = Facts([
        Event("a", 1, "x", {"referrer": "HTTPS://U@News.Example.org:80/Front/a?q=1#x"}),
        Event("b", 1, "x", {"referrer": ""}), Event("c", 1, "x"),
    ])  # fmt: skip
    for report in (
        reports.event_counts(facts, "x", by=Split("referrer", form=form)),
        reports.event_counts(facts, "x", by=Split("referrer", form=form, at="first_ever")),
        reports.property_values(facts, Split("referrer", form=form)),
    ):
        for person, value in zip("abc", values, strict=True):
            assert person in report.people_of(value=value)


# identities, filters


def test_customer_id_is_a_property_of_everyone():
    facts = Facts(
        [Event("anna@acme.com", 1, "x"), Event("bob", 1, "x"), Alias("bob", 1, "b@acme.com"), Event("c", 2, "x")]
    )
    by_person = reports.event_counts(facts, "x", by="customer ID")
    assert sorted(row.value for row in by_person.rows) == ["anna@acme.com", "b@acme.com", "c"]
    outside = reports.event_counts(facts, "x", among=~has("Customer ID", containing="@acme.com"))
    assert (outside.people, outside.people_of()) == (1, ["c"])


def test_a_filter_looks_at_any_time_of_the_persons_life():
    facts = Facts([Event("a", 5, "x"), PropertySet("a", 90, {"plan": "Pro"}), Event("b", 5, "x")])
    assert reports.event_counts(facts, "x", Window(0, 10), among=has("plan", equal_to="Pro")).people_of() == ["a"]


def test_conditions_are_joined():
    facts = Facts([
        Event("a", 1, "x"), Event("a", 2, "x", {"page": "/a"}), Event("b", 1, "x"), Event("c", 1, "y", {"page": "/a"}),
    ])  # fmt: skip

    def found(condition):
        return reports.property_values(facts, "page", among=condition).people_of()

    assert found(did("x")) == ["a", "b"]
    assert found(did("x", at_least=2)) == ["a"]
    assert found(did("x", at_most=1)) == found(did("x", exactly=1)) == ["b"]
    assert found(did("x", exactly=0)) == found(~did("x")) == found(did("x", at_least=0, at_most=0)) == ["c"]
    assert found(did("x", at_least=0)) == ["a", "b", "c"]
    assert found(did("x", where=has("page"))) == ["a"]
    assert found(did("x", where=~has("page"))) == ["a", "b"]
    assert found(did("x", window=Window(2, 9)) | did("y")) == ["a", "c"]
    assert found(has("page", beginning="/", ending="a") & ~did("y")) == ["a"]
    assert found(has("page", containing="b")) == []


def test_all_of_these_in_order():
    facts = Facts([
        Event("in order", 1, "Visited Site"), Event("in order", 2, "Signed Up"), Event("in order", 9, "Logged in"),
        Event("late", 1, "Visited Site"), Event("late", 2, "Signed Up"), Event("late", 99, "Logged in"),
        Event("not in order", 1, "Signed Up"), Event("not in order", 2, "Visited Site"),
        Event("not in order", 3, "Logged in"),
        Event("one second", 5, "Signed Up"), Event("one second", 5, "Visited Site"),
        Event("one second", 5, "Logged in"),
    ])  # fmt: skip
    steps = ["Visited Site", "Signed Up", "Logged in"]

    def found(condition):
        return reports.people(facts, condition).people_of()

    assert found(in_order(*steps)) == ["in order", "late", "one second"]
    assert found(in_order(*steps, window=Window(0, 50))) == ["in order", "one second"]
    assert found(~in_order(*steps) & did("signed up")) == ["not in order"]
    # As a funnel that counts every occurrence.
    assert found(in_order(*steps)) == reports.funnel(facts, steps, occurrences="all").people_of(3)


def test_steps_of_in_order_that_come_several_times():
    facts = Facts([
        *(Event("a", at, "x") for at in (1, 2, 3)), Event("a", 3, "y"), Event("a", 4, "y", {"plan": "Pro"}),
        Event("b", 1, "x", {"plan": "Pro"}), Event("b", 3, "y", {"plan": "Free"}), Event("b", 4, "x"),
    ])  # fmt: skip

    def found(*steps):
        return reports.people(facts, in_order(*steps)).people_of()

    assert found(did("x", at_least=3), "y") == ["a"]
    assert found("x", did("y", at_least=2)) == ["a"]
    assert found("x", "x") == ["a", "b"]
    assert found("x", "y", "x") == ["a", "b"]  # of a in one second
    assert found("x", "x", "x", "x") == []
    assert found(has("plan", equal_to="Pro"), has("plan", equal_to="Free")) == ["b"]
    assert found(has("plan"), has("plan")) == ["b"]
    assert found("x", did("y", where=has("plan", equal_to="Pro"))) == ["a"]
    for step, told in (
        (did("x") & did("y"), "a step of in_order is an event"), (7, "a step of in_order is an event"),
        (did("x", at_most=2), "has no moment"), (did("x", exactly=0), "has no moment"),
        (did("x", window=Window(0, 1)), "one window for all steps"), (has("Customer ID"), "has no moment"),
    ):  # fmt: skip
        with pytest.raises((ValueError, TypeError), match=told):
            in_order("x", step)
    with pytest.raises(ValueError, match="takes the steps in their order"):
        in_order()
    with pytest.raises(TypeError, match=r"it takes has\(…\), not in_order"):
        reports.people(facts, did("x", where=in_order("x")))


# tools/metrics/average-occurrences-between-two-events

VISITS = {
    "Andy": "vvCvCvvC",
    "Keara": " ".join(["C", "v", "v", "v", "v", "C", "v", "C"]).replace(" ", ""),
    "Ryan": "  vvvC  ",
}


def test_the_average_number_of_times_before_a_conversion():
    days = [on(29, 12, 2012), on(30, 12, 2012), on(31, 12, 2012), *(on(day) for day in range(1, 6))]
    facts = Facts([
        Event(person, moment, {"v": "viewed", "C": "purchased"}[what])
        for person, told in VISITS.items() for moment, what in zip(days, told, strict=True) if what != " "
    ])  # fmt: skip
    found = reports.occurrences_before(facts, "viewed", "purchased", Window.days("2013-01-01", "2013-01-31"))
    assert (found.times, found.conversions, found.average) == (11, 5, 2.2)
    alone = {
        person: reports.occurrences_before(
            facts,
            "viewed",
            "purchased",
            Window.days("2013-01-01", "2013-01-31"),
            among=has("Customer ID", equal_to=person),
        )
        for person in VISITS
    }
    assert {name: (one.times, one.conversions) for name, one in alone.items()} == {
        "Andy": (3, 2), "Keara": (5, 2), "Ryan": (3, 1),
    }  # fmt: skip


def test_only_occurrences_with_a_value_before_a_conversion():
    facts = Facts([
        Event("a", 1, "viewed", {"product": "mug"}), Event("a", 2, "viewed", {"product": "vase"}),
        Event("a", 3, "viewed"), PropertySet("a", 3, {"product": "blue mug"}), Event("a", 9, "bought"),
        Event("b", 4, "viewed", {"product": "vase"}), Event("b", 9, "bought"),
    ])  # fmt: skip
    found = reports.occurrences_before(facts, "viewed", "bought", where=has("product", containing="mug"))
    assert (found.times, found.conversions, found.average) == (2, 2, 1)
    found = reports.occurrences_before(facts, "viewed", "bought", where=~has("product", containing="mug"))
    assert (found.times, found.conversions) == (2, 2)
    with pytest.raises(TypeError, match="where= tests the values"):
        reports.occurrences_before(facts, "viewed", "bought", where=did("viewed"))


# tools/revenue-report


@pytest.mark.parametrize("may", [[], [0], [-25]])
def test_only_positive_values_are_payments(may):
    bills = [
        Event("a", on(1, 4), "billed", {"amount": 10}),
        *(Event("a", on(1, 5), "billed", {"amount": n}) for n in may),
    ]
    facts = Facts([*bills, Event("b", on(30, 6), "visited")])
    found = reports.revenue(facts, "amount", Window.days("2013-05-01", "2013-05-31"))
    assert (found.lost, found.paying, found.gained, found.people_of("lost")) == (1, 0, 0, ["a"])
    assert found.total == sum(may)
    april = reports.revenue(facts, "amount", Window.days("2013-04-01", "2013-04-30"))
    assert (april.total, april.lost, april.paying, april.gained) == (10, 0, 1, 1)


@pytest.mark.parametrize(("amounts", "churned", "value"), [((600, 50, 39), 3, 230), ((100, 10, 6, 0.5), 4, 29)])
def test_lifetime_value_is_revenue_by_people_churned(amounts, churned, value):
    facts = Facts([
        *(Event(f"p{at}", on(1), "billed", {"amount": amount}) for at, amount in enumerate(amounts)),
        Event("x", on(1, 6), "v"),
    ])  # fmt: skip
    found = reports.revenue(facts, "amount", Window.days("2013-01-01", "2013-03-31"))
    assert (found.lost, round(found.lifetime_value)) == (churned, value)
    assert reports.revenue(facts, "amount", Window.days("2013-01-01", "2013-01-02")).lifetime_value is None


def test_average_customers_and_return_on_investment():
    window = Window.days("2013-01-01", "2013-01-03")
    facts = Facts([
        Event("a", on(1), "billed", {"amount": 10, "channel": "Paid"}),
        Event("b", on(2), "billed", {"amount": 30, "channel": "Email"}),
        Event("b", on(3), "cancelled"), Event("x", on(9), "v"),
    ])  # fmt: skip
    found = reports.revenue(facts, "amount", window, every="day", by="channel", churn_event="cancelled")
    assert (found.average, found.average_paying) == (40 / 3, (1 + 2 + 1) / 3)
    assert found.average_churn_rate == (0 + 0 + 1 / 2) / 3
    assert found.return_on_investment(20) == 1
    assert found.return_on_investment(20, value="Paid") == -0.5
    assert found.return_on_investment(15, label="2013-01-02") == 1
    assert found.return_on_investment(0) is None
    with pytest.raises(LookupError, match="no value 'Social'"):
        found.return_on_investment(1, value="Social")
    assert reports.revenue(facts, "amount", window).average_paying is None


def test_who_cancelled_and_paid_again_is_paying():
    records = [Event("a", 1, "billed", {"n": 5}), Event("a", 2, "canceled"), Event("b", 9 * DAY, "v")]
    options = {"churn_after": None, "churn_event": "canceled"}
    assert reports.revenue(Facts(records), "n", **options).people_of("lost") == ["a"]
    again = [*records, Event("a", 3, "billed", {"n": 5})]
    assert reports.revenue(Facts(again), "n", **options).people_of("paying") == ["a"]
    with pytest.raises(ValueError, match="a customer is lost after a time"):
        reports.revenue(Facts(records), "n", churn_after=None)
    with pytest.raises(TypeError, match="churn_after takes a timedelta"):
        reports.revenue(Facts(records), "n", churn_after=30)


# tools/people-search, tools/person-details


def test_people_search_writes_the_vendors_csv(tmp_path):
    facts = Facts([Event("bob", 1234567890, "signed up", {"plan": "-"}), Event("zoe", 5, "visited")])
    columns = [
        reports.Show("first_time", "signed up"),
        reports.Show("times", "signed up"),
        reports.Show("last_value", "plan"),
    ]
    found = reports.people(facts, columns=columns)
    found.to_csv(tmp_path / "people.csv")
    assert (tmp_path / "people.csv").read_text(encoding="utf-8").splitlines() == [
        "person,signed up: first time,signed up: times,plan: last value",
        "bob,2009-02-13 23:31:30,1,-",
        "zoe,,0,",
    ]
    assert found.to_arrow().column("signed up: first time").to_pylist()[0] == datetime(
        2009, 2, 13, 23, 31, 30, tzinfo=UTC
    )


def test_people_in_the_order_of_a_column():
    did_it = {"a": 2, "b": 0, "c": 3, "d": 2}
    facts = Facts([Event(who, at, "bought", {"plan": who}) for who, times in did_it.items() for at in range(times)]
                  + [Event("b", 1, "visited")])  # fmt: skip
    times = reports.Show("times", "bought")
    found = reports.people(facts, columns=[times, "plan"], order_by=times, largest_first=True)
    assert [row[:2] for row in found.rows] == [("c", 3), ("a", 2), ("d", 2), ("b", 0)]
    assert [row[0] for row in reports.people(facts, columns=["plan"], order_by="plan").rows] == ["a", "c", "d", "b"]
    with pytest.raises(ValueError, match="order_by is one of the columns"):
        reports.people(facts, columns=["plan"], order_by=times)


def test_people_without_a_value():
    facts = Facts([Event("a", 1, "x", {"plan": ""}), Event("b", 1, "x", {"plan": "Pro"}), Event("c", 1, "x")])
    assert reports.people(facts, has("plan")).people_of() == ["a", "b"]  # with any value, empty ones too
    assert reports.people(facts, has("plan", equal_to="")).people_of() == ["a"]
    assert reports.people(facts, ~has("plan")).people_of() == ["c"]


def test_from_the_sign_up_to_the_upgrade():
    facts = Facts([
        Event("a", 1, "upgraded"), Event("a", 5, "signed up"), Event("a", 9, "upgraded"), Event("a", 20, "upgraded"),
        Event("b", 5, "signed up"), Event("b", 8, "Plan changed"),
    ])  # fmt: skip
    assert reports.person(facts, "a").signup_to_upgrade == 4
    assert reports.person(facts, "b", upgrade="plan changed").signup_to_upgrade == 3


def test_a_page_about_a_person():
    facts = Facts([
        Event("x1", 0, "visited site", {"referrer": "example.org", "search terms": "mugs"}),
        Event("x1", DAY, "visited site", {"referrer": "other.org"}), Alias("x1", DAY + 9, "bob"),
        Event("bob", DAY + 9, "signed up"), PropertySet("bob", DAY + 10, {"plan": "Pro"}),
        Event("bob", 2 * DAY, "purchased", {"billing amount": "5"}),
        Event("bob", 4 * DAY, "purchased", {"billing amount": 8}),
        Event("someone else", 0, "visited site"),
    ])  # fmt: skip
    found = reports.person(facts, "x1")
    assert (found.name, found.identities, found.first_seen, found.last_seen) == ("bob", ("bob", "x1"), 0, 4 * DAY)
    assert (found.visits, found.visit_gap, found.first_referrer, found.first_search) == (2, DAY, "example.org", "mugs")
    assert (found.signup, found.visits_to_signup, found.visit_to_signup) == (DAY + 9, 2, DAY + 9)
    assert (found.purchases, found.purchase_gap, found.total, found.largest, found.average) == (2, 2 * DAY, 13, 8, 6.5)
    assert [line.event for line in found.timeline] == [
        "visited site", "visited site", "signed up", None, "purchased", "purchased",
    ]  # fmt: skip
    assert found.timeline[3].properties == {"plan": "Pro"}
    assert found.signup_to_upgrade is None
    with pytest.raises(LookupError, match="no record has the identity 'Bob'"):
        reports.person(facts, "Bob")
