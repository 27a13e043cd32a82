"""The query of a funnel: a row for each entrant, with a column for each step, which is null where it was not reached.

An entrant is a person in one period of the split. What counts of an entrant is the last occurrence of each step event
on each day of the zone. Without limits a step is reached by the earliest that counts and follows. One minimum finds it:
that of a number in which earlier days come first, and of one day later seconds. With limits the earliest is not always
the right one (who visits in January and again in June, and buys in June, bought soon after a visit). There `kept` holds
all that counts, and every start is tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from attrs import frozen

from kmexport.reports.cuts import Cut
from kmexport.reports.occurrences import IN_WINDOW, in_periods, valued

_SECONDS: Final = "epoch_us(time) // 1000000"
_DAY: Final = 1 << 40  # more than twice the seconds of any time
_RANK: Final = f"period * {_DAY} - {_SECONDS}"
_EARLIEST: Final = f"(min(o.rank) + {_DAY // 2}) // {_DAY} * {_DAY} - min(o.rank)"


def step_events(steps: Sequence[str]) -> str:
    """The occurrences of all steps, `steps` being the folded names; their parameters are $step0, $step1 …"""
    return _events(f"in ({', '.join(f'$step{place}' for place in _first_places(steps))})")


def _events(named: str) -> str:
    return f"""
        select person_id as person, time, seq, name from kmexport.numbered_events where name {named} and {IN_WINDOW}"""


def _first_places(steps: Sequence[str]) -> dict[int, str]:
    """The places of the steps without those that come again."""
    return {place: step for place, step in enumerate(steps) if step not in steps[:place]}


@frozen
class FunnelQuery:
    """A funnel's steps (folded names), its options, the days of its zone, and what it is split by."""

    steps: Sequence[str]
    days: Cut
    cut: Cut | None
    by: bool
    skip_steps: bool
    within: bool
    step_within: bool

    def text(self) -> str:
        """person, period, value, and t0, t1 … (not null: reached) for each entrant who reached a step."""
        if not self.within and not self.step_within:
            tables = dict(self._unlimited())
        else:
            tables = {"kept": self._kept(), "ways": self._skipping() if self.skip_steps else self._limited()}
        value, joined = "null::varchar", ""
        if self.by:
            tables["entries"] = self._entries()
            value, joined = "v.value", f"join ({valued('select * from entries', by=True)}) v on w.entrant = v.entrant"
        count = self.cut.count if self.cut is not None else 1
        columns = ", ".join(f"w.t{place}" for place in range(len(self.steps)))
        return f"""
            with {", ".join(f"{name} as materialized ({text})" for name, text in tables.items())}
            select w.entrant // {count} as person, w.entrant % {count} as period, {value} as value, {columns}
            from ways w {joined}"""

    def _entrants(self, source: str) -> str:
        """Occurrences, as person, entrant, time, seq, name."""
        if self.cut is None:
            return f"select *, person as entrant from ({source})"
        entrant = f"person::bigint * {self.cut.count} + period as entrant"
        return f"select person, {entrant}, time, seq, name from ({in_periods(source, self.cut)})"

    # Without limits.

    def _unlimited(self) -> Iterator[tuple[str, str]]:
        """way0, way1 …: how far entrants came with the first steps. Skipping, everyone goes on to the next step."""
        last = len(self.steps) - 1
        name = "way0" if last else "ways"
        yield name, f"select entrant, {_EARLIEST} as t0 from ({self._ranked(0)}) o group by entrant"
        for place in range(1, last + 1):
            before, name = name, f"way{place}" if place < last else "ways"
            columns = ", ".join(f"w.t{other}" for other in range(place))
            follows = [f"o.time >= greatest({columns})" if self.skip_steps else f"o.time >= w.t{place - 1}"]
            follows += [f"o.time > w.t{other}" for other in _same_before(self.steps, place)]
            if self.skip_steps:
                joined = f"left join {before} w on o.entrant = w.entrant where "
                joined += " and ".join(f"coalesce({condition}, true)" for condition in follows)
            else:
                joined = f"join {before} w on o.entrant = w.entrant and {' and '.join(follows)}"
            yield (
                f"reached{place}",
                f"select o.entrant, {_EARLIEST} as t{place} from ({self._ranked(place)}) o {joined} group by o.entrant",
            )
            all_of = "full" if self.skip_steps else "left"
            yield (
                name,
                f"select entrant, {columns}, r.t{place} from {before} w {all_of} join reached{place} r using (entrant)",
            )

    def _ranked(self, place: int) -> str:
        days = in_periods(self._entrants(_events(f"= $step{place}")), self.days)
        return f"select entrant, {_SECONDS} as time, {_RANK} as rank from ({days})"

    # With limits.

    def _kept(self) -> str:
        days = in_periods(self._entrants(step_events(self.steps)), self.days)
        return f"select entrant, name, max({_SECONDS}) as time from ({days}) group by entrant, name, period"

    def _skipping(self) -> str:
        """One way through all steps in their order from each occurrence of the step at which the person enters."""
        query = f"""
            select entrant, time as entered, null::bigint as moment, place
            from (select *, {_place(self.steps)} as place from kept)
            qualify place = min(place) over (partition by entrant)"""
        for place in range(len(self.steps)):
            since = _since("coalesce(w.moment, w.entered)", self.steps, place)
            taken = f"case when w.place <= {place} and k.time <= w.entered + $within then k.time end"
            query = f"""
                select w.* exclude (moment, since), {taken} as t{place}, coalesce({taken}, w.moment) as moment
                from (select w.*, {since} as since from ({query}) w) w
                asof left join {_occurrences(place)} k on w.entrant = k.entrant and w.since <= k.time"""
        columns = ", ".join(f"max(t{place}) as t{place}" for place in range(len(self.steps)))
        return f"select entrant, {columns} from ({query}) group by entrant"

    def _limited(self) -> str:
        """All ways that the limits allow; of ways that go on alike only one is kept."""
        steps = self.steps
        needed = {place: _remembered(steps, place) for place in range(len(steps))}
        own = ", time as t0" if needed[0] else ""
        parts = [("reached0", f"select entrant, time as entered, time as moment{own} from {_occurrences(0)}")]
        for place in range(1, len(steps)):
            keys = ["w.entrant"] + (["w.entered"] if self.within else [])
            keys += [f"w.t{other}" for other in needed[place] if other != place]
            conditions = ["w.entrant = k.entrant", f"k.time >= {_since('w.moment', steps, place)}"]
            conditions += ["k.time <= w.entered + $within"] if self.within else []
            conditions += ["k.time <= w.moment + $step_within"] if self.step_within else []
            # The earliest goes as far as any, if only the start limits.
            time = "k.time" if self.step_within else "min(k.time)"
            reached = [f"{time} as moment", *([f"{time} as t{place}"] if place in needed[place] else [])]
            columns = ", ".join([*keys, *reached])
            joined = f"from reached{place - 1} w join {_occurrences(place)} k on {' and '.join(conditions)}"
            parts.append((f"reached{place}", f"select {columns} {joined} group by all"))
        tables = ", ".join(f"{name} as materialized ({text})" for name, text in parts)
        places = range(len(steps))
        reached_by = " union all ".join(f"select entrant, {place} as place from reached{place}" for place in places)
        columns = ", ".join(f"max(place) filter (place = {place}) as t{place}" for place in places)
        return f"with {tables} select entrant, {columns} from ({reached_by}) group by entrant"

    # What a person is filed under.

    def _entries(self) -> str:
        """The record by which an entrant is filed: the first that counts of the step at which the person enters."""
        places = range(len(self.steps) if self.skip_steps else 1)
        if self.within or self.step_within:
            only = "" if self.skip_steps else "where name = $step0"
            first = f"select distinct on (entrant) * from kept {only} order by entrant, {_place(self.steps)}, time"
        else:
            name = f"case {' '.join(f'when t{place} is not null then $step{place}' for place in places)} end"
            time = f"coalesce({', '.join(f't{place}' for place in places)})"
            first = f"select entrant, {name} as name, {time} as time from ways"
        return f"""
            select e.person, e.entrant, e.time, min(e.seq) as seq
            from ({first}) f join ({self._entrants(step_events(self.steps))}) e
                on e.entrant = f.entrant and e.name = f.name and e.time = to_timestamp(f.time)
            group by e.person, e.entrant, e.time"""


def _place(steps: Sequence[str]) -> str:
    """The first place of a row's event among the steps."""
    return "case name " + " ".join(f"when $step{place} then {place}" for place in _first_places(steps)) + " end"


def _occurrences(place: int) -> str:
    return f"(select entrant, time from kept where name = $step{place})"


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
