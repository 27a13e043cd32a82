"""The state of a Delta table, read from its log; and commits that add each revision once.

A commit names the revisions that it adds by Delta's transaction ids, one for each (`kmexport/22770`), and its version
is the size of the revision in bytes. delta-rs refuses a commit with an id that another one has brought in since the
version from which we write; an older one it would take again. So the ids are read first, of just that version.
`DeltaTable.transaction_version` reads the whole log for one id: here the log is read once for all of them.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote
from uuid import uuid4

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from attrs import Factory, define, field, frozen
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction

from kmexport.errors import LakeFormatError, LakeNotFoundError
from kmexport.lake.folder import LakeFolder
from kmexport.lake.schema import LAKE_VERSION, RECORDS, VERSION_KEY, TableLayout, transaction_id
from kmexport.revisions.manifest import Revision

_COMMIT: Final = re.compile(r"([0-9]{20})\.json")
_CHECKPOINT: Final = re.compile(r"([0-9]{20})\.checkpoint(?:\.([0-9]{10})\.([0-9]{10})|\.[0-9a-f-]{36})?\.parquet")
_TRANSACTION: Final = re.compile(r"kmexport/([0-9]{1,18})")
_FORGETS: Final = "delta.setTransactionRetentionDuration"
_MARK: Final = "kmexport.commit"
_MOST_TRIES: Final = 50  # to come next in the log; each one means that another has come further
_LONGEST_TAIL: Final = 3  # commits after a checkpoint: each costs a request when the log is read


class _Txn(msgspec.Struct):
    app_id: str = msgspec.field(name="appId")
    version: int


class _MetaData(msgspec.Struct):
    configuration: dict[str, str | None] = msgspec.field(default_factory=dict)


class _Protocol(msgspec.Struct):
    min_reader_version: int = msgspec.field(name="minReaderVersion", default=1)


class _File(msgspec.Struct):
    path: str
    partition_values: dict[str, str | None] = msgspec.field(name="partitionValues", default_factory=dict)
    size: int = 0
    stats: str | None = None


class _Path(msgspec.Struct):
    path: str


class _Action(msgspec.Struct):
    txn: _Txn | None = None
    add: _File | None = None
    remove: _Path | None = None
    protocol: _Protocol | None = None
    meta_data: _MetaData | None = msgspec.field(name="metaData", default=None)
    commit: dict[str, Any] | None = msgspec.field(name="commitInfo", default=None)


_read_actions: Final = msgspec.json.Decoder(_Action).decode_lines
_OF_A_CHECKPOINT: Final = [
    "txn", "metaData", "protocol.minReaderVersion", "add.path", "add.size", "add.partitionValues", "add.stats",
]  # fmt: skip


@frozen
class TableFile:
    """A file of a table: its `path` as the log writes it, and the log's statistics of its rows."""

    path: str
    size: int
    partition: dict[str, str | None]
    statistics: str | None

    @property
    def name(self) -> str:
        """The path in the folder of the table."""
        return unquote(self.path)

    def may_hold(self, revisions: Iterable[int]) -> bool:
        """Tell whether it may have rows of one of these revisions, by the log alone."""
        try:
            said = json.loads(self.statistics or "")
            lowest, highest = said["minValues"]["revision"], said["maxValues"]["revision"]
        except (ValueError, LookupError, TypeError):
            return True
        return any(lowest <= number <= highest for number in revisions)


@define
class TableLog:
    """The state of a table at `version`, from its log: its revisions, each with its size when it was read, and its
    files, by their paths."""

    version: int = -1
    checkpoint: int = -1  # the version of the last one
    reader: int = 1  # the version of Delta's protocol that a reader has to know
    sizes: dict[int, int] = Factory(dict)
    taken: dict[int, int] = Factory(dict)  # at which version a revision came in last; that of a checkpoint or later
    files: dict[str, TableFile] = Factory(dict)
    configuration: dict[str, str | None] = Factory(dict)
    tokens: set[str] = Factory(set)  # of commits that were read one by one

    def add(self, transactions: Iterable[tuple[str, int]]) -> None:
        for name, size in transactions:
            if found := _TRANSACTION.fullmatch(name):
                self.sizes[int(found[1])] = size
                self.taken[int(found[1])] = self.version

    def add_commit(self, content: bytes) -> None:
        """Take the next entry of the log. Raises ValueError for anything else."""
        actions = _read_actions(content)
        if not actions:
            msg = "there is nothing in it"
            raise ValueError(msg)
        for action in actions:
            if action.txn is not None:
                self.add([(action.txn.app_id, action.txn.version)])
            if action.add is not None:
                file = action.add
                self.files[file.path] = TableFile(file.path, file.size, file.partition_values, file.stats)
            if action.remove is not None:
                self.files.pop(action.remove.path, None)
            if action.protocol is not None:
                self.reader = action.protocol.min_reader_version
            if action.meta_data is not None:
                self.configuration = action.meta_data.configuration
            if action.commit is not None and isinstance(token := action.commit.get(_MARK), str):
                self.tokens.add(token)

    def add_checkpoint(self, content: bytes) -> None:
        """Take one file of a checkpoint. Raises ValueError for anything else."""
        # By no thread of Arrow's own: one that drops the last reference to Python's bytes while the interpreter ends
        # takes the process down. read_table has such threads, whatever its use_threads says.
        table = pq.ParquetFile(pa.BufferReader(content)).read(columns=_OF_A_CHECKPOINT, use_threads=False)
        self.add((one["appId"], one["version"]) for one in _those(table, "txn"))
        for one in _those(table, "add"):
            file = TableFile(one["path"], one["size"], dict(one["partitionValues"]), one["stats"])
            self.files[file.path] = file
        for one in _those(table, "protocol"):
            self.reader = one["minReaderVersion"]
        for one in _those(table, "metaData"):
            self.configuration = dict(one["configuration"])


def _those(table: pa.Table, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table[kind].drop_null().to_pylist()
    return found


def read_log(folder: LakeFolder, layout: TableLayout) -> TableLog | None:
    """Read the log of a table, None where there is no table. One listing, one request for a checkpoint and each commit
    after it.

    Raises LakeFormatError for a table that kmexport did not make, or a newer one did, and for a damaged file of the
    log.
    """
    place = f"{layout.name}/_delta_log"
    names = folder.find_files(place)
    commits = {int(found[1]): name for name in names if (found := _COMMIT.fullmatch(name))}
    checkpoints = _checkpoints(names)
    if not commits and not checkpoints:
        if folder.find_files("_delta_log"):
            reason = "a Delta table lies there, and a lake is a folder of two tables"
            raise LakeFormatError(folder.public_url, reason)
        return None
    log = TableLog()
    if checkpoints:
        log.checkpoint = log.version = max(checkpoints)
        for name in checkpoints[log.version]:
            _take(folder, f"{place}/{name}", folder.content(f"{place}/{name}"), log.add_checkpoint)
    for version in range(log.version + 1, max(commits, default=-1) + 1):
        if version not in commits:
            raise LakeFormatError(folder.public_url, f"the log of {layout.name} lacks version {version}")
        content = folder.content(f"{place}/{commits[version]}")
        log.version = version
        _take(folder, f"{place}/{commits[version]}", content, log.add_commit)
    _check(folder, layout, log)
    return log


def read_records_log(folder: LakeFolder) -> TableLog:
    """Read the log of the table records, as `read_log` does. Raises LakeNotFoundError where there is none."""
    log = read_log(folder, RECORDS)
    if log is None:
        raise LakeNotFoundError(folder.public_url, "there is no table records")
    return log


def _checkpoints(names: Sequence[str]) -> dict[int, list[str]]:
    """Find the files of each checkpoint that is whole, by its version."""
    parts: dict[int, dict[str, list[str]]] = {}
    for name in names:
        if found := _CHECKPOINT.fullmatch(name):
            parts.setdefault(int(found[1]), {}).setdefault(found[3] or name, []).append(name)
    whole = {}
    for version, kinds in parts.items():
        for count, files in kinds.items():
            if not count.isdigit() or int(count) == len(files):
                whole[version] = files
    return whole


def _take(folder: LakeFolder, name: str, content: bytes, take: Callable[[bytes], None]) -> None:
    try:
        take(content)
    except (msgspec.DecodeError, ValueError, LookupError, TypeError, OSError) as error:
        words = " ".join(str(error).split())
        reason = f"{name} is damaged ({words:.200}). Put it back from a copy, or make the lake anew in another folder"
        raise LakeFormatError(folder.public_url, reason) from error


def _check(folder: LakeFolder, layout: TableLayout, log: TableLog) -> None:
    written = log.configuration.get(VERSION_KEY)
    if written is None:
        raise LakeFormatError(folder.public_url, f"the table {layout.name} was not made by kmexport")
    if not written.isdigit() or int(written) > LAKE_VERSION:
        reason = f"the table {layout.name} is of version {written!r:.20} and this kmexport knows version {LAKE_VERSION}"
        raise LakeFormatError(folder.public_url, f"{reason}: install a newer one")
    if log.configuration.get(_FORGETS):
        reason = f"the table {layout.name} has the property {_FORGETS}: it would forget what it has"
        raise LakeFormatError(folder.public_url, reason)


def check_reader(folder: LakeFolder, layout: TableLayout, log: TableLog) -> None:
    """Raise LakeFormatError where another engine has changed how the table is to be read."""
    if log.reader > 1:
        reason = (
            f"another engine has changed the table {layout.name}: it needs a reader of Delta's version {log.reader}, "
            "and kmexport reads version 1. Read it by that engine, or make the lake anew"
        )
        raise LakeFormatError(folder.public_url, reason)


def _create_table(folder: LakeFolder, layout: TableLayout) -> None:
    """Make an empty table, unless another process makes it in this moment."""
    with folder.delta(f"creating the table {layout.name}"):
        try:
            folder.create_delta(
                layout.name,
                schema=layout.schema,
                partition_by=list(layout.partitions),
                configuration=layout.configuration,
                raise_if_key_not_exists=False,  # Delta does not know our own key
            )
        except Exception:
            if read_log(folder, layout) is None:
                raise


def open_table(folder: LakeFolder, layout: TableLayout, log: TableLog | None = None) -> LakeTable:
    """Open one of the two tables, to commit to; make it where there is none. `log`: if it was read already."""
    log = log or read_log(folder, layout)
    if log is None:
        _create_table(folder, layout)
        log = read_log(folder, layout)
        assert log is not None  # noqa: S101  # it is there now
    if log.checkpoint < 0 and not folder.is_local:
        folder.check_parts(layout.name, f"_delta_log/{log.version:020d}.json")
    return LakeTable(folder, layout, log)


@define
class LakeTable:
    """One of the two tables with its log, which is up to date after each commit, whoever made it."""

    folder: LakeFolder
    layout: TableLayout
    log: TableLog
    _opened: DeltaTable | None = None
    _options: dict[str, str] = field(factory=dict, repr=False)  # with which it was opened: keys may be renewed

    def commit(self, added: Sequence[AddAction], revisions: Mapping[int, Revision]) -> bool:
        """Add files and the ids of revisions in one step. False where another process has brought one of them in."""
        return self._commit((), added, revisions, {})

    def replace(
        self, removed: Sequence[TableFile], added: Sequence[AddAction], revisions: Mapping[int, Revision]
    ) -> bool:
        """Take files out, put others in, and bring in the ids of revisions, in one step.

        False where another process has taken one of these files out, or brought one of the revisions in, since our log
        was read.
        """
        return self._commit(removed, added, revisions, dict(self.log.taken))

    def _commit(
        self,
        removed: Sequence[TableFile],
        added: Sequence[AddAction],
        revisions: Mapping[int, Revision],
        taken: Mapping[int, int],
    ) -> bool:
        """Commit what holds as long as these revisions were `taken` so and these files are there.

        delta-rs does not look for that: it gets one try, for the version that follows on our log.
        """
        token = uuid4().hex
        properties = CommitProperties(
            custom_metadata={_MARK: token},
            max_commit_retries=0,
            app_transactions=[
                Transaction(transaction_id(number), -1 if revision.size is None else revision.size)
                for number, revision in revisions.items()
            ],
        )
        layout = self.layout
        actions: list[AddAction | RemoveAction] = [*added, *map(_removal, removed)]
        with self.folder.delta(f"writing the log of {layout.name}"):
            for _ in range(_MOST_TRIES):
                table = self._delta()
                are_there = all(file.path in self.log.files for file in removed)
                if not are_there or any(self.log.taken.get(number) != taken.get(number) for number in revisions):
                    return False
                try:
                    table.create_write_transaction(
                        actions, "append", layout.schema, list(layout.partitions), commit_properties=properties
                    )
                except (DeltaError, OSError) as error:
                    if not self._looked_again():
                        raise
                    # It may be ours all the same: the server did it, and its answer was lost.
                    if token in self.log.tokens:
                        return True
                    if not isinstance(error, CommitFailedError):
                        raise
                else:
                    table.update_incremental()
                    self.refresh()
                    return True
        return False

    def _looked_again(self) -> bool:
        try:
            self._delta().update_incremental()
            self.refresh()
        except (DeltaError, OSError):
            return False
        return True

    def refresh(self) -> None:
        """Read what was committed since."""
        place = f"{self.layout.name}/_delta_log"
        commits = [int(found[1]) for name in self.folder.find_files(place) if (found := _COMMIT.fullmatch(name))]
        for version in range(self.log.version + 1, max(commits, default=-1) + 1):
            content = self.folder.content(f"{place}/{version:020d}.json")
            self.log.version = version
            _take(self.folder, f"{place}/{version:020d}.json", content, self.log.add_commit)

    def shorten_log(self) -> None:
        """Write a checkpoint where the log has become long, so that the next run reads it in few requests."""
        if self.log.version - self.log.checkpoint >= _LONGEST_TAIL:
            with self.folder.delta(f"writing a checkpoint of {self.layout.name}"):
                self._delta().create_checkpoint()
            self.log.checkpoint = self.log.version

    def _delta(self) -> DeltaTable:
        """Give the table as delta-rs sees it, never newer than our log: what was committed since then is looked at."""
        options = self.folder.destination.current_options
        if self._opened is None or self._options != options:
            self._opened, self._options = self.folder.open_delta(self.layout.name), options
            self.refresh()
        return self._opened


def _removal(file: TableFile) -> RemoveAction:
    return RemoveAction(file.path, True, int(time.time() * 1000), file.size, file.partition)
