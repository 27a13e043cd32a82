"""Who is who: aliases say that two identities are one person."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Literal, Self, TypeAlias

from kmexport.errors import IdentityMapFormatError
from kmexport.records import Alias, Record, under_person

__all__ = ["IdentityMap", "Prefer", "merge_identities"]

Prefer: TypeAlias = Literal["named_first", "numeric_first"] | Callable[[str], Any]

_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")
# The random ids of browsers and phones: base64 of some 20 bytes.
_ANONYMOUS: Final = re.compile(r"(?=.*[0-9+/=_-])(?=.*[A-Z])(?=.*[a-z])[A-Za-z0-9+/_-]{20,}={0,2}")
_FORMAT: Final = "kmexport identities 1"


def named_first(identity: str) -> int:
    """The default policy: an e-mail address first, then other names, anonymous ids last.

    >>> sorted(["qFq2LweZugFNE4o49hLhmRPBW34=", "10017", "bob@example.com"], key=named_first)
    ['bob@example.com', '10017', 'qFq2LweZugFNE4o49hLhmRPBW34=']
    """
    if _EMAIL.fullmatch(identity):
        return 0
    return 2 if _ANONYMOUS.fullmatch(identity) else 1


def numeric_first(identity: str) -> int:
    """The policy of km-db: a number first, then as `named_first`.

    >>> sorted(["qFq2LweZugFNE4o49hLhmRPBW34=", "10017", "bob@example.com"], key=numeric_first)
    ['10017', 'bob@example.com', 'qFq2LweZugFNE4o49hLhmRPBW34=']
    """
    return -1 if identity.isascii() and identity.isdigit() else named_first(identity)


_POLICIES: Final[dict[str, Callable[[str], Any]]] = {"named_first": named_first, "numeric_first": numeric_first}


class IdentityMap:
    """Which identities are one person, learnt from aliases.

    Aliases hold for all time, before and after their own time; they may chain, repeat and point to
    themselves; their order does not matter. A person is called by one of their identities: the one whose `prefer`
    key is the smallest, of equal ones the lowest string. `prefer` is "named_first" (an e-mail address, then other
    names, anonymous ids last), "numeric_first" (a number before those, as km-db does), or any key function. So the
    name depends on the set of identities only. Identities compare exactly. An empty identity links nobody (it would
    make strangers one person): such links are counted in `ignored_links`.

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
        if not callable(prefer) and prefer not in _POLICIES:
            msg = f"prefer is {', '.join(map(repr, _POLICIES))} or a key function, not {prefer!r}"
            raise ValueError(msg)
        self.prefer = prefer
        self.ignored_links = 0
        # Union-find: each identity points towards the one that stands for its person.
        self._parents: dict[str, str] = {}
        # What is told of a person, by the identity that stands for them. The identities are gathered when they are
        # first asked for (linking a million pairs is half as fast where they are kept up), and kept up from then on.
        self._members: dict[str, list[str]] | None = None
        self._names: dict[str, str] = {}

    def __len__(self) -> int:
        """How many identities are known from aliases."""
        return len(self._parents)

    def __contains__(self, identity: object) -> bool:
        return identity in self._parents

    def __repr__(self) -> str:
        prefer = f"prefer={self.prefer!r}" if self.prefer != "named_first" else ""
        return f"<IdentityMap({prefer}) of {len(self):,} identities>"

    def link(self, a: str, b: str) -> None:
        """Two identities are one person.

        >>> people = IdentityMap()
        >>> people.link("a", "b")
        >>> sorted(people.identities_of("b"))
        ['a', 'b']
        """
        self.link_pairs(((a, b),))

    def update(self, records: Iterable[Record]) -> Self:
        """Learn from every alias among the records, and return the map; other records are passed over.

        >>> IdentityMap().update([Alias("a", 1349222400, "b"), Alias("b", 1349222400, "c")]).people()
        ['a']
        """
        self.link_pairs((record.person, record.alias) for record in records if isinstance(record, Alias))
        return self

    def link_pairs(self, pairs: Iterable[tuple[str, str]]) -> None:
        """As `link`, for many pairs; twice as fast.

        >>> people = IdentityMap()
        >>> people.link_pairs([("a", "b"), ("c", "b")])
        >>> people.resolve("c")
        'a'
        """
        parents, members = self._parents, self._members
        for a, b in pairs:
            if a == b or not a or not b:
                self.ignored_links += not (a and b)
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
                if members is not None:
                    self._join(members, root_a, root_b)

    def _join(self, members: dict[str, list[str]], root: str, other: str) -> None:
        names = self._names
        if root in names or other in names:
            # A new identity is its own name.
            known = [name for one in (root, other) if (name := names.pop(one, "" if one in members else one))]
            if len(known) == 2:
                names[root] = min(known, key=self._order)
        fewer, more = sorted((members.pop(root, [root]), members.pop(other, [other])), key=len)
        more.extend(fewer)
        members[root] = more

    def resolve(self, identity: str) -> str:
        """The name of the person that an identity belongs to; an identity without aliases is its own.

        >>> IdentityMap().update([Alias("a", 1349222400, "b")]).resolve("b")
        'a'
        """
        root = self._root(identity)
        name = self._names.get(root)
        if name is None:
            members = self._gather().get(root)
            if members is None:
                return identity
            name = self._names[root] = min(members, key=self._order)
        return name

    def _order(self, identity: str) -> tuple[Any, str]:
        policy = self.prefer if callable(self.prefer) else _POLICIES[self.prefer]
        return policy(identity), identity

    def identities_of(self, identity: str) -> frozenset[str]:
        """All identities of the person that an identity belongs to, itself among them.

        >>> sorted(IdentityMap().update([Alias("a", 1349222400, "b")]).identities_of("a"))
        ['a', 'b']
        """
        return frozenset(self._gather().get(self._root(identity), [identity]))

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
            self._members = {}
            for identity in self._parents:
                self._members.setdefault(self._root(identity), []).append(identity)
        return self._members

    def people(self) -> list[str]:
        """The names of the persons who have more than one identity, in order.

        >>> IdentityMap().update([Alias("d", 1349222400, "c"), Alias("a", 1349222400, "b")]).people()
        ['a', 'c']
        """
        return sorted(map(self.resolve, self._gather()))

    def save(self, path: str | os.PathLike[str], **storage_options: Any) -> None:
        """Write the map as JSON Lines to a path or an fsspec URL: after a first line, one array of identities a person.

        The file is written whole or not at all. The same map gives the same bytes.

        >>> people = IdentityMap().update([Alias("a", 1349222400, "b")])
        >>> people.save("memory://people.jsonl")
        >>> IdentityMap.load("memory://people.jsonl").identities_of("b") == people.identities_of("b")
        True
        """
        from fsspec.core import url_to_fs  # noqa: PLC0415  # only needed here

        fs, target = url_to_fs(os.fspath(path), **storage_options)
        prefer = self.prefer if isinstance(self.prefer, str) else None
        with fs.transaction, fs.open(target, "wb") as file:
            file.write(json.dumps({"format": _FORMAT, "prefer": prefer}).encode() + b"\n")
            for name in self.people():
                others = sorted(self.identities_of(name) - {name})
                file.write(json.dumps([name, *others]).encode() + b"\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, prefer: Prefer | None = None, **storage_options: Any) -> Self:
        """Read a saved map. `prefer` may be another policy; it must be given where the map had a key function.

        Raises IdentityMapFormatError with the line for anything that `save` did not write.

        >>> IdentityMap().update([Alias("10017", 1349222400, "bob@example.com")]).save("memory://people.jsonl")
        >>> IdentityMap.load("memory://people.jsonl", prefer="numeric_first").people()
        ['10017']
        """
        from fsspec.core import url_to_fs  # noqa: PLC0415

        fs, target = url_to_fs(os.fspath(path), **storage_options)
        source = target.rpartition("/")[2]
        with fs.open(target, "rb") as file:
            lines = enumerate(file, 1)
            header = _parse(next(lines, (1, b""))[1], source, 1)
            if not isinstance(header, dict) or header.get("format") != _FORMAT:
                raise IdentityMapFormatError(source, 1, None, f"the first line of a map names its format, {_FORMAT!r}")
            policy = prefer if prefer is not None else header.get("prefer")
            if policy is None:
                reason = "the map was saved with a key function: give it again as prefer="
                raise IdentityMapFormatError(source, 1, None, reason)
            if prefer is None and (not isinstance(policy, str) or policy not in _POLICIES):
                raise IdentityMapFormatError(source, 1, None, f"prefer is no policy that is known: {policy!r}")
            people = cls(policy)
            for number, line in lines:
                identities = _parse(line, source, number)
                is_list = isinstance(identities, list) and all(isinstance(one, str) and one for one in identities)
                if not is_list or len(identities) < 2:
                    reason = "a person is an array of two or more identities"
                    raise IdentityMapFormatError(source, number, None, reason)
                people.link_pairs((identities[0], other) for other in identities[1:])
        return people


def _parse(line: bytes, source: str, number: int) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise IdentityMapFormatError(source, number, None, f"the line is not JSON ({error})") from error


def merge_identities(records: Iterable[Record], people: IdentityMap) -> Iterator[Record]:
    """The records under their person's name.

    Records whose person has that name already come out as they are, others as copies; properties are not
    parsed for it. Aliases come out too, under the name. Holds nothing but the map. Source: the vendor joins
    identities for all time, so take the map of the whole export: `Bucket.identities()`.

    >>> from kmexport import Event
    >>> people = IdentityMap().update([Alias("bob@example.com", 1349222500, "qFq2LweZugFNE4o49hLhmRPBW34=")])
    >>> list(merge_identities([Event("qFq2LweZugFNE4o49hLhmRPBW34=", 1349222400, "visited site")], people))
    [Event(person='bob@example.com', timestamp=1349222400, name='visited site', properties={})]
    """
    if not hasattr(people, "resolve"):
        msg = f"merge_identities() takes an IdentityMap, not {type(people).__name__}: people = bucket.identities()"
        raise TypeError(msg)
    return _merge(records, people)


def _merge(records: Iterable[Record], people: IdentityMap) -> Iterator[Record]:
    resolve = people.resolve
    for record in records:
        name = resolve(record.person)
        yield record if name == record.person else under_person(record, name)
