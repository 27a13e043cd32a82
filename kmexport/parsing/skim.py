"""Blocks of lines → the alias lines among them, the others unparsed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from kmexport.parsing.blocks import Block
from kmexport.parsing.objects import DECODE_ERRORS, UNSET, Head, NotARecord, decode_head, judge_object
from kmexport.parsing.repair import has_doubled_octal, repair_octal

__all__ = ["NotPlainLines", "skim_aliases"]

_KEY = b'"_p2"'
# The key's characters as escapes of JSON, or as octal ones.
_ESCAPED = rb"\\(?:u00(?:5[fF]|70|32)|137|160|062)"
_ESCAPED_KEY = re.compile(_ESCAPED)
_KEY_IN_ANY_FORM = re.compile(_KEY + b"|" + _ESCAPED)


class NotPlainLines(Exception):  # noqa: N818  # not an error: the stream has to be read whole
    """An alias may stand in something else than one whole line."""


def skim_aliases(blocks: Iterable[Block]) -> Iterator[tuple[Head, bytes]]:
    """The heads and texts of the alias lines. Raises NotPlainLines where only reading the whole stream can tell.

    A line without the key `_p2` in any spelling is no alias line, and is not looked at. One that has it is
    parsed: a property whose text is `_p2` fools nobody.
    """
    for block in blocks:
        if not isinstance(block, bytes):
            raise NotPlainLines
        for line in _candidates(block):
            head, text = _judge(line)
            if head._p2 is not UNSET:
                if head._n is not UNSET:
                    raise NotPlainLines
                yield head, text


def _candidates(block: bytes) -> Iterator[bytes]:
    # Most blocks hold no backslash, and finding that out is quick; the pattern is ten times as slow as find().
    has_escapes = b"\\" in block and _ESCAPED_KEY.search(block) is not None
    end = 0
    while True:
        if has_escapes:
            match = _KEY_IN_ANY_FORM.search(block, end)
            at = -1 if match is None else match.start()
        else:
            at = block.find(_KEY, end)
        if at < 0:
            return
        start = block.rfind(b"\n", 0, at) + 1
        end = block.find(b"\n", at)
        if end < 0:
            end = len(block)
        yield block[start:end]


def _judge(line: bytes) -> tuple[Head, bytes]:
    # Indented, it could be a value inside a hash over several lines.
    if not line.startswith(b"{") or has_doubled_octal(line):
        raise NotPlainLines
    try:
        line.decode("utf-8")
        return decode_head(line), line
    except DECODE_ERRORS:
        text = repair_octal(line) or line
    try:
        return judge_object(text), text
    except NotARecord as error:
        raise NotPlainLines from error
