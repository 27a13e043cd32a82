"""One small file for each defect: what comes out of it, and which lines do not. `ana` and `bob` always come out."""

from __future__ import annotations

import gzip
import io
from decimal import Decimal
from pathlib import Path

import pytest

from kmexport import Event, MalformedRecordError, iter_records
from kmexport.parsing.counts import LineCounts
from kmexport.parsing.records import one_by_one, read_lists

CORPUS = Path(__file__).parents[1] / "data" / "broken"

# file: the lines that are rejected and a part of the reason, how many lines are repaired, what more is checked of `ana`
ACCEPTED = {
    "array_of_hashes_pretty.json": {"tags": [{"a": 1}]},
    "array_one_item_a_line.json": {},
    "array_on_one_line.json": {},
    "blank_lines.json": {},
    "byte_order_mark.json": {},
    "carriage_returns.json": {},
    "hash_over_several_lines.json": {},
    "hash_over_several_lines_pretty.json": {"x": {"y": [{"z": 1}]}},
    "long_integer.json": {"n": 123456789012345678901234567890},
    "lone_surrogate.json": {"city": "\ud83d"},
    "name_is_null.json": {},
    "nested_value.json": {"x": {"y": [1, {"z": None}]}},
    "no_newline_at_the_end.json": {},
    "number_out_of_range.json": {"x": Decimal("1e400")},
    "path_that_looks_octal.json": {"x": "C:\\303 C:\\101"},
    "the_same_key_twice.json": {},
    "time_in_a_string.json": {},
    "time_is_a_float.json": {},
    "time_is_a_float_in_a_string.json": {},
}
REPAIRED = {
    "byte_order_mark_before_octal.json": {"city": "Paraná"},
    "byte_order_mark_inside.json": {},
    "not_utf8.json": {"city": "Paraná"},
    "not_utf8_but_in_part.json": {"city": "áéáÃ"},
    "not_utf8_in_a_name.json": {"café": 1},
    "not_utf8_nor_windows_1252.json": {"x": "\ufffd ðŸ\u02dc"},
    "not_utf8_over_several_lines.json": {"city": "Paraná"},
    "octal.json": {"city": "Paraná"},
    "octal_doubled.json": {"city": "Paraná"},
    "octal_doubled_half_a_character.json": {"x": "áÃ"},
    "octal_half_a_character.json": {"x": "áÃ"},
    "octal_in_a_name.json": {"café": 1},
    "octal_parity.json": {"x": "\\á \\303"},
    "octal_quote.json": {"x": '"\\\0á'},
    "octal_windows_1252.json": {"nickname": "Frida™"},
    "time_with_a_fraction.json": {},
    "time_with_a_fraction_in_a_string.json": {},
}
REJECTED = {
    "array_cut_off.json": [(1, "unterminated string")],
    "array_that_is_a_broken_line.json": [(1, "expecting")],
    "array_with_other_values.json": [(1, "null"), (1, "number"), (1, "string"), (1, "array")],
    "array_without_its_closing_bracket.json": [(3, "the array that begins in line 1 has no closing bracket")],
    "array_with_a_broken_item.json": [(3, "expecting value")],
    "control_character.json": [(2, "invalid control character")],
    "cut_off_at_the_end.json": [(3, "unterminated string")],
    "cut_off_in_the_middle.json": [(2, "expecting value")],
    "deeply_nested.json": [(2, "nested too deeply")],
    "event_and_alias.json": [(2, "both _n and _p2")],
    "halves_of_two_records.json": [(2, "expecting"), (3, "extra data")],
    "halves_that_are_indented.json": [(2, "expecting"), (3, "extra data")],
    "halves_that_fit.json": [(2, "expecting"), (3, "extra data")],
    "hash_over_several_lines_broken.json": [(2, "expecting"), (3, "extra data"), (4, "extra data")],
    "hash_over_several_lines_then_text.json": [(1, "expecting"), (2, "extra data")],
    "name_is_a_number.json": [(2, "_n is 7, not a string")],
    "no_person.json": [(2, "there is no _p")],
    "no_time.json": [(2, "there is no _t")],
    "not_a_number.json": [(2, "NaN is no JSON number")],
    "nul_bytes.json": [(2, "expecting value")],
    "person_has_a_fraction.json": [(2, "_p is 7.5, not a string or an integer")],
    "person_is_null.json": [(2, "there is no _p")],
    "time_in_milliseconds.json": [(2, "outside the years 1 to 9999")],
    "time_in_words.json": [(2, '_t is "yesterday"')],
    "time_is_a_boolean.json": [(2, "_t is true")],
    "two_objects_on_a_line.json": [(2, "extra data")],
    "wrong_count_that_fits.json": [(1, "extra data")],
}


def read(name: str) -> tuple[list, list[MalformedRecordError], LineCounts]:
    errors: list[MalformedRecordError] = []
    counts = LineCounts()
    opened = gzip.open if name.endswith(".gz") else io.open
    with opened(CORPUS / name, "rb") as file:
        records = list(one_by_one(read_lists(file, name, errors.append, 1 << 20, counts)))
    assert counts.lines == counts.records + counts.rejected + counts.blank + counts.joined - counts.shared
    assert (len(records), len(errors)) == (counts.records, counts.rejected)
    return records, errors, counts


@pytest.mark.parametrize("name", ACCEPTED)
def test_is_read_as_it_is(name):
    records, errors, counts = read(name)
    assert errors == []
    assert counts.repaired == 0
    assert [(record.person, record.timestamp) for record in records] == [("ana", 1), ("bob", 2)]
    assert records[0].properties == ACCEPTED[name]


@pytest.mark.parametrize("name", REPAIRED)
def test_is_repaired(name):
    records, errors, counts = read(name)
    assert errors == []
    assert counts.repaired == 1
    assert [(record.person, record.timestamp) for record in records] == [("ana", 1), ("bob", 2)]
    assert records[0].properties == REPAIRED[name]


@pytest.mark.parametrize("name", REJECTED)
def test_is_rejected_and_its_neighbours_are_read(name):
    records, errors, _ = read(name)
    assert [(error.line_number, error.source) for error in errors] == [(line, name) for line, _ in REJECTED[name]]
    for error, (_, reason) in zip(errors, REJECTED[name], strict=True):
        assert reason in error.reason
    assert [(record.person, record.timestamp) for record in records] == [("ana", 1), ("bob", 2)]


def test_octal_item_of_an_array():
    records, errors, counts = read("array_with_an_octal_item.json")
    assert ([record.person for record in records], errors, counts.repaired) == (["ana", "Paraná"], [], 1)


def test_halves_that_a_comma_would_join():
    records, errors, _ = read("halves_that_fit_with_a_comma.json")
    assert records == []
    assert [error.line_number for error in errors] == [1, 2, 3]


def test_gzip_cut_off():
    records, errors, _ = read("gzip_cut_off.json.gz")
    assert "gzip stream is broken" in errors[-1].reason
    assert len(records) + len(errors) >= 1


def test_html_page():
    records, errors, _ = read("html_page.json")
    assert records == []
    assert [error.line_number for error in errors] == [1, 2, 3]


def test_empty_file():
    assert read("empty.json") == ([], [], LineCounts())


def test_every_file_is_named():
    named = {*ACCEPTED, *REPAIRED, *REJECTED}
    named |= {"array_with_an_octal_item.json", "halves_that_fit_with_a_comma.json", "gzip_cut_off.json.gz"}
    named |= {"html_page.json", "empty.json"}
    assert {path.name for path in CORPUS.iterdir() if ".json" in path.name} == named


def test_the_first_bad_line_is_raised_by_default():
    with (
        (CORPUS / "no_time.json").open("rb") as file,
        pytest.raises(MalformedRecordError, match="line 2: there is no _t"),
    ):
        list(iter_records(file))


def test_the_vendors_form_over_several_lines_has_the_right_kind():
    with (CORPUS / "hash_over_several_lines.json").open("rb") as file:
        assert next(iter_records(file)) == Event("ana", 1, "signed up")
