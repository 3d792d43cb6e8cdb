"""MoCo and MoDo: weights that are learnt step by step, worked by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xright.errors import UserError
from xright.strategies import MGDA, MoCo, MoDo
from xright.strategies.modo import on_simplex

HALVES = {"dpo": 0.5, "sft": 0.5}
G = np.array([[2.0, 0.5], [0.5, 1.0]])


def alphas(rule, gramian_KK, step=0):
    return np.array([*rule.combine(step, gramian_KK).values()])


@pytest.mark.parametrize(
    ("point", "nearest"),
    [
        ([0.3, 0.7], [0.3, 0.7]), ([0.5, 0.7], [0.4, 0.6]), ([2.0, 0.0], [1.0, 0.0]), ([-1.0, -1.0], [0.5, 0.5]),
        ([1.0, 0.6, -5.0], [0.7, 0.3, 0.0]), ([0.0], [1.0]),
    ],
)  # fmt: skip
def test_the_nearest_point_of_the_simplex(point, nearest):
    assert on_simplex(np.array(point)) == pytest.approx(nearest)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=5), st.floats(-3, 3))
def test_the_projection_takes_no_notice_of_what_is_added_to_all(point, added):
    found = on_simplex(np.array(point))
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()
    assert on_simplex(np.array(point) + added) == pytest.approx(found, abs=1e-9)


def test_modo_by_hand():
    """λ = (½, ½): G λ = (1.25, .75), so λ − .1 G λ = (.375, .425), and .1 to each; the ρ-term is 0 at the start. Then
    Gλ = (1.2125, .7625) and, at ρ = .4, ρ (λ − λ⁰) = (−.01, .01); so (.35475, .44775), and .09875 to each."""
    rule = MoDo(HALVES, gamma=0.1, rho=0.4)
    assert rule.halves
    assert alphas(rule, G) == pytest.approx([0.5, 0.5])  # not yet what this step has taught
    assert alphas(rule, G) == pytest.approx([0.475, 0.525])
    assert alphas(rule, G) == pytest.approx([0.4535, 0.5465])


def test_modo_needs_no_symmetry():
    """⟨g_1 of the first half, g_2 of the second⟩ is not ⟨g_2, g_1⟩: G λ = (.5·0 + .5·2, 0), so (.45, .5) + .025."""
    rule = MoDo(HALVES, gamma=0.05)
    alphas(rule, np.array([[0.0, 2.0], [0.0, 0.0]]))
    assert alphas(rule, G) == pytest.approx([0.475, 0.525])


def test_moco_by_hand():
    """As above at once; then with .1/√2 the step."""
    rule = MoCo(HALVES)
    assert not rule.halves
    assert rule.tracks(0) == pytest.approx(0.5)
    assert alphas(rule, G) == pytest.approx([0.475, 0.525])
    assert rule.tracks(1) == pytest.approx(0.5 / np.sqrt(2))
    half = 0.1 / np.sqrt(2) * (1.2125 - 0.7625) / 2
    assert alphas(rule, G) == pytest.approx([0.475 - half, 0.525 + half])


def test_rules_that_do_not_say_so_track_nothing():
    assert MGDA(HALVES).tracks(0) is None
    assert MoDo(HALVES).tracks(0) is None
    assert not MGDA(HALVES).halves


@pytest.mark.parametrize("rule", [MoCo, MoDo])
@pytest.mark.parametrize("weights", [{"a": 0.2, "b": 0.8}, {"a": 0.2, "b": 0.5, "c": 0.3}])
def test_without_gradients_the_weights_are_those_asked_for(rule, weights):
    made = rule(weights, gamma=0.0)
    alphas(made, np.eye(len(weights)))
    found = alphas(made, np.eye(len(weights)))
    assert found == pytest.approx([*weights.values()])


@pytest.mark.parametrize("weights", [{"a": 0.5, "b": 0.5}, {"a": 0.3, "b": 0.7}])
@pytest.mark.parametrize("g", [G, np.array([[3.0, -1.0], [-1.0, 1.0]])], ids=["agree", "conflict"])
@pytest.mark.parametrize("rule", [lambda w: MoCo(w, gamma=0.5), lambda w: MoDo(w, gamma=0.05, rho=0.0)], ids=["o", "d"])
def test_on_the_same_gradients_they_end_where_mgda_is(rule, weights, g):
    made = rule(weights)
    found = [alphas(made, g, step) for step in range(2000)][-1]
    shortest = alphas(MGDA(weights), g)
    assert found / found.sum() == pytest.approx(shortest / shortest.sum(), abs=1e-3)


def test_the_pull_back_keeps_them_from_there():
    """Down the slope of ½ λᵀGλ + ½ ρ ‖λ − λ⁰‖², G = diag(3, 1), ρ = 2: 3λ + 2(λ − ½) = (1 − λ) + 2(½ − λ), λ = 3/8."""
    rule = MoDo(HALVES, gamma=0.05, rho=2.0)
    found = [alphas(rule, np.diag([3.0, 1.0])) for _ in range(500)][-1]
    assert found == pytest.approx([3 / 8, 5 / 8])


@pytest.mark.parametrize("rule", [MoCo, MoDo])
def test_more_weight_means_more_of_the_gradient(rule):
    for gamma in (1e-3, 0.3):
        shares = []
        for weight in (0.3, 0.5, 0.7):
            made = rule({"dpo": weight, "sft": 1 - weight}, gamma=gamma)
            found = [alphas(made, np.array([[1.0, -0.2], [-0.2, 1.0]])) for _ in range(50)][-1]
            shares.append(found[0] / found.sum())
        assert shares == sorted(shares)
        assert shares[1] == pytest.approx(0.5)
        assert shares[2] - shares[0] > 0.2


@pytest.mark.parametrize("rule", [MoCo, MoDo])
@pytest.mark.parametrize("g", [np.zeros((2, 2)), np.diag([1e6, 0.0]), np.array([[-1.0, -3.0], [2.0, -1.0]])])
def test_any_gramian_gives_finite_weights(rule, g):
    made = rule(HALVES, gamma=10.0)
    for step in range(3):
        found = alphas(made, g, step)
        assert np.isfinite(found).all()
        assert (found >= 0).all()
        assert found.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: MoDo(HALVES, gamma=-1), "strategy.gamma=-1 must be a number >= 0"),
        (lambda: MoDo(HALVES, rho="x"), "strategy.rho='x' must be"),
        (lambda: MoCo(HALVES, beta=0), "strategy.beta=0 must be a number > 0 and <= 1"),
        (lambda: MoCo(HALVES, beta=1.5), "strategy.beta=1.5 must be"),
    ],
)
def test_bad_hyper_parameters_are_refused(make, said):
    with pytest.raises(UserError, match=said):
        make()
