"""Objects over several lines, and lines above the limit."""

from __future__ import annotations

import io

import pytest

from tests.support.reading import GOOD, calls_of, read


def test_a_line_above_the_limit_costs_one_error():
    content = GOOD + b"\n" + b"x" * 300_000 + b"\n" + GOOD + b"\n"
    records, errors, _ = read(io.BytesIO(content), max_line_bytes=200_000)
    assert len(records) == 2
    assert [(error.line_number, len(error.raw)) for error in errors] == [(2, 1_000)]
    assert "300,000 bytes is above the limit, max_line_bytes=200,000" in errors[0].reason


@pytest.mark.parametrize("size", [1, 7, 65_535, 65_536, 65_537, 131_072])
def test_the_limit_holds_whatever_the_blocks(size):
    line = b'{"_p":"' + b"a" * (size - 15 if size > 15 else 0) + b'","_t":1}'
    for limit, count in ((len(line), 2), (len(line) - 1, 0)):
        records, errors, _ = read(io.BytesIO(line + b"\n" + line), max_line_bytes=limit)
        assert (len(records), len(errors)) == (count, 2 - count)


def test_a_hash_over_several_lines_has_the_same_limit():
    content = b'{"_p":"eve",\n' + b'  "x":1,\n' * 1_000 + b'  "_t":3}\n' + GOOD
    records, errors, _ = read(io.BytesIO(content), max_line_bytes=1_000)
    assert [record.person for record in records] == ["ana"]
    assert len(errors) == 1_002


@pytest.mark.parametrize(
    "line",
    [
        b"x\n",
        b"\n",
        b'{"_p":"a",\n',
        b' {"a":[\n',
        b'{"_p":"a","_t":1}}\n',
        b'{"a":"\\303"}\n',
        b'  "a":1,\n',
        b"[\n",
        b"{\n",
        b'"\n',
    ],
)
@pytest.mark.parametrize("first", [b"", b"[\n", b'{"_p":\n'])
def test_time_stays_linear_on_hostile_lines(line, first):
    """Counted in calls, not in seconds: each line is judged at most twice."""

    def cost(lines: int) -> int:
        return calls_of(lambda: read(io.BytesIO(first + line * lines)))

    assert cost(2_000) <= 2.2 * cost(1_000)


def test_a_hash_of_many_short_lines_is_bounded_by_what_they_cost():
    content = b'{"a":[\n' + b" ,\n" * 1_000
    _, errors, _ = read(io.BytesIO(content), max_line_bytes=10_000)
    assert len(errors) == 1_001  # given up before the end, and each line judged alone
