"""MGDA: along the shortest vector in the convex hull of the gradients, which lowers every objective alike, or none
where they cannot all fall (Désidéri 2012; Sener and Koltun 2018, arXiv 1810.04650).

α = argmin_{α in the simplex} αᵀ G α      two objectives, G = [[a, b], [b, c]]: α_1 = clip((c − b)/(a + c − 2b), 0, 1)

Weights: descent in proportion to them. Of all directions of one length, d makes the smallest ⟨g_i, d⟩ / w_i largest, so
the hull is that of the g_i / (K w_i). (That of the w_i g_i would give an objective less for more weight.)

Solved exactly: the minimiser x of xᵀGx + (Σx − 1)² over x ≥ 0 is a multiple of α, and is a non-negative least squares
problem (Lawson and Hanson's active set, in scipy).

>>> MGDA({"dpo": 0.5, "sft": 0.5}).combine(0, np.array([[1.0, -1.0], [-1.0, 4.0]]))  # (4 + 1) / (1 + 4 + 2)
{'dpo': 0.714..., 'sft': 0.285...}
"""

from collections.abc import Mapping

import numpy as np
import scipy

from xright.strategies.compared import Compared, factors


class MGDA(Compared):
    """The min-norm point of the gradients over their weights."""

    def alphas(self, gramian_KK: np.ndarray, weights: Mapping[str, float], step: int) -> np.ndarray:
        factors_K = 1 / factors(weights)
        return factors_K * min_norm(gramian_KK * np.outer(factors_K, factors_K))


def min_norm(gramian_KK: np.ndarray) -> np.ndarray:
    """The coefficients (K,), ≥ 0 and together 1, of the shortest vector in the convex hull."""
    scale = np.trace(gramian_KK) / len(gramian_KK)
    system = np.vstack([root(gramian_KK / scale), np.ones(len(gramian_KK))])
    found_K, _ = scipy.optimize.nnls(system, np.eye(len(system))[-1])
    return found_K / found_K.sum()


def root(gramian_KK: np.ndarray) -> np.ndarray:
    """R (K, K) with RᵀR = G, of a G that is positive semidefinite but for rounding."""
    values_K, vectors_KK = np.linalg.eigh(gramian_KK)
    return np.sqrt(np.maximum(values_K, 0))[:, None] * vectors_KK.T
