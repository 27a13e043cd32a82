"""The form in which an identity map is kept: a first line that says what follows, and an array for each person."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final, cast

import msgspec

from kmexport.errors import IdentityMapFormatError

__all__ = ["parse_map", "spell_map"]

_FORMAT: Final = "kmexport identities 1"
_decode_person: Final = msgspec.json.Decoder(list[str]).decode


def spell_map(prefer: str | None, count: int, persons: Iterable[list[str]]) -> Iterator[bytes]:
    """The lines of a map of `count` persons; the first of the identities is the person's name."""
    yield json.dumps({"format": _FORMAT, "prefer": prefer, "people": count}).encode() + b"\n"
    for identities in persons:
        yield json.dumps(identities).encode() + b"\n"


def parse_map(content: bytes, source: str) -> tuple[object, Iterator[list[str]]]:
    """The policy as the first line names it, and the identities of each person.

    Raises IdentityMapFormatError for anything that `spell_map` did not give, and at the end for half of it.
    """
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()
    header = _parse(lines[0] if lines else b"", source, 1)
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise IdentityMapFormatError(source, 1, None, f"the first line of a map names its format, {_FORMAT!r}")
    count = header.get("people")  # None in a map of the first version
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 0):
        raise IdentityMapFormatError(source, 1, None, f"{count!r} is no number of persons")
    return header.get("prefer"), _persons(lines, count, source)


def _persons(lines: list[bytes], count: int | None, source: str) -> Iterator[list[str]]:
    for number, line in enumerate(lines[1:], 2):
        yield _read_person(line, source, number)
    if count is not None and count != len(lines) - 1:
        reason = f"the first line counts {count:,} persons, and there are {len(lines) - 1:,}: this is not the whole map"
        raise IdentityMapFormatError(source, len(lines), None, reason)


def _read_person(line: bytes, source: str, number: int) -> list[str]:
    try:
        identities: Any = _decode_person(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError):  # half a surrogate pair, or no person at all
        identities = _parse(line, source, number)
    is_list = isinstance(identities, list) and all(isinstance(one, str) and one for one in identities)
    if not is_list or len(set(identities)) < 2:
        raise IdentityMapFormatError(source, number, None, "a person is an array of two or more identities")
    return cast("list[str]", identities)


def _parse(line: bytes, source: str, number: int) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise IdentityMapFormatError(source, number, None, f"the line is not JSON ({error})") from error
