"""Records as Arrow columns (extra `tables`: pyarrow, duckdb, numpy)."""

from __future__ import annotations

try:
    import duckdb  # noqa: F401
    import numpy  # noqa: F401, ICN001
    import pyarrow  # noqa: F401, ICN001
except ImportError as _error:
    _msg = f"kmexport.tables needs {_error.name}: pip install 'kmexport[tables]'"
    raise ImportError(_msg, name=_error.name) from _error
