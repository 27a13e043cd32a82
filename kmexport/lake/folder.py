"""The files of a lake: read, listed, written and removed by fsspec, under the errors of the library."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import duckdb
from deltalake.exceptions import DeltaError

from kmexport.errors import BucketNotFoundError, BucketUnreachableError, KmExportError, LakeNotFoundError
from kmexport.lake.destinations import Destination
from kmexport.storage.credentials import can_show_one, secrets_in
from kmexport.storage.folder import Folder

__all__ = ["LakeFolder"]


_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
_ERROR_NUMBER: Final = re.compile(r"(?:os error |Os \{ code: )([0-9]+)")


class LakeFolder(Folder):
    """The folder of a lake, with its two tables in it. Picklable; a pickle holds the options, so credentials too."""

    def __init__(self, destination: Destination) -> None:
        super().__init__(destination.url, None, destination.options)
        self.destination = destination

    def find_files(self, name: str) -> list[str]:
        """The names of the files in a folder, in their order; none where there is no such folder."""
        try:
            return sorted(file for file, _ in self.list(name))
        except BucketNotFoundError:
            return []

    def content(self, name: str) -> bytes:
        """The whole of a file. Raises LakeNotFoundError where it is gone."""
        try:
            return self.read(name)
        except BucketNotFoundError as error:
            raise LakeNotFoundError(self.public_url, f"{name} is gone") from error

    def remove(self, name: str) -> None:
        """Remove a file that nobody needs, if that works: what stays is removed by `vacuum` later."""
        with suppress(Exception), self._access(f"removing {name}"):
            fs, path = self._fresh(name)
            fs.rm_file(path)

    @contextmanager
    def delta(self, doing: str) -> Iterator[None]:
        """A context in which the errors of delta-rs become the library's, and show no credential."""
        try:
            yield
        except KmExportError:
            raise
        except (DeltaError, duckdb.Error, OSError, ValueError) as error:
            known = {**self.destination.options, **self.destination.delta_options}
            secrets = [*self._secrets(), *secrets_in(known)]
            is_safe = self.public_url == self.destination.url and not can_show_one(error, secrets)
            ours = self._translation(error, doing, is_safe=is_safe)
            try:
                raise ours from error if is_safe else None
            finally:
                if not is_safe:
                    ours.__context__ = None  # `from None` would only hide it

    def _translation(self, error: Exception, doing: str, *, is_safe: bool) -> Exception:
        text = " ".join(_COLOURS.sub("", str(error)).split())
        number = _ERROR_NUMBER.search(text)
        if self.is_local and number is not None:
            return OSError(int(number[1]), f"{os.strerror(int(number[1]))}, {doing}", self.destination.url)
        reason = f"{doing} failed ({text if is_safe else type(error).__name__})"
        return BucketUnreachableError(self.public_url, reason)

    def as_arrow(self, name: str) -> Any:
        """The folder of a table as a filesystem of pyarrow, by which datasets read."""
        from fsspec.implementations.dirfs import DirFileSystem  # noqa: PLC0415
        from pyarrow.fs import FSSpecHandler, LocalFileSystem, PyFileSystem, SubTreeFileSystem  # noqa: PLC0415

        fs, path = self._fresh(name)
        if self.is_local:
            return SubTreeFileSystem(path, LocalFileSystem())
        return PyFileSystem(FSSpecHandler(DirFileSystem(path=path, fs=fs)))

    @property
    def is_local(self) -> bool:
        """Whether it lies on the local disk."""
        return self.destination.delta_root.startswith("file:")
