"""Writes the corpus: one small file for each defect. Bytes that an editor would not keep are spelt out here."""

from __future__ import annotations

import gzip
from pathlib import Path

GOOD_1 = b'{"_p":"ana","_t":1}\n'
GOOD_2 = b'{"_p":"bob","_t":2}\n'

FILES = {
    "array_of_hashes_pretty.json": b'[\n  {\n    "_p": "ana",\n    "_t": 1,\n    "tags": [\n      {"a": 1}\n    ]\n  },\n'
    b'  {\n    "_p": "bob",\n    "_t": 2\n  }\n]\n',
    "array_one_item_a_line.json": b'[{"_p":"ana","_t":1},\n{"_p":"bob","_t":2}]\n',
    "array_on_one_line.json": b'[{"_p":"ana","_t":1},{"_p":"bob","_t":2}]',
    "array_cut_off.json": b'[{"_p":"ana","_t":1},{"_p":"bob","_t":2},{"_p":"eve","_t',
    "array_without_its_closing_bracket.json": b'[\n{"_p":"ana","_t":1},\n{"_p":"bob","_t":2}\n',
    "array_with_other_values.json": b'[null,{"_p":"ana","_t":1},17, "x, {", {"_p":"bob","_t":2}, [1, 2]]',
    "array_that_is_a_broken_line.json": b'[{"_p":"eve","_t":3}\n' + GOOD_1 + GOOD_2,
    "array_with_a_broken_item.json": b'[\n{"_p":"ana","_t":1},\n{"_p":"eve","_t":\n{"_p":"bob","_t":2}\n]\n',
    "array_with_an_octal_item.json": b'[{"_p":"ana","_t":1},{"_p":"Paran\\303\\241","_t":2}]',
    "blank_lines.json": b"\n" + GOOD_1 + b"   \n\t\n" + GOOD_2 + b"\n\n",
    "byte_order_mark.json": b"\xef\xbb\xbf" + GOOD_1 + GOOD_2,
    "byte_order_mark_before_octal.json": b'\xef\xbb\xbf\xef\xbb\xbf{"_p":"ana","_t":1,"city":"Paran\\303\\241"}\n'
    + GOOD_2,
    "byte_order_mark_inside.json": GOOD_1 + b"\xef\xbb\xbf" + GOOD_2,
    "carriage_returns.json": GOOD_1.replace(b"\n", b"\r\n") + b"\r\n" + GOOD_2.replace(b"\n", b"\r\n"),
    "control_character.json": GOOD_1 + b'{"_p":"eve\x01","_t":3}\n' + GOOD_2,
    "cut_off_at_the_end.json": GOOD_1 + GOOD_2 + b'{"_p":"eve","_t":3,"city":"Par',
    "cut_off_in_the_middle.json": GOOD_1 + b'{"_p":"eve","_t":\n' + GOOD_2,
    "deeply_nested.json": GOOD_1 + b'{"_p":"eve","_t":3,"x":' + b"[" * 5_000 + b"]" * 5_000 + b"}\n" + GOOD_2,
    "empty.json": b"",
    "event_and_alias.json": GOOD_1 + b'{"_p":"eve","_t":3,"_n":"x","_p2":"y"}\n' + GOOD_2,
    "gzip_cut_off.json.gz": gzip.compress(GOOD_1 + GOOD_2, mtime=0)[:-9],
    "halves_of_two_records.json": GOOD_1 + b'{"_p":"eve","_n":"x",\n"_p":"dan","_t":3}\n' + GOOD_2,
    "halves_that_are_indented.json": GOOD_1 + b'{"_n":"x","_p":"eve","_t":3,\n  "_n":"y","_p":"dan","_t":4}\n' + GOOD_2,
    "halves_that_fit.json": GOOD_1 + b'{"_p":"eve","_t":3,\n"_n":"x"}\n' + GOOD_2,
    "halves_that_fit_with_a_comma.json": b'{"_p":"eve","_t":3,"x":[{}\n{}]}\n{"_p":"ana","_t":1},{"_p":"bob","_t":2}\n',
    "hash_over_several_lines.json": b'{"_n":"signed up",\n  "_p":"ana",\n  "_t":1}\n' + GOOD_2,
    "hash_over_several_lines_broken.json": GOOD_1 + b'{"_n":"signed up",\n  "_p":"eve",\n  "_t":3\n' + GOOD_2,
    "hash_over_several_lines_pretty.json": b'{\n  "_p": "ana",\n  "_t": 1,\n  "x": {\n    "y": [\n      {"z": 1}\n    ]\n  }\n}\n'
    + GOOD_2,
    "hash_over_several_lines_then_text.json": b'{"_p":"eve",\n  "_t":3} more\n' + GOOD_1 + GOOD_2,
    "html_page.json": b"<html>\n<body>Forbidden</body>\n</html>\n",
    "long_integer.json": b'{"_p":"ana","_t":1,"n":123456789012345678901234567890}\n' + GOOD_2,
    "lone_surrogate.json": b'{"_p":"ana","_t":1,"city":"\\ud83d"}\n' + GOOD_2,
    "name_is_a_number.json": GOOD_1 + b'{"_p":"eve","_t":3,"_n":7}\n' + GOOD_2,
    "name_is_null.json": b'{"_p":"ana","_t":1,"_n":null,"_p2":null}\n' + GOOD_2,
    "nested_value.json": b'{"_p":"ana","_t":1,"x":{"y":[1,{"z":null}]}}\n' + GOOD_2,
    "no_newline_at_the_end.json": GOOD_1 + GOOD_2.rstrip(b"\n"),
    "no_person.json": GOOD_1 + b'{"_t":3}\n' + GOOD_2,
    "no_time.json": GOOD_1 + b'{"_p":"eve"}\n' + GOOD_2,
    "not_a_number.json": GOOD_1 + b'{"_p":"eve","_t":3,"x":NaN}\n' + GOOD_2,
    "not_utf8.json": b'{"_p":"ana","_t":1,"city":"Paran\xe1"}\n' + GOOD_2,
    "not_utf8_but_in_part.json": b'{"_p":"ana","_t":1,"city":"\xc3\xa1\xe9\xc3\xa1\xc3"}\n' + GOOD_2,
    "not_utf8_in_a_name.json": b'{"_p":"ana","_t":1,"_n":"caf\xe9","caf\xe9":1}\n' + GOOD_2,
    "not_utf8_nor_windows_1252.json": b'{"_p":"ana","_t":1,"x":"\x81 \xf0\x9f\x98"}\n' + GOOD_2,
    "not_utf8_over_several_lines.json": b'{"_p":"ana",\n  "city":"Paran\xe1",\n  "_t":1}\n' + GOOD_2,
    "nul_bytes.json": GOOD_1 + b"\x00" * 40 + b"\n" + GOOD_2,
    "number_out_of_range.json": b'{"_p":"ana","_t":1,"x":1e400}\n' + GOOD_2,
    "octal.json": b'{"_p":"ana","_t":1,"city":"Paran\\303\\241"}\n' + GOOD_2,
    "octal_doubled.json": b'{"_p":"ana","_t":1,"city":"Paran\\\\303\\\\241"}\n' + GOOD_2,
    "octal_doubled_half_a_character.json": b'{"_p":"ana","_t":1,"x":"\\\\303\\\\241\\\\303"}\n' + GOOD_2,
    "octal_half_a_character.json": b'{"_p":"ana","_t":1,"x":"\\303\\241\\303"}\n' + GOOD_2,
    "octal_in_a_name.json": b'{"_p":"ana","_t":1,"_n":"caf\\303\\251","caf\\303\\251":1}\n' + GOOD_2,
    "octal_parity.json": b'{"_p":"ana","_t":1,"x":"\\\\\\303\\241 \\\\303"}\n' + GOOD_2,
    "octal_quote.json": b'{"_p":"ana","_t":1,"x":"\\042\\134\\000\\303\\241"}\n' + GOOD_2,
    "octal_windows_1252.json": b'{"_p":"ana","_t":1,"nickname":"Frida\\231"}\n' + GOOD_2,
    "path_that_looks_octal.json": b'{"_p":"ana","_t":1,"x":"C:\\\\303 C:\\\\101"}\n' + GOOD_2,
    "person_has_a_fraction.json": GOOD_1 + b'{"_p":7.5,"_t":3}\n' + GOOD_2,
    "person_is_null.json": GOOD_1 + b'{"_p":null,"_t":3}\n' + GOOD_2,
    "the_same_key_twice.json": b'{"_p":"eve","_t":1,"_p":"ana"}\n' + GOOD_2,
    "time_in_a_string.json": b'{"_p":"ana","_t":"1"}\n' + GOOD_2,
    "time_in_milliseconds.json": GOOD_1 + b'{"_p":"eve","_t":1349222400000}\n' + GOOD_2,
    "time_in_words.json": GOOD_1 + b'{"_p":"eve","_t":"yesterday"}\n' + GOOD_2,
    "time_is_a_boolean.json": GOOD_1 + b'{"_p":"eve","_t":true}\n' + GOOD_2,
    "time_is_a_float.json": b'{"_p":"ana","_t":1.0}\n' + GOOD_2,
    "time_with_a_fraction.json": b'{"_p":"ana","_t":1.5}\n' + GOOD_2,
    "time_with_a_fraction_in_a_string.json": b'{"_p":"ana","_t":"1.999"}\n' + GOOD_2,
    "time_is_a_float_in_a_string.json": b'{"_p":"ana","_t":"1.0"}\n' + GOOD_2,
    "two_objects_on_a_line.json": GOOD_1 + b'{"_p":"eve","_t":3}{"_p":"eve","_t":4}\n' + GOOD_2,
    "wrong_count_that_fits.json": b'{"_p":"eve","_t":3}{"_p":"eve","_t":4}\n{"_p":"ana",\n "_t":1}\n' + GOOD_2,
}

if __name__ == "__main__":
    for name, text in FILES.items():
        (Path(__file__).parent / name).write_bytes(text)
