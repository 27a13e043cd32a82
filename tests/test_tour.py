from __future__ import annotations

import subprocess
import sys

from kmexport.testing import write_export
from kmexport.tour import main


def test_the_tour_of_the_sample():
    done = subprocess.run([sys.executable, "-m", "kmexport.tour"], capture_output=True, text=True, check=True)
    assert "12 of 13 revisions are exported" in done.stdout
    assert "Records: 2,000, and 0 lines that are none" in done.stdout
    assert "viewed product" in done.stdout
    assert "Alias(person=" in done.stdout
    assert done.stderr == ""


def test_the_tour_of_another_export(tmp_path, capsys):
    write_export(tmp_path, {1: [b'{"_p":"ana","_t":0}', b"broken"]})
    assert main([str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "Records: 1, and 1 lines that are none" in printed
    assert "revisions/1.json, line 2: not a JSON object" in printed
    assert "From 1970-01-01 00:00:00 UTC" in printed


def test_an_empty_export(tmp_path, capsys):
    write_export(tmp_path, {})
    assert main([str(tmp_path)]) == 0
    assert "no rows yet" in capsys.readouterr().out


def test_no_export_there(tmp_path, capsys):
    assert main([str(tmp_path / "nothing")]) == 1
    assert "there is no status.csv" in capsys.readouterr().err


def test_it_has_no_options(capsys):
    assert main(["--help"]) == 2
    assert main(["a", "b"]) == 2
    assert "usage: python -m kmexport.tour [URL]" in capsys.readouterr().err
