"""What `.plot()` of each report draws of the sample, for docs/reports.md. matplotlib draws it; the text stays text."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import matplotlib as mpl
from drawing import Colours
from matplotlib.figure import Figure

from kmexport import Bucket, Facts, Window, reports

ZONE: Final = "America/New_York"
DAYS: Final = Window.days("2012-10-01", "2012-10-05", tz=ZONE)
WEEKS: Final = Window.days("2012-09-03", "2012-10-07", tz=ZONE)
STEPS: Final = ["visited site", "signed up", "added to cart", "purchased"]
WIDTH: Final = 4.3  # inches, so that the smallest text has 9 pixels on a phone

REPORTS: Final[dict[str, Callable[[Facts], Any]]] = {
    "event-counts": lambda facts: reports.event_counts(facts, "Signed Up", DAYS, every="day", tz=ZONE),
    "conversion": lambda facts: reports.conversion(facts, "signed up", "purchased", WEEKS, by="plan"),
    "time-between": lambda facts: reports.time_between(facts, "visited site", "signed up", WEEKS),
    "property-total": lambda facts: reports.property_total(facts, "billing amount", WEEKS, by="plan"),
    "funnel": lambda facts: reports.funnel(facts, STEPS, WEEKS, tz=ZONE),
    "property-values": lambda facts: reports.property_values(facts, "plan", WEEKS, at="at_step", step="purchased"),
    "cohorts": lambda facts: reports.cohorts(facts, "visited site", "visited site", WEEKS, group="week", tz=ZONE),
    "revenue": lambda facts: reports.revenue(facts, "billing amount", WEEKS, churn_after="14 days", every="week"),
    "distribution": lambda facts: reports.event_counts(facts, "purchased").distribution(),
    "explain": lambda _: reports.explain(Bucket.sample(), "viewed product", "2012-10-01", tz=ZONE),
    "ab-test": lambda facts: reports.ab_test(facts, "plan", "purchased", WEEKS, baseline="Free"),
    "paths": lambda facts: reports.paths(facts, "visited site", "signed up", WEEKS, length=3, most=4),
    "pivot": lambda facts: reports.pivot(
        facts,
        [reports.GroupBy("first_time", "visited site", shown="month"), "plan"],
        {"revenue": reports.Metric("total", "billing amount")},
        WEEKS,
    ),
    "segments": lambda facts: reports.segments(facts, "purchased", "plan", WEEKS),
}


def drawer(name: str) -> Callable[[Colours], str]:
    """What draws the picture of one report."""
    return lambda colours: _draw(name, colours)


def _draw(name: str, colours: Colours) -> str:
    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.size": 9,
        "axes.titlesize": 10,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "text.color": colours["ink"],
        "axes.labelcolor": colours["ink"],
        "axes.titlecolor": colours["ink"],
        "axes.edgecolor": colours["line"],
        "xtick.color": colours["ink"],
        "ytick.color": colours["ink"],
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(WIDTH, 3), layout="constrained")
        _found(name).plot(figure.subplots())
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata=dict.fromkeys(["Date", "Creator", "Format", "Type"]))
    # No prologue with a link to its document type, and no metadata with links to their meanings.
    return re.sub(r"^.*?(?=<svg)|<metadata>.*?</metadata>\s*", "", drawn.getvalue(), flags=re.DOTALL)


@cache
def _found(name: str) -> Any:
    return REPORTS[name](_facts())


@cache
def _facts() -> Facts:
    return Facts(Bucket.sample())
