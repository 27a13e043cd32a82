"""The pages for analysts over an export as a reader has it: with lines that nothing can repair."""

from __future__ import annotations

import contextlib
import doctest
import io
from pathlib import Path

import matplotlib as mpl
import pytest

from kmexport import Bucket, MalformedRecordError, mirror
from kmexport.testing import BROKEN_LINES
from tests.support.pages import ROOT

mpl.use("Agg")
NAMES = ("ten-questions", "reports", "sql", "notebook", "custom-reports", "why-different", "day-by-day")
PAGES = ["README.md", *(f"docs/{name}.md" for name in (*NAMES, "records-or-columns"))]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """The sample, with two cut-off lines in each revision."""
    folder = tmp_path_factory.mktemp("own") / "export"
    mirror(Bucket.sample(), folder)
    for path in folder.glob("revisions/*.json"):
        first, *rest = path.read_bytes().splitlines(keepends=True)
        cut = b'{"_n":"visited site","_p":"ana127@example.com","_p2":"x","plan":"Free","billing amount":'
        path.write_bytes(b"".join([first, BROKEN_LINES["cut off"], b"\n", cut, b"\n", *rest]))
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_no_example_stops_at_a_bad_line(page, own, monkeypatch):
    monkeypatch.setattr(Bucket, "sample", lambda: Bucket(own))
    names: dict[str, object] = {}
    for example in doctest.DocTestParser().get_examples(Path(ROOT, page).read_text(encoding="utf-8")):
        code = compile(example.source, f"{page}, line {example.lineno + 1}", "single")
        expected = pytest.raises(Exception) if example.exc_msg else contextlib.nullcontext()
        with expected as caught, contextlib.redirect_stdout(io.StringIO()):
            exec(code, names)
        assert caught is None or not isinstance(caught.value, MalformedRecordError), example.source
