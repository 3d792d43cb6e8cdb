"""The two problems against the numbers of the paper's own equations, and against each other's algorithms."""

import math

import numpy as np
import pytest

from xright.theory.objectives import DPO, SFT
from xright.theory.problems import DECAY, STEP, Problem, table_1, table_1_equal_gap, table_1_minimiser, table_2

THETA = np.linspace(-40, 40, 81)[:, None]


def softplus(x):
    return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)


def sigma(x):
    return 1 / (1 + np.exp(-x))


def mixture(lam: float):
    return table_1().mixture({"dpo": lam, "sft": 1 - lam})


def test_table_1_is_eqs_30_to_37():
    problem = table_1()
    losses = problem.losses(THETA)
    assert list(losses) == ["dpo", "sft"]
    np.testing.assert_allclose(losses["dpo"], softplus(THETA[:, 0] / 2 + 5), rtol=0, atol=1e-13)
    np.testing.assert_allclose(losses["sft"], softplus(-THETA[:, 0] / 2), rtol=0, atol=1e-13)
    gradients = {name: objective.gradient(THETA) for name, objective in problem.objectives.items()}
    np.testing.assert_allclose(gradients["dpo"], sigma(THETA / 2 + 5) / 2, rtol=0, atol=1e-13)
    np.testing.assert_allclose(gradients["sft"], -sigma(-THETA / 2) / 2, rtol=0, atol=1e-13)
    assert problem.feature_norm == 1.0  # max of |−1|, |−0.5|, |1|, |0.5|
    assert problem.optima == {"dpo": 0.0, "sft": 0.0}
    assert (problem.start.tolist(), table_1(start=-3).start.tolist()) == ([0.0], [-3.0])


def test_the_reference_of_the_text_would_break_eqs_30_to_37():
    of_the_text = DPO(differences=[[-0.5]], reference=[-5.0])
    np.testing.assert_allclose(
        of_the_text.loss(THETA), softplus(THETA[:, 0] / 2 + 2.5), rtol=0, atol=1e-13
    )  # c = e^2.5
    assert float(table_1().losses(np.zeros(1))["dpo"] - of_the_text.loss(np.zeros(1))) == pytest.approx(
        2.4278, abs=1e-4
    )
    broken = Problem({"dpo": of_the_text, "sft": SFT([[[1.0], [0.5]]])}, {}, np.zeros(1))
    assert broken.minimiser({"dpo": 0.5, "sft": 0.5}).item() == pytest.approx(-2.5)  # not the −5 of theorem 3.3


@pytest.mark.parametrize(
    ("lam", "theta", "value", "gap_at_zero"),
    [
        (0.25, 1.396326, 1.728224, 0.043315),
        (0.5, -5.0, 2.578890, 0.271042),
        (0.75, -11.396326, 1.728224, 2.200099),
    ],
)
def test_optima_of_the_mixture(lam, theta, value, gap_at_zero):
    best = np.array([table_1_minimiser(lam)])
    assert best.item() == pytest.approx(theta, abs=5e-7)
    assert float(mixture(lam).loss(best)) == pytest.approx(value, abs=6e-7)
    assert float(mixture(lam).loss(np.zeros(1)) - mixture(lam).loss(best)) == pytest.approx(gap_at_zero, abs=5e-7)


def test_the_even_mixture_in_closed_form():
    # at θ = −5 both losses are log(1 + e^2.5), so e^{2 f*} = (1 + e^2.5)²
    value = float(mixture(0.5).loss(np.array([table_1_minimiser(0.5)])))
    assert value == pytest.approx(math.log(1 + math.exp(2.5)), abs=1e-14)
    assert math.exp(2 * value) == pytest.approx(173.778, abs=5e-4)
    assert float(mixture(0.5).loss(np.zeros(1))) - value > 0.256843  # the paper's bound is valid but not tight


@pytest.mark.parametrize("lam", [1e-4, 0.01, 0.1, 0.25, 1 / 3, 0.5, 0.6, 0.75, 0.9, 0.99, 1 - 1e-4])
def test_closed_form_and_newton_agree_and_the_gradient_vanishes(lam):
    closed = table_1_minimiser(lam)
    assert table_1().minimiser({"dpo": lam, "sft": 1 - lam}).item() == pytest.approx(closed, abs=1e-8)
    assert mixture(lam).gradient(np.array([closed])).item() == pytest.approx(0, abs=1e-13)
    assert closed + table_1_minimiser(1 - lam) == pytest.approx(-10, abs=1e-8)  # f_SFT is f_DPO mirrored at −5


def test_below_a_third_the_optimum_is_where_sequential_ends():
    # θ* = 0 at λ · 2c = (1−λ)(1 + c), that is λ = (1 + c)/(1 + 3c) with c = e^5
    turning = (1 + math.exp(5)) / (1 + 3 * math.exp(5))
    assert turning == pytest.approx(0.3348, abs=5e-5)
    assert table_1_minimiser(turning) == pytest.approx(0, abs=1e-12)
    assert table_1_minimiser(0.3347) > 0 > table_1_minimiser(0.3349)


@pytest.mark.parametrize(("lam", "theta"), [(0.25, -2.04925), (0.5, -5.0), (0.75, -7.95075)])
def test_points_of_equal_weighted_gaps(lam, theta):
    found = table_1_equal_gap(lam)
    assert found == pytest.approx(theta, abs=5e-6)
    losses = table_1().losses(np.array([found]))
    assert lam * losses["dpo"] == pytest.approx((1 - lam) * losses["sft"], abs=1e-12)
    assert (abs(found - table_1_minimiser(lam)) < 1e-9) == (lam == 0.5)  # the optimum of Mix only at λ = .5


@pytest.mark.parametrize("weights", [{"sft": 1.0}, {"dpo": 1.0}, {"dpo": 0.0, "sft": 1.0}])
def test_an_objective_alone_has_no_minimiser(weights):
    with pytest.raises(ValueError, match="no minimiser of "):
        table_1().minimiser(weights)


def test_minimiser_of_three_objectives_in_two_dimensions():
    pulls = {"right": [1.0, 0.0], "up": [0.0, 2.0], "back": [-1.0, -1.0]}
    objectives = {name: DPO(differences=[pull], reference=[0.0, 0.0]) for name, pull in pulls.items()}
    problem = Problem(objectives, {}, np.array([3.0, -2.0]))
    weights = {"right": 0.2, "up": 0.2, "back": 0.6}
    theta = problem.minimiser(weights)
    assert problem.mixture(weights).gradient(theta) == pytest.approx([0, 0], abs=1e-12)
    # σ(−θ1) = 3 σ(θ1 + θ2) = 2 σ(−2 θ2)
    assert sigma(-theta[0]) == pytest.approx(3 * sigma(theta.sum())) == pytest.approx(2 * sigma(-2 * theta[1]))


def test_table_2_swapped_has_no_minimiser_without_decay():
    with pytest.raises(ValueError, match=r"no minimiser of \{'dpo': 0.5, 'sft': 0.5\}"):
        table_2().minimiser({"dpo": 0.5, "sft": 0.5})  # f_DPO wants θ1 + θ2 → ∞, f_SFT θ1 → −∞: both can have it


def test_ideal_distance_is_over_the_objectives_that_have_an_optimum():
    problem = table_1()
    losses = [math.log(1 + math.exp(5)), math.log(2)]  # at θ = 0
    assert problem.ideal_distance(np.zeros(1)) == pytest.approx(math.hypot(*losses))
    only_sft = Problem(problem.objectives, {"sft": 0.5}, problem.start)
    assert only_sft.ideal_distance(np.zeros(1)) == pytest.approx(math.log(2) - 0.5)


def test_reference_of_table_2_is_a_thousand_steps_on_the_chosen_response():
    x, y = 5.0, -9.9
    for _ in range(1_000):  # π_chosen = σ((x + y)/2), features (1, 1) and (½, ½)
        pull = (1 - sigma((x + y) / 2)) / 2
        x, y = x + 0.01 * (pull - 0.001 * x), y + 0.01 * (pull - 0.001 * y)
    assert (STEP, DECAY) == (0.01, 0.001)
    for variant in (table_2(), table_2(swapped=False)):
        assert variant.start.tolist() == [5.0, -9.9]
        assert variant.objectives["dpo"].reference == pytest.approx([x, y], abs=1e-10)
        assert variant.objectives["dpo"].reference == pytest.approx([8.0529, -6.6989], abs=5e-5)
        assert variant.feature_norm == pytest.approx(math.hypot(1, 1))


def test_table_2_in_scalars():
    theta = np.array([0.3, -1.2])
    h = ((0.3 - 8.0528750) + (-1.2 - -6.6988668)) / 2  # Δφ = (½, ½)
    for swapped, target in ((True, -0.15), (False, 0.15)):  # (φ_y − φ_y') θ = ∓ ½ · 0.3
        losses = table_2(swapped).losses(theta)
        assert losses["dpo"] == pytest.approx(softplus(-h), abs=1e-6)
        assert losses["sft"] == pytest.approx(softplus(-target), abs=1e-12)


def test_the_objectives_of_table_2_conflict_only_when_swapped():
    thetas = np.random.default_rng(0).uniform(-8, 8, size=(50, 2))
    for swapped, sign in ((True, -1), (False, 1)):
        dpo, sft = (objective.gradient(thetas)[:, 0] for objective in table_2(swapped).objectives.values())  # ∂f/∂θ1
        assert (np.sign(dpo * sft) == sign).all()
