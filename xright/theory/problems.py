"""The two convex problems of arXiv 2410.15483: table 1 (one parameter, fig 6) and table 2 (two parameters, fig 2).

Both are contextual softmax problems with one preference pair (x1) and one demonstration (x2), two outputs each, β = 1,
inf f_DPO = inf f_SFT = 0. Where the paper's text and its equations disagree, the equations are followed:

- Table 1: the text says θ_ref = −5, eqs 30-37 hold for θ_ref = −10. Then f_DPO(θ) = softplus(θ/2 + 5) and
  f_SFT(θ) = softplus(−θ/2).
- Table 2, as printed, has no conflict: both objectives want a larger θ_1. With the two outputs of x2 exchanged
  (`swapped`) the published figure appears.

>>> round(table_1().minimiser({"dpo": 0.5, "sft": 0.5}).item(), 6)
-5.0
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from xright.metrics import gap, ideal_distance
from xright.theory.objectives import DPO, SFT, Array, Mixture, Objective

STEP, DECAY = 0.01, 0.001  # of the two-parameter problem: step size and L2 weight decay


NAMES = ("dpo", "sft")  # of the paper's two objectives


def trade_off(lam: float) -> dict[str, float]:
    """Return the weights that λ stands for."""
    return dict(zip(NAMES, (lam, 1 - lam), strict=True))


@dataclass(frozen=True)
class Problem:
    """Named objectives, their optima f*, where descent starts (d,), and Φ = max ‖φ‖ (theorem 4.1)."""

    objectives: Mapping[str, Objective]
    optima: Mapping[str, float]
    start: Array
    feature_norm: float = 1.0

    def losses(self, theta: Array) -> dict[str, Array]:
        """Return f_i(θ) of every objective, each (*runs,)."""
        return {name: objective.loss(theta) for name, objective in self.objectives.items()}

    def ideal_distance(self, theta: Array) -> float:
        """Distance of one θ (d,) from the ideal point, over the objectives that have an optimum."""
        return ideal_distance(
            {name: gap(float(self.objectives[name].loss(theta)), best) for name, best in self.optima.items()}
        )

    def mixture(self, weights: Mapping[str, float]) -> Mixture:
        """Return the objective Σ w_i f_i."""
        return Mixture(self.objectives, weights)

    def minimiser(self, weights: Mapping[str, float], steps: int = 200) -> Array:
        """θ* of a mixture that has one, by Newton steps of length at most 1. ValueError where there is none."""
        mixture, theta = self.mixture(weights), self.start
        for _ in range(steps):
            gradient, hessian = mixture.gradient(theta), mixture.hessian(theta)
            if np.linalg.eigvalsh(hessian)[0] <= 0:  # underflow, on the way to a minimum infinitely far away
                break
            step = np.linalg.solve(hessian, gradient)
            theta = theta - step / max(1.0, float(np.linalg.norm(step)))
            if np.linalg.norm(step) < 1e-10:
                return theta
        raise ValueError(f"there is no minimiser of {dict(weights)} within {steps} steps; last gradient {gradient}")


def table_1(start: float = 0.0) -> Problem:
    """One parameter. x1: φ_w = −1, φ_l = −0.5; x2: φ = 1 (target), 0.5; θ_ref = −10."""
    dpo = DPO(differences=[[-1.0 - -0.5]], reference=[-10.0])
    sft = SFT(features=[[[1.0], [0.5]]])
    return Problem({"dpo": dpo, "sft": sft}, {"dpo": 0.0, "sft": 0.0}, np.array([start]))


def table_2(swapped: bool = True) -> Problem:
    """Two parameters. x1: φ_w = (1, 1), φ_l = (.5, .5); x2: φ = (1, .5) and (.5, .5), the first the target as printed,
    the second where `swapped`. θ starts at (5, −9.9); the reference is 1,000 steps on the chosen response away."""
    start = np.array([5.0, -9.9])
    pair = np.array([[1.0, 1.0], [0.5, 0.5]])
    outputs = np.array([[1.0, 0.5], [0.5, 0.5]])
    reference, chosen = start, SFT(features=pair[None])
    for _ in range(1_000):
        reference = reference - STEP * (chosen.gradient(reference) + DECAY * reference)
    dpo = DPO(differences=[pair[0] - pair[1]], reference=reference)
    sft = SFT(features=(outputs[::-1] if swapped else outputs)[None])
    return Problem({"dpo": dpo, "sft": sft}, {"dpo": 0.0, "sft": 0.0}, start, float(np.sqrt(2)))


def table_1_minimiser(lam: float) -> float:
    """θ* of λ f_DPO + (1−λ) f_SFT of table 1 in closed form, for λ in (0, 1).

    Where the gradient vanishes, u = e^{θ/2} > 0 solves λ c u (1 + u) = (1−λ)(1 + c u) with c = e^5, a quadratic.
    """
    c = np.exp(5.0)
    a, b = lam * c, (2 * lam - 1) * c
    root = np.sqrt(b * b + 4 * a * (1 - lam))
    u = 2 * (1 - lam) / (b + root) if b > 0 else (root - b) / (2 * a)  # whichever does not cancel
    return float(2 * np.log(u))


def table_1_equal_gap(lam: float) -> float:
    """θ with λ f_DPO(θ) = (1−λ) f_SFT(θ) in table 1, where MAXRIGHT goes, for λ in (0, 1); by bisection."""
    problem, low, high = table_1(), -100.0, 100.0  # λ f_DPO − (1−λ) f_SFT grows with θ
    for _ in range(100):
        middle = (low + high) / 2
        losses = problem.losses(np.array([middle]))
        low, high = (low, middle) if lam * losses["dpo"] > (1 - lam) * losses["sft"] else (middle, high)
    return low
