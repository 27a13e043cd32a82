"""The funnel: how many people get how far along a list of events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal, Unpack

from attrs import define, frozen

from kmexport.format.names import fold_name
from kmexport.reports.breakdown import Breakdown, QueryParts, Question, SplitResult, SplitRow
from kmexport.reports.periods import PeriodLookup, find_days
from kmexport.reports.query import as_seconds
from kmexport.reports.results import ALL, Choice, ResultColumn, check_choice, counted, ratio
from kmexport.reports.splits import PERSONS_OWN, BoundSplit, By, by_name
from kmexport.reports.sql import IN_WINDOW, in_periods

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kmexport.reports.conditions import Condition
    from kmexport.reports.periods import Every
    from kmexport.reports.query import FactsKeywords, ReportSource
    from kmexport.windows import Window, Zone


@frozen
class FunnelStep:
    """One step: the people who reached it, and how often they did its event in the window; shares of people.

    `share` is that of the first step, `of_previous` that of the step before; None of nobody.
    """

    event: str
    people: int
    times: int
    share: float | None
    of_previous: float | None


@frozen
class FunnelRow(SplitRow):
    """The funnel of one period, of the people with one value of the property (None: without one), or of both."""

    steps: tuple[FunnelStep, ...]


@define(repr=False, kw_only=True)
class Funnel(SplitResult):
    """What `funnel` gives: `steps`, and `rows` of steps, one for each part of a split."""

    steps: tuple[FunnelStep, ...]
    rows: tuple[FunnelRow, ...]

    def people_of(
        self, step: str | int, *, dropped: bool = False, label: Choice = ALL, value: Choice = ALL
    ) -> list[str]:
        """The persons who reached a step, given by its event or its number from 1.

        `dropped=True`: those who reached the step before it, and not this one.
        """
        place = place_of(step, [one.event for one in self.steps])
        if dropped and place == 0:
            msg = "nobody drops out before the first step"
            raise ValueError(msg)
        condition = f"t{place - 1} is not null and t{place} is null" if dropped else f"t{place} is not null"
        return self._people(label, value, condition)

    def plot(self, ax: Axes | None = None) -> Axes:
        """A bar for each step, with people and share; with `by=`, bars of the commonest values beside one another.

        With `every=` a line of the last step's share in the periods, one for each value of `by=`.
        """
        from kmexport.reports.plots import funnel, lines  # noqa: PLC0415

        title = f"From “{self.steps[0].event}” to “{self.steps[-1].event}”" if len(self.steps) > 1 else "Funnel"
        if self.every is not None:
            labels, series = self._series(lambda row: row.steps[-1].share)
            return lines(labels, series, title, "share", ax, form="share")
        groups = {row.value: [step.people for step in row.steps] for row in self.rows}
        return funnel([step.event for step in self.steps], [step.people for step in self.steps], groups, title, ax)

    def _title(self) -> str:
        first, last = self.steps[0], self.steps[-1]
        share = "" if last.share is None else f" ({last.share:.1%})"
        return f"{first.event} → {last.event}: {last.people:,} of {counted(first.people, 'person', 'people')}{share}"

    def _columns(self) -> list[ResultColumn]:
        rows = self.rows if self.is_split else (FunnelRow(None, None, self.steps),)
        lines = [(row, step) for row in rows for step in row.steps]
        return [
            *(ResultColumn(name, "string", values) for name, values in self._split_columns([row for row, _ in lines])),
            ResultColumn("step", "string", [step.event for _, step in lines]),
            ResultColumn("people", "int64", [step.people for _, step in lines]),
            ResultColumn("times", "int64", [step.times for _, step in lines]),
            ResultColumn("share", "float64", [step.share for _, step in lines], form="share"),
            ResultColumn("of_previous", "float64", [step.of_previous for _, step in lines], form="share"),
        ]


def funnel(
    facts: ReportSource,
    steps: Sequence[str],
    window: Window | None = None,
    *,
    tz: Zone | None = None,
    occurrences: Literal["last_of_day", "all"] = "last_of_day",
    skip_steps: bool = False,
    within: timedelta | str | None = None,
    step_within: timedelta | str | None = None,
    by: By | None = None,
    every: Every | None = None,
    among: Condition | None = None,
    **reading: Unpack[FactsKeywords],
) -> Funnel:
    """How many people reach each step of a list of events.

    Of each day of the zone `tz` only the last occurrence of each event counts for a person, of what lies in the
    window. A person reaches the first step with the earliest occurrence that counts, and each further one with the
    earliest at or after the one that reached the step before; the same second counts. An event may be several steps:
    each needs an occurrence of its own, which is on a later day then.

    `skip_steps=True`: people may enter at a later step and skip steps. The steps are gone through in their order, and
    each is taken when an occurrence of it still follows the last that was taken. `within=` (a timedelta, or text such
    as "7 days" or "1 h") limits the time from the first step that a person takes, `step_within=` that between two
    steps; then a person reaches a step when any of their occurrences of the first step leads to it in time. The vendor
    has no rule for this, nor for `step_within=` with `skip_steps=`: that is a ValueError.

    `occurrences="all"` counts every occurrence, not only the last of each day: a plain ordered funnel, for those who
    ask who ever went on. `.times` of a step: how often the people of that step did its event in the window.

    `by=` takes a name or a `Split`. The default is `at="at_step"`, the value in force when the person reached the last
    step (`step=` chooses another, by its event or number): people who did not reach it stand under None. `every=` gives
    a funnel for each period of the zone `tz`, as if the period were the window: who takes the last step in a later
    period has not reached it. `among=` counts only people who fulfil a condition.

    Source: https://oldsupport.kissmetrics.com/tools/funnels.html and
    https://oldsupport.kissmetrics.com/tools/funnels-vs-metrics.html; it differs from `conversion`, for who did event 2
    before event 1 still converts by doing it again. Raises UnknownNameError for names that no record has, ValueError
    for no steps. Costs one pass over the rows of these events and a join for each step.

    >>> from kmexport import Event, Facts
    >>> facts = Facts([
    ...     Event("a", 10, "visited"), Event("a", 10, "signed up"),
    ...     Event("a", 30, "purchased"),
    ...     Event("b", 20, "visited"), Event("b", 10, "signed up"),
    ... ])
    >>> found = funnel(facts, ["Visited", "signed up", "purchased"])
    >>> [(step.event, step.people, step.share) for step in found.steps]
    [('Visited', 2, 1.0), ('signed up', 1, 0.5), ('purchased', 1, 0.5)]
    >>> found.people_of("signed up", dropped=True)
    ['b']
    """
    if isinstance(steps, str) or not (steps := list(steps)):
        msg = f"steps is a list of one event or more, not {steps!r}"
        raise TypeError(msg) if isinstance(steps, str) else ValueError(msg)
    if skip_steps and step_within is not None:
        msg = "skip_steps= has no rule for a limit between two steps, for which step is next is open: use within="
        raise ValueError(msg)
    named = {f"step{place}": step for place, step in enumerate(steps)}
    if occurrences not in ("last_of_day", "all"):
        msg = f'occurrences is "last_of_day" or "all", not {occurrences!r}'
        raise ValueError(msg)
    asked = Question.of(
        facts,
        window,
        tz,
        events=named,
        splits={"by": by},
        at="at_step",
        allowed=(*PERSONS_OWN, "at_step"),
        among=among,
        reading=reading,
    )
    params = asked.params
    folded = [str(params[step]) for step in named]
    params |= {"within": _limit("within", within), "step_within": _limit("step_within", step_within)}
    source = step_events(folded)
    breakdown = Breakdown.of(asked, source, every)
    days = None if occurrences == "all" else find_days(asked.facts, asked.zone, source, params)
    last = place_of(asked.by.step, steps) if asked.by is not None and asked.by.step is not None else len(steps) - 1

    def query(parts: QueryParts) -> str:
        limits = {"within": within is not None, "step_within": step_within is not None}
        return FunnelQuery(folded, days, parts.lookup, parts.split, last, skip_steps=skip_steps, **limits).text()

    def row(label: str | None, value: str | None, *counts: int) -> FunnelRow:
        return FunnelRow(label, value, _steps(steps, counts))

    measured = breakdown.measure(query, row, _counts(len(steps)), (0,) * 2 * len(steps), periods_add_up=False)
    return Funnel(
        people_query=measured.whole,
        parts_query=measured.parts,
        by=by_name(by),
        every=every,
        steps=_steps(steps, measured.numbers),
        rows=measured.rows,
        notes=measured.notes,
    )


def _counts(steps: int) -> str:
    """The people of each step, then the times of each."""
    people = [f"count(t{place})" for place in range(steps)]
    times = [f"coalesce(sum(n{place}) filter (t{place} is not null), 0)::bigint" for place in range(steps)]
    return ", ".join([*people, *times])


def _steps(steps: Sequence[str], counts: Sequence[int]) -> tuple[FunnelStep, ...]:
    people, times = counts[: len(steps)], counts[len(steps) :]
    before = [people[0], *people]
    return tuple(
        FunnelStep(step, count, often, ratio(count, people[0]), ratio(count, previous))
        for step, count, often, previous in zip(steps, people, times, before, strict=False)
    )


def place_of(step: str | int, steps: Sequence[str]) -> int:
    """Return the place of a step, given by its event or its number from 1, among the steps; LookupError for no step."""
    events = [fold_name(one) for one in steps]
    if isinstance(step, int):
        if not 1 <= step <= len(events):
            msg = f"the funnel has the steps 1 to {len(events)}, not {step}"
            raise LookupError(msg)
        return step - 1
    check_choice("step", fold_name(step), events)
    if events.count(fold_name(step)) > 1:
        msg = f"{step!r} is more than one step: give the number of the step, from 1"
        raise ValueError(msg)
    return events.index(fold_name(step))


def _limit(name: str, limit: timedelta | str | None) -> float | None:
    return None if limit is None else as_seconds(name, limit)


_SECONDS: Final = "epoch_us(time) // 1000000"
_DAY: Final = 1 << 40  # more than twice the seconds of any time
_RANK: Final = f"period * {_DAY} - {_SECONDS}"
_EARLIEST: Final = f"(min(o.rank) + {_DAY // 2}) // {_DAY} * {_DAY} - min(o.rank)"


def step_events(steps: Sequence[str]) -> str:
    """The occurrences of all steps, `steps` being the folded names; their parameters are $step0, $step1 …"""
    return _events(f"in ({', '.join(f'$step{place}' for place in _first_places(steps))})")


def _events(named: str) -> str:
    return f"""
        select person_id as person, time, name from kmexport.numbered_events where name {named} and {IN_WINDOW}"""


def _first_places(steps: Sequence[str]) -> dict[int, str]:
    """The places of the steps without those that come again."""
    return {place: step for place, step in enumerate(steps) if step not in steps[:place]}


@frozen
class FunnelQuery:
    """A funnel's steps (folded names) and options, the days of its zone (None: all counts), what it is split by."""

    steps: Sequence[str]
    days: PeriodLookup | None
    lookup: PeriodLookup | None
    split: BoundSplit | None
    filed_at: int
    skip_steps: bool
    within: bool
    step_within: bool

    def text(self) -> str:
        """person, period, value; t0, t1 … (when it was reached, or null) and n0, n1 … (how often) of each entrant."""
        if not self.within and not self.step_within:
            tables = dict(self._unlimited())
        else:
            tables = {"kept": self._kept(), "ways": self._skipping() if self.skip_steps else self._limited()}
        times = ", ".join(f"count(*) filter (name = $step{place}) as n{place}" for place in range(len(self.steps)))
        tables["often"] = f"select {self._keys}, {times} from ({self._entrants(step_events(self.steps))}) group by all"
        period = "part" if self.lookup is not None else "0"
        moment = f"to_timestamp(t{self.filed_at}) as time"
        columns = "".join(f", {kind}{place}" for kind in "tn" for place in range(len(self.steps)))
        found = f"select person, {period} as period, {moment}{columns} from ways join often using ({self._keys})"
        return f"""
            with {", ".join(f"{name} as materialized ({text})" for name, text in tables.items())}
            {self._with_value(found)}"""

    def _with_value(self, found: str) -> str:
        if self.split is None:
            return f"select *, null::varchar as value from ({found})"
        if self.split.at != "at_step":
            return self.split.with_split_value(found, self.lookup)
        valued = self.split.with_split_value(found, self.lookup)
        return f"select * replace (case when t{self.filed_at} is not null then value end as value) from ({valued})"

    @property
    def _keys(self) -> str:
        return "person" if self.lookup is None else "person, part"

    def _same(self, one: str, other: str) -> str:
        """The condition that two rows are of one entrant."""
        return " and ".join(f"{one}.{key} = {other}.{key}" for key in self._keys.split(", "))

    def _entrants(self, source: str) -> str:
        """Occurrences, as person, part, time, name."""
        if self.lookup is None:
            return source
        return f"select person, period as part, time, name from ({in_periods(source, self.lookup)})"

    # Without limits.

    def _unlimited(self) -> Iterator[tuple[str, str]]:
        """way0, way1 …: how far entrants came with the first steps. Skipping, everyone goes on to the next step."""
        keys, last = self._keys, len(self.steps) - 1
        earliest = _EARLIEST if self.days is not None else "min(o.rank)"
        name = "way0" if last else "ways"
        yield name, f"select {keys}, {earliest} as t0 from ({self._ranked(0)}) o group by {keys}"
        for place in range(1, last + 1):
            before, name = name, f"way{place}" if place < last else "ways"
            columns = ", ".join(f"w.t{other}" for other in range(place))
            follows = [f"o.time >= greatest({columns})" if self.skip_steps else f"o.time >= w.t{place - 1}"]
            follows += [f"o.time > w.t{other}" for other in _same_before(self.steps, place)]
            if self.skip_steps:
                follows = [f"coalesce({condition}, true)" for condition in follows]
            joined = f"{'left ' if self.skip_steps else ''}join {before} w using ({keys}) where {' and '.join(follows)}"
            yield (
                f"reached{place}",
                f"select {keys}, {earliest} as t{place} from ({self._ranked(place)}) o {joined} group by {keys}",
            )
            all_of = "full" if self.skip_steps else "left"
            yield (
                name,
                f"select {keys}, {columns}, r.t{place} from {before} w {all_of} join reached{place} r using ({keys})",
            )

    def _ranked(self, place: int) -> str:
        occurrences = self._entrants(_events(f"= $step{place}"))
        if self.days is None:
            return f"select {self._keys}, {_SECONDS} as time, {_SECONDS} as rank from ({occurrences})"
        return f"select {self._keys}, {_SECONDS} as time, {_RANK} as rank from ({in_periods(occurrences, self.days)})"

    # With limits.

    def _kept(self) -> str:
        occurrences = self._entrants(step_events(self.steps))
        if self.days is None:
            return f"select distinct {self._keys}, name, {_SECONDS} as time from ({occurrences})"
        days = in_periods(occurrences, self.days)
        return f"select {self._keys}, name, max({_SECONDS}) as time from ({days}) group by {self._keys}, name, period"

    def _skipping(self) -> str:
        """One way through all steps in their order from each occurrence of the step at which the person enters."""
        query = f"""
            select {self._keys}, time as entered, null::bigint as moment, place
            from (select *, {_place(self.steps)} as place from kept)
            qualify place = min(place) over (partition by {self._keys})"""
        for place in range(len(self.steps)):
            since = _since("coalesce(w.moment, w.entered)", self.steps, place)
            taken = f"case when w.place <= {place} and k.time <= w.entered + $within then k.time end"
            query = f"""
                select w.* exclude (moment, since), {taken} as t{place}, coalesce({taken}, w.moment) as moment
                from (select w.*, {since} as since from ({query}) w) w
                asof left join {self._occurrences(place)} k on {self._same("w", "k")} and w.since <= k.time"""
        columns = ", ".join(f"min(t{place}) as t{place}" for place in range(len(self.steps)))
        return f"select {self._keys}, {columns} from ({query}) group by {self._keys}"

    def _limited(self) -> str:
        """All ways that the limits allow; of ways that go on alike only one is kept."""
        steps = self.steps
        needed = {place: _remembered(steps, place) for place in range(len(steps))}
        own = ", time as t0" if needed[0] else ""
        first = f"select {self._keys}, time as entered, time as moment{own} from {self._occurrences(0)}"
        parts = [("reached0", first)]
        for place in range(1, len(steps)):
            keys = [f"w.{key}" for key in self._keys.split(", ")] + (["w.entered"] if self.within else [])
            keys += [f"w.t{other}" for other in needed[place] if other != place]
            conditions = [self._same("w", "k"), f"k.time >= {_since('w.moment', steps, place)}"]
            conditions += ["k.time <= w.entered + $within"] if self.within else []
            conditions += ["k.time <= w.moment + $step_within"] if self.step_within else []
            # The earliest goes as far as any, if only the start limits.
            time = "k.time" if self.step_within else "min(k.time)"
            reached = [f"{time} as moment", *([f"{time} as t{place}"] if place in needed[place] else [])]
            columns = ", ".join([*keys, *reached])
            joined = f"from reached{place - 1} w join {self._occurrences(place)} k on {' and '.join(conditions)}"
            parts.append((f"reached{place}", f"select {columns} {joined} group by all"))
        tables = ", ".join(f"{name} as materialized ({text})" for name, text in parts)
        places = range(len(steps))
        reached_by = " union all ".join(
            f"select {self._keys}, {place} as place, moment from reached{place}" for place in places
        )
        columns = ", ".join(f"min(moment) filter (place = {place}) as t{place}" for place in places)
        return f"with {tables} select {self._keys}, {columns} from ({reached_by}) group by {self._keys}"

    def _occurrences(self, place: int) -> str:
        return f"(select {self._keys}, time from kept where name = $step{place})"


def _place(steps: Sequence[str]) -> str:
    """The first place of a row's event among the steps."""
    return "case name " + " ".join(f"when $step{place} then {place}" for place in _first_places(steps)) + " end"


def _same_before(steps: Sequence[str], place: int) -> list[int]:
    """The earlier steps of the same event: one occurrence reaches only one of them."""
    return [other for other in range(place) if steps[other] == steps[place]]


def _since(moment: str, steps: Sequence[str], place: int) -> str:
    """The moment from which on an occurrence reaches the step; null stays null."""
    later = [f"coalesce(w.t{other} + 1, {moment})" for other in _same_before(steps, place)]
    return f"greatest({', '.join([moment, *later])})" if later else moment


def _remembered(steps: Sequence[str], place: int) -> list[int]:
    """The places up to this one whose event is a later step too."""
    return [other for other in range(place + 1) if steps[other] in steps[place + 1 :]]
