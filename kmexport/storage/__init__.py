"""Bytes from any filesystem: small files, listings, and many files in turn, fetched ahead."""

from kmexport.storage.folder import PREFETCH_BYTES, REQUESTS, Folder
from kmexport.storage.progress import Progress, check_progress, progress_bar

__all__ = ["PREFETCH_BYTES", "REQUESTS", "Folder", "Progress", "check_progress", "progress_bar"]
