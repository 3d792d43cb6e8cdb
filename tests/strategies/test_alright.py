import math
from itertools import accumulate

import numpy as np
import pytest

from xright.errors import UserError
from xright.strategies import ALRIGHT
from xright.theory.problems import trade_off

STEPS = 4000
THREE = {"safety": 0.2, "dpo": 0.5, "sft": 0.3}


def picks(lam: float, seed: int) -> np.ndarray:
    """1 where DPO was drawn."""
    selector = ALRIGHT(trade_off(lam), seed)
    return np.array([selector.weights(step) == {"dpo": 1.0} for step in range(STEPS)], dtype=float)


def names(weights: dict[str, float], seed: int, steps=range(STEPS)) -> list[str]:
    """What was drawn."""
    selector = ALRIGHT(weights, seed)
    drawn = []
    for step in steps:
        ((name, weight),) = selector.weights(step).items()
        assert weight == 1.0
        drawn.append(name)
    return drawn


@pytest.mark.parametrize("lam", [0.01, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("seed", [0, 42])
def test_dpo_is_drawn_with_probability_lam(lam, seed):
    sigma = math.sqrt(lam * (1 - lam) / STEPS)
    assert abs(picks(lam, seed).mean() - lam) < 4 * sigma


@pytest.mark.parametrize("seed", [0, 42])
def test_each_of_three_is_drawn_with_the_probability_of_its_weight(seed):
    drawn = names(THREE, seed)
    for name, weight in THREE.items():
        assert abs(drawn.count(name) / STEPS - weight) < 4 * math.sqrt(weight * (1 - weight) / STEPS)


@pytest.mark.parametrize("lam", [0, 0.01, 0.1, 0.25, 0.3, 1 / 3, 0.5, 0.7, 0.9, 1])
@pytest.mark.parametrize("seed", [0, 1, 42])
def test_two_are_the_paper_s_coin(lam, seed):
    """u ~ U[0, 1) of numpy's generator for (seed, t); DPO where u < λ: the same draws since the first version."""
    coin = ["dpo" if np.random.default_rng((seed, step)).random() < lam else "sft" for step in range(500)]
    assert names(trade_off(lam), seed, range(500)) == coin


def test_three_share_the_unit_interval_in_the_order_of_the_weights():
    """[0, .2) safety, [.2, .7) dpo, [.7, 1) sft, on the same u."""
    drawn = np.array([np.random.default_rng((3, step)).random() for step in range(500)])
    expected = np.array(["safety", "dpo", "sft"])[np.digitize(drawn, [0.2, 0.7])]
    assert names(THREE, 3, range(500)) == expected.tolist()


@pytest.mark.parametrize("seed", [0, 1, 42])
def test_neighbouring_steps_and_seeds_are_uncorrelated(seed):
    drawn, other, bound = picks(0.5, seed), picks(0.5, seed + 1), 4 / math.sqrt(STEPS)
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < bound
    assert abs(np.corrcoef(drawn, other)[0, 1]) < bound
    assert abs(np.corrcoef(drawn[1:], other[:-1])[0, 1]) < bound  # nor is the next seed this one, a step later


@pytest.mark.parametrize("weights", [trade_off(0.5), THREE], ids=["two", "three"])
def test_a_draw_is_a_pure_function_of_seed_and_step(weights):
    forward, selector = names(weights, seed=3), ALRIGHT(weights, seed=3)
    backward = [selector.weights(step) for step in reversed(range(STEPS))]
    assert backward[::-1] == [{name: 1.0} for name in forward]


@pytest.mark.parametrize(("lam", "always"), [(0, "sft"), (1, "dpo")])
def test_the_ends_of_lam_never_draw_the_other(lam, always):
    assert all(ALRIGHT(trade_off(lam), seed=0).weights(step) == {always: 1.0} for step in range(STEPS))


def test_what_weighs_nothing_is_never_drawn_wherever_it_stands():
    assert set(names({"a": 0, "b": 0.5, "c": 0, "d": 0.5, "e": 0}, seed=0)) == {"b", "d"}


def test_weights_whose_sum_is_rounded_below_1_draw_the_last_that_weighs(monkeypatch):
    class Highest:
        def random(self):
            return math.nextafter(1.0, 0.0)

    monkeypatch.setattr(np.random, "default_rng", lambda _: Highest())
    tenths = {**dict.fromkeys("abcdefghij", 0.1), "none": 0.0}
    assert [*accumulate(tenths.values())][-1] <= Highest().random()  # 0.99…9: no interval holds the draw
    assert ALRIGHT(tenths, seed=0).weights(0) == {"j": 1.0}


def test_asks_for_nothing():
    selector = ALRIGHT(trade_off(0.5), seed=0)
    assert selector.looks(0) == ()
    assert selector.state_dict() == {}
    assert selector.gaps == {}
    assert (selector.name, selector.settings, selector.objectives) == ("ALRIGHT", {}, ("dpo", "sft"))


@pytest.mark.parametrize("weight", [-0.01, math.nan, math.inf, "0.5", True])
def test_weights_must_be_numbers_from_0(weight):
    with pytest.raises(UserError, match=r"weights\.dpo=.* must be a number >= 0, or null"):
        ALRIGHT({"dpo": weight, "sft": 0.5}, seed=0)
