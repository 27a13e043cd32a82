"""How the names of events and properties compare."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

__all__ = ["VENDOR_KEYS", "fold_name"]

# The vendor's own keys: they ride on a line, and are no properties of the person.
VENDOR_KEYS: Final = frozenset({"_c", "_d", "_k", "_s", "_server_timestamp", "_u"})

_KNOWN = 1 << 14  # more names than any export has, unless somebody puts a number into each
_LONGEST_KNOWN = 255  # characters, the vendor's limit

_SPACES = str.maketrans(",:", "  ")


def fold_name(name: str) -> str:
    """The form in which two spellings of a name are equal: without case, commas and colons as spaces.

    Source: the vendor does not tell case in names, and turns commas and colons in them into spaces.

    >>> fold_name("Signed Up: Pro") == fold_name("signed up, pro")
    True
    """
    return _fold_known(name) if len(name) <= _LONGEST_KNOWN else _fold(name)


def _fold(name: str) -> str:
    return name.translate(_SPACES).casefold()


_fold_known = lru_cache(_KNOWN)(_fold)
