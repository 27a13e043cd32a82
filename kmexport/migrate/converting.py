"""Records → the lines of a target: the loop that all targets share, its counts, and where errors go."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Literal, Protocol, TypeAlias, TypedDict, cast

import msgspec
from attrs import define, field

from kmexport.identities import IdentityMap
from kmexport.migrate.ids import Rule, line_id
from kmexport.migrate.lines import Endpoint, Line
from kmexport.migrate.refusals import MigrationError, Refused
from kmexport.migrate.rules import Mended, Rules, check_identity, check_name, check_time, prepare_properties
from kmexport.moments import time_at
from kmexport.names import fold_name
from kmexport.reading import check_policy
from kmexport.records import Alias, Event, PropertySet, Record
from kmexport.windows import Moment, as_timestamp

__all__ = ["Form", "MigrationCounts", "OnError", "Options", "Said", "convert", "iso_time", "known_aliases"]

logger: logging.Logger = logging.getLogger("kmexport")

OnError: TypeAlias = Literal["raise", "skip"] | Callable[[MigrationError], object]


@define
class MigrationCounts:
    """What became of records on the way to a target: give one as `counts=`, and it is added to.

    `passed` records have nothing to say there: an alias of a person to themselves, a property set in which there is no
    value. Every record is counted: `records == lines + rejected + passed`. `renamed` properties got `km_` before
    their name, since it means something else there; `replaced` counts texts in which NUL or half of a surrogate pair
    became U+FFFD, and numbers that are sent as text so that no digit is lost; `shortened` values are longer than the
    target keeps.

    >>> from kmexport.migrate import mixpanel
    >>> counts = MigrationCounts()
    >>> signup = Event("bob", 1349222400, "signed up", {"time": "noon"})
    >>> lines = list(mixpanel([signup], token="T", counts=counts))
    >>> counts.records, counts.lines, counts.renamed
    (1, 1, 1)
    """

    records: int = 0
    lines: int = 0
    rejected: int = 0
    passed: int = 0
    renamed: int = 0
    replaced: int = 0
    shortened: int = 0


class Options(TypedDict, total=False):
    """The arguments that all targets share."""

    rule: Rule
    spelling: Callable[[str], str]
    on_error: OnError
    counts: MigrationCounts | None


@define
class Said:
    """What a record says, checked: the rest of a line is the target's form."""

    person: str
    timestamp: int
    id: str
    name: str = ""
    alias: str = ""
    properties: dict[str, Any] | None = None


class Form(Protocol):
    """How a target writes each kind of record."""

    def event(self, said: Said) -> tuple[Endpoint, dict[str, Any]]: ...
    def property_set(self, said: Said) -> tuple[Endpoint, dict[str, Any]]: ...
    def alias(self, said: Said) -> tuple[Endpoint, dict[str, Any]]: ...


def convert(
    records: Iterable[Record],
    rules: Rules,
    form: Form,
    *,
    most_event_properties: int | None = None,
    most_person_properties: int | None = None,
    rule: Rule = "classic",
    spelling: Callable[[str], str] = fold_name,
    on_error: OnError = "raise",
    counts: MigrationCounts | None = None,
) -> Iterator[Line]:
    """The lines of records; arguments are checked at once."""
    if rule not in ("classic", "strict"):
        msg = f'rule is "classic" or "strict", not {rule!r}'
        raise ValueError(msg)
    check_policy(cast("Any", on_error), 1)
    _check("spelling", "a function of a name", spelling, callable(spelling))
    _check("counts", "a MigrationCounts", counts, isinstance(counts, MigrationCounts | None))
    writer = _Writer(rules, form, most_event_properties, most_person_properties, rule, spelling, time.time())
    return _convert(records, writer, on_error, counts if counts is not None else MigrationCounts())


def _check(name: str, what: str, value: object, is_right: bool) -> None:
    if not is_right:
        msg = f"{name} is {what}, not {value!r}"
        raise TypeError(msg)


def _convert(records: Iterable[Record], writer: _Writer, on_error: OnError, counts: MigrationCounts) -> Iterator[Line]:
    skipped = 0
    first = None
    try:
        for record in records:
            counts.records += 1
            try:
                line = writer.line(record)
            except Refused as refused:
                counts.rejected += 1
                error = MigrationError(writer.rules.target, record, str(refused))
                if on_error == "raise":
                    raise error from refused
                if callable(on_error):
                    on_error(error)
                else:
                    skipped += 1
                    first = first or error
                continue
            if line is None:
                counts.passed += 1
                continue
            counts.lines += 1
            counts.renamed += writer.mended.renamed
            counts.replaced += writer.mended.replaced
            counts.shortened += writer.mended.shortened
            yield line
    finally:
        if first is not None:
            logger.warning("%s: %d records were skipped, the first one: %s", first.target, skipped, first.reason)


@define
class _Writer:
    """One record at a time → its line; `mended` says what was changed in the last one."""

    rules: Rules
    form: Form
    most_event_properties: int | None
    most_person_properties: int | None
    rule: Rule
    spelling: Callable[[str], str]
    now: float
    mended: Mended = field(factory=Mended)

    def line(self, record: Record) -> Line | None:
        self.mended = Mended()
        _check("each record", "an Event, a PropertySet or an Alias", record, type(record) in _KINDS)
        if isinstance(record, Alias) and record.alias == record.person:
            return None
        person = check_identity(self.rules, record.person, "person")
        timestamp = check_time(self.rules, record.timestamp, self.now)
        said = Said(person, timestamp, "")
        if isinstance(record, Event):
            said.name = check_name(self.rules, record.name, self.spelling, self.mended)
            said.properties = self._properties(record, self.most_event_properties)
            write = self.form.event
        elif isinstance(record, PropertySet):
            said.properties = self._properties(record, self.most_person_properties)
            if not said.properties:
                return None
            write = self.form.property_set
        else:
            said.alias = check_identity(self.rules, record.alias, "alias")
            write = self.form.alias
        said.id = line_id(record, self.rule)
        endpoint, found = write(said)
        text = msgspec.json.encode(found)
        if len(text) > endpoint.max_line_bytes:
            reason = f"the line has {len(text):,} bytes, more than {endpoint.max_line_bytes:,}"
            raise Refused(reason)
        return Line(endpoint, text)

    def _properties(self, record: Event | PropertySet, most: int | None) -> dict[str, Any]:
        return prepare_properties(self.rules, record.properties, self.spelling, self.mended, most)


_KINDS: Final = frozenset({Event, PropertySet, Alias})


def iso_time(timestamp: int) -> str:
    """The second in UTC, as ISO 8601.

    >>> iso_time(1349222400)
    '2012-10-03T00:00:00Z'
    """
    return time_at(timestamp).isoformat().removesuffix("+00:00") + "Z"


def known_aliases(people: IdentityMap, at: Moment) -> Iterator[Alias]:
    """An alias for every identity that is not its person's name: who is who, as records that a target can take.

    `merge_identities` leaves no line that names a person's other identities as they were, so the aliases of a
    migration come from the map. An alias holds for all time, and a target wants one: `at` is an aware datetime or unix
    seconds. In the order of names, then identities: the same in every run. Raises ValueError for a naive datetime.

    >>> people = IdentityMap()
    >>> people.link_pairs([("a", "b"), ("b", "c")])
    >>> [(alias.person, alias.alias) for alias in known_aliases(people, at=1349222400)]
    [('a', 'b'), ('a', 'c')]
    """
    return _known_aliases(people, as_timestamp(at))


def _known_aliases(people: IdentityMap, timestamp: int) -> Iterator[Alias]:
    for name in people.people():
        for identity in sorted(people.identities_of(name) - {name}):
            yield Alias(name, timestamp, identity)
