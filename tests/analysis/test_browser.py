"""The page in a real browser: what a reader sees, hears and can do; skipped where there is no Chromium.

XRIGHT_SCREENSHOTS=FOLDER keeps the pictures (light, dark, phone, 4k) and the printed page.
"""

import os
from pathlib import Path

import pytest

from xright.analysis.report import write_report

DRAWN = "[...document.querySelectorAll('div.interactive')].every((place) => place.dataset.drawn)"
WINDOWS = {  # name: (width, height, dark, device pixels per CSS pixel)
    "light": (1400, 900, False, 1),
    "dark": (1400, 900, True, 1),
    "phone": (390, 844, True, 2),
    "4k": (3840, 2160, False, 1),
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        from browser import Browser, find_browser
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium on this machine")
    browser = Browser(program, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def file(shared_study) -> Path:
    return write_report([shared_study], shared_study.parent / "report")


@pytest.fixture
def pictures(tmp_path) -> Path:
    folder = Path(os.environ.get("XRIGHT_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def opened(browser, file, name="light"):
    """The page with all figures drawn: the window is as high as the page."""
    width, height, dark, scale = WINDOWS[name]
    browser.open(file, width, height, dark, scale)
    browser.window(width, browser.tell("document.documentElement.scrollHeight"), scale)
    browser.until(DRAWN)


@pytest.mark.parametrize("name", WINDOWS)
def test_the_page_is_drawn_without_complaint_and_without_the_net(name, browser, file, pictures):
    opened(browser, file, name)
    browser.picture(pictures / f"{name}.png")
    assert (pictures / f"{name}.png").stat().st_size > 50_000
    assert browser.complaints == []
    assert set(browser.asked_for) == {file.resolve().as_uri()}
    assert browser.tell("document.documentElement.scrollWidth") <= WINDOWS[name][0]  # nothing sticks out
    assert browser.tell("document.querySelectorAll('.interactive .main-svg').length") >= 5
    assert browser.tell("[...document.querySelectorAll('div.twin')].every((twin) => !twin.offsetParent)")
    assert "loud" not in browser.tell(  # nothing that would send the data away
        "[...document.querySelectorAll('.modebar-btn')].map((button) => button.dataset.title).join()"
    )


SHOWN = "[...document.querySelectorAll('figure')].map((one) => !!one.querySelector('div.{}')?.getClientRects().length)"


def test_until_a_figure_is_drawn_its_drawing_stands_there(browser, file, pictures):
    width, height, dark, scale = WINDOWS["light"]
    browser.open(file, width, height, dark, scale)
    browser.until("!!document.querySelector('div.interactive').dataset.drawn")
    assert browser.tell(SHOWN.format("interactive")) == [True, False, False, False, False]  # the others are far below
    assert browser.tell(SHOWN.format("twin")) == [False, True, True, True, True]
    browser.picture(pictures / "not-scrolled.png")  # of the whole page, far beyond the window
    browser.tell("document.querySelectorAll('figure')[4].scrollIntoView()")
    browser.until("!!document.querySelectorAll('div.interactive')[4].dataset.drawn")
    assert browser.tell(SHOWN.format("interactive"))[4]
    assert not browser.tell(SHOWN.format("twin"))[4]
    assert browser.complaints == []


def test_a_figure_that_cannot_be_drawn_leaves_its_drawing(browser, file):
    opened(browser, file)
    browser.tell("(() => { Plotly.react = () => { throw new Error('no way'); }; })()")
    browser.scheme(dark=True)  # all are drawn again
    browser.until("!document.querySelector('figure.drawn')")
    assert browser.tell(SHOWN.format("interactive")) == [False] * 5
    assert browser.tell(SHOWN.format("twin")) == [True] * 5
    assert len(browser.complaints) == 5
    assert all("no way" in complaint for complaint in browser.complaints)


def test_light_turns_dark_without_a_reload(browser, file):
    ink = "getComputedStyle(document.querySelector('.plot .xtick text')).fill"
    opened(browser, file)
    assert browser.tell(ink) == "rgb(34, 34, 34)"
    browser.scheme(dark=True)
    browser.until(f"{ink} === 'rgb(228, 230, 233)'")


def test_paper_shows_the_drawings(browser, file, pictures):
    opened(browser, file)
    browser.pdf(pictures / "print.pdf")
    assert (pictures / "print.pdf").read_bytes().startswith(b"%PDF")
    browser.call("Emulation.setEmulatedMedia", media="print")
    shown = "[...document.querySelectorAll('div.{}')].map((one) => one.getClientRects().length > 0)"
    assert browser.tell(shown.format("interactive")) == [False] * 5
    assert browser.tell(shown.format("twin")) == [True] * 5
    browser.call("Emulation.setEmulatedMedia", media="")


def test_keys_reach_every_point_and_what_they_reach_is_read_out(browser, file):
    opened(browser, file)
    browser.tell("document.querySelector('div.interactive').focus()")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    spoken = "document.querySelector('.interactive .spoken').textContent"
    heard = [""]
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowUp", "ArrowRight"):
        browser.press(key)
        browser.until(f"{spoken} !== {heard[-1]!r}")
        heard.append(browser.tell(spoken))
    assert browser.tell(outline) == "solid"
    assert all("f_DPO" in words and "ideal distance" in words for words in heard[1:])
    assert ", step 1," in heard[1]
    assert ", step 5," in heard[2]  # the second evaluation of the first run


def test_a_name_that_looks_like_html_is_text_in_hover_and_legend(browser, file):
    opened(browser, file)
    legend = browser.tell("[...document.querySelectorAll('.legendtext')].map((text) => text.textContent)")
    assert "ALRIGHT <b> λ=0.5" in legend
    browser.tell(
        "(() => { const plot = document.querySelector('.plot');"
        "const line = plot._fullData.findIndex((trace) => trace.meta && trace.meta[0].includes('&lt;b&gt;'));"
        "Plotly.Fx.hover(plot, [{curveNumber: line, pointNumber: 1}], 'xy'); })()"
    )
    browser.until("!!document.querySelector('.hoverlayer .hovertext')")
    words = browser.tell("document.querySelector('.hoverlayer').textContent")
    assert "ALRIGHT <b> λ=0.5" in words
    for wanted in ("seed 0, step", "f_DPO", "f_SFT", ", gap ", "ideal distance"):
        assert wanted in words
    assert browser.complaints == []
