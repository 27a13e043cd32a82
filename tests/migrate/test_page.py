"""The sender of docs/migrate.md moves every line once, whatever the target answers and however often it is killed."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import time
from functools import partial

import httpx
import pytest
import tenacity

from kmexport import Alias, Bucket, Event, PropertySet, migrate
from tests.support.pages import ROOT, blocks
from tests.support.servers import ended
from tests.support.targets import KEY, LOGIN, TAKES_A_KEY, TAKES_A_LOGIN, Target, id_of, serve_target

pytestmark = pytest.mark.slow

WITHIN = 120  # seconds
MOVED_LINES = int(os.environ.get("KMEXPORT_MOVED_LINES", "20000"))
T = 1349222400
BOB = "bob@example.com"
TARGETS = {
    "mixpanel-events": partial(migrate.mixpanel, token="T", id_merge="original"),
    "amplitude-events": migrate.amplitude,
    "posthog-batch": migrate.posthog,
    "segment-batch": migrate.segment,
}


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    (text,) = [
        text for language, text in blocks(ROOT / "docs" / "migrate.md") if language == "python" and "httpx" in text
    ]
    assert sum(bool(line.strip()) for line in text.splitlines()) <= 40
    path = tmp_path_factory.mktemp("page") / "send.py"
    path.write_text(text, encoding="utf-8")
    return path


def start(script, file, url, **environment):
    """The sender as a process of its own, with the key or the login that the target asks for."""
    asked = {"LOGIN": LOGIN} if file.stem in TAKES_A_LOGIN else {"API_KEY": KEY} if file.stem in TAKES_A_KEY else {}
    given = {**asked, "TARGET_URL": f"{url}/{file.stem}", **environment}
    log = file.with_suffix(".log").open("ab")
    with log:
        return subprocess.Popen(
            [sys.executable, str(script), str(file)], stdout=log, stderr=log, env={**os.environ, **given}
        )


def send(script, file, url, **environment):
    process = start(script, file, url, **environment)
    with ended(process):
        return process.wait(WITHIN)


def said(file):
    return file.with_suffix(".log").read_text(encoding="utf-8")


def ids(file):
    return [id_of(json.loads(text)) for text in file.read_bytes().splitlines()]


def write(lines, folder):
    migrate.write(lines, folder)
    return sorted(folder.glob("*.jsonl"))


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_every_line_of_the_sample_is_moved_once(target, script, tmp_path):
    people = Bucket.sample().identities()
    records = [*Bucket.sample().iter_records(kinds=(Event, PropertySet)), *migrate.known_aliases(people, at=T)]
    records.append(Alias(BOB, T, "bob-1"))
    for file in write(target(records, on_error="skip"), tmp_path):
        arrived = Target(fails=0.2, most_bytes=50_000)
        with serve_target(arrived) as url:
            assert send(script, file, url) == 0, said(file)
        assert set(arrived.taken) == set(ids(file)), file
        assert file.with_suffix(".refused").read_bytes() == b""


@pytest.mark.parametrize("name", ["mixpanel-events", "amplitude-events"])
def test_what_the_target_refuses_is_kept_and_the_others_are_moved(name, script, tmp_path):
    events = [Event(f"person {number % 7}", T + number, "x") for number in range(5_000)]
    (file,) = write(TARGETS[name](events), tmp_path)
    arrived = Target(refused=["person 3"], most_bytes=100_000)
    with serve_target(arrived) as url:
        assert send(script, file, url) == 0, said(file)
    refused = file.with_suffix(".refused").read_bytes().splitlines()
    assert refused == [text for text in file.read_bytes().splitlines() if b'"person 3"' in text]
    assert sorted([*arrived.taken.elements(), *map(id_of, map(json.loads, refused))]) == sorted(ids(file))
    assert arrived.answers[413] > 0  # and their halves went through
    # By its id one finds a refused line in the file, and by the line the record.
    one = id_of(json.loads(refused[0]))
    assert [text for text in file.read_bytes().splitlines() if one.encode() in text] == refused[:1]


def test_a_request_that_is_refused_as_a_whole_stops_the_sender(script, tmp_path):
    (file,) = write(migrate.posthog([Event(BOB, T, "x")]), tmp_path)
    arrived = Target()
    with serve_target(arrived) as url:
        assert send(script, file, url, API_KEY="another") != 0
        assert "AnswerError" in said(file)
        assert "the target answered 400" in said(file)
        assert not arrived.taken
        assert send(script, file, url) == 0
    assert list(arrived.taken) == ids(file)


def test_a_login_is_asked_for_and_never_shown(script, tmp_path):
    (file,) = write(TARGETS["mixpanel-events"]([Event(BOB, T, "x")]), tmp_path)
    with serve_target(Target()) as url:
        assert send(script, file, url, LOGIN="user:not-the-password") != 0
    assert "401" in said(file)
    assert "not-the-password" not in said(file)


def test_it_waits_as_long_as_the_target_says(script, capsys):
    tree = ast.parse(script.read_text(encoding="utf-8"))
    names = {"tenacity": tenacity}
    exec(ast.unparse(next(part for part in tree.body if getattr(part, "name", "") == "pause")), names)

    def pause_after(error, tries=1):
        state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
        state.attempt_number = tries
        state.set_exception((type(error), error, None))
        return names["pause"](state)

    def answered(status, **headers):
        request = httpx.Request("POST", "https://target.example")
        return httpx.HTTPStatusError("x", request=request, response=httpx.Response(status, headers=headers))

    assert pause_after(answered(429, **{"Retry-After": "7"})) == 7
    for error in (answered(503), answered(429, **{"Retry-After": "Wed, 03 Oct 2012"}), httpx.ReadError("cut")):
        assert 0 <= pause_after(error) <= 1
        assert 0 <= pause_after(error, tries=20) <= 60
    assert "waiting: " in capsys.readouterr().out


def some_events(count):
    return (Event(f"person {number % 9_973}", T + number, "visited site", {"n": number}) for number in range(count))


def test_a_sender_that_is_killed_twice_moves_every_line_once(script, tmp_path, capsys):
    begun = time.process_time()
    (file,) = write(migrate.posthog(some_events(MOVED_LINES)), tmp_path)
    written = time.process_time() - begun
    wanted = set(ids(file))
    assert len(wanted) == MOVED_LINES
    arrived = Target(fails=0.05, checks=MOVED_LINES <= 20_000)
    batches = MOVED_LINES // 1_000
    deadline = time.monotonic() + max(WITHIN, MOVED_LINES / 500)
    with serve_target(arrived) as url:
        for kill_at in (batches // 3, 2 * batches // 3):
            process = start(script, file, url)
            with ended(process):
                while arrived.requests < kill_at and time.monotonic() < deadline:
                    assert process.poll() is None, said(file)
                    time.sleep(0.001)
                process.kill()
                process.wait(WITHIN)
        process = start(script, file, url)
        with ended(process):
            assert process.wait(max(1.0, deadline - time.monotonic())) == 0, said(file)
    assert set(arrived.taken) == wanted
    twice = sum(times - 1 for times in arrived.taken.values())
    # Only what was taken when the sender was killed, or when the connection was cut, is sent again.
    assert twice <= 1_000 * (2 + arrived.answers[None])
    assert len(file.with_suffix(".sent").read_text(encoding="utf-8").splitlines()) == batches
    with capsys.disabled():
        print(
            f"\n{MOVED_LINES:,} lines written in {written:.1f} s of processor time; "
            f"{arrived.requests:,} requests, of which {arrived.requests - arrived.answers[200]:,} failed; "
            f"every line is there, {twice:,} were sent twice"
        )
