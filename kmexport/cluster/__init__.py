"""The same work on a Dask cluster: frames, bags, who is who, duplicates, and the lake (extra `dask`).

Each task reads a group of revisions of about equal bytes by `Bucket.to_batches` or `Bucket.read`, so the numbers are
those of one machine. A frame or a bag is computed where Dask computes: on the `distributed.Client` that was made last,
or without one in this process.

>>> from kmexport import Bucket
>>> import dask
>>> bucket = Bucket.sample()
>>> frame = to_dataframe(bucket, columns=["name"], names="signed up")
>>> with dask.config.set(scheduler="synchronous"):
...     len(frame) == len(list(bucket.iter_records(names="signed up")))
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    import dask.bag
    import dask.dataframe  # noqa: F401
    import distributed  # noqa: F401
except ImportError as _error:
    _msg = f"kmexport.cluster needs {_error.name}: pip install 'kmexport[dask]'"
    raise ImportError(_msg, name=_error.name) from _error

from kmexport.cluster.collections import to_bag, to_dataframe, to_records
from kmexport.cluster.people import drop_duplicates, identities

if TYPE_CHECKING:
    from kmexport.cluster.syncing import sync

__all__ = ["drop_duplicates", "identities", "sync", "to_bag", "to_dataframe", "to_records"]


def __getattr__(name: str) -> Any:
    """`sync` needs the extra `lake` too, so it is loaded when it is asked for."""
    if name != "sync":
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from kmexport.cluster.syncing import sync  # noqa: PLC0415

    return sync
