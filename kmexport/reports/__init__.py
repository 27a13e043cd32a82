"""The vendor's report rules as functions over Facts: the numbers of the vendor's pages, and the persons behind them.

Extra `tables` (DuckDB and pyarrow); pictures need the extra `plot` (matplotlib).
"""

from __future__ import annotations

from kmexport.reports.channels import ChannelRules
from kmexport.reports.cohorts import CohortRow, Cohorts, cohorts
from kmexport.reports.conditions import Condition, did, has
from kmexport.reports.conversions import Conversion, ConversionRow, conversion
from kmexport.reports.counts import CountRow, EventCounts, event_counts
from kmexport.reports.durations import TimeBetween, TimeBetweenRow, time_between
from kmexport.reports.filing import Split
from kmexport.reports.funnels import Funnel, FunnelRow, FunnelStep, funnel
from kmexport.reports.results import ALL
from kmexport.reports.totals import PropertyTotal, TotalRow, property_total
from kmexport.reports.values import PropertyValues, Segments, ValueRow, property_values, segments

__all__ = [
    "ALL",
    "ChannelRules",
    "CohortRow",
    "Cohorts",
    "Condition",
    "Conversion",
    "ConversionRow",
    "CountRow",
    "EventCounts",
    "Funnel",
    "FunnelRow",
    "FunnelStep",
    "PropertyTotal",
    "PropertyValues",
    "Segments",
    "Split",
    "TimeBetween",
    "TimeBetweenRow",
    "TotalRow",
    "ValueRow",
    "cohorts",
    "conversion",
    "did",
    "event_counts",
    "funnel",
    "has",
    "property_total",
    "property_values",
    "segments",
    "time_between",
]
