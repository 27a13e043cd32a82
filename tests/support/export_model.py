"""An export as plain lists and dicts, by the rules of its format alone: slow, obvious, nothing of the library in it.

From the bytes of files to records, to persons, to what counts. A record is a dict with the keys `kind`, `person`,
`time`, `name`, `alias`, `properties`, `revision`, `line`. Numbers in values keep their digits (`Number`).
"""

from __future__ import annotations

import gzip
import json
import re
from decimal import ROUND_FLOOR, Decimal
from fractions import Fraction

RESERVED = {"_c", "_d", "_k", "_s", "_server_timestamp", "_u"}
HEAD = ("_p", "_t", "_n", "_p2")
MARK = b"\xef\xbb\xbf"
SPACES = " \t\r\n"
SPOILT = {0x81, 0x8D, 0x8F, 0x90, 0x9D}  # bytes that Windows-1252 has no character for


class Number(str):
    """A JSON number as its digits."""

    __slots__ = ()


# Bytes → text


def decode(content):
    """Text of bytes: UTF-8 where it is, each other byte as Windows-1252; and whether there were others."""
    text, is_clean = "", True
    while content:
        try:
            return text + content.decode(), is_clean
        except UnicodeDecodeError as error:
            text += content[: error.start].decode()
            odd = content[error.start]
            text += "\ufffd" if odd in SPOILT else bytes([odd]).decode("cp1252")
            content = content[error.start + 1 :]
            is_clean = False
    return text, is_clean


def spell_byte(byte):
    """How a byte stands in a JSON string: itself, but for quotes, backslashes and control bytes."""
    return json.dumps(chr(byte))[1:-1].encode() if byte < 0x80 else bytes([byte])


def without_single(line):
    """A line whose octal escapes are the bytes that they mean."""
    out, at = b"", 0
    while at < len(line):
        if line[at : at + 1] != b"\\":
            out, at = out + line[at : at + 1], at + 1
        elif re.match(rb"[0-3][0-7][0-7]", line[at + 1 : at + 4]):
            out, at = out + spell_byte(int(line[at + 1 : at + 4], 8)), at + 4
        else:
            out, at = out + line[at : at + 2], at + 2
    return out


def without_doubled(line):
    """A line whose doubled escapes are characters, where a run of them is whole characters of bytes above 127."""
    out, at = b"", 0
    while at < len(line):
        run = re.match(rb"(?:\\\\[23][0-7][0-7])+", line[at:])
        if run:
            meant = bytes(int(digits, 8) for digits in run[0].split(b"\\\\")[1:])
            try:
                meant.decode()
            except UnicodeDecodeError:
                meant = run[0]
            out, at = out + meant, at + run.end()
        elif line[at : at + 4] == rb"\\\\":  # a doubled backslash of its own
            out, at = out + line[at : at + 4], at + 4
        elif line[at : at + 1] == b"\\":
            out, at = out + line[at : at + 2], at + 2
        else:
            out, at = out + line[at : at + 1], at + 1
    return out


def mend(line):
    """The text of a line, and whether it had to be repaired. Beside single escapes, a doubled one is a backslash."""
    mended = without_single(line)
    mended = mended if mended != line else without_doubled(line)
    text, is_utf8 = decode(mended)
    return text, mended != line or not is_utf8


# Text → records


def refuse(constant):
    raise ValueError(constant)


DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=refuse)


def identity(value):
    """A person as text; None where there is none or it is something else."""
    if isinstance(value, Number):
        return str(value) if re.fullmatch("-?[0-9]+", value) else None
    return value if isinstance(value, str) else None


def second(value):
    """The second that a time lies in, and whether it had a fraction; None where it is no time."""
    if not isinstance(value, str) or not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", value):
        return None, False
    exact = Decimal(value)
    whole = int(exact.to_integral_value(ROUND_FLOOR))
    return (whole, whole != exact) if -62_135_596_800 <= whole < 253_402_300_800 else (None, False)


def record(found):
    """A record, and whether its time was repaired, of a JSON value; None where it is no record."""
    if not isinstance(found, dict):
        return None, False
    head = {key: value for key, value in found.items() if key in HEAD and value is not None}
    person, (time, had_fraction) = identity(head.get("_p")), second(head.get("_t"))
    name, alias = head.get("_n"), head.get("_p2")
    wrong_name = name is not None and (not isinstance(name, str) or isinstance(name, Number))
    wrong_alias = alias is not None and identity(alias) is None
    if person is None or time is None or wrong_name or wrong_alias or (name is not None and alias is not None):
        return None, False
    kind = "event" if name is not None else "alias" if alias is not None else "property_set"
    properties = {key: value for key, value in found.items() if key not in HEAD}
    alias = identity(alias) if alias is not None else None
    made = {"kind": kind, "person": person, "time": time, "name": name, "alias": alias, "properties": properties}
    return made, had_fraction


def parse(text):
    """The JSON value that is the whole text; ValueError where there is none."""
    found, end = DECODER.raw_decode(text.lstrip(SPACES))
    if text.lstrip(SPACES)[end:].strip(SPACES):
        raise ValueError(text)
    return found


def read_file(content, revision):
    """The records of a file, the numbers of the lines that are none, and how many records were repaired."""
    content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    content = content.removeprefix(MARK)
    read = read_array if content.lstrip(SPACES.encode()).startswith(b"[") else read_lines
    records, rejected, repaired = [], [], 0
    for line, found, was_repaired in read(content):
        made, had_fraction = record(found)
        if made is None:
            rejected.append(line)
            continue
        records.append(made | {"revision": revision, "line": line})
        repaired += was_repaired or had_fraction
    return records, rejected, repaired


def read_lines(content):
    """Number, JSON value and whether it was repaired of each line, or of a few lines that are one object together."""
    lines = content.split(b"\n")
    at = 0
    while at < len(lines):
        taken, found, was_repaired = 1, None, False
        if lines[at].strip(SPACES.encode()):
            for taken in range(1, len(lines) - at + 1):
                if taken > 1 and not is_further_line(lines[at + taken - 1]):
                    break
                text, was_repaired = mend(b"\n".join(lines[at : at + taken]))
                try:
                    found = parse(text)
                except ValueError:
                    continue
                break
            if found is None or (taken > 1 and record(found)[0] is None):
                taken, found = 1, None
            yield at + 1, found, was_repaired
        at += taken


def is_further_line(line):
    """Whether a line may go on with an object that began above: it is indented, or closing brackets alone."""
    return line[:1] in (b" ", b"\t") or re.fullmatch(rb"[\]}]+,?[ \t\r]*", line) is not None


def read_array(content):
    """The line on which each item of an array begins, its value and whether it was repaired."""
    at = content.index(b"[") + 1
    while True:
        while content[at : at + 1] in (b" ", b"\t", b"\r", b"\n", b","):
            at += 1
        if content[at : at + 1] == b"]":
            return
        end = at + 1
        while True:  # the shortest text that is an object
            end = content.index(b"}", end) + 1
            text, was_repaired = mend(content[at:end])
            try:
                found = parse(text)
            except ValueError:
                continue
            break
        yield content[:at].count(b"\n") + 1, found, was_repaired
        at = end


# Persons


def fold(name):
    return re.sub("[,:]", " ", name).casefold()


def is_anonymous(identity):
    lower, upper = identity.lower(), identity.upper()
    is_uuid = re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", lower) and identity in (lower, upper)
    is_base64 = re.fullmatch("[A-Za-z0-9+/]{27}=", identity)
    is_short = re.fullmatch("[a-z0-9]{20}", identity) and re.search("[a-z]", identity) and re.search("[0-9]", identity)
    return bool(is_uuid or is_base64 or is_short)


def rank(identity):
    if re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", identity):
        return 0
    if is_anonymous(identity):
        return 3
    return 2 if re.fullmatch("[0-9]+", identity) else 1


def groups_of(records):
    """Sets of identities that are one person, by all aliases."""
    groups = []
    for one in records:
        if one["kind"] == "alias" and one["person"] and one["alias"]:
            pair = {one["person"], one["alias"]}
            met = [group for group in groups if group & pair]
            groups = [group for group in groups if not group & pair] + [pair.union(*met)]
    return groups


def names_of(records):
    """The person of each identity that aliases tie to another."""
    return {
        each: min(group, key=lambda identity: (rank(identity), identity))
        for group in groups_of(records)
        for each in group
    }


def merged(records, names):
    return [one | {"person": names.get(one["person"], one["person"])} for one in records]


# What counts


def counted(properties):
    """What of a record's properties counts: no reserved keys, no nulls, of two spellings the first."""
    found = {}
    for name, value in properties.items():
        if name not in RESERVED and value is not None and fold(name) not in map(fold, found):
            found[name] = value
    return found


def same(value):
    """A value in a form that is equal for equal values: numbers by decimal value, objects in any order of keys."""
    if isinstance(value, Number):
        return "number", Fraction(value)
    if isinstance(value, str):
        return "text", value
    if isinstance(value, list):
        return "list", tuple(map(same, value))
    if isinstance(value, dict):
        return "object", frozenset((key, same(item)) for key, item in value.items())
    return "word", str(value)


def classic(records):
    """What counts, each record with `fresh`: the properties that nothing said before it in its second.

    What is left of a duplicate event is a property set; a property set that says nothing new is gone. `properties`
    stays as sent.
    """
    events, said, kept = set(), set(), []
    for one in records:
        if one["kind"] == "alias":
            continue
        moment = one["person"], one["time"]
        fresh = {}
        for name, value in counted(one["properties"]).items():
            if (*moment, fold(name)) not in said:
                said.add((*moment, fold(name)))
                fresh[name] = value
        is_first = one["kind"] == "event" and (*moment, fold(one["name"])) not in events
        if is_first:
            events.add((*moment, fold(one["name"])))
            kept.append(one | {"fresh": fresh})
        elif fresh:
            kept.append(one | {"kind": "property_set", "name": None, "fresh": fresh})
    return kept


def strict(records):
    """Whole records, each once."""
    seen, kept = set(), []
    for one in records:
        if one["kind"] == "alias":
            continue
        pairs = [(fold(key), same(value)) for key, value in one["properties"].items() if value is not None]
        name = None if one["name"] is None else fold(one["name"])
        key = (one["kind"], one["person"], one["time"], name, tuple(sorted(pairs, key=repr)))
        if key not in seen:
            seen.add(key)
            kept.append(one | {"fresh": counted(one["properties"])})
    return kept


RULES = {"classic": classic, "strict": strict}


# Tables of facts


def table_of_people(records, names):
    identities = {one["person"] for one in records} | {one["alias"] for one in records if one["kind"] == "alias"}
    return sorted((each, names.get(each, each)) for each in identities)


def table_of_events(kept):
    return [
        (one["person"], one["time"], fold(one["name"]), one["name"], one["revision"], one["line"], one["properties"])
        for one in kept
        if one["kind"] == "event"
    ]


def table_of_properties(kept):
    return [
        (
            one["person"],
            one["time"],
            fold(name),
            name,
            value,
            text(value),
            number(value),
            fold(one["name"]) if one["kind"] == "event" else None,
            one["revision"],
            one["line"],
        )
        for one in kept
        for name, value in one["fresh"].items()
    ]


def text(value):
    """A value as text: strings as they are, others as their JSON."""
    return str(value) if isinstance(value, str) else spell(value)


def number(value):
    """The double that a value is, or reads as."""
    digits = r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*"
    if not isinstance(value, str) or not re.fullmatch(digits, value):
        return None
    found = float(value)
    return found if abs(found) < float("inf") else None


def spell(value):
    """The JSON of a value, numbers with their digits."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, list):
        return f"[{','.join(map(spell, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{spell(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


def in_python(value):
    """A value as a Python reader has it: int, float, or Decimal where a float is too small."""
    if isinstance(value, Number):
        if re.fullmatch("-?[0-9]+", value):
            return int(value)
        return float(value) if abs(float(value)) < float("inf") else Decimal(value)
    if isinstance(value, list):
        return [in_python(item) for item in value]
    if isinstance(value, dict):
        return {key: in_python(item) for key, item in value.items()}
    return value


# Files of a window


def is_read(received, start, end, margin):
    """Whether a file whose batches were received in a range (None: not told) may hold records of [start, end)."""
    if start >= end:
        return False
    if received is None or margin is None:
        return True
    first, last = received
    return last >= start - min(margin, 3_600) and first - 300 <= end - 1 + margin
