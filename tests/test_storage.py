"""A folder's addresses and errors: the place is named and no credential is, whatever the storage library says."""

from __future__ import annotations

import pickle
from pathlib import Path

import fsspec
import pytest
from fsspec import AbstractFileSystem
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractBufferedFile
from hypothesis import given
from hypothesis import strategies as st

from kmexport import Bucket, BucketNotFoundError, BucketUnreachableError, Event
from kmexport.storage.credentials import redact
from kmexport.storage.folder import Folder
from kmexport.testing import write_export
from tests.servers import free_port, serve_http_from


class Failing(MemoryFileSystem):
    """A filesystem on which every reading fails with the given error."""

    protocol = "failing"
    cachable = False

    def __init__(self, error: Exception, **options: object) -> None:
        super().__init__(**options)
        self.error = error

    def cat_file(self, path, **options):
        raise self.error

    def ls(self, path, detail=True, **options):
        raise self.error

    def _open(self, path, mode="rb", **options):
        raise self.error


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://acme/exports", "s3://acme/exports"),
        ("/home/bob@acme/export?#1", "/home/bob@acme/export?#1"),
        ("s3://key:secret@acme/x", "s3://***@acme/x"),
        ("s3://key:se/cr/et@acme/x", "s3://***@acme/x"),
        ("s3://key:se@cr@acme/x", "s3://***@acme/x"),
        ("https://u:p@h/x?sig=abc&b=c", "https://***@h/x?***"),
        ("https://h/x#token=abc", "https://h/x?***"),
        ("https://u:pa#ss@h/x", "https://***"),
        ("https://u:pa?ss@h/x?sig=abc", "https://***"),
        ("https://h/x?mail=a@b&sig=abc", "https://***"),
        ("simplecache::s3://key:secret@acme", "simplecache::s3://***@acme"),
        ("zip://a.zip::https://u:p@h/x?sig=abc", "zip://***@h/x?***"),
    ],
)
def test_redacted(url, shown):
    assert redact(url) == shown


SECRET = st.text("/+@#?:=&%. \n").map("SEC{}RET".format)


@given(SECRET, st.sampled_from(["s3://key:{}@acme/x", "https://h/x?sig={}", "https://u:{}@h/x?a=b", "a::b://{}@c"]))
def test_nothing_of_a_secret_is_shown(secret, form):
    shown = redact(form.format(secret))
    assert "SEC" not in shown
    assert "RET" not in shown
    assert redact(shown) == shown


class Remembering(AbstractFileSystem):
    """Keeps every listing, and takes the sizes of files from it, as fsspec's ftp does."""

    protocol = "remembering"
    cachable = False

    def __init__(self, files: MemoryFileSystem) -> None:
        super().__init__()
        self.files = files

    def ls(self, path, detail=True, **options):
        path = self._strip_protocol(path)
        if path not in self.dircache:
            self.dircache[path] = self.files.ls(path, detail=True)
        return self.dircache[path]

    def invalidate_cache(self, path=None):
        self.dircache.pop(path, None)

    def _open(self, path, mode="rb", **options):
        return RememberedFile(self, path, mode)


class RememberedFile(AbstractBufferedFile):
    def _fetch_range(self, start, end):
        return self.fs.files.cat_file(self.path, start, end)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("root", ["/shop", "/deep/shop/"])
def test_a_remembered_listing_hides_nothing(root, wrapped):
    files = MemoryFileSystem()
    remembering = Remembering(files)
    bucket = Bucket("", fs=DirFileSystem(root, remembering)) if wrapped else Bucket(root, fs=remembering)
    for last in (1, 20, 300, 5):
        files.store.clear()
        write_export(root, {n: [Event("bob", n, "x")] * last for n in range(1, last + 1)}, fs=files)
        assert bucket.status().exported_revisions == last
        assert len(bucket.index()) == len(bucket.revisions()) == last
        assert list(bucket.iter_records(after=last - 1)) == [Event("bob", last, "x")] * last


@pytest.mark.parametrize("slashes", ["", "/"])
def test_the_root_of_a_filesystem(slashes, monkeypatch, tmp_path):
    fs = MemoryFileSystem()
    fs.pipe_file("/status.csv", b"here")
    (tmp_path / "status.csv").touch()
    monkeypatch.chdir(tmp_path)
    assert Folder(f"memory://{slashes}", None, {}).read("status.csv") == b"here"
    with pytest.raises(BucketNotFoundError, match=r"^/: there is no status\.csv"):
        Folder("/", None, {}).read("status.csv")


def test_a_secret_in_the_text_of_the_cause_hides_the_cause():
    texts = [
        "signature of hunter2-hunter2 is wrong",
        "GET http://bob:pw@proxy.example.com failed",
        "403 from https://storage.example.com/1.json?X-Amz-Signature=0a1b2c",
    ]
    for text in texts:
        for kind in (RuntimeError, OSError, ValueError, FileNotFoundError, PermissionError):
            inner = RuntimeError(text)
            outer = kind("reading failed")
            outer.__cause__ = inner
            for error in (kind(text), outer):
                fs = Failing(error, auth={"header": ["hunter2-hunter2"]})
                with pytest.raises(OSError, match="memory://shop") as caught:
                    Bucket("memory://shop", fs=fs).status()
                assert caught.value.__cause__ is None
                assert caught.value.__suppress_context__
                assert text not in f"{caught.value} {caught.value!r}"


def test_a_harmless_cause_is_kept():
    error = RuntimeError('Could not connect to "http://s3.example.com/acme?list-type=2&prefix=x", profile analytics')
    fs = Failing(error, profile="analytics", endpoint_url="http://s3.example.com")
    message = r"^/shop: reading index\.csv failed \(RuntimeError\)\. Check"
    with pytest.raises(BucketUnreachableError, match=message) as caught:
        Bucket("/shop", fs=fs).index()
    assert caught.value.__cause__ is error
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.url, again.reason) == (caught.value.url, caught.value.reason)


def test_storage_options_are_secrets_only_where_they_are_named_so():
    options = {"endpoint_url": f"http://127.0.0.1:{free_port()}", "config_kwargs": {"retries": {"max_attempts": 0}}}
    keys = {"key": "AKIAMADEUPFORTESTS", "secret": "made-up-secret"}
    with pytest.raises(BucketUnreachableError) as caught:
        Bucket("s3://acme", **options, **keys).status()
    assert options["endpoint_url"] in str(caught.value.__cause__)
    options["endpoint_url"] = options["endpoint_url"].replace("://", "://bob:pw@")
    with pytest.raises(BucketUnreachableError) as caught:
        Bucket("s3://acme", **options, **keys).status()
    assert "bob:pw" not in f"{caught.value} {caught.value.__cause__}"


def test_errors_that_speak_for_themselves_stay_what_they_are(tmp_path: Path):
    (tmp_path / "status.csv").mkdir()
    with pytest.raises(IsADirectoryError, match=r"status\.csv"):
        Bucket(tmp_path).status()
    with pytest.raises(ValueError, match="Protocol not known: nosuch"):
        Bucket("nosuch://shop").status()
    with pytest.raises(TypeError, match="no_such_option"):
        Bucket("s3://acme", no_such_option=1).status()


def test_an_error_without_a_place_gets_one():
    with pytest.raises(BucketUnreachableError, match=r"^/shop: reading status\.csv failed \(TimeoutError\)") as caught:
        Bucket("/shop", fs=Failing(TimeoutError())).status()
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value.__cause__, TimeoutError)


@pytest.mark.parametrize("status", [400, 403])
def test_nothing_that_an_error_holds_shows_a_header_with_a_credential(status):
    def behind(error: BaseException | None) -> str:
        return "" if error is None else f"{error!r} {vars(error)} {behind(error.__cause__)} {behind(error.__context__)}"

    with serve_http_from({"/shop/index.csv": b""}, status=status) as url:
        buckets = [
            Bucket(f"{url}/shop", client_kwargs={"headers": {"Authorization": "Basic Ym9iOnBhc3Mtd29yZA=="}}),
            Bucket(f"{url}/shop", headers={"Authorization": "Bearer pass-word"}),
            Bucket(f"{url.replace('//', '//bob:pass-word@')}/shop"),
            Bucket(f"{url}/shop", fs=DirFileSystem("", fsspec.filesystem("http", headers={"X-Api-Key": "pass-word"}))),
        ]
        for bucket in buckets:
            with pytest.raises(OSError, match="shop") as caught:
                bucket.index()
            assert "pass-word" not in behind(caught.value)
            assert "Ym9iOnBhc3Mtd29yZA" not in behind(caught.value)  # the two as base64
