"""The meaning of a storage's error: the file is missing, access is denied, or it may pass and is tried again."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

from kmexport.errors import KmExportError

__all__ = [
    "IncompleteReadError",
    "UnexpectedResponseError",
    "chain",
    "check_body",
    "code_of",
    "is_answer",
    "is_denied",
    "is_missing",
    "is_transient",
    "is_without_bucket",
    "is_without_credentials",
    "words_of",
]

_LONGEST_CHAIN = 20

# Of a local disk: names that can't be, files that are there already, what is full or can't be written.
_FINAL_NUMBERS = frozenset(
    getattr(errno, name)
    for name in ("ENAMETOOLONG", "ELOOP", "EEXIST", "ENOTEMPTY", "ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EXDEV")
    if hasattr(errno, name)
)
# Another try can't mend these. RuntimeError and OSError are not among them: storage libraries raise both for anything.
_FINAL = (
    KmExportError,
    NotADirectoryError,
    IsADirectoryError,
    NotImplementedError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ImportError,
    RecursionError,
    MemoryError,
    Warning,
)
_GONE = (404, 410)
_NO_CREDENTIALS = ("NoCredentialsError", "DefaultCredentialsError", "ProfileNotFound")
_CERTIFICATE = ("SSLCertVerificationError", "ClientConnectorCertificateError")
# What libraries for SSH and Azure call it.
_DENIED = (
    "AuthenticationException",
    "BadAuthenticationType",
    "PermissionDenied",
    "SFTPPermissionDenied",
    "AzureSigningError",
)
_MISSING = ("SFTPNoSuchFile", "SFTPNoSuchPath")
_FTP_TROUBLE = ("421", "425", "426", "451")  # of the connection or the server; the others are about the file
_NO_RIGHT = re.compile("permission|privilege|denied|not allowed|access is", re.IGNORECASE)  # in a 550 of FTP
_PASSING = (408, 425, 429)  # too slow, too early, too many: the statuses of 400 to 499 that are worth another try


class UnexpectedResponseError(OSError):
    """An answer that is not what was asked for. Its text is ours, so that it may be shown.

    `may_pass`: whether another try is worth it.
    """

    def __init__(self, message: str, *, may_pass: bool = True) -> None:
        super().__init__(message)
        self.may_pass = may_pass


class IncompleteReadError(UnexpectedResponseError):
    """A file with fewer bytes than its size says, or with others than were asked for."""


def check_body(given: int, asked: int) -> None:
    """Raise IncompleteReadError where the length of a body is not the one that was announced.

    >>> check_body(10, 12)
    Traceback (most recent call last):
        ...
    kmexport.storage.faults.IncompleteReadError: 10 bytes came where 12 were announced
    """
    if given != asked:
        msg = f"{given:,} bytes came where {asked:,} were announced"
        raise IncompleteReadError(msg)


def is_missing(error: BaseException) -> bool:
    """Tell whether the file or its folder is not there."""
    if is_denied(error):
        return False
    if type(error).__name__ in _MISSING or _ftp_code(error) == "550":
        return True
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        # fsspec says the same of a web server that does not answer, or answers 503.
        return not any(map(_is_trouble, chain(error.__cause__ or error.__context__)))
    # The KeyError is zipfile's, which older versions of fsspec hand on.
    return isinstance(error, KeyError) and "no item named" in str(error)


def is_without_bucket(error: BaseException) -> bool:
    """Tell whether S3 says that not only the file is missing, but the whole bucket."""
    responses = [getattr(one, "response", None) for one in chain(error)]
    return any(isinstance(one, dict) and one.get("Error", {}).get("Code") == "NoSuchBucket" for one in responses)


def is_denied(error: BaseException) -> bool:
    """Tell whether the credentials are wrong or expired, or a file of an archive needs a password."""
    if isinstance(error, PermissionError) or _http_status(error) in (401, 403):
        return True
    return any(type(one).__name__ in _DENIED or _is_denied_by_ftp(one) or _is_forbidden(one) for one in chain(error))


def is_without_credentials(error: BaseException) -> bool:
    """Tell whether a library of Amazon or Google looked for credentials and found none."""
    return any(type(one).__name__ in _NO_CREDENTIALS for one in chain(error))


def is_transient(error: BaseException) -> bool:
    """Tell whether the next try may succeed: a broken connection, a time-out, a server that is overloaded.

    >>> is_transient(ConnectionResetError()), is_transient(FileNotFoundError())
    (True, False)
    """
    if isinstance(error, UnexpectedResponseError):
        return error.may_pass
    if not isinstance(error, Exception) or any(map(_is_final, chain(error))):
        return False
    if is_denied(error) or is_missing(error) or is_without_credentials(error):
        return False
    # A server may answer 400 to a request that came too slowly; s3fs makes it a TimeoutError.
    if isinstance(error, FileNotFoundError | TimeoutError | ConnectionError):
        return True
    if isinstance(error, _FINAL):
        return False
    status = _http_status(error)
    return status is None or status >= 500 or status in _PASSING or any(map(_is_garbled, chain(error)))


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and those that caused it."""
    for _ in range(_LONGEST_CHAIN):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def words_of(error: BaseException) -> str:
    """Return what the storage itself said, in one line; empty where it said nothing.

    >>> words_of(RuntimeError("no route\\nto host")), words_of(TimeoutError())
    ('no route to host', '')
    """
    for one in chain(error):
        response = getattr(one, "response", None)
        if isinstance(response, dict) and isinstance(said := response.get("Error"), dict):
            return _in_one_line(": ".join(filter(None, [str(said.get("Code", "")), str(said.get("Message", ""))])))
        if _ftp_code(one):
            return _in_one_line(str(one))
    for one in chain(error):
        status, message = getattr(one, "status", None), getattr(one, "message", None)
        if isinstance(status, int) and isinstance(message, str):
            return _in_one_line(f"{status} {message}")
        if words := _in_one_line(getattr(one, "strerror", None) or str(one)):
            return words
    return ""


def code_of(error: BaseException) -> str:
    """Return the code of an error of S3, such as ExpiredToken; empty where it has no code."""
    responses = [getattr(one, "response", None) for one in chain(error)]
    return next((str(one.get("Error", {}).get("Code", "")) for one in responses if isinstance(one, dict)), "")


def is_answer(error: BaseException) -> bool:
    """Tell whether a server answered, and refused what it was asked: the network is not to blame."""
    status = _http_status(error)
    return status is not None and 400 <= status < 500 and not any(map(_is_garbled, chain(error)))


def _ftp_code(error: BaseException) -> str:
    """Return the code of an answer of FTP, such as 550; empty for any other error."""
    return str(error)[:3] if type(error).__module__ == "ftplib" else ""


def _is_denied_by_ftp(error: BaseException) -> bool:
    """Tell whether FTP denied access. 530 is for a failed login; 550 may be anything, and only its words tell."""
    code = _ftp_code(error)
    return code in ("530", "532") or (code == "550" and _NO_RIGHT.search(str(error)) is not None)


def _is_forbidden(error: BaseException) -> bool:
    """Tell whether gcsfs got a 403, which it raises as an OSError without a number, or zipfile has no password."""
    if type(error) is RuntimeError:
        return "password required" in str(error)
    return type(error) is OSError and str(error).startswith("Forbidden: ")


def _in_one_line(text: str) -> str:
    return " ".join(text.split())


def _is_final(error: BaseException) -> bool:
    """Tell whether another try can't mend it: an error about a certificate, or about a file of the local disk."""
    if any(kind.__name__ in _CERTIFICATE for kind in type(error).__mro__) or "CERTIFICATE_VERIFY_FAILED" in str(error):
        return True
    return isinstance(error, RecursionError) or (isinstance(error, OSError) and error.errno in _FINAL_NUMBERS)


def _is_garbled(error: BaseException) -> bool:
    """Tell whether an answer was not HTTP. aiohttp gives it the status 400, as if the server had refused."""
    return any(kind.__name__ == "HttpProcessingError" for kind in type(error).__mro__)


def _is_trouble(error: BaseException) -> bool:
    """Tell whether an error is about the connection or the server, and not about the file."""
    status = _http_status(error)
    if status is not None:
        return status not in _GONE
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return False
    if code := _ftp_code(error):
        return code in _FTP_TROUBLE
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] == "aiohttp"


def _http_status(error: BaseException) -> int | None:
    """Find the status of the answer that caused an error: aiohttp has a status, botocore a response, gcsfs a code."""
    for one in chain(error):
        response = getattr(one, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:
            status = getattr(one, "status", None) or getattr(one, "status_code", None)
            if status is None and type(one).__module__ == "gcsfs.retry":
                status = getattr(one, "code", None)
        if isinstance(status, int):
            return status
    return None
