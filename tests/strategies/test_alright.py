import math

import numpy as np
import pytest

from xright.errors import UserError
from xright.strategies import ALRIGHT
from xright.theory.problems import trade_off

STEPS = 4000


def picks(lam: float, seed: int) -> np.ndarray:
    """1 where DPO was drawn."""
    selector = ALRIGHT(trade_off(lam), seed)
    return np.array([selector.weights(step) == {"dpo": 1.0} for step in range(STEPS)], dtype=float)


@pytest.mark.parametrize("lam", [0.01, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("seed", [0, 42])
def test_dpo_is_drawn_with_probability_lam(lam, seed):
    sigma = math.sqrt(lam * (1 - lam) / STEPS)
    assert abs(picks(lam, seed).mean() - lam) < 4 * sigma


@pytest.mark.parametrize("seed", [0, 1, 42])
def test_neighbouring_steps_and_seeds_are_uncorrelated(seed):
    drawn, other, bound = picks(0.5, seed), picks(0.5, seed + 1), 4 / math.sqrt(STEPS)
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < bound
    assert abs(np.corrcoef(drawn, other)[0, 1]) < bound
    assert abs(np.corrcoef(drawn[1:], other[:-1])[0, 1]) < bound  # nor is the next seed this one, a step later


def test_a_draw_is_a_pure_function_of_seed_and_step():
    forward, selector = picks(0.5, seed=3), ALRIGHT(trade_off(0.5), seed=3)
    backward = [selector.weights(step) == {"dpo": 1.0} for step in reversed(range(STEPS))]
    assert backward[::-1] == forward.astype(bool).tolist()


@pytest.mark.parametrize(("lam", "always"), [(0, "sft"), (1, "dpo")])
def test_the_ends_of_lam_never_draw_the_other(lam, always):
    assert all(ALRIGHT(trade_off(lam), seed=0).weights(step) == {always: 1.0} for step in range(STEPS))


def test_asks_for_nothing():
    selector = ALRIGHT(trade_off(0.5), seed=0)
    assert selector.looks(0) == ()
    assert selector.state_dict() == {}
    assert selector.phases(steps_per_epoch=10, epochs=3) == (30,)


@pytest.mark.parametrize("lam", [-0.01, 1.01, math.nan, "0.5", True, None])
def test_lam_must_be_in_the_unit_interval(lam):
    with pytest.raises(UserError, match=r"lam=.* must be a number in \[0, 1\]"):
        ALRIGHT(trade_off(lam), seed=0)
