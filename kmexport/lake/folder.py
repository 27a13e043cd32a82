"""The files of a lake: read, listed, written and removed by fsspec, under the errors of the library."""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import duckdb
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from deltalake.fs import DeltaStorageHandler

from kmexport.errors import (
    BucketNotFoundError,
    BucketUnreachableError,
    KmExportError,
    LakeFormatError,
    LakeNotFoundError,
)
from kmexport.lake.storage import Destination
from kmexport.storage.credentials import can_show_one, secrets_in
from kmexport.storage.fetch.transports import exclusive_access
from kmexport.storage.filesystems import forget_listings
from kmexport.storage.folder import Folder
from kmexport.storage.listing import NO_BUCKET

_ON_WINDOWS: Final = os.name == "nt"
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
_QUERY: Final = re.compile(r"\?[^\s)>\]'\"]*")
_DENIED: Final = re.compile(
    r"\b40[13] (?:Forbidden|Unauthorized)|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|"
    "InvalidToken|AuthorizationFailure|AuthorizationPermissionMismatch|AuthenticationFailed|Unauthenticated|"
    "PermissionDenied|lacked the required privileges"
)
_NO_RANGES: Final = (
    "the server does not answer a request for a part of a file with status 206, as S3 does (`rclone serve s3` says "
    "200). A lake is read in parts, so it needs another server"
)
_PAGE: Final = re.compile(r"(?:<\?xml[^>]*>\s*)?<Error>.*?<Code>([^<]*)</Code>\s*<Message>([^<]*)</Message>.*</Error>")
_DAMAGED: Final = re.compile("Invalid Checkpoint|Invalid JSON|Corrupt footer|Parquet error|EOF while parsing")
_NO_CONTAINER: Final = re.compile("NoSuchBucket|ContainerNotFound|specified (?:bucket|container) does not exist")
_ENVIRONMENT: Final = threading.Lock()  # held while it is changed
_ERROR_NUMBER: Final = re.compile(r"(?:os error |Os \{ code: )([0-9]+)")


class LakeFolder(Folder):
    """The folder of a lake, with its two tables in it. Picklable; a pickle holds the options, so credentials too."""

    def __init__(self, destination: Destination) -> None:
        super().__init__(destination.url, None, destination.options)
        self.destination = destination

    def check_apart(self, export: Folder) -> None:
        """Raise ValueError where the lake lies at the address of an export, or inside it."""
        with self._access("opening the storage"):
            own_fs, own = self._fresh("")
        with export._access("opening the storage"):
            fs, root = export._fresh("")
        if type(own_fs) is not type(fs) or getattr(own_fs, "endpoint_url", None) != getattr(fs, "endpoint_url", None):
            return
        if self.is_local:
            own, root = (Path(os.path.normcase(os.path.realpath(path))).as_posix() for path in (own, root))
        if f"{own.rstrip('/')}/".startswith(f"{root.rstrip('/')}/"):
            msg = f"{self.public_url}: a lake does not lie in the folder of the export ({export.public_url})"
            raise ValueError(msg)

    def find_files(self, name: str) -> list[str]:
        """List the names of the files in a folder, in their order; none where there is no such folder.

        Raises LakeNotFoundError where S3 says that there is not even the bucket.
        """
        try:
            return sorted(file for file, _ in self.list(name))
        except BucketNotFoundError:
            return []
        except BucketUnreachableError as error:
            if NO_BUCKET not in error.reason:
                raise
            raise LakeNotFoundError(self.public_url, f"{NO_BUCKET}: make it first, or mend its name", "") from error

    def find_all(self, name: str) -> list[str]:
        """List the paths of all files below a folder, from that folder on."""
        with self._access(f"listing {name}"):
            for attempt in self._tries(name):
                with attempt, self._connected(name) as (fs, path), exclusive_access(fs):
                    forget_listings(fs, path)
                    root = fs._strip_protocol(path).rstrip("/")
                    found = [file.removeprefix(root).lstrip("/") for file in fs.find(path)]
        return found

    def content(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        """Read a file, or its bytes from `start` to `end`. Raises LakeNotFoundError where it is gone."""
        try:
            return self.read(name, start, end)
        except BucketNotFoundError as error:
            raise self.gone(name) from error

    def gone(self, name: str) -> LakeNotFoundError:
        """Make the error for a file that the log names and that is not there."""
        reason = (
            f"{name} is gone. Where the lake was vacuumed since it was opened, open it again; else put the file back "
            "from a copy, or make the lake anew in another folder"
        )
        return LakeNotFoundError(self.public_url, reason)

    def remove(self, name: str) -> None:
        """Remove a file that nobody needs, if that works: `vacuum` removes what stays."""
        with suppress(Exception), self._access(f"removing {name}"):
            fs, path = self._fresh(name)
            fs.rm_file(path)

    def open_delta(self, name: str, version: int | None = None) -> DeltaTable:
        """Open one of the tables in delta-rs, with the keys of this moment."""
        options = self.destination.current_options
        with _trusting(self.destination.ca_file):
            return DeltaTable(self.destination.delta_url(name), version=version, storage_options=options)

    def create_delta(self, name: str, **arguments: Any) -> None:
        """Make one of the tables. Raises what `DeltaTable.create` raises where it is there already."""
        options = self.destination.current_options
        with _trusting(self.destination.ca_file):
            DeltaTable.create(self.destination.delta_url(name), storage_options=options, **arguments)

    def check_parts(self, table: str, name: str) -> None:
        """Raise BucketUnreachableError where the server can't send a part of a file.

        delta-rs asks for parts of checkpoints: without this the first one would stop the job, after some good nights.
        """
        with self.delta(f"reading a part of {table}/{name}"), _trusting(self.destination.ca_file):
            options = self.destination.current_options
            # With a size it does not ask for one.
            DeltaStorageHandler(self.destination.delta_url(table), options, {name: 1}).open_input_file(name).read(1)

    @contextmanager
    def delta(self, doing: str) -> Iterator[None]:
        """A context in which the errors of delta-rs become the library's, and show no credential."""
        try:
            yield
        except KmExportError:
            raise
        except (DeltaError, duckdb.Error, OSError, ValueError) as error:
            known = {**self.destination.options, **self.destination.current_options}
            secrets = [*self._secrets(), *secrets_in(known)]
            is_safe = self.public_url == self.destination.url and not can_show_one(error, secrets)
            ours = self._translation(error, doing, secrets, is_safe=is_safe)
            try:
                raise ours from error if is_safe else None
            finally:
                if not is_safe:
                    ours.__context__ = None  # `from None` would only hide it

    def _translation(self, error: Exception, doing: str, secrets: list[str], *, is_safe: bool) -> Exception:
        text = " ".join(_COLOURS.sub("", str(error)).split())
        number = _ERROR_NUMBER.search(text)
        text = _PAGE.sub(r"\1: \2", text)
        words = text if is_safe else _shown(text, secrets) or type(error).__name__
        if self.is_local and number is not None:
            ours = _system_error(int(number[1]), doing, self.destination.url)
            if isinstance(ours, FileNotFoundError):
                return LakeNotFoundError(self.public_url, f"{doing} failed, for a file of the lake is gone ({words})")
            return ours
        if _DAMAGED.search(text):
            return LakeFormatError(self.public_url, f"{doing} failed, for a file of the lake is damaged ({words})")
        if _DENIED.search(text):
            why = f"access is denied, {doing} failed ({words}); check the credentials and their rights"
            return PermissionError(errno.EACCES, why, self.public_url)
        if _NO_CONTAINER.search(text) or isinstance(error, FileNotFoundError):
            reason = f"{doing} failed, for the bucket, the container or a file is not there ({words})"
            return LakeNotFoundError(self.public_url, reason)
        knows_no_ranges = "non-partial response" in text
        why, advice = (_NO_RANGES, "") if knows_no_ranges else (words, None)
        return BucketUnreachableError(self.public_url, f"{doing} failed ({why})", advice)

    @property
    def is_local(self) -> bool:
        """True where it is on the local disk."""
        return self.destination.delta_root.startswith("file:")


def _system_error(number: int, doing: str, place: str) -> OSError:
    """Make the error of a system's number as Rust gives it: on Windows that of Win32."""
    if not _ON_WINDOWS:
        return OSError(number, f"{os.strerror(number)}, {doing}", place)
    format_error: Any = vars(import_module("ctypes"))["FormatError"]  # type checkers know it on Windows only
    return OSError(0, f"{format_error(number).strip()}, {doing}", place, number)


def _shown(text: str, secrets: list[str]) -> str:
    """Put *** for each secret in a text, and for what follows a "?"; empty where it might show one all the same."""
    shown = _QUERY.sub("?***", text)
    for secret in sorted(secrets, key=len, reverse=True):
        for form in (secret, quote(secret, safe="")):
            shown = shown.replace(form, "***")
    return "" if can_show_one(OSError(shown), secrets) else shown


@contextmanager
def _trusting(ca_file: str | None) -> Iterator[None]:
    """Name the file of a private CA in the environment: delta-rs looks there as it opens a table, and only there."""
    if ca_file is None:
        yield
        return
    with _ENVIRONMENT:
        before = os.environ.get("SSL_CERT_FILE")
        os.environ["SSL_CERT_FILE"] = ca_file
        try:
            yield
        finally:
            if before is None:
                del os.environ["SSL_CERT_FILE"]
            else:
                os.environ["SSL_CERT_FILE"] = before
