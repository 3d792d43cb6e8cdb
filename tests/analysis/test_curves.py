import io

import numpy as np
import pytest

from xright.analysis.figures.chart import LINEAR_BELOW
from xright.analysis.figures.curves import POINTS, WINDOW, gaps, picks, weights
from xright.analysis.figures.printed import printed
from xright.analysis.read.runs import read_runs

THREE = {"dpo": 0.5, "sft": 0.3, "safety": 0.2}


def draw(plot, folder):
    figure = printed(plot(read_runs([folder])))
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return figure.axes


def titles(axes):
    return [one.get_title(loc="left") for one in axes]


def test_a_negative_gap_is_on_an_axis_that_is_linear_around_zero(make, tmp_path):
    make("mix", 0.320, 0.1, lam=0.75)  # DPO gap −0.006
    upper, lower = draw(gaps, tmp_path)
    assert (upper.get_ylabel(), lower.get_ylabel()) == ("DPO gap (nats per pair)", "SFT gap (nats per token)")
    assert upper.get_yscale() == "symlog"
    assert upper.get_ylim()[0] < -0.006
    assert upper.lines[-1].get_ydata()[-1] == pytest.approx(-0.006)
    assert upper.yaxis.get_transform().linthresh == LINEAR_BELOW


def test_intervals_over_seeds_are_bands(make, tmp_path):
    for seed, f_dpo in enumerate((0.4, 0.5, 0.6)):
        make("mix", f_dpo, 0.126, lam=0.5, seed=seed)
    axes = draw(gaps, tmp_path)[0]
    singles, mean = axes.lines
    assert np.isnan(singles.get_xdata()).sum() == 3  # all three runs, end to end
    band = axes.patches[0].get_xy()
    # at the end the gaps are .074, .174, .274: mean .174, s .1
    assert band[:, 1].min() == pytest.approx(0.174 - 4.302653 * 0.1 / np.sqrt(3))
    assert mean.get_ydata()[-1] == pytest.approx(0.174)


def test_the_weight_is_a_running_mean(study):
    axes = draw(picks, study)
    assert titles(axes) == ["ALRIGHT", "MAXRIGHT"]
    assert axes[0].get_ylabel() == "weight on DPO"
    runs = read_runs([study])
    steps = runs.only(runs.table["label"] == "ALRIGHT λ=0.25").steps
    assert axes[0].lines[0].get_ydata()[-1] == pytest.approx((steps["pick"][-WINDOW:] == "dpo").mean())


def test_three_objectives_have_a_row_each(make, tmp_path):
    make("alright", 0.4, 0.1, weights=THREE, more={"safety": 0.3})
    assert [axes.get_ylabel() for axes in draw(gaps, tmp_path)][2] == "Safety gap (nats per token)"
    panels = draw(picks, tmp_path)
    assert [axes.get_ylabel() for axes in panels] == ["weight on DPO", "weight on SFT", "weight on Safety"]
    assert sum(axes.lines[0].get_ydata()[-1] for axes in panels) == pytest.approx(1)


def write_weights(run, rows):
    """Into steps.csv: rows of weights, of dpo, sft and safety."""
    head, *lines = (run / "steps.csv").read_text().splitlines()
    told = [f"{line},{','.join(map(str, row))}" for line, row in zip(lines, rows, strict=True)]
    (run / "steps.csv").write_text("\n".join([f"{head},weight_dpo,weight_sft,weight_safety", *told, ""]))


def test_weights_that_the_file_has_are_shown_and_constant_ones_are_not(make, tmp_path):
    """A rule of any name: what it weighed is in the file."""
    found = np.random.default_rng(0).dirichlet([5, 3, 2], 40)
    write_weights(make("upgrad", 0.4, 0.1, weights=THREE, more={"safety": 0.3}), found)
    write_weights(make("mix", 0.4, 0.1, weights=THREE, more={"safety": 0.3}), [THREE.values()] * 40)
    panels = draw(picks, tmp_path)
    assert titles(panels) == ["upgrad", "", ""]
    for axes, column in zip(panels, found.T, strict=True):
        assert axes.lines[0].get_ydata()[-1] == pytest.approx(column[-WINDOW:].mean())


def test_a_rule_that_always_picks_one_objective_is_shown(make, tmp_path):
    run = make("maxright", 0.4, 0.1, lam=0.99, steps=POINTS * 3)
    text = (run / "steps.csv").read_text()
    (run / "steps.csv").write_text(text.replace(",sft,", ",dpo,"))
    rows = weights(read_runs([tmp_path]))
    assert set(rows["weight_dpo"].dropna()) == {1.0}
    assert len(rows) == POINTS


def test_a_surrogate_has_its_loss_in_the_place_of_a_gap(make, tmp_path):
    make("orpo", 0.8, 0.3, surrogate={"orpo": 0.9})
    axes = draw(gaps, tmp_path)
    assert [one.get_ylabel() for one in axes][2] == "f_ORPO (nats per pair)"
    assert axes[2].lines[-1].get_ydata()[-1] == pytest.approx(0.9)


def test_the_legend_lies_within_the_figure(make, tmp_path):
    for lam in (0.01, 0.25, 0.5, 0.75, 0.99):
        make("maxright", 0.5, 0.1, lam=lam)
    figure = printed(gaps(read_runs([tmp_path])))
    figure.canvas.draw()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert len(legend.get_texts()) == 5
