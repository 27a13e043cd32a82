"""Read a KISSmetrics data export: every record, none lost.

>>> from kmexport import Bucket
>>> sum(1 for record in Bucket.sample().iter_records())
2000
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kmexport.bucket import Bucket
from kmexport.cursor import Cursor
from kmexport.errors import (
    BucketNotFoundError,
    BucketUnreachableError,
    CursorConflictError,
    CursorFormatError,
    EmptyListingError,
    EntangledLinesError,
    ExecutorError,
    FactsDatabaseError,
    FactsLeftOutError,
    FactsMemoryError,
    IdentityMapFormatError,
    IndexFormatError,
    KmExportError,
    LakeFormatError,
    LakeNotFoundError,
    LateRecordError,
    MalformedRecordError,
    OtherFactsError,
    OtherProcessError,
    RevisionChangedError,
    RevisionNotFoundError,
    StatusFormatError,
    UnknownNameError,
)
from kmexport.format.names import as_number, fold_name
from kmexport.mirror import MirrorSummary, mirror
from kmexport.parsing.counts import LineCounts
from kmexport.parsing.records import OnError, iter_records
from kmexport.parsing.selection import select
from kmexport.privacy import CopySummary, without_person
from kmexport.records import Alias, Event, PropertySet, Record
from kmexport.revisions.audit import Audit
from kmexport.revisions.coverage import Coverage
from kmexport.revisions.manifest import Revision, Status
from kmexport.steps.dump import dump_records
from kmexport.steps.duplicates import drop_duplicates
from kmexport.steps.identities import IdentityMap, Prefer, merge_identities
from kmexport.steps.profiles import Profile, profile
from kmexport.steps.rows import latest_properties, to_rows
from kmexport.steps.time import in_window, sort_by_time
from kmexport.storage.limits import Limits
from kmexport.storage.open_files import Progress
from kmexport.windows import Window

if TYPE_CHECKING:
    from kmexport.tables import Facts as Facts

__version__ = "1.0.0"

__all__ = [
    "Alias",
    "Audit",
    "Bucket",
    "BucketNotFoundError",
    "BucketUnreachableError",
    "CopySummary",
    "Coverage",
    "Cursor",
    "CursorConflictError",
    "CursorFormatError",
    "EmptyListingError",
    "EntangledLinesError",
    "Event",
    "ExecutorError",
    "FactsDatabaseError",
    "FactsLeftOutError",
    "FactsMemoryError",
    "IdentityMap",
    "IdentityMapFormatError",
    "IndexFormatError",
    "KmExportError",
    "LakeFormatError",
    "LakeNotFoundError",
    "LateRecordError",
    "Limits",
    "LineCounts",
    "MalformedRecordError",
    "MirrorSummary",
    "OnError",
    "OtherFactsError",
    "OtherProcessError",
    "Prefer",
    "Profile",
    "Progress",
    "PropertySet",
    "Record",
    "Revision",
    "RevisionChangedError",
    "RevisionNotFoundError",
    "Status",
    "StatusFormatError",
    "UnknownNameError",
    "Window",
    "as_number",
    "drop_duplicates",
    "dump_records",
    "fold_name",
    "in_window",
    "iter_records",
    "latest_properties",
    "merge_identities",
    "mirror",
    "profile",
    "select",
    "sort_by_time",
    "to_rows",
    "without_person",
]


def __getattr__(name: str) -> Any:
    # Not in __all__: it needs the extra "tables", and loads an engine.
    if name == "Facts":
        from kmexport.tables import Facts  # noqa: PLC0415

        return Facts
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
