"""Who is told how far the reading of a bucket has come: a callback of fsspec, or a bar."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from fsspec.callbacks import Callback

__all__ = ["Progress", "check_progress", "progress_bar"]

Progress: TypeAlias = "Callback | Literal['tqdm'] | None"


def check_progress(progress: Progress) -> None:
    """Raise ValueError for another word than "tqdm", and ImportError where tqdm is not installed."""
    if not isinstance(progress, str):
        return
    if progress != "tqdm":
        msg = f'callback is an fsspec Callback or "tqdm", not {progress!r}'
        raise ValueError(msg)
    if find_spec("tqdm") is None:
        msg = "callback=\"tqdm\" needs the package tqdm: pip install 'kmexport[progress]'"
        raise ImportError(msg)


@contextmanager
def progress_bar(progress: Progress) -> Iterator[Callback | None]:
    """The callback; of "tqdm" a bar of bytes, which is closed at the end: a text, or a widget in a notebook."""
    if not isinstance(progress, str):
        yield progress
        return
    from fsspec.callbacks import TqdmCallback  # noqa: PLC0415
    from tqdm.auto import tqdm  # noqa: PLC0415

    with closing(TqdmCallback({"unit": "B", "unit_scale": True}, tqdm_cls=tqdm)) as bar:
        yield bar
