"""The same work on a Dask cluster: frames, bags and duplicates (extra `dask`).

Each task reads a group of revisions of about equal bytes by `Bucket.to_batches` or `Bucket.read`, so the numbers are
those of one machine. A frame or a bag is computed where Dask computes: on the `distributed.Client` that was made last,
or without one in this process. For who is who, facts, reports and the lake give `client.get_executor()` as `executor=`.

>>> from kmexport import Bucket
>>> import dask
>>> bucket = Bucket.sample()
>>> frame = to_dataframe(bucket, columns=["name"], names="signed up")
>>> with dask.config.set(scheduler="synchronous"):
...     len(frame) == len(list(bucket.iter_records(names="signed up")))
True
"""

from __future__ import annotations

try:
    import dask.bag
    import dask.dataframe  # noqa: F401
    import distributed  # noqa: F401
except ImportError as _error:
    _msg = f"kmexport.cluster needs {_error.name}: pip install 'kmexport[dask]'"
    raise ImportError(_msg, name=_error.name) from _error

from kmexport.cluster.collections import drop_duplicates, to_bag, to_dataframe, to_records

__all__ = ["drop_duplicates", "to_bag", "to_dataframe", "to_records"]
