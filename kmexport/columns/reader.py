"""The lines of revision files → Arrow record batches, without an object for each line."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import numpy as np
import pyarrow as pa

from kmexport.arguments import check_whole
from kmexport.columns.heads import HeadWithValues, PropertyHeads, plain_heads
from kmexport.columns.json_text import JsonTexts, block_without_heads, encode_lines, why_not_text, without_heads
from kmexport.columns.properties import PropertyColumns
from kmexport.columns.raw_rows import RawHeads, RawRows, nullable_strings, raw_rows, strings
from kmexport.columns.schema import TIME, Layout, as_kinds
from kmexport.columns.searching import LineSearch
from kmexport.errors import MalformedRecordError
from kmexport.format.decoding import Head, NotARecord
from kmexport.format.repair import ParsedRecord, parse_record
from kmexport.parsing.blocks import iter_blocks
from kmexport.parsing.counts import LineCounts, ParsedLines
from kmexport.parsing.lines import HeadsOf, parse_blocks
from kmexport.parsing.records import ErrorPolicy
from kmexport.parsing.selection import Selection
from kmexport.parsing.stream import BinaryFile
from kmexport.revisions.manifest import Revision
from kmexport.revisions.reader import ReadFile, ReadOptions
from kmexport.windows import Window

_Batch = TypeVar("_Batch")
_Batch_co = TypeVar("_Batch_co", covariant=True)

BATCH_ROWS: Final = 16_384  # of a batch, about, where nobody asks for another number
_MOST_BYTES: Final = 64 << 20  # of a batch: a few long lines make one too, for Arrow's text ends at 2 GiB
_HEADS_AT_ONCE: Final = 1_000  # many more are out of the processor's cache again, and a few at a time cost a call each
_TEXT: Final = pa.string()


class Rows(Protocol[_Batch_co]):
    """The rows of a batch: lines are added to it, and counted."""

    def __len__(self) -> int: ...

    def add(self, lines: ParsedLines) -> None:
        """Add lines of the same revision."""

    def batch(self) -> _Batch_co:
        """Make the batch of all rows."""


def read_columns(layout: Layout, window: Window | None, batch_rows: int) -> ReadFile[pa.RecordBatch]:
    """Make a reader of one revision that yields batches of at most about `batch_rows` rows.

    A line that can't be read, or can't be in a column, goes the way of `on_error`, after the batch of the lines in
    front of it.
    """
    check_whole("batch_rows", batch_rows, 1)

    needs_texts = "properties" in layout.columns or bool(layout.properties)
    spellings: dict[str, str] = {}
    heads_of: HeadsOf = raw_rows if needs_texts else plain_heads
    if layout.properties:
        heads_of = PropertyHeads(layout.properties)
        spellings = heads_of.spellings
    return read_revision(
        lambda revision: _Rows(layout, revision, spellings),
        window, batch_rows, with_texts=needs_texts, heads_of=heads_of,
    )  # fmt: skip


def rows_of_heads(layout: Layout, revision: int) -> Rows[pa.RecordBatch]:
    """Make the rows of one revision with these columns, without those of properties."""
    return _Rows(layout, revision, {})


def read_revision(
    new_rows: Callable[[int], Rows[_Batch]],
    window: Window | None,
    batch_rows: int,
    *,
    with_texts: bool,
    heads_of: HeadsOf = plain_heads,
) -> ReadFile[_Batch]:
    """Make a reader of one revision into rows of any kind: `new_rows` makes those of a revision's number.

    `heads_of` reads the heads of blocks that need no repair, see `parse_blocks`; in place of `raw_rows`, `plain_heads`
    where some of them are left out.
    """

    def read(file: BinaryFile, revision: Revision, reading: ReadOptions) -> Generator[_Batch, None, LineCounts]:
        errors = ErrorPolicy(reading.on_error, reading.counts)
        line_filter = None if reading.selection is None else reading.selection.line_filter
        find_lines = None if line_filter is None else LineSearch(line_filter)
        are_all = window is None and reading.selection is None
        heads = heads_of if are_all or heads_of is not raw_rows else plain_heads
        blocks = iter_blocks(file, reading.max_line_bytes, is_sifted=find_lines is not None)
        parsed = parse_blocks(
            blocks, revision.path, errors.counts, reading.max_line_bytes,
            selection=reading.selection, parse_record=partial(_judge, reading.selection),
            heads_of=heads, find_lines=find_lines, with_texts=with_texts,
        )  # fmt: skip
        rows, size = new_rows(revision.number), 0
        try:
            for found in parsed:
                errors.update_total()
                if isinstance(found, ParsedLines):
                    inside = found if window is None else inside_window(found, window)
                    rows.add(inside)
                    size += inside.size
                is_full = len(rows) >= batch_rows or size >= _MOST_BYTES
                if len(rows) and (is_full or not isinstance(found, ParsedLines)):
                    yield rows.batch()
                    rows, size = new_rows(revision.number), 0
                if isinstance(found, MalformedRecordError):
                    errors.handle(found)
            if len(rows):
                yield rows.batch()
            return errors.counts
        finally:
            errors.log(revision.path)

    return read


def _judge(
    selection: Selection | None, text: bytes, *, is_first: bool = False, is_joined: bool = False
) -> ParsedRecord:
    """Parse a record, and refuse half a surrogate pair where a column of text has to hold it."""
    judged = parse_record(text, is_first=is_first, is_joined=is_joined)
    head = judged.head
    if selection is None or selection.are_wanted([head])[0]:
        reason = why_not_text(head)
        if reason is not None:
            raise NotARecord(reason)
    return judged


def batch_reader(batches: Iterator[pa.RecordBatch], schema: Any, batch_rows: int) -> pa.RecordBatchReader:
    """Put the batches of small files together. Where an error ends them, what came before comes out first."""
    return pa.RecordBatchReader.from_batches(schema, _put_together(batches, batch_rows))


def _put_together(batches: Iterator[pa.RecordBatch], batch_rows: int) -> Iterator[pa.RecordBatch]:
    held: list[pa.RecordBatch] = []
    count = size = 0
    try:
        for batch in batches:
            held.append(batch)
            count += batch.num_rows
            size += batch.nbytes
            if count >= batch_rows or size >= _MOST_BYTES:
                yield _one_of(held)
                held, count, size = [], 0, 0
    except Exception:
        if held:
            yield _one_of(held)
        raise
    if held:
        yield _one_of(held)


def _one_of(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    # Most batches are full as they come: those need no copy.
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def inside_window(lines: ParsedLines, window: Window) -> ParsedLines:
    """Leave out the lines of records outside a window."""
    start, end = window.start, window.end
    times = [head.timestamp for head in lines.heads]
    if times and start <= min(times) and max(times) < end:
        return lines
    return lines.only([start <= time < end for time in times])


class _Rows:
    """The rows of one revision, held as a list for each column: Arrow makes an array of one list at a time."""

    def __init__(self, layout: Layout, revision: int, spellings: dict[str, str]) -> None:
        self._layout = layout
        self._revision = revision
        self._needs_names = not {"name", "kind"}.isdisjoint(layout.columns)
        self._needs_aliases = not {"alias", "kind"}.isdisjoint(layout.columns)
        # Of those whose parts are not taken yet, one of the two is empty.
        self._heads: list[Head] = []
        self._raw: list[RawHeads] = []
        self._numbers: list[Sequence[int]] = []
        self._count = 0
        self._persons: list[Any] = []
        self._times: list[Any] = []
        self._names: list[Any] = []
        self._aliases: list[Any] = []
        self._texts = JsonTexts()
        self._values = PropertyColumns(layout.properties, spellings)

    def __len__(self) -> int:
        return self._count

    def add(self, lines: ParsedLines) -> None:
        self._count += len(lines.heads)
        if "line" in self._layout.columns:
            self._numbers.append(lines.numbers)
        rows: Any = lines.heads
        if isinstance(rows, RawRows):
            self._take_heads()
            self._raw.append(rows.heads)
            if "properties" in self._layout.columns:
                self._texts.add_lines(encode_lines(rows.properties))
            return
        self._take_raw()
        self._heads += lines.heads
        if len(self._heads) >= _HEADS_AT_ONCE:
            self._take_heads()
        # Here, not for a whole batch: few objects are read at a time (see OBJECTS_AT_ONCE).
        if "properties" in self._layout.columns:
            self._add_texts(lines)
        if self._layout.properties:
            self._add_values(lines)

    def _take_heads(self) -> None:
        """Make the arrays while the strings are in the processor's cache."""
        heads, self._heads = self._heads, []
        if not heads:
            return
        if "time" in self._layout.columns:
            self._times.append(np.fromiter([head.timestamp for head in heads], np.int64, len(heads)))
        if "person" in self._layout.columns:
            self._persons.append(pa.array([head.person for head in heads], _TEXT))
        if self._needs_names:
            self._names.append(pa.array([head.name for head in heads], _TEXT))
        if self._needs_aliases:
            self._aliases.append(pa.array([head.alias for head in heads], _TEXT))

    def _take_raw(self) -> None:
        raw, self._raw = self._raw, []
        if not raw:
            return
        if "time" in self._layout.columns:
            self._times += [heads.times for heads in raw]
        if "person" in self._layout.columns:
            self._persons.append(strings([heads.persons for heads in raw]))
        if self._needs_names:
            self._names.append(nullable_strings([heads.names for heads in raw]))
        if self._needs_aliases:
            self._aliases.append(nullable_strings([heads.aliases for heads in raw]))

    def _add_texts(self, lines: ParsedLines) -> None:
        found = block_without_heads(lines.block) if lines.block is not None else None
        if found is not None:
            self._texts.add_lines(found)
        else:
            self._texts.add(without_heads(lines.texts))

    def _add_values(self, lines: ParsedLines) -> None:
        if lines.heads and isinstance(lines.heads[0], HeadWithValues):
            self._values.add_heads(lines.heads)
        else:
            self._values.add_texts(lines.texts)

    def batch(self) -> pa.RecordBatch:
        """Make the batch of all rows."""
        self._take_heads()
        self._take_raw()
        names, aliases = map(_concatenated, (self._names, self._aliases))
        columns: dict[str, Callable[[], Any]] = {
            "revision": lambda: pa.array(np.full(len(self), self._revision, np.int64)),
            "line": lambda: pa.array(_joined(self._numbers)),
            "kind": lambda: _kinds(names, aliases),
            "person": lambda: _concatenated(self._persons),
            "time": lambda: pa.array(np.concatenate([np.zeros(0, np.int64), *self._times])).cast(TIME),
            "name": lambda: names,
            "alias": lambda: aliases,
            "properties": self._texts.array,
        }
        arrays = [columns[name]() for name in self._layout.columns]
        return pa.RecordBatch.from_arrays([*arrays, *self._values.arrays()], schema=self._layout.schema)


def _concatenated(arrays: list[Any]) -> Any:
    return pa.concat_arrays(arrays) if arrays else pa.nulls(0, _TEXT)


def _kinds(names: Any, aliases: Any) -> Any:
    is_event = names.is_valid().to_numpy(zero_copy_only=False)
    is_alias = aliases.is_valid().to_numpy(zero_copy_only=False)
    codes = np.where(is_event, np.int8(0), np.where(is_alias, np.int8(2), np.int8(1)))
    return as_kinds(pa.array(codes))


def _joined(numbers: list[Sequence[int]]) -> Any:
    """Join numbers of lines into one array: most are one range that goes on and on."""
    ranges: list[Any] = []
    for some in numbers:
        if isinstance(some, range) and ranges and isinstance(ranges[-1], range) and ranges[-1].stop == some.start:
            ranges[-1] = range(ranges[-1].start, some.stop)
        else:
            ranges.append(some)
    return np.concatenate([_as_array(some) for some in ranges])


def _as_array(numbers: Sequence[int]) -> Any:
    if isinstance(numbers, range):
        return np.arange(numbers.start, numbers.stop, dtype=np.int64)
    return np.array(numbers, np.int64)
