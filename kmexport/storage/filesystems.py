"""Filesystems of fsspec: their options, the layers around them, and the versions of files that they tell."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from kmexport.storage.connections import connection_options
from kmexport.storage.retries import azure_retries

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = [
    "disable_own_retries",
    "explain_unknown_option",
    "forget_listings",
    "is_cache",
    "unwrap_path",
    "version_and_size",
    "version_and_size_at_once",
    "with_defaults",
    "without_cache",
]


def unwrap_path(fs: AbstractFileSystem, path: str) -> tuple[AbstractFileSystem, str]:
    """The filesystem within those that only put a folder before every path, and the path there."""
    from fsspec.implementations.dirfs import DirFileSystem  # noqa: PLC0415

    while isinstance(fs, DirFileSystem):
        fs, path = fs.fs, fs._join(path)
    return fs, path


def is_cache(fs: AbstractFileSystem) -> bool:
    """Whether it is one of fsspec's caches: simplecache, filecache, blockcache."""
    from fsspec.implementations.cached import CachingFileSystem  # noqa: PLC0415

    return isinstance(fs, CachingFileSystem)


def without_cache(fs: AbstractFileSystem) -> AbstractFileSystem:
    """The filesystem under fsspec's caches."""
    while is_cache(fs):
        fs = fs.fs
    return fs


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


# Idle connections are closed soon, so that a loop that ended leaves none. s3fs opens 10 at most unless it is
# told otherwise.
_IDLE_FOR = 0.4  # seconds
_S3_CONFIG = {"max_pool_connections": 128, "connector_args": {"keepalive_timeout": _IDLE_FOR}}
_S3_OPTIONS = {"max_concurrency": 1}  # else s3fs asks for a manifest's size before it reads it

_COMPLETED = ("s3://", "s3a://", "http://", "https://", "ftp://", "sftp://", "ssh://")

# Options that filesystems take and do not name, for they hand them on.
_HANDED_ON = ("profile", "aws_session_token", "headers", "params", "auth", "cookies", "ssl", "proxy")
_UNEXPECTED = re.compile(r"unexpected (?:keyword argument|key)\W+(\w+)")


def with_defaults(url: str, options: dict[str, Any]) -> dict[str, Any]:
    """The storage options, and where they say nothing, what makes reading an export fast and leaves nothing open.

    Only for s3fs and for fsspec's own web filesystem: another class that is registered for such addresses has other
    options.
    """
    if not url.startswith(_COMPLETED):
        return options
    kind = _class_of(url)
    home = kind.__module__
    if home == "s3fs.core":
        # botocore writes into it, so each filesystem has its own.
        config = {**_S3_CONFIG, "retries": {"total_max_attempts": 1}, **(options.get("config_kwargs") or {})}
        return {**_S3_OPTIONS, **options, "config_kwargs": config}
    if home == "fsspec.implementations.http":
        return {"get_client": _web_client, **options}
    return {**connection_options(kind), **options}


def disable_own_retries(fs: Any) -> None:
    """Let s3fs and Azure's client make each request once: they would make several of each that is counted here."""
    if type(fs).__module__ == "s3fs.core":
        fs.retries = 1
    for policy in azure_retries(fs):
        policy.total_retries = 0


def explain_unknown_option(error: BaseException, url: str, options: dict[str, Any]) -> str | None:
    """What to say of a storage option that no function wants, if the error is about one.

    >>> error = TypeError("__init__() got an unexpected keyword argument 'profle'")
    >>> explain_unknown_option(error, "s3://acme", {"profle": "analytics"})
    "'profle' is no storage option of s3://. Did you mean 'profile'?"
    """
    found = _UNEXPECTED.search(str(error)) if isinstance(error, TypeError) else None
    if found is None or found[1] not in set(_names(options)):
        return None
    name = found[1]
    # In a chain of filesystems, as in zip://::sftp://…, the options of each stand under its own name.
    chained = [scheme for scheme, own in options.items() if isinstance(own, Mapping) and f"{scheme}:" in url]
    scheme = next((scheme for scheme in chained if name in set(_names(options[scheme]))), _scheme_of(url))
    known = inspect.signature(_class_of(f"{scheme}://").__init__).parameters  # type: ignore[misc]  # it only asks for names
    close = get_close_matches(name, [*known, *_HANDED_ON], n=1)
    is_own = name in options or name in options.get(scheme, ())
    advice = f" Did you mean {close[0]!r}?" if close and is_own and close[0] != name else ""
    return f"{name!r} is no storage option of {scheme}://.{advice}"


def _class_of(url: str) -> type:
    from fsspec import get_filesystem_class  # noqa: PLC0415

    found: type = get_filesystem_class(_scheme_of(url))
    return found


def _scheme_of(url: str) -> str:
    return url.partition("://")[0].rpartition("::")[2]


def _names(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        yield name
        if isinstance(value, Mapping):
            yield from _names(value)


async def _web_client(**options: Any) -> Any:
    from aiohttp import ClientSession, TCPConnector  # noqa: PLC0415

    return ClientSession(**{"connector": TCPConnector(keepalive_timeout=_IDLE_FOR, limit=0), **options})
