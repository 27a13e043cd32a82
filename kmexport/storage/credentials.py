"""Credentials, found: in an address, in storage options, in the environment, and in an error's text."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from itertools import chain as joined
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, unquote_plus

from kmexport.arguments import address_of
from kmexport.storage.faults import chain
from kmexport.storage.filesystems import layers

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["can_show_one", "public_name", "redact", "secrets_in", "secrets_of", "shows_one"]

_SENSITIVE = "key|secret|token|pass|pwd|user|login|auth|cred|sas|sig|conn|account|cookie|header|param"
_SENSITIVE_NAME = re.compile(_SENSITIVE, re.IGNORECASE)
_SECRET_VARIABLE = re.compile("secret|token|passw|pwd|credential|api_?key|access_?key|sas|conn", re.IGNORECASE)
# A configuration file may give a password as a number. Under other names numbers are time-outs, ports and sizes.
_SECRET_NUMBER = re.compile("passw|passphrase|pwd|secret|token|auth|cred|param", re.IGNORECASE)
_FOLDERS = ("PWD", "OLDPWD")  # of the shell: where it is and was
_SHORTEST_VARIABLE = 8  # characters; a shorter value stands in too many texts by chance

# What a server of Amazon, or one that speaks like it, repeats of a request, and the headers that an error holds.
_ECHOES = (
    "'(?:Proxy-)?Authorization'|'Cookie'|'X-Amz-Security-Token'|AWSAccessKeyId|Token-0|StringToSign|CanonicalRequest"
)
_SENSITIVE_TEXT = re.compile(rf"://[^\s/]+@|{_ECHOES}", re.IGNORECASE)
_PARAMETER = re.compile(r"(?:&|(?<![^\s=&])[^\s=&?]*+\?)([^\s=&]*+)=")  # of a query

# A scheme has two letters at least (C: is a drive). Chains may come before it: "simplecache::".
_SCHEME = re.compile(r"(?:[\w.+-]+::)*[A-Za-z][\w.+-]+:/*")
_AT = "(?:@|%(?:25)*40)"  # also percent-encoded, however often
_QUERY_OR_SECRET = re.compile(rf"[^?#]*[?#].*{_AT}.*", re.DOTALL)
_CREDENTIALS = re.compile(rf"\A[^?#]*{_AT}")
_QUERY = re.compile(r"[?#].*", re.DOTALL)
_AUTHORITY = re.compile(r"(?:^|(?<=://))[^/?#]*")
# A host with its port, where the archive of a chain may follow; the names that Amazon gives to access points.
_PLAIN_AUTHORITY = re.compile(r"(?:\[[\w:.%]*\]|[^:]*)(?::[0-9]*)?(?:::(?:[\w.+-]+:)?)?|arn:.*", re.DOTALL)
_LOCAL_PATH = re.compile(r"[/.~\\]|[A-Za-z]:[\\/]")
_FORGOTTEN_SCHEME = re.compile(rf"^[^@:]*:.*{_AT}", re.DOTALL)


def redact(url: str) -> str:
    """Hide what may be a credential in a URL: the part before an @, and the query.

    More is hidden than must be, for a secret may hold any character, those that end it in a URL too; and the URL
    may be misspelt.

    >>> redact("https://bob:secret@example.com/export/?signature=abc")
    'https://***@example.com/export/?***'
    >>> redact("https:/bob:secret%40example.com/export")
    'https:/***@example.com/export'
    """
    scheme = _SCHEME.match(url)
    if scheme is None:
        return url if _LOCAL_PATH.match(url) else _without_signature(_FORGOTTEN_SCHEME.sub("***@", url))
    rest = url[scheme.end() :]
    if _QUERY_OR_SECRET.fullmatch(rest):
        return f"{scheme[0]}***"
    rest = _QUERY.sub("?***", _CREDENTIALS.sub("***@", rest, count=1))
    return scheme[0] + _AUTHORITY.sub(lambda part: part[0] if _PLAIN_AUTHORITY.fullmatch(part[0]) else "***", rest)


def _without_signature(url: str) -> str:
    query = _QUERY.search(url)
    if query is None:
        return url
    names = (part.rpartition("=")[0] for part in query[0].split("&"))
    return _QUERY.sub("?***", url) if any(map(_SENSITIVE_NAME.search, names)) else url


def public_name(path: str | os.PathLike[str]) -> str:
    """Return the name of a file in a path or a URL, for messages: no folders, and nothing that may be a credential.

    >>> public_name("https://example.com/people.jsonl?signature=ab/cd")
    'people.jsonl'
    """
    return redact(address_of(path)).removesuffix("?***").replace(os.sep, "/").rpartition("/")[2]


def secrets_of(fs: AbstractFileSystem | None, options: Mapping[str, Any]) -> Iterator[str]:
    """Collect the secrets that a filesystem was given or found: in options, in the environment, in its session."""
    yield from secrets_in(options)
    for name, value in os.environ.items():
        if _SECRET_VARIABLE.search(name) and len(value) >= _SHORTEST_VARIABLE and name not in _FOLDERS:
            yield value
    for one in layers(fs):
        own = vars(one)
        yield from secrets_in(own.get("storage_options", {}))
        # botocore's, with what it read from a profile or was given by a role.
        if hasattr(found := getattr(own.get("session"), "_credentials", None), "__dict__"):
            yield from secrets_in(vars(found), "credentials")
        # Google's. Of these only what is called a token or a secret: the name of its host stands in every address.
        if hasattr(found := getattr(own.get("credentials"), "credentials", None), "__dict__"):
            yield from secrets_in(vars(found))


def secrets_in(option: object, name: str = "") -> Iterator[str]:
    """Collect the storage options whose names say that they are secrets; nested options inherit the name."""
    if isinstance(option, Mapping):
        for key, value in option.items():
            yield from secrets_in(value, f"{name} {key}")
    elif isinstance(option, list | tuple | set):
        for value in option:
            yield from secrets_in(value, name)
    elif isinstance(option, bytes):
        yield from secrets_in(option.decode("latin-1"), name)
    elif isinstance(option, int | float):
        if _SECRET_NUMBER.search(name) and not isinstance(option, bool):
            yield str(option)
    elif isinstance(option, str) and option and (_SENSITIVE_NAME.search(name) or redact(option) != option):
        yield option


def can_show_one(error: BaseException, secrets: list[str]) -> bool:
    """Tell whether a text in an error's chain can show a credential, one of `secrets` or another."""
    texts = joined.from_iterable((str(one), repr(one), repr(vars(one))) for one in chain(error))
    return any(shows_one(text, secrets) for text in texts)


def shows_one(text: str, secrets: list[str]) -> bool:
    """Tell whether a text can show a credential, one of `secrets` or another."""
    if _SENSITIVE_TEXT.search(text) or any(map(_SENSITIVE_NAME.search, _PARAMETER.findall(text))):
        return True
    spelt = {form for secret in secrets for form in (secret, repr(secret)[1:-1], unquote(secret))}
    # In a URL a secret may be percent-encoded, in more ways than one.
    forms = (text, unquote(text), unquote_plus(text))
    return any(secret in form for secret in spelt for form in forms)
