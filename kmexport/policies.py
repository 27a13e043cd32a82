"""Which of a person's identities is their name."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

__all__ = ["POLICIES", "Prefer", "named_first", "numeric_first", "order_of"]

Prefer: TypeAlias = Literal["named_first", "numeric_first"] | Callable[[str], Any]

_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")
# The random ids of browsers and phones: base64 of some 20 bytes.
_ANONYMOUS: Final = re.compile(r"(?=.*[0-9+/=_-])(?=.*[A-Z])(?=.*[a-z])[A-Za-z0-9+/_-]{20,}={0,2}")


def named_first(identity: str) -> int:
    """The default policy: an e-mail address first, then other names, anonymous ids last.

    >>> identities = ["qFq2LweZugFNE4o49hLhmRPBW34=", "10017", "bob@example.com"]
    >>> sorted(identities, key=named_first)
    ['bob@example.com', '10017', 'qFq2LweZugFNE4o49hLhmRPBW34=']
    """
    if _EMAIL.fullmatch(identity):
        return 0
    return 2 if _ANONYMOUS.fullmatch(identity) else 1


def numeric_first(identity: str) -> int:
    """The policy of km-db: a number first, then as `named_first`.

    >>> identities = ["qFq2LweZugFNE4o49hLhmRPBW34=", "10017", "bob@example.com"]
    >>> sorted(identities, key=numeric_first)
    ['10017', 'bob@example.com', 'qFq2LweZugFNE4o49hLhmRPBW34=']
    """
    return -1 if identity.isascii() and identity.isdigit() else named_first(identity)


POLICIES: Final[dict[str, Callable[[str], Any]]] = {"named_first": named_first, "numeric_first": numeric_first}


def order_of(prefer: Prefer) -> Callable[[str], Any]:
    """The key function of a policy. Raises ValueError where there is no such policy.

    >>> order_of("numeric_first")("10017")
    -1
    """
    if callable(prefer):
        return prefer
    if prefer not in POLICIES:
        msg = f"prefer is {', '.join(map(repr, POLICIES))} or a key function, not {prefer!r}"
        raise ValueError(msg)
    return POLICIES[prefer]
