"""The convex problem of experiments/three_objectives, whose optima and front are known: where each method ends."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from xright.metrics import hypervolume, pareto_front
from xright.strategies import Only
from xright.theory.descent import descend

HERE = Path(__file__).resolve().parents[2] / "experiments" / "three_objectives"
C = runpy.run_path(str(HERE / "convex.py"))
CASES = {case.label: case for case in C["cases"]()}
PROBLEM = C["problem"]()
ENTROPY = -(0.7 * np.log(0.7) + 3 * 0.1 * np.log(0.1))  # shares of a data set's four answers
FORGOTTEN = 0.7 * np.log(0.7 / 0.1) + 0.1 * np.log(0.1 / 0.7)  # KL of two data sets: .6 log 7


@pytest.fixture(scope="module")
def ends():
    """{label: π at the end}."""
    return {label: C["end"](case) for label, case in CASES.items()}


def losses(pi):
    """Of the three data sets, by the problem's own objectives: logits log π."""
    return np.array([float(objective.loss(np.log(pi))) for objective in PROBLEM.objectives.values()])


def test_the_optima_are_entropies_and_are_attained():
    assert pytest.approx(0.940448, abs=5e-7) == ENTROPY
    for place, name in enumerate("abc"):
        theta = descend(PROBLEM, Only(name), 500, 1.0).theta
        assert float(PROBLEM.objectives[name].loss(theta)) == pytest.approx(ENTROPY, abs=1e-12)
        q = np.full(4, 0.1)
        q[place] = 0.7
        assert theta - np.logaddexp.reduce(theta) == pytest.approx(np.log(q), abs=1e-9)
    assert PROBLEM.optima == pytest.approx(dict.fromkeys("abc", ENTROPY), abs=1e-15)


def test_a_gap_is_a_divergence():
    pi = np.array([0.4, 0.3, 0.2, 0.1])
    by_hand = 0.7 * np.log(0.7 / 0.4) + 0.1 * (np.log(0.1 / 0.3) + np.log(0.1 / 0.2) + np.log(0.1 / 0.1))
    assert losses(pi)[0] - ENTROPY == pytest.approx(by_hand, abs=1e-14)
    assert C["gaps"](pi)[0] == pytest.approx(by_hand, abs=1e-14)


@pytest.mark.parametrize("weights", [(1 / 3, 1 / 3, 1 / 3), (0.6, 0.2, 0.2), (0.5, 0.3, 0.2)])
def test_each_joint_method_ends_where_it_should(weights, ends):
    at = " ".join(f"{weight:.3g}" for weight in weights)
    known = [0.1 + 0.6 * weight for weight in weights] + [0.1]
    assert ends[f"Mix {at}"] == pytest.approx(known, abs=1e-12)
    assert ends[f"ALRIGHT {at}"] == pytest.approx(known, abs=0.02)  # chance: α ends at 1/300
    for k in ("", " k=1"):
        pi = ends[f"MAXRIGHT {at}{k}"]
        weighted = np.array(weights) * (losses(pi) - ENTROPY)
        assert np.ptp(weighted) < 3e-3  # equal, to within a step: the next one changes them by so much
        assert pi[3] == pytest.approx(0.1, abs=2e-4)  # on the front
    product = np.prod([np.where(np.arange(4) == i, 0.7, 0.1) ** w for i, w in enumerate(weights)], axis=0)
    assert ends[f"Model average {at}"] == pytest.approx(product / product.sum(), abs=1e-12)


def test_sequential_keeps_nothing_but_the_last(ends):
    for order in ("b→c→a", "a→c→b", "a→b→c"):
        gaps = dict(zip("abc", losses(ends[f"Sequential {order}"]) - ENTROPY, strict=True))
        assert gaps.pop(order[-1]) == pytest.approx(0, abs=1e-12)
        assert list(gaps.values()) == pytest.approx([FORGOTTEN] * 2, abs=1e-9)


def test_the_average_is_above_the_front_and_all_others_are_on_it(ends):
    """A grid of the front with the ends among it: none of its points dominates another, all averages are dominated."""
    grid = [np.array([i, j, 20 - i - j]) / 20 for i in range(21) for j in range(21 - i)]
    points = [losses(np.append(0.1 + 0.6 * w, 0.1)) for w in grid]
    assert pareto_front(points) == list(range(len(grid)))
    for label, pi in ends.items():
        # all losses less what all can be lowered by: that is a point of the front, and nothing dominates it
        lowered = losses(pi) - C["above_front"](pi)
        assert len(grid) in pareto_front([*points, lowered - 1e-9])
        if label.startswith("Model average"):
            assert C["above_front"](pi) > 5e-3
            better = np.append(pi[:3] * 0.9 / (1 - pi[3]), 0.1)
            assert losses(better) == pytest.approx(lowered, abs=1e-12)
            assert (losses(better) < losses(pi)).all()
        else:
            assert abs(C["above_front"](pi)) < 1e-6


def test_volume_under_the_front():
    """Mix's three trade-offs dominate more than the averages of the same weights, up to the corner of the optima."""
    corner = [ENTROPY + FORGOTTEN] * 3
    volume = {
        name: hypervolume([losses(case.known) for case in CASES.values() if case.label.startswith(name)], corner)
        for name in ("Mix", "Model average")
    }
    # at equal weights: a cube from the point to the corner, gap .7 log(.7/.3) + .2 log(.1/.3) each
    side = FORGOTTEN - (0.7 * np.log(0.7 / 0.3) + 0.2 * np.log(0.1 / 0.3))
    assert hypervolume([losses(CASES["Mix 0.333 0.333 0.333"].known)], corner) == pytest.approx(side**3, rel=1e-12)
    assert volume["Mix"] > volume["Model average"] > 0
