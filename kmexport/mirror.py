"""A plain copy of an export, file by file, that is brought up to date and outlives it."""

from __future__ import annotations

import html
import logging
import os
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import Any

from attrs import Factory, define

from kmexport.arguments import address_of
from kmexport.bucket import Bucket, check_bucket
from kmexport.errors import BucketNotFoundError, RevisionNotFoundError
from kmexport.revisions.listing import list_revisions
from kmexport.revisions.manifest import (
    Revision,
    is_revision_name,
    parse_status,
    read_index,
    revision_number,
    spell_index,
)
from kmexport.revisions.reader import ReadOptions, open_revisions
from kmexport.storage.folder import Folder
from kmexport.storage.open_files import Progress

logger: logging.Logger = logging.getLogger("kmexport")

_BLOCK = 1 << 20
_SHOWN = 10


@define
class MirrorSummary:
    """The summary of a run of `mirror`: the numbers of the `revisions` that it copied, and their `bytes`.

    `present` is the number that the copy had before. `grown` are paths that were copied again, for they are larger now;
    `shrunk` are those that are smaller now than their copy: the copy stays. `vanished` were gone when their turn came.
    """

    url: str
    present: int = 0
    revisions: list[int] = Factory(list)
    bytes: int = 0
    seconds: float = 0.0
    grown: list[str] = Factory(list)
    shrunk: list[str] = Factory(list)
    vanished: list[str] = Factory(list)

    @property
    def problems(self) -> list[str]:
        """Sentences on what a person should look at; empty on most nights."""
        return [
            *(f"{path} is larger now than its copy was, and was copied again" for path in self.grown),
            *(f"{path} is smaller now than its copy, which stays" for path in self.shrunk),
            *(f"{path} is gone: it was listed, or the index names it" for path in self.vanished),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers and the problems as what JSON can hold: `json.dumps(summary.to_dict())` is one line."""
        return {
            "url": self.url,
            "present": self.present,
            "revisions": self.revisions,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "problems": self.problems,
        }

    def __str__(self) -> str:
        """Say so in a few lines."""
        problems = self.problems
        more = [f"- and {len(problems) - _SHOWN:,} more"] if len(problems) > _SHOWN else []
        return "\n".join([self.headline, *(f"- {problem}" for problem in problems[:_SHOWN]), *more])

    @property
    def headline(self) -> str:
        """The numbers in a sentence, as `mirror` logs them at INFO."""
        took = f"{len(self.revisions):,} {'revision' if len(self.revisions) == 1 else 'revisions'}"
        return f"{self.url}: {took} copied to {self.present:,} ({self.bytes:,} bytes, {self.seconds:.1f} s)"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def mirror(
    bucket: Bucket,
    url: str | os.PathLike[str],
    *,
    callback: Progress = None,
    **storage_options: Any,
) -> MirrorSummary:
    """Copy the files that the copy of an export at `url` lacks, byte for byte; it is a bucket like the first one.

    For a raw copy that outlives the vendor: what is deleted there stays here. Each file is written whole or not at all,
    and its size is checked. The manifests come last, so the copy is a whole bucket at any moment, and the next run
    takes up what an ended one has left. A file that has grown is copied again. One that has shrunk is not: its copy
    stays, and the summary names it. The index keeps the rows of revisions that the vendor's no longer names; status.csv
    is the vendor's.

    `url` is any path or fsspec URL that can be written, and `storage_options` are those of its filesystem. `callback`
    is that of `Bucket.iter_records`. Costs the manifests and a listing of both, and reading and writing each new file
    once. Holds the `prefetch_bytes` of the bucket's limits, and the longest file. Two runs at once do no harm.

    Raises TypeError for an address in place of the bucket; BucketNotFoundError, StatusFormatError and IndexFormatError
    where there is no export, before anything is written; EmptyListingError where its files are gone;
    BucketUnreachableError, PermissionError and OSError for what can't be read or written.

    >>> copy = mirror(Bucket.sample(), "memory://archive/sample")
    >>> again = mirror(Bucket.sample(), "memory://archive/sample")
    >>> len(copy.revisions), len(again.revisions)
    (12, 0)
    >>> sum(1 for record in Bucket("memory://archive/sample").iter_records())
    2000
    """
    check_bucket(bucket, "mirror")
    reading = ReadOptions(callback=callback)
    begun = time.monotonic()
    source, target = bucket.folder, Folder(address_of(url), None, storage_options)
    status = source.read("status.csv")
    parse_status(status)
    index_text = source.read("index.csv")
    index = read_index(index_text)
    summary = MirrorSummary(target.public_url)
    here = list_revisions(source, index, warned=set()).select(None, 0, 0)
    _copy(source, target, _lacking(here, _files_of(target), summary), reading, summary)

    named = {revision.number for revision in index.revisions}
    older = [revision for revision in _old_rows(target) if revision.number not in named]
    if older:
        index_text = spell_index(sorted([*index.revisions, *older]))
    target.write("index.csv", index_text)
    target.write("status.csv", status)
    for folder in ("", "revisions"):
        target.remove_old_parts(folder)
    summary.seconds = time.monotonic() - begun
    logger.info("%s", summary.headline)
    return summary


def _files_of(target: Folder) -> dict[str, int | None]:
    """List the copies that are there: path and size."""
    try:
        files = target.list("revisions")
    except BucketNotFoundError:
        return {}
    return {f"revisions/{name}": size for name, size in files if is_revision_name(name)}


def _lacking(revisions: Sequence[Revision], there: dict[str, int | None], summary: MirrorSummary) -> list[Revision]:
    numbers = set(map(revision_number, there))
    summary.present = len(numbers)
    lacking = []
    for revision in revisions:
        if revision.number not in numbers:
            lacking.append(revision)
            continue
        size = there.get(revision.path)
        if size is None or revision.size is None:
            continue  # packed by another hand, or of unknown size: it is whole, for it was written so
        if size < revision.size:
            lacking.append(revision)
            summary.grown.append(revision.path)
        elif size > revision.size:
            summary.shrunk.append(revision.path)
    return lacking


def _copy(
    source: Folder, target: Folder, revisions: Sequence[Revision], reading: ReadOptions, summary: MirrorSummary
) -> None:
    with closing(open_revisions(source, revisions, reading, unpack=False)) as openings:
        for revision, opening in openings:
            try:
                with opening as file:
                    content = b"".join(iter(partial(file.read, _BLOCK), b""))
            except RevisionNotFoundError:
                summary.vanished.append(revision.path)
                logger.warning("%s: the file is gone; it was left out", revision.path)
                continue
            target.write(revision.path, content)
            summary.revisions.append(revision.number)
            summary.bytes += len(content)


def _old_rows(target: Folder) -> list[Revision]:
    try:
        return read_index(target.read("index.csv")).revisions
    except BucketNotFoundError:
        return []
