"""The proxy of the tests does what it says: otherwise a test of faults would prove nothing."""

from __future__ import annotations

import http.client
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.proxies import PLANS, Fault, proxied, proxied_process
from tests.support.servers import serve_http_from

BODY = bytes(range(256)) * 1000


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with serve_http_from({"/1": BODY, "/empty": b""}) as url:
        yield url


class Lasting(BaseHTTPRequestHandler):
    """Answers many requests on one connection: /chunked without a length, all else with one; and tells the Host."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        is_chunked = self.path == "/chunked"
        self.send_response(200)
        self.send_header("X-Host", self.headers["Host"])
        self.send_header(*("Transfer-Encoding", "chunked") if is_chunked else ("Content-Length", str(len(BODY))))
        self.end_headers()
        self.wfile.write(b"%x\r\n%b\r\n3\r\nend\r\n0\r\n\r\n" % (len(BODY), BODY) if is_chunked else BODY)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        pass


@pytest.fixture(scope="module")
def lasting() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Lasting) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def fetch(url: str, method: str = "GET") -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=2) as answer:
        content: bytes = answer.read()
        return content


def test_bytes_pass_unchanged_and_are_counted(upstream):
    with proxied(upstream) as proxy:
        assert (fetch(f"{proxy.endpoint}/1"), fetch(f"{proxy.endpoint}/empty")) == (BODY, b"")
        assert fetch(f"{proxy.endpoint}/1", "HEAD") == b""
        with pytest.raises(urllib.error.HTTPError, match="404") as caught:
            fetch(f"{proxy.endpoint}/none")
        caught.value.close()
        assert proxy.requests == [("GET", "/1"), ("GET", "/empty"), ("HEAD", "/1"), ("GET", "/none")]
        assert len(BODY) < proxy.bytes_down < len(BODY) + 1000


def test_a_connection_is_kept_and_the_head_stays_as_it_is(lasting):
    with proxied(lasting) as proxy:
        address = proxy.endpoint.removeprefix("http://")
        with closing(http.client.HTTPConnection(address, timeout=2)) as connection:
            sockets = set()
            for path in ("/1", "/chunked", "/2", "/chunked"):
                connection.request("GET", path)
                sockets.add(connection.sock)
                answer = connection.getresponse()
                assert answer.headers["X-Host"] == address
                assert answer.read() == (BODY + b"end" if path == "/chunked" else BODY)
            assert len(sockets) == 1


def test_each_request_waits_and_they_wait_together(upstream):
    with proxied(upstream, delay=0.2) as proxy, ThreadPoolExecutor(8) as pool:
        started = time.monotonic()
        assert set(pool.map(fetch, [f"{proxy.endpoint}/1"] * 8)) == {BODY}
        assert 0.2 <= time.monotonic() - started < 1.2


@pytest.mark.parametrize("after", [0, 0.5, 0.999, 1])
@pytest.mark.parametrize("kind", ["reset", "short", "stall"])
def test_a_body_that_breaks_off(upstream, kind, after):
    with proxied(upstream, plan=lambda method, path: Fault(kind, after), stall=0.3) as proxy:
        started = time.monotonic()
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)) as caught:
            fetch(f"{proxy.endpoint}/1")
        assert (time.monotonic() - started >= 0.3) == (kind == "stall")
        if kind == "reset":
            assert caught.type is ConnectionResetError
        else:
            assert caught.value.partial == BODY[: min(int(len(BODY) * after), len(BODY) - 1)]
        assert proxy.faults == {kind: 1}


@pytest.mark.parametrize("kind", ["reset", "short"])
def test_a_chunked_body_that_breaks_off(lasting, kind):
    with proxied(lasting, plan=lambda method, path: Fault(kind, 0.999)) as proxy:
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            fetch(f"{proxy.endpoint}/chunked")
        assert proxy.faults == {kind: 1}


@pytest.mark.parametrize("kind", ["reset", "short"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/empty"), ("HEAD", "/1")])
def test_an_answer_without_a_body_fails_before_its_head(upstream, method, path, kind):
    with proxied(upstream, plan=lambda method, path: Fault(kind, 1)) as proxy:
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            fetch(f"{proxy.endpoint}{path}", method)
        assert proxy.bytes_down == 0


def test_an_answer_of_its_own(upstream):
    faults = iter([Fault("503"), None])
    with proxied(upstream, plan=lambda method, path: next(faults)) as proxy:
        with pytest.raises(urllib.error.HTTPError, match="503") as caught:
            fetch(f"{proxy.endpoint}/1")
        with caught.value as answer:
            assert b"<Code>SlowDown</Code>" in answer.read()
        assert fetch(f"{proxy.endpoint}/1") == BODY


def test_a_stalled_answer_does_not_hold_up_the_end(upstream):
    with ThreadPoolExecutor(1) as pool:
        started = time.monotonic()
        with proxied(upstream, plan=lambda method, path: Fault("stall"), stall=60) as proxy:
            answer = pool.submit(fetch, f"{proxy.endpoint}/1")
            while not proxy.faults:
                time.sleep(0.01)
        assert time.monotonic() - started < 2
        with pytest.raises((http.client.IncompleteRead, OSError)):
            answer.result()


def test_a_process_of_its_own(upstream):
    with proxied_process(upstream, 0.0) as proxy:
        assert fetch(f"{proxy.endpoint}/1") == BODY
        assert proxy.counts()["requests"] == 1
        assert proxy.counts()["bytes_down"] > len(BODY)
        proxy.reset()
        assert proxy.counts() == {"requests": 0, "bytes_down": 0}
    with pytest.raises(OSError, match="refused"):
        proxy.counts()


class TestUnusualAnswers:
    """Each plan that answers with something else than the server would."""

    @pytest.fixture
    def folder(self, tmp_path):
        (tmp_path / "1").write_bytes(BODY)
        return tmp_path

    @pytest.fixture
    def ask(self, upstream, folder):
        """The status, the headers and the body of the answer to a request that meets a fault."""

        def asking(kind: str, path: str = "/1", **headers: str) -> tuple[int, dict[str, str], bytes]:
            with proxied(upstream, plan=lambda method, path: Fault(kind), files=folder) as proxy:
                with closing(http.client.HTTPConnection(proxy.endpoint.removeprefix("http://"), timeout=2)) as client:
                    client.request("GET", path, headers=headers)
                    answer = client.getresponse()
                    found = (answer.status, {name.lower(): value for name, value in answer.headers.items()})
                    body = answer.read()
                assert proxy.faults == {kind: 1}
            return *found, body

        return asking

    @pytest.mark.parametrize("kind", [kind for kind in PLANS if kind.isdigit()])
    def test_a_status(self, ask, kind):
        status, _, body = ask(kind)
        assert status == int(kind)
        assert (b"<Error>" in body) == (kind != "204")

    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            ("empty", b""),
            ("json", b'{"message": "not now"}'),
            ("text", b"not now"),
            ("shorter", BODY[: len(BODY) // 2]),
            ("longer", BODY + BODY[-1000:]),
            ("whole", BODY),
        ],
    )
    def test_success_with_another_body(self, ask, kind, body):
        status, headers, found = ask(kind)
        assert (status, found) == (200, body)
        assert headers["content-length"] == str(len(body))

    def test_pages_and_errors_that_look_like_success(self, ask):
        assert ask("html")[2].startswith(b"<html>")
        assert b"<Error><Code>InternalError" in ask("error")[2]

    def test_a_part_that_was_not_asked_for(self, ask):
        status, headers, body = ask("other part")
        start = len(BODY) // 2
        assert (status, body) == (206, BODY[start:])
        assert headers["content-range"] == f"bytes {start}-{start + len(body) - 1}/{len(BODY)}"

    def test_redirects(self, ask, upstream):
        assert ask("loop")[:2] == (302, {"location": "/1", "content-length": "0"})
        status, headers, _ = ask("redirect")
        assert status == 302
        with proxied(upstream) as proxy:
            assert b"type='password'" in fetch(f"{proxy.endpoint}{headers['location']}")

    def test_a_body_that_drips(self, ask):
        started = time.monotonic()
        assert ask("drip")[2] == BODY
        assert time.monotonic() - started >= 0.4

    def test_a_file_that_is_replaced(self):
        old, new = b'{"_p":"p1"}\n' * 100, b'{"_p":"q1"}\n' * 100
        faults = iter([Fault("replaced", 0.5)])
        with (
            serve_http_from({"/1": old}) as url,
            proxied(url, plan=lambda method, path: next(faults, None)) as proxy,
        ):
            with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
                fetch(f"{proxy.endpoint}/1")
            assert fetch(f"{proxy.endpoint}/1") == new
            asked = urllib.request.Request(f"{proxy.endpoint}/1", headers={"If-Match": '"of the old one"'})
            with pytest.raises(urllib.error.HTTPError, match="412") as caught:
                urllib.request.urlopen(asked, timeout=2)
            caught.value.close()

    def test_every_plan_is_tried_here(self):
        tried = {"reset", "short", "stall", "drip", "replaced", "redirect", "loop", "other part", "html", "error"}
        tried |= {kind for kind in PLANS if kind.isdigit()}
        assert set(PLANS) - tried == {"empty", "json", "text", "shorter", "longer", "whole"}
