"""What storage libraries raise, said in the library's own errors: the place is named, and no credential shows."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from kmexport.errors import BucketNotFoundError, BucketUnreachableError, KmExportError
from kmexport.storage.credentials import can_show_one, redact
from kmexport.storage.faults import (
    WrongAnswerError,
    chain,
    is_denied,
    is_missing,
    is_without_bucket,
    is_without_credentials,
)
from kmexport.storage.options import name_wrong_option

__all__ = ["NO_PROFILE", "translated"]

_NO_CREDENTIALS = (
    "no credentials found: pass profile=… or key= and secret=, set AWS_PROFILE or AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or pass anon=True for a public bucket"
)
NO_PROFILE = "the profile that profile=… or AWS_PROFILE names is not in ~/.aws/config or ~/.aws/credentials"
_NO_RANGES = (
    "the web server sends whole files only, and here parts of one are needed: let fsspec fetch the whole file first, "
    "as in zip::simplecache::https://…"
)


@contextmanager
def translated(
    url: str,
    options: dict[str, Any],
    secrets: Callable[[], Iterable[str]],
    doing: str,
    missing: Callable[[], Exception] | None = None,
) -> Iterator[None]:
    """Raise storage errors under the library's names; with the first error as the cause where it shows no secret.

    `doing` says what failed ("reading index.csv"), `missing` makes the error for a file that is not there. `secrets`
    are those that could be in the error's text.
    """
    try:
        yield
    except KmExportError:
        raise
    except Exception as error:
        # Where the address holds a credential, any text of the libraries may repeat it.
        is_safe = url == redact(url) and not can_show_one(error, list(secrets()))
        cause = error if is_safe else None
        ours = _translation(error, url, options, doing, missing, is_safe=is_safe)
        if ours is error:
            raise
        try:
            raise ours from cause
        finally:
            if cause is None:
                ours.__context__ = None  # `from None` would only hide it


def _translation(
    error: Exception,
    url: str,
    options: dict[str, Any],
    doing: str,
    missing: Callable[[], Exception] | None,
    *,
    is_safe: bool,
) -> Exception:
    place = redact(url)
    if missing is not None and is_missing(error):
        ours = missing()
        no_bucket = isinstance(ours, BucketNotFoundError) and is_without_bucket(error)
        return BucketNotFoundError(place, "there is no such bucket") if no_bucket else ours
    if is_safe and isinstance(error, OSError) and error.filename is not None:
        return error  # of the local disk: it names its file, where errors of a server have no file name
    if is_without_credentials(error):
        why = NO_PROFILE if type(error).__name__ == "ProfileNotFound" else _NO_CREDENTIALS
        return PermissionError(errno.EACCES, why, place)
    if is_denied(error):
        return PermissionError(
            errno.EACCES, f"access is denied, {doing}; check the credentials and their rights", place
        )
    wrong = name_wrong_option(error, url, options)
    if wrong is None and is_safe and _speaks_for_itself(error):
        return error
    return TypeError(f"{place}: {wrong}") if wrong else BucketUnreachableError(place, f"{doing} failed ({_why(error)})")


def _speaks_for_itself(error: Exception) -> bool:
    """A wrong address, a filesystem that is not installed, a warning."""
    if any(_is_about_ranges(one) for one in chain(error)):
        return False
    return isinstance(error, ImportError | Warning) or type(error) in (TypeError, ValueError)


def _why(error: Exception) -> str:
    if any(_is_about_ranges(one) for one in chain(error)):
        return _NO_RANGES
    return str(error) if isinstance(error, WrongAnswerError) else type(error).__name__


def _is_about_ranges(error: BaseException) -> bool:
    return isinstance(error, ValueError) and "range requests" in str(error)
