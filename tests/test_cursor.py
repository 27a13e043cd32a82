"""Which revisions a job has read: none is lost, and two jobs at once do not forget each other's."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmexport import Cursor, CursorConflictError, CursorFormatError, Event
from kmexport.testing import write_export

BOB = Event("bob", 1349222400, "x")


def numbers(cursor: Cursor, bucket) -> list[int]:
    return [revision.number for revision in cursor.unread(bucket)]


def test_a_revision_that_comes_late_below_the_highest_is_unread():
    cursor = Cursor()
    bucket = write_export("memory://late", {1: [BOB], 5: [BOB]})
    cursor.done(cursor.unread(bucket))
    assert numbers(cursor, write_export("memory://late", {n: [BOB] for n in (1, 3, 5, 6)})) == [3, 6]


@given(st.sets(st.integers(0, 60)))
def test_saved_and_loaded(done):
    Cursor.load("memory://cursors/none.json")
    path = "memory://cursors/cursor.json"
    cursor = Cursor.load(path)
    cursor.done(done)
    cursor.save(path)
    again = Cursor.load(path)
    assert {number for number in range(70) if number in again} >= done
    assert repr(again) == repr(cursor)


def test_one_that_has_nothing_is_saved_too(tmp_path):
    Cursor().save(tmp_path / "cursor.json")
    assert repr(Cursor.load(tmp_path / "cursor.json")) == "<Cursor: 0 revisions done, up to 0>"


class TestTwoJobs:
    def test_the_second_to_save_is_told(self, tmp_path):
        path = tmp_path / "cursor.json"
        first, second = Cursor.load(path), Cursor.load(path)
        first.done([1])
        second.done([2])
        first.save(path)
        with pytest.raises(CursorConflictError, match="another job"):
            second.save(path)
        first.done([3])
        first.save(path)
        assert [number for number in range(5) if number in Cursor.load(path)] == [1, 3]

    def test_of_many_at_once_one_wins(self, tmp_path):
        path = tmp_path / "cursor.json"
        cursors = [Cursor.load(path) for _ in range(16)]
        for number, cursor in enumerate(cursors):
            cursor.done([number])

        def save(cursor: Cursor) -> bool:
            try:
                cursor.save(path)
            except CursorConflictError:
                return False
            return True

        with ThreadPoolExecutor(8) as threads:
            won = list(threads.map(save, cursors))
        assert won.count(True) == 1
        assert won.index(True) in Cursor.load(path)

    def test_processes_at_once(self, tmp_path):
        code = (
            "import sys\nfrom kmexport import Cursor, CursorConflictError\n"
            "path, number = sys.argv[1], int(sys.argv[2])\n"
            "for _ in range(200):\n"
            "    cursor = Cursor.load(path)\n    cursor.done([number])\n"
            "    try:\n        cursor.save(path)\n        break\n"
            "    except CursorConflictError:\n        pass\n"
        )
        path = str(tmp_path / "cursor.json")
        jobs = [subprocess.Popen([sys.executable, "-c", code, path, str(number)]) for number in range(4)]
        assert [job.wait(60) for job in jobs] == [0, 0, 0, 0]
        assert [number for number in range(10) if number in Cursor.load(path)] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{}", b"null", b"7", b'{"format":"kmexport cursor 1","count":1,"revisions":[[1,', b"\xff",
        b'{"format":"kmexport identities 1","count":1,"revisions":[[1,1]]}',
        b'{"format":"kmexport cursor 1","count":2,"revisions":[[1,1]]}',
        b'{"format":"kmexport cursor 1","count":1,"revisions":[[2,1]]}',
        b'{"format":"kmexport cursor 1","count":2,"revisions":[[3,3],[1,1]]}',
        b'{"format":"kmexport cursor 1","count":3,"revisions":[[-1,1]]}',
        b'{"format":"kmexport cursor 1","count":1000000000000000000,"revisions":[[1,1000000000000000000]]}',
    ],
)  # fmt: skip
def test_what_is_no_cursor_is_an_error(tmp_path, content):
    path = tmp_path / "cursor.json"
    path.write_bytes(content)
    with pytest.raises(CursorFormatError, match=r"^cursor\.json, line 1: "):
        Cursor.load(path)


@pytest.mark.parametrize("wrong", [["1"], [1.0], [True], [-1], [None]])
def test_revisions_are_revisions_or_numbers(wrong):
    cursor = Cursor()
    with pytest.raises(TypeError, match="a revision is a Revision or its number"):
        cursor.done([1, *wrong])
    assert 1 not in cursor
