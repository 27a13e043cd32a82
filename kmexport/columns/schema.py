"""The columns of records, and the choice among them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

import pyarrow as pa
from attrs import frozen

from kmexport.arguments import check_list
from kmexport.format.names import fold_name

__all__ = [
    "HALF_OF_PAIR",
    "JSON",
    "KINDS",
    "SCHEMA",
    "TIME",
    "Layout",
    "Properties",
    "PropertyColumn",
    "as_kinds",
    "choose_columns",
]

HALF_OF_PAIR: Final = re.compile("[\ud800-\udfff]")  # of surrogates: no column of text can hold it

JSON: Final = pa.json_(pa.string())
TIME: Final = pa.timestamp("s", "UTC")
KINDS: Final = ("event", "property_set", "alias")
_KIND_NAMES: Final = pa.array(KINDS)

SCHEMA: Final = pa.schema(
    [
        pa.field("revision", pa.int64()),
        pa.field("line", pa.int64()),
        pa.field("kind", pa.dictionary(pa.int8(), pa.string()), nullable=False),
        pa.field("person", pa.string(), nullable=False),
        pa.field("time", TIME, nullable=False),
        pa.field("name", pa.string()),
        pa.field("alias", pa.string()),
        pa.field("properties", JSON, nullable=False),
    ]
)

Properties: TypeAlias = Iterable[str] | Mapping[str, Any]


def without_halves(text: str) -> str:
    r"""Return a text with each half of a surrogate pair as the text of its escape.

    >>> without_halves("a" + chr(0xd83d))
    'a\\ud83d'
    """
    return HALF_OF_PAIR.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def as_kinds(codes: Any) -> Any:
    """Make the column `kind` of an array of 8-bit places in KINDS."""
    return pa.DictionaryArray.from_arrays(codes, _KIND_NAMES)


@frozen
class PropertyColumn:
    """A property that has a column of its own: its name as asked for, folded, and the column's Arrow type."""

    name: str
    folded: str
    type: Any


@frozen
class Layout:
    """The columns that are wanted, in their order."""

    schema: Any
    columns: tuple[str, ...]
    properties: tuple[PropertyColumn, ...]


def choose_columns(columns: Iterable[str] | None, properties: Properties) -> Layout:
    """Choose columns of SCHEMA, and add those of properties after them.

    Raises ValueError for a column that does not exist or comes twice, TypeError for a type that no value can have.
    """
    if isinstance(columns, str) or isinstance(properties, str):
        msg = "columns and properties are lists of names, not one string"
        raise TypeError(msg)
    check_list("columns", () if columns is None else columns)
    check_list("properties", properties)
    wanted = tuple(SCHEMA.names if columns is None else columns)
    if unknown := [name for name in wanted if name not in SCHEMA.names]:
        msg = f"there is no column {unknown[0]!r}: columns are {', '.join(SCHEMA.names)}"
        raise ValueError(msg)
    types = properties if isinstance(properties, Mapping) else {name: pa.string() for name in properties}
    extra = tuple(PropertyColumn(name, fold_name(name), _checked(name, kind)) for name, kind in types.items())
    names = [*wanted, *(column.name for column in extra)]
    if twice := [name for name in names if names.count(name) > 1]:
        msg = f"two columns would be named {twice[0]!r}: leave one out with columns="
        raise ValueError(msg)
    fields = [SCHEMA.field(name) for name in wanted] + [pa.field(column.name, column.type) for column in extra]
    return Layout(pa.schema(fields), wanted, extra)


def _checked(name: str, kind: Any) -> Any:
    checks = (
        pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_float32, pa.types.is_float64,
        pa.types.is_boolean, pa.types.is_decimal128,
    )  # fmt: skip
    if isinstance(kind, pa.DataType) and any(check(kind) for check in checks):
        return kind
    msg = f"the column of a property is text, integers, floats, decimals or booleans of Arrow, not {kind!r} ({name!r})"
    raise TypeError(msg)
