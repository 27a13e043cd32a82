"""The selection of kinds, names and people, and the lines of a block that are worth parsing for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import accumulate
from typing import Any, TypeAlias, TypeVar, overload

from attrs import frozen

from kmexport.arguments import check_records
from kmexport.format.decoding import Head
from kmexport.format.names import fold_name
from kmexport.format.octal import spellings_of
from kmexport.records import Alias, Event, PropertySet, Record

# What begins another spelling of a character: an escape, or a letter outside ASCII that folds to one inside.
_SPECIAL = rb"\\\x80-\xff"
_NAME_KEY, _BRACE = b'"_n":"', ord("{")
_KEY_THAT_ENDS_LIKE_IT = b'\\"_n":"'
_MOST_SPELLINGS = 1 << 14  # that are held, of the names that were seen
_MOST_NAMES = 12  # measured: with more, trying them all costs more than parsing the lines
_NOTHING = rb"(?!)"  # a pattern that is nowhere
_INTEGER = re.compile(r"-?[0-9]+")  # such an identity may stand in a line without quotes
_ESCAPED_PERSON = re.compile(rb'_p2?"[ \t\r:]+"[^"\n\\]*\\')
_BEHIND_BACKSLASH = rb"u0-3/\"\\bfnrt"


Span: TypeAlias = tuple[int, int]  # where lines begin and end in a block


class WantedNames(dict[str | None, bool]):
    """Spellings, and whether their names are wanted: `names` are folded. Each spelling is looked at once.

    None, which is not a name, is not wanted.
    """

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__()
        self.names: frozenset[str] = names

    def __missing__(self, spelling: str | None) -> bool:
        if len(self) >= _MOST_SPELLINGS:
            self.clear()
        is_wanted = self[spelling] = spelling is not None and fold_name(spelling) in self.names
        return is_wanted


@frozen
class LineFilter:
    """A search for the lines of a block that may be wanted: those that `find` leaves out hold no wanted record.

    `escaped_key` finds the key that `find` looks for in another spelling; without one that does not matter. `names` and
    `with_aliases` say what a filter of names looks for, for a search by other means.
    """

    find: Callable[[bytes], list[Span]]
    escaped_key: re.Pattern[bytes] | None
    names: frozenset[str] | None = None
    with_aliases: bool = False

    def spans(self, block: bytes) -> list[Span] | None:
        r"""Find the lines that may be wanted, in their order. None where only reading the whole block can tell.

        Where a span holds a newline, or two overlap, lines are not what they seem.

        >>> block = b'{"_n":"Signed Up"}\n{"_n":"searched"}\n{"x":"signed up"}'
        >>> [block[begin:end] for begin, end in name_filter({"signed up"}).spans(block)]
        [b'{"_n":"Signed Up"}']
        """
        return None if self.has_escaped_key(block) else self.find(block)

    def has_escaped_key(self, block: bytes) -> bool:
        """Tell whether only reading the whole block can tell which lines are wanted."""
        return self.escaped_key is not None and b"\\" in block and self.escaped_key.search(block) is not None


def alias_filter() -> LineFilter:
    r"""Make a filter for lines that may be aliases: those with the key `_p2` anywhere.

    >>> alias_filter().spans(b'{"_p":"a"}\n{"_p":"a","_p2":"b"}')
    [(11, 31)]
    """
    return LineFilter(partial(_spans_with_text, b'"_p2"'), _escapes(rb"u00(?:5[fF]|70|32)|137|160|062"))


def no_event_filter() -> LineFilter:
    r"""Make a filter for lines that may be property sets or aliases: those that seem to have no key `_n`.

    >>> lines = b'{"_n":"x","_p":"a"}\n{"_p":"a","_t":1}\n{"_p":"a","x":{"_n":"x"}}'
    >>> no_event_filter().spans(lines)
    [(20, 37), (38, 63)]
    """
    return LineFilter(_spans_without_name, None)


def name_filter(names: frozenset[str] | set[str]) -> LineFilter | None:
    """Make a filter for lines that may be events of these names, which are folded.

    None for so long a list that it does not pay.

    The pattern is made for speed. It begins with the end of the key, as fixed text; then most lines end at two classes
    that hold whatever a wanted name can begin with. Measured: 0.21 µs a line, 0.44 without the classes.
    """
    if len(names) > _MOST_NAMES:
        return None
    begin = b"".join(_spellings(name, 0) for name in names)
    # "ss" may be one byte: ß of Windows-1252.
    goes_on = b"".join(_spellings(name, at) for name in names for at in ((1, 2) if name.startswith("ss") else (1,)))
    spelt = b"|".join(b"".join(b"[%s]" % _spellings(name, at) for at in range(len(name))) + b'"' for name in names)
    special = rb'[^"\n%s]*[%s]' % (_SPECIAL, _SPECIAL)
    guard = rb"(?=[%s%s][%s%s%s])" % (begin, _SPECIAL, goes_on, _SPECIAL, _BEHIND_BACKSLASH)
    if "" in names:
        guard = b""  # anything may follow its second quote

    pattern = re.compile(rb'_n"[ \t\r\n:]+"' + guard + rb"(?:%s|%s)[^\n]*" % (spelt, special))
    return LineFilter(partial(_spans_with, pattern), _escapes(rb"u00(?:5[fF]|6[eE])|137|156"), frozenset(names))


def people_filter(people: frozenset[str] | set[str]) -> LineFilter | None:
    r"""Make a filter for lines that may be of these identities, as their person or their alias.

    None for so long a list that it does not pay.

    >>> people_filter({"bob"}).spans(b'{"_p":"bob"}\n{"_p":"ann"}\n{"_p":"b\\157b"}')
    [(0, 12), (26, 41)]
    """
    if len(people) > _MOST_NAMES:
        return None
    [person, *others] = people or [""]
    if not others and person.isascii() and person and not _INTEGER.fullmatch(person):
        # Measured: 0.05 µs a line, where a pattern takes 0.35.
        find = partial(_spans_with_text, b'"%s"' % person.encode())
    else:
        digits = _any_of(filter(_INTEGER.fullmatch, people))
        pattern = rb'_p2?"[ \t\r\n:]+(?:"(?:%s)"|(?:%s)(?![-+.\w]))[^\n]*' % (_any_of(people), digits)
        find = partial(_spans_with, re.compile(pattern))
    return LineFilter(partial(_spans_of_people, find), _escapes(rb"u00(?:5[fF]|70|32)|137|160|062"))


def with_aliases(of_names: LineFilter) -> LineFilter:
    r"""Make a filter for lines that a filter of names finds, or that may be aliases.

    >>> names_or_aliases = with_aliases(name_filter({"x"}))
    >>> names_or_aliases.spans(b'{"_p":"a","_p2":"b"}\n{"_n":"y"}\n{"_n":"x"}')
    [(0, 20), (32, 42)]
    """
    of_aliases = alias_filter()
    patterns = [each.escaped_key.pattern for each in (of_names, of_aliases) if each.escaped_key is not None]

    def find(block: bytes) -> list[Span]:
        return sorted({*of_names.find(block), *of_aliases.find(block)})

    return LineFilter(find, re.compile(b"|".join(patterns)), of_names.names, with_aliases=True)


def _any_of(people: Iterable[str]) -> bytes:
    patterns = [re.escape(person.encode()) if person.isascii() else _in_any_bytes(person) for person in people]
    return b"|".join(patterns) if patterns else _NOTHING


def _in_any_bytes(text: str) -> bytes:
    return b"".join(b"(?:%s)" % b"|".join(map(re.escape, spellings_of(character))) for character in text)


def _spans_of_people(find: Callable[[bytes], list[Span]], block: bytes) -> list[Span]:
    """Find lines of people, and lines whose person or alias has escapes: no search tells who that is."""
    found = find(block)
    if b"\\" not in block:
        return found
    spans = dict(found)
    end = 0
    while (at := block.find(b"\\", end)) >= 0:
        begin = block.rfind(b"\n", 0, at) + 1
        end = block.find(b"\n", at)
        if end < 0:
            end = len(block)
        # In an object over several lines, the key may be on an earlier line.
        if block[begin] != _BRACE or _ESCAPED_PERSON.search(block, begin, end):
            spans.setdefault(begin, end)
    return sorted(spans.items())


def _spans_with(pattern: re.Pattern[bytes], block: bytes) -> list[Span]:
    """Find lines with the pattern, which goes to the end of the line."""
    begin_before = block.rfind
    return [(begin_before(b"\n", 0, found.start()) + 1, found.end()) for found in pattern.finditer(block)]


def _spans_with_text(text: bytes, block: bytes) -> list[Span]:
    """Find lines with the text, from the last to the first: rfind() takes half the time of find()."""
    spans = []
    begin = len(block)
    while (at := block.rfind(text, 0, begin)) >= 0:
        begin, end = block.rfind(b"\n", 0, at) + 1, block.find(b"\n", at)
        spans.append((begin, end if end >= 0 else len(block)))
    return spans[::-1]


def _spans_without_name(block: bytes) -> list[Span]:
    # Where a line begins as an object and has no other brace, the quote is escaped, or the key is that object's.
    # Measured: 0.3 µs a line, or 0.5 where there are other braces. find() is faster than `in`.
    lines = block.split(b"\n")
    begins = accumulate((len(line) + 1 for line in lines), initial=0)
    found: Iterable[tuple[int, bytes]] = zip(begins, lines, strict=False)
    if block.find(_KEY_THAT_ENDS_LIKE_IT) >= 0:
        pass
    elif block.find(b"null") >= 0:  # a second _n may take the first one back
        found = (
            (at, line)
            for at, line in found
            if line.find(_NAME_KEY) < 0 or line.rfind(b"{") != 0 or line.find(b"null") >= 0
        )
    elif len(block) - len(block.replace(b"{", b"")) == len(lines):
        found = ((at, line) for at, line in found if line.find(_NAME_KEY) < 0 or line[0] != _BRACE)
    else:
        found = ((at, line) for at, line in found if line.find(_NAME_KEY) < 0 or line.rfind(b"{") != 0)
    return [(begin, begin + len(line)) for begin, line in found]


def _escapes(codes: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"\\(?:" + codes + rb")")


def _spellings(name: str, at: int) -> bytes:
    """List the bytes within ASCII that can spell a character of the name, or end it, for a class of a pattern."""
    character = name[at : at + 1] or '"'
    if character == " ":
        return rb" ,:"
    if not character.isascii():
        return _SPECIAL
    return b"".join(re.escape(spelling.encode()) for spelling in sorted({character.lower(), character.upper()}))


Kinds: TypeAlias = type[Record] | Iterable[type[Record]] | None
Names: TypeAlias = str | Iterable[str] | None
Identities: TypeAlias = str | Iterable[str] | None
_R = TypeVar("_R", bound=Record)

_KINDS = (Event, PropertySet, Alias)


@overload
def select(
    records: Iterable[Record], *, kinds: Kinds = None, names: str | Iterable[str], people: Identities = None
) -> Iterator[Event]: ...
@overload
def select(
    records: Iterable[Record], *, kinds: type[_R] | Iterable[type[_R]], names: None = None, people: Identities = None
) -> Iterator[_R]: ...
@overload
def select(
    records: Iterable[_R], *, kinds: None = None, names: None = None, people: Identities = None
) -> Iterator[_R]: ...
@overload
def select(
    records: Iterable[Record], *, kinds: Kinds = None, names: Names = None, people: Identities = None
) -> Iterator[Record]: ...
def select(
    records: Iterable[Any], *, kinds: Any = None, names: Names = None, people: Identities = None
) -> Iterator[Any]:
    """Keep the records of these kinds, the events of these names, of these people; without all three, all records.

    `kinds` are record classes, and `names` the names of events, compared without case, with commas and colons as
    spaces; only such events come out. `people` are identities as the records have them: their persons, or the other
    identity of an alias. Where the records are read for this alone, give these arguments to `iter_records` instead:
    then other lines are passed over before they are parsed. Holds nothing. Raises TypeError for other kinds, at the
    call.

    >>> from kmexport import Bucket
    >>> sum(1 for event in select(Bucket.sample().iter_records(), names="signed up"))
    168
    """
    selection = check_selection(kinds, names, people)
    check_records(records)
    if selection is None:
        return iter(records)
    return (record for record in records if selection.chosen([record]))


@frozen
class Selection:
    """The wanted kinds, names and people, and the filter for lines that may hold them. With names, only events."""

    kinds: tuple[type[Record], ...]
    names: frozenset[str] | None  # folded
    people: frozenset[str] | None
    are_wanted: Callable[[list[Head]], list[bool]]
    line_filter: LineFilter | None

    def chosen(self, records: Iterable[Record]) -> list[Record]:
        """Keep the wanted records."""
        kinds, names, people = self.kinds, self.names, self.people
        found = [record for record in records if isinstance(record, kinds)]
        if people is not None:
            found = [record for record in found if is_of(record, people)]
        if names is None:
            return found
        return [record for record in found if isinstance(record, Event) and fold_name(record.name) in names]


def check_selection(kinds: Kinds, names: Names, people: Identities = None) -> Selection | None:
    """Check the wanted classes, names and people, and make a Selection; None for all. TypeError for other classes."""
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
    known = WantedNames(names)

    def are_wanted(heads: list[Head]) -> list[bool]:
        return [known[head.name] or head.alias is not None for head in heads]

    of_names = name_filter(names)
    line_filter = None if of_names is None else with_aliases(of_names)
    return Selection((Event, Alias), None, None, are_wanted, line_filter)


def _check_texts(texts: Any, what: str) -> list[str]:
    asked: list[Any] = [texts] if isinstance(texts, str | bytes) or not isinstance(texts, Iterable) else list(texts)
    for text in asked:
        if not isinstance(text, str):
            msg = f"{what}, not {text!r}"
            raise TypeError(msg)
    return asked


def is_of(record: Record, people: frozenset[str]) -> bool:
    """Tell whether a record is of one of these identities: its person is, or the other identity of an alias."""
    return record.person in people or (isinstance(record, Alias) and record.alias in people)


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
) -> Callable[[list[Head]], list[bool]]:
    wants_events, wants_sets, wants_aliases = (kind in kinds for kind in _KINDS)
    known = None if names is None else WantedNames(names)

    def is_wanted(head: Head) -> bool:
        if people is not None and head.person not in people and head.alias not in people:
            return False
        if head.name is not None:
            return wants_events and (known is None or known[head.name])
        return wants_aliases if head.alias is not None else wants_sets

    if people is None and known is not None and wants_events:
        return lambda heads: [known[head.name] for head in heads]  # with names, only events
    return lambda heads: list(map(is_wanted, heads))
