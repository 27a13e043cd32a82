"""Records → the export's own JSON Lines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO

from kmexport.format.hashes import RESERVED
from kmexport.format.octal import has_doubled_octal, hide_doubled_octal
from kmexport.format.spelling import spell_object
from kmexport.records import Record

__all__ = ["dump_records"]


def dump_records(records: Iterable[Record], file: IO[bytes]) -> int:
    r"""Write records to a binary file as the export's own JSON Lines, and return how many.

    What is read, dumped and read again is equal: integers of any size keep their digits. The vendor's JSON
    import reads the result. Holds one record at a time.

    Raises ValueError for what the format can't say (NaN, a value of another type than JSON's, a property
    named `_p`, `_t`, `_n` or `_p2`); what was written before it stays written.

    >>> import io
    >>> from kmexport import Event
    >>> file = io.BytesIO()
    >>> dump_records([Event("bob", 1349222400, "signed up", {"city": "Paraná"})], file)
    1
    >>> file.getvalue().decode()
    '{"_p":"bob","_t":1349222400,"_n":"signed up","city":"Paraná"}\n'
    """
    count = 0
    for record in records:
        file.write(_as_line(record))
        count += 1
    return count


def _as_line(record: Record) -> bytes:
    clash = [key for key in RESERVED if key in record.properties]
    if clash:
        msg = f"a property can't be named {clash[0]}: the export keeps that key for itself ({record!r})"
        raise ValueError(msg)
    try:
        text = spell_object(record.to_dict())
    except TypeError as error:
        msg = f"the export has no form for this record ({error}): {record!r}"
        raise ValueError(msg) from error
    return (hide_doubled_octal(text) if has_doubled_octal(text) else text) + b"\n"
