"""What a Bucket promises on any filesystem: it is lazy, silent about credentials, and stays inside its folder."""

from __future__ import annotations

import logging
import pickle
import re
import subprocess
import sys
from collections import Counter
from functools import partial
from typing import ClassVar

import fsspec
import pytest
from fsspec.callbacks import Callback
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

import kmexport
from kmexport import (
    Alias,
    Bucket,
    BucketNotFoundError,
    Event,
    IndexFormatError,
    MalformedRecordError,
    PropertySet,
    Revision,
    RevisionNotFoundError,
    StatusFormatError,
    Window,
)
from kmexport.parsing.counts import LineCounts
from kmexport.storage.folder import Folder
from kmexport.testing import BROKEN_LINES, write_export
from tests.support.limited import limited

EVENTS = [Event("bob", second, "visited site", {"page": "/"}) for second in range(1, 6)]
WITH_CREDENTIALS = ["s3://AKIAKEY:pa/ss+word@acme/x", "https://u:pass-word@h/x?sig=pass-word", "ftp://u:pass-word@h"]


class Watched(MemoryFileSystem):
    """Counts what is opened and the bytes that are read of it."""

    protocol = "watched"
    cachable = False
    store: ClassVar[dict[str, MemoryFile]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    opened: ClassVar[Counter[str]] = Counter()
    bytes_read: ClassVar[Counter[str]] = Counter()
    listed: ClassVar[Counter[str]] = Counter()

    def ls(self, path, detail=True, **options):
        self.listed[path] += 1
        return super().ls(path, detail, **options)

    def cat_file(self, path, **options):
        self.opened[path.rpartition("/")[2]] += 1
        return super().cat_file(path, **options)

    def open(self, path, mode="rb", **options):
        file = super().open(path, mode, **options)
        name = path.rpartition("/")[2]
        self.opened[name] += 1
        return Counted(file, name) if mode == "rb" else file


class Counted:
    """A file for reading that counts."""

    def __init__(self, file: MemoryFile, name: str) -> None:
        self.file = file
        self.name = name

    def read(self, size: int = -1) -> bytes:
        block: bytes = self.file.read(size)
        Watched.bytes_read[self.name] += len(block)
        return block

    def close(self) -> None:
        Watched.opened[f"{self.name} closed"] += 1


@pytest.fixture
def watched():
    yield Watched()
    for kept in (Watched.store, Watched.opened, Watched.bytes_read, Watched.listed):
        kept.clear()


def forget(fs: Watched) -> None:
    for counted in (fs.opened, fs.bytes_read, fs.listed):
        counted.clear()


class TestConstructing:
    @pytest.mark.parametrize("url", ["s3://acme/x", "/nowhere", "nosuch://x", "https://127.0.0.1:1/x"])
    def test_does_nothing_yet(self, url):
        code = f"""
import pickle, sys
import kmexport
opened = []
sys.addaudithook(lambda name, args: opened.append((name, args)) if name in ("open", "socket.connect") else None)
bucket = kmexport.Bucket({url!r}, key="k", secret="s")
repr(bucket), bucket._repr_html_()
pickle.loads(pickle.dumps(bucket))
assert not opened, opened
loaded = {{"s3fs", "aiobotocore", "botocore", "aiohttp", "pyarrow", "dask"}} & set(sys.modules)
assert not loaded, loaded
print("fine")
"""
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
        assert (ran.stdout.split(), ran.stderr) == ([b"fine"], b"")

    def test_a_filesystem_and_storage_options_are_one_too_many(self, watched):
        with pytest.raises(TypeError, match="give fs= or storage options, not both: key, secret") as caught:
            Bucket("/shop", fs=watched, key="AKIAKEY", secret="made-up")
        assert "AKIAKEY" not in str(caught.value)

    def test_what_is_no_path(self):
        with pytest.raises(TypeError, match="PathLike"):
            Bucket(17)


class TestPickling:
    def test_before_and_after_use(self, tmp_path):
        bucket = write_export(tmp_path, {1: EVENTS})
        fresh = pickle.dumps(bucket)
        assert list(bucket.iter_records()) == EVENTS
        for dumped in (fresh, pickle.dumps(bucket)):
            copy = pickle.loads(dumped)
            assert repr(copy) == repr(bucket)
            assert list(copy.iter_records()) == EVENTS

    def test_with_a_filesystem(self):
        fs = MemoryFileSystem()
        copy = pickle.loads(pickle.dumps(write_export("/shop", {1: EVENTS}, fs=fs)))
        assert list(copy.iter_records()) == EVENTS


class TestCredentials:
    @pytest.mark.parametrize("url", WITH_CREDENTIALS)
    def test_are_not_shown(self, url):
        bucket = Bucket(url, key="AKIAKEY", secret="pass-word", client_kwargs={"password": "pass-word"})
        for shown in (repr(bucket), str(bucket), bucket._repr_html_(), f"{bucket!r:>200}"):
            assert "***" in shown
            for secret in ("AKIAKEY", "pass-word", "pa/ss", "word"):
                assert secret not in shown
        assert "secret" not in repr(Bucket("s3://acme", secret="made-up"))

    def test_the_address_can_not_break_the_page(self):
        page = Bucket("s3://<script>alert('1')</script>&/x")._repr_html_()
        assert "<script>" not in page
        assert "s3://&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt;&amp;/x" in page

    @pytest.mark.parametrize("url", ["memory://bob:pass-word@shop", "memory://shop?sig=pass-word"])
    def test_are_in_no_error_and_in_no_log(self, url, caplog):
        caplog.set_level(logging.DEBUG, "kmexport")
        with pytest.raises(BucketNotFoundError, match=r"\*\*\*.*there is no index\.csv") as caught:
            Bucket(url).index()
        told = [f"{caught.value} {caught.value!r} {caught.value.__cause__}"]
        lines = [b"broken", EVENTS[0], BROKEN_LINES["no time"]]
        bucket = write_export(url, {1: lines, 2: EVENTS, 3: lines, 4: [rb'{"_p":"\303\241","_t":1}']}, gzipped=[3])
        MemoryFileSystem().pipe_file(f"{url}/revisions/1.json.gz", b"")
        MemoryFileSystem().pipe_file(f"{url}/revisions/.DS_Store", b"")
        records = bucket.iter_records(on_error="skip")
        assert next(records) == EVENTS[0]
        MemoryFileSystem().rm_file(f"{url}/revisions/2.json")
        assert sum(1 for _ in records) == 2
        for ask in (partial(list, bucket.iter_records()), bucket.audit, bucket.status):
            try:
                told.append(repr(ask()))
            except MalformedRecordError as error:
                told.append(f"{error} {error!r} {error.__cause__}")
        told += [record.getMessage() for record in caplog.records if record.name == "kmexport"]
        assert len(told) > 8
        assert not [text for text in told if "pass-word" in text]


class TestIndex:
    @pytest.mark.parametrize(
        "name",
        [
            "../../etc/passwd",
            "/etc/passwd",
            "s3://other/1.json",
            "file:///etc/passwd",
            "revisions/../../1.json",
            "revisions/../1.json",
            "revisions/./1.json",
            "revisions//1.json",
            "/revisions/1.json",
            "revisions/x/1.json",
            "revisions\\1.json",
            "..\\1.json",
            "%2e%2e/1.json",
            "revisions/%31.json",
            "revisions/1.json\x00",
            "revisions/1.json\x00.gz",
            "revisions/1.json?x=1",
            "revisions/1.json::s3://other",
            "revisions/*.json",
            "revisions/\u0661.json",
            "revisions/-1.json",
            "revisions/1.json/",
            "revisions/1.jsonl",
            "~/1.json",
            "",
        ],
    )
    def test_a_hostile_file_name(self, name, tmp_path):
        bucket = write_export(tmp_path, {1: EVENTS})
        (tmp_path / "index.csv").write_bytes(f'filename,min_timestamp,max_timestamp\n"{name}",1,2\n'.encode())
        for ask in (bucket.index, bucket.revisions, bucket.identities, partial(next, bucket.iter_records())):
            with pytest.raises(IndexFormatError, match=r"^index\.csv, line 2, column filename: ") as caught:
                ask()
            assert (caught.value.source, caught.value.line_number, caught.value.column) == ("index.csv", 2, "filename")

    def test_a_hostile_file_name_is_named_in_one_short_line(self, tmp_path):
        bucket = write_export(tmp_path, {1: EVENTS})
        (tmp_path / "index.csv").write_bytes(
            b'filename,min_timestamp,max_timestamp\n"a\n\x1b[2J' + b"x" * 10_000 + b'",1,2'
        )
        with pytest.raises(IndexFormatError) as caught:
            bucket.index()
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 400

    def test_a_broken_status(self, tmp_path):
        bucket = write_export(tmp_path, {1: EVENTS})
        (tmp_path / "status.csv").write_bytes(b"<html>Moved</html>")
        with pytest.raises(StatusFormatError, match=r"^status\.csv, line 1"):
            bucket.status()
        assert list(bucket.iter_records()) == EVENTS


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "error", "words"),
        [
            ({"window": (1, 2)}, TypeError, "a Window belongs there"),
            ({"margin": -1}, ValueError, "margin is 0 seconds or more, or None for every file, not -1"),
            ({"margin": True}, TypeError, "margin is a whole number of seconds, or None for every file, not True"),
            ({"margin": 0.5}, TypeError, "margin is a whole number of seconds"),
            ({"kinds": dict}, TypeError, "kinds are the classes Event, PropertySet and Alias"),
            ({"kinds": [Event, "alias"]}, TypeError, "kinds are the classes Event, PropertySet and Alias"),
            ({"on_error": "ignore"}, ValueError, 'on_error is "raise", "skip" or a callable'),
        ],
    )
    def test_are_checked_at_the_call(self, arguments, error, words, watched):
        bucket = Bucket("/nothing", fs=watched)
        with pytest.raises(error, match=words):
            bucket.iter_records(**arguments)
        assert not watched.opened
        assert not watched.listed

    def test_of_the_other_methods(self, watched):
        bucket = Bucket("/nothing", fs=watched)
        with pytest.raises(TypeError, match="a Window belongs there"):
            bucket.revisions("2012-10-03")
        with pytest.raises(ValueError, match="margin is 0 seconds or more"):
            bucket.revisions(margin=-1)
        with pytest.raises(ValueError, match="on_error is"):
            bucket.identities(on_error="ignore")
        assert not watched.opened


class TestLaziness:
    def test_nothing_is_read_before_the_first_record_is_asked_for(self, watched):
        bucket = write_export("/shop", {1: EVENTS, 2: EVENTS}, fs=watched)
        forget(watched)
        records = bucket.iter_records(Window(1, 3), kinds=Event, names="visited site")
        assert (watched.opened, watched.listed) == ({}, {})
        next(records)
        assert watched.opened["index.csv"] == 1
        assert watched.opened["status.csv"] == 0

    def test_a_file_is_opened_when_its_first_record_is_asked_for_and_closed_after_its_last(self, watched):
        bucket = write_export("/shop", {1: EVENTS, 2: EVENTS, 3: EVENTS}, fs=watched)
        forget(watched)
        records = limited(bucket, prefetch_bytes=0).iter_records()
        for _ in EVENTS:
            next(records)
        assert (watched.opened["1.json"], watched.opened["2.json"]) == (1, 0)
        next(records)
        assert (watched.opened["1.json closed"], watched.opened["2.json"], watched.opened["3.json"]) == (1, 1, 0)
        del records
        assert watched.opened["2.json closed"] == 1
        assert watched.opened["3.json"] == 0

    def test_the_first_record_costs_no_more_than_the_beginning_of_its_file(self, watched):
        bucket = write_export("/shop", {1: EVENTS * 20_000}, fs=watched)
        forget(watched)
        assert next(limited(bucket, prefetch_bytes=0).iter_records()) == EVENTS[0]
        assert watched.bytes_read["1.json"] <= 4 << 16 < len(watched.cat_file("/shop/revisions/1.json"))

    def test_only_the_files_of_the_window_are_opened(self, watched):
        bucket = write_export("/shop", {n: [Event("bob", n * 1_000, "x")] for n in range(1, 10)}, fs=watched)
        forget(watched)
        assert [event.timestamp for event in bucket.iter_records(Window(5_000, 5_001), margin=0)] == [5_000]
        assert {name for name in watched.opened if name.endswith(".json")} == {"5.json"}
        assert sum(watched.listed.values()) == 1
        assert watched.opened["index.csv"] == 1

    def test_each_byte_is_read_once(self, watched):
        bucket = write_export("/shop", {1: EVENTS * 5000, 2: EVENTS}, gzipped=[2], fs=watched)
        sizes = {name: watched.info(f"/shop/revisions/{name}")["size"] for name in ("1.json", "2.json.gz")}
        forget(watched)
        assert sum(1 for _ in bucket.iter_records()) == 25_005
        assert {name: watched.bytes_read[name] for name in sizes} == sizes


class TestSelection:
    def test_only_later_revisions(self):
        bucket = write_export("memory://shop", {n: [Event("bob", n, "x")] for n in (1, 9, 10, 11)}, unindexed=[11])
        assert [revision.number for revision in bucket.revisions(after=9)] == [10, 11]
        assert [event.timestamp for event in bucket.iter_records(after=9)] == [10, 11]
        assert list(bucket.iter_records(after=11)) == []
        assert [event.timestamp for event in bucket.iter_records(Window(0, 11), after=1)] == [9, 10]

    def test_kinds_and_names(self):
        lines = [*EVENTS, PropertySet("bob", 7, {"plan": "gold"}), Alias("bob", 8, "b2"), Event("bob", 9, "Sign, Up")]
        bucket = write_export("memory://shop", {1: lines})
        assert list(bucket.iter_records(kinds=PropertySet)) == lines[5:6]
        assert list(bucket.iter_records(kinds=[Alias, PropertySet])) == lines[5:7]
        assert list(bucket.iter_records(names="VISITED site")) == EVENTS
        assert list(bucket.iter_records(names=["sign  up"], kinds=Event)) == lines[7:]
        assert list(bucket.iter_records(names="visited site", kinds=Alias)) == []


class TestRead:
    def test_just_these_in_the_order_given(self, watched):
        bucket = write_export("/shop", {n: [Event("bob", n, "x")] for n in (1, 2, 9, 10)}, gzipped=[9], fs=watched)
        forget(watched)
        assert [event.timestamp for event in bucket.read([10, 9, 1])] == [10, 9, 1]
        assert {name for name in watched.opened if ".json" in name} - {"10.json", "9.json.gz", "1.json"} == {
            "10.json closed", "9.json.gz closed", "1.json closed"
        }  # fmt: skip
        assert list(bucket.read([])) == []
        assert list(bucket.read(iter([2, 2]))) == [Event("bob", 2, "x")] * 2

    def test_objects_are_read_without_a_look_at_the_manifests(self, watched):
        bucket = write_export("/shop", {n: [Event("bob", n, "x")] for n in (1, 2, 3)}, fs=watched)
        revisions = bucket.revisions()
        forget(watched)
        assert [event.timestamp for event in bucket.read(reversed(revisions))] == [3, 2, 1]
        assert watched.opened["index.csv"] == sum(watched.listed.values()) == 0
        assert [event.timestamp for event in bucket.read(bucket.index()[1:], kinds=Event, names="x")] == [2, 3]

    def test_is_lazy(self, watched):
        bucket = write_export("/shop", {1: EVENTS, 2: EVENTS}, fs=watched)
        forget(watched)
        records = limited(bucket, prefetch_bytes=0).read([1, 2])
        assert (watched.opened, watched.listed) == ({}, {})
        next(records)
        assert (watched.opened["1.json"], watched.opened["2.json"]) == (1, 0)

    def test_a_revision_that_is_not_there(self, caplog):
        bucket = write_export("memory://shop", {1: EVENTS})
        with pytest.raises(RevisionNotFoundError, match=r"^revisions/7\.json: .*on_error=\"skip\""):
            list(bucket.read([1, 7]))
        assert list(bucket.read([7, 1], on_error="skip")) == EVENTS
        assert [record.getMessage() for record in caplog.records] == [
            "revisions/7.json: the file is gone; it was left out"
        ]

    @pytest.mark.parametrize(
        ("revisions", "error", "words"),
        [
            (7, TypeError, r"write \[7\]"),
            (Revision(7, "revisions/7.json"), TypeError, r"several revisions belong there: write \[Revision\("),
            (["7.json"], TypeError, "a Revision or its number, not '7.json'"),
            ([True], TypeError, "not True"),
            ([Revision(7, "../../etc/passwd")], ValueError, "such as 'revisions/1.json', not '../../etc/passwd'"),
            ([Revision(7, "revisions/../7.json")], ValueError, "such as"),
            ([Revision(7, "revisions/x/7.json")], ValueError, "such as"),
            ([Revision(7, "s3://other/revisions/7.json")], ValueError, "such as"),
        ],
    )
    def test_arguments_are_checked_at_the_call(self, revisions, error, words, watched):
        with pytest.raises(error, match=words):
            Bucket("/nothing", fs=watched).read(revisions)

    def test_counts_move_while_a_file_is_read(self):
        counts = LineCounts()
        records = Bucket.sample().iter_records(counts=counts)
        next(records)
        assert 1 <= counts.records <= counts.lines <= 167

    def test_counts_are_added_up_over_the_files(self):
        bucket = write_export("memory://shop", {1: [*EVENTS, b"x"], 2: [*EVENTS, b""]})
        counts = LineCounts()
        assert len(list(bucket.read([1, 2], on_error=lambda _: None, counts=counts))) == 10
        assert (counts.records, counts.rejected) == (10, 1)
        assert len(list(bucket.iter_records(on_error=lambda _: None, counts=counts))) == 10
        assert (counts.records, counts.rejected) == (20, 2)
        with pytest.raises(TypeError, match="counts"):
            bucket.iter_records(counts={})


class TestListing:
    def test_the_index_is_read_once_and_before_the_listing(self, watched, monkeypatch):
        bucket = write_export("/shop", {1: EVENTS, 2: EVENTS}, fs=watched)
        asked: list[str] = []
        for name in ("read", "list"):
            method = getattr(Folder, name)
            monkeypatch.setattr(
                Folder, name, lambda self, what, method=method: asked.append(what) or method(self, what)
            )
        for ask, expected in [
            (bucket.revisions, ["index.csv", "revisions"]),
            (partial(list, bucket.iter_records()), ["index.csv", "revisions"]),
            (partial(bucket.coverage, Window(0, 1)), ["status.csv", "index.csv", "revisions"]),
            (partial(bucket.audit, deep=True), ["status.csv", "index.csv", "revisions"]),
        ]:
            asked.clear()
            ask()
            assert asked == expected

    @pytest.mark.parametrize("others", [["01.json"], ["01.json", "1.json.gz"], ["0001.json.gz", "00001.json"]])
    def test_the_file_that_the_index_names_is_read(self, others, tmp_path):
        bucket = write_export(tmp_path, {1: EVENTS})
        for name in others:
            (tmp_path / "revisions" / name).write_bytes(b"not a record")
        assert list(bucket.iter_records()) == EVENTS
        assert bucket.audit().doubled == sorted(f"revisions/{name}" for name in others)

    def test_without_a_row_the_plain_spelling_is_read(self, tmp_path):
        bucket = write_export(tmp_path, {1: EVENTS}, unindexed=[1])
        (tmp_path / "revisions/01.json").write_bytes(b"not a record")
        assert list(bucket.iter_records()) == EVENTS

    def test_an_index_that_names_an_odd_spelling(self, tmp_path):
        bucket = write_export(tmp_path, {1: EVENTS})
        (tmp_path / "revisions/1.json").rename(tmp_path / "revisions/01.json.gz")
        (tmp_path / "revisions/1.json").write_bytes(b"not a record")
        (tmp_path / "index.csv").write_bytes(b"filename,min_timestamp,max_timestamp\n01.json,1,5\n")
        assert list(bucket.iter_records()) == EVENTS

    def test_each_missing_file_is_one_warning(self, caplog):
        revisions = {n: [Event("bob", n * 1_000, "x")] for n in range(1, 6)}
        bucket = write_export("memory://shop", revisions, gone=[2, 4])
        told = "left out: the index names it and it is not there"
        assert len(list(bucket.iter_records(Window(1_500, 2_500), margin=0))) == 0
        assert warnings(caplog) == [f"revisions/2.json: {told}"]
        for _ in range(2):
            assert len(list(bucket.iter_records())) == 3
            bucket.identities()
        assert warnings(caplog) == [f"revisions/{n}.json: {told}" for n in (2, 4)]
        assert len(Bucket("memory://shop").revisions(after=2)) == 2
        assert len(warnings(caplog)) == 3

    def test_sizes_are_no_part_of_equality_and_order(self):
        small, large = (Revision(1, "revisions/1.json", 1, 2, size) for size in (1, 2))
        assert small == large
        assert hash(small) == hash(large)
        assert not small < large
        assert max([Revision(2, "revisions/2.json"), small, Revision(1, "revisions/1.json")]).number == 2
        bucket = write_export("memory://shop", {1: EVENTS}, gzipped=[1])
        sizes = [revision.size for revision in bucket.revisions()]
        assert sizes == [len(MemoryFileSystem().cat_file("/shop/revisions/1.json.gz"))]
        assert bucket.index()[0].size is None


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


class TestProgress:
    @pytest.mark.parametrize("place", ["memory", "local"])
    def test_size_and_value_are_the_bytes_of_the_selected_files(self, place, tmp_path):
        revisions = {1: EVENTS, 2: EVENTS * 4000, 3: [], 4: [Event("eve", 1_000, "x")]}
        folder = tmp_path if place == "local" else "memory://shop"
        bucket = write_export(folder, revisions, gzipped=[2])
        sizes = {revision.number: revision.size for revision in bucket.revisions()}
        seen = []
        progress = Callback(hooks={"seen": lambda size, value, **_: seen.append((size, value))})
        assert sum(1 for _ in bucket.iter_records(Window(0, 50), margin=0, callback=progress)) == 20_005
        assert (progress.size, progress.value) == (sizes[1] + sizes[2], sizes[1] + sizes[2])
        values = [value for _, value in seen]
        assert values == sorted(values)
        assert {size for size, _ in seen} == {progress.size}

    def test_aliases_too(self):
        bucket = write_export("memory://shop", {1: [*EVENTS, Alias("bob", 1, "b2")], 2: EVENTS})
        progress = Callback()
        assert bucket.identities(callback=progress).identities_of("bob") == {"bob", "b2"}
        assert progress.value == progress.size > 0


class TestPolicy:
    def test_one_warning_a_file(self, caplog):
        bucket = write_export("memory://shop", {1: [b"x", EVENTS[0], b"y"], 2: EVENTS, 3: [b"z"]})
        assert list(bucket.iter_records(on_error="skip")) == [EVENTS[0], *EVENTS]
        warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert [text.partition(", the first")[0] for text in warned] == [
            "revisions/1.json: 2 of 3 lines were skipped",
            "revisions/3.json: 1 of 1 lines were skipped",
        ]

    def test_each_error_is_handed_over(self):
        bucket = write_export("memory://shop", {9: [EVENTS[0], b"x"], 10: [b"y", EVENTS[1]]})
        errors: list[MalformedRecordError] = []
        assert list(bucket.iter_records(on_error=errors.append)) == EVENTS[:2]
        assert [(error.source, error.line_number, error.raw) for error in errors] == [
            ("revisions/9.json", 2, b"x"),
            ("revisions/10.json", 1, b"y"),
        ]

    def test_a_file_that_is_gone_is_an_error_under_any_other_policy_than_skip(self):
        bucket = write_export("memory://shop", {1: EVENTS[:1], 2: EVENTS})
        errors: list[MalformedRecordError] = []
        records = bucket.iter_records(on_error=errors.append)
        next(records)
        MemoryFileSystem().rm_file("/shop/revisions/2.json")
        with pytest.raises(RevisionNotFoundError, match=r"^revisions/2\.json: "):
            next(records)
        assert errors == []


class TestAnExportFromBeforeRevisions:
    """Until October 2012 there was one file a day: 2011/Jan/2011-01-01.json, no status and no index."""

    @pytest.fixture(params=["memory", "local"])
    def address(self, request, tmp_path):
        root = "memory://old-shop/export" if request.param == "memory" else str(tmp_path)
        fs, place = fsspec.core.url_to_fs(root)
        for path, person in (
            ("2011/Jan/2011-01-01", "ana"),
            ("2011/Jan/2011-01-02", "bob"),
            ("2012/Sep/2012-09-30", "eve"),
        ):
            fs.makedirs(f"{place}/{path.rpartition('/')[0]}", exist_ok=True)
            fs.pipe_file(f"{place}/{path}.json", b'{"_p":"%s","_n":"x","_t":1}\n' % person.encode())
        return root

    def test_the_error_says_what_it_is_and_its_line_reads_the_files(self, address):
        bucket = Bucket(address)
        for ask in (bucket.status, bucket.index, bucket.revisions, lambda: next(bucket.iter_records()), bucket.audit):
            with pytest.raises(BucketNotFoundError, match="before October 2012, with one file a day") as caught:
                ask()
        line = re.search(r"records = (\(.*\))\. An export has", str(caught.value)).group(1)
        records = eval(line, {"fsspec": fsspec, "kmexport": kmexport})
        assert sorted(record.person for record in records) == ["ana", "bob", "eve"]

    def test_other_folders_are_none(self, tmp_path):
        (tmp_path / "2011").mkdir()
        with pytest.raises(BucketNotFoundError) as caught:
            Bucket(tmp_path).status()
        assert "October" not in str(caught.value)
