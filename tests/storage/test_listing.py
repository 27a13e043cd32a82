"""What a listing is, and what is none: an answer that fails never looks like an empty folder."""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from kmexport import BucketNotFoundError, BucketUnreachableError, Event
from kmexport.storage.folder import Folder
from kmexport.testing import write_export
from tests.support.proxies import PLANS, Fault, Proxy, proxied
from tests.support.servers import S3Server
from tests.support.systems import NEEDS_PIPES, make_link

NAMES = {f"{number}.json" for number in range(1, 8)}


@pytest.fixture(scope="module")
def shop(rclone: S3Server) -> Path:
    assert rclone.folder is not None
    folder = rclone.folder / "listed"
    write_export(folder, {number: [Event("bob", number, "x")] for number in range(1, 8)})
    return folder


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

    @pytest.mark.parametrize("kind", ["401", "403"])
    def test_denied(self, rclone, shop, kind):
        with (
            proxied(rclone.endpoint, plan=lambda *_: Fault(kind)) as s3,
            pytest.raises(PermissionError, match=r"access is denied, listing revisions"),
        ):
            on_s3(rclone, s3).list("revisions")


class TestFolders:
    def test_a_missing_folder_is_not_an_empty_one(self, tmp_path):
        memory = MemoryFileSystem()
        memory.makedirs("/empty/revisions")
        (tmp_path / "empty" / "revisions").mkdir(parents=True)
        for place in (str(tmp_path), "memory:/"):
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
        with pytest.raises(PermissionError) as caught:
            Folder(str(tmp_path), None, {}).list("revisions")
        assert caught.value.filename == str(tmp_path / "revisions")

    def test_a_web_server_has_no_listing(self, tmp_path, rclone, web):
        answers = partial(Folder, fs=None)
        assert answers(str(tmp_path), storage_options={}).has_listings
        assert answers("s3://listed", storage_options=rclone.options).has_listings
        cached = {"simplecache": {"cache_storage": str(tmp_path)}}
        for address, options in ((web[0], {}), (f"simplecache::{web[0]}", cached), (f"dir::{web[0]}", {})):
            folder = answers(f"{address}/listed", storage_options=options)
            assert not folder.has_listings
            with pytest.raises(BucketUnreachableError, match="a web server has no listing of its files"):
                folder.list("revisions")
        assert Folder("", LocalFileSystem(), {}).has_listings
