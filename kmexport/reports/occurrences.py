"""The pieces of SQL that the reports share: events in a window, the period they lie in, the value they are filed under.

Every piece is the text of one query. A source of occurrences has the columns person, time, seq (the number of its
record in the order of arrival); `in_periods` adds period and until (the end of the period); `valued` adds value.
Names and moments are parameters always; nothing that comes from data stands in the text.
"""

from __future__ import annotations

from typing import Final, Literal

from kmexport.reports.cuts import Cut
from kmexport.tables.rules import text_of

IN_WINDOW: Final = "time >= to_timestamp($start) and time < to_timestamp($end)"

LAST_SECOND_OF_PERIOD: Final = "to_timestamp(epoch_us(until) // 1000000 - 1)"

# A moment and an order within it in one number. A comparison of it takes half the time of one of a pair of columns.
_MOMENT: Final = f"epoch_us(time)::hugeint * {1 << 64}"
_BEHIND_ALL: Final = f"{_MOMENT} + {(1 << 64) - 1}"
_ARRIVAL: Final = f"{_MOMENT} + seq"
_SETTING: Final = f"{_MOMENT} + (seq * {1 << 24} + place)"

# Who did anything, or had a property set. An alias alone makes nobody.
EVERYONE: Final = """
    select distinct person_id as person from kmexport.numbered_records where kind <> 'alias'"""


def events(parameter: str, *, in_window: bool = True) -> str:
    """The occurrences of the event whose name is the parameter."""
    limit = f"and {IN_WINDOW}" if in_window else ""
    return f"select person_id as person, time, seq from kmexport.numbered_events where name = ${parameter} {limit}"


def in_periods(source: str, cut: Cut | None) -> str:
    """The source, each row with the number of its period and the period's end; all in one without a cut.

    A row that lies in no period is left out.
    """
    if cut is None:
        return f"select *, 0 as period, to_timestamp($end) as until from ({source})"
    if cut.period is not None:
        cut_up = f"select *, {cut.period} as period, to_timestamp({cut.until}) as until from ({source})"
        return f"select * from ({cut_up}) where period is not null"
    joined = f"({source}) o asof join ({cut.periods()}) p on o.time >= p.since"
    return f"select o.*, p.period, p.until from {joined} where o.time < p.until"


def firsts(source: str, keys: str = "person, period, until", *, numbered: bool) -> str:
    """The first row of each key; of several in its second the one that arrived first, if it matters which."""
    if not numbered:
        return f"select {keys}, min(time) as time from ({source}) group by {keys}"
    return f"select {keys}, min(time) as time, arg_min(seq, {_ARRIVAL}) as seq from ({source}) group by {keys}"


def settings(parameter: str) -> str:
    """Each time that a property was set: person, time, seq, value (JSON), and their order in one number."""
    # The values are compared as they are written: only those that are shown are turned into text.
    return f"""
        select person_id as person, time, seq, value, {_SETTING} as setting
        from kmexport.numbered_properties where name = ${parameter} and value <> 'null'"""


def chosen(parameter: str, which: Literal["first", "last"], condition: str = "true") -> str:
    """The first or the last value of each person: person, time, text; of several in a second by their arrival."""
    choose, time = ("arg_min", "min") if which == "first" else ("arg_max", "max")
    return f"""
        select person, {time}(time) as time, {text_of(f"{choose}(value, setting)")} as text
        from ({settings(parameter)}) where {condition} group by person"""


def in_force(source: str, parameter: str) -> str:
    """The source, each row with the person's latest setting at or before it: set_value (JSON), set_at, set_by."""
    return f"""
        select o.* exclude (moment), s.value as set_value, s.time as set_at, s.seq as set_by
        from (select *, {_BEHIND_ALL} as moment from ({source})) o
        asof left join ({settings(parameter)}) s on o.person = s.person and o.moment >= s.setting"""


def next_set(source: str, parameter: str) -> str:
    """The source, each row with the person's first setting at or after it: set_value (JSON), set_at, set_by."""
    return f"""
        select o.* exclude (moment), s.value as set_value, s.time as set_at, s.seq as set_by
        from (select *, {_MOMENT} as moment from ({source})) o
        asof left join ({settings(parameter)}) s on o.person = s.person and o.moment <= s.setting"""


def valued(source: str, *, by: bool) -> str:
    """The source, each row with the person's value of the property $by: of its second, else the latest before."""
    if not by:
        return f"select *, null::varchar as value from ({source})"
    value = text_of("set_value")
    return f"select * exclude (set_value, set_at, set_by), {value} as value from ({in_force(source, 'by')})"
