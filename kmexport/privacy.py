"""A copy of an export without one person: their lines are cut out, and every other byte stays."""

from __future__ import annotations

import gzip
import io
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

from attrs import Factory, define

from kmexport.arguments import address_of
from kmexport.bucket import Bucket, check_bucket
from kmexport.errors import BucketNotFoundError, EntangledLinesError, MalformedRecordError
from kmexport.format.octal import mention_test
from kmexport.parsing.blocks import iter_blocks
from kmexport.parsing.counts import LineCounts
from kmexport.parsing.lines import parse_blocks
from kmexport.parsing.records import iter_records
from kmexport.parsing.selection import is_of
from kmexport.parsing.stream import MAX_LINE_BYTES
from kmexport.records import Record
from kmexport.revisions.reader import ReadOptions, open_revisions
from kmexport.steps.dump import dump_records
from kmexport.steps.identities import identities_asked_for
from kmexport.storage.folder import Folder
from kmexport.storage.open_files import Progress


@define
class CopySummary:
    """Summary of `without_person`: the numbers of the `revisions` that lost lines, and how many `records` went.

    `identities` are those that went. `unreadable` are lines that can't be read and name one of them, in any
    spelling: they may be theirs, and are in the copy still. Look at each.
    """

    url: str
    identities: frozenset[str]
    revisions: list[int] = Factory(list)
    records: int = 0
    copied: int = 0
    unreadable: list[MalformedRecordError] = Factory(list)
    seconds: float = 0.0

    @property
    def problems(self) -> list[str]:
        """List what should be looked at, in sentences."""
        nothing = ["no record is under what was asked for: compare the spelling"] if not self.records else []
        return nothing + [
            f"{error.source}, line {error.line_number} can't be read and may be theirs: it is in the copy"
            for error in self.unreadable
        ]

    def __str__(self) -> str:
        """Say it in a few lines, without naming the person."""
        first = (
            f"{self.url}: {self.records:,} records taken out, of {len(self.identities):,} identities, in "
            f"{len(self.revisions):,} of {self.copied:,} revisions ({self.seconds:.1f} s)"
        )
        return "\n".join([first, *(f"- {problem}" for problem in self.problems)])


def without_person(
    bucket: Bucket,
    url: str | os.PathLike[str],
    who: str | Iterable[str],
    *,
    callback: Progress = None,
    **storage_options: Any,
) -> CopySummary:
    r"""Copy an export to `url` without the records of one person.

    `who` is one identity, and with it go all identities that are this person's by the aliases of the export (a capital
    spelling finds the small one too); or several identities, and just those go. Every line that is not theirs keeps its
    bytes: octal escapes, odd spelling, lines that can't be read. A revision without their records is copied byte for
    byte. One that is an array is written anew, one record a line. What others' records say of the person stays, and so
    does a line that can't be read: those that may be theirs are in `unreadable`. status.csv and index.csv are copied
    as they are, for the index says when a file was received. The bucket itself is not changed. A `mirror` of it to
    `url` would bring the person back, for the files of the copy are smaller.

    `url` is any path or fsspec URL that can be written and holds no export yet, and `storage_options` are those of its
    filesystem. `callback` is that of `Bucket.iter_records`. Each new revision is read again before it is written: the
    records of all others have to be there as they were. The manifests come last, so what was ended in between can't
    pass for an export. Reads the export twice where `who` is one identity. Holds the largest file, about five times.

    Raises TypeError for an address in place of the bucket; ValueError for no identity; FileExistsError where there is
    an export; EntangledLinesError; and what reading a bucket raises.

    >>> copy = without_person(
    ...     Bucket.sample(), "memory://privacy/sample", "uma89@example.com"
    ... )
    >>> copy.unreadable
    []
    >>> before = sum(1 for record in Bucket.sample().iter_records())
    >>> after = sum(1 for record in Bucket("memory://privacy/sample").iter_records())
    >>> before - after == copy.records > 0
    True
    """
    check_bucket(bucket, "without_person")
    begun = time.monotonic()
    target = Folder(address_of(url), None, storage_options)
    _check_is_new(target)
    identities = identities_asked_for(who, partial(bucket.identities, on_error="skip"))
    summary = CopySummary(target.public_url, identities)
    names_them = mention_test(identities)

    def note(error: MalformedRecordError) -> None:
        if names_them(error.raw):
            summary.unreadable.append(error)

    manifests = {name: bucket.folder.read(name) for name in ("index.csv", "status.csv")}
    reading = ReadOptions(callback=callback)
    with closing(open_revisions(bucket.folder, bucket.revisions(), reading, unpack=False)) as openings:
        for revision, opening in openings:
            with opening as file:
                content = b"".join(iter(lambda: file.read(1 << 20), b""))  # called before the next one
            is_packed = content.startswith(b"\x1f\x8b")  # as a reader finds it, whatever the name says
            text = _unpack(content, revision.path) if is_packed else content
            found = _count_theirs(text, revision.path, identities, note)
            if found:
                text = _cut_out(text, revision.path, identities)
                content = gzip.compress(text, mtime=0) if is_packed else text
                summary.revisions.append(revision.number)
                summary.records += found
            target.write(revision.path, content)
            summary.copied += 1
    for name in ("index.csv", "status.csv"):
        target.write(name, manifests[name])
    summary.seconds = time.monotonic() - begun
    return summary


def _check_is_new(target: Folder) -> None:
    try:
        target.read("index.csv")
    except BucketNotFoundError:
        return
    msg = f"{target.public_url}: there is an export already; give the address of a new one"
    raise FileExistsError(msg)


def _unpack(content: bytes, path: str) -> bytes:
    try:
        return gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:  # their records may stand before the break
        raise EntangledLinesError(path) from error


def _count_theirs(
    text: bytes, path: str, identities: frozenset[str], note: Callable[[MalformedRecordError], None]
) -> int:
    """Count their records, and note each line that can't be read; none is passed over for the sake of speed."""
    file = io.BytesIO(text)
    file.name = path  # for the errors
    records = iter_records(file, on_error=note, max_line_bytes=_longest(text))
    return sum(is_of(record, identities) for record in records)


def _longest(text: bytes) -> int:
    """Return a limit that no line of a text is above: it is all in memory."""
    return max(MAX_LINE_BYTES, len(text) + 1)


def _read(text: bytes) -> tuple[list[Record], list[bytes]]:
    errors: list[MalformedRecordError] = []
    records = list(iter_records(io.BytesIO(text), on_error=errors.append, max_line_bytes=_longest(text)))
    return records, [error.raw for error in errors]


def _cut_out(text: bytes, path: str, identities: frozenset[str]) -> bytes:
    """Return the text of a revision without their lines."""
    records, unreadable = _read(text)
    others = [record for record in records if not is_of(record, identities)]
    if text.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        file = io.BytesIO()
        dump_records(others, file)
        new = file.getvalue() + b"".join(raw + b"\n" for raw in unreadable)
    else:
        new = b"".join(_lines_of_others(text, path, identities))
    if _read(new) != (others, unreadable):
        raise EntangledLinesError(path)
    return new or b"\n"  # a file without a byte would be taken for one that did not arrive


def _lines_of_others(text: bytes, path: str, identities: frozenset[str]) -> Iterator[bytes]:
    """Yield their lines: a record ends where the next record, or a line that can't be read, begins."""
    begins: dict[int, bool] = {}  # the first line of each record, and whether it is theirs
    most = _longest(text)
    for found in parse_blocks(iter_blocks(io.BytesIO(text), most), path, LineCounts(), most, with_texts=False):
        if isinstance(found, MalformedRecordError):
            begins[found.line_number] = False
        else:
            for number, head in zip(found.numbers, found.heads, strict=True):
                begins[number] = bool({head.person, head.alias} & identities)
    is_theirs = False
    for number, line in enumerate(io.BytesIO(text), 1):
        is_theirs = begins.get(number, is_theirs)
        if not is_theirs:
            yield line
