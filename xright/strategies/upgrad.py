"""UPGrad: each gradient is projected onto the dual cone of all, where no objective rises to first order, and the
projections are summed (Quinton and Rey 2024, arXiv 2406.16232; TorchJD, whose `pref_vector` is our weights).

α = Σ_i argmin_{v ≥ w_i e_i} vᵀ G v             equal weights, two: α = (½ + ½ max(0, −b/a), ½ + ½ max(0, −b/c))

>>> found = UPGrad({"dpo": 0.5, "sft": 0.5}).combine(0, np.array([[1.0, -1.0], [-1.0, 4.0]]))
>>> {name: round(alpha, 9) for name, alpha in found.items()}
{'dpo': 1.0, 'sft': 0.625}
"""

from collections.abc import Mapping

import numpy as np
import scipy

from xright.strategies.compared import Compared
from xright.strategies.mgda import root


class UPGrad(Compared):
    """The sum of the projected, weighted gradients."""

    def alphas(self, gramian_KK: np.ndarray, weights: Mapping[str, float], step: int) -> np.ndarray:
        """One non-negative least squares problem each: v = w_i e_i + z with z ≥ 0 minimises ‖R v‖, where RᵀR = G."""
        lengths_K = np.sqrt(np.diag(gramian_KK))
        root_KK = root(gramian_KK / np.outer(lengths_K, lengths_K))  # of unit vectors: solved in numbers near 1
        units_KK = np.diag([*weights.values()] * lengths_K)
        projected = [unit + scipy.optimize.nnls(root_KK, -root_KK @ unit)[0] for unit in units_KK]
        return np.sum(projected, axis=0) / lengths_K
