"""How a number is distributed over people: how many have which, with the least, the mean, the median and the most."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from attrs import define, frozen

from kmexport.reports.results import NumberForm, PeopleQuery, Result, ResultColumn, counted, texts_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_SINGLE: Final = 20  # numbers that stand alone; more of them are put into ranges
_RANGES: Final = 10
# Seconds: from one second over minutes, hours and days to 30 days.
_OF_CLOCKS: Final = (
    *(1, 2, 5, 10, 15, 30),
    *(60 * minutes for minutes in (1, 2, 5, 10, 15, 30)),
    *(3_600 * hours for hours in (1, 2, 3, 6, 12)),
    *(86_400 * days for days in (1, 2, 7, 14, 30)),
)


@frozen
class DistributionRow:
    """The people with a number from `first` up to, but not including, `end`; `end` is None for `first` alone."""

    first: float
    end: float | None
    people: int


@define(repr=False, kw_only=True)
class Distribution(Result):
    """The result of `distribution`: `minimum`, `mean`, `median`, `maximum` of people's numbers, and `rows` of people.

    Few different numbers stand alone; many are put into ranges. The least and the most are in the first row and the
    last.
    """

    name: str
    form: NumberForm
    people: int
    minimum: float | None
    mean: float | None
    median: float | None
    maximum: float | None
    rows: tuple[DistributionRow, ...]

    def people_of(self, row: DistributionRow) -> list[str]:
        """Return the persons of a row."""
        if row.end is None:
            return self._people_query.where("number = $first", first=row.first)
        return self._people_query.where("number >= $first and number < $end", first=row.first, end=row.end)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw a bar of people for each row."""
        from kmexport.reports.plots import bars  # noqa: PLC0415

        return bars(self._names(), [row.people for row in self.rows], self.name, "people", ax)

    def _names(self) -> list[str]:
        firsts = texts_of([row.first for row in self.rows], self.form)
        ends = texts_of([row.end for row in self.rows], self.form)
        return [first if end == "-" else f"{first} to {end}" for first, end in zip(firsts, ends, strict=True)]

    def _title(self) -> str:
        if not self.people:
            return f"{self.name}: 0 people"
        numbers = [self.minimum, self.mean, self.median, self.maximum]
        shown = texts_of(numbers, "amount" if self.form == "number" else self.form)
        told = ", ".join(
            f"{what} {text}" for what, text in zip(("least", "mean", "median", "most"), shown, strict=True)
        )
        return f"{self.name}: {counted(self.people, 'person', 'people')}, {told}"

    def _columns(self) -> list[ResultColumn]:
        return [
            ResultColumn("number", "string", self._names()),
            ResultColumn("people", "int64", [row.people for row in self.rows]),
        ]


def distribution_of(people_query: PeopleQuery, expression: str, name: str, form: NumberForm) -> Distribution:
    """Return the distribution of an aggregate over each person's rows. Holds each different number once."""
    query = f"""
        select person, {expression} as number from ({people_query.query}) group by person having number is not null"""
    persons = PeopleQuery(people_query.facts, query, people_query.params)
    counts = sorted(persons.groups(["number"], "count(*)"))
    numbers, people = [number for number, _ in counts], list(accumulate(count for _, count in counts))
    return Distribution(
        people_query=persons,
        name=name,
        form=form,
        people=people[-1] if people else 0,
        minimum=numbers[0] if numbers else None,
        mean=statistics.fmean(numbers, [count for _, count in counts]) if numbers else None,
        median=_median(numbers, people) if people else None,
        maximum=numbers[-1] if numbers else None,
        rows=tuple(_rows(counts, form)),
    )


def _median(numbers: list[float], people: list[int]) -> float:
    """Return the median of numbers, each with the count of people up to it."""
    low, high = (numbers[bisect_right(people, place)] for place in ((people[-1] - 1) // 2, people[-1] // 2))
    return low if low == high else (low + high) / 2


def _rows(counts: list[tuple[float, int]], form: NumberForm) -> list[DistributionRow]:
    """Return the rows of numbers, each with its count of people, in their order."""
    if len(counts) <= _SINGLE:
        return [DistributionRow(number, None, people) for number, people in counts]
    step = _round_step((counts[-1][0] - counts[0][0]) / _RANGES, form)
    places: dict[int, int] = {}
    for number, people in counts:
        place = math.floor(number / step)
        places[place] = places.get(place, 0) + people
    return [
        DistributionRow(place * step, (place + 1) * step, places.get(place, 0))
        for place in range(min(places), max(places) + 1)
    ]


def _round_step(step: float, form: NumberForm) -> float:
    """Return a step of 1, 2 or 5 and zeros, or one of a clock, as long as this one or longer."""
    if form == "duration" and step <= _OF_CLOCKS[-1]:
        return next(seconds for seconds in _OF_CLOCKS if seconds >= step)
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step)
