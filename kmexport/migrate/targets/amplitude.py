"""Amplitude: events and identify calls for the Batch Event Upload API, and mappings for /usermap."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, Unpack

from attrs import evolve

from kmexport.migrate.convert import LineContent, Options, convert
from kmexport.migrate.requests import Endpoint, Line
from kmexport.migrate.rules import Rules
from kmexport.records import Record

_MB: Final = 1_000_000

# A line leaves room for the API key around it.
_EVENTS = Endpoint("amplitude-events", "https://api2.amplitude.com/batch", 1_999, _MB - 1, _MB - 2_000, key="events")
# A form: its "%22" for a quote makes a mapping up to three times as long.
_ALIASES = Endpoint(
    "amplitude-usermap", "https://api.amplitude.com/usermap", 2_000, _MB // 3, 100_000, key="mapping", is_form=True
)
ENDPOINTS: Final = (_EVENTS, _ALIASES)

_PLACEHOLDERS: Final = frozenset(
    {
        "anonymous", "nil", "none", "null", "n/a", "na", "undefined", "unknown", '""',
        "00000000-0000-0000-0000-000000000000", "{}", "lmy47d", "0", "-1",
    }
)  # fmt: skip
_RESERVED_EVENTS: Final = frozenset(
    {
        "$identify", "$groupidentify", "[Amplitude] Start Session", "[Amplitude] End Session",
        "[Amplitude] Revenue", "[Amplitude] Revenue (Verified)", "[Amplitude] Revenue (Unverified)",
        "[Amplitude] Merged User",
    }
)  # fmt: skip
_RULES: Final = Rules(
    target="Amplitude",
    shortest_id=5,
    longest_id=1_024,
    refused_ids=_PLACEHOLDERS,
    first_time=0,
    longest_event_name=1_024,
    longest_property_name=1_024,
    refused_events=_RESERVED_EVENTS,
    owns_dollar=True,
    longest_text=1_024,
    deepest=39,  # with the object around them 40 layers
    drops_above=1_024,
    takes_chains=False,
)


def amplitude(records: Iterable[Record], *, min_id_length: int = 5, **options: Unpack[Options]) -> Iterator[Line]:
    """Convert records into lines for Amplitude: `amplitude-events` and `amplitude-usermap`.

    A property set is an event `$identify` with `$set` beside the other events, so that it counts from its own time on
    (calls of /identify have no time). Ids of less than `min_id_length` characters are refused; with less than 5, send
    `options={"min_id_length": …}` in the body too. `rule`, `spelling`, `on_error` and `counts`: see
    `kmexport.migrate`.

    Refused too: an identity of more than 1,024 characters or on Amplitude's list of placeholders, a time before
    1970, a name of its own ("[Amplitude] Revenue" …) or of more than 1,024 characters, more than 40 levels, a line that
    has no room in a request, an alias that is mapped to another identity already. Counted, since Amplitude drops what
    is too much: values of more than 1,024 characters in `counts.shortened`, records of more than 1,024 properties in
    `counts.overfull`. An insert_id is known there for 7 days: a second run after that adds every event again.

    Sources: amplitude.com/docs/apis/analytics/http-v2 (1 MB and less than 2,000 events a request, 1,024 characters,
    placeholders, reserved names, milliseconds, insert_id), /docs/apis/analytics/batch-event-upload (20 MB, 5
    characters, 40 layers, `$identify`: the smaller limits of both are kept, so the bodies suit either),
    /docs/apis/analytics/user-mapping (2,000 mappings and 1 MB), /docs/data/data-backfill; the Python package
    amplitude-analytics (1,024 properties). Not confirmed: how far ahead
    a time may lie, the longest name of a property, and what happens to a string that is too long.

    >>> from kmexport import PropertySet
    >>> plan = PropertySet("bob@example.com", 1349222400, {"Plan": "Pro"})
    >>> print(next(amplitude([plan])).text.decode())
    {"user_id":"bob@example.com","event_type":"$identify","time":1349222400000,"insert_id":"...","user_properties":...}
    """
    if not isinstance(min_id_length, int) or min_id_length < 1:
        msg = f"min_id_length is 1 or more, not {min_id_length!r}"
        raise ValueError(msg)
    return convert(records, evolve(_RULES, shortest_id=min_id_length), _Amplitude(), **options)


class _Amplitude:
    def event(self, content: LineContent) -> tuple[Endpoint, dict[str, Any]]:
        return _EVENTS, {**_head(content, content.name), "event_properties": content.properties}

    def property_set(self, content: LineContent) -> tuple[Endpoint, dict[str, Any]]:
        return _EVENTS, {**_head(content, "$identify"), "user_properties": {"$set": content.properties}}

    def alias(self, content: LineContent) -> tuple[Endpoint, dict[str, Any]]:
        return _ALIASES, {"user_id": content.alias, "global_user_id": content.person}


def _head(content: LineContent, event_type: str) -> dict[str, Any]:
    return {
        "user_id": content.person,
        "event_type": event_type,
        "time": content.timestamp * 1_000,
        "insert_id": content.id,
    }
