"""The cursor of a job: the revisions that it has read, so that the next run reads the others."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Protocol, Self

import msgspec

from kmexport.arguments import check_list
from kmexport.errors import CursorConflictError, CursorFormatError
from kmexport.revisions.manifest import Revision
from kmexport.storage.atomic import atomic_write, local_path, lock_file, read_bytes, unlock_file
from kmexport.storage.credentials import public_name

_FORMAT: Final = "kmexport cursor 1"
_MOST: Final = 10_000_000


class _HasRevisions(Protocol):
    """A Bucket."""

    def revisions(self) -> list[Revision]: ...


class _Saved(msgspec.Struct, forbid_unknown_fields=True):
    """The content of a file: the numbers as ranges that include both ends, and their count."""

    format: str
    count: int
    revisions: list[tuple[int, int]]


class Cursor:
    """The revisions that a job has read: each one, not only the highest.

    Revisions may arrive late, below the highest number, and copies of a bucket in any order: those are unread too. Load
    it when the job begins, tell it what is done, and save it last. A job that fails before that reads the same
    revisions again.

    >>> from kmexport import Bucket
    >>> cursor = Cursor([1, 2, 4])
    >>> [revision.number for revision in cursor.unread(Bucket.sample())][:3]
    [3, 5, 6]
    >>> cursor.done([3, 5])
    >>> cursor
    <Cursor: 5 revisions done, up to 5>
    """

    def __init__(self, revisions: Iterable[Revision | int] = ()) -> None:
        self._done: set[int] = set()
        self._loaded: bytes | None = None  # the content of the file, None where there was none
        self.done(revisions)

    def __repr__(self) -> str:
        return f"<Cursor: {len(self._done):,} revisions done, up to {max(self._done, default=0)}>"

    def __contains__(self, revision: object) -> bool:
        number = revision.number if isinstance(revision, Revision) else revision
        return number in self._done

    def unread(self, bucket: _HasRevisions) -> list[Revision]:
        """List the revisions that are in the bucket now and not done, in order. Costs what `revisions()` costs.

        >>> from kmexport import Bucket
        >>> [revision.number for revision in Cursor(range(1, 12)).unread(Bucket.sample())]
        [12]
        """
        if not callable(getattr(bucket, "revisions", None)):
            msg = f"a Bucket is asked which revisions it has, not {type(bucket).__name__}: Bucket(url)"
            raise TypeError(msg)
        return [revision for revision in bucket.revisions() if revision.number not in self._done]

    def done(self, revisions: Iterable[Revision | int]) -> None:
        """Mark these revisions as read. Call it when what came of them is safe.

        Raises TypeError for anything but revisions and their numbers.

        >>> cursor = Cursor()
        >>> cursor.done([1, 2])
        >>> 2 in cursor, 3 in cursor
        (True, False)
        """
        if isinstance(revisions, Revision | int):
            msg = f"several revisions belong there: write [{revisions!r}]"
            raise TypeError(msg)
        check_list("revisions", revisions, "revisions or their numbers")
        numbers = set()
        for revision in revisions:
            number = revision.number if isinstance(revision, Revision) else revision
            if isinstance(number, bool) or not isinstance(number, int) or number < 0:
                msg = f"a revision is a Revision or its number, not {revision!r}"
                raise TypeError(msg)
            numbers.add(number)
        self._done |= numbers

    def save(self, path: str | os.PathLike[str], /, **storage_options: Any) -> None:
        """Write it to a path or an fsspec URL, whole or not at all; some 20 bytes for each gap in the numbers.

        Raises CursorConflictError where the file is not as this cursor has loaded or saved it: another job has saved
        one meanwhile, and what both have read would be forgotten. On a local disk no second job can come in
        between; on an object store one that saves in the same moment can.

        >>> Cursor([1, 2]).save("memory://job/cursor.json")
        >>> Cursor.load("memory://job/cursor.json")
        <Cursor: 2 revisions done, up to 2>
        """
        saved = _Saved(_FORMAT, len(self._done), _ranges(self._done))
        content = msgspec.json.encode(saved) + b"\n"
        with _alone_at(local_path(path, **storage_options)):
            if _content(path, storage_options) != self._loaded:
                raise CursorConflictError(public_name(path))
            with atomic_write(path, **storage_options) as file:
                file.write(content)
        self._loaded = content

    @classmethod
    def load(cls, path: str | os.PathLike[str], /, **storage_options: Any) -> Self:
        """Read the cursor that `save` has written; a new one where there is no such file yet.

        Raises CursorFormatError for anything that `save` did not write.

        >>> Cursor.load("memory://job/none.json")
        <Cursor: 0 revisions done, up to 0>
        """
        content = _content(path, storage_options)
        cursor = cls() if content is None else cls(_numbers(content, public_name(path)))
        cursor._loaded = content
        return cursor


def _ranges(numbers: set[int]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def _numbers(content: bytes, source: str) -> Iterator[int]:
    try:
        saved = msgspec.json.decode(content, type=_Saved)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise CursorFormatError(source, 1, None, f"this is no cursor ({error})") from error
    if saved.format != _FORMAT:
        raise CursorFormatError(source, 1, None, f"a cursor names its format, {_FORMAT!r}, not {saved.format!r:.60}")
    ends = [end for one in saved.revisions for end in one]
    if min(ends, default=0) < 0 or any(one > other for one, other in pairwise(ends)):
        raise CursorFormatError(source, 1, None, "the ranges of revisions are not in their order")
    if saved.count > _MOST:
        raise CursorFormatError(source, 1, None, f"{saved.count:,} revisions are more than any export has")
    if sum(last - first + 1 for first, last in saved.revisions) != saved.count:
        raise CursorFormatError(source, 1, None, f"the ranges do not hold the {saved.count} revisions that are counted")
    for first, last in saved.revisions:
        yield from range(first, last + 1)


def _content(path: str | os.PathLike[str], storage_options: dict[str, Any]) -> bytes | None:
    try:
        return read_bytes(path, **storage_options)
    except FileNotFoundError:
        return None


@contextmanager
def _alone_at(place: Path | None) -> Iterator[None]:
    """Keep other processes away from a local file."""
    if place is None:
        yield
        return
    with place.with_name(f".{place.name}.lock").open("ab") as lock:
        lock_file(lock)
        try:
            yield
        finally:
            unlock_file(lock)
