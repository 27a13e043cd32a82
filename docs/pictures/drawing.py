"""What the pictures share: the colours of both themes, and the parts of an SVG file as plain text.

On a phone a picture is 350 pixels wide. So one that is `WIDTH` wide shows text of the smallest size at 9 pixels.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

Colours: TypeAlias = Mapping[str, str]

WIDTH: Final = 540
SMALL, NORMAL, LARGE = 14, 15, 17
THEMES: Final[dict[str, dict[str, str]]] = {
    "light": {
        "ink": "#1f2937", "quiet": "#57606a", "line": "#6b7280", "paper": "#f6f8fa", "edge": "#c4cbd3",
        "objects": "#1d5fbf", "columns": "#9a4d00", "facts": "#1a7033", "mark": "#dbe8fb",
    },
    "dark": {
        "ink": "#e6e8eb", "quiet": "#a7afb8", "line": "#98a2ad", "paper": "#22272e", "edge": "#4b545e",
        "objects": "#7fb2ff", "columns": "#f0a860", "facts": "#6fcf8b", "mark": "#1e2f4a",
    },
}  # fmt: skip


def picture(height: int, parts: Iterable[str], *, width: int = WIDTH) -> str:
    """The text of an SVG file that holds these parts."""
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    font = 'font-family="system-ui, -apple-system, Segoe UI, DejaVu Sans, sans-serif"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>', *parts, "</svg>"]) + "\n"


def arrow_heads(colours: Colours, names: Iterable[str]) -> Iterator[str]:
    """The heads that `arrow` ends in, one for each colour that is used."""
    yield "<defs>"
    for name in names:
        yield (
            f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7"'
            f' orient="auto"><path d="M0 0 10 5 0 10z" fill="{colours[name]}"/></marker>'
        )
    yield "</defs>"


def arrow(colours: Colours, name: str, *points: tuple[int, int]) -> str:
    """A line through the points, with a head at the last one."""
    way = " L".join(f"{x} {y}" for x, y in points)
    return f'<path d="M{way}" stroke="{colours[name]}" stroke-width="2" fill="none" marker-end="url(#{name})"/>'


def box(
    place: tuple[float, float, float, float], fill: str, edge: str, *, corner: int = 8, dashes: str | None = None
) -> str:
    """A box with round corners at (left, top, width, height)."""
    left, top, width, height = (round(number, 1) for number in place)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}" rx="{corner}" fill="{fill}"'
        f' stroke="{edge}" stroke-width="2"{dashed}/>'
    )


def titled_box(
    colours: Colours, place: tuple[int, int, int, int], edge: str, title: str, lines: Sequence[str]
) -> Iterator[str]:
    """A box with a title and some quiet lines below it, all in the middle."""
    left, top, width, _ = place
    yield box(place, colours["paper"], colours[edge])
    middle = left + width // 2
    yield text(middle, top + 27, title, colours["ink"], LARGE, weight="600")
    for number, line in enumerate(lines):
        yield text(middle, top + 51 + 20 * number, line, colours["quiet"], SMALL)


def text(
    x: float, y: float, words: str, colour: str, size: int = SMALL, *, anchor: str = "middle", weight: str = "400"
) -> str:
    """A line of text; `anchor` says which of its ends stands at x: start, middle or end."""
    return (
        f'<text x="{round(x, 1)}" y="{round(y, 1)}" fill="{colour}" font-size="{size}" font-weight="{weight}"'
        f' text-anchor="{anchor}">{html.escape(words)}</text>'
    )
