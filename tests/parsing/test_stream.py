"""Files and lines as they come: broken gzip, short readings, sources that fail."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from contextlib import nullcontext
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmexport import MalformedRecordError, iter_records
from kmexport.storage.open_files import open_checked
from tests.support.reading import GOOD, ShortReads, read
from tests.support.strategies import examples


def test_a_source_that_fails_later_gives_its_first_records():
    def lines():
        yield GOOD
        yield GOOD
        msg = "read too far"
        raise RuntimeError(msg)

    records = iter_records(lines())
    assert next(records).person == "ana"
    assert next(records).person == "ana"
    with pytest.raises(RuntimeError, match="read too far"):
        next(records)


def test_the_first_record_needs_only_the_first_line():
    def lines():
        yield GOOD
        pytest.fail("the second line was read")

    assert next(iter_records(lines())).person == "ana"


@pytest.mark.parametrize("damage", ["checksum", "no trailer", "text behind it", "cut off"])
def test_a_broken_gzip_stream_gives_all_that_can_be_unpacked(damage):
    lines = [b'{"_n":"x","_p":"p%d","_t":1,"y":"%s"}' % (n, os.urandom(30).hex().encode()) for n in range(3000)]
    packed = gzip.compress(b"\n".join(lines) + b"\n")
    broken = {
        "checksum": packed[:-8] + b"\x00" * 8,
        "no trailer": packed[:-8],
        "text behind it": packed + b"text",
        "cut off": packed[: len(packed) // 2],
    }[damage]
    unpacked = zlib.decompressobj(wbits=31)
    whole = unpacked.decompress(packed[: len(packed) // 2]).count(b"\n") if damage == "cut off" else len(lines)
    errors: list[MalformedRecordError] = []
    with gzip.open(io.BytesIO(broken)) as file:
        records = list(iter_records(file, on_error=errors.append))
    assert len(records) == whole > 1000
    assert "gzip" in errors[-1].reason
    assert [error.line_number for error in errors] == [whole + 1]
    assert lines[whole:][:1] == [] or (errors[0].raw and lines[whole].startswith(errors[0].raw))


def cut_gzip(content: bytes, keep: int) -> gzip.GzipFile:
    """A stream that unpacks to the first bytes of the content, and breaks off behind them."""
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress(content[:keep]) + packer.flush(zlib.Z_FULL_FLUSH)
    return gzip.GzipFile(fileobj=io.BytesIO(packed))


@given(st.lists(st.sampled_from([GOOD, b'{"_p":"bob",\n  "x":[1,\n  2],\n  "_t":1}', b""]), max_size=4), st.data())
@settings(max_examples=examples(200))
def test_a_gzip_stream_cut_anywhere_gives_one_error_more(lines, data):
    is_array = data.draw(st.booleans())
    separator = data.draw(st.sampled_from([b",", b",\n", b"\n,"])) if is_array else b"\n"
    content = separator.join(filter(None, lines) if is_array else lines)
    content = b"[" + content + b"]" if is_array else content
    keep = data.draw(st.integers(0, len(content)))
    records, errors, counts = read(cut_gzip(content, keep))
    assert [error for error in errors if "gzip" not in error.reason] == []
    assert len(errors) == 1
    assert errors[0].raw in content[:keep]
    whole, _, _ = read(io.BytesIO(content))
    assert records == whole[: len(records)]
    assert counts.lines >= content[:keep].count(b"\n")


@pytest.mark.parametrize("size", [1, 2, 3, 65_536])
def test_gzip_is_seen_however_little_a_reading_gives(size):
    packed = ShortReads(gzip.compress(GOOD + b"\n" + GOOD), size)
    with open_checked(lambda: packed, "revisions/1.json", nullcontext, None) as file:
        assert len(list(iter_records(file))) == 2
    for content in (b"", b"{", GOOD):
        with open_checked(lambda: ShortReads(content, size), "1.json", nullcontext, None) as file:  # noqa: B023
            assert b"".join(iter(lambda: file.read(7), b"")) == content


def test_a_file_that_has_nothing_to_read_yet_is_not_at_its_end():
    class NotYet(io.RawIOBase):
        blocks: ClassVar = [GOOD + b"\n", None]

        def read(self, size: int = -1) -> bytes | None:
            return self.blocks.pop(0)

    records = iter_records(NotYet())
    assert next(records).person == "ana"
    with pytest.raises(BlockingIOError, match="read\\(\\) gave None"):
        next(records)
