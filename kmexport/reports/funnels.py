"""The funnel: how many people get how far along a list of events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, Unpack

from attrs import define, frozen

from kmexport.format.names import fold_name
from kmexport.reports.cuts import cut_into_days
from kmexport.reports.filing import PERSONS_OWN, By, by_name
from kmexport.reports.funnel_sql import FunnelQuery, step_events
from kmexport.reports.query import Query
from kmexport.reports.results import ALL, Choice, Column, check_choice, ratio
from kmexport.reports.splits import Part, Pieces, SplitResult, Splitting
from kmexport.reports.writing import as_seconds, counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kmexport.reports.conditions import Condition
    from kmexport.reports.periods import Every
    from kmexport.reports.sources import Reading, Source
    from kmexport.windows import Window, Zone

__all__ = ["Funnel", "FunnelRow", "FunnelStep", "funnel"]


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
class FunnelRow(Part):
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

    def _columns(self) -> list[Column]:
        rows = self.rows if self.is_split else (FunnelRow(None, None, self.steps),)
        lines = [(row, step) for row in rows for step in row.steps]
        return [
            *(Column(name, "string", values) for name, values in self._split_columns([row for row, _ in lines])),
            Column("step", "string", [step.event for _, step in lines]),
            Column("people", "int64", [step.people for _, step in lines]),
            Column("times", "int64", [step.times for _, step in lines]),
            Column("share", "float64", [step.share for _, step in lines], form="share"),
            Column("of_previous", "float64", [step.of_previous for _, step in lines], form="share"),
        ]


def funnel(
    facts: Source,
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
    **reading: Unpack[Reading],
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
    asked = Query.of(
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
    splitting = Splitting.of(asked, source, every)
    days = None if occurrences == "all" else cut_into_days(asked.facts, asked.zone, source, params)
    last = place_of(asked.by.step, steps) if asked.by is not None and asked.by.step is not None else len(steps) - 1

    def query(pieces: Pieces) -> str:
        limits = {"within": within is not None, "step_within": step_within is not None}
        return FunnelQuery(folded, days, pieces.cut, pieces.filing, last, skip_steps=skip_steps, **limits).text()

    def row(label: str | None, value: str | None, *counts: int) -> FunnelRow:
        return FunnelRow(label, value, _steps(steps, counts))

    measured = splitting.measure(query, row, _counts(len(steps)), (0,) * 2 * len(steps), periods_add_up=False)
    return Funnel(
        behind=measured.whole,
        parts=measured.parts,
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
