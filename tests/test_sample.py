"""The sample that ships is what its script writes, and holds what the docs tell stories about."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import kmexport
from kmexport import Alias, Bucket, Event
from tests import make_sample

SHIPPED = Path(kmexport.__file__).parent / "sample"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_script_writes_the_same_bytes(tmp_path):
    make_sample.main(tmp_path)
    assert files(tmp_path) == files(SHIPPED)


def test_what_it_holds():
    bucket = Bucket.sample()
    records = list(bucket.iter_records())
    assert len(records) == 2_000
    assert len(bucket.revisions()) == 12
    times = [record.timestamp for record in records]
    assert max(times) - min(times) > 4 * 86_400
    assert sum(later < earlier for earlier, later in pairwise(times)) > 20, "out of order"
    assert len(records) - len({str(record.to_dict()) for record in records}) > 20, "duplicates"
    assert any("á" in str(record.properties) or "é" in str(record.properties) for record in records)
    links = [record for record in records if isinstance(record, Alias)]
    ends = Counter(end for link in {(link.person, link.alias) for link in links} for end in link)
    assert sum(count > 1 for count in ends.values()) > 5, "chains"
    assert {"signed up", "purchased"} <= {record.name for record in records if isinstance(record, Event)}


def test_lines_are_escaped_in_octal_as_real_ones_are():
    assert any(rb"\303" in text for text in files(SHIPPED).values())
