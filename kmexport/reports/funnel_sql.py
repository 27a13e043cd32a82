"""The queries of the funnel. Each gives a row for a person, with a column for each step: null where it was not reached.

`kept` holds what counts: for each person, step event and day of the zone the last occurrence, in unix seconds. From
it, one step after the other joins the earliest occurrence that follows. With limits the earliest is not always the
right one (who visits in January and again in June, and buys in June, bought soon after a visit), so there every start
is tried.
"""

from __future__ import annotations

from collections.abc import Sequence

from kmexport.reports.occurrences import IN_WINDOW, Cut, in_periods, valued


def step_events(steps: Sequence[str]) -> str:
    """The occurrences of all steps, `steps` being the folded names; their parameters are $step0, $step1 …"""
    names = ", ".join(f"$step{place}" for place in _first_places(steps))
    return f"""
        select person_id as person, time, seq, name from kmexport.numbered_events
        where name in ({names}) and {IN_WINDOW}"""


def funnel_query(
    steps: Sequence[str], days: Cut, *, skip_steps: bool, within: bool, step_within: bool, by: bool
) -> str:
    """A row for each person who reached a step: person, t0, t1 … (not null: reached), value."""
    kept = f"""
        kept as materialized (
            select person, name, epoch_us(max(time)) // 1000000 as time
            from ({in_periods(step_events(steps), days)}) group by person, name, period
        )"""
    if skip_steps:
        ways = _skipping(steps, within=within)
    elif within or step_within:
        ways = _limited(steps, within=within, step_within=step_within)
    else:
        ways = _plain(steps)
    columns = ", ".join(f"w.t{place}" for place in range(len(steps)))
    if not by:
        return f"with {kept}, ways as ({ways}) select w.person, {columns}, null::varchar as value from ways w"
    return f"""
        with {kept}, ways as ({ways}), entries as ({_entries(steps, skip_steps=skip_steps)})
        select w.person, {columns}, v.value from ways w join ({valued("select * from entries", by=True)}) v
            on w.person = v.person"""


def _first_places(steps: Sequence[str]) -> dict[int, str]:
    """The places of the steps without those that come again."""
    return {place: step for place, step in enumerate(steps) if step not in steps[:place]}


def _place(steps: Sequence[str]) -> str:
    """The first place of a row's event among the steps."""
    return "case name " + " ".join(f"when $step{place} then {place}" for place in _first_places(steps)) + " end"


def _same_before(steps: Sequence[str], place: int) -> list[int]:
    """The earlier steps of the same event: one occurrence reaches only one of them."""
    return [other for other in range(place) if steps[other] == steps[place]]


def _occurrences(place: int) -> str:
    return f"(select person, time from kept where name = $step{place})"


def _plain(steps: Sequence[str]) -> str:
    query = f"select person, min(time) as t0 from {_occurrences(0)} group by person"
    for place in range(1, len(steps)):
        since = _since(f"w.t{place - 1}", steps, place)
        query = f"""
            select w.*, k.time as t{place} from (select w.*, {since} as since from ({query}) w) w
            asof left join {_occurrences(place)} k on w.person = k.person and w.since <= k.time"""
        query = f"select * exclude (since) from ({query})"
    return query


def _since(moment: str, steps: Sequence[str], place: int) -> str:
    """The moment from which on an occurrence reaches the step; null stays null."""
    later = [f"coalesce(w.t{other} + 1, {moment})" for other in _same_before(steps, place)]
    return f"greatest({', '.join([moment, *later])})" if later else moment


def _skipping(steps: Sequence[str], *, within: bool) -> str:
    """One way through all steps in their order, a step being taken when an occurrence of it still follows."""
    query = "select distinct person, null::bigint as entered, null::bigint as moment from kept"
    if within:  # a way from each occurrence of the step at which the person enters
        query = f"""
            select person, time as entered, null::bigint as moment, place from (select *, {_place(steps)} as place
            from kept)
            qualify place = min(place) over (partition by person)"""
    for place in range(len(steps)):
        since = _since("coalesce(w.moment, w.entered, -1000000000000)", steps, place)
        taken = "k.time"
        if within:
            taken = f"case when w.place <= {place} and k.time <= w.entered + $within then k.time end"
        query = f"""
            select w.* exclude (moment, since), {taken} as t{place}, coalesce({taken}, w.moment) as moment
            from (select w.*, {since} as since from ({query}) w)  w
            asof left join {_occurrences(place)} k on w.person = k.person and w.since <= k.time"""
    if not within:
        return query
    columns = ", ".join(f"max(t{place}) as t{place}" for place in range(len(steps)))
    return f"select person, {columns} from ({query}) group by person"


def _limited(steps: Sequence[str], *, within: bool, step_within: bool) -> str:
    """All ways that the limits allow; of ways that go on alike only one is kept."""
    needed = {place: _remembered(steps, place) for place in range(len(steps))}
    own = ", time as t0" if needed[0] else ""
    parts = [("reached0", f"select person, time as entered, time as moment{own} from {_occurrences(0)}")]
    for place in range(1, len(steps)):
        keys = ["w.person"] + (["w.entered"] if within else [])
        keys += [f"w.t{other}" for other in needed[place] if other != place]
        conditions = ["w.person = k.person", f"k.time >= {_since('w.moment', steps, place)}"]
        conditions += ["k.time <= w.entered + $within"] if within else []
        conditions += ["k.time <= w.moment + $step_within"] if step_within else []
        time = "k.time" if step_within else "min(k.time)"  # the earliest goes as far as any, if only the start limits
        reached = [f"{time} as moment", *([f"{time} as t{place}"] if place in needed[place] else [])]
        columns = ", ".join([*keys, *reached])
        joined = f"from reached{place - 1} w join {_occurrences(place)} k on {' and '.join(conditions)}"
        parts.append((f"reached{place}", f"select {columns} {joined} group by all"))
    tables = ", ".join(f"{name} as materialized ({text})" for name, text in parts)
    people = " union all ".join(f"select person, {place} as place from reached{place}" for place in range(len(steps)))
    columns = ", ".join(f"max(place) filter (place = {place}) as t{place}" for place in range(len(steps)))
    return f"with {tables} select person, {columns} from ({people}) group by person"


def _remembered(steps: Sequence[str], place: int) -> list[int]:
    """The places up to this one whose event is a later step too."""
    return [other for other in range(place + 1) if steps[other] in steps[place + 1 :]]


def _entries(steps: Sequence[str], *, skip_steps: bool) -> str:
    """The record by which a person is filed: the first that is kept of the step at which the person enters."""
    only = "" if skip_steps else "where name = $step0"
    return f"""
        select e.person, any_value(e.time) as time, min(e.seq) as seq
        from (select distinct on (person) * from kept {only} order by person, {_place(steps)}, time) f
        join ({step_events(steps)}) e on e.person = f.person and e.name = f.name and e.time = to_timestamp(f.time)
        group by e.person"""
