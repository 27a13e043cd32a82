"""Numbers for texts that come often: identities, names of events, and names of properties."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa

from kmexport.identities import IdentityMap
from kmexport.names import VENDOR_KEYS, fold_name

__all__ = ["Identities", "Numbers", "PropertyNames", "name_spellings"]

_ROWS: Final = 131_072


class Numbers(dict[str, int]):
    """Text → its number, which it gets when it is asked for the first time."""

    def __missing__(self, text: str) -> int:
        number = self[text] = len(self)
        return number


class PropertyNames(dict[str, int]):
    """Spelling → its number; `folded` has the number of its name for each, -1 for the vendor's reserved keys."""

    def __init__(self) -> None:
        super().__init__()
        self.folded: list[int] = []
        self.name_ids: dict[str, int] = {}

    def __missing__(self, spelling: str) -> int:
        number = self[spelling] = len(self.folded)
        name = fold_name(spelling)
        self.folded.append(-1 if spelling in VENDOR_KEYS else self.name_ids.setdefault(name, len(self.name_ids)))
        return number

    def table(self) -> pa.Table:
        """Every spelling with its number, and its name with that one's."""
        spellings = list(self)
        return pa.table(
            {
                "spelling_id": pa.array(range(len(spellings)), pa.int32()),
                "name_id": pa.array(self.folded, pa.int32()),
                "name_as_sent": pa.array(spellings, pa.string()),
                "name": pa.array(list(map(fold_name, spellings)), pa.string()),
            }
        )


class Identities:
    """Every identity that was met; its number is its place.

    Arrow finds the numbers in half the time that a dict takes, and while another thread reads. It goes through all that
    are known each time, so give it many at once.
    """

    def __init__(self) -> None:
        self.known: pa.LargeStringArray = pa.array([], pa.large_string())

    def number(self, texts: Any) -> pa.Array:
        """The number of each text; what was not met before gets the next ones."""
        encoded = pa.concat_arrays([self.known, texts.cast(pa.large_string())]).dictionary_encode()
        before, self.known = len(self.known), encoded.dictionary
        return encoded.indices.slice(before)

    def with_persons(self, people: IdentityMap) -> Iterator[pa.Table]:
        """Every identity that was met or that the map knows, with its person and the numbers of both."""
        identities: list[str] = []
        persons: list[str] = []
        for person in people.people():
            members = people.identities_of(person)
            identities += members
            persons += [person] * len(members)
        merged = self.number(pa.array(identities, pa.large_string())).to_numpy()
        person_ids = np.arange(len(self.known), dtype=np.int32)
        person_ids[merged] = self.number(pa.array(persons, pa.large_string())).to_numpy()
        for start in range(0, max(len(self.known), 1), _ROWS):
            chosen = pa.array(person_ids[start : start + _ROWS])
            yield pa.table(
                {
                    "identity_id": pa.array(np.arange(start, start + len(chosen), dtype=np.int32)),
                    "identity": self.known.slice(start, _ROWS),
                    "person_id": chosen,
                    "person": self.known.take(chosen),
                }
            )


def name_spellings(spellings: Numbers, names: Numbers) -> pa.Table:
    """Every spelling of an event's name, with the name and its number."""
    folded = [fold_name(spelling) for spelling in spellings]
    return pa.table(
        {
            "spelling_id": pa.array(spellings.values(), pa.int32()),
            "name_as_sent": pa.array(spellings, pa.string()),
            "name_id": pa.array([names[name] for name in folded], pa.int32()),
            "name": pa.array(folded, pa.string()),
        }
    )
