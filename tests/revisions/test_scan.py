"""Who reads all files says which revisions hold records that windows miss."""

from __future__ import annotations

import logging
import random
from collections import Counter
from pathlib import Path

import pytest

from kmexport import Alias, Bucket, Event, Facts, Window, in_window, iter_records
from kmexport.lake import open_lake, sync
from kmexport.testing import write_export

T0 = 1_349_222_400
DAY = 86_400


@pytest.fixture
def bucket(tmp_path):
    revisions = {
        1: [Event("ana", T0, "x"), Alias("ana", T0 + 1, "a1")],
        2: [Alias("bob", T0 + 2, "b1"), Event("bob", T0 + 3, "x")],
        3: [Event("eve", T0 + 4 * DAY, "x"), Event("eve", T0 - 9, "x")],
        4: [Event("ann", T0 + 9 * DAY, "x")],
    }
    received = {2: T0 + 2 * DAY + 2, 3: T0 + 4 * DAY + 2, 4: T0 + 5 * DAY + 2}
    return write_export(tmp_path / "export", revisions, ranges={n: (at, at) for n, at in received.items()})


def told(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if "windows miss them" in record.getMessage()]


class TestPasses:
    def test_a_deep_audit(self, bucket, caplog):
        caplog.set_level(logging.INFO)
        audit = bucket.audit(deep=True)
        assert [one.revision.number for one in audit.far] == [2, 3, 4]
        assert len(told(caplog)) == 1
        assert audit.problems == [str(one) for one in audit.far]
        assert audit.lateness == {
            "within 5 minutes": 3, "within an hour": 0, "within a day": 0, "later": 3, "ahead of their time": 1
        }  # fmt: skip

    def test_identities_of_the_aliases_that_they_read(self, bucket, caplog):
        caplog.set_level(logging.INFO)
        bucket.identities()
        assert len(told(caplog)) == 1
        assert told(caplog)[0].startswith("revisions/2.json was received at ")
        assert told(caplog)[0].count("revisions/") == 1

    def test_a_sync(self, bucket, tmp_path, caplog):
        caplog.set_level(logging.INFO)
        summary = sync(bucket, tmp_path / "lake")
        assert [one.revision.number for one in summary.far] == [2, 3, 4]
        assert len(told(caplog)) == 1
        assert summary.problems == []
        assert str(summary).count("windows miss them") == 3
        assert sync(bucket, tmp_path / "lake").far == []

    def test_facts_of_the_whole_export(self, bucket, caplog):
        caplog.set_level(logging.INFO)
        with Facts(bucket) as facts:
            facts.sql("select count(*) from events").fetchall()
        assert len(told(caplog)) == 1
        assert [f"revisions/{n}.json was" in told(caplog)[0] for n in (1, 2, 3, 4)] == [False, True, True, True]
        caplog.clear()
        with Facts(bucket, window=Window(T0, T0 + 1)) as facts:
            facts.sql("select count(*) from events").fetchall()
        assert not told(caplog)  # of the other files aliases alone are read

    def test_what_is_named_is_what_windows_miss(self, bucket):
        named = {one.revision.number for one in bucket.audit(deep=True).far}
        for revision in bucket.revisions():
            misses = False
            for record in bucket.read([revision]):
                second = Window(record.timestamp, record.timestamp + 1)
                misses |= record not in list(bucket.iter_records(second))
                assert record in list(bucket.iter_records(second, margin=None))
            assert misses == (revision.number in named)


class TestARealExport:
    @pytest.fixture
    def export(self, real_data: Path) -> Path:
        return real_data / "real-export"

    def test_what_the_pages_say_of_it(self, export):
        bucket = Bucket(export)
        audit = bucket.audit(deep=True)
        assert [one.revision.number for one in audit.far] == [143]
        assert len(audit.problems) == 1
        assert [count for count in audit.lateness.values() if count] == [690, 1]
        bounds = [second for row in bucket.index() for second in (row.min_timestamp, row.max_timestamp)]
        assert len(bounds) == 272
        assert {second % 300 for second in bounds} <= {1, 2, 3}
        before = [
            row.min_timestamp - record.timestamp
            for row in bucket.index()
            for record in bucket.read([row])
            if record.timestamp < row.min_timestamp
        ]
        assert len(before) == 513
        assert sorted(before)[-2] == 299
        assert max(before) // DAY == 320
        assert bucket.status().max_exported_timestamp == bucket.index()[-1].max_timestamp

    def test_every_day_of_the_middle_is_complete(self, export):
        bucket = Bucket(export)
        days = Window.each_day("2012-10-20", "2013-03-15")
        complete = [day.isoformat() for day, window in days if bucket.coverage(window)]
        assert (complete[0], complete[-1]) == ("2012-10-26", "2013-03-08")
        assert len(complete) == len(list(Window.each_day("2012-10-26", "2013-03-08")))

    def test_windows_give_what_plain_python_over_all_files_gives(self, export, tmp_path):
        bucket = Bucket(export)
        files = sorted((export / "revisions").iterdir(), key=lambda path: int(path.stem))
        records = []
        for path in files:
            with path.open("rb") as file:
                records += iter_records(file)
        assert len(records) == 691
        imported = [record for record in records if record.timestamp < bucket.index()[0].min_timestamp - 300 - DAY]
        assert len(imported) == 1
        sync(bucket, tmp_path / "lake")
        lake = open_lake(tmp_path / "lake")
        chance = random.Random(143)
        first, last = imported[0].timestamp, bucket.status().max_exported_timestamp
        for at in range(200):
            # Some around the imported record, where nothing else is.
            around = (first - DAY, first + DAY) if at % 10 == 0 else (last - 140 * DAY, last)
            start = chance.randrange(*around)
            window = Window(start, start + chance.choice([1, 300, 3_600, DAY, 7 * DAY]))
            everything = list(in_window(records, window))
            expected = [record for record in everything if record not in imported]
            assert list(bucket.iter_records(window)) == expected
            assert list(bucket.iter_records(window, margin=None)) == everything
            assert bucket.to_batches(window, columns=["person"]).read_all().num_rows == len(expected)
            if at % 20 == 0:
                assert list(lake.iter_records(window)) == everything
                with Facts(bucket, window=window) as facts:
                    found = facts.sql("select kind, count(*) from records group by all").fetchall()
                assert dict(found) == {
                    {"Event": "event", "PropertySet": "property_set", "Alias": "alias"}[kind]: count
                    for kind, count in Counter(type(record).__name__ for record in expected).items()
                }
