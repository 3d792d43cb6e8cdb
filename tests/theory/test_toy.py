"""The two-parameter example: every row of the table, on the real number of steps, and the loop's rules on few."""

import math

import numpy as np
import pytest

from xright.strategies import ALRIGHT, MAXRIGHT, Mix, Sequential
from xright.theory import toy
from xright.theory.descent import descend_side_by_side
from xright.theory.problems import DECAY, NAMES, STEP, table_2, trade_off


@pytest.fixture(scope="module")
def deterministic() -> dict[str, dict]:
    """The three rows without chance, on the swapped variant."""
    return {method: toy.run("swapped", method) for method in ("sequential", "maxright", "mix")}


@pytest.fixture(scope="module")
def alright() -> list[dict]:
    """A row for each of three seeds."""
    problem, coins = table_2(), [ALRIGHT(trade_off(0.5), seed) for seed in range(3)]
    ends = descend_side_by_side(problem, coins, 2 * toy.STAGE, STEP, decay=DECAY)
    return [toy.outcome(problem, theta) for theta in ends]


@pytest.mark.parametrize(
    ("method", "theta", "f_dpo", "f_sft", "distance"),
    [
        ("sequential", (-5.481, -3.085), 4.967, 0.063, 4.967),
        ("maxright", (-3.244, 7.844), 0.1801, 0.1802, 0.2548),
        ("mix", (-2.764, 7.837), 0.145, 0.224, 0.2667),
    ],
)
def test_deterministic_rows(deterministic, method, theta, f_dpo, f_sft, distance):
    row = deterministic[method]
    assert list(row) == ["theta", "f_dpo", "f_sft", "ideal_distance"]
    assert row["theta"] == pytest.approx(theta, abs=1e-3)
    assert (row["f_dpo"], row["f_sft"]) == pytest.approx((f_dpo, f_sft), abs=1e-3)
    assert row["ideal_distance"] == pytest.approx(distance, abs=1e-3)
    assert row["ideal_distance"] == pytest.approx(math.hypot(row["f_dpo"], row["f_sft"]))  # f* = 0


def test_as_printed_there_is_no_conflict():
    row = toy.run("printed", "sequential")
    assert row["ideal_distance"] == pytest.approx(0.0502, abs=1e-3)
    assert row["f_dpo"] < 0.05  # where the first stage ended, and the second had nothing to do
    assert row["f_sft"] < 0.05


def test_alright_of_every_seed(alright):
    for row in alright:
        assert row["ideal_distance"] == pytest.approx(0.267, abs=0.008)
        assert (row["f_dpo"], row["f_sft"]) == pytest.approx((0.145, 0.224), abs=0.008)
        assert row["theta"] == pytest.approx([-2.76, 7.83], abs=0.05)
    assert len({row["ideal_distance"] for row in alright}) == 3


def test_maxright_is_closer_than_alright_at_even_weights_but_not_at_others(deterministic, alright):
    assert deterministic["maxright"]["ideal_distance"] < min(row["ideal_distance"] for row in alright)
    uneven = toy.run("swapped", "maxright", lam=0.25)["ideal_distance"]
    drawn = toy.run_alright("swapped", 0.25, [0, 1])["ideal_distance"]
    assert uneven == pytest.approx(0.421, abs=1e-3)
    assert drawn == pytest.approx(0.381, abs=0.008)
    assert uneven > drawn + 0.02


def test_looking_less_often_costs_nothing_here(deterministic):
    exact, rarely = (toy.run("swapped", "maxright", k=k)["ideal_distance"] for k in (1, 1_000))
    assert deterministic["maxright"]["ideal_distance"] == pytest.approx(exact, abs=1e-4)  # k = 10
    assert rarely == pytest.approx(exact, abs=1e-4)
    assert rarely != exact


def test_only_sequential_ends_its_stages_early():
    problem = table_2(swapped=False)
    mix = toy.train(problem, Mix(trade_off(0.5)), visit=[20_000])
    assert 20_000 in mix.visited  # both losses have been below .05 for long
    assert max(float(loss) for loss in problem.losses(mix.theta).values()) < 0.05
    sequential = toy.train(problem, Sequential("dpo", (1, 1), NAMES), visit=range(20_001)).visited
    before, end = (sequential[max(sequential) - back] for back in (1, 0))
    assert max(sequential) < 10_000
    assert problem.losses(end)["dpo"] < 0.05 <= problem.losses(before)["dpo"]


def test_strategies_of_the_table():
    rules = toy.strategies(0.3, seed=4, k=7)
    assert list(rules) == ["sequential", "alright", "maxright", "mix"]
    expected = [
        Sequential("dpo", (1, 1), NAMES),
        ALRIGHT(trade_off(0.3), 4),
        MAXRIGHT(trade_off(0.3), {"dpo": 0.0, "sft": 0.0}, 7),
        Mix(trade_off(0.3)),
    ]
    assert [repr(rule) for rule in rules.values()] == [repr(rule) for rule in expected]


def test_seeds_side_by_side_are_the_runs_themselves(monkeypatch):
    monkeypatch.setattr(toy, "STAGE", 150)
    problem = table_2(swapped=False)
    rows = [toy.outcome(problem, toy.train(problem, ALRIGHT(trade_off(0.25), seed)).theta) for seed in (5, 2)]
    table = toy.run_alright("printed", 0.25, [5, 2])
    assert table["seeds"] == 2
    for key in ("f_dpo", "f_sft", "ideal_distance"):
        first, second = (row[key] for row in rows)
        assert table[key] == pytest.approx((first + second) / 2)
        assert table[f"{key}_sd"] == pytest.approx(abs(first - second) / math.sqrt(2))
    assert table["theta"] == pytest.approx(np.mean([row["theta"] for row in rows], 0))


def test_mean_and_sd_by_hand():
    table = toy.mean_and_sd(
        [{"a": 1.0, "theta": [0.0, 2.0]}, {"a": 2.0, "theta": [4.0, 2.0]}, {"a": 6.0, "theta": [8.0, 2.0]}]
    )
    # deviations of a: −2, −1, 3, so (4 + 1 + 9)/2 = 7
    expected = {"seeds": 3, "a": 3.0, "a_sd": math.sqrt(7), "theta": [4.0, 2.0], "theta_sd": [4.0, 0.0]}
    assert table.keys() == expected.keys()
    for key, value in expected.items():
        assert table[key] == pytest.approx(value)
