"""Paths: which events, or values of a property, lead people to a conversion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, Unpack

from attrs import define, field, frozen

from kmexport.reports.breakdown import Question
from kmexport.reports.query import ask, check_one_of
from kmexport.reports.results import ALL, All, Result, ResultColumn, counted, ratio, write_duration
from kmexport.reports.splits import Split, as_split
from kmexport.reports.sql import events

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kmexport.reports.conditions import Condition
    from kmexport.reports.query import FactsKeywords, ReportSource
    from kmexport.windows import Window


Take: TypeAlias = Literal["first", "last"]
Which: TypeAlias = Literal["on_the_way", "converted", "dropped"]

_CONDITIONS: Final[dict[Which, str]] = {
    "on_the_way": "true",
    "converted": "is_converted",
    "dropped": "not is_converted",
}


@frozen
class PathRow:
    """One path: its `items` and how many `times` each came in a row, its people, and those who converted.

    `more` is the median number of items beyond these, and `time` the median seconds from the start to the conversion;
    both of the people who converted, None where nobody did. `path` is all of it as one text.
    """

    path: str
    items: tuple[str, ...]
    times: tuple[int, ...]
    more: float | None
    people: int
    conversions: int
    rate: float
    time: float | None


@define(repr=False, kw_only=True)
class Paths(Result):
    """The result of `paths`: `people` on the way, `conversions`, `rate`, `time`, and `rows`, the path with most first.

    `time` is the mean of the paths' median seconds, weighted by their conversions; None for no conversion. The totals
    are those of all paths, also where `rows` has the first of them only.
    """

    first: str
    conversion: str
    of: str
    take: str
    people: int
    conversions: int
    rate: float | None
    time: float | None
    rows: tuple[PathRow, ...]
    _keys: tuple[str, ...] = field(repr=False, eq=False)

    def people_of(self, row: PathRow | Literal[All.ALL] = ALL, which: Which = "on_the_way") -> list[str]:
        """Return the persons of a row of `rows`, or of all paths: all, who "converted", or who "dropped" out."""
        check_one_of("which", _CONDITIONS, which)
        if not isinstance(row, PathRow):
            if which != "dropped":
                return self._people_query.where(_CONDITIONS[which])
            converted = set(self._people_query.where("is_converted"))
            return [person for person in self._people_query.where() if person not in converted]
        if row not in self.rows:
            msg = f"the report has no such path: {row.path}"
            raise LookupError(msg)
        return self._people_query.where(f"{_CONDITIONS[which]} and path = $path", path=self._keys[self.rows.index(row)])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw a line of boxes for each of the first paths, with its conversions, people and rate."""
        from kmexport.reports.plots import paths  # noqa: PLC0415

        lines = []
        for row in self.rows:
            boxes = [(name, _repeated(name, count)) for name, count in zip(row.items, row.times, strict=True)]
            more = [("", _more(row.more))] if _more(row.more) else []
            boxes = [*boxes, *more] if self.take == "first" else [*more, *boxes]
            lines.append((boxes, f"{row.conversions:,} of {row.people:,}\n{row.rate:.0%}"))
        return paths(lines, f"From “{self.first}” to “{self.conversion}”", ax)

    def _title(self) -> str:
        rate = "" if self.rate is None else f" ({self.rate:.1%})"
        took = "" if self.time is None else f", in {write_duration(self.time)}"
        people = counted(self.people, "person", "people")
        return f"{self.first} → {self.conversion}: {self.conversions:,} of {people}{rate}{took}"

    def _columns(self) -> list[ResultColumn]:
        return [
            ResultColumn("path", "string", [row.path for row in self.rows]),
            ResultColumn("people", "int64", [row.people for row in self.rows]),
            ResultColumn("conversions", "int64", [row.conversions for row in self.rows]),
            ResultColumn("rate", "float64", [row.rate for row in self.rows], form="share"),
            ResultColumn("time", "float64", [row.time for row in self.rows], form="duration"),
            ResultColumn("more", "float64", [row.more for row in self.rows], form="amount"),
        ]


def paths(
    facts: ReportSource,
    first: str,
    conversion: str,
    window: Window | None = None,
    *,
    of: str | Split = "events",
    take: Take = "first",
    length: int = 5,
    most: int | None = 50,
    among: Condition | None = None,
    **reading: Unpack[FactsKeywords],
) -> Paths:
    """Find the paths that lead from one event to another: the first or last items on the way, and who converts.

    A way begins with an event `first` and ends with the next `conversion`; then a new one may begin. A conversion in
    the same second counts as after, unless both are one event: then each way leads from one occurrence to the next. Of
    each person, the first way that ends in the window counts, and they converted. A person without such a way counts
    too if they are still on one: an event `first` lies between their last conversion and the end of the window. They
    did not convert. So everybody who was on a way in the window counts once, even if they began long before it.

    `of="events"` makes paths of all events (of Facts with `names=`, of these) from the start to the conversion: the
    start is the first item, and the conversion is left out. Of a property (a name, or a `Split` with a form) it makes
    them of the values that the person was given from the start to the conversion. Of several events in one second, only
    the one that is more frequent in the facts counts. An item that comes again at once is one item: "searched 2X".

    `take="first"` gives the first `length` items, and each person one path; "+2 more" is the median number of items
    after them. `take="last"` gives the last items: each stretch of `length` items that a person went through is a path,
    so a person may be in many of them, but converts only with the stretch that ends at the conversion.

    `rows` has the paths with the most conversions, then with the most people: `most` of them, or with None all.
    `among=` counts only people who fulfil a condition; `among=did(first, window=window)` leaves out those who did not
    do `first` in the window.

    Source: https://oldsupport.kissmetrics.com/tools/path-report.html: the items, the first conversion in the window,
    repeats, the second with several events, "more", both times. What a way is, who is on one without converting, and
    the stretches of `take="last"` are ours. Raises UnknownNameError for names that no record has. Costs one pass over
    all events, or over the property's rows, and memory for the items of everyone on the way.

    >>> from kmexport import Event, Facts
    >>> did = {
    ...     "ann": "visited searched searched bought",
    ...     "bob": "visited searched",
    ...     "cy": "visited bought",
    ... }
    >>> facts = Facts([
    ...     Event(person, at * 60, name)
    ...     for person, names in did.items()
    ...     for at, name in enumerate(names.split())
    ... ])
    >>> found = paths(facts, "visited", "bought")
    >>> found
    visited → bought: 2 of 3 people (66.7%), in 2 min
      path                   people  conversions    rate   time  more
      visited                     1            1  100.0%  1 min     0
      visited → searched 2X       1            1  100.0%  3 min     0
      visited → searched          1            0    0.0%      -     -
    >>> found.people_of(found.rows[2])
    ['bob']
    """
    _check(take, length, most)
    split = None if of == "events" else as_split(of)
    asked = Question.of(
        facts,
        window,
        None,
        events={"first": first, "conversion": conversion},
        splits={"of": split},
        among=among,
        everyone=split is None,
        reading=reading,
    )
    names, items = _items(asked)
    people = asked.persons(_ways(asked, names, items, take, length))
    found = ask(asked.facts, _grouped(people.query), {**people.params, "most": most})
    count, on_the_way, conversions, time = found[0][5:] if found else (0, 0, 0, None)
    keys = [[tuple(map(int, item.split("x"))) for item in row[0].split(",") if item] for row in found]
    params = {**people.params, "ranks": list({rank for key in keys for rank, _ in key})}
    named = dict(ask(asked.facts, f"{names} select rank, item from ranks where list_contains($ranks, rank)", params))
    rows = tuple(
        _row([named[rank] for rank, _ in key], [times for _, times in key], take, row[1:5])
        for key, row in zip(keys, found, strict=True)
    )
    left = count - len(rows)
    return Paths(
        people_query=people,
        first=first,
        conversion=conversion,
        of="events" if split is None else split.property,
        take=take,
        people=on_the_way,
        conversions=conversions,
        rate=ratio(conversions, on_the_way),
        time=time,
        rows=rows,
        keys=tuple(row[0] for row in found),
        notes=(f"{counted(left, 'path')} more with fewer conversions: most=None shows all.",) if left else (),
    )


def _check(take: str, length: object, most: object) -> None:
    if take not in ("first", "last"):
        msg = f'take is "first" or "last", not {take!r}'
        raise ValueError(msg)
    for name, number in (("length", length), ("most", most)):
        if number is None and name == "most":
            continue
        if isinstance(number, bool) or not isinstance(number, int):
            msg = f"{name} is a whole number, not {number!r}"
            raise TypeError(msg)
        if number < 1:
            msg = f"{name} is 1 or more, not {number}"
            raise ValueError(msg)


def _row(names: list[str], times: list[int], take: Take, numbers: tuple[Any, ...]) -> PathRow:
    people, conversions, time, more = numbers
    shown = [_repeated(name, count) for name, count in zip(names, times, strict=True)]
    shown = [*shown, _more(more)] if take == "first" else [_more(more), *shown]
    path = " → ".join(filter(None, shown)) or "(nothing)"
    return PathRow(path, tuple(names), tuple(times), more, people, conversions, conversions / people, time)


def _repeated(name: str, count: int) -> str:
    return f"{name} {count}X" if count > 1 else name


def _more(more: float | None) -> str:
    """Return the items beyond a path, rounded down as the vendor shows them."""
    return f"+{int(more)} more" if more is not None and more >= 1 else ""


def _items(asked: Question) -> tuple[str, str]:
    """Return the tables `given` (person, time, item) and `ranks` (item, rank), and the condition for an item of a way.

    A lower rank is a more frequent item: of the items of one second the one with the lowest rank counts.
    """
    if not asked.splits:
        given = "select person_id as person, time, name as item from kmexport.numbered_events"
        condition = "((g.time = w.started and g.item = $first) or (g.time > w.started and g.item <> $conversion))"
    else:
        split = asked.splits["of"]
        if split.assignments is None:
            msg = f"{split.name!r} is the name of a person, and leads nowhere: give another property"
            raise ValueError(msg)
        given = f"select person, time, {split.shown('value')} as item from ({split.assignments})"
        condition = "g.time >= w.started"
    names = f"""
        with given as ({given}),
        ranks as (select item, row_number() over (order by count(*) desc, item) as rank from given group by item)"""
    return names, condition


def _ways(asked: Question, names: str, condition: str, take: Take, length: int) -> str:
    """Return the query of each person's paths: person, path, is_converted, took (seconds), more."""
    after = "<" if asked.params["first"] == asked.params["conversion"] else "<="
    before_end = "where time < to_timestamp($end)"
    began = asked.narrowed(f"select person, time from ({events('first', in_window=False)}) {before_end}")
    ended = f"select distinct person, time from ({events('conversion', in_window=False)}) {before_end}"
    return f"""
        {names},
        began as ({began}),
        ended as ({ended}),
        ways as materialized (
            select row_number() over () as way, person, min(converted) as converted,
                arg_min(started, coalesce(converted, 'infinity'::timestamptz)) as started
            from (
                select b.person, e.time as converted, min(b.time) as started
                from began b asof left join ended e on b.person = e.person and b.time {after} e.time
                group by b.person, e.time
            )
            where converted is null or converted >= to_timestamp($start)
            group by person
        ),
        moments as (
            select way, g.time, min(rank) as rank
            from ways w join given g on g.person = w.person join ranks using (item)
            where {condition} and (g.time <= w.converted or (w.converted is null and g.time < to_timestamp($end)))
            group by way, g.time
        ),
        runs as (
            select way, run, any_value(rank) || 'x' || count(*) as item
            from (
                select *, count(*) filter (is_new) over (partition by way order by time) as run
                from (
                    select *, rank is distinct from lag(rank) over (partition by way order by time) as is_new
                    from moments
                )
            )
            group by way, run
        ),
        found as ({_first(length) if take == "first" else _last(length)})
        select w.person, coalesce(path, '') as path, coalesce(more, 0) as more,
            w.converted is not null and coalesce(is_last, true) as is_converted,
            (epoch_us(w.converted) - epoch_us(w.started)) // 1000000 as took
        from ways w left join found using (way)"""


def _first(length: int) -> str:
    return f"""
        select way, string_agg(item, ',' order by run) filter (run <= {length}) as path, true as is_last,
            greatest(count(*) - {length}, 0) as more
        from runs group by way"""


def _last(length: int) -> str:
    stretch = f"partition by way order by run rows between {length - 1} preceding and current row"
    return f"""
        select way, path, bool_or(is_last) as is_last, max(more) filter (is_last) as more
        from (
            select way, array_to_string(list(item) over ({stretch}), ',') as path,
                run = max(run) over (partition by way) as is_last, greatest(run - {length}, 0) as more
            from runs
        )
        group by way, path"""


def _grouped(people: str) -> str:
    """Return a row for each of the first paths: those with most conversions come first.

    Each has, behind its own numbers, those of all: paths, people, conversions, and the mean of the medians.
    """
    return f"""
        with persons as materialized ({people}),
        grouped as (
            select path, count(*) as people, count(*) filter (is_converted) as conversions,
                median(took) filter (is_converted) as time, median(more) filter (is_converted) as more
            from persons group by path
        )
        select path, people, conversions, time, more, count(*) over (), (select count(distinct person) from persons),
            (sum(conversions) over ())::bigint, sum(time * conversions) over () / nullif(sum(conversions) over (), 0)
        from grouped order by conversions desc, people desc, path limit $most"""
