"""Octal escapes, single and doubled, become the text that they stand for."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmexport import iter_records
from kmexport.format.octal import mention_test, repair_doubled_octal, repair_octal, spellings_of, to_utf8
from tests.support.strategies import WINDOWS_1252, read_bytes


@pytest.mark.parametrize(
    ("line", "repaired"),
    [
        (rb'{"a":"Paran\303\241"}', '{"a":"Paraná"}'),
        (rb'{"a":"\\\303\241"}', '{"a":"\\\\á"}'),
        (rb'{"a":"\303\241\342\202\254"}', '{"a":"á€"}'),
        (rb'{"a":"\n\303\241"}', '{"a":"\\ná"}'),
        (rb'{"a":"\101"}', '{"a":"A"}'),
        (rb'{"a":"\012"}', '{"a":"\\n"}'),
        (rb'{"a":"\\303"}', None),
        (rb'{"a":"\303"}', '{"a":"Ã"}'),
        (rb'{"a":"\400"}', None),
        (rb'{"a":"\303x\241"}', '{"a":"Ãx¡"}'),
        (rb'{"a":"\355\240\275"}', '{"a":"í\xa0½"}'),  # half a surrogate pair is not UTF-8
        (rb'{"a":"Frida\231"}', '{"a":"Frida™"}'),
        (rb'{"a":"\\\231 \\231"}', r'{"a":"\\™ \\231"}'),
        (rb'{"a":"\303\241\303"}', '{"a":"áÃ"}'),
        (rb'{"a":"\201\303\012\342\202"}', '{"a":"\ufffdÃ\\nâ\u201a"}'),
        (b'{"a":"\xc3\\241 \\303\xa1 \xe9\\351"}', '{"a":"á á éé"}'),
        (rb'{"a":"b"}', None),
    ],
)
def test_single_octal(line, repaired):
    found = repair_octal(line)
    assert (found.decode() if found else found) == repaired


@pytest.mark.parametrize(
    ("line", "repaired"),
    [
        (rb'{"a":"Paran\\303\\241"}', '{"a":"Paraná"}'),
        (rb'{"a":"\\\\303\\241"}', r'{"a":"\\\\303\\241"}'),
        (rb'{"a":"\\\\\\303\\241"}', '{"a":"\\\\\\\\á"}'),
        (rb'{"a":"\\303"}', r'{"a":"\\303"}'),
        (rb'{"a":"\\101"}', r'{"a":"\\101"}'),
        (rb'{"a":"\\303\\241\\200"}', '{"a":"á€"}'),  # half a character, behind a whole one
        (rb'{"a":"\\200\\303\\241"}', '{"a":"€á"}'),
        (rb'{"a":"D:\\2012\\231"}', r'{"a":"D:\\2012\\231"}'),
    ],
)
def test_doubled_octal(line, repaired):
    assert repair_doubled_octal(line).decode() == repaired


def test_the_line_of_the_format_description():
    line = (
        rb'{"_n":"email - email sent","subject":"Municipalidad de Paran\303\241: Today\'s news",'
        rb'"_p":"187675_17lu","_t":1443603671}'
    ).replace(rb"\'", b"'")
    (record,) = iter_records([line])
    assert record.properties["subject"].startswith("Municipalidad de Paraná: ")


@given(st.binary(max_size=40))
def test_bytes_are_read_as_the_rule_says(content):
    assert to_utf8(content).decode() == read_bytes(content)


def test_each_byte_alone_is_windows_1252():
    for byte in range(0x80, 0x100):
        assert to_utf8(bytes([byte])).decode() == WINDOWS_1252.get(byte, chr(byte))


@given(st.characters(codec=None))
def test_a_character_is_spelt_as_it_is_read(character):
    spelt = spellings_of(character)
    assert all(to_utf8(one).decode() == character for one in spelt if character < "\ud800" or character > "\udfff")
    alone = {read_bytes(bytes([byte])): byte for byte in range(0x80, 0x100)}
    assert (character in alone) == any(len(one) == 1 and one[0] >= 0x80 for one in spelt)


def test_time_stays_linear():
    to_utf8(b"\xe9" * 2_000_000)  # hours where it did not


def ways_to_spell(character: str) -> st.SearchStrategy[bytes]:
    """The ways in which a line may spell a character."""
    units = character.encode("utf-16-be")
    escape = "".join(f"\\u{units[at] << 8 | units[at + 1]:04x}" for at in range(0, len(units), 2))
    octal = "".join(f"\\{byte:03o}" for byte in character.encode())
    plain = character.replace("\\", r"\\").replace('"', r"\"")
    short = {"/": r"\/", "\n": r"\n"}.get(character, plain)
    forms = [plain, short, escape, re.sub("[a-f]", lambda digit: digit[0].upper(), escape), octal]
    return st.sampled_from([form.encode() for form in forms])


NAMES = st.text(st.sampled_from('ab1é™ŁЖ😀/\\"\n +=@.-_'), min_size=1, max_size=5)


def goes_on(behind: str) -> bool:
    """Whether what stands beside an identity, read from there, makes it a part of something longer."""
    return behind[:1].isalnum() or (behind[:1] in set("@.+-_") and behind[1:2].isalnum())


@given(NAMES, NAMES, st.data())
def test_a_broken_line_names_a_person_in_any_spelling(name, other, data):
    for text in (f'" {name}', f" {other} "):
        line = b"".join(data.draw(ways_to_spell(one)) for one in text)
        assert mention_test([name])(line) == any(
            text.startswith(name, at) and not goes_on(text[:at][::-1]) and not goes_on(text[at + len(name) :])
            for at in range(len(text))
        )
