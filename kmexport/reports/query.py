"""What a report asks: its facts, window, zone, the names that it takes, how it is split, and whom it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import Final

from attrs import define, field

from kmexport.days import Zone
from kmexport.reports.asking import bounds_of, check_facts, known_name, zone_of
from kmexport.reports.conditions import Binder, Condition, check_condition
from kmexport.reports.filing import At, By, Filing, as_split
from kmexport.reports.results import Persons
from kmexport.tables import Facts
from kmexport.windows import Window

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

    @classmethod
    def of(
        cls,
        facts: Facts,
        window: Window | None,
        tz: Zone | None,
        *,
        events: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        splits: Mapping[str, By | None] | None = None,
        at: At = "last_touch",
        allowed: Sequence[At] = TOUCHES,
        among: Condition | None = None,
    ) -> Query:
        """`splits` names the properties that people are filed by, each under its parameter; None for no split.

        UnknownNameError for a name that no record has, ValueError for a moment that is not `allowed`.
        """
        check_facts(facts)
        params = bounds_of(window)
        query = cls(facts, window, zone_of(tz, window), params)
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
            query.among = check_condition(among).sql("person", Binder(facts, params))
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
        return Persons(self.facts, self.narrowed(query), self.params)
