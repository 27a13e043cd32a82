"""Draw the reports' plots in odd cases on one sheet, to be looked at: python docs/pictures/contact_sheet.py

Each is drawn as a reader gets it, in a figure of its own.
Long names, one step, nobody, two hundred rows, gaps, shares above 100%.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import matplotlib as mpl
from PIL import Image

from kmexport import Bucket, Event, Facts, PropertySet, Window, reports

if TYPE_CHECKING:
    from matplotlib.axes import Axes

mpl.use("Agg")

LONG: Final = "a very long name of an event that goes on and on " * 3
WEEKS: Final = Window.days("2012-09-03", "2012-10-07", tz="America/New_York")
NOBODY: Final = Window(0, 86_400)
DPI: Final = 48
WIDTH: Final = 400  # of a column; the widest picture is narrower
GAP: Final = 8


def plots(sample: Facts, odd: Facts) -> list[Callable[[], Axes]]:
    """What draws each picture."""
    steps = ["visited site", "signed up", "purchased"]
    return [
        lambda: reports.event_counts(odd, LONG, by=LONG).plot(),
        lambda: reports.event_counts(sample, "purchased", WEEKS, by="Channel").plot(),
        lambda: reports.event_counts(sample, "purchased", NOBODY).plot(),
        lambda: reports.funnel(odd, [LONG, "x"], by=LONG).plot(),
        lambda: reports.funnel(odd, [LONG]).plot(),
        lambda: reports.funnel(sample, steps, WEEKS, by="plan").plot(),
        lambda: reports.cohorts(odd, LONG, "x", group="day", bucket="hour").plot(),
        lambda: reports.cohorts(sample, steps[0], steps[0], WEEKS, cumulative=True).plot(),
        lambda: reports.occurrences_before(sample, "viewed product", "purchased", WEEKS, every="day").plot(),
        lambda: reports.occurrences_before(sample, "viewed product", "purchased", WEEKS, by="plan").plot(),
        lambda: reports.revenue(sample, "billing amount", WEEKS, by="plan", every="week").plot(),
        lambda: reports.revenue(odd, "n", by=LONG).plot(),
        lambda: reports.property_total(odd, "n").distribution().plot(),
        lambda: reports.time_between(sample, "visited site", "signed up").distribution().plot(),
        lambda: reports.explain(Bucket.sample(), "viewed product", "2012-10-01", tz="America/New_York").plot(),
        lambda: reports.ab_test(odd, LONG, "x").plot(),
        lambda: reports.ab_test(sample, "plan", "purchased", NOBODY).plot(),
        lambda: reports.paths(sample, "visited site", "purchased", WEEKS).plot(),
        lambda: reports.paths(odd, LONG, "x", of=LONG, take="last").plot(),
        lambda: reports.explain(Bucket.sample(), "nothing", "2012-10-01").plot(),
        lambda: reports.pivot(odd, [LONG], [reports.Metric("total", "n")]).plot(),
        lambda: reports.pivot(sample, ["plan"], [reports.Metric("rate", *steps[:2])], WEEKS, every="week").plot(),
        lambda: reports.pivot(sample, ["plan", "city"], [reports.Metric("people", steps[2])], NOBODY).plot(),
        lambda: reports.pivot(odd, [LONG], [reports.Metric("mean_time", LONG, "x")]).plot(),
        lambda: reports.person(sample, "ana127@example.com").plot(),
        lambda: reports.person(odd, "p3").plot(),
        lambda: reports.person(odd, "nothing but values").plot(),
        lambda: reports.segments(odd, LONG, LONG).plot(),
        lambda: reports.property_values(odd, LONG, by="n").plot(),
        lambda: reports.conversion(odd, LONG, "x", by=LONG).plot(),
        lambda: reports.conversion(odd, LONG, "x", Window(0, 200 * 90), every="hour", by="kind").plot(),
        lambda: reports.time_between(odd, LONG, "x").plot(),
    ]


def main() -> None:
    from matplotlib import pyplot as plt  # noqa: PLC0415  # after the choice of what draws

    sheet, heights = Image.new("RGB", (4 * WIDTH, 10_000), "#777777"), [0] * 4
    events = [
        Event(f"p{at}", at * 90, LONG, {LONG: f"value number {at} which is long " * 2, "n": at}) for at in range(200)
    ]
    events += [Event(f"p{at}", at * 90 + 5_000, "x", {"kind": at % 4}) for at in range(0, 200, 3)]
    events += [PropertySet("nothing but values", 1, {"n": 0})]
    with Facts(Bucket.sample()) as sample, Facts(events) as odd:
        for draw in plots(sample, odd):
            drawn = io.BytesIO()
            draw().figure.savefig(drawn, dpi=DPI)
            add(sheet, heights, Image.open(drawn))
            plt.close()
    sheet.crop((0, 0, sheet.width, max(heights))).save(Path(__file__).with_name("contact-sheet.png"), optimize=True)


def add(sheet: Image.Image, heights: list[int], picture: Image.Image) -> None:
    """Put a picture below the others, where there is most room."""
    column = heights.index(min(heights))
    sheet.paste(picture, (column * sheet.width // len(heights), heights[column]))
    heights[column] += picture.height + GAP


if __name__ == "__main__":
    main()
