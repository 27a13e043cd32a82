"""Any store: the same situations on each, on its own server; what fails is told soon, and without a secret."""

from __future__ import annotations

import gc
import logging
import os
import pickle
import shutil
import tarfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import fsspec
import pytest
from attrs import define, field
from fsspec.implementations.memory import MemoryFileSystem

from kmexport import (
    Alias,
    Bucket,
    BucketNotFoundError,
    Event,
    PropertySet,
    Record,
    RevisionNotFoundError,
    Window,
    mirror,
)
from kmexport.testing import write_export
from tests.support.proxies import Fault, proxied
from tests.support.remotes import BLIND, PASSWORD, USER, DavServer, FtpServer, SftpServer, running, serve_azure
from tests.support.servers import S3Server, serve_http

# The clients for FTP and SSH leave sockets to chance when a connection breaks.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning",
    "ignore:Sending a large body:ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
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

    def bucket(self, name: str = "shop", **changes: Any) -> Bucket:
        return Bucket(self.url.format(name), **{**self.options, **changes})


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


def over_ssh(root: Path, name: str, kind: type, options: dict[str, Any]) -> Iterator[Store]:
    folder = at_root(root, name)
    known = dict(fsspec.registry)
    fsspec.register_implementation("sftp", kind, clobber=True)  # both claim this word
    try:
        with running(SftpServer(folder)) as server:
            options = {"username": USER, "password": PASSWORD, **options}
            yield Store(
                name, folder, f"sftp://127.0.0.1:{server.port}/{{}}", options, server,
                wrong={"password": "another-word"}, blind={"username": BLIND},
            )  # fmt: skip
    finally:
        collect_quietly()
        if "sftp" in known:
            fsspec.register_implementation("sftp", known["sftp"], clobber=True)
        else:
            from fsspec.registry import _registry

            _registry.pop("sftp", None)


def on_webdav(root: Path, ask: Any) -> Iterator[Store]:
    folder = at_root(root, "webdav")
    with running(DavServer(folder)) as server:
        options = {"base_url": f"http://127.0.0.1:{server.port}", "auth": (USER, PASSWORD)}
        yield Store("webdav", folder, "webdav://{}", options, server, wrong={"auth": (USER, "another-word")})


def on_s3(root: Path, ask: Any) -> Iterator[Store]:
    rclone: S3Server = ask("rclone")
    assert rclone.folder is not None
    folder = at_root(rclone.folder, "any-store")
    yield Store("s3", folder, "s3://any-store/{}", rclone.options, wrong={"secret": "another-word"})
    shutil.rmtree(folder)


def on_the_web(root: Path, ask: Any) -> Iterator[Store]:
    folder = at_root(root, "web")
    with serve_http(folder) as url:
        yield Store("web", folder, f"{url}/{{}}", can_write=False)


def on_the_disk(root: Path, ask: Any) -> Iterator[Store]:
    folder = at_root(root, "disk")
    yield Store("local", folder, f"{folder}/{{}}")


def in_memory(root: Path, ask: Any) -> Iterator[Store]:
    yield Store("memory", None, "memory://any-store/{}", writer=MemoryFileSystem(), place="/any-store")


def on_azure(root: Path, ask: Any) -> Iterator[Store]:
    adlfs = pytest.importorskip("adlfs", reason="adlfs is not installed: see `nox -s stores`")
    program = os.environ.get("KMEXPORT_AZURITE") or shutil.which("azurite-blob")
    if program is None:
        pytest.skip("Azurite is not here: npm install azurite")
    with serve_azure(program, root) as options:
        writer = adlfs.AzureBlobFileSystem(**options, skip_instance_cache=True)
        writer.mkdir("any-store")
        wrong = {"connection_string": options["connection_string"].replace("AccountKey=E", "AccountKey=A")}
        yield Store("azure", None, "abfs://any-store/{}", options, wrong=wrong, writer=writer, place="any-store")


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
    "azure": on_azure,
}
CONNECTED = {"ftp", "sftp", "sshfs"}  # they hold one connection


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    for store in STORES[request.param](tmp_path, request.getfixturevalue):
        if store.folder is None:
            write_export(f"{store.place}/shop", LINES, fs=store.writer)
        else:
            write_export(store.folder / "shop", LINES)
        if store.name == "zip":
            shutil.make_archive(str(store.folder / "packed"), "zip", store.folder, "shop")  # type: ignore[operator]
        if store.name == "tar":
            with tarfile.open(store.folder / "packed.tar", "w") as archive:  # type: ignore[operator]
                archive.add(store.folder / "shop", "shop")  # type: ignore[operator]
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
        needs(is_there=store.wrong, why="nobody logs in there")
        bucket = store.bucket(**store.wrong)
        for ask in (bucket.status, bucket.revisions, lambda: list(bucket.read([1])), bucket.identities):
            with pytest.raises(PermissionError, match="access is denied"):
                in_time(ask)
        assert not tries(caplog)

    def test_denied(self, store, caplog):
        needs(is_there=store.blind, why="there is nobody who may log in and read nothing")
        bucket = store.bucket(**store.blind)
        for ask in (bucket.status, bucket.index, partial(bucket.folder.list, "revisions")):
            with pytest.raises(PermissionError, match="access is denied"):
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
        if store.folder is None:
            store.writer.rm_file(f"{store.place}/shop/revisions/2.json")
        else:
            (store.folder / "shop/revisions/2.json").unlink()
        with pytest.raises(RevisionNotFoundError):
            in_time(lambda: list(bucket.read(listed)))
        rest = in_time(lambda: list(bucket.read(listed, on_error="skip")))
        assert rest == [*LINES[1], *LINES[3], *LINES[4]]
        assert not tries(caplog)

    def test_a_connection_cut_in_the_middle_of_a_file(self, store, caplog):
        needs(is_there=store.name in CONNECTED | {"webdav", "web", "s3"}, why="there is no connection")
        if store.name in CONNECTED:
            store.server.cuts[:] = [500_000, 500_000]
            assert everything(store.bucket()) == EVERY
            assert store.server.cuts == []
        else:
            faults = iter([Fault("reset", 0.5), Fault("short", 0.7)])

            def plan(method: str, path: str) -> Fault | None:
                return next(faults, None) if method == "GET" and path.endswith("/3.json") else None

            with proxied(upstream_of(store), plan=plan) as proxy:
                assert everything(behind(store, proxy.endpoint)) == EVERY
                assert proxy.faults.total() == 2
        assert tries(caplog)

    def test_a_server_restarted(self, store):
        needs(is_there=store.server, why="there is no server of its own")
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

    def test_no_secret_is_told(self, store, caplog):
        needs(is_there=store.wrong, why="there is no secret")
        caplog.set_level(logging.DEBUG)
        told = []
        cases: list[Callable[[], object]] = [
            store.bucket(**store.wrong).status,
            store.bucket("nowhere").status,
            lambda: list(store.bucket().read([9])),
            store.bucket().status,
        ]
        if store.blind is not None:
            cases.append(store.bucket(**store.blind).status)
        if store.server is not None:
            store.server.stop()
            cases.append(store.bucket().status)
        for case in cases:
            try:
                in_time(case)
            except Exception as error:  # noqa: BLE001  # whatever it is, it tells nothing
                told += [*traceback.format_exception(error), repr(error), repr(pickle.loads(pickle.dumps(error)))]
                told.append(pickle.dumps(error).decode("latin-1"))
        if store.server is not None:
            store.server.start()
        ours = [record.getMessage() for record in caplog.records if record.name.startswith("kmexport")]
        secrets = [str(word) for word in ("another-word", PASSWORD, store.options.get("secret")) if word]
        assert told
        for text in [*told, *ours, repr(store.bucket())]:
            assert not [secret for secret in secrets if secret in text], text


def tries(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if " try " in record.getMessage()]


def upstream_of(store: Store) -> str:
    if store.name == "web":
        return store.url.removesuffix("/{}")
    return str(store.options["base_url" if store.name == "webdav" else "endpoint_url"])


def behind(store: Store, endpoint: str) -> Bucket:
    if store.name == "web":
        return Bucket(f"{endpoint}/shop")
    return store.bucket(**{"base_url" if store.name == "webdav" else "endpoint_url": endpoint})
