"""Draw the picture of docs/records-or-columns.md, for light and for dark pages: python docs/pictures/draw_ways.py"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

WIDTH, HEIGHT = 960, 476
THEMES: Final[dict[str, dict[str, str]]] = {
    "light": {
        "ink": "#1f2937", "quiet": "#57606a", "line": "#6b7280", "paper": "#f6f8fa", "edge": "#c4cbd3",
        "objects": "#1d5fbf", "columns": "#9a4d00", "facts": "#1a7033",
    },
    "dark": {
        "ink": "#e6e8eb", "quiet": "#a7afb8", "line": "#98a2ad", "paper": "#22272e", "edge": "#4b545e",
        "objects": "#7fb2ff", "columns": "#f0a860", "facts": "#6fcf8b",
    },
}  # fmt: skip

# Where a box lies (left, top, width, height), its colour, its title, what stands below.
BOXES: Final = {
    "files": (16, 166, 148, 104, "edge", "revision files", ("on S3, on a disk,", "on a web server")),
    "lines": (208, 166, 168, 104, "edge", "lines", ("whole, repaired,", "each bad one counted")),
    "objects": (476, 16, 212, 104, "objects", "records", ("Event, PropertySet, Alias:", "an object for each line")),
    "columns": (476, 166, 212, 104, "columns", "columns", ("Arrow record batches:", "no object for a line")),
    "facts": (476, 356, 212, 104, "facts", "Facts", ("events, properties, people:", "tables of DuckDB")),
    "steps": (758, 16, 186, 104, "objects", "steps and loops", ("merge_identities,", "drop_duplicates, yours")),
    "tools": (758, 166, 186, 104, "columns", "other tools", ("DuckDB, Polars,", "pandas, pyarrow")),
    "reports": (758, 356, 186, 104, "facts", "SQL and reports", ("funnels, cohorts,", "revenue, people")),
}
# From where to where, and what is called for it (where that text stands, and from which side).
ARROWS: Final = (
    ((164, 218), (208, 218), "line", "", (0, 0), "middle"),
    ((376, 200), (476, 76), "objects", "iter_records", (414, 134), "end"),
    ((376, 218), (476, 218), "columns", "to_batches", (422, 238), "middle"),
    ((688, 68), (758, 68), "objects", "", (0, 0), "middle"),
    ((688, 218), (758, 218), "columns", "", (0, 0), "middle"),
    ((688, 408), (758, 408), "facts", "", (0, 0), "middle"),
    ((562, 120), (562, 166), "columns", "from_records", (552, 148), "end"),
    ((602, 166), (602, 120), "objects", "to_records", (612, 148), "start"),
    ((582, 270), (582, 356), "facts", "identities merged,", (592, 308), "start"),
)


def draw(colours: Mapping[str, str]) -> str:
    """The whole picture as the text of an SVG file."""
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    font = 'font-family="system-ui, -apple-system, Segoe UI, DejaVu Sans, sans-serif"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>']
    parts += [*_heads(colours), *_arrows(colours), *_boxes(colours), "</svg>"]
    return "\n".join(parts) + "\n"


def _heads(colours: Mapping[str, str]) -> Iterator[str]:
    yield "<defs>"
    for name in ("line", "objects", "columns", "facts"):
        yield (
            f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7"'
            f' orient="auto"><path d="M0 0 10 5 0 10z" fill="{colours[name]}"/></marker>'
        )
    yield "</defs>"


def _arrows(colours: Mapping[str, str]) -> Iterator[str]:
    for (left, top), (right, bottom), name, called, (x, y), anchor in ARROWS:
        yield (
            f'<path d="M{left} {top} L{right} {bottom}" stroke="{colours[name]}" stroke-width="2" fill="none"'
            f' marker-end="url(#{name})"/>'
        )
        if called:
            yield _text(x, y, called, colours[name], 14, anchor=anchor)
    yield _text(592, 326, "duplicates dropped", colours["facts"], 14, anchor="start")


def _boxes(colours: Mapping[str, str]) -> Iterator[str]:
    for left, top, width, height, colour, title, lines in BOXES.values():
        yield (
            f'<rect x="{left}" y="{top}" width="{width}" height="{height}" rx="8" fill="{colours["paper"]}"'
            f' stroke="{colours[colour]}" stroke-width="2"/>'
        )
        middle = left + width // 2
        yield _text(middle, top + 36, title, colours["ink"], 17, weight="600")
        for number, line in enumerate(lines):
            yield _text(middle, top + 62 + 20 * number, line, colours["quiet"], 14)


def _text(x: int, y: int, text: str, colour: str, size: int, *, anchor: str = "middle", weight: str = "400") -> str:
    return (
        f'<text x="{x}" y="{y}" fill="{colour}" font-size="{size}" font-weight="{weight}"'
        f' text-anchor="{anchor}">{html.escape(text)}</text>'
    )


if __name__ == "__main__":
    for theme, its_colours in THEMES.items():
        Path(__file__).with_name(f"ways-{theme}.svg").write_text(draw(its_colours), encoding="utf-8")
