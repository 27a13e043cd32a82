"""The pieces of SQL that the reports share: events in a window, the period they lie in, values that were set.

Every piece is the text of one query. A source of occurrences has the columns person and time, and seq (the number of
its record in the order of arrival) where it matters; `in_periods` adds period and until (the end of the period).
Names and moments are parameters always; nothing that comes from data stands in the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from kmexport.reports.cuts import Cut

IN_WINDOW: Final = "time >= to_timestamp($start) and time < to_timestamp($end)"

LAST_SECOND_OF_PERIOD: Final = "to_timestamp(epoch_us(until) // 1000000 - 1)"

# A moment and an order within it in one number. A comparison of it takes half the time of one of a pair of columns.
_MOMENT: Final = f"epoch_us(time)::hugeint * {1 << 64}"
_BEHIND_ALL: Final = f"{_MOMENT} + {(1 << 64) - 1}"
_ARRIVAL: Final = f"{_MOMENT} + seq"
SETTING: Final = f"{_MOMENT} + (seq * {1 << 24} + place)"

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


def firsts(source: str, keys: str = "person, period, until", *, numbered: bool = False) -> str:
    """The first row of each key; of several in its second the one that arrived first, if it matters which."""
    if not numbered:
        return f"select {keys}, min(time) as time from ({source}) group by {keys}"
    return f"select {keys}, min(time) as time, arg_min(seq, {_ARRIVAL}) as seq from ({source}) group by {keys}"


def settings(parameter: str) -> str:
    """Each time that a property was set: person, time, value (JSON), and their order in one number."""
    # The values are compared as they are written: only those that are shown are turned into text.
    return f"""
        select person_id as person, time, value, {SETTING} as setting
        from kmexport.numbered_properties where name = ${parameter} and value <> 'null'"""


def chosen(settings_: str, which: Literal["first", "last"], keys: Sequence[str] = ("person",)) -> str:
    """The first or the last value of each person, or of each of the keys: the keys, time, set_value (JSON)."""
    choose, time = ("arg_min", "min") if which == "first" else ("arg_max", "max")
    names = ", ".join(keys)
    found = f"{time}(time) as time, {choose}(value, setting) as set_value"
    return f"select {names}, {found} from ({settings_}) group by {names}"


def in_force(source: str, settings_: str) -> str:
    """The source, each row with the person's latest setting in its second or before it, as set_value (JSON)."""
    return f"""
        select o.* exclude (moment), s.value as set_value
        from (select *, {_BEHIND_ALL} as moment from ({source})) o
        asof left join ({settings_}) s on o.person = s.person and o.moment >= s.setting"""
