from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmexport import IndexFormatError, Revision, Status, StatusFormatError
from kmexport.manifest import parse_index, parse_status

DOCUMENTED_STATUS = (
    b"Total Revisions,Exported Revisions,Max Exported Revision Timestamp,Max Exported Revision UTC Timestamp\n"
    b"12,10,1349222400,2012-10-03 00:00 GMT\n"
)
DOCUMENTED_INDEX = b"Filename,Minimum Timestamp,Maximum Timestamp,Minimum UTC Timestamp,Maximum UTC Timestamp\n"
REAL_INDEX = b"filename,min_timestamp,max_timestamp,min_utc_date,max_utc_date\n"


@pytest.mark.parametrize(
    "text",
    [
        DOCUMENTED_STATUS,
        DOCUMENTED_STATUS.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + DOCUMENTED_STATUS,
        b"total_revisions,exported_revisions,max_exported_revision_timestamp,max_utc\n12,10,1349222400,x",
        b"TOTAL REVISIONS, EXPORTED REVISIONS, MAX EXPORTED REVISION TIMESTAMP\n 12 , 10 ,1349222400",
        b"Exported Revisions,Max Exported Revision Timestamp,Total Revisions\n10,1349222400,12\n",
        b"12,10,1349222400,2012-10-03 00:00 GMT\n",
        b"\n\n12,10,1349222400,1349222400\n\n",
        b'"Total Revisions","Exported Revisions","Max Exported Revision Timestamp"\n"12","10","1349222400"\n',
    ],
)
def test_status_forms(text):
    status = parse_status(text)
    assert status == Status(12, 10, 1349222400)
    assert status.pending_revisions == 2
    assert status.max_exported_time == datetime(2012, 10, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "line", "column", "reason"),
    [
        (b"", 1, None, "the file is empty"),
        (b"\n \n", 1, None, "the file is empty"),
        (b"<html>\n<body>Forbidden</body></html>\n", 1, "total revisions", "no such column ('<html>')"),
        (DOCUMENTED_STATUS.splitlines()[0], 2, None, "no line of values"),
        (DOCUMENTED_STATUS + b"1,1,1,1\n", 3, None, "more than one line of values"),
        (DOCUMENTED_STATUS.replace(b"12,", b"twelve,"), 2, "total revisions", "not 'twelve'"),
        (DOCUMENTED_STATUS.replace(b"10,13", b",13"), 2, "exported revisions", "not ''"),
        (DOCUMENTED_STATUS.replace(b"12,10", b"10,12"), 2, "exported revisions", "12 revisions of 10"),
        (DOCUMENTED_STATUS.replace(b"1349222400", b"9" * 15), 2, "max exported revision timestamp", "out of range"),
        (DOCUMENTED_STATUS.replace(b"1349222400", b"-1"), 2, "max exported revision timestamp", "out of range"),
        (b"1,2,3\n", 1, "total revisions", "no such column"),
        (DOCUMENTED_STATUS + b"\xff", 3, None, "not UTF-8"),
    ],
)
def test_wrong_status(text, line, column, reason):
    with pytest.raises(StatusFormatError) as caught:
        parse_status(text)
    assert (caught.value.line_number, caught.value.column) == (line, column)
    assert reason in caught.value.reason


@pytest.mark.parametrize("header", [DOCUMENTED_INDEX, REAL_INDEX, b"File Name,MIN,MAX\n", b"\xef\xbb\xbf" + REAL_INDEX])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_index_forms(header, newline):
    rows = b"revisions/10.json,5,7,x,y\n9.json,1,5\n\nrevisions/10.json,6,7,x,y\n"
    assert parse_index((header + rows).replace(b"\n", newline)) == [
        Revision(9, "revisions/9.json", 1, 5),
        Revision(10, "revisions/10.json", 6, 7),
    ]


@pytest.mark.parametrize("text", [b"", b"\n", REAL_INDEX, b"\xef\xbb\xbf"])
def test_an_index_without_rows(text):
    assert parse_index(text) == []


@pytest.mark.parametrize(
    ("text", "line", "column", "reason"),
    [
        (b"<html>\n<body>Forbidden</body></html>\n", 1, "filename", "no such column"),
        (b"revisions/1.json,1,2\n", 1, "filename", "no such column"),
        (REAL_INDEX + b"1.json,1,2\n2.json,one,2\n", 3, "minimum timestamp", "not 'one'"),
        (REAL_INDEX + b"1.json,1\n", 2, "maximum timestamp", "not ''"),
        (REAL_INDEX + b"1.json,3,2\n", 2, "minimum timestamp", "the minimum 3 is above the maximum 2"),
        (REAL_INDEX + b"1.json,1.5,2\n", 2, "minimum timestamp", "not '1.5'"),
        (b"filename,min,max,min\n", 1, "minimum timestamp", "more than one column"),
        (REAL_INDEX + b"../../etc/passwd,1,2\n", 2, "filename", "'../../etc/passwd'"),
        (REAL_INDEX + b"/etc/1.json,1,2\n", 2, "filename", "'/etc/1.json'"),
        (REAL_INDEX + b"s3://other/revisions/1.json,1,2\n", 2, "filename", "is not"),
        (REAL_INDEX + b"revisions/../../1.json,1,2\n", 2, "filename", "is not"),
        (REAL_INDEX + b"revisions\\1.json,1,2\n", 2, "filename", "is not"),
        (REAL_INDEX + b"%2e%2e/1.json,1,2\n", 2, "filename", "is not"),
        (REAL_INDEX + "revisions/\uff11.json,1,2\n".encode(), 2, "filename", "is not"),
        (REAL_INDEX + b",1,2\n", 2, "filename", "is not ''"),
    ],
)
def test_wrong_index(text, line, column, reason):
    with pytest.raises(IndexFormatError) as caught:
        parse_index(text)
    assert (caught.value.line_number, caught.value.column) == (line, column)
    assert reason in caught.value.reason
    assert str(caught.value).startswith(f"index.csv, line {line}")


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_named(text):
    for parse, error in ((parse_status, StatusFormatError), (parse_index, IndexFormatError)):
        try:
            parse(text)
        except error as caught:
            assert caught.line_number >= 1  # noqa: PT017


@pytest.mark.skipif("KMEXPORT_REAL_DATA" not in os.environ, reason="KMEXPORT_REAL_DATA names no folder of real files")
def test_the_real_index():
    index = parse_index((Path(os.environ["KMEXPORT_REAL_DATA"]) / "real-index.csv").read_bytes())
    assert len(index) == 473
    assert index[0] == Revision(22770, "revisions/22770.json", 1349161501, 1349162102)
