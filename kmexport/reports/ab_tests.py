"""A/B tests: how many people went on with each variation, and how certain an improvement is."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Final, Literal, Unpack

from attrs import define, frozen

from kmexport.arguments import check_type
from kmexport.reports.breakdown import Question
from kmexport.reports.query import check_one_of
from kmexport.reports.results import ALL, Choice, Result, ResultColumn, check_choice, counted, ratio
from kmexport.reports.splits import By, Split, by_name
from kmexport.reports.sql import IN_WINDOW, events

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kmexport.reports.conditions import Condition
    from kmexport.reports.query import FactsKeywords, ReportSource
    from kmexport.windows import Window


Which = Literal["in_test", "converted", "dropped"]

_CONDITIONS: Final[dict[Which, str]] = {
    "in_test": "true",
    "converted": "is_converted",
    "dropped": "not is_converted",
}
_CERTAIN: Final = 0.95
_ENOUGH: Final = 5  # who converted, and who did not: below it a normal approximation is rough
_BASELINES: Final = ("original", "control", "baseline")


@frozen
class AbTestRow:
    """One variation: the people who got it, those of them who converted, and how that compares with the baseline.

    `improvement` is relative: 0.2 is a rate a fifth higher. It and `certainty` are None for the baseline, and where
    there is nothing to compare: a baseline without a conversion, or a test in which everybody did the same.
    """

    value: str
    people: int
    conversions: int
    rate: float
    improvement: float | None
    certainty: float | None


@define(repr=False, kw_only=True)
class AbTest(Result):
    """The result of `ab_test`: `baseline`, `winner`, `people`, `conversions`, and `rows`, one for each variation.

    `winner` is the variation with the highest rate of those that are better than the baseline with a certainty above
    95%; None where none is. The baseline stands first in `rows`, then the other variations by their rate.
    """

    property: str
    conversion: str
    baseline: str | None
    winner: str | None
    people: int
    conversions: int
    rows: tuple[AbTestRow, ...]

    def people_of(self, value: Choice = ALL, which: Which = "in_test") -> list[str]:
        """Return the persons of a variation, or of the whole test: all, who "converted", or who "dropped" out."""
        check_one_of("which", _CONDITIONS, which)
        check_choice("variation", value, [row.value for row in self.rows])
        if value is ALL:
            return self._people_query.where(_CONDITIONS[which])
        return self._people_query.where(f"{_CONDITIONS[which]} and value = $value", value=value)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw a bar of the rate of each variation, with its people; the baseline is the first."""
        from kmexport.reports.plots import NAME_LENGTH, bars, name_cut  # noqa: PLC0415

        names = [f"{name_cut(row.value, NAME_LENGTH - 12)} ({row.people:,})" for row in self.rows]
        title = f"“{self.conversion}” by “{self.property}”"
        return bars(names, [row.rate for row in self.rows], title, "rate", ax, form="share")

    def _title(self) -> str:
        people = counted(self.people, "person", "people")
        told = f"{self.property} → {self.conversion}: {people}, {counted(self.conversions, 'conversion')}"
        if self.winner is None:
            return f"{told}, no winner"
        [certainty] = [row.certainty for row in self.rows if row.value == self.winner]
        return f"{told}, {self.winner!r} is better than {self.baseline!r} (certainty {certainty:.1%})"

    def _columns(self) -> list[ResultColumn]:
        return [
            ResultColumn(self.property, "string", [row.value for row in self.rows]),
            ResultColumn("people", "int64", [row.people for row in self.rows]),
            ResultColumn("conversions", "int64", [row.conversions for row in self.rows]),
            ResultColumn("rate", "float64", [row.rate for row in self.rows], form="share"),
            ResultColumn("improvement", "float64", [row.improvement for row in self.rows], form="share"),
            ResultColumn("certainty", "float64", [row.certainty for row in self.rows], form="share"),
        ]


def ab_test(
    facts: ReportSource,
    property: By,  # noqa: A002  # the contract's name
    conversion: str,
    window: Window | None = None,
    *,
    baseline: str | None = None,
    among: Condition | None = None,
    **reading: Unpack[FactsKeywords],
) -> AbTest:
    """Compare the variations of an A/B test: people, conversions, rate, improvement, and how certain it is.

    A person is in the test if they were given a value of the property within the window. With several values, the first
    one counts; a note says how many people had several. A person converted if they did the event in the window, in the
    second of that first value or later.

    `baseline=` is the variation that the others are compared with. Without it, the one that is called "original",
    "control" or "baseline" (in any letter case), else the one with most people; a note names it then. `among=` counts
    only people who fulfil a condition.

    The certainty is the probability that a variation is really better than the baseline, by the normal approximation
    Φ((q - p) / √(p(1 - p)/n + q(1 - q)/m)): the baseline's rate p of n people, the variation's rate q of m people, and
    the normal distribution Φ. The vendor says that it takes a normal approximation, and a winner above 95%, but its
    formula stands in a picture: **this formula is kmexport's own**, and so is who is in the test. Where fewer than five
    people converted, or fewer than five did not, the approximation is rough, and a note says so. Each look at a running
    test is one more chance for a wrong winner.

    Source: https://oldsupport.kissmetrics.com/tools/a-b-test-report/certainty-of-improvement.html. Raises
    UnknownNameError for names that no record has, LookupError for a baseline that nobody got. Costs one pass over the
    rows of the property and of the event.

    >>> from kmexport import Event, Facts
    >>> got = {"original": (1_000, 100), "green": (1_000, 130), "red": (1_000, 95)}
    >>> facts = Facts([
    ...     event
    ...     for colour, (people, bought) in got.items()
    ...     for number in range(people)
    ...     for event in [
    ...         Event(f"{colour} {number}", 1, "visited", {"button": colour}),
    ...         *([Event(f"{colour} {number}", 9, "bought")] if number < bought else []),
    ...     ]
    ... ])
    >>> found = ab_test(facts, "button", "bought", baseline="original")
    >>> found
    button → bought: 3,000 people, 325 conversions, 'green' is better than 'original' (certainty 98.2%)
      button    people  conversions   rate  improvement  certainty
      original   1,000          100  10.0%            -          -
      green      1,000          130  13.0%        30.0%      98.2%
      red        1,000           95   9.5%        -5.0%      35.3%
    >>> found.winner, len(found.people_of("green", "converted"))
    ('green', 130)
    """
    check_type("property", property, (str, Split), "the name of a property, or a Split of one")
    asked = Question.of(
        facts,
        window,
        None,
        events={"conversion": conversion},
        splits={"by": property},
        at="first_in_window",
        allowed=["first_in_window"],
        among=among,
        in_window=True,
        reading=reading,
    )
    split = asked.splits["by"]
    if split.assignments is None:
        msg = f"{split.name!r} is the name of a person, so each would be a variation: give the property of the test"
        raise ValueError(msg)
    shown = split.shown("value")
    people = asked.persons(f"""
        select person, {split.shown("set_value")} as value, has_several, coalesce(last >= time, false) as is_converted
        from (
            select person, min(time) as time, arg_min(value, assigned) as set_value,
                min({shown}) <> max({shown}) as has_several
            from ({split.assignments}) where {IN_WINDOW} group by person
        )
        left join (select person, max(time) as last from ({events("conversion")}) group by person) using (person)""")
    counts = people.groups(["value"], "count(*), count(*) filter (is_converted), count(*) filter (has_several)")
    sizes = {value: (number, converted) for value, number, converted, _ in counts}
    chosen, notes = _baseline(sizes, baseline)
    rows = _rows(sizes, chosen)
    if changed := sum(several for *_, several in counts):
        notes += (f"{counted(changed, 'person', 'people')} with several variations: only the first one counts.",)
    certain = [row for row in rows if row.certainty is not None and row.certainty > _CERTAIN]
    return AbTest(
        people_query=people,
        property=str(by_name(property)),
        conversion=conversion,
        baseline=chosen,
        winner=max(certain, key=lambda row: row.rate).value if certain else None,
        people=sum(number for number, _ in sizes.values()),
        conversions=sum(converted for _, converted in sizes.values()),
        rows=rows,
        notes=(*notes, *_rough(rows)),
    )


def certainty(baseline: tuple[int, int], variation: tuple[int, int]) -> float | None:
    """Return the probability that a variation is better; each is given by its people and its conversions.

    None where neither rate has a spread: all converted, or nobody.
    """
    (n1, c1), (n2, c2) = baseline, variation
    p1, p2 = c1 / n1, c2 / n2
    spread = math.sqrt(p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2)
    return NormalDist().cdf((p2 - p1) / spread) if spread else None


def _baseline(sizes: dict[str, tuple[int, int]], asked: str | None) -> tuple[str | None, tuple[str, ...]]:
    """Return the variation that the others are compared with, and the note that names it where nobody chose it."""
    if asked is not None:
        check_choice("variation", asked, list(sizes))
        return asked, ()
    if not sizes:
        return None, ()
    named = [value for value in sizes if value.casefold() in _BASELINES]
    if len(named) == 1:
        return named[0], ()
    largest = min(sizes, key=lambda value: (-sizes[value][0], value))
    return largest, (f"The baseline is {largest!r}, the variation with most people: baseline= chooses another.",)


def _rows(sizes: dict[str, tuple[int, int]], baseline: str | None) -> tuple[AbTestRow, ...]:
    if baseline is None:
        return ()
    base_people, base_conversions = sizes[baseline]

    def row(value: str) -> AbTestRow:
        people, conversions = sizes[value]
        rate = conversions / people
        if value == baseline:
            return AbTestRow(value, people, conversions, rate, None, None)
        better = ratio(rate, base_conversions / base_people)
        improvement = None if better is None else better - 1
        return AbTestRow(value, people, conversions, rate, improvement, certainty(sizes[baseline], sizes[value]))

    others = sorted(map(row, sizes.keys() - {baseline}), key=lambda one: (-one.rate, -one.people, one.value))
    return (row(baseline), *others)


def _rough(rows: tuple[AbTestRow, ...]) -> tuple[str, ...]:
    few = [row.value for row in rows if min(row.conversions, row.people - row.conversions) < _ENOUGH]
    if not few:
        return ()
    names = ", ".join(map(repr, few[:3])) + (f" and {len(few) - 3:,} more" if len(few) > 3 else "")
    return (f"The certainty is rough: fewer than {_ENOUGH} people converted, or did not, with {names}.",)
