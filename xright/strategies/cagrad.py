"""CAGrad: the best worst-case descent within a ball around the weighted mean gradient (Liu et al. 2021, arXiv
2110.14048).

g_0 = Σ w_i g_i;   u = argmin_{u in the simplex} uᵀ G w + c ‖g_0‖ √(uᵀ G u);
d = g_0 + c ‖g_0‖ g_u / ‖g_u‖,  g_u = Σ u_i g_i

c in [0, 1): 0 is Mix. The published code divides d by 1 + c², which an adaptive optimizer does not see; ours does not.

>>> CAGrad({"dpo": 0.5, "sft": 0.5}, c=0.0).combine(0, np.array([[1.0, -1.0], [-1.0, 4.0]]))
{'dpo': 0.5, 'sft': 0.5}
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy

from xright.errors import check_number
from xright.strategies.compared import Compared

USUAL_C = 0.5
FLAT = 1e-12  # of ‖g_u‖², relative to the largest gradient's: no direction is left to add


class CAGrad(Compared):
    """Conflict-averse descent. UserError for a c outside [0, 1)."""

    usual_c = USUAL_C

    def __init__(self, weights: Mapping[str, float | None], c: float = USUAL_C, **options: Any) -> None:
        super().__init__(weights, **options)
        self.c = check_number("strategy.c", c, lambda x: 0 <= x < 1, "a number >= 0 and < 1: the ball's radius")

    @property
    def settings(self) -> dict[str, Any]:
        return {"c": (self.c, self.usual_c), **super().settings}

    def alphas(self, gramian_KK: np.ndarray, weights: Mapping[str, float], step: int) -> np.ndarray:
        """w + c ‖g_0‖/‖g_u‖ u, with u as `kept` leaves it."""
        weights_K = np.array([*weights.values()])
        scale = gramian_KK.diagonal().max()
        own_KK = gramian_KK / scale
        radius = self.c * np.sqrt(max(0.0, weights_K @ own_KK @ weights_K))
        u_K = self.kept(worst_case(own_KK, weights_K, radius), weights_K)
        length = np.sqrt(max(0.0, u_K @ own_KK @ u_K))
        return weights_K + (radius / length * u_K if length**2 > FLAT else 0.0)

    def kept(self, u_K: np.ndarray, weights_K: np.ndarray) -> np.ndarray:
        return u_K


def worst_case(gramian_KK: np.ndarray, weights_K: np.ndarray, radius: float) -> np.ndarray:
    """u (K,) in the simplex that minimises uᵀ G w + radius √(uᵀ G u): for two objectives the root of the derivative,
    which is monotone; for more, sequential quadratic programming (as in the authors' code) from the corners and the
    middle."""
    toward_K = gramian_KK @ weights_K

    def value(u_K: np.ndarray) -> float:
        return float(u_K @ toward_K + radius * np.sqrt(max(u_K @ gramian_KK @ u_K, 0.0)))

    def slope(u_K: np.ndarray) -> np.ndarray:
        return toward_K + radius * gramian_KK @ u_K / np.sqrt(max(u_K @ gramian_KK @ u_K, 1e-300))

    count = len(weights_K)
    if count == 1:
        return np.ones(1)
    if count == 2:

        def along(t: float) -> float:
            return float(np.array([1.0, -1.0]) @ slope(np.array([t, 1 - t])))

        if along(0.0) >= 0:
            return np.array([0.0, 1.0])
        if along(1.0) <= 0:
            return np.array([1.0, 0.0])
        t = float(scipy.optimize.brentq(along, 0.0, 1.0, xtol=1e-15))
        return np.array([t, 1 - t])
    starts = [np.full(count, 1 / count), *np.eye(count)]
    found = [
        scipy.optimize.minimize(
            value, start, jac=slope, method="SLSQP", bounds=[(0, 1)] * count, options={"ftol": 1e-15, "maxiter": 200},
            constraints={"type": "eq", "fun": lambda u_K: u_K.sum() - 1, "jac": lambda u_K: np.ones(count)},
        ).x
        for start in starts
    ]  # fmt: skip
    best_K = np.clip(min(found, key=value), 0, None)
    return best_K / best_K.sum()
