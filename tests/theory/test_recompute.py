"""All sections from short runs: which keys, in which order, and that every value is the one its key names."""

import json
import math

import numpy as np
import pytest

from xright.theory import expectation, forgetting, recompute, toy

SEEDS = 24
SHORT = {
    "LAMS": (0.25, 0.5),
    "HORIZONS": (4, 20, 100),  # in the order of their letters: 100, 20, 4
    "FINE_HORIZONS": (4, 9, 20, 100),
    "EXACT_HORIZONS": range(9, 12),
    "KS": (2, 10),
    "TOY_SEEDS": range(2),
    "CHUNK": 140,  # seven seeds per task at T = 20, one at T = 100
}


@pytest.fixture(scope="module")
def results():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SHORT.items():
            patch.setattr(recompute, name, value)
        patch.setattr(toy, "STAGE", 60)
        patch.setattr(forgetting.maxright_limit, "__defaults__", (500,))
        yield recompute.recompute(SEEDS, processes=1)


def test_sections_and_keys(results):
    assert set(results) == {
        "lower_bound", "sequential", "mix", "alright", "alright_exact", "alright_expected", "alright_slope",
        "maxright_limit", "toy", "toy_lam", "toy_k",
    }  # fmt: skip
    assert set(results["toy"]) == {"swapped", "printed"}
    assert set(results["toy"]["swapped"]) == {"sequential", "alright", "maxright", "mix"}
    assert set(results["toy_lam"]["0.25"]) == {"alright", "maxright", "mix"}
    assert set(results["sequential"]) == {"const 0.1", "const 1", "1/sqrt(T)", "10/sqrt(T)"}
    assert set(results["alright_slope"]) == {"10"}
    judged = {"theta", "f_dpo", "f_sft", "ideal_distance"}
    for rows in (*results["toy"].values(), *results["toy_lam"].values(), {"maxright": results["toy_k"]["2"]}):
        for method, row in rows.items():
            spread = {f"{key}_sd" for key in judged} | {"seeds"} if method == "alright" else set()
            assert set(row) == judged | spread


def test_keys_are_numbers_in_their_order(results):
    of_horizons = ["4", "9", "20", "100"]
    for rows in (*results["sequential"].values(), *results["mix"].values(), *results["alright_expected"].values()):
        assert list(rows) == of_horizons
    for section in ("mix", "alright", "alright_exact", "alright_expected"):
        assert list(results[section]) == ["1", "10"]
    assert [list(rows) for rows in results["alright"].values()] == [["4", "20", "100"]] * 2
    assert [list(rows) for rows in results["alright_exact"].values()] == [["9", "10", "11"]] * 2
    assert list(results["lower_bound"]) == list(results["maxright_limit"]) == ["0.25", "0.5"]
    assert list(results["toy_lam"]) == ["0.25", "0.75"]
    assert list(results["toy_k"]) == ["2", "10"]


def test_values_are_where_their_keys_say(results):
    for lam in (0.25, 0.5):
        assert results["lower_bound"][f"{lam:g}"] == forgetting.lower_bound(lam)
        assert results["maxright_limit"][f"{lam:g}"] == pytest.approx(forgetting.maxright_limit(lam, 5_000), abs=0.1)
    for horizon in (4, 9, 20, 100):
        for schedule, row in forgetting.sequential(horizon).items():
            assert results["sequential"][schedule][str(horizon)] == pytest.approx(row)
        for alpha, row in zip(("1", "10"), forgetting.mix(horizon, (1.0, 10.0)), strict=True):
            assert results["mix"][alpha][str(horizon)] == pytest.approx(row)
            expected = expectation.expected_gap(float(alpha), horizon)
            assert results["alright_expected"][alpha][str(horizon)] == pytest.approx(expected)
    for alpha, rows in results["alright_exact"].items():
        for horizon, value in rows.items():
            assert value == pytest.approx(expectation.by_enumeration(float(alpha), int(horizon)))
    expected = [results["alright_expected"]["10"][horizon] for horizon in ("4", "20", "100")]
    assert results["alright_slope"]["10"] == pytest.approx(forgetting.slope([4, 20, 100], expected))


def test_alright_is_over_all_seeds_whatever_the_tasks(results):
    for horizon, seeds in ((4, 24), (20, 24), (100, 3)):  # the longest has an eighth of the seeds
        drawn = forgetting.alright(horizon, (1.0, 10.0), range(seeds))
        for alpha, gaps in zip((1.0, 10.0), drawn.T, strict=True):
            row = results["alright"][f"{alpha:g}"][str(horizon)]
            error = np.std(gaps, ddof=1) / math.sqrt(seeds)
            expected = {"mean_gap": gaps.mean(), "standard_error": error, "seeds": seeds}
            assert row == pytest.approx(expected | {"bound": forgetting.bound(alpha, horizon)})


def test_toy_rows_differ_as_their_keys_do(results):
    swapped, printed = results["toy"]["swapped"], results["toy"]["printed"]
    distances = {
        (variant, method): row["ideal_distance"]
        for variant, rows in (("swapped", swapped), ("printed", printed), *results["toy_lam"].items())
        for method, row in rows.items()
    }
    assert len(set(distances.values())) == len(distances)
    assert swapped["alright"]["seeds"] == 2
    assert results["toy_k"]["10"] == swapped["maxright"]  # k = 10 is the table's
    assert results["toy_k"]["2"] != results["toy_k"]["10"]


def test_the_result_is_json_as_it_stands(results):
    assert json.loads(json.dumps(results, allow_nan=False)) == results


def test_two_processes_give_the_same(results):
    assert recompute.recompute(SEEDS, processes=2) == results
