"""Checks of arguments that many functions take: each error says what belongs there, at the call.

Without them a wrong one ends somewhere inside, as an AttributeError that names neither the argument nor the way out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

__all__ = ["address_of", "check_list", "check_records", "check_type", "check_whole"]


def check_whole(name: str, value: object, least: int, unit: str = "") -> None:
    """Raise TypeError for anything but a whole number, and ValueError for one below the least.

    >>> check_whole("requests", 0, 1)
    Traceback (most recent call last):
    ValueError: requests is at least 1, not 0
    >>> check_whole("within", "5", 1, "seconds")
    Traceback (most recent call last):
    TypeError: within is a whole number of seconds, not '5'
    """
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"{name} is a whole number{unit and f' of {unit}'}, not {value!r}"
        raise TypeError(msg)
    if value < least:
        msg = f"{name} is at least {least}, not {value}"
        raise ValueError(msg)


def check_type(name: str, value: object, kind: type | tuple[type, ...], what: str) -> None:
    """Raise TypeError for anything but an object of a class; `what` names the class, or says where to get it.

    >>> check_type("title", None, str, "text")
    Traceback (most recent call last):
    TypeError: title is text, not NoneType
    """
    if not isinstance(value, kind):
        msg = f"{name} is {what}, not {type(value).__name__}"
        raise TypeError(msg)


def check_list(name: str, value: object, what: str = "names") -> None:
    """Raise TypeError for one text, and for anything that no loop takes.

    >>> check_list("steps", "signed up", "events")
    Traceback (most recent call last):
    TypeError: steps is a list of events, not 'signed up'
    """
    if isinstance(value, str | bytes) or not (hasattr(value, "__iter__") or hasattr(value, "__getitem__")):
        msg = f"{name} is a list of {what}, not {value!r}"
        raise TypeError(msg)


def check_records(records: object) -> None:
    """Raise TypeError for anything but records: most often a Bucket, or lines, or the dicts of a JSON parser.

    Of a list the first one is looked at; what a generator gives is not known before it is asked.

    >>> check_records([{"_p": "bob", "_t": 1349222400}])
    Traceback (most recent call last):
    TypeError: records are Event, PropertySet or Alias, not dict: iter_records(lines) reads them
    """
    is_text = isinstance(records, str | bytes | Mapping | os.PathLike)
    if is_text or not (hasattr(records, "__iter__") or hasattr(records, "__getitem__")):
        msg = f"records are asked for, not {type(records).__name__}: take those of a Bucket, bucket.iter_records()"
        raise TypeError(msg)
    if isinstance(records, Sequence) and records and not hasattr(records[0], "person"):
        given = type(records[0]).__name__
        msg = f"records are Event, PropertySet or Alias, not {given}: iter_records(lines) reads them"
        raise TypeError(msg)


def address_of(url: str | os.PathLike[str]) -> str:
    """Return a path or a URL as text. Raises TypeError for anything else, bytes too.

    >>> address_of(b"shop")
    Traceback (most recent call last):
    TypeError: an address is text or a path (os.PathLike), not bytes
    """
    text: object = os.fspath(url) if isinstance(url, os.PathLike) else url
    if not isinstance(text, str):
        msg = f"an address is text or a path (os.PathLike), not {type(url).__name__}"
        raise TypeError(msg)
    return text
