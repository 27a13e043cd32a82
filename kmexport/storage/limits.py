"""Limits of a bucket: how its files are fetched, and how long a line may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from attrs import Attribute, field, frozen

from kmexport.arguments import check_whole
from kmexport.parsing.stream import MAX_LINE_BYTES

__all__ = ["SILENT_FOR", "Limits", "check_limits"]
SILENT_FOR: Final = 120.0  # seconds


def _at_least(least: int) -> Callable[[object, Attribute[Any], object], None]:
    def check(_: object, attribute: Attribute[Any], value: object) -> None:
        check_whole(attribute.name, value, least)

    return check


def _check_seconds(_: object, attribute: Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = f"{attribute.name} is a number of seconds, not {value!r}"
        raise TypeError(msg)
    if not value > 0:
        msg = f"{attribute.name} is more than 0 seconds, not {value}"
        raise ValueError(msg)


@frozen
class Limits:
    """The limits within which a `Bucket` is read, set once for all its methods: `Bucket(url, limits=Limits(…))`.

    Files that lie far away are fetched while others are parsed: `prefetch_bytes` is the most that is held of them
    (never less than 128 KiB), and `requests` is how many requests run at a time. `silent_for` is how many seconds may
    pass without a byte of a file before it is given up. A line, or an item of an array, of more than `max_line_bytes`
    bytes is malformed. They hold for each reading, and for each process that reads. Raises TypeError and ValueError
    for values that can't be.

    >>> Limits(requests=32, prefetch_bytes=256 << 20).requests
    32
    >>> Limits(requests=0)
    Traceback (most recent call last):
    ValueError: requests is at least 1, not 0
    """

    prefetch_bytes: int = field(default=64 << 20, validator=_at_least(0))
    requests: int = field(default=16, validator=_at_least(1))
    silent_for: float = field(default=SILENT_FOR, validator=_check_seconds)
    max_line_bytes: int = field(default=MAX_LINE_BYTES, validator=_at_least(1))


def check_limits(limits: object) -> None:
    """Raise TypeError for anything but Limits."""
    if not isinstance(limits, Limits):
        msg = f"limits= is a kmexport.Limits, such as Limits(requests=4), not {limits!r}"
        raise TypeError(msg)
