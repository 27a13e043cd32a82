"""PostHog: events, identify calls and aliases, all for /batch as a historical migration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, Unpack

from kmexport.migrate.converting import Options, Said, convert, iso_time
from kmexport.migrate.lines import Endpoint, Line
from kmexport.migrate.rules import Rules
from kmexport.records import Record

__all__ = ["ENDPOINTS", "posthog"]

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

_RULES: Final = Rules(
    target="PostHog",
    shortest_id=1,
    longest_id=200,
    refused_ids=frozenset({"[object Object]", "NaN", "None", "none", "null", "0"}),
    first_time=None,
    newest_age=48 * 3_600,
    longest_name=None,
    refused_events=frozenset(
        {"$create_alias", "$groupidentify", "$identify", "$merge_dangerously", "$set", "$set_once", "$unset"}
    ),
    # PostHog reads an identity out of properties too; and no key of the data may pass for the project's.
    reserved=frozenset({"alias", "api_key", "distinct_id", "token"}),
    owns_dollar=True,
    longest_text=None,
    deepest=100,  # a limit of our own: how deep its reader goes is not said
    most_inside=None,
    refused_ids_in_any_case=frozenset(
        {
            "anonymous",
            "guest",
            "distinctid",
            "distinct_id",
            "id",
            "not_authenticated",
            "email",
            "undefined",
            "true",
            "false",
        }
    ),
)


def posthog(records: Iterable[Record], **options: Unpack[Options]) -> Iterator[Line]:
    """Records as lines for PostHog: `posthog-batch`.

    A property set is an event `$identify` with `$set`, an alias an event `$create_alias`. The id is the event's `uuid`.
    Sort the records by time: a body should not mix events of all years, and of two values of a person's property
    the last one sent is kept. `rule`, `spelling`, `on_error` and `counts`: see `kmexport.migrate`.

    Refused: an identity of more than 200 characters or on PostHog's list of those that may not be merged (events of
    them too: its pages do not agree on whether it takes them), a time less than 48 hours ago, a name that is an
    instruction, a line of more than 1 MB, more than 100 levels. PostHog does not promise to find a `uuid` that it
    has already, so try the first run on a project of its own.

    Sources: posthog.com/docs/api/capture (form, 20 MB a body, empty ids and names), /docs/migrate
    (`historical_migration`, 48 hours, order, `$identify`), /docs/data/ingestion-warnings (200 characters, 1 MB, uuid),
    /docs/product-analytics/identify (placeholders, `$create_alias` and when it is refused), /docs/data/timestamps. Not
    confirmed: the longest name, the earliest time, and `uuid` as a field of an event, which its own SDKs send.

    >>> from kmexport import Event
    >>> signup = Event("bob", 1349222400, "Signed Up", {"Plan": "Pro"})
    >>> print(next(posthog([signup])).text.decode())
    {"event":"signed up","distinct_id":"bob","properties":{"plan":"Pro"},"timestamp":"2012-10-03T00:00:00Z",...}
    """
    return convert(records, _RULES, _Form(), **options)


class _Form:
    def event(self, said: Said) -> tuple[Endpoint, dict[str, Any]]:
        return _line(said, said.name, said.properties or {})

    def property_set(self, said: Said) -> tuple[Endpoint, dict[str, Any]]:
        return _line(said, "$identify", {"$set": said.properties})

    def alias(self, said: Said) -> tuple[Endpoint, dict[str, Any]]:
        return _line(said, "$create_alias", {"alias": said.alias})


def _line(said: Said, event: str, properties: dict[str, Any]) -> tuple[Endpoint, dict[str, Any]]:
    return _BATCH, {
        "event": event,
        "distinct_id": said.person,
        "properties": properties,
        "timestamp": iso_time(said.timestamp),
        "uuid": said.id,
    }
