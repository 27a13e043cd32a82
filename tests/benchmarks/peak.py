"""Runs in a process of its own: reads a file as often as told, as one stream; prints peak MB, records, errors."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import BinaryIO

import kmexport


class Repeated:
    """A binary file that gives the bytes of another one `times` times, and holds none of them."""

    def __init__(self, file: BinaryIO, times: int) -> None:
        self.file = file
        self.times = times

    def read(self, size: int, /) -> bytes:
        block = self.file.read(size)
        if not block and self.times > 1:
            self.times -= 1
            self.file.seek(0)
            block = self.file.read(size)
        return block


def peak_bytes() -> int:
    # Not ru_maxrss on Linux: a new process begins there with the peak of the process that started it.
    status = Path("/proc/self/status")
    if status.exists():
        found = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
        return int(found["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(path: str, times: int) -> None:
    errors = 0

    def count_error(error: kmexport.MalformedRecordError) -> None:
        nonlocal errors
        errors += 1

    with Path(path).open("rb") as file:
        records = sum(1 for _ in kmexport.iter_records(Repeated(file, times), on_error=count_error))
    print(peak_bytes() / 1e6, records, errors)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
