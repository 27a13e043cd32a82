"""Records → the export's own JSON Lines."""

from __future__ import annotations

from collections.abc import Iterable
from io import TextIOBase
from typing import IO, Any, cast

from kmexport.arguments import check_records
from kmexport.format.decoding import FIRST_TIMESTAMP, LAST_TIMESTAMP, RESERVED
from kmexport.format.encoding import spell_object
from kmexport.format.octal import has_doubled_octal, hide_doubled_octal
from kmexport.records import Alias, Event, Record, show_record


def dump_records(records: Iterable[Record], file: IO[bytes]) -> int:
    r"""Write records to a binary file as the export's own JSON Lines, and return how many.

    What is read, dumped and read again is equal: integers of any size keep their digits. The vendor's JSON
    import reads the result. Holds one record at a time.

    Values of classes that are derived from Python's own (an enum of strings, say) are written as these. Raises
    ValueError for what would not be read back: a person, name or alias other than a string, a time other than a whole
    number of seconds in the years 1 to 9999, a property named `_p`, `_t`, `_n` or `_p2`, NaN, values of other types,
    more than 500 levels of nesting; TypeError for a file of text. What was written before it stays written.

    >>> import io
    >>> from kmexport import Event
    >>> file = io.BytesIO()
    >>> dump_records([Event("bob", 1349222400, "signed up", {"city": "Paraná"})], file)
    1
    >>> file.getvalue().decode()
    '{"_p":"bob","_t":1349222400,"_n":"signed up","city":"Paraná"}\n'
    """
    check_records(records)
    if not hasattr(file, "write") or isinstance(cast("object", file), TextIOBase):
        msg = f'file is a binary file that is open, open(path, "wb"), not {type(file).__name__}'
        raise TypeError(msg)
    count = 0
    for record in records:
        file.write(_as_line(record))
        count += 1
    return count


def _as_line(record: Record) -> bytes:
    reason = _what_is_wrong(record)
    if reason is None:
        try:
            text = spell_object(record.to_dict())
        except (TypeError, ValueError) as error:  # ValueError for an integer of more digits than Python writes
            raise _no_form(record, str(error)) from error
        return (hide_doubled_octal(text) if has_doubled_octal(text) else text) + b"\n"
    raise _no_form(record, reason)


def _what_is_wrong(record: Any) -> str | None:
    """Say why the reader would refuse the record, or read another one; None where it would not."""
    texts = {"person": record.person}
    if isinstance(record, Event):
        texts["name"] = record.name
    elif isinstance(record, Alias):
        texts["alias"] = record.alias
    for what, text in texts.items():
        if not isinstance(text, str):
            return f"its {what} is {text!r}, not a string"
    timestamp, properties = record.timestamp, record.properties
    if not isinstance(timestamp, int) or isinstance(timestamp, bool):
        return f"its timestamp is {timestamp!r}, not a whole number of seconds"
    if not FIRST_TIMESTAMP <= timestamp <= LAST_TIMESTAMP:
        return f"its timestamp is {timestamp}, outside the years 1 to 9999 (unix time in seconds)"
    if not isinstance(properties, dict):
        return f"its properties are {properties!r}, not a dict"
    clash = [key for key in RESERVED if key in properties]
    if clash:
        return f"a property can't be named {clash[0]}, for that key has a meaning of its own"
    return None


def _no_form(record: Record, reason: str) -> ValueError:
    return ValueError(f"the export has no form for this record: {reason} ({show_record(record)})")
