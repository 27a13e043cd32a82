"""The search by NumPy leaves out no line that a wanted record may stand on, and says where the lines are."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kmexport import Alias, Event
from kmexport.columns.searching import LineSearch
from kmexport.format.decoding import NotARecord
from kmexport.format.names import fold_name
from kmexport.format.repair import parse_record
from kmexport.parsing.selection import alias_filter, name_filter, with_aliases
from tests.parsing.test_selection import ASKED, EVENTS, LINES, NAMES, OTHERS, spelt
from tests.support.strategies import examples

# As the vendor spells them, and then only escapes and letters outside ASCII stand in the way of a plain search.
PLAIN = st.lists(EVENTS.flatmap(spelt) | OTHERS.flatmap(spelt), max_size=10).map(
    lambda lines: [line.replace(b'"_n": "', b'"_n":"').replace(b'"_n" : "', b'"_n":"') for line in lines]
)


def is_wanted(line: bytes, names: set[str], *, aliases: bool) -> bool:
    try:
        head = parse_record(line).head
    except NotARecord:
        return False
    return (aliases and head.alias is not None) or (head.name is not None and fold_name(head.name) in names)


@given(LINES | PLAIN, ASKED, st.booleans())
@settings(max_examples=examples(600))
@example([b'{"_p":"a","_t":1,"_n":"x"}'], ["X"], False)
@example([b'{"_p":"a","_t":1,"_n":""}', b"_", b"_n", b'_n"', b"_p"], [""], True)
@example([b'{"_n":"sign\xc3\xa9","_p":"a","_t":1}', b'{"_n":"x","_p":"a\\/","_t":1}'], ["sign\xe9"], True)
def test_no_wanted_line_is_left_out(lines, asked, aliases):
    names = set(map(fold_name, asked))
    of_names = name_filter(names)
    line_filter = with_aliases(of_names) if aliases else of_names
    block = b"\n".join(lines)
    found = LineSearch(line_filter)(block)
    if found is None:
        assert line_filter.has_escaped_key(block)
        return
    every = block.split(b"\n")
    assert found.count == len(every)
    places = list(map(int, found.places))
    assert places == sorted(set(places))
    if b"\n" not in b"".join(found.texts):
        assert found.texts == [every[place] for place in places]
    assert {place for place, line in enumerate(every) if is_wanted(line, names, aliases=aliases)} <= {*places}


@given(st.lists(NAMES, min_size=1, max_size=3))
def test_other_names_are_passed_over(asked):
    names = set(map(fold_name, asked)) - {""}
    lines = [b'{"_n":"zz%d","_p":"a","_t":1}' % number for number in range(9)]
    assert LineSearch(name_filter(names))(b"\n".join(lines)).texts == []


@pytest.mark.parametrize("kind", [Event, Alias])
def test_the_filter_searches_for_other_keys(kind):
    lines = [b'{"_p":"a","_t":1}', b'{"_p":"a","_p2":"b","_t":1}', b'{"_n" : "x","_p":"a","_t":1}']
    found = LineSearch(alias_filter() if kind is Alias else name_filter({"x"}))(b"\n".join(lines))
    place = 1 if kind is Alias else 2
    assert (found.texts, [*found.places], found.count) == ([lines[place]], [place], 3)
