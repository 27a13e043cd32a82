"""What is asked of a storage: a file, by its name, its path and its size."""

from __future__ import annotations

from attrs import frozen

__all__ = ["Wanted"]


@frozen
class Wanted:
    """A file to read: what it is called in messages, where it is, and its size in bytes where that is known."""

    name: str
    path: str
    size: int | None
