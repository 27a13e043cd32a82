"""Segment: track and identify calls for /v1/batch, and alias calls, which go alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, Unpack

from kmexport.migrate.converting import Options, Said, convert, iso_time
from kmexport.migrate.lines import Endpoint, Line
from kmexport.migrate.rules import Rules
from kmexport.records import Record

__all__ = ["ENDPOINTS", "segment"]

_KB: Final = 1_000

_BATCH = Endpoint("segment-batch", "https://api.segment.io/v1/batch", 2_500, 500 * _KB, 32 * _KB - 1, key="batch")
# The pages name Identify, Group, Track, Page and Screen for a batch, and not Alias.
_ALIASES = Endpoint("segment-aliases", "https://api.segment.io/v1/alias", 1, 32 * _KB, 32 * _KB - 2_000)
ENDPOINTS: Final = (_BATCH, _ALIASES)

_RULES: Final = Rules(
    target="Segment",
    shortest_id=1,
    longest_id=None,
    refused_ids=frozenset(),
    first_time=None,
    newest_age=None,
    longest_name=None,
    refused_events=frozenset(),
    reserved=frozenset(),
    owns_dollar=False,
    longest_text=None,
    deepest=100,  # a limit of our own: how deep its reader goes is not said
    most_inside=None,
)


def segment(records: Iterable[Record], **options: Unpack[Options]) -> Iterator[Line]:
    """Records as lines for Segment: `segment-batch` and `segment-aliases`.

    Events are `track`, property sets `identify`, aliases `alias` calls, one a request (send the write key as the user
    of basic authentication: such a body has no place for it). `rule`, `spelling`, `on_error` and `counts`: see
    `kmexport.migrate`.

    Refused: an empty identity or name, a line of 32 KB (32,000 bytes), more than 100 levels. Segment looks for a
    messageId that it has already in the last 24 hours; its warehouses look without end, data lakes for 7 days.
    Each destination behind Segment has limits of its own.

    Sources: segment.com/docs/connections/sources/catalog/libraries/server/http-api (500 KB and 2,500 calls a batch, 32
    KB a call, messageId below 100 characters, required fields, what a batch may hold), /docs/connections/spec/common
    (ISO times), /docs/connections/spec/alias, /docs/guides/duplicate-data. Not confirmed: longest names and
    identities, the earliest time, and whether KB is 1,000 or 1,024 bytes (the smaller one is kept).

    >>> from kmexport import Alias
    >>> alias = Alias("bob", 1349222400, "qFq2LweZugFNE4o49hLhmRPBW34=")
    >>> print(next(segment([alias])).text.decode())
    {"type":"alias","previousId":"qFq2LweZugFNE4o49hLhmRPBW34=","userId":"bob","timestamp":"2012-10-03T00:00:00Z",...}
    """
    return convert(records, _RULES, _Form(), **options)


class _Form:
    def event(self, said: Said) -> tuple[Endpoint, dict[str, Any]]:
        return _BATCH, {"type": "track", "event": said.name, "properties": said.properties, **_own(said)}

    def property_set(self, said: Said) -> tuple[Endpoint, dict[str, Any]]:
        return _BATCH, {"type": "identify", "traits": said.properties, **_own(said)}

    def alias(self, said: Said) -> tuple[Endpoint, dict[str, Any]]:
        return _ALIASES, {"type": "alias", "previousId": said.alias, **_own(said)}


def _own(said: Said) -> dict[str, Any]:
    return {"userId": said.person, "timestamp": iso_time(said.timestamp), "messageId": said.id}
