"""Cohorts: who comes back, and how much later."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate
from typing import TYPE_CHECKING, Unpack

from attrs import define, frozen

from kmexport.reports.breakdown import Question
from kmexport.reports.periods import (
    GAP,
    LENGTHS,
    PLENTY,
    Every,
    Group,
    Periods,
    check_every,
    check_group,
    find_groups,
    last_moment,
    stretches_of,
)
from kmexport.reports.query import ask
from kmexport.reports.results import ALL, Choice, PeopleQuery, Result, ResultColumn, check_choice, counted
from kmexport.reports.splits import At, By, by_name
from kmexport.reports.sql import events, firsts, in_periods

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kmexport.reports.conditions import Condition
    from kmexport.reports.query import FactsKeywords, ReportSource
    from kmexport.tables import Facts
    from kmexport.windows import Window, Zone


MANY_CELLS = 5_000_000


@frozen
class CohortRow:
    """One cohort: its first day or value, its people, and in each bucket the people who came back, and their share.

    `begun` is the number of buckets that had begun by the facts' last event, for the first of its people: what comes
    later can't hold anybody yet.
    """

    cohort: str | None
    people: int
    buckets: tuple[int, ...]
    shares: tuple[float, ...]
    begun: int


@define(repr=False, kw_only=True)
class Cohorts(Result):
    """The result of `cohorts`: `rows`, one for each cohort that has people, in the order of time (`by=`: of size)."""

    first: str
    second: str
    group: str
    bucket: str
    by: str | None
    first_time_only: bool
    cumulative: bool
    rows: tuple[CohortRow, ...]

    def people_of(self, cohort: Choice = ALL, bucket: int | None = None) -> list[str]:
        """Return the persons of a cohort, or of all; with `bucket` who came back in it (cumulative: or before)."""
        check_choice("cohort", cohort, [row.cohort for row in self.rows])
        condition, params = "true", {}
        if cohort is not ALL:
            condition, params = "label is not distinct from $label", {"label": cohort}
        if bucket is None:
            return self._people_query.where(condition, **params)
        longest = max((len(row.buckets) for row in self.rows), default=0)
        if not 0 <= bucket < longest:
            msg = (
                f"the report has the buckets 0 to {longest - 1}, not {bucket}"
                if longest
                else "the report has no bucket"
            )
            raise LookupError(msg)
        compare = "<=" if self.cumulative else "="
        return self._people_query.where(f"{condition} and bucket {compare} $bucket", **params, bucket=bucket)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw a heat map of the shares: a line for each cohort, a column for each bucket, blank in the future."""
        from kmexport.reports.plots import NAME_LENGTH, heat_map, name_shown  # noqa: PLC0415

        title = f"“{self.first}”, then “{self.second}”"
        names = [f"{name_shown(row.cohort, NAME_LENGTH)} ({row.people:,})" for row in self.rows]
        cells = [[share if at < row.begun else None for at, share in enumerate(row.shares)] for row in self.rows]
        return heat_map(names, cells, title, f"{self.bucket}s after{', cumulative' if self.cumulative else ''}", ax)

    def _title(self) -> str:
        people = sum(row.people for row in self.rows)
        shown = ", cumulative" if self.cumulative else ", first time only" if self.first_time_only else ""
        return f"{self.first} → {self.second}: {counted(people, 'person', 'people')} by {self.by or self.group}{shown}"

    def _columns(self) -> list[ResultColumn]:
        count = max((len(row.buckets) for row in self.rows), default=0)
        return [
            ResultColumn(self.by or self.group, "string", [row.cohort for row in self.rows]),
            ResultColumn("people", "int64", [row.people for row in self.rows]),
            *(
                ResultColumn(str(at), "int64", [row.buckets[at] if at < row.begun else None for row in self.rows])
                for at in range(count)
            ),
        ]


def cohorts(
    facts: ReportSource,
    first: str,
    second: str,
    window: Window | None = None,
    *,
    group: Group = "week",
    bucket: Every | None = None,
    by: By | None = None,
    columns: int | None = None,
    first_time_only: bool = False,
    cumulative: bool = False,
    tz: Zone | None = None,
    among: Condition | None = None,
    **reading: Unpack[FactsKeywords],
) -> Cohorts:
    """Count retention: people by the time of their first event 1 in the window, and how much later they did event 2.

    The cohort of a person is the day, week or month (`group=`) of the zone `tz` in which their earliest event 1 in the
    window lies. Weeks and months begin on the first day of the window, whichever day that is, and are named after their
    own first day; without a window the first begins on the day of the earliest event 1. With `by=`, a name or `Split`,
    the cohort is a value of a property, the person's `"last_ever"` (the default) or `"first_ever"`.

    Bucket k holds those who did event 2 k whole lengths of `bucket=` after their own event 1, also after the window's
    end: hours, days of 24 hours, weeks of 7 such days, months of 30; without it buckets are as long as the group. In
    the same second is bucket 0. When event 2 is event 1, that first occurrence itself is not counted.

    A person may stand in several buckets, once in each; `first_time_only=True` counts the first event 2 at or after
    event 1 only. `cumulative=True` adds up: each bucket has its own people and those of the buckets before it, so who
    came back in three counts three times, and a share may be above 100%; with `first_time_only=True` it can't.
    `columns=` gives that number of buckets; without it they go up to the last one that has somebody. `among=` counts
    only people who fulfil a condition.

    Source: https://oldsupport.kissmetrics.com/tools/cohort-report.html and
    https://oldsupport.kissmetrics.com/tools/cohort-report/cohort-report-options.html. Raises UnknownNameError for names
    that no record has. Costs one pass over the rows of both events.

    >>> from kmexport import Event, Facts
    >>> day = 86_400
    >>> facts = Facts([
    ...     Event("a", 0, "signed up"),
    ...     Event("a", 3 * day, "visited"),
    ...     Event("a", 8 * day, "visited"),
    ...     Event("b", 1 * day, "signed up"),
    ...     Event("b", 30 * day, "visited"),
    ...     Event("c", 2 * day, "signed up"),
    ... ])
    >>> [row] = cohorts(facts, "signed up", "visited").rows
    >>> row.cohort, row.people, row.buckets
    ('1970-01-01', 3, (1, 1, 0, 0, 1))
    >>> cohorts(facts, "signed up", "visited", cumulative=True).rows[0].buckets
    (1, 2, 2, 2, 3)
    """
    _check_columns(columns)
    check_group(group)
    bucket = group if bucket is None else bucket
    check_every(bucket, "bucket")
    names = {"first": first, "second": second}
    allowed: tuple[At, ...] = ("last_ever", "first_ever")
    asked = Question.of(
        facts,
        window,
        tz,
        events=names,
        splits={"by": by},
        at="last_ever",
        allowed=allowed,
        among=among,
        everyone=True,
        reading=reading,
    )
    params = asked.params
    params["length"] = LENGTHS[bucket]
    if by is None:
        periods = find_groups(
            asked.facts, asked.narrowed(events("first")), params, window=window, group=group, zone=asked.zone
        )
    else:
        periods = Periods([], None)
    params["labels"] = periods.labels
    starts, returns = _queries(asked, periods, only_first=first_time_only, is_same=params["first"] == params["second"])
    people, counts = _counts(asked.facts, starts, returns, params)
    length, notes = _length(counts, bucket) if columns is None else (columns, ())
    if length * len(people) > MANY_CELLS:
        msg = f"{len(people):,} cohorts of {length:,} buckets are too many: give columns=, or a longer bucket="
        raise ValueError(msg)
    last = last_moment(asked.facts)

    def row(label: str | None) -> CohortRow:
        size, started = people[label]
        cells = [counts.get((label, place), 0) for place in range(length)]
        shown = tuple(accumulate(cells) if cumulative else cells)
        begun = (last - started) // LENGTHS[bucket] + 1
        return CohortRow(label, size, shown, tuple(cell / size for cell in shown), begun)

    def place(label: str | None) -> tuple[float, bool, str]:
        return (people[label][1] if by is None else -people[label][0], label is None, label or "")

    query = f"""
        with starts as ({starts})
        select s.person, s.label, r.bucket from starts s left join ({returns}) r on s.person = r.person"""
    return Cohorts(
        people_query=PeopleQuery(asked.facts, query, params, asked.is_own),
        first=first,
        second=second,
        group=group,
        bucket=bucket,
        by=by_name(by),
        first_time_only=first_time_only,
        cumulative=cumulative,
        rows=tuple(map(row, sorted(people, key=place))),
        notes=(*periods.notes, *notes),
    )


def _check_columns(columns: object) -> None:
    if columns is None:
        return
    if isinstance(columns, bool) or not isinstance(columns, int):
        msg = f"columns is a whole number of buckets, not {columns!r}"
        raise TypeError(msg)
    if columns < 1:
        msg = f"columns is a number of buckets, 1 or more, not {columns}"
        raise ValueError(msg)


def _length(counts: dict[tuple[str | None, int], int], bucket: Every) -> tuple[int, tuple[str, ...]]:
    """Return the number of buckets; where they are very many, without those that lie years after the others."""
    people: Counter[int] = Counter()
    for (_, place), count in counts.items():
        people[place] += count
    last = max(people, default=-1)
    if last < PLENTY:
        return last + 1, ()
    years = GAP * 86_400 // LENGTHS[bucket]
    (_, near, _), *far = stretches_of(sorted({0: 0, **people}.items()), years)
    if not far:
        return last + 1, ()
    came = sum(count for _, _, count in far)
    told = f"{came:,} who came back {far[0][0]:,} {bucket}s later or more"
    return near + 1, (
        f"In no column, for years lie before it (a wrong clock?): {told}. columns= shows as many as it says.",
    )


def _counts(
    facts: Facts, starts: str, returns: str, params: dict[str, object]
) -> tuple[dict[str | None, list[int]], dict[tuple[str | None, int], int]]:
    """Return for each label its people and when the first of them started, for each label and bucket its people."""
    query = f"""
        with starts as materialized ({starts})
        select label, null as bucket, count(*), epoch_us(min(time)) // 1000000 from starts group by label
        union all select label, bucket, count(*), null from ({returns}) group by label, bucket"""
    people: dict[str | None, list[int]] = {}
    counts: dict[tuple[str | None, int], int] = {}
    for label, bucket, count, started in ask(facts, query, params):
        if bucket is None:
            people[label] = [count, started]
        else:
            counts[label, bucket] = count
    return people, counts


def _queries(asked: Question, periods: Periods, *, only_first: bool, is_same: bool) -> tuple[str, str]:
    """Return two queries: who starts (person, label, time, seq), and who came back (person, label, bucket)."""
    found = firsts(events("first"), "person", numbered=is_same)
    starts = asked.narrowed(
        asked.by.with_split_value(found, None) if asked.by is not None else in_periods(found, periods.lookup)
    )
    label = "value" if asked.by is not None else "$labels[period + 1]"
    seq = "seq" if is_same else "null as seq"
    bucket = "(epoch_us(e.time) - epoch_us(s.time)) // 1000000 // $length"
    returns = f"""
        from starts s join ({events("second", in_window=False)}) e
            on s.person = e.person and e.time >= s.time {"and e.seq <> s.seq" if is_same else ""}"""
    chosen = (
        f"select s.person, any_value(label) as label, min({bucket}) as bucket {returns} group by s.person"
        if only_first
        else f"select distinct s.person, label, {bucket} as bucket {returns}"
    )
    return f"select person, {label} as label, time, {seq} from ({starts})", chosen
