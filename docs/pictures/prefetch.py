"""When files are asked for and when their records come out, from kept times of a real run, for docs/storage.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from drawing import NORMAL, Colours, box, picture, text

KEPT: Final = Path(__file__).with_name("prefetch.json")
LEFT, SECOND, ROW, PANEL, TOP = 70, 113, 18, 288, 62


def draw(colours: Colours) -> str:
    """The whole picture as the text of an SVG file."""
    return picture(TOP + 2 * PANEL, _parts(colours, json.loads(KEPT.read_text(encoding="utf-8"))))


def _parts(colours: Colours, kept: Mapping[str, Any]) -> Iterator[str]:
    yield from _legend(colours, kept)
    for number, (requests, run) in enumerate([(kept["requests"], kept["ahead"]), (1, kept["one_by_one"])]):
        yield from _panel(colours, TOP + PANEL * number, requests, run)


def _legend(colours: Colours, kept: Mapping[str, Any]) -> Iterator[str]:
    yield box((11, 9, 30, 12), colours["paper"], colours["columns"], corner=2)
    yield text(50, 20, f"a request, on a server that takes {kept['delay']} seconds", colours["ink"], anchor="start")
    yield box((11, 33, 30, 12), colours["objects"], colours["objects"], corner=2)
    yield text(50, 44, f"the loop works on the file's records: {kept['work']} seconds", colours["ink"], anchor="start")


def _panel(colours: Colours, top: int, requests: int, run: Sequence[Mapping[str, float]]) -> Iterator[str]:
    title = f"requests={requests}: all {len(run)} files in {run[-1]['last']:.1f} seconds"
    yield text(LEFT, top + 22, title, colours["ink"], NORMAL, anchor="start", weight="600")
    low = top + 34 + ROW * len(run)
    for second in range(5):
        x = LEFT + SECOND * second
        yield f'<path d="M{x} {top + 32} V{low}" stroke="{colours["edge"]}"/>'
        yield text(x, low + 18, f"{second} s", colours["quiet"])
    for number, times in enumerate(run):
        row = top + 36 + ROW * number
        yield text(LEFT - 8, row + 11, f"{number + 1}.json", colours["quiet"], anchor="end")
        yield _bar(row, times["asked"], times["answered"], colours["paper"], colours["columns"])
        yield _bar(row, times["first"], times["last"], colours["objects"], colours["objects"])


def _bar(top: int, start: float, end: float, fill: str, edge: str) -> str:
    return box((LEFT + SECOND * start + 1, top + 1, SECOND * (end - start) - 2, 11), fill, edge, corner=2)
