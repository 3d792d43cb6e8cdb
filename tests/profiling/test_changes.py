"""What a stage gave and took, by hand."""

import numpy as np
import pytest

from xright.profiling.changes import changes
from xright.profiling.measures import Losses


def same(value, prompts=40):
    """Losses that every prompt has alike: their intervals have no width."""
    return Losses(np.full(prompts, 2.0 * value), np.full(prompts, 2.0))


def test_a_stage_wins_and_the_next_gives_some_back():
    sft, dpo = changes(["base", "sft", "dpo"], {"SFT": [same(2.0), same(1.2), same(1.7)]})
    assert (sft.stage, sft.change, sft.given_back) == ("sft", pytest.approx((-0.8, -0.8, -0.8)), None)
    assert dpo.change == pytest.approx((0.5, 0.5, 0.5))
    assert dpo.given_back == pytest.approx((0.625, 0.625, 0.625))  # .5 of .8
    assert dpo.sentence == "dpo gave back 62 % (62 to 62 %) of what had been won on SFT."
    assert sft.sentence == "sft won 0.800 on SFT (-0.800, -0.800 to -0.800 nats)."


def test_more_than_all_of_it():
    *_, last = changes(["base", "a", "b"], {"DPO": [same(0.7), same(0.5), same(0.8)]})
    assert last.given_back.value == pytest.approx(1.5)


def test_nothing_is_given_back_where_nothing_was_won_for_sure():
    draw = np.random.default_rng(3)
    noisy = [Losses(1 + draw.normal(size=30), np.ones(30)) for _ in range(2)]
    *_, last = changes(["base", "a", "b"], {"DPO": [*noisy, Losses(noisy[1].sums_C + 1, np.ones(30))]})
    assert last.change.value == pytest.approx(1)
    assert last.given_back is None
    assert last.sentence.startswith("b lost 1.000 on DPO")


def test_the_interval_of_a_mean_difference():
    """Differences of ±1 in equal shares over 400 prompts: mean 0, standard error 1/20, so ± .098."""
    difference = np.tile([1.0, -1.0], 200)
    base = np.random.default_rng(0).normal(size=400)  # hard prompts are hard for both, and cancel
    (found,) = changes(["base", "a"], {"SFT": [Losses(base, np.ones(400)), Losses(base + difference, np.ones(400))]})
    assert found.change.value == pytest.approx(0, abs=1e-12)
    assert (found.change.low, found.change.high) == pytest.approx((-0.098, 0.098), abs=0.01)
    assert "did not surely change" in found.sentence


def test_stages_come_in_their_order():
    found = changes(["base", "a", "b"], {"DPO": [same(1)] * 3, "SFT": [same(1)] * 3})
    assert [(one.stage, one.objective) for one in found] == [("a", "DPO"), ("a", "SFT"), ("b", "DPO"), ("b", "SFT")]
