"""The data's way, from the bucket to the reports: for the page Records or columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from drawing import NORMAL, SMALL, Colours, arrow, arrow_heads, box, picture, text, titled_box

FILES: Final = ("index.csv", "1.json", "2.json", "… N.json")
KINDS: Final = (
    ("Event", ("somebody", "did something")),
    ("PropertySet", ("something is known", "of somebody")),
    ("Alias", ("two identities,", "one person")),
)


def draw(colours: Colours) -> str:
    """The whole picture as the text of an SVG file."""
    return picture(610, [*arrow_heads(colours, ["line", "objects", "columns", "facts"]), *_parts(colours)])


def _parts(colours: Colours) -> Iterator[str]:
    yield box((10, 10, 520, 108), colours["paper"], colours["edge"])
    yield text(28, 38, "bucket", colours["ink"], 17, anchor="start", weight="600")
    yield text(512, 38, "on S3, on a disk, on a web server", colours["quiet"], anchor="end")
    for number, name in enumerate(FILES):
        yield box((28 + 124 * number, 54, 112, 48), "none", colours["line"], corner=3)
        yield text(84 + 124 * number, 83, name, colours["ink"], NORMAL)

    yield arrow(colours, "line", (270, 118), (270, 188))
    yield text(258, 147, "revisions, line by line:", colours["quiet"], anchor="end")
    yield text(258, 167, "each one whole or repaired", colours["quiet"], anchor="end")
    yield text(282, 147, "what can't be read", colours["quiet"], anchor="start")
    yield text(282, 167, "is reported, and counted", colours["quiet"], anchor="start")

    yield box((10, 188, 520, 120), "none", colours["edge"])
    for number, (kind, lines) in enumerate(KINDS):
        yield from titled_box(colours, (22 + 168 * number, 204, 160, 88), "line", kind, lines)

    yield arrow(colours, "objects", (137, 308), (137, 372))
    yield text(149, 345, "as objects", colours["objects"], SMALL, anchor="start")
    yield arrow(colours, "columns", (403, 308), (403, 372))
    yield text(415, 345, "as Arrow", colours["columns"], SMALL, anchor="start")
    yield from titled_box(
        colours, (22, 372, 230, 88), "objects", "steps", ("merge_identities,", "drop_duplicates, your own")
    )
    yield from titled_box(colours, (288, 372, 230, 88), "columns", "columns", ("DuckDB, Polars,", "pandas, pyarrow"))

    yield arrow(colours, "facts", (403, 460), (403, 512))
    yield text(391, 482, "identities merged,", colours["facts"], SMALL, anchor="end")
    yield text(391, 501, "duplicates dropped", colours["facts"], SMALL, anchor="end")
    yield from titled_box(
        colours, (288, 512, 230, 88), "facts", "facts", ("events, properties, people:", "tables for SQL")
    )
    yield arrow(colours, "facts", (288, 556), (252, 556))
    yield from titled_box(colours, (22, 512, 230, 88), "facts", "reports", ("funnels, retention,", "revenue, people"))
