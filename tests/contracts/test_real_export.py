"""A whole real export: records, windows and facts are those of plain Python over all its files."""

from __future__ import annotations

import csv
import random

import pytest

from kmexport import Bucket, Facts, LineCounts, Window
from tests.contracts.test_export_model import as_row, expected_row
from tests.support import export_model as model

IMPORTED = 143  # the revision with one record that was imported 320 days after its time
DAY = 86_400


@pytest.fixture(scope="module")
def folder(real_data):
    return real_data / "real-export"


@pytest.fixture(scope="module")
def everything(folder):
    """The records of all files, by the model; with when each one's file was received."""
    with (folder / "index.csv").open(encoding="utf-8") as file:
        received = {
            row["filename"]: (int(row["min_timestamp"]), int(row["max_timestamp"])) for row in csv.DictReader(file)
        }
    found = []
    for number in sorted(int(path.stem) for path in (folder / "revisions").iterdir()):
        path = folder / "revisions" / f"{number}.json"
        records, rejected, _ = model.read_file(path.read_bytes(), number)
        assert rejected == []
        found += [one | {"received": received[f"revisions/{number}.json"]} for one in records]
    return found


def test_every_record(folder, everything):
    counts = LineCounts()
    records = list(Bucket(folder).iter_records(counts=counts))
    assert len(records) == len(everything) == 691
    assert (counts.rejected, counts.repaired) == (0, 2)
    assert list(map(as_row, records)) == list(map(expected_row, everything))


def test_records_lie_before_the_range_of_their_file_and_one_long_before(everything):
    late = [one["received"][0] - one["time"] for one in everything]
    assert sum(delay > 0 for delay in late) == 513
    assert sorted(late)[-2:] == [299, late[[one["revision"] for one in everything].index(IMPORTED)]]
    assert all(one["time"] <= one["received"][1] for one in everything)


def test_without_a_margin_nothing_is_missing(folder, everything):
    (imported,) = [one for one in everything if one["received"][0] - one["time"] > DAY]
    window = Window(imported["time"] - DAY, imported["time"] + DAY)
    inside = [one for one in everything if one["time"] in window]
    assert list(map(as_row, Bucket(folder).iter_records(window))) == []
    assert list(map(as_row, Bucket(folder).iter_records(window, margin=None))) == list(map(expected_row, inside))


@pytest.mark.slow
def test_two_hundred_windows(folder, everything):
    """Nothing is missing but the imported record, which `margin=None` gives."""
    bucket = Bucket(folder)
    chance = random.Random(7)
    times = [one["time"] for one in everything]
    (imported,) = [one for one in everything if one["received"][0] - one["time"] > DAY]
    for number in range(200):
        start = chance.choice(times) + chance.choice([0, 1, -1, -300, 300, -DAY, chance.randint(-DAY, DAY)])
        window = Window(start, start + chance.choice([1, 299, 300, 3_600, DAY, 7 * DAY, 400 * DAY]))
        inside = [one for one in everything if one["time"] in window]
        met = [
            one
            for one in inside
            if one is not imported or model.is_read(one["received"], window.start, window.end, DAY)
        ]
        assert list(map(as_row, bucket.iter_records(window))) == list(map(expected_row, met)), window
        lines = [(row["revision"], row["line"]) for row in bucket.to_batches(window).read_all().to_pylist()]
        assert lines == [(one["revision"], one["line"]) for one in met], window
        if number % 10 == 0:
            check_facts(bucket, window, everything, met)


def check_facts(bucket, window, everything, met):
    names = model.names_of(everything)
    kept = model.classic(model.merged(met, names))
    with Facts(bucket, window=window) as facts:
        events = facts.sql("select person, epoch_us(time) // 1000000, name, revision, line from events").fetchall()
        values = facts.sql("select person, epoch_us(time) // 1000000, name, text, number from properties").fetchall()
    expected = [(*row[:3], *row[4:6]) for row in model.table_of_events(kept)]
    assert sorted(events) == sorted(expected), window
    expected = [(*row[:3], row[5], row[6]) for row in model.table_of_properties(kept)]
    assert sorted(values, key=repr) == sorted(expected, key=repr), window


def test_one_day_of_it_is_complete_and_a_deep_audit_names_the_import(folder, everything):
    bucket = Bucket(folder)
    first, last = everything[0]["received"][1], everything[-1]["received"][1]
    for start in range(first + DAY, last - 2 * DAY, 5 * DAY):
        assert bucket.coverage(Window(start, start + DAY)).is_complete, start
    problems = bucket.audit(deep=True).problems
    assert len(problems) == 1
    assert f"revisions/{IMPORTED}.json" in str(problems)
