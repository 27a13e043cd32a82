from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmexport import Bucket, PropertySet, Window, in_window, iter_records
from kmexport import profile as profile_of_records
from kmexport.tables import from_records, profile
from tests.test_facts import CROWDED, HOSTILE
from tests.test_profiles import MANY, as_dicts, one_by_one
from tests.test_tables import FIT_RECORDS


def same(records, **options):
    found, expected = profile(records, **options), profile_of_records(records)
    assert found == expected
    return True


@given(st.lists(st.one_of(FIT_RECORDS, CROWDED, HOSTILE), max_size=12))
@settings(deadline=None, max_examples=150)
def test_the_same_as_that_of_records(records):
    assert same(records)


@given(st.lists(MANY, max_size=15))
@settings(deadline=None)
def test_the_same_value_by_value(records):
    assert as_dicts(profile(from_records(records, batch_rows=4))) == one_by_one(records)


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
ODD = st.sampled_from(["ab", "é", "a\n", "\\", "1e3", 'a"'])
LENGTHS = st.one_of(ODD, FLOATS, st.integers(), st.lists(FLOATS, max_size=2))


@given(st.lists(LENGTHS, max_size=12))
@settings(deadline=None, max_examples=150)
def test_the_longest_is_the_first_of_the_longest(values):
    assert same([PropertySet("a", second, {"x": value}) for second, value in enumerate(values)])


def test_numbers_as_they_stand_in_files():
    spellings = ["1e3", "-0", "1e400", "1E99999999999999999999", "0.1000000000000000055", "9" * 5_000, "[1,2]", "1.0"]
    lines = [f'{{"_p":"a","_t":1,"n{at}":{one}}}'.encode() for at, one in enumerate(spellings)]
    assert same(list(iter_records(lines)))


def test_an_export_over_many_batches_and_a_window(tmp_path):
    bucket = Bucket.sample()
    assert profile(bucket) == profile_of_records(bucket.iter_records())
    records = list(bucket.iter_records())
    assert profile(from_records(records, batch_rows=7)) == profile_of_records(records)
    day = Window.day("2012-10-03")
    for source in (bucket, iter(records), from_records(records)):
        assert profile(source, window=day) == profile_of_records(in_window(records, day))


def test_arguments_are_checked():
    for source, options, error in ((b"s3://shop", {}, TypeError), ([], {"on_error": "x"}, ValueError)):
        with pytest.raises(error):
            profile(source, **options)
    assert profile([]) == profile_of_records([])
