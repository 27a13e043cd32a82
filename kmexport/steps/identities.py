"""The identities of people: which belong together, the one that a person is called by, and their file."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Literal, Self, TypeAlias, TypeVar, cast

import msgspec

from kmexport.arguments import check_records, check_type
from kmexport.errors import IdentityMapFormatError
from kmexport.records import Alias, Event, PropertySet, Record, with_person
from kmexport.storage.atomic import atomic_write, read_bytes
from kmexport.storage.credentials import public_name

logger: logging.Logger = logging.getLogger("kmexport")

Prefer: TypeAlias = Literal["named_first", "numeric_first"] | Callable[[str], Any]

_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")
_DIGITS: Final = re.compile(r"[0-9]+")
# The ids of browsers and phones before they have a name. Real exports write them in small letters.
_ANONYMOUS: Final = re.compile(
    r"[A-Za-z0-9+/]{27}=?"  # 20 bytes in base64, from the JavaScript library; one page of the vendor prints no "="
    r"|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"  # a UUID, from the libraries for Android and iOS
    r"|(?=[a-z]*[0-9])(?=[0-9]*[a-z])[a-z0-9]{20}"  # the vendor's demo account
)


def named_first(identity: str) -> int:
    """Order identities by the default policy: e-mail address, name, digits alone, anonymous.

    Anonymous are the forms that were seen: 20 bytes in base64 in any case, UUIDs, 20 small letters and digits.

    >>> identities = ["k3xq0v9bu/ta7m+r2hy1zc84wle=", "10017", "bob", "bob@example.com"]
    >>> sorted(identities, key=named_first)
    ['bob@example.com', 'bob', '10017', 'k3xq0v9bu/ta7m+r2hy1zc84wle=']
    """
    if _EMAIL.fullmatch(identity):
        return 0
    if _DIGITS.fullmatch(identity):
        return 2
    return 3 if _ANONYMOUS.fullmatch(identity) else 1


def numeric_first(identity: str) -> int:
    """Order identities by the policy of km-db: a number first, then as `named_first`.

    >>> identities = ["qFq2LweZugFNE4o49hLhmRPBW34=", "10017", "bob@example.com"]
    >>> sorted(identities, key=numeric_first)
    ['10017', 'bob@example.com', 'qFq2LweZugFNE4o49hLhmRPBW34=']
    """
    return -1 if _DIGITS.fullmatch(identity) else named_first(identity)


POLICIES: Final[dict[str, Callable[[str], Any]]] = {"named_first": named_first, "numeric_first": numeric_first}


def sort_key_of(prefer: Prefer) -> Callable[[str], Any]:
    """Find the key function of a policy. Raises ValueError where there is no such policy.

    >>> sort_key_of("numeric_first")("10017")
    -1
    """
    if callable(prefer):
        return prefer
    if not isinstance(prefer, str) or prefer not in POLICIES:
        msg = f"prefer is {', '.join(map(repr, POLICIES))} or a key function, not {prefer!r}"
        raise ValueError(msg)
    return POLICIES[prefer]


class IdentityMap:
    """The identities that are one person, learnt from aliases.

    Aliases hold for all time, before and after their own time. They may chain, repeat and point to themselves, and
    their order does not matter. A person is called by one of their identities: the one with the smallest `prefer` key;
    ties go to the lowest string. `prefer` is "named_first" (an e-mail address, a name, digits alone, an anonymous id,
    in this order), "numeric_first" (digits alone before those, as km-db does), or any key function. So the name depends
    on the set of identities only. Anonymous ids are known by their form, as the vendor's libraries make them: 20 bytes
    in base64, with or without the "=" at their end, UUIDs, and 20 small letters and digits with at least one of each.

    Identities compare exactly, and real exports have small letters only: see `identities_of`. An empty identity links
    nobody, since it would make strangers one person: such links are counted in `ignored_links`.

    Costs about 250 bytes for each identity. Linking and looking up take the same time however long the chains are.

    >>> people = IdentityMap()
    >>> people.link("qFq2LweZugFNE4o49hLhmRPBW34=", "bob@example.com")
    >>> people.link("bob@example.com", "10017")
    >>> people.resolve("qFq2LweZugFNE4o49hLhmRPBW34=")
    'bob@example.com'
    >>> people.resolve("eve")
    'eve'
    """

    def __init__(self, prefer: Prefer = "named_first") -> None:
        sort_key_of(prefer)  # raises where there is no such policy
        self.prefer = prefer
        self.ignored_links: int = 0
        # Union-find: each identity points towards the root of its person.
        self._parents: dict[str, str] = {}
        # The identities and the name of each person, by their root. They are gathered at the first question and kept up
        # from then on: to keep them up from the start would halve the speed of linking.
        self._members: dict[str, list[str]] | None = None
        self._names: dict[str, str] = {}

    def __len__(self) -> int:
        """Count the identities that are known from aliases."""
        return len(self._parents)

    def __contains__(self, identity: object) -> bool:
        return identity in self._parents

    def __repr__(self) -> str:
        prefer = f"prefer={self.prefer!r}" if self.prefer != "named_first" else ""
        return f"<IdentityMap({prefer}) of {len(self):,} identities>"

    def link(self, a: str, b: str) -> None:
        """Note that two identities are one person.

        >>> people = IdentityMap()
        >>> people.link("a", "b")
        >>> sorted(people.identities_of("b"))
        ['a', 'b']
        """
        self.link_pairs(((a, b),))

    def update(self, records: Iterable[Record]) -> Self:
        """Learn from every alias among the records, and return the map; other records are passed over.

        Raises TypeError for anything but a record; what came before it is learnt.

        >>> aliases = [Alias("a", 1349222400, "b"), Alias("b", 1349222400, "c")]
        >>> IdentityMap().update(aliases).people()
        ['a']
        """
        self.link_pairs(_pairs_of(records))
        return self

    def link_pairs(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Link many pairs; twice as fast as `link`. Raises TypeError for anything but pairs of strings.

        >>> people = IdentityMap()
        >>> people.link_pairs([("a", "b"), ("c", "b")])
        >>> people.resolve("c")
        'a'
        """
        parents = self._parents
        for pair in pairs:
            a, b = pair if pair.__class__ is tuple else _checked(pair)
            if a.__class__ is not str or b.__class__ is not str:
                a, b = _checked(pair)
            if a == b or not a or not b:
                self.ignored_links += not (a and b)
                continue
            if self._members is not None:
                self._link_and_update(a, b, self._members)
                continue
            # Each search halves the path that it goes. A root is its own parent, the same string: `is` will do.
            root_a = parents.setdefault(a, a)
            while (above := parents[root_a]) is not root_a:
                parents[root_a] = root_a = parents[above]
            root_b = parents.setdefault(b, b)
            while (above := parents[root_b]) is not root_b:
                parents[root_b] = root_b = parents[above]
            if root_a is not root_b:
                parents[root_b] = root_a

    def _link_and_update(self, a: str, b: str, members: dict[str, list[str]]) -> None:
        """Link, and keep up members and names. The policy is asked first: where it raises, nothing changes."""
        root, other = self._root(a), self._root(b)
        if root == other:
            return
        names, name = self._names, None
        if root in names or other in names:
            # A new identity is its own name; a person who was not asked for has none yet.
            known = [names.get(one, one if one not in members else None) for one in (root, other)]
            if None not in known:
                name = min(filter(None, known), key=self._order)
        fewer, more = sorted((members.pop(root, [root]), members.pop(other, [other])), key=len)
        members[root] = more + fewer
        for one in (root, other):
            names.pop(one, None)
        if name is not None:
            names[root] = name
        root = self._parents.setdefault(root, root)
        self._parents[other] = root

    def resolve(self, identity: str) -> str:
        """Return the name of the person that an identity belongs to; an identity without aliases is its own.

        >>> IdentityMap().update([Alias("a", 1349222400, "b")]).resolve("b")
        'a'
        """
        root = self._root(identity)
        name = self._names.get(root)
        if name is None:
            members = self._gather().get(root)
            if members is None:
                return identity
            # Of those with the smallest key min() takes the first, which is the lowest string.
            name = self._names[root] = min(sorted(members), key=sort_key_of(self.prefer))
        return name

    def _order(self, identity: str) -> tuple[Any, str]:
        return sort_key_of(self.prefer)(identity), identity

    def identities_of(self, identity: str) -> frozenset[str]:
        """Return all identities of the person that an identity belongs to, itself among them.

        An identity that no alias names is alone. Identities compare exactly, and real exports have small letters
        only: they know `bob@example.com` and not `Bob@Example.com`. If the map has the identity that was asked for in
        small letters and not as it was asked for, the log says so, at level WARNING (logger `kmexport`).

        >>> people = IdentityMap().update([Alias("bob@example.com", 1349222400, "10017")])
        >>> sorted(people.identities_of("10017"))
        ['10017', 'bob@example.com']
        >>> sorted(people.identities_of("Bob@Example.com"))
        ['Bob@Example.com']
        """
        check_type("identity", identity, str, "a string")
        if identity not in self._parents and (small := identity.lower()) in self._parents:
            told = "identities_of(%r): no alias names it; %r is known. Identities compare exactly"
            logger.warning(told, identity, small)
        return self._same_as(identity)

    def _same_as(self, identity: str) -> frozenset[str]:
        return frozenset(self._gather().get(self._root(identity)) or [identity])

    def _root(self, identity: str) -> str:
        parents = self._parents
        root = parents.get(identity)
        if root is None:
            return identity
        while (above := parents[root]) is not root:
            parents[root] = root = parents[above]
        return root

    def _gather(self) -> dict[str, list[str]]:
        if self._members is None:
            members: dict[str, list[str]] = {}
            for identity in self._parents:
                members.setdefault(self._root(identity), []).append(identity)
            self._members = members
        return self._members

    def people(self) -> list[str]:
        """List the names of the persons who have more than one identity, in order.

        >>> aliases = [Alias("d", 1349222400, "c"), Alias("a", 1349222400, "b")]
        >>> IdentityMap().update(aliases).people()
        ['a', 'c']
        """
        return [name for name, _ in self.each_person()]

    def each_person(self) -> list[tuple[str, Sequence[str]]]:
        """List the name and the identities of each person who has more than one, in the order of the names.

        >>> IdentityMap().update([Alias("d", 1349222400, "c")]).each_person()
        [('c', ['d', 'c'])]
        """
        persons, names, key = self._gather(), self._names, sort_key_of(self.prefer)
        for root, identities in persons.items():
            if root not in names:
                names[root] = min(sorted(identities), key=key)
        return sorted((names[root], identities) for root, identities in persons.items())

    def save(self, path: str | os.PathLike[str], **storage_options: Any) -> None:
        """Write the map as JSON Lines to a path or an fsspec URL: after a first line, one array of identities a person.

        The file is written whole, or stays as it was before. The first line counts the persons, so that half a file is
        known as such. Equal maps give equal bytes.

        >>> people = IdentityMap().update([Alias("a", 1349222400, "b")])
        >>> people.save("memory://people.jsonl")
        >>> IdentityMap.load("memory://people.jsonl").resolve("b")
        'a'
        """
        prefer = self.prefer if isinstance(self.prefer, str) else None
        people = self.each_person()
        persons = ([name, *sorted({*identities} - {name})] for name, identities in people)
        with atomic_write(path, **storage_options) as file:
            file.writelines(spell_map(prefer, len(people), persons))

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, prefer: Prefer | None = None, **storage_options: Any) -> Self:
        """Read a saved map, in one piece. `prefer` may be another policy; a key function has to be given again.

        Raises IdentityMapFormatError with the line for anything that `save` did not write, and for half of a map.
        A map of an earlier version, whose first line does not count the persons, is read all the same; if it was cut
        off at the end of a line, that does not show. Costs the file beside the map while it is read.

        >>> people = IdentityMap()
        >>> people.link("10017", "bob@example.com")
        >>> people.save("memory://people.jsonl")
        >>> IdentityMap.load("memory://people.jsonl", prefer="numeric_first").people()
        ['10017']
        """
        source = public_name(path)
        saved, persons = parse_map(read_bytes(path, **storage_options), source)
        people = cls(prefer if prefer is not None else _policy(saved, source))
        parents = people._parents
        for number, identities in enumerate(persons, 2):
            before = len(parents)
            parents.update(dict.fromkeys(identities, identities[0]))
            if len(parents) - before < len(identities):
                raise IdentityMapFormatError(source, number, None, "an identity stands twice in the map")
        return people


def _policy(saved: object, source: str) -> Prefer:
    if saved is None:
        reason = "the map was saved with a key function: give it again as prefer="
        raise IdentityMapFormatError(source, 1, None, reason)
    if not isinstance(saved, str) or saved not in POLICIES:
        raise IdentityMapFormatError(source, 1, None, f"prefer is no policy that is known: {saved!r}")
    return cast("Prefer", saved)


def _pairs_of(records: Iterable[object]) -> Iterator[tuple[str, str]]:
    for record in records:
        if isinstance(record, Alias):
            yield record.person, record.alias
        elif not isinstance(record, Event | PropertySet):
            msg = f"update() takes records, not {type(record).__name__}: link_pairs() takes pairs of identities"
            raise TypeError(msg)


def _checked(pair: object) -> tuple[str, str]:
    """Check a pair: a text of two characters would pass for two identities, and numbers would never be found again."""
    if isinstance(pair, tuple | list) and len(pair) == 2:
        a, b = pair
        if isinstance(a, str) and isinstance(b, str):
            return a, b
    msg = f"a link is a pair of identities, which are strings, not {pair!r}: update() takes records"
    raise TypeError(msg)


R = TypeVar("R", bound=Record)


def identities_asked_for(who: str | Iterable[str], read_people: Callable[[], IdentityMap]) -> frozenset[str]:
    """List the identities of a person who is to be taken out: of one, all that are theirs; of several, just those.

    One identity finds those in small letters too, as real exports write them. Raises ValueError for no identity.

    >>> people = IdentityMap().update([Alias("bob@example.com", 1349222400, "10017")])
    >>> sorted(identities_asked_for("Bob@example.com", lambda: people))
    ['10017', 'Bob@example.com', 'bob@example.com']
    """
    if isinstance(who, str):
        people = read_people()
        # Not by `identities_of`, which writes a capital spelling to the log: nobody wants a removed person there.
        found = people._same_as(who) | people._same_as(who.lower())
    else:
        found = frozenset(who if isinstance(who, Iterable) else ())
    if not found or not all(isinstance(identity, str) and identity for identity in found):
        msg = f"who is one identity or several, which are strings and not empty, not {who!r}"
        raise ValueError(msg)
    return found


def merge_identities(records: Iterable[R], people: IdentityMap) -> Iterator[R]:
    """Put the records under their person's name.

    Records whose person has that name already come out as they are, others as copies; properties are not
    parsed for it. Aliases come out too, under the name. Holds nothing but the map. Source: the vendor joins
    identities for all time, so take the map of the whole export: `Bucket.identities()`.

    >>> from kmexport import Event
    >>> people = IdentityMap()
    >>> people.link("bob@example.com", "qFq2LweZugFNE4o49hLhmRPBW34=")
    >>> visit = Event("qFq2LweZugFNE4o49hLhmRPBW34=", 1349222400, "visited site")
    >>> list(merge_identities([visit], people))
    [Event(person='bob@example.com', timestamp=1349222400, name='visited site', properties={})]
    """
    if not hasattr(people, "identities_of"):
        msg = f"merge_identities() takes an IdentityMap, not {type(people).__name__}: people = bucket.identities()"
        raise TypeError(msg)
    check_records(records)
    return _merge(records, people)


def _merge(records: Iterable[R], people: IdentityMap) -> Iterator[R]:
    resolve = people.resolve
    for record in records:
        name = resolve(record.person)
        yield record if name == record.person else cast("R", with_person(record, name))


_FORMAT: Final = "kmexport identities 1"
_decode_person: Final = msgspec.json.Decoder(list[str]).decode


def spell_map(prefer: str | None, count: int, persons: Iterable[list[str]]) -> Iterator[bytes]:
    """Write the lines of a map of `count` persons; the first of the identities is the person's name."""
    yield json.dumps({"format": _FORMAT, "prefer": prefer, "people": count}).encode() + b"\n"
    for identities in persons:
        yield json.dumps(identities).encode() + b"\n"


def parse_map(content: bytes, source: str) -> tuple[object, Iterator[list[str]]]:
    """Read the policy, as the first line names it, and the identities of each person.

    Raises IdentityMapFormatError for anything that `spell_map` did not give, and at the end for half of it.
    """
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()
    header = _parse(lines[0] if lines else b"", source, 1)
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise IdentityMapFormatError(source, 1, None, f"the first line of a map names its format, {_FORMAT!r}")
    count = header.get("people")  # None in a map of the first version
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 0):
        raise IdentityMapFormatError(source, 1, None, f"{count!r} is no number of persons")
    return header.get("prefer"), _persons(lines, count, source)


def _persons(lines: list[bytes], count: int | None, source: str) -> Iterator[list[str]]:
    for number, line in enumerate(lines[1:], 2):
        yield _read_person(line, source, number)
    if count is not None and count != len(lines) - 1:
        reason = f"the first line counts {count:,} persons, and there are {len(lines) - 1:,}: this is not the whole map"
        raise IdentityMapFormatError(source, len(lines), None, reason)


def _read_person(line: bytes, source: str, number: int) -> list[str]:
    try:
        identities: Any = _decode_person(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError):  # half a surrogate pair, or no person at all
        identities = _parse(line, source, number)
    is_list = isinstance(identities, list) and all(isinstance(one, str) and one for one in identities)
    if not is_list or len(set(identities)) < 2:
        raise IdentityMapFormatError(source, number, None, "a person is an array of two or more identities")
    return cast("list[str]", identities)


def _parse(line: bytes, source: str, number: int) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise IdentityMapFormatError(source, number, None, f"the line is not JSON ({error})") from error
