"""What was tried on the way to the reader, so that nobody has to try it again unmeasured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from attrs import define

from kmexport import Event, iter_records
from kmexport.columns.searching import LineSearch
from kmexport.format.decoding import Head
from kmexport.format.names import fold_name
from kmexport.parsing import blocks
from kmexport.parsing.blocks import iter_blocks
from kmexport.parsing.selection import name_filter
from tests.benchmarks import material
from tests.benchmarks.harness import Group, Table, compare, row_per_record
from tests.benchmarks.reading import read

BLOCK_SIZES = [16, 32, 64, 128, 256]
MAX_LINE_BYTES = 64 << 20
FILES = 8
WORKERS = 2

T = TypeVar("T")

decoder = msgspec.json.Decoder(Head)
decode_object = msgspec.json.Decoder(dict[str, Any]).decode


@define
class Whole:
    """An attrs record with all that an event holds; the four slots come from __init__, or are filled."""

    person: str
    timestamp: int
    name: str | msgspec.UnsetType
    text: bytes


def blocks_group(folder: Path, count: int, runs: int) -> Table:
    path = material.clean_file(folder, count)
    split_only, in_turn = "split the block into lines", "split, and map(decode, lines) (the floor)"
    checked = "decode_lines(block), split, and check the newlines"
    unchecked = "decode_lines(block) and split, unchecked: reads what is not a record a line"
    counted = "count the newlines between two objects"
    timings = compare(
        {
            in_turn: lambda: each_block(path, lambda block: list(map(decoder.decode, block.split(b"\n")))),
            checked: lambda: each_block(path, decode_and_check),
            unchecked: lambda: each_block(path, lambda block: (decoder.decode_lines(block), block.split(b"\n"))),
            split_only: lambda: each_block(path, lambda block: block.split(b"\n")),
            counted: lambda: each_block(path, lambda block: block.count(b"}\n{")),
            "read the blocks": lambda: each_block(path, len),
        },
        runs,
    )
    rows = [row_per_record(timing, name, count, timings[in_turn]) for name, timing in timings.items()]
    return Table("blocks: one call for a block, or one for a line", rows, figure="a line (median)")


def sizes_group(folder: Path, count: int, runs: int) -> Table:
    path = material.clean_file(folder, count)
    now = blocks.BLOCK_BYTES >> 10

    def read_in(kibibytes: int) -> None:
        try:
            blocks.BLOCK_BYTES = kibibytes << 10
            read(path)
        finally:
            blocks.BLOCK_BYTES = now << 10

    timings = compare({f"{size} KiB": lambda size=size: read_in(size) for size in BLOCK_SIZES}, runs)  # type: ignore[misc]
    rows = [row_per_record(timing, name, count, timings[f"{now} KiB"]) for name, timing in timings.items()]
    return Table("sizes: iter_records with blocks of other sizes", rows, figure="a record (median)")


def slots_group(folder: Path, count: int, runs: int) -> Table:
    path = material.clean_file(folder, count)
    filled, made = "slots filled after object.__new__ (the floor)", "Record(...), so __init__"
    at_once = "Record(...), and its properties parsed at once"
    on_demand = "kmexport.iter_records, properties never asked for"
    timings = compare(
        {
            filled: lambda: exhaust(fill_slots(path)),
            made: lambda: exhaust(call_init(path)),
            at_once: lambda: exhaust(parse_at_once(path)),
            on_demand: lambda: exhaust(records_of(path)),
        },
        runs,
    )
    rows = [row_per_record(timing, name, count, timings[filled]) for name, timing in timings.items()]
    return Table("slots: how a record is made of a decoded line", rows, figure="a record (median)")


def sieves_group(folder: Path, count: int, runs: int) -> Table:
    path = material.clean_file(folder, count)
    wanted = "signed up"
    line_filter = name_filter({fold_name(wanted)})
    assert line_filter is not None
    search = LineSearch(line_filter)
    lower, found = f'"_n":"{fold_name(wanted)}"'.encode(), set()

    def by_pattern(block: bytes) -> list[bytes]:
        return [block[begin:end] for begin, end in line_filter.spans(block) or ()]

    def by_numpy(block: bytes) -> list[bytes]:
        found = search(block)
        assert found is not None
        return found.texts

    def note(lines: list[bytes]) -> None:
        sizes[-1] += len(lines)

    def counted(find: Callable[[bytes], list[bytes]]) -> None:
        sizes.append(0)
        each_block(path, lambda block: note(find(block)), is_sifted=True)
        found.add(sizes[-1])

    def decode_and_compare(block: bytes) -> list[bytes]:
        lines = block.split(b"\n")
        return [
            line
            for line, head in zip(lines, map(decoder.decode, lines), strict=True)
            if head.name is not None and fold_name(head.name) == fold_name(wanted)
        ]

    sizes: list[int] = []
    cases: dict[str, Callable[[bytes], list[bytes]]] = {
        "a pattern for the key and the beginning of the names (the floor)": by_pattern,
        "NumPy, with the places of the lines": by_numpy,
        "split, and look into each line in lower case": lambda block: [
            line for line in block.split(b"\n") if lower in line.lower()
        ],
        "look through the block in lower case, line by line found": lambda block: lines_with(
            lower, block.lower(), block
        ),
        "split and decode all, and compare": decode_and_compare,
    }
    timings = compare({name: partial(counted, case) for name, case in cases.items()}, runs)
    assert len(found) == 1, found
    rows = [row_per_record(timing, name, count, timings[next(iter(cases))]) for name, timing in timings.items()]
    return Table("sieves: how the lines of one event in ten are found", rows, figure="a line (median)")


def workers_group(folder: Path, count: int, runs: int) -> Table:
    per_file = count // FILES
    lines = material.lines(per_file * FILES)
    paths = [folder / f"workers-{per_file}-{n}.json" for n in range(FILES)]
    for path in paths:
        path.write_bytes(b"\n".join(islice(lines, per_file)))
    alone, reduced, returned = (
        "one process (the floor)",
        "2 workers, each counts the events of its revisions",
        "2 workers, each gives the records of its revisions back",
    )
    timings = compare(
        {
            alone: lambda: sum(map(events_of, paths)),
            reduced: lambda: sum(in_workers(events_of, paths)),
            returned: lambda: sum(map(len, in_workers(list_of, paths))),
        },
        runs,
    )
    rows = [row_per_record(timing, name, count, timings[alone]) for name, timing in timings.items()]
    return Table("workers: revisions parsed in processes, their start counted", rows, figure="a record (median)")


GROUPS: dict[str, Group] = {
    "blocks": blocks_group,
    "sizes": sizes_group,
    "slots": slots_group,
    "sieves": sieves_group,
    "workers": workers_group,
}


def lines_with(text: bytes, block: bytes, original: bytes) -> list[bytes]:
    """The lines of `original` at whose places `block` holds the text."""
    lines = []
    at = block.find(text)
    while at >= 0:
        end = block.find(b"\n", at)
        end = end if end >= 0 else len(block)
        lines.append(original[block.rfind(b"\n", 0, at) + 1 : end])
        at = block.find(text, end)
    return lines


def events_of(path: Path) -> int:
    return sum(type(record) is Event for record in records_of(path))


def list_of(path: Path) -> list[object]:
    return list(records_of(path))


def in_workers(work: Callable[[Path], T], paths: list[Path]) -> Iterator[T]:
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
        yield from pool.map(work, paths)


def decode_and_check(block: bytes) -> tuple[list[Head], list[bytes]]:
    heads = decoder.decode_lines(block)
    lines = block.split(b"\n")
    assert block.count(b"}\n{") + 1 == len(lines) == len(heads)
    return heads, lines


def each_block(path: Path, use: Callable[[bytes], object], *, is_sifted: bool = False) -> None:
    with path.open("rb") as file:
        for block in iter_blocks(file, MAX_LINE_BYTES, is_sifted=is_sifted):
            use(block)  # type: ignore[arg-type]  # clean lines: nothing is oversized or broken off


def heads_and_lines(path: Path) -> Iterator[tuple[list[Head], list[bytes]]]:
    with path.open("rb") as file:
        for block in iter_blocks(file, MAX_LINE_BYTES):
            lines = block.split(b"\n")  # type: ignore[union-attr]
            yield list(map(decoder.decode, lines)), lines


def fill_slots(path: Path) -> Iterator[Whole]:
    new = object.__new__
    for heads, lines in heads_and_lines(path):
        for head, line in zip(heads, lines, strict=True):
            record = new(Whole)
            record.person = head.person
            record.timestamp = head.timestamp
            record.name = head.name
            record.text = line
            yield record


def call_init(path: Path) -> Iterator[Whole]:
    for heads, lines in heads_and_lines(path):
        for head, line in zip(heads, lines, strict=True):
            yield Whole(head.person, head.timestamp, head.name, line)


def parse_at_once(path: Path) -> Iterator[Whole]:
    with path.open("rb") as file:
        for block in iter_blocks(file, MAX_LINE_BYTES):
            for properties in map(decode_object, block.split(b"\n")):  # type: ignore[union-attr]
                yield Whole(properties.pop("_p"), properties.pop("_t"), properties.pop("_n", None), properties)


def records_of(path: Path) -> Iterator[object]:
    with path.open("rb") as file:
        yield from iter_records(file)


def exhaust(records: Iterator[object]) -> None:
    for _ in records:
        pass
