"""Limits: checked when they are made, and held by everything that reads a bucket."""

from __future__ import annotations

import pickle

import pytest

from kmexport import Bucket, Event, Limits, MalformedRecordError
from kmexport.testing import write_export

LONG = Event("bob", 1_349_222_400, "x", {"text": "." * 2_000})


@pytest.mark.parametrize(
    ("limits", "error", "words"),
    [
        ({"prefetch_bytes": -1}, ValueError, "prefetch_bytes is at least 0, not -1"),
        ({"requests": 0}, ValueError, "requests is at least 1, not 0"),
        ({"max_line_bytes": 0}, ValueError, "max_line_bytes is at least 1, not 0"),
        ({"silent_for": 0}, ValueError, "silent_for is more than 0 seconds, not 0"),
        ({"silent_for": float("nan")}, ValueError, "silent_for is more than 0 seconds, not nan"),
        ({"requests": True}, TypeError, "requests is a whole number, not True"),
        ({"prefetch_bytes": "64 MiB"}, TypeError, "prefetch_bytes is a whole number, not '64 MiB'"),
        ({"silent_for": "long"}, TypeError, "silent_for is a number of seconds, not 'long'"),
        ({"silent_for": False}, TypeError, "silent_for is a number of seconds, not False"),
    ],
)
def test_are_checked_when_they_are_made(limits, error, words):
    with pytest.raises(error, match=words):
        Limits(**limits)


def test_a_bucket_takes_no_others():
    with pytest.raises(TypeError, match=r"limits= is a kmexport.Limits, such as Limits\(requests=4\), not 4"):
        Bucket("/nowhere", limits=4)


def test_they_travel_with_the_bucket():
    limits = Limits(prefetch_bytes=1 << 20, requests=2, silent_for=5, max_line_bytes=1_000)
    bucket = pickle.loads(pickle.dumps(Bucket("memory://limits", limits=limits)))
    assert bucket.limits == limits
    assert Bucket("memory://limits").limits == Limits()


def test_every_way_to_read_holds_the_longest_line():
    write_export("memory://limits", {1: [LONG]})
    bucket = Bucket("memory://limits", limits=Limits(max_line_bytes=1_000))
    for read in (
        lambda: list(bucket.iter_records()),
        lambda: list(bucket.read([1])),
        lambda: bucket.to_batches().read_all(),
        lambda: bucket.to_batches(revisions=[1]).read_all(),
    ):
        with pytest.raises(MalformedRecordError, match="above the limit, max_line_bytes=1,000"):
            read()
    assert bucket.audit(deep=True).malformed == {"revisions/1.json": 1}
