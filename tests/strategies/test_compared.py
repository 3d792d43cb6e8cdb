"""Rules that compare gradients: worked by hand, in closed form for two, and against TorchJD's weightings."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchjd.aggregation import CAGradWeighting, PCDWeighting, UPGradWeighting
from torchjd.linalg import QuadprogProjector

from xright.errors import UserError
from xright.strategies import MGDA, PCD, RACO, CAGrad, NashMTL, PCGrad, UPGrad

RULES = [MGDA, UPGrad, PCGrad, NashMTL, CAGrad, RACO, PCD]
HALVES = {"dpo": 0.5, "sft": 0.5}


def weighted(count):
    return {f"objective {place}": 1 / count for place in range(count)}


def gramian(count, seed, lengths=10.0):
    """Of random gradients in 6 dimensions, of lengths up to a hundred times as large as others."""
    draw = np.random.default_rng(seed)
    gradients = draw.normal(size=(count, 6)) * draw.uniform(1 / lengths, lengths, size=(count, 1))
    return gradients @ gradients.T


def alphas(rule, gramian_KK, step=0):
    return np.array([*rule.combine(step, gramian_KK).values()])


two = st.tuples(st.floats(0.01, 100), st.floats(0.01, 100), st.floats(-0.999, 0.999)).map(
    lambda abc: np.array([[abc[0], abc[2] * np.sqrt(abc[0] * abc[1])], [abc[2] * np.sqrt(abc[0] * abc[1]), abc[1]]])
)


@given(two)
def test_mgda_of_two_is_the_clipped_quotient(g):
    (a, b), (_, c) = g
    first = np.clip((c - b) / (a + c - 2 * b), 0, 1)
    assert alphas(MGDA(HALVES), g) == pytest.approx([first, 1 - first], abs=1e-7)


@given(two)
def test_upgrad_of_two_adds_what_stands_against_the_other(g):
    (a, b), (_, c) = g
    assert alphas(UPGrad(HALVES), g) == pytest.approx([0.5 + max(0, -b / a) / 2, 0.5 + max(0, -b / c) / 2], rel=1e-7)


@given(two, st.integers(0, 9))
def test_pcgrad_of_two_is_twice_upgrad(g, step):
    assert alphas(PCGrad(HALVES), g, step) == pytest.approx(2 * alphas(UPGrad(HALVES), g), rel=1e-7)


@given(two)
def test_nash_of_two_is_the_bisector(g):
    (a, b), (_, c) = g
    expected = np.array([1 / np.sqrt(a), 1 / np.sqrt(c)]) / np.sqrt(1 + b / np.sqrt(a * c))
    assert alphas(NashMTL(HALVES), g) == pytest.approx(expected, rel=1e-5)  # a ridge of 1e-9 where they are opposed


def test_cagrad_by_hand():
    """Gradients of length 1 at a right angle: by symmetry u = (½, ½), g_u = g_0, so d = (1 + c) g_0."""
    assert alphas(CAGrad(HALVES, c=0.4), np.eye(2)) == pytest.approx([0.7, 0.7])


def test_cagrad_leans_to_the_worse_off():
    """a = 4, b = −1, c = 1, w = ½: g_0·g_1 = 1.5, g_0·g_2 = 0, so all of u is on the second, as the slope at t = 0 of
    uᵀGw + c‖g_0‖√(uᵀGu), 1.5 + .4·√.75·(−1 − 1), is > 0. Then d = g_0 + .4·√.75/1·g_2."""
    found = alphas(CAGrad(HALVES, c=0.4), np.array([[4.0, -1.0], [-1.0, 1.0]]))
    assert found == pytest.approx([0.5, 0.5 + 0.4 * np.sqrt(0.75)])


def test_raco_adds_at_most_the_weight():
    """As before, but u_2 = 1 becomes w_2 = ½: half the vector, and so, after normalising, the same direction."""
    found = alphas(RACO(HALVES, c=0.4), np.array([[4.0, -1.0], [-1.0, 1.0]]))
    assert found == pytest.approx([0.5, 0.5 + 0.4 * np.sqrt(0.75)])
    corner = np.array([[4.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 9.0]])
    weights = {"a": 0.2, "b": 0.2, "c": 0.6}
    clipped, free = (alphas(rule(weights, c=0.4), corner) - [*weights.values()] for rule in (RACO, CAGrad))
    assert (clipped / clipped.sum() <= free.max() / free.sum()).all()


def test_pcd_by_hand():
    """First step, so v̂ = ‖g‖² and ĝ is of length 1, at −60 degrees: cos −½. Wanted: −½ + ν = τ = .25, so ν = .75 and
    d = ĝ_1 + .75 ĝ_2 of length √(1 − .75 + .5625) = .9014, rescaled to ‖g_1‖ = 2."""
    found = alphas(PCD(HALVES, tau=0.25), np.array([[4.0, -3.0], [-3.0, 9.0]]))
    length = np.sqrt(1 - 0.75 + 0.5625)
    assert found == pytest.approx([2 / length / 2, 0.75 * 2 / length / 3])


def test_pcd_leaves_alone_what_progresses_anyway():
    assert alphas(PCD(HALVES, tau=0.02), np.array([[4.0, 1.0], [1.0, 9.0]])) == pytest.approx([1, 0])


def test_pcd_s_primary_may_be_any():
    rule = PCD({"dpo": 0.5, "sft": 0.5}, primary="sft")
    assert rule.compares(0) == ("sft", "dpo")
    assert rule.combine(0, np.array([[4.0, 1.0], [1.0, 9.0]])) == pytest.approx({"sft": 1.0, "dpo": 0.0})


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize(
    ("rule", "reference", "within"),
    [
        (UPGrad, lambda: UPGradWeighting(projector=QuadprogProjector(norm_eps=1e-12, reg_eps=1e-12)), 1e-6),
        (lambda weights: CAGrad(weights, c=0.4), lambda: CAGradWeighting(c=0.4, norm_eps=1e-9), 1e-3),
    ],
    ids=["upgrad", "cagrad"],
)
def test_as_torchjd_has_it(rule, reference, within, count):
    """Directions, relative to their length. CAGrad's to what their cone solver leaves open."""
    for seed in range(25):
        g = gramian(count, seed)
        ours = alphas(rule(weighted(count)), g)
        theirs = reference()(torch.tensor(g)).numpy()
        off = ours - theirs
        assert off @ g @ off <= within**2 * (theirs @ g @ theirs)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_pcd_over_many_steps_is_torchjd_s(count):
    ours, theirs = PCD(weighted(count), tau=0.1, ema=0.9), PCDWeighting(tau=0.1, beta=0.9, eps=0.0)
    for step in range(20):
        g = gramian(count, 100 * count + step)
        assert alphas(ours, g, step) == pytest.approx(theirs(torch.tensor(g)).numpy(), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_what_defines_each_solution_holds(count):
    for seed in range(20):
        g = gramian(count, seed)
        shortest = alphas(MGDA(weighted(count)), g)
        assert shortest.sum() == pytest.approx(1)
        assert (g @ shortest >= shortest @ g @ shortest * (1 - 1e-9)).all()  # no corner of the hull lies nearer
        nash = alphas(NashMTL(weighted(count)), g)
        assert g @ nash * nash == pytest.approx(np.ones(count), rel=1e-6)
        assert (g @ alphas(UPGrad(weighted(count)), g) >= -1e-9 * g.max()).all()  # no objective rises to first order


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_solution_follows_the_order_of_the_objectives(rule):
    g, places = gramian(3, seed=4), [2, 0, 1]
    if rule is PCD:
        places = [0, 2, 1]  # the first one stays
    straight = alphas(rule(weighted(3)), g)
    if rule is not PCGrad:  # its order is drawn by place
        assert alphas(rule(weighted(3)), g[np.ix_(places, places)]) == pytest.approx(straight[places], rel=1e-5)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule is not PCD], ids=lambda rule: rule.__name__)
def test_more_weight_means_more_of_the_gradient(rule):
    g = np.array([[1.0, -0.2], [-0.2, 1.0]])
    shares = []
    for weight in (0.3, 0.5, 0.7):
        found = alphas(rule({"dpo": weight, "sft": 1 - weight}), g)
        shares.append(found[0] / found.sum())
    assert shares == sorted(shares)
    assert shares[0] < shares[2]
    assert shares[1] == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize(
    "g", [np.array([[1.0, 0.0], [0.0, 0.0]]), np.zeros((2, 2)), np.array([[1.0, -1.0], [-1.0, 1.0]]), np.ones((2, 2))],
    ids=["one vanishes", "both vanish", "opposed", "the same"],
)  # fmt: skip
def test_degenerate_gradients_give_finite_weights(rule, g):
    found = alphas(rule(HALVES), g)
    assert np.isfinite(found).all()
    assert (found >= 0).all()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_an_objective_without_weight_takes_no_part(rule):
    alone = rule({"dpo": 1.0, "sft": 0.0})
    assert alone.compares(0) == ()
    assert alone.weights(0) == {"dpo": 1.0}


def test_alpha_is_kept_for_k_steps():
    rule = MGDA(HALVES, k=3)
    assert [bool(rule.compares(step)) for step in range(7)] == [True, False, False, True, False, False, True]
    found = rule.combine(0, np.array([[1.0, 0.0], [0.0, 3.0]]))
    assert found == pytest.approx({"dpo": 0.75, "sft": 0.25})
    assert rule.weights(1) == rule.weights(2) == found


def test_drawing_leaves_the_expected_direction_as_it_is():
    """α = (¾, ¼): over many draws each objective has, on average, its α; a draw's weight is their sum."""
    rule = MGDA(HALVES, k=20_001, sample=True, seed=3)
    rule.combine(0, np.array([[1.0, 0.0], [0.0, 3.0]]))
    drawn = [rule.weights(step) for step in range(1, 4001)]
    assert all(sum(weights.values()) == pytest.approx(1) and len(weights) == 1 for weights in drawn)
    share = np.mean([weights.get("dpo", 0.0) for weights in drawn])
    assert share == pytest.approx(0.75, abs=3 * np.sqrt(0.75 * 0.25 / 4000))
    assert drawn == [rule.weights(step) for step in range(1, 4001)]  # a pure function of (seed, step)


def test_where_no_objective_has_a_share_none_is_drawn():
    """PCD's first objective has no gradient, so there is no update: all α are 0, and there is nothing to draw by."""
    rule = PCD(HALVES, k=2, sample=True)
    assert rule.combine(0, np.array([[0.0, 0.0], [0.0, 1.0]]))["sft"] == 0
    rule.alpha = {"dpo": 0.0, "sft": 0.0}
    assert rule.weights(1) == {"dpo": 0.0, "sft": 0.0}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"k": 0}, "strategy.k=0 must be a whole number of steps >= 1"),
        ({"k": 2.5}, "strategy.k=2.5 must be"),
        ({"metric": "cosine"}, "strategy.metric='cosine' must be one of euclid, adam"),
        ({"sample": True}, "strategy.k=1 leaves none"),
        ({"sample": "yes", "k": 2}, "strategy.sample='yes' must be true or false"),
    ],
)
def test_bad_options_are_refused(options, said):
    with pytest.raises(UserError, match=said):
        MGDA(HALVES, **options)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: CAGrad(HALVES, c=1.0), "strategy.c=1.0 must be a number >= 0 and < 1"),
        (lambda: PCD(HALVES, tau=2), "strategy.tau=2 must be a number in"),
        (lambda: PCD(HALVES, ema=1.0), "strategy.ema=1.0 must be"),
        (lambda: PCD(HALVES, primary="orpo"), "strategy.primary='orpo' must be one of dpo, sft"),
    ],
)
def test_bad_hyper_parameters_are_refused(make, said):
    with pytest.raises(UserError, match=said):
        make()
