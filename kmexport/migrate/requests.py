"""Requests to a target: its endpoints, lines gathered into files and bodies, and what an answer says of the lines.

Nothing here sends anything: bytes go out, bytes come in.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import IO, Any, Final, NamedTuple
from urllib.parse import urlencode

import msgspec
from attrs import field, frozen

from kmexport.arguments import address_of, check_whole
from kmexport.errors import KmExportError
from kmexport.storage.atomic import atomic_write

_KEYS_BYTES: Final = 1_000  # what is kept free in a body for an API key and the like


@frozen
class Endpoint:
    """Place where lines are sent: `name` (of the file, too), `url`, and how much a request may hold.

    A request holds at most `max_count` lines and `max_bytes` bytes, a line at most `max_line_bytes`. `key` is the key
    of the body under which the lines stand as an array; without one, the body is the array. `fields` are what the body
    always says beside them. A body is JSON, or a form where `is_form`; `content_type` is the header that says so.
    """

    name: str
    url: str
    max_count: int
    max_bytes: int
    max_line_bytes: int
    key: str | None = None
    fields: Mapping[str, Any] = field(factory=dict, hash=False)
    is_form: bool = False

    @property
    def content_type(self) -> str:
        """The value of the header Content-Type."""
        return "application/x-www-form-urlencoded" if self.is_form else "application/json"


class Line(NamedTuple):
    """Line for an endpoint: `text` is a JSON object in UTF-8, without a newline."""

    endpoint: Endpoint
    text: bytes


@frozen
class Batch:
    """Lines of one request: `endpoint` and `lines`."""

    endpoint: Endpoint
    lines: list[bytes]

    def body(self, **fields: Any) -> bytes:
        """Return the body of the request, with `fields` (the API key, for example) beside the lines.

        Raises ValueError where the endpoint takes an array, which has no place for fields, and where the fields make
        the body larger than the endpoint takes.

        >>> endpoint = Endpoint(
        ...     "shop-events", "https://shop.example/batch", 100, 5_000, 4_000, key="events"
        ... )
        >>> Batch(endpoint, [b'{"event":"a"}', b'{"event":"b"}']).body(api_key="K")
        b'{"api_key":"K","events":[{"event":"a"},{"event":"b"}]}'
        """
        endpoint = self.endpoint
        given = {**endpoint.fields, **fields}
        joined = b",".join(self.lines)
        if endpoint.is_form and endpoint.key is not None:
            body = urlencode({**given, endpoint.key: b"[" + joined + b"]"}).encode()
        elif endpoint.key is not None:
            head = msgspec.json.encode({**given, endpoint.key: []}).removesuffix(b"]}")
            body = head + joined + b"]}"
        elif given:
            msg = f"{endpoint.name}: the body has no place for {', '.join(given)}; send it as a parameter or a header"
            raise ValueError(msg)
        else:
            body = b"[" + joined + b"]"
        if len(body) > endpoint.max_bytes:
            msg = f"{endpoint.name}: the body has {len(body):,} bytes, above {endpoint.max_bytes:,}: shorten the fields"
            raise ValueError(msg)
        return body


class AnswerError(KmExportError):
    """A target refused a whole request: `.status` is its HTTP status, `.answer` what it said.

    `.answer` is cut to 300 characters, and what looks like a key in it is left out: targets repeat a wrong one.

    >>> read_answer(401, b'{"error": "no such key: 0123456789abcdef0123"}', [b"{}"])
    Traceback (most recent call last):
        ...
    kmexport.migrate.requests.AnswerError: the target answered 401: {"error": "no such key: …"}. None of these ...
    """

    def __init__(self, status: int, answer: str) -> None:
        super().__init__(status, answer)
        self.status = status
        self.answer = answer

    def __str__(self) -> str:
        return (
            f"the target answered {self.status}: {self.answer}. "
            "None of these lines counts as sent: mend the cause, and send them again."
        )


_LIKE_A_KEY: Final = re.compile(r"[\w=+/-]{16,}")
_AMPLITUDE_NAMES: Final = ("events_with_invalid_fields", "events_with_missing_fields", "events_with_invalid_id_lengths")


def read_answer(status: int, body: bytes, lines: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Read the answer to a request with these lines; return the lines that are refused, and those to be sent again.

    Mixpanel takes the others of a request in which it refuses some. Amplitude takes none of them: they are to be sent
    again. Raises AnswerError where the answer refuses the request as a whole: a wrong key, a full quota, a body that
    is too large (its halves may pass). 408, 429 and 500 and more mean: wait, and send the same again.

    >>> body = (
    ...     b'{"code": 400, "num_records_imported": 1, "failed_records": [{"index": 1}]}'
    ... )
    >>> read_answer(400, body, [b'{"a":1}', b'{"b":2}'])
    ([b'{"b":2}'], [])
    """
    said = _decode_object(body)
    refused: set[int] = {record["index"] for record in said.get("failed_records") or ()}
    for name in _AMPLITUDE_NAMES:
        refused.update(*(said.get(name) or {}).values())
    refused.update(said.get("silenced_events") or ())
    is_good = 200 <= status < 300 and said.get("status") != 0 and said.get("success") is not False
    if not refused and (not is_good or "quota_limited" in said):
        text = _LIKE_A_KEY.sub("…", body[:1_000].decode(errors="replace"))
        raise AnswerError(status, text[:300])
    others = [] if is_good or "num_records_imported" in said else lines
    return (
        [line for number, line in enumerate(lines) if number in refused],
        [line for number, line in enumerate(others) if number not in refused],
    )


def _decode_object(body: bytes) -> dict[str, Any]:
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return said if isinstance(said, dict) else {}


def batches(lines: Iterable[Line], *, max_count: int | None = None, max_bytes: int | None = None) -> Iterator[Batch]:
    """Gather lines into groups that one request may hold, by the limits of their endpoint, or smaller ones.

    The order of lines is kept for each endpoint; a group comes out when the next line has no room in it, and the last
    ones at the end. Holds one group for each endpoint. 1,000 bytes of a body are kept free for keys. Raises ValueError
    for limits below 1, and for a line that has more than `max_bytes`.

    >>> endpoint = Endpoint(
    ...     "shop-events", "https://shop.example/batch", 2, 5_000, 4_000, key="events"
    ... )
    >>> [len(batch.lines) for batch in batches(Line(endpoint, b"{}") for _ in range(5))]
    [2, 2, 1]
    """
    for name, limit in (("max_count", max_count), ("max_bytes", max_bytes)):
        if limit is not None:
            check_whole(name, limit, 1)
    return _batches(lines, max_count, max_bytes)


def _batches(lines: Iterable[Line], max_count: int | None, max_bytes: int | None) -> Iterator[Batch]:
    gathered: dict[str, tuple[Endpoint, list[bytes]]] = {}
    sizes: dict[str, int] = {}
    for endpoint, text in lines:
        name = endpoint.name
        most = endpoint.max_count if max_count is None else min(max_count, endpoint.max_count)
        room = endpoint.max_bytes - _KEYS_BYTES
        room = room if max_bytes is None else min(max_bytes, room)
        size = len(text) + 1  # a comma
        if size > room:
            msg = f"{name}: a line has {size:,} bytes, and a batch has room for {room:,}"
            raise ValueError(msg)
        _, group = gathered.setdefault(name, (endpoint, []))
        if group and (len(group) >= most or sizes[name] + size > room):
            yield Batch(endpoint, group)
            group = []
            gathered[name] = (endpoint, group)
        group.append(text)
        sizes[name] = (sizes[name] if len(group) > 1 else 0) + size
    for endpoint, group in gathered.values():
        yield Batch(endpoint, group)


def write(lines: Iterable[Line], folder: str | os.PathLike[str], **storage_options: Any) -> dict[str, int]:
    """Write each endpoint's lines to a file of its own, `<name>.jsonl`, in a folder; return how many each has.

    `folder` is a path or an fsspec URL, and is there already. A file is there as a whole when this returns, see
    `atomic_write`: where a line raises, every file is as it was before. A file of an earlier
    run stays where no line belongs into it now. On the local disk it holds one line at a
    time; on other filesystems the files are gathered in memory.

    >>> endpoint = Endpoint(
    ...     "shop-events", "https://shop.example/batch", 100, 5_000, 4_000, key="events"
    ... )
    >>> write([Line(endpoint, b"{}")] * 3, "memory://moving")
    {'shop-events': 3}
    """
    counts: dict[str, int] = {}
    files: dict[str, IO[bytes]] = {}
    place = address_of(folder).rstrip("/")
    with ExitStack() as stack:
        for endpoint, text in lines:
            name = endpoint.name
            if name not in files:
                files[name] = stack.enter_context(atomic_write(f"{place}/{name}.jsonl", **storage_options))
            files[name].write(text + b"\n")
            counts[name] = counts.get(name, 0) + 1
    return counts
