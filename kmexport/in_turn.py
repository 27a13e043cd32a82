"""Revisions opened one after another: fetched ahead, counted, and what happens to one that is gone."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Sequence
from contextlib import AbstractContextManager, closing
from typing import Protocol, TypedDict, TypeVar

from attrs import frozen

from kmexport.errors import RevisionNotFoundError
from kmexport.files import BinaryFile
from kmexport.limits import MAX_LINE_BYTES
from kmexport.manifest import Revision, is_revision_name
from kmexport.reading import (
    LineCounts,
    OnError,
    People,
    Selection,
    check_counts,
    check_policy,
    read_lists,
)
from kmexport.records import Record
from kmexport.storage import Folder, Progress, check_progress, progress_bar

__all__ = [
    "ReadFile",
    "ReadOptions",
    "Reading",
    "check_revisions",
    "open_in_turn",
    "read_in_turn",
    "read_records",
]

logger: logging.Logger = logging.getLogger("kmexport")

T = TypeVar("T")
_Found_co = TypeVar("_Found_co", covariant=True)


class ReadOptions(TypedDict, total=False):
    """Further arguments of `read` and `iter_records`, for their types."""

    people: People
    on_error: OnError
    callback: Progress
    counts: LineCounts | None


@frozen
class Reading:
    """How revisions are read, and who is told of it. Raises for what can't be, as the caller calls."""

    on_error: OnError = "raise"
    callback: Progress = None
    counts: LineCounts | None = None
    max_line_bytes: int = MAX_LINE_BYTES
    selection: Selection | None = None

    def __attrs_post_init__(self) -> None:
        check_counts(self.counts)
        check_policy(self.on_error, self.max_line_bytes)
        check_progress(self.callback)


class ReadFile(Protocol[_Found_co]):
    """How one open file is read: what it gives, and at the end its counts, which `reading.counts` has too."""

    def __call__(
        self, file: BinaryFile, revision: Revision, reading: Reading, /
    ) -> Generator[_Found_co, None, LineCounts]: ...


def read_records(file: BinaryFile, revision: Revision, reading: Reading) -> Generator[list[Record], None, LineCounts]:
    """The wanted records of one revision, in lists."""
    return read_lists(
        file, revision.path, reading.on_error, reading.max_line_bytes, reading.counts, selection=reading.selection
    )


def read_in_turn(
    folder: Folder,
    revisions: Sequence[Revision],
    reading: Reading,
    read_file: ReadFile[T],
) -> Generator[T, None, None]:
    """What `read_file` gives of each revision, in the order given."""
    with closing(open_in_turn(folder, revisions, reading)) as openings:
        for revision, opening in openings:
            is_open = False
            try:
                with opening as file:
                    is_open = True
                    counts = yield from read_file(file, revision, reading)
                    if counts == LineCounts() and revision.has_records:
                        # A web server that fails may answer with no bytes and success; nothing else would tell.
                        logger.warning("%s: is empty, and the index says that it holds records", revision.path)
            except RevisionNotFoundError:
                if reading.on_error != "skip":
                    raise
                rest = "the rest of it" if is_open else "it"
                logger.warning("%s: the file is gone; %s was left out", revision.path, rest)


def open_in_turn(
    folder: Folder,
    revisions: Sequence[Revision],
    reading: Reading,
    *,
    unpack: bool = True,
) -> Generator[tuple[Revision, AbstractContextManager[BinaryFile]], None, None]:
    """Each revision with what opens it; the callback moves as it is read, and by its size in all."""
    sizes = [revision.size for revision in revisions if revision.size is not None]
    with progress_bar(reading.callback) as callback:
        if callback is not None and len(sizes) == len(revisions):
            callback.set_size(sum(sizes))
        openings = folder.open_each(
            [(revision.path, revision.size) for revision in revisions],
            callback=callback,
            unpack=unpack,
        )
        with closing(openings):
            for revision, opening in zip(revisions, openings, strict=True):
                moved = callback.value if callback is not None else 0
                yield revision, opening
                if callback is not None and revision.size is not None:
                    # What was left out is done with too.
                    callback.relative_update(revision.size - (callback.value - moved))


def check_revisions(revisions: Iterable[Revision | int]) -> list[Revision | int]:
    """Revisions or their numbers as a list. TypeError for anything else, ValueError for a path out of revisions/."""
    if isinstance(revisions, Revision | int):
        msg = f"several revisions belong there: write [{revisions!r}]"
        raise TypeError(msg)
    checked = list(revisions)
    for revision in checked:
        if isinstance(revision, bool) or not isinstance(revision, Revision | int):
            msg = f"a revision is a Revision or its number, not {revision!r}"
            raise TypeError(msg)
        if isinstance(revision, Revision):
            folder, _, name = revision.path.partition("/")
            if folder != "revisions" or not is_revision_name(name):
                msg = f"the path of a revision is such as 'revisions/1.json', not {revision.path!r}"
                raise ValueError(msg)
    return checked
