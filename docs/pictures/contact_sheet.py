"""Draw the reports' plots in odd cases on one sheet, to be looked at: python docs/pictures/contact_sheet.py

Long names, one step, nobody, two hundred rows, gaps, shares above 100%.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

from kmexport import Bucket, Event, Facts, PropertySet, Window, reports

mpl.use("Agg")

LONG: Final = "a very long name of an event that goes on and on " * 3
WEEKS: Final = Window.days("2012-09-03", "2012-10-07", tz="America/New_York")
NOBODY: Final = Window(0, 86_400)


def plots(sample: Facts, odd: Facts) -> list[Callable[[Any], object]]:
    """What draws each picture into the axes it is given."""
    steps = ["visited site", "signed up", "purchased"]
    return [
        lambda ax: reports.event_counts(odd, LONG, by=LONG).plot(ax),
        lambda ax: reports.event_counts(sample, "purchased", WEEKS, by="Channel").plot(ax),
        lambda ax: reports.event_counts(sample, "purchased", NOBODY).plot(ax),
        lambda ax: reports.funnel(odd, [LONG, "x"], by=LONG).plot(ax),
        lambda ax: reports.funnel(odd, [LONG]).plot(ax),
        lambda ax: reports.funnel(sample, steps, WEEKS, by="plan").plot(ax),
        lambda ax: reports.cohorts(odd, LONG, "x", group="day", bucket="hour").plot(ax),
        lambda ax: reports.cohorts(sample, steps[0], steps[0], WEEKS, cumulative=True).plot(ax),
        lambda ax: reports.occurrences_before(sample, "viewed product", "purchased", WEEKS, every="day").plot(ax),
        lambda ax: reports.occurrences_before(sample, "viewed product", "purchased", WEEKS, by="plan").plot(ax),
        lambda ax: reports.revenue(sample, "billing amount", WEEKS, by="plan", every="week").plot(ax),
        lambda ax: reports.revenue(odd, "n", by=LONG).plot(ax),
        lambda ax: reports.property_total(odd, "n").distribution().plot(ax),
        lambda ax: reports.time_between(sample, "visited site", "signed up").distribution().plot(ax),
        lambda ax: reports.explain(Bucket.sample(), "viewed product", "2012-10-01", tz="America/New_York").plot(ax),
        lambda ax: reports.ab_test(odd, LONG, "x").plot(ax),
        lambda ax: reports.ab_test(sample, "plan", "purchased", NOBODY).plot(ax),
        lambda ax: reports.paths(sample, "visited site", "purchased", WEEKS).plot(ax),
        lambda ax: reports.paths(odd, LONG, "x", of=LONG, take="last").plot(ax),
        lambda ax: reports.explain(Bucket.sample(), "nothing", "2012-10-01").plot(ax),
        lambda ax: reports.pivot(odd, [LONG], [reports.Metric("total", "n")]).plot(ax),
        lambda ax: reports.pivot(sample, ["plan"], [reports.Metric("rate", *steps[:2])], WEEKS, every="week").plot(ax),
        lambda ax: reports.pivot(sample, ["plan", "city"], [reports.Metric("people", steps[2])], NOBODY).plot(ax),
        lambda ax: reports.pivot(odd, [LONG], [reports.Metric("mean_time", LONG, "x")]).plot(ax),
        lambda ax: reports.person(sample, "ana127@example.com").plot(ax),
        lambda ax: reports.person(odd, "p3").plot(ax),
        lambda ax: reports.person(odd, "nothing but values").plot(ax),
        lambda ax: reports.segments(odd, LONG, LONG).plot(ax),
        lambda ax: reports.property_values(odd, LONG, by="n").plot(ax),
        lambda ax: reports.conversion(odd, LONG, "x", by=LONG).plot(ax),
        lambda ax: reports.conversion(odd, LONG, "x", Window(0, 200 * 90), every="hour", by="kind").plot(ax),
        lambda ax: reports.time_between(odd, LONG, "x").plot(ax),
    ]


def main() -> None:
    from matplotlib import pyplot as plt  # noqa: PLC0415  # after the choice of what draws

    events = [
        Event(f"p{at}", at * 90, LONG, {LONG: f"value number {at} which is long " * 2, "n": at}) for at in range(200)
    ]
    events += [Event(f"p{at}", at * 90 + 5_000, "x", {"kind": at % 4}) for at in range(0, 200, 3)]
    events += [PropertySet("nothing but values", 1, {"n": 0})]
    _, axes = plt.subplots(8, 4, figsize=(30, 48), layout="constrained")
    with Facts(Bucket.sample()) as sample, Facts(events) as odd:
        for draw, ax in zip(plots(sample, odd), axes.flat, strict=True):
            draw(ax)
    plt.savefig(Path(__file__).with_name("contact-sheet.png"), dpi=48, metadata={"Software": None})


if __name__ == "__main__":
    main()
