"""Which version of a file is there now, as far as its filesystem tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kmexport.storage.layers import unwrap_path

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["forget_listings", "version_and_size", "version_and_size_at_once"]

# What filesystems call it: S3, Google Cloud, Azure, SFTP, SMB, WebHDFS, FTP, memory.
_TELLING = (
    "ETag", "etag", "VersionId", "generation", "md5Hash", "content_md5", "md5", "sha", "checksum",
    "LastModified", "last_modified", "last_write_time", "modificationTime", "mtime", "modify", "updated", "modified",
    "created", "size",
)  # fmt: skip


async def version_and_size(fs: AbstractFileSystem, path: str) -> tuple[Any, int | None]:
    """What a filesystem of coroutines tells now: something that is equal as long as the file is the same, and bytes."""
    forget_listings(fs, path)
    return _from(await fs._info(path))


def version_and_size_at_once(fs: AbstractFileSystem, path: str) -> tuple[Any, int | None]:
    """The same of any filesystem."""
    forget_listings(fs, path)
    return _from(fs.info(path))


def forget_listings(fs: AbstractFileSystem, path: str) -> None:
    """Drop what fsspec remembers of a path and of the folder it is in: names, and the sizes that reading goes by.

    What `invalidate_cache` does differs: s3fs drops the folders above too, ftp only the path as it is spelt, and
    http nothing; the older filesystems that put a folder before every path do not hand it on.
    """
    fs, path = unwrap_path(fs, path)
    folder = path.rpartition("/")[0]
    for spelt in (path, f"{path}/", folder, f"{folder}/"):
        fs.invalidate_cache(spelt)
        fs.dircache.pop(spelt, None)


def _from(info: dict[str, Any]) -> tuple[Any, int | None]:
    told = tuple((key, str(info[key])) for key in _TELLING if info.get(key) is not None)
    return told or None, info.get("size")
