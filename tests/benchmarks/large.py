"""Memory while large revisions are read. As a script it is the process that is measured.

The revisions are made as they are read: lines of one length, so that any range of a file follows from its numbers.
"""

from __future__ import annotations

import asyncio
import io
import sys
import time
from itertools import chain
from pathlib import Path
from typing import Any

from attrs import frozen
from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem

from kmexport import Bucket
from tests.benchmarks.harness import Group, Row, Table, figure, in_new_process
from tests.benchmarks.peak import peak_bytes

REVISIONS = 20
GIGABYTES = 5.0  # for a million lines of the material, in proportion below
DELAY = 0.01  # seconds a request: as long as a file is opened, or a range is asked for
PAUSE = 1.0  # seconds of the consumer that is slower than the network
BLOCK_LINES = 5_000

LINE = (
    b'{"_n":"viewed product","url":"http://www.example.com/shop/%06d?page=%06d","product":"butter dish",'
    b'"browser":"Mozilla/5.0 (X11; Linux x86_64)","_p":"person%06d@example.com","_t":%d,"billing amount":42}\n'
)
FIRST_TIME = 1349161501
BLOCK = b"".join(LINE % (number, number, number, FIRST_TIME + number) for number in range(BLOCK_LINES))
LINE_BYTES = len(BLOCK) // BLOCK_LINES


def large_group(folder: Path, count: int, runs: int) -> Table:
    lines = max(int(GIGABYTES * 1e9 * min(count / 1_000_000, 1.0) / REVISIONS / LINE_BYTES), 1)
    expected = lines * REVISIONS
    rows: list[Row] = []
    for kind in FILESYSTEMS:
        for pause in (0.0, PAUSE):
            more, records, seconds = measured(kind, lines, pause)
            how = f"{kind}; the loop waits {pause:g} s after its first record" if pause else kind
            rows += [
                figure(f"peak over that of the imports: {how}", more, "MB", at_most=150),
                figure(f"records too few or too many, of {expected:,}", records - expected, exactly=0),
                figure("its seconds", seconds, "s"),
            ]
    gigabytes = expected * LINE_BYTES / 1e9
    return Table(f"large: {gigabytes:.2f} GB in {REVISIONS} revisions, none of them on a disk", rows, "figure")


GROUPS: dict[str, Group] = {"large": large_group}


def measured(kind: str, lines: int, pause: float) -> tuple[float, int, float]:
    """Megabytes over the imports, records and seconds of a fresh process that reads it all."""
    more, records, seconds = in_new_process(__file__, kind, str(lines), str(pause)).split()
    return float(more), int(records), float(seconds)


@frozen
class MadeUp:
    """An export of revisions of `lines` lines each, of which any range can be made."""

    lines: int

    def size(self, path: str) -> int:
        name = path.strip("/")
        if name in ("status.csv", "index.csv"):
            return len(self._manifest(name))
        if name not in self.names():
            raise FileNotFoundError(path)
        return self.lines * LINE_BYTES

    def part(self, path: str, start: int | None, end: int | None) -> bytes:
        name, size = path.strip("/"), self.size(path)
        first, behind, _ = slice(start, end).indices(size)
        if not name.startswith("revisions/"):
            return self._manifest(name)[first:behind]
        block = memoryview(BLOCK)
        pieces = []
        while first < behind:
            at = first % len(BLOCK)
            pieces.append(block[at : at + behind - first])
            first += len(pieces[-1])
        return b"".join(pieces)

    def entry(self, path: str) -> dict[str, Any]:
        if path.strip("/") in ("", "revisions"):
            return {"name": path, "size": 0, "type": "directory"}
        return {"name": path, "size": self.size(path), "type": "file"}

    def names(self) -> list[str]:
        return [f"revisions/{number}.json" for number in range(1, REVISIONS + 1)]

    def entries(self, path: str, detail: bool) -> list[Any]:
        assert path.strip("/") == "revisions"
        return [self.entry(name) if detail else name for name in self.names()]

    def _manifest(self, name: str) -> bytes:
        last = FIRST_TIME + BLOCK_LINES
        if name == "status.csv":
            return b"%d,%d,%d,2012-10-02 08:28 GMT\n" % (REVISIONS, REVISIONS, last)
        rows = [f"{name},{FIRST_TIME},{last}" for name in self.names()]
        return "\n".join(["filename,min_timestamp,max_timestamp", *rows]).encode()


class Coroutines(AsyncFileSystem):
    """A filesystem of coroutines: fsspec's own class of S3, Google and Azure."""

    cachable = False

    def __init__(self, export: MadeUp) -> None:
        super().__init__()
        self.export = export

    async def _info(self, path: str, **_: Any) -> dict[str, Any]:
        return self.export.entry(path)

    async def _ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        return self.export.entries(path, detail)

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        await asyncio.sleep(DELAY)
        return self.export.part(path, start, end)


class Plain(AbstractFileSystem):
    """A filesystem that only opens files, and blocks."""

    cachable = False

    def __init__(self, export: MadeUp) -> None:
        super().__init__()
        self.export = export

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return self.export.entry(path)

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        return self.export.entries(path, detail)

    def open(self, path: str, mode: str = "rb", **_: Any) -> Opened:
        time.sleep(DELAY)
        return Opened(self.export, path)


class Opened(io.RawIOBase):
    """One file of it, open."""

    def __init__(self, export: MadeUp, path: str) -> None:
        self._export = export
        self._path = path
        self._at = 0
        self._size = export.size(path)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence] + offset
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        part = self._export.part(self._path, self._at, self._size if size < 0 else self._at + size)
        self._at += len(part)
        return part


FILESYSTEMS: dict[str, type[AbstractFileSystem]] = {"a filesystem of coroutines": Coroutines, "a plain one": Plain}


def main(kind: str, lines: int, pause: float) -> None:
    imported = peak_bytes()
    start = time.perf_counter()
    records = Bucket("/", fs=FILESYSTEMS[kind](MadeUp(lines))).iter_records()
    first = next(records)
    time.sleep(pause)
    count = sum(1 for _ in chain([first], records))
    print((peak_bytes() - imported) / 1e6, count, time.perf_counter() - start)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
