"""Closed forms against autograd through eqs 1-5 as they are written: no Δφ, no cancelled normaliser, no algebra."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from xright.theory.objectives import DPO, SFT, Mixture, Objective, sigmoid, softplus

SHAPES = [(1, 1, 2), (1, 6, 3), (2, 1, 4), (3, 5, 2), (5, 8, 6), (7, 3, 3)]  # d, inputs, outputs of each input
BETAS = [0.1, 1.0, 2.5]


def log_policy(theta, features):
    """log π_θ(y|x) of every output; theta (d,), features (inputs, outputs, d)."""
    return torch.log_softmax(features @ theta, dim=-1)


def sft_of(theta, features):
    """Eqs 4-5; the first output is the target."""
    return -log_policy(theta, features)[:, 0].mean()


def dpo_of(theta, reference, features, chosen, rejected, beta):
    """Eqs 1-3, with the whole policy and the whole reference over all outputs."""
    ratio = log_policy(theta, features) - log_policy(reference, features)
    rows = torch.arange(len(features))
    return -torch.nn.functional.logsigmoid(beta * (ratio[rows, chosen] - ratio[rows, rejected])).mean()


class Instance:
    """A random instance: features of all outputs, a pair among them for each input, θ_ref and θ."""

    def __init__(self, d: int, inputs: int, outputs: int, beta: float = 1.0, seed: int = 0) -> None:
        draw = np.random.default_rng((seed, d, inputs, outputs))
        self.features = draw.normal(size=(inputs, outputs, d))
        self.chosen, self.rejected = draw.permuted(np.tile(np.arange(outputs), (inputs, 1)), axis=1)[:, :2].T
        self.reference, self.theta = draw.normal(size=(2, d))
        self.beta = beta
        rows = np.arange(inputs)
        differences = self.features[rows, self.chosen] - self.features[rows, self.rejected]
        self.dpo, self.sft = DPO(differences, self.reference, beta), SFT(self.features)

    def torch_dpo(self, theta):
        tensors = (torch.from_numpy(array) for array in (self.reference, self.features, self.chosen, self.rejected))
        return dpo_of(theta, *tensors, self.beta)

    def torch_sft(self, theta):
        return sft_of(theta, torch.from_numpy(self.features))


def autograd(function, theta: np.ndarray) -> tuple[np.ndarray, ...]:
    """Value, gradient and Hessian."""
    at = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
    value = function(at)
    (gradient,) = torch.autograd.grad(value, at)
    hessian = torch.autograd.functional.hessian(function, at.detach())
    return value.detach().numpy(), gradient.numpy(), hessian.numpy()


def closed_form(objective: Objective, theta: np.ndarray) -> tuple[np.ndarray, ...]:
    return objective.loss(theta), objective.gradient(theta), objective.hessian(theta)


def assert_all_close(ours, theirs, tolerance: float = 1e-10) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert np.shape(a) == np.shape(b)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("beta", BETAS)
def test_dpo_agrees_with_autograd(shape, beta):
    for seed in range(3):
        drawn = Instance(*shape, beta=beta, seed=seed)
        assert_all_close(closed_form(drawn.dpo, drawn.theta), autograd(drawn.torch_dpo, drawn.theta))


@pytest.mark.parametrize("shape", SHAPES)
def test_sft_agrees_with_autograd(shape):
    for seed in range(3):
        drawn = Instance(*shape, seed=seed)
        assert_all_close(closed_form(drawn.sft, drawn.theta), autograd(drawn.torch_sft, drawn.theta))


def test_a_mixture_of_three_named_objectives_agrees_with_autograd():
    drawn, other = Instance(3, 4, 3, beta=0.7), Instance(3, 2, 5, seed=1)
    mixture = Mixture(
        {"dpo": drawn.dpo, "sft": drawn.sft, "safety": other.sft}, {"dpo": 0.2, "sft": 0.5, "safety": 2.0}
    )

    def written_out(theta):
        return 0.2 * drawn.torch_dpo(theta) + 0.5 * drawn.torch_sft(theta) + 2.0 * other.torch_sft(theta)

    assert_all_close(closed_form(mixture, drawn.theta), autograd(written_out, drawn.theta))


def test_eq_24_as_printed_is_not_the_hessian():
    # eq 24: β² σ(h) Δφ Δφᵀ. Too large by 1/(1 − σ(h)); at h = 0 that is twice the truth.
    drawn = Instance(d=2, inputs=1, outputs=3, beta=1.5)
    difference = drawn.dpo.differences[0]
    h = 1.5 * (drawn.theta - drawn.reference) @ difference
    printed = 1.5**2 / (1 + math.exp(-h)) * np.outer(difference, difference)
    truth = autograd(drawn.torch_dpo, drawn.theta)[2]
    np.testing.assert_allclose(printed, truth * (1 + math.exp(h)), atol=1e-10)
    assert np.abs(printed - truth).max() > 0.1
    np.testing.assert_allclose(drawn.dpo.hessian(drawn.theta), truth, rtol=0, atol=1e-10)
    at_reference = drawn.dpo.hessian(drawn.reference)
    np.testing.assert_allclose(at_reference, 1.5**2 * 0.25 * np.outer(difference, difference), atol=1e-15)


def test_dpo_by_hand():
    # h = ½ (0, 2 log 3) = (0, log 3), so σ(−h) = (1/2, 1/4)
    dpo = DPO(differences=[[1, 0], [0, 1]], reference=[1, -1], beta=0.5)
    loss, gradient, hessian = closed_form(dpo, np.array([1.0, -1.0 + 2 * math.log(3)]))
    assert loss == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)
    assert gradient == pytest.approx([-1 / 8, -1 / 16])  # −½ · ½ · (1/2, 1/4)
    assert hessian == pytest.approx(np.diag([1 / 32, 3 / 128]))  # ½ · ½² · (1/4, 3/16)


def test_sft_by_hand():
    # at θ = 1 the target of the first input has probability 1/(1 + 3), that of the second 1/2
    sft = SFT(features=[[[0.0], [math.log(3)]], [[2.0], [2.0]]])
    loss, gradient, hessian = closed_form(sft, np.ones(1))
    assert loss == pytest.approx((math.log(4) + math.log(2)) / 2)
    assert gradient == pytest.approx([(0.75 * math.log(3) + 0) / 2])  # E_π[φ] − φ_y
    assert hessian == pytest.approx(np.array([[(3 / 16 * math.log(3) ** 2 + 0) / 2]]))  # π(1 − π) (log 3)²


def test_a_mixture_computes_only_what_has_a_weight():
    class Untouchable(Objective):
        def loss(self, theta):
            raise AssertionError("computed although it has no weight")

        gradient = hessian = loss

    drawn = Instance(2, 3, 2)
    mixture = Mixture({"dpo": Untouchable(), "sft": drawn.sft}, {"sft": 1.0})
    assert_all_close(closed_form(mixture, drawn.theta), closed_form(drawn.sft, drawn.theta), tolerance=0)
    nothing = closed_form(Mixture({"sft": drawn.sft}, {}), np.ones((4, 2)))
    assert_all_close(nothing, (np.zeros(4), np.zeros((4, 2)), np.zeros((4, 2, 2))), tolerance=0)


def objectives_of(drawn: Instance) -> dict[str, Objective]:
    named = {"dpo": drawn.dpo, "sft": drawn.sft}
    return named | {"mixture": Mixture(named, {"dpo": 0.3, "sft": 0.7})}


@pytest.mark.parametrize("name", ["dpo", "sft", "mixture"])
@pytest.mark.parametrize("runs", [(4,), (1,), (3, 2)])
def test_many_runs_at_once_equal_one_by_one(name, runs):
    drawn = Instance(3, 4, 5, beta=0.8)
    objective = objectives_of(drawn)[name]
    thetas = np.random.default_rng(1).normal(size=(*runs, 3))
    together = closed_form(objective, thetas)
    assert [array.shape for array in together] == [runs, (*runs, 3), (*runs, 3, 3)]
    for place in np.ndindex(*runs):
        one = closed_form(objective, thetas[place])
        assert_all_close([array[place] for array in together], one, tolerance=1e-14)


@st.composite
def instances(draw) -> tuple[Objective, np.ndarray]:
    """Any of the three objectives with features up to 10, and θ up to 30: margins from nothing to thousands."""
    d, inputs, outputs = draw(st.integers(1, 4)), draw(st.integers(1, 5)), draw(st.integers(2, 4))
    features = draw(arrays(float, (inputs, outputs, d), elements=st.floats(-10, 10)))
    reference, theta = (draw(arrays(float, d, elements=st.floats(-30, 30))) for _ in range(2))
    named = {"dpo": DPO(features[:, 0] - features[:, 1], reference, draw(st.floats(0.01, 10))), "sft": SFT(features)}
    mixture = Mixture(named, {"dpo": draw(st.floats(0, 1)), "sft": draw(st.floats(0, 1))})
    return draw(st.sampled_from([*named.values(), mixture])), theta


@given(instances())
def test_hessians_are_symmetric_and_positive_semi_definite(instance):
    objective, theta = instance
    hessian = objective.hessian(theta)
    scale = max(1.0, float(np.abs(hessian).max()))
    np.testing.assert_allclose(hessian, hessian.T, rtol=0, atol=1e-12 * scale)
    assert np.linalg.eigvalsh(hessian).min() >= -1e-12 * scale


def test_nothing_overflows_far_out():
    dpo, sft = DPO(differences=[[1.0]], reference=[0.0]), SFT(features=[[[1.0], [0.0]]])  # both −log σ(θ)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for objective in (dpo, sft, Mixture({"dpo": dpo, "sft": sft}, {"dpo": 0.25, "sft": 0.75})):
            assert closed_form(objective, np.array([-1e4])) == (1e4, [-1.0], [[0.0]])
            assert closed_form(objective, np.array([1e4])) == (0.0, [0.0], [[0.0]])


def test_sigmoid_and_softplus():
    x = np.array([-math.log(3), 0.0, math.log(3)])
    assert sigmoid(x) == pytest.approx([1 / 4, 1 / 2, 3 / 4], abs=1e-15)
    assert softplus(x) == pytest.approx([math.log(4 / 3), math.log(2), math.log(4)], abs=1e-15)
