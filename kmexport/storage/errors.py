"""Errors of storage libraries, raised again as our own: the place is named, and no credential shows."""

from __future__ import annotations

import errno
import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from kmexport.errors import BucketNotFoundError, BucketUnreachableError, KmExportError
from kmexport.storage.credentials import can_show_one, redact, shows_one
from kmexport.storage.faults import (
    UnexpectedResponseError,
    chain,
    code_of,
    is_answer,
    is_denied,
    is_missing,
    is_without_bucket,
    is_without_credentials,
    words_of,
)
from kmexport.storage.filesystems import explain_unknown_option
from kmexport.storage.listing import NO_BUCKET

__all__ = ["NO_PROFILE", "translated"]

_NO_CREDENTIALS = (
    "no credentials found: pass profile=… or key= and secret=, set AWS_PROFILE or AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or pass anon=True for a public bucket"
)
_NO_GOOGLE_CREDENTIALS = (
    "no credentials found: pass token=… (a file's path will do), set GOOGLE_APPLICATION_CREDENTIALS, or pass "
    'token="anon" for a public bucket'
)
NO_PROFILE = "the profile that profile=… or AWS_PROFILE names is not in ~/.aws/config or ~/.aws/credentials"
_NO_RANGES = (
    "the web server sends whole files only, and here parts of one are needed: let fsspec fetch the whole file first, "
    "as in zip::simplecache::https://…"
)
# What to do about an error of S3, by its code.
_REGION = 'pass the region of the bucket, as in client_kwargs={"region_name": "eu-west-1"}, or its own endpoint'
_NEW_CREDENTIALS = ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired")
_ADVICE = {
    "InvalidObjectState": "the object is archived, restore it first",
    "RequestTimeTooSkewed": "set the clock of this machine",
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    **dict.fromkeys(_NEW_CREDENTIALS, "get new credentials"),
}
_NO_REGION = (
    "PermanentRedirect: the bucket must be addressed at another endpoint, and the server does not say which endpoint."
)
_LONGEST_WORDS = 1_000  # characters; what is longer is a page, not a reason


@contextmanager
def translated(
    url: str,
    options: dict[str, Any],
    secrets: Callable[[], Iterable[str]],
    doing: str,
    missing: Callable[[], Exception] | None = None,
) -> Iterator[None]:
    """Raise storage errors as our own, with the first error as the cause where it shows no secret.

    `doing` says what failed ("reading index.csv"), `missing` makes the error for a file that is not there. `secrets`
    are those that could be in the error's text.
    """
    try:
        yield
    except KmExportError:
        raise
    except Exception as error:
        # Where the address holds a credential, any text of the libraries may repeat it.
        known = list(secrets())
        # That of a missing package names the package. (abfs://container@account only looks like a credential.)
        is_plain = url == redact(url) or isinstance(error, ImportError)
        is_safe = is_plain and not can_show_one(error, known)
        cause = _shareable(error, known) if is_safe else None
        words = words_of(error)
        if len(words) > _LONGEST_WORDS or not is_plain or shows_one(words, known):
            words = ""
        ours = _translation(error, url, options, doing, missing, words=words, is_safe=is_safe)
        if ours is error:
            raise
        try:
            raise ours from cause
        finally:
            if cause is not error:
                ours.__context__ = cause  # `from` alone would only hide the error


def _shareable(error: Exception, secrets: list[str]) -> Exception:
    """Return the error, or one that says the same where a pickle of it would fail or hold a credential.

    Dask pickles causes too. Some libraries' errors can't be unpickled, and httpx' holds the headers of the request.
    """
    try:
        pickles = [pickle.dumps(one) for one in chain(error)]
        for pickled in pickles:
            pickle.loads(pickled)  # noqa: S301  # it is ours
        is_shareable = not any(_holds_one(pickled.decode("latin-1"), secrets) for pickled in pickles)
    except Exception:  # noqa: BLE001  # whatever it is
        is_shareable = False
    if is_shareable:
        return error
    return RuntimeError(f"{type(error).__name__}: {error}").with_traceback(error.__traceback__)


def _holds_one(pickled: str, secrets: list[str]) -> bool:
    return "authorization" in pickled.lower() or shows_one(pickled, secrets)


def _translation(
    error: Exception,
    url: str,
    options: dict[str, Any],
    doing: str,
    missing: Callable[[], Exception] | None,
    *,
    words: str,
    is_safe: bool,
) -> Exception:
    place = redact(url)
    if missing is not None and is_missing(error):
        ours = missing()
        no_bucket = isinstance(ours, BucketNotFoundError) and is_without_bucket(error)
        return BucketNotFoundError(place, "there is no such bucket") if no_bucket else ours
    if is_safe and isinstance(error, OSError) and error.filename is not None:
        return error  # of the local disk: it names its file, where errors of a server have no file name
    if is_without_credentials(error) or is_denied(error):
        return PermissionError(errno.EACCES, _why_denied(error, doing, words), place)
    wrong = explain_unknown_option(error, url, options)
    if wrong is not None:
        return TypeError(f"{place}: {wrong}")
    if is_safe and _speaks_for_itself(error):
        return error
    return _unreachable(error, place, doing, words)


def _why_denied(error: Exception, doing: str, words: str) -> str:
    if is_without_credentials(error):
        names = {type(one).__name__ for one in chain(error)}
        if "DefaultCredentialsError" in names:
            return _NO_GOOGLE_CREDENTIALS
        return NO_PROFILE if "ProfileNotFound" in names else _NO_CREDENTIALS
    code = code_of(error)
    if code in _ADVICE and code not in _NEW_CREDENTIALS:
        return f"{doing} failed ({words or code}): {_ADVICE[code]}"
    why = f" ({words})" if words else ""
    return f"access is denied, {doing}{why}; {_ADVICE.get(code, 'check the credentials and their rights')}"


def _unreachable(error: Exception, place: str, doing: str, words: str) -> BucketUnreachableError:
    if any(map(_is_about_ranges, chain(error))):
        return BucketUnreachableError(place, f"{doing} failed ({_NO_RANGES})", "")
    advice = _ADVICE.get(code_of(error))
    if any(isinstance(one, RecursionError) for one in chain(error)):
        words, advice = _NO_REGION, _REGION
    if advice is not None:
        advice = f"{advice[0].upper()}{advice[1:]}."
    elif NO_BUCKET in str(error):
        advice = "Make it first, or mend its name."
    elif is_answer(error):
        advice = "The server was reached, and answered so."
    if isinstance(error, UnexpectedResponseError):
        why = str(error)
    else:
        why = f"{type(error).__name__}: {words}" if words else type(error).__name__
    return BucketUnreachableError(place, f"{doing} failed ({why})", advice)


def _speaks_for_itself(error: Exception) -> bool:
    """Tell whether an error may stay as it is: a wrong address, a filesystem that is not installed, a warning."""
    if any(_is_about_ranges(one) for one in chain(error)):
        return False
    return isinstance(error, ImportError | Warning) or type(error) in (TypeError, ValueError)


def _is_about_ranges(error: BaseException) -> bool:
    return isinstance(error, ValueError) and "range requests" in str(error)
