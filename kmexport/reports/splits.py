"""Results in parts: by the periods of a zone, by the values of a property, by both, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from attrs import define, field, frozen

from kmexport.reports.asking import property_name
from kmexport.reports.occurrences import Cut, cut_into_periods, in_periods, valued
from kmexport.reports.periods import Every
from kmexport.reports.results import ALL, Choice, Persons, Result, check_choice
from kmexport.tables import Facts
from kmexport.windows import Window, Zone


@frozen
class Part:
    """One part of a split: `label` is the period's (None without `every=`), `value` the property's (None for none)."""

    label: str | None
    value: str | None


P = TypeVar("P", bound=Part)


@define
class Splitting:
    """What a report is split by; its names and periods are in the params of the query."""

    facts: Facts
    params: dict[str, object]
    labels: list[str]
    cut: Cut | None
    by: bool

    @classmethod
    def of(
        cls,
        facts: Facts,
        source: str,
        params: dict[str, object],
        *,
        window: Window | None,
        by: str | None,
        every: Every | None,
        tz: Zone,
    ) -> Splitting:
        """`source` is the query whose rows the periods have to cover where there is no window."""
        if by is not None:
            params["by"] = property_name(facts, by)
        periods, cut = cut_into_periods(facts, source, params, window=window, every=every, tz=tz)
        return cls(facts, params, [period.label for period in periods], cut, by is not None)

    def measure(
        self,
        query: Callable[[Pieces], str],
        make: Callable[..., P],
        numbers: str,
        zeros: tuple[object, ...],
        *,
        adds_up: bool,
    ) -> Measured[P]:
        """The numbers of the whole, and a row for each period and value.

        Where the rows of the parts are those of the whole (`adds_up`), one query counts both.
        """
        whole, parts = Pieces(cut=None, by=False), Pieces(cut=self.cut, by=self.by)
        behind, behind_parts = (Persons(self.facts, query(pieces), self.params) for pieces in (whole, parts))
        if whole == parts:
            [total] = behind.groups("", numbers)
            return Measured(behind, behind_parts, total, ())
        if adds_up:
            total, groups = behind_parts.groups_and_all("period, value", numbers)
        else:
            [total] = behind.groups("", numbers)
            groups = behind_parts.groups("period, value", numbers)
        return Measured(behind, behind_parts, total, self._rows(groups, make, zeros))

    def _rows(
        self, groups: Sequence[tuple[Any, ...]], make: Callable[..., P], zeros: tuple[object, ...]
    ) -> tuple[P, ...]:
        """The values with most in them first; zeros where nothing happened."""
        found = {(period, value): rest for period, value, *rest in groups}
        size: dict[str | None, float] = {} if self.by else {None: 0}
        for (_, value), (first, *_) in found.items():
            size[value] = size.get(value, 0) + (first or 0)
        values = sorted(size, key=lambda value: (-size[value], value is None, value or ""))
        labels: list[str | None] = [*self.labels] if self.cut is not None else [None]
        return tuple(
            make(label, value, *found.get((number, value), zeros))
            for (number, label), value in product(enumerate(labels), values)
        )


@frozen
class Measured(Generic[P]):
    """The queries of the whole and of the parts, and their numbers."""

    whole: Persons
    parts: Persons
    numbers: tuple[Any, ...]
    rows: tuple[P, ...]


@frozen
class Pieces:
    """Which pieces a query is built of: cut into periods or not, with values or without."""

    cut: Cut | None
    by: bool

    def in_periods(self, source: str) -> str:
        return in_periods(source, self.cut)

    def valued(self, source: str) -> str:
        return valued(source, by=self.by)


@define(repr=False, kw_only=True)
class SplitResult(Result):
    """The base of results that may be split. `by` and `every` are what was asked for; `rows` has the parts."""

    _parts: Persons = field(repr=False, eq=False)
    by: str | None
    every: str | None
    if TYPE_CHECKING:  # each report has rows of its own
        rows: Sequence[Part]

    @property
    def is_split(self) -> bool:
        """Whether the report was asked for in parts."""
        return self.by is not None or self.every is not None

    def _people(self, label: Choice, value: Choice, condition: str = "true", **params: object) -> list[str]:
        """The persons of one part, or of all."""
        if label is ALL and value is ALL:
            return self._behind.where(condition, **params)
        parts = self.rows
        labels = list(dict.fromkeys(part.label for part in parts))
        check_choice("period", label, labels)
        check_choice("value", value, list(dict.fromkeys(part.value for part in parts)))
        if label is not ALL:
            condition, params = f"({condition}) and period = $period", {**params, "period": labels.index(label)}
        if value is not ALL:
            condition, params = f"({condition}) and value is not distinct from $value", {**params, "value": value}
        return self._parts.where(condition, **params)

    def _series(self, number: Callable[[Any], float | None]) -> tuple[list[str | None], dict[str | None, list[Any]]]:
        """For a picture: the labels, and for each value the numbers of its rows."""
        series: dict[str | None, list[Any]] = {}
        for part in self.rows:
            series.setdefault(part.value, []).append(number(part))
        return list(dict.fromkeys(part.label for part in self.rows)), series

    def _split_columns(self) -> list[tuple[str, list[str | None]]]:
        """The columns that name the parts."""
        parts = self.rows
        columns: list[tuple[str, list[str | None]]] = []
        if self.every is not None:
            columns.append((self.every, [part.label for part in parts]))
        if self.by is not None:
            columns.append((self.by, [part.value for part in parts]))
        return columns
