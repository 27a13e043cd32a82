"""One stream → records."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, TypeAlias

from attrs import frozen

from kmexport.errors import MalformedRecordError
from kmexport.format.hashes import FIRST_TIMESTAMP, LAST_TIMESTAMP, UNSET
from kmexport.names import fold_name
from kmexport.reading.blocks import Source, check_source, iter_blocks
from kmexport.reading.lines import Batch, Demand, LineCounts, WholeBatch, judge_again, parse_blocks
from kmexport.reading.pushdown import LineFilter, alias_filter, name_filter, no_event_filter
from kmexport.records import Alias, Event, PropertySet, Record

__all__ = ["MAX_LINE_BYTES", "OnError", "iter_records", "read_stream"]

MAX_LINE_BYTES = 64 << 20

OnError: TypeAlias = Literal["raise", "skip"] | Callable[[MalformedRecordError], object]

_KINDS = (Event, PropertySet, Alias)

logger = logging.getLogger("kmexport")


def iter_records(
    source: Source,
    *,
    kinds: type[Record] | Iterable[type[Record]] | None = None,
    names: str | Iterable[str] | None = None,
    on_error: OnError = "raise",
    max_line_bytes: int = MAX_LINE_BYTES,
) -> Iterator[Record]:
    r"""The records of one revision, in the order of its lines.

    `source` is an open binary file, or an iterable of lines (bytes or str). `kinds` are the record classes wanted,
    `names` the names of the events wanted (compared without case, with commas and colons as spaces; only such
    events come out). Where names are given, or kinds without Event, lines that can't hold one are passed over before
    they are parsed, malformed or not.

    What a line needs is done and counted: a byte-order mark, CRLF and blank lines are passed over, octal escapes
    become the text they stand for, `_t` in a string or as a whole float becomes an int, a hash over several
    lines and a file that is one array are read. A line that is no record all the same costs one
    `MalformedRecordError`: `on_error="raise"` raises it, `"skip"` goes on and logs one warning with the
    count, a callable gets each error and the reader goes on. A line of more than `max_line_bytes` bytes is malformed.

    Lazy: reads 64 KiB at a time (of lines: one, then more and more up to that). Holds what it has
    read ahead and nothing of what it gave: memory does not grow with the file, only with its longest line.

    >>> lines = [
    ...     rb'{"_n":"signed up","_p":"bob","_t":1349222400,"city":"Paran\303\241"}',
    ...     rb'{"_p":"bob","_p2":"qFq2LweZugFNE4o49hLhmRPBW34=","_t":1349222401}',
    ...     rb'{"_p":"bob","_t":13492',
    ... ]
    >>> for record in iter_records(lines, on_error="skip"):
    ...     print(record)
    Event(person='bob', timestamp=1349222400, name='signed up', properties={'city': 'Paraná'})
    Alias(person='bob', timestamp=1349222401, alias='qFq2LweZugFNE4o49hLhmRPBW34=')
    """
    check_source(source)
    check_policy(on_error, max_line_bytes)
    selection = check_selection(kinds, names)
    return read_stream(source, _source_name(source), on_error, max_line_bytes, LineCounts(), selection=selection)


def check_policy(on_error: OnError, max_line_bytes: int) -> None:
    """Raise ValueError for a policy that does not exist."""
    if not callable(on_error) and on_error not in ("raise", "skip"):
        msg = f'on_error is "raise", "skip" or a callable, not {on_error!r}'
        raise ValueError(msg)
    if max_line_bytes < 1:
        msg = f"max_line_bytes is at least 1, not {max_line_bytes}"
        raise ValueError(msg)


@frozen
class Selection:
    """Which records are wanted, and how lines are passed over that hold none. Where names are given, only events."""

    kinds: tuple[type[Record], ...]
    names: frozenset[str] | None  # folded
    line_filter: LineFilter | None  # for exactly these

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
    return Selection(kinds, wanted, _filter_for(kinds, wanted))


def _filter_for(kinds: tuple[type[Record], ...], names: frozenset[str] | None) -> LineFilter | None:
    if Event in kinds:
        # Most lines are events: where all of them are wanted, passing over the others would cost more than it saves.
        return None if names is None else name_filter(names, fold_name)
    if PropertySet in kinds:
        return no_event_filter(with_aliases=Alias in kinds)
    return alias_filter() if Alias in kinds else None


def read_stream(
    source: Source,
    source_name: str,
    on_error: OnError,
    max_line_bytes: int,
    counts: LineCounts,
    *,
    selection: Selection | None = None,
) -> Iterator[Record]:
    """Every record of a stream, or the wanted ones.

    Errors go the way of `on_error`, and the log says what was repaired and skipped.
    """
    errors = _Errors(on_error)
    demand = Demand()
    blocks = iter_blocks(source, max_line_bytes)
    line_filter = selection.line_filter if selection is not None else None
    try:
        for outcome in parse_blocks(blocks, source_name, counts, max_line_bytes, demand, line_filter=line_filter):
            if isinstance(outcome, MalformedRecordError):
                errors.handle(outcome)
                continue
            records = _unread_records(outcome) if isinstance(outcome, Batch) else _whole_records(outcome)
            if records is None:
                records = []
                for again in judge_again(outcome, source_name, counts):
                    if isinstance(again, MalformedRecordError):
                        yield from _chosen(records, selection)
                        records = []
                        errors.handle(again)
                    else:
                        records += _unread_records(again) or ()
            if not (isinstance(outcome, Batch) and outcome.is_sifted):
                records = _chosen(records, selection)
            yield from records
            if isinstance(outcome, Batch) and records and not (records[0]._text or records[-1]._text):
                # The properties were asked for: parsing lines whole at once costs half as much as parsing them
                # in two steps. Now and then a block is read the other way again, to see whether they still are.
                demand.whole_blocks = 31
    finally:
        errors.log(source_name, counts)


def _chosen(records: list[Record], selection: Selection | None) -> list[Record]:
    return records if selection is None else selection.chosen(records)


# These loops run once a record. Filling the slots here saves the call of __init__ (measured: up to 0.1 µs of 0.8), and
# a list for each block costs no more than a generator frame.


def _unread_records(batch: Batch) -> list[Record] | None:
    """Records that parse their properties when they are asked for; None if a line is both an event and an alias."""
    new = object.__new__
    unset = UNSET
    records: list[Record] = []
    add = records.append
    for head, text in zip(batch.heads, batch.texts, strict=True):
        name = head.name
        alias = head.alias
        if name is not unset:
            if alias is not unset:
                return None
            event = new(Event)
            event.person = head.person
            event.timestamp = head.timestamp
            event.name = name
            event._text = text  # type: ignore[misc]  # a slot of the base
            add(event)
        elif alias is not unset:
            link = new(Alias)
            link.person = head.person
            link.timestamp = head.timestamp
            link.alias = alias
            link._text = text  # type: ignore[misc]  # a slot of the base
            add(link)
        else:
            properties = new(PropertySet)
            properties.person = head.person
            properties.timestamp = head.timestamp
            properties._text = text  # type: ignore[misc]  # a slot of the base
            add(properties)
    return records


def _whole_records(batch: WholeBatch) -> list[Record] | None:
    """Records with their properties; None if a line is no record, or needs the judge to make it one."""
    new = object.__new__
    first, last = FIRST_TIMESTAMP, LAST_TIMESTAMP
    records: list[Record] = []
    add = records.append
    for found in batch.objects:
        try:
            person, timestamp = found["_p"], found["_t"]
        except KeyError:
            return None
        if type(person) is not str or type(timestamp) is not int or not first <= timestamp <= last:
            return None
        record: Record
        if "_n" in found:
            name = found["_n"]
            if type(name) is not str or "_p2" in found:
                return None
            del found["_n"]
            record = new(Event)
            record.name = name
        elif "_p2" in found:
            alias = found["_p2"]
            if type(alias) is not str:
                return None
            del found["_p2"]
            record = new(Alias)
            record.alias = alias
        else:
            record = new(PropertySet)
        del found["_p"], found["_t"]
        record.person = person
        record.timestamp = timestamp
        record.properties = found
        add(record)
    return records


class _Errors:
    """The one place where a malformed line is raised, skipped or handed over."""

    def __init__(self, on_error: OnError) -> None:
        self.on_error = on_error
        self.first: MalformedRecordError | None = None
        self.count = 0

    def handle(self, error: MalformedRecordError) -> None:
        if self.on_error == "raise":
            raise error
        self.count += 1
        self.first = self.first or error
        if callable(self.on_error):
            self.on_error(error)

    def log(self, source_name: str, counts: LineCounts) -> None:
        if counts.repaired:
            logger.info("%s: %d of %d lines were repaired", source_name, counts.repaired, counts.lines)
        if self.first is not None and self.on_error == "skip":
            logger.warning(
                "%s: %d of %d lines were skipped, the first is line %d: %s",
                source_name,
                self.count,
                counts.lines,
                self.first.line_number,
                self.first.reason,
            )


def _source_name(source: object) -> str:
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "<stream>"
