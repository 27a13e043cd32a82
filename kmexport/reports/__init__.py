"""The vendor's report rules as functions over Facts: the numbers of the vendor's pages, and the people they count.

Extra `tables` (DuckDB and pyarrow); pictures need the extra `plot` (matplotlib).

How a question goes through the modules, from the bottom to the top:

- `query` gets the Facts of a source, runs queries, and finds names in any spelling.
- `periods` splits a window into hours, days, weeks and months, and tells a query in which of them a row lies.
- `sql` has the pieces that queries share: occurrences of events, values that were set, amounts.
- `channels` writes the query that tells a person's channel.
- `splits` has `Split`, and writes the query of the value under which a row counts.
- `conditions` has `did`, `has` and `in_order`, and writes the query of the people who fulfil them.
- `results` has what a report returns: a table that prints, and the query of the people that it counts.
- `breakdown` joins these: a report's `Question`, and its numbers for the whole, for each period and each value.
- `counts`, `conversions`, `durations`, `totals`, `values`, `cohorts`, `funnels`, `revenue`, `ab_tests`, `paths`,
  `pivots` are the reports.
- `people` lists people who fulfil a condition, and compares results with the vendor's CSV files.
- `person` tells about one person.
- `explaining` counts an event of a bucket rule by rule: it asks the files, not Facts.
- `distributions` counts people by a number of a report, `plots` draws results, and `pages` puts several on
  one page.
"""

from __future__ import annotations

from kmexport.reports.ab_tests import AbTest, AbTestRow, ab_test
from kmexport.reports.channels import ChannelRules
from kmexport.reports.cohorts import CohortRow, Cohorts, cohorts
from kmexport.reports.conditions import Condition, did, has, in_order
from kmexport.reports.conversions import Conversion, ConversionRow, conversion
from kmexport.reports.counts import (
    BeforeRow,
    CountRow,
    EventCounts,
    OccurrencesBefore,
    event_counts,
    occurrences_before,
)
from kmexport.reports.distributions import Distribution, DistributionRow
from kmexport.reports.durations import TimeBetween, TimeBetweenRow, time_between
from kmexport.reports.explaining import ExplainRow, Explanation, explain
from kmexport.reports.funnels import Funnel, FunnelRow, FunnelStep, funnel
from kmexport.reports.pages import page
from kmexport.reports.paths import PathRow, Paths, paths
from kmexport.reports.people import CellDifference, Comparison, People, Show, compare, people
from kmexport.reports.person import Moment, Person, person
from kmexport.reports.pivots import Metric, Pivot, PivotRow, pivot
from kmexport.reports.results import ALL
from kmexport.reports.revenue import Revenue, RevenueRow, revenue
from kmexport.reports.splits import GroupBy, Split
from kmexport.reports.totals import PropertyTotal, TotalRow, property_total
from kmexport.reports.values import PropertyValues, Segments, ValueRow, property_values, segments

__all__ = [
    "ALL",
    "AbTest",
    "AbTestRow",
    "BeforeRow",
    "CellDifference",
    "ChannelRules",
    "CohortRow",
    "Cohorts",
    "Comparison",
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
    "GroupBy",
    "Metric",
    "Moment",
    "OccurrencesBefore",
    "PathRow",
    "Paths",
    "People",
    "Person",
    "Pivot",
    "PivotRow",
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
    "ab_test",
    "cohorts",
    "compare",
    "conversion",
    "did",
    "event_counts",
    "explain",
    "funnel",
    "has",
    "in_order",
    "occurrences_before",
    "page",
    "paths",
    "people",
    "person",
    "pivot",
    "property_total",
    "property_values",
    "revenue",
    "segments",
    "time_between",
]
