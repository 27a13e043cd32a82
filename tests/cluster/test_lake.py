"""The lake by a cluster: what `kmexport.lake.sync` would have made, together with it, each revision once."""

from __future__ import annotations

import pytest
from attrs import evolve

from kmexport import Bucket
from kmexport.cluster import sync, syncing
from kmexport.cluster.syncing import WriteGroup
from kmexport.lake import sync as sync_here
from kmexport.lake import vacuum
from kmexport.lake.folder import LakeFolder
from kmexport.lake.storage import find_destination
from kmexport.testing import BROKEN_LINES, write_export
from tests.lake.test_lake import check_equal, plain, rows

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cluster")]


def an_export(folder, numbers) -> Bucket:
    """Every third revision has broken lines."""
    broken = list(BROKEN_LINES.values())
    lines = {number: [*plain(number), *(broken[:2] if number % 3 == 0 else [])] for number in numbers}
    return write_export(folder, lines)


def test_the_sample(client, tmp_path):
    bucket = Bucket.sample()
    summary = sync(bucket, tmp_path, group_bytes=50_000)
    assert summary.revisions == [revision.number for revision in bucket.revisions()]
    assert (summary.records, summary.commits, summary.problems) == (len(list(bucket.iter_records())), 1, [])
    check_equal(bucket, tmp_path)
    assert sync(bucket, tmp_path).revisions == sync_here(bucket, tmp_path).revisions == []
    assert vacuum(tmp_path, keep_hours=0) == []


def test_the_two_take_turns(client, tmp_path):
    lake = tmp_path / "lake"
    sync_here(an_export(tmp_path / "a", range(1, 5)), lake)
    middle = sync(an_export(tmp_path / "b", range(1, 9)), lake, group_bytes=1)
    assert (middle.present, middle.revisions, middle.commits) == (4, [5, 6, 7, 8], 1)
    bucket = an_export(tmp_path / "c", range(1, 11))
    assert sync_here(bucket, lake).revisions == [9, 10]
    check_equal(bucket, lake)


def test_a_run_beside_ours_brings_some_revisions_in_first(client, tmp_path, monkeypatch):
    lake = tmp_path / "lake"
    bucket = an_export(tmp_path / "all", range(1, 11))
    others = [an_export(tmp_path / "a", [2, 3]), an_export(tmp_path / "b", [6])]
    commit = syncing._commit

    def commit_later(*arguments):
        if others:
            sync_here(others.pop(), lake)
        return commit(*arguments)

    monkeypatch.setattr(syncing, "_commit", commit_later)
    one_revision = bucket.revisions()[0].size
    summary = sync(bucket, lake, group_bytes=3 * one_revision)
    assert sorted(summary.by_others) == [2, 3, 6]
    assert summary.revisions == [1, 4, 5, 7, 8, 9, 10]
    check_equal(bucket, lake)
    assert len(rows(lake)) == summary.records + 3 * len(plain(1))


def test_a_failed_run_adds_nothing(client, tmp_path):
    lake = tmp_path / "lake"
    bucket = an_export(tmp_path / "export", range(1, 7))
    path = tmp_path / "export" / "revisions" / "4.json"
    content = path.read_bytes()
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match=r"4\.json"):
        sync(Numbered(tmp_path / "export"), lake, group_bytes=1)
    assert rows(lake) == []
    path.rmdir()
    path.write_bytes(content)
    assert sync(bucket, lake, group_bytes=1).revisions == [1, 2, 3, 4, 5, 6]
    check_equal(bucket, lake)


class Numbered(Bucket):
    """Lists a revision that can't be read too."""

    def _listing(self):
        listing = super()._listing()
        return evolve(listing, revisions=sorted([*listing.revisions, *listing.missing]), missing=[])


def test_no_secret_shows_in_a_task(tmp_path):
    options = {"key": "AKIAMADEUPFORTESTS00", "secret": "sEcReT/of+the.lake", "endpoint_url": "http://127.0.0.1:9"}
    folder = LakeFolder(find_destination("s3://acme/lake", options))
    assert "sEcReT" not in repr(WriteGroup(Bucket("s3://acme/export", **options), folder, frozenset()))
