import pandas as pd
import pytest

from xright.analysis.numbers.runtime import matched_split, percent, runtime_grid, runtime_increases
from xright.analysis.numbers.statistics import mean_interval
from xright.analysis.read.runs import read_runs


def sequential(make, split, seconds, **more):
    make("sequential", 2.0, 0.1, epochs=tuple(map(int, split.split(","))), train_seconds=seconds, **more)


def found(folder):
    rows = runtime_increases(read_runs([folder]).table)
    return {(row.label, row.over): row.increase for row in rows.itertuples()}


@pytest.mark.parametrize(
    ("lam", "epochs", "split"),
    [
        (0.01, 6, (1, 5)), (0.25, 6, (2, 4)), (0.5, 6, (3, 3)), (0.75, 6, (4, 2)), (0.99, 6, (5, 1)),  # the paper's
        (0.25, 4, (1, 3)), (0.5, 4, (2, 2)), (0.75, 4, (3, 1)),  # and its Llama's
        (0.25, 2, (1, 1)), (0.75, 2, (1, 1)), (0.2, 6, (1, 5)),  # .2 − 1/6 = .033 < 2/6 − .2
    ],
)  # fmt: skip
def test_the_split_with_the_trade_off_of_lambda(lam, epochs, split):
    assert matched_split((lam, 1 - lam), epochs) == split


def test_each_lambda_is_compared_with_its_own_split(make, tmp_path):
    for split, seconds in (("2,4", 10.0), ("3,3", 20.0), ("4,2", 40.0)):
        sequential(make, split, seconds)
    for lam, seconds in ((0.25, 15.0), (0.5, 19.0), (0.75, 40.0)):
        make("mix", 0.4, 0.1, lam=lam, train_seconds=seconds)
    assert found(tmp_path) == {
        ("Mix λ=0.25", "Sequential DPO→SFT (2,4)"): pytest.approx(0.5),  # (15 − 10) / 10
        ("Mix λ=0.5", "Sequential DPO→SFT (3,3)"): pytest.approx(-0.05),  # (19 − 20) / 20
        ("Mix λ=0.75", "Sequential DPO→SFT (4,2)"): 0,
    }


def test_the_other_order_names_sft_first(make, tmp_path):
    sequential(make, "2,4", 10.0, first="sft")  # T_DPO = 4: the trade-off of λ = .75
    make("alright", 0.4, 0.1, lam=0.75, train_seconds=11.0)
    make("alright", 0.4, 0.1, lam=0.25, train_seconds=11.0)
    rows = runtime_increases(read_runs([tmp_path]).table)
    assert rows[["label", "first"]].values.tolist() == [["ALRIGHT λ=0.75", "sft"]]
    assert rows["increase"].tolist() == pytest.approx([0.1])


def test_only_joint_runs_of_the_same_seed_and_setting(make, tmp_path):
    sequential(make, "3,3", 10.0)
    make("model_average", 0.4, 0.1, lam=0.5)  # does not train
    make("orpo", 0.4, 0.1)
    make("mix", 0.4, 0.1, lam=0.5, seed=1, train_seconds=12.0)
    make("alright", 0.4, 0.1, lam=0.5, train_seconds=12.0, config={"data": {"source": {"conflict": 0.3, "seed": 0}}})
    assert found(tmp_path) == {}


def test_the_table_has_an_interval_over_seeds(make, tmp_path):
    for seed, seconds in enumerate((15.0, 16.0)):
        sequential(make, "3,3", 10.0, seed=seed)
        make("mix", 0.4, 0.1, lam=0.5, seed=seed, train_seconds=seconds)
        make("alright", 0.4, 0.1, lam=0.5, seed=seed, train_seconds=9.0)
    # Mix: .5 and .6: mean .55, s = .0707, half = t · s / sqrt 2 = 12.7062 · .05 = .6353
    assert runtime_grid(read_runs([tmp_path])).rows == [
        ["Mix λ=0.5", "Sequential DPO→SFT (3,3)", "2", "+55% ± 64%"],
        ["ALRIGHT λ=0.5", "Sequential DPO→SFT (3,3)", "2", "−10% ± 0%"],
    ]


@pytest.mark.parametrize(
    ("weights", "epochs", "split"),
    [
        ((0.5, 0.3, 0.2), 10, (5, 3, 2)),
        ((0.6, 0.2, 0.2), 6, (4, 1, 1)),  # .067² + 2 · .033² against (3,2,1): .1² + .133² + .033²
        ((0.98, 0.01, 0.01), 6, (4, 1, 1)),  # each at least one
        ((0.25, 0.25, 0.25, 0.25), 4, (1, 1, 1, 1)),
    ],
)
def test_the_split_of_several_objectives(weights, epochs, split):
    assert matched_split(weights, epochs) == split


def test_three_objectives_in_any_order(make, tmp_path):
    weights = {"dpo": 0.5, "sft": 0.3, "safety": 0.2}
    for split, seconds in (("2,6,3", 8.0), ("3,5,2", 10.0)):  # SFT first: its share is .3 in the second
        sequential(make, split, seconds, first="sft", more={"safety": 0.4})
    make("mix", 0.4, 0.1, more={"safety": 0.3}, weights=weights, train_seconds=12.0)
    assert found(tmp_path) == {
        ("Mix dpo=0.5 sft=0.3 safety=0.2", "Sequential SFT→DPO→Safety (3,5,2)"): pytest.approx(0.2)
    }


def test_percent():
    assert percent(mean_interval([0.526])) == "+53%"
    assert percent(mean_interval(pd.Series(dtype=float))) == "–"
