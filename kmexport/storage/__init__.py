"""Bytes from any filesystem: small files, listings, and many files in turn, fetched ahead."""

from kmexport.storage.credentials import public_name
from kmexport.storage.folder import Folder
from kmexport.storage.progress import Progress, check_progress, progress_bar
from kmexport.storage.whole import local_path, open_whole, read_whole

__all__ = [
    "Folder",
    "Progress",
    "check_progress",
    "local_path",
    "open_whole",
    "progress_bar",
    "public_name",
    "read_whole",
]
