"""One text of a file → the head of its record and its text as JSON, or why it is no record."""

from __future__ import annotations

import codecs

from attrs import frozen

from kmexport.format.hashes import DECODE_ERRORS, UNSET, Head, NotARecord, decode_head, judge_object
from kmexport.format.octal import has_doubled_octal, repair_doubled_octal, repair_octal

__all__ = ["Judged", "decode_carefully", "is_plain", "judge"]


@frozen
class Judged:
    """A record: its head, and its text as JSON. `is_repaired` says whether the file has another text."""

    head: Head
    text: bytes
    is_repaired: bool = False


def judge(text: bytes) -> Judged:
    r"""The record that a text is, repaired where that makes it one. Raises NotARecord, which says why not.

    >>> judge(rb'{"_p":"bob","_t":1,"city":"Paran\303\241"}').text.decode()
    '{"_p":"bob","_t":1,"city":"Paraná"}'
    >>> judge(b'{"_p":"bob"}')
    Traceback (most recent call last):
        ...
    kmexport.format.hashes.NotARecord: there is no _t
    """
    if text.startswith(codecs.BOM_UTF8):
        return _repaired(text.removeprefix(codecs.BOM_UTF8))
    # Try the repair first: to find words for what is wrong is slow, and JSON has no such escapes.
    repaired = repair_octal(text) if b"\\" in text else None
    if repaired is not None:
        return _repaired(repaired)
    head = judge_object(text)
    if has_doubled_octal(text):
        repaired = repair_doubled_octal(text)
        if repaired != text:
            return _repaired(repaired)
    return Judged(head, text)


def _repaired(text: bytes) -> Judged:
    try:
        head = decode_carefully(text)
    except DECODE_ERRORS:
        head = judge_object(text)
    return Judged(head, text, is_repaired=True)


def is_plain(block: bytes) -> bool:
    """Whether `decode_head` alone may read the lines: they are UTF-8, and none has doubled octal escapes."""
    if has_doubled_octal(block):
        return False
    if block.isascii():
        return True
    try:
        block.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def decode_carefully(line: bytes) -> Head:
    """The head of a line that is a record as it stands; one of DECODE_ERRORS if `judge` has to look at it."""
    if not is_plain(line):
        raise NotARecord
    head = decode_head(line)
    if head.alias is not UNSET and head.name is not UNSET:
        raise NotARecord
    return head
