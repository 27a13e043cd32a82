"""The reader of revisions: files opened and read, one after another, in the order given."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from typing import TYPE_CHECKING, Protocol, TypedDict, TypeVar

from attrs import frozen

from kmexport.arguments import check_list, check_whole
from kmexport.errors import RevisionNotFoundError
from kmexport.parsing.counts import LineCounts
from kmexport.parsing.records import OnError, check_counts, check_policy, read_lists
from kmexport.parsing.selection import Identities, Selection
from kmexport.parsing.stream import MAX_LINE_BYTES, BinaryFile
from kmexport.records import Alias, Record
from kmexport.revisions.manifest import Revision, is_revision_name
from kmexport.storage.folder import Folder
from kmexport.storage.open_files import Progress, check_progress, progress_bar

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from fsspec.callbacks import Callback

logger: logging.Logger = logging.getLogger("kmexport")

T = TypeVar("T")
_Found_co = TypeVar("_Found_co", covariant=True)


class ReadKeywords(TypedDict, total=False):
    """Further arguments of `read` and `iter_records`, for their types."""

    people: Identities
    on_error: OnError
    callback: Progress
    counts: LineCounts | None


@frozen
class ReadOptions:
    """The options of a reading, checked when they are made."""

    on_error: OnError = "raise"
    callback: Progress = None
    counts: LineCounts | None = None
    max_line_bytes: int = MAX_LINE_BYTES
    selection: Selection | None = None
    executor: Executor | None = None
    ahead: int | None = None

    def __attrs_post_init__(self) -> None:
        check_executor(self.executor, self.ahead)
        check_counts(self.counts)
        check_policy(self.on_error, self.max_line_bytes)
        check_progress(self.callback)


class ReadFile(Protocol[_Found_co]):
    """A function that reads one open file: it yields what it finds and returns its counts, also in `reading.counts`."""

    def __call__(
        self, file: BinaryFile, revision: Revision, reading: ReadOptions, /
    ) -> Generator[_Found_co, None, LineCounts]: ...


class ReadGroup(Protocol[_Found_co]):
    """A way to read revisions. It travels to the workers, so it is picklable; what it gives travels back."""

    def __call__(
        self, folder: Folder, revisions: Sequence[Revision], reading: ReadOptions, /
    ) -> Iterator[_Found_co]: ...


def read_records(
    file: BinaryFile, revision: Revision, reading: ReadOptions
) -> Generator[list[Record], None, LineCounts]:
    """Yield the wanted records of one revision, in lists."""
    return read_lists(
        file, revision.path, reading.on_error, reading.max_line_bytes, reading.counts, selection=reading.selection
    )


@frozen
class Links:
    """Some aliases of a revision: pairs of identities, and the first and the last second of them."""

    revision: Revision
    pairs: list[tuple[str, str]]
    span: tuple[int, int]


def read_links(file: BinaryFile, revision: Revision, reading: ReadOptions) -> Generator[Links, None, LineCounts]:
    """Read the aliases of one revision; `reading` selects them."""
    with closing(read_records(file, revision, reading)) as lists:
        while True:
            try:
                aliases = [record for record in next(lists) if isinstance(record, Alias)]
            except StopIteration as end:
                counts: LineCounts = end.value
                return counts
            if aliases:
                times = [alias.timestamp for alias in aliases]
                yield Links(revision, [(one.person, one.alias) for one in aliases], (min(times), max(times)))


def read_revisions(
    folder: Folder,
    revisions: Sequence[Revision],
    reading: ReadOptions,
    read_file: ReadFile[T],
) -> Generator[T, None, None]:
    """Open each revision in the order given, and yield what `read_file` finds in it."""
    with closing(open_revisions(folder, revisions, reading)) as openings:
        for revision, opening in openings:
            is_open = False
            try:
                with opening as file:
                    is_open = True
                    counts = yield from read_file(file, revision, reading)
                    if counts == LineCounts() and revision.has_range:
                        # A web server that fails may answer with no bytes and success; nothing else would tell.
                        logger.warning("%s: is empty, and the index says that it holds records", revision.path)
            except RevisionNotFoundError:
                if reading.on_error != "skip":
                    raise
                rest = "the rest of it" if is_open else "it"
                logger.warning("%s: the file is gone; %s was left out", revision.path, rest)


def set_size(callback: Callback | None, revisions: Sequence[Revision]) -> None:
    """Tell a callback how many bytes are read in all, where the storage tells the size of each revision."""
    sizes = [revision.size for revision in revisions if revision.size is not None]
    if callback is not None and len(sizes) == len(revisions):
        callback.set_size(sum(sizes))


def open_revisions(
    folder: Folder,
    revisions: Sequence[Revision],
    reading: ReadOptions,
    *,
    unpack: bool = True,
) -> Generator[tuple[Revision, AbstractContextManager[BinaryFile]], None, None]:
    """Yield each revision with what opens it. The callback moves as it is read, at the end by its whole size."""
    with progress_bar(reading.callback) as callback:
        set_size(callback, revisions)
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


def check_executor(executor: object, ahead: int | None) -> None:
    """Raise TypeError for anything but an executor and a whole number, and ValueError for a number of tasks below 1."""
    if executor is not None:
        from concurrent.futures import Executor  # noqa: PLC0415  # it loads much

        if not isinstance(executor, Executor):
            way_out = ": give client.get_executor()" if hasattr(executor, "get_executor") else ""
            msg = f"executor is a concurrent.futures.Executor, not {type(executor).__name__}{way_out}"
            raise TypeError(msg)
    if ahead is not None:
        check_whole("ahead", ahead, 1, "tasks")


def check_revisions(revisions: Iterable[Revision | int]) -> list[Revision | int]:
    """Check revisions or their numbers. TypeError for anything else, ValueError for a path out of revisions/."""
    if isinstance(revisions, Revision | int):
        msg = f"several revisions belong there: write [{revisions!r}]"
        raise TypeError(msg)
    check_list("revisions", revisions, "revisions or their numbers")
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
