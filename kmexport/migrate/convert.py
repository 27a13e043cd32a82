"""Convert records into the lines of a target: the loop that all targets share, its ids and counts, and its errors."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Literal, Protocol, TypeAlias, TypedDict, cast
from uuid import UUID, uuid5

import msgspec
from attrs import define, field, fields

from kmexport.arguments import check_list, check_type
from kmexport.format.names import VENDOR_KEYS, fold_name
from kmexport.migrate.requests import Endpoint, Line
from kmexport.migrate.rules import (
    Changes,
    MigrationError,
    RejectedByTarget,
    Rules,
    check_event_name,
    check_identity,
    check_time,
    prepare_properties,
)
from kmexport.parsing.records import check_policy
from kmexport.records import Alias, Event, PropertySet, Record
from kmexport.steps.duplicates import Rule, canonical_form, check_rule
from kmexport.steps.identities import IdentityMap
from kmexport.windows import Moment, as_timestamp, time_at

logger: logging.Logger = logging.getLogger("kmexport")

OnRejected: TypeAlias = Literal["raise", "skip"] | Callable[[MigrationError], object]

# Made once, by chance. Another one would make every id another.
_NAMESPACE: Final = UUID("5ccfc2c0-aad4-4ac0-afad-998ad7f51ca2")


@define
class MigrationCounts:
    """Counts of records on the way to a target, sent or left out: give one as `counts=`, and it is added to.

    `passed` records have nothing to say there: an alias of identities that are joined already, a property set in which
    there is no value. At the end every record is counted: `records == lines + rejected + passed`.

    Properties: `renamed` ones got `km_` before their name, since it means something else there. `second_spellings`
    are left out: of two spellings of a name in one record the first counts. Values: `replaced` counts texts in which
    NUL or half of a surrogate pair became U+FFFD, and numbers that are sent as text so that no digit is lost;
    `shortened` ones are longer than the target keeps. `overfull` records have more properties than the target keeps.

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
    second_spellings: int = 0
    overfull: int = 0


class Options(TypedDict, total=False):
    """The arguments that all targets share."""

    rule: Rule
    spelling: Callable[[str], str]
    on_error: OnRejected
    counts: MigrationCounts | None


@define
class LineContent:
    """The checked content of a record, which a target puts into its own form."""

    person: str
    timestamp: int
    id: str
    name: str = ""
    alias: str = ""
    properties: dict[str, Any] = field(factory=dict)


class Target(Protocol):
    """The form of each kind of record at a target."""

    def event(self, content: LineContent) -> tuple[Endpoint, dict[str, Any]]: ...
    def property_set(self, content: LineContent) -> tuple[Endpoint, dict[str, Any]]: ...
    def alias(self, content: LineContent) -> tuple[Endpoint, dict[str, Any]]: ...


def convert(
    records: Iterable[Record],
    rules: Rules,
    target: Target,
    *,
    rule: Rule = "classic",
    spelling: Callable[[str], str] = fold_name,
    on_error: OnRejected = "raise",
    counts: MigrationCounts | None = None,
) -> Iterator[Line]:
    """Convert records into lines; arguments are checked at once."""
    check_rule(rule)
    check_list("records", records, "records")
    check_policy(cast("Any", on_error), 1)
    _check("spelling", "a function of a name", spelling, callable(spelling))
    _check("counts", "a MigrationCounts", counts, isinstance(counts, MigrationCounts | None))
    counts = counts if counts is not None else MigrationCounts()
    converter = _Converter(rules, target, rule, spelling, counts, time.time())
    return _aliases_last(_convert(records, converter, on_error), counts)


def _check(name: str, what: str, value: object, is_right: bool) -> None:
    if not is_right:
        msg = f"{name} is {what}, not {value!r}"
        raise TypeError(msg)


def _aliases_last(lines: Iterable[tuple[Line, bool]], counts: MigrationCounts) -> Iterator[Line]:
    """Put the lines of aliases after all others.

    A target dates a person by the first line that names them, and an alias has no time of its own.
    """
    held = []
    for line, is_alias in lines:
        if is_alias:
            held.append(line)
            continue
        counts.lines += 1
        yield line
    for line in held:
        counts.lines += 1
        yield line


def _convert(records: Iterable[Record], converter: _Converter, on_error: OnRejected) -> Iterator[tuple[Line, bool]]:
    counts = converter.counts
    skipped = 0
    first = None
    try:
        for record in records:
            counts.records += 1
            try:
                line = converter.line(record)
            except RejectedByTarget as rejected:
                counts.rejected += 1
                error = MigrationError(converter.rules.target, record, str(rejected))
                if on_error == "raise":
                    raise error from rejected
                if callable(on_error):
                    on_error(error)
                else:
                    skipped += 1
                    first = first or error
                continue
            if line is None:
                counts.passed += 1
            else:
                yield line, isinstance(record, Alias)
    finally:
        if first is not None:
            logger.warning("%s: %d records were skipped, the first one: %s", first.target, skipped, first.reason)


@define
class _Converter:
    """Converter of one record at a time. It remembers the aliases that it gave, to know which ones a target refuses."""

    rules: Rules
    target: Target
    rule: Rule
    spelling: Callable[[str], str]
    counts: MigrationCounts
    now: float
    joined: IdentityMap = field(factory=IdentityMap)

    def line(self, record: Record) -> Line | None:
        _check("each record", "an Event, a PropertySet or an Alias", record, type(record) in _KINDS)
        rules, changes = self.rules, Changes()
        person = check_identity(rules, record.person, "person")
        content = LineContent(person, check_time(rules, record.timestamp, self.now), "")
        if isinstance(record, Alias):
            content.alias = check_identity(rules, record.alias, "alias")
            if self.joined.resolve(record.alias) == self.joined.resolve(person):
                return None
            self._check_join(person, record.alias)
            write = self.target.alias
        else:
            write = self.target.property_set
            if isinstance(record, Event):
                content.name = check_event_name(rules, record.name, self.spelling, changes)
                write = self.target.event
            content.properties = prepare_properties(
                rules, record.properties, self.spelling, changes, of_a_person=isinstance(record, PropertySet)
            )
            if isinstance(record, PropertySet) and not content.properties:
                return None
        content.id = line_id(record, self.rule)
        endpoint, found = write(content)
        text = msgspec.json.encode(found)
        _check_bytes(text, endpoint.max_line_bytes, "the line has")
        if isinstance(record, PropertySet):
            _check_bytes(text, rules.most_person_bytes, "the line of a person's properties has")
        elif isinstance(record, Alias):
            self.joined.link(person, content.alias)
        for change in fields(Changes):
            setattr(self.counts, change.name, getattr(self.counts, change.name) + getattr(changes, change.name))
        return Line(endpoint, text)

    def _check_join(self, person: str, alias: str) -> None:
        """Refuse an alias that the target would not join."""
        rules, joined = self.rules, self.joined
        if not rules.takes_chains and alias in joined:
            raise RejectedByTarget(_CHAIN)
        if rules.most_identities is not None:
            together = len(joined.identities_of(person)) + len(joined.identities_of(alias))
            if together > rules.most_identities:
                reason = f"the person would have {together} identities, and {rules.most_identities} are the most"
                raise RejectedByTarget(reason)


_KINDS: Final = frozenset({Event, PropertySet, Alias})
_CHAIN: Final = (
    "the alias is joined to another identity already, and a second join is refused there: "
    "take the aliases from known_aliases(), which names each identity once"
)


def _check_bytes(text: bytes, most: int | None, what: str) -> None:
    if most is not None and len(text) > most:
        reason = f"{what} {len(text):,} bytes, more than {most:,}"
        raise RejectedByTarget(reason)


def line_id(record: Record, rule: Rule) -> str:
    """Return a UUID of what makes the record itself under a rule of duplicates, and of nothing else.

    classic: an event is its person, second and folded name, whatever its properties; so if another one of its
    duplicates comes first next time, the id stays. A property set is its person, second and the names of its
    properties. strict: events of one person, second and name differ by their properties, so all that the rule compares
    goes in. An alias holds for all time: it is its two identities. 36 characters (letters, digits, "-") suit every
    target.

    >>> line_id(Event("bob", 1349222400, "Signed Up", {"plan": "Pro"}), "classic")
    '6d212275-8b52-5bce-a117-a7456936ff99'
    >>> line_id(Event("bob", 1349222400, "signed up"), "classic") == _
    True
    """
    if isinstance(record, Alias):
        text = json.dumps(["alias", record.person, record.alias])
    elif rule == "strict":
        text = canonical_form(record).decode()
    elif isinstance(record, Event):
        text = json.dumps(["event", record.person, record.timestamp, fold_name(record.name)])
    else:
        names = sorted({fold_name(name) for name in record.properties if name not in VENDOR_KEYS})
        text = json.dumps(["properties", record.person, record.timestamp, names])
    return str(uuid5(_NAMESPACE, text))


def iso_time(timestamp: int) -> str:
    """Return the second in UTC, as ISO 8601.

    >>> iso_time(1349222400)
    '2012-10-03T00:00:00Z'
    """
    return time_at(timestamp).isoformat().removesuffix("+00:00") + "Z"


def known_aliases(people: IdentityMap, at: Moment) -> Iterator[Alias]:
    """Return an alias for every identity that is not its person's name: who is who, as records that a target can take.

    `merge_identities` leaves no line that names a person's other identities as they were, so the aliases of a
    migration come from the map. Each identity stands there once, beside its person's name: no target refuses that,
    while the aliases of an export chain (a=b, b=c), which PostHog and Amplitude do not follow. An alias holds for all
    time, and a target wants one: `at` is an aware datetime or unix seconds. In the order of names, then identities:
    the same in every run. Raises ValueError for a naive datetime. Costs a list of the names.

    >>> people = IdentityMap()
    >>> people.link_pairs([("a", "b"), ("b", "c")])
    >>> [(alias.person, alias.alias) for alias in known_aliases(people, at=1349222400)]
    [('a', 'b'), ('a', 'c')]
    """
    check_type("people", people, IdentityMap, "an IdentityMap, such as bucket.identities()")
    return _known_aliases(people, as_timestamp(at))


def _known_aliases(people: IdentityMap, timestamp: int) -> Iterator[Alias]:
    for name, identities in people.each_person():
        for identity in sorted({*identities} - {name}):
            yield Alias(name, timestamp, identity)
