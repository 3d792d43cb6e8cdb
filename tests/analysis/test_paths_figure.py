import io

import numpy as np
import pytest

from xright.analysis.figures.chart import Chart
from xright.analysis.figures.paths_figure import path_rows, paths_figure, summary_figure
from xright.analysis.figures.printed import printed
from xright.analysis.read.runs import read_runs


def panels(folder):
    figure = paths_figure(read_runs([folder]))
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    above, below = figure.subfigs
    return above.axes, below.axes


def test_a_panel_per_method_with_mean_path_ends_and_ideal_point(make, study):
    make("mix", 0.587, 0.193, lam=0.25, seed=1)  # beside the study's (.387, .093)
    make("model_average", 1.0, 0.2, lam=0.5)
    above, _ = panels(study)
    titles = [axes.get_title(loc="left") for axes in above]
    assert titles == ["Sequential DPO→SFT", "Mix", "ALRIGHT", "MAXRIGHT", "Model average"]
    mix = above[1]
    (way, mark) = [line for line in mix.lines if line.get_color() == "#0072B2" and line.get_alpha() == 1][:2]
    assert way.get_xydata()[-1].tolist() == mark.get_xydata()[-1].tolist() == pytest.approx([0.487, 0.143])  # the means
    assert [0.326, 0.026] in [line.get_xydata()[-1].tolist() for line in mix.lines]
    assert [1.0, 0.2] in [line.get_xydata()[-1].tolist() for line in above[4].lines if line.get_marker() == "P"]
    assert {axes.get_xlim() for axes in above} == {above[0].get_xlim()}


def test_the_mean_path_of_runs_of_unequal_length_leads_to_the_mean_of_their_ends(make, tmp_path):
    make("mix", 0.6, 0.3, lam=0.5, seed=1)  # evaluated at 1, 5, 10, …, 40
    make("mix", 0.4, 0.1, lam=0.5, seed=2, steps=48)  # at 1, 6, 12, …, 48
    (axes, *_), _ = panels(tmp_path)
    way, mark = [line for line in axes.lines if line.get_color() == "#0072B2" and line.get_alpha() == 1][:2]
    assert len(way.get_xydata()) == 3  # 1, 30, and the ends
    assert way.get_xydata()[-1].tolist() == mark.get_xydata()[-1].tolist() == pytest.approx([0.5, 0.2])


def test_one_seed_in_the_place_of_the_mean(make, tmp_path):
    for seed, f_dpo in ((4, 0.6), (3, 0.4)):
        make("maxright", f_dpo, 0.1, lam=0.5, seed=seed)
    figure = printed(Chart(rows=path_rows(read_runs([tmp_path]), one_seed=True), width=8))
    both, way, mark = figure.axes[0].lines[:3]
    assert np.isnan(both.get_xdata()).sum() == 2  # both runs, faint
    assert way.get_xydata()[-1].tolist() == mark.get_xydata()[-1].tolist() == pytest.approx([0.4, 0.1])


def test_bars_of_distance_and_of_runtime(make, study):
    make("sequential", 2.3, 0.06, epochs=(2, 4), train_seconds=2.0)  # what λ = .25 is held against
    _, (distances, times) = panels(study)
    assert len(distances.patches) == 8
    # conftest: 40 steps of 60 ms (Mix) or 30 ms; (2.4 − 2) / 2 and (1.2 − 2) / 2, in per cent
    assert [bar.get_width() for bar in times.patches] == pytest.approx([20, -40, -40])
    assert [tick.get_text() for tick in times.get_yticklabels()] == ["Mix λ=0.25", "ALRIGHT λ=0.25", "MAXRIGHT λ=0.25"]
    assert times.get_xlim()[0] < -40


def test_a_summary_has_all_paths_in_one_panel(make, tmp_path):
    for strategy in ("mix", "alright"):
        make(strategy, 0.4, 0.1, lam=0.5)
    figure = summary_figure(read_runs([tmp_path]))
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    space, distances, _ = figure.axes
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == ["Mix", "ALRIGHT"]
    assert space.lines[-1].get_xydata().tolist() == [pytest.approx([0.326, 0.026])]  # the ideal point
    assert len(distances.patches) == 2


def test_without_a_matching_run_the_panel_is_left_out_or_says_so(make, tmp_path):
    for strategy in ("mix", "alright"):
        make(strategy, 0.4, 0.1, lam=0.5)
    _, (distances,) = panels(tmp_path)
    assert len(distances.patches) == 2
    times = summary_figure(read_runs([tmp_path])).axes[-1]
    assert [text.get_text() for text in times.texts] == ["No Sequential run matches a joint one."]
    assert np.isfinite(times.get_xlim()).all()


def test_three_objectives_have_a_row_of_paths_each_pair(make, tmp_path):
    weights = {"dpo": 0.5, "sft": 0.3, "safety": 0.2}
    for strategy in ("mix", "alright"):
        make(strategy, 0.4, 0.1, weights=weights, more={"safety": 0.3})
    figure = paths_figure(read_runs([tmp_path]))
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    *rows, _ = figure.subfigs
    assert [row.axes[0].get_ylabel().split()[0] for row in rows] == ["f_SFT", "f_Safety", "f_Safety"]
    assert [axes.get_title(loc="left") for axes in rows[2].axes] == ["Mix", "ALRIGHT"]
    assert len(summary_figure(read_runs([tmp_path])).axes) == 5  # three spaces, distances and times
