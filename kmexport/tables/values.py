"""Values of properties → Arrow columns of a type; what does not fit is null."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import pyarrow as pa

from kmexport.format.spelling import spell_object
from kmexport.names import fold_name
from kmexport.tables.schema import PropertyColumn

__all__ = ["PropertyValues", "as_column"]

_NUMBER: Final = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*", re.ASCII)
_HALF: Final = re.compile("[\ud800-\udfff]")


class PropertyValues:
    """The values of some properties, record by record. Of two spellings of a name on one record the first counts."""

    def __init__(self, columns: Sequence[PropertyColumn]) -> None:
        self._columns = columns
        self._values: dict[str, list[Any]] = {column.folded: [] for column in columns}

    def add(self, hashes: Iterable[dict[str, Any]]) -> None:
        """The properties of more records."""
        values = self._values
        for properties in hashes:
            found: dict[str, Any] = {}
            for name, value in properties.items():
                folded = fold_name(name)
                if folded in values:
                    found.setdefault(folded, value)
            for folded, column in values.items():
                column.append(found.get(folded))

    def arrays(self) -> list[Any]:
        """One for each column."""
        return [as_column(self._values[column.folded], column.type) for column in self._columns]


def as_column(values: Iterable[Any], kind: Any) -> Any:
    """The values as an Arrow array; None where a record has no such property, or where it does not fit the type.

    Text is the string itself, of other values their JSON. Numbers are numbers, and text that reads as one, for the
    vendor does not tell them apart. Half a surrogate pair shows as its escape.
    """
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
    return _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", value)


def _number(value: Any) -> int | Decimal | None:
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value):
            return None
    elif isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    elif isinstance(value, int):
        return value
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _integers(kind: Any) -> Callable[[Any], int | None]:
    bits = kind.bit_width
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if pa.types.is_signed_integer(kind) else (0, (1 << bits) - 1)

    def convert(value: Any) -> int | None:
        number = _number(value)
        if number is None or not low <= number <= high or number != int(number):
            return None
        return int(number)

    return convert


def _decimals(kind: Any) -> Callable[[Any], Decimal | None]:
    whole, step = kind.precision - kind.scale, Decimal(1).scaleb(-kind.scale)

    def convert(value: Any) -> Decimal | None:
        number = _number(value)
        if number is None or (number and Decimal(number).adjusted() >= whole):
            return None
        try:
            fitting = Decimal(number).quantize(step)
        except InvalidOperation:
            return None
        return fitting if fitting == number else None

    return convert


def _float(value: Any) -> float | None:
    number = _number(value)
    try:
        found = float(number) if number is not None else math.inf
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def _small_float(value: Any) -> float | None:
    found = _float(value)
    return found if found is not None and abs(found) <= 3.4028234663852886e38 else None
