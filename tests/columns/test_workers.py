"""`to_batches(processes=…)`: everything comes out as from one process."""

from __future__ import annotations

import logging
import multiprocessing
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pytest
from fsspec.callbacks import Callback

from kmexport import Alias, Bucket, Event, LineCounts, MalformedRecordError, PropertySet, Window
from kmexport.columns import workers
from kmexport.errors import RevisionNotFoundError
from kmexport.testing import BROKEN_LINES, write_export
from tests.support.servers import serve_s3_by_rclone

REVISIONS, LINES = 7, 30


@pytest.fixture(autouse=True)
def small_groups():
    with mock.patch.object(workers, "_LEAST_BYTES", 1):
        yield


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return write_export(tmp_path / "shop", {number: list(lines_of(number)) for number in range(1, REVISIONS + 1)})


def lines_of(number: int):
    for line in range(LINES):
        time = 1349222400 + number * LINES + line
        yield Event(f"person{line}", time, "signed up", {"plan": "Pro", "n": line})
        yield PropertySet(f"person{line}", time, {"Plan": "é"})
        yield rb'{"_p":"b","_t":%d,"city":"Paran\303\241"}' % time
    yield Alias("bob", 1349222400, "b")
    yield BROKEN_LINES["no time"]
    yield b'{"_p":"a\\ud83d","_t":1}'


def placed(errors: list[MalformedRecordError]) -> list[tuple[str, int, str, bytes]]:
    return [(error.source, error.line_number, error.reason, error.raw) for error in errors]


def nothing_is_left() -> bool:
    return not [process for process in multiprocessing.active_children() if process.name == "kmexport reader"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"properties": {"plan": pa.string(), "n": pa.int64()}},
        {"columns": ["line", "kind", "person"], "kinds": [Event, Alias], "revisions": [2, 1, 5]},
        {"names": iter(["Signed Up"]), "window": Window(1349222400 + 2 * LINES, 1349222400 + 4 * LINES)},
    ],
)
def test_everything_is_as_from_one_process(bucket, arguments):
    seen = []
    for processes in (1, 3):
        errors: list[MalformedRecordError] = []
        counts, callback = LineCounts(), Callback()
        names = arguments.pop("names", None)
        names = None if names is None else list(names)
        arguments |= {} if names is None else {"names": names}
        reader = bucket.to_batches(
            on_error=errors.append, counts=counts, callback=callback, processes=processes, batch_rows=11, **arguments
        )
        seen.append((reader.read_all(), placed(errors), counts, callback.value, callback.size))
        assert nothing_is_left()
    assert seen[0] == seen[1]


def test_an_error_comes_where_it_stands(bucket):
    reader = bucket.to_batches(columns=["revision", "line"], processes=2, batch_rows=10)
    rows = 0
    with pytest.raises(MalformedRecordError, match=r"revisions/1\.json, line 92: there is no _t"):  # noqa: PT012
        while True:
            rows += reader.read_next_batch().num_rows
    assert rows == 3 * LINES + 1
    assert nothing_is_left()


def test_what_is_skipped_is_logged_here(bucket, caplog):
    logged = []
    for processes in (1, 2):
        caplog.clear()
        with caplog.at_level(logging.INFO, "kmexport"):
            bucket.to_batches(on_error="skip", processes=processes).read_all()
        logged.append([(record.name, record.levelname, record.getMessage()) for record in caplog.records])
    assert logged[0] == logged[1]
    assert len(logged[0]) == 2 * REVISIONS


def test_a_reader_that_is_dropped_ends_its_workers(bucket):
    reader = bucket.to_batches(on_error="skip", processes=2, batch_rows=1)
    assert reader.read_next_batch().num_rows < 5
    assert not nothing_is_left()
    reader.close()
    del reader
    assert nothing_is_left()


def test_an_error_of_the_callers_own_ends_them_too(bucket):
    def refuse(error: MalformedRecordError) -> None:
        raise KeyError(error.line_number)

    with pytest.raises(KeyError, match="92"):
        bucket.to_batches(on_error=refuse, processes=2).read_all()
    assert nothing_is_left()


def test_little_is_kept_of_what_comes_too_early(bucket):
    with mock.patch.object(workers, "_AHEAD_BYTES", 1):
        found = bucket.to_batches(on_error="skip", processes=3, batch_rows=2).read_all()
    assert found == bucket.to_batches(on_error="skip").read_all()


def test_a_revision_that_is_gone(bucket, tmp_path):
    (tmp_path / "shop" / "revisions" / "3.json").unlink()
    reader = bucket.to_batches(on_error=lambda error: None, revisions=bucket.index(), columns=["line"], processes=2)
    with pytest.raises(RevisionNotFoundError, match=r"revisions/3\.json"):
        reader.read_all()
    reader = bucket.to_batches(on_error="skip", revisions=bucket.index(), columns=["revision"], processes=2)
    assert set(reader.read_all()["revision"].to_pylist()) == {1, 2, 4, 5, 6, 7}


@pytest.mark.parametrize(
    ("url", "processes", "error"),
    [("memory://shop", 2, "memory of this process"), (".", 0, "processes is at least 1")],
)
def test_a_wrong_argument_is_told_at_the_call(url, processes, error):
    with pytest.raises(ValueError, match=error):
        Bucket(url).to_batches(processes=processes)


def test_s3(bucket, tmp_path):
    expected = bucket.to_batches(on_error="skip").read_all()
    with serve_s3_by_rclone(tmp_path) as server:
        far = Bucket("s3://shop", **server.options)
        assert far.to_batches(on_error="skip", processes=2).read_all() == expected


def test_a_script_without_its_guard_is_told(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from unittest import mock\nfrom kmexport import Bucket\nfrom kmexport.columns import workers\n"
        "with mock.patch.object(workers, '_LEAST_BYTES', 1):\n"
        "    Bucket.sample().to_batches(processes=2).read_all()\n",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1
    assert 'has to stand under `if __name__ == "__main__":`' in done.stderr
