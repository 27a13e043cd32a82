"""The choice of the identity that a person is called by."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

__all__ = ["POLICIES", "Prefer", "named_first", "numeric_first", "order_of"]

Prefer: TypeAlias = Literal["named_first", "numeric_first"] | Callable[[str], Any]

_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")
_DIGITS: Final = re.compile(r"[0-9]+")
# What browsers and phones are called before they have a name. Real exports write it in small letters.
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
