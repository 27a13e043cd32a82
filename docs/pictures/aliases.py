"""A chain of aliases of the sample becomes one person, for docs/counting.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from drawing import Colours, arrow, arrow_heads, box, picture, text

from kmexport import Alias, Bucket, Event, IdentityMap

PERSON: Final = "george56@example.com"
LEFT, WIDE, HIGH, STEP, TOP = 6, 278, 60, 118, 40


def draw(colours: Colours) -> str:
    """The whole picture as the text of an SVG file."""
    bucket = Bucket.sample()
    people = bucket.identities()
    aliases = [one for one in bucket.iter_records(kinds=Alias) if people.resolve(one.person) == PERSON]
    chain = _in_a_row(aliases)
    events = Counter(event.person for event in bucket.iter_records(kinds=Event) if event.person in chain)
    height = TOP + STEP * (len(chain) - 1) + HIGH + 20
    return picture(height, [*arrow_heads(colours, ["facts"]), *_parts(colours, chain, aliases, events, people)])


def _in_a_row(aliases: list[Alias]) -> list[str]:
    """The identities from one end of the chain to the other."""
    ends = Counter(identity for alias in aliases for identity in (alias.person, alias.alias))
    chain = [max(identity for identity, count in ends.items() if count == 1)]
    rest = list(aliases)
    while rest:
        link = next(alias for alias in rest if chain[-1] in (alias.person, alias.alias))
        rest.remove(link)
        chain.append(link.alias if chain[-1] == link.person else link.person)
    return chain


def _parts(
    colours: Colours, chain: list[str], aliases: list[Alias], events: Counter[str], people: IdentityMap
) -> Iterator[str]:
    yield text(LEFT, 22, "four identities in the files", colours["quiet"], anchor="start")
    yield text(530, 22, "one person", colours["quiet"], anchor="end")
    for number, identity in enumerate(chain):
        top = TOP + STEP * number
        yield box((LEFT, top, WIDE, HIGH), colours["paper"], colours["edge"])
        yield text(LEFT + WIDE // 2, top + 26, identity, colours["ink"])
        yield text(LEFT + WIDE // 2, top + 47, _told(events[identity]), colours["quiet"])
    for number, pair in enumerate(pairwise(chain)):
        (alias,) = [one for one in aliases if {one.person, one.alias} == set(pair)]
        top = TOP + STEP * number + HIGH
        yield f'<path d="M40 {top} V{top + STEP - HIGH}" stroke="{colours["columns"]}" stroke-width="4"/>'
        yield text(54, top + 26, f"alias of {alias.time:%d %B,}", colours["columns"], anchor="start")
        yield text(54, top + 45, f"{alias.time:%H:%M:%S} UTC", colours["columns"], anchor="start")
    middle = TOP + (STEP * (len(chain) - 1) + HIGH) // 2
    for number in range(len(chain)):
        start = TOP + STEP * number + HIGH // 2
        yield arrow(colours, "facts", (LEFT + WIDE, start), (300, start), (300, middle), (324, middle))
    yield box((324, middle - 38, 210, 76), colours["paper"], colours["facts"])
    yield text(429, middle - 6, people.resolve(chain[0]), colours["ink"], weight="600")
    yield text(429, middle + 18, _told(sum(events.values())), colours["quiet"])


def _told(count: int) -> str:
    return "no event" if not count else "1 event" if count == 1 else f"{count} events"
