"""The files of a folder as they are now, or an error: an answer that is not a listing is never an empty folder."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, TypeAlias

from kmexport.storage.faults import UnexpectedResponseError, is_without_bucket

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["NO_BUCKET", "has_listings", "list_files"]

logger: logging.Logger = logging.getLogger("kmexport")

Files: TypeAlias = "list[tuple[str, int | None]]"

NO_BUCKET = "there is no such bucket"
_WEB = "fsspec.implementations.http"


def list_files(fs: AbstractFileSystem, path: str) -> Files:
    """List each file in a folder, in no order: its name and size in bytes (None where that is not known).

    Raises FileNotFoundError where there is no such folder, and UnexpectedResponseError for an answer other than a
    listing. On S3 a folder without files and one that is not there look alike: no files.
    """
    if not has_listings(fs):
        msg = "a web server has no listing of its files"
        raise UnexpectedResponseError(msg, may_pass=False)
    return _list_on_s3(fs, path) if type(fs).__module__ == "s3fs.core" else _list_anywhere(fs, path)


def has_listings(fs: AbstractFileSystem) -> bool:
    """Tell whether a filesystem can list a folder. A web server can't: a page of links is not a listing."""
    return not any(kind.__module__ == _WEB and kind.__name__ == "HTTPFileSystem" for kind in type(fs).__mro__)


def _list_anywhere(fs: AbstractFileSystem, path: str) -> Files:
    # With the slash a server need not redirect; other filesystems pass over it.
    entries = fs.ls(f"{path}/", detail=True)
    files: Files = []
    for entry in entries:
        if entry["name"].strip("/") == path.strip("/") and entry["type"] == "file":
            msg = "it is a file and no folder"
            raise UnexpectedResponseError(msg, may_pass=False)
        name = entry["name"].rstrip("/").rpartition("/")[2]
        # A local link has the type "other", whatever it leads to.
        if entry["type"] == "file" or (entry.get("islink") and fs.isfile(entry["name"])):
            files.append((name, entry.get("size")))
        elif name.endswith((".json", ".json.gz")):
            logger.warning("%s: not read, it is %s", name, _what_is(fs, entry))
    return files


def _what_is(fs: AbstractFileSystem, entry: dict[str, Any]) -> str:
    if entry.get("islink") and not fs.exists(entry["name"]):
        return "a link to nothing"
    return "a folder" if entry["type"] == "directory" or fs.isdir(entry["name"]) else "no file"


def _list_on_s3(fs: AbstractFileSystem, path: str) -> Files:
    """List a folder of S3, page by page, and check each.

    `fs.ls` does not check them: it takes any answer without keys for an empty folder, and older versions of s3fs take
    a 404 in the middle for the last page.
    """
    bucket, prefix, _ = fs.split_path(path)
    asked: dict[str, Any] = {**fs.req_kw, "Bucket": bucket, "Prefix": f"{prefix}/", "Delimiter": "/"}
    files: Files = []
    tokens = set()
    while True:
        page = _page_on_s3(fs, asked)
        for entry in page.get("Contents", []):
            if name := entry["Key"].removeprefix(asked["Prefix"]):  # none: the marker of the folder itself
                files.append((name, entry["Size"]))
        for entry in page.get("CommonPrefixes", []):
            name = entry["Prefix"].rstrip("/").rpartition("/")[2]
            if name.endswith((".json", ".json.gz")):
                logger.warning("%s: not read, it is a folder", name)
        if not page["IsTruncated"]:
            return files
        token = page.get("NextContinuationToken")
        if not token or token in tokens:
            msg = "the listing does not say how it goes on"
            raise UnexpectedResponseError(msg)
        tokens.add(token)
        asked["ContinuationToken"] = token


def _page_on_s3(fs: AbstractFileSystem, asked: dict[str, Any]) -> dict[str, Any]:
    try:
        page: dict[str, Any] = fs.call_s3("list_objects_v2", **asked)
    except FileNotFoundError as error:
        has_bucket = not is_without_bucket(error)
        msg = "the answer was 404 where a listing was asked for" if has_bucket else NO_BUCKET
        raise UnexpectedResponseError(msg, may_pass=has_bucket) from error
    # Of an empty body, and of HTML that happens to be XML, nothing is left here.
    if not isinstance(page.get("IsTruncated"), bool) or page.get("Prefix", asked["Prefix"]) != asked["Prefix"]:
        msg = "the answer is no listing of S3"
        raise UnexpectedResponseError(msg)
    return page
