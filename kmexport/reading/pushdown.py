"""Which lines of a block are worth parsing, when not all kinds of records or only events of some names are wanted."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from attrs import frozen

__all__ = ["LineFilter", "alias_filter", "name_filter", "no_event_filter"]

# What begins another spelling of a character: an escape, or a letter outside ASCII that folds to one inside.
_SPECIAL = rb"\\\x80-\xff"
_NAME_KEY, _BRACE = b'"_n":"', ord("{")
_KEY_THAT_ENDS_LIKE_IT = b'\\"_n":"'
_MOST_NAMES = 12  # measured: with more, trying them all costs more than parsing the lines
_BEHIND_BACKSLASH = rb"u0-3/\"\\bfnrt"


@frozen
class LineFilter:
    """How lines are passed over: those that `find` leaves out hold no record that is wanted.

    `escaped_key` finds the key that `find` looks for in another spelling; without one that does not matter.
    """

    find: Callable[[bytes], list[bytes]]
    escaped_key: re.Pattern[bytes] | None

    def lines(self, block: bytes) -> list[bytes] | None:
        r"""The lines that may be wanted; the others are not. None where only reading the whole block can tell.

        >>> name_filter({"signed up"}).lines(b'{"_n":"Signed Up"}\n{"_n":"searched"}\n{"x":"signed up"}')
        [b'{"_n":"Signed Up"}']
        """
        if self.escaped_key is not None and b"\\" in block and self.escaped_key.search(block):
            return None
        return self.find(block)


def alias_filter() -> LineFilter:
    r"""For lines that may be aliases: those with the key `_p2` anywhere.

    >>> alias_filter().lines(b'{"_p":"a","_t":1}\n{"_p":"a","_p2":"b","_t":1}')
    [b'{"_p":"a","_p2":"b","_t":1}']
    """
    # Measured: 0.10 µs a line, where bytes.find() of the whole key takes 0.15.
    find = partial(_lines_with, re.compile(rb"_p2[^\n]*"))
    return LineFilter(find, _escapes(rb"u00(?:5[fF]|70|32)|137|160|062"))


def no_event_filter() -> LineFilter:
    r"""For lines that may be property sets, or aliases: those without the key `_n`, as far as a look can tell.

    >>> block = b'{"_n":"x","_p":"a","_t":1}\n{"_p":"a","_t":1}\n{"_p":"a","_t":1,"x":{"_n":"x"}}'
    >>> no_event_filter().lines(block)
    [b'{"_p":"a","_t":1}', b'{"_p":"a","_t":1,"x":{"_n":"x"}}']
    """
    return LineFilter(_lines_without_name, None)


def name_filter(names: frozenset[str] | set[str]) -> LineFilter | None:
    """For lines that may be events of these names, which are folded.

    None where they are so many that it does not pay.

    The pattern is made for speed. It begins with the end of the key, as fixed text; then most lines end at two classes
    that hold whatever a wanted name can begin with. Measured: 0.21 µs a line, 0.44 without the classes.
    """
    if len(names) > _MOST_NAMES:
        return None
    begin = b"".join(_spellings(name, 0) for name in names)
    goes_on = b"".join(_spellings(name, 1) for name in names)
    spelt = b"|".join(b"".join(b"[%s]" % _spellings(name, at) for at in range(len(name))) + b'"' for name in names)
    special = rb'[^"\n%s]*[%s]' % (_SPECIAL, _SPECIAL)
    guard = rb"(?=[%s%s][%s%s%s])" % (begin, _SPECIAL, goes_on, _SPECIAL, _BEHIND_BACKSLASH)
    if "" in names:
        guard = b""  # anything may follow its second quote

    pattern = re.compile(rb'_n"[ \t\r\n:]+"' + guard + rb"(?:%s|%s)[^\n]*" % (spelt, special))
    return LineFilter(partial(_lines_with, pattern), _escapes(rb"u00(?:5[fF]|6[eE])|137|156"))


def _lines_with(pattern: re.Pattern[bytes], block: bytes) -> list[bytes]:
    """The pattern goes to the end of the line."""
    found = []
    begin_before = block.rfind
    for match in pattern.finditer(block):
        at, end = match.span()
        found.append(block[begin_before(b"\n", 0, at) + 1 : end])
    return found


def _lines_without_name(block: bytes) -> list[bytes]:
    # Where a line begins as an object and has no other brace, the quote is escaped, or the key is that object's.
    # Measured: 0.3 µs a line, or 0.5 where there are other braces. find() is faster than `in`.
    lines = block.split(b"\n")
    if block.find(_KEY_THAT_ENDS_LIKE_IT) >= 0:
        return lines
    if len(block) - len(block.replace(b"{", b"")) == len(lines):
        return [line for line in lines if line.find(_NAME_KEY) < 0 or line[0] != _BRACE]
    return [line for line in lines if line.find(_NAME_KEY) < 0 or line.rfind(b"{") != 0]


def _escapes(codes: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"\\(?:" + codes + rb")")


def _spellings(name: str, at: int) -> bytes:
    """The bytes within ASCII that can stand for a character of the name, or end it, for a class of a pattern."""
    character = name[at : at + 1] or '"'
    if character == " ":
        return rb" ,:"
    if not character.isascii():
        return _SPECIAL
    return b"".join(re.escape(spelling.encode()) for spelling in sorted({character.lower(), character.upper()}))
