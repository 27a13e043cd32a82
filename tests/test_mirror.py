"""A copy holds every file of the export, whole, and keeps what the export loses."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from kmexport import (
    Bucket,
    BucketNotFoundError,
    BucketUnreachableError,
    EmptyListingError,
    Event,
    IndexFormatError,
    Window,
    mirror,
)
from kmexport.revisions.manifest import batch_time
from kmexport.testing import BROKEN_LINES, write_export
from tests.support.strategies import RECORDS, examples


def event(second: int) -> Event:
    return Event("ann", second, "x")


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    lines = {n: [event(100 * n), event(100 * n + 50)] for n in range(1, 6)}
    lines[3] = [*lines[3], *BROKEN_LINES.values()]
    return write_export(tmp_path / "vendor", lines, gzipped=[2], unindexed=[5])


def test_every_byte_is_copied_and_nothing_twice(bucket, tmp_path):
    copy = mirror(bucket, tmp_path / "copy")
    assert copy.revisions == [1, 2, 3, 4, 5]
    assert (copy.present, copy.problems) == (0, [])
    assert files_of(tmp_path / "copy") == files_of(tmp_path / "vendor")
    assert copy.bytes == sum(len(b) for name, b in files_of(tmp_path / "vendor").items() if "revisions" in name)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "copy" / "revisions").iterdir()}
    again = mirror(bucket, tmp_path / "copy")
    assert (again.present, again.revisions, again.bytes) == (5, [], 0)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "copy" / "revisions").iterdir()}


class Watched(MemoryFileSystem):
    """Counts how often each file is read."""

    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self.read: Counter[str] = Counter()

    def cat_file(self, path: str, **options: Any) -> bytes:
        self.read[path.rpartition("/")[2]] += 1
        return super().cat_file(path, **options)


def test_each_manifest_is_read_once(tmp_path):
    fs = Watched()
    bucket = write_export("/read-once", {1: [event(1)], 2: [event(2)]}, fs=fs)
    fs.read.clear()
    assert mirror(bucket, tmp_path / "copy").revisions == [1, 2]
    assert fs.read == {"status.csv": 1, "index.csv": 1}


@given(st.dictionaries(st.integers(1, 30), st.lists(RECORDS, max_size=4), max_size=6), st.data())
@settings(max_examples=examples(25))
def test_the_copy_is_the_same_bucket(tmp_path_factory, revisions, data):
    root = tmp_path_factory.mktemp("random")
    numbers = st.sets(st.sampled_from(sorted(revisions)), max_size=3) if revisions else st.just(set())
    bucket = write_export(root / "vendor", revisions, unindexed=data.draw(numbers), gzipped=data.draw(numbers))
    mirror(bucket, root / "copy")
    copy = Bucket(root / "copy")
    assert copy.index() == bucket.index()
    assert copy.status() == bucket.status()
    assert copy.revisions() == bucket.revisions()
    assert list(copy.iter_records()) == list(bucket.iter_records())


def test_what_the_vendor_deletes_stays(bucket, tmp_path):
    mirror(bucket, tmp_path / "copy")
    write_export(tmp_path / "later", {n: [event(100 * n), event(100 * n + 50)] for n in range(4, 9)})
    copy = mirror(Bucket(tmp_path / "later"), tmp_path / "copy")
    assert copy.revisions == [6, 7, 8]
    found = Bucket(tmp_path / "copy")
    assert [revision.number for revision in found.revisions()] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [(row.number, row.min_timestamp, row.max_timestamp) for row in found.index()] == [
        (n, batch_time(n, 100 * n), batch_time(n, 100 * n + 50)) for n in (1, 2, 3, 4, 5, 6, 7, 8)
    ]
    assert [record.timestamp for record in found.iter_records(Window(100, 151), on_error="skip")] == [100, 150]
    assert found.status() == Bucket(tmp_path / "later").status()
    # and from then on, night after night
    again = (tmp_path / "copy" / "index.csv").read_bytes()
    mirror(Bucket(tmp_path / "later"), tmp_path / "copy")
    assert (tmp_path / "copy" / "index.csv").read_bytes() == again


def test_an_export_whose_files_are_gone_does_not_touch_the_copy(bucket, tmp_path):
    mirror(bucket, tmp_path / "copy")
    before = files_of(tmp_path / "copy")
    for path in (tmp_path / "vendor" / "revisions").iterdir():
        path.unlink()
    with pytest.raises(EmptyListingError):
        mirror(bucket, tmp_path / "copy")
    assert files_of(tmp_path / "copy") == before


@pytest.mark.parametrize("other", ["4.json.gz", "04.json"])
def test_a_file_that_grew_is_copied_also_where_another_one_has_its_number(bucket, tmp_path, other):
    url = f"memory://another-has-its-number/{other}"
    mirror(bucket, url)
    MemoryFileSystem().pipe_file(f"{url}/revisions/{other}", b"whatever")
    with (tmp_path / "vendor" / "revisions" / "4.json").open("ab") as file:
        file.write(b'{"_p":"bob","_t":450}\n')
    copy = mirror(bucket, url)
    assert (copy.present, copy.revisions, copy.grown) == (5, [4], ["revisions/4.json"])


def test_a_file_that_grew_is_copied_and_one_that_shrank_is_kept(bucket, tmp_path, caplog):
    mirror(bucket, tmp_path / "copy")
    kept = (tmp_path / "copy" / "revisions" / "1.json").read_bytes()
    (tmp_path / "vendor" / "revisions" / "1.json").write_bytes(b"")
    with (tmp_path / "vendor" / "revisions" / "4.json").open("ab") as file:
        file.write(b'{"_p":"bob","_t":450}\n')
    copy = mirror(bucket, tmp_path / "copy")
    assert (copy.revisions, copy.grown, copy.shrunk) == ([4], ["revisions/4.json"], ["revisions/1.json"])
    assert (tmp_path / "copy" / "revisions" / "1.json").read_bytes() == kept
    assert (tmp_path / "copy" / "revisions" / "4.json").read_bytes().endswith(b"450}\n")
    assert str(copy).splitlines()[1:] == [
        "- revisions/4.json is larger now than its copy was, and was copied again",
        "- revisions/1.json is smaller now than its copy, which stays",
    ]
    assert "revisions/1.json is smaller" in copy._repr_html_()


def test_a_run_says_what_it_did_in_a_line(bucket, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "kmexport"):
        summary = mirror(bucket, tmp_path / "copy")
    assert summary.headline in caplog.messages
    told = json.loads(json.dumps(summary.to_dict()))
    assert told == {
        "url": str(tmp_path / "copy"),
        "present": 0,
        "revisions": summary.revisions,
        "bytes": summary.bytes,
        "seconds": round(summary.seconds, 3),
        "problems": [],
    }


def test_a_file_that_is_packed_by_now_is_there_already(bucket, tmp_path):
    mirror(bucket, tmp_path / "copy")
    import gzip

    path = tmp_path / "vendor" / "revisions" / "4.json"
    (path.parent / "4.json.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    assert mirror(bucket, tmp_path / "copy").revisions == []


@pytest.mark.parametrize("damage", ["status.csv", "index.csv"])
def test_no_export_is_told_before_anything_is_written(bucket, tmp_path, damage):
    (tmp_path / "vendor" / damage).unlink()
    with pytest.raises(BucketNotFoundError):
        mirror(bucket, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_an_index_that_is_none_is_told_before_anything_is_written(bucket, tmp_path):
    (tmp_path / "vendor" / "index.csv").write_bytes(b"<html>\n")
    with pytest.raises(IndexFormatError):
        mirror(bucket, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_hostile_names_stay_inside(bucket, tmp_path):
    with (tmp_path / "vendor" / "index.csv").open("a", encoding="utf-8") as file:
        file.write("../../outside.json,1,2\nrevisions/../../8.json,1,2\n")
    (tmp_path / "vendor" / "revisions" / "notes.json").write_text("x", encoding="utf-8")
    mirror(bucket, tmp_path / "a" / "copy")
    assert {path.name for path in (tmp_path / "a" / "copy" / "revisions").iterdir()} == {
        "1.json", "2.json.gz", "3.json", "4.json", "5.json",
    }  # fmt: skip
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["copy"]


class TestElsewhere:
    def test_to_memory_and_back(self, bucket, tmp_path):
        mirror(bucket, "memory://mirror/copy")
        mirror(Bucket("memory://mirror/copy"), tmp_path / "back")
        assert files_of(tmp_path / "back") == files_of(tmp_path / "vendor")

    @pytest.mark.parametrize("server", ["rclone", "moto"])
    def test_s3(self, bucket, tmp_path, server, request):
        s3 = request.getfixturevalue(server)
        place = f"s3://mirror-{server}/{tmp_path.name}"
        from fsspec.core import url_to_fs

        fs, _ = url_to_fs(place, **s3.options)
        fs.mkdir(f"mirror-{server}")
        copy = mirror(bucket, place, **s3.options)
        assert copy.revisions == [1, 2, 3, 4, 5]
        assert mirror(bucket, place, **s3.options).revisions == []
        assert mirror(Bucket(place, **s3.options), tmp_path / "back").revisions == [1, 2, 3, 4, 5]
        assert files_of(tmp_path / "back") == files_of(tmp_path / "vendor")

    def test_a_bucket_of_s3_is_not_made(self, bucket, rclone):
        with pytest.raises((BucketNotFoundError, BucketUnreachableError)) as caught:
            mirror(bucket, "s3://not-there/copy", **rclone.options)
        assert rclone.secret not in str(caught.value)
        assert rclone.folder is not None
        assert not (rclone.folder / "not-there").exists()


def test_a_file_that_goes_meanwhile(bucket, tmp_path, monkeypatch, caplog):
    write = type(bucket.folder).write

    def removing(self, name, content):
        write(self, name, content)
        (tmp_path / "vendor" / "revisions" / "4.json").unlink(missing_ok=True)

    monkeypatch.setattr(type(bucket.folder), "write", removing)
    copy = mirror(bucket, tmp_path / "copy")
    assert (copy.revisions, copy.vanished) == ([1, 2, 3, 5], ["revisions/4.json"])
    assert "revisions/4.json: the file is gone" in caplog.text


def test_two_at_once(bucket, tmp_path):
    errors: list[BaseException] = []

    def run() -> None:
        try:
            mirror(bucket, tmp_path / "copy")
        except BaseException as error:  # noqa: BLE001  # told below
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert files_of(tmp_path / "copy") == files_of(tmp_path / "vendor")


@pytest.mark.slow
def test_a_run_that_is_killed_is_taken_up(tmp_path):
    bucket = write_export(tmp_path / "vendor", {n: [event(n)] * 2000 for n in range(1, 60)})
    code = "import sys; from kmexport import Bucket, mirror; mirror(Bucket(sys.argv[1]), sys.argv[2])"
    copied, ended = tmp_path / "copy" / "revisions", 0
    for more in (0, 1, 2, 5, 10, 20):
        enough = len(list(copied.glob("*.json"))) + more
        process = subprocess.Popen([sys.executable, "-c", code, tmp_path / "vendor", tmp_path / "copy"])
        latest = time.monotonic() + 60
        while process.poll() is None and len(list(copied.glob("*.json"))) <= enough and time.monotonic() < latest:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
        ended += process.wait() != 0
        for name, content in files_of(tmp_path / "copy").items():
            if not name.endswith(".part"):
                assert content == (tmp_path / "vendor" / name).read_bytes()
    mirror(bucket, tmp_path / "copy")
    found = {name: content for name, content in files_of(tmp_path / "copy").items() if not name.endswith(".part")}
    assert found == files_of(tmp_path / "vendor")
    assert ended > 0
