"""The text of an array → what ijson has to see of it, to find where its items end."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["Shadow"]

# Any digit is as good as another, but 0 may not begin a number.
_DIGITS: Final = bytes.maketrans(b"0234567890", b"1" * 10)
# Spaces, control characters and bytes outside ASCII: they belong to no token but strings.
_DROPPED: Final = bytes([*range(33), *range(127, 256)])
_ESCAPE: Final = re.compile(rb"\\.?", re.DOTALL)
_LONG: Final = re.compile(rb'[^"{}\[\],:]{18,}')
_LONG_NUMBER: Final = b"1" * 18


class Shadow:
    r"""The same brackets, commas, colons and literals, in less text; strings are empty.

    A legal text has a legal shadow of the same structure; of an illegal one the shadow may be legal. ijson's C back
    end ends the process at a number of thousands of digits, so no long one gets through.

    >>> shadow = Shadow()
    >>> shadow.of(b'{"caf\\u00e9 \\"}": [12.5, true, ', is_long=False)
    b'{"":[11.1,true,'
    >>> shadow.of(b"99999999999999999999999999]", is_long=False)
    b'1]'
    """

    def __init__(self) -> None:
        self._is_escaped = False  # the last chunk ended between a backslash and what it escapes
        self._is_in_string = False
        self._ends_in_digit = False

    def of(self, chunk: bytes, *, is_long: bool) -> bytes:
        """The shadow of the next chunk, which may be empty; with `is_long`, of long words only a little is left."""
        if self._is_escaped:
            self._is_escaped = False
            chunk = chunk[1:]
        if b"\\" in chunk:
            backslashes = len(chunk) - len(chunk.rstrip(b"\\"))
            self._is_escaped = backslashes % 2 == 1
            chunk = _ESCAPE.sub(b"", chunk)
        shadow = self._without_strings(chunk).translate(_DIGITS, _DROPPED)
        if self._ends_in_digit:
            # The number goes on, and ended well where it was: of 1.2345678901234567e may be left 1, and +16 follow it.
            shadow = shadow.lstrip(b"1+-.eE")
        if is_long or _LONG_NUMBER in shadow:
            shadow = _LONG.sub(b"1", shadow)
        if shadow:
            self._ends_in_digit = shadow.endswith(b"1")
        return shadow

    def _without_strings(self, chunk: bytes) -> bytes:
        """What stands between strings, with a pair of quotes for each. ijson would read a string anew in each chunk."""
        if b'"' not in chunk:
            return b"" if self._is_in_string else chunk
        parts = chunk.split(b'"')
        begins_in_string = self._is_in_string
        self._is_in_string = begins_in_string != (len(parts) % 2 == 0)
        outside = b'""'.join(parts[begins_in_string::2])
        return (b'"' if begins_in_string else b"") + outside + (b'"' if self._is_in_string else b"")
