"""Nash-MTL: the direction on which the objectives agree when they bargain, each for its own share of the descent (Navon
et al. 2022, arXiv 2202.01017).

G α = w / α, element by element (w = 1 for equal weights)
two equal objectives: α_i = 1/(‖g_i‖ √(1 + cos)), along the bisector of the gradients (as FairGrad with α = 1, IMTL-G)

α minimises the strictly convex ½ αᵀGα − Σ w_i log α_i over α > 0: Newton's method from α_i = 1/‖g_i‖, in units of the
gradients' lengths. The length of the update does not follow those of the gradients (Σ w_i is its square).

>>> found = NashMTL({"dpo": 0.5, "sft": 0.5}).combine(0, np.array([[1.0, 0.0], [0.0, 4.0]]))
>>> {name: round(alpha, 6) for name, alpha in found.items()}
{'dpo': 1.0, 'sft': 0.5}
"""

from collections.abc import Mapping

import numpy as np

from xright.strategies.compared import Compared, factors

STEPS = 200
ENOUGH = 1e-13  # of the squared Newton decrement


class NashMTL(Compared):
    """The objectives bargain for the direction."""

    name = "Nash-MTL"

    def alphas(self, gramian_KK: np.ndarray, weights: Mapping[str, float], step: int) -> np.ndarray:
        """Damped Newton steps; where gradients are opposed so that no common descent exists, α grows without bound, and
        G is taken a little away from that."""
        lengths_K, shares_K = np.sqrt(np.diag(gramian_KK)), factors(weights)
        cosines_KK = gramian_KK / np.outer(lengths_K, lengths_K) + 1e-9 * np.eye(len(lengths_K))
        x_K = np.sqrt(shares_K)
        for _ in range(STEPS):
            slope_K = cosines_KK @ x_K - shares_K / x_K
            newton_K = np.linalg.solve(cosines_KK + np.diag(shares_K / x_K**2), slope_K)
            decrement = float(slope_K @ newton_K)
            x_K = x_K - newton_K * shrink(x_K, newton_K, decrement)
            if decrement < ENOUGH:
                break
        return x_K / lengths_K


def shrink(x_K: np.ndarray, newton_K: np.ndarray, decrement: float) -> float:
    """How much of a Newton step to take: 1/(1 + decrement^½) far away, all of it near, and never past zero."""
    falling = newton_K > 0
    most = 0.9 * float((x_K[falling] / newton_K[falling]).min()) if falling.any() else np.inf
    return min(1.0 if decrement < 0.05 else 1 / (1 + np.sqrt(decrement)), most)
