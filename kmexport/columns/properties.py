"""Values of properties → Arrow columns of a type; what does not fit is null."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import pyarrow as pa

from kmexport.columns.heads import _values_of
from kmexport.columns.schema import PropertyColumn, without_halves
from kmexport.format.decoding import Head, decode_properties
from kmexport.format.encoding import spell_object
from kmexport.format.names import as_number, fold_name

__all__ = ["PropertyColumns", "as_column"]


def as_column(values: Sequence[Any], kind: Any) -> Any:
    """Make an Arrow array of the values; None where a record has no such property, or it does not fit the type.

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
    return without_halves(value)


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


_VALUES_AT_ONCE: Final = 1_000  # many more are out of the processor's cache when their array is made


class PropertyColumns:
    """The values of some properties, record by record. Of two spellings the first counts that is not null."""

    def __init__(self, columns: Sequence[PropertyColumn], spellings: dict[str, str] | None = None) -> None:
        self._columns = columns
        self._values: dict[str, list[Any]] = {column.folded: [] for column in columns}
        self._arrays: list[list[Any]] = []  # of each column, those of the values that came first
        self._spellings = {} if spellings is None else spellings
        self._values_of = _values_of(len(self._values))

    def add(self, objects: Iterable[dict[str, Any]]) -> None:
        """Add the properties of records."""
        values = self._values
        for properties in objects:
            found: dict[str, Any] = {}
            for name, value in properties.items():
                folded = fold_name(name)
                if folded in values and value is not None:
                    found.setdefault(folded, value)
                    self._spellings[folded] = name
            for folded, column in values.items():
                column.append(found.get(folded))

    def add_texts(self, texts: Iterable[bytes]) -> None:
        """Add the properties of records that are JSON still."""
        self.add(map(decode_properties, texts))

    def add_heads(self, heads: Sequence[Head]) -> None:
        """Add the values of `HeadWithValues`."""
        for values, value_of in zip(self._values.values(), self._values_of, strict=True):
            values.extend(map(value_of, heads))
        if len(values) >= _VALUES_AT_ONCE:
            self._arrays.append(self._converted())

    def arrays(self) -> list[Any]:
        """Make the array of each column."""
        return [pa.concat_arrays(arrays) for arrays in zip(*self._arrays, self._converted(), strict=True)]

    def _converted(self) -> list[Any]:
        arrays = [as_column(self._values[column.folded], column.type) for column in self._columns]
        for values in self._values.values():
            values.clear()
        return arrays
