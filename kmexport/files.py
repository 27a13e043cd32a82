"""What the package needs of an open file, whoever gives it."""

from __future__ import annotations

from typing import Protocol

__all__ = ["BinaryFile"]


class BinaryFile(Protocol):
    """A binary file, or anything else with `read(n)`: at most n bytes, none at the end."""

    def read(self, size: int, /) -> bytes: ...
