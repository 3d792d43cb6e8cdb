import io

import matplotlib
import numpy as np
import pytest

from xright.analysis.plots import FIGURES, LINEAR_BELOW, WINDOW
from xright.analysis.runs import read_runs


def draw(name, folder):
    figure = FIGURES[name][0](read_runs([folder]))
    figure.savefig(io.BytesIO(), format="png", dpi=40)  # drawing is where matplotlib finds faults
    return figure


def test_the_main_figure_shows_every_final_point_and_distance(study):
    whole, near, bars = draw("figure", study).axes
    for axes in (whole, near):
        ends = np.vstack([line.get_xydata()[-1:] for line in axes.lines if line.get_marker() not in ("None", "")])
        assert [2.362, 0.059] in ends.tolist()
        assert [0.326, 0.026] in ends.tolist()  # the ideal point
    assert near.get_xlim()[0] < 0.326 < 0.477 < near.get_xlim()[1] < 2.362  # the joint runs, not Sequential
    assert whole.get_xlim()[1] > 2.362
    assert near.get_aspect() == 1.0  # so that distance is distance
    lengths = [bar.get_x() + bar.get_width() for bar in bars.patches]
    # sqrt(2.036² + .033²), then the six joint runs in the table's order
    assert lengths == pytest.approx([2.0363, 0.0906, 0.1010, 0.1581, 0.1091, 0.0845, 0.0929], abs=1e-4)
    assert [text.get_text() for text in bars.texts][:2] == ["2.04", "0.0906"]
    assert bars.get_yticklabels()[0].get_text() == "Sequential DPO→SFT (5,1)"


def test_a_joint_run_that_ends_far_away_does_not_squeeze_the_others(make, study):
    make("alright", 2.326, 0.026, lam=0.01)  # twenty times as far as the median of the others
    near = draw("figure", study).axes[1]
    assert near.get_xlim()[0] < 0.326 < 0.477 < near.get_xlim()[1] < 2


def test_a_negative_gap_is_drawn_open_and_explained(make, tmp_path):
    make("mix", 0.320, 0.1, lam=0.75)  # DPO gap −0.006
    figure = draw("figure", tmp_path)
    marks = {round(line.get_xdata()[0], 9): line.get_markerfacecolor() for line in figure.axes[2].lines}
    assert marks[0.006] == "none"
    assert marks[0.074] != "none"
    assert "negative gap (its size)" in [text.get_text() for text in figure.legends[0].get_texts()]
    upper = draw("gaps", tmp_path).axes[0]
    assert upper.get_yscale() == "symlog"
    assert upper.get_ylim()[0] < -0.006
    assert upper.lines[-1].get_ydata()[-1] == pytest.approx(-0.006)
    assert upper.yaxis.get_transform().linthresh == LINEAR_BELOW


def test_seeds_are_averaged_and_still_shown(make, tmp_path):
    for seed, f_dpo in enumerate((0.4, 0.6)):
        make("mix", f_dpo, 0.126, lam=0.5, seed=seed)
    figure = draw("figure", tmp_path)
    singles, joined = (line.get_xydata().tolist() for line in figure.axes[0].lines[1:3])  # the paths come first
    assert singles == [[0.4, 0.126], [0.6, 0.126]]
    assert joined == [[pytest.approx(0.5), 0.126]]


def test_intervals_over_seeds_are_drawn(make, tmp_path):
    for seed, (f_dpo, seconds) in enumerate(((0.4, 10.0), (0.5, 20.0), (0.6, 30.0))):
        make("mix", f_dpo, 0.126, lam=0.5, seed=seed, train_seconds=seconds, tokens_per_second=seconds)
    half = 4.302653 / np.sqrt(3)  # of the interval for s = 1
    for name, panel in (("time", 1), ("device", 0)):
        interval, singles = (line.get_xdata() for line in draw(name, tmp_path).axes[panel].lines)
        assert interval[:2] == pytest.approx([20 - 10 * half, 20 + 10 * half])
        assert list(singles) == [10, 20, 30]
    band = draw("gaps", tmp_path).axes[0].collections[0].get_paths()[0].vertices
    # at the end the DPO gaps are .074, .174, .274: mean .174, s .1
    assert band[:, 1].min() == pytest.approx(0.174 - 0.1 * half)
    arms = [path.vertices for lines in draw("figure", tmp_path).axes[0].collections for path in lines.get_paths()]
    across = [arm[:, 0].tolist() for arm in arms if len(arm) == 2 and np.ptp(arm[:, 0]) > 0]
    assert any(np.allclose(x, [0.5 - 0.1 * half, 0.5 + 0.1 * half]) for x in across)


def test_the_share_of_picks_is_a_running_mean(study):
    runs = read_runs([study])
    figure = draw("picks", study)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["ALRIGHT", "MAXRIGHT"]
    quarter = runs.only(runs.table["label"] == "ALRIGHT λ=0.25")
    picks = quarter.steps["pick"]
    line = next(line for line in figure.axes[0].lines if line.get_label() == "λ=0.25")
    assert line.get_ydata()[-1] == pytest.approx((picks[-WINDOW:] == "dpo").mean())


def test_times_leave_out_what_was_not_trained(study, make):
    make("model_average", 2.06, 0.043, lam=0.5)
    step, total = draw("time", study).axes
    assert [bar.get_width() for bar in step.patches] == pytest.approx([30, 60, 60, 30, 30, 30, 30])  # ms
    assert [bar.get_width() for bar in total.patches] == pytest.approx([1.2, 2.4, 2.4, 1.2, 1.2, 1.2, 1.2])  # s


def test_a_method_keeps_its_colour(study):
    bars = draw("figure", study).axes[2].patches
    times = draw("time", study).axes[0].patches
    assert [bar.get_facecolor()[:3] for bar in bars] == [bar.get_facecolor()[:3] for bar in times]
    assert len({bar.get_facecolor()[:3] for bar in bars}) == 4


@pytest.mark.parametrize("name", FIGURES)
def test_missing_optima_and_files_leave_a_readable_figure(name, make, tmp_path):
    unknown = dict.fromkeys(["f_dpo_opt", "f_sft_opt", "gap_dpo", "gap_sft", "ideal_distance"])
    folder = make("my_method", 0.35, 0.1, label="My $ method_1", **unknown)
    (folder / "steps.csv").unlink()
    (folder / "trajectory.csv").unlink()
    before = dict(matplotlib.rcParams)
    assert draw(name, tmp_path).axes
    assert dict(matplotlib.rcParams) == before
