"""Mixpanel: events for /import, people for /engage, and who is who for either way of its identity merge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, Unpack

from attrs import evolve, frozen

from kmexport.migrate.convert import LineContent, Options, convert
from kmexport.migrate.requests import Endpoint, Line
from kmexport.migrate.rules import RejectedByTarget, Rules
from kmexport.records import Record

_MB: Final = 1_000_000

_EVENTS = Endpoint("mixpanel-events", "https://api.mixpanel.com/import?strict=1", 2_000, 2 * _MB, _MB - 1)
_PEOPLE = Endpoint("mixpanel-people", "https://api.mixpanel.com/engage?verbose=1#profile-set", 2_000, 2 * _MB, _MB)
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
    longest_id=255,
    refused_ids=_PLACEHOLDERS,
    first_time=31_536_000,  # 1971-01-01
    newest_age=-3_600,
    longest_event_name=255,
    longest_property_name=255,
    refused_events=frozenset({"$merge", "$identify", "$create_alias"}),
    reserved=frozenset(
        {"alias", "bucket", "distinct_id", "ip", "mp_original_distinct_id", "mp_original_event_name", "time", "token"}
    ),
    owns_dollar=True,
    longest_text=255,
    deepest=3,
    most_inside=254,
    most_event_properties=250,  # 254 with the four of its own
    most_person_properties=2_000,
)


def mixpanel(
    records: Iterable[Record],
    *,
    token: str,
    id_merge: Literal["original", "simplified"] | None = None,
    **options: Unpack[Options],
) -> Iterator[Line]:
    """Convert records into lines for Mixpanel: `mixpanel-events`, `mixpanel-people` and `mixpanel-aliases`.

    `token` is the project's token; it stands in the lines of people and `$merge`, which ask for it. Events carry
    `ip: 0` and people `$ip: 0`, or all persons would be where the server is that sends them; people also say
    `$ignore_time`, or all of them would be "updated" on the day of the move. An alias needs `id_merge`, the project's
    setting: "original" gives `$merge`; "simplified" gives an event `identity linked` that names the alias as
    `$device_id` and the person as `$user_id`. `rule`, `spelling`, `on_error` and `counts`: see `kmexport.migrate`.

    Refused: an identity of more than 255 characters or on Mixpanel's list of placeholders, a time before 1971 or more
    than an hour ahead, a name of more than 255 characters, more than 250 properties of an event (254 with the
    four of its own) or 2,000 of a person, 255 or more parts inside a value, 4 levels, a line of 1 MB, an alias that
    gives a person more than 500 identities ("original") or a second user ("simplified"). Values of more than 255
    characters are shortened there: counted in `counts.shortened`.

    Sources: docs.mixpanel.com/reference/import-events (fields, placeholders, times, limits; it says 10 MB a request,
    developer.mixpanel.com/reference/import-events 2 MB: the smaller one is kept), /reference/event-deduplication,
    /reference/profile-set, /reference/user-profile-limits, /reference/identity-merge,
    /docs/tracking-methods/id-management/identifying-users-simplified,
    /docs/data-structure/property-reference/reserved-properties; community.mixpanel.com (2,000 properties of a person);
    the Python packages mixpanel (`$merge` without a time) and mixpanel-utils (`$ip`, `$ignore_time`). Not confirmed:
    bytes of a request to /engage.

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
    of_aliases: dict[str, Any] = {"takes_chains": False} if id_merge == "simplified" else {"most_identities": 500}
    return convert(records, evolve(_RULES, **of_aliases), _Mixpanel(token, id_merge), **options)


@frozen
class _Mixpanel:
    token: str
    id_merge: str | None

    def event(self, content: LineContent) -> tuple[Endpoint, dict[str, Any]]:
        return _EVENTS, {"event": content.name, "properties": {**content.properties, **_own(content)}}

    def property_set(self, content: LineContent) -> tuple[Endpoint, dict[str, Any]]:
        return _PEOPLE, {
            "$token": self.token,
            "$distinct_id": content.person,
            "$ip": 0,
            "$ignore_time": True,
            "$set": content.properties,
        }

    def alias(self, content: LineContent) -> tuple[Endpoint, dict[str, Any]]:
        if self.id_merge == "original":
            properties = {"$distinct_ids": [content.person, content.alias], "token": self.token}
            return _ALIASES, {"event": "$merge", "properties": properties}
        if self.id_merge == "simplified":
            properties = {"$device_id": content.alias, "$user_id": content.person, **_own(content)}
            return _EVENTS, {"event": "identity linked", "properties": properties}
        reason = "the form of an alias depends on the project's setting: pass id_merge="
        raise RejectedByTarget(reason)


def _own(content: LineContent) -> dict[str, Any]:
    return {"time": content.timestamp, "distinct_id": content.person, "$insert_id": content.id, "ip": 0}
