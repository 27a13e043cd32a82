"""The files of a lake: read, listed, written and removed by fsspec, under the errors of the library."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

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

    def content(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        """A file, or its bytes from `start` to `end`. Raises LakeNotFoundError where it is gone."""
        try:
            return self.read(name, start, end)
        except BucketNotFoundError as error:
            raise self.gone(name) from error

    def gone(self, name: str) -> LakeNotFoundError:
        """The error for a file that the log names and that is not there."""
        reason = (
            f"{name} is gone. Where the lake was vacuumed since it was opened, open it again; else put the file back "
            "from a copy, or make the lake anew in another folder"
        )
        return LakeNotFoundError(self.public_url, reason)

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

    @property
    def is_local(self) -> bool:
        """Whether it lies on the local disk."""
        return self.destination.delta_root.startswith("file:")
