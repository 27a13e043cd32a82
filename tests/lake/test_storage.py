"""fsspec's words for a storage, as delta-rs is told them."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import fsspec
import pytest

from kmexport.lake.storage import find_destination
from tests.support.systems import WINDOWS

SECRET = "a-secret/that+nobody=sees"


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch, tmp_path):
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


S3 = {"aws_region": "us-east-1"}
KEYS = {"aws_access_key_id": "AKIA", "aws_secret_access_key": SECRET}


@pytest.mark.parametrize(
    ("url", "given", "told"),
    [
        ("s3://b/lake", {}, S3),
        ("s3://b/lake/", {"key": "AKIA", "secret": SECRET}, S3 | KEYS),
        ("s3a://b/lake", {"key": "AKIA", "secret": SECRET, "token": "t"}, S3 | KEYS | {"aws_session_token": "t"}),
        ("s3://b/lake", {"anon": True}, S3 | {"aws_skip_signature": "true"}),
        ("s3://b/lake", {"anon": False}, S3 | {"aws_skip_signature": "false"}),
        (
            "s3://b/lake",
            {"client_kwargs": {"endpoint_url": "http://127.0.0.1:9", "region_name": "eu-west-1", "verify": False}},
            {
                "aws_endpoint_url": "http://127.0.0.1:9",
                "aws_region": "eu-west-1",
                "allow_http": "true",
                "allow_invalid_certificates": "true",
                "aws_force_credential_load": "true",
            },
        ),
        (
            "s3://b/lake",
            {"endpoint_url": "https://s3.example.com", "config_kwargs": {"s3": {"addressing_style": "virtual"}}},
            S3
            | {
                "aws_endpoint_url": "https://s3.example.com",
                "aws_virtual_hosted_style_request": "true",
                "aws_force_credential_load": "true",
            },
        ),
        (
            "s3://b/lake",
            {
                "s3_additional_kwargs": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "k"},
                "use_listings_cache": False,
            },
            S3 | {"aws_server_side_encryption": "aws:kms", "aws_sse_kms_key_id": "k"},
        ),
        ("s3://b/lake", {"aws_conditional_put": "etag"}, S3 | {"aws_conditional_put": "etag"}),
        ("gs://b/lake", {"token": "anon"}, {"google_skip_signature": "true"}),
        ("gcs://b/lake", {"token": "google_default", "project": "p"}, {}),
        (
            "gs://b/lake",
            {"token": {"private_key": SECRET}},
            {"google_service_account_key": json.dumps({"private_key": SECRET})},
        ),
        (
            "az://c/lake",
            {"account_name": "acme", "account_key": SECRET},
            {"azure_storage_account_name": "acme", "azure_storage_account_key": SECRET},
        ),
        (
            "abfs://c/lake",
            {"tenant_id": "t", "client_id": "c", "client_secret": SECRET},
            {
                "azure_storage_tenant_id": "t",
                "azure_storage_client_id": "c",
                "azure_storage_client_secret": SECRET,
            },
        ),
        (
            "az://c/lake",
            {"connection_string": f"AccountName=acme;AccountKey={SECRET}==;BlobEndpoint=http://127.0.0.1:10000/acme"},
            {
                "azure_storage_account_name": "acme",
                "azure_storage_account_key": f"{SECRET}==",
                "azure_endpoint": "http://127.0.0.1:10000/acme",
                "allow_http": "true",
            },
        ),
    ],
)
def test_words(url, given, told):
    destination = find_destination(url, given)
    assert destination.delta_options == told
    assert destination.delta_url("records").endswith("/lake/records")
    assert SECRET not in repr(destination)
    assert pickle.loads(pickle.dumps(destination)) == destination


def test_object_stores_own_words_are_not_for_fsspec():
    destination = find_destination("s3://b/lake", {"key": "AKIA", "aws_conditional_put": "etag"})
    assert destination.options == {"key": "AKIA"}


@pytest.mark.parametrize(
    ("url", "given", "for_fsspec"),
    [
        (
            "s3://b/lake",
            {
                "aws_access_key_id": "AKIA", "aws_secret_access_key": SECRET, "aws_endpoint_url": "http://127.0.0.1:9",
                "aws_region": "eu-west-1", "allow_http": True,
            },
            {
                "key": "AKIA", "secret": SECRET, "endpoint_url": "http://127.0.0.1:9",
                "client_kwargs": {"region_name": "eu-west-1"},
            },
        ),
        ("s3://b/lake", {"aws_skip_signature": "true", "aws_endpoint": "https://a"}, {"anon": True, "endpoint_url": "https://a"}),
        (
            "s3://b/lake",
            {"client_kwargs": {"verify": "ca.pem"}, "aws_region": "eu-west-1"},
            {"client_kwargs": {"region_name": "eu-west-1", "verify": "ca.pem"}},
        ),
        ("s3://b/lake", {"key": "mine", "aws_access_key_id": "other"}, {"key": "mine"}),
        (
            "az://c/lake",
            {
                "azure_storage_account_name": "acme", "azure_storage_account_key": SECRET,
                "azure_endpoint": "http://127.0.0.1:10000/acme",
            },
            {
                "account_name": "acme", "account_key": SECRET,
                "connection_string": "DefaultEndpointsProtocol=http;AccountName=acme;"
                f"AccountKey={SECRET};BlobEndpoint=http://127.0.0.1:10000/acme",
            },
        ),
        ("gs://b/lake", {"google_service_account_key": '{"a": 1}'}, {"token": {"a": 1}}),
        ("gs://b/lake", {"google_skip_signature": "true"}, {"token": "anon"}),
    ],
)  # fmt: skip
def test_object_stores_own_words_alone_read_too(url, given, for_fsspec):
    destination = find_destination(url, given)
    assert destination.options == for_fsspec
    assert SECRET not in repr(destination)


def test_connection_strings(monkeypatch):
    text = f"DefaultEndpointsProtocol=https;AccountName=acme;AccountKey={SECRET};EndpointSuffix=core.chinacloudapi.cn"
    told = {
        "azure_storage_account_name": "acme", "azure_storage_account_key": SECRET,
        "azure_endpoint": "https://acme.blob.core.chinacloudapi.cn",
    }  # fmt: skip
    assert find_destination("az://c/lake", {"connection_string": text}).delta_options == told
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    assert find_destination("abfs://c/lake", {}).delta_options == told


def test_the_configuration_of_fsspec(monkeypatch):
    monkeypatch.setitem(
        fsspec.config.conf, "s3", {"key": "AKIA", "secret": SECRET, "endpoint_url": "https://a", "x": 1}
    )
    monkeypatch.setitem(fsspec.config.conf, "abfs", {"account_name": "acme", "account_key": SECRET})
    told = find_destination("s3://b/lake", {"endpoint_url": "https://b"}).delta_options
    assert told == S3 | KEYS | {"aws_endpoint_url": "https://b"}
    told = find_destination("az://c/lake", {}).delta_options
    assert told == {"azure_storage_account_name": "acme", "azure_storage_account_key": SECRET}


def test_the_file_of_a_private_ca(tmp_path, monkeypatch):
    assert find_destination("s3://b/lake", {}).ca_file is None
    (tmp_path / "config").write_text("[profile lake]\nca_bundle = of-profile.pem\n", encoding="utf-8")
    assert find_destination("s3://b/lake", {"profile": "lake"}).ca_file == "of-profile.pem"
    monkeypatch.setenv("AWS_CA_BUNDLE", "of-environment.pem")
    assert find_destination("s3://b/lake", {"profile": "lake"}).ca_file == "of-environment.pem"
    for verify, found in (("given.pem", "given.pem"), (False, None)):
        assert find_destination("s3://b/lake", {"client_kwargs": {"verify": verify}}).ca_file == found
    assert find_destination("s3://b/lake", {"endpoint_url": "http://127.0.0.1:9"}).ca_file is None


def test_keys_of_a_profile_are_renewed(tmp_path):
    script = tmp_path / "keys.py"
    script.write_text(
        "import json, time\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': str(time.time_ns()), 'SecretAccessKey': 's',"
        " 'SessionToken': 't', 'Expiration': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(time.time() + 60))}))\n",
        encoding="utf-8",
    )
    command = f"{Path(sys.executable).as_posix()} {script.as_posix()}"
    (tmp_path / "config").write_text(f"[profile lake]\ncredential_process = {command}\n", encoding="utf-8")
    destination = find_destination("s3://b/lake", {"profile": "lake"})
    names = {destination.current_options["aws_access_key_id"] for _ in range(2)}
    assert len(names | {destination.delta_options["aws_access_key_id"]}) == 3
    copied = pickle.loads(pickle.dumps(destination))
    assert copied.current_options["aws_access_key_id"] not in names
    assert copied == destination


def test_a_profile(tmp_path):
    (tmp_path / "config").write_text(
        "[profile lake]\nregion = eu-north-1\nendpoint_url = http://127.0.0.1:9\n", encoding="utf-8"
    )
    (tmp_path / "credentials").write_text(
        f"[lake]\naws_access_key_id = AKIA\naws_secret_access_key = {SECRET}\n", encoding="utf-8"
    )
    told = find_destination("s3://b/lake", {"profile": "lake"}).delta_options
    assert told == KEYS | {"aws_region": "eu-north-1", "aws_endpoint_url": "http://127.0.0.1:9", "allow_http": "true"}


@pytest.mark.parametrize(
    ("options", "environment", "found"),
    [
        ({"profile": "lake", "endpoint_url": "http://127.0.0.1:8"}, {"AWS_ENDPOINT_URL": "http://127.0.0.1:7"}, 8),
        ({"profile": "lake", "aws_endpoint": "http://127.0.0.1:8"}, {}, 8),
        ({"profile": "lake"}, {"AWS_ENDPOINT_URL": "http://127.0.0.1:7"}, 7),
        (
            {"profile": "lake"},
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:7", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:6"},
            6,
        ),
        ({"key": "AKIA", "secret": SECRET}, {"AWS_ENDPOINT_URL": "http://127.0.0.1:7"}, 7),
        ({"key": "AKIA", "secret": SECRET}, {}, 5),
        ({}, {}, 5),
    ],
)
def test_the_server_is_the_one_that_the_aws_libraries_would_ask(tmp_path, monkeypatch, options, environment, found):
    (tmp_path / "config").write_text(
        "[default]\nendpoint_url = http://127.0.0.1:5\n[profile lake]\nendpoint_url = http://127.0.0.1:9\n",
        encoding="utf-8",
    )
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    told = find_destination("s3://b/lake", options).delta_options
    assert told.get("aws_endpoint_url") == f"http://127.0.0.1:{found}"
    assert told["allow_http"] == "true"
    # Where no keys are given, delta-rs has to look for them into ~/.aws too.
    assert ("aws_force_credential_load" in told) is ("key" not in options)


@pytest.mark.parametrize("options", [{"profile": "lke"}, {"profile": "lke", "key": "AKIA", "secret": SECRET}])
def test_a_profile_that_is_not_there(options):
    with pytest.raises(PermissionError, match=r"the profile that profile=… .* names is not in .*'s3://b/lake'"):
        find_destination("s3://b/lake", options)


def test_a_service_account_file(tmp_path):
    (tmp_path / "account.json").write_text("{}", encoding="utf-8")
    token = str(tmp_path / "account.json")
    assert find_destination("gs://b/lake", {"token": token}).delta_options == {"google_service_account": token}


def test_local_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for url in ("lake", tmp_path / "lake", f"file://{tmp_path}/lake", f"local://{tmp_path}/lake/"):
        destination = find_destination(url, {})
        assert destination.url == str(tmp_path / "lake")
        assert destination.delta_url("records") == (tmp_path / "lake" / "records").as_uri()
    monkeypatch.setenv("USERPROFILE" if WINDOWS else "HOME", str(tmp_path))
    assert find_destination("~/lake", {}).url == str(tmp_path / "lake")


@pytest.mark.parametrize("url", ["file:///C:/lake", "local:///C:/lake/", "file://C:/lake", "C:/lake"])
def test_drives(url, monkeypatch):
    """On Windows a URL has a slash before the drive. (Here `C:` is a folder like any other.)"""
    monkeypatch.setattr("os.sep", "\\")
    assert find_destination(url, {}).url == str(Path("C:/lake").absolute())


def test_a_folder_that_is_called_like_a_drive():
    if not WINDOWS:
        assert find_destination("file:///C:/lake", {}).url == "/C:/lake"


@pytest.mark.parametrize(
    ("url", "options", "error", "why"),
    [
        ("memory://lake", {}, ValueError, "local disk, on S3"),
        ("https://bob:secret@example.com/lake", {}, ValueError, r"https://\*\*\*@example"),
        ("s3://b/lake", {"profle": "x"}, TypeError, "'profle' is no storage option"),
        ("lake", {"key": "x"}, TypeError, "'key' is no storage option that a lake on local"),
        ("gs://b/lake", {"token": "/no/such/file"}, TypeError, "service account"),
        ("az://c/lake", {"credential": object()}, TypeError, "account key as text"),
    ],
)
def test_what_delta_rs_cannot_be_told(url, options, error, why):
    with pytest.raises(error, match=why) as caught:
        find_destination(url, options)
    assert "bob:secret" not in str(caught.value)
