"""A page about one person: who it is, since when, what they did."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Unpack

from attrs import define, field, frozen

from kmexport.format.names import fold_name
from kmexport.reports.query import ask, facts_of
from kmexport.reports.results import PeopleQuery, Result, ResultColumn, counted, texts_of, write_duration
from kmexport.reports.splits import as_name
from kmexport.windows import time_at

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kmexport.reports.query import FactsKeywords, ReportSource


_FACTS_SHOWN: Final = ("visits", "signup", "purchases", "total", "average", "largest", "first_referrer", "first_search")


@frozen
class Moment:
    """A line of a person's timeline: unix seconds, the event (None: only properties were set), the properties."""

    timestamp: int
    event: str | None
    properties: dict[str, Any]

    @property
    def time(self) -> datetime:
        """The time in UTC."""
        return time_at(self.timestamp, UTC)


@define(repr=False, kw_only=True)
class Person(Result):
    """The result of `person`: `identities`, first and last seen (unix seconds), visits, purchases, and the `timeline`.

    `visit_gap` and `purchase_gap` are the mean seconds between two of them; `visits_to_signup` counts the visits up to
    the sign-up, `visit_to_signup` is the seconds from the first one to it, and `signup_to_upgrade` those from it to the
    first upgrade at or after it. None where there is nothing to tell.
    """

    name: str
    identities: tuple[str, ...]
    first_seen: int | None
    last_seen: int | None
    visits: int
    visit_gap: float | None
    first_referrer: str | None
    first_search: str | None
    signup: int | None
    visits_to_signup: int | None
    visit_to_signup: int | None
    signup_to_upgrade: int | None
    purchases: int
    purchase_gap: float | None
    total: float | None
    largest: float | None
    average: float | None
    timeline: tuple[Moment, ...] = field(repr=False)

    def people_of(self) -> list[str]:
        """Return the person's name, in a list, as every result has it."""
        return [self.name]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw a dot for each event at its time (UTC), a line for each kind of event, the commonest first."""
        from kmexport.reports.plots import moments  # noqa: PLC0415

        times: dict[str, list[int]] = {}
        for line in self.timeline:
            if line.event is not None:
                times.setdefault(line.event, []).append(line.timestamp)
        ordered = sorted(times.items(), key=lambda entry: -len(entry[1]))
        return moments(dict(ordered), self.name, ax)

    def _title(self) -> str:
        seen = [f"{time_at(moment):%Y-%m-%d}" for moment in (self.first_seen, self.last_seen) if moment is not None]
        told = [" to ".join(dict.fromkeys(seen)), counted(self.visits, "visit")]
        if self.visit_gap is not None:
            told.append(f"every {write_duration(self.visit_gap)}")
        if self.signup is not None:
            told.append(f"signed up {time_at(self.signup):%Y-%m-%d}")
        told.append(counted(self.purchases, "purchase"))
        if self.total is not None:
            told.append(f"{texts_of([self.total], 'amount')[0]} in all")
        told += [f"first came from {self.first_referrer}"] if self.first_referrer else []
        told += [f"first searched {self.first_search!r}"] if self.first_search else []
        others = [identity for identity in self.identities if identity != self.name]
        also = f" (also {', '.join(others)})" if others else ""
        return f"{self.name}{also}: {', '.join(filter(None, told))}"

    def _columns(self) -> list[ResultColumn]:
        return [
            ResultColumn("time", "time", [line.timestamp for line in self.timeline]),
            ResultColumn("event", "string", [line.event or "(properties)" for line in self.timeline]),
            ResultColumn(
                "properties", "string", [json.dumps(line.properties, ensure_ascii=False) for line in self.timeline]
            ),
        ]


def person(
    facts: ReportSource,
    identity: str,
    *,
    visit: str = "visited site",
    signup: str = "signed up",
    upgrade: str = "upgraded",
    purchase: str = "purchased",
    amount: str = "billing amount",
    **reading: Unpack[FactsKeywords],
) -> Person:
    """Describe one person, found by any of their identities, with every event and property in the order of time.

    The names are those of the sample and of the vendor's own events; give yours where they differ. A name that no
    record has raises nothing here: a page says what there is.

    Source: https://oldsupport.kissmetrics.com/tools/person-details.html, which tells no formulas. Raises LookupError
    for an identity that no record has. Costs one pass over the tables; holds the person's records.

    >>> from kmexport import Alias, Event, Facts
    >>> facts = Facts([
    ...     Event("x1", 0, "visited site", {"referrer": "example.org"}),
    ...     Alias("x1", 9, "bob"),
    ...     Event("bob", 9, "signed up"),
    ...     Event("bob", 60, "purchased", {"billing amount": 5}),
    ... ])
    >>> found = person(facts, "x1")
    >>> found.name, found.identities, found.visits_to_signup, found.total
    ('bob', ('bob', 'x1'), 1, 5.0)
    """
    as_name(identity)
    source, facts = facts, facts_of(facts, reading, None, properties=True)
    who = ask(
        facts,
        """
        select person_id, person, identity from kmexport.numbered_people
        where person_id in (select person_id from kmexport.numbered_people where identity = $identity)
        order by identity""",
        {"identity": identity},
    )
    if not who:
        msg = f"no record has the identity {identity!r}: identities compare exactly, letter case too"
        raise LookupError(msg)
    params = {"person": who[0][0]}
    events = ask(
        facts,
        """
        select epoch_us(time) // 1000000, name, name_as_sent, properties::varchar, seq
        from kmexport.numbered_events where person_id = $person order by time, seq""",
        params,
    )
    told = ask(
        facts,
        """
        select epoch_us(time) // 1000000, name, name_as_sent, value::varchar, text, number, event, seq
        from kmexport.numbered_properties where person_id = $person and value <> 'null' order by time, seq, place""",
        params,
    )
    moments = {name: [row[0] for row in events if row[1] == fold_name(name)] for name in (visit, signup, purchase)}
    visits, signups, purchases = moments[visit], moments[signup], moments[purchase]
    amounts = [row[5] for row in told if row[1] == fold_name(amount) and row[5] is not None]
    seen = [row[0] for row in (*events, *told)]
    began = signups[0] if signups else None
    firsts: dict[str, str] = {}
    for row in told:
        firsts.setdefault(row[1], row[4])
    upgrades = [row[0] for row in events if row[1] == fold_name(upgrade) and began is not None and row[0] >= began]
    before = [moment for moment in visits if began is not None and moment <= began]
    return Person(
        people_query=PeopleQuery(facts, "select $person as person", params, facts is not source),
        name=who[0][1],
        identities=tuple(row[2] for row in who),
        first_seen=min(seen, default=None),
        last_seen=max(seen, default=None),
        visits=len(visits),
        visit_gap=_gap(visits),
        first_referrer=firsts.get("referrer"),
        first_search=firsts.get("search terms"),
        signup=began,
        visits_to_signup=None if began is None else len(before),
        visit_to_signup=began - before[0] if began is not None and before else None,
        signup_to_upgrade=upgrades[0] - began if began is not None and upgrades else None,
        purchases=len(purchases),
        purchase_gap=_gap(purchases),
        total=sum(amounts) if amounts else None,
        largest=max(amounts, default=None),
        average=sum(amounts) / len(amounts) if amounts else None,
        timeline=tuple(_timeline(events, told)),
    )


def _gap(moments: list[int]) -> float | None:
    """Return the mean time from one to the next."""
    return (moments[-1] - moments[0]) / (len(moments) - 1) if len(moments) > 1 else None


def _timeline(events: list[tuple[Any, ...]], told: list[tuple[Any, ...]]) -> list[Moment]:
    lines = [(time, seq, Moment(time, sent, json.loads(properties))) for time, _, sent, properties, seq in events]
    sets: dict[tuple[int, int], dict[str, Any]] = {}
    for time, _, sent, value, _, _, event, seq in told:
        if event is None:
            sets.setdefault((time, seq), {})[sent] = json.loads(value)
    lines += [(time, seq, Moment(time, None, properties)) for (time, seq), properties in sets.items()]
    return [line for _, _, line in sorted(lines, key=lambda line: line[:2])]
