"""Revenue: what came in, who pays, who began and who left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal, Unpack

from attrs import define, frozen

from kmexport.reports.breakdown import Breakdown, QueryParts, Question, SplitResult, SplitRow
from kmexport.reports.periods import last_moment
from kmexport.reports.query import as_seconds, ask, check_one_of, given
from kmexport.reports.results import ALL, Choice, ResultColumn, check_choice, counted, ratio, texts_of
from kmexport.reports.splits import EVER, By, by_name
from kmexport.reports.sql import IN_WINDOW, amounts, check_amounts, count_others, events, reading_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kmexport.reports.conditions import Condition
    from kmexport.reports.periods import Every
    from kmexport.reports.query import FactsKeywords, ReportSource
    from kmexport.windows import Window, Zone


Which = Literal["with_revenue", "paying", "gained", "lost"]

_CONDITIONS: Final[dict[Which, str]] = {
    "with_revenue": "number is not null",
    "paying": "is_paying",
    "gained": "is_gained",
    "lost": "is_lost",
}


@frozen
class RevenueRow(SplitRow):
    """One part of a `Revenue`."""

    total: float
    people: int
    paying: int
    gained: int
    lost: int
    average_per_person: float | None
    churn_rate: float | None
    lifetime_value: float | None


@define(repr=False, kw_only=True)
class Revenue(SplitResult):
    """The result of `revenue`: `total`, `people` (with a value), those `paying`, `gained`, `lost`, rates, and `rows`.

    `average` is the total by the number of periods of `every=`; `average_paying` and `average_churn_rate` are the means
    of the periods; all three are None without `every=`. `churn_rate` is those lost by those lost and paying;
    `lifetime_value` the total by those lost. None where there is nothing to divide by.
    """

    property: str
    total: float
    average: float | None
    average_paying: float | None
    average_churn_rate: float | None
    people: int
    paying: int
    gained: int
    lost: int
    average_per_person: float | None
    churn_rate: float | None
    lifetime_value: float | None
    not_numbers: int
    rows: tuple[RevenueRow, ...]

    def people_of(self, which: Which = "with_revenue", *, label: Choice = ALL, value: Choice = ALL) -> list[str]:
        """Return the persons with a value in the window, or those who are paying, were gained, or were lost."""
        check_one_of("which", _CONDITIONS, which)
        return self._people(label, value, _CONDITIONS[which])

    def top(self, count: int = 10) -> list[tuple[str, float]]:
        """Return the customers behind most of the total, each with their own, the largest first."""
        people = self._people_query
        query = f"""
            select person, fsum(number) as total from ({people.query}) where number is not null
            group by person order by total desc, person limit $top"""
        return [(person, total) for person, total in ask(people.facts, query, {**people.params, "top": count})]

    def return_on_investment(self, cost: float, *, label: Choice = ALL, value: Choice = ALL) -> float | None:
        """Return (total - cost) / cost of one part, or of all; None for no cost.

        Source: https://oldsupport.kissmetrics.com/tools/revenue-report/roi-campaigns.html.

        >>> from kmexport import Event
        >>> found = revenue([Event("a", 1, "billed", {"amount": 30})], "amount")
        >>> found.return_on_investment(20)
        0.5
        """
        check_choice("period", label, [row.label for row in self.rows])
        check_choice("value", value, [row.value for row in self.rows])
        total = self.total
        if label is not ALL or value is not ALL:
            total = math.fsum(row.total for row in self.rows if label in (ALL, row.label) and value in (ALL, row.value))
        return ratio(total - cost, cost)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw a line of the total in the periods of `every=`, one for each value of `by=`; bars without `every=`."""
        from kmexport.reports.plots import bars, lines  # noqa: PLC0415

        title = f"Revenue: “{self.property}”"
        if self.every is None:
            rows = self.rows or (self._whole("all"),)
            totals = [row.total if self.people else None for row in rows]
            return bars([row.value for row in rows], totals, title, "total", ax, form="amount")
        labels, series = self._series(lambda row: row.total if self.people else None)
        return lines(labels, series, title, "total", ax, form="amount")

    def _whole(self, value: str | None) -> RevenueRow:
        return _row(None, value, self.total, self.people, self.paying, self.gained, self.lost)

    def _title(self) -> str:
        [total] = texts_of([self.total], "amount")
        people = counted(self.people, "person", "people")
        changes = f"{self.gained:,} gained, {self.lost:,} lost, {self.paying:,} paying"
        return f"{self.property}: {total} from {people}; {changes}"

    def _columns(self) -> list[ResultColumn]:
        rows = self.rows if self.is_split else (self._whole(None),)
        return [
            *(ResultColumn(name, "string", values) for name, values in self._split_columns()),
            ResultColumn("total", "float64", [row.total for row in rows], form="amount"),
            *(ResultColumn(name, "int64", [getattr(row, name) for row in rows]) for name in _COUNTS),
            ResultColumn("average_per_person", "float64", [row.average_per_person for row in rows], form="average"),
            ResultColumn("churn_rate", "float64", [row.churn_rate for row in rows], form="share"),
            ResultColumn("lifetime_value", "float64", [row.lifetime_value for row in rows], form="average"),
        ]


_COUNTS: Final = ("people", "paying", "gained", "lost")


def revenue(
    facts: ReportSource,
    property: str,  # noqa: A002  # the contract's name
    window: Window | None = None,
    *,
    churn_after: timedelta | str | None = "30 days",
    churn_event: str | None = None,
    written: str | None = None,
    by: By | None = None,
    every: Every | None = None,
    tz: Zone | None = None,
    among: Condition | None = None,
    **reading: Unpack[FactsKeywords],
) -> Revenue:
    """Count the revenue of a window, and its customers: who pays, who was gained, who was lost.

    The total is the sum of the property's numbers in the window; refunds are negative. Only a positive value is a
    payment. A customer is gained with the first payment ever, and lost when no payment followed the last one for
    `churn_after`: at that moment, if it lies in the window and before the facts' last record (later nobody can know).
    With `churn_event=` also at that event, if no payment followed it; `churn_after=None` leaves it at the event. Paying
    are all others who paid before the window's end and were not lost before it.

    `by=` files people under their `"last_ever"` (the default) or `"first_ever"` value of a property. `every=` gives a
    row for each period of the zone `tz`, as if the period were the window. `written=` reads amounts as `property_total`
    does. `among=` counts only people who fulfil a condition.

    Source: https://oldsupport.kissmetrics.com/tools/revenue-report.html; the moment of a loss and the base of the churn
    rate are ours. Raises UnknownNameError for names that no record has, ValueError where no value is a number. Costs
    one pass over the property's rows; with `every=` memory for a row a customer and period.

    >>> from kmexport import Event, Facts, Window
    >>> day = 86_400
    >>> facts = Facts([
    ...     Event("a", 0, "billed", {"amount": 10}),
    ...     Event("b", 40 * day, "billed", {"amount": 5}),
    ... ])
    >>> found = revenue(facts, "amount", Window(0, 60 * day))
    >>> found.total, found.gained, found.lost, found.paying, found.lifetime_value
    (15.0, 2, 1, 1, 15.0)
    """
    if churn_after is None and churn_event is None:
        msg = 'a customer is lost after a time, at an event, or both: give churn_after="30 days" or churn_event='
        raise ValueError(msg)
    asked = Question.of(
        facts,
        window,
        tz,
        events=given(churn=churn_event),
        properties={"property": property},
        splits={"by": by},
        at="last_ever",
        allowed=EVER,
        among=among,
        everyone=True,
        reading=reading,
    )
    params = asked.params
    params |= reading_of(written)
    params["last"] = last_moment(asked.facts)
    params["churn_after"] = None if churn_after is None else as_seconds("churn_after", churn_after)
    in_window = asked.narrowed(amounts(params, numbers_only=False))
    not_numbers, notes = count_others(asked.facts, property, in_window, params)
    breakdown = Breakdown.of(asked, amounts(params), every)

    def query(parts: QueryParts) -> str:
        return parts.with_split_value(_rows(parts, params, has_event=churn_event is not None))

    customers = [f"count(*) filter ({_CONDITIONS[which]})" for which in ("paying", "gained", "lost")]  # a row each
    people = f"count(distinct person) filter ({_CONDITIONS['with_revenue']})"
    numbers = ", ".join(["coalesce(fsum(number), 0)", people, *customers])
    measured = breakdown.measure(query, _row, numbers, (0.0, 0, 0, 0, 0), periods_add_up=False)
    whole = _row(None, None, *measured.numbers)
    if not whole.people:
        check_amounts(asked.facts, property, amounts(params, numbers_only=False, in_window=False), params)
    paying, churn_rate = _averages(breakdown.periods.labels, measured.rows)
    return Revenue(
        people_query=measured.whole,
        parts_query=measured.parts,
        by=by_name(by),
        every=every,
        property=property,
        total=whole.total,
        average=ratio(whole.total, len(breakdown.periods.labels)),
        average_paying=paying,
        average_churn_rate=churn_rate,
        people=whole.people,
        paying=whole.paying,
        gained=whole.gained,
        lost=whole.lost,
        average_per_person=whole.average_per_person,
        churn_rate=whole.churn_rate,
        lifetime_value=whole.lifetime_value,
        not_numbers=not_numbers,
        rows=measured.rows,
        notes=(*notes, *measured.notes),
    )


def _row(label: str | None, value: str | None, total: float, *customers: int) -> RevenueRow:
    people, paying, gained, lost = customers
    rates = ratio(total, people), ratio(lost, lost + paying), ratio(total, lost)
    return RevenueRow(label, value, total, people, paying, gained, lost, *rates)


def _averages(labels: Sequence[str], rows: Sequence[RevenueRow]) -> tuple[float | None, float | None]:
    """Return the means over the periods: of the customers who are paying, and of the churn rates that there are."""
    paying, lost = dict.fromkeys(labels, 0), dict.fromkeys(labels, 0)
    for row in rows:
        if row.label is not None:
            paying[row.label] += row.paying
            lost[row.label] += row.lost
    rates = [rate for label in labels if (rate := ratio(lost[label], lost[label] + paying[label])) is not None]
    return ratio(sum(paying.values()), len(labels)), ratio(math.fsum(rates), len(rates))


def _rows(parts: QueryParts, params: dict[str, object], *, has_event: bool) -> str:
    """Return the query of values (person, period, number) and of customers (is_paying, is_gained, is_lost)."""
    periods = parts.periods()
    left_at = f"""
        asof left join (select person, time as left_at from ({events("churn", in_window=False)})) l
            on c.person = l.person and l.left_at < c.until""" if has_event else ""  # fmt: skip
    churned = "least(case when left_at >= paid_at then left_at end, after)" if has_event else "after"
    began = f"select p.*, q.* from (select person, min(paid_at) as began from paid group by person) p, ({periods}) q"
    latest = f"select c.*, p.paid_at from ({began}) c asof join paid p on c.person = p.person and p.paid_at < c.until"
    if parts.lookup is None:  # one period: a group takes half the time of the join
        latest = f"""
            select person, q.*, min(p.paid_at) as began, max(p.paid_at) filter (p.paid_at < q.until) as paid_at
            from paid p, ({periods}) q group by all having max(p.paid_at) filter (p.paid_at < q.until) is not null"""
    return f"""
        with given as materialized ({amounts(params, in_window=False)}),
        paid as materialized (select person, time as paid_at from given where number > 0),
        latest as (
            select *, to_timestamp(epoch_us(paid_at) // 1000000 + $churn_after::bigint) as lapses from ({latest})
        ),
        states as (
            select c.*, case when lapses < least(until, to_timestamp($last)) then lapses end as after,
                {churned} as churned
            from latest c {left_at}
        )
        select person, period, number, false as is_paying, false as is_gained, false as is_lost
        from ({parts.in_periods(f"select person, time, number from given where {IN_WINDOW}")})
        union all
        select person, period, null, churned is null, began >= since, coalesce(churned >= since, false) from states"""
