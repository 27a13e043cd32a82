"""Names as they compare, and values as numbers."""

from __future__ import annotations

import io
import json
from decimal import Decimal

import pytest

from kmexport import (
    Event,
    Facts,
    PropertySet,
    as_number,
    drop_duplicates,
    dump_records,
    iter_records,
    latest_properties,
    profile,
)
from kmexport.format.names import _fold_known, fold_name


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (7, "7"), (7.5, "7.5"), (0.1, "0.1"), ("7", "7"), (" 12.50 ", "12.50"), ("-1e3", "-1E+3"), ("+.5", "0.5"),
        ("5.", "5"), (Decimal("1e400"), "1E+400"), (10**30, "1" + "0" * 30), ("0" * 5_000 + "1", "1"), ("1\n", "1"),
        (True, None), (None, None), ("", None), (" ", None), ("NaN", None), ("inf", None), ("1,234", None),
        ("1_000", None), ("12 EUR", None), ("$5", None), ("0x10", None), ("\u0661", None), (float("nan"), None),
        (float("inf"), None), (Decimal("NaN"), None), (Decimal("sNaN"), None), ("1e" + "9" * 30, None), ([], None),
        ({"a": 1}, None), ("1 2", None), ("--1", None), (".", None), ("e5", None),
    ],
)  # fmt: skip
def test_as_number(value, number):
    assert as_number(value) == (None if number is None else Decimal(number))


def test_the_user_agent_is_the_vendors_own_key():
    """The vendor's mobile libraries send it with each request."""
    sent = [Event("bob", 1, "x", {"_u": "kissmetrics-ios/2.3", "plan": "Pro"}), PropertySet("bob", 2, {"_u": "again"})]
    assert latest_properties(sent) == {"bob": {"plan": "Pro"}}
    assert [one.name for one in profile(sent).vendor_keys] == ["_u"]
    assert list(drop_duplicates([*sent, sent[1]])) == sent
    with Facts(sent) as facts:
        assert facts.sql("select distinct name from properties").fetchall() == [("plan",)]
    file = io.BytesIO()
    dump_records(sent, file)
    assert list(iter_records(file.getvalue().splitlines())) == sent


def test_long_names_are_not_kept():
    fold_name("x")
    before = _fold_known.cache_info().currsize
    names = [f"{n} {'x' * 300}" for n in range(50)]
    lines = [json.dumps({"_n": name, "_p": "a", "_t": 1}).encode() for name in names]
    assert len(list(iter_records(lines, names=names[0].upper()))) == 1
    assert _fold_known.cache_info().currsize == before
