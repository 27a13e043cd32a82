from __future__ import annotations

import json
import os
import subprocess
import sys

from kmexport.testing import write_export
from kmexport.tour import main


def test_the_tour_of_the_sample():
    done = subprocess.run([sys.executable, "-m", "kmexport.tour"], capture_output=True, text=True, check=True)
    assert "12 of 13 revisions are exported" in done.stdout
    assert "Lines: 2,000 read, 441 repaired, 0 unreadable\nRecords: 2,000\n" in done.stdout
    assert "viewed product" in done.stdout
    assert "Alias(person=" in done.stdout
    assert done.stderr == ""
    *_, first, question = [line.strip() for line in done.stdout.splitlines()]
    pasted = subprocess.run([sys.executable, "-c", f"{first}\n{question}"], capture_output=True, text=True, check=True)
    assert pasted.stdout.startswith("viewed product: 185 people, 542 times")


def test_the_tour_of_another_export(tmp_path, capsys):
    write_export(tmp_path, {1: [b'{"_p":"ana","_t":0}', b"broken"]})
    assert main([str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "Lines: 2 read, 0 repaired, 1 unreadable" in printed
    assert "revisions/1.json, line 2: not a JSON object" in printed
    assert printed.count('on_error="skip"') == 1
    assert "more" not in printed
    assert "From 1970-01-01 00:00:00 UTC" in printed


def test_of_many_broken_lines_three_are_shown_and_the_others_counted(tmp_path, capsys):
    write_export(tmp_path, {1: [b'{"_p":"ana","_t":0}', *[b"broken"] * 5]})
    assert main([str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("not a JSON object") == 3
    assert "line 4: not a JSON object" in printed
    assert "\n  and 2 more\n" in printed


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


def tour_of(url: str, environment: dict[str, str]) -> str:
    """What a tour prints that knows of no credentials but those in this environment."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FSSPEC_"))}
    bare |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    bare |= {"AWS_EC2_METADATA_DISABLED": "true"}
    command = [sys.executable, "-m", "kmexport.tour", url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**bare, **environment})
    return done.stdout + done.stderr


def test_options_of_the_storage_come_from_the_environment(rclone):
    write_export(rclone.folder / "tour-env", {1: [b'{"_p":"ana","_t":0}']})
    assert "Lines: 1 read" in tour_of("s3://tour-env", {"FSSPEC_S3": json.dumps(rclone.options)})
    assert "Lines:" not in tour_of("s3://tour-env", {"FSSPEC_S3_ENDPOINT_URL": rclone.endpoint})


def test_a_profile_comes_from_the_environment(rclone, tmp_path):
    write_export(rclone.folder / "tour-profile", {1: [b'{"_p":"ana","_t":0}']})
    credentials = tmp_path / "credentials"
    credentials.write_text(
        f"[analytics]\naws_access_key_id={rclone.key}\naws_secret_access_key={rclone.secret}\n", encoding="utf-8"
    )
    environment = {
        "AWS_SHARED_CREDENTIALS_FILE": str(credentials),
        "FSSPEC_S3_ENDPOINT_URL": rclone.endpoint,
        "FSSPEC_S3_PROFILE": "analytics",
    }
    assert "Lines: 1 read" in tour_of("s3://tour-profile", environment)
