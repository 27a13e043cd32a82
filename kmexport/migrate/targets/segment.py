"""Segment: track, identify and alias calls for /v1/batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, Unpack

from kmexport.migrate.convert import LineContent, Options, convert, iso_time
from kmexport.migrate.requests import Endpoint, Line
from kmexport.migrate.rules import Rules
from kmexport.records import Record

_KB: Final = 1_000

_BATCH = Endpoint("segment-batch", "https://api.segment.io/v1/batch", 2_500, 500 * _KB, 32 * _KB - 1, key="batch")
ENDPOINTS: Final = (_BATCH,)

_RULES: Final = Rules(target="Segment")


def segment(records: Iterable[Record], **options: Unpack[Options]) -> Iterator[Line]:
    """Convert records into lines for Segment: `segment-batch`.

    Events are `track`, property sets `identify`, aliases `alias` calls. `rule`, `spelling`, `on_error` and `counts`:
    see `kmexport.migrate`.

    Refused: an empty identity or name, a line of 32 KB (32,000 bytes), more than 100 levels. Segment looks for a
    messageId that it has already in the last 24 hours; its warehouses look without end, data lakes for 7 days. Each
    destination behind Segment has limits of its own.

    Sources: segment.com/docs/connections/sources/catalog/libraries/server/http-api (500 KB and 2,500 calls a batch, 32
    KB a call, messageId below 100 characters, required fields), /docs/connections/spec/common (ISO times),
    /docs/connections/spec/alias, /docs/guides/duplicate-data; the Python package segment-analytics-python, which sends
    aliases in a batch too. Not confirmed: longest names and identities, the earliest time, and whether KB is 1,000 or
    1,024 bytes (the smaller one is kept).

    >>> from kmexport import Alias
    >>> alias = Alias("bob", 1349222400, "qFq2LweZugFNE4o49hLhmRPBW34=")
    >>> print(next(segment([alias])).text.decode())
    {"type":"alias","previousId":"qFq2LweZugFNE4o49hLhmRPBW34=","userId":"bob","timestamp":"2012-10-03T00:00:00Z",...}
    """
    return convert(records, _RULES, _Segment(), **options)


class _Segment:
    def event(self, content: LineContent) -> tuple[Endpoint, dict[str, Any]]:
        return _BATCH, {"type": "track", "event": content.name, "properties": content.properties, **_own(content)}

    def property_set(self, content: LineContent) -> tuple[Endpoint, dict[str, Any]]:
        return _BATCH, {"type": "identify", "traits": content.properties, **_own(content)}

    def alias(self, content: LineContent) -> tuple[Endpoint, dict[str, Any]]:
        return _BATCH, {"type": "alias", "previousId": content.alias, **_own(content)}


def _own(content: LineContent) -> dict[str, Any]:
    return {"userId": content.person, "timestamp": iso_time(content.timestamp), "messageId": content.id}
