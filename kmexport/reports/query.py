"""Questions to Facts: the facts of a report's source, queries with their parameters, and names in any spelling."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypedDict, cast

from kmexport.bucket import Bucket
from kmexport.errors import FactsLeftOutError, UnknownNameError
from kmexport.format.decoding import FIRST_TIMESTAMP, LAST_TIMESTAMP
from kmexport.format.names import closest_names, fold_name
from kmexport.parsing.records import OnError
from kmexport.records import Record
from kmexport.revisions.listing import MARGIN
from kmexport.steps.identities import IdentityMap, Prefer
from kmexport.storage.open_files import Progress
from kmexport.tables import Facts
from kmexport.windows import Window, Zone, check_window, find_zone

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from kmexport.steps.duplicates import Rule


logger: logging.Logger = logging.getLogger("kmexport")

END: Final = LAST_TIMESTAMP + 1  # of the year 9999: no record and no engine has a later time

NameKind: TypeAlias = Literal["event", "property"]
# Where names stand, and the values beside them; the view of properties joins each of them with its record. Of each name
# of an event the first record is in the view of events.
WITH_NAMES: Final[dict[NameKind, str]] = {
    "event": "(select name from kmexport.event_names where is_wanted)",
    "property": "kmexport.properties join kmexport.property_names using (spelling_id)",
}
_WORDS: Final = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1),
    **dict.fromkeys(("min", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hour", "hours"), 3_600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
    **dict.fromkeys(("week", "weeks"), 7 * 86_400),
}
_LENGTH: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*", re.ASCII)
_PARAMETER: Final = re.compile(r"\$(\w+)")


def ask(facts: Facts, query: str, params: Mapping[str, object]) -> list[tuple[Any, ...]]:
    """Return the rows of a query. Only the parameters that it names are handed over: the engine takes no others."""
    from duckdb import ConnectionException  # noqa: PLC0415  # kmexport.tables says which extra is missing

    used = {name: params[name] for name in _PARAMETER.findall(query)}
    try:
        rows: list[tuple[Any, ...]] = facts._rows(query, used or None)
    except ConnectionException as error:
        msg = "these Facts are closed: ask before .close() and inside the with statement, or build them again"
        raise ValueError(msg) from error
    return rows


def given(**names: str | None) -> dict[str, str]:
    """Return the names that are given, for arguments that may be None."""
    return {key: name for key, name in names.items() if name is not None}


def check_one_of(what: str, known: Collection[str], value: object) -> None:
    """Raise ValueError for anything but one of the known texts."""
    if not isinstance(value, str) or value not in known:
        msg = f"{what} is one of {', '.join(map(repr, known))}, not {value!r}"
        raise ValueError(msg)


def zone_of(tz: Zone | None, window: Window | None) -> tzinfo:
    """Return the zone of a report: the one that is asked for, else the window's own, else UTC."""
    if window is not None:
        check_window(window)
    if tz is None:
        return UTC if window is None or window.tz is None else window.tz
    return find_zone(tz)


def bounds_of(window: Window | None) -> dict[str, object]:
    """Return `start` and `end` of a window in unix seconds, as parameters; of all time without one."""
    if window is None:
        return {"start": FIRST_TIMESTAMP, "end": END}
    start, end = check_window(window)
    return {"start": _within_years(start), "end": _within_years(end)}


def _within_years(moment: int) -> int:
    return min(max(moment, FIRST_TIMESTAMP), END)


def is_known(facts: Facts, kind: NameKind, folded: str) -> bool:
    """Return whether a record has the event or the property."""
    return bool(ask(facts, f"select 1 from {WITH_NAMES[kind]} where name = $name limit 1", {"name": folded}))


def known_name(facts: Facts, kind: NameKind, name: str) -> str:
    """Return a name as the tables have it; UnknownNameError for one that no record has.

    FactsLeftOutError for one that these facts were not asked to read.
    """
    _check_text(kind, name)
    folded = fold_name(name)
    if not is_known(facts, kind, folded):
        facts.check_read(event=name if kind == "event" else None, property=name if kind == "property" else None)
        raise _unknown(facts, kind, name)
    return folded


def _unknown(facts: Facts, kind: NameKind, name: str) -> UnknownNameError:
    """Return the error for a name that no record has, with the closest of the facts."""
    folded = fold_name(name)
    error = UnknownNameError(kind, name, closest_names(folded, _names(facts, kind)))
    with suppress(FactsLeftOutError):
        if kind == "property" and folded in _names(facts, "event"):
            error.add_note(f"{name!r} is an event; this takes a property.")
        elif kind == "event" and folded in _names(facts, "property"):
            error.add_note(f"{name!r} is a property; this takes an event.")
    return error


def _names(facts: Facts, kind: NameKind) -> list[str]:
    return [name for (name,) in ask(facts, f"select distinct name from {WITH_NAMES[kind]}", {})]


def _check_text(kind: str, name: object) -> None:
    if not isinstance(name, str):
        msg = f"the name of an event or a property is text: the {kind} can't be {name!r}"
        raise TypeError(msg)


def closest(name: str, known: Sequence[str]) -> str:
    """Return the end of a sentence about something that is not there: which ones come close, or which there are."""
    near = closest_names(name, known) or list(known[:3])
    if not near:
        return ": it has none"
    return f": the closest are {', '.join(map(repr, near))}" if len(near) > 1 else f": the closest is {near[0]!r}"


# Facts; or a Bucket, the address of a lake, or records.
ReportSource: TypeAlias = Facts | Bucket | str | os.PathLike[str] | Iterable[Record]


class FactsKeywords(TypedDict, total=False):
    """The arguments of Facts by which a report reads a source of its own."""

    margin: int | None
    identities: IdentityMap | None
    rule: Rule
    prefer: Prefer
    on_error: OnError
    callback: Progress
    executor: Executor | None
    ahead: int | None


def check_keywords(reading: dict[str, Any]) -> None:
    """Raise a TypeError for an argument that no source is read by."""
    known = FactsKeywords.__annotations__
    if unknown := [name for name in reading if name not in known]:
        msg = f"there is no argument {unknown[0]!r}; besides its own, a report takes those of Facts: {', '.join(known)}"
        raise TypeError(msg)


def facts_of(
    source: ReportSource,
    reading: FactsKeywords,
    names: Iterable[str] | None,
    properties: Iterable[str] | bool,
    window: Window | None = None,
) -> Facts:
    """Return ready Facts as they are, and of another source those with just these events (None: all) and properties.

    With a window only the files that may hold its records are read.
    """
    check_keywords(dict(reading))
    if isinstance(source, Facts):
        if reading:
            msg = f"{next(iter(reading))}= is said where Facts are made: Facts(source, {next(iter(reading))}=…)"
            raise TypeError(msg)
        return source
    if isinstance(source, Bucket):
        revisions = source.revisions(window, margin=reading.get("margin", MARGIN))
        size = sum(revision.size or 0 for revision in revisions)
        logger.info(
            "a report reads %d revisions, %d bytes: Facts(bucket) reads them once for many", len(revisions), size
        )
    wanted = properties if isinstance(properties, bool) else sorted(set(properties)) or False
    events = None if names is None else sorted(set(names))
    return Facts(source, window=window, names=events, properties=wanted, **reading)


def with_closest(error: UnknownNameError, source: ReportSource, reading: FactsKeywords) -> UnknownNameError:
    """Return the error with the closest names of the whole source; a report has read only a part of it.

    Reads the source once more; a source that can be read only once is left alone.
    """
    if isinstance(source, Facts) or not isinstance(source, Bucket | str | os.PathLike | Sequence):
        return error
    kind = cast("NameKind", error.kind)
    # The first reading has warned of bad lines.
    silently: FactsKeywords = {**reading, "on_error": "skip", "callback": None}
    with facts_of(source, silently, None, properties=True) as facts:
        return _unknown(facts, kind, error.name)


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
