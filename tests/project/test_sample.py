"""The sample that ships is what its script writes, and holds what the docs tell stories about."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import kmexport
from kmexport import Alias, Bucket, Event
from tests.support import make_sample

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
    assert len(records) == make_sample.RECORDS
    assert len(bucket.revisions()) == 12
    times = [record.timestamp for record in records]
    assert max(times) - min(times) > 4 * 7 * 86_400, "people can come back in several weeks"
    assert sum(later < earlier for earlier, later in pairwise(times)) > 20, "out of order"
    assert len(records) - len({str(record.to_dict()) for record in records}) > 20, "duplicates"
    assert any("á" in str(record.properties) or "é" in str(record.properties) for record in records)
    links = [record for record in records if isinstance(record, Alias)]
    ends = Counter(end for link in {(link.person, link.alias) for link in links} for end in link)
    assert sum(count > 1 for count in ends.values()) > 5, "chains"
    assert {"signed up", "purchased"} <= {record.name for record in records if isinstance(record, Event)}


def test_lines_are_escaped_in_octal_as_real_ones_are():
    lines = [line for path in (SHIPPED / "revisions").iterdir() for line in path.read_bytes().splitlines()]
    assert sum(re.search(rb"\\[0-7]{3}", line) is not None for line in lines) == 441, "README and docs/why.md say so"


def test_it_is_small_enough_to_ship():
    assert sum(map(len, files(SHIPPED).values())) < 250_000


def test_a_changed_record_changes_its_own_line_alone():
    records = [Event("bob", second, "visited site", {"referrer": "", "page": "/"}) for second in range(50)]
    before = [make_sample.shuffled(record) for record in records]
    records[20].name = "visited the site"
    after = [make_sample.shuffled(record) for record in records]
    assert [number for number in range(50) if before[number] != after[number]] == [20]
    assert len({re.sub(r"\d+", "", line) for line in before}) > 5, "keys come in many orders"


def test_the_server_and_the_phones_make_counting_hard():
    """What docs/new-york.md tells of: one sign-up under two identities at one second, and aliases of a later day."""
    bucket = Bucket.sample()
    people = bucket.identities()
    signups: dict[tuple[str, int], set[str]] = {}
    for event in bucket.iter_records(names="signed up"):
        signups.setdefault((people.resolve(event.person), event.timestamp), set()).add(event.person)
    assert sum(len(identities) > 1 for identities in signups.values()) > 10
    first = {event.person: event.timestamp for event in bucket.iter_records(kinds=Event)}
    late = [
        alias for alias in bucket.iter_records(kinds=Alias) if alias.timestamp > first.get(alias.person, 2**40) + 40_000
    ]
    assert len(late) > 3
