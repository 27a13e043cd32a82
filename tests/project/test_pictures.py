"""The pictures of the docs: each is what its script draws, in both themes, told in words, and legible."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from kmexport import Bucket

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "pictures"
NAMES = sorted({path.stem.rpartition("-")[0] for path in PICTURES.glob("*.svg")})
THEMES = ("light", "dark")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GROUNDS = {"light": "#ffffff", "dark": "#131416"}  # white, and the dark ground of the docs
PHONE = 350  # pixels that a picture gets on a phone
SHOWN = re.compile(
    r"```\{image\} pictures/(?P<myst>[\w-]+)-(?P<theme>light|dark)\.svg\n(?P<options>.*?)```"
    r'|<img src="docs/pictures/(?P<html>[\w-]+)-light\.svg"(?P<attributes>[^>]*)>',
    re.DOTALL,
)

PLOTS = [name for name in NAMES if name.startswith("report-")]  # matplotlib's; its versions may place things otherwise
OWN = [name for name in NAMES if name not in PLOTS]

each_own_file = pytest.mark.parametrize(("name", "theme"), [(name, theme) for name in OWN for theme in THEMES])
each_plot = pytest.mark.parametrize(("name", "theme"), [(name, theme) for name in PLOTS for theme in THEMES])
each_file = pytest.mark.parametrize(("name", "theme"), [(name, theme) for name in NAMES for theme in THEMES])


def read(name: str, theme: str) -> str:
    return (PICTURES / f"{name}-{theme}.svg").read_text(encoding="utf-8")


def words_of(drawing: str) -> list[str]:
    return [found.text or "" for found in ET.fromstring(drawing).iter() if found.tag.endswith("}text")]


def shown() -> list[re.Match[str]]:
    return [match for page in PAGES for match in SHOWN.finditer(page.read_text(encoding="utf-8"))]


def lightness(colour: str) -> float:
    """The relative luminance of a colour, as WCAG 2 defines it."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lower, higher = sorted([lightness(one), lightness(other)])
    return (higher + 0.05) / (lower + 0.05)


def test_contrast_is_that_of_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    command = [sys.executable, str(PICTURES / "draw.py"), "--into", str(folder)]
    subprocess.run(command, check=True, timeout=120)
    return folder


@pytest.mark.slow
def test_the_script_draws_what_is_kept_and_nothing_else(drawn):
    assert NAMES
    assert {path.name for path in drawn.iterdir()} == {path.name for path in PICTURES.glob("*.svg")}


@each_own_file
def test_a_picture_is_what_its_script_draws(drawn, name, theme):
    assert (drawn / f"{name}-{theme}.svg").read_text(encoding="utf-8") == read(name, theme)


@each_plot
def test_a_plot_says_what_its_script_draws(drawn, name, theme):
    words = words_of(read(name, theme))
    assert len(words) > 5
    assert words_of((drawn / f"{name}-{theme}.svg").read_text(encoding="utf-8")) == words


@each_file
def test_a_picture_is_well_formed_and_refers_to_nothing_outside(name, theme):
    drawing = ET.fromstring(read(name, theme))
    for element in drawing.iter():
        assert element.tag.rpartition("}")[2] not in {"script", "foreignObject", "a"}
        assert not re.search(r"url|@import", element.text or "")
        for attribute, value in element.attrib.items():
            assert not attribute.lower().startswith("on")
            if "href" in attribute or "url(" in value:
                assert re.search(r"(^|url\()#|^data:image/png;", value), f"{attribute}={value} leads out of the file"


@each_own_file
def test_text_stands_out_from_its_ground(name, theme):
    """The ground of a text is the last filled box before it that holds its place; or else the page."""
    boxes: list[tuple[float, float, float, float, str]] = []
    for element in ET.fromstring(read(name, theme)).iter():
        tag, found = element.tag.rpartition("}")[2], element.attrib
        if tag == "rect" and found["fill"] != "none":
            left, top, width, height = (float(found[side]) for side in ("x", "y", "width", "height"))
            boxes.append((left, top, left + width, top + height, found["fill"]))
        elif tag == "text":
            x, y = float(found["x"]), float(found["y"]) - 3
            under = [fill for left, top, right, low, fill in boxes if left <= x <= right and top <= y <= low]
            ground = under[-1] if under else GROUNDS[theme]
            assert contrast(found["fill"], ground) >= 4.5, f"{element.text!r}: {found['fill']} on {ground}"


@each_own_file
def test_text_is_legible_on_a_phone(name, theme):
    drawing = ET.fromstring(read(name, theme))
    scale = min(1, PHONE / float(drawing.attrib["width"]))
    sizes = {float(size) for element in drawing.iter() if (size := element.attrib.get("font-size"))}
    assert sizes
    assert min(sizes) * scale >= 9


@each_plot
def test_text_of_a_plot_is_legible_and_stands_out(name, theme):
    """In matplotlib's files a text has its size in pixels, of a picture whose width is given in points."""
    drawing = ET.fromstring(read(name, theme))
    width = float(drawing.attrib["width"].removesuffix("pt"))
    assert float(drawing.attrib["viewBox"].split()[2]) == width
    words = [found.attrib["style"] for found in drawing.iter() if found.tag.endswith("}text")]
    for style in words:
        size = re.search(r"font(?:-size)?: (?:\w+ )*?([\d.]+)px", style)
        assert size, style
        assert float(size[1]) * min(96 / 72, PHONE / width) >= 9
        colour = re.search(r"fill: (#\w+)", style)
        if name in ("report-cohorts", "report-paths") and (not colour or colour[1] == "#ffffff"):
            continue  # in a cell or a box: the tests of the reports' plots look at these
        assert contrast(colour[1] if colour else "#000000", GROUNDS[theme]) >= 4.5


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_shown_in_both_themes_and_told_in_words(name):
    of_it = [match for match in shown() if name in {match["myst"], match["html"]}]
    assert of_it, f"no page shows {name}"
    themes = [match["theme"] for match in of_it if match["myst"]]
    assert themes.count("light") == themes.count("dark")
    for match in of_it:
        if match["myst"]:
            assert re.search(rf"^:?class: only-{match['theme']}$", match["options"], re.MULTILINE)
            words = re.search(r"^:?alt: (?:>-\n)?(.*?)(?=^:?\w+: |^---|\Z)", match["options"], re.MULTILINE | re.DOTALL)
        else:
            words = re.search(r'alt="([^"]*)"', match["attributes"])
        assert words, f"{name} has no text for those who do not see it"
        assert len(words[1].split()) >= 8


def test_every_picture_that_a_page_shows_is_there():
    assert shown()
    for match in shown():
        for theme in THEMES:
            assert (PICTURES / f"{match['myst'] or match['html']}-{theme}.svg").is_file()


def test_the_pictures_are_small():
    sizes = {path.name: path.stat().st_size for path in PICTURES.glob("*.svg")}
    assert max(sizes.values()) < 60_000
    assert sum(sizes.values()) < 500_000


@each_own_file
def test_text_stays_inside_the_picture(name, theme):
    """A wide font takes some 0.6 of its size for a letter of plain text."""
    drawing = ET.fromstring(read(name, theme))
    for element in drawing.iter():
        if element.tag.endswith("}text"):
            wide = 0.6 * float(element.attrib["font-size"]) * len(element.text or "")
            left = (
                float(element.attrib["x"]) - {"start": 0, "middle": 0.5, "end": 1}[element.attrib["text-anchor"]] * wide
            )
            assert left >= 0, element.text
            assert left + wide <= float(drawing.attrib["width"]), element.text


def test_the_numbers_of_an_alternative_text_are_those_of_the_picture():
    """A plot has some of its numbers as heights only: these stand on the page, in what its code prints."""
    for page in PAGES:
        told = page.read_text(encoding="utf-8")
        for match in SHOWN.finditer(told):
            name = match["myst"]
            if name:
                words = " ".join(words_of(read(name, match["theme"])))
                words += SHOWN.sub("", told) if name in PLOTS else ""
                for number in re.findall(r"\d+(?:[.,]\d+)*", match["options"].partition("---\n")[2]):
                    assert re.search(rf"(?<!\d){number}(?!\d)", words), f"{name}: {number} is not in the picture"


class TestSpeeds:
    """The bars of docs/performance.md are the rows of its table of ratios, read here in another way."""

    def rows(self) -> list[list[str]]:
        lines = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8").splitlines()
        start = lines.index("| way | time |") + 2
        end = next(at for at in range(start, len(lines)) if not lines[at].startswith("|"))
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:end]]

    @pytest.mark.parametrize("theme", THEMES)
    def test_each_row_has_its_bar(self, theme):
        drawing = ET.fromstring(read("speeds", theme))
        bars = [float(found.attrib["width"]) for found in drawing if found.tag.endswith("}rect")]
        words = [found.text for found in drawing if found.tag.endswith("}text")]
        ratios = [float(ratio) for _, ratio in self.rows()]
        assert len(bars) == len(ratios) >= 5
        unit = bars[0] / ratios[0]
        assert bars == pytest.approx([unit * ratio for ratio in ratios], rel=0.01)
        assert words[2::2] == [ratio for _, ratio in self.rows()]


class TestPrefetch:
    def test_the_kept_times_are_of_a_run_that_makes_sense(self):
        kept = json.loads((PICTURES / "prefetch.json").read_text(encoding="utf-8"))
        for run, most in ((kept["ahead"], kept["requests"]), (kept["one_by_one"], 1)):
            assert len(run) == len(list(Bucket.sample().revisions()))
            for file in run:
                assert file["answered"] - file["asked"] >= kept["delay"] - 0.002  # kept to the millisecond
                assert file["asked"] < file["answered"] < file["first"] + 0.05  # the server notes its end a bit later
                assert file["last"] - file["first"] >= kept["work"] - 0.002
            for moment in (file["asked"] for file in run):
                assert sum(1 for file in run if file["asked"] <= moment < file["answered"] - 0.05) <= most
        assert kept["ahead"][-1]["last"] < kept["one_by_one"][-1]["last"] / 2

    @pytest.mark.slow
    def test_the_run_can_be_recorded_anew(self, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(PICTURES)
        import record_prefetch

        monkeypatch.setattr(record_prefetch, "KEPT", tmp_path / "prefetch.json")
        record_prefetch.record()
        found = json.loads((tmp_path / "prefetch.json").read_text(encoding="utf-8"))
        assert found.keys() == json.loads((PICTURES / "prefetch.json").read_text(encoding="utf-8")).keys()
        assert found["ahead"][1]["asked"] < found["ahead"][0]["answered"]  # the second, while the first is under way


class TestProgress:
    KEPT = json.loads((PICTURES / "progress.json").read_text(encoding="utf-8"))

    def check(self, kept):
        running, ended = kept
        size = sum(revision.size for revision in Bucket.sample().revisions())
        assert ended["text"].startswith(f"{size / 1000:.0f}k/{size / 1000:.0f}k [")
        read, whole = (float(part) for part in re.match(r"(\d+)k/(\d+)k", running["text"]).groups())
        assert 60 <= running["percent"] < ended["percent"] == 100
        assert running["percent"] == pytest.approx(100 * read / whole, abs=1)

    def test_the_kept_text_is_of_the_sample(self):
        self.check(self.KEPT)

    def test_the_text_can_be_recorded_anew(self, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(PICTURES)
        import progress

        monkeypatch.setattr(progress, "KEPT", tmp_path / "progress.json")
        monkeypatch.setattr(progress, "PAUSE", 0.0005)
        progress.record()
        self.check(json.loads((tmp_path / "progress.json").read_text(encoding="utf-8")))
