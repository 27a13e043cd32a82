"""The removal of one person from a lake: files with rows of theirs out, files with the rows of the others in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from attrs import frozen

from kmexport.errors import BucketUnreachableError
from kmexport.format.octal import mention_test
from kmexport.lake.folder import LakeFolder
from kmexport.lake.log import LakeTable, check_reader, read_log, read_records_log
from kmexport.lake.reader import open_lake, scan_files
from kmexport.lake.retaking import ROUNDS, copy_rows
from kmexport.lake.schema import RECORDS, REJECTS
from kmexport.lake.storage import find_destination
from kmexport.lake.writer import NewFiles
from kmexport.steps.identities import identities_asked_for


@frozen
class Removal:
    """The number of rows that were taken out of each table, and the identities whose rows they were.

    Keep the `identities` for as long as the person may come back: their aliases are gone from the lake, so a later
    `remove_person(url, removal.identities)` finds all of them, and their name alone does not.
    """

    identities: frozenset[str]
    records: int
    rejects: int


def remove_person(url: str | os.PathLike[str], who: str | Iterable[str], **storage_options: Any) -> Removal:
    """Take one person out of a lake: every record of theirs, and each rejected line that names them.

    `who` is one identity, and with it go all identities that are this person's by the aliases of the lake (a capital
    spelling finds the small one too); or several identities, and just those go. A rejected line names them where the
    identity stands alone, not within a longer word or address, in small letters or capitals, escaped or not: `bob` goes
    with `"_p":"Bob"` and `?user=bob&`, not with `bobby`, `bob@example.com` or `bob-2`. What the records of others say
    of the person stays. Readers see each table as it was or as it is then. The removed rows lie in the files of older
    versions until `vacuum(url, keep_hours=0)` removes these. The log names files, never an identity. `sync` does not
    bring the rows back; `retake` does, and so does a lake that is made anew from the same export: take the person out
    of that with `without_person`.

    The rejects go first, then the records and aliases in one step: a run that broke off is called again as it was. To
    look for the person later, give `removal.identities`. Runs of `sync`, `retake` and `compact` at the same time do no
    harm.

    Costs reading two columns of all records, and writing the files anew that held a row of theirs. Twice does no harm.
    Raises ValueError for no identity, BucketUnreachableError where other runs come first again and again, and what
    `open_lake` and `compact` raise.

    >>> import tempfile
    >>> from kmexport import Bucket
    >>> from kmexport.lake import sync
    >>> folder = tempfile.mkdtemp()
    >>> summary = sync(Bucket.sample(), folder)
    >>> removal = remove_person(folder, "uma89@example.com")
    >>> removal.records, len(removal.identities)
    (15, 2)
    >>> sum(1 for record in open_lake(folder).iter_records())
    1985
    """
    folder = LakeFolder(find_destination(url, storage_options))
    identities = identities_asked_for(who, lambda: open_lake(url, **storage_options).identities())
    logs = {RECORDS: read_records_log(folder), REJECTS: read_log(folder, REJECTS)}
    tables = {layout: LakeTable(folder, layout, log) for layout, log in logs.items() if log is not None}
    for layout, table in tables.items():
        check_reader(folder, layout, table.log)
    # Half of a surrogate pair is in no column of text.
    theirs = pa.array([one for one in sorted(identities) if one.encode(errors="ignore").decode() == one], pa.string())
    names_them = mention_test(identities)

    def are_records(batch: pa.RecordBatch) -> Any:
        return pc.or_(pc.is_in(batch["person"], theirs), pc.fill_null(pc.is_in(batch["alias"], theirs), False))

    def are_rejects(batch: pa.RecordBatch) -> Any:
        return pa.array(map(names_them, batch["raw"].to_pylist()), pa.bool_())

    rejects_removed = _remove(tables[REJECTS], ["raw"], are_rejects) if REJECTS in tables else 0
    return Removal(identities, _remove(tables[RECORDS], ["person", "alias"], are_records), rejects_removed)


def _remove(table: LakeTable, columns: list[str], are_theirs: Callable[[pa.RecordBatch], Any]) -> int:
    """Take rows out of a table and count them; looked for again where another run has taken one of the files out."""
    for _ in range(ROUNDS):
        held: dict[str, int] = {}
        for file, batch in scan_files(table.folder, table.layout, table.log.files.values(), columns):
            if count := pc.sum(are_theirs(batch)).as_py():
                held[file.path] = held.get(file.path, 0) + count
        if not held:
            return 0
        old = [table.log.files[path] for path in held]
        others = NewFiles(table.folder, table.layout)
        copy_rows(table, others, old, lambda batch: pc.invert(are_theirs(batch)))
        if table.replace(old, others.added, {}):
            table.shorten_log()
            return sum(held.values())
    reason = f"removing rows of {table.layout.name} failed: other runs came first {ROUNDS} times"
    raise BucketUnreachableError(table.folder.public_url, reason, "Call it again when they have ended.")
