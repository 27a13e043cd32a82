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
from kmexport.names import fold_name

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


def settings(records, person, name):
    """(time, text) of each time that a property of a person was set; those of one second in the order of arrival."""
    found = [(r.timestamp, text(v)) for r in records if r.person == person for v in own_values(r, name)]
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


def split(records, record, by):
    """What a split by a property files a record under: the person's value of that second, else the latest before."""
    return in_force(records, record.person, by, record.timestamp) if by is not None else None


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
        people, count = found.get(split(records, record, by), (set(), 0))
        found[split(records, record, by)] = (people | {record.person}, count + 1)
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
        whole, converted = found.setdefault(split(records, start, by), (set(), set()))
        whole.add(person)
        if first_ever is not None and start.timestamp < first_ever < window.end:
            converted.add(person)
    return found


def repeating_conversion(records, first, second, window=ALL_TIME, by=None):
    """value → (times of event 1, times of event 2)."""
    found = {}
    for place, event in enumerate((first, second)):
        for record in occurrences(records, event, window):
            found.setdefault(split(records, record, by), [0, 0])[place] += 1
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
            found.setdefault(split(records, start, by), {})[person] = after[0] - start.timestamp
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
                numbers, people = group(split(records, record, by))
                numbers.append(number(value))
                if population == "with_property":
                    people.add(record.person)
    if population == "everyone":
        for person in everyone(records):
            group(in_force(records, person, by, window.end - 1) if by is not None else None)[1].add(person)
    elif population != "with_property":
        for record in occurrences(records, population, window):
            group(split(records, record, by))[1].add(record.person)
    return found


def kept_for_funnel(records, person, steps, window, tz):
    """For each step the moments that count: the last of each day of the zone."""
    kept = []
    for step in steps:
        last_of = {}
        for moment in times(records, person, step, window):
            last_of[label(moment, "day", tz)] = moment
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


def funnel(records, steps, window=ALL_TIME, tz="UTC", skip_steps=False, within=None, step_within=None, by=None):
    """value → a set of persons for each step."""
    found = {}
    for person in everyone(records):
        kept = kept_for_funnel(records, person, steps, window, tz)
        reached = set(funnel_way(kept, steps, skip_steps))
        if not reached:
            continue
        entry = min(reached)
        if skip_steps and within is not None:
            reached = set()
            for start in kept[entry]:
                soon = [[m for m in moments if start <= m <= start + within] for moments in kept]
                soon[:entry] = [[] for _ in range(entry)]
                soon[entry] = [start]
                reached |= set(funnel_way(soon, steps, skip_steps))
        elif within is not None or step_within is not None:
            limits = (math.inf if limit is None else limit for limit in (within, step_within))
            reached = {len(way) - 1 for way in limited_ways(kept, steps, *limits)}
        of_entry = [r for r in occurrences(records, steps[entry], window) if r.person == person]
        record = next(r for r in of_entry if r.timestamp == kept[entry][0])
        people = found.setdefault(split(records, record, by), [set() for _ in steps])
        for place in reached:
            people[place].add(person)
    return found


def value_of(records, person, name, window, at):
    """What the person has under a name: at a moment that the window tells, or does not matter for."""
    of_person = settings(records, person, name)
    if at == "first_ever":
        chosen = of_person[:1]
    elif at == "last_ever":
        chosen = of_person[-1:]
    elif at == "first_in_window":
        chosen = [s for s in of_person if s[0] >= window.start][:1]
    else:
        chosen = [s for s in of_person if s[0] < window.end][-1:]
    return chosen[0][1] if chosen else None


def property_values(records, name, window=ALL_TIME, at="last_ever", step=None, by=None):
    """(value of the split, value) → persons."""
    found = {}
    for person in everyone(records):
        if at == "at_step":
            steps = [r for r in occurrences(records, step, window) if r.person == person]
            if not steps:
                continue
            first = min(steps, key=lambda record: record.timestamp)
            names = (split(records, first, by), in_force(records, person, name, first.timestamp))
        else:
            of_by = value_of(records, person, by, window, at) if by is not None else None
            names = (of_by, value_of(records, person, name, window, at))
        found.setdefault(names, set()).add(person)
    return found


def cohorts(records, first, second, window=ALL_TIME, every="week", tz="UTC", by=None, first_time_only=False):
    """cohort → (persons, bucket → persons)."""
    found = {}
    for person in everyone(records):
        firsts = [r for r in occurrences(records, first, window) if r.person == person]
        if not firsts:
            continue
        start = min(firsts, key=lambda record: record.timestamp)
        cohort = split(records, start, by) if by is not None else label(start.timestamp, every, tz)
        people, buckets = found.setdefault(cohort, (set(), {}))
        people.add(person)
        after = [moment for moment in times(records, person, second) if moment >= start.timestamp]
        if fold_name(first) == fold_name(second):
            after.remove(start.timestamp)
        for moment in after[:1] if first_time_only else after:
            buckets.setdefault((moment - start.timestamp) // LENGTHS[every], set()).add(person)
    return found


def segments(records, event, name, window=ALL_TIME, relative=False, by=None):
    """(value of the split, segment) → persons."""
    found = {}
    for record in occurrences(records, event, window):
        last = settings(records, record.person, name)[-1:]
        if not last or not relative or record.timestamp >= last[0][0]:
            names = (split(records, record, by), last[0][1] if last else None)
            found.setdefault(names, set()).add(record.person)
    return found
