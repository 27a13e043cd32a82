"""What a target can't take: the reason inside, and the error that users see."""

from __future__ import annotations

from kmexport.cells import quoted
from kmexport.errors import KmExportError
from kmexport.moments import spell_moment
from kmexport.records import Alias, Event, Record

__all__ = ["MigrationError", "Refused"]


class Refused(Exception):  # noqa: N818  # it never leaves the package
    """Says why a target can't take a record; who converts adds which record."""


class MigrationError(KmExportError, ValueError):
    """A target can't take a record: `.target` names it, `.reason` says why, `.record` is the record.

    `.person`, `.timestamp` (unix seconds) and `.name` are the record's: the name of an event, the second identity of an
    alias, None for a property set.

    >>> alias = Alias("bob@example.com", 1349222400, "7")
    >>> raise MigrationError("Amplitude", alias, "the alias has 1 characters")
    Traceback (most recent call last):
        ...
    kmexport.migrate.refusals.MigrationError: alias '7' of 'bob@example.com' at 1349222400 (2012-10-03T00:00:00Z): ...
    """

    def __init__(self, target: str, record: Record, reason: str) -> None:
        super().__init__(target, record, reason)
        self.target = target
        self.record = record
        self.reason = reason

    @property
    def person(self) -> str:
        """The identity in the record."""
        return self.record.person

    @property
    def timestamp(self) -> int:
        """The record's unix seconds."""
        return self.record.timestamp

    @property
    def name(self) -> str | None:
        """The name of an event, the second identity of an alias, None for a property set."""
        if isinstance(self.record, Event):
            return self.record.name
        return self.record.alias if isinstance(self.record, Alias) else None

    def __str__(self) -> str:
        kind = {Event: "event", Alias: "alias"}.get(type(self.record), "property set")
        name = "" if self.name is None else f" {quoted(str(self.name))}"
        what = f"{kind}{name} of {quoted(str(self.person))} at {spell_moment(self.timestamp)}"
        return f'{what}: {self.target} can\'t take it ({self.reason}). Pass on_error="skip" to go on without it.'
