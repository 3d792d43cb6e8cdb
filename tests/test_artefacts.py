"""The pages of the paper's figures and tables: what must be on them, and that they follow from their results.csv."""

import runpy
import shutil
import struct
import sys
from pathlib import Path

import pandas as pd
import pytest

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
PAGES = sorted(file.parent.name for file in EXPERIMENTS.glob("*/figure.py"))
SECTIONS = ("# ", "**Claim**", "**Expected**", "**Scale here**", "**Command**", "**Obtained**", "<!-- results:")
MOST = {"results.csv": 300_000, "figure.png": 150_000}  # bytes


def readme(name):
    return (EXPERIMENTS / name / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the pages and of what they share, whose modules are not those of the checkout."""
    place = tmp_path_factory.mktemp("copy") / "experiments"
    place.mkdir()
    shared = list(EXPERIMENTS.glob("*.py"))
    for file in shared:
        shutil.copy(file, place)
    for name in PAGES:
        shutil.copytree(EXPERIMENTS / name, place / name, ignore=shutil.ignore_patterns("*.png", "__pycache__"))
    with pytest.MonkeyPatch.context() as patch:
        for file in shared:
            patch.delitem(sys.modules, file.stem, raising=False)
        yield place
        for file in shared:
            sys.modules.pop(file.stem, None)


def test_these_are_pages():
    assert len(PAGES) > 10


@pytest.mark.parametrize("name", PAGES)
def test_the_page_says_what_a_page_must(name):
    lines = readme(name).splitlines()
    places = [next((place for place, line in enumerate(lines) if line.startswith(start)), None) for start in SECTIONS]
    assert None not in places, dict(zip(SECTIONS, places, strict=True))
    assert places == sorted(places)
    assert places[0] == 0
    assert "TODO" not in readme(name)
    assert f"experiments/{name}/figure.py" in readme(name)  # the command


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_small(name):
    folder = EXPERIMENTS / name
    assert len((folder / "figure.py").read_text(encoding="utf-8").splitlines()) < 60
    assert len(pd.read_csv(folder / "results.csv")) > 0
    for file, most in MOST.items():
        assert not (folder / file).exists() or (folder / file).stat().st_size < most


@pytest.mark.parametrize("name", PAGES)
def test_the_page_follows_from_its_results(name, copy, monkeypatch):
    folder = copy / name
    text = readme(name)
    monkeypatch.setattr(sys, "argv", ["figure.py"])
    monkeypatch.setattr(sys, "path", sys.path[:])  # a page puts the folder of what it shares in front
    runpy.run_path(str(folder / "figure.py"), run_name="__main__")
    assert (folder / "README.md").read_bytes() == (EXPERIMENTS / name / "README.md").read_bytes()
    assert (folder / "results.csv").read_bytes() == (EXPERIMENTS / name / "results.csv").read_bytes()
    assert ("](figure.png)" in text) == (folder / "figure.png").exists() == (EXPERIMENTS / name / "figure.png").exists()
    if "](figure.png)" in text:
        assert size(folder / "figure.png") == size(EXPERIMENTS / name / "figure.png")


def size(picture):
    """Width and height in pixels, from the picture's head."""
    head = picture.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:24])
