"""Filesystems that are only a layer over another one: a folder put before each path, or a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["is_cache", "unwrap_path", "without_cache"]


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
