"""Files that a listing lacks, and files that go while they are read: told, and never fewer records in silence."""

from __future__ import annotations

import logging

import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from kmexport import Bucket, BucketUnreachableError, Event, RevisionNotFoundError, Window, mirror
from kmexport.testing import write_export
from tests.support.limited import limited
from tests.support.servers import serve_http_from


def events(number: int, many: int = 1) -> list[Event]:
    return [Event("bob", number * 10, "x", {"filler": "." * 50})] * many


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


class TestWebServers:
    def test_the_index_is_the_listing(self, web, tmp_path, caplog):
        write_export(web[1] / "indexed", {n: events(n) for n in range(1, 5)}, unindexed=[4], gone=[3])
        bucket = Bucket(f"{web[0]}/indexed")
        assert [revision.number for revision in bucket.revisions()] == [1, 2, 3]
        records = bucket.iter_records()
        assert [next(records).timestamp, next(records).timestamp] == [10, 20]
        with pytest.raises(RevisionNotFoundError, match=r"^revisions/3\.json: the file is gone"):
            next(records)
        assert [event.timestamp for event in bucket.iter_records(on_error="skip")] == [10, 20]
        assert warnings(caplog) == ["revisions/3.json: the file is gone; it was left out"]
        assert [revision.number for revision in bucket.audit(deep=True).missing] == [3]
        assert [revision.number for revision in bucket.coverage(Window(25, 31)).missing] == [3]
        assert mirror(bucket, tmp_path).vanished == ["revisions/3.json"]

    def test_an_index_without_a_byte_is_no_empty_export(self):
        with serve_http_from({"/shop/index.csv": b"", "/shop/status.csv": b""}) as url:
            for ask in (Bucket(f"{url}/shop").status, Bucket(f"{url}/shop").revisions):
                with pytest.raises(BucketUnreachableError, match="an empty answer came where a file was asked for"):
                    ask()


class Vanishing(MemoryFileSystem):
    """Files whose second reading says that they are gone."""

    cachable = False

    def open(self, path: str, mode: str = "rb", **options: object) -> object:
        file = super().open(path, mode, **options)
        return VanishingFile(file, path) if mode == "rb" and path.endswith("2.json") else file


class VanishingFile:
    def __init__(self, file: MemoryFile, path: str) -> None:
        self.file = file
        self.path = path

    def read(self, size: int) -> bytes:
        if self.file.tell():
            raise FileNotFoundError(self.path)
        block: bytes = self.file.read(size)
        return block

    def close(self) -> None:
        self.file.close()


class TestFilesThatGoWhileTheyAreRead:
    def test_skip_goes_on_and_says_so(self, caplog):
        bucket = write_export("/vanishing", {1: events(1), 2: events(2, 40_000), 3: events(3)}, fs=Vanishing())
        times = [event.timestamp for event in limited(bucket, prefetch_bytes=0).iter_records(on_error="skip")]
        assert (times[0], times[-1]) == (10, 30)
        assert 0 < times.count(20) < 40_000
        told = "revisions/2.json: the file is gone; the rest of it was left out"
        assert told in warnings(caplog)
        assert not [text for text in warnings(caplog) if "on_error" in text]

    @pytest.mark.parametrize("policy", ["raise", lambda _: None])
    def test_any_other_policy_raises(self, policy):
        bucket = write_export("/vanishing", {1: events(1), 2: events(2, 40_000), 3: events(3)}, fs=Vanishing())
        with pytest.raises(RevisionNotFoundError, match=r'pass on_error="skip"'):
            list(bucket.iter_records(on_error=policy))
