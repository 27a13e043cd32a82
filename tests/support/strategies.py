"""Random records, and the random forms, legal and broken, in which a file may hold them."""

from __future__ import annotations

import io
import json
import os

from hypothesis import strategies as st

from kmexport import Alias, Event, PropertySet, dump_records
from kmexport.format.octal import has_doubled_octal


def examples(count: int) -> int:
    """Count the examples that a test draws: `count` in a whole run, a third without the slow tests."""
    return max(1, int(count * float(os.environ.get("KMEXPORT_TIMES_THE_EXAMPLES", "1"))))


RESERVED = {"_p", "_t", "_n", "_p2"}

# Odd text too: NUL, quotes, backslashes before digits, half a surrogate pair.
TEXT = st.one_of(
    st.text(st.characters(codec=None), max_size=12),
    st.sampled_from(["", "\\303\\241", "\\\\303", 'a"b', "\x00", "\ud83d", "Paraná", "_p2", '"_p2":', "}\n{", "😀"]),
)
NUMBERS = st.one_of(st.integers(), st.integers(-(10**40), 10**40), st.floats(allow_nan=False, allow_infinity=False))
VALUES = st.recursive(
    st.one_of(TEXT, NUMBERS, st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=5,
)
PROPERTIES = st.dictionaries(TEXT.filter(lambda name: name not in RESERVED), VALUES, max_size=4)
TIMESTAMPS = st.one_of(st.integers(1349050000, 1349500000), st.integers(-62_135_596_800, 253_402_300_799))
RECORDS = st.one_of(
    st.builds(Event, TEXT, TIMESTAMPS, TEXT, PROPERTIES),
    st.builds(PropertySet, TEXT, TIMESTAMPS, PROPERTIES),
    st.builds(Alias, TEXT, TIMESTAMPS, TEXT, PROPERTIES),
)


def _is_plain(value: object) -> bool:
    """Whether octal escapes can say the value: no backslash, no half of a surrogate pair."""
    text = json.dumps(value, ensure_ascii=False)
    return "\\" not in text and text.isascii() is False and all(not 0xD800 <= ord(c) < 0xE000 for c in text)


@st.composite
def legal_lines(draw: st.DrawFn, record: object) -> tuple[bytes, int]:
    """A record in one of the forms that are read; and how many lines it takes."""
    pairs = draw(st.permutations(list(record.to_dict().items())))
    found = dict(pairs)
    time = found["_t"]
    if draw(st.booleans()):
        found["_t"] = draw(st.sampled_from([time, str(time)] + ([float(time)] if abs(time) < 2**53 else [])))
    if has_doubled_octal(json.dumps(found, ensure_ascii=False).encode(errors="replace")):
        # Text that reads as octal escapes: only dump_records spells it so that it stays what it is.
        file = io.BytesIO()
        dump_records([record], file)
        return file.getvalue().removesuffix(b"\n"), 1
    form = draw(st.sampled_from(["compact", "spaced", "raw", "vendor", "pretty", "octal", "doubled", "windows"]))

    if form in ("octal", "doubled", "windows") and _is_plain(found):
        text = json.dumps(found, ensure_ascii=False)
        if form == "windows":
            return draw(windows_1252(text)), 1
        return in_octal(text.encode(), "\\" if form == "octal" else "\\\\"), 1
    if form in ("vendor", "pretty"):
        indent = draw(st.integers(1, 4)) if form == "pretty" else None
        separators = (",\n  ", ":") if form == "vendor" else None
        text = json.dumps(found, indent=indent, separators=separators)
        return text.encode(), text.count("\n") + 1
    try:
        return json.dumps(
            found, ensure_ascii=form != "raw", separators=(",", ":") if form != "spaced" else None
        ).encode(), 1
    except UnicodeEncodeError:
        return json.dumps(found).encode(), 1


def in_octal(line: bytes, backslash: str = "\\") -> bytes:
    """The line with each byte outside ASCII as an octal escape."""
    return "".join(chr(byte) if byte < 0x80 else f"{backslash}{byte:03o}" for byte in line).encode()


@st.composite
def windows_1252(draw: st.DrawFn, text: str) -> bytes:
    """The text, what it can of it as single bytes of Windows-1252, raw or as octal escapes."""
    line = b""
    for character in text:
        alone = character.encode("cp1252", "ignore")
        line += alone if alone and draw(st.booleans()) else character.encode()
    line = line if read_bytes(line) == text else text.encode()  # some neighbours are one character of UTF-8
    return in_octal(line) if draw(st.booleans()) else line


def read_bytes(line: bytes) -> str:
    """What bytes say, told with no decoder's help: whole characters of UTF-8, and each other byte alone."""
    text, at = "", 0
    while at < len(line):
        for length in (4, 3, 2, 1):
            try:
                character = line[at : at + length].decode()
            except UnicodeDecodeError:
                continue
            if len(character) == 1:
                break
        else:
            length, character = 1, WINDOWS_1252.get(line[at], chr(line[at]))
        text, at = text + character, at + length
    return text


# Above 0x9f the bytes of Windows-1252 are the first characters of Unicode.
ODD_ONES = "€\ufffd‚ƒ„…†‡ˆ‰Š‹Œ\ufffdŽ\ufffd\ufffd‘’“”•–—˜™š›œ\ufffdžŸ"  # noqa: RUF001  # look-alikes are meant
WINDOWS_1252 = dict(zip(range(0x80, 0xA0), ODD_ONES, strict=True))

# Lines that are no record, whatever stands around them. (A bracket alone would close a hash that another one opened.)
BROKEN = st.sampled_from(
    [
        b'{"_p":"a"', b'{"_p":"a",', b'"_t":1}', b"} x", b"{", b"[", b"]", b"{}", b"[]", b'"', b"null", b"7", b"x",
        b'{"_p":"a","_t":1}}', b'{"_p":"a","_t":1}{"_p":"a","_t":1}', b'{"_p":"a","_t":1},', b'{"x":[{}', b"{}]}",
        b'\xff{"_p":"a","_t":1}', b'{"_p":"a","_t":1,"x":"\\400"}', b'{"_p":"a","_t":1,"x":"', b"\x00\x00",
        b'{"_p":"a","_t":1,"_n":7}', b'{"_p":null,"_t":1}', b'{"_p":"a","_t":"x"}', b'{"_p":"a","_t":1e400}',
        b"\xef\xbb\xbf", b'{"_p":"a","_t":1,"_n":"n","_p2":"b"}', b'{"_p":"a","_t":NaN}', b'{"_n":"x","_t":1}',
    ]
)  # fmt: skip
BLANK = st.sampled_from([b"", b" ", b"\t", b"\r", b"  \r"])
