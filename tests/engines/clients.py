"""What the vendors' own clients send for the same records, beside our lines. Run by `nox -s clients`.

Every event, property set and alias of the sample, and of the real export where KMEXPORT_REAL_DATA names a folder, goes
through the official Python client of each target, whose requests are caught on loopback. Field by field the two have to
be equal, but for what `DIFFERENCES` lists with a reason. A difference that is listed and is never seen is an error too.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import threading
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

from amplitude import Amplitude, BaseEvent, Config, EventOptions, Identify
from mixpanel import Consumer, Mixpanel
from mixpanel_utils import MixpanelUtils
from posthog import Posthog
from segment.analytics.client import Client as Segment

from kmexport import Bucket, Event, PropertySet, drop_duplicates, fold_name, merge_identities, migrate, sort_by_time
from kmexport.format.names import VENDOR_KEYS

TOKEN = "TOKEN"
AT = datetime(2012, 10, 1, tzinfo=UTC)

MACHINE = "the machine that sends, not that of the person"
OF_THE_MACHINE = ("$os", "$os_version", "$os_distro", "$python_runtime", "$python_version")

# By client, kind of record, and field: why theirs and ours differ. "-": only they say it; "+": only we do.
DIFFERENCES = {
    "mixpanel": {
        ("event", "- properties.token"): "the login of /import says the project",
        ("event", "- properties.mp_lib"): "the name of the client",
        ("event", "- properties.$lib_version"): "the version of the client",
        ("property_set", "- $time"): "the client's own clock, which $ignore_time makes void",
    },
    "mixpanel-utils": {
        ("event", "- properties.token"): "the login of /import says the project",
        ("property_set", "- $ignore_alias"): "false is what it is without",
    },
    "amplitude": {
        ("event", "- library"): "the name of the client",
        ("property_set", "- library"): "the name of the client",
    },
    "posthog": {
        **{("event", f"- properties.{name}"): MACHINE for name in OF_THE_MACHINE},
        ("event", "- properties.$lib"): "the name of the client",
        ("event", "- properties.$lib_version"): "the version of the client",
        ("event", "- properties.$is_server"): "says that the client runs on a server, as lines from a browser do not",
        ("property_set", "- properties.$lib"): "the name of the client",
        ("property_set", "- properties.$lib_version"): "the version of the client",
        ("property_set", "- properties.$is_server"): "as above",
        ("property_set", "event"): "$set: the same update; PostHog's page on migrations names $identify",
        ("property_set", "- $set"): "PostHog reads it on top and in the properties alike",
        ("property_set", "+ properties.$set"): "PostHog reads it on top and in the properties alike",
        ("alias", "- properties.$lib"): "the name of the client",
        ("alias", "- properties.$lib_version"): "the version of the client",
        ("alias", "- properties.$is_server"): "as above",
        ("alias", "- properties.distinct_id"): "the same as the event's own, which is the one that is read",
    },
    "segment": {
        ("event", "- integrations"): "empty: all destinations, as without",
        ("event", "- context"): "the name and version of the client",
        ("event", "- anonymousId"): "null: there is a userId",
        ("property_set", "- integrations"): "as above",
        ("property_set", "- context"): "as above",
        ("property_set", "- anonymousId"): "as above",
        ("alias", "- integrations"): "as above",
        ("alias", "- context"): "as above",
        ("alias", "- anonymousId"): "as above",
    },
}


@contextmanager
def catching():
    """A server that takes everything; yields its URL and the requests as they come."""
    caught, lock = [], threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # an answer is two writes: it would wait 40 ms for an acknowledgement

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            with lock:
                caught.append((self.path.partition("?")[0], body))
            answer = b'{"status": 1, "error": null, "code": 200, "success": true}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format, *args):  # noqa: A002  # the base's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", caught
        server.shutdown()


def kind_of(record):
    return {Event: "event", PropertySet: "property_set"}.get(type(record), "alias")


def moment(record):
    return datetime.fromtimestamp(record.timestamp, UTC)


def by_mixpanel(pairs):
    with catching() as (url, caught):
        consumer = Consumer(events_url=f"{url}/track", people_url=f"{url}/engage", import_url=f"{url}/import")
        client = Mixpanel(TOKEN, consumer)
        for record, line in pairs:
            if isinstance(record, Event):
                own = {name: line["properties"][name] for name in ("$insert_id", "ip")}
                client.import_data(None, record.person, line["event"], record.timestamp, {**said(record), **own})
            elif isinstance(record, PropertySet):
                client.people_set(record.person, said(record), meta={"$ip": 0, "$ignore_time": True})
            else:
                client.merge(None, record.person, record.alias)
    return [json.loads(parse_qs(body.decode())["data"][0]) for _, body in caught]


def by_mixpanel_utils(pairs):
    pairs = [pair for pair in pairs if kind_of(pair[0]) != "alias"]
    events = [line for record, line in pairs if isinstance(record, Event)]
    people = [
        {"$distinct_id": record.person, "$properties": said(record)}
        for record, line in pairs
        if isinstance(record, PropertySet)
    ]
    with catching() as (url, caught):
        client = MixpanelUtils("secret", token=TOKEN, pool_size=1)
        client.import_api = url
        client.import_events(events, timezone_offset=0)
        client.import_people(people)
    sent = {"/import": [], "/engage": []}
    for path, body in caught:
        text = body if path == "/import" else base64.b64decode(parse_qs(body.decode())["data"][0])
        sent[path] += json.loads(text)
    order = {"event": iter(sent["/import"]), "property_set": iter(sent["/engage"])}
    return [next(order[kind_of(record)]) for record, _ in pairs]


def by_amplitude(pairs):
    pairs = [pair for pair in pairs if kind_of(pair[0]) != "alias"]
    with catching() as (url, caught):
        client = Amplitude("KEY", Config(server_url=f"{url}/batch", flush_queue_size=500, min_id_length=1))
        for record, line in pairs:
            own = {"user_id": record.person, "time": record.timestamp * 1_000, "insert_id": line["insert_id"]}
            if isinstance(record, Event):
                client.track(BaseEvent(line["event_type"], event_properties=said(record), **own))
            else:
                changes = Identify()
                for name, value in said(record).items():
                    changes.set(name, value)
                client.identify(changes, EventOptions(**own))
        client.shutdown()
        client.flush()
        waited = threading.Event()
        while sum(len(json.loads(body)["events"]) for _, body in list(caught)) < len(pairs):
            waited.wait(0.05)
    sent = {event["insert_id"]: event for _, body in caught for event in json.loads(body)["events"]}
    return [sent[line["insert_id"]] for _, line in pairs]


def by_posthog(pairs):
    with catching() as (url, caught):
        client = Posthog("KEY", host=url, historical_migration=True)
        for record, line in pairs:
            own = {"timestamp": moment(record), "uuid": line["uuid"]}
            if isinstance(record, Event):
                client.capture(line["event"], distinct_id=record.person, properties=said(record), **own)
            elif isinstance(record, PropertySet):
                client.set(distinct_id=record.person, properties=said(record), **own)
            else:
                client.alias(previous_id=record.person, distinct_id=record.alias, **own)
        client.shutdown()
    bodies = [json.loads(body) for _, body in caught]
    assert all(body["historical_migration"] is True for body in bodies)
    return [event for body in bodies for event in body["batch"]]


def by_segment(pairs):
    with catching() as (url, caught):
        client = Segment("KEY", host=url, sync_mode=True)
        for record, line in pairs:
            own = {"user_id": record.person, "timestamp": moment(record), "message_id": line["messageId"]}
            if isinstance(record, Event):
                client.track(event=line["event"], properties=said(record), **own)
            elif isinstance(record, PropertySet):
                client.identify(traits=said(record), **own)
            else:
                client.alias(previous_id=record.alias, **own)
    return [call for _, body in caught for call in json.loads(body)["batch"]]


def said(record):
    """The properties that a caller would hand to a client: names folded, without the vendor's own keys and nulls."""
    properties = {}
    for name, value in record.properties.items():
        if value is not None and name not in VENDOR_KEYS:
            properties.setdefault(fold_name(name), value)
    return properties


def flat(value, path=""):
    """The fields of an object by their paths; what is in the properties of a record stays whole."""
    fields = {}
    for key, item in value.items():
        if key == "properties" and isinstance(item, dict):
            fields |= flat(item, "properties.")
        else:
            fields[f"{path}{key}"] = item
    return fields


def is_equal(field, ours, theirs):
    if field == "timestamp":  # one moment, spelt in two ways
        return datetime.fromisoformat(ours) == datetime.fromisoformat(theirs)
    return ours == theirs


def compare(name, pairs, sent):
    """How often each difference was seen, and those that are not listed."""
    seen, wrong = Counter(), []
    for (record, line), found in zip(pairs, sent, strict=True):
        ours, theirs = flat(line), flat(found)
        both = ours.keys() & theirs.keys()
        fields = [f"+ {field}" for field in ours.keys() - both] + [f"- {field}" for field in theirs.keys() - both]
        fields += [field for field in both if not is_equal(field, ours[field], theirs[field])]
        for field in fields:
            where = (kind_of(record), field)
            seen[where] += 1
            if where not in DIFFERENCES[name]:
                wrong.append((where, line, found))
    return seen, wrong


def moving(bucket):
    people = bucket.identities(on_error="skip")
    records = bucket.iter_records(kinds=(Event, PropertySet), on_error="skip")
    yield from sort_by_time(drop_duplicates(merge_identities(records, people)))
    yield from migrate.known_aliases(people, at=AT)


def pairs_of(target, records):
    """Each record that the target takes, and its line."""
    for record in records:
        for line in target([record], on_error=lambda error: None):
            yield record, json.loads(line.text)


CLIENTS = {
    "mixpanel": (partial(migrate.mixpanel, token=TOKEN, id_merge="original"), by_mixpanel),
    "mixpanel-utils": (partial(migrate.mixpanel, token=TOKEN, id_merge="original"), by_mixpanel_utils),
    "amplitude": (partial(migrate.amplitude, min_id_length=1), by_amplitude),
    "posthog": (migrate.posthog, by_posthog),
    "segment": (migrate.segment, by_segment),
}
WITHOUT_ALIASES = {"mixpanel-utils", "amplitude"}  # the one has no call for them, the other no client


def main():
    exports = {"sample": Bucket.sample()}
    if folder := os.environ.get("KMEXPORT_REAL_DATA"):
        exports["real export"] = Bucket(Path(folder) / "real-export")
    failed = False
    for name, (target, by_client) in CLIENTS.items():
        all_seen = Counter()
        for export, bucket in exports.items():
            pairs = list(pairs_of(target, moving(bucket)))
            if name in WITHOUT_ALIASES:
                pairs = [pair for pair in pairs if kind_of(pair[0]) != "alias"]
            seen, wrong = compare(name, pairs, by_client(pairs))
            all_seen += seen
            counts = Counter(kind_of(record) for record, _ in pairs)
            print(f"{name}, {export}: {dict(counts)}, {len(wrong)} differences that are not listed")
            for where, ours, theirs in wrong[:5]:
                print(f"    {where}: ours {ours!r:.300}, theirs {theirs!r:.300}")
            failed |= bool(wrong)
        for where in DIFFERENCES[name].keys() - all_seen.keys():
            print(f"{name}: {where} is listed and was never seen")
            failed |= DIFFERENCES[name][where] != MACHINE  # another system says less of itself
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
