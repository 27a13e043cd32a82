"""The upkeep of a lake: small files put together, and files removed that nobody needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote

from attrs import frozen
from deltalake import WriterProperties
from deltalake.exceptions import CommitFailedError

from kmexport.arguments import check_whole
from kmexport.lake.folder import LakeFolder
from kmexport.lake.log import TableLog, read_log, read_records_log
from kmexport.lake.schema import RECORDS, REJECTS
from kmexport.lake.storage import find_destination

_TARGET_BYTES: Final = 128 << 20
_PORTION_BYTES: Final = 1 << 30  # of the files that one commit puts together
_MOST_COLLISIONS: Final = 10  # with runs of retake or remove_person over one portion
_KEPT_HOURS: Final = 7 * 24


@frozen
class Compaction:
    """The numbers of files that were replaced, and of those in their place, in both tables."""

    removed: int
    added: int


def compact(url: str | os.PathLike[str], *, target_bytes: int = _TARGET_BYTES, **storage_options: Any) -> Compaction:
    """Put the small files of each day together, into files of about `target_bytes`.

    Many nights make many small files; run it every month or so. Readers see the table as it was or as it is then. The
    old files stay until `vacuum` removes them. Runs of `sync` at the same time do no harm. A commit takes days of about
    a gigabyte together, so what a run has done stays, whatever ends it.
    """
    folder, tables = _tables(url, storage_options)
    removed = added = 0
    for name, log in tables.items():
        with folder.delta(f"compacting {name}"):
            for filters in _portions(log):
                done = _compacted(folder, name, filters, target_bytes)
                removed += done["numFilesRemoved"]
                added += done["numFilesAdded"]
            folder.open_delta(name).create_checkpoint()
    return Compaction(removed, added)


def _compacted(folder: LakeFolder, name: str, filters: Any, target_bytes: int) -> dict[str, Any]:
    """Compact a portion; again where another run has taken one of its files out meanwhile."""
    for tries_left in reversed(range(_MOST_COLLISIONS)):
        # Opened for each: the keys of a profile may expire.
        table = folder.open_delta(name)
        try:
            done: dict[str, Any] = table.optimize.compact(
                partition_filters=filters,
                target_size=target_bytes,
                max_concurrent_tasks=2,
                writer_properties=WriterProperties(compression="ZSTD", compression_level=3),
            )
        except CommitFailedError:
            if not tries_left:
                raise
        else:
            return done
    raise AssertionError  # the last try returns or raises


def _portions(log: TableLog) -> Iterator[list[tuple[str, str, Any]] | None]:
    """Yield the days with more than one file, in portions of about a gigabyte; None for a table without days."""
    days: dict[str, list[int]] = {}
    for file in log.files.values():
        if "day" not in file.partition:
            yield None
            return
        days.setdefault(file.partition["day"] or "", []).append(file.size)
    portion: list[str] = []
    held = 0
    for day, sizes in sorted(days.items()):
        if len(sizes) == 1:
            continue
        portion.append(day)
        held += sum(sizes)
        if held >= _PORTION_BYTES:
            yield [("day", "in", portion)]
            portion, held = [], 0
    if portion:
        yield [("day", "in", portion)]


def vacuum(
    url: str | os.PathLike[str], *, keep_hours: int = _KEPT_HOURS, dry_run: bool = False, **storage_options: Any
) -> list[str]:
    """Remove the files that no version of the last `keep_hours` needs, and give their paths.

    Those are files that were compacted, and what runs that were killed have left. A reader of an older version, and a
    `sync` that has run for longer than `keep_hours`, would lose files: a week by default. With `dry_run` nothing is
    removed. Old entries of the log go too, where its retention allows it (30 days). Lists every file of the lake.
    """
    check_whole("keep_hours", keep_hours, 0)
    folder, tables = _tables(url, storage_options)
    removed: list[str] = []
    for name in tables:
        # delta-rs names each file that was ever removed, and some by their whole path.
        there = {path.rpartition("/")[2]: path for path in folder.find_all(name)}
        with folder.delta(f"vacuuming {name}"):
            table = folder.open_delta(name)
            paths = table.vacuum(
                retention_hours=keep_hours, dry_run=dry_run, enforce_retention_duration=False, full=True
            )
            found = (there.get(unquote(path).rpartition("/")[2]) for path in paths)
            removed += [f"{name}/{path}" for path in found if path is not None]
            if not dry_run:
                table.cleanup_metadata()
    return removed


def _tables(url: str | os.PathLike[str], storage_options: dict[str, Any]) -> tuple[LakeFolder, dict[str, TableLog]]:
    folder = LakeFolder(find_destination(url, storage_options))
    logs = {RECORDS.name: read_records_log(folder), REJECTS.name: read_log(folder, REJECTS)}
    return folder, {name: log for name, log in logs.items() if log is not None}
