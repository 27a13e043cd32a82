"""Every disagreement of an export with itself."""

from __future__ import annotations

from datetime import UTC, datetime

from fsspec.implementations.memory import MemoryFileSystem

from kmexport import Event, Window
from kmexport.testing import BROKEN_LINES, write_export

HOUR = 3600


DAY = 24 * HOUR


T0 = 1349222400


def spelt(second: int) -> str:
    return f"{second} ({datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%SZ})"


def test_audit_names_every_disagreement():
    event = Event("bob", T0, "x")
    bucket = write_export(
        "memory://audit",
        {1: [event], 2: [event], 3: [event], 5: [event], 6: [event, BROKEN_LINES["no time"]]},
        gone=[2],
        unindexed=[3],
        ranges={5: (T0 + 2 * DAY, T0 + 2 * DAY)},
    )
    MemoryFileSystem().pipe_file("/audit/revisions/1.json.gz", b"")
    MemoryFileSystem().pipe_file("/audit/revisions/notes.txt", b"")
    MemoryFileSystem().pipe_file("/audit/status.csv", b"4,3,50,x\n")
    found = bucket.audit()
    assert [revision.number for revision in found.missing] == [2]
    assert [revision.number for revision in found.unindexed] == [3]
    assert found.skipped_numbers == [4]
    assert found.doubled == ["revisions/1.json.gz"]
    assert found.unknown == ["revisions/notes.txt"]
    assert len(found.disagreements) == 3
    assert (found.far, found.lateness, found.malformed) == ([], {}, {})
    deep = bucket.audit(deep=True)
    assert [(one.revision.number, one.first, one.last) for one in deep.far] == [(5, T0, T0)]
    assert deep.lateness == {
        "within 5 minutes": 2, "within an hour": 0, "within a day": 0, "later": 1, "ahead of their time": 0
    }  # fmt: skip
    assert deep.malformed == {"revisions/6.json": 1}
    assert len(deep.problems) == 10
    assert deep.problems[-1] == (
        f"revisions/5.json was received at {spelt(T0 + 2 * DAY)} and holds records of {spelt(T0)}: "
        "windows miss them without margin=None"
    )
    assert not deep.is_clean
    assert "10 problems" in deep._repr_html_()


def test_a_file_that_is_named_after_a_date():
    bucket = write_export("memory://dated", {number: [Event("bob", T0, "x")] for number in (1, 2)})
    MemoryFileSystem().pipe_file("/dated/revisions/20121001123456.json", b'{"_p":"bob","_n":"x","_t":100}\n')
    assert bucket.audit().skipped_numbers == [3, 20121001123455]
    assert bucket.coverage(Window(50, 150), margin=0).skipped_numbers == (3, 20121001123455)


def test_an_audit_where_nothing_is_there():
    bucket = write_export("memory://nothing", {1: [Event("bob", 100, "x")]})
    MemoryFileSystem().rm_file("/nothing/revisions/1.json")
    MemoryFileSystem().pipe_file("/nothing/index.csv", b"")
    assert bucket.audit().disagreements == ["status.csv counts 1 exported revisions, and there are none"]
