"""The sources of Facts: an export, a lake, any iterable of records, or an Arrow stream.

Each source is read once, as chunks of records. Which of a record's parts are read is said before.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any, Final, Literal, Protocol, runtime_checkable

import pyarrow as pa
import pyarrow.compute as pc
from attrs import evolve, frozen

from kmexport.bucket import Bucket
from kmexport.columns.heads import plain_heads
from kmexport.columns.pairs import PairReader, Pairs, Spellings
from kmexport.columns.raw_rows import RawRows, raw_rows
from kmexport.columns.reader import BATCH_ROWS, Rows, inside_window, read_revision, rows_of_heads
from kmexport.columns.records import from_records
from kmexport.columns.schema import SCHEMA, TIME, choose_columns
from kmexport.errors import KmExportError
from kmexport.parsing.counts import ParsedLines
from kmexport.parsing.records import OnError
from kmexport.parsing.selection import check_selection, names_and_aliases
from kmexport.records import Alias, Record
from kmexport.revisions.groups import LINKS, each_file, read_in_groups
from kmexport.revisions.reader import ReadFile, check_executor
from kmexport.steps.duplicates import Rule
from kmexport.steps.identities import IdentityMap, Prefer
from kmexport.storage.open_files import Progress, check_progress
from kmexport.windows import Window

logger: logging.Logger = logging.getLogger("kmexport")

_HEADS: Final = [name for name in SCHEMA.names if name != "properties"]


@runtime_checkable
class Export(Protocol):
    """A Bucket, or another source with its methods."""

    def iter_records(self, window: Window | None = None, *, on_error: OnError = "raise") -> Iterator[Record]:
        """Read its records."""
        ...

    def identities(self, *, prefer: Prefer = "named_first", on_error: OnError = "raise") -> IdentityMap:
        """Read all its aliases."""
        ...


Source = Export | Iterable[Record] | Any


@frozen
class PairsRead:
    """The properties that are read: those of these folded names, None for all; and whether as one text too."""

    names: frozenset[str] | None
    with_texts: bool

    def new_reader(self, spellings: Spellings) -> PairReader:
        """Make a reader of them."""
        return PairReader(spellings, self.names, with_texts=self.with_texts)


@frozen
class FactsSpec:
    """The choices for facts: what they are made of, and how.

    `names` are the folded names of the events that are wanted, None for all. `properties` is True for all, False for
    none, or folded names.
    """

    source: Source
    window: Window | None
    margin: int | None
    names: frozenset[str] | None
    properties: bool | frozenset[str]
    identities: IdentityMap | None
    rule: Rule
    prefer: Prefer
    callback: Progress = None
    executor: Executor | None = None
    ahead: int | None = None

    @property
    def shows_texts(self) -> bool:
        """True where records and events show their properties as one JSON object."""
        return self.properties is True

    @property
    def reads_texts(self) -> bool:
        """True where those objects are read: the strict rule compares them."""
        return self.shows_texts or self.rule == "strict"

    @property
    def pairs_read(self) -> PairsRead | None:
        """The properties that are read; None where none are."""
        if not self.reads_texts and self.properties is False:
            return None
        names = frozenset[str]() if self.properties is False else self.properties
        return PairsRead(None if names is True else names, with_texts=self.reads_texts)

    def made_with(self, argument: Literal["names", "properties"]) -> str:
        """Spell the argument that limits what is read, as it was given but for its order and its names' case."""
        read = self.names if argument == "names" else self.properties
        return f"{argument}={read if isinstance(read, bool) else sorted(read or ())}"

    def left_out(self) -> dict[str, str]:
        """Name the tables, and columns of tables, that are not read; and the argument that says so."""
        found: dict[str, str] = {}
        if self.names is not None:
            found |= dict.fromkeys(["records", "people"], self.made_with("names"))
        if self.properties is False:
            found["properties"] = self.made_with("properties")
        if self.properties is not True:
            found |= dict.fromkeys(["records.properties", "events.properties"], self.made_with("properties"))
        return found


@frozen
class RecordChunk:
    """Some records: the columns of `SCHEMA` but `properties`, and the properties, where those are wanted.

    `links` are the aliases among the lines, those outside the window too. Of a chunk that came from a worker,
    `spellings` are what the numbers of its properties' names stand for.
    """

    heads: pa.RecordBatch
    pairs: Pairs | None
    links: Sequence[tuple[str, str]] = ()
    spellings: Sequence[str] | None = None


def take_source(source: Source) -> Source:
    """Return the source, or raise a TypeError where it holds no records. An address is that of a lake or an export."""
    if isinstance(source, str | os.PathLike):
        source = _open_address(source)
    if isinstance(source, Export) or hasattr(source, "__arrow_c_stream__"):
        return source
    if isinstance(source, bytes) or not isinstance(source, Iterable):
        msg = (
            "facts are made of a Bucket, a lake (or the address of either), an iterable of records or an Arrow stream, "
            f"not {type(source).__name__}"
        )
        raise TypeError(msg)
    return source


def _open_address(address: str | os.PathLike[str]) -> Source:
    """Open the lake at an address, or else the export there. Raises what is wrong with the lake where neither is."""
    try:
        # By its name: the lake needs an extra of its own.
        return import_module("kmexport.lake").open_lake(address)
    except ImportError as error:
        missing: Exception = ImportError(f"{error}. Facts(address) reads a lake or an export.", name=error.name)
    except (KmExportError, ValueError) as error:
        missing = error
    with suppress(KmExportError, ValueError):
        bucket = Bucket(address)
        bucket.status()
        logger.info("Facts read an export: %r", bucket)
        return bucket
    raise missing


def check_reading(spec: FactsSpec) -> None:
    """Raise for a wrong callback or executor, and where the source has no files for them."""
    check_progress(spec.callback)
    check_executor(spec.executor, spec.ahead)
    for name, given in (("callback", spec.callback), ("executor", spec.executor)):
        if given is not None and not _is_bucket(spec.source):
            msg = f"{name}= is for the files of a Bucket; {type(spec.source).__name__} has none"
            raise TypeError(msg)


def _is_bucket(source: Source) -> bool:
    return isinstance(source, Export) and hasattr(source, "_read_selected")


class FactsSource:
    """One reading of a source. `chunks` gives the records; `learnt` has the aliases when all are read.

    With `learnt=None` no aliases are learnt. Those outside the window hold too: of an export, the files that the window
    leaves out are read for their aliases first.
    """

    def __init__(self, spec: FactsSpec, learnt: IdentityMap | None, on_error: OnError) -> None:
        self.spec = spec
        self.learnt = learnt
        self.on_error = on_error
        self.spellings: Spellings = Spellings()  # of properties

    def chunks(self) -> Iterator[RecordChunk]:
        """Read the records, in the order in which they arrived."""
        if _is_bucket(self.spec.source):
            return self._of_files()
        return self._of_batches()

    def _of_files(self) -> Iterator[RecordChunk]:
        spec = self.spec
        bucket: Any = spec.source
        reading = bucket._reading(self.on_error, spec.callback, None, None, executor=spec.executor, ahead=spec.ahead)
        if self.learnt is not None and spec.window is not None:
            listing = bucket._listing()
            chosen = {revision.number for revision in listing.select(spec.window, 0, spec.margin)}
            others = [revision for revision in listing.select(None, 0, None) if revision.number not in chosen]
            of_aliases = evolve(reading, selection=check_selection(Alias, None))
            for links in read_in_groups(bucket.folder, others, of_aliases, LINKS):
                self.learnt.link_pairs(links.pairs)
        # Where nothing but events of some names is wanted, other lines are passed over.
        names = spec.names if spec.pairs_read is None else None
        own = self.spellings if spec.executor is None else None
        new_reader = partial(_chunk_reader, spec.window, spec.pairs_read, names, own, learns=self.learnt is not None)
        for chunk in bucket._read_selected(spec.window, 0, spec.margin, reading, each_file(new_reader)):
            if self.learnt is not None:
                self.learnt.link_pairs(chunk.links)
            if chunk.spellings is not None and chunk.pairs is not None:
                chunk.pairs.renumber([self.spellings[spelling] for spelling in chunk.spellings])
            if chunk.heads.num_rows:
                yield chunk

    def _of_batches(self) -> Iterator[RecordChunk]:
        source, window = self.spec.source, self.spec.window
        if self.learnt is not None and window is not None and isinstance(source, Export):
            _link_all(self.learnt, source.identities(prefer=self.learnt.prefer, on_error=self.on_error))
        pairs = None if self.spec.pairs_read is None else self.spec.pairs_read.new_reader(self.spellings)
        columns = SCHEMA.names if pairs is not None else _HEADS
        for batch in _open_batches(source, window, columns, self.on_error):
            if self.learnt is not None:
                self.learnt.link_pairs(_links_of(batch))
            rows = batch if window is None else batch.filter(_is_inside(batch, window))
            if rows.num_rows:
                yield RecordChunk(rows.select(_HEADS), None if pairs is None else _read_texts(pairs, rows))


def _read_texts(pairs: PairReader, batch: pa.RecordBatch) -> Pairs:
    texts = batch.column("properties")
    return pairs.read(getattr(texts, "storage", texts).cast(pa.string()))


def _chunk_reader(
    window: Window | None,
    pairs_read: PairsRead | None,
    names: frozenset[str] | None,
    spellings: Spellings | None,
    *,
    learns: bool,
) -> ReadFile[RecordChunk]:
    """Make what reads files as chunks; on a worker without `spellings`: there it has its own, and sends them along."""
    own = Spellings() if spellings is None else spellings
    pairs = None if pairs_read is None else pairs_read.new_reader(own)
    layout = choose_columns(_HEADS, ())
    sent = own if spellings is None else None
    are_all = window is None and pairs_read is not None and (pairs_read.names is None or pairs_read.with_texts)
    read = read_revision(
        lambda revision: _LineRows(rows_of_heads(layout, revision), pairs, sent, window, learns=learns),
        None, BATCH_ROWS, with_texts=pairs is not None, heads_of=raw_rows if are_all else plain_heads,
    )  # fmt: skip
    if names is None:
        return read
    selection = names_and_aliases(names)
    return lambda file, revision, reading: read(file, revision, evolve(reading, selection=selection))


class _LineRows:
    """The rows of one revision."""

    def __init__(
        self,
        heads: Rows[pa.RecordBatch],
        pairs: PairReader | None,
        sent: Spellings | None,
        window: Window | None,
        *,
        learns: bool,
    ) -> None:
        self._heads = heads
        self._pairs = pairs
        self._sent = sent
        self._window = window
        self._learns = learns
        self._links: list[tuple[str, str]] = []

    def __len__(self) -> int:
        return len(self._heads) or len(self._links)

    def add(self, lines: ParsedLines) -> None:
        """Add lines of the same revision; those outside the window are looked at for aliases only."""
        if self._window is not None:
            if self._learns:
                self._links += [(one.person, one.alias) for one in lines.heads if one.alias is not None]
            lines = inside_window(lines, self._window)
        self._heads.add(lines)
        rows: Any = lines.heads
        if self._pairs is not None and isinstance(rows, RawRows):
            self._pairs.add_objects(rows.properties)
        elif self._pairs is not None and lines.block is not None:
            self._pairs.add_block(lines.block, len(lines.heads))
        elif self._pairs is not None:
            self._pairs.add_texts(lines.texts)

    def batch(self) -> RecordChunk:
        """Return all of it."""
        heads = self._heads.batch()
        links = _links_of(heads) if self._learns and self._window is None else self._links
        pairs = None if self._pairs is None else self._pairs.take()
        return RecordChunk(heads, pairs, links, None if self._sent is None else list(self._sent))


def _links_of(batch: pa.RecordBatch) -> list[tuple[str, str]]:
    aliases = batch.column("alias")
    if aliases.null_count == len(aliases):
        return []
    rows = pc.is_valid(aliases)
    pairs = (batch.column(name).filter(rows).to_pylist() for name in ("person", "alias"))
    return list(zip(*pairs, strict=True))


def _link_all(people: IdentityMap, others: IdentityMap) -> None:
    for person, identities in others.each_person():
        people.link_pairs((person, identity) for identity in identities)


def _is_inside(batch: pa.RecordBatch, window: Window) -> pa.Array:
    times = batch.column("time").cast(TIME).cast(pa.int64())
    return pc.and_(pc.greater_equal(times, window.start), pc.less(times, window.end))


def _open_batches(
    source: Source, window: Window | None, columns: list[str], on_error: OnError
) -> Iterable[pa.RecordBatch]:
    """Open the source's records as batches of columns. Only an export leaves out what is outside the window."""
    if isinstance(source, Export):
        if hasattr(source, "to_batches"):
            batches: Iterable[pa.RecordBatch] = source.to_batches(window, columns=columns, on_error=on_error)
            return batches
        source = source.iter_records(window, on_error=on_error)
    elif hasattr(source, "__arrow_c_stream__"):
        return (batch.select(columns) for batch in pa.RecordBatchReader.from_stream(source))
    records: Iterable[pa.RecordBatch] = from_records(source, columns=columns, on_error=on_error)
    return records
