"""The vendor's report rules as literal as their text: loops over a list of records, slow, and easy to check by eye.

Records come after `merge_identities` and `drop_duplicates`. Results are plain: sets of persons, numbers, dicts.
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from kmexport import Alias, Event, Window
from kmexport.format.names import fold_name

ALL_TIME = Window(-(10**12), 10**12)
QUARTER = 900
LENGTHS = {"hour": 3_600, "day": 86_400, "week": 7 * 86_400, "month": 30 * 86_400}


def everyone(records):
    return {record.person for record in records if not isinstance(record, Alias)}


def occurrences(records, event, window=ALL_TIME):
    """The records of an event in a window, in the order of their arrival."""
    return [
        r for r in records if isinstance(r, Event) and fold_name(r.name) == fold_name(event) and r.timestamp in window
    ]


def times(records, person, event, window=ALL_TIME):
    return sorted(r.timestamp for r in occurrences(records, event, window) if r.person == person)


def own_values(record, name):
    """The values that a record itself has under a name, in their order: one, but for two spellings in one record."""
    if isinstance(record, Alias):
        return []
    return [v for key, v in record.properties.items() if fold_name(key) == fold_name(name) and v is not None]


def settings(records, person, name, as_shown=True):
    """(time, text) of each time that a property of a person was set; those of one second in the order of arrival."""
    found = [
        (r.timestamp, first_spelling(records, name, v) if as_shown else text(v))
        for r in records
        if r.person == person
        for v in own_values(r, name)
    ]
    return sorted(found, key=lambda setting: setting[0])


def text(value):
    if isinstance(value, str | Decimal):  # a Decimal is written with the digits that it was made of
        return str(value)
    return json.dumps(value, separators=(",", ":"))


def number(value):
    try:
        found = (
            float(value) if isinstance(value, str | int | float | Decimal) and not isinstance(value, bool) else math.nan
        )
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def in_force(records, person, name, moment):
    """The latest set at or before the moment; of several in its second the one that came last."""
    before = [value for at, value in settings(records, person, name) if at <= moment]
    return before[-1] if before else None


def by_touch(by):
    return by is not None and by[1] == "last_touch"


def first_spelling(records, name, value):
    """A value as text; a JSON number as the first equal one was sent."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return text(value)
    for record in records:
        for other in own_values(record, name):
            is_number = not isinstance(other, bool) and isinstance(other, int | float | Decimal)
            if is_number and Decimal(text(other)) == Decimal(text(value)):
                return text(other)
    raise AssertionError


def split(records, record, by, window=ALL_TIME):
    """What `by`, a pair of property and moment, files a record under. By last touch: the value at the record."""
    return filed(records, record.person, by, record.timestamp, window)


def filed(records, person, by, moment, window):
    """The person's value at a moment (of its second, else the latest before), or the one that `by` chooses."""
    if by is None:
        return None
    name, at = by
    if at in ("last_touch", "at_step"):
        return in_force(records, person, name, moment) if moment is not None else None
    return value_of(records, person, name, window, at)


def label(timestamp, every, tz):
    """The calendar period of a zone that a moment lies in."""
    local = datetime.fromtimestamp(timestamp, ZoneInfo(tz))
    if every == "hour":
        return f"{local:%Y-%m-%d %H}:00{local.isoformat()[19:]}"
    if every == "week":
        return (local.date() - timedelta(days=local.weekday())).isoformat()
    return local.date().isoformat() if every == "day" else local.date().isoformat()[:7]


def periods(window, every, tz):
    """The windows that a window is cut into, each under its label; an empty one into none."""
    cut = {}
    if window.start == window.end:
        return cut
    for quarter in range(window.start // QUARTER, -(-window.end // QUARTER)):  # at one of them a zone's clock changes
        cut.setdefault(label(quarter * QUARTER, every, tz), []).append(quarter * QUARTER)
    return {name: Window(quarters[0], quarters[-1] + QUARTER) & window for name, quarters in cut.items()}


# The reports. `by=None` gives one group, under the value None.


def event_counts(records, event, window=ALL_TIME, by=None):
    """value → (persons, times)."""
    found = {}
    for record in occurrences(records, event, window):
        people, count = found.get(split(records, record, by, window), (set(), 0))
        found[split(records, record, by, window)] = (people | {record.person}, count + 1)
    return found


def conversion(records, first, second, window=ALL_TIME, by=None):
    """value → (persons of the denominator, persons of the numerator)."""
    found = {}
    for person in everyone(records):
        firsts = [r for r in occurrences(records, first, window) if r.person == person]
        if not firsts:
            continue
        start = min(firsts, key=lambda record: record.timestamp)
        seconds = times(records, person, second)
        first_ever = seconds[0] if seconds else None
        if first_ever is not None and first_ever < start.timestamp:
            continue
        value = split(records, start, by, window)
        is_converted = first_ever is not None and start.timestamp < first_ever < window.end
        if is_converted and by_touch(by) and filed(records, person, by, first_ever, window) != value:
            continue
        whole, converted = found.setdefault(value, (set(), set()))
        whole.add(person)
        if is_converted:
            converted.add(person)
    return found


def repeating_conversion(records, first, second, window=ALL_TIME, by=None):
    """value → (times of event 1, times of event 2)."""
    found = {}
    for place, event in enumerate((first, second)):
        for record in occurrences(records, event, window):
            found.setdefault(split(records, record, by, window), [0, 0])[place] += 1
    return {value: tuple(counts) for value, counts in found.items()}


def time_between(records, first, second, window=ALL_TIME, first_ever=True, by=None):
    """value → {person: seconds}."""
    found = {}
    for person in everyone(records):
        allowed = ALL_TIME if first_ever else window
        firsts = [r for r in occurrences(records, first, allowed) if r.person == person]
        if not firsts:
            continue
        start = min(firsts, key=lambda record: record.timestamp)
        after = [moment for moment in times(records, person, second) if moment > start.timestamp]
        if after and after[0] in window:
            if by_touch(by) and filed(records, person, by, after[0], window) != split(records, start, by, window):
                continue
            found.setdefault(split(records, start, by, window), {})[person] = after[0] - start.timestamp
    return found


def mean_and_median(seconds):
    return (statistics.fmean(seconds), statistics.median(seconds)) if seconds else (None, None)


def property_total(records, name, window=ALL_TIME, event=None, population="with_property", by=None):
    """value → (numbers, persons of the population)."""
    found = {}

    def group(value):
        return found.setdefault(value, ([], set()))

    did = {(r.person, r.timestamp) for r in occurrences(records, event)} if event is not None else None
    members = {r.person for r in occurrences(records, population, window)}
    for record in records:
        if record.timestamp not in window or (did is not None and (record.person, record.timestamp) not in did):
            continue
        if population not in ("with_property", "everyone") and record.person not in members:
            continue
        for value in own_values(record, name):
            if number(value) is not None:
                numbers, people = group(split(records, record, by, window))
                numbers.append(number(value))
                if population == "with_property":
                    people.add(record.person)
    if population == "everyone":
        for person in everyone(records):
            group(filed(records, person, by, window.end - 1, window))[1].add(person)
    elif population != "with_property":
        for record in occurrences(records, population, window):
            group(split(records, record, by, window))[1].add(record.person)
    return found


def kept_for_funnel(records, person, steps, window, tz, occurrences_="last_of_day"):
    """For each step the moments that count: the last of each day of the zone, or all."""
    kept = []
    for step in steps:
        last_of = {}
        for moment in times(records, person, step, window):
            last_of[label(moment, "day", tz) if occurrences_ == "last_of_day" else moment] = moment
        kept.append(sorted(last_of.values()))
    return kept


def funnel_way(kept, steps, skip_steps):
    """step → the moment at which a person reached it."""
    way = {}
    for place, moments in enumerate(kept):
        if not skip_steps and place and place - 1 not in way:
            break
        since = way[max(way)] if way else -math.inf
        same = [way[other] for other in way if fold_name(steps[other]) == fold_name(steps[place])]
        follow = [m for m in moments if m >= since and all(m > other for other in same)]
        if follow:
            way[place] = follow[0]
    return way


def limited_ways(kept, steps, within, step_within):
    """Every way through the first steps that the limits allow."""
    for length in range(1, len(steps) + 1):
        for way in itertools.product(*kept[:length]):
            gaps = [b - a for a, b in itertools.pairwise(way)]
            pairs = itertools.combinations(range(length), 2)
            is_other = all(way[a] != way[b] for a, b in pairs if fold_name(steps[a]) == fold_name(steps[b]))
            if all(0 <= gap <= step_within for gap in gaps) and way[-1] - way[0] <= within and is_other:
                yield way


def funnel(
    records,
    steps,
    window=ALL_TIME,
    tz="UTC",
    skip_steps=False,
    within=None,
    step_within=None,
    by=None,
    at=None,
    counting="last_of_day",
):
    """value → for each step the persons, and how often each did its event. `at`: the place of the step of `by`."""
    found = {}
    for person in everyone(records):
        kept = kept_for_funnel(records, person, steps, window, tz, counting)
        way = funnel_way(kept, steps, skip_steps)
        if not way:
            continue
        entry = min(way)
        if skip_steps and within is not None:
            ways = []
            for start in kept[entry]:
                soon = [[m for m in moments if start <= m <= start + within] for moments in kept]
                soon[:entry] = [[] for _ in range(entry)]
                soon[entry] = [start]
                ways.append(funnel_way(soon, steps, skip_steps))
            way = {step: min(way[step] for way in ways if step in way) for step in set().union(*ways)}
        elif within is not None or step_within is not None:
            limits = (math.inf if limit is None else limit for limit in (within, step_within))
            way = {}
            for one in limited_ways(kept, steps, *limits):
                way[len(one) - 1] = min(one[-1], way.get(len(one) - 1, math.inf))
        value = filed(records, person, by, way.get(len(steps) - 1 if at is None else at), window)
        people = found.setdefault(value, [{} for _ in steps])
        for place in way:
            people[place][person] = len(times(records, person, steps[place], window))
    return found


def value_of(records, person, name, window, at):
    """What the person has under a name: at a moment that the window tells, or does not matter for."""
    of_person = settings(records, person, name)
    if at == "first_ever":
        chosen = of_person[:1]
    elif at == "last_ever":
        chosen = of_person[-1:]
    elif at == "first_in_window":
        chosen = [s for s in of_person if s[0] in window][:1]
    else:
        chosen = [s for s in of_person if s[0] in window][-1:]
    return chosen[0][1] if chosen else None


def property_values(records, name, window=ALL_TIME, at="last_ever", step=None, by=None):
    """(value of the split, value) → persons."""
    found = {}
    for person in everyone(records):
        moment = None
        if step is not None:
            moment = min(times(records, person, step, window), default=None)
            if moment is None:
                continue
        names = (filed(records, person, by, moment, window), filed(records, person, (name, at), moment, window))
        found.setdefault(names, set()).add(person)
    return found


def groups(window, group, tz):
    """The windows of cohorts under their labels: each begins so many days, weeks or months after the first day."""
    first = datetime.fromtimestamp(window.start, ZoneInfo(tz)).date()
    cut = {}
    for quarter in range(window.start // QUARTER, -(-window.end // QUARTER)):
        day = datetime.fromtimestamp(quarter * QUARTER, ZoneInfo(tz)).date()
        if group == "month":
            number = (day.year - first.year) * 12 + day.month - first.month
            number -= day < months_after(first, number)
            begun = months_after(first, number)
        else:
            length = 1 if group == "day" else 7
            begun = first + timedelta(days=(day - first).days // length * length)
        cut.setdefault(begun.isoformat(), []).append(quarter * QUARTER)
    return {name: Window(quarters[0], quarters[-1] + QUARTER) & window for name, quarters in cut.items()}


def months_after(first, number):
    year, month = divmod(first.year * 12 + first.month - 1 + number, 12)
    day = first.day
    while True:
        try:
            return first.replace(year=year, month=month + 1, day=day)
        except ValueError:
            day -= 1


def cohorts(
    records,
    first,
    second,
    window=ALL_TIME,
    group="week",
    bucket=None,
    tz="UTC",
    by=None,
    first_time_only=False,
):
    """cohort → (persons, bucket → persons). Without a window, the first day is that of the earliest event 1."""
    found = {}
    if window == ALL_TIME and by is None:
        moments = [r.timestamp for r in occurrences(records, first)]
        day = datetime.fromtimestamp(min(moments), ZoneInfo(tz)).date()
        window = Window.days(day, datetime.fromtimestamp(max(moments), ZoneInfo(tz)).date(), tz)
    cut = groups(window, group, tz) if by is None else {}
    for person in everyone(records):
        start = min(times(records, person, first, window), default=None)
        if start is None:
            continue
        cohort = filed(records, person, by, start, window)
        if by is None:
            [cohort] = [name for name, period in cut.items() if start in period]
        people, buckets = found.setdefault(cohort, (set(), {}))
        people.add(person)
        after = [moment for moment in times(records, person, second) if moment >= start]
        if fold_name(first) == fold_name(second):
            after.remove(start)
        for moment in after[:1] if first_time_only else after:
            buckets.setdefault((moment - start) // LENGTHS[bucket or group], set()).add(person)
    return found


def segments(records, event, name, window=ALL_TIME, relative=False, by=None):
    """(value of the split, segment) → persons."""
    found = {}
    for record in occurrences(records, event, window):
        last = settings(records, record.person, name)[-1:]
        if not last or not relative or record.timestamp >= last[0][0]:
            names = (split(records, record, by, window), last[0][1] if last else None)
            found.setdefault(names, set()).add(record.person)
    return found


def occurrences_before(records, event, conversion, window=ALL_TIME, by=None):
    """value → (persons, times of the event, conversions)."""
    found = {}
    for person in everyone(records):
        converted = times(records, person, conversion, window)
        if not converted:
            continue
        before = [moment for moment in times(records, person, conversion) if moment < window.start]
        since = before[-1] if before else -math.inf
        moments = [(moment, False) for moment in converted]
        here = [moment for moment in times(records, person, event) if since < moment <= converted[-1]]
        moments += [(min(other for other in converted if other >= moment), True) for moment in here]
        for moment, is_event in moments:
            people, counts = found.setdefault(filed(records, person, by, moment, window), (set(), [0, 0]))
            people.add(person)
            counts[0 if is_event else 1] += 1
    return {value: (people, *counts) for value, (people, counts) in found.items()}


def revenue(records, name, window=ALL_TIME, churn_after=30 * 86_400, churn_event=None, by=None):
    """value → (numbers, persons with a value, paying, gained, lost)."""
    found = {}
    last = max(r.timestamp for r in records if not isinstance(r, Alias))
    for person in everyone(records):
        values = [
            (r.timestamp, number(v))
            for r in records
            if r.person == person
            for v in own_values(r, name)
            if number(v) is not None
        ]
        numbers, have, paying, gained, lost = found.setdefault(
            filed(records, person, by, None, window), ([], set(), set(), set(), set())
        )
        here = [value for at, value in values if at in window]
        numbers += here
        if here:
            have.add(person)
        payments = sorted(at for at, value in values if value > 0)
        if any(at == payments[0] and at in window for at in payments):
            gained.add(person)
        before = [at for at in payments if at < window.end]
        if not before:
            continue
        churned = []
        if churn_after is not None and before[-1] + churn_after < min(window.end, last):
            churned.append(before[-1] + churn_after)
        if churn_event is not None:
            left = [at for at in times(records, person, churn_event) if at < window.end]
            churned += [at for at in left[-1:] if at >= before[-1]]
        if not churned:
            paying.add(person)
        elif min(churned) >= window.start:
            lost.add(person)
    return found


def shown(records, person, show):
    """The cell of a column of people search."""
    window = ALL_TIME if show.window is None else show.window
    if show.what in ("first_time", "last_time", "times"):
        moments = times(records, person, show.name, window)
        if show.what == "times":
            return len(moments)
        return (min if show.what == "first_time" else max)(moments, default=None)
    values = [setting for setting in settings(records, person, show.name, as_shown=False) if setting[0] in window]
    if not values:
        return None
    return values[0 if show.what.startswith("first") else -1][1 if show.what.endswith("value") else 0]


def fulfils(records, person, asked):
    """Whether a person fulfils a condition, told as nested tuples."""
    match asked:
        case ("did", event, lowest, more, where, window):
            count = len(moments_of(records, person, ("did", event, where), window))
            return lowest <= count and (more is None or count <= lowest + more)
        case ("has", name, tests, window):
            return bool(moments_of(records, person, ("has", name, tests), window))
        case ("in_order", steps, window):
            return bool(steps_in_order(records, person, steps, window))
        case ("not", inner):
            return not fulfils(records, person, inner)
        case ("and", one, other):
            return fulfils(records, person, one) and fulfils(records, person, other)
        case ("or", one, other):
            return fulfils(records, person, one) or fulfils(records, person, other)


def moments_of(records, person, asked, window):
    """The seconds in which a person did an event, or was given a value, in their order."""
    window = ALL_TIME if window is None else window
    match asked:
        case ("did", event, where):
            given = None if where is None else {at for at, _ in settings(records, person, where)}
            return [at for at in times(records, person, event, window) if given is None or at in given]
        case ("has", name, tests):
            return [
                at for at, value in settings(records, person, name, as_shown=False)
                if at in window and all(TESTS[test](value, text_) for test, text_ in tests.items())
            ]  # fmt: skip


def steps_in_order(records, person, steps, window):
    """Every choice of moments, one a step, that fulfils the steps one after the other."""
    ways = [()]
    for step in steps:
        name = step[0], fold_name(step[1])
        kind, named, *_ = step
        lowest = step[2] if kind == "did" else 1
        moments = moments_of(records, person, (kind, named, step[-1]), window)
        longer = []
        for way in ways:
            since = max((at for _, at in way), default=-math.inf)
            same = max((at for other, at in way if other == name), default=-math.inf)
            after = [at for at in moments if at >= since and at > same]
            longer += [(*way, (name, at)) for at in after[lowest - 1 :]]
        ways = longer
    return ways


TESTS = {
    "containing": lambda value, text_: text_ in value,
    "equal_to": lambda value, text_: value == text_,
    "beginning": lambda value, text_: value.startswith(text_),
    "ending": lambda value, text_: value.endswith(text_),
}
