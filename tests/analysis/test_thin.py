import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from xright.analysis.figures.curves import gaps
from xright.analysis.figures.objective_space import objective_space
from xright.analysis.figures.printed import printed
from xright.analysis.figures.thin import LEAST, POINTS, kept, share, thinned
from xright.analysis.read.runs import read_runs


def test_a_short_curve_stays_as_it_is():
    assert kept(np.zeros((POINTS, 2))).tolist() == list(range(POINTS))


@pytest.mark.parametrize("n", [1001, 5000, 99_999])
def test_ends_and_every_stretch_s_extremes_stay(n):
    values = np.random.default_rng(0).normal(size=(n, 2))
    places = kept(values)
    assert len(places) <= POINTS
    assert (np.diff(places) > 0).all()
    assert (places[0], places[-1]) == (0, n - 1)
    size = -(-n // ((POINTS - 2) // 4))  # two extremes of each of two quantities
    for start in range(0, n, size):
        stretch, own = values[start : start + size], values[places[(places >= start) & (places < start + size)]]
        assert own.min(axis=0).tolist() == stretch.min(axis=0).tolist()
        assert own.max(axis=0).tolist() == stretch.max(axis=0).tolist()


def test_a_single_peak_among_many_points_is_seen_and_nan_is_none():
    values = np.zeros((100_000, 1))
    values[70_001] = 5.0
    values[::7] = np.nan
    places = kept(values)
    assert 70_001 in places
    assert len(places) <= POINTS


def test_rows_of_several_runs_are_thinned_one_by_one_and_stay_in_order():
    rows = pd.DataFrame({"folder": np.repeat(["b", "a"], [5000, 50]), "step": [*range(5000), *range(50)], "f": 0.5})
    found = thinned(rows, "step", "f")
    assert found.groupby("folder", sort=False).size().to_dict() == {"b": pytest.approx(POINTS, rel=0.6), "a": 50}
    assert found.index.is_monotonic_increasing


def test_many_runs_share_the_points():
    rows = pd.DataFrame({"folder": np.repeat(np.arange(1000), 200), "step": 1.0, "f": np.tile(np.arange(200.0), 1000)})
    assert thinned(rows, "f", most=share(1000)).groupby("folder").size().max() <= LEAST


def pixels(figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def long_runs(make, rows: int, strategies=("mix", "alright", "maxright")) -> None:
    """Runs of so many evaluations each: a fall with noise."""
    for number, strategy in enumerate(strategies):
        run = make(strategy, 0.35, 0.1, lam=0.5, seed=number, steps=40)
        noise = np.random.default_rng(number).normal(0, 0.01, (2, rows))
        step = np.arange(1, rows + 1)
        dpo, sft = np.array([[0.35], [0.1]]) + 2 * np.exp(-6 * step / rows) + noise
        table = {"step": step, "f_dpo": dpo, "f_sft": sft, "gap_dpo": dpo - 0.326, "gap_sft": sft - 0.026}
        pd.DataFrame(table).to_csv(run / "trajectory.csv", index=False)
        pick = np.random.default_rng(number).choice(["dpo", "sft"], rows)
        pd.DataFrame({"step": step - 1, "pick": pick, "seconds": 0.03}).to_csv(run / "steps.csv", index=False)


@pytest.mark.parametrize("plot", [objective_space, gaps])
def test_the_picture_stays_the_same(plot, make, tmp_path, monkeypatch):
    """Of 20,000 points a curve: hardly a pixel differs from the picture of all of them."""
    long_runs(make, 20_000)
    runs = read_runs([tmp_path])
    few = pixels(printed(plot(runs)))
    monkeypatch.setattr("xright.analysis.figures.thin.thinned", lambda rows, *_, most: rows)
    monkeypatch.setattr("xright.analysis.figures.curves.thin_curve", lambda curve: curve)
    every = pixels(printed(plot(runs)))
    differing = (np.abs(few - every).max(axis=-1) > 64).mean()
    assert differing < 0.005
    print(f"{differing:.3%} of the pixels differ")


@pytest.mark.parametrize("rows", [20_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_long_runs_make_a_light_page(rows, make, tmp_path):
    """Five seeds of so many evaluations: 5 × 10^5 are 2.8 MB and 510 MB of memory; plotly.js alone is 2.0 MB."""
    long_runs(make, rows, ["alright"] * 5)
    code = f"""
from pathlib import Path
from xright.report import main
assert main([{str(tmp_path / "runs")!r}, "--out", {str(tmp_path / "report")!r}]) == 0
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().split("\\n") if line.startswith("VmHWM")))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert (tmp_path / "report" / "report.html").stat().st_size < 4e6
    # The process's own peak, in kB: ru_maxrss begins with that of the process that started it.
    assert int(done.stdout.split("\n")[-2]) < 600_000
