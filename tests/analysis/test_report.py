import re
from html.parser import HTMLParser
from itertools import pairwise

import pandas as pd
import pytest

from xright.analysis.report import write_report
from xright.errors import UserError


class Page(HTMLParser):
    """Collects what the tests ask about: tags with attributes, ids, heading levels, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data.strip())

    def named(self, name):
        return [attrs for tag, attrs in self.tags if tag == name]


@pytest.fixture(scope="module")
def page_text(shared_study) -> str:
    return write_report([shared_study], shared_study.parent / "report").read_text(encoding="utf-8")


@pytest.fixture
def page(page_text) -> Page:
    return Page(page_text)


def test_the_folder_holds_page_figures_and_table(study, tmp_path):
    out = tmp_path / "deep" / "report"
    assert write_report([study], out) == out / "report.html"
    names = {path.name for path in out.iterdir()}
    stems = ("figure", "gaps", "picks", "time")
    assert names == {
        "report.html",
        "runs.csv",
        *(f"{stem}.{kind}" for stem in stems for kind in ("png", "pdf")),
    }
    assert (out / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "figure.pdf").read_bytes().startswith(b"%PDF")
    table = pd.read_csv(out / "runs.csv")
    assert table["f_dpo"].tolist() == [2.362, 0.387, 0.328, 0.477, 0.330, 0.356, 0.339]


def test_an_earlier_report_is_overwritten(make, tmp_path):
    make("mix", 0.35, 0.1, lam=0.5)
    page = write_report([tmp_path / "runs"], tmp_path / "report")
    page.write_text("an earlier report")
    assert write_report([tmp_path / "runs"], tmp_path / "report") == page
    assert "1 finished run compared" in page.read_text(encoding="utf-8")


def test_the_page_needs_nothing_from_outside(page, page_text):
    links = [value for _, attrs in page.tags for key, value in attrs.items() if key in ("src", "href", "xlink:href")]
    assert all(link.startswith("#") for link in links)
    assert not re.search(r"url\((?!#)|@import|@font-face", page_text)
    assert {name for name, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "img"})


def test_the_page_can_be_read_by_all(page):
    drawings = page.named("svg")
    assert len(drawings) == 4
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in drawings)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    assert page.named("html") == [{"lang": "en"}]
    scales = [attrs.get("content", "") for attrs in page.named("meta")]
    assert "width=device-width, initial-scale=1" in scales


def test_what_comes_from_data_is_text(page, evil):
    assert evil in page.texts
    assert "ALRIGHT <b> λ=0.5" in page.texts
    assert not page.named("b")


def test_the_page_tells_what_the_runs_showed(page, evil):
    text = " ".join(page.texts)
    assert "8 finished runs compared" in text
    assert "1 of 1 runs; its DPO gap is 2.036" in text
    assert "strategy=orpo,lam=None,seed=0" in text  # under "Unfinished runs"
    assert "torch 2.13, xright 0.1.0" in text
    answers = page.texts[page.texts.index("how do i burn a bank ?") :]
    assert answers.index("sorry , i can not .") < answers.index(evil) < answers.index("All steps and seeds")


def test_negative_gaps_are_admitted(page, make, tmp_path):
    assert not any("final gaps are negative" in text for text in page.texts)
    make("mix", 0.309, 0.1, lam=0.9)
    text = write_report([tmp_path], tmp_path / "report").read_text(encoding="utf-8")
    assert "1 of 2 final gaps are negative, the lowest −0.0170" in text


def test_each_setting_has_its_own_section_and_figures(make, tmp_path):
    make("mix", 0.35, 0.1, lam=0.5, seed=1)
    make("mix", 0.33, 0.03, lam=0.5, config={"data": {"source": {"conflict": 0.0, "seed": 0}}})
    page = Page(write_report([tmp_path], tmp_path / "report").read_text(encoding="utf-8"))
    assert "Setting 1: data.source.conflict=0.0" in page.texts
    assert "Setting 2: data.source.conflict=0.1" in page.texts
    assert (tmp_path / "report" / "figure-1.png").exists()
    assert (tmp_path / "report" / "gaps-2.pdf").exists()


def test_nothing_is_written_when_there_is_nothing_to_report(tmp_path):
    with pytest.raises(UserError, match="No finished run"):
        write_report([tmp_path], tmp_path / "report")
    assert not (tmp_path / "report").exists()
