"""A bar shows how far reading has come: on a terminal, in a notebook, around the iterator."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from fsspec.callbacks import TqdmCallback
from nbclient import NotebookClient
from tqdm import tqdm

import kmexport
from kmexport import Event
from kmexport.testing import write_export

EVENTS = [Event("ann", n, "x", {"filler": "." * 500}) for n in range(200)]


@pytest.fixture
def bucket(tmp_path):
    return write_export(tmp_path / "shop", {1: EVENTS[:100], 2: EVENTS[100:]})


def test_tqdm_of_the_iterator_counts_records(bucket):
    shown = io.StringIO()
    records = list(tqdm(bucket.iter_records(), file=shown, mininterval=0))
    assert records == EVENTS
    assert "200it" in shown.getvalue()


def test_a_tqdm_callback_shows_bytes(bucket, tmp_path):
    total = sum(path.stat().st_size for path in (tmp_path / "shop/revisions").iterdir())
    shown = io.StringIO()
    with TqdmCallback({"file": shown, "mininterval": 0}) as callback:
        assert sum(1 for _ in bucket.iter_records(callback=callback)) == 200
    assert f"{total}/{total}" in shown.getvalue()


def test_one_word_shows_a_bar_of_bytes(bucket, capsys):
    assert list(bucket.iter_records(callback="tqdm")) == EVENTS
    shown = capsys.readouterr().err
    assert "100%" in shown
    assert re.search(r"[kM]B/s", shown)


def test_the_bar_is_closed_when_the_loop_is_left(bucket, capsys):
    for _ in bucket.iter_records(callback="tqdm"):
        break
    assert capsys.readouterr().err.endswith("\n")
    assert not tqdm._instances


def test_the_alias_pass_shows_it_too(bucket, capsys):
    bucket.identities(callback="tqdm")
    assert "100%" in capsys.readouterr().err


def test_another_word_is_an_error_at_the_call(bucket):
    with pytest.raises(ValueError, match="not 'rich'"):
        bucket.iter_records(callback="rich")


def test_without_tqdm_the_call_says_what_to_install():
    code = (
        "import kmexport.storage.open_files\n"
        "kmexport.storage.open_files.find_spec = lambda name: None\n"
        "try:\n    kmexport.Bucket.sample().iter_records(callback='tqdm')\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'kmexport[progress]'" in done.stdout


def test_a_notebook_shows_the_bar(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", f"{sys.prefix}/share/jupyter")  # this Python's kernel, not one of the user's
    source = "from kmexport import Bucket\nsum(1 for _ in Bucket.sample().iter_records(callback='tqdm'))"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    widgets = notebook.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"].values()
    bars = [widget["state"] for widget in widgets if widget["model_name"] == "FloatProgressModel"]
    total = sum(path.stat().st_size for path in (Path(kmexport.__file__).parent / "sample/revisions").iterdir())
    assert [(bar["value"], bar["max"]) for bar in bars] == [(total, total)]
    assert notebook.cells[0].outputs[-1].data["text/plain"] == "2000"
