"""The reports against the rules written out as loops (report_model.py), on random records."""

from __future__ import annotations

import math
from decimal import Decimal

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from kmexport import (
    Alias,
    Event,
    Facts,
    IdentityMap,
    PropertySet,
    Window,
    drop_duplicates,
    fold_name,
    merge_identities,
    reports,
)
from tests.support import report_model as model
from tests.support.strategies import examples

# Few of everything, so that much meets: persons, names in several spellings, seconds, values.
PERSONS = st.sampled_from(["a", "b", "c", "d", "e"])
EVENTS = st.sampled_from(["E1", "e1", "E2", "E3", "e3", 'it\'s "$E4" %s; --'])
VALUES = st.one_of(
    st.sampled_from(["Pro", "pro", "7", "-2.25", "", "None", "1e3", "null", "inf", "it's $by"]),
    st.sampled_from([7, 7.5, 1000000, 10**30, True, None, [1], Decimal("7.50"), Decimal("1E+3")]),
)
PROPERTIES = st.dictionaries(st.sampled_from(["plan", "Plan", "amount", "Amount", "_d", ""]), VALUES, max_size=2)
# Around the ends of summer time in New York and São Paulo (whose midnight is missing on 21 October 2012), and on
# the edges of days; near one another, too.
ANCHORS = [1350788400, 1352005200, 1352008800, 1351992600, 1352091600, 0, -1]
TIMES = st.builds(
    lambda anchor, step, unit: anchor + step * unit,
    st.sampled_from(ANCHORS[:5]),
    st.integers(-4, 4),
    st.sampled_from([1, 1, 3_600, 43_200, 86_400, 7 * 86_400]),
)
RECORDS = st.lists(
    st.one_of(
        st.builds(Event, PERSONS, TIMES, EVENTS, PROPERTIES),
        st.builds(Event, PERSONS, TIMES, EVENTS, PROPERTIES),
        st.builds(PropertySet, PERSONS, TIMES, PROPERTIES),
        st.builds(Alias, PERSONS, TIMES, st.sampled_from(["a", "z"])),
    ),
    max_size=24,
)
ALWAYS = [  # so that every name is known, whatever is drawn
    Event("f", 1351992600, "E1", {"plan": "Pro"}),
    Event("f", 1351992600, "E2", {"amount": 3}),
    Event("g", 1352008800, "E3"),
    Event("g", 1352008800, 'It\'s "$E4" %s; --'),
    Alias("nobody", 1352008800, "nobody else"),
]
WINDOWS = st.one_of(st.none(), st.builds(lambda a, b: Window(min(a, b), max(a, b)), TIMES, TIMES))
RULES = st.sampled_from(["classic", "strict"])
ZONES = st.sampled_from(
    ["UTC", "America/New_York", "America/Sao_Paulo", "Asia/Kathmandu", "America/St_Johns", "Australia/Lord_Howe"]
)
# Short enough for a look at each hour of them.
SHORT_WINDOWS = st.builds(
    lambda start, length: Window(start, start + length),
    TIMES,
    st.sampled_from([0, 1, 59, 3_600, 5_000, 86_400, 200_000, 400_000]),
)
TOUCHES = ["last_touch", "first_ever", "last_ever", "first_in_window", "last_in_window"]


def by_at(*moments):
    """A pair of property and moment, for the model; None for no split."""
    return st.one_of(st.none(), st.tuples(st.sampled_from(["plan", "AMOUNT"]), st.sampled_from(moments)))


def splitting(by):
    """The same for a report."""
    return None if by is None else reports.Split(by[0], at=by[1])


BY = by_at("last_touch", *TOUCHES)
NAMES = st.sampled_from(["E1", "e2", "E3", 'IT\'S "$e4" %s; --'])
SETTINGS = settings(max_examples=examples(20))  # each builds Facts


def prepare(records, rule):
    """The records that count, and the Facts of all."""
    records = ALWAYS + records
    people = IdentityMap().update(records)
    return list(what_counts(merge_identities(records, people), rule)), Facts(records, rule=rule)


def what_counts(records, rule):
    """Records whose properties count: no nulls, of one name in a person's second the first, by strict in a record."""
    events, said = set(), set()
    for number, record in enumerate(drop_duplicates(records, rule="strict") if rule == "strict" else records):
        if isinstance(record, Alias):
            yield record
            continue
        moment = record.person, record.timestamp, number if rule == "strict" else None
        fresh = {}
        for name, value in record.properties.items():
            if value is not None and (moment, fold_name(name)) not in said:
                said.add((moment, fold_name(name)))
                fresh[name] = value
        if isinstance(record, Event) and (moment, fold_name(record.name)) not in events:
            events.add((moment, fold_name(record.name)))
            yield evolve(record, properties=fresh)
        else:
            yield PropertySet(record.person, record.timestamp, fresh)


def span(window):
    return model.ALL_TIME if window is None else window


def by_value(rows, *names):
    """value → numbers, for the rows in which anything is."""
    found = {row.value: tuple(getattr(row, name) for name in names) for row in rows}
    return {value: numbers for value, numbers in found.items() if any(numbers)}


def ratio(part, whole):
    return part / whole if whole else None


@SETTINGS
@given(RECORDS, RULES, NAMES, WINDOWS, BY)
def test_event_counts(records, rule, event, window, by):
    kept, facts = prepare(records, rule)
    counts = reports.event_counts(facts, event, window, by=splitting(by))
    [(people, times)] = model.event_counts(kept, event, span(window)).values() or [(set(), 0)]
    assert (counts.people, counts.times, counts.average) == (len(people), times, ratio(times, len(people)))
    assert counts.people_of() == sorted(people)
    if by is None:
        assert counts.rows == ()
        return
    expected = model.event_counts(kept, event, span(window), by)
    assert by_value(counts.rows, "people", "times") == {v: (len(p), t) for v, (p, t) in expected.items()}
    for value, (people, _) in expected.items():
        assert counts.people_of(value=value) == sorted(people)


@SETTINGS
@given(RECORDS, SHORT_WINDOWS, ZONES, st.sampled_from(["hour", "day", "week", "month"]), BY)
def test_event_counts_in_periods(records, window, tz, every, by):
    kept, facts = prepare(records, "classic")
    counts = reports.event_counts(facts, "E1", window, every=every, tz=tz, by=splitting(by))
    periods = model.periods(window, every, tz)
    assert list(dict.fromkeys(row.label for row in counts.rows)) == (list(periods) if counts.rows else [])
    for label, period in periods.items():
        expected = model.event_counts(kept, "E1", period, by)
        rows = [row for row in counts.rows if row.label == label]
        assert by_value(rows, "people", "times") == {v: (len(p), t) for v, (p, t) in expected.items()}
        for value, (people, _) in expected.items():
            assert counts.people_of(label=label, value=value) == sorted(people)


@SETTINGS
@given(RECORDS, RULES, NAMES, NAMES, WINDOWS, BY)
def test_conversion(records, rule, first, second, window, by):
    kept, facts = prepare(records, rule)
    found = reports.conversion(facts, first, second, window, by=splitting(by))
    [(whole, converted)] = model.conversion(kept, first, second, span(window)).values() or [(set(), set())]
    assert (found.numerator, found.denominator) == (len(converted), len(whole))
    assert found.rate == ratio(len(converted), len(whole))
    assert found.people_of("denominator") == sorted(whole)
    assert found.people_of() == sorted(converted)
    assert found.people_of("dropped") == sorted(whole - converted)
    if by is not None:
        expected = model.conversion(kept, first, second, span(window), by)
        assert by_value(found.rows, "denominator", "numerator") == {
            v: (len(w), len(c)) for v, (w, c) in expected.items()
        }


@SETTINGS
@given(RECORDS, RULES, NAMES, NAMES, WINDOWS, BY)
def test_repeating_conversion(records, rule, first, second, window, by):
    kept, facts = prepare(records, rule)
    found = reports.conversion(facts, first, second, window, repeating=True, by=splitting(by))
    [(firsts, seconds)] = model.repeating_conversion(kept, first, second, span(window)).values() or [(0, 0)]
    assert (found.denominator, found.numerator, found.rate) == (firsts, seconds, ratio(seconds, firsts))
    if by is not None:
        expected = model.repeating_conversion(kept, first, second, span(window), by)
        assert by_value(found.rows, "denominator", "numerator") == expected


@SETTINGS
@given(RECORDS, RULES, NAMES, NAMES, WINDOWS, st.booleans(), BY)
def test_time_between(records, rule, first, second, window, first_ever, by):
    kept, facts = prepare(records, rule)
    found = reports.time_between(facts, first, second, window, first_ever=first_ever, by=splitting(by))
    [took] = model.time_between(kept, first, second, span(window), first_ever=first_ever).values() or [{}]
    assert (found.people, found.mean, found.median) == (len(took), *model.mean_and_median(took.values()))
    assert found.people_of() == sorted(took)
    assert found.people_of(at_least=3_600) == sorted(person for person, seconds in took.items() if seconds >= 3_600)
    assert found.seconds() == sorted(took.values())
    if by is not None:
        expected = model.time_between(kept, first, second, span(window), first_ever=first_ever, by=by)
        assert by_value(found.rows, "people", "mean", "median") == {
            value: (len(took), *model.mean_and_median(took.values())) for value, took in expected.items()
        }


@SETTINGS
@given(RECORDS, SHORT_WINDOWS, ZONES, st.sampled_from(["day", "week"]), st.booleans(), BY)
def test_rates_and_durations_in_periods_are_those_of_each_period(records, window, tz, every, option, by):
    _, facts = prepare(records, "classic")
    split = {"every": every, "tz": tz, "by": splitting(by)}
    rate = reports.conversion(facts, "E1", "E2", window, repeating=option, **split)
    between = reports.time_between(facts, "E1", "E2", window, first_ever=option, **split)
    total = reports.property_total(facts, "amount", window, population="e3" if option else "everyone", **split)
    for label, period in model.periods(window, every, tz).items():
        alone = reports.conversion(facts, "E1", "E2", period, repeating=option, by=splitting(by))
        of_label = [row for row in rate.rows if row.label == label]
        pairs = [(of_label, alone, ("denominator", "numerator"))]
        of_label = [row for row in between.rows if row.label == label]
        pairs.append(
            (
                of_label,
                reports.time_between(facts, "E1", "E2", period, first_ever=option, by=splitting(by)),
                ("people", "mean"),
            )
        )
        of_label = [row for row in total.rows if row.label == label]
        population = "e3" if option else "everyone"
        alone = reports.property_total(facts, "amount", period, population=population, by=splitting(by))
        pairs.append((of_label, alone, ("values", "people")))
        for rows, alone, names in pairs:
            if by is None:
                [row] = rows
                assert [getattr(row, name) for name in names] == [getattr(alone, name) for name in names]
            else:
                assert by_value(rows, *names) == by_value(alone.rows, *names)


@SETTINGS
@given(
    RECORDS,
    RULES,
    WINDOWS,
    st.sampled_from([None, "E1", "e2"]),
    st.sampled_from(["with_property", "everyone", "e1"]),
    BY,
)
def test_property_total(records, rule, window, event, population, by):
    kept, facts = prepare(records, rule)
    found = reports.property_total(facts, "amount", window, event=event, population=population, by=splitting(by))
    options = {"event": event, "population": population}
    [(numbers, people)] = model.property_total(kept, "amount", span(window), **options).values() or [([], set())]
    assert math.isclose(found.total, math.fsum(numbers), abs_tol=1e-9)
    assert (found.values, found.people) == (len(numbers), len(people))
    assert found.average_per_incident == ratio(found.total, len(numbers))
    assert found.average_per_person == ratio(found.total, len(people))
    assert found.people_of() == sorted(people)
    if by is not None:
        expected = model.property_total(kept, "amount", span(window), **options, by=by)
        sizes = {value: (len(numbers), len(people)) for value, (numbers, people) in expected.items()}
        assert by_value(found.rows, "values", "people") == sizes
        for row in found.rows:
            assert math.isclose(row.total, math.fsum(expected[row.value][0]), abs_tol=1e-9)


LEAVES = st.one_of(
    st.builds(
        lambda event, lowest, more, where, window: ("did", event, lowest, more, where, window),
        NAMES,
        st.integers(0, 2),
        st.one_of(st.none(), st.integers(0, 2)),
        st.one_of(st.none(), st.sampled_from(["plan", "AMOUNT"])),
        WINDOWS,
    ),
    st.builds(
        lambda name, test, window: ("has", name, test, window),
        st.sampled_from(["plan", "Amount"]),
        st.one_of(
            st.just({}),
            st.dictionaries(
                st.sampled_from(["containing", "equal_to", "beginning", "ending"]),
                st.sampled_from(["Pro", "P", "7", "o", "", "null", "1e3"]),
                max_size=2,
            ),
        ),
        WINDOWS,
    ),
)
ORDERED = st.tuples(
    st.just("in_order"),
    st.lists(
        st.one_of(
            st.tuples(st.just("did"), NAMES, st.integers(1, 2), st.sampled_from([None, None, "plan"])),
            st.tuples(st.just("has"), st.sampled_from(["plan", "Amount"]), st.sampled_from([{}, {"containing": "7"}])),
        ),
        min_size=1,
        max_size=4,
    ),
    WINDOWS,
)
CONDITIONS = st.recursive(
    st.one_of(LEAVES, ORDERED),
    lambda inner: st.one_of(st.tuples(st.just("not"), inner), st.tuples(st.sampled_from(["and", "or"]), inner, inner)),
    max_leaves=4,
)


def condition(asked):
    """The condition of a report."""
    match asked:
        case ("did", event, lowest, more, where, window):
            most = None if more is None else lowest + more
            tested = None if where is None else reports.has(where)
            return reports.did(event, at_least=lowest, at_most=most, where=tested, window=window)
        case ("has", name, tests, window):
            return reports.has(name, **tests, window=window)
        case ("in_order", steps, window):
            return reports.in_order(*map(step_of, steps), window=window)
        case ("not", inner):
            return ~condition(inner)
        case (word, one, other):
            return condition(one) & condition(other) if word == "and" else condition(one) | condition(other)


def step_of(asked):
    """The step of in_order: an event alone by its name, where that says all."""
    match asked:
        case ("did", event, 1, None):
            return event
        case ("did", event, lowest, where):
            return reports.did(event, at_least=lowest, where=None if where is None else reports.has(where))
        case ("has", name, tests):
            return reports.has(name, **tests)


@SETTINGS
@given(RECORDS, RULES, ORDERED)
def test_conditions_in_order(records, rule, asked):
    kept, facts = prepare(records, rule)
    people = {person for person in model.everyone(kept) if model.fulfils(kept, person, asked)}
    assert reports.people(facts, condition(asked)).people_of() == sorted(people)


@SETTINGS
@given(RECORDS, RULES, CONDITIONS, NAMES, WINDOWS)
def test_conditions(records, rule, asked, event, window):
    kept, facts = prepare(records, rule)
    people = {person for person in model.everyone(kept) if model.fulfils(kept, person, asked)}
    among = condition(asked)
    assert reports.property_values(facts, "plan", among=among).people_of() == sorted(people)
    found = reports.event_counts(facts, event, window, among=among)
    of_them = [record for record in kept if record.person in people]
    [(did, times)] = model.event_counts(of_them, event, span(window)).values() or [(set(), 0)]
    assert (found.people_of(), found.times) == (sorted(did), times)
    assert repr(among)


STEPS = st.lists(NAMES, min_size=1, max_size=4)
BY_AT_STEP = by_at("at_step", *TOUCHES[1:])
COUNTING = st.sampled_from(["last_of_day", "all"])
LIMITS = st.sampled_from([None, "0 s", "1 h", "1 day", "3 d"])
SECONDS = {None: None, "0 s": 0, "1 h": 3_600, "1 day": 86_400, "3 d": 3 * 86_400}


def in_seconds(options):
    return {name: SECONDS[value] if "within" in name else value for name, value in options.items()}


@SETTINGS
@given(RECORDS, RULES, STEPS, WINDOWS, ZONES, st.booleans(), LIMITS, LIMITS, BY_AT_STEP, COUNTING, st.integers(0, 3))
def test_funnel(records, rule, steps, window, tz, skip_steps, within, step_within, by, counting, at):
    kept, facts = prepare(records, rule)
    at = at if at < len(steps) else None  # the place of the step whose value counts; else the last
    options = {"tz": tz, "skip_steps": skip_steps, "within": within, "step_within": None if skip_steps else step_within}
    step = at + 1 if at is not None and by is not None and by[1] == "at_step" else None
    split = by and reports.Split(by[0], at=by[1], step=step)
    found = reports.funnel(facts, steps, window, **options, occurrences=counting, by=split)
    options = {**in_seconds(options), "counting": counting}
    [reached] = model.funnel(kept, steps, span(window), **options).values() or [[{} for _ in steps]]
    assert [step.times for step in found.steps] == [sum(people.values()) for people in reached]
    assert [step.people for step in found.steps] == [len(people) for people in reached]
    assert [step.share for step in found.steps] == [ratio(len(people), len(reached[0])) for people in reached]
    for place, people in enumerate(reached):
        assert found.people_of(place + 1) == sorted(people)
        if place:
            assert found.people_of(place + 1, dropped=True) == sorted(reached[place - 1].keys() - people.keys())
    if by is not None:
        expected = model.funnel(kept, steps, span(window), **options, by=by, at=at)
        counted = {row.value: [(step.people, step.times) for step in row.steps] for row in found.rows}
        assert counted == {
            value: [(len(people), sum(people.values())) for people in reached] for value, reached in expected.items()
        }


AT = st.sampled_from(["first_ever", "last_ever", "first_in_window", "last_in_window", "at_step"])


def check_values(found, expected, **part):
    """Rows and persons of a report on values, of the whole or of one period."""
    rows = [row for row in found.rows if row.label == part.get("label")]
    counted = {(row.by_value, row.value): row.people for row in rows if row.people}
    assert counted == {names: len(people) for names, people in expected.items()}
    for (by_value, value), people in expected.items():
        assert found.people_of(value, by_value=by_value, **part) == sorted(people)


@SETTINGS
@given(RECORDS, RULES, WINDOWS, st.sampled_from(["plan", "Amount"]), AT, by_at(*TOUCHES[1:]))
def test_property_values(records, rule, window, name, at, by):
    kept, facts = prepare(records, rule)
    options = {"at": at, "step": "e1" if at == "at_step" else None}
    found = reports.property_values(facts, name, window, **options, by=splitting(by))
    check_values(found, model.property_values(kept, name, span(window), **options, by=by))
    whole = model.property_values(kept, name, span(window), **options)
    assert found.people == len(set().union(*whole.values()))
    for (_, value), people in whole.items():
        assert found.people_of(value) == sorted(people)


@SETTINGS
@given(
    RECORDS,
    RULES,
    SHORT_WINDOWS,
    ZONES,
    st.sampled_from(["hour", "day", "week"]),
    st.sampled_from(["first_in_window", "last_in_window", "at_step"]),
    BY,
    st.booleans(),
)
def test_values_in_periods_are_those_of_each_period(records, rule, window, tz, every, at, by, relative):
    kept, facts = prepare(records, rule)
    split = {"every": every, "tz": tz}
    options = {"at": at, "step": "e1" if at == "at_step" else None}
    of_values = by and (by[0], at)  # a second property is chosen at the same moment
    values = reports.property_values(facts, "plan", window, **options, **split, by=by and by[0])
    parts = reports.segments(facts, "e1", "plan", window, relative=relative, **split, by=splitting(by))
    for label, period in model.periods(window, every, tz).items():
        check_values(values, model.property_values(kept, "plan", period, **options, by=of_values), label=label)
        check_values(parts, model.segments(kept, "e1", "plan", period, relative=relative, by=by), label=label)


@SETTINGS
@given(
    RECORDS, STEPS, SHORT_WINDOWS, ZONES, st.sampled_from(["hour", "day", "week"]), st.booleans(), LIMITS, BY_AT_STEP
)
def test_a_funnel_in_periods_is_that_of_each_period(records, steps, window, tz, every, skip_steps, within, by):
    kept, facts = prepare(records, "classic")
    options = {"tz": tz, "skip_steps": skip_steps, "within": within}
    split = by and reports.Split(by[0], at=by[1])
    found = reports.funnel(facts, steps, window, **options, by=split, every=every)
    assert found.steps == reports.funnel(facts, steps, window, **options).steps
    options["by"] = by
    for label, period in model.periods(window, every, tz).items():
        rows = {row.value: [step.people for step in row.steps] for row in found.rows if row.label == label}
        expected = model.funnel(kept, steps, period, **in_seconds(options))
        counted = {value: people for value, people in rows.items() if any(people)}
        assert counted == {value: [len(people) for people in reached] for value, reached in expected.items()}
        for value, reached in expected.items():
            for place, people in enumerate(reached):
                assert found.people_of(place + 1, label=label, value=value) == sorted(people)


@SETTINGS
@given(
    RECORDS,
    RULES,
    NAMES,
    NAMES,
    WINDOWS,
    st.sampled_from(["day", "week", "month"]),
    st.sampled_from([None, "hour", "day", "week", "month"]),
    ZONES,
    by_at("first_ever", "last_ever"),
    st.booleans(),
)
def test_cohorts(records, rule, first, second, window, group, bucket, tz, by, first_time_only):
    kept, facts = prepare(records, rule)
    options = {"group": group, "bucket": bucket, "tz": tz, "first_time_only": first_time_only}
    found = reports.cohorts(facts, first, second, window, **options, by=splitting(by))
    running = reports.cohorts(facts, first, second, window, **options, by=splitting(by), cumulative=True)
    expected = model.cohorts(kept, first, second, span(window), **options, by=by)
    assert {row.cohort: row.people for row in found.rows} == {
        name: len(people) for name, (people, _) in expected.items()
    }
    for row, total in zip(found.rows, running.rows, strict=True):
        people, buckets = expected[row.cohort]
        assert found.people_of(row.cohort) == sorted(people)
        assert row.begun > max(buckets, default=-1)
        assert sum(map(bool, row.buckets)) == len(buckets)
        so_far, came = 0, set()
        for bucket_, count in enumerate(row.buckets[:50]):
            here = buckets.get(bucket_, set())
            so_far += len(here)
            came |= here
            assert (count, row.shares[bucket_]) == (len(here), len(here) / len(people))
            assert (total.buckets[bucket_], total.shares[bucket_]) == (so_far, so_far / len(people))
            if here:
                assert found.people_of(row.cohort, bucket_) == sorted(here)
                assert running.people_of(row.cohort, bucket_) == sorted(came)


@SETTINGS
@given(RECORDS, RULES, WINDOWS, NAMES, st.sampled_from(["plan", "Amount"]), st.booleans(), BY)
def test_segments(records, rule, window, event, name, relative, by):
    kept, facts = prepare(records, rule)
    found = reports.segments(facts, event, name, window, relative=relative, by=splitting(by))
    check_values(found, model.segments(kept, event, name, span(window), relative=relative, by=by))
    whole = model.segments(kept, event, name, span(window), relative=relative)
    assert found.people == len(set().union(*whole.values()))
    for (_, value), people in whole.items():
        assert found.people_of(value) == sorted(people)


@SETTINGS
@given(RECORDS, RULES, NAMES, NAMES, WINDOWS, BY)
def test_occurrences_before(records, rule, event, conversion, window, by):
    kept, facts = prepare(records, rule)
    found = reports.occurrences_before(facts, event, conversion, window, by=splitting(by))
    [(people, times, conversions)] = model.occurrences_before(kept, event, conversion, span(window)).values() or [
        (set(), 0, 0)
    ]
    assert (found.people_of(), found.times, found.conversions) == (sorted(people), times, conversions)
    assert found.average == ratio(times, conversions)
    if by is not None:
        expected = model.occurrences_before(kept, event, conversion, span(window), by)
        assert by_value(found.rows, "people", "times", "conversions") == {
            value: (len(people), *counts) for value, (people, *counts) in expected.items()
        }


@SETTINGS
@given(RECORDS, SHORT_WINDOWS, ZONES, st.sampled_from(["hour", "day", "week"]), BY)
def test_occurrences_before_in_periods(records, window, tz, every, by):
    kept, facts = prepare(records, "classic")
    found = reports.occurrences_before(facts, "E1", "E2", window, by=splitting(by), every=every, tz=tz)
    for label, period in model.periods(window, every, tz).items():
        expected = model.occurrences_before(kept, "E1", "E2", period, by)
        rows = [row for row in found.rows if row.label == label]
        assert by_value(rows, "people", "times", "conversions") == {
            value: (len(people), *counts) for value, (people, *counts) in expected.items()
        }


AFTER = {"0 s": 0, "1 h": 3_600, "1 day": 86_400, "30 days": 30 * 86_400}
CHURN = st.tuples(
    st.sampled_from(["0 s", "1 h", "1 day", "30 days", None]), st.sampled_from([None, "e1", "E2"])
).filter(any)


def check_revenue(found, rows, expected):
    numbers = {value: (len(have), *map(len, sets)) for value, (_, have, *sets) in expected.items()}
    counted = by_value(rows, "people", "paying", "gained", "lost")
    assert counted == {value: counts for value, counts in numbers.items() if any(counts)}
    for row in rows:
        assert math.isclose(row.total, math.fsum(expected[row.value][0]), abs_tol=1e-9)
        people = {
            which: found.people_of(which, value=row.value, label=row.label) for which in ("paying", "gained", "lost")
        }
        assert list(people.values()) == [sorted(one) for one in expected[row.value][2:]]


@SETTINGS
@given(RECORDS, RULES, WINDOWS, CHURN, by_at("first_ever", "last_ever"))
def test_revenue(records, rule, window, churn, by):
    kept, facts = prepare(records, rule)
    after, event = churn
    options = {"churn_event": event, "by": by}
    found = reports.revenue(facts, "amount", window, churn_after=after, churn_event=event, by=splitting(by))
    expected = model.revenue(kept, "amount", span(window), AFTER.get(after), event, by)
    whole = model.revenue(kept, "amount", span(window), AFTER.get(after), event)[None]
    assert math.isclose(found.total, math.fsum(whole[0]), abs_tol=1e-9)
    assert [found.people, found.paying, found.gained, found.lost] == [len(one) for one in whole[1:]]
    assert [found.people_of(which) for which in ("with_revenue", "paying", "gained", "lost")] == [
        sorted(one) for one in whole[1:]
    ]
    assert (found.churn_rate, found.lifetime_value) == (
        ratio(found.lost, found.lost + found.paying), ratio(found.total, found.lost)
    )  # fmt: skip
    assert math.isclose(sum(total for _, total in found.top(99)), found.total, abs_tol=1e-9)
    if options["by"] is not None:
        check_revenue(found, found.rows, expected)


@SETTINGS
@given(RECORDS, SHORT_WINDOWS, ZONES, st.sampled_from(["hour", "day", "week"]), CHURN, by_at("first_ever", "last_ever"))
def test_revenue_in_periods(records, window, tz, every, churn, by):
    kept, facts = prepare(records, "classic")
    after, event = churn
    split = {"by": splitting(by), "every": every, "tz": tz}
    found = reports.revenue(facts, "amount", window, churn_after=after, churn_event=event, **split)
    for label, period in model.periods(window, every, tz).items():
        expected = model.revenue(kept, "amount", period, AFTER.get(after), event, by)
        rows = [row for row in found.rows if row.label == label]
        for row in rows:  # a value that only another period has
            expected.setdefault(row.value, ([], set(), set(), set(), set()))
        check_revenue(found, rows, expected)


SHOWS = st.lists(
    st.one_of(
        st.builds(reports.Show, st.sampled_from(["first_time", "last_time", "times"]), NAMES, window=WINDOWS),
        st.builds(
            reports.Show,
            st.sampled_from(["first_value", "last_value", "first_set", "last_set"]),
            st.sampled_from(["plan", "Amount"]),
            window=WINDOWS,
        ),
    ),
    max_size=4,
)


@SETTINGS
@given(RECORDS, RULES, CONDITIONS, SHOWS)
def test_people_search(records, rule, asked, shows):
    kept, facts = prepare(records, rule)
    found = reports.people(facts, condition(asked), columns=shows)
    names = sorted(person for person in model.everyone(kept) if model.fulfils(kept, person, asked))
    assert found.people_of() == names
    for row in found.rows:
        assert list(row[1:]) == [model.shown(kept, row[0], show) for show in shows]
    assert found.to_arrow().num_rows == len(names)


@SETTINGS
@given(RECORDS, RULES, NAMES, WINDOWS)
def test_distributions(records, rule, event, window):
    kept, facts = prepare(records, rule)
    found = reports.event_counts(facts, event, window).distribution()
    counts = {}
    for record in model.occurrences(kept, event, span(window)):
        counts[record.person] = counts.get(record.person, 0) + 1
    assert found.people == len(counts) == sum(row.people for row in found.rows)
    if counts:
        assert (found.minimum, found.maximum) == (min(counts.values()), max(counts.values()))
        assert (found.mean, found.median) == model.mean_and_median(counts.values())
    for row in found.rows:
        assert found.people_of(row) == sorted(person for person, count in counts.items() if count == row.first)
