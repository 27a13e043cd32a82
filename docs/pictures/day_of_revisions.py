"""A day of New York against the time ranges of the sample's revisions, for docs/new-york.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from drawing import Colours, box, picture, text

from kmexport import Bucket, Revision, Window

ZONE: Final = "America/New_York"
DAY: Final = "2012-10-03"
SHOWN: Final = Window.days("2012-09-29", "2012-10-05", tz=ZONE)
LEFT, RIGHT, TOP, ROW = 76, 530, 44, 32
DASHES: Final = "4 4"


def draw(colours: Colours) -> str:
    """The whole picture as the text of an SVG file."""
    revisions = [one for one in Bucket.sample().revisions() if one.max_timestamp >= SHOWN.start]
    return picture(TOP + ROW * len(revisions) + 102, _parts(colours, revisions))


def _parts(colours: Colours, revisions: Sequence[Revision]) -> Iterator[str]:
    bucket, day = Bucket.sample(), Window.day(DAY, tz=ZONE)
    touching = [one.number for one in bucket.revisions(day, margin=0)]
    read = [one.number for one in bucket.revisions(day)]
    low = TOP + ROW * len(revisions) + 4
    yield from _days(colours, day, low)
    for number, revision in enumerate(revisions):
        top = TOP + 6 + ROW * number
        yield text(LEFT - 10, top + 15, f"{revision.number}.json", colours["ink"], anchor="end")
        start, end = max(revision.min_timestamp, SHOWN.start), revision.max_timestamp
        place = (_x(start), top, _x(end) - _x(start), 20)
        if revision.number in touching:
            yield box(place, colours["objects"], colours["objects"], corner=3)
        elif revision.number in read:
            yield box(place, colours["paper"], colours["objects"], corner=3)
        else:
            yield box(place, colours["paper"], colours["line"], corner=3, dashes=DASHES)
    swatch = (LEFT, low + 16, 24, 14)
    yield box(swatch, colours["objects"], colours["objects"], corner=3)
    yield _words(colours, low + 28, "touches the day: read")
    yield box((LEFT, low + 42, 24, 14), colours["paper"], colours["objects"], corner=3)
    yield _words(colours, low + 54, "came a day later: read too, for late records")
    yield box((LEFT, low + 68, 24, 14), colours["paper"], colours["line"], corner=3, dashes=DASHES)
    yield _words(colours, low + 80, f"stays closed, as do 1 to {revisions[0].number - 1}, which end earlier")


def _days(colours: Colours, day: Window, low: int) -> Iterator[str]:
    length = (SHOWN.end - SHOWN.start) // 7
    yield (
        f'<rect x="{_x(day.start)}" y="10" width="{_x(day.end) - _x(day.start):.1f}" height="{low - 10}"'
        f' fill="{colours["mark"]}"/>'
    )
    for start in range(SHOWN.start, SHOWN.end, length):
        moment = datetime.fromtimestamp(start, ZoneInfo(ZONE))
        weight = "600" if start == day.start else "400"
        yield text(_x(start + length // 2), 30, f"{moment.day} {moment:%b}", colours["ink"], weight=weight)
        if start > SHOWN.start:
            yield f'<path d="M{_x(start)} 16 V{low}" stroke="{colours["edge"]}"/>'


def _words(colours: Colours, y: int, words: str) -> str:
    return text(LEFT + 34, y, words, colours["ink"], anchor="start")


def _x(timestamp: float) -> float:
    return round(LEFT + (timestamp - SHOWN.start) / (SHOWN.end - SHOWN.start) * (RIGHT - LEFT), 1)
