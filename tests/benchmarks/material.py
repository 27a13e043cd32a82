"""Made-up lines for the benchmarks: the same on every machine, about 208 bytes each."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

EVENTS = ["visited site", "viewed product", "searched", "added to cart", "signed up", "purchased", "opened newsletter",
          "clicked banner", "read article", "logged in"]  # fmt: skip
PRODUCTS = ["blue mug", "tea bowl", "large plate", "small plate", "vase", "butter dish"]


def lines(count: int, *, octal_every: int = 0, alias_share: float = 0.0) -> Iterator[bytes]:
    """Event lines; one in `octal_every` has octal escapes, `alias_share` of them are aliases."""
    chance = random.Random(20121003)
    for number in range(count):
        person = f"person{chance.randrange(count // 10 or 1)}@example.com"
        time = 1349161501 + number // 3
        if alias_share and chance.random() < alias_share:
            browser = f"{chance.getrandbits(160):040x}"
            yield b'{"_p":"%s","_p2":"%s","_t":%d}' % (person.encode(), browser.encode(), time)
            continue
        found = {
            "_n": chance.choice(EVENTS),
            "url": f"http://www.example.com/shop/{chance.randrange(10_000)}?page={number}",
            "product": chance.choice(PRODUCTS),
            "browser": "Mozilla/5.0 (X11; Linux x86_64)",
            "_p": person,
            "_t": time,
            "billing amount": chance.randrange(100),
        }
        line = json.dumps(found, separators=(",", ":")).encode()
        if octal_every and number % octal_every == 0:
            line = line.replace(b'"product":"', b'"product":"cr\\303\\250me ')
        yield line


def write(path: Path, count: int, **options: float) -> Path:
    """A file of such lines."""
    with path.open("wb") as file:
        for line in lines(count, **options):  # type: ignore[arg-type]
            file.write(line + b"\n")
    return path
