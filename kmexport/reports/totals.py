"""What the numbers of a property add up to: revenue, for one."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Unpack

from attrs import define, frozen

from kmexport.reports.breakdown import Breakdown, QueryParts, Question, SplitResult, SplitRow
from kmexport.reports.distributions import Distribution, distribution_of
from kmexport.reports.query import given
from kmexport.reports.results import ALL, Choice, ResultColumn, counted, ratio, texts_of
from kmexport.reports.splits import By, by_name
from kmexport.reports.sql import LAST_SECOND_OF_PERIOD, amounts, check_amounts, count_others, events, reading_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kmexport.reports.conditions import Condition
    from kmexport.reports.periods import Every
    from kmexport.reports.query import FactsKeywords, ReportSource
    from kmexport.reports.results import PeopleQuery
    from kmexport.windows import Window, Zone


@frozen
class TotalRow(SplitRow):
    """One part of a `PropertyTotal`."""

    total: float
    values: int
    people: int
    average_per_incident: float | None
    average_per_person: float | None


@define(repr=False, kw_only=True)
class PropertyTotal(SplitResult):
    """The result of `property_total`: `total`, `values` (how many), `people` (the population), averages, and `rows`.

    `not_numbers` counts the values in the window that are not numbers; no total has them.
    """

    property: str
    total: float
    values: int
    people: int
    average_per_incident: float | None
    average_per_person: float | None
    not_numbers: int
    rows: tuple[TotalRow, ...]

    def people_of(self, *, label: Choice = ALL, value: Choice = ALL) -> list[str]:
        """Return the persons of the population."""
        return self._people(label, value, "is_member")

    def distribution(self) -> Distribution:
        """Count how many people have which total of their own; people without a value are left out."""
        return distribution_of(self._people_query, "fsum(number)", f"total of {self.property}", "amount")

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw a line of the total in the periods of `every=`, one for each value of `by=`; bars without `every=`."""
        from kmexport.reports.plots import bars, lines  # noqa: PLC0415

        title = f"Total of “{self.property}”"
        if self.every is None:
            rows = self.rows or (_row(None, "all", self.total, self.values, self.people),)
            totals = [row.total if row.values else None for row in rows]
            return bars([row.value for row in rows], totals, title, "total", ax, form="amount")
        labels, series = self._series(lambda row: row.total if self.values else None)
        return lines(labels, series, title, "total", ax, form="amount")

    def _title(self) -> str:
        [total] = texts_of([self.total], "amount")
        return (
            f"{self.property}: {total} in {counted(self.values, 'value')}, {counted(self.people, 'person', 'people')}"
        )

    def _columns(self) -> list[ResultColumn]:
        rows = self.rows if self.is_split else (_row(None, None, self.total, self.values, self.people),)
        return [
            *(ResultColumn(name, "string", values) for name, values in self._split_columns()),
            ResultColumn("total", "float64", [row.total for row in rows], form="amount"),
            ResultColumn("values", "int64", [row.values for row in rows]),
            ResultColumn("people", "int64", [row.people for row in rows]),
            ResultColumn("average_per_incident", "float64", [row.average_per_incident for row in rows], form="average"),
            ResultColumn("average_per_person", "float64", [row.average_per_person for row in rows], form="average"),
        ]


def property_total(
    facts: ReportSource,
    property: str,  # noqa: A002  # the contract's name
    window: Window | None = None,
    *,
    event: str | None = None,
    population: str = "with_property",
    written: str | None = None,
    by: By | None = None,
    every: Every | None = None,
    tz: Zone | None = None,
    among: Condition | None = None,
    **reading: Unpack[FactsKeywords],
) -> PropertyTotal:
    """Add up a property's numbers in the window, with its averages per incident and per person.

    Every value that is a number, or text that reads as one, counts; refunds are negative values. `written=` is an
    amount as your export writes it ("$1,000.00", "1.463,00 €"): then texts are read in that form, and only so. Anything
    else is counted in `not_numbers` and named below the table. `event=`: only the values of the seconds in which
    the person did that event.

    The average per incident is the total by the number of values. The average per person is the total by the people of
    the population: `"with_property"`, those with a value that counts; an event's name, those who did it in the window,
    and then only their values are summed; `"everyone"`, all who did anything or had a property set at any time (who has
    no value counts as 0; an alias alone makes nobody). An event that is itself called "everyone" can't be asked for so.

    `by=` takes a name or a `Split`: by last touch (the default) a value stands under the other property's value in
    force then, a person of the population under that in force at the event, or for "everyone" at the end of the window.
    `among=` counts only people who fulfil a condition. `every=` gives a row for each period of the zone `tz` (default:
    the window's own, else UTC).

    Source: https://oldsupport.kissmetrics.com/tools/metrics/metric-calculations.html. Raises UnknownNameError for names
    that no record has, ValueError where no value of the property is a number, OverflowError where a float can't hold a
    value or the total. Costs one pass over the property's rows; "everyone" with `every=` a row a person and period.
    Sums carry their rounding errors along; for exact cents, add up Decimals of `as_number`.

    >>> from kmexport import Event, Facts
    >>> facts = Facts([
    ...     Event("a", 1, "purchased", {"amount": "24.00"}),
    ...     Event("a", 2, "refunded", {"amount": -4}),
    ...     Event("b", 3, "visited", {"amount": "$1,000.00"}),
    ... ])
    >>> revenue = property_total(facts, "Amount", population="everyone")
    >>> revenue.total, revenue.average_per_incident, revenue.average_per_person
    (20.0, 10.0, 10.0)
    >>> revenue.not_numbers
    1
    >>> property_total(facts, "Amount", written="$1,000.00").total
    1020.0
    """
    _check_population(population)
    of_event = population not in ("with_property", "everyone")
    names = given(event=event, population=population if of_event else None)
    asked = Question.of(
        facts,
        window,
        tz,
        events=names,
        properties={"property": property},
        splits={"by": by},
        among=among,
        everyone=population == "everyone",
        in_window=population != "everyone",
        reading=reading,
    )
    params = asked.params
    params |= reading_of(written)
    # Values that are not numbers are counted along, where they make no rows and the population leaves none of them out.
    is_along = by is None and every is None and not of_event
    values = amounts(params, event=event is not None, numbers_only=not is_along)
    covering = f"select person, time from ({values}) union all select person, time from ({events('population')})"
    breakdown = Breakdown.of(asked, covering if of_event else values, every)

    def query(parts: QueryParts) -> str:
        return _totals(parts, values, population)

    is_add_up = population == "with_property"
    numbers = "coalesce(fsum(number), 0), count(number), count(distinct person) filter (is_member)"
    numbers += ", count(*) filter (number is null and not is_member)" if is_along else ""
    measured = breakdown.measure(query, _row, numbers, (0.0, 0, 0), periods_add_up=is_add_up)
    total, count, people, *others = measured.numbers
    in_window = asked.narrowed(amounts(params, event=event is not None, numbers_only=False))
    not_numbers, notes = (0, ()) if others == [0] else count_others(asked.facts, property, in_window, params)
    if not count:
        check_amounts(asked.facts, property, amounts(params, numbers_only=False, in_window=False), params)
    rows = measured.rows
    if not all(map(math.isfinite, [total, *(row.total for row in rows)])):
        total = _exact_total(measured.whole.numbers("number", "number is not null"), property)
        rows = tuple(
            _row(row.label, row.value, _total_of(row, measured.parts, breakdown, property), row.values, row.people)
            for row in rows
        )
    overall = _row(None, None, total, count, people)
    return PropertyTotal(
        people_query=measured.whole,
        parts_query=measured.parts,
        by=by_name(by),
        every=every,
        property=property,
        total=total,
        values=count,
        people=people,
        average_per_incident=overall.average_per_incident,
        average_per_person=overall.average_per_person,
        not_numbers=not_numbers,
        rows=rows,
        notes=(*notes, *measured.notes),
    )


def _check_population(population: object) -> None:
    if not isinstance(population, str):
        msg = f'population is "with_property", "everyone" or the name of an event, not {population!r}'
        raise TypeError(msg)


def _row(label: str | None, value: str | None, total: float, values: int, people: int) -> TotalRow:
    return TotalRow(label, value, total, values, people, ratio(total, values), ratio(total, people))


def _totals(parts: QueryParts, values: str, population: str) -> str:
    """Return the query: person, period, value, number (null: a row of the population), is_member."""
    counted = parts.in_periods(values)
    if population == "with_property":
        is_member = "number is not null as is_member"
        return f"select person, period, value, number, {is_member} from ({parts.with_split_value(counted)})"
    if population == "everyone":
        members = (
            f"select person, {LAST_SECOND_OF_PERIOD} as time, null::bigint as seq, period from ({parts.everyone()})"
        )
    else:
        members = parts.in_periods(events("population"))
        counted = f"select * from ({counted}) semi join ({members}) using (person, period)"
    return f"""
        select person, period, value, number, false as is_member from ({parts.with_split_value(counted)})
        union all
        select person, period, value, null::double, true from ({parts.with_split_value(members)})"""


def _total_of(row: TotalRow, parts: PeopleQuery, breakdown: Breakdown, property: str) -> float:  # noqa: A002
    condition = "number is not null and period = $period and value is not distinct from $value"
    period = breakdown.periods.labels.index(row.label) if row.label is not None else 0
    return _exact_total(parts.numbers("number", condition, period=period, value=row.value), property)


def _exact_total(numbers: list[float], property: str) -> float:  # noqa: A002
    """Return the sum of numbers so huge that it, or a sum on the way to it, is beyond a float."""
    try:
        return float(sum(map(Fraction, numbers)))
    except OverflowError as error:
        msg = f"the values of {property!r} are so huge that no float holds their total: leave those out that are wrong"
        raise OverflowError(msg) from error
