"""A tour of an export: `python -m kmexport.tour [URL]`; without a URL, of the sample that ships inside.

Storage options come from the environment, as for everything that uses fsspec: `FSSPEC_S3_PROFILE=analytics`.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from kmexport.bucket import Bucket
from kmexport.errors import KmExportError, MalformedRecordError
from kmexport.format.names import fold_name
from kmexport.parsing.counts import LineCounts
from kmexport.records import Event, Record

__all__ = ["main", "tour"]


def tour(bucket: Bucket) -> Iterator[str]:
    """Yield the lines of the tour, each as soon as it is known. Reads the whole export once, in constant memory.

    >>> print(next(tour(Bucket.sample())))
    The export at ...
    """
    yield f"The export at {bucket!r}"
    status = bucket.status()
    yield f"  status     {status.exported_revisions:,} of {status.total_revisions:,} revisions are exported"
    if status.max_exported_time is not None:
        yield f"             with all that was received until {_moment(status.max_exported_time)}"
    index = bucket.index()
    yield (
        f"  index      {len(index):,} rows, revisions {index[0].number} to {index[-1].number}"
        if index
        else ("  index      no rows yet")
    )
    yield f"  files      {len(bucket.revisions()):,} revisions are in the bucket"
    rejected: list[MalformedRecordError] = []
    kinds: Counter[str] = Counter()
    names: Counter[str] = Counter()
    examples: dict[str, Record] = {}
    first: Record | None = None
    last: Record | None = None
    counts = LineCounts()
    for record in bucket.iter_records(on_error=rejected.append, counts=counts):
        kind = type(record).__name__
        kinds[kind] += 1
        examples.setdefault(kind, record)
        if isinstance(record, Event):
            names[fold_name(record.name)] += 1
        if first is None or record.timestamp < first.timestamp:
            first = record
        if last is None or record.timestamp > last.timestamp:
            last = record
    yield ""
    yield f"Lines: {counts.lines:,} read, {counts.repaired:,} repaired, {counts.rejected:,} unreadable"
    yield from _unreadable(rejected)
    yield f"Records: {kinds.total():,}"
    for kind, count in kinds.most_common():
        yield f"  {count:>9,}  {kind}"
    if first is not None and last is not None:
        yield f"From {_moment(first.time)} to {_moment(last.time)}"
    yield ""
    yield "The commonest events, as lines (what was sent twice counts twice)"
    for name, count in names.most_common(10):
        yield f"  {count:>9,}  {name}"
    yield ""
    yield "One record of each kind"
    for record in examples.values():
        yield f"  {record}"
    yield from _question(bucket, names)


def _question(bucket: Bucket, names: Counter[str]) -> Iterator[str]:
    for name, _ in names.most_common(1):
        yield ""
        yield "A first question, to paste into Python: how many people did the commonest event, day by day?"
        yield "  from kmexport import Bucket, reports"
        yield f'  print(reports.event_counts({bucket!r}, {name!r}, every="day", on_error="skip"))'


def _unreadable(rejected: list[MalformedRecordError]) -> Iterator[str]:
    yield from (f"  {error.source}, line {error.line_number}: {error.reason}" for error in rejected[:3])
    if len(rejected) > 3:
        yield f"  and {len(rejected) - 3:,} more"
    if rejected:
        yield '  Such a line is an error in a loop or a report; on_error="skip" there leaves it out.'


def main(arguments: list[str]) -> int:
    """Print the tour of the sample, or of the export at the one URL given."""
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        print("usage: python -m kmexport.tour [URL]", file=sys.stderr)  # noqa: T201
        return 2
    try:
        for line in tour(Bucket(arguments[0]) if arguments else Bucket.sample()):
            print(_shown(line))  # noqa: T201
    except (KmExportError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _shown(line: str) -> str:
    """Write escapes for what the console can't show: that of Windows, or of LC_ALL=C, knows few characters."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)


def _moment(time: datetime) -> str:
    return f"{time.replace(tzinfo=None)} UTC"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
