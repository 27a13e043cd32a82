"""Which records are wanted: their kinds, and the names of events."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import frozen

from kmexport.format.hashes import UNSET, Head
from kmexport.names import fold_name
from kmexport.reading.pushdown import LineFilter, alias_filter, name_filter, no_event_filter
from kmexport.records import Alias, Event, PropertySet, Record

__all__ = ["Selection", "check_selection"]

_KINDS = (Event, PropertySet, Alias)


@frozen
class Selection:
    """Which records are wanted, and how lines are passed over that hold none. Where names are given, only events."""

    kinds: tuple[type[Record], ...]
    names: frozenset[str] | None  # folded
    is_wanted: Callable[[Head], bool]
    line_filter: LineFilter | None

    def chosen(self, records: Iterable[Record]) -> list[Record]:
        """Those that come out."""
        kinds, names = self.kinds, self.names
        found = [record for record in records if isinstance(record, kinds)]
        if names is None:
            return found
        return [record for record in found if isinstance(record, Event) and fold_name(record.name) in names]


def check_selection(
    kinds: type[Record] | Iterable[type[Record]] | None, names: str | Iterable[str] | None
) -> Selection | None:
    """The wanted classes and names, None for all; TypeError for other classes."""
    if kinds is None and names is None:
        return None
    kinds = (kinds,) if isinstance(kinds, type) else _KINDS if kinds is None else tuple(kinds)
    for kind in kinds:
        if kind not in _KINDS:
            msg = f"kinds are Event, PropertySet and Alias, not {kind!r}"
            raise TypeError(msg)
    wanted = None
    if names is not None:
        wanted = frozenset(fold_name(name) for name in ([names] if isinstance(names, str) else names))
        kinds = tuple(kind for kind in kinds if kind is Event)
    return Selection(kinds, wanted, _head_test(kinds, wanted), _filter_for(kinds, wanted))


def _filter_for(kinds: tuple[type[Record], ...], names: frozenset[str] | None) -> LineFilter | None:
    if Event in kinds:
        # Most lines are events: where all of them are wanted, passing over the others would cost more than it saves.
        return None if names is None else name_filter(names)
    if PropertySet in kinds:
        return no_event_filter()
    return alias_filter() if Alias in kinds else None


def _head_test(kinds: tuple[type[Record], ...], names: frozenset[str] | None) -> Callable[[Head], bool]:
    if names is not None:
        return lambda head: head.name is not UNSET and Event in kinds and fold_name(head.name) in names
    wants_events, wants_sets, wants_aliases = (kind in kinds for kind in _KINDS)

    def is_wanted(head: Head) -> bool:
        if head.name is not UNSET:
            return wants_events
        return wants_aliases if head.alias is not UNSET else wants_sets

    return is_wanted
