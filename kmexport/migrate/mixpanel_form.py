"""Mixpanel: events for /import, people for /engage, and who is who for either way of its identity merge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, Unpack

from attrs import frozen

from kmexport.migrate.converting import Options, Said, convert
from kmexport.migrate.lines import Endpoint, Line
from kmexport.migrate.refusals import Refused
from kmexport.migrate.rules import Rules
from kmexport.records import Record

__all__ = ["ENDPOINTS", "mixpanel"]

_MB: Final = 1_000_000

_EVENTS = Endpoint("mixpanel-events", "https://api.mixpanel.com/import?strict=1", 2_000, 2 * _MB, _MB - 1)
_PEOPLE = Endpoint("mixpanel-people", "https://api.mixpanel.com/engage#profile-set", 2_000, 2 * _MB, _MB)
# Of /import too, but these say neither a time nor an id, and strict=1 asks both of every event.
_ALIASES = Endpoint("mixpanel-aliases", "https://api.mixpanel.com/import?strict=0", 2_000, 2 * _MB, _MB - 1)
ENDPOINTS: Final = (_EVENTS, _PEOPLE, _ALIASES)

_PLACEHOLDERS: Final = frozenset(
    {
        "00000000-0000-0000-0000-000000000000", "anon", "anonymous", "nil", "none", "null", "n/a", "na",
        "undefined", "unknown", "<nil>", "0", "-1", "true", "false", "[]", "{}",
    }
)  # fmt: skip
_RULES: Final = Rules(
    target="Mixpanel",
    shortest_id=1,
    longest_id=255,
    refused_ids=_PLACEHOLDERS,
    first_time=31_536_000,  # 1971-01-01
    newest_age=-3_600,
    longest_name=255,
    refused_events=frozenset({"$merge", "$identify", "$create_alias"}),
    reserved=frozenset(
        {"alias", "bucket", "distinct_id", "ip", "mp_original_distinct_id", "mp_original_event_name", "time", "token"}
    ),
    owns_dollar=True,
    longest_text=255,
    deepest=3,
    most_inside=254,
)


def mixpanel(
    records: Iterable[Record],
    *,
    token: str,
    id_merge: Literal["original", "simplified"] | None = None,
    **options: Unpack[Options],
) -> Iterator[Line]:
    """Records as lines for Mixpanel: `mixpanel-events`, `mixpanel-people` and `mixpanel-aliases`.

    `token` is the project's token; it stands in the lines of people and `$merge`, which ask for it. Events carry
    `ip: 0`, or all persons would be where the server is that sends them. An alias needs `id_merge`, the project's
    setting: "original" gives `$merge`; "simplified" gives an event `identity linked` that names the alias as
    `$device_id` and the person as `$user_id`. `rule`, `spelling`, `on_error` and `counts`: see `kmexport.migrate`.

    Refused: an identity of more than 255 characters or on Mixpanel's list of placeholders, a time before 1971 or more
    than an hour ahead, a name of more than 255 characters, more than 250 properties of an event (254 with the
    four of its own) or 2,000 of a person, 255 or more parts inside a value, 4 levels, a line of 1 MB. Values
    of more than 255 characters are shortened there: counted in `counts.shortened`.

    Sources: docs.mixpanel.com/reference/import-events (fields, placeholders, times, limits; it says 10 MB a request,
    developer.mixpanel.com/reference/import-events 2 MB: the smaller one is kept), /reference/event-deduplication,
    /reference/profile-set, /reference/user-profile-limits, /reference/identity-merge,
    /docs/tracking-methods/id-management/identifying-users-simplified,
    /docs/data-structure/property-reference/reserved-properties; community.mixpanel.com (2,000 properties of a person).
    Not confirmed: bytes of a request to /engage, and that `$merge` passes without a time (Mixpanel's Python
    package sends it so).

    >>> from kmexport import Event
    >>> signup = Event("bob", 1349222400, "Signed Up", {"Plan": "Pro"})
    >>> line = next(mixpanel([signup], token="T"))
    >>> line.endpoint.name
    'mixpanel-events'
    >>> print(line.text.decode())
    {"event":"signed up","properties":{"plan":"Pro","time":1349222400,"distinct_id":"bob","$insert_id":"...","ip":0}}
    """
    if not isinstance(token, str) or not token:
        msg = f"token is the project's token, not {token!r}"
        raise ValueError(msg)
    if id_merge not in ("original", "simplified", None):
        msg = f'id_merge is "original" or "simplified", not {id_merge!r}'
        raise ValueError(msg)
    form = _Form(token, id_merge)
    return convert(records, _RULES, form, most_event_properties=250, most_person_properties=2_000, **options)


@frozen
class _Form:
    token: str
    id_merge: str | None

    def event(self, said: Said) -> tuple[Endpoint, dict[str, Any]]:
        return _EVENTS, {"event": said.name, "properties": {**(said.properties or {}), **_own(said)}}

    def property_set(self, said: Said) -> tuple[Endpoint, dict[str, Any]]:
        return _PEOPLE, {"$token": self.token, "$distinct_id": said.person, "$set": said.properties}

    def alias(self, said: Said) -> tuple[Endpoint, dict[str, Any]]:
        if self.id_merge == "original":
            properties = {"$distinct_ids": [said.person, said.alias], "token": self.token}
            return _ALIASES, {"event": "$merge", "properties": properties}
        if self.id_merge == "simplified":
            properties = {"$device_id": said.alias, "$user_id": said.person, **_own(said)}
            return _EVENTS, {"event": "identity linked", "properties": properties}
        reason = "the form of an alias depends on the project's setting: pass id_merge="
        raise Refused(reason)


def _own(said: Said) -> dict[str, Any]:
    return {"time": said.timestamp, "distinct_id": said.person, "$insert_id": said.id, "ip": 0}
