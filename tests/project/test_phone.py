"""No page of the docs scrolls sideways on a phone of 390 px: every built page in headless Chromium.

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

# Loads one page after the other in a frame of a phone's width, and writes what is wider than that.
CHECK = """<!doctype html><meta charset="utf-8"><iframe id="frame" style="width:%dpx;height:800px;border:0"></iframe>
<pre id="found"></pre><script>
const pages = %s, found = {}, frame = document.getElementById("frame");
function next() {
  const page = pages.shift();
  if (!page) { document.getElementById("found").textContent = "DONE" + JSON.stringify(found); return; }
  frame.onload = () => {
    const inside = frame.contentDocument, wide = [];
    const all = inside.documentElement.scrollWidth;
    if (all > frame.contentWindow.innerWidth) wide.push("the page: " + all);
    for (const code of inside.querySelectorAll("pre"))
      if (code.scrollWidth > code.clientWidth) wide.push("code: " + code.textContent.slice(0, 60));
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
    (site / "wide.html").write_text('<div style="width:500px">wide</div>', encoding="utf-8")
    (site / "control.html").write_text(CHECK % (WIDTH, '["wide.html"]'), encoding="utf-8")

    with serve_http(site) as url:
        yield url


def look(url: str, folder: Path) -> dict[str, list[str]]:
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}", "--window-size=1280,1000"]
    command = [str(CHROMIUM), *options, "--virtual-time-budget=600000", "--dump-dom", url]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False, timeout=300)
    written = re.search(r'<pre id="found">DONE(.*?)</pre>', done.stdout, re.DOTALL)
    assert written is not None, done.stderr[-2000:]
    found: dict[str, list[str]] = json.loads(html.unescape(written[1]))
    return found


@pytest.mark.slow
def test_nothing_scrolls_sideways_on_a_phone(pages, address, tmp_path):
    assert len(pages) > 40
    assert look(f"{address}/control.html", tmp_path / "first") == {"wide.html": ["the page: 508"]}
    assert look(f"{address}/check.html", tmp_path / "second") == {}
