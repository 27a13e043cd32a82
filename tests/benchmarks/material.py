"""Made-up lines for the benchmarks: the same on every machine, about 208 bytes each with the newline."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

EVENTS = ["visited site", "viewed product", "searched", "added to cart", "signed up", "purchased", "opened newsletter",
          "clicked banner", "read article", "logged in"]  # fmt: skip
PRODUCTS = ["blue mug", "tea bowl", "large plate", "small plate", "vase", "butter dish"]
CITIES = ["Berlin", "Boston", "Lagos", "Lima", "Lyon", "Osaka"]

# Each of them begins a hash that no further line closes: the reader has to look at it twice.
BROKEN_LINE = b'{"_p":"a","_t":\n'


def lines(count: int, *, octal_every: int = 0, alias_share: float = 0.02, set_share: float = 0.05) -> Iterator[bytes]:
    """Events, with a share of aliases and of property sets; one line in `octal_every` has octal escapes."""
    chance = random.Random(20121003)
    for number in range(count):
        person = f"person{chance.randrange(count // 10 or 1)}@example.com"
        time = 1349161501 + number // 3
        kind = chance.random()
        has_octal = octal_every and number % octal_every == 0
        if kind < alias_share and not has_octal:
            browser = f"{chance.getrandbits(160):040x}"
            yield b'{"_p":"%s","_p2":"%s","_t":%d}' % (person.encode(), browser.encode(), time)
            continue
        properties = {
            "url": f"http://www.example.com/shop/{chance.randrange(10_000)}?page={number}",
            "product": chance.choice(PRODUCTS),
            "browser": "Mozilla/5.0 (X11; Linux x86_64)",
            "_p": person,
            "_t": time,
            "billing amount": chance.randrange(100),
        }
        is_set = alias_share <= kind < alias_share + set_share
        what = {"city": chance.choice(CITIES)} if is_set else {"_n": chance.choice(EVENTS)}
        line = json.dumps({**what, **properties}, separators=(",", ":")).encode()
        yield line.replace(b'"product":"', b'"product":"cr\\303\\250me ') if has_octal else line


def clean_file(folder: Path, count: int) -> Path:
    """A file of `count` clean lines."""
    return _written(folder / f"clean-{count}.json", lines(count))


def octal_file(folder: Path, count: int) -> Path:
    """The same lines, one in fifty with octal escapes."""
    return _written(folder / f"octal-{count}.json", lines(count, octal_every=50))


def broken_file(folder: Path, count: int) -> Path:
    """Lines that are cut off."""
    return _written(folder / f"broken-{count}.json", (BROKEN_LINE.rstrip() for _ in range(count)))


def long_line_file(folder: Path, megabytes: int) -> Path:
    """One record on one line of so many megabytes."""
    path = folder / f"long-{megabytes}.json"
    with path.open("wb") as file:
        file.write(b'{"_p":"a","_t":1349161501,"_n":"read article","text":"')
        for _ in range(megabytes):
            file.write(b"x" * 1_000_000)
        file.write(b'"}\n')
    return path


def array_file(folder: Path, count: int, indent: int | None) -> Path:
    """The records as one array, on one line or printed pretty."""
    path = folder / f"array-{count}-{indent}.json"
    path.write_text(json.dumps([json.loads(line) for line in lines(count)], indent=indent), encoding="utf-8")
    return path


def hashes_file(folder: Path, count: int) -> Path:
    """The records as the vendor's documentation prints them: each over several lines."""
    return _written(folder / f"hashes-{count}.json", (line.replace(b',"', b',\n  "') for line in lines(count)))


def _written(path: Path, texts: Iterable[bytes]) -> Path:
    # Groups share one folder, and what one has written serves the next.
    if not path.exists():
        with path.open("wb") as file:
            for text in texts:
                file.write(text + b"\n")
    return path
