"""Loopback servers that answer as Mixpanel, Amplitude, PostHog and Segment do, and fail as often as one likes."""

from __future__ import annotations

import base64
import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs

from tests.support.migrate_checks import CHECKS
from tests.support.servers import serve

KEY, LOGIN = "the key of the project", "user:password"
TAKES_A_LOGIN = {"mixpanel-events", "mixpanel-aliases", "segment-batch"}
TAKES_A_KEY = {"amplitude-events", "amplitude-usermap", "posthog-batch"}
KEY_OF_LINES = {"amplitude-events": "events", "posthog-batch": "batch", "segment-batch": "batch"}


class Target:
    """What arrived: `taken` counts each line by its id, or by its whole text where it has none.

    `refused` are the persons whose lines the target can't take; `fails` is the part of the requests that fail for a
    moment, one way after the other; a body of more than `most_bytes` is too large.
    """

    def __init__(self, *, fails=0.0, refused=(), most_bytes=10**9, checks=True, seed=1):
        self.taken: Counter[str] = Counter()
        self.requests = 0
        self.answers: Counter[object] = Counter()
        self.fails, self.refused, self.most_bytes, self.checks = fails, set(refused), most_bytes, checks
        self.random = random.Random(seed)
        self.lock = threading.Lock()

    def answer(self, name, headers, body):
        """The status, headers and body of an answer; None where the connection is cut."""
        with self.lock:
            self.requests += 1
            failure = None
            if self.random.random() < self.fails:
                failure = self.random.choice(["cut", "cut after it was taken", 429, 500, 503])
            answered = self._answer(name, headers, body, failure)
            self.answers[answered and answered[0]] += 1
            return answered

    def _answer(self, name, headers, body, failure):
        if failure == "cut":
            return None
        if isinstance(failure, int):
            return failure, {"Retry-After": "0"} if failure == 429 else {}, b"not now"
        if len(body) > self.most_bytes:
            return 413, {}, b"too large"
        answered = self._refuse(name, headers, body)
        if answered is None:
            lines = lines_of(name, body)
            bad = [number for number, line in enumerate(lines) if person_of(line) in self.refused]
            answered = self._take(name, lines, bad)
        return None if failure else answered

    def _refuse(self, name, headers, body):
        if name in TAKES_A_LOGIN and headers["Authorization"] != f"Basic {base64.b64encode(LOGIN.encode()).decode()}":
            return 401, {}, b'{"error":"unauthorized"}'
        if self.checks and (complaints := list(CHECKS[name](body))):
            return 400, {}, json.dumps({"error": complaints[0]}).encode()
        if lines_of(name, body) is None:
            return 400, {}, b'{"error":"invalid key: some key or other that is long"}'
        return None

    def _take(self, name, lines, bad):
        if bad and name == "amplitude-events":
            return 400, {}, json.dumps({"code": 400, "events_with_invalid_fields": {"user_id": bad}}).encode()
        self.taken.update(id_of(line) for number, line in enumerate(lines) if number not in bad)
        if bad and name == "mixpanel-events":
            failed = [{"index": number, "insert_id": id_of(lines[number]), "field": "x"} for number in bad]
            answer = {"code": 400, "num_records_imported": len(lines) - len(bad), "failed_records": failed}
            return 400, {}, json.dumps(answer).encode()
        answers = {"posthog-batch": b'{"status":"Ok"}', "segment-batch": b'{"success":true}'}
        return 200, {}, answers.get(name, b'{"code":200,"status":1}')


def lines_of(name, body):
    """The lines of a body; None for a wrong key."""
    if name == "amplitude-usermap":
        form = parse_qs(body.decode())
        return json.loads(form["mapping"][0]) if form["api_key"] == [KEY] else None
    found = json.loads(body)
    if name not in KEY_OF_LINES:
        return found
    return found[KEY_OF_LINES[name]] if name == "segment-batch" or found["api_key"] == KEY else None


def id_of(line):
    values = {**line, **line.get("properties", {})}
    found = (values.get(key) for key in ("$insert_id", "insert_id", "uuid", "messageId"))
    return next(filter(None, found), None) or json.dumps(line, sort_keys=True)


def person_of(line):
    values = {**line, **line.get("properties", {})}
    return values.get("distinct_id", values.get("user_id"))


@contextmanager
def serve_target(target: Target) -> Iterator[str]:
    """A target on loopback. Yields its URL, to which the name of an endpoint is added."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # an answer is two writes: it would wait 40 ms for an acknowledgement

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answered = target.answer(self.path.strip("/").partition("?")[0], self.headers, body)
            if answered is None:
                self.close_connection = True
                self.connection.close()
                return
            status, headers, text = answered
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(text))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        def finish(self):
            try:
                super().finish()
            except (OSError, ValueError):  # cut, by us or by a sender that was killed
                self.rfile.close()

        def log_message(self, format, *args):  # noqa: A002  # the base's name
            pass

    with serve(Handler) as url:
        yield url
