"""Runs in a process of its own: reads an array on one line, made as it is read; prints MB more than the import."""

from __future__ import annotations

import io
import sys
from itertools import islice

import kmexport
from tests.benchmarks import material
from tests.benchmarks.peak import peak_bytes


class OneLine(io.RawIOBase):
    """An array on one line, of so many megabytes and a little more; some items have items in them, some are octal."""

    def __init__(self, megabytes: int) -> None:
        self._items = [
            *material.lines(500),
            b'{"_p":"a","_t":1,"x":{"y":[{"z":"}]"},2]}}',
            rb'{"_p":"\303\241","_t":1}',
        ]
        self._block = b", ".join(self._items) + b", "
        self._left = megabytes * 1_000_000 // len(self._block) + 1
        self.items = self._left * len(self._items) + 1
        self._text = b"["

    def read(self, size: int = -1, /) -> bytes:
        while len(self._text) < size and self._left >= 0:
            self._text += self._block if self._left else self._items[0] + b"]"
            self._left -= 1
        text, self._text = self._text[:size], self._text[size:]
        return text


def main(megabytes: int) -> None:
    list(islice(kmexport.iter_records(OneLine(1)), 1))
    before = peak_bytes()
    source = OneLine(megabytes)
    records = sum(1 for _ in kmexport.iter_records(source))
    print((peak_bytes() - before) / 1e6, source.items - records)


if __name__ == "__main__":
    main(int(sys.argv[1]))
