"""Purchases a day, by the days of UTC beside those of New York, for docs/tutorial.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from drawing import NORMAL, Colours, picture, text

from kmexport import Bucket, Event, drop_duplicates, merge_identities

ZONES: Final = {"UTC": ("UTC", "line"), "America/New_York": ("New York", "objects")}
DAYS: Final = [date(2012, 9, 30) + timedelta(days=number) for number in range(6)]
GROUND, UNIT, WIDE, STEP = 300, 17, 32, 87


def purchases() -> dict[str, Counter[date]]:
    """How many purchases lie in each day of each zone, people merged and duplicates dropped."""
    bucket = Bucket.sample()
    records = merge_identities(bucket.iter_records(names="purchased"), bucket.identities())
    times = [record.time for record in drop_duplicates(records) if isinstance(record, Event)]
    return {zone: Counter(time.astimezone(ZoneInfo(zone)).date() for time in times) for zone in ZONES}


def draw(colours: Colours) -> str:
    """The whole picture as the text of an SVG file."""
    return picture(GROUND + 36, _parts(colours))


def _parts(colours: Colours) -> Iterator[str]:
    yield text(10, 24, "Purchases a day, by the days of", colours["ink"], NORMAL, anchor="start", weight="600")
    for number, (name, colour) in enumerate(ZONES.values()):
        left = 330 + 80 * number
        yield f'<rect x="{left}" y="11" width="16" height="16" rx="3" fill="{colours[colour]}"/>'
        yield text(left + 24, 24, name, colours["ink"], NORMAL, anchor="start")
    for zone_number, (zone, counts) in enumerate(purchases().items()):
        for number, day in enumerate(DAYS):
            left, high = 20 + STEP * number + 36 * zone_number, UNIT * counts[day]
            yield (
                f'<rect x="{left}" y="{GROUND - high}" width="{WIDE}" height="{high}"'
                f' fill="{colours[ZONES[zone][1]]}"/>'
            )
            yield text(left + WIDE // 2, GROUND - high - 7, str(counts[day]), colours["ink"], NORMAL)
    yield f'<path d="M10 {GROUND} H530" stroke="{colours["line"]}" stroke-width="2"/>'
    for number, day in enumerate(DAYS):
        yield text(54 + STEP * number, GROUND + 23, f"{day.day} {day:%b}", colours["ink"], NORMAL)
