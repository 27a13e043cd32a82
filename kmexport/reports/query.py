"""What a report asks: its facts, window, zone, the names that it takes, how it is split, and whom it is about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import tzinfo
from typing import Final

from attrs import define, field

from kmexport.reports.asking import bounds_of, known_name, zone_of
from kmexport.reports.conditions import Binder, Condition, Needs, check_condition
from kmexport.reports.filing import At, By, Filing, as_name, as_split, needed
from kmexport.reports.results import Persons
from kmexport.reports.sources import Reading, Source, facts_of
from kmexport.tables import Facts
from kmexport.windows import Window, Zone

__all__ = ["TOUCHES", "Query"]

TOUCHES: Final[tuple[At, ...]] = ("last_touch", "first_ever", "last_ever", "first_in_window", "last_in_window")


@define
class Query:
    """The facts and the parameters of a report's queries."""

    facts: Facts
    window: Window | None
    zone: tzinfo
    params: dict[str, object]
    filings: dict[str, Filing] = field(factory=dict)
    among: str | None = None
    is_own: bool = False  # whether the report made the facts itself

    @classmethod
    def of(
        cls,
        source: Source,
        window: Window | None,
        tz: Zone | None,
        *,
        events: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        splits: Mapping[str, By | None] | None = None,
        at: At = "last_touch",
        allowed: Sequence[At] = TOUCHES,
        among: Condition | None = None,
        everyone: bool = False,
        also: Iterable[By] = (),
        reading: Reading,
    ) -> Query:
        """`splits` names the properties that people are filed by, each under its parameter; None for no split.

        Of a source that is no Facts, only what these name is read (`also`: further properties), and every event where
        the report is about `everyone`. UnknownNameError for a name that no record has, ValueError for a moment that is
        not `allowed`.
        """
        params, zone = bounds_of(window), zone_of(tz, window)
        if among is not None:
            check_condition(among)
        wanted = Needs()
        wanted.everyone = everyone
        for by in (*(properties or {}).values(), *(splits or {}).values(), *also):
            if by is not None:
                names, told = needed(as_split(by))
                wanted.events += names
                wanted.properties += told
        wanted.events += map(as_name, (events or {}).values())
        if among is not None:
            among.sql("person", wanted)
        facts = facts_of(source, reading, None if wanted.everyone else wanted.events, wanted.properties)
        query = cls(facts, window, zone, params, is_own=facts is not source)
        # Properties come first: what they need is all that events need, and a bucket is read once.
        params |= {key: known_name(facts, "property", name) for key, name in (properties or {}).items()}
        for key, by in (splits or {}).items():
            if by is None:
                continue
            split = as_split(by)
            if split.at is not None and split.at not in allowed:
                msg = f"this report splits at {', '.join(map(repr, allowed))}, not at {split.at!r}"
                raise ValueError(msg)
            query.filings[key] = Filing.of(facts, split, key, params, at)
        params |= {key: known_name(facts, "event", name) for key, name in (events or {}).items()}
        if among is not None:
            query.among = among.sql("person", Binder(facts, params))
        return query

    @property
    def by(self) -> Filing | None:
        """What the report is split by."""
        return self.filings.get("by")

    def narrowed(self, source: str) -> str:
        """The rows of a source (with a person) that are of the people whom the report is about."""
        return source if self.among is None else f"select * from ({source}) where {self.among}"

    def persons(self, query: str) -> Persons:
        """The query of a result, of the people whom the report is about: one row or more for each."""
        return Persons(self.facts, self.narrowed(query), self.params, self.is_own)
