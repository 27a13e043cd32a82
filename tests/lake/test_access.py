"""How a lake is reached: keys that are renewed, a private CA, words for options; and why it can't be reached."""

from __future__ import annotations

import http.client
import logging
import os
import pickle
import random
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest

from kmexport import Bucket, BucketUnreachableError, Facts, KmExportError, LakeNotFoundError, mirror
from kmexport.lake import compact, open_lake, sync, vacuum
from kmexport.lake.folder import LakeFolder
from kmexport.lake.storage import find_destination
from kmexport.testing import write_export
from tests.lake.test_lake import plain
from tests.support.proxies import Fault, proxied
from tests.support.servers import S3Server

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("lake-faults")]
SECONDS = 3  # for which a key is good


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)


@pytest.fixture
def place(moto: S3Server) -> str:
    name = f"access-{random.randrange(10**9)}"
    fsspec.filesystem("s3", **moto.options).mkdir(name)
    return name


def check_everything_works(lake: str, **options: Any) -> None:
    bucket = Bucket.sample()
    assert sync(bucket, lake, bytes_a_commit=60_000, **options).records == 2_000
    assert sync(bucket, lake, **options).present == 12
    assert len(list(open_lake(lake, **options).iter_records())) == 2_000
    with Facts(open_lake(lake, **options)) as facts:
        assert facts.sql("select count(*) from records").fetchall() == [(2_000,)]
    compact(lake, **options)
    vacuum(lake, keep_hours=0, **options)
    assert len(open_lake(lake, **options).revisions) == 12


class Ageing(BaseHTTPRequestHandler):
    """Hands requests on to a server, but not those whose key, named by when it was made, is too old."""

    protocol_version = "HTTP/1.1"
    upstream = ""
    refused: list[float]

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        found = re.search(r"Credential=AKIA(\d+)/", self.headers.get("Authorization", ""))
        age = time.time() - int(found[1]) / 10 if found else 0.0
        if self.command == "PUT":
            time.sleep(0.2)  # a slow night
        if age > SECONDS:
            self.refused.append(age)
            self.answer(400, {}, b"<Error><Code>ExpiredToken</Code></Error>")
            return
        there = http.client.HTTPConnection(self.upstream)
        there.request(self.command, self.path, body, dict(self.headers.items()))
        response = there.getresponse()
        self.answer(response.status, dict(response.getheaders()), response.read())
        there.close()

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        length = headers.get("Content-Length") if self.command == "HEAD" else str(len(body))
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_PUT = do_POST = do_HEAD = do_DELETE = do_GET  # noqa: N815  # the names that the server calls


def test_keys_of_a_profile_are_renewed_in_a_long_run(moto, place, tmp_path, monkeypatch):
    script = tmp_path / "keys.py"
    script.write_text(
        "import json, time\n"
        f"end = time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(time.time() + {SECONDS}))\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': 'AKIA%d' % (time.time() * 10), 'SecretAccessKey': 'made-up',"
        " 'SessionToken': 'made-up', 'Expiration': end}))\n",
        encoding="utf-8",
    )
    config = tmp_path / "config"
    config.write_text(
        f"[profile lake]\nregion=us-east-1\ncredential_process={sys.executable} {script}\n", encoding="utf-8"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    refused: list[float] = []
    handler = type("Handler", (Ageing,), {"upstream": moto.endpoint.removeprefix("http://"), "refused": refused})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            begun = time.monotonic()
            options = {"profile": "lake", "endpoint_url": f"http://127.0.0.1:{server.server_port}"}
            check_everything_works(f"s3://{place}/lake", **options)
            assert time.monotonic() - begun > SECONDS, "a key would have been good all the time"
        finally:
            server.shutdown()
    assert refused == []


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a private CA, ca.pem, and a certificate of it for localhost."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl, which makes certificates")
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "names").write_text("subjectAltName=DNS:localhost\n", encoding="utf-8")
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 3 -subj /CN=TestCA",
        "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 3 -extfile names",
    ):
        subprocess.run(["openssl", *command.split()], check=True, capture_output=True, cwd=folder)
    return folder


@contextmanager
def behind_tls(certificates: Path, host: str, port: int) -> Iterator[str]:
    """The address of a relay to a server, with a certificate of the private CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")

    def pump(one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while content := one.recv(65536):
                other.sendall(content)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def relay(client: socket.socket) -> None:
        try:
            client = context.wrap_socket(client, server_side=True)
        except OSError:
            client.close()
            return
        there = socket.create_connection((host, port))
        threading.Thread(target=pump, args=(client, there), daemon=True).start()
        pump(there, client)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=relay, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"https://localhost:{listener.getsockname()[1]}"


@pytest.mark.parametrize("way", ["AWS_CA_BUNDLE", "verify"])
def test_a_private_ca(moto, place, certificates, monkeypatch, way):
    host, _, port = moto.endpoint.removeprefix("http://").partition(":")
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", "of-another.pem")
    ca_file = str(certificates / "ca.pem")
    with behind_tls(certificates, host, int(port)) as endpoint:
        options: dict[str, Any] = {**moto.options, "endpoint_url": endpoint}
        with pytest.raises(BucketUnreachableError):
            open_lake(f"s3://{place}/lake", **options)
        fsspec.get_filesystem_class("s3").clear_instance_cache()  # the client of one would be used again
        if way == "verify":
            options["client_kwargs"] = {"verify": ca_file}
        else:
            monkeypatch.setenv("AWS_CA_BUNDLE", ca_file)
        # One request after another: OpenSSL lets nobody read and write a connection of the relay at the same time.
        assert sync(Bucket.sample(), f"s3://{place}/lake", **options).records == 2_000
        assert len(open_lake(f"s3://{place}/lake", **options).revisions) == 12
    assert os.environ["SSL_CERT_FILE"] == "of-another.pem"


def test_object_stores_own_words_alone(moto, place):
    options = {
        "aws_access_key_id": moto.key,
        "aws_secret_access_key": moto.secret,
        "aws_endpoint_url": moto.endpoint,
        "aws_region": "us-east-1",
    }
    check_everything_works(f"s3://{place}/lake", **options)


def test_the_configuration_of_fsspec_alone(moto, place, monkeypatch):
    monkeypatch.setitem(fsspec.config.conf, "s3", moto.options)
    check_everything_works(f"s3://{place}/lake")


def test_why_a_table_could_not_be_made(moto, place, tmp_path):
    bucket = write_export(tmp_path / "export", {1: plain(1)})
    with pytest.raises(LakeNotFoundError, match=r"there is no such bucket: make it first, or mend its name\.$"):
        sync(bucket, "s3://no-such-bucket-here/lake", **moto.options)
    with pytest.raises(BucketUnreachableError, match=r"no such bucket\)\. Make it first, or mend its name\.$"):
        mirror(bucket, "s3://no-such-bucket-here/copy", **moto.options)

    def denied(method: str, path: str) -> Fault | None:
        return Fault("403") if method == "PUT" else None

    with proxied(moto.endpoint, plan=denied) as proxy:
        options = {**moto.options, "endpoint_url": proxy.endpoint}
        told = r"access is denied, creating the table rejects failed \([^<]*403[^<]*\); check the credentials and their"
        with pytest.raises(PermissionError, match=told) as caught:
            sync(bucket, f"s3://{place}/lake", **options)
    for error in (caught.value, caught.value.__cause__, caught.value.__context__):
        assert moto.secret not in repr(error)
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args


def test_a_server_without_parts_is_told_on_the_first_night(rclone):
    """rclone sends the part with status 200. Before, the job ran well until the first checkpoint."""
    assert rclone.folder is not None
    name = f"parts-{random.randrange(10**9)}"
    (rclone.folder / name).mkdir()
    for _ in range(3):
        with pytest.raises(BucketUnreachableError, match=r"status 206, as S3 does.*another server"):
            sync(Bucket.sample(), f"s3://{name}/lake", **rclone.options)


def test_words_of_an_error_show_no_secret(tmp_path):
    """A name of an account is a secret to us, and stands in each error of Azure: the rest of the text is shown."""
    options = {"account_name": "acmeaccount", "account_key": "a-secret/that+nobody=sees"}
    folder = LakeFolder(find_destination("az://lake/acme", options))
    for text, kind, word in (
        ("ContainerNotFound at https://acmeaccount.blob.core.windows.net/lake", LakeNotFoundError, "ContainerNotFound"),
        ("403 Forbidden: AuthorizationPermissionMismatch ?sv=1&sig=abc%3D)", PermissionError, "Mismatch"),
        (
            '403 ↳ <?xml version="1.0"?> <Error><Code>AccessDenied</Code><Message>No</Message><Id>7</Id></Error>',
            PermissionError,
            r"\(403 ↳ AccessDenied: No\); check the credentials",
        ),
        ("Account must be specified for a-secret%2Fthat%2Bnobody%3Dsees", BucketUnreachableError, "must be specified"),
        ("Generic S3 error: Received non-partial response when range requested", BucketUnreachableError, "status 206"),
    ):
        with pytest.raises((KmExportError, OSError), match=word) as caught, folder.delta("creating the table rejects"):
            raise OSError(text)
        assert type(caught.value) is kind
        for secret in ("acmeaccount", "a-secret", "abc"):
            assert secret not in f"{caught.value} {caught.value!r} {caught.value.__cause__} {caught.value.__context__}"


@pytest.mark.parametrize(("number", "kind"), [(2, FileNotFoundError), (112, OSError), (5, PermissionError)])
def test_numbers_of_windows(tmp_path, monkeypatch, number, kind):
    """There "os error 112" is Win32's word for a full disk; elsewhere it would be another error."""
    texts = {2: "The system cannot find the file specified.", 112: "There is not enough space.", 5: "Access is denied."}
    made: list[tuple[Any, ...]] = []

    def os_error(*arguments: Any) -> OSError:
        made.append(arguments)
        return kind(*arguments)

    folder = LakeFolder(find_destination(tmp_path / "lake", {}))
    monkeypatch.setattr("ctypes.FormatError", texts.get, raising=False)
    monkeypatch.setattr("kmexport.lake.folder._ON_WINDOWS", True)
    monkeypatch.setattr("kmexport.lake.folder.OSError", os_error, raising=False)
    error = folder._translation(ValueError(f"it failed (os error {number})"), "writing", [], is_safe=True)
    assert isinstance(error, kind)
    assert made == [(0, f"{texts[number]}, writing", str(tmp_path / "lake"), number)]
