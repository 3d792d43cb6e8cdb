"""RACO, or CAGrad-Clip: CAGrad whose correction never exceeds what the weights ask for (arXiv 2602.02495, ICML 2026).

u as in `cagrad.py`;   u_i ← min(u_i, w_i);   d = g_0 + c ‖g_0‖ g_u / ‖g_u‖

Here the clip is always on: it is the contribution, though off by default in the authors' code, whose trainer also
solves per micro-batch. Ours solves once for the whole optimizer step.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from xright.strategies.cagrad import CAGrad

USUAL_C = 0.4


class RACO(CAGrad):
    """CAGrad with a clipped u. UserError for a c outside [0, 1)."""

    usual_c = USUAL_C

    def __init__(self, weights: Mapping[str, float | None], c: float = USUAL_C, **options: Any) -> None:
        super().__init__(weights, c, **options)

    def kept(self, u_K: np.ndarray, weights_K: np.ndarray) -> np.ndarray:
        return np.minimum(u_K, weights_K)
