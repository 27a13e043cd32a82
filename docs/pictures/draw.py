"""Draw every picture of the docs, for light and for dark pages: python docs/pictures/draw.py"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

import aliases
import day_of_revisions
import days_of_zones
import prefetch
import progress
import record_prefetch
import report_plots
import speeds
import way
import ways
from drawing import THEMES, Colours

PICTURES: Final[dict[str, Callable[[Colours], str]]] = {
    "way": way.draw,
    "ways": ways.draw,
    "day-of-revisions": day_of_revisions.draw,
    "aliases": aliases.draw,
    "days-of-zones": days_of_zones.draw,
    "prefetch": prefetch.draw,
    "speeds": speeds.draw,
    "progress": progress.draw,
    **{f"report-{name}": report_plots.drawer(name) for name in report_plots.REPORTS},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=Path(__file__).parent, help="the folder of the files")
    parser.add_argument(
        "--record", action="store_true", help="first run anew what prefetch.json and progress.json keep"
    )
    arguments = parser.parse_args()
    if arguments.record:
        record_prefetch.record()
        progress.record()
    for name, draw in PICTURES.items():
        for theme, colours in THEMES.items():
            (arguments.into / f"{name}-{theme}.svg").write_text(draw(colours), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
