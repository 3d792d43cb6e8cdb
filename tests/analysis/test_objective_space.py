import io

import numpy as np
import pytest

from xright.analysis.figures.objective_space import objective_space
from xright.analysis.figures.printed import printed
from xright.analysis.read.runs import read_runs

WEIGHTS = ({"dpo": 0.5, "sft": 0.3, "safety": 0.2}, {"dpo": 0.2, "sft": 0.3, "safety": 0.5})


def draw(folder):
    figure = printed(objective_space(read_runs([folder])))
    figure.savefig(io.BytesIO(), format="png", dpi=40)  # drawing is where matplotlib finds faults
    return figure


def points(axes):
    """Where there are marks."""
    return [line.get_xydata()[-1].tolist() for line in axes.lines if line.get_marker() not in ("None", "")]


def test_it_shows_every_final_point_and_distance(study):
    whole, near, bars = draw(study).axes
    for axes in (whole, near):
        assert [2.362, 0.059] in points(axes)
        assert [0.326, 0.026] in points(axes)  # the ideal point
    assert near.get_xlim()[0] < 0.326 < 0.477 < near.get_xlim()[1] < 2.362  # the joint runs, not Sequential
    assert whole.get_xlim()[1] > 2.362
    assert near.get_aspect() == 1.0  # so that distance is distance
    lengths = [bar.get_x() + bar.get_width() for bar in bars.patches]
    # sqrt(2.036² + .033²), then the six joint runs in the table's order
    assert lengths == pytest.approx([2.0363, 0.0906, 0.1010, 0.1581, 0.1091, 0.0845, 0.0929], abs=1e-4)
    assert [text.get_text() for text in bars.texts][:2] == ["2.04", "0.0906"]
    assert bars.get_yticklabels()[0].get_text() == "Sequential DPO→SFT (5,1)"


def test_arcs_are_as_far_from_the_ideal_point_as_they_say(study):
    near = draw(study).axes[1]
    arcs = [line for line in near.lines if len(line.get_xdata()) == 200]
    assert len(arcs) > 2
    for arc, text in zip(arcs, near.texts, strict=True):
        assert np.hypot(*(arc.get_xydata() - [0.326, 0.026]).T) == pytest.approx(float(text.get_text()))


def test_a_joint_run_that_ends_far_away_does_not_squeeze_the_others(make, study):
    make("alright", 2.326, 0.026, lam=0.01)  # twenty times as far as the median of the others
    near = draw(study).axes[1]
    assert near.get_xlim()[0] < 0.326 < 0.477 < near.get_xlim()[1] < 2


def test_a_negative_gap_is_drawn_open_and_explained(make, tmp_path):
    make("mix", 0.320, 0.1, lam=0.75)  # DPO gap −0.006
    figure = draw(tmp_path)
    marks = {round(line.get_xdata()[0], 9): line.get_markerfacecolor() for line in figure.axes[2].lines}
    assert marks[0.006] == "none"
    assert marks[0.074] != "none"
    assert "negative gap (its size)" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_seeds_are_averaged_with_an_interval_and_still_shown(make, tmp_path):
    for seed, f_dpo in enumerate((0.4, 0.5, 0.6)):
        make("mix", f_dpo, 0.126, lam=0.5, seed=seed)
    lines = [line.get_xydata() for line in draw(tmp_path).axes[0].lines]
    assert [[0.4, 0.126], [0.5, 0.126], [0.6, 0.126]] in [line.tolist() for line in lines]
    half = 4.302653 * 0.1 / np.sqrt(3)  # of the interval for s = .1
    (across,) = [line for line in lines if np.shape(line) == (6, 2)]
    assert across[:2] == pytest.approx(np.array([[0.5 - half, 0.126], [0.5 + half, 0.126]]))
    assert [[pytest.approx(0.5), pytest.approx(0.126)]] in [line.tolist() for line in lines]


def test_the_front_of_the_means_is_a_staircase(make, tmp_path):
    for lam, f_dpo, f_sft in ((0.2, 0.5, 0.1), (0.5, 0.4, 0.2), (0.8, 0.45, 0.3)):  # the last is dominated
        make("mix", f_dpo, f_sft, lam=lam)
    chart = objective_space(read_runs([tmp_path]))
    (front, _) = (mark for mark in chart.marks if mark.group == "Pareto front")
    assert np.column_stack([front.x, front.y]).tolist() == [[0.4, 0.2], [0.5, 0.2], [0.5, 0.1]]
    means = [mark for mark in chart.marks if mark.facts.get("mean of")][:3]
    assert [mark.facts["on the Pareto front:"] for mark in means] == [["yes"], ["yes"], ["no"]]


def test_three_objectives_have_a_pair_of_panels_each_and_one_bar_of_three_gaps(make, tmp_path):
    for weights in WEIGHTS:
        make("alright", 0.4, 0.1, weights=weights, more={"safety": 0.3})
    make("sequential", 1.9, 0.3, more={"safety": 0.25}, epochs=(2, 2, 2))
    figure = draw(tmp_path)
    *spaces, bars = figure.axes
    labels = {"dpo": "f_DPO (nats per pair)", "sft": "f_SFT (nats per token)", "safety": "f_Safety (nats per token)"}
    pairs = [(labels[x], labels[y]) for x, y in (("dpo", "sft"), ("dpo", "safety"), ("sft", "safety"))]
    assert [(axes.get_xlabel(), axes.get_ylabel()) for axes in spaces] == pairs * 2
    assert [0.1, 0.3] in points(spaces[2])  # f_SFT, f_Safety of ALRIGHT
    assert [0.026, 0.2] in points(spaces[5])  # their ideal point
    # (.4, .1, .3) − (.326, .026, .2): gaps .074, .074, .1, and sqrt of the sum of their squares
    assert bars.patches[1].get_x() + bars.patches[1].get_width() == pytest.approx(np.sqrt(2 * 0.074**2 + 0.1**2))
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [name for name in names if name.endswith(" gap")] == ["DPO gap", "SFT gap", "Safety gap"]
    assert "Sequential DPO→SFT→Safety" in names


def test_a_surrogate_is_told_of_but_is_no_axis(make, tmp_path):
    make("orpo", 0.8, 0.3, surrogate={"orpo": 0.9})
    chart = objective_space(read_runs([tmp_path]))
    assert len(chart.rows[0].panels) == 3
    (final, *_) = (mark for mark in chart.marks if "seed" in mark.facts and mark.marker)
    assert final.facts["f_ORPO"] == ["0.900"]
    assert final.facts["f_DPO"] == ["0.800, gap 0.474"]


def test_an_unknown_method_has_a_colour_of_its_own(make, tmp_path):
    for strategy in ("mix", "my_rule", "another"):
        make(strategy, 0.4, 0.1, lam=0.5)
    bars = draw(tmp_path).axes[2].patches
    colours = {bar.get_facecolor()[:3] for bar in bars}
    assert len(colours) == 3
    assert not any(np.ptp(colour) < 0.1 for colour in colours)  # none is grey
