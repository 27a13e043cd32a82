"""Which lines of a block are worth parsing, when only aliases or only events of some names are wanted."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from attrs import frozen

from kmexport.parsing.objects import UNSET, Head

__all__ = ["Sieve", "alias_sieve", "name_sieve"]

# In a name another spelling of its characters: an escape, or a letter outside ASCII that folds to one inside.
_SPECIAL = rb"\\\x80-\xff"


@frozen
class Sieve:
    """How lines are passed over: `first` finds the key, and `then`, at the last byte found, what must follow it.

    `escaped_key` finds the key's characters in another spelling. `is_wanted` decides on a line that was parsed.
    """

    first: re.Pattern[bytes]
    then: re.Pattern[bytes] | None
    escaped_key: re.Pattern[bytes]
    is_wanted: Callable[[Head], bool]

    def lines(self, block: bytes) -> list[bytes] | None:
        r"""The lines that may be wanted; the others are not. None where only reading the whole block can tell.

        >>> name_sieve({"signed up"}, str.casefold).lines(b'{"_n":"Signed Up"}\n{"_n":"searched"}\n{"x":"signed up"}')
        [b'{"_n":"Signed Up"}']
        """
        if b"\\" in block and self.escaped_key.search(block):
            return None
        found = []
        end = 0
        while match := self.first.search(block, end):
            at = match.end() - 1
            if self.then is not None and not self.then.match(block, at):
                end = at
                continue
            start = block.rfind(b"\n", 0, match.start()) + 1
            end = block.find(b"\n", at)
            if end < 0:
                end = len(block)
            line = block[start:end]
            # What does not begin its line may lie inside a hash over several lines.
            if not line.startswith(b"{") or b"\n" in line:
                return None
            found.append(line)
        return found


def alias_sieve() -> Sieve:
    r"""For lines that may be aliases: those with the key `_p2` anywhere.

    >>> alias_sieve().lines(b'{"_p":"a","_t":1}\n{"_p":"a","_p2":"b","_t":1}')
    [b'{"_p":"a","_p2":"b","_t":1}']
    """
    # Measured: 0.10 µs a line, where bytes.find() of the whole key takes 0.15.
    return Sieve(re.compile(rb"_p2"), None, _escapes(rb"u00(?:5[fF]|70|32)|137|160|062"), _is_alias)


def name_sieve(names: frozenset[str] | set[str], fold: Callable[[str], str]) -> Sieve:
    """For lines that may be events of these names, which are folded; `fold` folds the name of a line.

    The pattern looks at a name's first character only, and most lines end there: one that looks at all of it
    takes twice as long (measured: 0.5 instead of 0.25 µs a line).
    """
    begins = b"".join(_spellings(name[:1]) or b'"' for name in names)
    spelt = b"|".join(b"".join(b"[%s]" % _spellings(character) for character in name) for name in names)

    @lru_cache(1 << 12)
    def is_wanted(name: str) -> bool:
        return fold(name) in names

    return Sieve(
        re.compile(rb'"_n"[ \t\r\n:]+"[' + begins + _SPECIAL + rb"]"),
        re.compile(rb"(?:%s)\"|[^\"%s]*[%s]" % (spelt, _SPECIAL, _SPECIAL)),
        _escapes(rb"u00(?:5[fF]|6[eE])|137|156"),
        lambda head: head._n is not UNSET and is_wanted(head._n),
    )


def _is_alias(head: Head) -> bool:
    return head._p2 is not UNSET


def _escapes(codes: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"\\(?:" + codes + rb")")


def _spellings(character: str) -> bytes:
    """The bytes within ASCII that the character may stand for, for a class of a pattern."""
    if character == " ":
        return rb" ,:"
    if not character.isascii():
        return _SPECIAL
    both = {character.lower(), character.upper()}
    return b"".join(re.escape(spelling.encode()) for spelling in sorted(both))
