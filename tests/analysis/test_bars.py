import io

import matplotlib
import numpy as np
import pytest

from xright.analysis.figures.bars import device, times
from xright.analysis.figures.objective_space import objective_space
from xright.analysis.figures.on_screen import on_screen
from xright.analysis.figures.printed import printed
from xright.analysis.read.runs import read_runs
from xright.analysis.report import FIGURES


def draw(plot, folder):
    figure = printed(plot(read_runs([folder])))
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return figure.axes


def test_intervals_and_single_runs_are_on_the_bars(make, tmp_path):
    for seed, seconds in enumerate((10.0, 20.0, 30.0)):
        make("mix", 0.5, 0.126, lam=0.5, seed=seed, train_seconds=seconds, tokens_per_second=seconds)
    half = 4.302653 / np.sqrt(3)  # of the interval for s = 1
    for plot, panel in ((times, 1), (device, 0)):
        _, interval, singles = (line.get_xdata() for line in draw(plot, tmp_path)[panel].lines)
        assert interval[:2] == pytest.approx([20 - 10 * half, 20 + 10 * half])
        assert list(singles) == [10, 20, 30]


def test_times_leave_out_what_was_not_trained(study, make):
    make("model_average", 2.06, 0.043, lam=0.5)
    step, total = draw(times, study)
    assert [bar.get_width() for bar in step.patches] == pytest.approx([30, 60, 60, 30, 30, 30, 30])  # ms
    assert [bar.get_width() for bar in total.patches] == pytest.approx([1.2, 2.4, 2.4, 1.2, 1.2, 1.2, 1.2])  # s


def test_a_method_keeps_its_colour(study):
    bars, durations = draw(objective_space, study)[2].patches, draw(times, study)[0].patches
    assert [bar.get_facecolor()[:3] for bar in bars] == [bar.get_facecolor()[:3] for bar in durations]
    assert len({bar.get_facecolor()[:3] for bar in bars}) == 4


@pytest.mark.parametrize("name", FIGURES)
def test_missing_optima_and_files_leave_a_readable_figure(name, make, tmp_path):
    unknown = dict.fromkeys(["f_dpo_opt", "f_sft_opt", "gap_dpo", "gap_sft", "ideal_distance"])
    folder = make("my_method", 0.35, 0.1, label="My $ method_1", **unknown)
    (folder / "steps.csv").unlink()
    (folder / "trajectory.csv").unlink()
    before = dict(matplotlib.rcParams)
    plot, words = FIGURES[name]
    assert draw(plot, tmp_path)
    assert on_screen(plot(read_runs([tmp_path]))).data
    assert words
    assert dict(matplotlib.rcParams) == before
