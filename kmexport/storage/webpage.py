"""A folder on a web server: the links on its page, once it is certain that this is the page."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit

from attrs import frozen

from kmexport.storage.faults import WrongAnswerError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["list_on_the_web", "names_on_page"]

_LONGEST_PAGE = 256 << 20  # bytes; 100 bytes a file are usual
_BLOCK_BYTES = 1 << 20

# HTML asks for the ends of these. Those of <html> and <body> may be left out.
_ENDED = ("a", "ol", "pre", "table", "ul")
_MAY_BE_OPEN = ("body", "html")


@frozen
class Page:
    """An answer of a web server, and where it came from after all redirects."""

    asked: str
    url: str
    status: int
    content_type: str
    is_whole: bool  # its length was announced, so that it can't be cut off
    text: str


def list_on_the_web(fs: AbstractFileSystem, path: str) -> list[tuple[str, int | None]]:
    """The files that the page of the folder links to; their sizes are not told."""
    from fsspec.asyn import sync  # noqa: PLC0415

    # With the slash the server need not redirect.
    page: Page = sync(fs.loop, _fetch, fs, f"{path.rstrip('/')}/")
    return [(name, None) for name in names_on_page(page)]


def names_on_page(page: Page) -> list[str]:
    """The names of the files right in the folder. Raises WrongAnswerError for a page that is no listing of it."""
    _check_answer(page)
    links = _Links()
    links.feed(page.text)
    is_cut = links.rawdata.startswith("<")  # the parser waits for the end of a tag
    links.close()
    _check_text(page, links, is_cut=is_cut)
    names = (_name_in(page.url, links.base, href) for href in links.hrefs)
    return [name for name in dict.fromkeys(names) if name is not None]


async def _fetch(fs: AbstractFileSystem, url: str) -> Page:
    session = await fs.set_session()
    async with session.get(fs.encode_url(url), **fs.kwargs) as answer:
        fs._raise_not_found_for_status(answer, url)
        body = bytearray()
        while block := await answer.content.read(_BLOCK_BYTES):
            body += block
            if len(body) > _LONGEST_PAGE:
                msg = f"the page of the folder is longer than {_LONGEST_PAGE:,} bytes"
                raise WrongAnswerError(msg, may_pass=False)
        is_chunked = answer.headers.get("Transfer-Encoding", "").lower() == "chunked"
        return Page(
            asked=url,
            url=str(answer.url),
            status=answer.status,
            content_type=answer.headers.get("Content-Type", "").partition(";")[0].strip().lower(),
            is_whole=is_chunked or answer.content_length is not None,
            text=body.decode("utf-8", "replace"),
        )


def _check_answer(page: Page) -> None:
    if page.status != 200:
        msg = f"the answer has the status {page.status} where the page of a folder was asked for"
        raise WrongAnswerError(msg)
    asked, answered = _last_folder(page.asked), _last_folder(page.url)
    if asked != answered:
        msg = f"the server redirects to another page, on {urlsplit(page.url).hostname}; is a login needed?"
        raise WrongAnswerError(msg, may_pass=False)
    if page.content_type not in ("", "text/html", "application/xhtml+xml"):
        msg = f"the answer is {page.content_type} where a page of links was asked for"
        raise WrongAnswerError(msg)


def _check_text(page: Page, links: _Links, *, is_cut: bool) -> None:
    if links.asks_for_password:
        msg = "the answer is a page to log in"
        raise WrongAnswerError(msg, may_pass=False)
    if not any(links.begun[tag] for tag in (*_ENDED, *_MAY_BE_OPEN)):
        msg = "the answer is no HTML where a page of links was asked for"
        raise WrongAnswerError(msg)
    to_end = _ENDED if page.is_whole else (*_ENDED, *_MAY_BE_OPEN)
    if is_cut or any(links.begun[tag] > links.ended[tag] for tag in to_end):
        msg = "the page of the folder is cut off"
        raise WrongAnswerError(msg)


def _last_folder(url: str) -> str:
    return unquote(urlsplit(url).path).rstrip("/").rpartition("/")[2]


def _name_in(url: str, base: str, href: str) -> str | None:
    """The name of the file that a link leads to, if it lies right in the folder that the page shows."""
    folder = urlsplit(url)
    try:
        link = urlsplit(urljoin(urljoin(url, base), href))
    except ValueError:  # no address at all
        return None
    above = f"{unquote(folder.path).rstrip('/')}/"
    path = unquote(link.path)
    is_here = link.scheme in ("http", "https") and link.netloc.lower() == folder.netloc.lower()
    name = path.removeprefix(above) if is_here and path.startswith(above) else ""
    return name if name and "/" not in name else None


class _Links(HTMLParser):
    """What the links of a page lead to, and which tags begin and end."""

    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []
        self.base = ""
        self.asks_for_password = False
        self.begun: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.begun[tag] += 1
        values = {name: value or "" for name, value in attrs}
        if tag == "a" and "href" in values:
            self.hrefs.append(values["href"])
        elif tag == "base":
            self.base = self.base or values.get("href", "")
        elif tag == "input" and values.get("type", "").lower() == "password":
            self.asks_for_password = True

    def handle_endtag(self, tag: str) -> None:
        self.ended[tag] += 1
