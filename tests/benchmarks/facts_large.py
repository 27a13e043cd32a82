"""Facts of an export that is larger than the memory they may take. As a script it is the process that is measured."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from kmexport import Bucket, Facts
from kmexport.testing import write_export
from tests.benchmarks.harness import Group, Table, figure, in_new_process
from tests.benchmarks.material import EVENTS, PRODUCTS
from tests.benchmarks.peak import peak_bytes

FILES = 20
LIMIT = "1GB"
PROPERTIES = 4
FIRST_TIME = 1349161501

EVENT = (
    b'{"_n":"%s","url":"http://www.example.com/shop/%d?page=%d","product":"%s",'
    b'"browser":"Mozilla/5.0 (X11; Linux x86_64)","_p":"person%d@example.com","_t":%d,"billing amount":%d}'
)
NAMES = [name.encode() for name in EVENTS]
THINGS = [name.encode() for name in PRODUCTS]


def lines(first: int, count: int, people: int) -> Iterator[bytes]:
    """One in fifty is an alias, one in thirty stands twice, and no other two are one event."""
    for number in range(first, first + count):
        person, moment = number * 7_919 % people, FIRST_TIME + number // 3
        if number % 50 == 0:
            yield b'{"_p":"person%d@example.com","_p2":"%040x","_t":%d}' % (person, number, moment)
            continue
        line = EVENT % (
            NAMES[number % 10], number * 31 % 10_000, number, THINGS[number % 6], person, moment, number % 100
        )  # fmt: skip
        yield line
        if number % 30 == 7:
            yield line


def facts_large_group(folder: Path, count: int, runs: int) -> Table:
    people = max(FILES * count // 10, 7)
    bucket = write_export(folder / "export", {1: []})
    for number in range(1, FILES + 1):  # one after another: all of them take more memory than the facts
        path = folder / "export" / "revisions" / f"{number}.json"
        with path.open("wb") as file:
            file.writelines(line + b"\n" for line in lines((number - 1) * count, count, people))
    assert len(bucket.revisions()) == FILES
    events = FILES * count - len(range(0, FILES * count, 50))
    found = [float(one) for one in in_new_process(__file__, str(folder / "export")).split()]
    counted, counting, properties, more_seconds, more, spilt = found
    rows = [
        figure(f"events too few or too many, of {events:,}", counted - events, exactly=0),
        figure("seconds to the count of events, everything built", counting, "s"),
        figure(
            f"properties too few or too many, of {events * PROPERTIES:,}", properties - events * PROPERTIES, exactly=0
        ),
        figure("seconds more to the count of properties", more_seconds, "s"),
        figure(f"peak over that of the imports, memory_limit={LIMIT!r}", more, "MB"),
        figure("in the temporary folder at the end", spilt, "GB"),
    ]
    return Table(f"facts_large: {FILES * count:,} lines and more in {FILES} revisions", rows, "figure")


GROUPS: dict[str, Group] = {"facts_large": facts_large_group}


def main(export: str) -> None:
    imported = peak_bytes()
    with tempfile.TemporaryDirectory(prefix="kmexport-large-") as folder:
        facts = Facts(Bucket(export), memory_limit=LIMIT, temp_directory=folder)
        found: list[float] = []
        for table in ("events", "properties"):
            start = time.perf_counter()
            ((counted,),) = facts.sql(f"select count(*) from {table}").fetchall()
            found += [counted, time.perf_counter() - start]
        spilt = sum(path.stat().st_size for path in Path(folder).iterdir())
        print(*found, (peak_bytes() - imported) / 1e6, spilt / 1e9)
        facts.close()


if __name__ == "__main__":
    main(sys.argv[1])
