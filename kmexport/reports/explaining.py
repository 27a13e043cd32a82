"""Why a number differs: the vendor's notes on its export, counted one after the other on an export of yours."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal

from attrs import define, field, frozen

from kmexport.bucket import Bucket
from kmexport.columns.schema import without_halves
from kmexport.errors import MalformedRecordError
from kmexport.format.names import fold_name
from kmexport.parsing.records import OnError, check_policy
from kmexport.parsing.stream import MAX_LINE_BYTES
from kmexport.records import Event
from kmexport.reports.query import closest, zone_of
from kmexport.reports.results import ResultColumn, Table, counted
from kmexport.reports.splits import as_name
from kmexport.revisions.manifest import Revision
from kmexport.revisions.reader import ReadOptions, open_revisions
from kmexport.steps.duplicates import drop_duplicates
from kmexport.steps.identities import IdentityMap, merge_identities
from kmexport.tables import to_records
from kmexport.windows import Window, Zone, check_window, dates_of, time_at

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from matplotlib.axes import Axes


logger: logging.Logger = logging.getLogger("kmexport")

EXAMPLES: Final = 10
_DATA: Final = "https://oldsupport.kissmetrics.com/apis/data/"
_ZONES: Final = "https://oldsupport.kissmetrics.com/troubleshooting/time-zones.html"
_DUPLICATES: Final = "https://oldsupport.kissmetrics.com/troubleshooting/detecting-duplicates.html"
_IDENTITIES: Final = "https://oldsupport.kissmetrics.com/troubleshooting/troubleshooting-identities.html"
_NAMES: Final = "https://oldsupport.kissmetrics.com/getting-started/technical-limitations.html"


@frozen
class _Occurrence:
    """An event with the place at which it stands."""

    revision: int
    line: int
    person: str
    timestamp: int

    def __str__(self) -> str:
        when = time_at(self.timestamp).replace(tzinfo=None)
        return without_halves(f"{self.person} at {when} UTC (revisions/{self.revision}.json, line {self.line})")


@frozen
class ExplainRow:
    """One step: the people and times after it, what it changed, up to ten examples, and the page of its rule.

    `people_change` and `times_change` are those against the row before; None in the first row. `is_expected` marks the
    row with the number that was expected, or the nearest; no row where a plain script over all files has that number.
    """

    step: str
    people: int
    times: int
    people_change: int | None
    times_change: int | None
    examples: tuple[str, ...]
    source: str
    is_expected: bool


@define(repr=False, kw_only=True)
class Explanation(Table):
    """The result of `explain`: `rows`, one for each step; the last has the answer, `people` and `times`."""

    event: str
    people: int
    times: int
    expected: int | None
    rows: tuple[ExplainRow, ...]
    _persons: tuple[tuple[str, ...], ...] = field(repr=False)

    def people_of(self, step: int = -1) -> list[str]:
        """Return the persons (before merging: identities) of a row, by its number from 0; without one the answer's."""
        return list(self._persons[step])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw a waterfall of times: the first number, what each step adds or takes, and the last."""
        from kmexport.reports.plots import waterfall  # noqa: PLC0415

        steps = [
            f"{row.step} {'=' if self._is_equal(row) else '≈'} {self.expected:,}" if row.is_expected else row.step
            for row in self.rows
        ]
        return waterfall(steps, [row.times for row in self.rows], self.event, "times", ax)

    def _is_equal(self, row: ExplainRow) -> bool:
        return self.expected in (row.people, row.times)

    def _mark(self, row: ExplainRow) -> str:
        return "← expected" if self._is_equal(row) else "← nearest, not equal"

    def _title(self) -> str:
        return f"{self.event}: {self.people:,} people, {self.times:,} times"

    def _columns(self) -> list[ResultColumn]:
        marks = [] if self.expected is None else [[self._mark(row) if row.is_expected else "" for row in self.rows]]
        return [
            ResultColumn("step", "string", [row.step for row in self.rows]),
            ResultColumn("people", "int64", [row.people for row in self.rows]),
            ResultColumn("change", "string", [_signed(row.people_change) for row in self.rows]),
            ResultColumn("times", "int64", [row.times for row in self.rows]),
            ResultColumn("change of times", "string", [_signed(row.times_change) for row in self.rows]),
            *(ResultColumn(" ", "string", [mark or " " for mark in column]) for column in marks),
            ResultColumn("for example", "string", [row.examples[0] if row.examples else " " for row in self.rows]),
        ]


def _signed(change: int | None) -> str:
    return " " if change is None else f"{change:+,}" if change else "0"


def explain(
    bucket: Bucket,
    event: str,
    day: date | str | Window,
    *,
    tz: Zone | None = None,
    expected: int | None = None,
    rule: Literal["classic", "strict"] = "classic",
    late: bool = False,
    identities: IdentityMap | None = None,
    on_error: OnError = "skip",
    executor: Executor | None = None,
) -> Explanation:
    """Why does my number differ? An event of a day, counted as a plain script does, and then one rule after the other.

    `day` is a day of the zone `tz` (UTC without one), as a date or ISO text, or a `Window`. The rows:

    1. a plain script: the files that by the index begin in that day of UTC, lines that a JSON parser takes,
       records of that day, the name as it is given;
    2. with the lines that need a repair: octal escapes, records over several lines, arrays;
    3. with the name in any letter case;
    4. with the neighbouring files: a record may lie in a file that was received later, up to a day;
    5. in the zone's day;
    6. equal records once, by the strict rule of `drop_duplicates`;
    7. with identities merged by the aliases of the whole export, and by the same rule again;
    8. of the events of one person and second only the first: the classic rule (no row with `rule="strict"`);
    9. only with `late=True`: with what came still later, for which every file is read. Only then the last row is the
       number of `event_counts(bucket, …)`, which reads every file too.

    Each row says what it changed, with up to ten examples; one that changes nothing shows 0. `expected=1234` marks the
    row with just that number of people or times, or the nearest, and says which of both. Notes say where no file begins
    in the day, with `late=True` what a plain script that reads all files would count (and whether that is `expected`),
    and where no file that was read has the event, which name comes close. Unlike in other reports, `on_error` is "skip"
    by default: lines that can't be read are left out, and a note counts them. With `executor=`, that of
    `Bucket.to_batches`, workers read the files, but for the first row's.

    Sources: the notes of https://oldsupport.kissmetrics.com/apis/data/ and the page of each row. Costs the files of a
    window twice (all files with `late=True`) and one pass over the aliases (none with `identities=`); holds the event's
    records of the day. An event that no record has is 0, and costs the files once more. Raises what reading a bucket
    raises, and TypeError where `expected` is not a number.

    >>> found = explain(Bucket.sample(), "signed up", "2012-10-03", tz="America/New_York")
    >>> found.rows[0].times, found.people, found.times
    (15, 17, 21)
    """
    _check(bucket, event, expected)
    rejects = _Rejects(on_error)
    reject = rejects.note
    window, in_utc = _windows(day, tz)
    index = {revision.number: revision for revision in bucket.revisions()}
    of_day = [revision for revision in index.values() if _begins_in(revision, in_utc)]
    around = {revision.number: revision for revision in bucket.revisions(in_utc)}
    near = {revision.number: revision for revision in bucket.revisions(window)}
    files = index if late else around | near  # those of the day are around it
    read = [files[number] for number in sorted(files)]
    found, events = _read(bucket, read, event, reject, executor)
    of_day_numbers = {revision.number for revision in of_day}

    def chosen(numbers: Iterable[int], where: Window, *, as_given: bool = False) -> list[int]:
        return [
            place
            for place, one in enumerate(found)
            if one.revision in numbers and one.timestamp in where and (not as_given or events[place].name == event)
        ]

    plain = list(_plain(bucket, read if late else of_day, event, in_utc))
    steps: list[tuple[str, str, list[_Occurrence]]] = [
        ("a plain script", _DATA, [one for one in plain if one.revision in of_day_numbers])
    ]

    def add(step: str, source: str, places: Sequence[int], names: Sequence[Event] | None = None) -> None:
        persons = events if names is None else names
        line = [_Occurrence(found[p].revision, found[p].line, persons[p].person, found[p].timestamp) for p in places]
        steps.append((step, source, line))

    add("lines repaired", _DATA, chosen(of_day_numbers, in_utc, as_given=True))
    add("the name in any case", _NAMES, chosen(of_day_numbers, in_utc))
    add("neighbouring files", _DATA, chosen(around, in_utc))
    in_window = chosen(near, window)
    add("the zone's day", _ZONES, in_window)
    add("equal records once", _DUPLICATES, _without_duplicates(events, in_window, "strict"))
    people = bucket.identities(on_error=reject, executor=executor) if identities is None else identities
    merged = list(merge_identities(events, people))
    add("identities merged", _IDENTITIES, _without_duplicates(merged, in_window, "strict"), merged)
    if rule == "classic":
        add("one event a second", _DUPLICATES, _without_duplicates(merged, in_window, rule), merged)
    if late:
        add("records that came late", _DATA, _without_duplicates(merged, chosen(index, window), rule), merged)
    in_all_files = _numbers(plain) if late else None
    explanation = _explanation(event, steps, expected, in_all_files)
    explanation.notes = tuple(_notes(explanation, bool(of_day), in_all_files, len(read), len(index)))
    if not found and (names := _names(bucket, read, reject)):
        explanation.notes += (f"no record of these files has the event {event!r}{closest(fold_name(event), names)}",)
    if rejects.places:
        told = f"{counted(len(rejects.places), 'line is', 'lines are')} no record, and left out"
        explanation.notes += (told,)
        logger.warning("explain: %s", told)
    return explanation


def _check(bucket: object, event: str, expected: object) -> None:
    if not isinstance(bucket, Bucket):
        way = "Bucket(address)" if isinstance(bucket, str | os.PathLike) else "the Bucket that they were read from"
        msg = f"explain looks at the files of an export, not at {type(bucket).__name__}: give {way}"
        raise TypeError(msg)
    as_name(event)
    if expected is not None and (isinstance(expected, bool) or not isinstance(expected, int)):
        msg = f"expected is your number of people or times, as in expected=15, not {expected!r}"
        raise TypeError(msg)


class _Rejects:
    """The places of lines that can't be read, each once: some files are read more than once."""

    def __init__(self, on_error: OnError) -> None:
        check_policy(on_error, MAX_LINE_BYTES)
        self.on_error = on_error
        self.places: set[tuple[str, int]] = set()

    def note(self, error: MalformedRecordError) -> None:
        if self.on_error == "raise":
            raise error
        place = error.source, error.line_number
        if callable(self.on_error) and place not in self.places:
            self.on_error(error)
        self.places.add(place)


def _notes(
    found: Explanation, has_files: bool, in_all_files: tuple[int, int] | None, read: int, there: int
) -> Iterator[str]:
    """Yield what a reader of the rows should know; `in_all_files` is what a plain script counts in all files."""
    if not has_files:
        yield "no file begins in that day of UTC: such a script reads none; “neighbouring files” adds the others"
    if in_all_files is not None:
        people, times = counted(in_all_files[0], "person", "people"), counted(in_all_files[1], "time")
        mark = "    ← expected" if found.expected in in_all_files else ""
        yield f"a plain script that reads all files: {people}, {times}{mark}"
    elif found.expected is not None and not any(map(found._is_equal, found.rows)):
        yield f"no row is {found.expected:,}; late=True also counts all files as a plain script does, and late records"
    elif read < there:
        yield f"read {read:,} of {there:,} files: late=True reads all, as event_counts does, and adds what came later"


def _names(bucket: Bucket, revisions: list[Revision], on_error: OnError) -> list[str]:
    """Return the folded names of all events of the files, the commonest first."""
    names: Counter[str] = Counter()
    for batch in bucket.to_batches(revisions=revisions, columns=["name"], kinds=Event, on_error=on_error):
        names.update(map(fold_name, batch.column("name").to_pylist()))
    return [name for name, _ in names.most_common()]


def _windows(day: date | str | Window, tz: Zone | None) -> tuple[Window, Window]:
    """Return the window of the zone, and the days of UTC with the same dates."""
    if not isinstance(day, Window):
        return Window.day(day, "UTC" if tz is None else tz), Window.day(day, "UTC")
    check_window(day)
    return day, Window.days(*dates_of(day, zone_of(tz, day)), "UTC")


def _begins_in(revision: Revision, window: Window) -> bool:
    return revision.min_timestamp is not None and revision.min_timestamp in window


def _read(
    bucket: Bucket, revisions: list[Revision], event: str, on_error: OnError, executor: Executor | None
) -> tuple[list[_Occurrence], list[Event]]:
    """Read every occurrence of the event in the files, and the records beside them."""
    columns = ["revision", "line", "kind", "person", "time", "name", "alias", "properties"]
    found: list[_Occurrence] = []
    events: list[Event] = []
    batches = bucket.to_batches(revisions=revisions, columns=columns, names=event, on_error=on_error, executor=executor)
    for batch in batches:
        places = zip(batch.column("revision").to_pylist(), batch.column("line").to_pylist(), strict=True)
        for (revision, line), record in zip(places, to_records([batch]), strict=True):
            if isinstance(record, Event):
                found.append(_Occurrence(revision, line, record.person, record.timestamp))
                events.append(record)
    return found, events


def _plain(bucket: Bucket, revisions: list[Revision], event: str, window: Window) -> Iterator[_Occurrence]:
    """Count as a plain script does: line by line, by a JSON parser."""
    wanted = json.dumps(event)[1:-1].encode() if event.isascii() else b""
    with closing(open_revisions(bucket.folder, revisions, ReadOptions("skip"))) as openings:
        for revision, opening in openings:
            with opening as file:
                for number, line in enumerate(_lines(file), 1):
                    found = _as_event(line, event) if wanted in line else None
                    if found is not None and found[1] in window:
                        yield _Occurrence(revision.number, number, *found)


def _lines(file: Any) -> Iterator[bytes]:
    rest = b""
    while chunk := file.read(1 << 20):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    if rest:
        yield rest


def _as_event(line: bytes, event: str) -> tuple[str, int] | None:
    """Return the person and the time of an event, where the line is one that a plain script takes."""
    try:
        found = json.loads(line)
        if found["_n"] == event:
            return str(found["_p"]), int(found["_t"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return None


def _without_duplicates(
    events: Sequence[Event], places: Sequence[int], rule: Literal["classic", "strict"]
) -> list[int]:
    place_of = {id(events[place]): place for place in places}
    kept = drop_duplicates((events[place] for place in places), rule=rule)
    return [place_of[id(record)] for record in kept if id(record) in place_of]


def _numbers(occurrences: Sequence[_Occurrence]) -> tuple[int, int]:
    """Return the number of people, and of times."""
    return len({one.person for one in occurrences}), len(occurrences)


def _explanation(
    event: str,
    steps: list[tuple[str, str, list[_Occurrence]]],
    expected: int | None,
    in_all_files: tuple[int, int] | None,
) -> Explanation:
    counts = [_numbers(line) for _, _, line in steps]
    nearest = None
    if expected is not None and (expected not in (in_all_files or ()) or any(expected in pair for pair in counts)):
        nearest = min(range(len(steps)), key=lambda at: min(abs(number - expected) for number in counts[at]))
    examples: list[tuple[str, ...]] = [tuple(map(str, steps[0][2][:EXAMPLES]))]
    changes: list[tuple[int | None, int | None]] = [(None, None)]
    for at, ((_, _, before), (_, _, after)) in enumerate(pairwise(steps), 1):
        old, new = (frozenset(line) for line in (before, after))
        differ = [one for one in after if one not in old] or [one for one in before if one not in new]
        examples.append(tuple(map(str, differ[:EXAMPLES])))
        changes.append((counts[at][0] - counts[at - 1][0], counts[at][1] - counts[at - 1][1]))
    rows = [
        ExplainRow(step, *counts[at], *changes[at], examples[at], source, at == nearest)
        for at, (step, source, _) in enumerate(steps)
    ]
    persons = tuple(tuple(sorted({one.person for one in line})) for _, _, line in steps)
    return Explanation(
        event=fold_name(event),
        people=counts[-1][0],
        times=counts[-1][1],
        expected=expected,
        rows=tuple(rows),
        persons=persons,
    )
