"""Rules that make weights of losses: worked by hand, and against TorchJD's scalarizers."""

import numpy as np
import pytest
import torch
from torchjd import scalarization

from xright.errors import UserError
from xright.strategies import DWA, EXP3, FAMO, MAXRIGHT, STCH, Blocks, Constrained, GroupDRO, ScheduledMix

HALVES = {"dpo": 0.5, "sft": 0.5}
ZERO = {"dpo": 0.0, "sft": 0.0}
LOSSES = [{"dpo": 0.7, "sft": 1.4}, {"dpo": 0.5, "sft": 1.5}, {"dpo": 0.4, "sft": 1.1}, {"dpo": 0.45, "sft": 0.9}]


def gradient(scalarizer, losses):
    """∂ scalarizer / ∂ losses: the weights that it gives."""
    values = torch.tensor([*losses.values()], dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(scalarizer(values), values)[0].tolist()


@pytest.mark.parametrize("mu", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("lam", [0.2, 0.5])
def test_stch_is_torchjd_s(mu, lam):
    weights, optima = {"dpo": lam, "sft": 1 - lam}, {"dpo": 0.1, "sft": 1.0}
    rule = STCH(weights, optima, mu)
    theirs = scalarization.STCH(
        mu, torch.tensor([*weights.values()], dtype=torch.float64), torch.tensor([0.1, 1.0], dtype=torch.float64)
    )
    for losses in LOSSES:
        rule.observe(losses)
        assert [*rule.weights(0).values()] == pytest.approx(gradient(theirs, losses), rel=1e-9)


def test_stch_of_small_mu_follows_maxright():
    weights, optima = {"dpo": 0.7, "sft": 0.3}, {"dpo": 0.1, "sft": 1.0}
    smooth, hard = STCH(weights, optima, mu=1e-4), MAXRIGHT(weights, optima, k=1)
    for losses in LOSSES:
        smooth.observe(losses)
        hard.observe(losses)
        (picked,) = hard.weights(0)
        assert smooth.weights(0)[picked] == pytest.approx(weights[picked])


def test_group_dro_by_hand():
    """η w d: .1·(.5·.6, .5·.4), then + .1·(.5·.4, .5·.5): q = softmax(.05, .045)."""
    rule = GroupDRO(HALVES, {"dpo": 0.1, "sft": 1.0}, eta=0.1)
    for step, losses in enumerate(LOSSES[:2]):
        rule.observe(losses)
        weights = rule.weights(step)
        assert rule.weights(step) == weights  # asked again, it has not moved on
        rule.observe(losses)  # as the loop does after the update
    assert weights["dpo"] == pytest.approx(1 / (1 + np.exp(0.045 - 0.05)))


def test_the_constraint_s_multiplier_grows_while_it_is_violated_and_falls_after():
    rule, shares = Constrained("sft", 0.2, {"dpo": 0.1, "sft": 1.0}, eta=0.5, nu_max=10), []
    for step, dpo in enumerate([0.9, 0.9, 0.9, 0.1, 0.1, 0.1]):  # gap .8 against .2, then 0
        rule.observe({"dpo": dpo, "sft": 1.5})
        shares.append(rule.weights(step)["dpo"])
    first = np.exp(0.5 * 0.6)  # log ν = η (.8 − .2)
    second = first * np.exp(0.5 * 0.6 * first)
    assert shares[:2] == pytest.approx([first / (1 + first), second / (1 + second)])
    assert shares[:3] == sorted(shares[:3])
    assert shares[2:] == sorted(shares[2:], reverse=True)


def test_the_multiplier_has_bounds():
    rule = Constrained("sft", 0.0, ZERO, eta=1.0, nu_max=10)
    for step in range(50):
        rule.observe({"dpo": 5.0, "sft": 1.0})
        weights = rule.weights(step)
    assert weights == pytest.approx({"sft": 1 / 11, "dpo": 10 / 11})


def test_exp3_by_hand():
    """γ = .2: π = (.5, .5). A reward of .5·.8 for DPO: log v = .3·.4/(.5·2) = .12; π = .8·softmax + .1."""
    rule = EXP3(HALVES, ZERO, seed=0, gamma=0.2, eta=0.3)
    assert rule.chances == pytest.approx({"dpo": 0.5, "sft": 0.5})
    rule.observe({"dpo": 0.8})
    assert rule.chances["dpo"] == pytest.approx(0.8 / (1 + np.exp(-0.12)) + 0.1)


def test_exp3_draws_by_its_chances():
    rule = EXP3(HALVES, ZERO, seed=1, gamma=0.2)
    rule.logits = {"dpo": float(np.log(4)), "sft": 0.0}
    share = np.mean(["dpo" in rule.weights(step) for step in range(4000)])
    assert share == pytest.approx(0.8 * 0.8 + 0.1, abs=0.025)


def test_dwa_is_torchjd_s_over_windows():
    """TorchJD's windows are the epochs between two calls of `step`; its weights sum to K, ours to 1."""
    rule, theirs, window = DWA(HALVES, temperature=2.0, window=2), scalarization.DWA(2.0), 2
    draw = np.random.default_rng(0)
    for step in range(10):
        losses = dict(zip(HALVES, draw.uniform(0.5, 2, 2).tolist(), strict=True))
        expected = np.array(gradient(theirs, losses)) / 2
        assert [*rule.weights(step).values()] == pytest.approx(expected)
        rule.observe(losses)
        if (step + 1) % window == 0:
            theirs.step()


def test_famo_is_torchjd_s():
    rule, theirs = FAMO(HALVES), scalarization.FAMO(2).double()
    draw = np.random.default_rng(0)
    for step in range(30):
        before, after = (dict(zip(HALVES, draw.uniform(0.2, 2, 2).tolist(), strict=True)) for _ in range(2))
        assert rule.looks(step) == rule.reviews(step) == ("dpo", "sft")
        rule.observe(before)
        assert [*rule.weights(step).values()] == pytest.approx(gradient(theirs, before), rel=1e-5)
        rule.observe(before)
        rule.review(after)
        theirs.update(torch.tensor([*after.values()], dtype=torch.float64))


def test_a_schedule_warms_up_and_then_follows_a_cosine():
    rule = ScheduledMix(HALVES, end={"dpo": 0.1, "sft": 0.9}, begin={"dpo": 0.9, "sft": 0.1}, warmup=0.2)
    rule.length = 10
    shares = [rule.weights(step)["dpo"] for step in range(10)]
    assert shares[:3] == pytest.approx([0.9, 0.7, 0.5])
    assert shares[6] == pytest.approx(0.3)  # half way of the cosine's eight steps
    assert shares[9] > 0.1


def test_an_objective_of_weight_0_is_not_computed():
    rule = ScheduledMix({"dpo": 0.0, "sft": 1.0}, end={"dpo": 1.0, "sft": 0.0})
    rule.length = 4
    assert list(rule.weights(0)) == ["sft"]


def test_blocks_come_in_their_order():
    rule = Blocks({"sft": 2, "dpo": 1})
    assert rule.objectives == ("sft", "dpo")
    assert [next(iter(rule.weights(step))) for step in range(7)] == ["sft", "sft", "dpo", "sft", "sft", "dpo", "sft"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: STCH(HALVES, ZERO, mu=0), "strategy.mu=0 must be a number > 0"),
        (lambda: STCH(HALVES, {"dpo": 0.1}), "STCH needs the optima of its objectives, sft too"),
        (lambda: GroupDRO(HALVES, ZERO, eta=-1), "strategy.eta=-1 must be a number > 0"),
        (lambda: Constrained("orpo", 0.1, ZERO), "Constrained needs the optima of its objectives, orpo too"),
        (lambda: Constrained("sft", {"ipo": 0.1}, ZERO), "strategy.epsilon={'ipo': 0.1} must be a number, or one for"),
        (lambda: Constrained("sft", -0.1, ZERO), "strategy.epsilon.dpo=-0.1 must be a number >= 0"),
        (lambda: EXP3(HALVES, ZERO, 0, gamma=0), "strategy.gamma=0 must be a number in"),
        (lambda: DWA(HALVES, window=0), "strategy.window=0 must be a whole number of steps >= 1"),
        (lambda: FAMO(HALVES, lr=-1), "strategy.lr=-1 must be a number >= 0"),
        (
            lambda: ScheduledMix(HALVES, end={"dpo": 1}),
            "strategy.end={'dpo': 1} must give a weight to each of dpo",
        ),
        (lambda: ScheduledMix(HALVES, end=HALVES, warmup=0.1), "belong together"),
        (lambda: Blocks({}), "strategy.steps must give the length of each objective's block"),
        (lambda: Blocks({"dpo": 0}), "strategy.steps.dpo=0 must be a whole number of steps >= 1"),
    ],
)
def test_bad_hyper_parameters_are_refused(make, said):
    with pytest.raises(UserError, match=said.replace("{", r"\{").replace("}", r"\}")):
        make()
