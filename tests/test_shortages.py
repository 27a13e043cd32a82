"""Files that a listing lacks, and files that go while they are read: told, and never fewer records in silence."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from kmexport import Bucket, EmptyListingError, Event, RevisionNotFoundError, Window
from kmexport.testing import write_export
from tests.servers import serve

GONE = "left out: the index names it and it is not there"


def events(number: int, many: int = 1) -> list[Event]:
    return [Event("bob", number * 10, "x", {"filler": "." * 50})] * many


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@contextmanager
def web_server(folder: Path, listing: str) -> Iterator[Bucket]:
    """A web server whose page of revisions/ is as told: "403", "404", or a page with these names only."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
            pass

        def do_GET(self) -> None:  # the base's name
            if not self.path.endswith("revisions/"):
                super().do_GET()
            elif listing.isdigit():
                self.send_error(int(listing))
            else:
                links = "".join(f'<li><a href="{name}">{name}</a></li>' for name in listing.split())
                page = f"<html><head><title>Index of /revisions/</title></head><body><ul>{links}</ul></body></html>"
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page.encode())

    with serve(partial(Handler, directory=str(folder))) as url:
        yield Bucket(url)


class TestListingsOfWebServers:
    @pytest.mark.parametrize("listing", ["403", "404", "2.json", "2.json 3.json"])
    def test_what_the_index_names_is_read_whether_listed_or_not(self, listing, tmp_path, caplog):
        write_export(tmp_path, {n: events(n) for n in range(1, 5)}, gone=[4])
        with web_server(tmp_path, listing) as bucket:
            assert [event.timestamp for event in bucket.iter_records()] == [10, 20, 30]
            assert [revision.number for revision in bucket.revisions()] == [1, 2, 3]
            assert [event.timestamp for event in bucket.iter_records(Window(30, 31), neighbours=0)] == [30]
            assert [revision.number for revision in bucket.audit().missing] == [4]
            assert [revision.number for revision in bucket.coverage(Window(35, 41)).missing] == [4]
        told = warnings(caplog)
        assert told.count(f"revisions/4.json: {GONE}") == 1
        assert [text for text in told if "can't be listed" in text] if listing.isdigit() else len(told) == 1

    @pytest.mark.parametrize("listing", ["403", "404"])
    def test_nothing_listed_and_nothing_there_is_an_error(self, listing, tmp_path):
        write_export(tmp_path, {1: events(1), 2: events(2)}, gone=[1, 2])
        with web_server(tmp_path, listing) as bucket:
            for ask in (bucket.revisions, partial(list, bucket.iter_records(on_error="skip"))):
                with pytest.raises(EmptyListingError):
                    ask()


class Vanishing(MemoryFileSystem):
    """Files whose second reading says that they are gone."""

    cachable = False

    def open(self, path: str, mode: str = "rb", **options: object) -> object:
        file = super().open(path, mode, **options)
        return VanishingFile(file, path) if mode == "rb" and path.endswith("2.json") else file


class VanishingFile:
    def __init__(self, file: MemoryFile, path: str) -> None:
        self.file = file
        self.path = path

    def read(self, size: int) -> bytes:
        if self.file.tell():
            raise FileNotFoundError(self.path)
        block: bytes = self.file.read(size)
        return block

    def close(self) -> None:
        self.file.close()


class TestFilesThatGoWhileTheyAreRead:
    def test_skip_goes_on_and_says_so(self, caplog):
        bucket = write_export("/vanishing", {1: events(1), 2: events(2, 40_000), 3: events(3)}, fs=Vanishing())
        times = [event.timestamp for event in bucket.iter_records(on_error="skip", prefetch_bytes=0)]
        assert (times[0], times[-1]) == (10, 30)
        assert 0 < times.count(20) < 40_000
        told = "revisions/2.json: the file went after it was listed; the rest of it was left out"
        assert told in warnings(caplog)
        assert not [text for text in warnings(caplog) if "on_error" in text]

    @pytest.mark.parametrize("policy", ["raise", lambda _: None])
    def test_any_other_policy_raises(self, policy):
        bucket = write_export("/vanishing", {1: events(1), 2: events(2, 40_000), 3: events(3)}, fs=Vanishing())
        with pytest.raises(RevisionNotFoundError, match=r'pass on_error="skip"'):
            list(bucket.iter_records(on_error=policy))
