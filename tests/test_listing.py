"""What a listing is, and what is none: an answer that fails never looks like an empty folder."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from kmexport import BucketNotFoundError, BucketUnreachableError, Event
from kmexport.storage.faults import WrongAnswerError
from kmexport.storage.folder import Folder
from kmexport.storage.webpage import Page, names_on_page
from kmexport.testing import write_export
from tests.proxies import PLANS, Fault, Proxy, proxied
from tests.servers import S3Server
from tests.systems import NEEDS_PIPES, make_link

NAMES = {f"{number}.json" for number in range(1, 8)}
URL = "http://h/shop/revisions/"

PAGES = {
    "apache": '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN"><html><head><title>Index of /shop/revisions'
    '</title></head><body><table><tr><th><a href="?C=N;O=D">Name</a></th></tr><tr><td><a href="/shop/">Parent'
    " Directory</a></td></tr>{}</table><address>Apache</address></body></html>",
    "nginx": "<html>\r\n<head><title>Index</title></head>\r\n<body>\r\n<h1>Index</h1><hr><pre>"
    '<a href="../">../</a>\r\n{}</pre><hr></body>\r\n</html>\r\n',
    "go": '<!doctype html>\n<meta name="viewport" content="width=device-width">\n<pre>\n{}</pre>\n',
    "bare links": "{}",
}
LINKS = {
    "relative": '<a href="{}">{}</a>\n',
    "dot": "<A HREF='./{}'>{}</A>",
    "absolute path": "<a class=file href=/shop/revisions/{}>{}</a>",
    "whole": '<a href="http://H/shop/revisions/{}">{}</a>',
    "https": '<a title="x" href="https://h/shop/revisions/{}?sig=a&amp;b=c#top">{}</a>',
    "encoded": '<a href="/%73hop/old/../revisions%2F{}">{}</a>',
}


def page(text: str, **changes: object) -> Page:
    usual = {"asked": URL, "url": URL, "status": 200, "content_type": "text/html", "is_whole": False, "text": text}
    return Page(**{**usual, **changes})


class TestPages:
    @pytest.mark.parametrize("around", PAGES.values(), ids=PAGES)
    @pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
    def test_links(self, around, link):
        text = around.format("".join(link.format(name, name) for name in sorted(NAMES)))
        assert set(names_on_page(page(text))) == NAMES

    def test_links_that_lead_elsewhere_are_no_files_of_the_folder(self):
        hrefs = [
            "../other/1.json", "/other/revisions/2.json", "http://cdn/shop/revisions/3.json", "old/4.json", "5.json/",
            "/shop/revisions/../6.json", "mailto:7.json", "?8.json", "#9.json", "http://[10.json", "..", "../", "/", "",
        ]  # fmt: skip
        text = "<html><body>{}</body></html>".format("".join(f"<a href='{href}'>x</a>" for href in hrefs))
        assert names_on_page(page(text)) == []

    def test_the_base_of_a_page(self):
        text = "<html><head><base href='/shop/'></head><body><a href='revisions/1.json'>1</a></body></html>"
        assert names_on_page(page(text)) == ["1.json"]

    def test_a_redirect_to_the_same_folder_elsewhere(self):
        for url in ("https://h/shop/revisions/", "http://h/shop/revisions", "https://www.h/2026/revisions/"):
            assert names_on_page(page('<a href="revisions/../1.json">1</a>', url=f"{url.rstrip('/')}/")) == ["1.json"]

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"status": 204, "text": ""}, "has the status 204"),
            ({"status": 206}, "has the status 206"),
            ({"url": "http://h/login?next=/shop/revisions/"}, "redirects to another page, on h; is a login needed?"),
            ({"url": "https://sso.example.com/auth"}, "redirects to another page, on sso.example.com"),
            ({"content_type": "application/json", "text": "[]"}, "is application/json"),
            ({"content_type": "application/xml", "text": "<Error></Error>"}, "is application/xml"),
            ({"content_type": "text/plain", "text": "1.json"}, "is text/plain"),
            ({"content_type": "", "text": ""}, "is no HTML"),
            ({"text": ""}, "is no HTML"),
            ({"content_type": "", "text": '{"name": "1.json"}'}, "is no HTML"),
            ({"content_type": "", "text": "<?xml version='1.0'?><Error><Code>Busy</Code></Error>"}, "is no HTML"),
            ({"text": "<html><form><input name=p type='PASSWORD'></form></html>"}, "is a page to log in"),
        ],
    )
    def test_what_is_no_listing(self, changes, reason):
        with pytest.raises(WrongAnswerError, match=re.escape(reason)):
            names_on_page(page(**{"text": "<html><body></body></html>", **changes}))

    @given(st.data())
    def test_a_page_that_is_cut_off(self, data):
        around = data.draw(st.sampled_from(["apache", "nginx", "go"]))
        text = PAGES[around].format("".join(LINKS["relative"].format(name, name) for name in sorted(NAMES)))
        cut = text[: data.draw(st.integers(0, len(text) - 1))]
        try:
            found = names_on_page(page(cut))
        except WrongAnswerError:
            return
        assert set(found) == NAMES

    @given(st.text())
    def test_any_text_gives_names_or_an_error(self, text):
        try:
            found = names_on_page(page(text))
        except WrongAnswerError:
            return
        assert not any("/" in name for name in found)


@pytest.fixture(scope="module")
def shop(rclone: S3Server, web: tuple[str, Path]) -> Iterator[Path]:
    assert rclone.folder is not None
    folder = rclone.folder / "listed"
    write_export(folder, {number: [Event("bob", number, "x")] for number in range(1, 8)})
    make_link(web[1] / folder.name, folder)
    yield folder
    (web[1] / folder.name).unlink()


def on_s3(server: S3Server, proxy: Proxy) -> Folder:
    # Three files a page: s3fs hands this on, so that a small folder has more than one page.
    config = {"read_timeout": 0.5, "retries": {"max_attempts": 1}}
    pages = {"s3_additional_kwargs": {"MaxKeys": 3}, "config_kwargs": config}
    return Folder("s3://listed", None, {**server.options, "endpoint_url": proxy.endpoint, **pages})


# What a listing can be mistaken for nothing by; what the others do is tested elsewhere.
WRONG = [kind for kind in PLANS if kind not in ("drip", "stall", "401", "403", "whole", "other part", "replaced")]
Found: TypeAlias = "list[tuple[str, int | None]] | Exception"


@pytest.fixture(scope="module")
def found_on_s3(rclone: S3Server, shop: Path) -> dict[tuple[str, int], Found]:
    """What comes of a listing of three pages when one of them fails for ever in some way. All at once: clients wait."""

    def find(kind: str, number: int) -> Found:
        pages: dict[str, int] = {}

        def plan(_: str, path: str) -> Fault | None:
            if "list-type=2" not in path:
                return None
            page = pages.setdefault(unquote(path), len(pages) + 1)
            return Fault(kind) if page == number else None

        with proxied(rclone.endpoint, plan=plan) as proxy:
            try:
                return on_s3(rclone, proxy).list("revisions")
            except Exception as error:  # noqa: BLE001  # the tests say which may come
                return error
            finally:
                assert proxy.faults[kind] >= 1

    cases = list(product(WRONG, [1, 2, 3]))
    with ThreadPoolExecutor(len(cases)) as pool:
        return dict(zip(cases, pool.map(find, *zip(*cases, strict=True), timeout=120), strict=True))


class TestServers:
    @pytest.mark.slow
    @pytest.mark.xdist_group("pages")
    @pytest.mark.parametrize("number", [1, 2, 3])
    @pytest.mark.parametrize("kind", WRONG)
    def test_a_page_of_s3_that_fails_for_ever(self, found_on_s3, kind, number):
        found = found_on_s3[kind, number]
        if kind == "longer" and isinstance(found, list):  # the parser of XML may pass over what is behind its end
            assert {name for name, _ in found} == NAMES
            return
        assert isinstance(found, BucketUnreachableError | PermissionError), found
        assert "listing revisions" in str(found)

    @pytest.mark.parametrize("fault", [Fault("404"), Fault("html"), Fault("204"), Fault("shorter", 0.9)])
    def test_a_page_that_fails_once(self, rclone, shop, fault):
        faults = iter([None, fault])

        def plan(_: str, path: str) -> Fault | None:
            return next(faults, None) if "list-type=2" in path else None

        with proxied(rclone.endpoint, plan=plan) as proxy:
            found = on_s3(rclone, proxy).list("revisions")
        assert sorted(found) == [(name, (shop / "revisions" / name).stat().st_size) for name in sorted(NAMES)]
        assert proxy.faults == {fault.kind: 1}

    @pytest.mark.parametrize("kind", [kind for kind in WRONG if kind != "longer"])
    def test_a_page_of_a_web_server_that_fails(self, web, shop, kind):
        def plan(_: str, path: str) -> Fault | None:
            return Fault(kind) if path.endswith("/revisions/") else None

        with proxied(web[0], plan=plan) as proxy:
            folder = Folder(f"{proxy.endpoint}/listed", None, {})
            if kind == "404":
                with pytest.raises(BucketNotFoundError, match="there is no folder revisions"):
                    folder.list("revisions")
            elif kind == "html":  # who should tell a page without links from an empty folder?
                assert folder.list("revisions") == []
                assert not folder.lists_reliably
            else:
                with pytest.raises(BucketUnreachableError, match="listing revisions failed"):
                    folder.list("revisions")
            assert proxy.faults[kind] >= 1

    @pytest.mark.parametrize("kind", ["401", "403"])
    def test_denied(self, rclone, web, shop, kind):
        with (
            proxied(rclone.endpoint, plan=lambda *_: Fault(kind)) as s3,
            proxied(web[0], plan=lambda *_: Fault(kind)) as http,
        ):
            for folder in (on_s3(rclone, s3), Folder(f"{http.endpoint}/listed", None, {})):
                with pytest.raises(PermissionError, match=r"access is denied, listing revisions"):
                    folder.list("revisions")


class TestFolders:
    def test_a_missing_folder_is_not_an_empty_one(self, tmp_path, web):
        memory = MemoryFileSystem()
        memory.makedirs("/empty/revisions")
        (tmp_path / "empty" / "revisions").mkdir(parents=True)
        (web[1] / "empty" / "revisions").mkdir(parents=True)
        for place in (str(tmp_path), "memory:/", web[0]):
            assert Folder(f"{place}/empty", None, {}).list("revisions") == []
            with pytest.raises(BucketNotFoundError, match="there is no folder revisions"):
                Folder(f"{place}/missing", None, {}).list("revisions")

    def test_a_file_is_no_folder(self, tmp_path):
        (tmp_path / "revisions").touch()
        MemoryFileSystem().pipe_file("/shop/revisions", b"")
        for place in (str(tmp_path), "memory://shop"):
            with pytest.raises(
                BucketUnreachableError, match=r"listing revisions failed \(it is a file and no folder\)"
            ):
                Folder(place, None, {}).list("revisions")

    def test_what_is_no_file_is_told(self, tmp_path, caplog):
        write_export(tmp_path, {1: [Event("bob", 1, "x")]})
        revisions = tmp_path / "revisions"
        make_link(revisions / "2.json", tmp_path / "nowhere")
        (revisions / "3.json.gz").mkdir()
        make_link(revisions / "4.json", revisions / "1.json")
        make_link(revisions / "5.json", tmp_path)
        (revisions / "old").mkdir()
        with caplog.at_level(logging.WARNING, "kmexport"):
            found = Folder(str(tmp_path), None, {}).list("revisions")
        size = (revisions / "1.json").stat().st_size
        assert sorted(found) == [("1.json", size), ("4.json", size)]
        assert sorted(caplog.messages) == [
            "2.json: not read, it is a link to nothing",
            "3.json.gz: not read, it is a folder",
            "5.json: not read, it is a folder",
        ]

    @NEEDS_PIPES
    def test_a_pipe_is_told(self, tmp_path, caplog):
        write_export(tmp_path, {1: [Event("bob", 1, "x")]})
        os.mkfifo(tmp_path / "revisions" / "6.json")
        with caplog.at_level(logging.WARNING, "kmexport"):
            assert [name for name, _ in Folder(str(tmp_path), None, {}).list("revisions")] == ["1.json"]
        assert caplog.messages == ["6.json: not read, it is no file"]

    def test_a_folder_that_may_not_be_read_is_named(self, monkeypatch, tmp_path):
        write_export(tmp_path, {1: [Event("bob", 1, "x")]})

        def denied(path: str) -> None:
            raise PermissionError(13, "Permission denied", str(tmp_path / "revisions"))

        monkeypatch.setattr("fsspec.implementations.local.os.scandir", denied)
        with pytest.raises(PermissionError, match=re.escape(str(tmp_path / "revisions"))):
            Folder(str(tmp_path), None, {}).list("revisions")

    def test_which_listings_are_the_whole_truth(self, tmp_path, rclone, web):
        answers = partial(Folder, fs=None)
        assert answers(str(tmp_path), storage_options={}).lists_reliably
        assert answers("s3://listed", storage_options=rclone.options).lists_reliably
        assert not answers(f"{web[0]}/listed", storage_options={}).lists_reliably
        cached = {"simplecache": {"cache_storage": str(tmp_path)}}
        assert not answers(f"simplecache::{web[0]}/listed", storage_options=cached).lists_reliably
        assert not answers(f"dir::{web[0]}/listed", storage_options={}).lists_reliably
        assert Folder("", LocalFileSystem(), {}).lists_reliably
