"""How long each way takes, from the table of ratios in docs/performance.md: nothing is typed twice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from drawing import NORMAL, Colours, picture, text

PAGE: Final = Path(__file__).parent.parent / "performance.md"
ROW: Final = re.compile(r"^\| (?P<way>[^|]*[^|\s]) *\| (?P<ratio>\d+(?:\.\d+)?) *\|$", re.MULTILINE)
UNIT, LEFT, TOP, STEP = 74, 12, 52, 46


def table() -> list[tuple[str, float]]:
    """The ways and their times, in units of the loop that only parses JSON."""
    part = PAGE.read_text(encoding="utf-8").partition("| way | time |")[2].partition("\n\n")[0]
    return [(_plain(row["way"]), float(row["ratio"])) for row in ROW.finditer(part)]


def draw(colours: Colours) -> str:
    """The whole picture as the text of an SVG file."""
    return picture(TOP + STEP * len(table()) + 10, _parts(colours))


def _parts(colours: Colours) -> Iterator[str]:
    floor = LEFT + UNIT
    yield text(
        LEFT, 22, "Time. The mark is 1: a loop of orjson.loads over each line", colours["ink"], NORMAL, anchor="start"
    )
    colour = "objects"
    for number, (way, ratio) in enumerate(table()):
        top = TOP + STEP * number
        colour = _colour(way) or colour
        end = LEFT + ratio * UNIT
        yield text(LEFT, top + 10, way, colours["ink"], anchor="start")
        yield (
            f'<rect x="{LEFT}" y="{top + 16}" width="{end - LEFT:.1f}" height="18" rx="2" fill="{colours[colour]}"/>'
        )
        yield text(max(end, floor) + 8, top + 30, f"{ratio:g}", colours["ink"], NORMAL, anchor="start", weight="600")
        yield f'<path d="M{floor} {top + 14} V{top + 36}" stroke="{colours["ink"]}" stroke-width="2"/>'


def _colour(way: str) -> str | None:
    """What a way gives; a row that says "the same" gives what the row above it does."""
    if way.startswith("the same"):
        return None
    return "facts" if "Facts" in way else "columns" if "to_batches" in way else "line" if "DuckDB" in way else "objects"


def _plain(cell: str) -> str:
    return re.sub(r"\[(.*?)\]\([^)]*\)", r"\1", cell).replace("`", "")
