"""Every error that the library raises itself, each with its facts as attributes."""

from __future__ import annotations

import errno
from collections.abc import Sequence

__all__ = [
    "BucketNotFoundError",
    "BucketUnreachableError",
    "CursorConflictError",
    "CursorFormatError",
    "EmptyListingError",
    "EntangledLinesError",
    "ExecutorError",
    "FactsDatabaseError",
    "FactsLeftOutError",
    "FactsMemoryError",
    "IdentityMapFormatError",
    "IndexFormatError",
    "KmExportError",
    "LakeFormatError",
    "LakeNotFoundError",
    "LateRecordError",
    "MalformedRecordError",
    "OtherFactsError",
    "OtherProcessError",
    "RevisionChangedError",
    "RevisionNotFoundError",
    "StatusFormatError",
    "UnknownNameError",
]


class KmExportError(Exception):
    """The base of every error that kmexport raises itself.

    >>> issubclass(MalformedRecordError, KmExportError)
    True
    """


class _StorageError(KmExportError, OSError):
    _number = errno.EIO
    _advice = ""

    def __init__(self, url: str, reason: str, advice: str | None = None) -> None:
        super().__init__(self._number, reason, url)
        self.url = url
        self.reason = reason
        self.advice: str = self._advice if advice is None else advice

    def __str__(self) -> str:
        return f"{self.url}: {self.reason}. {self.advice}".rstrip()

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.url, self.reason, self.advice)


class BucketNotFoundError(_StorageError, FileNotFoundError):
    """There is no export at the address: `.url` (without credentials) and `.reason` say what is missing.

    It is a `FileNotFoundError` too, so code that handles missing files handles it.

    >>> raise BucketNotFoundError("memory://shop", "there is no index.csv")
    Traceback (most recent call last):
        ...
    kmexport.errors.BucketNotFoundError: memory://shop: there is no index.csv. An export has status.csv, ...
    """

    _number = errno.ENOENT
    _advice = "An export has status.csv, index.csv and a folder revisions/; check the address and the prefix."


class EmptyListingError(KmExportError, FileNotFoundError):
    """The index names revisions and the listing of revisions/ has none: `.url`, and how many are `.named`.

    `.others` are some paths of other files that are there, such as revisions/12.json.zip. A listing that fails can look
    like an empty folder, so this is never taken for an export without records.

    >>> raise EmptyListingError("s3://acme", 473)
    Traceback (most recent call last):
        ...
    kmexport.errors.EmptyListingError: s3://acme: the index names 473 revisions, and none of them is in revisions/. ...
    """

    def __init__(self, url: str, named: int, others: Sequence[str] = ()) -> None:
        super().__init__(errno.ENOENT, "the listing is empty", url)
        self.url = url
        self.named = named
        self.others: tuple[str, ...] = tuple(others)

    def __str__(self) -> str:
        are = "1 revision, and it is not" if self.named == 1 else f"{self.named} revisions, and none of them is"
        there = f" What is there has other names: {', '.join(self.others)}; .json and .json.gz are read." * bool(
            self.others
        )
        return (
            f"{self.url}: the index names {are} in revisions/.{there} Check that the files are there and that you may "
            "list them. Bucket.read(bucket.index()) reads them without a listing; after=N passes over rows of files "
            "that were moved away."
        )

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.url, self.named, self.others)


class RevisionNotFoundError(KmExportError, FileNotFoundError):
    """The file of a revision is not there: `.source` names it. It was listed, or an index or your number names it."""

    def __init__(self, source: str) -> None:
        super().__init__(errno.ENOENT, "the revision is gone", source)
        self.source = source

    def __str__(self) -> str:
        return (
            f"{self.source}: the file is gone, or was never there. Bucket.revisions() lists what is there; to read the "
            'others, pass on_error="skip".'
        )

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.source,)


class RevisionChangedError(KmExportError, OSError):
    """A revision was replaced while it was read: `.source` names it, `.reason` says how it shows.

    What came of it before the error is of the old version. Nothing of the new one came out.

    >>> raise RevisionChangedError("revisions/12.json", "it was written over")
    Traceback (most recent call last):
        ...
    kmexport.errors.RevisionChangedError: revisions/12.json: the file was replaced while it was read (it was ...
    """

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(errno.ESTALE, reason, source)
        self.source = source
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"{self.source}: the file was replaced while it was read ({self.reason}). "
            "List again with Bucket.revisions(), and read this revision again from its beginning."
        )

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.source, self.reason)


class OtherProcessError(KmExportError, RuntimeError):
    """Something belongs to the process that made it, and a forked one used it: `.what` says what.

    >>> raise OtherProcessError("the iterator")
    Traceback (most recent call last):
        ...
    kmexport.errors.OtherProcessError: the iterator belongs to another process. Make one in each process.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"{self.what} belongs to another process. Make one in each process."


class ExecutorError(KmExportError, RuntimeError):
    """The executor that was given as executor= failed: `.reason` says how, `.advice` what to do.

    A worker was killed, the executor was shut down, or what it would need can't be sent to another process.

    >>> raise ExecutorError("it was shut down before all was read", "Give one that is open")
    Traceback (most recent call last):
        ...
    kmexport.errors.ExecutorError: executor=: it was shut down before all was read. Give one that is open.
    """

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason, advice)
        self.reason = reason
        self.advice = advice

    def __str__(self) -> str:
        return f"executor=: {self.reason}. {self.advice}."


class BucketUnreachableError(_StorageError):
    """The storage did not answer as storage: `.url`, `.reason` with the storage's own words, and `.advice`.

    The cause is the storage library's error. Its words and the error itself are left out where they show a credential.
    """

    _advice = "Check the network, the endpoint and the credentials."


class _ManifestFormatError(KmExportError, ValueError):
    def __init__(self, source: str, line_number: int, column: str | None, reason: str) -> None:
        super().__init__(source, line_number, column, reason)
        self.source = source
        self.line_number = line_number
        self.column = column
        self.reason = reason

    def __str__(self) -> str:
        column = f", column {self.column}" if self.column is not None else ""
        return f"{self.source}, line {self.line_number}{column}: {self.reason}."


class StatusFormatError(_ManifestFormatError):
    """status.csv holds something else than a status: `.source`, `.line_number`, `.column`, `.reason`."""


class IndexFormatError(_ManifestFormatError):
    """index.csv holds something else than an index: `.source`, `.line_number`, `.column`, `.reason`."""


class MalformedRecordError(KmExportError, ValueError):
    """A line of a revision could not be read as a record, nor repaired.

    `.source` is the file, `.line_number` counts from 1, `.reason` says why, and `.raw` is the line as
    bytes without its newline (of a line above the limit of bytes only the beginning).

    >>> str(MalformedRecordError("revisions/12.json", 4711, "there is no _p", b"{}"))
    'revisions/12.json, line 4711: there is no _p. Pass on_error="skip" to go on.'
    """

    def __init__(self, source: str, line_number: int, reason: str, raw: bytes) -> None:
        super().__init__(source, line_number, reason, raw)
        self.source = source
        self.line_number = line_number
        self.reason = reason
        self.raw = raw

    def __str__(self) -> str:
        return f'{self.source}, line {self.line_number}: {self.reason}. Pass on_error="skip" to go on.'


class EntangledLinesError(KmExportError, ValueError):
    """Without a person's lines, those of others would be read otherwise: `.source` is the file.

    >>> raise EntangledLinesError("revisions/12.json")
    Traceback (most recent call last):
        ...
    kmexport.errors.EntangledLinesError: revisions/12.json: without their lines, those of others would be ...
    """

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self.source = source

    def __str__(self) -> str:
        return (
            f"{self.source}: without their lines, those of others would be read otherwise, since lines that can't be "
            "read stand between, or the file is packed and breaks off. Edit a copy of this file by hand, and start "
            "from that copy."
        )


class IdentityMapFormatError(_ManifestFormatError):
    """A saved identity map holds something else: `.source`, `.line_number`, `.column`, `.reason`."""


class CursorFormatError(_ManifestFormatError):
    """A saved cursor holds something else: `.source`, `.line_number`, `.column`, `.reason`."""


class CursorConflictError(KmExportError, RuntimeError):
    """Another job has saved a cursor since it was loaded: `.source` names the file.

    >>> raise CursorConflictError("cursor.json")
    Traceback (most recent call last):
        ...
    kmexport.errors.CursorConflictError: cursor.json: another job has saved this cursor since it was loaded. ...
    """

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self.source = source

    def __str__(self) -> str:
        return (
            f"{self.source}: another job has saved this cursor since it was loaded. "
            "Run one job at a time; load the cursor again and read what is unread."
        )


class LakeNotFoundError(_StorageError, FileNotFoundError):
    """There is no lake at the address, or a file of it is gone: `.url` (without credentials) and `.reason`."""

    _number = errno.ENOENT
    _advice = "kmexport.lake.sync(bucket, url) makes a lake; an export is a Bucket(url)."


class LakeFormatError(KmExportError, ValueError):
    """There is something else than a lake of this version at the address: `.url` (without credentials), `.reason`.

    >>> raise LakeFormatError("s3://acme-lake", "kmexport did not make its table records")
    Traceback (most recent call last):
        ...
    kmexport.errors.LakeFormatError: s3://acme-lake: kmexport did not make its table records. Nothing was written.
    """

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.url}: {self.reason}. Nothing was written."


class LateRecordError(KmExportError, ValueError):
    """A record came later than the sort could wait: `.record`, and `.delay` and `.max_delay` in seconds.

    >>> raise LateRecordError("a record", 90, 60)
    Traceback (most recent call last):
        ...
    kmexport.errors.LateRecordError: a record came 90 seconds behind a newer one, and max_delay is 60. ...
    """

    def __init__(self, record: object, delay: int, max_delay: int) -> None:
        super().__init__(record, delay, max_delay)
        self.record = record
        self.delay = delay
        self.max_delay = max_delay

    def __str__(self) -> str:
        return (
            f"{self.record} came {self.delay} seconds behind a newer one, and max_delay is {self.max_delay}. "
            "Pass a larger max_delay, or on_late= to take such records out of the stream."
        )


class UnknownNameError(KmExportError, LookupError):
    """No record has an event or a property of that name: `.kind` ("event", "property"), `.name`, `.closest`.

    >>> raise UnknownNameError("event", "singed up", ["signed up"])
    Traceback (most recent call last):
        ...
    kmexport.errors.UnknownNameError: no record has the event 'singed up'. The closest name is 'signed up'.
    """

    def __init__(self, kind: str, name: str, closest: list[str]) -> None:
        super().__init__(kind, name, closest)
        self.kind = kind
        self.name = name
        self.closest = closest

    def __str__(self) -> str:
        sentence = f"no record has the {self.kind} {self.name!r}."
        if not self.closest:
            table = "events" if self.kind == "event" else "properties"
            return f'{sentence} Facts(…).sql("from {table}") shows what there is.'
        names = ", ".join(map(repr, self.closest))
        return f"{sentence} The closest {'names are' if len(self.closest) > 1 else 'name is'} {names}."


class FactsDatabaseError(KmExportError, OSError):
    """DuckDB can't use a file or a folder that Facts need: `.path`, `.reason` (DuckDB's own words) and `.advice`.

    >>> way_out = "Close it in the other process"
    >>> raise FactsDatabaseError("facts.duckdb", "it is locked", way_out)
    Traceback (most recent call last):
        ...
    kmexport.errors.FactsDatabaseError: facts.duckdb: it is locked. Close it in the other process.
    """

    def __init__(self, path: str, reason: str, advice: str) -> None:
        super().__init__(errno.EIO, reason, path)
        self.path = path
        self.reason = reason
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}. {self.advice}."

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.path, self.reason, self.advice)


class FactsMemoryError(MemoryError, KmExportError):  # in this order tblib, so Dask, can make it anew
    """Facts need more memory, or more room on disk, than they may take: `.path` of that folder, and `.reason`."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"{self.path}: memory and this folder don't hold the facts ({self.reason}). Give Facts a larger "
            "memory_limit=, a temp_directory= with more room, or fewer threads=; or ask for less: names=, properties=."
        )


class OtherFactsError(KmExportError, FileExistsError):
    """A database file holds something else than the facts that are asked for: `.path` and `.reason`.

    >>> raise OtherFactsError("facts.duckdb", "holds other tables")
    Traceback (most recent call last):
        ...
    kmexport.errors.OtherFactsError: facts.duckdb is there already and holds other tables. Name a new file as ...
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(errno.EEXIST, reason, path)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path} is there already and {self.reason}. Name a new file as database=, or remove this one."

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.path, self.reason)


class FactsLeftOutError(KmExportError, LookupError):
    """A query asks Facts for something that they were told not to read: `.what`, and the argument `.made_with`.

    >>> raise FactsLeftOutError("the table properties", "properties=False")
    Traceback (most recent call last):
        ...
    kmexport.errors.FactsLeftOutError: the table properties was not read: these facts were made with ...
    """

    def __init__(self, what: str, made_with: str) -> None:
        super().__init__(what, made_with)
        self.what = what
        self.made_with = made_with

    def __str__(self) -> str:
        name = self.made_with.partition("=")[0]
        return (
            f"{self.what} was not read: these facts were made with {self.made_with}. "
            f"Make them without {name}=, or with what you ask for in it."
        )
