"""The vendor's report rules as functions over Facts: the numbers of the vendor's pages, and the persons behind them.

Extra `tables` (DuckDB and pyarrow); pictures need the extra `plot` (matplotlib).
"""

from __future__ import annotations

from kmexport.reports.before import BeforeRow, OccurrencesBefore, occurrences_before
from kmexport.reports.channels import ChannelRules
from kmexport.reports.cohorts import CohortRow, Cohorts, cohorts
from kmexport.reports.conditions import Condition, did, has
from kmexport.reports.conversions import Conversion, ConversionRow, conversion
from kmexport.reports.counts import CountRow, EventCounts, event_counts
from kmexport.reports.distributions import Distribution, DistributionRow
from kmexport.reports.durations import TimeBetween, TimeBetweenRow, time_between
from kmexport.reports.explaining import ExplainRow, Explanation, explain
from kmexport.reports.filing import Split
from kmexport.reports.funnels import Funnel, FunnelRow, FunnelStep, funnel
from kmexport.reports.people import People, Show, people
from kmexport.reports.person import Moment, Person, person
from kmexport.reports.results import ALL
from kmexport.reports.revenue import Revenue, RevenueRow, revenue
from kmexport.reports.totals import PropertyTotal, TotalRow, property_total
from kmexport.reports.values import PropertyValues, Segments, ValueRow, property_values, segments

__all__ = [
    "ALL",
    "BeforeRow",
    "ChannelRules",
    "CohortRow",
    "Cohorts",
    "Condition",
    "Conversion",
    "ConversionRow",
    "CountRow",
    "Distribution",
    "DistributionRow",
    "EventCounts",
    "ExplainRow",
    "Explanation",
    "Funnel",
    "FunnelRow",
    "FunnelStep",
    "Moment",
    "OccurrencesBefore",
    "People",
    "Person",
    "PropertyTotal",
    "PropertyValues",
    "Revenue",
    "RevenueRow",
    "Segments",
    "Show",
    "Split",
    "TimeBetween",
    "TimeBetweenRow",
    "TotalRow",
    "ValueRow",
    "cohorts",
    "conversion",
    "did",
    "event_counts",
    "explain",
    "funnel",
    "has",
    "occurrences_before",
    "people",
    "person",
    "property_total",
    "property_values",
    "revenue",
    "segments",
    "time_between",
]
