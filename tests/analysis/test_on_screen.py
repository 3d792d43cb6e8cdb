"""What a description becomes on the screen; on paper, the tests of each figure look at it."""

import base64
import gzip
import json

import numpy as np
import pytest

from xright.analysis.figures.chart import Axis, Chart, Mark, Panel, Row
from xright.analysis.figures.on_screen import embedded, narrowest, on_screen
from xright.analysis.figures.printed import printed
from xright.analysis.read.runs import read_runs
from xright.analysis.report import FIGURES
from xright.analysis.style import FAINT, INK

EVIL = "<b>%{x}</b>"


def one(*marks, **about):
    return Chart(rows=[Row(panels=[Panel(marks=marks, **about)], height=2)], width=4)


def test_hover_tells_the_facts_and_names_are_text():
    mark = Mark(x=[1, 2], y=[3, 4], marker="o", head=EVIL, group=EVIL, listed=True, facts={EVIL: ["a", EVIL]})
    figure = on_screen(one(mark, title=EVIL, x=Axis(title=EVIL), y=Axis(names=[EVIL])))
    (trace,) = figure.data
    assert trace.hovertemplate == "<b>%{meta[0]}</b><br>%{meta[1]} %{customdata[0]}<extra></extra>"  # nothing from data
    escaped = "&lt;b&gt;%{x}&lt;/b&gt;"
    assert trace.meta == (escaped, escaped)
    assert (trace.name, figure.layout.annotations[0].text, figure.layout.xaxis.title.text) == (escaped,) * 3
    assert figure.layout.yaxis.ticktext == (escaped,)
    assert "<" not in embedded(figure.to_json())


def test_ink_is_left_to_the_page_and_what_has_no_facts_is_silent():
    line, mark = on_screen(one(Mark(x=[1], y=[1], dash="-"), Mark(x=[1], y=[1], marker="o", colour=FAINT))).data
    assert (line.line.color, mark.marker.color) == (None, FAINT)
    assert INK not in on_screen(one(Mark(x=[1], y=[1], dash="-", colour=INK))).to_json()
    assert line.hoverinfo == mark.hoverinfo == "skip"


def test_scales_are_those_of_the_axis():
    marks = [Mark(x=[0.1, 10], y=[-0.01, 1], dash="-")]
    figure = on_screen(one(*marks, x=Axis(scale="log", limits=(0.1, 10)), y=Axis(scale="symlog")))
    assert figure.layout.xaxis.range == (-1, 1)
    assert list(figure.data[0].y) == pytest.approx(list(np.arcsinh([-1, 100])))  # linear within ±.01
    assert figure.layout.yaxis.ticktext[1] == "−0.1"


def test_the_legend_names_everybody_once():
    marks = [Mark(x=[1], y=[1], marker="o", group=name, listed=True) for name in ("a", "b", "a")]
    assert [trace.showlegend for trace in on_screen(one(*marks)).data] == [True, True, False]
    assert [text.get_text() for text in printed(one(*marks)).legends[0].get_texts()] == ["a", "b"]


def test_rows_of_different_lengths_fill_the_width_and_keep_room_for_names():
    wide = Panel(marks=[], y=Axis(names=["a name of thirty letters, twice"]))
    rows = [Row(panels=[Panel(marks=[])] * 3, height=1, shared="y"), Row(panels=[Panel(marks=[]), wide], height=3)]
    chart = Chart(rows=rows, width=10)
    layout = on_screen(chart).layout
    spans = [layout[f"xaxis{number}"].domain for number in range(1, 6)]
    assert [spans[2][1], spans[4][1]] == [1, 1]
    assert all(left[1] < right[0] for left, right in ((spans[0], spans[1]), (spans[1], spans[2])))
    assert (spans[4][0] - spans[3][1]) * narrowest(chart) > 31 * 6
    assert layout.yaxis3.matches == "y"
    assert layout.yaxis1.domain[0] > layout.yaxis4.domain[1]  # the first row is on top


@pytest.mark.parametrize("name", FIGURES)
def test_paper_and_screen_show_the_same_numbers(name, study):
    chart = FIGURES[name][0](read_runs([study]))
    lines = [line.get_xdata() for axes in printed(chart).axes for line in axes.lines]
    for mark, line in zip([mark for mark in chart.marks if drawn_as_line(mark)], lines, strict=True):
        assert np.array_equal(mark.x, line, equal_nan=True)
    traces = [trace for trace in on_screen(chart).data if trace.x[0] is not None]  # not those of empty panels
    for mark, trace in zip(chart.marks, traces, strict=True):
        ends = trace.x + trace.base if trace.type == "bar" else trace.x
        assert np.allclose(ends, mark.x, equal_nan=True)


def drawn_as_line(mark):
    return bool(mark.dash or mark.marker) and not mark.filled and mark.bar_from is None


def test_a_page_holds_the_figure_as_json(study):
    figure = on_screen(FIGURES["gaps"][0](read_runs([study])))
    unpacked = gzip.decompress(base64.b64decode(embedded(figure.to_json())))
    assert len(json.loads(unpacked)["data"]) == len(figure.data)
