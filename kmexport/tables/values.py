"""Values of properties → Arrow columns of a type; what does not fit is null."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from operator import attrgetter
from typing import Any, Final

import msgspec
import pyarrow as pa

from kmexport.format.hashes import DECODE_ERRORS, RESERVED, read_properties
from kmexport.format.spelling import spell_object
from kmexport.names import fold_name
from kmexport.tables.schema import HALF_OF_PAIR, PropertyColumn
from kmexport.values import as_number

__all__ = ["PropertyValues", "as_column"]

_ESCAPABLE: Final = re.compile(r'["\\/\x00-\x1f\x7f]')
# fold_name, for text within ASCII.
_FOLDED: Final = bytes(range(256)).lower().translate(bytes.maketrans(b",:", b"  "))


class PropertyValues:
    """The values of some properties, record by record. Of two spellings of a name on one record the first counts."""

    def __init__(self, columns: Sequence[PropertyColumn]) -> None:
        self._columns = columns
        self._values: dict[str, list[Any]] = {column.folded: [] for column in columns}
        self._spellings = {column.folded: column.name for column in columns}
        # A name that escapes can spell is looked for in each hash, as are those of the record's own keys.
        self._is_plain = not any(map(_ESCAPABLE.search, self._values)) and self._values.keys().isdisjoint(RESERVED)
        self._fast = self._reader()

    def add(self, hashes: Iterable[dict[str, Any]]) -> None:
        """The properties of more records."""
        values = self._values
        for properties in hashes:
            found: dict[str, Any] = {}
            for name, value in properties.items():
                folded = fold_name(name)
                if folded in values:
                    found.setdefault(folded, value)
                    self._spellings[folded] = name
            for folded, column in values.items():
                column.append(found.get(folded))

    def add_texts(self, texts: list[bytes]) -> None:
        """The same of hashes that are JSON still."""
        if not self._add_at_once(b"\n".join(texts), len(texts)):
            before = dict(self._spellings)
            self.add(map(read_properties, texts))
            if before != self._spellings:
                self._fast = self._reader()

    def _reader(self) -> Callable[[bytes], list[Any]] | None:
        """What reads these properties alone, where they are spelt as they were last."""
        if not self._is_plain or any(map(_ESCAPABLE.search, self._spellings.values())):
            return None
        spellings = enumerate(self._spellings.values())
        fields = [(f"p{number}", Any, msgspec.field(default=None, name=name)) for number, name in spellings]
        return msgspec.json.Decoder(msgspec.defstruct("Found", fields)).decode_lines

    def _add_at_once(self, text: bytes, count: int) -> bool:
        """Whether it was possible: no key of the hashes is another spelling of a name."""
        if self._fast is None or not text.isascii() or b"\\u" in text:
            return False
        try:
            records = self._fast(text)
        except DECODE_ERRORS:
            return False
        folded_text = text.translate(_FOLDED)
        columns = []
        for number, folded in enumerate(self._values):
            values = list(map(attrgetter(f"p{number}"), records))
            # A value, or a nested key, that is spelt so counts too; then the slow way decides.
            if len(values) != count or folded_text.count(b'"%b"' % folded.encode()) != count - values.count(None):
                return False
            columns.append(values)
        for values, more in zip(self._values.values(), columns, strict=True):
            values.extend(more)
        return True

    def arrays(self) -> list[Any]:
        """One for each column."""
        return [as_column(self._values[column.folded], column.type) for column in self._columns]


def as_column(values: Sequence[Any], kind: Any) -> Any:
    """The values as an Arrow array; None where a record has no such property, or where it does not fit the type.

    Text is the string itself, of other values their JSON. Numbers are numbers, and text that reads as one, for the
    vendor does not tell them apart. Half a surrogate pair shows as its escape.
    """
    if pa.types.is_string(kind):
        # Most columns are text alone. Converting each value costs three times as much.
        with suppress(pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
            return pa.array(values, kind)
    convert = _converter(kind)
    return pa.array([None if value is None else convert(value) for value in values], kind)


def _converter(kind: Any) -> Callable[[Any], Any]:
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _text
    if pa.types.is_boolean(kind):
        return lambda value: value if isinstance(value, bool) else None
    if pa.types.is_integer(kind):
        return _integers(kind)
    if pa.types.is_decimal(kind):
        return _decimals(kind)
    return _float if pa.types.is_float64(kind) else _small_float


def _text(value: Any) -> str:
    if not isinstance(value, str):
        return spell_object({"": value})[4:-1].decode()
    return HALF_OF_PAIR.sub(lambda half: f"\\u{ord(half[0]):04x}", value)


def _integers(kind: Any) -> Callable[[Any], int | None]:
    bits = kind.bit_width
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if pa.types.is_signed_integer(kind) else (0, (1 << bits) - 1)

    def convert(value: Any) -> int | None:
        number = as_number(value)
        if number is None or not low <= number <= high or number != int(number):
            return None
        return int(number)

    return convert


def _decimals(kind: Any) -> Callable[[Any], Decimal | None]:
    whole, step = kind.precision - kind.scale, Decimal(1).scaleb(-kind.scale)

    def convert(value: Any) -> Decimal | None:
        number = as_number(value)
        if number is None or (number and Decimal(number).adjusted() >= whole):
            return None
        try:
            fitting = Decimal(number).quantize(step)
        except InvalidOperation:
            return None
        return fitting if fitting == number else None

    return convert


def _float(value: Any) -> float | None:
    number = as_number(value)
    try:
        found = float(number) if number is not None else math.inf
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def _small_float(value: Any) -> float | None:
    found = _float(value)
    return found if found is not None and abs(found) <= 3.4028234663852886e38 else None
