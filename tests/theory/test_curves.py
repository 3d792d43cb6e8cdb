"""The tables that figs 2 and 6 draw."""

import math

import pandas as pd
import pytest

from xright.theory import curves

RESULTS = {  # T: gap, as in theory.json
    "sequential": {key: {"10": {"gap": 0.25}, "100": {"gap": 0.5}} for key in curves.SEQUENTIAL},
    "alright": {"1": {"100": {"mean_gap": 0.125, "seeds": 2}}},
    "alright_expected": {"1": {"10": 0.2, "100": 0.1}},
    "lower_bound": {"0.5": {"gap_at_zero": 0.271}},
}


@pytest.fixture(scope="module")
def paths() -> pd.DataFrame:
    return curves.paths()


def test_paths_go_from_the_start_to_the_ends_of_the_table(paths):
    assert list(paths["method"].unique()) == list(curves.METHODS)
    for method, path in paths.groupby("method"):
        assert path["step"].is_monotonic_increasing
        first, last = path.iloc[0], path.iloc[-1]
        assert (first["step"], first["theta_1"], first["theta_2"]) == (0, 5.0, -9.9)
        assert last["ideal_distance"] == pytest.approx(math.hypot(last["f_dpo"], last["f_sft"]))  # f* = 0
        expected = {"sequential": 4.967, "alright": 0.267, "maxright": 0.2548}[str(method)]
        assert last["ideal_distance"] == pytest.approx(expected, abs=0.008 if method == "alright" else 1e-3)


def test_a_path_is_thinned_but_keeps_its_last_step(paths):
    steps = {method: list(path["step"]) for method, path in paths.groupby("method")}
    assert len(steps["alright"]) == 50 + 191  # 0, 20, … 980, then 1000, 1100, … 20000
    assert steps["sequential"][-1] % 100 != 0  # its first stage ends early, at whatever step
    assert steps["sequential"][-1] - steps["sequential"][-2] < 100


def test_fig_6_has_the_objectives_and_every_gap():
    table = curves.one_parameter(RESULTS)
    assert list(table) == ["panel", "series", "x", "y"]
    at = table[table["panel"] == "objectives"].round({"x": 9}).set_index(["series", "x"])["y"]
    log_2 = math.log(2)  # f_DPO(θ) = softplus(θ/2 + 5), f_SFT(θ) = softplus(−θ/2)
    assert at["f_DPO", -10.0] == pytest.approx(log_2)
    assert at["f_SFT", 0.0] == pytest.approx(log_2)
    assert at["mixture", -5.0] == pytest.approx(math.log1p(math.exp(2.5)))
    assert at["optimum", -5.0] == pytest.approx(math.log1p(math.exp(2.5)))
    gaps = table[table["panel"] == "gap"]
    found = {name: list(zip(rows["x"], rows["y"], strict=True)) for name, rows in gaps.groupby("series")}
    assert found == {
        **{f"Sequential, α = {size}": [(10.0, 0.25), (100.0, 0.5)] for size in ("1", "0.1", "1/√T")},
        "ALRIGHT, expectation": [(10.0, 0.2), (100.0, 0.1)],
        "ALRIGHT, mean": [(100.0, 0.125)],
        "G(θ = 0)": [(0.0, 0.271)],
    }
