"""The bar that a notebook shows while an export is read, with the text of a real run, for docs/notebook.md.

The text is tqdm's own, kept from a run over the sample that was slowed down. The bar is drawn here, in place of the
browser's.
"""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any, Final

from drawing import Colours, box, picture, text

from kmexport import Bucket

KEPT: Final = Path(__file__).with_name("progress.json")
PAUSE: Final = 0.002  # seconds that the loop spends on each record
SHOWN: Final = re.compile(r"(?P<percent>\d+)%\|[^|]*\| (?P<text>[^\r\n]*\])")
CODE: Final = ('for record in bucket.iter_records(callback="tqdm"):', "    look_at(record)")
LEFT, WIDE = 62, 186


def record() -> None:
    """Read the sample slowly, and keep the text of the bar when it was past the middle and at the end."""
    with redirect_stderr(io.StringIO()) as shown:
        for _ in Bucket.sample().iter_records(callback="tqdm"):
            time.sleep(PAUSE)
    bars = [{"percent": int(bar["percent"]), "text": bar["text"]} for bar in SHOWN.finditer(shown.getvalue())]
    kept = [next(bar for bar in bars if bar["percent"] >= 60), bars[-1]]
    KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8", newline="\n")


def draw(colours: Colours) -> str:
    """The whole picture as the text of an SVG file."""
    return picture(180, _parts(colours, json.loads(KEPT.read_text(encoding="utf-8"))))


def _parts(colours: Colours, bars: list[Mapping[str, Any]]) -> Iterator[str]:
    yield box((10, 10, 520, 66), colours["paper"], colours["edge"], corner=4)
    for number, line in enumerate(CODE):
        words = text(
            24, 38 + 22 * number, line.replace("    ", "\N{NO-BREAK SPACE}" * 4), colours["ink"], anchor="start"
        )
        yield words.replace("<text ", '<text font-family="ui-monospace, Menlo, DejaVu Sans Mono, monospace" ', 1)
    for number, (bar, colour) in enumerate(zip(bars, ("objects", "facts"), strict=True)):
        top = 96 + 40 * number
        yield text(LEFT - 8, top + 18, f"{bar['percent']}%", colours["ink"], anchor="end")
        yield f'<rect x="{LEFT}" y="{top}" width="{WIDE}" height="24" fill="{colours["edge"]}"/>'
        wide = round(WIDE * bar["percent"] / 100, 1)
        yield f'<rect x="{LEFT}" y="{top}" width="{wide}" height="24" fill="{colours[colour]}"/>'
        yield text(LEFT + WIDE + 12, top + 18, bar["text"], colours["ink"], anchor="start")
