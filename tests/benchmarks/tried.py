"""What was tried on the way to the reader, so that nobody has to try it again unmeasured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from attrs import define

from kmexport import iter_records
from kmexport.parsing import blocks, iter_blocks
from kmexport.parsing.objects import Head
from tests.benchmarks import material
from tests.benchmarks.harness import Group, Table, compare, row_per_record
from tests.benchmarks.reading import read

BLOCK_SIZES = [16, 32, 64, 128, 256]
MAX_LINE_BYTES = 64 << 20

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
    unchecked = "decode_lines(block) and split, unchecked: reads what is no record a line"
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


GROUPS: dict[str, Group] = {"blocks": blocks_group, "sizes": sizes_group, "slots": slots_group}


def decode_and_check(block: bytes) -> tuple[list[Head], list[bytes]]:
    heads = decoder.decode_lines(block)
    lines = block.split(b"\n")
    assert block.count(b"}\n{") + 1 == len(lines) == len(heads)
    return heads, lines


def each_block(path: Path, use: Callable[[bytes], object]) -> None:
    with path.open("rb") as file:
        for block in iter_blocks(file, MAX_LINE_BYTES):
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
            record.person = head._p
            record.timestamp = head._t
            record.name = head._n
            record.text = line
            yield record


def call_init(path: Path) -> Iterator[Whole]:
    for heads, lines in heads_and_lines(path):
        for head, line in zip(heads, lines, strict=True):
            yield Whole(head._p, head._t, head._n, line)


def parse_at_once(path: Path) -> Iterator[Whole]:
    with path.open("rb") as file:
        for block in iter_blocks(file, MAX_LINE_BYTES):
            for properties in map(decode_object, block.split(b"\n")):  # type: ignore[union-attr]
                yield Whole(properties.pop("_p"), properties.pop("_t"), properties.pop("_n", msgspec.UNSET), properties)


def records_of(path: Path) -> Iterator[object]:
    with path.open("rb") as file:
        yield from iter_records(file)


def exhaust(records: Iterator[object]) -> None:
    for _ in records:
        pass
