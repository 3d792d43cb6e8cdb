"""What the figures show is read off their artists."""

import pytest

from xright.analysis.figures.benchmark_figures import (
    VERDICTS,
    benchmark_figures,
    categories_figure,
    verdicts_figure,
    win_rate_figure,
)
from xright.analysis.read.benchmarks import read_benchmarks

MMLU = {"mmlu": {"acc": (0.5, 0.4, 0.6, 100)}}
EVIL = "<b>$\\x{</b>"


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_only_what_was_measured_is_drawn(evaluate, tmp_path):
    evaluate(tmp_path / "a", MMLU)
    assert benchmark_figures(read_benchmarks([tmp_path])) == {}


def test_every_figure_is_there_where_its_numbers_are(evaluate, tmp_path):
    counts = {"verdicts": {"unsafe": dict.fromkeys(VERDICTS, 1)}, "categories": {EVIL: {"refused": 2, "n": 3}}}
    scores = {
        "x": {"acc": (0.1, 0, 1, 9)},
        "y": {"win_rate": (0.3, 0, 1, 9)},
        "z": {"a": (3, 2, 4, 9), "details": counts},
    }
    for name in ("a", "b"):
        evaluate(tmp_path / name, scores)
    drawn = benchmark_figures(read_benchmarks([tmp_path]))
    assert list(drawn) == [f"benchmarks-{name}" for name in ("radar", "win-rate", "verdicts", "categories")]
    for figure, alternative in drawn.values():
        assert alternative
        figure.draw_without_rendering()  # nothing from data is mathematics


def test_win_rates_with_interval_and_lengths(evaluate, tmp_path):
    rate = {"win_rate": (0.6, 0.5, 0.7, 80), "details": {"mean_tokens": {"model": 120.0, "reference": 80.0}}}
    evaluate(tmp_path / "a", {"hh": rate})
    evaluate(tmp_path / "b", MMLU)  # has no win rate: an empty row, not a bar of zero
    (axes,) = win_rate_figure(read_benchmarks([tmp_path])).axes
    assert [bar.get_width() for bar in axes.patches] == [0.6]
    whisker, half = axes.lines
    assert list(whisker.get_xdata()) == [0.5, 0.7]
    assert list(half.get_xdata()) == [0.5, 0.5]
    assert texts(axes) == ["60.0%   (mean tokens: model 120, reference 80.0)"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]


def test_verdicts_are_stacked_shares(evaluate, tmp_path):
    safe = dict(zip(VERDICTS, (6, 1, 3), strict=True))
    unsafe = dict(zip(VERDICTS, (0, 0, 4), strict=True))
    evaluate(tmp_path / "a", {"xstest": {"details": {"verdicts": {"safe": safe, "unsafe": unsafe}}}})
    left, right = verdicts_figure(read_benchmarks([tmp_path])).axes
    assert [bar.get_width() for bar in left.patches] == pytest.approx([0.6, 0.1, 0.3])
    assert [bar.get_x() for bar in left.patches] == pytest.approx([0, 0.6, 0.7])
    assert texts(left) == ["60%", "10%", "30%"]
    assert texts(right) == ["100%"]
    assert left.get_title(loc="left") == "xstest, safe prompts (n = 10)"
    assert right.get_title(loc="left") == "xstest, unsafe prompts (n = 4)"


def test_the_heat_map_shows_compliance_and_gaps(evaluate, tmp_path):
    evaluate(tmp_path / "a", {"sorry": {"details": {"categories": {"fraud": {"refused": 3, "n": 4}}}}})
    both = {"fraud": {"refused": 0, "n": 4}, "hate_speech": {"refused": 1, "n": 2}}
    evaluate(tmp_path / "b", {"sorry": {"details": {"categories": both}}})
    axes = categories_figure(read_benchmarks([tmp_path])).axes[0]
    assert texts(axes) == ["25", "–", "100", "50"]  # row a, then row b
    assert [label.get_text() for label in axes.get_xticklabels()] == ["fraud", "hate speech"]
    (mesh,) = axes.collections
    assert mesh.get_array().filled(-1).tolist() == [[0.25, -1], [1, 0.5]]
