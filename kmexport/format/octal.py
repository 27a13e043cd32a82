r"""Bytes of a JSON line that are not the text they stand for: octal escapes, and bytes that are not UTF-8.

The vendor writes text outside ASCII as octal escapes of its bytes, `\303\241` for á. Most are UTF-8. Some are single
bytes of Windows-1252 (`\231`, the trade mark sign), and text that was cut at a limit of bytes ends in half a character.
`to_utf8` decides what all of them mean.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

# A run of octal escapes, or one other escape: matched from left to right, so the parity is always right.
_ESCAPE = re.compile(rb"((?:\\[0-3][0-7]{2})+)|\\.", re.DOTALL)

# The second form, with every backslash doubled. Of an even number of backslashes the last pair is the escape
# only where the pairs are odd in number, as single backslashes would have to be. Only bytes above 0x7f: the
# vendor escapes what is outside ASCII, and C:\\101 is a path.
_DOUBLED = re.compile(rb"(?<!\\)((?:\\\\\\\\)*+)((?:\\\\[23][0-7]{2})+)")
_TRIPLE = re.compile(rb"[0-3][0-7]{2}")

_HALF_OF_PAIR = re.compile("[\ud800-\udfff]")
_JSON_ESCAPE = re.compile(r"""\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))""")  # any other stays as it is
_UNESCAPED: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_ALONE: Final = [bytes([byte]).decode("cp1252", "replace") for byte in range(0x100)]
_READ_ALONE: Final = "kmexport.windows-1252"


def _read_alone(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return _ALONE[error.object[error.start]], error.start + 1


codecs.register_error(_READ_ALONE, _read_alone)


def to_utf8(text: bytes) -> bytes:
    r"""Keep what decodes as UTF-8, and read each other byte alone as Windows-1252 (U+FFFD where that has nothing).

    Cost: linear in the length of the text, whatever its bytes.

    >>> to_utf8(b"caf\xe9, \xc3\xa1\xc3, \x81").decode()
    'café, áÃ, \ufffd'
    """
    return text if text.isascii() else text.decode("utf-8", _READ_ALONE).encode()


def encode_text(text: str) -> bytes:
    r"""Encode a line of text as the bytes of a file.

    Half of a surrogate pair becomes its JSON escape, or the byte that it stands for if the text was decoded with
    `errors="surrogateescape"`.

    >>> encode_text('{"x":"caf\udce9 \ud83d"}')
    b'{"x":"caf\xe9 \\ud83d"}'
    """
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _HALF_OF_PAIR.sub(_escape_half, text).encode("utf-8", "surrogateescape")


def _escape_half(match: re.Match[str]) -> str:
    half = match[0]
    return half if "\udc80" <= half <= "\udcff" else f"\\u{ord(half):04x}"


def spellings_of(character: str) -> list[bytes]:
    r"""List the bytes that `to_utf8` may read as a character.

    >>> spellings_of("a"), spellings_of("é"), spellings_of("\u0416")
    ([b'a'], [b'\xc3\xa9', b'\xe9'], [b'\xd0\x96'])
    """
    alone = [bytes([byte]) for byte, found in enumerate(_ALONE[0x80:], 0x80) if found == character]
    return [character.encode(errors="surrogatepass"), *alone]


def repair_octal(text: bytes) -> bytes | None:
    r"""Replace the single octal escapes of a line; None where it has none.

    An escape is a backslash that is not itself escaped, with three octal digits. Each becomes its byte, and `to_utf8`
    reads the bytes. Cost: linear in the length of the line. Source: real exports.

    >>> repair_octal(rb'{"city":"Paran\303\241","name":"Frida\231"}').decode()
    '{"city":"Paraná","name":"Frida™"}'
    >>> repair_octal(rb'{"path":"C:\\303"}') is None  # a backslash and "303"
    True
    """
    found = False

    def character(match: re.Match[bytes]) -> bytes:
        nonlocal found
        if match[1] is None:
            return match[0]
        found = True
        return b"".join(map(_in_a_string, _bytes_of(match[1])))

    repaired = _ESCAPE.sub(character, text)
    return to_utf8(repaired) if found else None


def _in_a_string(byte: int) -> bytes:
    # A quote, a backslash or a control character given in octal stays inside its string.
    return bytes([byte]) if byte >= 0x80 else json.dumps(chr(byte))[1:-1].encode()


def has_doubled_octal(text: bytes) -> bool:
    r"""Tell whether the text may hold octal escapes with doubled backslashes.

    >>> has_doubled_octal(rb'"Paran\\303\\241"'), has_doubled_octal(rb'"Paran\303"')
    (True, False)
    """
    # A search for one byte costs a tenth of one for two, and that a tenth of the pattern's; most text has none.
    return b"\\" in text and b"\\\\" in text and _DOUBLED.search(text) is not None


def hide_doubled_octal(text: bytes) -> bytes:
    r"""Write escaped backslashes in another way, so that text that only looks like octal is read as it was.

    >>> hide_doubled_octal(rb'{"typed":"\\303\\241"}')
    b'{"typed":"\\u005c303\\u005c241"}'
    """
    return _ESCAPE.sub(lambda match: rb"\u005c" if match[0] == rb"\\" else match[0], text)


def repair_doubled_octal(text: bytes) -> bytes:
    r"""Replace the doubled octal escapes of a line where neighbours make a whole character of UTF-8.

    `to_utf8` reads the bytes of such neighbours, so half a character at their end is read too. Other escapes stay
    text: the line is valid JSON without a repair, and `C:\\303` or `D:\\2012` may be a path.

    >>> repair_doubled_octal(rb'{"city":"Paran\\303\\241","path":"C:\\303"}').decode()
    '{"city":"Paraná","path":"C:\\\\303"}'
    """

    def character(match: re.Match[bytes]) -> bytes:
        run = _bytes_of(match[2])
        return match[1] + to_utf8(run) if run.decode("utf-8", "ignore") else match[0]

    return _DOUBLED.sub(character, text)


def _bytes_of(run: bytes) -> bytes:
    return bytes(int(digits, 8) for digits in _TRIPLE.findall(run))


def mention_test(identities: Iterable[str]) -> Callable[[bytes], bool]:
    r"""Make a test for lines that can't be read: whether one names one of these identities, in any spelling.

    Octal escapes, single and doubled, and those of JSON are read; small letters and capitals are equal. Where a letter
    or a digit stands beside it, or behind one of `@.+-_` beside it, it is a part of something else.

    >>> names_bob = mention_test(["bob"])
    >>> names_bob(rb'{"_p":"\u0042\157b'), names_bob(rb'{"x":"\nbob"')
    (True, True)
    >>> names_bob(b'{"_p":"bobby"'), names_bob(b'{"_p":"bob@example.com"')
    (False, False)
    """
    spelt = "|".join(map(re.escape, sorted(identities)))
    pattern = re.compile(rf"(?<![^\W_])(?<![^\W_][@.+_-])(?:{spelt})(?![@.+_-]?[^\W_])", re.IGNORECASE)
    return lambda line: any(pattern.search(text) for text in _texts_of(line))


def _texts_of(line: bytes) -> Iterator[str]:
    """Yield the text of a line without its escapes: doubled octal may be what it seems, or what it stands for."""
    single = repair_octal(line) or to_utf8(line)
    for spelt in {single, repair_doubled_octal(single)}:
        text = _JSON_ESCAPE.sub(_unescape, spelt.decode())
        yield text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")  # two halves become a pair


def _unescape(match: re.Match[str]) -> str:
    return chr(int(match[1], 16)) if match[1] else _UNESCAPED.get(match[2], match[2])
