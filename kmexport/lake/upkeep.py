"""Fewer and larger files, and no files that nobody needs: delta-rs's own ways, for both tables of a lake."""

from __future__ import annotations

import os
from typing import Any, Final

from attrs import frozen
from deltalake import DeltaTable, WriterProperties

from kmexport.errors import LakeNotFoundError
from kmexport.lake.commits import read_log
from kmexport.lake.destinations import find_destination
from kmexport.lake.folder import LakeFolder
from kmexport.lake.layout import RECORDS, REJECTS

__all__ = ["Compaction", "compact", "vacuum"]

_TARGET_BYTES: Final = 128 << 20
_KEPT_HOURS: Final = 7 * 24


@frozen
class Compaction:
    """How many files were replaced by how many, in both tables."""

    removed: int
    added: int


def compact(url: str | os.PathLike[str], *, target_bytes: int = _TARGET_BYTES, **storage_options: Any) -> Compaction:
    """Put the small files of each day together, into files of about `target_bytes`.

    Many nights make many small files; run it every month or so. Readers see the table as it was or as it is then. The
    old files stay until `vacuum` removes them. Runs of `sync` at the same time do no harm.
    """
    folder, names = _tables(url, storage_options)
    removed = added = 0
    for name in names:
        with folder.delta(f"compacting {name}"):
            table = DeltaTable(folder.destination.delta_url(name), storage_options=folder.destination.delta_options)
            done = table.optimize.compact(
                target_size=target_bytes,
                max_concurrent_tasks=2,
                writer_properties=WriterProperties(compression="ZSTD", compression_level=3),
            )
            removed += done["numFilesRemoved"]
            added += done["numFilesAdded"]
            table.create_checkpoint()
    return Compaction(removed, added)


def vacuum(
    url: str | os.PathLike[str], *, keep_hours: int = _KEPT_HOURS, dry_run: bool = False, **storage_options: Any
) -> list[str]:
    """Remove the files that no version of the last `keep_hours` needs, and give their paths.

    Those are files that were compacted, and what runs that were killed have left. A reader of an older version, and a
    `sync` that has run for longer than `keep_hours`, would lose files: a week by default. With `dry_run` nothing is
    removed. Old entries of the log go too, where its retention allows it (30 days).
    """
    if keep_hours < 0:
        msg = f"keep_hours is 0 or more, not {keep_hours}"
        raise ValueError(msg)
    folder, names = _tables(url, storage_options)
    removed: list[str] = []
    for name in names:
        with folder.delta(f"vacuuming {name}"):
            table = DeltaTable(folder.destination.delta_url(name), storage_options=folder.destination.delta_options)
            paths = table.vacuum(
                retention_hours=keep_hours, dry_run=dry_run, enforce_retention_duration=False, full=True
            )
            removed += [f"{name}/{path}" for path in paths]
            if not dry_run:
                table.cleanup_metadata()
    return removed


def _tables(url: str | os.PathLike[str], storage_options: dict[str, Any]) -> tuple[LakeFolder, list[str]]:
    folder = LakeFolder(find_destination(url, storage_options))
    names = [layout.name for layout in (RECORDS, REJECTS) if read_log(folder, layout) is not None]
    if not names:
        raise LakeNotFoundError(folder.public_url, "there is no table records")
    return folder, names
