"""The hashes of records → what the column `properties` holds: the same without the four keys of the record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import pyarrow as pa

from kmexport.format.hashes import DECODE_ERRORS, RESERVED, read_properties
from kmexport.format.spelling import spell_object
from kmexport.tables.schema import JSON

__all__ = ["as_json", "without_head", "without_heads"]

_read_raw_lines: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode_lines
_read_raw: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode_lines: Final = msgspec.json.Encoder().encode_lines
_encode: Final = msgspec.json.Encoder().encode


def without_heads(texts: Sequence[bytes]) -> list[bytes]:
    """For each hash its properties as JSON: values as they are spelt, of a key that stands twice the last."""
    try:
        found = _read_raw_lines(b"\n".join(texts))
    except DECODE_ERRORS:
        return list(map(without_head, texts))
    for pairs in found:
        # One by one: a loop over the keys costs half as much again.
        pairs.pop("_p", None)
        pairs.pop("_t", None)
        pairs.pop("_n", None)
        pairs.pop("_p2", None)
    spelt: list[bytes] = _encode_lines(found).split(b"\n")
    spelt.pop()
    # A nested value may have line ends of its own, where its hash was printed over several lines.
    return spelt if len(spelt) == len(texts) else list(map(without_head, texts))


def without_head(text: bytes) -> bytes:
    r"""The same for one hash; half a surrogate pair stays as its escape.

    >>> without_head(b'{"_p":"bob","_t":1,"x":1.5,"half":"\\ud83d"}')
    b'{"x":1.5,"half":"\\ud83d"}'
    """
    try:
        pairs = _read_raw(text)
    except DECODE_ERRORS:
        return spell_object(read_properties(text))
    for key in RESERVED:
        pairs.pop(key, None)
    return _encode(pairs)


def as_json(spelt: Sequence[bytes]) -> Any:
    """An array of Arrow's JSON type."""
    return pa.ExtensionArray.from_storage(JSON, pa.array(spelt, pa.string()))
