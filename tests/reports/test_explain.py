"""Why a number differs: each row against plain loops over the bytes of an export, without the library."""

from __future__ import annotations

import csv
import json
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt

from kmexport import Bucket, Facts, MalformedRecordError, Window, reports
from kmexport.reports import explain
from kmexport.testing import write_export

mpl.use("Agg")
SAMPLE = Path(reports.__file__).parent.parent / "sample"
NEW_YORK = "America/New_York"
DAY = 86_400
OCTAL = re.compile(rb"(?:\\[0-7]{3})+")


def files_of(folder):
    """number → (the range in the index, the lines)."""
    with (folder / "index.csv").open(encoding="utf-8") as file:
        ranges = {Path(row[0]).stem: (int(row[1]), int(row[2])) for row in list(csv.reader(file))[1:]}
    return {
        int(path.stem): (ranges.get(path.stem), path.read_bytes().splitlines())
        for path in folder.glob("revisions/*.json")
    }


def repaired(line):
    return json.loads(OCTAL.sub(lambda match: bytes(int(octal, 8) for octal in match[0][1:].split(b"\\")), line))


def plain(line):
    try:
        return json.loads(line)
    except ValueError:
        return {}


def counted(found):
    return len({person for person, *_ in found}), len(found)


def content(record):
    """What two equal records have in common: the properties under folded names, numbers by their value."""
    return json.dumps({name.casefold(): value for name, value in record.items() if name not in {"_p", "_t", "_n"}},
                      sort_keys=True)  # fmt: skip


def by_hand(folder, event, day, tz):
    """The (people, times) of each row."""
    files = files_of(folder)

    def of(zone, first, last):
        start = datetime.combine(first, datetime.min.time(), ZoneInfo(zone)).timestamp()
        return int(start), int(datetime.combine(last, datetime.min.time(), ZoneInfo(zone)).timestamp())

    def events(names, window, read, is_asked):
        records = [read(line) for number in sorted(names) for line in files[number][1]]
        return [
            (r["_p"], int(r["_t"]), content(r))
            for r in records
            if is_asked(r.get("_n") or "") and window[0] <= int(r["_t"]) < window[1]
        ]

    def near(window):
        first, last = window[0] - 3_600, window[1] - 1 + DAY
        return [n for n, (span, _) in files.items() if span is None or (span[1] >= first and span[0] - 300 <= last)]

    utc, local = of("UTC", day, day + timedelta(1)), of(tz, day, day + timedelta(1))
    begun = [number for number, (span, _) in files.items() if span is not None and utc[0] <= span[0] < utc[1]]
    rows = [
        events(begun, utc, plain, lambda name: name == event),
        events(begun, utc, repaired, lambda name: name == event),
    ]

    def in_any_case(name):
        return name.lower() == event.lower()

    rows += [
        events(begun, utc, repaired, in_any_case), events(near(utc), utc, repaired, in_any_case),
        events(near(local), local, repaired, in_any_case),
    ]  # fmt: skip
    rows.append(list(dict.fromkeys(rows[-1])))
    group = {}
    for _, lines in files.values():
        for line in lines:
            if b"_p2" in line:
                alias = repaired(line)
                one = group.setdefault(alias["_p"], {alias["_p"]}) | group.setdefault(alias["_p2"], {alias["_p2"]})
                group |= dict.fromkeys(one, one)
    rows.append(list({(min(group.get(person, {person})), *rest) for person, *rest in rows[-1]}))
    rows.append(list({(person, moment) for person, moment, _ in rows[-1]}))
    return [counted(row) for row in rows]


@pytest.mark.parametrize("event", ["signed up", "Viewed Product", "visited site", "nothing of the kind"])
@pytest.mark.parametrize("day", ["2012-10-01", "2012-10-03", "2012-10-05"])
def test_each_row_is_what_plain_loops_count(event, day):
    found = explain(Bucket.sample(), event, day, tz=NEW_YORK)
    assert [(row.people, row.times) for row in found.rows] == by_hand(SAMPLE, event, date.fromisoformat(day), NEW_YORK)


def test_rows_of_a_real_export(real_data):
    folder = real_data / "real-export"
    bucket = Bucket(folder)
    moments = [json.loads(line)["_t"] for _, lines in files_of(folder).values() for line in lines[:1]]
    days = sorted({datetime.fromtimestamp(moment, UTC).date() for moment in moments})
    for day in days[:: max(1, len(days) // 5)]:
        for event in ("visited site", "ad campaign hit"):
            found = explain(bucket, event, day, tz="US/Pacific")
            assert [(row.people, row.times) for row in found.rows] == by_hand(folder, event, day, "US/Pacific")


def test_on_the_sample_every_row_changes_the_number():
    views = explain(Bucket.sample(), "viewed product", "2012-10-01", tz=NEW_YORK).rows
    signups = explain(Bucket.sample(), "signed up", "2012-10-03", tz=NEW_YORK).rows
    assert all(row.people_change or row.times_change for row in views[1:-1])
    # Browser and server report one sign-up, each with properties of its own: only the classic rule counts it once.
    assert (signups[-1].step, signups[-1].times_change) == ("one event a second", -3)
    assert all(row.examples for row in [*views[:-1], signups[-1]])
    late = explain(Bucket.sample(), "visited site", "2012-10-02", tz=NEW_YORK, late=True)
    assert (late.rows[-1].step, late.rows[-1].times_change) == ("records that came late", 1)


@pytest.mark.parametrize("rule", ["classic", "strict"])
def test_the_last_row_is_the_number_of_the_facts(rule):
    bucket = Bucket.sample()
    window = Window.days("2012-10-01", "2012-10-03", NEW_YORK)
    found = explain(bucket, "Signed up", window, late=True, rule=rule)
    with Facts(bucket, rule=rule) as facts:
        counts = reports.event_counts(facts, "signed up", window)
        assert (found.people, found.times, found.people_of()) == (counts.people, counts.times, counts.people_of())
    early = explain(bucket, "visited site", "2012-10-02", tz=NEW_YORK, rule=rule)
    day = Window.day("2012-10-02", NEW_YORK)
    of_margin = reports.event_counts(bucket, "visited site", day, rule=rule, margin=86_400)
    everything = reports.event_counts(bucket, "visited site", day, rule=rule)
    assert (early.people, early.times) == (of_margin.people, of_margin.times)
    assert early.times < everything.times


def test_the_row_of_the_expected_number_is_marked():
    found = explain(Bucket.sample(), "signed up", "2012-10-03", tz=NEW_YORK, expected=25)
    assert [row.step for row in found.rows if row.is_expected] == ["the zone's day"]
    assert "← expected" in str(found)
    assert "← expected" in found._repr_html_()
    assert found.notes == ("read 4 of 12 files: late=True reads all, as event_counts does, and adds what came later",)
    assert "expected" not in str(explain(Bucket.sample(), "signed up", "2012-10-03"))
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()
    assert found.to_arrow().num_rows == 8
    assert [row.step for row in explain(Bucket.sample(), "x", "2012-10-03", rule="strict").rows][
        -1
    ] == "identities merged"


def test_lines_that_only_a_repair_reads(tmp_path):
    lines = [b'{"_p":"a","_t":10,"_n":"X","city":"Paran\\303\\241"}', b'{"_p":"b",\n  "_t":20,"_n":"X"}', b"no record"]
    bucket = write_export(tmp_path, {1: lines}, ranges={1: (300, 600)})
    found = explain(bucket, "X", "1970-01-01")
    assert [row.times for row in found.rows] == [0, 2, 2, 2, 2, 2, 2, 2]
    assert found.rows[1].examples[0] == "a at 1970-01-01 00:00:10 UTC (revisions/1.json, line 1)"


def test_a_number_that_no_row_has():
    found = explain(Bucket.sample(), "signed up", "2012-10-03", tz=NEW_YORK, expected=1_000)
    assert "← nearest, not equal" in str(found)
    assert "nearest, not equal" in found._repr_html_()
    assert "no row is 1,000; late=True" in found.notes[0]
    labels = [label.get_text() for label in found.plot().get_yticklabels()]
    assert any(label.endswith("≈ 1,000") for label in labels)
    exact = explain(Bucket.sample(), "signed up", "2012-10-03", tz=NEW_YORK, expected=25)
    assert "the zone's day = 25" in [label.get_text() for label in exact.plot().get_yticklabels()]
    plt.close("all")


def test_a_day_in_which_no_file_begins(tmp_path):
    record = b'{"_p":"a","_t":10,"_n":"X"}'
    bucket = write_export(tmp_path, {1: [record]}, ranges={1: (86_500, 86_600)})
    found = explain(bucket, "X", "1970-01-01")
    assert [row.times for row in found.rows] == [0, 0, 0, 1, 1, 1, 1, 1]
    assert "no file begins in that day of UTC" in str(found)
    late = explain(bucket, "X", "1970-01-01", late=True)
    assert late.notes[1] == "a plain script that reads all files: 1 person, 1 time"
    assert explain(bucket, "X", "1970-01-02").notes == ()  # every file was read


def test_the_number_of_a_script_that_reads_all_files():
    # 16 stands in no row; a row that is near would be a wrong answer to "why 16?".
    found = explain(Bucket.sample(), "signed up", "2012-10-03", tz=NEW_YORK, expected=16, late=True)
    assert [row.step for row in found.rows if row.is_expected] == []
    assert found.notes == ("a plain script that reads all files: 16 people, 16 times    ← expected",)
    found.plot()
    row = explain(Bucket.sample(), "signed up", "2012-10-03", tz=NEW_YORK, expected=20, late=True)
    assert [row.step for row in row.rows if row.is_expected] == ["the name in any case"]
    plt.close("all")


def test_a_name_that_no_file_has_is_told():
    found = explain(Bucket.sample(), "Singed up", "2012-10-03", tz=NEW_YORK)
    assert found.times == 0
    assert found.notes[-1] == "no record of these files has the event 'Singed up': the closest is 'signed up'"
    other = explain(Bucket.sample(), "nothing of the kind", "2012-10-03").notes[-1]
    assert other.endswith("the closest are 'viewed product', 'visited site', 'searched'")  # the commonest
    empty = explain(Bucket.sample(), "signed up", "2014-10-03", tz=NEW_YORK)
    assert "no record of these files" not in str(empty)


def test_arguments_that_make_no_sense():
    with pytest.raises(TypeError, match="name of an event"):
        explain(Bucket.sample(), None, "2012-10-03")
    with pytest.raises(TypeError, match=r"the files of an export, not at str: give Bucket\(address\)"):
        explain(str(SAMPLE), "x", "2012-10-03")
    with Facts(Bucket.sample()) as facts, pytest.raises(TypeError, match="not at Facts: give the Bucket that"):
        explain(facts, "x", "2012-10-03")
    with pytest.raises(ValueError, match="a day is a date or ISO text"):
        explain(Bucket.sample(), "x", "yesterday")
    for expected in ("15", 15.5, True):
        with pytest.raises(TypeError, match="expected is your number of people or times, as in expected=15, not"):
            explain(Bucket.sample(), "x", "2012-10-03", expected=expected)
    with pytest.raises(ValueError, match="no time zone"):
        explain(Bucket.sample(), "x", "2012-10-03", tz="Mars")


def test_a_waterfall_is_drawn():
    for event in ("signed up", "nothing of the kind"):
        axes = explain(Bucket.sample(), event, "2012-10-03", tz=NEW_YORK).plot()
        axes.figure.canvas.draw()
    plt.close("all")


def test_lines_that_cant_be_read_go_where_on_error_says(tmp_path):
    record = b'{"_p":"a","_t":10,"_n":"X"}'
    bucket = write_export(tmp_path, {1: [record, record[:-1], record]}, ranges={1: (300, 600)})
    kept = []
    for found in (explain(bucket, "X", "1970-01-01"), explain(bucket, "X", "1970-01-01", on_error=kept.append)):
        assert found.notes == ("1 line is no record, and left out",)
    assert [error.line_number for error in kept] == [2]  # once, though the file is read for aliases too
    with pytest.raises(MalformedRecordError):
        explain(bucket, "X", "1970-01-01", on_error="raise")
    with pytest.raises(ValueError, match="on_error"):
        explain(bucket, "X", "1970-01-01", on_error="ignore")
