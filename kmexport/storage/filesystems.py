"""Filesystems of fsspec: their options, layers and connections, and the versions of files that they tell."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from types import MethodType
from typing import TYPE_CHECKING, Any

from kmexport.storage.faults import is_denied, is_missing
from kmexport.storage.retries import azure_retries

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = [
    "connect_anew",
    "connection_of",
    "explain_unknown_option",
    "forget_listings",
    "is_broken",
    "is_cache",
    "layers",
    "noticing",
    "prepare",
    "unwrap_path",
    "version_and_size",
    "version_and_size_at_once",
    "with_defaults",
    "without_cache",
]


def unwrap_path(fs: AbstractFileSystem, path: str) -> tuple[AbstractFileSystem, str]:
    """Return the filesystem within those that only put a folder before every path, and the path there."""
    from fsspec.implementations.dirfs import DirFileSystem  # noqa: PLC0415

    while isinstance(fs, DirFileSystem):
        fs, path = fs.fs, fs._join(path)
    return fs, path


def is_cache(fs: AbstractFileSystem) -> bool:
    """Tell whether it is one of fsspec's caches: simplecache, filecache, blockcache."""
    from fsspec.implementations.cached import CachingFileSystem  # noqa: PLC0415

    return isinstance(fs, CachingFileSystem)


def without_cache(fs: AbstractFileSystem) -> AbstractFileSystem:
    """Return the filesystem under fsspec's caches."""
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
    """Ask a filesystem of coroutines for a file's version, equal as long as the file is, and its size in bytes."""
    forget_listings(fs, path)
    return _from(await fs._info(path))


def version_and_size_at_once(fs: AbstractFileSystem, path: str) -> tuple[Any, int | None]:
    """Ask any filesystem for a file's version and its size in bytes."""
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

_SILENT_FOR = 30  # seconds for a connection to be made, and for one that says nothing
# Filesystems that hold one connection, and the options that let it fail at some time. Each bucket has a connection of
# its own: what else uses the same one, in another thread, would mix up the answers.
_CONNECTED: dict[str, dict[str, Any]] = {
    "fsspec.implementations.ftp.FTPFileSystem": {},
    "fsspec.implementations.sftp.SFTPFileSystem": dict.fromkeys(
        ("timeout", "banner_timeout", "auth_timeout", "channel_timeout"), _SILENT_FOR
    ),
    "sshfs.spec.SSHFileSystem": {
        "connect_timeout": _SILENT_FOR, "login_timeout": _SILENT_FOR, "keepalive_interval": 10,
    },
}  # fmt: skip

_WITH_DEFAULTS = frozenset(("s3", "s3a", "http", "https", "ftp", "sftp", "ssh", "gs", "gcs", "abfs", "abfss", "az"))
# Options that filesystems take and do not name, for they hand them on.
_HANDED_ON = ("profile", "aws_session_token", "headers", "params", "auth", "cookies", "ssl", "proxy")
_UNEXPECTED = re.compile(r"unexpected (?:keyword argument|key)\W+(\w+)")


def with_defaults(url: str, options: dict[str, Any]) -> dict[str, Any]:
    """Add to the storage options what makes reading an export fast and leaves nothing open; what is given stays.

    In a chain, as in zip://::sftp://…, each filesystem gets its own. Only for the classes that are known here: another
    one that is registered for such addresses has other options.
    """
    first, *others = [part.partition("://")[0] for part in url.split("::")]
    if first in _WITH_DEFAULTS:
        options = _completed(_class_of(first), options)
    for scheme in others:
        own = options.get(scheme, {})
        if scheme in _WITH_DEFAULTS and isinstance(own, Mapping):
            options = {**options, scheme: _completed(_class_of(scheme), own)}
    return options


def _completed(kind: type, options: Mapping[str, Any]) -> dict[str, Any]:
    home = kind.__module__
    if home == "s3fs.core":
        # botocore writes into it, so each filesystem has its own.
        config = {**_S3_CONFIG, "retries": {"total_max_attempts": 1}, **(options.get("config_kwargs") or {})}
        return {**_S3_OPTIONS, **options, "config_kwargs": config}
    if home == "fsspec.implementations.http":
        return {"get_client": _web_client, **options}
    if home.startswith(("gcsfs.", "adlfs.")):
        # `prepare` changes it, so it must not be the one that fsspec gives to others who name the same options.
        return {"use_listings_cache": False, **options}
    if (silence := _CONNECTED.get(_name_of(kind))) is not None:
        return {"skip_instance_cache": True, **silence, **options}
    return dict(options)


def prepare(fs: AbstractFileSystem) -> None:
    """Make a filesystem that was made from an address try each request once, and ask no more than reading needs.

    Its own tries would be made for each try that is counted here.
    """
    for one in layers(fs):
        home = type(one).__module__
        if home == "s3fs.core":
            one.retries = 1
        elif home.startswith("gcsfs."):
            _prepare_google(one)
        for policy in azure_retries(one):
            policy.total_retries = 0
    _limit_silence(fs)


def _prepare_google(fs: Any) -> None:
    """Take away the six tries of gcsfs, and its question for the kind of a bucket.

    It asks over gRPC, for a minute at each call where that does not answer. Only a bucket of one zone, which can't be
    read over HTTP, needs to be known as such.
    """
    once = getattr(type(fs)._request, "__wrapped__", None)
    if once is not None:
        fs._request = MethodType(once, fs)
        fs.retries = 1
    if hasattr(fs, "_get_bucket_type"):
        plain = import_module(type(fs).__module__).BucketType.NON_HIERARCHICAL

        async def kind_of(_bucket: str) -> Any:
            return plain

        fs._get_bucket_type = kind_of


# Filesystems that hold one connection would use a dead one for ever.

_BROKEN = "_kmexport_is_broken"


def connection_of(fs: AbstractFileSystem) -> AbstractFileSystem | None:
    """Find the filesystem that holds one connection: this one, or one under an archive or a cache."""
    return next((one for one in layers(fs) if _name_of(type(one)) in _CONNECTED), None)


def is_broken(fs: AbstractFileSystem) -> bool:
    """Tell whether its connection failed, so that it needs another one."""
    return any(_BROKEN in vars(one) for one in layers(fs))


@contextmanager
def noticing(fs: AbstractFileSystem) -> Iterator[None]:
    """Mark a filesystem as broken where an error may come of its connection."""
    try:
        yield
    except Exception as error:
        if not is_missing(error) and not is_denied(error) and (connected := connection_of(fs)) is not None:
            setattr(connected, _BROKEN, True)
        raise


def connect_anew(fs: AbstractFileSystem) -> AbstractFileSystem:
    """Make the same filesystem with a new connection."""
    made: AbstractFileSystem = type(fs)(*fs.storage_args, **_with_new_connection(fs.storage_options))
    _limit_silence(made)
    return made


def _with_new_connection(options: Mapping[str, Any]) -> dict[str, Any]:
    from fsspec import AbstractFileSystem  # noqa: PLC0415

    options = {**options, "skip_instance_cache": True}
    if isinstance(options.get("fs"), AbstractFileSystem):
        options["fs"] = connect_anew(options["fs"])
    if options.get("target_protocol"):
        options["target_options"] = _with_new_connection(options.get("target_options") or {})
    return options


def _limit_silence(fs: AbstractFileSystem) -> None:
    """Let a connection that says nothing fail at some time. paramiko would wait for ever."""
    for one in layers(fs):
        channel = getattr(getattr(one, "ftp", None), "get_channel", None)
        if channel is not None:
            channel().settimeout(_SILENT_FOR)


def layers(fs: Any) -> Iterator[Any]:
    """Yield a filesystem, and those under it: the `fs` of a cache or a folder, that of the file of an archive."""
    while fs is not None:
        yield fs
        fs = getattr(fs, "fs", None) or getattr(getattr(fs, "of", None), "fs", None)


def _name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def explain_unknown_option(error: BaseException, url: str, options: dict[str, Any]) -> str | None:
    """Explain an error about a storage option that no function takes; None for any other error.

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
    known = inspect.signature(_class_of(scheme).__init__).parameters  # type: ignore[misc]  # it only asks for names
    close = get_close_matches(name, [*known, *_HANDED_ON], n=1)
    is_own = name in options or name in options.get(scheme, ())
    advice = f" Did you mean {close[0]!r}?" if close and is_own and close[0] != name else ""
    return f"{name!r} is no storage option of {scheme}://.{advice}"


def _class_of(scheme: str) -> type:
    from fsspec import get_filesystem_class  # noqa: PLC0415

    found: type = get_filesystem_class(scheme)
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
