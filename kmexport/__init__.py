"""Read a KISSmetrics data export: every record, none lost.

>>> from kmexport import Bucket
>>> sum(1 for record in Bucket.sample().iter_records())
2000
"""

from kmexport.bucket import Bucket
from kmexport.errors import (
    BucketNotFoundError,
    BucketUnreachableError,
    IndexFormatError,
    KmExportError,
    MalformedRecordError,
    RevisionNotFoundError,
    StatusFormatError,
)
from kmexport.manifest import Revision, Status
from kmexport.reading import iter_records
from kmexport.records import Alias, Event, PropertySet, Record, dump_records

__all__ = [
    "Alias",
    "Bucket",
    "BucketNotFoundError",
    "BucketUnreachableError",
    "Event",
    "IndexFormatError",
    "KmExportError",
    "MalformedRecordError",
    "PropertySet",
    "Record",
    "Revision",
    "RevisionNotFoundError",
    "Status",
    "StatusFormatError",
    "dump_records",
    "iter_records",
]
