"""The seam through which a rule sees gradients: trained for real, on the CPU."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from tests.test_module import SGD, adapter, difference, fit, streams  # noqa: F401  (fixtures)
from xright.objectives import DPO, SFT
from xright.optim import Optim
from xright.strategies import (
    FAMO,
    MGDA,
    PCD,
    RACO,
    CAGrad,
    Mix,
    MoCo,
    MoDo,
    NashMTL,
    Only,
    PCGrad,
    Phase,
    Schedule,
    UPGrad,
)
from xright.strategies.compared import Compared
from xright.theory.problems import trade_off
from xright.training.gradients import Gradients
from xright.training.means import NonFinite

PLAIN = SGD(lr=0.1, clip=None)
RULES = [MGDA, UPGrad, PCGrad, NashMTL, CAGrad, RACO, PCD, MoCo, MoDo]
HALVES = trade_off(0.5)


class Seen(Compared):
    """Keeps the Gramians it is given; its update is Mix's."""

    def __init__(self, weights, **options):
        super().__init__(weights, **options)
        self.gramians = []

    def alphas(self, gramian_KK, weights, step):
        self.gramians.append(gramian_KK)
        return np.array([*weights.values()])


def moved(policy, start):
    return torch.cat([(p - q).detach().flatten() for p, q in zip(policy.parameters(), start.parameters(), strict=True)])


def test_the_gramian_is_that_of_the_steps_alone(fit, tiny_model):  # noqa: F811
    """A plain step of length η moves by −η g, so the movements alone give G."""
    rule = Seen(HALVES)
    fit(rule, steps=1, optim=PLAIN)
    steps = torch.stack([moved(fit(Only(name), steps=1, optim=PLAIN)[0], tiny_model()) for name in ("dpo", "sft")])
    expected = (steps.double() @ steps.double().T / 0.1**2).numpy()
    assert rule.gramians[0] == pytest.approx(expected, rel=1e-3)


def test_the_update_is_the_weighted_sum(fit, tiny_model):  # noqa: F811
    compared, mixed = (fit(rule, optim=PLAIN)[0] for rule in (Seen(trade_off(0.3)), Mix(trade_off(0.3))))
    assert difference(compared, tiny_model()) > 1e-2
    assert difference(compared, mixed) < 1e-6


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("metric", ["euclid", "adam"])
def test_the_update_depends_on_the_rows_alone(fit, tiny_model, rule, metric):  # noqa: F811
    """For micro-batches of 1, 2 and the whole step, in both layouts."""
    options = {"optim": Optim(lr=1e-2) if metric == "adam" else SGD(lr=0.1)}
    policy, watch = fit(rule(HALVES, metric=metric), **options)
    assert difference(policy, tiny_model()) > 1e-3
    for other in ({"micro_batch": 1}, {"micro_batch": 2}, {"micro_batch": 2, "layout": "packed"}):
        again, seen = fit(rule(HALVES, metric=metric), **options, **other)
        for ours, theirs in zip(watch.outputs, seen.outputs, strict=True):
            assert theirs["weights"] == pytest.approx(ours["weights"], rel=1e-3, abs=1e-5)
        if metric == "euclid":  # AdamW makes ±lr of a gradient that rounding alone makes positive or negative
            assert difference(policy, again) < 1e-6, other


def test_the_adam_metric_weighs_by_the_second_moments():
    """g_1 = (1, 2), g_2 = (3, −1); v̂ = (4, 1) after one step of β₂ = .5, ε = 0: ⟨g_1, D⁻¹ g_2⟩ = 3/2 − 2."""
    weight = nn.Parameter(torch.zeros(2))
    adam = torch.optim.Adam([weight], betas=(0.9, 0.5), eps=0.0, lr=1.0)
    weight.grad = torch.tensor([2.0, 1.0])  # v = .5·g², and v̂ = v/(1 − .5)
    adam.step()
    gradients = Gradients([weight])
    for name, gradient in (("first", [1.0, 2.0]), ("second", [3.0, -1.0])):
        weight.grad = torch.tensor(gradient)
        gradients.take(name)
    found = gradients.gramian(adam)
    assert found == pytest.approx(np.array([[1 / 2 + 4, 3 / 2 - 2], [3 / 2 - 2, 9 / 2 + 1]]))
    gradients.put({"first": 2.0, "second": 1.0})
    assert weight.grad.tolist() == [5.0, 3.0]


def test_a_parameter_that_one_objective_does_not_use():
    first, second = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    gradients = Gradients([first, second])
    first.grad, second.grad = torch.tensor([2.0]), torch.tensor([3.0])
    gradients.take("both")
    first.grad = torch.tensor([1.0])
    gradients.take("one")
    assert gradients.gramian().tolist() == [[13.0, 2.0], [2.0, 1.0]]
    gradients.put({"both": 0.5, "one": 1.0})
    assert first.grad.tolist() == [2.0]
    assert second.grad.tolist() == [1.5]


@pytest.mark.parametrize(
    "rule",
    [
        PCD(HALVES, tau=0.3), MGDA(HALVES, k=2), RACO(HALVES, k=2, sample=True), FAMO(HALVES), MoCo(HALVES),
        MoCo(HALVES, k=2), MoDo(HALVES, gamma=0.1), Schedule([Phase(MoCo(HALVES)), Phase(MoCo(trade_off(0.3)))]),
    ],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(fit, adapter, tmp_path, rule, stop):  # noqa: F811
    def save(trainer, _):
        trainer.save_checkpoint(tmp_path / f"{trainer.global_step}.ckpt")

    first, second = copy.deepcopy(rule), copy.deepcopy(rule)
    whole, seen = fit(first, steps=5, policy=adapter(dropout=0.2), watch=save)
    resumed, rest = fit(second, steps=5, policy=adapter(dropout=0.2), checkpoint=tmp_path / f"{stop}.ckpt")
    assert [o["weights"] for o in rest.outputs] == [o["weights"] for o in seen.outputs[stop:]]
    assert difference(whole, resumed) == 0


@pytest.mark.parametrize("cut", [{}, {"micro_batch": 1}, {"micro_batch": 2}, {"micro_batch": 2, "layout": "packed"}])
def test_halves_are_of_the_rows_and_make_the_whole(fit, tiny_model, streams, cut):  # noqa: F811
    """Of plain steps on the first three and the last two of five rows: ⟨g of these, g of those⟩, each g twice its share
    of the step; and together they are Mix's update."""
    rule = Halved(HALVES)
    both, _ = fit(rule, steps=1, optim=PLAIN, **cut)
    assert difference(both, fit(Mix(HALVES), steps=1, optim=PLAIN)[0]) < 1e-6
    order = [int(i) for i in np.random.default_rng((0, 0)).permutation(5)]  # a step takes all rows, in this order
    moves, shares = {}, {}
    for half, places in (("first", order[:3]), ("second", order[3:])):
        rows = {stream: [own[i] for i in places] for stream, own in streams.items()}
        sizes = dict.fromkeys(rows, len(places))
        alone = [fit(Only(name), steps=1, optim=PLAIN, rows=rows, sizes=sizes)[0] for name in ("dpo", "sft")]
        tokens = [sum(len(row.responses[0]) for row in own["sft"]) for own in (rows, streams)]
        shares[half] = np.array([len(places) / 5, tokens[0] / tokens[1]])  # of pairs, and of answers' tokens
        moves[half] = torch.stack([moved(policy, tiny_model()) for policy in alone]).double().numpy() / 0.1
    first, second = (2 * shares[half][:, None] * moves[half] for half in ("first", "second"))
    assert rule.gramians[0] == pytest.approx(first @ second.T, rel=2e-3)


class Halved(Seen):
    halves = True


def test_means_take_the_gradients_place():
    """From 0 by ½: g = (2, 0) gives (1, 0); then g = (0, 4) gives (½, 2); a parameter that one never uses stays out."""
    weight, unused = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
    means = {}
    for gradient, expected in (([2.0, 0.0], [1.0, 0.0]), ([0.0, 4.0], [0.5, 2.0]), (None, [0.25, 1.0])):
        gradients = Gradients([weight, unused], means, share=0.5)
        weight.grad = None if gradient is None else torch.tensor(gradient)
        gradients.take("one")
        assert gradients.gramian().tolist() == [[np.dot(expected, expected)]]
        gradients.put({"one": 3.0})
        assert weight.grad.tolist() == [3 * x for x in expected]
        assert means["one"][0].tolist() == expected  # not changed by the update that was made of it
        assert means["one"][1] is None


def test_moco_descends_its_means(fit, tiny_model):  # noqa: F811
    """The first of plain steps is half as long as Mix's; a share of 1 makes no means."""
    start, mixed = tiny_model(), fit(Mix(HALVES), steps=1, optim=PLAIN)[0]
    whole, half = (fit(MoCo(HALVES, beta=b, gamma=0.0), steps=1, optim=PLAIN)[0] for b in (1.0, 0.5))
    assert difference(whole, mixed) < 1e-6
    assert (moved(half, start) - moved(mixed, start) / 2).abs().max() < 1e-6


def test_a_phase_begins_with_means_of_nothing(fit):  # noqa: F811
    def seen(_, module):
        return {name: [mean.clone() for mean in own] for name, own in module.means.items()}

    def norms(means):
        return [float(torch.cat([part.flatten() for part in own]).norm()) for own in means.values()]

    twice = Schedule([Phase(MoCo(HALVES, beta=1.0)), Phase(MoCo(HALVES, beta=0.01))])
    _, watch = fit(twice, steps=2, optim=SGD(lr=1e-6), watch=seen)
    before, after = norms(watch.seen[1]), norms(watch.seen[2])
    assert after == pytest.approx([0.01 * norm for norm in before], rel=1e-3)


def test_between_comparisons_only_what_is_drawn_is_computed(fit):  # noqa: F811
    rule = MGDA(HALVES, k=4, sample=True)
    _, watch = fit(rule, steps=9)
    assert [len(outputs["losses"]) for outputs in watch.outputs] == [2, 1, 1, 1, 2, 1, 1, 1, 2]


def test_a_gradient_that_is_not_finite_is_named(fit):  # noqa: F811
    """The loss is finite, its gradient is not: √0 has no slope."""

    class Cliff(SFT):
        def __call__(self, policy, batch):
            loss, metrics = super().__call__(policy, batch)
            return loss + (loss - loss.detach()).abs().sqrt(), metrics

    with pytest.raises(NonFinite, match="the sft gradient of step 0 is not finite"):
        fit(MGDA(HALVES), objectives={"sft": Cliff(), "dpo": DPO()})


def test_rules_that_compare_nothing_collect_nothing(fit, monkeypatch):  # noqa: F811
    monkeypatch.setattr("xright.training.module.Gradients", None)
    fit(Mix(HALVES), steps=1)


def test_a_review_is_of_the_same_rows_after_the_update(fit, tiny_model):  # noqa: F811
    """One step on all rows: what is reviewed is the loss that the next step, on the same rows, begins with."""
    told = []

    class Curious(FAMO):
        def review(self, losses):
            told.append(losses)
            super().review(losses)

    _, watch = fit(Curious(HALVES), steps=2, objectives={"sft": SFT(), "dpo": DPO()})
    assert told[0] == pytest.approx(watch.outputs[1]["losses"], rel=1e-5)
