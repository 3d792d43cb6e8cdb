"""ALRIGHT's expected gap without drawing a single coin, for the one-parameter example (arXiv 2410.15483, table 1).

With v_0 = G and one update at a time, backwards,

    v_{n+1}(θ) = λ v_n(θ − α ∇f_DPO(θ)) + (1−λ) v_n(θ − α ∇f_SFT(θ)),      E[G(θ_T)] = v_{T−1}(θ_1)

Two ways to solve it: count all 2^(T−1) paths, or keep v as its Chebyshev interpolant on an interval that no run leaves.
An update is then one matrix, T − 1 updates its power, and any T takes milliseconds. Both agree to 1e-14 (tested).
"""

import numpy as np

from xright.theory.descent import inverse_sqrt
from xright.theory.forgetting import LAM, gaps
from xright.theory.objectives import Array
from xright.theory.problems import table_1

INTERVAL = (-30.0, 20.0)  # of θ; runs with λ = 0.5 and α ≤ 10 stay well inside
NODES = 200  # with 100 the result differs by less than 1e-9


def by_enumeration(alpha_0: float, horizon: int) -> float:
    """E[G] as the mean over all 2^(T−1) paths, weighted by their probability; for T up to 20 or so."""
    problem, theta, probability = table_1(), np.zeros((1, 1)), np.ones(1)
    size = inverse_sqrt(alpha_0, horizon)
    for _ in range(horizon - 1):
        theta = np.concatenate([theta - size * problem.objectives[name].gradient(theta) for name in ("dpo", "sft")])
        probability = np.concatenate([LAM * probability, (1 - LAM) * probability])
    return float(probability @ gaps(theta))


def expected_gap(alpha_0: float, horizon: int) -> float:
    """E[G] for any T, by powers of the update's matrix (NODES, NODES)."""
    problem, size = table_1(), inverse_sqrt(alpha_0, horizon)
    angles = np.pi * (np.arange(NODES) + 0.5) / NODES
    low, high = INTERVAL
    nodes = low + (high - low) * (np.cos(angles) + 1) / 2
    update = np.zeros((NODES, NODES))
    for name, probability in (("dpo", LAM), ("sft", 1 - LAM)):
        moved = nodes - size * problem.objectives[name].gradient(nodes[:, None])[:, 0]
        update += probability * _interpolation(nodes, angles, np.clip(moved, low, high))
    start = _interpolation(nodes, angles, problem.start)[0]
    return float(start @ np.linalg.matrix_power(update, horizon - 1) @ gaps(nodes[:, None]))


def _interpolation(nodes: Array, angles: Array, points: Array) -> Array:
    """Matrix (points, nodes) from values at the nodes to values at points: the barycentric formula."""
    offsets = points[:, None] - nodes
    on_node = offsets == 0
    offsets[on_node] = 1.0
    weights = (-1.0) ** np.arange(len(nodes)) * np.sin(angles) / offsets
    matrix = weights / weights.sum(1, keepdims=True)
    matrix[on_node.any(1)] = on_node[on_node.any(1)]
    return matrix
