"""What the numbers of a property add up to: revenue, for one."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

from attrs import define, frozen

from kmexport.reports.asking import ask, parameters
from kmexport.reports.occurrences import IN_WINDOW, LAST_SECOND_OF_PERIOD, events
from kmexport.reports.results import ALL, Choice, Column, ratio
from kmexport.reports.splits import Part, Pieces, SplitResult, Splitting

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kmexport.reports.periods import Every
    from kmexport.reports.results import Persons
    from kmexport.tables import Facts
    from kmexport.windows import Window, Zone

__all__ = ["PropertyTotal", "TotalRow", "property_total"]


@frozen
class TotalRow(Part):
    """One part of a `PropertyTotal`."""

    total: float
    values: int
    people: int
    average_per_incident: float | None
    average_per_person: float | None


@define(repr=False, kw_only=True)
class PropertyTotal(SplitResult):
    """What `property_total` gives: `total`, `values` (how many), `people` (the population), averages, and `rows`."""

    property: str
    total: float
    values: int
    people: int
    average_per_incident: float | None
    average_per_person: float | None
    rows: tuple[TotalRow, ...]

    def people_of(self, *, label: Choice = ALL, value: Choice = ALL) -> list[str]:
        """The persons of the population."""
        return self._people(label, value, "is_member")

    def plot(self, ax: Axes | None = None) -> Axes:
        """A line of the total in the periods of `every=`, one for each value of `by=`; bars without `every=`."""
        from kmexport.reports.plots import bars, lines  # noqa: PLC0415

        title = f"Total of “{self.property}”"
        if self.every is None:
            rows = self.rows or (_row(None, "all", self.total, self.values, self.people),)
            return bars([row.value for row in rows], [row.total for row in rows], title, "total", ax)
        labels, series = self._series(lambda row: row.total)
        return lines(labels, series, title, "total", ax)

    def _title(self) -> str:
        return f"{self.property}: {self.total:,.15g} in {self.values:,} values, {self.people:,} people"

    def _columns(self) -> list[Column]:
        rows = self.rows if self.is_split else (_row(None, None, self.total, self.values, self.people),)
        return [
            *(Column(name, "string", values) for name, values in self._split_columns()),
            Column("total", "float64", [row.total for row in rows]),
            Column("values", "int64", [row.values for row in rows]),
            Column("people", "int64", [row.people for row in rows]),
            Column("average_per_incident", "float64", [row.average_per_incident for row in rows]),
            Column("average_per_person", "float64", [row.average_per_person for row in rows]),
        ]


def property_total(
    facts: Facts,
    property: str,  # noqa: A002  # the contract's name
    window: Window | None = None,
    *,
    event: str | None = None,
    population: str = "with_property",
    by: str | None = None,
    every: Every | None = None,
    tz: Zone = "UTC",
) -> PropertyTotal:
    """The sum of a property's numbers in the window, its average per incident, and its average per person.

    Every value that is a finite number, or text that reads as one, counts; refunds are negative values. `event=`:
    only the values on that event. The average per incident is the total by the number of values. The average per
    person is the total by the people of the population: `"with_property"`, those with a value that counts; an event's
    name, those who did it in the window; `"everyone"`, all who did anything or had a property set at any time (who
    has no value counts as 0; an alias alone makes nobody). An event that is itself called "everyone" can't be asked
    for so.

    `by=` files a value under another property: the same record's, else the person's value in force then; of
    "everyone", the value in force at the end of the window. `every=` gives a row for each period of the zone `tz`.

    Source: the vendor's metrics "total" and "average value" of a property. Raises UnknownNameError for names that no
    record has, ValueError where no value of the property is a number, OverflowError where a float can't hold the
    total. Costs one pass over the property's rows; "everyone" with `every=` a row a person and period. Sums carry
    their rounding errors along; for exact cents, add up Decimals of `as_number`.

    >>> from kmexport import Event, Facts
    >>> facts = Facts([
    ...     Event("a", 1, "purchased", {"amount": "24.00"}),
    ...     Event("a", 2, "refunded", {"amount": -4}),
    ...     Event("b", 3, "visited"),
    ... ])
    >>> revenue = property_total(facts, "Amount", population="everyone")
    >>> revenue.total, revenue.average_per_incident, revenue.average_per_person
    (20.0, 10.0, 10.0)
    """
    names = {"event": event, "population": None if population in ("with_property", "everyone") else population}
    params = parameters(facts, window, events=names, properties={"property": property, "by": by})
    _check_numbers(facts, property, params["property"])
    values = _values(event)
    splitting = Splitting.of(facts, values, params, window=window, by=by, every=every, tz=tz)

    def query(pieces: Pieces) -> str:
        counted = pieces.valued(pieces.in_periods(values))
        is_member = population == "with_property"
        rows = f"select person, period, value, number, {is_member} as is_member from ({counted})"
        return rows if is_member else f"{rows} union all {_members(population, pieces)}"

    numbers = "coalesce(fsum(number), 0), count(number), count(distinct person)"
    if population != "with_property":
        numbers += " filter (is_member)"
    measured = splitting.measure(query, _row, numbers, (0.0, 0, 0), periods_add_up=population != "everyone")
    total, count, people = measured.numbers
    rows = measured.rows
    if not all(map(math.isfinite, [total, *(row.total for row in rows)])):
        total = _exact_total(measured.whole.numbers("number", "number is not null"), property)
        rows = tuple(
            _row(row.label, row.value, _total_of(row, measured.parts, splitting, property), row.values, row.people)
            for row in rows
        )
    overall = _row(None, None, total, count, people)
    return PropertyTotal(
        behind=measured.whole,
        parts=measured.parts,
        by=by,
        every=every,
        property=property,
        total=total,
        values=count,
        people=people,
        average_per_incident=overall.average_per_incident,
        average_per_person=overall.average_per_person,
        rows=rows,
    )


def _row(label: str | None, value: str | None, total: float, values: int, people: int) -> TotalRow:
    return TotalRow(label, value, total, values, people, ratio(total, values), ratio(total, people))


def _check_numbers(facts: Facts, property: str, folded: object) -> None:  # noqa: A002
    query = "select 1 from kmexport.numbered_properties where name = $property and number is not null limit 1"
    if not ask(facts, query, {"property": folded}):
        query = "select text from kmexport.numbered_properties where name = $property limit 1"
        [(example,)] = ask(facts, query, {"property": folded})
        msg = f"no value of {property!r} is a number (one is {str(example)[:40]!r}): property_values() counts texts"
        raise ValueError(msg)


def _values(event: str | None) -> str:
    on_event = "and event = $event" if event is not None else ""
    return f"""
        with found as materialized (
            select person_id as person, time, seq, number from kmexport.numbered_properties
            where name = $property and {IN_WINDOW} {on_event}
        )
        select * from found where number is not null"""


def _members(population: str, pieces: Pieces) -> str:
    """The population, one row or more for each person of it."""
    if population == "everyone":
        source = (
            f"select person, {LAST_SECOND_OF_PERIOD} as time, null::bigint as seq, period from ({pieces.everyone()})"
        )
    else:
        source = pieces.in_periods(events("population"))
    return f"""
        select person, period, value, null::double as number, true as is_member from ({pieces.valued(source)})"""


def _total_of(row: TotalRow, parts: Persons, splitting: Splitting, property: str) -> float:  # noqa: A002
    condition = "number is not null and period = $period and value is not distinct from $value"
    period = splitting.labels.index(row.label) if row.label is not None else 0
    return _exact_total(parts.numbers("number", condition, period=period, value=row.value), property)


def _exact_total(numbers: list[float], property: str) -> float:  # noqa: A002
    """The sum of numbers so huge that it, or a sum on the way to it, is beyond a float."""
    try:
        return float(sum(map(Fraction, numbers)))
    except OverflowError as error:
        msg = f"the values of {property!r} are so huge that no float holds their total: leave those out that are wrong"
        raise OverflowError(msg) from error
