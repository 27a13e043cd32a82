"""The query of a funnel: a row for each entrant, with a column for each step, which is null where it was not reached.

An entrant is a person in one part (period) of the split. What counts of an entrant is the last occurrence of each step
event on each day of the zone, or every one. Without limits a step is reached by the earliest that counts and follows.
One minimum finds it: that of a number in which earlier days come first, and of one day later seconds. With limits the
earliest is not always the right one (who visits in January and again in June, and buys in June, bought soon after a
visit). There `kept` holds all that counts, and every start is tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from attrs import frozen

from kmexport.reports.cuts import Cut
from kmexport.reports.filing import Filing
from kmexport.reports.occurrences import IN_WINDOW, in_periods

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
    days: Cut | None
    cut: Cut | None
    filing: Filing | None
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
        period = "part" if self.cut is not None else "0"
        moment = f"to_timestamp(t{self.filed_at}) as time"
        columns = "".join(f", {kind}{place}" for kind in "tn" for place in range(len(self.steps)))
        found = f"select person, {period} as period, {moment}{columns} from ways join often using ({self._keys})"
        return f"""
            with {", ".join(f"{name} as materialized ({text})" for name, text in tables.items())}
            {self._valued(found)}"""

    def _valued(self, found: str) -> str:
        if self.filing is None:
            return f"select *, null::varchar as value from ({found})"
        if self.filing.at != "at_step":
            return self.filing.valued(found, self.cut)
        valued = self.filing.valued(found, self.cut)
        return f"select * replace (case when t{self.filed_at} is not null then value end as value) from ({valued})"

    @property
    def _keys(self) -> str:
        return "person" if self.cut is None else "person, part"

    def _same(self, one: str, other: str) -> str:
        """The condition that two rows are of one entrant."""
        return " and ".join(f"{one}.{key} = {other}.{key}" for key in self._keys.split(", "))

    def _entrants(self, source: str) -> str:
        """Occurrences, as person, part, time, name."""
        if self.cut is None:
            return source
        return f"select person, period as part, time, name from ({in_periods(source, self.cut)})"

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
