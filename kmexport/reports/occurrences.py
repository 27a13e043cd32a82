"""The pieces of SQL that the reports share: events in a window, the period they lie in, the value they are filed under.

Every piece is the text of one query. A source of occurrences has the columns person, time, seq (the number of its
record in the order of arrival); `in_periods` adds period and until (the end of the period); `valued` adds value.
Names and moments are parameters always; nothing that comes from data stands in the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from attrs import frozen

from kmexport.reports.asking import FIRST_SECOND, LAST_SECOND, ask
from kmexport.reports.periods import Every, Period, check_every, split
from kmexport.tables import Facts
from kmexport.windows import Window, Zone, find_zone

IN_WINDOW: Final = "time >= to_timestamp($start) and time < to_timestamp($end)"

_DAY: Final = 86_400
RUNS_AT_MOST: Final = 64
PLACES: Final = 1 << 24  # of a property in its record: a number of both compares in half the time of a pair

# Who did anything, or had a property set. An alias alone makes nobody.
EVERYONE: Final = """
    select distinct person_id as person from kmexport.numbered_records where kind <> 'alias'"""


def events(parameter: str, *, in_window: bool = True) -> str:
    """The occurrences of the event whose name is the parameter."""
    limit = f"and {IN_WINDOW}" if in_window else ""
    return f"select person_id as person, time, seq from kmexport.numbered_events where name = ${parameter} {limit}"


@frozen
class Cut:
    """How a row finds its period and the period's end: two expressions over its time; None where a join has to."""

    period: str | None = None
    until: str | None = None


def in_periods(source: str, cut: Cut | None) -> str:
    """The source, each row with the number of its period and the period's end; all in one without a cut."""
    if cut is None:
        return f"select *, 0 as period, to_timestamp($end) as until from ({source})"
    if cut.period is not None:
        return f"select *, {cut.period} as period, to_timestamp({cut.until}) as until from ({source})"
    return f"""
        select o.*, p.period, p.until from ({source}) o
        asof join (
            select unnest($numbers::bigint[]) as period, to_timestamp(unnest($starts::bigint[])) as since,
                to_timestamp(unnest($ends::bigint[])) as until
        ) p on o.time >= p.since"""


def firsts(source: str, keys: str = "person, period, until", *, numbered: bool) -> str:
    """The first row of each key; of several in its second the one that arrived first, if it matters which."""
    if not numbered:
        return f"select {keys}, min(time) as time from ({source}) group by {keys}"
    return f"select {keys}, min(time) as time, arg_min(seq, (time, seq)) as seq from ({source}) group by {keys}"


def settings() -> str:
    """Each moment at which the property $by was set, and its text; of several in a second the one that arrived last."""
    return f"""
        select person_id as person, time, arg_max(text, seq * {PLACES} + place) as text
        from kmexport.numbered_properties where name = $by and text is not null group by person_id, time"""


def valued(source: str, *, by: bool) -> str:
    """The source, each row with its value of the property $by: its record's own, else the person's value in force."""
    if not by:
        return f"select *, null::varchar as value from ({source})"
    return f"""
        select o.*, coalesce(own.text, in_force.text) as value from ({source}) o
        left join (
            select seq, arg_max(text, place) as text from kmexport.numbered_properties
            where name = $by and text is not null group by seq
        ) own on o.seq = own.seq
        asof left join ({settings()}) in_force on o.person = in_force.person and o.time >= in_force.time"""


def cut_into_periods(
    facts: Facts, source: str, params: dict[str, object], *, window: Window | None, every: Every | None, tz: Zone
) -> tuple[list[Period], Cut | None]:
    """The periods of the window, put into the params; without a window from the source's first row to its last."""
    find_zone(tz)
    if every is None:
        return [], None
    check_every(every)
    if window is None:
        query = f"select epoch_us(min(time)) // 1000000, epoch_us(max(time)) // 1000000 from ({source})"
        [(first, last)] = ask(facts, query, params)
        window = Window(first, last + 1) if first is not None else Window(0, 0)
    periods = split(window, every, tz)
    return periods, _cut(periods, params)


def cut_into_days(facts: Facts, tz: Zone, source: str, params: dict[str, object]) -> Cut:
    """The zone's days in which the source has rows, put into the params.

    Only those: the clock of one phone may be thousands of years away.
    """
    find_zone(tz)
    query = f"select distinct epoch_us(time) // 86400000000 as day from ({source}) order by day"
    days: list[Period] = []
    for stretch in _stretches([day for (day,) in ask(facts, query, params)]):
        days += split(stretch, "day", tz)
    if days:  # the first days of the year 1 have no local date everywhere
        days[0] = Period(days[0].label, FIRST_SECOND, days[0].end)
    return _cut(days, params)


def _stretches(days: Iterable[int]) -> Iterator[Window]:
    """Windows around days of UTC, a day wider on either side, so that every local day that has a row is whole."""
    start = end = None
    for day in days:
        first = max((day - 1) * _DAY, FIRST_SECOND + 2 * _DAY)
        if start is None or end is None or first > end:
            if start is not None and end is not None:
                yield Window(start, end)
            start = first
        end = min((day + 2) * _DAY, LAST_SECOND)
    if start is not None and end is not None:
        yield Window(min(start, end), end)


def _cut(periods: Sequence[Period], params: dict[str, object]) -> Cut:
    """The periods as params, and the shortest way to them.

    Days have 24 hours but for one or two a year, so a few runs of equal lengths say all. With an expression over them a
    funnel of 1 M rows and 90 days takes a fifth less time than with a join.
    """
    params["numbers"] = list(range(len(periods)))
    params["starts"] = [period.start for period in periods]
    params["ends"] = [period.end for period in periods]
    runs = _runs(periods)
    if not 0 < len(runs) <= RUNS_AT_MOST:
        return Cut()
    number, until = "case", "case"
    for first, start, length, end in runs:
        nth = f"(epoch_us(time) - {start * 1_000_000}) // {length * 1_000_000}"
        number += f" when time < to_timestamp({end}) then {first} + {nth}"
        until += f" when time < to_timestamp({end}) then {start} + {length} * ({nth} + 1)"
    return Cut(f"{number} end", f"{until} end")


def _runs(periods: Sequence[Period]) -> list[tuple[int, int, int, int]]:
    """Periods of one length that follow one another: the number of the first, its start, the length, the last's end."""
    runs: list[tuple[int, int, int, int]] = []
    for number, period in enumerate(periods):
        length = period.end - period.start
        if runs and runs[-1][2:] == (length, period.start):
            runs[-1] = (*runs[-1][:3], period.end)
        else:
            runs.append((number, period.start, length, period.end))
    return runs
