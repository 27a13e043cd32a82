"""Where items of an array end, as ijson tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from kmexport.reading.shadow import Shadow

__all__ = ["Follower"]


class Follower:
    """Follows items to their ends. `next_chunk` gives their text, no further than a bracket that may be an end.

    For ijson all items are one array: a comma is put before each but the first. With its chunk it gets to know whether
    the text is long, and none of it at the end.
    """

    def __init__(self, next_chunk: Callable[[], tuple[bytes, bool]]) -> None:
        ijson: Any = import_module("ijson")
        self._next_chunk = next_chunk
        self._shadow = Shadow()
        self._before = b"["
        self._error: type[Exception] = ijson.JSONError
        self._events: Iterator[tuple[str, object]] = ijson.basic_parse(self, buf_size=1)
        next(self._events)

    def follow(self, *, is_object: bool) -> bool:
        """Ask for text until the item that begins in the next chunk has ended; False where it can't end any more.

        There is no following further behind False.
        """
        begins, ends = ("start_map", "end_map") if is_object else ("start_array", "end_array")
        depth = 0
        try:
            for event, _ in self._events:
                if event == begins:
                    depth += 1
                elif event == ends:
                    depth -= 1
                    if not depth:
                        self._before = b","
                        return True
        except self._error:
            pass
        return False

    def read(self, size: int) -> bytes:
        """What ijson reads."""
        if not size:
            return b""  # it asks so whether this is text or bytes
        if self._before:
            before, self._before = self._before, b""
            return before
        while True:
            chunk, is_long = self._next_chunk()
            shadow = self._shadow.of(chunk, is_long=is_long)
            # No bytes would mean the end. Nothing may stand in for a chunk that has no shadow: it may lie in a number.
            if shadow or not chunk:
                return shadow
