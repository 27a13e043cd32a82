"""The amounts of a property: which of its values are numbers, how they are written, and which are none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from kmexport.reports.asking import ask
from kmexport.reports.occurrences import IN_WINDOW
from kmexport.reports.writing import counted
from kmexport.tables import Facts

__all__ = ["amounts", "check_amounts", "count_others", "reading_of"]

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
    """The amounts in the window, or of all time: person, time, seq, number (null: the value is none) and text.

    With `event` those of the seconds in which the person did $event.
    """
    number = _AS_WRITTEN if "amount_pattern" in params else "number"
    did = "(select person_id as person, time from kmexport.numbered_events where name = $event)"
    return f"""
        with found as materialized (
            select person_id as person, time, seq, {number} as number, text from kmexport.numbered_properties
            where name = $property {f"and {IN_WINDOW}" if in_window else ""} and value <> 'null'
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
    """ValueError for a property of which no value is a number. `source` gives all its amounts, of all time."""
    if ask(facts, f"select 1 from ({source}) where number is not null or {_IS_HUGE} limit 1", params):
        return
    found = ask(facts, f"select text from ({source}) limit 1", params)
    example = f" (one is {_cut(found[0][0])!r})" if found else ""
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
    """How many values are no number, with the note that says it. OverflowError for one that is beyond every float."""
    query = f"""
        select text, count(*) as times, sum(count(*)) over (), {_IS_HUGE} as is_huge
        from ({source}) where number is null group by text, is_huge order by is_huge desc, times desc, text
        limit {_EXAMPLES}"""
    found = ask(facts, query, params)
    if not found:
        return 0, ()
    if found[0][3] and "amount_pattern" not in params:
        msg = f"the value {_cut(found[0][0])} of {property!r} is so huge that no float holds it: leave it out"
        raise OverflowError(msg)
    count = int(found[0][2])
    examples = ", ".join(_cut(text) for text, *_ in found)
    more = " …" if count > sum(times for _, times, *_ in found) else ""
    return count, (f"{counted(count, 'value is', 'values are')} no number ({examples}{more})",)


def _cut(text: object) -> str:
    shown = str(text)
    return shown if len(shown) <= _EXAMPLE_LENGTH else f"{shown[: _EXAMPLE_LENGTH - 1]}…"
