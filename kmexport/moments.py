"""How a moment is written: unix seconds, and beside them the time that people read."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

__all__ = ["spell_moment"]


def spell_moment(seconds: int | None, zone: tzinfo = UTC) -> str:
    """Unix seconds, with their ISO time in a zone beside them where the calendar has one.

    >>> spell_moment(1349222400), spell_moment(None)
    ('1349222400 (2012-10-03T00:00:00Z)', 'None')
    """
    try:
        text = datetime.fromtimestamp(seconds, zone).isoformat() if seconds is not None else None
    except (OverflowError, ValueError, OSError):  # outside the years 1 to 9999
        text = None
    if text is None:
        return str(seconds)
    return f"{seconds} ({text.removesuffix('+00:00') + 'Z' if text.endswith('+00:00') else text})"
