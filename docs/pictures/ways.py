"""Records, columns, facts and reports: what is made of what, for docs/records-or-columns.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from drawing import Colours, arrow, arrow_heads, picture, text, titled_box

# Where a box lies (left, top, width, height), its colour, its title, what stands below.
BOXES: Final = (
    ((10, 10, 190, 84), "edge", "revision files", ("on S3, on a disk,", "on a web server")),
    ((340, 10, 190, 84), "edge", "lines", ("whole, repaired,", "each bad one counted")),
    ((10, 160, 190, 100), "objects", "records", ("an Event, PropertySet", "or Alias for each line")),
    ((340, 160, 190, 100), "columns", "columns", ("Arrow record batches:", "no object for a line")),
    ((10, 326, 190, 84), "objects", "steps and loops", ("merge_identities,", "drop_duplicates, yours")),
    ((340, 326, 190, 84), "facts", "Facts", ("events, properties,", "people: in DuckDB")),
    ((10, 456, 190, 84), "columns", "other tools", ("DuckDB, Polars,", "pandas, pyarrow")),
    ((340, 456, 190, 84), "facts", "SQL and reports", ("funnels, cohorts,", "revenue, people")),
)
# The colour of an arrow, and the points that it goes through.
ARROWS: Final = (
    ("line", ((200, 52), (340, 52))),
    ("objects", ((362, 94), (362, 126), (105, 126), (105, 160))),
    ("columns", ((435, 94), (435, 160))),
    ("columns", ((200, 184), (340, 184))),
    ("objects", ((340, 208), (200, 208))),
    ("objects", ((105, 260), (105, 326))),
    ("columns", ((340, 242), (252, 242), (252, 498), (200, 498))),
    ("facts", ((435, 260), (435, 326))),
    ("facts", ((435, 410), (435, 456))),
)
# What stands beside an arrow: where, from which side, its colour.
WORDS: Final = (
    ("iter_records", (117, 150), "start", "objects"),
    ("to_batches", (447, 132), "start", "columns"),
    ("from_records", (270, 176), "middle", "columns"),
    ("to_records", (270, 226), "middle", "objects"),
    ("identities merged,", (425, 290), "end", "facts"),
    ("duplicates dropped", (425, 309), "end", "facts"),
)


def draw(colours: Colours) -> str:
    """The whole picture as the text of an SVG file."""
    return picture(550, [*arrow_heads(colours, ["line", "objects", "columns", "facts"]), *_parts(colours)])


def _parts(colours: Colours) -> Iterator[str]:
    for name, points in ARROWS:
        yield arrow(colours, name, *points)
    for place, edge, title, lines in BOXES:
        yield from titled_box(colours, place, edge, title, lines)
    for words, (x, y), anchor, name in WORDS:
        yield text(x, y, words, colours[name], anchor=anchor)
