"""How results write numbers: amounts, averages, shares and durations, each in one form."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Final, Literal, TypeAlias

__all__ = ["Form", "as_seconds", "counted", "texts_of", "write_duration"]

Form: TypeAlias = Literal["number", "amount", "average", "share", "duration"]

_HUGE: Final = 1e15  # from here on a float does not hold cents
_UNITS: Final = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}
_WORDS: Final = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1),
    **dict.fromkeys(("min", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hour", "hours"), 3_600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
    **dict.fromkeys(("week", "weeks"), 7 * 86_400),
}
_LENGTH: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*", re.ASCII)


def texts_of(numbers: Sequence[float | None], form: Form) -> list[str]:
    """Write the numbers of one column; "-" for None.

    Amounts have two digits after the point, or none where all of them are whole; averages always have two.

    >>> texts_of([26011.11, 5.5, None], "amount"), texts_of([26011.0, 5], "amount")
    (['26,011.11', '5.50', '-'], ['26,011', '5'])
    """
    is_whole = all(number is None or number == round(number) for number in numbers)
    return ["-" if number is None else _text_of(number, form, is_whole=is_whole) for number in numbers]


def _text_of(number: float, form: Form, *, is_whole: bool) -> str:
    if form == "share":
        return f"{number:,.1%}" if abs(number) < _HUGE else f"{number:.6g}"
    if form == "duration":
        return write_duration(number)
    if isinstance(number, int):
        return f"{number:,}"
    if abs(number) >= _HUGE:
        return f"{number:.6g}"
    if form == "amount" and is_whole:
        return f"{number:,.0f}"
    return f"{number:.2g}" if 0 < abs(number) < 0.005 else f"{number:,.2f}"


def counted(number: int, one: str, many: str | None = None) -> str:
    """Write a number and what it counts.

    >>> counted(1, "person", "people"), counted(2_000, "value")
    ('1 person', '2,000 values')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def write_duration(seconds: float) -> str:
    """Write seconds in their two largest units.

    >>> [write_duration(seconds) for seconds in (2.5, 45, 802.2, 3_600, 54_465.7)]
    ['2.5 s', '45 s', '13 min 22 s', '1 h', '15 h 8 min']
    """
    if seconds < 10 and seconds != round(seconds):
        return f"{seconds:.1f} s"
    lengths = list(_UNITS.items())
    for (unit, length), (smaller, step) in pairwise(lengths):
        rounded = round(seconds / step) * step
        if rounded >= length:
            whole, rest = divmod(rounded, length)
            return f"{whole:,} {unit}" + (f" {rest // step} {smaller}" if rest else "")
    return f"{round(seconds)} s"


def as_seconds(name: str, length: object) -> float:
    """Return the seconds of a timedelta, or of text such as "7 days", "1 h" or "1 h 30 min".

    >>> as_seconds("within", "7 days"), as_seconds("within", timedelta(minutes=1))
    (604800.0, 60.0)
    """
    how = f'{name} takes a timedelta, or text such as "7 days", "1 h" or "90 s"'
    if isinstance(length, timedelta):
        seconds = length.total_seconds()
    elif isinstance(length, str):
        text = length.strip().lower()
        found = list(_LENGTH.finditer(text))
        if not found or "".join(match[0] for match in found) != text or any(m[2] not in _WORDS for m in found):
            msg = f"{how}, not {length!r}"
            raise ValueError(msg)
        seconds = sum(float(match[1]) * _WORDS[match[2]] for match in found)
    else:
        is_number = isinstance(length, int | float) and not isinstance(length, bool)
        unit = f': write "{length} s" or "{length} days", for a number does not say its unit' if is_number else ""
        msg = f"{how}, not {length!r}{unit}"
        raise TypeError(msg)
    if seconds < 0:
        msg = f"{name} is a length of time, 0 or more, not {length!r}"
        raise ValueError(msg)
    return seconds
