"""Questions to Facts: queries with their parameters, windows as parameters, and names in any spelling."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, tzinfo
from typing import Any, Final, Literal, TypeAlias

from kmexport.errors import UnknownNameError
from kmexport.format.names import fold_name
from kmexport.tables import Facts
from kmexport.windows import Window, Zone, check_window, find_zone

# The years 1 to 9999: what a record's time can be, and what the engine can hold.
FIRST_SECOND: Final = -62_135_596_800
LAST_SECOND: Final = 253_402_300_800

Kind: TypeAlias = Literal["event", "property"]
_TABLES: Final[dict[Kind, str]] = {"event": "numbered_events", "property": "numbered_properties"}
_PARAMETER: Final = re.compile(r"\$(\w+)")


def ask(facts: Facts, query: str, params: Mapping[str, object]) -> list[tuple[Any, ...]]:
    """Return the rows of a query. Only the parameters that it names are handed over: the engine takes no others."""
    from duckdb import ConnectionException  # noqa: PLC0415  # kmexport.tables says which extra is missing

    used = {name: params[name] for name in _PARAMETER.findall(query)}
    try:
        rows: list[tuple[Any, ...]] = facts.sql(query, used or None).fetchall()
    except ConnectionException as error:
        msg = "these Facts are closed: ask before .close() and inside the with statement, or build them again"
        raise ValueError(msg) from error
    return rows


def given(**names: str | None) -> dict[str, str]:
    """Return the names that are given, for arguments that may be None."""
    return {key: name for key, name in names.items() if name is not None}


def zone_of(tz: Zone | None, window: Window | None) -> tzinfo:
    """Return the zone of a report: the one that is asked for, else the window's own, else UTC."""
    if tz is None:
        return UTC if window is None or window.tz is None else window.tz
    return find_zone(tz)


def bounds_of(window: Window | None) -> dict[str, object]:
    """`start` and `end` of a window in unix seconds, as parameters; of all time without one."""
    if window is None:
        return {"start": FIRST_SECOND, "end": LAST_SECOND}
    start, end = check_window(window)
    return {"start": _within_years(start), "end": _within_years(end)}


def _within_years(moment: int) -> int:
    return min(max(moment, FIRST_SECOND), LAST_SECOND)


def is_known(facts: Facts, kind: Kind, folded: str) -> bool:
    """Whether a record has the event or the property."""
    return bool(ask(facts, f"select 1 from kmexport.{_TABLES[kind]} where name = $name limit 1", {"name": folded}))


def known_name(facts: Facts, kind: Kind, name: str) -> str:
    """Return a name as the tables have it; UnknownNameError for one that no record has."""
    _check_text(kind, name)
    folded = fold_name(name)
    if not is_known(facts, kind, folded):
        names = [known for (known,) in ask(facts, f"select distinct name from kmexport.{_TABLES[kind]}", {})]
        raise UnknownNameError(kind, name, _closest(folded, names))
    return folded


def _check_text(kind: str, name: object) -> None:
    if not isinstance(name, str):
        msg = f"the name of an event or a property is text: the {kind} can't be {name!r}"
        raise TypeError(msg)


def _closest(name: str, known: Iterable[str]) -> list[str]:
    known = sorted(known)
    parts = [one for one in known if name and (name in one or one in name)]
    return list(dict.fromkeys([*difflib.get_close_matches(name, known, n=3), *parts]))[:3]


def closest(name: str, known: Sequence[str]) -> str:
    """The end of a sentence about something that is not there: which ones come close, or which there are."""
    near = _closest(name, known) or list(known[:3])
    if not near:
        return ": it has none"
    return f": the closest are {', '.join(map(repr, near))}" if len(near) > 1 else f": the closest is {near[0]!r}"
