"""Exports built from a few lines of Python, so that a custom report can be tested without a bucket."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from kmexport.arguments import address_of, check_list, check_type, check_whole
from kmexport.bucket import Bucket
from kmexport.records import Alias, Event, PropertySet, Record
from kmexport.revisions.manifest import HEADER, batch_time, index_row, spell_time
from kmexport.steps.dump import dump_records

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["BROKEN_LINES", "write_export"]

BROKEN_LINES: dict[str, bytes] = {
    "cut off": b'{"_n":"signed up","_p":"bob","_t":13492',
    "no object": b'["_n","signed up"]',
    "no person": b'{"_n":"signed up","_t":1349222400}',
    "no time": b'{"_n":"signed up","_p":"bob"}',
    "a time in words": b'{"_n":"signed up","_p":"bob","_t":"yesterday"}',
    "a NUL byte": b'{"_n":"signed up","_p":"bob\x00","_t":1349222400}',
}
"""Lines that no reader can take for a record, by what is wrong with them."""


def write_export(
    url: str | os.PathLike[str],
    revisions: Mapping[int, Iterable[Record | bytes | str]],
    *,
    fs: AbstractFileSystem | None = None,
    gone: Collection[int] = (),
    unindexed: Collection[int] = (),
    ranges: Mapping[int, tuple[int, int]] | None = None,
    octal: Collection[int] = (),
    octal_form: Literal["single", "doubled"] = "single",
    gzipped: Collection[int] = (),
    pending: int = 0,
    **storage_options: Any,
) -> Bucket:
    r"""Write an export to any filesystem that can be written, and return its Bucket.

    `revisions` maps the number of each revision to its lines: records, or bytes or text that are written
    unchanged (`BROKEN_LINES` has some). status.csv and index.csv are made to fit, with a row for each revision. As
    in a real export, its range says when its records were received: in batches of five minutes, each record in the
    first batch after it. `ranges` has (minimum, maximum) for revisions that were received at other times, such as those
    of a phone that was offline for a day.

    On request there are defects, each by the revision's number: `gone` files are named in the index and not there,
    `unindexed` files are there and not named, `octal` revisions have their text outside ASCII as octal escapes
    (`octal_form` "single" or "doubled"), `gzipped` ones are `.json.gz`. `pending` revisions are counted in
    status.csv and not exported.

    >>> from kmexport import Event
    >>> revisions = {
    ...     1: [Event("bob", 1349222400, "signed up"), b"not a record"],
    ...     2: [Event("eve", 1349222460, "signed up")],
    ... }
    >>> bucket = write_export("memory://shop", revisions, gone=[2])
    >>> [event.person for event in bucket.iter_records(on_error="skip")]
    ['bob']
    """
    from fsspec.core import url_to_fs  # noqa: PLC0415

    check_type("revisions", revisions, Mapping, "a dict of numbers and records, {1: records}")
    known = set(revisions)
    asked = {"gone": gone, "unindexed": unindexed, "ranges": ranges or {}, "octal": octal, "gzipped": gzipped}
    check_whole("pending", pending, 0)
    for what, numbers in asked.items():
        check_list(what, numbers, "revisions' numbers")
        if unknown := set(numbers) - known:
            msg = f"{what} names revisions that are not given: {sorted(unknown)}"
            raise ValueError(msg)
    target, root = (fs, address_of(url)) if fs is not None else url_to_fs(address_of(url), **storage_options)
    root = root.rstrip("/")
    target.makedirs(f"{root}/revisions", exist_ok=True)
    rows = [HEADER]
    newest = 0
    for number, lines in sorted(revisions.items()):
        written = list(lines)
        times = [line.timestamp for line in written if isinstance(line, Event | PropertySet | Alias)]
        first, last = (ranges or {}).get(number) or _received(number, times)
        newest = max(newest, last or 0)
        name = f"revisions/{number}.json"
        if number not in unindexed:
            rows.append(index_row(name, first, last))
        if number in gone:
            continue
        text = b"".join(_lines(written, octal_form if number in octal else None))
        if number in gzipped:
            name, text = f"{name}.gz", gzip.compress(text, mtime=0)
        target.pipe_file(f"{root}/{name}", text)
    header = "Total Revisions,Exported Revisions,Max Exported Revision Timestamp,Max Exported Revision UTC Timestamp"
    total = len(revisions) + pending
    status = f"{header}\n{total},{len(revisions)},{newest},{spell_time(newest)}\n"
    target.pipe_file(f"{root}/status.csv", status.encode())
    target.pipe_file(f"{root}/index.csv", ("\n".join(rows) + "\n").encode())
    return Bucket(url, fs=fs) if fs is not None else Bucket(url, **storage_options)


def _received(number: int, times: Sequence[int]) -> tuple[int, int] | tuple[None, None]:
    """Compute when the first and the last batch of a revision came; None where it has no record."""
    return (batch_time(number, min(times)), batch_time(number, max(times))) if times else (None, None)


def _lines(lines: Iterable[Record | bytes | str], octal_form: str | None) -> Iterable[bytes]:
    for line in lines:
        if isinstance(line, bytes | str):
            verbatim = line.encode() if isinstance(line, str) else line
            yield verbatim.removesuffix(b"\n") + b"\n"
            continue
        file = io.BytesIO()
        dump_records([line], file)
        text = file.getvalue()
        yield _in_octal(text, octal_form) if octal_form else text


def _in_octal(text: bytes, octal_form: str) -> bytes:
    backslash = "\\" if octal_form == "single" else "\\\\"
    return "".join(chr(byte) if byte < 0x80 else f"{backslash}{byte:03o}" for byte in text).encode()
