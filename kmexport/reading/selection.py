"""Which records are wanted: their kinds, the names of events, and whose they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias, TypeVar, overload

from attrs import frozen

from kmexport.format.hashes import Head
from kmexport.names import fold_name
from kmexport.reading.pushdown import (
    LineFilter,
    alias_filter,
    either_filter,
    name_filter,
    no_event_filter,
    people_filter,
)
from kmexport.records import Alias, Event, PropertySet, Record

__all__ = ["Kinds", "Names", "People", "Selection", "check_selection", "names_and_aliases", "select"]

Kinds: TypeAlias = type[Record] | Iterable[type[Record]] | None
Names: TypeAlias = str | Iterable[str] | None
People: TypeAlias = str | Iterable[str] | None
_R = TypeVar("_R", bound=Record)

_KINDS = (Event, PropertySet, Alias)


@overload
def select(
    records: Iterable[Record], *, kinds: Kinds = None, names: str | Iterable[str], people: People = None
) -> Iterator[Event]: ...
@overload
def select(
    records: Iterable[Record], *, kinds: type[_R] | Iterable[type[_R]], names: None = None, people: People = None
) -> Iterator[_R]: ...
@overload
def select(records: Iterable[_R], *, kinds: None = None, names: None = None, people: People = None) -> Iterator[_R]: ...
@overload
def select(
    records: Iterable[Record], *, kinds: Kinds = None, names: Names = None, people: People = None
) -> Iterator[Record]: ...
def select(records: Iterable[Any], *, kinds: Any = None, names: Names = None, people: People = None) -> Iterator[Any]:
    """Only the records of these kinds, the events of these names, of these people; without all three, all of them.

    The same as the arguments of `iter_records`, as a step: `kinds` are record classes, and `names` the names of events,
    compared without case, with commas and colons as spaces; only such events come out. `people` are identities as they
    stand in the records: of their persons, or the other identity of an alias. Where records are read for nothing else,
    give the arguments to `iter_records` instead: then other lines are passed over before they are parsed. Holds
    nothing. Raises TypeError for other kinds, at the call.

    >>> from kmexport import Bucket
    >>> sum(1 for event in select(Bucket.sample().iter_records(), names="signed up"))
    168
    """
    selection = check_selection(kinds, names, people)
    if selection is None:
        return iter(records)
    return (record for record in records if selection.chosen([record]))


@frozen
class Selection:
    """Which records are wanted, and how lines are passed over that hold none. Where names are given, only events."""

    kinds: tuple[type[Record], ...]
    names: frozenset[str] | None  # folded
    people: frozenset[str] | None
    is_wanted: Callable[[Head], bool]
    line_filter: LineFilter | None

    def chosen(self, records: Iterable[Record]) -> list[Record]:
        """Those that come out."""
        kinds, names, people = self.kinds, self.names, self.people
        found = [record for record in records if isinstance(record, kinds)]
        if people is not None:
            found = [record for record in found if record.person in people or _other_identity(record) in people]
        if names is None:
            return found
        return [record for record in found if isinstance(record, Event) and fold_name(record.name) in names]


def check_selection(kinds: Kinds, names: Names, people: People = None) -> Selection | None:
    """The wanted classes, names and people, None for all; TypeError for other classes."""
    if kinds is None and names is None and people is None:
        return None
    given = kinds
    kinds = _KINDS if kinds is None else tuple(kinds) if isinstance(kinds, Iterable) else (kinds,)
    for kind in kinds:
        if kind not in _KINDS:
            msg = (
                f"kinds are the classes Event, PropertySet and Alias (kinds=Event, kinds=[Event, Alias]), not {given!r}"
            )
            raise TypeError(msg)
    wanted = None
    if names is not None:
        wanted = frozenset(map(fold_name, _check_texts(names, "names are strings, the names of events")))
        kinds = tuple(kind for kind in kinds if kind is Event)
    whose = None if people is None else frozenset(_check_texts(people, "people are strings, their identities"))
    return Selection(kinds, wanted, whose, _head_test(kinds, wanted, whose), _filter_for(kinds, wanted, whose))


def names_and_aliases(names: frozenset[str]) -> Selection:
    """Select the events of these names, which are folded, and all aliases: what Facts of some events are made of."""

    def is_wanted(head: Head) -> bool:
        return head.alias is not None or (head.name is not None and fold_name(head.name) in names)

    of_names = name_filter(names)
    line_filter = None if of_names is None else either_filter(of_names, alias_filter())
    return Selection((Event, Alias), None, None, is_wanted, line_filter)


def _check_texts(texts: Any, what: str) -> list[str]:
    asked: list[Any] = [texts] if isinstance(texts, str | bytes) or not isinstance(texts, Iterable) else list(texts)
    for text in asked:
        if not isinstance(text, str):
            msg = f"{what}, not {text!r}"
            raise TypeError(msg)
    return asked


def _other_identity(record: Record) -> str | None:
    return record.alias if isinstance(record, Alias) else None


def _filter_for(
    kinds: tuple[type[Record], ...], names: frozenset[str] | None, people: frozenset[str] | None
) -> LineFilter | None:
    if people is not None and (of_people := people_filter(people)) is not None:
        return of_people  # of all conditions the one that leaves the fewest lines
    if Event in kinds:
        # Most lines are events: where all of them are wanted, passing over the others would cost more than it saves.
        return None if names is None else name_filter(names)
    if PropertySet in kinds:
        return no_event_filter()
    return alias_filter() if Alias in kinds else None


def _head_test(
    kinds: tuple[type[Record], ...], names: frozenset[str] | None, people: frozenset[str] | None
) -> Callable[[Head], bool]:
    wants_events, wants_sets, wants_aliases = (kind in kinds for kind in _KINDS)

    def is_wanted_kind(head: Head) -> bool:
        if head.name is not None:
            return wants_events and (names is None or fold_name(head.name) in names)
        return wants_aliases if head.alias is not None else wants_sets

    if people is None:
        return is_wanted_kind
    return lambda head: (head.person in people or head.alias in people) and is_wanted_kind(head)
