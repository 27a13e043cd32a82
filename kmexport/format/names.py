"""Names of events and properties, the vendor's reserved keys, and values as numbers."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Final

# The vendor's own keys: they are on a line beside the properties, and say nothing of the person.
VENDOR_KEYS: Final = frozenset({"_c", "_d", "_k", "_s", "_server_timestamp", "_u"})

_KNOWN = 1 << 14  # more names than any export has, unless somebody puts a number into each
_LONGEST_KNOWN = 255  # characters, the vendor's limit

_SPACES = str.maketrans(",:", "  ")


def fold_name(name: str) -> str:
    """Return the form in which two spellings of a name are equal: without case, commas and colons as spaces.

    Source: the vendor does not tell case in names, and turns commas and colons in them into spaces.

    >>> fold_name("Signed Up: Pro") == fold_name("signed up, pro")
    True
    """
    try:
        return _fold_known(name) if len(name) <= _LONGEST_KNOWN else _fold(name)
    except (TypeError, AttributeError):
        msg = f"a name is a string, not {name!r}"
        raise TypeError(msg) from None


def _fold(name: str) -> str:
    return name.translate(_SPACES).casefold()


_fold_known = lru_cache(_KNOWN)(_fold)
# fold_name of bytes within ASCII, for `translate`.
FOLDED_ASCII: Final = bytes(range(256)).lower().translate(bytes.maketrans(b",:", b"  "))


def closest_names(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three of the known names that come close to a name: alike, or one a part of the other.

    >>> closest_names("singed up", ["signed up", "purchased"])
    ['signed up']
    """
    known = sorted(known)
    parts = [one for one in known if name and one and (name in one or one in name)]
    return list(dict.fromkeys([*difflib.get_close_matches(name, known, n=3), *parts]))[:3]


def different_names(names: Iterable[str], suffix: str) -> list[str]:
    """Return names of columns, with the suffix where an earlier one has that name already; no name can hold NUL.

    >>> different_names(["time", "plan", "time"], " (property)")
    ['time', 'plan', 'time (property)']
    """
    found: dict[str, None] = {}
    for name in names:
        different = name.replace("\0", "\ufffd")
        while different in found:
            different += suffix
        found[different] = None
    return list(found)


_NUMBER: Final = re.compile(r"\s*[+-]?(?:[0-9]++(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*", re.ASCII)


def as_number(value: object) -> Decimal | None:
    """Return the number that a value is, or reads as; None for anything else.

    Text counts where all of it is a number, with spaces around it or not: the vendor does not tell "123" from 123.
    Digits stay as they are, so sums of amounts are exact. None for booleans, NaN and infinities, grouped digits
    ("1,234"), units and other words, and for an exponent that no Decimal can hold.

    >>> as_number("12.50") + as_number(3)
    Decimal('15.50')
    >>> [as_number(value) for value in (" -1e3 ", 0.1, "12 EUR", "NaN", True, None)]
    [Decimal('-1E+3'), Decimal('0.1'), None, None, None, None]
    """
    if isinstance(value, str):
        return _read(value) if _NUMBER.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    # A float by its shortest spelling: 0.1 is 0.1, not 0.1000000000000000055….
    number = Decimal(repr(float(value))) if isinstance(value, float) else Decimal(value)
    return number if number.is_finite() else None


def _read(text: str) -> Decimal | None:
    try:
        return Decimal(text.strip())
    except InvalidOperation:
        return None
