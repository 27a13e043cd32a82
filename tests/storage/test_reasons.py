"""Errors say why, in the storage's own words, and what no second try can mend is tried once."""

from __future__ import annotations

import errno
import logging
import os
import pickle
import ssl
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from fsspec.asyn import AsyncFileSystem

from kmexport import Bucket, BucketNotFoundError, BucketUnreachableError, EmptyListingError, Event, Revision, mirror
from kmexport.lake import open_lake, sync
from kmexport.storage.atomic import atomic_write
from kmexport.storage.faults import is_transient
from kmexport.testing import write_export
from tests.support.servers import serve
from tests.support.systems import NEEDS_FORK

ANA = Event("ana", 1349222400, "x")
ANSWERS = {  # status, code, the server's sentence, what the error says beside it
    "archived": (403, "InvalidObjectState", "The operation is not valid for the object's storage class", "restore it"),
    "expired": (400, "ExpiredToken", "The provided token has expired.", "get new credentials"),
    "clock": (403, "RequestTimeTooSkewed", "The difference between the times is too large.", "set the clock"),
    "kms": (403, "AccessDenied", "User is not authorized to perform: kms:Decrypt on this", "check the credentials"),
    "malformed": (400, "AuthorizationHeaderMalformed", "the region 'us-east-1' is wrong", "Pass the region"),
    "sse-c": (400, "InvalidRequest", "The object was stored using Server Side Encryption.", "The server was reached"),
}


@contextmanager
def answering(status: int, code: str, text: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f"<Error><Code>{code}</Code><Message>{text}</Message></Error>".encode()
            self.send_response(status, text)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815  # the base's name

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
            pass

    with serve(Handler) as url:
        yield url


def on_s3(url: str) -> Bucket:
    return Bucket("s3://b", key="AKIAMADEUP", secret="made-up", endpoint_url=url)


class TestTheStoragesOwnWords:
    @pytest.mark.parametrize("name", ANSWERS)
    def test_of_s3(self, name):
        status, code, text, advice = ANSWERS[name]
        with answering(status, code, text) as url:
            for ask in (
                on_s3(url).status,
                lambda: on_s3(url).folder.list("revisions"),
                lambda: list(on_s3(url).read([Revision(1, "revisions/1.json")])),
            ):
                with pytest.raises(OSError, match="b") as caught:
                    ask()
                assert f"{code}: {text}" in str(caught.value)
                assert advice in str(caught.value)
                assert "network" not in str(caught.value)
                assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)

    def test_of_s3_without_a_region(self):
        with answering(301, "PermanentRedirect", "use the endpoint") as url:
            for ask in (on_s3(url).status, lambda: on_s3(url).folder.list("revisions")):
                with pytest.raises(BucketUnreachableError, match="must be addressed at another endpoint"):
                    ask()

    def test_of_a_web_server(self):
        with (
            answering(402, "", "pay first") as url,
            pytest.raises(BucketUnreachableError, match="402 pay first") as caught,
        ):
            Bucket(f"{url}/shop").status()
        assert "The server was reached" in str(caught.value)
        with (
            answering(403, "", "members only") as url,
            pytest.raises(PermissionError, match="403 members only") as denied,
        ):
            Bucket(f"{url}/shop").status()
        assert "access is denied, reading status.csv" in str(denied.value)

    def test_but_no_secret(self):
        with answering(403, "AccessDenied", "the key made-up is wrong") as url:
            with pytest.raises(PermissionError, match="access is denied") as caught:
                on_s3(url).status()
            assert "made-up" not in str(caught.value)
        with answering(402, "", "pay first") as url:
            with pytest.raises(BucketUnreachableError) as caught:
                Bucket(url.replace("://", "://bob:pay@") + "/shop").status()
            assert "pay" not in str(caught.value)


class WholeOnly(AsyncFileSystem):
    """A server that does not know parts: it sends the whole of a file."""

    cachable = False

    async def _info(self, path, **options):
        return {"name": path, "size": 20 << 20, "type": "file"}

    async def _cat_file(self, path, start=None, end=None, **options):
        return b"x" * (20 << 20)


def test_a_server_that_knows_no_parts_is_told():
    bucket = Bucket("shop", fs=WholeOnly())
    with pytest.raises(BucketUnreachableError, match="the server does not know parts of files") as caught:
        list(bucket.read([Revision(1, "revisions/1.json", size=20 << 20)]))
    assert "network" not in str(caught.value) or "server does not know" in str(caught.value)


@pytest.fixture(scope="module")
def untrusted(tmp_path_factory):
    """A server with TLS whose certificate nobody has signed, and how often a client came."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(1))
        .not_valid_after(now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    private = serialization.PrivateFormat.PKCS8
    plain = serialization.NoEncryption()
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, private, plain)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    import socket

    came: list[object] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            try:
                client, address = listening.accept()
            except OSError:
                return
            came.append(address)
            with client, suppress(OSError):
                context.wrap_socket(client, server_side=True).close()

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{listening.getsockname()[1]}", came
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(5)


@pytest.mark.parametrize("kind", ["web", "s3"])
def test_a_certificate_that_nobody_trusts_is_tried_once(untrusted, kind):
    url, came = untrusted
    came.clear()
    bucket = Bucket(f"{url}/shop") if kind == "web" else on_s3(url)
    with pytest.raises(BucketUnreachableError, match=r"(?i)certificate.verify.failed") as caught:
        bucket.status()
    assert len(came) == 1, caught.value
    came.clear()
    with pytest.raises(BucketUnreachableError, match=r"(?i)certificate.verify.failed"):
        list(bucket.read([Revision(1, "revisions/1.json")]))
    assert len(came) <= 2  # s3fs asks for the size of the file first


class TestTheLocalDisk:
    @pytest.mark.parametrize("name", ["ENAMETOOLONG", "ELOOP", "EEXIST", "ENOSPC", "EROFS", "EFBIG"])
    def test_what_no_second_try_can_mend(self, name):
        assert not is_transient(OSError(getattr(errno, name), "it is so"))
        assert is_transient(OSError(errno.EIO, "a disk far away may be back soon"))

    def test_a_name_that_can_not_be(self, tmp_path, caplog):
        with pytest.raises(OSError, match="too long"):
            Bucket(tmp_path / ("x" * 300)).status()
        with pytest.raises(OSError, match="too long"):
            mirror(Bucket.sample(), tmp_path / ("x" * 300))
        assert not caplog.messages

    def test_a_file_where_the_copy_should_be(self, tmp_path, caplog):
        (tmp_path / "copy").touch()
        with pytest.raises(OSError, match="copy"):
            mirror(Bucket.sample(), tmp_path / "copy")
        assert not caplog.messages

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
    def test_a_disk_that_takes_nothing_is_said_at_once(self, tmp_path, monkeypatch, caplog, number):
        def fails(descriptor: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("kmexport.storage.atomic.os.fsync", fails)
        with pytest.raises(OSError, match=os.strerror(number)) as caught:
            mirror(Bucket.sample(), tmp_path / "copy")
        assert caught.value.errno == number
        assert "revisions/1.json" in Path(str(caught.value.filename)).as_posix()
        assert not caplog.messages
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]

    @NEEDS_FORK
    def test_a_limit_of_the_system_is_said_at_once(self, tmp_path):
        code = (
            "import resource, signal, sys\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
            "from kmexport import Bucket, mirror\n"
            "try:\n    mirror(Bucket.sample(), sys.argv[1])\n"
            "except OSError as error:\n    print(error)\n"
        )
        ran = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "copy")], capture_output=True, text=True, timeout=60, check=True
        )
        assert "File too large" in ran.stdout
        assert "revisions/1.json" in ran.stdout
        assert "try 1" not in ran.stderr

    @pytest.mark.skipif(os.name != "nt", reason="elsewhere a file that is read-only can be replaced")
    def test_a_read_only_file_that_can_not_be_replaced_leaves_nothing(self, tmp_path):
        (tmp_path / "kept.json").touch()
        (tmp_path / "kept.json").chmod(0o400)
        with pytest.raises(PermissionError), atomic_write(tmp_path / "kept.json") as file:
            file.write(b"new")
        assert [path.name for path in tmp_path.iterdir()] == ["kept.json"]


class TestNames:
    @pytest.mark.parametrize("other", ["json.bz2", "json.xz", "json.zst", "JSON", "json.zip"])
    def test_a_revision_in_another_form_is_named(self, tmp_path, caplog, other):
        write_export(tmp_path, {1: [ANA], 2: [ANA]})
        (tmp_path / "revisions/1.json").rename(tmp_path / f"revisions/1.{other}")
        with caplog.at_level(logging.WARNING, "kmexport"):
            assert list(Bucket(tmp_path).iter_records()) == [ANA]
        assert len(caplog.messages) == 1
        assert f"revisions/1.{other} is, and a name such as this is not read" in caplog.messages[0]
        (tmp_path / "revisions/2.json").rename(tmp_path / f"revisions/2.{other}")
        with pytest.raises(EmptyListingError, match=f"revisions/1.{other}, revisions/2.{other}") as caught:
            list(Bucket(tmp_path).iter_records())
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)

    def test_a_tar_file_packed_in_its_folder(self, tmp_path):
        write_export(tmp_path / "shop", {1: [ANA]})
        with tarfile.open(tmp_path / "shop.tar", "w") as archive:
            archive.add(tmp_path / "shop", ".")
        with pytest.raises(BucketNotFoundError, match=r"begin with \./, so write tar://\.::"):
            Bucket(f"tar://::{tmp_path / 'shop.tar'}").status()
        assert list(Bucket(f"tar://.::{tmp_path / 'shop.tar'}").iter_records()) == [ANA]

    def test_revision_0_is_read(self, tmp_path):
        bucket = write_export(tmp_path / "shop", {0: [ANA], 1: [ANA]})
        assert [revision.number for revision in bucket.revisions()] == [0, 1]
        assert len(list(bucket.iter_records())) == len(list(bucket.iter_records(after=0))) == 2
        assert len(list(bucket.iter_records(after=1))) == 0
        assert bucket.audit().is_clean
        assert mirror(bucket, tmp_path / "copy").revisions == [0, 1]
        for _ in range(2):
            sync(bucket, tmp_path / "lake")
        assert len(list(open_lake(tmp_path / "lake").iter_records())) == 2


class TestWhatKilledRunsLeave:
    def test_goes_a_day_later(self, tmp_path):
        mirror(Bucket.sample(), tmp_path)
        old = [
            tmp_path / "revisions/.kmexport-0123456789abcdef.part",
            tmp_path / ".kmexport-0123456789abcdef.part",
        ]
        kept = [
            tmp_path / "revisions/.kmexport-fedcba9876543210.part",
            tmp_path / "revisions/.kmexport-mine.part",
            tmp_path / "revisions/notes.part",
        ]
        for path in [*old, *kept]:
            path.touch()
        for path in [*old, *kept[1:]]:
            os.utime(path, (time.time() - 2 * 86_400,) * 2)
        mirror(Bucket.sample(), tmp_path)
        assert [path for path in [*old, *kept] if path.exists()] == kept


def test_a_rounded_time_says_so():
    from kmexport.revisions.manifest import parse_status, read_index

    index = read_index(b"1.json,1.34922E+09,1349222400\n2.json,1.349222401e9,1349222401\n")
    assert [revision.has_range for revision in index.revisions] == [False, True]
    assert "1.34922E+09 has lost its last digits" in str(index.odd_rows[0])
    with pytest.raises(ValueError, match="has lost its last digits"):
        parse_status(b"2,2,1.34922E+09,2012-10-03 00:00 GMT\n")
