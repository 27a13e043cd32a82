"""An id for each line that is the same in every run, so that a target can tell what it has already."""

from __future__ import annotations

import json
from typing import Final, Literal, TypeAlias
from uuid import UUID, uuid5

from kmexport.duplicates import canonical_form
from kmexport.names import VENDOR_KEYS, fold_name
from kmexport.records import Alias, Event, Record

__all__ = ["Rule", "line_id"]

Rule: TypeAlias = Literal["classic", "strict"]

# Made once, by chance. Another one would make every id another.
_NAMESPACE: Final = UUID("5ccfc2c0-aad4-4ac0-afad-998ad7f51ca2")


def line_id(record: Record, rule: Rule) -> str:
    """A UUID of what makes the record itself under a rule of duplicates, and of nothing else.

    classic: an event is its person, second and folded name, whatever its properties; so if another one of its
    duplicates is met first next time, the id stays. A property set is its person, second and the names of its
    properties. strict: events of one person, second and name differ by their properties, so all that the rule compares
    goes in. An alias holds for all time: it is its two identities. 36 characters (letters, digits, "-") suit every
    target.

    >>> line_id(Event("bob", 1349222400, "Signed Up", {"plan": "Pro"}), "classic")
    '6d212275-8b52-5bce-a117-a7456936ff99'
    >>> line_id(Event("bob", 1349222400, "signed up"), "classic") == _
    True
    """
    if isinstance(record, Alias):
        text = json.dumps(["alias", record.person, record.alias])
    elif rule == "strict":
        text = canonical_form(record).decode()
    elif isinstance(record, Event):
        text = json.dumps(["event", record.person, record.timestamp, fold_name(record.name)])
    else:
        names = sorted({fold_name(name) for name in record.properties if name not in VENDOR_KEYS})
        text = json.dumps(["properties", record.person, record.timestamp, names])
    return str(uuid5(_NAMESPACE, text))
