"""What a report is asked of: Facts that are ready, or a source of which it makes the small Facts that it needs."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from typing import Any, TypeAlias, TypedDict

from kmexport.bucket import Bucket
from kmexport.facts.source import Rule
from kmexport.parsing.records import OnError
from kmexport.records import Record
from kmexport.steps.identities import IdentityMap, Prefer
from kmexport.storage.open_files import Progress
from kmexport.tables import Facts

__all__ = ["Reading", "Source", "check_reading", "facts_of"]

logger: logging.Logger = logging.getLogger("kmexport")

# Facts; or a Bucket, the address of a lake, or records.
Source: TypeAlias = Facts | Bucket | str | os.PathLike[str] | Iterable[Record]


class Reading(TypedDict, total=False):
    """How a report reads a source that is no Facts: arguments of Facts."""

    margin: int | None
    identities: IdentityMap | None
    rule: Rule
    prefer: Prefer
    on_error: OnError
    callback: Progress


def check_reading(reading: dict[str, Any]) -> None:
    """TypeError for an argument that no reading has."""
    known = Reading.__annotations__
    if unknown := [name for name in reading if name not in known]:
        msg = f"there is no argument {unknown[0]!r}; how a source is read is said by {', '.join(known)}"
        raise TypeError(msg)


def facts_of(source: Source, reading: Reading, names: Iterable[str] | None, properties: Iterable[str] | bool) -> Facts:
    """Return ready Facts as they are, and of another source those with just these events (None: all) and properties."""
    check_reading(dict(reading))
    if isinstance(source, Facts):
        if reading:
            msg = f"{next(iter(reading))}= is said where Facts are made: Facts(source, {next(iter(reading))}=…)"
            raise TypeError(msg)
        return source
    if isinstance(source, Bucket):
        revisions = source.revisions()
        size = sum(revision.size or 0 for revision in revisions)
        logger.info(
            "a report reads %d revisions, %d bytes: Facts(bucket) reads them once for many", len(revisions), size
        )
    wanted = properties if isinstance(properties, bool) else sorted(set(properties)) or False
    return Facts(source, names=None if names is None else sorted(set(names)), properties=wanted, **reading)
