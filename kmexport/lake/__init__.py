"""An archive of the export that is kept up: two Delta tables, each record exactly once (extra `lake`: deltalake)."""

from __future__ import annotations

try:
    import deltalake  # noqa: F401
    import duckdb  # noqa: F401
    import pyarrow  # noqa: F401, ICN001
except ImportError as _error:
    _msg = f"kmexport.lake needs {_error.name}: pip install 'kmexport[lake]'"
    raise ImportError(_msg, name=_error.name) from _error

from kmexport.lake.maintenance import compact, vacuum
from kmexport.lake.reader import Lake, open_lake
from kmexport.lake.removal import Removal, remove_person
from kmexport.lake.retaking import retake
from kmexport.lake.sync import SyncSummary, sync

__all__ = ["Lake", "Removal", "SyncSummary", "compact", "open_lake", "remove_person", "retake", "sync", "vacuum"]
