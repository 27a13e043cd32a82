"""What may be a credential in an address, in storage options and in an error's text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kmexport.storage.faults import chain

__all__ = ["can_show_one", "redact", "secrets_in"]

# More is hidden than must be: a secret may hold any character, those that end it in a URL too.
_QUERY_OR_SECRET = re.compile(r"(?<=://)[^?#]*[?#].*@.*", re.DOTALL)
_CREDENTIALS = re.compile(r"(?<=://)[^?#]*@")
_QUERY = re.compile(r"[?#].*", re.DOTALL)

_SENSITIVE = "key|secret|token|pass|pwd|user|login|auth|cred|sas|sig|conn|account|cookie|header"
_SENSITIVE_NAME = re.compile(_SENSITIVE, re.IGNORECASE)
_HEADERS = "'(?:Proxy-)?Authorization'|'Cookie'|'X-Amz-Security-Token'"  # of a request that an error holds
_SENSITIVE_TEXT = re.compile(rf"://[^\s/]+@|[?&][^\s=&]*(?:{_SENSITIVE})[^\s=&]*=|{_HEADERS}", re.IGNORECASE)


def redact(url: str) -> str:
    """The URL without what may be a credential: the part before an @, and the query.

    >>> redact("https://bob:secret@example.com/export/?signature=abc")
    'https://***@example.com/export/?***'
    """
    if "://" not in url:
        return url
    return _QUERY.sub("?***", _CREDENTIALS.sub("***@", _QUERY_OR_SECRET.sub("***", url)))


def secrets_in(option: object, name: str = "") -> Iterator[str]:
    """The storage options that are secrets, by their names; those of a nested option inherit its name."""
    if isinstance(option, dict):
        for key, value in option.items():
            yield from secrets_in(value, f"{name} {key}")
    elif isinstance(option, list | tuple):
        for value in option:
            yield from secrets_in(value, name)
    elif isinstance(option, str) and option and (_SENSITIVE_NAME.search(name) or redact(option) != option):
        yield option


def can_show_one(error: BaseException, secrets: list[str]) -> bool:
    """Whether a text in the error's chain can show a credential, one of `secrets` or another."""
    texts = [f"{one} {one!r} {vars(one)}" for one in chain(error)]
    return any(_SENSITIVE_TEXT.search(text) or any(secret in text for secret in secrets) for text in texts)
