"""What an export holds, told from columns: the same profile as that of records, in a third of the time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kmexport.format.hashes import load_object
from kmexport.names import VENDOR_KEYS, fold_name
from kmexport.profiles import EventProfile, Profile, PropertyProfile, add_times, in_tables, spell_value
from kmexport.reading import OnError, check_policy
from kmexport.tables.arrivals import inside
from kmexport.tables.arrived import Arrived, read_properties
from kmexport.tables.schema import TIME
from kmexport.tables.sources import Source, open_arrivals, take_source
from kmexport.tables.streams import take_aside
from kmexport.windows import Window, check_window

__all__ = ["profile"]

_CLASSES: Final = {"event": "Event", "property_set": "PropertySet", "alias": "Alias"}
_BY_FIRST_BYTE: Final = {'"': "string", "t": "boolean", "f": "boolean", "n": "null", "[": "array", "{": "object"}
_TYPES: Final = ("string", "boolean", "null", "array", "object", "integer", "number")
_TYPE_OF_BYTE: Final = np.full(256, _TYPES.index("integer"), np.int8)
for _byte, _type in _BY_FIRST_BYTE.items():
    _TYPE_OF_BYTE[ord(_byte)] = _TYPES.index(_type)
_LONG_INTEGER: Final = 4_300  # digits; what is longer is no int of Python's


def profile(source: Source, *, window: Window | None = None, on_error: OnError = "raise") -> Profile:
    """What an export holds: `kmexport.profile` of the same records, made from columns.

    `source` is what `Facts` takes. Identities are not merged and duplicates not dropped: it tells what the files say.
    Holds three batches of about 16,000 records, and an entry for each name and each person. `on_error` is that of
    `Facts`.

    >>> from kmexport import Bucket
    >>> profile(Bucket.sample()).kinds["Event"]
    1660
    """
    check_policy(on_error, 1)
    if window is not None:
        check_window(window)
    tally = _Tally()
    arrivals = open_arrivals(take_source(source), window, on_error, is_whole=True)
    take_aside(arrivals if window is None else (inside(arrived, window) for arrived in arrivals), tally.add)
    tables = in_tables(tally.events.values(), tally.properties.values())
    return Profile(tally.kinds, len(tally.people), tally.first, tally.last, *tables)


class _Spellings(dict[str, int]):
    """Spelling → its number; `names` has the number of its name for each.

    Spellings that stand in `apart` are names of their own.
    """

    def __init__(self, apart: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self.names: list[int] = []
        self.folded: dict[tuple[bool, str], int] = {}
        self.apart = apart
        self.sent: list[str] = []

    def __missing__(self, spelling: str) -> int:
        number = self[spelling] = len(self.sent)
        self.sent.append(spelling)
        self.names.append(self.folded.setdefault((spelling in self.apart, fold_name(spelling)), len(self.folded)))
        return number


class _Tally:
    """What was counted so far."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.people: set[str] = set()
        self.first: int | None = None
        self.last: int | None = None
        self.events: dict[int, EventProfile] = {}
        self.properties: dict[int, PropertyProfile] = {}
        self.event_names = _Spellings()
        self.property_names = _Spellings(VENDOR_KEYS)

    def add(self, arrived: Arrived) -> None:
        batch = arrived.heads
        if not batch.num_rows:
            return
        for counted in pc.value_counts(batch.column("kind").cast(pa.string())).to_pylist():
            self.kinds[_CLASSES[counted["values"]]] += counted["counts"]
        does = pc.not_equal(batch.column("kind").cast(pa.string()), "alias")
        self.people.update(pc.unique(batch.column("person").filter(does)).to_pylist())
        times = batch.column("time").cast(TIME).cast(pa.int64()).to_numpy()
        self.first = int(times.min()) if self.first is None else min(self.first, int(times.min()))
        self.last = int(times.max()) if self.last is None else max(self.last, int(times.max()))
        self._add_events(batch.column("name"), times)
        pairs = read_properties(arrived, self.property_names, shows_halves=False)
        self._add_properties(pairs.ids, pairs.values, np.repeat(times, pairs.counts))

    def _add_events(self, names: pa.Array, times: Any) -> None:
        rows = np.flatnonzero(names.is_valid().to_numpy(zero_copy_only=False))
        encoded = names.take(pa.array(rows)).dictionary_encode()
        numbers = np.array([self.event_names[name] for name in encoded.dictionary.to_pylist()], np.int64)
        spellings = numbers[encoded.indices.to_numpy()]
        for name, group in _groups(spellings, self.event_names):
            found = self.events.get(name)
            if found is None:
                found = self.events[name] = EventProfile(self.event_names.sent[spellings[group[0]]])
            of_group = times[rows[group]]
            add_times(found, len(group), int(of_group.min()), int(of_group.max()))

    def _add_properties(self, spellings: Any, values: pa.Array, times: Any) -> None:
        if not len(spellings):
            return
        types, bounds = _types_and_bounds(values)
        for name, group in _groups(spellings, self.property_names):
            found = self.properties.get(name)
            if found is None:
                found = self.properties[name] = PropertyProfile(self.property_names.sent[spellings[group[0]]])
            add_times(found, len(group), int(times[group].min()), int(times[group].max()))
            for number, count in enumerate(np.bincount(types[group], minlength=len(_TYPES)).tolist()):
                if count:
                    found.types[_TYPES[number]] += count
            _lengthen(found, group, bounds[group], values)


def _groups(spellings: Any, names: _Spellings) -> Iterator[tuple[int, Any]]:
    """Each name with the rows that have it, in their order."""
    if not len(spellings):
        return
    of_rows = np.array(names.names, np.int64)[spellings]
    order = np.argsort(of_rows, kind="stable")
    ends = np.flatnonzero(np.diff(of_rows[order])) + 1
    for group in np.split(order, ends):
        yield int(of_rows[group[0]]), group


def _types_and_bounds(values: pa.Array) -> tuple[Any, Any]:
    """The type of each value, and a length that what it shows as can't exceed."""
    _, offsets_buffer, bytes_buffer = values.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)
    first = np.frombuffer(bytes_buffer, np.uint8)[offsets[:-1]]
    lengths = np.diff(offsets).astype(np.int64)
    types = _TYPE_OF_BYTE[first]
    bounds = np.where(types == _TYPES.index("string"), lengths - 2, lengths)
    # Spaces between the parts; a number there may be spelt at length.
    bounds[np.isin(types, (_TYPES.index("array"), _TYPES.index("object")))] *= 30
    numeric = np.flatnonzero(types == _TYPES.index("integer"))
    if len(numeric):
        texts = values.take(pa.array(numeric))
        odd = pc.match_substring_regex(texts, "[.eE]").to_numpy(zero_copy_only=False) | (
            lengths[numeric] > _LONG_INTEGER
        )
        for row in numeric[odd].tolist():
            # Only Python tells whether it is a float, a Decimal, or no number that it can hold.
            value = _value(values, row)
            types[row] = _TYPES.index("string" if isinstance(value, str) else "number")
            bounds[row] = len(spell_value(value))
    return types, bounds


def _lengthen(found: PropertyProfile, group: Any, bounds: Any, values: pa.Array) -> None:
    """Look for a value that is longer than the longest; of equal ones the first is it."""
    longer = np.flatnonzero(bounds > found.longest)
    best: tuple[int, int] | None = None
    for at in longer[np.lexsort((longer, -bounds[longer]))].tolist():
        bound = int(bounds[at])
        if best is not None and (bound < -best[0] or (bound == -best[0] and at > best[1])):
            if bound < -best[0]:
                break
            continue
        shown = spell_value(_value(values, int(group[at])))
        if len(shown) > found.longest or (best is not None and (-len(shown), at) < best):
            best = (-len(shown), at)
            found.longest, found.longest_value = len(shown), shown


def _value(values: pa.Array, row: int) -> object:
    return load_object(f'{{"":{values[row].as_py()}}}'.encode())[""]
