"""The address of a lake and its options: in fsspec's words and in those of delta-rs."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen

from kmexport.arguments import address_of
from kmexport.storage.credentials import redact
from kmexport.storage.errors import NO_PROFILE
from kmexport.storage.faults import is_without_credentials

_KINDS: Final = {
    "file": "local", "local": "local", "s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs",
    "az": "azure", "abfs": "azure", "abfss": "azure",
}  # fmt: skip
_UNREADABLE: Final = re.compile(r"%[0-9A-Fa-f]{2}|\\")  # it decodes the one twice, and turns the other round
_DRIVE: Final = re.compile(r"/[A-Za-z]:[/\\]")
# Options of fsspec's filesystems that say how they read: they mean nothing to a writer of tables.
_READING_ONLY: Final = frozenset(
    {
        "use_listings_cache", "listings_expiry_time", "max_paths", "skip_instance_cache", "default_block_size",
        "default_fill_cache", "default_cache_type", "block_size", "cache_type", "cache_regions", "version_aware",
        "max_concurrency", "auto_mkdir", "project", "access", "consistency", "check_connection", "requests_timeout",
    }
)  # fmt: skip
_HANDED_ON: Final = ("aws_", "azure_", "google_", "allow_http", "allow_invalid_certificates", "timeout", "proxy_url")


class KeysOfProfile:
    """The keys that s3fs would find by a profile, renewed by botocore where they expire."""

    def __init__(self, profile: str | None) -> None:
        self._profile = profile
        self._found: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_found": None}

    def current(self) -> dict[str, str]:
        """Get the keys of this moment, good for ten minutes at least where their source allows it; empty without any.

        Those of a role of the machine are left to delta-rs, which renews them.
        """
        if self._found is None:
            from botocore.session import Session  # noqa: PLC0415  # it is slow to load

            self._found = Session(profile=self._profile).get_credentials()
        if self._found is None:
            return {}
        keys = self._found.get_frozen_credentials()
        found = {"aws_access_key_id": keys.access_key, "aws_secret_access_key": keys.secret_key}
        if keys.token:
            found["aws_session_token"] = keys.token
        return found


@frozen
class Destination:
    """A lake's address: `url` as fsspec has it, with `options`; and what delta-rs needs for the table of a name.

    `keys` are those of a profile and may expire: a long use of a lake asks `KeysOfProfile` for them again.
    """

    url: str
    options: dict[str, Any] = field(repr=False)
    delta_root: str = field(repr=False)
    delta_options: dict[str, str] = field(repr=False)
    ca_file: str | None = None  # with the certificates that are trusted in place of the system's
    keys: KeysOfProfile | None = field(default=None, repr=False, eq=False)

    @property
    def current_options(self) -> dict[str, str]:
        """`delta_options` with the keys of this moment."""
        return self.delta_options if self.keys is None else self.delta_options | self.keys.current()

    @property
    def public_url(self) -> str:
        """The address without what may be a credential."""
        return redact(self.url)

    def delta_url(self, table: str) -> str:
        """The address of one of its tables, for delta-rs."""
        return f"{self.delta_root}/{table}"


def find_destination(url: str | os.PathLike[str], options: Mapping[str, Any]) -> Destination:
    """Find the destination of a path or URL, with storage options in fsspec's words or in those of object_store.

    Raises ValueError for a storage that delta-rs does not write, TypeError for an option that it can't be told,
    PermissionError for a profile that is not there.
    """
    written = address_of(url)
    scheme, separator, rest = written.partition("://")
    kind = _KINDS.get(scheme) if separator else "local"
    if kind is None:
        msg = (
            f"{redact(written)}: a lake lies on the local disk, on S3 (s3://), Google Cloud Storage (gs://) or Azure "
            f"(az://, abfs://), not on {scheme}://"
        )
        raise ValueError(msg)
    handed_on = {name: _text(value) for name, value in options.items() if name.startswith(_HANDED_ON)}
    given = {name: value for name, value in options.items() if not name.startswith(_HANDED_ON)}
    if kind == "local":
        path = Path(_local_path(rest) if separator else written).expanduser().absolute()
        if _UNREADABLE.search(path.as_posix()):
            msg = f"{path}: delta-rs takes no path with a backslash, or with a percent sign before two digits"
            raise ValueError(msg)
        return Destination(str(path), given, path.as_uri(), _translated(kind, given, _LOCAL) | handed_on)
    delta_root = f"{'gs' if kind == 'gcs' else scheme}://{rest.rstrip('/')}"
    own = _configured(kind) | given
    translated = _translated(kind, own, _WORDS[kind])
    keys = None
    try:
        found = _FINDERS[kind](own, translated | handed_on)
        if kind == "s3" and _takes_profile(own, found):
            keys = KeysOfProfile(own.get("profile"))
            found = keys.current() | found
        if kind == "s3":
            found = _with_server(own.get("profile"), found)
    except Exception as error:
        if is_without_credentials(error):
            raise PermissionError(errno.EACCES, NO_PROFILE, redact(written)) from error
        raise
    is_plain = found.get("aws_endpoint_url", "").startswith("http://")
    ca_file = _find_ca_file(own) if kind == "s3" and not is_plain else None
    for_fsspec = _in_words_of_fsspec(kind, handed_on, given)
    return Destination(f"{scheme}://{rest.rstrip('/')}", for_fsspec, delta_root, found, ca_file, keys)


def _configured(kind: str) -> dict[str, Any]:
    """Read the options that fsspec's own configuration has for the storage: FSSPEC_S3_KEY=… and the like."""
    from fsspec.config import conf  # noqa: PLC0415

    found: dict[str, Any] = {}
    for scheme, kind_of_scheme in _KINDS.items():
        if kind_of_scheme == kind:
            found |= {name: value for name, value in conf.get(scheme, {}).items() if name in _WORDS[kind]}
    return found


def _in_words_of_fsspec(kind: str, handed_on: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, Any]:
    """Translate options of object_store into fsspec's words; where both are given, fsspec's win."""
    found: dict[str, Any] = {
        _BACK[kind][name]: value == "true" if value in ("true", "false") else value
        for name, value in handed_on.items()
        if name in _BACK[kind]
    }
    client: dict[str, Any] = {_CLIENT_BACK[name]: value for name, value in handed_on.items() if name in _CLIENT_BACK}
    if kind == "s3" and handed_on.get("allow_invalid_certificates") == "true":
        client["verify"] = False
    if kind == "s3" and client:
        found["client_kwargs"] = {**client, **(given.get("client_kwargs") or {})}
    if "google_service_account_key" in handed_on:
        found["token"] = json.loads(handed_on["google_service_account_key"])
    if handed_on.get("google_skip_signature") == "true":
        found["token"] = "anon"  # noqa: S105  # a word of gcsfs
    endpoint = handed_on.get("azure_endpoint") or handed_on.get("azure_storage_endpoint")
    if kind == "azure" and endpoint is not None:
        found["connection_string"] = _connection_string(endpoint, {**found, **given})
    return {**found, **{name: value for name, value in given.items() if name != "client_kwargs" or not client}}


def _connection_string(endpoint: str, options: Mapping[str, Any]) -> str:
    """Write a connection string: adlfs takes an endpoint in no other way."""
    parts = {
        "DefaultEndpointsProtocol": endpoint.partition("://")[0],
        "AccountName": options.get("account_name"),
        "AccountKey": options.get("account_key"),
        "SharedAccessSignature": options.get("sas_token"),
        "BlobEndpoint": endpoint,
    }
    return ";".join(f"{name}={value}" for name, value in parts.items() if value is not None)


def _local_path(rest: str) -> str:
    """Return the path of a URL: on Windows without the slash in front of a drive, as in file:///C:/lake."""
    return rest[1:] if os.sep == "\\" and _DRIVE.match(rest) else rest


def _translated(kind: str, options: Mapping[str, Any], words: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for name, value in options.items():
        if name in words:
            if value is not None and words[name]:
                found[words[name]] = _text(value)
        elif name not in _READING_ONLY:
            msg = (
                f"{name!r} is no storage option that a lake on {kind} understands: it takes "
                f"{', '.join(sorted(words)) or 'none'}, and object_store's own (aws_…, azure_…, google_…)"
            )
            raise TypeError(msg)
    return found


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# Words with an empty translation are looked at below.
_LOCAL: Final[dict[str, str]] = {}
_WORDS: Final[dict[str, dict[str, str]]] = {
    "s3": {
        "key": "aws_access_key_id", "username": "aws_access_key_id",
        "secret": "aws_secret_access_key", "password": "aws_secret_access_key",
        "token": "aws_session_token", "aws_session_token": "aws_session_token",
        "endpoint_url": "aws_endpoint_url", "anon": "aws_skip_signature", "requester_pays": "aws_request_payer",
        "profile": "", "client_kwargs": "", "config_kwargs": "", "s3_additional_kwargs": "", "use_ssl": "",
    },
    "gcs": {"token": "", "endpoint_url": "google_base_url"},
    "azure": {
        "account_name": "azure_storage_account_name", "account_key": "azure_storage_account_key",
        "credential": "azure_storage_account_key", "sas_token": "azure_storage_sas_token",
        "tenant_id": "azure_storage_tenant_id", "client_id": "azure_storage_client_id",
        "client_secret": "azure_storage_client_secret", "anon": "azure_skip_signature", "connection_string": "",
        "account_host": "",
    },
}  # fmt: skip
# The same words in the other direction, for what reads the lake; other names that object_store has for them too.
_BACK: Final[dict[str, dict[str, str]]] = {
    "s3": {
        "aws_access_key_id": "key", "aws_secret_access_key": "secret", "aws_session_token": "token",
        "aws_token": "token", "aws_endpoint_url": "endpoint_url", "aws_endpoint": "endpoint_url",
        "aws_skip_signature": "anon",
    },
    "gcs": {
        "google_service_account": "token", "google_service_account_path": "token", "google_base_url": "endpoint_url",
    },
    "azure": {
        "azure_storage_account_name": "account_name", "azure_storage_account_key": "account_key",
        "azure_storage_access_key": "account_key", "azure_storage_sas_token": "sas_token",
        "azure_storage_sas_key": "sas_token", "azure_storage_tenant_id": "tenant_id", "azure_tenant_id": "tenant_id",
        "azure_storage_client_id": "client_id", "azure_client_id": "client_id",
        "azure_storage_client_secret": "client_secret", "azure_client_secret": "client_secret",
        "azure_skip_signature": "anon",
    },
}  # fmt: skip
_CLIENT_BACK: Final = {"aws_region": "region_name", "aws_default_region": "region_name"}
_S3_CLIENT: Final = {
    "endpoint_url": "aws_endpoint_url", "region_name": "aws_region", "aws_access_key_id": "aws_access_key_id",
    "aws_secret_access_key": "aws_secret_access_key", "aws_session_token": "aws_session_token",
}  # fmt: skip
_S3_ADDITIONAL: Final = {
    "ServerSideEncryption": "aws_server_side_encryption", "SSEKMSKeyId": "aws_sse_kms_key_id",
}  # fmt: skip


def _find_s3(options: Mapping[str, Any], found: dict[str, str]) -> dict[str, str]:
    found = dict(found)
    client = options.get("client_kwargs") or {}
    for words, given in ((_S3_CLIENT, client), (_S3_ADDITIONAL, options.get("s3_additional_kwargs") or {})):
        found |= {words[name]: _text(value) for name, value in given.items() if name in words and value is not None}
    if client.get("verify") is False:
        found["allow_invalid_certificates"] = "true"
    style = ((options.get("config_kwargs") or {}).get("s3") or {}).get("addressing_style")
    if style in ("virtual", "path"):
        found["aws_virtual_hosted_style_request"] = _text(style == "virtual")
    if "aws_endpoint" in found:  # object_store's other name of it
        found["aws_endpoint_url"] = found.pop("aws_endpoint")
    return found


def _takes_profile(options: Mapping[str, Any], found: Mapping[str, str]) -> bool:
    has_profile = options.get("profile") is not None or "AWS_PROFILE" in os.environ
    return has_profile and "aws_access_key_id" not in found and found.get("aws_skip_signature") != "true"


def _with_server(profile: str | None, given: dict[str, str]) -> dict[str, str]:
    found = dict(given)
    if "aws_endpoint_url" not in found:
        found |= _endpoint(profile)
    is_keyless = "aws_access_key_id" not in found and found.get("aws_skip_signature") != "true"
    if is_keyless and "aws_endpoint_url" in found:
        # Beside an endpoint delta-rs would look at the environment and the machine's role only, and not into ~/.aws.
        found.setdefault("aws_force_credential_load", "true")
    if "aws_region" not in found:
        found["aws_region"] = _region(profile)
    if found.get("aws_endpoint_url", "").startswith("http://"):
        found.setdefault("allow_http", "true")
    return found


def _endpoint(profile: str | None) -> dict[str, str]:
    """Find another server than Amazon's, as the AWS libraries do: the environment first, then the profile."""
    from botocore.session import Session  # noqa: PLC0415

    named = (os.environ.get(name) for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"))
    endpoint = next(filter(None, named), None) or Session(profile=profile).get_scoped_config().get("endpoint_url")
    return {"aws_endpoint_url": endpoint} if endpoint else {}


def _region(profile: str | None) -> str:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        if profile is None and os.environ.get(name):
            return os.environ[name]
    from botocore.session import Session  # noqa: PLC0415

    found: str | None = Session(profile=profile).get_config_variable("region")
    return found or "us-east-1"


def _find_ca_file(options: Mapping[str, Any]) -> str | None:
    """Find the file of a private CA, as botocore does. delta-rs has no option for it."""
    verify = (options.get("client_kwargs") or {}).get("verify")
    if verify is not None:
        return verify if isinstance(verify, str) else None
    if "AWS_CA_BUNDLE" in os.environ:
        return os.environ["AWS_CA_BUNDLE"]
    if options.get("profile") is None and "AWS_PROFILE" not in os.environ:
        return None
    from botocore.session import Session  # noqa: PLC0415

    found: str | None = Session(profile=options.get("profile")).get_config_variable("ca_bundle")
    return found


def _find_gcs(options: Mapping[str, Any], found: dict[str, str]) -> dict[str, str]:
    token = options.get("token")
    if token is None or token in ("google_default", "cloud"):
        return found
    if token == "anon":  # noqa: S105  # a word of gcsfs
        return {**found, "google_skip_signature": "true"}
    if isinstance(token, Mapping):
        return {**found, "google_service_account_key": json.dumps(dict(token))}
    if isinstance(token, str) and Path(token).is_file():
        return {**found, "google_service_account": token}
    msg = 'token is a service account (the path of its file, or a dict), "anon", "cloud" or "google_default"'
    raise TypeError(msg)


def _find_azure(options: Mapping[str, Any], found: dict[str, str]) -> dict[str, str]:
    found = dict(found)
    if isinstance(options.get("credential"), str) is False and options.get("credential") is not None:
        msg = "credential is an account key as text: delta-rs takes no credential object"
        raise TypeError(msg)
    text = options.get("connection_string") or os.environ.get("AZURE_STORAGE_CONNECTION_STRING") or ""
    parts = {name: value for name, _, value in (part.partition("=") for part in text.split(";") if part)}
    words = {
        "AccountName": "azure_storage_account_name", "AccountKey": "azure_storage_account_key",
        "SharedAccessSignature": "azure_storage_sas_token", "BlobEndpoint": "azure_endpoint",
    }  # fmt: skip
    found |= {words[name]: value for name, value in parts.items() if name in words}
    if "EndpointSuffix" in parts and "AccountName" in parts and "BlobEndpoint" not in parts:
        protocol = parts.get("DefaultEndpointsProtocol", "https")
        found["azure_endpoint"] = f"{protocol}://{parts['AccountName']}.blob.{parts['EndpointSuffix']}"
    if options.get("account_host"):
        found["azure_endpoint"] = f"https://{options['account_host']}"
    if found.get("azure_endpoint", "").startswith("http://"):
        found.setdefault("allow_http", "true")
    return found


_FINDERS: Final[dict[str, Callable[[Mapping[str, Any], dict[str, str]], dict[str, str]]]] = {
    "s3": _find_s3,
    "gcs": _find_gcs,
    "azure": _find_azure,
}
