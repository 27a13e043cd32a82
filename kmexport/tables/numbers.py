"""Numbers for texts that come often: identities and names of events, and the tables that say what they stand for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa

from kmexport.identities import IdentityMap
from kmexport.names import fold_name

__all__ = ["Numbers", "name_identities", "name_spellings"]

_ROWS: Final = 32_768


class Numbers(dict[str, int]):
    """Text → its number, which it gets when it is asked for the first time."""

    def __missing__(self, text: str) -> int:
        number = self[text] = len(self)
        return number


def name_identities(numbers: Numbers, people: IdentityMap) -> tuple[Iterator[pa.RecordBatch], Any]:
    """Every identity that was met or that the map knows, with its person and the numbers of both."""
    persons = dict[int, int]()
    for person in people.people():
        number = numbers[person]
        persons |= dict.fromkeys(map(numbers.__getitem__, people.identities_of(person)), number)
    texts = list(numbers)
    schema = pa.schema(
        [("identity_id", pa.int32()), ("identity", pa.string()), ("person_id", pa.int32()), ("person", pa.string())]
    )

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(texts), _ROWS):
            chosen = range(start, min(start + _ROWS, len(texts)))
            ids = [persons.get(number, number) for number in chosen]
            columns = [chosen, texts[start : start + _ROWS], ids, [texts[number] for number in ids]]
            yield pa.RecordBatch.from_arrays(
                [pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)], schema=schema
            )

    return batches(), schema


def name_spellings(spellings: Numbers, names: Numbers) -> tuple[list[pa.RecordBatch], Any]:
    """Every spelling of an event's name, with the name and its number."""
    folded = [fold_name(spelling) for spelling in spellings]
    table = pa.table(
        {
            "spelling_id": pa.array(spellings.values(), pa.int32()),
            "name_as_sent": pa.array(spellings, pa.string()),
            "name_id": pa.array([names[name] for name in folded], pa.int32()),
            "name": pa.array(folded, pa.string()),
        }
    )
    return table.to_batches(), table.schema
