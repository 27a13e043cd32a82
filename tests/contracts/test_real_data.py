"""A real revision: every record is what `json.loads` makes of its line."""

from __future__ import annotations

import json

from kmexport import Event, iter_records


def test_the_demo_revision(real_data):
    path = real_data / "demo-account-revision.json"
    expected = [json.loads(line) for line in path.read_bytes().splitlines()]
    with path.open("rb") as file:
        records = list(iter_records(file))
    assert len(records) == 6_354
    assert all(type(record) is Event for record in records)
    assert [record.to_dict() for record in records] == expected
    assert len({record.person for record in records}) == 100
