"""Random exports, the same for the same seed: few persons, names and seconds, so that they meet, in every spelling."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from kmexport import Bucket

HOUR, DAY = 3_600, 86_400
START = 1_349_222_400  # 2012-10-03, midnight UTC
PERSONS = [
    "ana@example.com", "bob@example.com", "zoe", "user-77", "Émile", "rené", "10017", "42",
    "k3xq0v9bu/ta7m+r2hy1zc84wle=",
    "qFq2LweZugFNE4o49hLhmRPBW34=", "k3xq0v9bu7ta7mr2hy1z", "0b51f2c8-5a3e-4d07-9c44-1e7f0a9d6b32",
    "0B51F2C8-5A3E-4D07-9C44-1E7F0A9D6B32", "abcdefghijklmnopqrst", "Zoe",
]  # fmt: skip
EVENTS = ["signed up", "Signed Up", "signed,up", "purchased", "PURCHASED", "straße", "STRASSE", "", "amount"]
KEYS = [
    "amount", "Amount", "AMOUNT", "plan", "Plan", "city:home", "city home", "größe", "GRÖSSE", "", "_d", "_s",
    "_server_timestamp", "nickname", "a.b", "*", "name", "_u",
]  # fmt: skip
TEXTS = ["Pro", "pro", "", "Paraná", "1.5", "1.50", " 7 ", "$5", "null", "C:\\303", 'say "no"', "a{b}:[c],d", "日本",
         "\n\t"]  # fmt: skip
ODD_TEXTS = [  # bytes that are no UTF-8, and escapes that are no JSON
    b'"caf\xe9"', rb'"Fortyman\231"', rb'"cut off \303\241\303"', b'"cut off \xe2\x82"', b'"\x81"', rb'"\201"',
    b'"\xed\xa0\x80"', rb'"\\\303\241"', rb'"\\303"', rb'"\\\\303\\\\241"', rb'"\101\042\134\012"', b'"\xc3(\xa9"',
]  # fmt: skip
NUMBERS = ["1.5", "1.50", "15e-1", "0.15E+1", "1", "1.0", "10e-1", "0", "-0", "0.0", "1e400", "10e399", "1e3", "1000",
           "12345678901234567890123", "-2.25"]  # fmt: skip
WORDS = ["null", "null", "null", "true", "false", "[]", '["a",1.0]', '["a",1]', '{"x":1,"y":2}', '{"y":2.0,"x":1}']
BROKEN = [
    b"no record", b"7", b"null", b'{"_t":1349222400,"x":1}', b'{"_p":"ana","_t":"soon"}', b'{"_p":"ana","_t":13492',
    b'{"_p":"ana","_t":1,"_n":"x","_p2":"y"}', b'{"_p":true,"_t":1}', b'{"_p":"ana","_t":1,"x":NaN}',
    b'{"_p":null,"_t":1}', b'{"_p":"ana","_t":1,"_n":7}', b'{"_p":"ana","_t":1}{"_p":"bob","_t":1}',
    b'{"_p":"a\x00","_t":1}',
]  # fmt: skip


class File(NamedTuple):
    """A file of an export: its number, its bytes, when its batches were received (first, last; None if untold)."""

    number: int
    content: bytes
    received: tuple[int, int] | None


class Pair(NamedTuple):
    """One key of an object and its value: the name, and both as they are spelled."""

    name: str
    key: bytes
    value: bytes


def random_export(seed: int) -> list[File]:
    """One to four files of up to a dozen records each."""
    return _export(seed, PERSONS)


def random_exports_as_one(seeds: Sequence[int]) -> list[File]:
    """The exports of up to ten seeds as one, each with persons of its own."""
    crowds = ([_of_crowd(person, crowd) for person in PERSONS] for crowd in range(len(seeds)))
    exports = enumerate(_export(seed, persons) for seed, persons in zip(seeds, crowds, strict=True))
    return [file._replace(number=100 * crowd + file.number) for crowd, files in exports for file in files]


def _of_crowd(person: str, crowd: int) -> str:
    """Another identity of the same kind: with another digit or letter at its beginning."""
    first, rest = person[0], person[1:]
    if first.isdigit():
        return f"{crowd}{rest}"
    return f"{chr(ord('A' if first.isupper() else 'a') + crowd)}{rest}" if first.isascii() else f"{crowd}{person}"


def _export(seed: int, persons: Sequence[str]) -> list[File]:
    chance = random.Random(seed)
    hour = chance.randrange(-4, 30) * HOUR
    known: list[list[Pair]] = []
    files = []
    for number in sorted(chance.sample(range(1, 60), chance.randint(1, 4))):
        hour += chance.choice([0, 0, 1, 5, 30]) * HOUR
        first = START + (hour + chance.randrange(HOUR)) // 300 * 300 + chance.randint(1, 3)
        received = None if chance.random() < 0.15 else (first, first + chance.choice([0, 300, 900, 5 * HOUR]))
        objects = [_pairs(chance, persons, known, first) for _ in range(chance.randint(0, 12))]
        known += objects
        files.append(File(number, _content(chance, objects), received))
    return files


def write(files: list[File], url: str) -> Bucket:
    """Write the files below a URL, with the index and the status that belong to them."""
    from fsspec.core import url_to_fs

    target, root = url_to_fs(url)
    rows = ["filename,min_timestamp,max_timestamp,min_utc_date,max_utc_date"]
    for number, content, received in files:
        target.pipe_file(f"{root}/revisions/{number}.json", content)
        if received is not None:
            dates = [f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M} GMT" for moment in received]
            rows.append(",".join([f"revisions/{number}.json", *map(str, received), *dates]))
    newest = max([START, *(received[1] for _, _, received in files if received is not None)])
    total = files[-1].number
    headers = "total_revisions,exported_revisions,max_exported_revision_timestamp,max_exported_revision_utc_date"
    target.pipe_file(f"{root}/status.csv", f"{headers}\n{total},{total},{newest},\n".encode())
    target.pipe_file(f"{root}/index.csv", ("\n".join(rows) + "\n").encode())
    return Bucket(url)


# The keys and values of a record, spelled


def _pairs(chance: random.Random, persons: Sequence[str], known: list[list[Pair]], received: int) -> list[Pair]:
    if known and chance.random() < 0.2:  # sent again
        return chance.choice(known)
    pairs = [_pair(chance, "_p", _person(chance, persons)), _pair(chance, "_t", _time(chance, received))]
    kind = chance.choices(["event", "property_set", "alias"], [55, 27, 18])[0]
    if kind == "event":
        pairs.append(_pair(chance, "_n", _text(chance, chance.choice(EVENTS))))
    elif kind == "alias":
        pairs.append(_pair(chance, "_p2", _person(chance, persons)))
    if chance.random() < 0.1:
        pairs.append(_pair(chance, chance.choice(["_n", "_p2"]), b"null"))
    pairs += [_pair(chance, chance.choice(KEYS), _value(chance)) for _ in range(chance.choice([0, 1, 2, 2, 3, 5]))]
    chance.shuffle(pairs)
    if chance.random() < 0.1:  # the same key twice
        name, _, value = chance.choice(pairs)
        pairs.insert(chance.randint(0, len(pairs)), _pair(chance, name, chance.choice([value, _value(chance)])))
    return pairs


def _pair(chance: random.Random, name: str, value: bytes) -> Pair:
    return Pair(name, _text(chance, name) if chance.random() < 0.97 else _escaped(name), value)


def _person(chance: random.Random, persons: Sequence[str]) -> bytes:
    person = chance.choice(persons[: chance.choice([4, 8, len(persons)])])
    if person.isdigit() and person[0] != "0" and chance.random() < 0.5:
        return person.encode()
    return _text(chance, person)


def _time(chance: random.Random, received: int) -> bytes:
    delay = chance.choice([0, 1, 299, 300, HOUR, 20 * HOUR, DAY, DAY + 301, 300 * DAY, -1, -HOUR, -2 * HOUR])
    moment = received - delay if chance.random() < 0.3 else START + chance.choice([0, 0, 0, 1, 2])
    form = chance.choice(["{}"] * 12 + ['"{}"', "{}.0", "{}.75", '"{}.0"', '"{}.25"', "{}e0"])
    return form.format(moment).encode()


def _value(chance: random.Random) -> bytes:
    kind = chance.choices(["number", "text", "word", "odd"], [45, 30, 18, 7])[0]
    if kind == "text":
        return _text(chance, chance.choice(TEXTS))
    return chance.choice(ODD_TEXTS) if kind == "odd" else chance.choice(NUMBERS if kind == "number" else WORDS).encode()


def _text(chance: random.Random, text: str) -> bytes:
    """A string as it is, escaped, or with its bytes above 127 as octal escapes; of UTF-8 or of Windows-1252."""
    form = chance.choice(
        ["raw"] * 6 + ["json", "json", "single", "single", "doubled", "doubled", "raw 1252", "single 1252"]
    )
    if form == "json":
        return json.dumps(text).encode()
    spelt = json.dumps(text, ensure_ascii=False).encode()
    if form == "raw" or spelt.isascii():
        return spelt
    if form.endswith("1252"):
        spelt = json.dumps(text, ensure_ascii=False).encode("cp1252", "replace")
    backslash = "\\\\" if form == "doubled" else "\\"
    return (
        spelt
        if form == "raw 1252"
        else b"".join(bytes([byte]) if byte < 0x80 else f"{backslash}{byte:03o}".encode() for byte in spelt)
    )


def _escaped(text: str) -> bytes:
    return b'"' + b"".join(f"\\u{ord(character):04X}".encode() for character in text) + b'"'


# The bytes of a file


def _content(chance: random.Random, objects: list[list[Pair]]) -> bytes:
    if chance.random() < 0.12:
        return _array(chance, objects)
    lines = []
    for pairs in objects:
        lines.append(_object(chance, pairs, has_lines=chance.random() < 0.08))
        if chance.random() < 0.1:
            lines.append(lines[-1])
        if chance.random() < 0.06:
            lines.append(chance.choice(BROKEN))
        if chance.random() < 0.06:
            lines.append(chance.choice([b"", b" ", b"\t\r"]))
    end = chance.choice([b"\n", b"\n", b"\r\n"])
    content = end.join(lines) + chance.choice([b"", end])
    mark = b"\xef\xbb\xbf" if content.strip() and chance.random() < 0.05 else b""
    return mark + content if chance.random() < 0.95 else gzip.compress(mark + content, mtime=0)


def _array(chance: random.Random, objects: list[list[Pair]]) -> bytes:
    space = [b"", b" ", b"\n", b"\r\n", b"\n  "]
    items = [_object(chance, pairs, has_lines=chance.random() < 0.3) for pairs in objects]
    between = (chance.choice(space) + b"," + chance.choice(space)).join(items)
    return b"[" + chance.choice(space) + between + chance.choice(space) + b"]" + chance.choice([b"", b"\n"])


def _object(chance: random.Random, pairs: list[Pair], *, has_lines: bool) -> bytes:
    """An object with every mixture of white space between its parts; with `has_lines` some of it are line ends."""
    few = chance.choice([[b""], [b" "], [b"", b" "], [b"", b" ", b"\t", b"\r", b"  ", b" \t\r"]])

    def space() -> bytes:
        return chance.choice(few)

    def line_end() -> bytes:
        return chance.choice([b"", b"\n  ", b"\r\n\t"]) if has_lines else b""

    has_lines = has_lines and len({pair.name for pair in pairs}) == len(pairs)  # a key twice: the halves of two records
    before, after = (space(), space()) if chance.random() < 0.1 and not has_lines else (b"", b"")
    out = before + b"{" + (line_end() or space())
    for number, (_, key, value) in enumerate(pairs):
        out += (space() + b"," + (line_end() or space())) if number else b""
        out += key + space() + b":" + space() + value
    last = chance.choice([b"", b"\n", b"\n "]) if has_lines else b""
    return out + (last or space()) + b"}" + after
