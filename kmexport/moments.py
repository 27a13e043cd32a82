"""How a moment is written: unix seconds, and beside them the time that people read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

__all__ = ["spell_moment", "time_at"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def time_at(seconds: int, zone: tzinfo = UTC) -> datetime:
    """Unix seconds as an aware datetime, for all years from 1 to 9999; OverflowError outside of them.

    Not by `datetime.fromtimestamp`: on Windows that fails before 1970 and after the year 3000.

    >>> time_at(-1).isoformat(), time_at(32536857600).isoformat()
    ('1969-12-31T23:59:59+00:00', '3001-01-20T00:00:00+00:00')
    """
    time = _EPOCH + timedelta(0, int(seconds))  # numpy's integers are none to timedelta
    return time if zone is UTC else time.astimezone(zone)


def spell_moment(seconds: int | None, zone: tzinfo = UTC) -> str:
    """Unix seconds, with their ISO time in a zone beside them where the calendar has one.

    >>> spell_moment(1349222400), spell_moment(None)
    ('1349222400 (2012-10-03T00:00:00Z)', 'None')
    """
    try:
        text = time_at(seconds, zone).isoformat() if seconds is not None else None
    except (OverflowError, ValueError):  # outside the years 1 to 9999
        text = None
    if text is None:
        return str(seconds)
    return f"{seconds} ({text.removesuffix('+00:00') + 'Z' if text.endswith('+00:00') else text})"
