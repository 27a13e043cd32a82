"""A folder's addresses and errors: the place is named and no credential is, whatever the storage library says."""

from __future__ import annotations

import errno
import os
import pickle
import re
import shutil
import sys
import traceback
import zipfile
from base64 import b64encode
from functools import partial
from html import escape
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote, quote_plus, unquote_plus

import fsspec
import pytest
from fsspec import AbstractFileSystem
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileOpener
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry
from fsspec.spec import AbstractBufferedFile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kmexport import Bucket, BucketNotFoundError, BucketUnreachableError, Cursor, Event, IdentityMap
from kmexport.storage.credentials import public_name, redact
from kmexport.storage.folder import Folder
from kmexport.testing import write_export
from tests.support.servers import free_port, serve, serve_http_from
from tests.support.strategies import examples


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
        ("zip://a.zip::https://u:p/x", "zip://a.zip::https://***/x"),
        ("zip://::/backup/export.zip", "zip://::/backup/export.zip"),
        ("https:/bob:pw@h/x", "https:/***@h/x"),
        ("https:bob:pw@h/x", "https:***@h/x"),
        ("https//bob:pw@h/x", "***@h/x"),
        (" https://bob:pw@h/x", "***@h/x"),
        ("h/x?X-Amz-Signature=abc", "h/x?***"),
        ("https://bob:pw%40h/x", "https://***@h/x"),
        ("https://bob%3Apw%2540h/x", "https://***@h/x"),
        ("s3://key:secret/x", "s3://***/x"),
        ("http://127.0.0.1:9000/x", "http://127.0.0.1:9000/x"),
        ("http://[::1]:9000/x", "http://[::1]:9000/x"),
        (
            "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/shop/x",
            "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/shop/x",
        ),
        ("C:\\export@shop", "C:\\export@shop"),
        ("exports/shop?1", "exports/shop?1"),
        ("~/a:b@c", "~/a:b@c"),
    ],
)
def test_redacted(url, shown):
    assert redact(url) == shown


SECRET = st.text("/+@#?:=&%. \n").map("SEC{}RET".format)


FORMS = [
    "s3://key:{}@acme/x",
    "https://h/x?sig={}",
    "https://u:{}@h/x?a=b",
    "a::b://{}@c",
    "https:/u:{}@h/x",
    "https:u:{}@h/x",
    "https//u:{}@h/x",
    "HTTPS://u:{}%40h/x",
    "https://u%3A{}%2540h/x",
    "zip://a/b.zip::https://u:{}@h/x",
]


@given(SECRET, st.sampled_from(FORMS))
def test_nothing_of_a_secret_is_shown(secret, form):
    shown = redact(form.format(secret))
    assert "SEC" not in shown
    assert "RET" not in shown
    assert redact(shown) == shown
    name = public_name(form.format(secret))
    assert "SEC" not in name
    assert "RET" not in name


@pytest.mark.parametrize("load", [Cursor.load, IdentityMap.load])
def test_an_error_about_a_saved_file_shows_its_name_and_not_its_signature(web, load):
    url, root = web
    (root / "saved.json").write_bytes(b"{}")
    with pytest.raises(ValueError, match=r"^saved\.json, line 1: ") as caught:
        load(f"{url}/saved.json?signature=made/up")
    assert "made" not in str(caught.value)
    assert "up" not in str(caught.value).split()


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


def test_of_a_relative_path_the_error_says_where_it_looked(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for ask in (Bucket("shop").status, Bucket("shop").index, Bucket("shop").revisions):
        with pytest.raises(BucketNotFoundError) as caught:
            ask()
        assert str(caught.value).startswith("shop: there is no ")
        assert f".csv in {tmp_path / 'shop'}. " in str(caught.value)


@pytest.mark.parametrize("url", ["https:/bob:pass-word@shop", "memory://shop", "~/nowhere-at-all"])
def test_of_another_address_the_error_says_it_once(url):
    with pytest.raises(OSError, match="there is no") as caught:
        Bucket(url).status()
    assert ".csv. " in str(caught.value)
    assert "pass-word" not in str(caught.value)


@pytest.mark.slow
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


@pytest.mark.parametrize("options", [{"password": 73914628}, {"client_kwargs": {"auth": ("bob", 73914628)}}])
def test_a_password_that_is_a_number_is_a_secret(options):
    with pytest.raises(BucketUnreachableError) as caught:
        Bucket("/shop", fs=Failing(RuntimeError(f"530 denied: {options}"), **options)).index()
    assert "73914628" not in texts(caught.value)


class Token:
    """As the credentials of Google's library."""

    def __init__(self) -> None:
        self.token = "ya29.made-up"
        self._universe_domain = "googleapis.com"


def test_a_token_that_google_gave_is_a_secret_and_its_host_is_none():
    fs = Failing(RuntimeError("401 of storage.googleapis.com"))
    fs.credentials = SimpleNamespace(credentials=Token())
    with pytest.raises(BucketUnreachableError, match=r"401 of storage\.googleapis\.com"):
        Bucket("/shop", fs=fs).index()
    fs.error = RuntimeError("401 of storage.googleapis.com for ya29.made-up")
    for bucket in (Bucket("/shop", fs=fs), Bucket("shop", fs=DirFileSystem("/", fs))):
        with pytest.raises(BucketUnreachableError) as caught:
            bucket.index()
        assert "made-up" not in texts(caught.value)


@pytest.mark.parametrize("options", [{"port": 73914628}, {"timeout": 73914628}, {"client_kwargs": {"auth": True}}])
def test_other_numbers_are_no_secrets(options):
    error = RuntimeError(f"no answer: {options}")
    with pytest.raises(BucketUnreachableError) as caught:
        Bucket("/shop", fs=Failing(error, **options)).index()
    assert caught.value.__cause__ is error


def test_the_folder_of_the_shell_is_no_secret(monkeypatch):
    monkeypatch.setenv("PWD", "/somewhere/shop")
    error = RuntimeError("no such place: /somewhere/shop/index.csv")
    with pytest.raises(BucketUnreachableError, match="no such place") as caught:
        Bucket("/shop", fs=Failing(error)).index()
    assert caught.value.__cause__ is error


class HoldsItsRequestError(OSError):
    """As httpx' errors do; its text shows nothing."""

    def __init__(self, request: object) -> None:
        super().__init__("refused")
        self.request = request


class NeedsItsAnswerError(RuntimeError):
    """As webdav4's errors do; it can't be unpickled."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"status {answer.status}")


class Answer:
    status = 500


class Request:
    def __init__(self) -> None:
        self.headers = {"Authorization": "Basic Ym9iOnBhc3Mtd29yZA=="}


@pytest.mark.parametrize("error", [HoldsItsRequestError(Request()), NeedsItsAnswerError(Answer())])
def test_a_cause_can_be_pickled_and_holds_no_header(error):
    """Dask pickles causes too."""
    with pytest.raises(BucketUnreachableError) as caught:
        Bucket("/shop", fs=Failing(error)).index()
    cause, context = caught.value.__cause__, caught.value.__context__
    assert str(error) in str(cause)
    assert cause is context
    assert b"Authorization" not in pickle.dumps(cause)
    pickle.loads(pickle.dumps(cause))


def test_a_harmless_cause_is_kept():
    error = RuntimeError('Could not connect to "http://s3.example.com/acme?list-type=2&prefix=x", profile analytics')
    fs = Failing(error, profile="analytics", endpoint_url="http://s3.example.com")
    message = r"^/shop: reading index\.csv failed \(RuntimeError: Could not connect to .* profile analytics\)\. Check"
    with pytest.raises(BucketUnreachableError, match=message) as caught:
        Bucket("/shop", fs=fs).index()
    assert caught.value.__cause__ is error
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.url, again.reason) == (caught.value.url, caught.value.reason)


@pytest.mark.slow
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


SECRETS = st.text(max_size=30).filter(str.isprintable).map("7zq{}qz7".format)  # no word of any message


def texts(error: BaseException | None) -> str:
    """All that a traceback or a debugger could show of an error and those behind it."""
    if error is None:
        return ""
    behind = texts(error.__cause__) + texts(error.__context__)
    return f"{error} {error!r} {vars(error)} {getattr(error, '__notes__', '')} {behind}"


class Echoing(BaseHTTPRequestHandler):
    """A server that refuses, and repeats what it was asked with: address, headers, and what it makes of them."""

    def do_GET(self) -> None:
        asked = f"{self.path} {unquote_plus(self.path)} {self.headers}"
        reason = asked.encode("ascii", "ignore").decode().replace("\r", " ").replace("\n", " ")
        body = f"<Error><Code>ExpiredToken</Code><Message>{escape(asked)}</Message></Error>".encode()
        self.send_response_only(400, reason)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        pass


@pytest.fixture(scope="module")
def echoing():
    with serve(Echoing) as url:
        yield url


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(secret=SECRETS, way=st.sampled_from(["params", "list", "text", "header", "cookie", "basic", "query"]))
def test_whatever_a_web_server_was_given_shows_nowhere(echoing, secret, way):
    address, options = f"{echoing}/shop", {}
    if way in ("params", "list"):
        options["params"] = {"v": secret} if way == "params" else [("a", "1"), ("v", secret)]
    elif way == "text":
        options["params"] = f"v={quote(secret)}"
    elif way == "header":
        options["headers"] = {"X-Site": quote(secret)}
    elif way == "cookie":
        options["client_kwargs"] = {"cookies": {"site": quote(secret)}}
    elif way == "basic":
        options["headers"] = {"Authorization": f"Basic {b64encode(f'bob:{secret}'.encode()).decode()}"}
    else:
        address = f"{address}?v={quote(secret)}"
    for bucket in (Bucket(address, **options), pickle.loads(pickle.dumps(Bucket(address, **options)))):
        with pytest.raises(OSError, match=r"shop|\*\*\*") as caught:  # an @ in a query hides the whole address
            bucket.index()
        shown = f"{texts(caught.value)} {bucket!r} {bucket._repr_html_()}"
        for form in (secret, quote(secret), quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1]):
            assert form not in shown
        assert b64encode(f"bob:{secret}".encode()).decode() not in shown


@pytest.mark.parametrize("way", ["environment", "options", "profile"])
def test_whatever_s3_was_given_shows_nowhere(echoing, way, monkeypatch, tmp_path):
    values = {"key": "AKIAMADEUPFORECHO00", "secret": "made-up/secret+echo=", "token": "made-up/token//echo=="}
    options: dict[str, object] = {}
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
    if way == "environment":
        for name, value in zip(names, values.values(), strict=True):
            monkeypatch.setenv(name, value)
    elif way == "options":
        options = dict(values)
    else:
        lines = [f"{name.lower()} = {value}" for name, value in zip(names, values.values(), strict=True)]
        (tmp_path / "credentials").write_text("\n".join(["[shop]", *lines]), encoding="utf-8")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        options = {"profile": "shop"}
    bucket = Bucket("s3://acme", endpoint_url=echoing, **options)
    for ask in (bucket.index, partial(bucket._folder.list, "revisions")):
        with pytest.raises(PermissionError, match="access is denied") as caught:
            ask()
        shown = texts(caught.value)
        assert not [name for name, value in values.items() if value in shown]


def test_no_credentials_is_not_access_denied(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME" if os.name == "posix" else "USERPROFILE", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    endpoint = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(
        PermissionError, match=r"no credentials found: pass profile=.*AWS_PROFILE.*anon=True.*s3://acme"
    ):
        Bucket("s3://acme", endpoint_url=endpoint).index()
    with pytest.raises(PermissionError, match=r"the profile that profile=… or AWS_PROFILE names is not in ~/\.aws"):
        Bucket("s3://acme", endpoint_url=endpoint, profile="nosuch").index()


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("s3://acme", {"profle": "a"}, r"s3://acme: 'profle' is no storage option of s3://\. Did you mean 'profile'\?"),
        ("s3://key:secret@acme", {"secrt": "a"}, r"s3://\*\*\*@acme: 'secrt' is no .* Did you mean 'secret'\?"),
        ("s3://acme", {"client_kwargs": {"regoin_name": "x"}, "anon": True}, "'regoin_name' is no storage option"),
        (
            "s3://acme",
            {"config_kwargs": {"max_connections": 1}, "anon": True},
            "'max_connections' is no storage option",
        ),
        ("zip://::sftp://127.0.0.1/x.zip", {"sftp": {"usrname": "a"}}, "'usrname' is no storage option of sftp://"),
        ("zip://::s3://acme/x.zip", {"s3": {"secrt": "a"}}, r"'secrt' is no storage .* s3://\. Did you mean 'secret'"),
        ("http://bob:pw@127.0.0.1:9/x", {"haeders": {}}, r"http://\*\*\*@127\.0\.0\.1:9/x: 'haeders' .* 'headers'\?"),
    ],
)
def test_a_misspelt_option_is_named(url, options, said):
    with pytest.raises(TypeError, match=said) as caught:
        Bucket(url, **options).index()
    assert "secret@" not in texts(caught.value)
    assert "bob:pw" not in texts(caught.value)


@pytest.mark.slow
def test_options_of_none():
    endpoint = f"http://127.0.0.1:{free_port()}"
    options = {"config_kwargs": None, "client_kwargs": None, "anon": True, "endpoint_url": endpoint}
    with pytest.raises(BucketUnreachableError, match="EndpointConnectionError"):
        Bucket("s3://acme", **options).index()


class Strict(MemoryFileSystem):
    """Another filesystem for S3: it takes no options of s3fs."""

    protocol = ("s3", "s3a")
    cachable = False

    def __init__(self, *, region: str = "", asynchronous: bool = False) -> None:
        super().__init__()
        self.region = region

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("s3://", "memory://"))


def test_another_filesystem_that_is_registered_for_s3():
    write_export("memory://acme", {1: [Event("bob", 1, "x")]})
    fsspec.register_implementation("s3", Strict, clobber=True)
    try:
        assert list(Bucket("s3://acme", region="x").iter_records()) == [Event("bob", 1, "x")]
        with pytest.raises(TypeError, match="'anon' is no storage option of s3://"):
            Bucket("s3://acme", anon=True).index()
    finally:
        _registry.pop("s3")


def test_an_archive_on_a_web_server_that_knows_no_parts(web, tmp_path):
    write_export(tmp_path / "shop", {n: [Event("bob", n, "x" * 1000)] * 500 for n in range(1, 30)})
    packed = Path(shutil.make_archive(str(web[1] / "parts"), "zip", tmp_path / "shop"))
    # Larger than what is asked for at once, and in small blocks.
    plain = Bucket(f"zip://::{web[0]}/{packed.name}", http={"block_size": 1 << 12})
    with pytest.raises(BucketUnreachableError, match=r"sends whole files only.*zip::simplecache::https://…"):
        plain.index()
    cached = Bucket(f"zip://::simplecache::{web[0]}/{packed.name}", simplecache={"cache_storage": str(tmp_path / "c")})
    assert sum(1 for _ in cached.iter_records()) == 29 * 500
    cached._folder._storage()[0].fo.close()  # older versions of fsspec leave it to chance
    packed.unlink()


def test_a_folder_of_a_web_server_is_read_as_the_web_server_is(web):
    write_export(web[1] / "below" / "shop", {n: [Event("bob", n, "x" * 1000)] * 5_000 for n in (1, 2)})
    bucket = Bucket("shop", fs=DirFileSystem(f"{web[0]}/below", fsspec.filesystem("http")))
    assert sum(1 for _ in bucket.iter_records()) == 10_000


@pytest.mark.parametrize("name", ["status.csv", "index.csv", "revisions/1.json"])
def test_a_file_of_the_disk_that_may_not_be_read_is_named(name, monkeypatch, tmp_path):
    bucket = write_export(tmp_path, {1: [Event("bob", 1, "x")]})
    opened = LocalFileOpener._open

    def denied(self: LocalFileOpener) -> None:
        if self.path.endswith(name):
            raise PermissionError(errno.EACCES, "Permission denied", self.path)
        opened(self)

    monkeypatch.setattr(LocalFileOpener, "_open", denied)
    with pytest.raises(PermissionError, match=re.escape((tmp_path / name).as_posix())):
        (bucket.status(), list(bucket.iter_records()))


def test_errors_that_speak_for_themselves_stay_what_they_are(tmp_path: Path):
    (tmp_path / "status.csv").mkdir()
    with pytest.raises((IsADirectoryError, PermissionError), match=r"status\.csv"):  # the second on Windows
        Bucket(tmp_path).status()
    with pytest.raises(ValueError, match="Protocol not known: nosuch"):
        Bucket("nosuch://shop").status()
    with pytest.raises(TypeError, match="no_such_option"):
        Bucket("s3://acme", no_such_option=1).status()


@pytest.mark.parametrize("url", ["abfs://container@account.dfs.core.windows.net/x", "sftp://bob:secret@example.com/x"])
def test_a_missing_package_is_named_whatever_the_address_holds(url, monkeypatch):
    for package in ("adlfs", "paramiko", "sshfs"):
        for module in [name for name in sys.modules if name.startswith(f"{package}.")]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "fsspec.implementations.sftp", raising=False)
    loaded = sys.modules["fsspec.registry"]._registry  # classes that another test has loaded
    for protocol in ("abfs", "sftp"):
        monkeypatch.delitem(loaded, protocol, raising=False)
    with pytest.raises(ImportError, match=r"adlfs|paramiko|sshfs") as caught:
        Bucket(url).index()
    assert "secret" not in "".join(traceback.format_exception(caught.value))


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


def test_what_lies_in_the_memory_of_one_process(tmp_path):
    memory = MemoryFileSystem()
    with zipfile.ZipFile(memory.open("/private.zip", "wb"), "w") as packed:
        packed.writestr("status.csv", "")
    (tmp_path / "private.zip").write_bytes(memory.cat_file("/private.zip"))
    archive = fsspec.filesystem("zip", fo="memory://private.zip")
    cached = fsspec.filesystem("simplecache", fs=fsspec.filesystem("dir", path="/x", fs=memory))
    assert all(Folder("", fs, {}).is_private for fs in (memory, archive, cached))
    assert Folder("zip://.::memory://private.zip", None, {}).is_private
    on_disk = fsspec.filesystem("zip", fo=str(tmp_path / "private.zip"))
    assert not Folder("", on_disk, {}).is_private
