import pytest

from xright.analysis.numbers.statistics import Mean
from xright.analysis.read.runs import read_runs
from xright.analysis.text.seed_tables import (
    comparison_grid,
    distance_grid,
    hypervolume_grid,
    means_over_training,
    with_interval,
)
from xright.analysis.text.tables import Grid


@pytest.fixture
def runs(make, tmp_path):
    for seed, above in enumerate((0.1, 0.2, 0.3)):  # ideal distances of Mix at λ = 0.5; MAXRIGHT's are .1 larger
        make("mix", 0.326, 0.026 + above, lam=0.5, seed=seed)
        make("maxright", 0.326, 0.026 + above + 0.1, lam=0.5, seed=seed)
    make("mix", 0.326, 0.076, lam=0.25)
    make("sequential", 2.326, 0.026, epochs=(5, 1))
    return read_runs([tmp_path])


def test_ideal_distances_by_method_and_lambda(runs):
    assert distance_grid(runs) == Grid(
        ["method", "λ=0.25", "λ=0.5", "no weights"],
        [
            ["Sequential DPO→SFT (5,1)", "–", "–", "2.00"],
            ["Mix", "0.0500", "0.200 ± 0.248", "–"],  # t = 4.3027: 4.3027 · .1 / sqrt 3
            ["MAXRIGHT", "–", "0.300 ± 0.248", "–"],
        ],
        1,
    )


def test_a_comparison_tells_its_verdict_and_how_many_seeds_it_has(runs):
    rows = comparison_grid(runs, each=False).rows
    # all differences are .1: the interval is a point, above 0
    (row,) = rows
    assert row[:4] == ["MAXRIGHT ends closer than Mix", "does not hold", "all", "3"]
    assert row[4].startswith("0.100 ±")  # all differences are .1: the interval is a point above 0
    assert len(comparison_grid(runs).rows) == 2  # λ = 0.5 and all


def test_hypervolumes_count_seeds_and_points(runs):
    rows = {row[0]: row[1:3] for row in hypervolume_grid(runs).rows}
    assert rows == {"Sequential DPO→SFT": ["1", "1"], "Mix": ["1", "2"], "MAXRIGHT": ["3", "1"]}


def test_curves_as_numbers_take_the_last_value_known_by_each_quarter(make, tmp_path):
    folder = make("mix", 0.4, 0.1, lam=0.5)
    (folder / "trajectory.csv").write_text("step,gap_dpo\n1,8\n10,4\n19,3\n20,2\n39,9\n40,1\n")
    runs = read_runs([tmp_path])
    grid = means_over_training(runs, runs.trajectory, {"gap_dpo": "DPO gap"})
    assert grid.headings == ["method", *(f"DPO gap, {part} %" for part in (25, 50, 75, 100))]
    assert grid.rows == [["Mix λ=0.5", "4.00", "2.00", "2.00", "1.00"]]  # at steps 10, 20, 30 (last: 20) and 40


def test_a_mean_without_interval_has_no_sign():
    assert with_interval(Mean(0.5, float("nan"), 1)) == "0.500"
    assert with_interval(Mean(float("nan"), float("nan"), 0)) == "–"
