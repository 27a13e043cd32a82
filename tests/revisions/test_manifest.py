from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmexport import IndexFormatError, Revision, Status, StatusFormatError
from kmexport.revisions.manifest import parse_status, read_index

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
    assert read_index((header + rows).replace(b"\n", newline)).revisions == [
        Revision(9, "revisions/9.json", 1, 5),
        Revision(10, "revisions/10.json", 6, 7),
    ]


@pytest.mark.parametrize("text", [b"", b"\n", REAL_INDEX, b"\xef\xbb\xbf"])
def test_an_index_without_rows(text):
    assert read_index(text).revisions == []


@pytest.mark.parametrize(
    ("text", "line", "column", "reason"),
    [
        (b"<html>\n<body>Forbidden</body></html>\n", 1, "filename", "no such column"),
        (b"filename\nx\n", 2, "filename", "is not 'x'"),
        (DOCUMENTED_STATUS, 1, "filename", "no such column"),
        (b"\x1f\x8b\x08\x00\xff", 1, "filename", "no such column"),
        (REAL_INDEX + b'1.json,1,2\n"2.json,1,2\n3.json,1,2\n', 3, None, "a quote is opened and not closed"),
        (REAL_INDEX + b'1.json,1,"2\n"2.json",1,2\n', 2, None, "a quote is opened and not closed"),
        (b'"filename,min,max\n1.json,1,2\n', 1, None, "a quote is opened and not closed"),
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
        read_index(text)
    assert (caught.value.line_number, caught.value.column) == (line, column)
    assert reason in caught.value.reason
    assert str(caught.value).startswith(f"index.csv, line {line}")


@pytest.mark.parametrize(
    ("row", "first", "last"),
    [
        (b"1.json,1349161501.0,1349162102.000", 1349161501, 1349162102),
        (b"1.json,1.5,2.5", 1, 2),
        (b"1.json,1.349161501e9,1349162102", 1349161501, 1349162102),
        (b'1.json," 1 ",+2', 1, 2),
        (b"acme/revisions/1.json,1,2", 1, 2),
        (b"exports/acme corp/2012/revisions/1.json,1,2", 1, 2),
        ("Caf\u00e9/revisions/1.json,1,2".encode(), 1, 2),
        (b'"1".json,1,2', 1, 2),
    ],
)
def test_a_row_that_is_odd_and_read(row, first, last):
    index = read_index(REAL_INDEX + row)
    assert index.odd_rows == []
    assert index.revisions == [Revision(1, "revisions/1.json", first, last)]
    # Without a header too.
    assert read_index(row).revisions == index.revisions


@pytest.mark.parametrize(
    ("row", "column", "reason"),
    [
        (b"1.json,one,2", "minimum timestamp", "a whole number belongs there, not 'one'"),
        (b"1.json,1", "maximum timestamp", "a whole number belongs there, not ''"),
        (b"1.json", "minimum timestamp", "a whole number belongs there, not ''"),
        (b"1.json,,", "minimum timestamp", "a whole number belongs there, not ''"),
        (b"1.json,1,", "maximum timestamp", "a whole number belongs there, not ''"),
        (b"1.json,3,2", "minimum timestamp", "the minimum 3 is above the maximum 2"),
        (b"1.json,0,0,,", "minimum timestamp", "0 is no time at which a batch was received"),
        (b"1.json,-62135596800,-5", "minimum timestamp", "-62135596800 is no time at which"),
        (b"1.json,-1,5", "minimum timestamp", "-1 is no time at which a batch was received"),
        (b"1.json,0.5,5", "minimum timestamp", "0.5 is no time at which a batch was received"),
        (b"1.json,1349161501,1349162102000", "maximum timestamp", "1349162102000 is out of range"),
        (b"1.json,1349161501000,1349162102000", "minimum timestamp", "1349161501000 is out of range"),
        (b"1.json,-99999999999999,2", "minimum timestamp", "-99999999999999 is out of range"),
        (b"1.json,1" + b"0" * 30 + b",2", "minimum timestamp", "is out of range"),
        (b"1.json,nan,inf", "minimum timestamp", "not 'nan'"),
        (b"1.json,1e99,2", "minimum timestamp", "not '1e99'"),
        (b"1.json,2012-10-02 07:05 GMT,2", "minimum timestamp", "not '2012-10-02 07:05 GMT'"),
        ("1.json,\u0661,2".encode(), "minimum timestamp", "not '\u0661'"),
        (b"1.json,\xff,2", "minimum timestamp", "not '\ufffd'"),
    ],
)
def test_a_row_without_a_range(row, column, reason):
    index = read_index(REAL_INDEX + b"2.json,1,2\n" + row + b"\n3.json,1,2\n")
    assert [(one.number, one.has_range) for one in index.revisions] == [(1, False), (2, True), (3, True)]
    (odd,) = index.odd_rows
    assert (odd.line_number, odd.column) == (3, column)
    assert reason in odd.reason


@pytest.mark.parametrize(
    "row",
    [
        b"../../etc/passwd,1,2", b"/revisions/1.json,1,2", b"s3://other/revisions/1.json,1,2", b",1,2", b"total,1,2",
        b"../revisions/1.json,1,2", b"a/../revisions/1.json,1,2", b"a//revisions/1.json,1,2", b"a/./revisions/1.json",
        b"a/%2e%2e/revisions/1.json,1,2", b"~/revisions/1.json,1,2", b"a\\revisions/1.json,1,2", REAL_INDEX.strip(),
        b"file::s3://x/revisions/1.json,1,2", b"1.json?x,1,2", b"x" * 200_000 + b",1,2", b"\xff\xfe,1,2", b"<html>",
    ],
)  # fmt: skip
def test_a_row_that_names_no_revision_is_passed_over(row):
    index = read_index(REAL_INDEX + b"2.json,1,2\n" + row + b"\n3.json,1,2\n")
    assert [one.number for one in index.revisions] == [2, 3]
    assert [(odd.line_number, odd.column) for odd in index.odd_rows] == [(3, "filename")]
    assert len(str(index.odd_rows[0])) < 300


@pytest.mark.parametrize(
    "header",
    [
        b"file_size,filename,min_timestamp,max_timestamp,min_bytes,max_utc_date",
        b"Max File Size,File,Min,Max,Minutes,Max Age",
        b"file size,The File,minimum timestamp,maximum timestamp,admin,maxims",
        b"bytes,FILE_NAME,Minimum Timestamp,Maximum Timestamp,Minimum UTC Timestamp,Maximum UTC Timestamp",
    ],
)
def test_exact_header_names_win_over_words_in_them(header):
    index = read_index(header + b"\n7,revisions/1.json,10,20,3,4\n")
    assert (index.revisions, index.odd_rows) == ([Revision(1, "revisions/1.json", 10, 20)], [])


def test_exact_header_names_of_a_status():
    text = (
        b"Total Revisions Size,Total_Revisions,Exported Revisions,Newly Exported,Max Exported Revision Timestamp,Max\n"
    )
    assert parse_status(text + b"1,12,10,3,1349222400,4\n") == Status(12, 10, 1349222400)


def test_an_index_without_columns_of_times():
    index = read_index(b"filename,size\n1.json,7\n2.json,8\n")
    assert [one.has_range for one in index.revisions] == [False, False]
    assert [(odd.line_number, odd.column) for odd in index.odd_rows] == [
        (1, "minimum timestamp"),
        (1, "maximum timestamp"),
    ]


@pytest.mark.parametrize("time", [b"", b'""', b" ", b"-", b"NULL", b"None", b"n/a"])
@pytest.mark.parametrize("header", [DOCUMENTED_STATUS.splitlines()[0] + b"\n", b""])
def test_nothing_is_exported_yet(header, time):
    status = parse_status(header + b"12,0," + time + b",\n")
    assert status == Status(12, 0, None)
    assert (status.max_exported_time, status.pending_revisions) == (None, 12)
    assert parse_status(header + b"12,0,0,") == Status(12, 0, 0)
    with pytest.raises(StatusFormatError, match="a whole number belongs there"):
        parse_status(header + b"12,10," + time + b",\n")


def test_numbers_of_a_status():
    assert parse_status(b"12.0,10.0,1349222400.0,x") == Status(12, 10, 1349222400)
    with pytest.raises(StatusFormatError, match=r"not '10\.5'"):
        parse_status(b"12,10.5,1349222400,x")


CELLS = st.one_of(
    st.sampled_from(
        ["", "1.json", "revisions/1.json", "../1.json", "1349161501", "1349161501.0", "-5", "1349161501000"]
    ),
    st.text(st.characters(exclude_characters='"'), max_size=12),
    st.integers().map(str),
    st.floats().map(str),
)


@given(st.lists(st.lists(CELLS, max_size=6).map(",".join), max_size=6), st.booleans(), st.data())
def test_no_odd_row_closes_an_index(odd, has_header, data):
    good = [f"revisions/{number}.json,{number},{number}" for number in range(10**6, 10**6 + 4)]
    rows = [good[0], *data.draw(st.permutations(odd + good[1:]))]
    text = ("filename,min_timestamp,max_timestamp\n" if has_header else "") + "\n".join(rows)
    found = {one.number: one for one in read_index(text.encode("utf-8", "surrogatepass")).revisions}
    for number in range(10**6, 10**6 + 4):
        assert found[number] == Revision(number, f"revisions/{number}.json", number, number)


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_no_bytes_but_an_open_quote_close_an_index(before, behind):
    text = REAL_INDEX + before + b"\n1000000.json,1,2\n" + behind
    try:
        index = read_index(text)
    except IndexFormatError as error:
        assert "a quote is opened and not closed" in error.reason  # noqa: PT017
    else:
        assert Revision(1_000_000, "revisions/1000000.json", 1, 2) in index.revisions


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_named(text):
    for parse, error in ((parse_status, StatusFormatError), (read_index, IndexFormatError)):
        try:
            parse(text)
        except error as caught:
            assert caught.line_number >= 1  # noqa: PT017


def test_the_real_index(real_data):
    index = read_index((real_data / "real-index.csv").read_bytes()).revisions
    assert len(index) == 473
    assert index[0] == Revision(22770, "revisions/22770.json", 1349161501, 1349162102)
