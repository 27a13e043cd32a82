"""The pieces of SQL that the reports share: events in a window, their period, values that were set, and amounts.

Every piece is the text of one query. A source of occurrences has the columns person and time, and seq (the number of
its record in the order of arrival) where it matters; `in_periods` adds period and until (the end of the period).
Names and moments are parameters always; nothing that comes from data stands in the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from kmexport.reports.periods import PeriodLookup
from kmexport.reports.query import ask
from kmexport.reports.results import counted
from kmexport.tables import Facts

IN_WINDOW: Final = "time >= to_timestamp($start) and time < to_timestamp($end)"

LAST_SECOND_OF_PERIOD: Final = "to_timestamp(epoch_us(until) // 1000000 - 1)"

# A moment and an order within it in one number. A comparison of it takes half the time of one of a pair of columns.
MOMENT: Final = f"epoch_us(time)::hugeint * {1 << 64}"
_BEHIND_ALL: Final = f"{MOMENT} + {(1 << 64) - 1}"
_ARRIVAL: Final = f"{MOMENT} + seq"
ASSIGNED: Final = f"{MOMENT} + (seq * {1 << 24} + place)"

# Who did anything, or had a property set. An alias alone makes nobody.
EVERYONE: Final = """
    select distinct coalesce(person, identity) as person
    from (select distinct identity from kmexport.records where alias is null)
    left join kmexport.aliased using (identity)"""


def events(parameter: str, *, in_window: bool = True) -> str:
    """Return the occurrences of the event whose name is the parameter."""
    limit = f"and {IN_WINDOW}" if in_window else ""
    return f"select person_id as person, time, seq from kmexport.numbered_events where name = ${parameter} {limit}"


def in_periods(source: str, lookup: PeriodLookup | None) -> str:
    """Return the source, each row with the number of its period and the period's end; all in one without a lookup.

    A row that lies in no period is left out.
    """
    if lookup is None:
        return f"select *, 0 as period, to_timestamp($end) as until from ({source})"
    if lookup.period is not None:
        numbered = f"select *, {lookup.period} as period, to_timestamp({lookup.until}) as until from ({source})"
        return f"select * from ({numbered}) where period is not null"
    joined = f"({source}) o asof join ({lookup.periods()}) p on o.time >= p.since"
    return f"select o.*, p.period, p.until from {joined} where o.time < p.until"


def firsts(source: str, keys: str = "person, period, until", *, numbered: bool = False) -> str:
    """Return the first row of each key; of several in its second the one that arrived first, if it matters which."""
    if not numbered:
        return f"select {keys}, min(time) as time from ({source}) group by {keys}"
    return f"select {keys}, min(time) as time, arg_min(seq, {_ARRIVAL}) as seq from ({source}) group by {keys}"


def assignments(parameter: str) -> str:
    """Return each time that a property was set: person, time, value (JSON), and their order as one number, assigned."""
    # The values are compared as they are written: only those that are shown are turned into text.
    return f"""
        select person_id as person, time, value, {ASSIGNED} as assigned
        from kmexport.numbered_properties where name = ${parameter}"""


def first_or_last(assignments_: str, which: Literal["first", "last"], keys: Sequence[str] = ("person",)) -> str:
    """Return the first or the last value of each person, or of each of the keys: the keys, time, set_value (JSON)."""
    choose, time = ("arg_min", "min") if which == "first" else ("arg_max", "max")
    names = ", ".join(keys)
    found = f"{time}(time) as time, {choose}(value, assigned) as set_value"
    return f"select {names}, {found} from ({assignments_}) group by {names}"


def with_last_value(source: str, assignments_: str) -> str:
    """Return the source, each row with the person's latest value in its second or before it, as set_value (JSON)."""
    return f"""
        select o.* exclude (moment), s.value as set_value
        from (select *, {_BEHIND_ALL} as moment from ({source})) o
        asof left join ({assignments_}) s on o.person = s.person and o.moment >= s.assigned"""


_CORE: Final = re.compile("[0-9](?:[0-9.,'\u2019 \u00a0\u202f]*[0-9])?")
_DECIMALS: Final = re.compile(r"(.*)([.,])(\d{1,2})")
_MINUS: Final = "\u2212-"
_AFFIX: Final = f"[^0-9 .,'\u2019()+{_MINUS}]{{0,5}}"
_SIGN: Final = f"[+{_MINUS}]?"
_PLAIN: Final = r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*"
_EXAMPLES: Final = 3
_EXAMPLE_LENGTH: Final = 24


def reading_of(written: object) -> dict[str, object]:
    """Return the parameters by which texts are read as amounts, of an example such as "$1,000.00" or "1.000,00 €".

    Raises ValueError where the example leaves open which of its signs is the decimal one.

    >>> reading = reading_of("1.463,00")
    >>> reading["group_sign"], reading["decimal_sign"]
    ('.', ',')
    """
    if written is None:
        return {}
    how = 'written is an amount with its decimals as your export writes it: "$1,000.00" or "1.000,00"'
    if not isinstance(written, str):
        msg = f"{how}, not {written!r}"
        raise TypeError(msg)
    core = _CORE.search(written)
    parts = _DECIMALS.fullmatch(core[0]) if core else None
    groups = set(re.sub(r"\d", "", parts[1])) if parts else set()
    if parts is None or len(groups) > 1 or parts[2] in groups:
        msg = f"{how}, not {written!r}"
        raise ValueError(msg)
    decimal, group = parts[2], "".join(groups)
    whole = rf"[0-9]{{1,3}}(?:{re.escape(group)}[0-9]{{3}})+|[0-9]+" if group else "[0-9]+"
    pattern = (
        rf"^\s*(\(?{_SIGN}\s*{_AFFIX}\s*{_SIGN})\s*({whole})({re.escape(decimal)}[0-9]+)?\s*{_AFFIX}\s*(\)?{_SIGN})\s*$"
    )
    if not re.search(pattern, written):
        msg = f"{how}, not {written!r}"
        raise ValueError(msg)
    return {"amount_pattern": pattern, "group_sign": group, "decimal_sign": decimal}


def amounts(
    params: Mapping[str, object], *, event: bool = False, numbers_only: bool = True, in_window: bool = True
) -> str:
    """Return the amounts in the window, or of all time: person, time, seq, number (null where it is not one), text.

    With `event` those of the seconds in which the person did $event.
    """
    number = _AS_WRITTEN if "amount_pattern" in params else "number"
    did = "(select person_id as person, time from kmexport.numbered_events where name = $event)"
    return f"""
        with found as materialized (
            select person_id as person, time, seq, {number} as number, text from kmexport.numbered_properties
            where name = $property {f"and {IN_WINDOW}" if in_window else ""}
        )
        select * from found {f"semi join {did} using (person, time)" if event else ""}
        {"where number is not null" if numbers_only else ""}"""


def _group(number: int) -> str:
    return f"regexp_extract(text, $amount_pattern, {number})"


_AS_WRITTEN: Final = f"""
    case when not starts_with(value, '"') then number
        when regexp_matches(text, $amount_pattern) then try_cast(
            case when regexp_matches({_group(1)} || {_group(4)}, '[({_MINUS}]') then '-' else '' end
            || case when $group_sign = '' then {_group(2)} else replace({_group(2)}, $group_sign, '') end
            || replace({_group(3)}, $decimal_sign, '.') as double)
    end"""


def check_amounts(facts: Facts, property: str, source: str, params: Mapping[str, object]) -> None:  # noqa: A002
    """Raise a ValueError where no value of a property is a number. `source` gives all its amounts, of all time."""
    if ask(facts, f"select 1 from ({source}) where number is not null or {_IS_HUGE} limit 1", params):
        return
    found = ask(facts, f"select text from ({source}) limit 1", params)
    example = f" (one is {_shortened(found[0][0])!r})" if found else ""
    way = 'property_values() counts texts, and written="$1,000.00" reads amounts that are written so'
    msg = f"no value of {property!r} is a number{example}: {way}"
    raise ValueError(msg)


_IS_HUGE: Final = f"(number is null and regexp_full_match(text, '{_PLAIN}'))"


def count_others(
    facts: Facts,
    property: str,  # noqa: A002
    source: str,
    params: Mapping[str, object],
) -> tuple[int, tuple[str, ...]]:
    """Count the values that are not numbers, with the note about them. OverflowError for one beyond every float."""
    query = f"""
        select text, count(*) as times, sum(count(*)) over (), {_IS_HUGE} as is_huge
        from ({source}) where number is null group by text, is_huge order by is_huge desc, times desc, text
        limit {_EXAMPLES}"""
    found = ask(facts, query, params)
    if not found:
        return 0, ()
    if found[0][3] and "amount_pattern" not in params:
        msg = f"the value {_shortened(found[0][0])} of {property!r} is so huge that no float holds it: leave it out"
        raise OverflowError(msg)
    count = int(found[0][2])
    examples = ", ".join(_shortened(text) or '""' for text, *_ in found)
    more = " …" if count > sum(times for _, times, *_ in found) else ""
    may_be_amounts = "amount_pattern" not in params and any(character.isdigit() for character in examples)
    way = ': written="$1,000.00" reads amounts in that form' if may_be_amounts else ""
    return count, (f"{counted(count, 'value is', 'values are')} no number ({examples}{more}){way}",)


def _shortened(text: object) -> str:
    shown = str(text)
    return shown if len(shown) <= _EXAMPLE_LENGTH else f"{shown[: _EXAMPLE_LENGTH - 1]}…"
