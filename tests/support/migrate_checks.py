"""What each target's documents ask of a request, written from the documents and sharing no code with the writer.

Each check takes the endpoint's address and a body, and gives a list of complaints.
"""

from __future__ import annotations

import json
import re
import time
from datetime import datetime
from urllib.parse import parse_qsl
from uuid import UUID


def parse(body: bytes) -> object:
    """Strict JSON: UTF-8, no NaN, no key twice, no half of a surrogate pair."""

    def once(pairs):
        assert len({key for key, _ in pairs}) == len(pairs), f"a key stands twice: {pairs!r}"
        return dict(pairs)

    def no_constant(name):
        raise AssertionError(name)

    text = body.decode("utf-8", "strict")
    found = json.loads(text, object_pairs_hook=once, parse_constant=no_constant)
    json.dumps(found, ensure_ascii=False).encode("utf-8", "strict")
    return found


def complaints(name: str, body: bytes) -> list[str]:
    return list(CHECKS[name](body))


def walk(value, depth=0):
    """Every value inside, with the number of objects and arrays around it and itself."""
    inside = isinstance(value, dict | list)
    yield value, depth + inside
    if isinstance(value, dict):
        for key, item in value.items():
            yield key, depth
            yield from walk(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from walk(item, depth + 1)


def numbers_and_texts(value):
    for item, _ in walk(value):
        if isinstance(item, str) and "\x00" in item:
            yield f"NUL in {item!r}"
        if isinstance(item, int | float) and not isinstance(item, bool) and float(item) != item:
            yield f"{item} is no double"


NOBODY_MIXPANEL = ["00000000-0000-0000-0000-000000000000", "anon", "anonymous", "nil", "none", "null", "n/a", "na"]
NOBODY_MIXPANEL += ["undefined", "unknown", "<nil>", "0", "-1", "true", "false", "[]", "{}"]


def mixpanel_events(body):
    if len(body) > 2 * 10**6:
        yield "more than 2 MB"
    events = parse(body)
    if not 1 <= len(events) <= 2_000:
        yield f"{len(events)} events"
    for event in events:
        yield from mixpanel_event(event)


def mixpanel_event(event):
    if set(event) != {"event", "properties"} or not isinstance(event["event"], str) or not event["event"].strip():
        yield f"not an event: {event!r:.99}"
    if len(json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()) >= 10**6:
        yield "an event of 1 MB"
    if len(event["event"]) > 255:
        yield "a long name"
    properties = event["properties"]
    if len(properties) >= 255:
        yield f"{len(properties)} properties"
    now = time.time()
    if not isinstance(properties["time"], int) or not 31_536_000 <= properties["time"] <= now + 3_600:
        yield f"time {properties['time']}"
    person = properties["distinct_id"]
    if not isinstance(person, str) or not person or person in NOBODY_MIXPANEL or len(person) > 255:
        yield f"distinct_id {person!r}"
    if not re.fullmatch(r"[A-Za-z0-9-]{1,36}", properties["$insert_id"]):
        yield f"$insert_id {properties['$insert_id']!r}"
    own = {"time", "distinct_id", "$insert_id", "ip"}
    if event["event"] == "identity linked":
        own |= {"$device_id", "$user_id"}
    for key, value in properties.items():
        yield from mixpanel_property(key, value, own)


def mixpanel_property(key, value, own):
    if key not in own and (key.startswith("$") or key in {"token", "bucket", "alias"}):
        yield f"a reserved property: {key}"
    if len(key) > 255:
        yield "a long name of a property"
    yield from numbers_and_texts({key: value})
    for inside, depth in walk(value):
        if isinstance(inside, dict | list) and (len(inside) >= 255 or depth > 3):
            yield f"{len(inside)} parts at depth {depth}"


def mixpanel_people(body):
    updates = parse(body)
    if len(body) > 2 * 10**6 or not 1 <= len(updates) <= 2_000:
        yield f"{len(updates)} updates in {len(body)} bytes"
    for update in updates:
        if set(update) != {"$token", "$distinct_id", "$ip", "$ignore_time", "$set"} or not update["$set"]:
            yield f"not an update: {update!r:.99}"
        if not update["$distinct_id"] or update.get("$ip") != 0 or update.get("$ignore_time") is not True:
            yield f"an update that moves a person or makes them new: {update!r:.99}"
        if len(json.dumps(update, ensure_ascii=False, separators=(",", ":")).encode()) > 10**6:
            yield "an update of more than 1 MB"
        if len(update["$set"]) > 2_000:
            yield "more than 2,000 properties"
        if any(key.startswith("$") for key in update["$set"]):
            yield "a property of Mixpanel's own"
        yield from numbers_and_texts(update["$set"])


def mixpanel_aliases(body):
    events = parse(body)
    if not 1 <= len(events) <= 2_000 or len(body) > 2 * 10**6:
        yield "too many"
    for event in events:
        pair = event["properties"]["$distinct_ids"]
        if event["event"] != "$merge" or set(event["properties"]) != {"$distinct_ids", "token"} or len(set(pair)) != 2:
            yield f"not a merge: {event!r:.99}"


NOBODY_AMPLITUDE = ["anonymous", "nil", "none", "null", "n/a", "na", "undefined", "unknown", '""', "{}", "lmy47d", "0"]
NOBODY_AMPLITUDE += ["-1", "00000000-0000-0000-0000-000000000000"]


def amplitude_events(body, least=5):
    if len(body) >= 10**6:
        yield "1 MB or more"
    found = parse(body)
    least = found.get("options", {}).get("min_id_length", least)
    if "api_key" not in found or not 1 <= len(found["events"]) < 2_000:
        yield "no key, or too many events"
    for event in found["events"]:
        yield from amplitude_event(event, least)


def amplitude_event(event, least):
    person = event["user_id"]
    if not isinstance(person, str) or not least <= len(person) <= 1_024 or person in NOBODY_AMPLITUDE:
        yield f"user_id {person!r:.99}"
    if not isinstance(event["time"], int) or event["time"] < 0 or event["time"] % 1_000:
        yield f"time {event['time']}"
    UUID(event["insert_id"])
    kind = event["event_type"]
    if not isinstance(kind, str) or not 1 <= len(kind) <= 1_024 or kind.startswith("[Amplitude] "):
        yield f"event_type {kind!r:.99}"
    keys = {"user_id", "event_type", "time", "insert_id"}
    if kind == "$identify":
        if set(event) != keys | {"user_properties"} or set(event["user_properties"]) != {"$set"}:
            yield "an identify call of another form"
        properties = event["user_properties"]["$set"]
    else:
        if kind.startswith("$") or set(event) != keys | {"event_properties"}:
            yield f"an event of another form: {kind}"
        properties = event["event_properties"]
    if any(depth > 40 for _, depth in walk(properties)):
        yield "more than 40 layers"
    yield from numbers_and_texts(properties)


def amplitude_usermap(body):
    form = dict(parse_qsl(body.decode("ascii"), strict_parsing=True))
    if set(form) != {"api_key", "mapping"} or len(body) > 10**6:
        yield "another form"
    mappings = parse(form["mapping"].encode())
    if not 1 <= len(mappings) <= 2_000:
        yield f"{len(mappings)} mappings"
    for mapping in mappings:
        if set(mapping) != {"user_id", "global_user_id"} or mapping["user_id"] == mapping["global_user_id"]:
            yield f"not a mapping: {mapping!r:.99}"


INSTRUCTIONS = {"$identify": {"$set", "$geoip_disable"}, "$create_alias": {"alias", "$geoip_disable"}}


def posthog_batch(body):
    found = parse(body)
    if len(body) >= 20 * 10**6 or found["historical_migration"] is not True or "api_key" not in found:
        yield "the body"
    for event in found["batch"]:
        yield from posthog_event(event)


def posthog_event(event):
    if set(event) != {"event", "distinct_id", "properties", "timestamp", "uuid"} or not event["event"].strip():
        yield f"not an event: {event!r:.99}"
    if len(json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()) > 10**6:
        yield "an event of more than 1 MB"
    if len(event["event"].encode()) > 200:
        yield f"a long name: {event['event']!r:.99}"
    yield from posthog_person(event["distinct_id"])
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", event["timestamp"]):
        yield f"timestamp {event['timestamp']}"
    time_of_it = datetime.fromisoformat(event["timestamp"])
    if time_of_it.timestamp() > time.time() - 48 * 3_600 or time_of_it.year < 1900:
        yield f"timestamp {event['timestamp']}"
    if str(UUID(event["uuid"])) != event["uuid"]:
        yield f"uuid {event['uuid']}"
    if event["properties"].get("$geoip_disable") is not True:
        yield "a place that is the sender's"
    yield from posthog_meaning(event)
    yield from numbers_and_texts(event["properties"])


def posthog_meaning(event):
    wanted = INSTRUCTIONS.get(event["event"])
    if event["event"].startswith("$") and set(event["properties"]) != wanted:
        yield f"an instruction: {event!r:.99}"
    if event["event"] == "$create_alias":
        yield from posthog_person(event["properties"]["alias"])
    elif event["event"] == "$identify":
        if len(json.dumps(event["properties"]["$set"], ensure_ascii=False).encode()) > 700_000:
            yield "too many bytes of a person"
    elif any(key.startswith("$") for key in set(event["properties"]) - {"$geoip_disable"}):
        yield "a property of PostHog's own"


def posthog_person(identity):
    if not identity.strip() or len(identity.encode()) > 200:
        yield f"distinct_id {identity!r:.99}"
    # The newer endpoint, which takes spaces away.
    if identity.strip() != identity or identity.lower() in {
        "0", "00000000-0000-0000-0000-000000000000", "[object object]", "anonymous", "anonymous-user", "backend",
        "distinct_id", "distinctid", "email", "false", "guest", "id", "nan", "none", "not_authenticated", "null",
        "system", "true", "undefined", "user",
    }:  # fmt: skip
        yield f"makes no person: {identity}"
    # Merging, which knows quotes.
    bare = identity[1:-1] if identity[:1] in {"'", '"'} and identity[-1:] == identity[:1] else identity
    folded = bare.lower()
    if folded in {"anonymous", "guest", "distinctid", "distinct_id", "id", "not_authenticated", "email"}:
        yield f"may not be merged: {identity}"
    if folded in {"undefined", "true", "false"} or bare in {"NaN", "None", "none", "null", "0", "[object Object]"}:
        yield f"may not be merged: {identity}"


def segment_call(call):
    if len(json.dumps(call, ensure_ascii=False, separators=(",", ":")).encode()) >= 32_000:
        yield "a call of 32 KB"
    if not isinstance(call["userId"], str) or not call["userId"]:
        yield "no userId"
    if not 1 <= len(call["messageId"]) < 100:
        yield "messageId"
    datetime.fromisoformat(call["timestamp"])
    yield from numbers_and_texts(call)
    keys = {"track": {"event", "properties"}, "identify": {"traits"}, "alias": {"previousId"}}[call["type"]]
    if set(call) != {"type", "userId", "timestamp", "messageId"} | keys:
        yield f"another form: {call!r:.99}"
    if call["type"] == "track" and not call["event"].strip():
        yield "no event"
    if call["type"] == "alias" and call["previousId"] == call["userId"]:
        yield f"not an alias: {call!r:.99}"


def segment_batch(body):
    found = parse(body)
    if len(body) > 500_000 or not 1 <= len(found["batch"]) <= 2_500:
        yield f"{len(found['batch'])} calls in {len(body)} bytes"
    for call in found["batch"]:
        yield from segment_call(call)


CHECKS = {
    "mixpanel-events": mixpanel_events,
    "mixpanel-people": mixpanel_people,
    "mixpanel-aliases": mixpanel_aliases,
    "amplitude-events": amplitude_events,
    "amplitude-usermap": amplitude_usermap,
    "posthog-batch": posthog_batch,
    "segment-batch": segment_batch,
}
