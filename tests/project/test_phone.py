"""Nothing in the docs scrolls sideways on a phone of 390 px, and no text is pale: every page in headless Chromium.

Run by `nox -s phone`, which builds the docs first. Skipped where there is no Chromium, or where no docs are built.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import serve_http

ROOT = Path(__file__).parents[2]
BUILT = Path(os.environ.get("KMEXPORT_HTML", ROOT / "docs" / "_build" / "html"))
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
WIDTH = 390
NOT_OURS = {"genindex.html", "search.html", "py-modindex.html"}

# Loads one page after the other in a frame of a phone's width. Writes what is wider than that, and which text stands
# out less from its ground, in either theme, than WCAG 2 asks for. A ground that lets light through lies on the next.
CHECK = """<!doctype html><meta charset="utf-8"><iframe id="frame" style="width:%dpx;height:800px;border:0"></iframe>
<pre id="found"></pre><script>
const pages = %s, found = {}, frame = document.getElementById("frame");
const numbers = (colour) => [...colour.match(/[\\d.]+/g).map(Number), 1].slice(0, 4);
const over = (upper, lower) => [0, 1, 2].map((at) => upper[at] * upper[3] + lower[at] * (1 - upper[3])).concat(1);
function light(colour) {
  const [red, green, blue] = colour.map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
function contrast(element) {
  const style = getComputedStyle(element);
  if (!element.checkVisibility() || style.visibility === "hidden") return 21;
  const grounds = [[255, 255, 255, 1]];
  for (let one = element, at = 1; one; one = one.parentElement)
    grounds.splice(at, 0, numbers(getComputedStyle(one).backgroundColor));
  const ground = grounds.reduce((lower, upper) => over(upper, lower));
  const [less, more] = [light(ground), light(over(numbers(style.color), ground))].sort((a, b) => a - b);
  return (more + 0.05) / (less + 0.05);
}
function next() {
  const page = pages.shift();
  if (!page) { document.getElementById("found").textContent = "DONE" + JSON.stringify(found); return; }
  frame.onload = () => {
    const inside = frame.contentDocument, wide = [];
    const all = inside.documentElement.scrollWidth;
    if (all > frame.contentWindow.innerWidth) wide.push("the page: " + all);
    for (const part of inside.querySelectorAll("pre, .table-wrapper, .text_html"))
      if (part.scrollWidth > part.clientWidth) wide.push("code or table: " + part.textContent.slice(0, 60));
    for (const theme of ["light", "dark"]) {
      inside.body.dataset.theme = theme;
      const texts = inside.createTreeWalker(inside.body, NodeFilter.SHOW_TEXT), pale = new Set();
      while (texts.nextNode()) {
        const text = texts.currentNode, ratio = contrast(text.parentElement);
        if (text.data.trim() && ratio < 4.5) pale.add(text.data.trim().slice(0, 40));
      }
      if (pale.size) wide.push(theme + ": " + [...pale].slice(0, 5));
    }
    if (wide.length) found[page] = wide;
    next();
  };
  frame.src = page;
}
next();
</script>"""


@pytest.fixture
def pages() -> list[str]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    if not (BUILT / "index.html").exists():
        pytest.skip("the docs are not built: nox -s phone")
    return sorted(path.name for path in BUILT.glob("*.html") if path.name not in NOT_OURS)


@pytest.fixture
def address(pages: list[str], tmp_path: Path) -> Iterator[str]:
    """A server on this machine of the built pages, and of the page that looks at them."""
    site = tmp_path / "site"
    shutil.copytree(BUILT, site)
    (site / "check.html").write_text(CHECK % (WIDTH, json.dumps(pages)), encoding="utf-8")
    pale = '<div style="width:500px">wide</div><p style="color:#999">pale</p>'
    (site / "wide.html").write_text(pale, encoding="utf-8")
    (site / "control.html").write_text(CHECK % (WIDTH, '["wide.html"]'), encoding="utf-8")

    with serve_http(site) as url:
        yield url


def look(url: str, folder: Path) -> dict[str, list[str]]:
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={folder}",
        "--window-size=1280,1000",
    ]
    command = [str(CHROMIUM), *options, "--virtual-time-budget=600000", "--dump-dom", url]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False, timeout=300)
    written = re.search(r'<pre id="found">DONE(.*?)</pre>', done.stdout, re.DOTALL)
    assert written is not None, done.stderr[-2000:]
    found: dict[str, list[str]] = json.loads(html.unescape(written[1]))
    return found


@pytest.mark.slow
def test_nothing_scrolls_sideways_on_a_phone_and_no_text_is_pale(pages, address, tmp_path):
    assert len(pages) > 40
    found = {"wide.html": ["the page: 508", "light: pale", "dark: pale"]}
    assert look(f"{address}/control.html", tmp_path / "first") == found
    assert look(f"{address}/check.html", tmp_path / "second") == {}
