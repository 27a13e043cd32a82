"""The removal of one person from a lake: their rows of both tables, by delta-rs's own delete."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from attrs import frozen
from deltalake import WriterProperties
from deltalake.exceptions import CommitFailedError

from kmexport.errors import LakeNotFoundError
from kmexport.lake.folder import LakeFolder
from kmexport.lake.log import check_reader, read_log
from kmexport.lake.reader import open_lake, scan
from kmexport.lake.schema import RECORDS, REJECTS, TableLayout
from kmexport.lake.storage import find_destination
from kmexport.steps.identities import identities_asked_for

_MOST_COLLISIONS: Final = 10  # with runs of sync, retake or compact over one table
_KEYS: Final = {RECORDS.name: ("revision", "line", "item"), REJECTS.name: ("revision", "line")}


@frozen
class Removal:
    """The number of rows that were taken out of each table, and the identities whose rows they were."""

    identities: frozenset[str]
    records: int
    rejects: int


def remove_person(url: str | os.PathLike[str], who: str | Iterable[str], **storage_options: Any) -> Removal:
    """Take one person out of a lake: every record of theirs, and each rejected line that names them.

    `who` is one identity, and with it go all identities that are this person's by the aliases of the lake (a capital
    spelling finds the small one too); or several identities, and just those go. What the records of others say of the
    person stays. Readers see the lake as it was or as it is then. The removed rows lie in the files of older versions
    until `vacuum(url, keep_hours=0)` removes these. The log names places (revision and line), never an identity. `sync`
    does not bring the rows back; `retake` does, and so does a lake that is made anew from the same export: take the
    person out of that with `without_person`.

    Costs reading three columns of all records, and writing the files anew that held a row of theirs. Twice does no
    harm. Raises ValueError for no identity, and what `open_lake` and `compact` raise.

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
    theirs = pa.array(sorted(identities), pa.string())

    def is_record(batch: pa.RecordBatch) -> Any:
        return pc.or_(pc.is_in(batch["person"], theirs), pc.fill_null(pc.is_in(batch["alias"], theirs), False))

    spelt = [form for identity in identities for form in _spellings(identity)]

    def is_reject(batch: pa.RecordBatch) -> Any:
        return pa.array([any(form in raw for form in spelt) for raw in batch["raw"].to_pylist()], pa.bool_())

    return Removal(
        identities,
        _remove(folder, RECORDS, ["person", "alias"], is_record),
        _remove(folder, REJECTS, ["raw"], is_reject),
    )


def _spellings(identity: str) -> Iterator[bytes]:
    """Yield an identity as the bytes of a line may have it: as UTF-8, with JSON escapes, with octal escapes."""
    yield identity.encode()
    yield json.dumps(identity, ensure_ascii=False)[1:-1].encode()
    yield json.dumps(identity)[1:-1].encode()
    yield "".join(chr(byte) if byte < 0x80 else f"\\{byte:03o}" for byte in identity.encode()).encode()


def _remove(folder: LakeFolder, layout: TableLayout, columns: list[str], is_theirs: Any) -> int:
    """Delete the rows of a table; looked for again where another run has committed in between."""
    keys = _KEYS[layout.name]
    for tries_left in reversed(range(_MOST_COLLISIONS)):
        log = read_log(folder, layout)
        if log is None:
            if layout is RECORDS:
                raise LakeNotFoundError(folder.public_url, "there is no table records")
            return 0
        check_reader(folder, layout, log)
        places: list[tuple[int, ...]] = []
        for batch in scan(folder, layout, log.files.values(), [*keys, *columns]):
            rows = batch.filter(is_theirs(batch))
            places += zip(*(rows[key].to_pylist() for key in keys), strict=True)
        if not places:
            return 0
        try:
            with folder.delta(f"removing rows of {layout.name}"):
                done = folder.open_delta(layout.name).delete(
                    _predicate(keys, places), WriterProperties(compression="ZSTD", compression_level=3)
                )
        except CommitFailedError:
            if not tries_left:
                raise
        else:
            return int(done["num_deleted_rows"])
    raise AssertionError  # the last try returns or raises


def _predicate(keys: tuple[str, ...], places: list[tuple[int, ...]]) -> str:
    """Return the condition for rows by their places: the log keeps its text, so it names nobody."""
    revisions = ", ".join(map(str, sorted({place[0] for place in places})))
    joined = ", ':', ".join(keys)
    shown = ", ".join("'" + ":".join(map(str, place)) + "'" for place in places)
    return f"revision IN ({revisions}) AND concat({joined}) IN ({shown})"
