"""PostHog: events, identify calls and aliases, all for /batch as a historical migration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, Unpack

from kmexport.migrate.convert import LineContent, Options, convert, iso_time
from kmexport.migrate.requests import Endpoint, Line
from kmexport.migrate.rules import Rules
from kmexport.records import Record

# There is no limit of events; 1,000 is a size that is easily sent again.
_BATCH = Endpoint(
    "posthog-batch",
    "https://us.i.posthog.com/batch/",
    1_000,
    20_000_000 - 1,
    1_000_000,
    key="batch",
    fields={"historical_migration": True},
)
ENDPOINTS: Final = (_BATCH,)

# Two lists as one: what may not be merged (its ingestion, there also in quotes) and what makes no person (its newer
# endpoint). The newer one compares in any case and without spaces around.
_NOBODY: Final = frozenset(
    {
        "0", "00000000-0000-0000-0000-000000000000", "[object object]", "anonymous", "anonymous-user", "backend",
        "distinct_id", "distinctid", "email", "false", "guest", "id", "nan", "none", "not_authenticated", "null",
        "system", "true", "undefined", "user",
    }
)  # fmt: skip
_QUOTED: Final = frozenset(f"{quote}{name}{quote}" for name in _NOBODY for quote in "'\"")

_RULES: Final = Rules(
    target="PostHog",
    unit="bytes",  # /batch/ shortens by characters, the newer endpoint drops by bytes: the smaller limit is kept
    longest_id=200,
    refused_ids_in_any_case=_NOBODY | _QUOTED,
    trims_ids=True,
    first_time=-2_208_988_800,  # 1900-01-01: its database holds no earlier time
    newest_age=48 * 3_600,
    longest_event_name=200,
    refused_events=frozenset(
        {"$create_alias", "$groupidentify", "$identify", "$merge_dangerously", "$set", "$set_once", "$unset"}
    ),
    # PostHog reads an identity out of properties too; and no key of the data may pass for the project's.
    reserved=frozenset({"alias", "api_key", "distinct_id", "token"}),
    owns_dollar=True,
    most_person_bytes=512 * 1_024,
    takes_chains=False,
)


def posthog(records: Iterable[Record], **options: Unpack[Options]) -> Iterator[Line]:
    """Convert records into lines for PostHog: `posthog-batch`.

    A property set is an event `$identify` with `$set`, an alias an event `$create_alias`. The id is the event's `uuid`.
    Each line says `$geoip_disable`, as the vendor's own server SDKs do, or every person would get the city of the
    machine that sends. Aliases come last: PostHog dates a person by the first event that it processes. So sort the
    records by time; of two values of a person's property, too, the last one sent is kept. `rule`, `spelling`,
    `on_error` and `counts`: see `kmexport.migrate`.

    Refused: an identity or the name of an event of more than 200 bytes, an identity on PostHog's lists of those that
    mean nobody (events of them too: they would get no person) or with spaces around it, a time before 1900 or less
    than 48 hours ago, a name that is an instruction, a line of more than 1 MB, person properties of more than 512 KB in
    one record, more than 100 levels, and an alias that is joined to another identity already: it splits the person
    there. PostHog does not promise to find a `uuid` that it has already, so try the first run on a project of its own.

    Sources: posthog.com/docs/api/capture (form, 20 MB a body, empty ids and names), /docs/migrate
    (`historical_migration`, 48 hours, order, `$identify`), /docs/data/ingestion-warnings (200 characters, 1 MB, uuid,
    512 KB), /docs/product-analytics/identify (placeholders, `$create_alias` and when it is refused),
    /docs/data/timestamps; its public source: person-merge-service.ts, person-create-service.ts and
    rust/capture/src/v1 (lists, 200 bytes, dates of persons); the Python package posthog (`$geoip_disable`, `uuid`).

    >>> from kmexport import Event
    >>> signup = Event("bob", 1349222400, "Signed Up", {"Plan": "Pro"})
    >>> print(next(posthog([signup])).text.decode())
    {"event":"signed up","distinct_id":"bob","properties":{"plan":"Pro","$geoip_disable":true},"timestamp":...}
    """
    return convert(records, _RULES, _PostHog(), **options)


class _PostHog:
    def event(self, content: LineContent) -> tuple[Endpoint, dict[str, Any]]:
        return _line(content, content.name, content.properties)

    def property_set(self, content: LineContent) -> tuple[Endpoint, dict[str, Any]]:
        return _line(content, "$identify", {"$set": content.properties})

    def alias(self, content: LineContent) -> tuple[Endpoint, dict[str, Any]]:
        return _line(content, "$create_alias", {"alias": content.alias})


def _line(content: LineContent, event: str, properties: dict[str, Any]) -> tuple[Endpoint, dict[str, Any]]:
    return _BATCH, {
        "event": event,
        "distinct_id": content.person,
        "properties": {**properties, "$geoip_disable": True},
        "timestamp": iso_time(content.timestamp),
        "uuid": content.id,
    }
