"""The funnel: how many people get how far along a list of events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal, Unpack

from attrs import define, frozen

from kmexport.arguments import check_list
from kmexport.format.names import fold_name
from kmexport.reports.breakdown import Breakdown, QueryParts, Question, SplitResult, SplitRow
from kmexport.reports.periods import PeriodLookup, find_days
from kmexport.reports.query import as_seconds
from kmexport.reports.results import ALL, Choice, ResultColumn, check_choice, counted, ratio
from kmexport.reports.splits import PERSONS_OWN, By, by_name
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

    `share` is `people` divided by those of the first step, `of_previous` by those of the step before; None where
    that is 0.
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
    """The result of `funnel`: `steps`, and `rows` of steps, one for each part of a split."""

    steps: tuple[FunnelStep, ...]
    rows: tuple[FunnelRow, ...]

    def people_of(
        self, step: str | int, *, dropped: bool = False, label: Choice = ALL, value: Choice = ALL
    ) -> list[str]:
        """Return the persons who reached a step, given by its event or its number from 1.

        `dropped=True`: those who reached the step before it, and not this one.
        """
        place = place_of(step, [one.event for one in self.steps])
        if dropped and place == 0:
            msg = "nobody drops out before the first step"
            raise ValueError(msg)
        condition = f"t{place - 1} is not null and t{place} is null" if dropped else f"t{place} is not null"
        return self._people(label, value, condition)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw a bar for each step, with people and share; with `by=`, bars of the commonest values beside one another.

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
    """Count how many people reach each step of a list of events.

    Of what a person did in the window, only the last occurrence of each event on each day of the zone `tz` counts.
    They reach the first step with the earliest occurrence that counts, and each further step with the earliest one in
    the second of the step before, or later. If an event is several steps, each needs an occurrence of its own, on a
    later day. `occurrences="all"` counts every occurrence, not only the last of each day: it asks who ever went on.

    `within=` (a timedelta, or text such as "7 days" or "1 h") limits the time from a person's first step,
    `step_within=` the time between two steps. A person reaches a step if any of their first steps leads to it in time.
    `skip_steps=True`: people may enter at a later step and skip steps, but not turn them round. The vendor has no rule
    for these limits. `step_within=` with `skip_steps=` is a ValueError.

    `.times` of a step: how often the people of that step did its event in the window.

    `by=` takes a name or a `Split`. The default is `at="at_step"`, the value in force when the person reached the last
    step (`step=` chooses another, by its event or number): people who did not reach it stand under None. `every=` gives
    a funnel for each period of the zone `tz`, as if the period were the window: a step that a person takes in a later
    period does not count. `among=` counts only people who fulfil a condition.

    Source: https://oldsupport.kissmetrics.com/tools/funnels.html and
    https://oldsupport.kissmetrics.com/tools/funnels-vs-metrics.html; it differs from `conversion`, for a person who
    did event 2 before event 1 still converts by doing it again. Raises UnknownNameError for names that no record has,
    ValueError for no steps. Costs one pass over the rows of these events and a join for each step.

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
    check_list("steps", steps, "one event or more")
    if not (steps := list(steps)):
        msg = f"steps is a list of one event or more, not {steps!r}"
        raise ValueError(msg)
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
        in_window=True,
        reading=reading,
    )
    params = asked.params
    folded = [str(params[step]) for step in named]
    params |= {"within": _limit("within", within), "step_within": _limit("step_within", step_within)}
    source = _step_events(folded)
    breakdown = Breakdown.of(asked, source, every)
    days = None if occurrences == "all" else find_days(asked.facts, asked.zone, source, params)
    last = place_of(asked.by.step, steps) if asked.by is not None and asked.by.step is not None else len(steps) - 1

    def query(parts: QueryParts) -> str:
        limits = {"within": within is not None, "step_within": step_within is not None}
        return FunnelQuery(folded, days, parts, last, skip_steps=skip_steps, **limits).text()

    def row(label: str | None, value: str | None, *counts: int) -> FunnelRow:
        return FunnelRow(label, value, _steps(steps, counts))

    measured = breakdown.measure(query, row, _count_columns(len(steps)), (0,) * 2 * len(steps), periods_add_up=False)
    return Funnel(
        people_query=measured.whole,
        parts_query=measured.parts,
        by=by_name(by),
        every=every,
        steps=_steps(steps, measured.numbers),
        rows=measured.rows,
        notes=measured.notes,
    )


def _count_columns(steps: int) -> str:
    """Return the SQL columns: the people of each step, then the times of each."""
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


def _step_events(steps: Sequence[str]) -> str:
    """Return the occurrences of all steps, given by their folded names: person, time, place (the first of the event).

    The parameters are $step0, $step1 …
    """
    cases = " ".join(
        f"when $step{place} then {place}" for place, step in enumerate(steps) if steps.index(step) == place
    )
    return f"""
        select * from (
            select person_id as person, time, case name {cases} end as place from kmexport.numbered_events
            where {IN_WINDOW}
        ) where place is not null"""


@frozen
class FunnelQuery:
    """The query of a funnel: a row for each entrant, a person in one period.

    Its columns are person, period, value; t0, t1 … (the second in which the step was reached, or null) and n0, n1 …
    (how often the entrant did its event).

    `kept` has what counts of an entrant: the last occurrence of each event on each day, or every one. Without a limit
    the earliest that follows the step before reaches a step. With a limit the earliest is not always the right one (who
    visits in January and again in June, and buys in June, bought soon after a visit), so every start is tried. Measured
    with 500,000 events: joins over `kept` take a third of the time of lists of each entrant's occurrences, folded by a
    lambda.
    """

    steps: Sequence[str]  # folded names
    days: PeriodLookup | None  # of the zone; None: every occurrence counts
    parts: QueryParts
    split_at: int  # the place of the step whose moment chooses the value of the split
    skip_steps: bool
    within: bool
    step_within: bool

    def text(self) -> str:
        """Return the query."""
        times = ", ".join(
            f"coalesce(sum(times) filter (place = {self._first_place(place)}), 0) as n{place}"
            for place in range(len(self.steps))
        )
        tables = {
            "kept": self._kept(),
            "ways": self._skipping() if self.skip_steps else self._in_order(),
            "often": f"select {self._keys}, {times} from kept group by {self._keys}",
        }
        period = "part" if self.parts.lookup is not None else "0"
        moment = f"to_timestamp(t{self.split_at}) as time"
        columns = "".join(f", {kind}{place}" for kind in "tn" for place in range(len(self.steps)))
        found = f"select person, {period} as period, {moment}{columns} from ways join often using ({self._keys})"
        return f"""
            with {", ".join(f"{name} as materialized ({text})" for name, text in tables.items())}
            {self._with_value(found)}"""

    @property
    def _keys(self) -> str:
        return "person" if self.parts.lookup is None else "person, part"

    def _kept(self) -> str:
        """Return the query of what counts: the keys, place (of the event), time (unix seconds), times (on that day)."""
        occurrences = _step_events(self.steps)
        if self.parts.lookup is not None:
            occurrences = f"select person, period as part, time, place from ({self.parts.in_periods(occurrences)})"
        if self.days is None:
            return (
                f"select {self._keys}, place, {_SECONDS} as time, count(*) as times from ({occurrences}) group by all"
            )
        return f"""
            select {self._keys}, place, max({_SECONDS}) as time, count(*) as times
            from ({in_periods(occurrences, self.days)}) group by {self._keys}, place, period"""

    def _first_place(self, place: int) -> int:
        """Return the first place of the event that stands there."""
        return self.steps.index(self.steps[place])

    def _occurrences(self, place: int) -> str:
        return f"(select {self._keys}, time from kept where place = {self._first_place(place)})"

    def _in_order(self) -> str:
        """Return the query of the steps that each entrant reaches, one after the other.

        reached0, reached1 … have a row for each way to a step; ways that can only go on alike are one.
        """
        tables = [("reached0", self._starts())]
        tables += [(f"reached{place}", self._reached(place)) for place in range(1, len(self.steps))]
        found = " union all ".join(
            f"select {self._keys}, {place} as place, moment from {name}" for place, (name, _) in enumerate(tables)
        )
        columns = ", ".join(f"min(moment) filter (place = {place}) as t{place}" for place in range(len(self.steps)))
        return f"""
            with {", ".join(f"{name} as materialized ({text})" for name, text in tables)}
            select {self._keys}, {columns} from ({found}) group by {self._keys}"""

    def _starts(self) -> str:
        time = "time" if self.within or self.step_within else "min(time)"
        columns = [f"{time} as moment", *([f"{time} as entered"] if self.within else [])]
        columns += [f"{time} as t0"] if 0 in self._needed_after(0) else []
        return f"select {self._keys}, {', '.join(columns)} from {self._occurrences(0)} group by all"

    def _reached(self, place: int) -> str:
        needed = self._needed_after(place)
        keys = [*self._keys.split(", "), *(["entered"] if self.within else [])]
        keys += [f"t{other}" for other in needed if other != place]
        follows = [f"k.time >= {self._since(place)}"]
        follows += ["k.time <= w.entered + $within"] if self.within else []
        follows += ["k.time <= w.moment + $step_within"] if self.step_within else []
        # The earliest goes as far as any, unless the next step has to come soon after it.
        time = "k.time" if self.step_within else "min(k.time)"
        columns = [*(f"w.{key}" for key in keys), f"{time} as moment"]
        columns += [f"{time} as t{place}"] if place in needed else []
        return f"""
            select {", ".join(columns)} from reached{place - 1} w join {self._occurrences(place)} k
                on {self._are_same} and {" and ".join(follows)} group by all"""

    def _skipping(self) -> str:
        """Return the query of the steps that each entrant takes, from the first that they ever take.

        Each step is taken when an occurrence of it still follows the last that was taken.
        """
        entered = "time" if self.within else "min(time)"
        query = f"""
            select {self._keys}, place, {entered} as entered, {entered} as moment
            from kept join (select {self._keys}, min(place) as place from kept group by {self._keys})
                using ({self._keys}, place) group by all"""
        limit = "and k.time <= w.entered + $within" if self.within else ""
        for place in range(len(self.steps)):
            query = f"""
                select w.*, min(k.time) as t{place}
                from ({query}) w left join {self._occurrences(place)} k
                    on {self._are_same} and w.place <= {place} and k.time >= {self._since(place)} {limit}
                group by all"""
            query = f"select * replace (coalesce(t{place}, moment) as moment) from ({query})"
        columns = ", ".join(f"min(t{place}) as t{place}" for place in range(len(self.steps)))
        return f"select {self._keys}, {columns} from ({query}) group by {self._keys}"

    @property
    def _are_same(self) -> str:
        """The condition that a way and an occurrence are of one entrant."""
        return " and ".join(f"w.{key} = k.{key}" for key in self._keys.split(", "))

    def _since(self, place: int) -> str:
        """Return the second from which on an occurrence reaches the step; an earlier step of its event has its own."""
        same = [other for other in range(place) if self.steps[other] == self.steps[place]]
        return f"greatest({', '.join(['w.moment', *(f'w.t{other} + 1' for other in same)])})" if same else "w.moment"

    def _needed_after(self, place: int) -> list[int]:
        """Return the places up to this one whose event is a later step too."""
        return [other for other in range(place + 1) if self.steps[other] in self.steps[place + 1 :]]

    def _with_value(self, found: str) -> str:
        valued = self.parts.with_split_value(found)
        if self.parts.split is None or self.parts.split.at != "at_step":
            return valued
        return f"select * replace (case when t{self.split_at} is not null then value end as value) from ({valued})"
