"""Time is linear in what comes from outside: eight times as much of the worst text takes about eight times as long."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from kmexport import Window, as_number, iter_records
from kmexport.errors import MalformedRecordError
from kmexport.format.decoding import is_too_deep
from kmexport.format.octal import has_doubled_octal, hide_doubled_octal, repair_doubled_octal, repair_octal
from kmexport.parsing.array_items import find_next_item
from kmexport.parsing.selection import alias_filter, name_filter, no_event_filter, people_filter
from kmexport.revisions.listing import match_with_index, select_revisions
from kmexport.revisions.manifest import Index, Revision, read_index
from kmexport.steps.identities import named_first
from kmexport.storage.credentials import can_show_one, redact

TIMES = 8
# Linear work measures 6 to 12 here, quadratic work 64. A machine that is busy may show more, once; not always.
AT_MOST = 28
LEAST_SECONDS = 0.004  # below that, the noise is larger than the work
TRIES = 5
LARGEST = 1 << 19


def seconds(work: Callable[[int], object], size: int) -> float:
    began = time.thread_time()
    work(size)
    return time.thread_time() - began


def is_linear(work: Callable[[int], object]) -> bool:
    """Whether `work` at eight times the size takes less than 28 times the processor's time, in one of a few tries."""
    size = 500
    while (small := min(seconds(work, size) for _ in range(2))) < LEAST_SECONDS and size < LARGEST:
        size *= 2
    small = max(small, LEAST_SECONDS)
    for _ in range(TRIES):
        if seconds(work, TIMES * size) <= AT_MOST * small:
            return True
        small = max(small, seconds(work, size))
    return False


def test_what_is_quadratic_shows():
    assert not is_linear(lambda size: re.search("x+y", "x" * (size // 8)))


def passed(_: MalformedRecordError) -> None:
    pass


BEGINNINGS = [b"", b"[", b'["', b'{"a":"', b'[{"a":"', b'[{"_p":"a","_t":1},{"_p', b'[\n{"a":[\n']
UNITS = [
    b'\\"', b'"', b"{", b"}", b"[", b"]", b",", b" ", b"\n", b"\\", b"\\\\", b"\\303", b"\\\\303", b"\xef\xbb\xbf",
    b'{"_p":"a","_t":1}', b'{"_p":"a","_t":1,"x":"', b"1", b"\r\n", b"\n ", b"\n {", b"{\n", b",{", b",\n", b'"a":',
    b"\xff", b'"_p2":"', b'"_n":"', b'{"a":{', b"x{", b'"x" ',
]  # fmt: skip


def read(file: io.BytesIO) -> None:
    for _ in iter_records(file, on_error=passed):
        pass


class InPieces(io.BytesIO):
    """A file that gives little at a time."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(100)


@pytest.mark.slow
@pytest.mark.parametrize("beginning", BEGINNINGS)
@pytest.mark.parametrize("unit", UNITS)
def test_a_file_of_one_text_again_and_again(unit, beginning):
    assert is_linear(lambda size: read(io.BytesIO(beginning + unit * (size // len(unit)))))


@pytest.mark.parametrize(
    ("beginning", "unit"),
    [(b'["', b'\\"'), (b'[{"a":"', b"}"), (b'[{"a":"', b",{"), (b'[{"a":"\n', b" "), (b"", b"\xef\xbb\xbf")],
)
def test_the_files_that_took_quadratic_time(beginning, unit):
    assert is_linear(lambda size: read(InPieces(beginning + unit * (size // len(unit)))))


def quietly(function: Callable[[bytes], object]) -> Callable[[bytes], object]:
    def run(text: bytes) -> None:
        with suppress(ValueError):
            function(text)

    return run


TEXTS = ["://", "?key", "&sig", "=", "@", ":", "%25", "%40", "a/", "?", "a", "#", "::", "s3://", "key", " "]
PATTERNS: dict[str, tuple[Callable[[Any], object], list[Any]]] = {
    "brackets": (lambda text: is_too_deep(b"{" * 501 + b'"' + text), [b'\\"', b'"', b"\\", b"[]", b'"{']),
    "octal": (repair_octal, [b"\\", b"\\3", b"\\303", b"\\30", b"\\\\303"]),
    "doubled octal": (repair_doubled_octal, [b"\\", b"\\\\", b"\\\\303", b"\\\\30", b"\\\\\\"]),
    "has doubled octal": (has_doubled_octal, [b"\\", b"\\\\", b"\\\\30"]),
    "hidden octal": (hide_doubled_octal, [b"\\", b"\\\\"]),
    "next item": (lambda text: find_next_item(text, 0, 0), [b", ", b"\n ", b"\n,", b" ", b",", b"\n , "]),
    "aliases": (alias_filter().find, [b"_p2", b"\n_p2", b"\\"]),
    "names": (name_filter({"signed up"}).find, [b'_n"', b'_n"  ', b'_n":"s', b'_n":"signed uq', b'_n"\n', b"\\"]),
    "no names": (no_event_filter().find, [b'"_n":"', b"{", b"\n", b"{\n"]),
    "people": (people_filter({"bob", "17"}).find, [b'_p"', b'_p":17', b'"bob', b"_p2", b'_p" ', b"\\", b"\n\\"]),
    "one person": (people_filter({"bob"}).find, [b'"bob"', b'\n"bob"', b"\\", b'{_p":"\\\n']),
    "numbers": (lambda text: as_number(f"{text}x"), ["1", " ", "1 ", "1.", ".", "1e"]),
    "long numbers": (as_number, ["1", "0"]),
    "people's names": (lambda text: named_first(text + "\n"), ["a", "@", "a@", "A1", "1", "="]),
    "index": (quietly(read_index), [b"1.json,1,2\n", b"x,1,2\n", b"1.json,1e9,2\n"]),
    "an index of one line": (
        lambda text: quietly(read_index)(text + b"x"), [b"a/", b"a", b".", b"revisions/", b","]
    ),
    "addresses": (redact, TEXTS),
    "addresses of one scheme": (lambda text: redact(f"s3://{text}"), TEXTS),
    "errors": (lambda text: can_show_one(OSError(text), ["a secret"]), TEXTS),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "unit"), [(name, unit) for name, (_, units) in PATTERNS.items() for unit in units], ids=repr
)
def test_a_pattern_over_one_text_again_and_again(name, unit):
    run = PATTERNS[name][0]
    assert is_linear(lambda size: run(unit * (size // len(unit))))


def test_a_listing_of_many_revisions():
    def work(size: int) -> None:
        many = range(1, size // 10)
        index = Index([Revision(number, f"revisions/{number}.json", number, number + 9) for number in many], [])
        listing = match_with_index("s3://acme", index, [(f"{number}.json", 1) for number in many], set())
        select_revisions(listing.revisions, Window(0, size), 1)

    assert is_linear(work)
