"""What a predicate of Polars tells of the rows that it keeps, so that files and lines may be left out before it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, Final

import polars as pl
from attrs import frozen

from kmexport.format.hashes import FIRST_TIMESTAMP, LAST_TIMESTAMP
from kmexport.names import fold_name
from kmexport.records import Alias, Event, PropertySet, Record
from kmexport.tables.schema import KINDS
from kmexport.windows import Window

__all__ = ["Bounds", "bounds_of"]

_DEEPEST: Final = 50  # a predicate that is nested deeper is looked at down to here: each step compares all below it
_CLASSES: Final = dict(zip(KINDS, (Event, PropertySet, Alias), strict=True))
_A_SECOND: Final = {"ms": 10**3, "us": 10**6, "ns": 10**9}
# The comparison that says the same with its sides exchanged.
_EXCHANGED: Final[dict[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {
    operator.eq: operator.eq,
    operator.lt: operator.gt,
    operator.le: operator.ge,
    operator.gt: operator.lt,
    operator.ge: operator.le,
}


@frozen
class Bounds:
    """Where the rows lie: each is in all of this. What is in it need not be a row that is kept."""

    start: int = FIRST_TIMESTAMP
    end: int = LAST_TIMESTAMP + 1
    after: int = 0
    names: frozenset[str] | None = None  # folded; None: any, and what has none
    kinds: frozenset[type[Record]] = frozenset(_CLASSES.values())
    persons: frozenset[str] | None = None

    def __and__(self, other: Bounds) -> Bounds:
        return Bounds(
            max(self.start, other.start), min(self.end, other.end), max(self.after, other.after),
            _in_both(self.names, other.names), self.kinds & other.kinds, _in_both(self.persons, other.persons),
        )  # fmt: skip

    def __or__(self, other: Bounds) -> Bounds:
        return Bounds(
            min(self.start, other.start), max(self.end, other.end), min(self.after, other.after),
            _in_either(self.names, other.names), self.kinds | other.kinds, _in_either(self.persons, other.persons),
        )  # fmt: skip

    @property
    def is_empty(self) -> bool:
        """Whether no row can be there."""
        return self.start >= self.end or not self.kinds or frozenset() in (self.names, self.persons)

    def as_arguments(self) -> dict[str, Any]:
        """What `to_batches` takes to leave out what lies outside; None for what leaves out nothing."""
        window = None if (self.start, self.end) == (_ANY.start, _ANY.end) else Window(self.start, self.end)
        kinds = None if self.kinds == _ANY.kinds else self.kinds
        return {
            "window": window, "after": self.after, "names": self.names, "kinds": kinds, "people": self.persons
        }  # fmt: skip


_ANY: Final = Bounds()


def _in_both(some: frozenset[str] | None, others: frozenset[str] | None) -> frozenset[str] | None:
    if some is None or others is None:
        return others if some is None else some
    return some & others


def _in_either(some: frozenset[str] | None, others: frozenset[str] | None) -> frozenset[str] | None:
    return None if some is None or others is None else some | others


def bounds_of(predicate: pl.Expr, depth: int = 0) -> Bounds:
    """The bounds of the rows for which the predicate is true. What is not understood bounds nothing.

    Understood are `&`, `|`, and a column beside literals: `time` (in any zone) and `revision` compared or between,
    `name`, `person`, `alias` and `kind` equal to one or in several, `name` and `alias` not null.

    >>> found = bounds_of((pl.col("name") == "Signed Up") & (pl.col("revision") > 7))
    >>> found.after, sorted(found.names), [kind.__name__ for kind in found.kinds]
    (7, ['signed up'], ['Event'])
    """
    # Polars tells the inputs of an expression and not what it does with them. So do each thing and compare.
    parts = predicate.meta.pop()[::-1] if depth < _DEEPEST else []
    if len(parts) == 1 and parts[0].is_not_null().meta.eq(predicate):
        return _of_texts(parts[0], None)
    if len(parts) == 2:
        return _of_two(predicate, parts[0], parts[1], depth)
    if len(parts) == 3:
        return _of_between(predicate, parts)
    return Bounds(kinds=frozenset()) if _is_false(predicate) else _ANY


def _of_two(predicate: pl.Expr, one: pl.Expr, other: pl.Expr, depth: int) -> Bounds:
    if (one & other).meta.eq(predicate):
        return bounds_of(one, depth + 1) & bounds_of(other, depth + 1)
    if (one | other).meta.eq(predicate):
        return bounds_of(one, depth + 1) | bounds_of(other, depth + 1)
    if one.is_in(other).meta.eq(predicate):
        return _of_texts(one, _texts(other))
    for compare, exchanged in _EXCHANGED.items():
        if compare(one, other).meta.eq(predicate):
            return _of_comparison(one, compare, other) & _of_comparison(other, exchanged, one)
    return _ANY


def _is_false(predicate: pl.Expr) -> bool:
    # What can't be true, such as `is_in([])`, arrives so.
    return predicate.meta.is_literal() and pl.select(predicate).to_series().to_list() == [False]


def _of_between(predicate: pl.Expr, parts: Sequence[pl.Expr]) -> Bounds:
    value, low, high = parts
    for closed, at_least, at_most in (
        ("both", operator.ge, operator.le),
        ("left", operator.ge, operator.lt),
        ("right", operator.gt, operator.le),
        ("none", operator.gt, operator.lt),
    ):
        if value.is_between(low, high, closed=closed).meta.eq(predicate):  # type: ignore[arg-type]
            return _of_comparison(value, at_least, low) & _of_comparison(value, at_most, high)
    return _ANY


def _of_comparison(column: pl.Expr, compare: Callable[[Any, Any], Any], literal: pl.Expr) -> Bounds:
    if not literal.meta.is_literal():
        return _ANY
    value = pl.select(literal).to_series()
    if len(value) != 1 or value.null_count():
        return _ANY
    if isinstance(value.dtype, pl.Datetime):
        zone = value.dtype.time_zone
        if zone is None or not (_is_column(column, "time") or _in_zone(zone).meta.eq(column)):
            return _ANY
        # Some versions of Polars compare the literal as it is, some cut it to milliseconds first: be right for both.
        finer = _A_SECOND[value.dtype.time_unit] // 1000
        low, high = value.to_physical().item() // finer, -(-value.to_physical().item() // finer)
        return _ANY & Bounds(start=_first(compare, low, 1000), end=_behind(compare, high, 1000))
    if value.dtype.is_integer() and _is_column(column, "revision"):
        return Bounds(after=max(_first(compare, value.item(), 1) - 1, 0))
    return _of_texts(column, _texts(literal)) if compare is operator.eq else _ANY


def _is_column(expression: pl.Expr, name: str) -> bool:
    return expression.meta.is_column() and expression.meta.output_name() == name


def _in_zone(zone: str) -> pl.Expr:
    return pl.col("time").dt.convert_time_zone(zone)


def _first(compare: Callable[[Any, Any], Any], value: int, unit: int) -> int:
    """The first integer n for which n times the unit compares so with the value."""
    at_or_above = -(-value // unit)
    first = {operator.eq: at_or_above, operator.ge: at_or_above, operator.gt: value // unit + 1}
    return first.get(compare, FIRST_TIMESTAMP)


def _behind(compare: Callable[[Any, Any], Any], value: int, unit: int) -> int:
    """The integer behind the last n for which n times the unit compares so with the value."""
    below = value // unit
    behind = {operator.eq: below + 1, operator.le: below + 1, operator.lt: -(-value // unit)}
    return behind.get(compare, LAST_TIMESTAMP + 1)


def _texts(literal: pl.Expr) -> set[str] | None:
    """The texts of a literal; None where it is none, or holds something else."""
    if not literal.meta.is_literal():
        return None
    values = pl.select(literal).to_series()
    if isinstance(values.dtype, pl.List):
        values = values.explode()
    # No text equals null, so one that is compared with it bounds the rows to none.
    return set(values.cast(pl.String).drop_nulls()) if values.dtype in _TEXTS else None


_TEXTS: Final = (pl.String, pl.Categorical, pl.Enum, pl.Null)


def _of_texts(column: pl.Expr, texts: set[str] | None) -> Bounds:
    """The bounds of rows where the column has one of the texts; None: any text."""
    name = column.meta.output_name() if column.meta.is_column() else None
    if name == "name":
        return Bounds(names=None if texts is None else frozenset(map(fold_name, texts)), kinds=frozenset({Event}))
    if name == "alias":
        return Bounds(kinds=frozenset({Alias}))
    if name == "person" and texts is not None:
        return Bounds(persons=frozenset(texts))
    if name == "kind" and texts is not None:
        return Bounds(kinds=frozenset(_CLASSES[text] for text in texts & _CLASSES.keys()))
    return _ANY
