import math

import numpy as np
import pandas as pd
import pytest

from xright.analysis.numbers.statistics import (
    Mean,
    comparisons,
    hypervolumes,
    mean_curve,
    mean_interval,
    means,
    reference_point,
    verdict,
)
from xright.analysis.read.runs import read_runs

T_3 = 4.302653  # t_{2, 0.975}: the 95 % quantile for three runs
T_2 = 12.706205  # for two runs


def at(distance: float) -> tuple[float, float]:
    """A final point (f_dpo, f_sft) at this ideal distance: straight above the ideal point (0.326, 0.026)."""
    return 0.326, 0.026 + distance


def test_mean_and_interval_by_hand():
    found = mean_interval([0.1, 0.2, 0.3])  # s = sqrt((.01 + 0 + .01) / 2) = 0.1
    assert found == pytest.approx((0.2, T_3 * 0.1 / math.sqrt(3), 3), abs=1e-6)
    assert (found.low, found.high) == pytest.approx((-0.048414, 0.448414), abs=1e-6)
    assert mean_interval([1.0, 3.0]) == pytest.approx((2.0, T_2 * math.sqrt(2) / math.sqrt(2), 2), abs=1e-5)


def test_one_run_has_no_interval_and_missing_values_do_not_count():
    one = mean_interval([np.nan, 0.5])
    assert (one.mean, one.n) == (0.5, 1)
    assert math.isnan(one.half)
    assert mean_interval([]).n == 0
    assert math.isnan(mean_interval([]).mean)


def test_a_curve_is_the_mean_at_each_step_that_all_runs_have():
    """One run has a value at step 5 alone, and goes on to step 12 alone."""
    nan = np.nan
    rows = pd.DataFrame(
        {"step": [1, 5, 9, 12, 1, 5, 9, 1, 5, 9], "gap": [0.1, nan, 0.5, 7.0, 0.2, 2.0, 0.5, 0.3, nan, 0.5]}
    )
    curve = mean_curve(rows, "gap")
    half = T_3 * 0.1 / math.sqrt(3)
    np.testing.assert_allclose(curve["mean"], [0.2, 0.5], rtol=1e-12)
    np.testing.assert_allclose(curve["low"], [0.2 - half, 0.5], rtol=1e-6)
    np.testing.assert_allclose(curve["high"], [0.2 + half, 0.5], rtol=1e-6)
    assert curve["n"].tolist() == [3, 3]
    assert curve.index.tolist() == [1, 9]


def test_a_curve_of_one_run_has_all_its_steps():
    rows = pd.DataFrame({"step": [1, 5, 9], "gap": [0.1, 0.3, 0.2]})
    assert mean_curve(rows, "gap")["mean"].tolist() == [0.1, 0.3, 0.2]
    assert mean_curve(rows[:0], "gap").empty


def test_equal_runs_have_no_spread_not_even_that_of_rounding():
    rows = pd.DataFrame({"step": [7] * 5, "share": [13 / 15] * 5})
    assert mean_curve(rows, "share")["high"].tolist() == [13 / 15]


def test_the_interval_covers_the_truth_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(3.0, 2.0, (2000, 3))
    found = [mean_interval(sample) for sample in draws]
    covered = sum(mean.low <= 3.0 <= mean.high for mean in found) / len(found)
    assert covered == pytest.approx(0.95, abs=0.02)  # sqrt(.95 · .05 / 2000) = .005


def test_the_verdict_is_the_place_of_the_interval():
    intervals = [Mean(-1, 0.5, 3), Mean(1, 0.5, 3), Mean(-1, 1.5, 3), Mean(-1, 1.0, 3), Mean(-1, np.nan, 1)]
    expected = ["holds", "does not hold", "cannot tell", "cannot tell", "cannot tell"]
    assert [verdict(interval) for interval in intervals] == expected


def test_means_are_per_group_in_the_order_of_the_table(make, tmp_path):
    for seed, f_dpo in enumerate((0.4, 0.5, 0.6)):
        make("mix", f_dpo, 0.1, lam=0.5, seed=seed)
    make("alright", 0.7, 0.1, lam=0.5)
    rows = means(read_runs([tmp_path]).table, ["strategy", "lam"], ["f_dpo"]).to_dict("records")
    assert [row["strategy"] for row in rows] == ["mix", "alright"]
    assert rows[0]["low"] == pytest.approx(0.5 - 0.248414, abs=1e-6)
    assert (rows[1]["mean"], rows[1]["n"]) == (0.7, 1)
    assert math.isnan(rows[1]["high"])


def test_two_strategies_are_compared_seed_by_seed(make, tmp_path):
    mix, maxright = (0.20, 0.40, 0.90), (0.11, 0.29, 0.80)  # far apart over seeds, close together within one
    for seed in range(3):
        make("mix", *at(mix[seed]), lam=0.5, seed=seed)
        make("maxright", *at(maxright[seed]), lam=0.5, seed=seed)
    rows = comparisons(read_runs([tmp_path]).table)
    assert rows[["left", "right"]].drop_duplicates().values.tolist() == [["MAXRIGHT", "Mix"]]
    each, together = rows.to_dict("records")
    # differences −.09, −.11, −.10: mean −.1, s = .01, half = 4.3027 · .01 / sqrt 3 = .024841
    for row in (each, together):
        assert (row["mean"], row["high"]) == pytest.approx((-0.1, -0.1 + 0.024841), abs=1e-6)
        assert (row["n"], row["verdict"]) == (3, "holds")
    assert (each["weighting"], each["lam"]) == ("λ=0.5", 0.5)
    assert together["weighting"] == ""
    assert math.isnan(together["lam"])


def test_over_all_lambdas_each_seed_counts_once_and_must_be_complete(make, tmp_path):
    # MAXRIGHT − Mix: seed 0: −.1 (λ .25), −.3 (λ .75), mean −.2; seed 1: −.1, +.1, mean 0; seed 2 has λ .25 only
    for lam, seed, maxright in ((0.25, 0, 0.4), (0.75, 0, 0.2), (0.25, 1, 0.4), (0.75, 1, 0.6), (0.25, 2, 0.4)):
        make("mix", *at(0.5), lam=lam, seed=seed)
        make("maxright", *at(maxright), lam=lam, seed=seed)
    quarter, three, together = comparisons(read_runs([tmp_path]).table).to_dict("records")
    assert (quarter["n"], three["n"], together["n"]) == (3, 2, 2)
    assert quarter["mean"] == pytest.approx(-0.1)
    assert together["mean"] == pytest.approx(-0.1)  # (−.2 + 0) / 2; s = .1414
    assert together["high"] == pytest.approx(-0.1 + T_2 * 0.1, abs=1e-5)
    assert together["verdict"] == "cannot tell"


def test_other_settings_seeds_and_lambdas_are_not_paired(make, tmp_path):
    make("mix", *at(0.2), lam=0.5, config={"data": {"source": {"conflict": 0.3, "seed": 0}}})
    make("maxright", *at(0.1), lam=0.5)
    make("alright", *at(0.1), lam=0.25)
    make("alright", *at(0.1), lam=0.5, seed=4)
    assert comparisons(read_runs([tmp_path]).table).empty


def test_hypervolume_per_method_and_seed_with_one_reference_point(make, tmp_path):
    # worst (0.8, 0.6); best and optimum: min(0.4, 0.326) and min(0.1, 0.026)
    for seed, better in enumerate((0.4, 0.5)):
        make("mix", better, 0.6, lam=0.75, seed=seed)
        make("mix", 0.8, 0.1, lam=0.25, seed=seed)
    make("sequential", 0.8, 0.6, epochs=(5, 1))
    runs = read_runs([tmp_path])
    corner = (0.8 + 0.1 * (0.8 - 0.326), 0.6 + 0.1 * (0.6 - 0.026))
    assert reference_point(runs) == pytest.approx(corner)  # (.8474, .6574)
    found = hypervolumes(runs).set_index(["method", "seed"])["hypervolume"]
    # (.4, .6) dominates (.8474 − .4) · (.6574 − .6); (.8, .1) adds (.8474 − .8) · (.6 − .1)
    assert found["Mix", 0] == pytest.approx(0.4474 * 0.0574 + 0.0474 * 0.5)
    assert found["Mix", 1] == pytest.approx(0.3474 * 0.0574 + 0.0474 * 0.5)
    assert found["Sequential DPO→SFT", 0] == pytest.approx(0.0474 * 0.0574)


def test_a_seed_without_all_its_points_has_no_hypervolume(make, tmp_path):
    make("mix", 0.4, 0.6, lam=0.75)
    make("mix", 0.8, 0.1, lam=0.25)
    make("mix", 0.4, 0.6, lam=0.75, seed=1)
    found = hypervolumes(read_runs([tmp_path]))
    assert found["seed"].tolist() == [0]
    assert found["points"].tolist() == [2]


def test_three_objectives_are_compared_at_equal_weights_and_have_a_volume(make, tmp_path):
    even, tilted = {"dpo": 0.4, "sft": 0.4, "safety": 0.2}, {"dpo": 0.2, "sft": 0.6, "safety": 0.2}
    optimum = {"f_dpo": 0.326, "f_sft": 0.026}
    make("mix", *optimum.values(), more={"safety": 0.5}, weights=even)  # ideal distance .3
    make("alright", *optimum.values(), more={"safety": 0.6}, weights=even)  # .4
    make("alright", *optimum.values(), more={"safety": 0.9}, weights=tilted)  # no Mix at these weights
    runs = read_runs([tmp_path])
    each, together = comparisons(runs.table).to_dict("records")
    assert (each["left"], each["right"], each["weighting"]) == ("ALRIGHT", "Mix", "dpo=0.4 sft=0.4 safety=0.2")
    assert each["mean"] == together["mean"] == pytest.approx(0.1)
    # no range in the first two objectives: nothing lies below the reference point there
    assert reference_point(runs) == pytest.approx([0.326, 0.026, 0.9 + 0.1 * (0.9 - 0.2)])
    assert set(hypervolumes(runs)["hypervolume"]) == {0}
    make("maxright", 0.426, 0.226, more={"safety": 0.2}, weights=even)
    runs = read_runs([tmp_path])
    corner = (0.426 + 0.01, 0.226 + 0.02, 0.97)
    assert reference_point(runs) == pytest.approx(corner)
    found = hypervolumes(runs).set_index("method")
    assert found.at["Mix", "hypervolume"] == pytest.approx((0.436 - 0.326) * (0.246 - 0.026) * (0.97 - 0.5))
    assert found.at["ALRIGHT", "hypervolume"] == pytest.approx(0.11 * 0.22 * (0.97 - 0.6))  # the other is dominated
    assert found.at["MAXRIGHT", "hypervolume"] == pytest.approx(0.01 * 0.02 * 0.77)
    assert found.at["Mix", "reference_safety"] == pytest.approx(0.97)
