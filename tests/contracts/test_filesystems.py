"""One behaviour on every filesystem: the same tests over folders, archives, web servers and S3 servers."""

from __future__ import annotations

import gzip
import logging
import pickle
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from fsspec import AbstractFileSystem
from fsspec.callbacks import Callback
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from kmexport import (
    Alias,
    Bucket,
    BucketNotFoundError,
    BucketUnreachableError,
    EmptyListingError,
    Event,
    MalformedRecordError,
    PropertySet,
    Record,
    RevisionChangedError,
    RevisionNotFoundError,
    Window,
)
from kmexport.testing import write_export
from tests.support.limited import limited
from tests.support.servers import S3Server, free_port, serve_http_from
from tests.support.systems import make_link

ANA = Event("ana", 1349222400, "signed up", {"city": "Paraná", "amount": 19.9})
BOB = PropertySet("bob", 1349222410, {"plan": "gold"})
LINK = Alias("ana", 1349222420, "qFq2LweZugFNE4o49hLhmRPBW34=")
EVE = Event("eve", 1349222430, "visited site")


@define
class Place:
    """A place where an export can lie: how files get there (`writer`, `folder`), and how a Bucket finds it."""

    writer: AbstractFileSystem
    folder: str
    url: Any
    options: dict[str, Any] = field(factory=dict)

    def bucket(self) -> Bucket:
        return Bucket(self.url, **self.options)

    def write(self, revisions: dict[int, list[Record | bytes]], **defects: Any) -> Bucket:
        write_export(self.folder, revisions, fs=self.writer, **defects)
        return self.bucket()

    def put(self, name: str, content: bytes) -> None:
        self.writer.makedirs(f"{self.folder}/{name}".rpartition("/")[0], exist_ok=True)
        self.writer.pipe_file(f"{self.folder}/{name}", content)

    def take(self, name: str) -> bytes:
        content: bytes = self.writer.cat_file(f"{self.folder}/{name}")
        return content

    def remove(self, name: str) -> None:
        self.writer.rm_file(f"{self.folder}/{name}")


class Archive(Place):
    """A zip file of the folder, packed whenever a Bucket is made: what is packed does not change any more."""

    def bucket(self) -> Bucket:
        folder = Path(self.folder)
        archive = folder.with_suffix(".zip")
        if folder.is_dir():
            with zipfile.ZipFile(archive, "w") as packed:
                for path in sorted(folder.rglob("*")):
                    packed.write(path, path.relative_to(folder))
        return Bucket(f"zip://::{archive}")


NUMBERS = count(1)


def on_disk(folder: Path, url: Any, **options: Any) -> Place:
    return Place(LocalFileSystem(skip_instance_cache=True), str(folder), url, options)


def relative(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(folder.parent)
    return on_disk(folder, folder.name)


def in_memory(name: str) -> Place:
    return Place(MemoryFileSystem(), f"/{name}/shop", f"memory://{name}/shop")


def on_the_web(name: str, web: tuple[str, Path]) -> Place:
    url, folder = web
    return on_disk(folder / name, f"{url}/{name}")


def on_rclone(name: str, server: S3Server, prefix: str = "", chain: str = "", **options: Any) -> Place:
    """Its files are written on the disk that rclone serves: S3 itself is only read."""
    assert server.folder is not None
    settings = {"s3": server.options, **options} if chain else {**server.options, **options}
    return on_disk(server.folder / f"{name}{prefix}", f"{chain}s3://{name}{prefix}", **settings)


def on_moto(name: str, server: S3Server) -> Place:
    return Place(writer_on(server), name, f"s3://{name}", server.options)


@cache  # a new client takes a third of a second
def writer_on(server: S3Server) -> AbstractFileSystem:
    return S3(**server.options, use_listings_cache=False, skip_instance_cache=True)


def S3(**options: Any) -> AbstractFileSystem:  # noqa: N802  # reads as the class it stands for
    from s3fs import S3FileSystem

    return S3FileSystem(**options)


PLACES: dict[str, Callable[[str, Path, Any], Place]] = {
    "local path": lambda name, tmp, ask: on_disk(tmp / name, str(tmp / name)),
    "local pathlib": lambda name, tmp, ask: on_disk(tmp / name, tmp / name),
    "local file://": lambda name, tmp, ask: on_disk(tmp / name, f"file://{tmp / name}"),
    "relative path": lambda name, tmp, ask: relative(tmp / name, ask("monkeypatch")),
    "trailing slash": lambda name, tmp, ask: on_disk(tmp / name, f"{tmp / name}/"),
    "fs= local": lambda name, tmp, ask: on_disk(tmp / name, str(tmp / name), fs=LocalFileSystem()),
    "fs= folder": lambda name, tmp, ask: on_disk(tmp / name, "", fs=DirFileSystem(str(tmp / name), LocalFileSystem())),
    "memory": lambda name, tmp, ask: in_memory(name),
    "zip": lambda name, tmp, ask: Archive(LocalFileSystem(), str(tmp / name), None),
    "http": lambda name, tmp, ask: on_the_web(name, ask("web")),
    "s3 prefix": lambda name, tmp, ask: on_rclone(name, ask("rclone"), prefix="/exports/shop 1"),
    "s3 fs=": lambda name, tmp, ask: on_disk(
        ask("rclone").folder / name, name, fs=S3(**ask("rclone").options, skip_instance_cache=True)
    ),
    "s3 simplecache": lambda name, tmp, ask: on_rclone(
        name, ask("rclone"), chain="simplecache::", simplecache={"cache_storage": str(tmp / "cache")}
    ),
    "s3 moto": lambda name, tmp, ask: on_moto(name, ask("moto")),
}
UNLISTED = {"http"}  # there the index is the listing
NOT_LIVE = {"zip": "what is packed in an archive does not change"}
KNOWS_SIZES = set(PLACES) - UNLISTED
S3_ITSELF = {"s3 prefix", "s3 fs=", "s3 moto"}  # a file there can't grow: its next version comes in one piece


# Other spellings of addresses whose filesystem has a place of its own above.
SLOW = {"local pathlib", "trailing slash", "fs= local", "s3 prefix", "s3 simplecache"}


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in PLACES])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def place(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return PLACES[kind](f"acme-{next(NUMBERS)}", tmp_path, request.getfixturevalue)


@pytest.fixture
def listed(kind: str, request: pytest.FixtureRequest) -> Place:
    """A place whose folders can be listed."""
    if kind in UNLISTED:
        pytest.skip("a web server has no listing")
    place: Place = request.getfixturevalue("place")
    return place


@pytest.fixture
def live(kind: str, request: pytest.FixtureRequest) -> Place:
    """A place whose files may come and go while a Bucket is open."""
    if kind in NOT_LIVE:
        pytest.skip(NOT_LIVE[kind])
    place: Place = request.getfixturevalue("place")
    return place


def numbers(bucket: Bucket, **selection: Any) -> list[int]:
    return [revision.number for revision in bucket.revisions(**selection)]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "kmexport" and record.levelno >= 30]


class TestEveryFilesystem:
    def test_status_and_index(self, place):
        bucket = place.write({2: [ANA, BOB], 1: [EVE]}, pending=3)
        status = bucket.status()
        assert (status.total_revisions, status.exported_revisions) == (5, 2)
        assert [(row.number, row.path, row.min_timestamp, row.max_timestamp) for row in bucket.index()] == [
            (1, "revisions/1.json", 1349222702, 1349222702),
            (2, "revisions/2.json", 1349222403, 1349222703),
        ]

    @pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
    def test_every_record_in_the_order_of_the_revision_numbers(self, place, packed, kind):
        revisions = {10: [ANA, LINK], 9: [EVE, b"", BOB], 100: [], 22770: [EVE]}
        bucket = place.write(revisions, gzipped=revisions if packed else ())
        if packed and kind in UNLISTED:
            place.put("index.csv", place.take("index.csv").replace(b".json", b".json.gz"))
        assert [revision.path for revision in bucket.revisions()] == [
            f"revisions/{number}.json{'.gz' if packed else ''}" for number in (9, 10, 100, 22770)
        ]
        assert list(bucket.iter_records()) == [EVE, BOB, ANA, LINK, EVE]
        assert list(bucket.iter_records(kinds=Event, names="Visited Site")) == [EVE, EVE]
        assert list(bucket.iter_records(after=10)) == [EVE]
        assert bucket.identities().identities_of("ana") == {"ana", LINK.alias}

    def test_a_window_over_octal_files(self, place):
        revisions = {n: [Event(f"p{n}", n * 80_000, "x", {"city": "Paraná"})] for n in range(1, 8)}
        bucket = place.write(revisions, octal=revisions)
        window = Window(240_000, 320_001)
        assert numbers(bucket, window=window) == [3, 4, 5]
        assert list(bucket.iter_records(window)) == [*revisions[3], *revisions[4]]

    def test_files_of_several_blocks(self, place):
        # Larger than a block of every filesystem here (s3fs and fsspec's http: 5 MiB), so that ranges are asked for.
        line = b'{"_n":"x","_p":"bob","_t":%d,"filler":"' + b"." * 100_000 + b'"}'
        bucket = place.write({1: [line % second for second in range(60)]})
        assert [record.timestamp for record in bucket.iter_records()] == list(range(60))

    def test_files_that_the_index_lacks_are_read_and_rows_without_a_file_are_left_out(self, listed):
        bucket = listed.write({1: [ANA], 2: [BOB], 3: [EVE]}, gone=[1], unindexed=[3])
        assert [(found.number, found.min_timestamp) for found in bucket.revisions()] == [(2, 1349222703), (3, None)]
        assert list(bucket.iter_records()) == [BOB, EVE]
        assert [found.number for found in bucket.revisions(Window(0, 1))] == [3]

    def test_an_export_without_revisions(self, place):
        bucket = place.write({})
        assert bucket.revisions() == []
        assert list(bucket.iter_records()) == []

    def test_a_listing_without_any_file_of_the_index_is_an_error(self, listed):
        bucket = listed.write({1: [ANA], 2: [BOB]}, gone=[1, 2])
        for ask in (bucket.revisions, bucket.identities, partial(list, bucket.iter_records(on_error="skip"))):
            with pytest.raises(
                EmptyListingError, match="the index names 2 revisions, and none of them is in"
            ) as caught:
                ask()
            assert caught.value.named == 2
        assert bucket.revisions(after=2) == []
        assert len(bucket.audit().missing) == 2

    def test_a_bucket_that_does_not_exist(self, place):
        bucket = place.bucket()
        for ask in (bucket.status, bucket.index, bucket.revisions, bucket.identities, bucket.audit):
            with pytest.raises(BucketNotFoundError, match=r"there is no (\w+\.csv|such bucket)( in .+)?\. An export"):
                ask()
        with pytest.raises(FileNotFoundError):
            next(bucket.iter_records())

    @pytest.mark.parametrize("manifest", ["status.csv", "index.csv"])
    def test_a_missing_manifest(self, place, manifest):
        place.write({1: [ANA]})
        place.remove(manifest)
        bucket = place.bucket()
        with pytest.raises(BucketNotFoundError, match=f"there is no {manifest}") as caught:
            bucket.audit()
        assert isinstance(caught.value, FileNotFoundError)

    def test_what_arrives_after_the_first_listing_is_seen_by_the_next_call(self, live, kind):
        bucket = live.write({1: [ANA]})
        assert (numbers(bucket), len(bucket.index()), bucket.status().exported_revisions) == ([1], 1, 1)
        if kind not in UNLISTED:
            live.put("revisions/2.json", b'{"_p":"bob","plan":"gold","_t":1349222410}\n')
            assert list(bucket.iter_records()) == [ANA, BOB]
            assert numbers(bucket) == [1, 2]
        live.write({1: [ANA], 2: [BOB], 3: [EVE]})
        assert (numbers(bucket), len(bucket.index()), bucket.status().exported_revisions) == ([1, 2, 3], 3, 3)
        if kind in UNLISTED:
            return
        live.remove("revisions/2.json")
        assert numbers(bucket) == [1, 3]
        assert list(bucket.iter_records()) == [ANA, EVE]

    def test_odd_files_are_not_read(self, listed):
        listed.write({12: [ANA]})
        odd = [".DS_Store", "12.json.tmp", "13.json.tmp", "14.JSON", "x15.json", "-16.json", "17.json.gz.part"]
        for name in [*odd, "notes.txt", "old/18.json", "19.json/1.json"]:
            listed.put(f"revisions/{name}", b"not a record")
        bucket = listed.bucket()
        assert numbers(bucket) == [12]
        assert list(bucket.iter_records()) == [ANA]
        assert set(odd) <= {path.removeprefix("revisions/") for path in bucket.audit().unknown}

    def test_a_revision_that_is_there_twice_is_read_once(self, listed, caplog):
        listed.write({1: [ANA], 2: [EVE]}, gzipped=[1])
        listed.put("revisions/1.json", b'{"_p":"bob","plan":"gold","_t":1349222410}\n')
        assert list(listed.bucket().iter_records()) == [BOB, EVE]
        assert warnings(caplog) == ["revisions/1.json.gz: not read, for another file is the same revision"]

    def test_a_gzip_file_that_is_cut_off(self, listed, caplog):
        listed.write({1: [ANA, *[EVE] * 1000], 2: [BOB]}, gzipped=[1])
        packed = listed.take("revisions/1.json.gz")
        listed.put("revisions/1.json.gz", packed[: len(packed) // 2])
        bucket = listed.bucket()
        with pytest.raises(MalformedRecordError, match=r"^revisions/1\.json\.gz, line \d+: the gzip stream is broken"):
            list(bucket.iter_records())
        records = list(bucket.iter_records(on_error="skip"))
        assert records[-1] == BOB
        assert [warning.partition(":")[0] for warning in warnings(caplog)] == ["revisions/1.json.gz"]

    def test_a_file_that_goes_between_listing_and_reading(self, live, caplog):
        bucket = live.write({1: [ANA], 2: [BOB], 3: [EVE]})
        records = limited(bucket, prefetch_bytes=0).iter_records()
        assert next(records) == ANA
        live.remove("revisions/2.json")
        with pytest.raises(RevisionNotFoundError, match=r"^revisions/2\.json: the file is gone"):
            next(records)

        live.put("revisions/2.json", live.take("revisions/1.json"))
        progress = Callback()
        records = limited(bucket, prefetch_bytes=0).iter_records(on_error="skip", callback=progress)
        assert next(records) == ANA
        live.remove("revisions/2.json")
        assert list(records) == [EVE]
        assert progress.size in (None, progress.value)
        assert warnings(caplog) == ["revisions/2.json: the file is gone; it was left out"]

    def test_a_file_that_grows_is_read_to_the_size_first_seen_and_a_new_version_to_its_end(self, live, kind):
        bucket = live.write({1: [ANA], 2: [BOB] * 1000})
        records = limited(bucket, prefetch_bytes=0).iter_records()
        assert next(records) == ANA
        live.put("revisions/2.json", live.take("revisions/2.json") * 2)
        assert list(records) == [BOB] * (1000 if kind in KNOWS_SIZES - S3_ITSELF else 2000)
        assert list(bucket.iter_records()) == [ANA, *[BOB] * 2000]

    def test_a_file_that_shrinks_is_never_fewer_records(self, live, kind):
        bucket = live.write({1: [ANA], 2: [BOB] * 1000})
        records = limited(bucket, prefetch_bytes=0).iter_records(on_error="skip")
        assert next(records) == ANA
        live.put("revisions/2.json", live.take("revisions/1.json"))
        if kind == "s3 simplecache":
            with pytest.raises(BucketUnreachableError, match=r"revisions/2\.json failed .*bytes came where"):
                list(records)
        elif kind in KNOWS_SIZES:
            with pytest.raises(RevisionChangedError, match=r"^revisions/2\.json: .*it had [0-9,]+ bytes and has"):
                list(records)
        else:
            assert list(records) == [ANA]

    def test_an_unpickled_bucket(self, place):
        bucket = place.write({1: [ANA], 2: [BOB]})
        assert list(pickle.loads(pickle.dumps(bucket)).iter_records()) == [ANA, BOB]
        copy = pickle.loads(pickle.dumps(bucket))
        assert (repr(copy), copy.index()) == (repr(bucket), bucket.index())

    def test_many_readers_at_once(self, place):
        bucket = place.write({n: [ANA] * 500 + [Event("bob", n, "x")] * 500 for n in range(1, 4)})
        expected = list(bucket.iter_records())
        together = zip(bucket.iter_records(), bucket.iter_records(), strict=True)
        assert all(one == other for one, other in together)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: list(bucket.iter_records()), range(8), timeout=60))
        assert found == [expected] * 8

    def test_progress_by_bytes(self, place, kind):
        bucket = place.write({1: [ANA] * 2000, 2: [BOB], 3: [EVE] * 5}, gzipped=[3] if kind not in UNLISTED else ())
        paths = [revision.path for revision in bucket.revisions()]
        total = sum(len(place.take(path)) for path in paths)
        progress = Callback()
        assert sum(1 for _ in bucket.iter_records(callback=progress)) == 2006
        assert (progress.size, progress.value) == (total if kind in KNOWS_SIZES else None, total)


class TestS3:
    def test_more_revisions_than_one_page_of_a_listing(self, rclone):
        place = on_rclone(f"acme-{next(NUMBERS)}", rclone)
        every = range(1, 1006)
        bucket = place.write({n: [Event("bob", n, "x")] for n in every}, unindexed=every)
        assert numbers(bucket) == list(every)
        assert [event.timestamp for event in bucket.iter_records(after=998)] == list(range(999, 1006))

    def test_an_unpickled_bucket_works_in_another_process(self, rclone):
        place = on_rclone(f"acme-{next(NUMBERS)}", rclone)
        bucket = place.write({1: [ANA], 2: [BOB]})
        assert bucket.status().exported_revisions == 2
        code = "import pickle, sys; print(sum(1 for _ in pickle.load(sys.stdin.buffer).iter_records()))"
        ran = subprocess.run(
            [sys.executable, "-c", code], input=pickle.dumps(bucket), capture_output=True, timeout=60, check=True
        )
        assert ran.stdout.split() == [b"2"]

    def test_the_marker_of_a_folder_is_no_revision(self, moto):
        place = on_moto(f"acme-{next(NUMBERS)}", moto)
        bucket = place.write({1: [ANA]})
        place.put("revisions/", b"")
        assert list(bucket.iter_records()) == [ANA]

    def test_wrong_keys(self, rclone, caplog):
        place = on_rclone(f"acme-{next(NUMBERS)}", rclone)
        place.write({1: [ANA]})
        bucket = Bucket(place.url, **{**rclone.options, "secret": "not-the-secret-of-this-server"})
        for ask in (bucket.status, bucket.revisions, partial(next, bucket.iter_records())):
            with pytest.raises(PermissionError, match=place.url) as caught:
                ask()
            shown = told(caught.value)
            assert "not-the-secret" not in shown
            assert rclone.key not in shown

    @pytest.mark.parametrize("name", ["rclone", "moto"])
    def test_there_is_no_such_bucket(self, name, request):
        server = request.getfixturevalue(name)
        bucket = Bucket("s3://acme-misspelt/shop", **server.options)
        for ask in (bucket.status, bucket.index):
            with pytest.raises(BucketNotFoundError, match=r"^s3://acme-misspelt/shop: there is no such bucket"):
                ask()
        with pytest.raises(BucketUnreachableError, match=r"listing revisions failed \(there is no such bucket\)"):
            bucket.folder.list("revisions")

    def test_no_server_at_the_endpoint(self):
        options = {"endpoint_url": f"http://127.0.0.1:{free_port()}", "key": "AKIAMADEUP", "secret": "made-up-secret"}
        bucket = Bucket("s3://acme", **options, config_kwargs={"retries": {"max_attempts": 0}})
        with pytest.raises(BucketUnreachableError, match=r"^s3://acme: .*EndpointConnectionError") as caught:
            bucket.status()
        assert options["endpoint_url"] in str(caught.value.__cause__)
        assert "made-up-secret" not in told(caught.value)

    def test_a_bucket_name_that_can_not_be(self, rclone):
        bucket = Bucket("s3://AKIAKEY:some-secret@acme", **rclone.options)
        with pytest.raises(OSError, match=r"s3://\*\*\*@acme") as caught:
            bucket.status()
        assert "some-secret" not in told(caught.value)


class TestHttp:
    def test_no_server(self):
        bucket = Bucket(f"http://bob:pass-word@127.0.0.1:{free_port()}/shop")
        with pytest.raises(BucketUnreachableError, match=r"^http://\*\*\*@127\.0\.0\.1:\d+/shop: ") as caught:
            bucket.status()
        assert "pass-word" not in told(caught.value)

    @pytest.mark.parametrize("status", [401, 403])
    def test_access_denied(self, status):
        with serve_http_from({"/shop/status.csv": b""}, status=status) as url:
            bucket = Bucket(f"{url}/shop")
            with pytest.raises(PermissionError, match=f"access is denied.*{url}/shop"):
                bucket.status()

    def test_a_listing_that_fsspec_keeps_hides_nothing(self, web):
        place = on_the_web(f"acme-{next(NUMBERS)}", web)
        place.write({1: [ANA]})
        bucket = Bucket(place.url, use_listings_cache=True)
        assert list(bucket.iter_records()) == [ANA]
        place.write({1: [ANA], 2: [BOB]})
        assert list(bucket.iter_records()) == [ANA, BOB]

    def test_a_server_that_fails(self):
        with serve_http_from({"/shop/status.csv": b""}, status=500) as url:
            bucket = Bucket(f"{url}/shop")
            with pytest.raises(BucketUnreachableError, match=f"^{url}/shop: .*ClientResponseError") as caught:
                bucket.status()
            assert "500" in str(caught.value.__cause__)

    def test_a_connection_that_is_cut_is_never_the_end_of_the_file(self):
        line = b'{"_n":"x","_p":"bob","_t":1}\n'
        files = {
            "/shop/index.csv": b"filename,min_timestamp,max_timestamp\nrevisions/1.json,1,1\n",
            "/shop/revisions/1.json": line * 100_000,
        }
        with serve_http_from(files, send=0.5) as url:
            records = Bucket(f"{url}/shop").iter_records(on_error="skip")
            started = time.monotonic()
            with pytest.raises(OSError, match=f"{url}/shop"):
                list(records)
            assert time.monotonic() - started < 20


class TestLocal:
    def test_symbolic_links_are_followed(self, tmp_path):
        write_export(tmp_path / "a", {1: [ANA], 2: [BOB], 3: [EVE]})
        (tmp_path / "b" / "revisions").mkdir(parents=True)
        for name in ("status.csv", "index.csv", "revisions/1.json", "revisions/3.json"):
            make_link(tmp_path / "b" / name, tmp_path / "a" / name)
        make_link(tmp_path / "b" / "revisions" / "4.json", tmp_path / "a" / "revisions")
        assert list(Bucket(tmp_path / "b").iter_records()) == [ANA, EVE]
        make_link(tmp_path / "c", tmp_path / "b")
        assert list(Bucket(tmp_path / "c").iter_records()) == [ANA, EVE]

    def test_a_link_to_nothing_is_a_file_that_is_gone(self, tmp_path):
        bucket = write_export(tmp_path, {1: [ANA], 2: [BOB]}, gone=[2])
        make_link(tmp_path / "revisions" / "2.json", tmp_path / "nowhere")
        assert list(bucket.iter_records()) == [ANA]

    def test_a_file_is_no_bucket(self, tmp_path):
        (tmp_path / "export.json").touch()
        with pytest.raises(BucketNotFoundError, match=r"export\.json: there is no status\.csv"):
            Bucket(tmp_path / "export.json").status()

    def test_an_archive_that_is_packed_anew_is_seen_by_a_new_bucket(self, tmp_path):
        place = Archive(LocalFileSystem(), str(tmp_path / "shop"), None)
        assert list(place.write({1: [ANA]}).iter_records()) == [ANA]
        assert list(place.write({1: [ANA], 2: [BOB]}).iter_records()) == [ANA, BOB]

    @pytest.mark.parametrize("kept", range(60))
    def test_a_gzip_file_cut_off_at_any_byte_is_malformed(self, tmp_path, kept):
        bucket = write_export(tmp_path, {1: [EVE], 2: [BOB]}, gzipped=[1])
        path = tmp_path / "revisions" / "1.json.gz"
        packed = path.read_bytes()
        assert len(packed) > 60
        path.write_bytes(packed[:kept])
        with pytest.raises(MalformedRecordError, match=r"^revisions/1\.json\.gz, line [12]: "):
            list(bucket.iter_records())
        logging.getLogger("kmexport").disabled = True
        try:
            assert list(bucket.iter_records(on_error="skip")) in ([BOB], [EVE, BOB])
        finally:
            logging.getLogger("kmexport").disabled = False

    def test_gzip_is_known_by_its_first_bytes(self, tmp_path):
        bucket = write_export(tmp_path, {1: [EVE], 2: [BOB]})
        path = tmp_path / "revisions" / "1.json"
        path.with_name("1.json.gz").write_bytes(path.read_bytes())
        path.unlink()
        other = tmp_path / "revisions" / "2.json"
        other.write_bytes(gzip.compress(other.read_bytes()))
        assert list(bucket.iter_records()) == [EVE, BOB]


def told(error: BaseException | None) -> str:
    """Every text that a traceback of the error would show, for as long as its chain is not suppressed."""
    texts = []
    for _ in range(20):
        if error is None:
            break
        texts += [str(error), repr(error), repr(vars(error))]
        error = error.__cause__ if error.__suppress_context__ else error.__context__
    return "\n".join(texts)
