"""as_number, latest_properties and to_rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmexport import (
    Alias,
    Bucket,
    Event,
    IdentityMap,
    PropertySet,
    Window,
    drop_duplicates,
    fold_name,
    in_window,
    latest_properties,
    merge_identities,
    profile,
    sort_by_time,
    to_rows,
)
from tests.support.strategies import RECORDS


@given(st.lists(RECORDS, max_size=12), st.none() | st.integers(1349050000, 1349500000))
def test_latest_properties_against_a_model(records, before):
    model: dict = {}
    # Backwards and stable: of one second the first met is written last.
    backwards = list(reversed(records))
    for record in sorted(backwards, key=lambda record: record.timestamp):
        if before is not None and record.timestamp >= before:
            continue
        for name, value in reversed(record.properties.items()):
            if value is not None and name not in {"_c", "_d", "_k", "_s", "_server_timestamp", "_u"}:
                model.setdefault(record.person, {})[fold_name(name)] = value
    assert latest_properties(iter(records), before=before) == model


def test_latest_properties_takes_no_naive_time():
    from datetime import datetime

    with pytest.raises(ValueError, match="no time zone"):
        latest_properties([], before=datetime(2012, 10, 3))  # noqa: DTZ001


@given(st.lists(RECORDS, max_size=6), st.sampled_from([None, "UTC", "America/New_York"]))
def test_rows_lose_nothing(records, tz):
    rows = list(to_rows(records, tz=tz))
    for record, row in zip(records, rows, strict=True):
        assert row["person"] == record.person
        assert int(row["time"].timestamp()) == record.timestamp
        assert row["name"] == getattr(record, "name", None)
        assert row["alias"] == getattr(record, "alias", None)
        assert len(row) == 5 + len(record.properties)
        values = list(row.values())[5:]
        assert list(map(repr, values)) == list(map(repr, record.properties.values()))


def test_rows_make_a_frame():
    pd = pytest.importorskip("pandas")
    records = [
        Event("bob", 1349222400, "signed up", {"plan": "Pro", "kind": "trial", "property:kind": 1}),
        PropertySet("bob", 1349222401, {"city": "Lima"}),
        Alias("bob", 1349222402, "b"),
    ]
    frame = pd.DataFrame(to_rows(records, tz="America/New_York"))
    assert list(frame["kind"]) == ["event", "property_set", "alias"]
    assert frame["property:property:kind"][0] == "trial"
    assert str(frame["time"][0]) == "2012-10-02 20:00:00-04:00"


def test_rows_check_their_zone_at_the_call():
    with pytest.raises(ValueError, match="no time zone"):
        to_rows([], tz="Atlantis")


@pytest.mark.parametrize(
    "step",
    [
        lambda records: merge_identities(records, IdentityMap()),
        drop_duplicates,
        lambda records: drop_duplicates(records, rule="strict"),
        lambda records: in_window(records, Window(0, 1)),
        sort_by_time,
        lambda records: sort_by_time(records, max_delay=5),
        profile,
    ],
)
def test_a_bucket_in_place_of_its_records_is_told_at_the_call(step):
    with pytest.raises(TypeError, match=r"not Bucket: take those of a Bucket, bucket\.iter_records\(\)"):
        step(Bucket.sample())
    step([])
    step(iter(()))
