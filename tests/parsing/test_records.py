from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest

from kmexport import Alias, Event, LineCounts, MalformedRecordError, PropertySet, iter_records, select

LINES = [
    b'{"_n":"signed up","_p":"ana","_t":1}',
    b"broken",
    b'{"_n":"Signed Up","_p":"bob","_t":2}',
    b'{"_p":"bob","_t":3,"plan":"signed up"}',
    b'{"_p":"bob","_p2":"signed up","_t":4}',
    rb'{"_p":"bob","_t":5,"city":"Paran\303\241"}',
]


@pytest.mark.parametrize(
    "source",
    [
        LINES,
        [line.decode() for line in LINES],
        [line + b"\n" for line in LINES],
        [bytearray(line) for line in LINES],
        iter(LINES),
        io.BytesIO(b"\n".join(LINES)),
        io.StringIO("\n".join(line.decode() for line in LINES)),
    ],
)
def test_sources(source):
    errors: list[MalformedRecordError] = []
    kinds = [type(record) for record in iter_records(source, on_error=errors.append)]
    assert kinds == [Event, Event, PropertySet, Alias, PropertySet]
    assert [error.line_number for error in errors] == [2]


@pytest.mark.parametrize(
    ("selection", "times"),
    [
        ({"kinds": Event}, [1, 2]),
        ({"kinds": [PropertySet, Alias]}, [3, 4, 5]),
        ({"kinds": []}, []),
        ({"names": ["SIGNED UP"]}, [1, 2]),
        ({"names": "signed up"}, [1, 2]),
        ({"names": []}, []),
        ({"names": ["other"]}, []),
        ({"names": ["signed up"], "kinds": [Event, Alias]}, [1, 2]),
        ({"names": ["signed up"], "kinds": [Alias]}, []),
    ],
)
def test_selection(selection, times):
    assert [r.timestamp for r in iter_records(LINES, on_error="skip", **selection)] == times


@pytest.mark.parametrize(
    "selection",
    [{}, {"kinds": Event}, {"kinds": [Alias, PropertySet]}, {"names": "SIGNED, UP"}, {"names": []}, {"kinds": []}],
)
def test_select_leaves_what_reading_with_the_same_arguments_gives(selection):
    records = iter_records(LINES, on_error="skip")
    assert list(select(records, **selection)) == list(iter_records(LINES, on_error="skip", **selection))


def test_select_is_lazy_and_checks_its_arguments_at_the_call():
    def records():
        yield Event("ana", 1, "a")
        pytest.fail("read too far")

    assert next(select(records(), names="A")).person == "ana"
    with pytest.raises(TypeError, match="kinds are the classes"):
        select([], kinds="event")


def test_counts_add_up_over_files_and_lines_are_numbered_in_each(caplog):
    counts = LineCounts()
    for _ in range(2):
        errors: list[MalformedRecordError] = []
        with caplog.at_level(logging.INFO, "kmexport"):
            assert len(list(iter_records(LINES, on_error=errors.append, counts=counts))) == 5
        assert [error.line_number for error in errors] == [2]
        assert caplog.messages[-1] == "<stream>: 1 of 6 lines were repaired"
    assert counts == LineCounts(lines=12, records=10, rejected=2, repaired=2)
    records = iter_records(LINES, names="signed up", on_error="skip", counts=counts)
    next(records)
    assert counts.lines == 13  # while it reads


def test_two_loops_at_once_with_the_same_counts_number_their_own_lines(caplog):
    counts = LineCounts()
    errors: list[MalformedRecordError] = []
    loops = [iter_records(LINES, on_error=errors.append, counts=counts) for _ in range(2)]
    with caplog.at_level(logging.INFO, "kmexport"):
        assert len(list(zip(*loops, strict=True))) == 5
    assert [error.line_number for error in errors] == [2, 2]
    assert caplog.messages == ["<stream>: 1 of 6 lines were repaired"] * 2
    assert counts == LineCounts(lines=12, records=10, rejected=2, repaired=2)


def test_the_items_of_an_array_on_one_line_are_counted_as_lines_in_the_log(caplog):
    array = b'[7,{"_p":"ana","_t":1},8,9,10]'
    assert len(list(iter_records(io.BytesIO(array), on_error="skip"))) == 1
    assert caplog.messages[0].startswith("<stream>: 4 of 5 lines were skipped, the first is line 1: ")


def test_counts_of_an_array_behind_another_file():
    counts = LineCounts()
    array = b'[\n{"_p":"ana","_t":1},\n17,\n{"_p":"bob",\n"_t":2}, {"_p":"eve","_t":3.5}\n]\n'
    for _ in range(2):
        errors: list[MalformedRecordError] = []
        list(iter_records(io.BytesIO(array), on_error=errors.append, counts=counts))
        assert [error.line_number for error in errors] == [3]
    assert counts == LineCounts(lines=12, records=6, rejected=2, blank=4, joined=2, shared=2, repaired=2)


def test_a_file_gives_its_name_to_the_error(tmp_path: Path):
    path = tmp_path / "7.json"
    path.write_bytes(b"\n".join(LINES))
    with path.open("rb") as file, pytest.raises(MalformedRecordError) as caught:
        list(iter_records(file))
    error = caught.value
    assert (error.source, error.line_number, error.raw) == (str(path), 2, b"broken")
    assert (
        str(error) == f'{path}, line 2: not a JSON object (expecting value at column 1). Pass on_error="skip" to go on.'
    )


def test_skipping_logs_one_warning_and_repairs_one_line(caplog):
    with caplog.at_level(logging.INFO, "kmexport"):
        assert len(list(iter_records([*LINES, b"{}"], on_error="skip"))) == 5
    assert [(entry.levelname, entry.getMessage()) for entry in caplog.records] == [
        ("INFO", "<stream>: 1 of 7 lines were repaired"),
        (
            "WARNING",
            "<stream>: 2 of 7 lines were skipped, the first is line 2: not a JSON object (expecting value at column 1)",
        ),
    ]


def test_what_was_skipped_is_told_when_the_loop_ends_early(caplog):
    records = iter_records(LINES, on_error="skip")
    assert [next(records).timestamp, next(records).timestamp] == [1, 2]
    records.close()
    assert "1 of" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "error", "reason"),
    [
        ({"source": "revisions/1.json"}, TypeError, "not str"),
        ({"source": b"{}"}, TypeError, "not bytes"),
        ({"source": Path("1.json")}, TypeError, "Open the file"),
        ({"source": 7}, TypeError, "not int"),
        ({"source": [], "on_error": "ignore"}, ValueError, "on_error"),
        ({"source": [], "kinds": [dict]}, TypeError, "kinds are"),
        ({"source": [], "max_line_bytes": 0}, ValueError, "max_line_bytes"),
        ({"source": [], "kinds": "event"}, TypeError, "kinds are the classes Event, .* not 'event'"),
        ({"source": [], "kinds": ["Event"]}, TypeError, "kinds are the classes .* not \\['Event'\\]"),
        ({"source": [], "kinds": 7}, TypeError, "kinds are the classes .* not 7"),
        ({"source": [], "names": 7}, TypeError, "names are strings, .* not 7"),
        ({"source": [], "names": b"signed up"}, TypeError, "names are strings, .* not b'signed up'"),
        ({"source": [], "names": ["a", None]}, TypeError, "names are strings, .* not None"),
        ({"source": [], "counts": {}}, TypeError, "counts is a LineCounts, not {}"),
    ],
)
def test_arguments_are_checked_at_the_call(arguments, error, reason):
    with pytest.raises(error, match=reason):
        iter_records(**arguments)


def test_lines_of_another_type_are_an_error():
    with pytest.raises(TypeError, match="a line is bytes or str, not int"):
        list(iter_records([1, 2]))


def test_nothing_is_read_before_the_first_next():
    class Untouched(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            pytest.fail("read too early")

    iter_records(Untouched())


def test_an_error_in_the_users_callable_comes_out():
    def refuse(error: MalformedRecordError) -> None:
        msg = "no more"
        raise RuntimeError(msg) from error

    with pytest.raises(RuntimeError, match="no more"):
        list(iter_records(LINES, on_error=refuse))
