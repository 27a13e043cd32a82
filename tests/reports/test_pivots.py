"""The power report: groups within one another, its columns against the reports, and all of it against loops."""

from __future__ import annotations

import itertools
import math
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmexport import Bucket, Event, Facts, PropertySet, Window, reports
from kmexport.errors import UnknownNameError
from kmexport.reports import GroupBy, Metric, Split, did, has
from tests.reports.test_rules import NAMES, RECORDS, RULES, SETTINGS, SHORT_WINDOWS, WINDOWS, ZONES, prepare, span
from tests.reports.test_vendor_pages import MAY, REFERRERS
from tests.support import report_model as model

DAY = 86_400
WEEKS = Window.days("2012-09-03", "2012-10-07", tz="America/New_York")


@pytest.fixture(scope="module")
def sample():
    with Facts(Bucket.sample()) as facts:
        yield facts


def cells(found):
    return {row.values: row.cells for row in found.rows}


def test_rows_within_one_another_add_up_to_the_report(sample):
    columns = [Metric("people", "purchased"), Metric("times", "purchased"), Metric("total", "billing amount")]
    found = reports.pivot(sample, ["plan", Split("referrer", form="domain")], columns, WEEKS)
    alone = reports.event_counts(sample, "purchased", WEEKS, by=Split("plan", at="last_in_window"))
    for row in alone.rows:
        of_plan = [one.cells for one in found.rows if one.values[0] == row.value]
        assert sum(people for people, _, _ in of_plan) == row.people
        assert sum(times for _, times, _ in of_plan) == row.times
    assert found.totals == (alone.people, alone.times, reports.property_total(sample, "billing amount", WEEKS).total)
    assert len(found.people_of()) == alone.people
    first = found.rows[0]
    assert len(found.people_of("purchased: people", first.values)) == first.cells[0]
    assert [row.values[0] for row in found.rows] == sorted(
        (row.values[0] for row in found.rows), key=[row.value for row in alone.rows].index
    )


def test_the_columns_are_those_of_the_reports(sample):
    both = "signed up", "purchased"
    columns = {
        what: Metric(what, *names)
        for what, names in {
            "everyone": (), "people": both[:1], "times": both[:1], "average_times": both[:1], "conversions": both,
            "rate": both, "mean_time": both, "median_time": both, "total": ("billing amount",),
            "values": ("billing amount",), "average_per_incident": ("billing amount",),
            "average_per_person": ("billing amount",),
        }.items()
    }  # fmt: skip
    found = reports.pivot(sample, ["plan"], columns, WEEKS)
    by = Split("plan", at="last_in_window")
    counts = reports.event_counts(sample, "signed up", WEEKS, by=by)
    rates = reports.conversion(sample, *both, WEEKS, by=by)
    took = reports.time_between(sample, *both, WEEKS, by=by)
    total = reports.property_total(sample, "billing amount", WEEKS, by=by)
    values = reports.property_values(sample, "plan", WEEKS, at="last_in_window")

    def of(report, value, *names):
        return [getattr(row, name) for row in report.rows if row.value == value for name in names]

    for (value,), numbers in cells(found).items():
        if value is None:
            continue
        assert list(numbers) == [
            *of(values, value, "people"), *of(counts, value, "people", "times", "average"),
            *of(rates, value, "numerator", "rate"), *of(took, value, "mean", "median"),
            *of(total, value, "total", "values", "average_per_incident", "average_per_person"),
        ]  # fmt: skip
    assert found.totals[0] == values.people
    assert found.people_of("rate") == rates.people_of()


def test_the_worked_example_of_attribution_in_rows():
    def found(at):
        return cells(reports.pivot(REFERRERS, [Split("referrer", at=at)], [Metric("total", "revenue")], MAY))

    assert found("first_ever") == {("linkedin",): (150,)}
    assert found("last_ever") == {("pinterest",): (150,)}
    assert found("first_in_window") == {("facebook",): (150,)}
    assert found("last_in_window") == {("google",): (150,)}
    # "Every value": revenue counts again under each.
    assert found("every_in_window") == {("facebook",): (150,), ("google",): (150,)}
    assert found("every_ever") == {(name,): (150,) for name in ("linkedin", "facebook", "google", "pinterest")}


def test_totals_are_of_the_whole_where_rows_count_again():
    columns = [Metric("people", "visited site"), Metric("times", "visited site"), Metric("total", "revenue")]
    found = reports.pivot(REFERRERS, [Split("referrer", at="every_ever")], columns)
    assert (found.totals, len(found.rows)) == ((1, 4, 150), 4)
    assert found.people_of("revenue: total", ("google",)) == found.people_of() == ["p"]


def test_a_list_of_every_property_recorded():
    facts = Facts([
        PropertySet("a", 1, {"email": "a@x.org"}), PropertySet("a", 2, {"email": "b@x.org"}),
        Event("a", 3, "signed up", {"referred": 1}), Event("b", 3, "signed up", {"email": "c@x.org"}),
    ])  # fmt: skip
    found = reports.pivot(facts, [Split("email", at="every_ever")], [Metric("everyone")], among=has("referred"))
    assert cells(found) == {("a@x.org",): (1,), ("b@x.org",): (1,)}


def test_the_rows_of_when_and_how_often():
    zone = "America/New_York"
    moment = int(datetime(2010, 10, 11, 17, 20, tzinfo=ZoneInfo(zone)).timestamp())
    facts = Facts([
        Event("a", moment, "x"), Event("a", moment + 400 * DAY, "x"), Event("b", moment, "y", {"n": 3}),
        Event("b", moment + 1, "y", {"n": "4.5"}),
    ])  # fmt: skip

    def rows(**options):
        group = GroupBy(options.pop("what", "first_time"), options.pop("name", "x"), **options)
        return [row.values[0] for row in reports.pivot(facts, [group], [Metric("everyone")], tz=zone).rows]

    shown = {
        "date": "2010-10-11", "month": "2010-10", "month_of_year": "10 - Oct", "year": "2010", "weekday": "Monday",
        "day_of_month": "11", "hour": "17:00",
    }  # fmt: skip
    assert {name: rows(shown=name) for name in shown} == {name: [text, None] for name, text in shown.items()}
    assert rows(what="last_time") == ["2011-11-15", None]
    assert rows(what="every_time") == ["2010-10-11", "2011-11-15", None]
    assert rows(what="times") == ["0", "2"]
    assert rows(what="times", window=Window(0, moment + 5)) == ["0", "1"]
    for what, text in {"total": "7.5", "minimum": "3", "maximum": "4.5", "average": "3.75"}.items():
        assert rows(what=what, name="n") == [text, None]


def test_a_column_of_another_window_keeps_the_groups_of_the_pivot():
    facts = Facts([
        Event("a", 5, "visited", {"plan": "first"}), Event("a", 150, "visited", {"plan": "second"}),
        Event("a", 160, "bought"), Event("b", 8, "visited"),
    ])  # fmt: skip
    # "People who signed up this month, segmented by when they first visited the site last month."
    columns = {"then": Metric("people", "visited"), "later": Metric("people", "bought", window=Window(100, 200))}
    found = reports.pivot(facts, ["plan", GroupBy("times", "visited")], columns, Window(0, 100))
    assert cells(found) == {("first", "1"): (1, 1), (None, "1"): (1, 0)}
    assert found.people_of("later", ("first", "1")) == ["a"]
    assert found.people_of("later", (None, "1")) == []


def test_a_column_counts_only_its_own_people():
    facts = Facts([Event(person, at, "x") for at, person in enumerate("aabc")] + [Event("a", 9, "y")])
    columns = {"all": Metric("people", "x"), "often": Metric("people", "x", among=did("x", at_least=2))}
    found = reports.pivot(facts, [GroupBy("times", "y")], columns, among=~has("Customer ID", equal_to="c"))
    assert cells(found) == {("0",): (1, 0), ("1",): (1, 1)}
    assert columns["often"].title == "x: people who did 'x' at least 2 times"
    assert found.totals == (2, 1)


def test_periods_are_the_outermost_rows(sample):
    columns = {"revenue": Metric("total", "billing amount"), "rate": Metric("rate", "signed up", "purchased")}
    found = reports.pivot(sample, ["plan"], columns, WEEKS, every="week")
    assert found.every == "week"
    total = reports.property_total(sample, "billing amount", WEEKS, every="week", by=Split("plan", at="last_in_window"))
    assert {(row.label, *row.values): row.cells[0] for row in found.rows if row.cells[0]} == {
        (row.label, row.value): row.total for row in total.rows if row.total
    }
    people = found.people_of("revenue", ("Pro",), label="2012-09-10")
    assert people == total.people_of(label="2012-09-10", value="Pro")
    alone = reports.pivot(sample, [], columns, WEEKS, every="week")
    assert [row.label for row in alone.rows] == [row.label for row in found.rows if row.values == ("Pro",)]


def test_periods_without_a_window_are_in_the_order_of_time():
    zone, back = "Europe/Berlin", 1351386000  # the hour from 2 to 3 comes twice
    facts = Facts([Event("a", back + 3_700, "x"), Event("a", back, "y"), Event("a", back - 9_000, "y")])
    found = reports.pivot(facts, [], [Metric("times", "x"), Metric("times", "y")], every="hour", tz=zone)
    labels = [row.label for row in found.rows]
    assert labels == sorted(labels, key=datetime.fromisoformat)
    assert sum(row.cells[1] for row in found.rows) == 2


def test_who_is_in_a_period_where_there_are_no_groups():
    facts = Facts([Event("a", hour * 3_600, "x") for hour in range(40)] + [Event("b", 2 * DAY, "y")])
    found = reports.pivot(facts, [], [Metric("people", "x"), Metric("people", "y")], every="day")
    assert found.people_of(0, (), label="1970-01-02") == ["a"]
    assert found.people_of(1, ()) == found.people_of(1, (), label="1970-01-03") == ["b"]
    assert found.people_of(0, (), label="1970-01-03") == []


def test_two_columns_of_one_title_take_heads():
    days = [Metric("times", "x", window=Window.day("1970-01-01", tz=tz)) for tz in ("UTC", "America/New_York")]
    facts = Facts([Event("a", hour * 3_600, "x", {"k": 1}) for hour in range(40)])
    with pytest.raises(ValueError, match=r"two columns would be called 'x: times from 1970-01-01 to 1970-01-01'"):
        reports.pivot(facts, ["k"], days)
    assert reports.pivot(facts, ["k"], dict(zip("uv", days, strict=True))).totals == (24, 24)


@pytest.mark.parametrize("tz", ["UTC", "America/New_York", "Africa/Monrovia", "Asia/Kathmandu", "Europe/Amsterdam"])
@pytest.mark.parametrize("moment", [-1_500_000_001, -2_671, -2_670, -901, -900, -1, 0, 1, 4_000_000])
def test_times_before_1970_and_of_odd_clocks(moment, tz):
    local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=moment)).astimezone(ZoneInfo(tz))
    facts = Facts([Event("a", moment, "x")])
    for shown, form in {"date": "%Y-%m-%d", "hour": "%H:00"}.items():
        rows = reports.pivot(facts, [GroupBy("first_time", "x", shown=shown)], [Metric("people", "x")], tz=tz).rows
        assert [row.values for row in rows] == [(f"{local:{form}}",)]


@pytest.mark.parametrize(
    ("tz", "change"),  # the only zones whose clocks were changed within a quarter of an hour since 1973
    [
        ("America/St_Johns", "2010-11-07T02:31Z"),
        ("America/St_Johns", "2011-03-13T03:31Z"),
        ("America/Goose_Bay", "2010-11-07T03:01Z"),
        ("America/Moncton", "2006-10-29T03:01Z"),
        ("Antarctica/Casey", "2020-10-03T16:01Z"),
        ("Asia/Gaza", "2011-03-31T22:01Z"),
        ("Pacific/Guam", "1976-08-21T15:01Z"),
        ("Pacific/Kiritimati", "1979-10-01T10:40Z"),
    ],
)
@pytest.mark.parametrize(("shown", "form"), [("date", "%Y-%m-%d"), ("hour", "%H:00")])
def test_a_clock_that_is_changed_within_a_quarter_of_an_hour(tz, change, shown, form):
    near = [0, 1, 59, 60, 599, 600, 839, 840, 899, 900, 3_539, 3_540, 3_600, 86_400]
    middle = int(datetime.fromisoformat(change).timestamp())
    moments = [middle + sign * seconds for seconds in near for sign in (-1, 1)]
    offsets = {datetime.fromtimestamp(moment, ZoneInfo(tz)).utcoffset() for moment in (middle - 1, middle)}
    assert len(offsets) == 2, "the clock is changed at that second"
    facts = Facts([Event(str(moment), moment, "x") for moment in moments])
    groups = [GroupBy("first_time", "x", shown=shown), "Customer ID"]
    rows = reports.pivot(facts, groups, [Metric("people", "x")], tz=tz).rows
    found = {(text, int(person)) for text, person in (row.values for row in rows)}
    assert found == {(f"{datetime.fromtimestamp(moment, ZoneInfo(tz)):{form}}", moment) for moment in moments}


def test_how_a_pivot_prints_and_is_drawn(sample):
    found = reports.pivot(sample, ["plan"], {"people": Metric("people", "purchased")}, WEEKS)
    assert str(found).splitlines()[:2] == ["people 81; by plan", "  plan  people"]
    assert found.to_arrow().column_names == ["plan", "people"]
    assert found.to_dict()["rows"][0] == {"label": None, "values": ["Free"], "cells": [31]}
    assert found.plot().get_xlabel() == "people"


def test_nobody(sample):
    found = reports.pivot(sample, ["plan", "city"], [Metric("people", "purchased")], Window(0, 9))
    assert (found.rows, found.totals, found.people_of()) == ((), (0,), [])


@pytest.mark.parametrize("records", [True, False])
def test_a_pivot_of_a_bucket_reads_once_what_all_columns_need(sample, records):
    def found(facts, **options):
        return reports.pivot(
            facts,
            ["plan", GroupBy("first_time", "visited site", shown="month"), Split("Channel", at="first_ever")],
            [
                Metric("total", "billing amount"), Metric("rate", "signed up", "purchased"),
                Metric("people", "searched", among=did("viewed product") & has("city")),
            ],
            WEEKS,
            **options,
        )  # fmt: skip

    bucket = Bucket.sample()
    read = found(list(bucket.iter_records()) if records else bucket, rule="classic")
    assert read == found(sample)
    assert read.people_of(1, read.rows[0].values) == found(sample).people_of(1, read.rows[0].values)
    with read:
        pass
    with pytest.raises(ValueError, match="these facts are closed"):
        read.people_of()
    assert found(sample).people_of()


def test_names_and_margins_of_a_source():
    records = [Event("a", 1, "signed up", {"plan": "p"}), Event("a", 2, "visited")]
    with pytest.raises(UnknownNameError, match="The closest name is 'signed up'"):
        reports.pivot(records, ["plan"], [Metric("people", "singed up")])
    with pytest.raises(ValueError, match="margin= leaves out files"):
        reports.pivot(records, ["plan"], [Metric("people", "visited")], Window(0, 9), margin=0)


@pytest.mark.parametrize(
    ("rows", "columns", "options", "error", "told"),
    [
        ([], [Metric("everyone")], {}, ValueError, "rows are one to 3 groups: these are 0"),
        (["plan"] * 4, [Metric("everyone")], {}, ValueError, "rows are one to 3 groups: these are 4"),
        (["plan"] * 3, [Metric("everyone")], {"every": "day"}, ValueError, "every= is one: these are 4"),
        ("plan", [Metric("everyone")], {}, TypeError, "rows and columns are lists, not 'plan'"),
        (["plan"], Metric("everyone"), {}, TypeError, "rows and columns are lists"),
        (["plan"], ["everyone"], {}, TypeError, "a column is a Metric, such as .*, not 'everyone'"),
        (["plan"], {"a": "everyone"}, {}, TypeError, "a column is a Metric, such as .*, not 'everyone'"),
        (["plan"], [], {}, ValueError, "columns are one Metric or more"),
        (["plan"], [Metric("people", "x")] * 2, {}, ValueError, "two columns would be called 'x: people': give heads"),
        ([Split("plan", at="last_touch")], [Metric("everyone")], {}, ValueError, "this report splits at"),
        (
            ["plan"],
            [Metric("everyone")],
            {"every": "day"},
            ValueError,
            "everyone is the same in each period: leave every= out",
        ),
        (
            ["plan"],
            [Metric("people", "x", window=Window(0, 1))],
            {"every": "day"},
            ValueError,
            "each period is the window",
        ),
        (["plam"], [Metric("people", "x")], {}, UnknownNameError, "no record has the property 'plam'"),
        ([GroupBy("times", "z")], [Metric("people", "x")], {}, UnknownNameError, "no record has the event 'z'"),
    ],
)
def test_what_is_no_pivot(rows, columns, options, error, told):
    facts = Facts([Event("a", 1, "x", {"plan": "p"})])
    with pytest.raises(error, match=told):
        reports.pivot(facts, rows, columns, **options)


def test_the_head_of_a_column_says_its_window():
    days = Window.days("2012-10-01", "2012-10-05", tz="America/New_York")
    assert Metric("people", "x", window=days).title == "x: people from 2012-10-01 to 2012-10-05"
    assert Metric("everyone", window=Window(0, 90)).title == (
        "everyone from 1970-01-01 00:00:00+00:00 to 1970-01-01 00:01:30+00:00"
    )


def test_metrics_and_groups_check_their_names():
    for make, told in (
        (lambda: Metric("persons", "x"), "what is one of 'everyone', 'people'"),
        (lambda: Metric("people"), r"Metric\('people', …\) takes the name of one event, not \[\]"),
        (lambda: Metric("rate", "x"), "takes the names of two events"),
        (lambda: Metric("everyone", "x"), "takes no name"),
        (lambda: GroupBy("often", "x"), "what is one of 'times'"),
        (lambda: GroupBy("first_time", "x", shown="day"), "shown is one of 'date'"),
    ):
        with pytest.raises(ValueError, match=told):
            make()
    found = reports.pivot(Facts([Event("a", 1, "x", {"p": 1})]), ["p"], [Metric("people", "x")])
    for wrong in ("y", 1):
        with pytest.raises(LookupError, match="column"):
            found.people_of(wrong)
    with pytest.raises(LookupError, match="no row"):
        found.people_of(0, ("2",))
    with pytest.raises(LookupError, match="no period"):
        found.people_of(label="2012")
    with pytest.raises(ValueError, match="splits at"):
        reports.event_counts(Facts([Event("a", 1, "x", {"p": 1})]), "x", by=Split("p", at="every_ever"))


# The rules as loops: a cell is the number of the records of those who are in its row.

SPLITS = st.builds(
    lambda name, at: Split(name, at=at),
    st.sampled_from(["plan", "AMOUNT"]),
    st.sampled_from(
        [None, "first_ever", "last_ever", "every_ever", "first_in_window", "last_in_window", "every_in_window"]
    ),
)
OF_TIMES = st.builds(
    lambda what, name, shown, window: GroupBy(what, name, shown=shown, window=window),
    st.sampled_from(["times", "first_time", "last_time", "every_time"]),
    NAMES,
    st.sampled_from(["date", "month", "month_of_year", "year", "weekday", "day_of_month", "hour"]),
    WINDOWS,
)
OF_NUMBERS = st.builds(GroupBy, st.sampled_from(["total", "minimum", "maximum"]), st.just("amount"), window=WINDOWS)
GROUPS = st.lists(st.one_of(SPLITS, SPLITS, OF_TIMES, OF_NUMBERS), min_size=1, max_size=2)
METRICS = st.lists(
    st.one_of(
        st.just(Metric("everyone")),
        st.builds(Metric, st.sampled_from(["people", "times", "average_times"]), NAMES, window=WINDOWS),
        st.builds(
            Metric, st.sampled_from(["conversions", "rate", "mean_time", "median_time"]), NAMES, NAMES, window=WINDOWS
        ),
        st.builds(
            Metric,
            st.sampled_from(["total", "values", "average_per_incident", "average_per_person"]),
            st.just("amount"),
            window=WINDOWS,
        ),
    ),
    min_size=1,
    max_size=2,
    unique_by=lambda metric: metric.title,
)


def texts_of(records, person, group, whole, period, tz):
    """The texts under which a person stands; a Split looks at the period, a GroupBy at the pivot's window."""
    if isinstance(group, Split):
        at = group.at or "last_in_window"
        if at.startswith("every"):
            where = model.ALL_TIME if at == "every_ever" else period
            found = {text for moment, text in model.settings(records, person, group.property) if moment in where}
            return found or {None}
        return {model.value_of(records, person, group.property, period, at)}
    window = whole if group.window is None else group.window
    if group.what in ("total", "minimum", "maximum"):
        numbers = [
            number for r in records if r.person == person and r.timestamp in window
            for value in model.own_values(r, group.name) if (number := model.number(value)) is not None
        ]  # fmt: skip
        if not numbers:
            return {None}
        number = {"total": math.fsum, "minimum": min, "maximum": max}[group.what](numbers)
        return {str(int(number)) if number == int(number) and abs(number) < 1e15 else str(round(number, 9))}
    moments = model.times(records, person, group.name, window)
    if group.what == "times":
        return {str(len(moments))}
    form = {
        "date": "%Y-%m-%d", "month": "%Y-%m", "month_of_year": "%m - %b", "year": "%Y", "weekday": "%A",
        "day_of_month": "%d", "hour": "%H:00",
    }[group.shown]  # fmt: skip
    chosen = {"first_time": moments[:1], "last_time": moments[-1:], "every_time": moments}[group.what]
    return {datetime.fromtimestamp(moment, ZoneInfo(tz)).strftime(form) for moment in chosen} or {None}


def number_of(records, metric, window):
    """The number of a metric, and its persons."""
    if metric.what == "everyone":
        people = model.everyone(records)
        return len(people), people
    if metric.what in ("people", "times", "average_times"):
        [(people, times)] = model.event_counts(records, metric.name, window).values() or [(set(), 0)]
        average = times / len(people) if people else None
        return {"people": len(people), "times": times, "average_times": average}[metric.what], people
    if metric.what in ("conversions", "rate"):
        [(whole, people)] = model.conversion(records, metric.name, metric.second, window).values() or [(set(), set())]
        return (len(people) if metric.what == "conversions" else len(people) / len(whole) if whole else None), people
    if metric.what in ("mean_time", "median_time"):
        [took] = model.time_between(records, metric.name, metric.second, window).values() or [{}]
        return model.mean_and_median(took.values())[metric.what == "median_time"], set(took)
    [(numbers, people)] = model.property_total(records, metric.name, window).values() or [([], set())]
    total = math.fsum(numbers)
    return {
        "total": total, "values": len(numbers), "average_per_incident": total / len(numbers) if numbers else None,
        "average_per_person": total / len(people) if people else None,
    }[metric.what], people  # fmt: skip


def check(found, label, kept, groups, metrics, whole, period, tz):
    """The rows of a period (or of all) are those of the loops."""
    texts = {
        person: set(itertools.product(*(texts_of(kept, person, group, whole, period, tz) for group in groups)))
        for person in model.everyone(kept)
    }
    rows = {row.values: row.cells for row in found.rows if row.label == label}
    for values in set().union(*texts.values()) | rows.keys():
        of_them = [r for r in kept if values in texts.get(r.person, ())]
        for place, metric in enumerate(metrics):
            number, people = number_of(of_them, metric, period if metric.window is None else metric.window)
            if values not in rows:
                assert not people
                continue
            assert rows[values][place] == (number if number is None else pytest.approx(number, abs=1e-9))
            part = {} if label is None else {"label": label}
            assert found.people_of(place, values, **part) == sorted(people)


@pytest.mark.parametrize(
    "number", [10**30, 1e15, 123456789012345.6, 9e6 + 0.1, 12345678.9, 1e6 / 3, 0.1 + 0.2, -8999999.123456789, 1e-10]
)
def test_a_group_of_numbers_shows_nine_decimals_and_no_noise(number):
    with Facts([Event("ann", 1, "bought", {"price": number})]) as facts:
        [row] = reports.pivot(facts, [GroupBy("total", "price")], [Metric("everyone")]).rows
    assert float(row.values[0]) == round(float(number), 9)


@SETTINGS
@given(RECORDS, RULES, GROUPS, METRICS, WINDOWS, ZONES)
def test_against_loops(records, rule, groups, metrics, window, tz):
    kept, facts = prepare(records, rule)
    columns = {f"{place}": metric for place, metric in enumerate(metrics)}
    found = reports.pivot(facts, groups, columns, window, tz=tz)
    check(found, None, kept, groups, metrics, span(window), span(window), tz)
    for place, metric in enumerate(metrics):
        number, people = number_of(kept, metric, span(window) if metric.window is None else metric.window)
        assert found.totals[place] == (number if number is None else pytest.approx(number, abs=1e-9))
        assert found.people_of(place) == sorted(people)


@SETTINGS
@given(RECORDS, GROUPS, METRICS, SHORT_WINDOWS, ZONES, st.sampled_from(["hour", "day", "week"]))
def test_in_periods_against_loops(records, groups, metrics, window, tz, every):
    kept, facts = prepare(records, "classic")
    metrics = [Metric(one.what, one.name, one.second) for one in metrics if one.what != "everyone"]
    metrics = metrics or [Metric("people", "E1")]
    columns = {f"{place}": metric for place, metric in enumerate(metrics)}
    found = reports.pivot(facts, groups, columns, window, tz=tz, every=every)
    for label, period in model.periods(window, every, tz).items():
        check(found, label, kept, groups, metrics, window, period, tz)
